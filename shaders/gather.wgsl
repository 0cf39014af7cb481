// From picks to activations: take an image, move the crop window (black outside), mirror, resize with the triangle filter
// of engine::resample, normalise: input = pixel * factor + offset with factor = 1 / (255 std), offset = -mean / std.
// pixels u8 [images of a shard][height, width, 3], an image padded to whole words; picks [batch] of (index, move and
// mirror); input [samples, size, size, 4], the fourth channel 0. One invocation an output pixel; a sample is done by the
// dispatch whose shard has its image. Twin: engine::cpu::reference::gather.

struct Dims {
    height: u32,        // of an image
    width: u32,
    size: u32,          // of the output
    words: u32,         // of an image
    first: u32,         // image of the shard
    images: u32,        // in the shard
    row_taps: u32,      // weights of a window of rows, and of columns
    column_taps: u32,
    factor: vec4<f32>,
    offset: vec4<f32>,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> pixels: array<u32>;
@group(0) @binding(3) var<storage, read> picks: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> input: array<Quad>;
// [size] of (first row, weights), then [size] of (first column, weights); weights beyond a window are 0
@group(0) @binding(5) var<storage, read> windows: array<f32>;

struct Pick {
    base: u32,      // word of the image in the shard
    x: i32,         // moves of the crop window, right and down
    y: i32,
    mirror: bool,
}

// A pixel of the cropped and mirrored image, in 0..255. The mirror comes after the crop, so it turns the window's columns.
fn pixel(pick: Pick, row: i32, column: i32) -> vec3<f32> {
    let width = i32(dims.width);
    let r = row + pick.y;
    let c = select(column, width - 1 - column, pick.mirror) + pick.x;
    if (r < 0 || r >= i32(dims.height) || c < 0 || c >= width) {
        return vec3<f32>();
    }
    let byte = 3u * u32(r * width + c);
    let word = pick.base + byte / 4u;
    let shift = 8u * (byte % 4u);
    var bits = pixels[word] >> shift;
    if (shift > 8u) {
        bits |= pixels[word + 1u] << (32u - shift);
    }
    return vec3<f32>(f32(bits & 255u), f32(bits >> 8u & 255u), f32(bits >> 16u & 255u));
}

// Whether output `i` is a sample of this shard, and which.
fn picked(i: u32, pick: ptr<function, Pick>) -> bool {
    let area = dims.size * dims.size;
    if (i >= step.samples * area) {
        return false;
    }
    let packed = picks[step.first + i / area];
    let image = packed.x - dims.first; // wraps for those of earlier shards
    if (image >= dims.images) {
        return false;
    }
    let x = i32(packed.y << 24u) >> 24u;
    let y = i32(packed.y << 16u) >> 24u;
    *pick = Pick(image * dims.words, x, y, (packed.y >> 16u) != 0u);
    return true;
}

fn normalised(v: vec3<f32>) -> Quad {
    return Quad(vec4<f32>(fma(v, dims.factor.xyz, dims.offset.xyz), 0.0));
}

@compute @workgroup_size(64)
fn same_size(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    var pick: Pick;
    if (picked(i, &pick)) {
        let at = i % (dims.size * dims.size);
        input[i] = normalised(pixel(pick, i32(at / dims.size), i32(at % dims.size)));
    }
}

@compute @workgroup_size(64)
fn resized(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    var pick: Pick;
    if (!picked(i, &pick)) {
        return;
    }
    let at = i % (dims.size * dims.size);
    let rows = at / dims.size * (dims.row_taps + 1u);
    let columns = dims.size * (dims.row_taps + 1u) + at % dims.size * (dims.column_taps + 1u);
    let first_row = i32(windows[rows]);
    let first_column = i32(windows[columns]);
    var sum = vec3<f32>();
    for (var row = 0u; row < dims.row_taps; row++) {
        var line = vec3<f32>();
        for (var column = 0u; column < dims.column_taps; column++) {
            line += windows[columns + 1u + column] * pixel(pick, first_row + i32(row), first_column + i32(column));
        }
        sum += windows[rows + 1u + row] * line;
    }
    input[i] = normalised(sum);
}
