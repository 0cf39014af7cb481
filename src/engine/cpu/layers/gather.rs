//! From picks to activations: enhance, crop or warp, mirror, resize, colour, normalise and mix u8 pixels where they lie, a sample a
//! task; twin [`reference::gather`](crate::engine::cpu::reference::gather).
//!
//! Resizing filters rows first and columns after, with the windows of [`resample`](crate::engine::resample), without
//! rounding in between.

use rayon::prelude::*;

use crate::engine::cpu::plumbing::buffer::Scratch;
use crate::engine::resample::{Window, windows};
use crate::engine::sample::{Blend, Colour, Geometry, Mix, Warp};
use crate::engine::{Images, Normalisation, Pick, View};
use crate::error::Result;

/// An attached image set, with what resizing it needs.
pub struct Gallery {
    /// The pixels.
    pub images: Images,
    /// Height and width of the result.
    size: usize,
    /// Filters of rows and columns; `None` where the images have the network's size already.
    filters: Option<(Vec<Window>, Vec<Window>)>,
    /// One enhanced image a thread.
    enhanced: Scratch,
    /// One filtered image row a thread.
    line: Scratch,
    /// The second of two mixed images, one a thread.
    second: Scratch,
}

/// An image that is mirrored where `flip` says so, of which a window is seen that is moved right and down.
#[derive(Clone, Copy)]
struct Moved<'a> {
    image: &'a [u8],
    flip: bool,
    by: [i8; 2],
}

impl Gallery {
    /// Images for a network of `size`. Errors: no memory left.
    pub fn new(images: Images, size: usize, threads: usize) -> Result<Self> {
        let fits = images.height == size && images.width == size;
        let filters = (!fits).then(|| (windows(images.height, size), windows(images.width, size)));
        let enhanced = Scratch::new(threads, (images.height * images.width * 3).div_ceil(size_of::<f32>()))?;
        let line = Scratch::new(threads, images.width * 3)?;
        let second = Scratch::new(threads, size * size * 3)?;
        Ok(Self { images, size, filters, enhanced, line, second })
    }

    /// Fills `to` [n, size, size, 3] with the picked samples. The picks lie within the images.
    pub fn gather(&self, picks: &[Pick], normalisation: &Normalisation, to: &mut [f32]) {
        to.par_chunks_mut(self.size * self.size * 3).zip(picks).with_max_len(1).for_each(|(to, pick)| {
            self.see(&pick.view, normalisation, to);
            let Some(Mix { view, blend }) = &pick.mix else { return };
            self.second.with(|second| {
                self.see(view, normalisation, second);
                match blend {
                    Blend::Share(share) => {
                        to.iter_mut().zip(second).for_each(|(to, v)| *to = share * *to + (1.0 - share) * *v);
                    }
                    Blend::Area(area) => {
                        let [left, top, right, bottom] = area.pixels(self.size).map(|v| v as usize);
                        for row in top..bottom {
                            let part = (row * self.size + left) * 3..(row * self.size + right.max(left)) * 3;
                            to[part.clone()].copy_from_slice(&second[part]);
                        }
                    }
                }
            });
        });
    }

