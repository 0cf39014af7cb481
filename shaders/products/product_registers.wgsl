// C[slice] = A[slice] B[slice] without workgroup memory and barriers, which cost software devices 4 to 7 times; for those.
// Goes behind an operand file, as product_tiled.wgsl describes. From the host: CHUNK, a multiple of four.
//
// A workgroup is one subgroup of 8 lanes with 32 rows of C; a lane has 8 columns of them, in blocks of 4x4. With b[d] the
// columns at depth d and a[j] the depths of row j, the matrix product b * a is the block's four rows. A load costs such a
// device as much as 40 multiply-adds: each lane loads an eighth of A and hands it to the others.

const BLOCK_ROWS = 32u;
const BLOCK_COLUMNS = 64u;

// Columns column .. column + 4 at four depths; result[d] is the depth's.
fn block_b(column: u32, d0: Depth, d1: Depth, d2: Depth, d3: Depth) -> mat4x4<f32> {
    if (B_ALONG_DEPTH) {
        return transpose(mat4x4<f32>(
            load_b(column, d0),
            load_b(column + 1u, d0),
            load_b(column + 2u, d0),
            load_b(column + 3u, d0),
        ));
    }
    return mat4x4<f32>(load_b(column, d0), load_b(column, d1), load_b(column, d2), load_b(column, d3));
}

// Four rows of A from what the first or the last four lanes loaded.
fn low(v: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupBroadcast(v, 0u),
        subgroupBroadcast(v, 1u),
        subgroupBroadcast(v, 2u),
        subgroupBroadcast(v, 3u),
    );
}

