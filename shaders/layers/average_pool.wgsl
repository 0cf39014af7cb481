// Adaptive average pooling to size x size: output row i is the mean of the input rows
// floor(i * height / size) .. ceil((i + 1) * height / size), columns likewise; windows may overlap.
// x, dx [samples, height, width, channels padded to four]; y, dy [samples, channels * size * size padded to four],
// channel first: element (c * size + i) * size + j. Twin: engine::cpu::reference::average_pool.

struct Dims {
    height: u32,    // of x
    width: u32,
    channels: u32,
    size: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
// forward
@group(0) @binding(2) var<storage, read> x: array<Number>;
@group(0) @binding(3) var<storage, read_write> y: array<Quad>;
// backward
@group(0) @binding(2) var<storage, read> dy: array<Number>;
@group(0) @binding(3) var<storage, read_write> dx: array<Quad>;

// First and end of the inputs under output i.
fn window(i: u32, inputs: u32) -> vec2<u32> {
    return vec2<u32>(i * inputs / dims.size, ((i + 1u) * inputs + dims.size - 1u) / dims.size);
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group_index(group, groups) * 64u + local;
    let cells = dims.size * dims.size;
    let vectors = (dims.channels * cells + 3u) / 4u;
    if (at >= step.samples * vectors) {
        return;
    }
    let sample = at / vectors;
    let width = (dims.channels + 3u) / 4u * 4u;
    var result = vec4<f32>();
    for (var lane = 0u; lane < 4u; lane++) {
        let element = at % vectors * 4u + lane;
        let channel = element / cells;
        if (channel < dims.channels) {
            let cell = element % cells;
            let rows = window(cell / dims.size, dims.height);
            let columns = window(cell % dims.size, dims.width);
            var sum = 0.0;
            for (var row = rows.x; row < rows.y; row++) {
                for (var column = columns.x; column < columns.y; column++) {
                    sum += f32(x[((sample * dims.height + row) * dims.width + column) * width + channel]);
                }
            }
            result[lane] = sum / f32((rows.y - rows.x) * (columns.y - columns.x));
        }
    }
    y[at] = Quad(result);
}

// dx = sum of dy / area over the windows that a pixel is in. Output i sees input h exactly if
// floor(h * size / height) <= i < ceil((h + 1) * size / height).
@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group_index(group, groups) * 64u + local;
    let quads = (dims.channels + 3u) / 4u;
    if (at >= step.samples * dims.height * dims.width * quads) {
        return;
    }
    let pixel = at / quads;
    let line = pixel / dims.width;
    let sample = line / dims.height;
    let row = line % dims.height;
    let column = pixel % dims.width;
    let first_i = row * dims.size / dims.height;
    let end_i = ((row + 1u) * dims.size + dims.height - 1u) / dims.height;
    let first_j = column * dims.size / dims.width;
    let end_j = ((column + 1u) * dims.size + dims.width - 1u) / dims.width;
    let features = (dims.channels * dims.size * dims.size + 3u) / 4u * 4u;
    var result = vec4<f32>();
    for (var lane = 0u; lane < 4u; lane++) {
        let channel = at % quads * 4u + lane;
        if (channel < dims.channels) {
            var sum = 0.0;
            for (var i = first_i; i < end_i; i++) {
                let rows = window(i, dims.height);
                for (var j = first_j; j < end_j; j++) {
                    let columns = window(j, dims.width);
                    let area = f32((rows.y - rows.x) * (columns.y - columns.x));
                    sum += f32(dy[sample * features + (channel * dims.size + i) * dims.size + j]) / area;
                }
            }
            result[lane] = sum;
        }
    }
    dx[at] = Quad(result);
}
