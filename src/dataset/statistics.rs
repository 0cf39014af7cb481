//! Mean and standard deviation of each colour over all pixels, exactly: sums of integers, so that neither the number
//! of threads nor the order of the images changes a bit.

use crate::engine::Normalisation;

/// Sums over pixels of R, G and B.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pixels: u64,
    values: [u64; 3],
    squares: [u64; 3],
}

impl Sums {
    /// Of RGB pixels, [n, 3].
    pub fn of(rgb: &[u8]) -> Self {
        /// Bytes of 16 whole pixels: a lane always has the same colour.
        const LANES: usize = 48;
        /// 4096 squares of at most 255 fit 32 bits.
        const PIECE: usize = LANES * 4096;
        let pixels = rgb.len() / 3;
        let mut sums = Self { pixels: pixels as u64, ..Self::default() };
        for piece in rgb[..pixels * 3].chunks(PIECE) {
            let (mut values, mut squares) = ([0_u32; LANES], [0_u32; LANES]);
            let mut add = |bytes: &[u8]| {
                for ((value, square), &byte) in values.iter_mut().zip(&mut squares).zip(bytes) {
                    let byte = u16::from(byte);
                    *value += u32::from(byte);
                    *square += u32::from(byte * byte);
                }
            };
            let (blocks, rest) = piece.as_chunks::<LANES>();
            blocks.iter().for_each(|block| add(block));
            add(rest);
            for lane in 0..LANES {
                sums.values[lane % 3] += u64::from(values[lane]);
                sums.squares[lane % 3] += u64::from(squares[lane]);
            }
        }
        sums
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.pixels += other.pixels;
        for channel in 0..3 {
            self.values[channel] += other.values[channel];
            self.squares[channel] += other.squares[channel];
        }
    }

    /// In 0..1; the deviation is the population's. A colour that never changes has deviation 1: dividing by it
    /// changes nothing.
    pub fn normalisation(&self) -> Normalisation {
        let n = self.pixels.max(1) as f64;
        let mean = self.values.map(|sum| (sum as f64 / n / 255.0) as f32);
        let std = std::array::from_fn(|channel| {
            // n * squares - values^2 stays an integer, so that nothing cancels.
            let (values, squares) = (u128::from(self.values[channel]), u128::from(self.squares[channel]));
            match u128::from(self.pixels) * squares - values * values {
                0 => 1.0,
                scaled => ((scaled as f64).sqrt() / n / 255.0) as f32,
            }
        });
        Normalisation { mean, std }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_and_pieces_change_no_sum() {
        for pixels in [0, 1, 15, 16, 17, 100, 65_536, 65_537, 70_001] {
            let rgb: Vec<u8> = (0..pixels * 3).map(|i| if i % 7 == 0 { 255 } else { (i * 31 % 256) as u8 }).collect();
            let mut wanted = Sums { pixels: pixels as u64, ..Sums::default() };
            for (i, &value) in rgb.iter().enumerate() {
                wanted.values[i % 3] += u64::from(value);
                wanted.squares[i % 3] += u64::from(value).pow(2);
            }
            assert_eq!(Sums::of(&rgb), wanted, "{pixels} pixels");
        }
        assert_eq!(Sums::of(&[255; 3 * 200_000]).squares, [200_000 * 65_025; 3]);
    }

    #[test]
    fn mean_and_deviation_are_exact() {
        let mut sums = Sums::of(&[0, 10, 7, 255, 20, 7]);
        sums.add(&Sums::of(&[0, 30, 7, 255, 40, 7]));
        let Normalisation { mean, std } = sums.normalisation();
        assert_eq!(mean, [0.5, 25.0 / 255.0, 7.0 / 255.0]);
        assert_eq!(std, [0.5, (125.0_f64.sqrt() / 255.0) as f32, 1.0]);
    }
}
