// C[slice] = A[slice] B[slice], tiles in workgroup memory and 8x8 results an invocation in registers; for hardware.
// Goes behind an operand file, which says what A [rows][depth], B [depth][columns] and C [rows][columns] are; the same
// operand files serve product_registers.wgsl. What an operand file defines:
//
//   const A_ALONG_DEPTH: bool       true: load_a gives A[row][depth .. depth + 4], depth a multiple of four;
//                                   false: A[row .. row + 4][depth], row a multiple of four
//   const B_ALONG_DEPTH: bool       true: load_b gives B[depth .. depth + 4][column], depth a multiple of four;
//                                   false: B[depth][column .. column + 4], column a multiple of four
//   struct Row, struct Depth        what is worth knowing of a row, or of a depth, before it is loaded from
//   fn rows() -> u32                of C in this dispatch; may depend on step.samples
//   fn columns() -> u32             of C, a multiple of four
//   fn depths(slice: u32) -> vec2<u32>            start (a multiple of four) and end of the depths that this slice sums
//                                                 up; may be empty: zeros are stored then
//   fn at_row(slice: u32, row: u32) -> Row        row may be beyond the last
//   fn at_depth(slice: u32, depth: u32) -> Depth  depth may be beyond the slice's end
//   fn load_a(row: Row, depth: Depth) -> vec4<f32>      zeros beyond rows() or the end of depths()
//   fn load_b(column: u32, depth: Depth) -> vec4<f32>   zeros beyond columns() or the end of depths()
//   fn store(slice: u32, row: u32, column: u32, value: vec4<f32>, first: bool)
//                                   C[slice][row][column .. column + 4], within bounds; what comes after the first call is
//                                   added to what the first one stored, by the same invocation
// A slice (z of the grid) is a part of a split depth, or one of the products of Winograd. Workgroups of a slice are counted
// by group_index, columns fastest. Binding 0 (dims) and 2 and up belong to the operand file, which must not use the names
// of this file.
//
// From the host: TILE_ROWS, TILE_COLUMNS (multiples of 64), TILE_DEPTH (a multiple of four with
// (TILE_ROWS + TILE_COLUMNS) TILE_DEPTH / 16 <= invocations), CHUNK (a multiple of TILE_DEPTH): depths that one f32
// accumulator sums before it is stored. A sum over all pixels of a batch in one accumulator would lose two digits.
//
// Each invocation brings 16 numbers of the next tile, of A or of B, into registers while it computes on this one. Lanes of a
// warp are 8 columns by 4 rows, so that it reads 8 and 4 different vec4 for 64 multiply-adds a lane.

const WIDTH_A = TILE_ROWS / 4u;
const WIDTH_B = TILE_COLUMNS / 4u;
const DEPTH4 = TILE_DEPTH / 4u;
const THREADS = TILE_ROWS / 8u * (TILE_COLUMNS / 8u);
const BLOCKS_A = WIDTH_A * DEPTH4;
const BLOCKS_B = WIDTH_B * DEPTH4;
const WARPS_ACROSS = TILE_COLUMNS / 64u;
// Rows, or columns, from one of an invocation's four loads to the next.
const STEP_A = select(WIDTH_A, 1u, A_ALONG_DEPTH);
const STEP_B = select(WIDTH_B, 1u, B_ALONG_DEPTH);

// [depth][row / 4] and [depth][column / 4].
var<workgroup> tile_a: array<vec4<f32>, TILE_DEPTH * WIDTH_A>;
var<workgroup> tile_b: array<vec4<f32>, TILE_DEPTH * WIDTH_B>;

// The four rows of A that an invocation loads from; not those of its results.
struct Rows {
    a: Row,
    b: Row,
    c: Row,
    d: Row,
}

