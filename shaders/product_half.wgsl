enable f16;
// C[slice] = A[slice] B[slice] with factors rounded to f16 and sums in f32, for matrix units (tensor cores). Goes behind the
// operand files of product_tiled.wgsl, which says what they define; A, B and C stay f32 in memory. Ahead of it goes one of
//   product_half_cooperative.wgsl  products of 16x16x16 by cooperative matrices
//   product_half_emulated.wgsl     the same products in plain f32, for software devices: everything else here is the same
// Both define
//   alias Left, Right, Sum         16x16 of A, of B and of C, as a subgroup of 32 holds them
//   fn subgroup_of(local: u32, subgroup: u32) -> u32      which of the workgroup's subgroups an invocation belongs to
//   fn left(at: u32) -> Left, fn right(at: u32) -> Right  from tile_a and tile_b
//   fn multiply_add(a: Left, b: Right, sum: Sum, local: u32) -> Sum
//   fn put(sum: Sum, at: u32, local: u32)                 into results[at ..], rows of four vec4
// Twin: engine::cpu::reference::convolution over factors rounded to f16.
//
// From the host: TILE_ROWS (a multiple of 64), TILE_COLUMNS (of 32), CHUNK (of 16) as in product_tiled.wgsl. A subgroup
// computes 64 rows and 32 columns: eight sums, for which it reads six 16x16 of factors each time. Tiles lie in workgroup
// memory as the operands lie in memory, along the depth or across it, and are read row-major or column-major: nothing is
// turned. A line has two vec4<f16> more than it needs, so that eight lines start in different banks.

const TILE_DEPTH = 16u;
const ACROSS = TILE_COLUMNS / 32u; // subgroups side by side
const THREADS = TILE_ROWS / 64u * ACROSS * 32u;
// vec4 of a line, lines, and vec4 from one line to the next.
const WIDTH_A = select(TILE_ROWS, TILE_DEPTH, A_ALONG_DEPTH) / 4u;
const WIDTH_B = select(TILE_COLUMNS, TILE_DEPTH, B_ALONG_DEPTH) / 4u;
const LINES_A = select(TILE_DEPTH, TILE_ROWS, A_ALONG_DEPTH);
const LINES_B = select(TILE_DEPTH, TILE_COLUMNS, B_ALONG_DEPTH);
const STRIDE_A = WIDTH_A + 2u;
const STRIDE_B = WIDTH_B + 2u;
// vec4 that an invocation brings of each tile, and lines from one to the next.
const LOADS_A = LINES_A * WIDTH_A / THREADS;
const LOADS_B = LINES_B * WIDTH_B / THREADS;
const STEP_A = THREADS / WIDTH_A;
const STEP_B = THREADS / WIDTH_B;

var<workgroup> tile_a: array<vec4<f16>, LINES_A * STRIDE_A>;
var<workgroup> tile_b: array<vec4<f16>, LINES_B * STRIDE_B>;
// Of each subgroup, one sum on its way to memory.
var<workgroup> results: array<vec4<f32>, THREADS * 2u>;

// Where 16 rows of A from `row` on, or 16 columns of B, begin in their tile.
fn at_a(row: u32) -> u32 {
    return select(row / 4u, row * STRIDE_A, A_ALONG_DEPTH);
}

fn at_b(column: u32) -> u32 {
    return select(column / 4u, column * STRIDE_B, B_ALONG_DEPTH);
}

// What an invocation brings of the next tile while it computes on this one.
struct Brought {
    a: array<vec4<f16>, LOADS_A>,
    b: array<vec4<f16>, LOADS_B>,
}

