// From picks to activations: take an image, move the crop window (black outside) or warp it, mirror, resize with the triangle
// filter of engine::resample, colour, normalise: input = pixel * factor + offset with factor = 1 / (255 std),
// offset = -mean / std; erase, and mix two such images.
// pixels u8 [images of a shard][height, width, 3], an image padded to whole words; views [batch] of two; input
// [samples, size, size, 4], the fourth channel 0. One invocation an output pixel; an image is seen by the dispatch whose
// shard has it. Twin: engine::cpu::reference::gather.
// gather_same_size.wgsl or gather_resized.wgsl goes with it.

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

// engine::sample::Packed
struct View {
    index: u32,
    flags: u32,             // moves of the crop window, right and down (8 bits each), and the constants below
    cut: vec2<u32>,         // first column and row that may be seen, 16 bits each, then one past the last
    across: vec4<f32>,      // column = x * column of the output + y * its row + z; w is the filter's reach to both sides
    down: vec4<f32>,        // row likewise
    red: vec4<f32>,         // from R, G, B and 1
    green: vec4<f32>,
    blue: vec4<f32>,
    shift: vec3<f32>,       // added at the end
    solarize: f32,          // inverted from here on
    erased: vec2<u32>,      // area, as cut has it
    area: vec2<u32>,        // of the second of two
    mask: u32,              // bits of a value that are kept
    share: f32,             // of the first of two
    unused_0: u32,
    unused_1: u32,
}
const MIRRORED: u32 = 0x10000u;
const WARPED: u32 = 0x20000u;
const COLOURED: u32 = 0x40000u;
const ERASED: u32 = 0x80000u;
const ADDED: u32 = 0x100000u;       // of the first of two
const COVERED: u32 = 0x200000u;     // of the first of two

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> pixels: array<u32>;
@group(0) @binding(3) var<storage, read> views: array<View>;
@group(0) @binding(4) var<storage, read_write> input: array<Quad>;

// A pixel of the image that begins at word `base`, in 0..255.
fn pixel(base: u32, row: u32, column: u32) -> vec3<f32> {
    let byte = 3u * (row * dims.width + column);
    let word = base + byte / 4u;
    let shift = 8u * (byte % 4u);
    var bits = pixels[word] >> shift;
    if (shift > 8u) {
        bits |= pixels[word + 1u] << (32u - shift);
    }
    return vec3<f32>(f32(bits & 255u), f32((bits >> 8u) & 255u), f32((bits >> 16u) & 255u));
}

// Of the moved and mirrored image. The mirror comes after the crop, so it turns the window's columns.
fn moved(base: u32, flags: u32, row: i32, column: i32) -> vec3<f32> {
    let width = i32(dims.width);
    let r = row + (i32(flags << 16u) >> 24u);
    let c = select(column, width - 1 - column, (flags & MIRRORED) != 0u) + (i32(flags << 24u) >> 24u);
    if (r < 0 || r >= i32(dims.height) || c < 0 || c >= width) {
        return vec3<f32>();
    }
    return pixel(base, u32(r), u32(c));
}

// The filter's weight of pixel `at`.
fn triangle(at: u32, place: f32, reach: f32) -> f32 {
    return max(1.0 - abs((f32(at) + 0.5 - place) / reach), 0.0);
}

// First and one past the last pixel within reach, inside of the cut.
fn taps(place: f32, reach: f32, cut: vec2<f32>) -> vec2<u32> {
    return vec2<u32>(clamp(vec2<f32>(place - reach + 0.5, place + reach + 0.5), vec2<f32>(cut.x), vec2<f32>(cut.y)));
}

