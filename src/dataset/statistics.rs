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
        let (pixels, _) = rgb.as_chunks::<3>();
        let mut sums = Self { pixels: pixels.len() as u64, ..Self::default() };
        for pixel in pixels {
            for (channel, &value) in pixel.iter().enumerate() {
                sums.values[channel] += u64::from(value);
                sums.squares[channel] += u64::from(value).pow(2);
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
    fn mean_and_deviation_are_exact() {
        let mut sums = Sums::of(&[0, 10, 7, 255, 20, 7]);
        sums.add(&Sums::of(&[0, 30, 7, 255, 40, 7]));
        let Normalisation { mean, std } = sums.normalisation();
        assert_eq!(mean, [0.5, 25.0 / 255.0, 7.0 / 255.0]);
        assert_eq!(std, [0.5, (125.0_f64.sqrt() / 255.0) as f32, 1.0]);
    }
}
