//! Which ways there are to compute a convolution's passes, what they are called in checkpoints, and which of them suit a
//! layer and a device. What they do stands in [`convolution`](super::convolution) and [`winograd`](super::winograd).

use super::adapter::Capabilities;
use super::convolution::Convolution;
use super::product::Product;
use super::product_half::Half;
use super::winograd::{self, Tile};

/// Maps of at most this many pixels give products with few rows, whose depth is worth splitting.
const SMALL_MAP: usize = 16;

/// The three products of a layer in a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// y from x and the weight.
    Forward,
    /// dx from dy and the weight.
    InputGradient,
    /// dweight from x and dy.
    WeightGradient,
}

impl Pass {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Forward, Self::InputGradient, Self::WeightGradient];

    /// For labels and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::InputGradient => "input gradient",
            Self::WeightGradient => "weight gradient",
        }
    }
}

/// A way to compute a pass. Its [name](Variant::name) goes into checkpoints: a resumed training has the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// As one product in tiles of workgroup memory.
    Tiled {
        /// Rows of a tile.
        rows: u32,
        /// Columns of a tile.
        columns: u32,
        /// Parts that the depth is split into; 1 for weight gradients, whose slabs of pixels follow from the shape.
        slices: u32,
    },
    /// As one product in registers only, for software devices.
    Registers,
    /// As one product in tiles of workgroup memory with f16 factors, where f16 was asked for.
    Half {
        /// Of C.
        tile: Half,
        /// As those of `Tiled`.
        slices: u32,
    },
    /// By Winograd's minimal filtering: kernels of 3.
    Winograd {
        /// F(2x2, 3x3) or F(4x4, 3x3).
        tile: Tile,
        /// Of its products.
        product: Product,
    },
}

impl Variant {
    /// For labels and files; [`Variant::parse`] reads it.
    pub fn name(self) -> String {
        match self {
            Self::Tiled { rows, columns, slices } => format!("tiled {}", tile_name(rows, columns, slices)),
            Self::Half { tile: Half { rows, columns }, slices } => format!("half {}", tile_name(rows, columns, slices)),
            Self::Registers => "registers".into(),
            Self::Winograd { tile, product: Product::Tiled { rows, columns } } => {
                format!("winograd{} tiled {}", tile.outputs(), tile_name(rows, columns, 1))
            }
            Self::Winograd { tile, product: Product::Registers } => format!("winograd{} registers", tile.outputs()),
        }
    }

    /// What [`Variant::name`] gave, or nothing.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "registers" {
            return Some(Self::Registers);
        }
        for tile in Tile::ALL {
            if let Some(product) = name.strip_prefix(&format!("winograd{} ", tile.outputs())) {
                return match Self::parse(product)? {
                    Self::Registers => Some(Self::Winograd { tile, product: Product::Registers }),
                    Self::Tiled { rows, columns, slices: 1 } => {
                        Some(Self::Winograd { tile, product: Product::Tiled { rows, columns } })
                    }
                    _ => None,
                };
            }
        }
        let (form, tile) = name.split_once(' ')?;
        let &(rows, columns, slices) = TILES.iter().find(|(r, c, s)| tile_name(*r, *c, *s) == tile)?;
        match form {
            "tiled" => Some(Self::Tiled { rows, columns, slices }),
            "half" => Some(Self::Half { tile: Half { rows, columns }, slices }),
            _ => None,
        }
    }
}

/// E.g. `128x64/4` for four parts.
fn tile_name(rows: u32, columns: u32, slices: u32) -> String {
    if slices == 1 { format!("{rows}x{columns}") } else { format!("{rows}x{columns}/{slices}") }
}

/// Rows and columns of tiles, and parts of the depth: all that there are, large tiles first.
const TILES: [(u32, u32, u32); 9] = [
    (128, 128, 1),
    (128, 64, 1),
    (64, 64, 1),
    (128, 128, 4),
    (128, 64, 4),
    (64, 64, 4),
    (128, 128, 16),
    (128, 64, 16),
    (64, 64, 16),
];

/// Those of [`TILES`] that suit a pass, a good default first, as `make` makes variants of them.
fn tiles(
    convolution: &Convolution,
    pass: Pass,
    make: fn(u32, u32, u32) -> Variant,
) -> impl Iterator<Item = Variant> + use<> {
    let columns = if pass == Pass::InputGradient { convolution.inputs } else { convolution.outputs };
    let depth = convolution.taps() * if pass == Pass::InputGradient { convolution.outputs } else { convolution.inputs };
    let split = pass != Pass::WeightGradient && convolution.pixels() <= SMALL_MAP && depth >= 512;
    let one_pixel = convolution.pixels() == 1;
    // A tile twice as wide as C computes nothing in half of it. Sixteen parts are for linear layers.
    let suits = |&(_, tile, slices): &(u32, u32, u32)| {
        (tile == 64 || columns > 64) && (slices == 1 || split && (slices == 4 || one_pixel))
    };
    let tiles = TILES.into_iter().filter(suits);
    // A batch of a linear layer is one row of tiles: large and unsplit they leave most of a card idle.
    let (mut fine, coarse): (Vec<_>, Vec<_>) = tiles.partition(|(_, _, slices)| *slices == 4 && one_pixel);
    fine.reverse();
    fine.into_iter().chain(coarse).map(move |(rows, columns, slices)| make(rows, columns, slices))
}

/// Every variant that this device can run for this pass, a good default first. `precise` forbids those with larger rounding
/// errors than a plain sum.
pub fn variants(capabilities: &Capabilities, convolution: &Convolution, pass: Pass, precise: bool) -> Vec<Variant> {
    let software = (capabilities.software && capabilities.subgroups_of_eight).then_some(Variant::Registers);
    let tiled = tiles(convolution, pass, |rows, columns, slices| Variant::Tiled { rows, columns, slices });
    let half = tiles(convolution, pass, |rows, columns, slices| Variant::Half { tile: Half { rows, columns }, slices });
    let half = half.filter(|v| matches!(v, Variant::Half { tile, .. } if tile.fits(capabilities)));
    let winograd = winograd::variants(capabilities, convolution, pass, precise);
    let winograd = winograd.into_iter().map(|(tile, product)| Variant::Winograd { tile, product });
    half.chain(software).chain(tiled).chain(winograd).collect()
}

/// Those of [`variants`] that are worth a measurement: on a software device only those without workgroup memory, whose
/// barriers cost it several times their work; or, where it emulates f16, only that, since speed is not what it is for.
pub fn candidates(capabilities: &Capabilities, convolution: &Convolution, pass: Pass, precise: bool) -> Vec<Variant> {
    let all = variants(capabilities, convolution, pass, precise);
    let light = |v: &Variant| match v {
        Variant::Half { tile, .. } => tile.rows == 64,
        Variant::Registers | Variant::Winograd { product: Product::Registers, .. } => capabilities.matrices.is_none(),
        _ => false,
    };
    if capabilities.software && all.iter().any(light) { all.into_iter().filter(light).collect() } else { all }
}
