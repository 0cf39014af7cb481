//! Which ways there are to compute a convolution's passes, what they are called in checkpoints, and which of them suit a
//! layer and a device. What they do stands in [`convolution`](super::convolution) and [`winograd`](super::winograd).

use super::adapter::Capabilities;
use super::convolution::Convolution;
use super::product::Product;
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
            Self::Tiled { rows, columns, slices: 1 } => format!("tiled {rows}x{columns}"),
            Self::Tiled { rows, columns, slices } => format!("tiled {rows}x{columns}/{slices}"),
            Self::Registers => "registers".into(),
            Self::Winograd { tile, product: Product::Tiled { rows, columns } } => {
                format!("winograd{} {}", tile.outputs(), tiled(rows, columns, 1).name())
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
        let (rows, rest) = name.strip_prefix("tiled ")?.split_once('x')?;
        let (columns, slices) = rest.split_once('/').unwrap_or((rest, "1"));
        let tiled =
            Self::Tiled { rows: rows.parse().ok()?, columns: columns.parse().ok()?, slices: slices.parse().ok()? };
        TILES.contains(&tiled).then_some(tiled)
    }
}

const fn tiled(rows: u32, columns: u32, slices: u32) -> Variant {
    Variant::Tiled { rows, columns, slices }
}

/// All that there are, large tiles first.
const TILES: [Variant; 9] = [
    tiled(128, 128, 1),
    tiled(128, 64, 1),
    tiled(64, 64, 1),
    tiled(128, 128, 4),
    tiled(128, 64, 4),
    tiled(64, 64, 4),
    tiled(128, 128, 16),
    tiled(128, 64, 16),
    tiled(64, 64, 16),
];

/// Every variant that this device can run for this pass, a good default first. `precise` forbids those with larger rounding
/// errors than a plain sum.
pub fn variants(capabilities: &Capabilities, convolution: &Convolution, pass: Pass, precise: bool) -> Vec<Variant> {
    let columns = if pass == Pass::InputGradient { convolution.inputs } else { convolution.outputs };
    let depth = convolution.taps() * if pass == Pass::InputGradient { convolution.outputs } else { convolution.inputs };
    let split = pass != Pass::WeightGradient && convolution.pixels() <= SMALL_MAP && depth >= 512;
    let suits = |variant: &&Variant| match **variant {
        Variant::Tiled { columns: tile, slices, .. } => {
            // A tile twice as wide as C computes nothing in half of it. Sixteen parts are for linear layers.
            (tile == 64 || columns > 64) && (slices == 1 || split && (slices == 4 || convolution.pixels() == 1))
        }
        Variant::Registers | Variant::Winograd { .. } => true,
    };
    let software = (capabilities.software && capabilities.subgroups_of_eight).then_some(Variant::Registers);
    let tiles: Vec<Variant> = TILES.iter().filter(suits).copied().collect();
    // A batch of a linear layer is one row of tiles: large and unsplit they leave most of a card idle.
    let (mut fine, coarse): (Vec<_>, Vec<_>) =
        tiles.into_iter().partition(|v| matches!(v, Variant::Tiled { slices: 4, .. }) && convolution.pixels() == 1);
    fine.reverse();
    let winograd = winograd::variants(capabilities, convolution, pass, precise);
    let winograd = winograd.into_iter().map(|(tile, product)| Variant::Winograd { tile, product });
    software.into_iter().chain(fine).chain(coarse).chain(winograd).collect()
}

/// Those of [`variants`] that are worth a measurement: on a software device only those without workgroup memory, whose
/// barriers cost it several times their work.
pub fn candidates(capabilities: &Capabilities, convolution: &Convolution, pass: Pass, precise: bool) -> Vec<Variant> {
    let all = variants(capabilities, convolution, pass, precise);
    let light = |v: &Variant| matches!(v, Variant::Registers | Variant::Winograd { product: Product::Registers, .. });
    if capabilities.software && all.iter().any(light) { all.into_iter().filter(light).collect() } else { all }
}
