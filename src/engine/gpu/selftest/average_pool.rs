//! Adaptive averages against [`reference::average_pool`](crate::engine::cpu::reference::average_pool) in f64.

use super::{Check, Gpu, Step, distance, execute, narrow, padded, sizes, unpadded, unwritten, values, wide};
use crate::engine::cpu::reference::average_pool as twin;
use crate::engine::gpu::average_pool;
use crate::error::Result;
use crate::vgg::Shape;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    for (shape, samples, size) in [
        (Shape::new(2, 2, 5), 2, 1),
        (Shape::new(2, 2, 6), 3, 7),
        (Shape::new(5, 3, 3), 4, 2),
        (Shape::new(7, 7, 12), 2, 7),
        (Shape::new(10, 13, 1), 2, 7),
        (Shape::new(1, 1, 68), 5, 3),
    ] {
        let (c, features) = (shape.channels, shape.channels * size * size);
        let x = values(1, samples * shape.elements());
        let dy = values(2, samples * features);
        let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        twin::forward(shape, size, &wide(&x), &mut y);
        twin::backward(shape, size, &wide(&dy), &mut dx);
        let ours = gpu.upload("x", &padded(&x, c))?;
        let gradient = gpu.upload("dy", &padded(&dy, features))?;
        let (result, back) = (unwritten(gpu, padded(&dy, features).len())?, unwritten(gpu, padded(&x, c).len())?);
        let calls = [
            average_pool::forward(gpu, "forward", shape, size, &ours, &result)?,
            average_pool::backward(gpu, "backward", shape, size, &gradient, &back)?,
        ];
        execute(gpu, &calls, samples, Step::default())?;
        for (variant, ours, width, twin) in [("forward", &result, features, &y), ("backward", &back, c, &dx)] {
            let error = distance(&unpadded(&gpu.read::<f32>(ours)?, width), &narrow(twin));
            let sizes = format!("{} to {size} x {size}", sizes(shape, samples));
            tell(Check { operation: "average_pool", variant: variant.into(), sizes, error, allowed: 1e-6 });
        }
    }
    Ok(())
}
