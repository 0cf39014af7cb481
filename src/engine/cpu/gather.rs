//! From picks to activations: crop, mirror, resize and normalise u8 pixels where they lie, a sample a task.
//!
//! Resizing filters rows first and columns after, with the windows of [`resample`](crate::engine::resample), without
//! rounding in between.

use rayon::prelude::*;

use super::buffer::Scratch;
use crate::engine::resample::{Window, windows};
use crate::engine::{Images, Normalisation, Pick};
use crate::error::Result;

/// An attached image set, with what resizing it needs.
pub struct Gallery {
    /// The pixels.
    pub images: Images,
    /// Height and width of the result.
    size: usize,
    /// Filters of rows and columns; `None` where the images have the network's size already.
    filters: Option<(Vec<Window>, Vec<Window>)>,
    /// One filtered image row a thread.
    scratch: Scratch,
}

impl Gallery {
    /// Images for a network of `size`. Errors: no memory left.
    pub fn new(images: Images, size: usize, threads: usize) -> Result<Self> {
        let fits = images.height == size && images.width == size;
        let filters = (!fits).then(|| (windows(images.height, size), windows(images.width, size)));
        let scratch = Scratch::new(threads, images.width * 3)?;
        Ok(Self { images, size, filters, scratch })
    }

    /// Fills `to` [n, size, size, 3] with the picked samples. The picks lie within the images.
    pub fn gather(&self, picks: &[Pick], normalisation: &Normalisation, to: &mut [f32]) {
        let pixels: &[u8] = (*self.images.pixels).as_ref();
        let sample = self.images.height * self.images.width * 3;
        let factor: [f32; 3] = std::array::from_fn(|c| 1.0 / (255.0 * normalisation.std[c]));
        let offset: [f32; 3] = std::array::from_fn(|c| -normalisation.mean[c] / normalisation.std[c]);
        to.par_chunks_mut(self.size * self.size * 3).zip(picks).with_max_len(1).for_each(|(to, pick)| {
            let image = &pixels[pick.index as usize * sample..][..sample];
            match &self.filters {
                None => {
                    for (row, to) in to.chunks_exact_mut(self.size * 3).enumerate() {
                        self.add_row(image, pick, row, 1.0, false, to);
                    }
                }
                Some((rows, columns)) => self.scratch.with(|line| {
                    for (window, to) in rows.iter().zip(to.chunks_exact_mut(self.size * 3)) {
                        line.fill(0.0);
                        for (row, weight) in window.weights.iter().enumerate() {
                            self.add_row(image, pick, window.start + row, *weight as f32, true, line);
                        }
                        for (window, to) in columns.iter().zip(to.as_chunks_mut::<3>().0) {
                            *to = [0.0; 3];
                            for (weight, from) in window.weights.iter().zip(&line.as_chunks::<3>().0[window.start..]) {
                                (0..3).for_each(|c| to[c] += *weight as f32 * from[c]);
                            }
                        }
                    }
                }),
            }
            for pixel in to.as_chunks_mut::<3>().0 {
                (0..3).for_each(|c| pixel[c] = pixel[c] * factor[c] + offset[c]);
            }
        });
    }

    /// Sets `to` to, or with `add` adds, `weight` times row `row` of the cropped and mirrored image, in 0..255.
    fn add_row(&self, image: &[u8], pick: &Pick, row: usize, weight: f32, add: bool, to: &mut [f32]) {
        let (height, width) = (self.images.height, self.images.width);
        let row = row.checked_add_signed(pick.offset_y.into()).filter(|r| *r < height);
        for (column, to) in to.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let column = if pick.flip { width - 1 - column } else { column };
            let column = column.checked_add_signed(pick.offset_x.into()).filter(|c| *c < width);
            let value = match (row, column) {
                (Some(row), Some(column)) => {
                    let from = &image[(row * width + column) * 3..][..3];
                    [f32::from(from[0]), f32::from(from[1]), f32::from(from[2])]
                }
                _ => [0.0; 3],
            };
            for c in 0..3 {
                to[c] = if add { to[c] + weight * value[c] } else { value[c] };
            }
        }
    }
}
