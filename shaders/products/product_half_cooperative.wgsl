enable wgpu_cooperative_matrix;
// The 16x16x16 products of product_half.wgsl by cooperative matrices of f16 with sums in f32: matrix units, each for a whole
// subgroup. Strides count vec4, the type that is pointed to (SPV_KHR_cooperative_matrix). No global may be named A, B or C:
// these are the roles of matrices.

alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;

fn at_most(count: u32) -> u32 {
    return count;
}

fn subgroup_of(local: u32, subgroup: u32) -> u32 {
    return subgroup;
}

fn lane_of(local: u32, lane: u32) -> u32 {
    return lane;
}

// coopLoadT and coopStoreT are row-major.
fn left(at: u32) -> Left {
    if (A_ALONG_DEPTH) {
        return coopLoadT<Left>(&tile_a[at], STRIDE_A);
    }
    return coopLoad<Left>(&tile_a[at], STRIDE_A);
}

fn right(at: u32) -> Right {
    if (B_ALONG_DEPTH) {
        return coopLoad<Right>(&tile_b[at], STRIDE_B);
    }
    return coopLoadT<Right>(&tile_b[at], STRIDE_B);
}

fn multiply_add(a: Left, b: Right, sum: Sum, lane: u32) -> Sum {
    return coopMultiplyAdd(a, b, sum);
}

fn put(sum: Sum, at: u32, lane: u32) {
    coopStoreT(sum, &results[at], 4u);
}