fn fetch(slice: u32, my_rows: array<Row, LOADS_A>, first_column: u32, depth: u32, local: u32) -> Brought {
    var brought: Brought;
    var lines = my_rows;
    for (var j = 0u; j < LOADS_A; j++) {
        let d = select(local / WIDTH_A + j * STEP_A, local % WIDTH_A * 4u, A_ALONG_DEPTH);
        brought.a[j] = vec4<f16>(load_a(lines[j], at_depth(slice, depth + d)));
    }
    for (var j = 0u; j < LOADS_B; j++) {
        let d = select(local / WIDTH_B + j * STEP_B, local % WIDTH_B * 4u, B_ALONG_DEPTH);
        let column = first_column + select(local % WIDTH_B * 4u, local / WIDTH_B + j * STEP_B, B_ALONG_DEPTH);
        brought.b[j] = vec4<f16>(load_b(column, at_depth(slice, depth + d)));
    }
    return brought;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup_id: u32,
) {
    let slice = group.z;
    let tiles = (columns() + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let index = group_index(group, groups);
    let first_row = index / tiles * TILE_ROWS;
    let first_column = index % tiles * TILE_COLUMNS;
    if (first_row >= rows()) {
        return;
    }

    // What this invocation brings: vec4 of one depth and several rows where memory runs along the depth, else of one row
    // and several depths; likewise of B.
    let place_a = local / WIDTH_A * STRIDE_A + local % WIDTH_A;
    let place_b = local / WIDTH_B * STRIDE_B + local % WIDTH_B;
    var my_rows: array<Row, LOADS_A>;
    for (var j = 0u; j < LOADS_A; j++) {
        my_rows[j] = at_row(slice, first_row + select(local % WIDTH_A * 4u, local / WIDTH_A + j * STEP_A, A_ALONG_DEPTH));
    }

    let subgroup = subgroup_of(local, subgroup_id);
    let top = subgroup / ACROSS * 64u;
    let left_edge = subgroup % ACROSS * 32u;
    let range = depths(slice);
    var depth = range.x;
    var first = true;
    var next = fetch(slice, my_rows, first_column, depth, local);
    loop {
        // c<i><j>: rows top + 16 i, columns left_edge + 16 j.
        var c00 = Sum(); var c01 = Sum(); var c10 = Sum(); var c11 = Sum();
        var c20 = Sum(); var c21 = Sum(); var c30 = Sum(); var c31 = Sum();
        let end = min(depth + CHUNK, range.y);
        while (depth < end) {
            workgroupBarrier(); // everybody is done with the tile before
            for (var j = 0u; j < LOADS_A; j++) {
                tile_a[place_a + j * STEP_A * STRIDE_A] = next.a[j];
            }
            for (var j = 0u; j < LOADS_B; j++) {
                tile_b[place_b + j * STEP_B * STRIDE_B] = next.b[j];
            }
            workgroupBarrier();
            depth += TILE_DEPTH;
            next = fetch(slice, my_rows, first_column, depth, local);
            let b0 = right(at_b(left_edge));
            let b1 = right(at_b(left_edge + 16u));
            let a0 = left(at_a(top));
            c00 = multiply_add(a0, b0, c00, local);
            c01 = multiply_add(a0, b1, c01, local);
            let a1 = left(at_a(top + 16u));
            c10 = multiply_add(a1, b0, c10, local);
            c11 = multiply_add(a1, b1, c11, local);
            let a2 = left(at_a(top + 32u));
            c20 = multiply_add(a2, b0, c20, local);
            c21 = multiply_add(a2, b1, c21, local);
            let a3 = left(at_a(top + 48u));
            c30 = multiply_add(a3, b0, c30, local);
            c31 = multiply_add(a3, b1, c31, local);
        }
        // One sum of each subgroup after another, through workgroup memory: which invocation holds which number is the
        // driver's secret.
        for (var part = 0u; part < 8u; part++) {
            workgroupBarrier();
            let at = subgroup * 64u;
            switch part {
                case 0u: { put(c00, at, local); }
                case 1u: { put(c01, at, local); }
                case 2u: { put(c10, at, local); }
                case 3u: { put(c11, at, local); }
                case 4u: { put(c20, at, local); }
                case 5u: { put(c21, at, local); }
                case 6u: { put(c30, at, local); }
                default: { put(c31, at, local); }
            }
            workgroupBarrier();
            let region = local / 32u;
            let row = first_row + region / ACROSS * 64u + part / 2u * 16u + local % 32u / 2u;
            let column = first_column + region % ACROSS * 32u + part % 2u * 16u + local % 2u * 8u;
            for (var j = 0u; j < 2u; j++) {
                if (row < rows() && column + 4u * j < columns()) {
                    store(slice, row, column + 4u * j, results[2u * local + j], first);
                }
            }
        }
        first = false;
        if (depth >= range.y) {
            break;
        }
    }
}
