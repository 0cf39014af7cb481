// gather.wgsl of images that have the network's size.

// A pixel of the output of an image that is not warped.
fn plain(base: u32, flags: u32, row: u32, column: u32) -> vec3<f32> {
    return moved(base, flags, i32(row), i32(column));
}
