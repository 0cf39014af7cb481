//! Two-dimensional convolution (cross-correlation), stride 1, zero padding `kernel / 2`, with bias:
//! y[n,h,w,o] = b[o] + sum over i,r,s of weight[o,i,r,s] * x[n, h+r-p, w+s-p, i].
//!
//! x [n, height, width, inputs], y [n, height, width, outputs], weight [outputs, inputs, kernel, kernel], bias
//! [outputs]; kernel 1 or 3. Source: torch.nn.Conv2d. In half precision it is the same over
//! factors rounded by [`to_half`](super::to_half). No stride, no dilation, no groups: VGG has none.

use super::Real;

/// Sizes of one convolution.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Samples.
    pub batch: usize,
    /// Rows, in and out.
    pub height: usize,
    /// Columns, in and out.
    pub width: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// 1 or 3.
    pub kernel: usize,
}

impl Sizes {
    /// Calls `pair(x, y, tap)` with the offset of the first channel of an input pixel, of the output pixel that sees
    /// it, and the tap r * kernel + s, for all of them; output pixels in row-major order.
    fn for_each_tap(&self, mut pair: impl FnMut(usize, usize, usize)) {
        let padding = self.kernel / 2;
        for n in 0..self.batch {
            for h in 0..self.height {
                for w in 0..self.width {
                    let y = ((n * self.height + h) * self.width + w) * self.outputs;
                    for r in 0..self.kernel {
                        for s in 0..self.kernel {
                            let (row, column) = (h + r, w + s);
                            let inside = (padding..self.height + padding).contains(&row)
                                && (padding..self.width + padding).contains(&column);
                            if inside {
                                let pixel = (n * self.height + row - padding) * self.width + column - padding;
                                pair(pixel * self.inputs, y, r * self.kernel + s);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Offset of weight[o, i, r, s] with tap r * kernel + s.
    fn weight(&self, o: usize, i: usize, tap: usize) -> usize {
        (o * self.inputs + i) * self.kernel * self.kernel + tap
    }
}

/// y; overwritten.
pub fn forward<T: Real>(sizes: Sizes, x: &[T], weight: &[T], bias: &[T], y: &mut [T]) {
    for pixel in y.chunks_exact_mut(sizes.outputs) {
        pixel.copy_from_slice(bias);
    }
    sizes.for_each_tap(|x0, y0, tap| {
        for o in 0..sizes.outputs {
            for i in 0..sizes.inputs {
                y[y0 + o] += weight[sizes.weight(o, i, tap)] * x[x0 + i];
            }
        }
    });
}

/// dx[n,h,w,i] = sum of weight[o,i,r,s] * dy over the outputs that saw the pixel; overwritten.
pub fn backward_input<T: Real>(sizes: Sizes, weight: &[T], dy: &[T], dx: &mut [T]) {
    dx.fill(T::zero());
    sizes.for_each_tap(|x0, y0, tap| {
        for o in 0..sizes.outputs {
            for i in 0..sizes.inputs {
                dx[x0 + i] += weight[sizes.weight(o, i, tap)] * dy[y0 + o];
            }
        }
    });
}

/// dweight[o,i,r,s] = sum over n,h,w of dy * x, dbias[o] = sum over n,h,w of dy; both overwritten. The sums run over
/// every pixel of a batch and are kept in f64, whatever the numbers are.
pub fn backward_weight<T: Real>(sizes: Sizes, x: &[T], dy: &[T], dweight: &mut [T], dbias: &mut [T]) {
    let mut sums = vec![0.0; dweight.len()];
    sizes.for_each_tap(|x0, y0, tap| {
        for o in 0..sizes.outputs {
            for i in 0..sizes.inputs {
                sums[sizes.weight(o, i, tap)] += (dy[y0 + o] * x[x0 + i]).wide();
            }
        }
    });
    for (d, sum) in dweight.iter_mut().zip(sums) {
        *d = T::of(sum);
    }
    for (o, d) in dbias.iter_mut().enumerate() {
        *d = T::of(dy.chunks_exact(sizes.outputs).map(|pixel| pixel[o].wide()).sum());
    }
}
