enable f16;
// C[slice] = A[slice] B[slice] with factors in f16 and sums in f32, for matrix units (tensor cores). Goes behind the operand
// files of product_tiled.wgsl, which says what they define; factors are f16 in memory, so that a load is a copy. Ahead of it
// goes one of
//   product_half_cooperative.wgsl  products of 16x16x16 by cooperative matrices
//   product_half_emulated.wgsl     the same products in plain f32, for software devices: everything else here is the same
// Both define
//   alias Left, Right, Sum         16x16 of A, of B and of C, as a subgroup of 32 holds them
//   fn subgroup_of(local: u32, subgroup: u32) -> u32      which of the workgroup's subgroups an invocation belongs to
//   fn lane_of(local: u32, lane: u32) -> u32              which of its subgroup's 32 invocations it is
//   fn left(at: u32) -> Left, fn right(at: u32) -> Right  from tile_a and tile_b
//   fn multiply_add(a: Left, b: Right, sum: Sum, lane: u32) -> Sum
//   fn put(sum: Sum, at: u32, lane: u32)                  into results[at ..], rows of four vec4
//   fn at_most(count: u32) -> u32                         count, as the bound of a loop
// Of the operand file it asks besides:
//   fn after(slice: u32, depth: Depth) -> Depth           the depth after one, where !A_ALONG_DEPTH
//   const MOMENTS: bool, fn keep_moments(..)              whether and where to keep mean and squared deviations of each
//                                                         column over ROWS rows of what was stored; one slice then
// Twin: engine::cpu::reference::convolution over factors rounded to f16.
//
// From the host: TILE_ROWS and TILE_COLUMNS (multiples of 64), TILE_DEPTH (16 or 32), CHUNK (of TILE_DEPTH) as in
// product_tiled.wgsl. A subgroup computes 64 rows and 64 columns: sixteen sums, for which it reads eight 16x16 of factors
// every 16 depths. There are two tiles of each factor in workgroup memory: while all compute on one, each invocation
// brings its share of the next through registers and puts it into the other, so that there is one barrier a tile. Tiles lie
// there as the operands lie in memory, along the depth or across it, and are read row-major or column-major: nothing is
// turned. A line has two vec4<f16> more than it needs, so that eight lines start in different banks.

const ROWS = 64u; // and columns of a subgroup
const ACROSS = TILE_COLUMNS / ROWS; // subgroups side by side
const THREADS = TILE_ROWS / ROWS * ACROSS * 32u;
// vec4 of a line, lines, vec4 from one line to the next, and of a tile.
const WIDTH_A = select(TILE_ROWS, TILE_DEPTH, A_ALONG_DEPTH) / 4u;
const WIDTH_B = select(TILE_COLUMNS, TILE_DEPTH, B_ALONG_DEPTH) / 4u;
const LINES_A = select(TILE_DEPTH, TILE_ROWS, A_ALONG_DEPTH);
const LINES_B = select(TILE_DEPTH, TILE_COLUMNS, B_ALONG_DEPTH);
const STRIDE_A = WIDTH_A + 2u;
const STRIDE_B = WIDTH_B + 2u;
const SIZE_A = LINES_A * STRIDE_A;
const SIZE_B = LINES_B * STRIDE_B;
// vec4 that an invocation brings of each tile, from as many lines: across the depth from one after another, as the next
// depth is quickly known; along it with as many between them as keep writers to different banks.
const LOADS_A = LINES_A * WIDTH_A / THREADS;
const LOADS_B = LINES_B * WIDTH_B / THREADS;
const FIRST_A = select(LOADS_A, 1u, A_ALONG_DEPTH);
const FIRST_B = select(LOADS_B, 1u, B_ALONG_DEPTH);
const STEP_A = select(1u, THREADS / WIDTH_A, A_ALONG_DEPTH);
const STEP_B = select(1u, THREADS / WIDTH_B, B_ALONG_DEPTH);

var<workgroup> tile_a: array<vec4<f16>, 2u * SIZE_A>;
var<workgroup> tile_b: array<vec4<f16>, 2u * SIZE_B>;
// Of each subgroup, one sum on its way to memory.
var<workgroup> results: array<vec4<f32>, THREADS * 2u>;

// Where 16 rows of A from `row` on, or 16 columns of B, and 16 depths from `depth` on begin in a tile.
fn at_a(row: u32, depth: u32) -> u32 {
    return select(depth * STRIDE_A + row / 4u, row * STRIDE_A + depth / 4u, A_ALONG_DEPTH);
}

fn at_b(column: u32, depth: u32) -> u32 {
    return select(depth * STRIDE_B + column / 4u, column * STRIDE_B + depth / 4u, B_ALONG_DEPTH);
}

