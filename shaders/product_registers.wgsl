// C[slice] = A[slice] B[slice] without workgroup memory and barriers, which cost software devices 4 to 7 times; for those.
// Goes behind an operand file, as product_tiled.wgsl describes. From the host: CHUNK, a multiple of four.
//
// A workgroup is one vector of 8 lanes with 16 rows of C; a lane has 8 columns of them, in 8 blocks of 4x4. With b[d] the
// columns at depth d and a[j] the depths of row j, the matrix product b * a is the block's four rows.

const BLOCK_ROWS = 16u;
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

    // Where A lies along the depth every row is loaded from, else every fourth with the three behind it.
    let r0 = at_row(slice, top); let r4 = at_row(slice, top + 4u);
    let r8 = at_row(slice, top + 8u); let r12 = at_row(slice, top + 12u);
    var r1: Row; var r2: Row; var r3: Row; var r5: Row; var r6: Row; var r7: Row;
    var r9: Row; var r10: Row; var r11: Row; var r13: Row; var r14: Row; var r15: Row;
    if (A_ALONG_DEPTH) {
        r1 = at_row(slice, top + 1u); r2 = at_row(slice, top + 2u); r3 = at_row(slice, top + 3u);
        r5 = at_row(slice, top + 5u); r6 = at_row(slice, top + 6u); r7 = at_row(slice, top + 7u);
        r9 = at_row(slice, top + 9u); r10 = at_row(slice, top + 10u); r11 = at_row(slice, top + 11u);
        r13 = at_row(slice, top + 13u); r14 = at_row(slice, top + 14u); r15 = at_row(slice, top + 15u);
    }

    let range = depths(slice);
    var depth = range.x;
    var first = true;
    loop {
        // c[block of four rows][left or right].
        var c00 = mat4x4<f32>(); var c10 = mat4x4<f32>(); var c20 = mat4x4<f32>(); var c30 = mat4x4<f32>();
        var c01 = mat4x4<f32>(); var c11 = mat4x4<f32>(); var c21 = mat4x4<f32>(); var c31 = mat4x4<f32>();
        let end = min(depth + CHUNK, range.y);
        for (; depth < end; depth += 4u) {
            let d0 = at_depth(slice, depth);
            var d1: Depth; var d2: Depth; var d3: Depth;
            if (!A_ALONG_DEPTH || !B_ALONG_DEPTH) {
                d1 = at_depth(slice, depth + 1u); d2 = at_depth(slice, depth + 2u); d3 = at_depth(slice, depth + 3u);
            }
            let b0 = block_b(left0, d0, d1, d2, d3);
            let b1 = block_b(left1, d0, d1, d2, d3);
            var a0: mat4x4<f32>; var a1: mat4x4<f32>; var a2: mat4x4<f32>; var a3: mat4x4<f32>;
            if (A_ALONG_DEPTH) {
                a0 = mat4x4<f32>(load_a(r0, d0), load_a(r1, d0), load_a(r2, d0), load_a(r3, d0));
                a1 = mat4x4<f32>(load_a(r4, d0), load_a(r5, d0), load_a(r6, d0), load_a(r7, d0));
                a2 = mat4x4<f32>(load_a(r8, d0), load_a(r9, d0), load_a(r10, d0), load_a(r11, d0));
                a3 = mat4x4<f32>(load_a(r12, d0), load_a(r13, d0), load_a(r14, d0), load_a(r15, d0));
            } else {
                a0 = transpose(mat4x4<f32>(load_a(r0, d0), load_a(r0, d1), load_a(r0, d2), load_a(r0, d3)));
                a1 = transpose(mat4x4<f32>(load_a(r4, d0), load_a(r4, d1), load_a(r4, d2), load_a(r4, d3)));
                a2 = transpose(mat4x4<f32>(load_a(r8, d0), load_a(r8, d1), load_a(r8, d2), load_a(r8, d3)));
                a3 = transpose(mat4x4<f32>(load_a(r12, d0), load_a(r12, d1), load_a(r12, d2), load_a(r12, d3)));
            }
            c00 += b0 * a0; c10 += b0 * a1; c20 += b0 * a2; c30 += b0 * a3;
            c01 += b1 * a0; c11 += b1 * a1; c21 += b1 * a2; c31 += b1 * a3;
        }
        put(slice, top, left0, c00, first); put(slice, top, left1, c01, first);
        put(slice, top + 4u, left0, c10, first); put(slice, top + 4u, left1, c11, first);
        put(slice, top + 8u, left0, c20, first); put(slice, top + 8u, left1, c21, first);
        put(slice, top + 12u, left0, c30, first); put(slice, top + 12u, left1, c31, first);
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
