// The 16x16x16 products of product_half.wgsl without matrix units: the same f16 factors, multiplied and added in f32, each
// invocation a row of eight. For software devices, to test all that is around the matrix units; never offered on hardware.
// Speed does not matter here, but a processor's compiler does: it would make sixteen copies of every loop whose bound it
// knows, and take half a minute.

alias Left = u32;  // where it begins in its tile
alias Right = u32;
alias Sum = mat2x4<f32>;

// `count`, as every batch has a sample.
fn at_most(count: u32) -> u32 {
    return min(count, count - 1u + step.batch);
}

fn subgroup_of(local: u32, subgroup: u32) -> u32 {
    return local / 32u;
}

fn lane_of(local: u32, lane: u32) -> u32 {
    return local % 32u;
}

fn left(at: u32) -> Left {
    return at;
}

fn right(at: u32) -> Right {
    return at;
}

fn of_a(at: u32, row: u32, depth: u32) -> f32 {
    if (A_ALONG_DEPTH) {
        return f32(tile_a[at + row * STRIDE_A + depth / 4u][depth % 4u]);
    }
    return f32(tile_a[at + depth * STRIDE_A + row / 4u][row % 4u]);
}

// Four columns of B.
fn of_b(at: u32, column: u32, depth: u32) -> vec4<f32> {
    if (B_ALONG_DEPTH) {
        let i = at + column * STRIDE_B + depth / 4u;
        let d = depth % 4u;
        return vec4<f32>(vec4<f16>(
            tile_b[i][d], tile_b[i + STRIDE_B][d], tile_b[i + 2u * STRIDE_B][d], tile_b[i + 3u * STRIDE_B][d],
        ));
    }
    return vec4<f32>(tile_b[at + depth * STRIDE_B + column / 4u]);
}

fn multiply_add(a: Left, b: Right, sum: Sum, lane: u32) -> Sum {
    let row = lane / 2u;
    let column = lane % 2u * 8u;
    var total = sum;
    for (var depth = 0u; depth < at_most(16u); depth++) {
        let factor = vec4<f32>(of_a(a, row, depth));
        total[0] = fma(factor, of_b(b, column, depth), total[0]);
        total[1] = fma(factor, of_b(b, column + 4u, depth), total[1]);
    }
    return total;
}

fn put(sum: Sum, at: u32, lane: u32) {
    let i = at + lane * 2u;
    results[i] = sum[0];
    results[i + 1u] = sum[1];
}