// The 16 numbers that this invocation brings of the tile at `depth`; m[j] goes to the j-th place. `swap` is how far the
// second column lies from the first.
fn fetch(a: bool, rows: Rows, column: u32, swap: u32, depth: Depth) -> mat4x4<f32> {
    var m: mat4x4<f32>;
    if (a) {
        m = mat4x4<f32>(load_a(rows.a, depth), load_a(rows.b, depth), load_a(rows.c, depth), load_a(rows.d, depth));
        if (A_ALONG_DEPTH) {
            m = transpose(m);
        }
    } else {
        m = mat4x4<f32>(
            load_b(column, depth),
            load_b(column + swap, depth),
            load_b(column + 2u * STEP_B, depth),
            load_b(column + 2u * STEP_B + swap, depth),
        );
        if (B_ALONG_DEPTH) {
            m = transpose(m);
        }
    }
    return m;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let slice = group.z;
    let across = (columns() + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let index = group_index(group, groups);
    let first_row = index / across * TILE_ROWS;
    let first_column = index % across * TILE_COLUMNS;
    if (first_row >= rows()) {
        return;
    }

    // What this invocation brings: a block of 4x4 that is turned on its way where memory runs along the depth, four vec4 of
    // one depth where it does not. Eight neighbours write to eight banks of 16 bytes: neighbouring vec4, or, where four vec4
    // of each of two depths are 16 apart, the odd depth's in another order.
    let is_a = local < BLOCKS_A;
    let brings = local < BLOCKS_A + BLOCKS_B;
    let block = select(local - BLOCKS_A, local, is_a);
    let width = select(WIDTH_B, WIDTH_A, is_a);
    let turned = select(B_ALONG_DEPTH, A_ALONG_DEPTH, is_a);
    let turned_at = block % 8u + block / (8u * DEPTH4) * 8u;
    let turned_depth = block / 8u % DEPTH4 * 4u;
    let straight_at = block % (width / 4u);
    let straight_depth = block / (width / 4u);
    let at = select(straight_at, turned_at, turned);
    let my_depth = select(straight_depth, turned_depth, turned);
    let odd = !turned && width == 16u && my_depth % 2u == 1u;
    let place_step = select(width / 4u, width, turned);
    let place_swap = select(place_step, 0u - place_step, odd);
    let place = my_depth * width + at + select(0u, place_step, odd);
    let line_step = select(STEP_B, STEP_A, is_a);
    let swap = select(line_step, 0u - line_step, odd);
    let mine = at * 4u + select(0u, line_step, odd);
    let my_column = first_column + mine;
    var my_rows: Rows;
    if (is_a) {
        my_rows.a = at_row(slice, first_row + mine);
        my_rows.b = at_row(slice, first_row + mine + swap);
        my_rows.c = at_row(slice, first_row + mine + 2u * line_step);
        my_rows.d = at_row(slice, first_row + mine + 2u * line_step + swap);
    }

    let warp = local / 32u;
    let x = local % 8u + warp % WARPS_ACROSS * 8u;
    let y = local / 8u % 4u + warp / WARPS_ACROSS * 4u;

    let range = depths(slice);
    var depth = range.x;
    var first = true;
    var next: mat4x4<f32>;
    if (brings) {
        next = fetch(is_a, my_rows, my_column, swap, at_depth(slice, depth + my_depth));
    }
    loop {
        // Row y * 4 + j, columns x * 4 ..: cj0; cj1 is half a tile to the right; the rows 4 to 7 half a tile below.
        var c00 = vec4<f32>(); var c10 = vec4<f32>(); var c20 = vec4<f32>(); var c30 = vec4<f32>();
        var c40 = vec4<f32>(); var c50 = vec4<f32>(); var c60 = vec4<f32>(); var c70 = vec4<f32>();
        var c01 = vec4<f32>(); var c11 = vec4<f32>(); var c21 = vec4<f32>(); var c31 = vec4<f32>();
        var c41 = vec4<f32>(); var c51 = vec4<f32>(); var c61 = vec4<f32>(); var c71 = vec4<f32>();
        let end = min(depth + CHUNK, range.y);
        while (depth < end) {
            workgroupBarrier(); // everybody is done with the tile before
            if (brings) {
                if (is_a) {
                    tile_a[place] = next[0];
                    tile_a[place + place_swap] = next[1];
                    tile_a[place + 2u * place_step] = next[2];
                    tile_a[place + 2u * place_step + place_swap] = next[3];
                } else {
                    tile_b[place] = next[0];
                    tile_b[place + place_swap] = next[1];
                    tile_b[place + 2u * place_step] = next[2];
                    tile_b[place + 2u * place_step + place_swap] = next[3];
                }
            }
            workgroupBarrier();
            depth += TILE_DEPTH;
            if (brings) {
                next = fetch(is_a, my_rows, my_column, swap, at_depth(slice, depth + my_depth));
            }
            for (var k = 0u; k < TILE_DEPTH; k++) {
                let a0 = tile_a[k * WIDTH_A + y];
                let a1 = tile_a[k * WIDTH_A + WIDTH_A / 2u + y];
                let b0 = tile_b[k * WIDTH_B + x];
                let b1 = tile_b[k * WIDTH_B + WIDTH_B / 2u + x];
                c00 = fma(vec4<f32>(a0.x), b0, c00); c10 = fma(vec4<f32>(a0.y), b0, c10);
                c20 = fma(vec4<f32>(a0.z), b0, c20); c30 = fma(vec4<f32>(a0.w), b0, c30);
                c40 = fma(vec4<f32>(a1.x), b0, c40); c50 = fma(vec4<f32>(a1.y), b0, c50);
                c60 = fma(vec4<f32>(a1.z), b0, c60); c70 = fma(vec4<f32>(a1.w), b0, c70);
                c01 = fma(vec4<f32>(a0.x), b1, c01); c11 = fma(vec4<f32>(a0.y), b1, c11);
                c21 = fma(vec4<f32>(a0.z), b1, c21); c31 = fma(vec4<f32>(a0.w), b1, c31);
                c41 = fma(vec4<f32>(a1.x), b1, c41); c51 = fma(vec4<f32>(a1.y), b1, c51);
                c61 = fma(vec4<f32>(a1.z), b1, c61); c71 = fma(vec4<f32>(a1.w), b1, c71);
            }
        }
        let top = first_row + y * 4u;
        let left = first_column + x * 4u;
        put(slice, top, left, mat4x4<f32>(c00, c10, c20, c30), first);
        put(slice, top, left + TILE_COLUMNS / 2u, mat4x4<f32>(c01, c11, c21, c31), first);
        put(slice, top + TILE_ROWS / 2u, left, mat4x4<f32>(c40, c50, c60, c70), first);
        put(slice, top + TILE_ROWS / 2u, left + TILE_COLUMNS / 2u, mat4x4<f32>(c41, c51, c61, c71), first);
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
