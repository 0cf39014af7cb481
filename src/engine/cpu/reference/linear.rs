//! Linear layer: y[n,o] = b[o] + sum over i of weight[o,i] * x[n,i].
//!
//! x [n, inputs], y [n, outputs], weight [outputs, inputs], bias [outputs]. Source: torch.nn.Linear.

use super::Real;

/// y; overwritten. `inputs` is the length of a row of x.
pub fn forward<T: Real>(inputs: usize, x: &[T], weight: &[T], bias: &[T], y: &mut [T]) {
    for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact_mut(bias.len())) {
        for (o, out) in y.iter_mut().enumerate() {
            let row = &weight[o * inputs..(o + 1) * inputs];
            *out = bias[o] + row.iter().zip(x).fold(T::zero(), |sum, (w, v)| sum + *w * *v);
        }
    }
}

/// dx[n,i] = sum over o of dy[n,o] * weight[o,i]; overwritten.
pub fn backward_input<T: Real>(inputs: usize, weight: &[T], dy: &[T], dx: &mut [T]) {
    let outputs = weight.len() / inputs;
    dx.fill(T::zero());
    for (dx, dy) in dx.chunks_exact_mut(inputs).zip(dy.chunks_exact(outputs)) {
        for (row, d) in weight.chunks_exact(inputs).zip(dy) {
            for (out, w) in dx.iter_mut().zip(row) {
                *out += *d * *w;
            }
        }
    }
}

/// dweight[o,i] = sum over n of dy[n,o] * x[n,i], dbias[o] = sum over n of dy[n,o]; both overwritten.
pub fn backward_weight<T: Real>(inputs: usize, x: &[T], dy: &[T], dweight: &mut [T], dbias: &mut [T]) {
    dweight.fill(T::zero());
    dbias.fill(T::zero());
    for (x, dy) in x.chunks_exact(inputs).zip(dy.chunks_exact(dbias.len())) {
        for (o, d) in dy.iter().enumerate() {
            dbias[o] += *d;
            for (out, v) in dweight[o * inputs..(o + 1) * inputs].iter_mut().zip(x) {
                *out += *d * *v;
            }
        }
    }
}