fn high(v: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupBroadcast(v, 4u),
        subgroupBroadcast(v, 5u),
        subgroupBroadcast(v, 6u),
        subgroupBroadcast(v, 7u),
    );
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let slice = group.z;
    let across = (columns() + BLOCK_COLUMNS - 1u) / BLOCK_COLUMNS;
    let index = group_index(group, groups);
    let top = index / across * BLOCK_ROWS;
    if (top >= rows()) {
        return;
    }
    let left0 = index % across * BLOCK_COLUMNS + lane * 4u;
    let left1 = left0 + 32u;

    // Where A lies along the depth a lane loads four rows, else a row with the three behind it.
    var r0: Row; var r1: Row; var r2: Row; var r3: Row;
    if (A_ALONG_DEPTH) {
        r0 = at_row(slice, top + lane); r1 = at_row(slice, top + 8u + lane);
        r2 = at_row(slice, top + 16u + lane); r3 = at_row(slice, top + 24u + lane);
    } else {
        r0 = at_row(slice, top + lane * 4u);
    }

    let range = depths(slice);
    var depth = range.x;
    var first = true;
    loop {
        // c[block of four rows][left or right].
        var c00 = mat4x4<f32>(); var c10 = mat4x4<f32>(); var c20 = mat4x4<f32>(); var c30 = mat4x4<f32>();
        var c40 = mat4x4<f32>(); var c50 = mat4x4<f32>(); var c60 = mat4x4<f32>(); var c70 = mat4x4<f32>();
        var c01 = mat4x4<f32>(); var c11 = mat4x4<f32>(); var c21 = mat4x4<f32>(); var c31 = mat4x4<f32>();
        var c41 = mat4x4<f32>(); var c51 = mat4x4<f32>(); var c61 = mat4x4<f32>(); var c71 = mat4x4<f32>();
        let end = min(depth + CHUNK, range.y);
        for (; depth < end; depth += 4u) {
            let d0 = at_depth(slice, depth);
            var d1: Depth; var d2: Depth; var d3: Depth;
            if (!A_ALONG_DEPTH || !B_ALONG_DEPTH) {
                d1 = at_depth(slice, depth + 1u); d2 = at_depth(slice, depth + 2u); d3 = at_depth(slice, depth + 3u);
            }
            let b0 = block_b(left0, d0, d1, d2, d3);
            let b1 = block_b(left1, d0, d1, d2, d3);
            if (A_ALONG_DEPTH) {
                let v0 = load_a(r0, d0); let v1 = load_a(r1, d0); let v2 = load_a(r2, d0); let v3 = load_a(r3, d0);
                let a0 = low(v0); c00 += b0 * a0; c01 += b1 * a0;
                let a1 = high(v0); c10 += b0 * a1; c11 += b1 * a1;
                let a2 = low(v1); c20 += b0 * a2; c21 += b1 * a2;
                let a3 = high(v1); c30 += b0 * a3; c31 += b1 * a3;
                let a4 = low(v2); c40 += b0 * a4; c41 += b1 * a4;
                let a5 = high(v2); c50 += b0 * a5; c51 += b1 * a5;
                let a6 = low(v3); c60 += b0 * a6; c61 += b1 * a6;
                let a7 = high(v3); c70 += b0 * a7; c71 += b1 * a7;
            } else {
                let v0 = load_a(r0, d0); let v1 = load_a(r0, d1); let v2 = load_a(r0, d2); let v3 = load_a(r0, d3);
                let a0 = transpose(mat4x4<f32>(
                    subgroupBroadcast(v0, 0u), subgroupBroadcast(v1, 0u),
                    subgroupBroadcast(v2, 0u), subgroupBroadcast(v3, 0u),
                ));
                c00 += b0 * a0; c01 += b1 * a0;
                let a1 = transpose(mat4x4<f32>(
                    subgroupBroadcast(v0, 1u), subgroupBroadcast(v1, 1u),
                    subgroupBroadcast(v2, 1u), subgroupBroadcast(v3, 1u),
                ));
                c10 += b0 * a1; c11 += b1 * a1;
                let a2 = transpose(mat4x4<f32>(
                    subgroupBroadcast(v0, 2u), subgroupBroadcast(v1, 2u),
                    subgroupBroadcast(v2, 2u), subgroupBroadcast(v3, 2u),
                ));
                c20 += b0 * a2; c21 += b1 * a2;
                let a3 = transpose(mat4x4<f32>(
                    subgroupBroadcast(v0, 3u), subgroupBroadcast(v1, 3u),
                    subgroupBroadcast(v2, 3u), subgroupBroadcast(v3, 3u),
                ));
                c30 += b0 * a3; c31 += b1 * a3;
                let a4 = transpose(mat4x4<f32>(
                    subgroupBroadcast(v0, 4u), subgroupBroadcast(v1, 4u),
                    subgroupBroadcast(v2, 4u), subgroupBroadcast(v3, 4u),
                ));
                c40 += b0 * a4; c41 += b1 * a4;
                let a5 = transpose(mat4x4<f32>(
                    subgroupBroadcast(v0, 5u), subgroupBroadcast(v1, 5u),
                    subgroupBroadcast(v2, 5u), subgroupBroadcast(v3, 5u),
                ));
                c50 += b0 * a5; c51 += b1 * a5;
                let a6 = transpose(mat4x4<f32>(
                    subgroupBroadcast(v0, 6u), subgroupBroadcast(v1, 6u),
                    subgroupBroadcast(v2, 6u), subgroupBroadcast(v3, 6u),
                ));
                c60 += b0 * a6; c61 += b1 * a6;
                let a7 = transpose(mat4x4<f32>(
                    subgroupBroadcast(v0, 7u), subgroupBroadcast(v1, 7u),
                    subgroupBroadcast(v2, 7u), subgroupBroadcast(v3, 7u),
                ));
                c70 += b0 * a7; c71 += b1 * a7;
            }
        }
        // A loop, as a store is hundreds of instructions on such a device, and all of them have to be compiled.
        for (var q = 0u; q < 8u; q++) {
            put(slice, top + q * 4u, left0, c00, first);
            put(slice, top + q * 4u, left1, c01, first);
            c00 = c10; c10 = c20; c20 = c30; c30 = c40; c40 = c50; c50 = c60; c60 = c70;
            c01 = c11; c11 = c21; c21 = c31; c31 = c41; c41 = c51; c51 = c61; c61 = c71;
        }
        first = false;
        if (depth >= range.y) {
            break;
        }
    }
}

// Stores four rows, as far as there are any.
fn put(slice: u32, row: u32, column: u32, values: mat4x4<f32>, first: bool) {
    if (column < columns()) {
        let end = rows();
        if (row < end) {
            store(slice, row, column, values[0], first);
        }
        if (row + 1u < end) {
            store(slice, row + 1u, column, values[1], first);
        }
        if (row + 2u < end) {
            store(slice, row + 2u, column, values[2], first);
        }
        if (row + 3u < end) {
            store(slice, row + 3u, column, values[3], first);
        }
    }
}
