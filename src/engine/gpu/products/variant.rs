//! Which ways there are to compute a convolution's passes, what they are called in checkpoints, and which of them suit a
//! layer and a device. What they do stands in [`convolution`](super::convolution) and [`winograd`](super::winograd).

use super::operands::{Convolution, Pass};
use super::product::Product;
use super::product_half::Half;
use super::winograd;
use super::winograd::Tile;
use crate::engine::gpu::plumbing::capabilities::Capabilities;

/// Maps of at most this many pixels give products with few rows, whose depth is worth splitting.
const SMALL_MAP: usize = 16;

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
    /// As one product in tiles of workgroup memory with f16 factors: the only way where f16 was asked for, since factors are
    /// f16 in memory then.
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
            Self::Half { tile: Half { rows, columns, depth }, slices } => {
                format!("half {rows}x{}", tile_name(columns, depth, slices))
            }
            Self::Registers => "registers".into(),
            Self::Winograd { tile, product: Product::Tiled { rows, columns } } => {
                format!("winograd{} tiled {}", tile.outputs(), tile_name(rows, columns, 1))
            }
            Self::Winograd { tile, product: Product::Registers } => format!("winograd{} registers", tile.outputs()),
        }
    }

    /// Rows and columns of a tile and parts of the depth, of a product in tiles.
    fn tile(&self) -> (u32, u32, u32) {
        match *self {
            Self::Tiled { rows, columns, slices } | Self::Half { tile: Half { rows, columns, .. }, slices } => {
                (rows, columns, slices)
            }
            Self::Registers | Self::Winograd { .. } => (0, 0, 1),
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
        let same = |variant: &Self| variant.name() == name;
        tiled().chain(half()).find(same)
    }
}

/// E.g. `128x64/4` for four parts.
fn tile_name(rows: u32, columns: u32, slices: u32) -> String {
    if slices == 1 { format!("{rows}x{columns}") } else { format!("{rows}x{columns}/{slices}") }
}

/// Parts of the depth.
const SLICES: [u32; 3] = [1, 4, 16];

/// All products in tiles, large ones first.
fn tiled() -> impl Iterator<Item = Variant> {
    let tiles = [(128, 128), (128, 64), (64, 64)];
    SLICES.into_iter().flat_map(move |slices| tiles.map(|(rows, columns)| Variant::Tiled { rows, columns, slices }))
}

/// Tiles of products in f16, large ones first. Those of 256 bring the fewest factors for what they multiply; the deeper ones
/// wait less often.
pub(super) fn half_tiles() -> impl Iterator<Item = Half> {
    let tiles = [
        (128, 128, 32),
        (256, 128, 16),
        (128, 256, 16),
        (128, 128, 16),
        (256, 64, 16),
        (128, 64, 32),
        (64, 64, 32),
        (64, 64, 16),
    ];
    tiles.into_iter().map(|(rows, columns, depth)| Half { rows, columns, depth })
}

/// All products in f16.
fn half() -> impl Iterator<Item = Variant> {
    SLICES.into_iter().flat_map(|slices| half_tiles().map(move |tile| Variant::Half { tile, slices }))
}

/// Those of `all` that suit a pass, a good default first.
fn suitable(
    all: impl Iterator<Item = Variant>,
    convolution: &Convolution,
    pass: Pass,
) -> impl Iterator<Item = Variant> {
    let columns = if pass == Pass::InputGradient { convolution.inputs } else { convolution.outputs };
    let depth = convolution.taps() * if pass == Pass::InputGradient { convolution.outputs } else { convolution.inputs };
    let split = pass != Pass::WeightGradient && convolution.pixels() <= SMALL_MAP && depth >= 512;
    let one_pixel = convolution.pixels() == 1;
    // A tile twice as wide as C, or as high as a usual batch, computes nothing in half of it. Sixteen parts are for linear
    // layers.
    let suits = |variant: &Variant| {
        let (rows, tile, slices) = variant.tile();
        (tile <= 64 || columns * 2 > tile as usize)
            && (rows <= 128 || !one_pixel || pass == Pass::WeightGradient)
            && (slices == 1 || split && (slices == 4 || one_pixel))
    };
    // A batch of a linear layer is one row of tiles: large and unsplit they leave most of a card idle.
    let (mut fine, coarse): (Vec<_>, Vec<_>) =
        all.filter(suits).partition(|variant| variant.tile().2 == 4 && one_pixel);
    fine.reverse();
    fine.into_iter().chain(coarse)
}

/// Every variant that this device can run for this pass, a good default first. `precise` forbids those with larger rounding
/// errors than a plain sum.
pub fn variants(capabilities: &Capabilities, convolution: &Convolution, pass: Pass, precise: bool) -> Vec<Variant> {
    if capabilities.half() {
        let half = suitable(half(), convolution, pass);
        return half.filter(|v| matches!(v, Variant::Half { tile, .. } if tile.fits(capabilities))).collect();
    }
    let software = (capabilities.software && capabilities.subgroups_of_eight).then_some(Variant::Registers);
    let tiled = suitable(tiled(), convolution, pass);
    let winograd = winograd::variants(capabilities, convolution, pass, precise);
    let winograd = winograd.into_iter().map(|(tile, product)| Variant::Winograd { tile, product });
    software.into_iter().chain(tiled).chain(winograd).collect()
}

/// Those of [`variants`] that are worth a measurement: on a software device only those without workgroup memory, whose
/// barriers cost it several times their work; or, where it emulates f16, the smallest tiles, since speed is not what it is
/// for.
pub fn candidates(capabilities: &Capabilities, convolution: &Convolution, pass: Pass, precise: bool) -> Vec<Variant> {
    let all = variants(capabilities, convolution, pass, precise);
    let light = |v: &Variant| match v {
        Variant::Half { tile, .. } => tile.rows == 64 && tile.depth == 16,
        Variant::Registers | Variant::Winograd { product: Product::Registers, .. } => true,
        _ => false,
    };
    if capabilities.software && all.iter().any(light) { all.into_iter().filter(light).collect() } else { all }
}