// What an invocation brings of the next tile while it computes on this one.
struct Brought {
    a: array<vec4<f16>, LOADS_A>,
    b: array<vec4<f16>, LOADS_B>,
}

fn fetch(slice: u32, lines: array<Row, LOADS_A>, first_column: u32, depth: u32, local: u32) -> Brought {
    var brought: Brought;
    var rows_of_a = lines;
    if (A_ALONG_DEPTH) {
        let at = at_depth(slice, depth + local % WIDTH_A * 4u);
        for (var j = 0u; j < at_most(LOADS_A); j++) {
            brought.a[j] = load_a(rows_of_a[j], at);
        }
    } else {
        var at = at_depth(slice, depth + local / WIDTH_A * FIRST_A);
        for (var j = 0u; j < at_most(LOADS_A); j++) {
            brought.a[j] = load_a(rows_of_a[0], at);
            at = after(slice, at);
        }
    }
    for (var j = 0u; j < at_most(LOADS_B); j++) {
        let line = local / WIDTH_B * FIRST_B + j * STEP_B;
        let along = local % WIDTH_B * 4u;
        let column = first_column + select(along, line, B_ALONG_DEPTH);
        brought.b[j] = load_b(column, at_depth(slice, depth + select(line, along, B_ALONG_DEPTH)));
    }
    return brought;
}

// Puts it into tile 0 or 1.
fn place(brought: Brought, tile: u32, local: u32) {
    var parts = brought;
    let a = tile * SIZE_A + local / WIDTH_A * FIRST_A * STRIDE_A + local % WIDTH_A;
    for (var j = 0u; j < at_most(LOADS_A); j++) {
        tile_a[a + j * STEP_A * STRIDE_A] = parts.a[j];
    }
    let b = tile * SIZE_B + local / WIDTH_B * FIRST_B * STRIDE_B + local % WIDTH_B;
    for (var j = 0u; j < at_most(LOADS_B); j++) {
        tile_b[b + j * STEP_B * STRIDE_B] = parts.b[j];
    }
}

// Moments of some numbers of a column: deviations are taken from the first of them, so that little cancels.
struct Moments {
    count: f32,
    origin: vec4<f32>,
    sum: vec4<f32>,
    squares: vec4<f32>,
}

fn with_value(m: Moments, value: vec4<f32>) -> Moments {
    let origin = select(m.origin, value, m.count == 0.0);
    let difference = value - origin;
    return Moments(m.count + 1.0, origin, m.sum + difference, m.squares + difference * difference);
}

// Of `valid` rows of a subgroup's, those that invocations with the line see: it, and every eighth after it.
fn seen(valid: u32, line: u32) -> f32 {
    return f32((valid + 7u - min(line, valid + 7u)) / 8u);
}

