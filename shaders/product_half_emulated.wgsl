// The 16x16x16 products of product_half.wgsl without matrix units: the same f16 factors, multiplied and added in f32, each
// invocation a row of eight. For software devices, to test all that is around the matrix units; never offered on hardware.

alias Left = u32;  // where it begins in its tile
alias Right = u32;
alias Sum = mat2x4<f32>;

fn subgroup_of(local: u32, subgroup: u32) -> u32 {
    return local / 32u;
}

fn left(at: u32) -> Left {
    return at;
}

fn right(at: u32) -> Right {
    return at;
}

// Four numbers of one row of A.
fn row_of_a(at: u32, row: u32, depth: u32) -> vec4<f32> {
    if (A_ALONG_DEPTH) {
        return vec4<f32>(tile_a[at + row * STRIDE_A + depth / 4u]);
    }
    let i = at + row / 4u;
    return vec4<f32>(
        f32(tile_a[i + depth * STRIDE_A][row % 4u]),
        f32(tile_a[i + (depth + 1u) * STRIDE_A][row % 4u]),
        f32(tile_a[i + (depth + 2u) * STRIDE_A][row % 4u]),
        f32(tile_a[i + (depth + 3u) * STRIDE_A][row % 4u]),
    );
}

// Four depths by four columns of B: a vector a depth.
fn block_of_b(at: u32, column: u32, depth: u32) -> mat4x4<f32> {
    if (B_ALONG_DEPTH) {
        let i = at + column * STRIDE_B + depth / 4u;
        return transpose(mat4x4<f32>(
            vec4<f32>(tile_b[i]),
            vec4<f32>(tile_b[i + STRIDE_B]),
            vec4<f32>(tile_b[i + 2u * STRIDE_B]),
            vec4<f32>(tile_b[i + 3u * STRIDE_B]),
        ));
    }
    let i = at + column / 4u + depth * STRIDE_B;
    return mat4x4<f32>(
        vec4<f32>(tile_b[i]),
        vec4<f32>(tile_b[i + STRIDE_B]),
        vec4<f32>(tile_b[i + 2u * STRIDE_B]),
        vec4<f32>(tile_b[i + 3u * STRIDE_B]),
    );
}

fn four_depths(a: vec4<f32>, b: mat4x4<f32>, sum: vec4<f32>) -> vec4<f32> {
    return fma(vec4<f32>(a.w), b[3], fma(vec4<f32>(a.z), b[2], fma(vec4<f32>(a.y), b[1], fma(vec4<f32>(a.x), b[0], sum))));
}

fn multiply_add(a: Left, b: Right, sum: Sum, local: u32) -> Sum {
    let row = local % 32u / 2u;
    let column = local % 2u * 8u;
    var total = sum;
    for (var depth = 0u; depth < 16u; depth += 4u) {
        let factors = row_of_a(a, row, depth);
        total[0] = four_depths(factors, block_of_b(b, column, depth), total[0]);
        total[1] = four_depths(factors, block_of_b(b, column + 4u, depth), total[1]);
    }
    return total;
}

fn put(sum: Sum, at: u32, local: u32) {
    let i = at + local % 32u * 2u;
    results[i] = sum[0];
    results[i + 1u] = sum[1];
}