fn warped(base: u32, view: u32, row: u32, column: u32) -> vec3<f32> {
    let across = views[view].across;
    let down = views[view].down;
    let x = fma(across.x, f32(column), fma(across.y, f32(row), across.z));
    let y = fma(down.x, f32(column), fma(down.y, f32(row), down.z));
    let low = views[view].cut.x;
    let high = views[view].cut.y;
    let columns_cut = vec2<f32>(f32(low & 0xffffu), f32(high & 0xffffu));
    let rows_cut = vec2<f32>(f32(low >> 16u), f32(high >> 16u));
    if (x < columns_cut.x || x > columns_cut.y || y < rows_cut.x || y > rows_cut.y) {
        return vec3<f32>();
    }
    let columns = taps(x, across.w, columns_cut);
    let rows = taps(y, down.w, rows_cut);
    var sum = vec3<f32>();
    var total = 0.0;
    for (var r = rows.x; r < rows.y; r++) {
        let weight = triangle(r, y, down.w);
        for (var c = columns.x; c < columns.y; c++) {
            let both = weight * triangle(c, x, across.w);
            sum += both * pixel(base, r, c);
            total += both;
        }
    }
    return sum / total;
}

fn coloured(view: u32, v: vec3<f32>) -> vec3<f32> {
    let whole = vec4<f32>(v, 1.0);
    let mapped = vec3<f32>(dot(views[view].red, whole), dot(views[view].green, whole), dot(views[view].blue, whole));
    var c = clamp(mapped, vec3<f32>(), vec3<f32>(255.0));
    c = select(c, vec3<f32>(255.0) - c, c >= vec3<f32>(views[view].solarize));
    let mask = views[view].mask;
    if (mask != 255u) {
        c = vec3<f32>(vec3<u32>(c) & vec3<u32>(mask));
    }
    return c + views[view].shift;
}

// Whether a pixel of the output lies in an area.
fn within(area: vec2<u32>, row: u32, column: u32) -> bool {
    let low = vec2<u32>(area.x & 0xffffu, area.x >> 16u);
    let high = vec2<u32>(area.y & 0xffffu, area.y >> 16u);
    return column >= low.x && column < high.x && row >= low.y && row < high.y;
}

// One image as it goes into the network.
fn seen(view: u32, row: u32, column: u32) -> vec4<f32> {
    let flags = views[view].flags;
    let base = (views[view].index - dims.first) * dims.words;
    var v: vec3<f32>;
    if ((flags & WARPED) != 0u) {
        v = warped(base, view, row, column);
    } else {
        v = plain(base, flags, row, column);
    }
    if ((flags & COLOURED) != 0u) {
        v = coloured(view, v);
    }
    if ((flags & ERASED) != 0u && within(views[view].erased, row, column)) {
        return vec4<f32>();
    }
    return vec4<f32>(fma(v, dims.factor.xyz, dims.offset.xyz), 0.0);
}

// Whether the shard has the image of a view; those of earlier shards wrap.
fn has(view: u32) -> bool {
    return views[view].index - dims.first < dims.images;
}

@compute @workgroup_size(64)
fn gather(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    let area = dims.size * dims.size;
    if (i >= step.samples * area) {
        return;
    }
    let first = 2u * (step.first + i / area);
    let second = first + 1u;
    let row = i % area / dims.size;
    let column = i % dims.size;
    let flags = views[first].flags;
    if ((flags & ADDED) != 0u) {
        let share = views[second].share;
        var sum = vec4<f32>();
        var other = first;
        if (has(first)) {
            sum = share * seen(first, row, column);
            other = second;
        }
        if (has(second)) {
            sum += (1.0 - share) * seen(second, row, column);
        }
        if (has(first) || has(second)) {
            // Of two images in two shards, the later adds to what the earlier wrote.
            if (views[other].index < dims.first) {
                sum += vec4<f32>(input[i]);
            }
            input[i] = Quad(sum);
        }
        return;
    }
    let shown = select(first, second, (flags & COVERED) != 0u && within(views[second].area, row, column));
    if (has(shown)) {
        input[i] = Quad(seen(shown, row, column));
    }
}