// Joins what the eight invocations of each of four vectors of columns have left in results[at ..].
fn join(at: u32, quad: u32, row: u32, column: u32, valid: u32) {
    let origin = results[at + quad];
    var sum = vec4<f32>();
    var squares = vec4<f32>();
    for (var line = 0u; line < 8u; line++) {
        let count = seen(valid, line);
        if (count > 0.0) {
            let difference = results[at + line * 4u + quad] - origin;
            sum += count * difference;
            squares += results[at + 32u + line * 4u + quad] + count * difference * difference;
        }
    }
    let mean = sum / f32(valid);
    keep_moments(row, column, origin + mean, max(squares - sum * mean, vec4<f32>()));
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup_id: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
    let slice = group.z;
    let tiles = (columns() + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let index = group_index(group, groups);
    let first_row = index / tiles * TILE_ROWS;
    let first_column = index % tiles * TILE_COLUMNS;
    if (first_row >= rows()) {
        return;
    }

    // The lines that this invocation brings: of several rows and four depths where memory runs along the depth, else of four
    // rows and several depths; likewise of B.
    var lines: array<Row, LOADS_A>;
    for (var j = 0u; j < at_most(LOADS_A); j++) {
        let along = local % WIDTH_A * 4u;
        lines[j] = at_row(slice, first_row + select(along, local / WIDTH_A * FIRST_A + j * STEP_A, A_ALONG_DEPTH));
    }

    let subgroup = subgroup_of(local, subgroup_id);
    let lane = lane_of(local, subgroup_lane);
    let top = subgroup / ACROSS * ROWS;
    let left_edge = subgroup % ACROSS * ROWS;
    let range = depths(slice);
    var depth = range.x;
    var tile = 0u;
    var first = true;
    place(fetch(slice, lines, first_column, depth, local), tile, local);
    workgroupBarrier();
    loop {
        // c<i><j>: rows top + 16 i, columns left_edge + 16 j.
        var c00 = Sum(); var c01 = Sum(); var c02 = Sum(); var c03 = Sum();
        var c10 = Sum(); var c11 = Sum(); var c12 = Sum(); var c13 = Sum();
        var c20 = Sum(); var c21 = Sum(); var c22 = Sum(); var c23 = Sum();
        var c30 = Sum(); var c31 = Sum(); var c32 = Sum(); var c33 = Sum();
        let end = min(depth + CHUNK, range.y);
        while (depth < end) {
            depth += TILE_DEPTH;
            let next = fetch(slice, lines, first_column, depth, local);
            for (var k = 0u; k < at_most(TILE_DEPTH); k += 16u) {
                let a = tile * SIZE_A + at_a(top, k);
                let b = tile * SIZE_B + at_b(left_edge, k);
                let b0 = right(b + at_b(0u, 0u));
                let b1 = right(b + at_b(16u, 0u));
                let b2 = right(b + at_b(32u, 0u));
                let b3 = right(b + at_b(48u, 0u));
                let a0 = left(a + at_a(0u, 0u));
                c00 = multiply_add(a0, b0, c00, lane);
                c01 = multiply_add(a0, b1, c01, lane);
                c02 = multiply_add(a0, b2, c02, lane);
                c03 = multiply_add(a0, b3, c03, lane);
                let a1 = left(a + at_a(16u, 0u));
                c10 = multiply_add(a1, b0, c10, lane);
                c11 = multiply_add(a1, b1, c11, lane);
                c12 = multiply_add(a1, b2, c12, lane);
                c13 = multiply_add(a1, b3, c13, lane);
                let a2 = left(a + at_a(32u, 0u));
                c20 = multiply_add(a2, b0, c20, lane);
                c21 = multiply_add(a2, b1, c21, lane);
                c22 = multiply_add(a2, b2, c22, lane);
                c23 = multiply_add(a2, b3, c23, lane);
                let a3 = left(a + at_a(48u, 0u));
                c30 = multiply_add(a3, b0, c30, lane);
                c31 = multiply_add(a3, b1, c31, lane);
                c32 = multiply_add(a3, b2, c32, lane);
                c33 = multiply_add(a3, b3, c33, lane);
            }
            tile = 1u - tile;
            place(next, tile, local);
            workgroupBarrier(); // the next tile is there, and everybody is done with this one
        }
        // One sum after another through workgroup memory, as which invocation holds which number is the driver's secret. An
        // invocation takes the same four columns of every eighth row. Only its own subgroup has to agree, but a subgroupBarrier
        // of naga's says nothing of workgroup memory.
        let at = subgroup * 64u;
        let quad = lane % 4u;
        let row = first_row + top;
        for (var j = 0u; j < at_most(4u); j++) {
            let column = first_column + left_edge + 16u * j + 4u * quad;
            var moments_seen = Moments();
            for (var i = 0u; i < at_most(4u); i++) {
                workgroupBarrier();
                switch 4u * i + j {
                    case 0u: { put(c00, at, lane); }
                    case 1u: { put(c01, at, lane); }
                    case 2u: { put(c02, at, lane); }
                    case 3u: { put(c03, at, lane); }
                    case 4u: { put(c10, at, lane); }
                    case 5u: { put(c11, at, lane); }
                    case 6u: { put(c12, at, lane); }
                    case 7u: { put(c13, at, lane); }
                    case 8u: { put(c20, at, lane); }
                    case 9u: { put(c21, at, lane); }
                    case 10u: { put(c22, at, lane); }
                    case 11u: { put(c23, at, lane); }
                    case 12u: { put(c30, at, lane); }
                    case 13u: { put(c31, at, lane); }
                    case 14u: { put(c32, at, lane); }
                    default: { put(c33, at, lane); }
                }
                workgroupBarrier();
                for (var line = lane / 4u; line < at_most(16u); line += 8u) {
                    let r = row + 16u * i + line;
                    if (r < rows() && column < columns()) {
                        let stored = store(slice, r, column, results[at + 4u * line + quad], first);
                        if (MOMENTS) {
                            moments_seen = with_value(moments_seen, stored);
                        }
                    }
                }
            }
            if (MOMENTS) {
                let mean = moments_seen.sum / max(moments_seen.count, 1.0);
                workgroupBarrier();
                results[at + lane] = moments_seen.origin + mean;
                results[at + 32u + lane] = max(moments_seen.squares - moments_seen.sum * mean, vec4<f32>());
                workgroupBarrier();
                if (lane < 4u && row < rows() && column < columns()) {
                    join(at, quad, row, column, min(rows() - row, ROWS));
                }
            }
        }
        first = false;
        if (depth >= range.y) {
            break;
        }
    }
}