    /// Fills `to` [size, size, 3] with one image.
    fn see(&self, view: &View, normalisation: &Normalisation, to: &mut [f32]) {
        let sample = self.images.height * self.images.width * 3;
        let image = &(*self.images.pixels).as_ref()[view.index as usize * sample..][..sample];
        let mut place = |image: &[u8]| match view.geometry {
            Geometry::Moved { x, y } => self.moved(Moved { image, flip: view.flip, by: [x, y] }, to),
            Geometry::Warped(warp) => self.warped(image, &warp, view.flip, to),
        };
        match view.enhancement {
            None => place(image),
            Some(enhancement) => self.enhanced.with(|enhanced| {
                let enhanced = &mut bytemuck::cast_slice_mut(enhanced)[..sample];
                enhancement.apply(image, self.images.width, enhanced);
                place(enhanced);
            }),
        }
        if let Some(colour) = &view.colour {
            to.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| coloured(colour, pixel));
        }
        let factor: [f32; 3] = std::array::from_fn(|c| 1.0 / (255.0 * normalisation.std[c]));
        let offset: [f32; 3] = std::array::from_fn(|c| -normalisation.mean[c] / normalisation.std[c]);
        for pixel in to.as_chunks_mut::<3>().0 {
            (0..3).for_each(|c| pixel[c] = pixel[c] * factor[c] + offset[c]);
        }
        if let Some(area) = view.erased {
            let [left, top, right, bottom] = area.pixels(self.size).map(|v| v as usize);
            for row in top..bottom {
                to[(row * self.size + left) * 3..(row * self.size + right.max(left)) * 3].fill(0.0);
            }
        }
    }

    /// The moved window, resized; in 0..255.
    fn moved(&self, moved: Moved<'_>, to: &mut [f32]) {
        let Some((rows, columns)) = &self.filters else {
            for (row, to) in to.chunks_exact_mut(self.size * 3).enumerate() {
                self.row(moved, row, None, to);
            }
            return;
        };
        self.line.with(|line| {
            for (window, to) in rows.iter().zip(to.chunks_exact_mut(self.size * 3)) {
                line.fill(0.0);
                for (row, weight) in window.weights.iter().enumerate() {
                    self.row(moved, window.start + row, Some(*weight as f32), line);
                }
                for (window, to) in columns.iter().zip(to.as_chunks_mut::<3>().0) {
                    *to = [0.0; 3];
                    for (weight, from) in window.weights.iter().zip(&line.as_chunks::<3>().0[window.start..]) {
                        (0..3).for_each(|c| to[c] += *weight as f32 * from[c]);
                    }
                }
            }
        });
    }

    /// Sets `to` to row `row` of the moved image, or adds `weight` times that row to it, in 0..255.
    fn row(&self, Moved { image, flip, by }: Moved<'_>, row: usize, weight: Option<f32>, to: &mut [f32]) {
        let (height, width) = (self.images.height, self.images.width);
        let [x, y] = by.map(isize::from);
        let row = row.checked_add_signed(y).filter(|r| *r < height);
        for (column, to) in to.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let column = if flip { width - 1 - column } else { column };
            let column = column.checked_add_signed(x).filter(|c| *c < width);
            let value = match (row, column) {
                (Some(row), Some(column)) => pixel(image, row * width + column),
                _ => [0.0; 3],
            };
            for c in 0..3 {
                to[c] = weight.map_or(value[c], |weight| to[c] + weight * value[c]);
            }
        }
    }

    /// Each place of the output mapped into the image, in 0..255.
    fn warped(&self, image: &[u8], warp: &Warp, flip: bool, to: &mut [f32]) {
        let [across, down] = warp.lines(self.size, flip).map(|line| line.map(|v| v as f32));
        let [left, top, right, bottom] = warp.cut.map(f32::from);
        for (at, to) in to.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (row, column) = ((at / self.size) as f32, (at % self.size) as f32);
            let place = |line: [f32; 4]| line[0].mul_add(column, line[1].mul_add(row, line[2]));
            let (x, y) = (place(across), place(down));
            *to = [0.0; 3];
            if x < left || x > right || y < top || y > bottom {
                continue;
            }
            let (columns, rows) = (taps(x, across[3], [left, right]), taps(y, down[3], [top, bottom]));
            let mut total = 0.0;
            for row in rows {
                let weight = triangle(y, down[3], row);
                for column in columns.clone() {
                    let weight = weight * triangle(x, across[3], column);
                    let value = pixel(image, row * self.images.width + column);
                    (0..3).for_each(|c| to[c] += weight * value[c]);
                    total += weight;
                }
            }
            to.iter_mut().for_each(|v| *v /= total);
        }
    }
}

fn pixel(image: &[u8], at: usize) -> [f32; 3] {
    let from = &image[at * 3..][..3];
    [f32::from(from[0]), f32::from(from[1]), f32::from(from[2])]
}

/// Pixels within `reach` of a place, inside of `cut`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positions in an image, cut at 0")]
fn taps(place: f32, reach: f32, cut: [f32; 2]) -> std::ops::Range<usize> {
    let [first, end] = [place - reach + 0.5, place + reach + 0.5].map(|v| v.clamp(cut[0], cut[1]) as usize);
    first..end
}

/// The filter's weight of a pixel: not 0 for any that is a tap, unless it lies at the very end of the reach.
fn triangle(place: f32, reach: f32, pixel: usize) -> f32 {
    (1.0 - ((pixel as f32 + 0.5 - place) / reach).abs()).max(0.0)
}

fn coloured(colour: &Colour, pixel: &mut [f32; 3]) {
    let [r, g, b] = *pixel;
    for ((value, row), shift) in pixel.iter_mut().zip(&colour.matrix).zip(colour.shift) {
        let mut v = row[0].mul_add(r, row[1].mul_add(g, row[2].mul_add(b, row[3]))).clamp(0.0, 255.0);
        if v >= colour.solarize {
            v = 255.0 - v;
        }
        if colour.posterize < 8 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255")]
            let level = v as u32;
            v = (level & colour.mask()) as f32;
        }
        *value = v + shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::reference::gather as truth;
    use crate::engine::cpu::tests::{distance, noise};
    use crate::engine::gpu::selftest::gather::{Kind, picks};
    use crate::test_support::images;

    #[test]
    fn samples_of_every_kind() {
        for (height, width, size) in [(8, 8, 8), (7, 5, 6), (6, 9, 13), (40, 33, 5), (1, 1, 3), (3, 2, 1)] {
            let pixels: Vec<u8> = noise(11 * height * width * 3, 5).iter().map(|v| (v * 127.0 + 128.0) as u8).collect();
            let images = images(pixels, height, width);
            let normalisation = Normalisation { mean: [0.48, 0.45, 0.4], std: [0.28, 0.27, 0.25] };
            let gallery = Gallery::new(images.clone(), size, 2).expect("memory");
            for kind in [Kind::Plain, Kind::Mixed, Kind::Warped] {
                let picks = picks(&images, kind);
                let mut output = vec![f32::NAN; picks.len() * size * size * 3];
                gallery.gather(&picks, &normalisation, &mut output);
                let error = distance(&output, &truth::gather(&images, &picks, size, &normalisation));
                assert!(error < 3e-6, "{kind:?} {height} x {width} to {size}: {error}");
            }
        }
    }
}
