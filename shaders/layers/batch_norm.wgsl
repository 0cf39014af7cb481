// Batch normalisation over all pixels of a micro-batch, with the ReLU (and 2x2 maximum pooling) that follows it.
// z, dz [samples, height, width, channels], y, dy the same or, pooled, [samples, height/2, width/2, channels] (floor);
// channels are padded to four. Sources: Ioffe & Szegedy 2015, algorithm 1; Chan, Golub & LeVeque 1979 for joining
// means and squares. Twins: engine::cpu::reference::{batch_norm, relu, max_pool}; needs window.wgsl and pooling.wgsl.
//
// saved [4][channels]: scale = gamma * inverse, shift = beta - mean * scale, mean, inverse = 1 / sqrt(variance + 1e-5).
// scratch: [2][channels] factors of the input gradient, then [chunks][2][channels] partial sums.
// A sum over pixels has two stages: an invocation adds up `chunk` pixels of four channels, then a workgroup joins the
// chunks of four channels. Both orders are fixed.

const EPSILON: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

struct Dims {
    height: u32,    // of z
    width: u32,
    quads: u32,     // channels / 4
    chunk: u32,     // pixels that an invocation adds up: of z for the moments, of dy for the gradients
    pooled: u32,    // 1: dy is pooled
    unused_0: u32,
    unused_1: u32,
    unused_2: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;

// moments, normalise, gradient sums and input gradient
@group(0) @binding(2) var<storage, read> z: array<Quad>;
@group(0) @binding(2) var<storage, read_write> dz: array<Quad>; // z on entry
@group(0) @binding(3) var<storage, read_write> moment_sums: array<vec4<f32>>; // scratch
@group(0) @binding(3) var<storage, read> saved: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<Quad>;
@group(0) @binding(4) var<storage, read> dy: array<Quad>;
@group(0) @binding(5) var<storage, read_write> gradient_sums: array<vec4<f32>>; // scratch
@group(0) @binding(5) var<storage, read> factors: array<vec4<f32>>; // scratch
// statistics and frozen
@group(0) @binding(2) var<storage, read> gamma: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> beta: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> running_mean: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> running_variance: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> keep: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> moment_parts: array<vec4<f32>>; // scratch
// gradients
@group(0) @binding(2) var<storage, read> saved_moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> d_gamma: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> d_beta: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> gradient_parts: array<vec4<f32>>; // scratch

fn pixels() -> u32 {
    return step.samples * dims.height * dims.width;
}

// Where partial sum `which` of a chunk lies in the scratch.
fn place(chunk: u32, which: u32, quad: u32) -> u32 {
    return (2u + 2u * chunk + which) * dims.quads + quad;
}

// Before the ReLU. As fma in every pass, so that all take the same winners.
fn normalised(v: vec4<f32>, scale: vec4<f32>, shift: vec4<f32>) -> vec4<f32> {
    return relu(fma(v, scale, shift));
}

// Mean and squared deviations of a chunk. The sums are of differences from the chunk's first pixel: as that is one of
// them, their squares are at most chunk + 1 times the deviations, which bounds what cancels.
@compute @workgroup_size(64)
fn moments(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    let chunk = i / dims.quads;
    let quad = i % dims.quads;
    let first = chunk * dims.chunk;
    let last = min(first + dims.chunk, pixels());
    if (first >= last) {
        return;
    }
    let origin = vec4<f32>(z[first * dims.quads + quad]);
    var sum = vec4<f32>();
    var squares = vec4<f32>();
    for (var pixel = first + 1u; pixel < last; pixel++) {
        let difference = vec4<f32>(z[pixel * dims.quads + quad]) - origin;
        sum += difference;
        squares += difference * difference;
    }
    let mean = sum / f32(last - first);
    moment_sums[place(chunk, 0u, quad)] = origin + mean;
    moment_sums[place(chunk, 1u, quad)] = max(squares - sum * mean, vec4<f32>());
}

struct Moments {
    count: f32,
    mean: vec4<f32>,
    squares: vec4<f32>,
}
var<workgroup> joined: array<Moments, LANES>;

fn join(a: Moments, b: Moments) -> Moments {
    if (b.count == 0.0) {
        return a;
    }
    let count = a.count + b.count;
    let difference = b.mean - a.mean;
    let share = b.count / count;
    return Moments(count, a.mean + difference * share, a.squares + b.squares + difference * difference * (a.count * share));
}

// Joins the chunks of four channels: saved, and the running statistics move towards the batch's.
@compute @workgroup_size(LANES)
fn statistics(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let quad = group.x;
    let all = pixels();
    let chunks = (all + dims.chunk - 1u) / dims.chunk;
    // Means are taken from the first chunk's, so that a mean far from 0 is rounded once.
    let origin = moment_parts[place(0u, 0u, quad)];
    var own = Moments();
    for (var chunk = local; chunk < chunks; chunk += LANES) {
        let count = min(dims.chunk, all - chunk * dims.chunk);
        let mean = moment_parts[place(chunk, 0u, quad)] - origin;
        own = join(own, Moments(f32(count), mean, moment_parts[place(chunk, 1u, quad)]));
    }
    joined[local] = own;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (local < half) {
            joined[local] = join(joined[local], joined[local + half]);
        }
        workgroupBarrier();
    }
    if (local == 0u) {
        let total = joined[0];
        let mean = origin + total.mean;
        keep_moments(quad, mean, total.squares / total.count);
        let unbiased = total.squares / max(total.count - 1.0, 1.0);
        running_mean[quad] += MOMENTUM * (mean - running_mean[quad]);
        running_variance[quad] += MOMENTUM * (unbiased - running_variance[quad]);
    }
}

fn keep_moments(quad: u32, mean: vec4<f32>, variance: vec4<f32>) {
    let inverse = 1.0 / sqrt(variance + EPSILON);
    let scale = gamma[quad] * inverse;
    keep[quad] = scale;
    keep[dims.quads + quad] = beta[quad] - mean * scale;
    keep[2u * dims.quads + quad] = mean;
    keep[3u * dims.quads + quad] = inverse;
}

// saved of inference.
@compute @workgroup_size(64)
fn frozen(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let quad = group.x * 64u + local;
    if (quad < dims.quads) {
        keep_moments(quad, running_mean[quad], running_variance[quad]);
    }
}

@compute @workgroup_size(64)
fn normalise(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i >= pixels() * dims.quads) {
        return;
    }
    let quad = i % dims.quads;
    y[i] = Quad(normalised(vec4<f32>(z[i]), saved[quad], saved[dims.quads + quad]));
}

@compute @workgroup_size(64)
fn normalise_pooled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i >= pooled_pixels() * dims.quads) {
        return;
    }
    let quad = i % dims.quads;
    let scale = saved[quad];
    let shift = saved[dims.quads + quad];
    let upper = corner(i / dims.quads) + quad;
    let lower = upper + dims.width * dims.quads;
    y[i] = Quad(greatest(
        normalised(vec4<f32>(z[upper]), scale, shift),
        normalised(vec4<f32>(z[upper + dims.quads]), scale, shift),
        normalised(vec4<f32>(z[lower]), scale, shift),
        normalised(vec4<f32>(z[lower + dims.quads]), scale, shift),
    ));
}

// Sums of g and of g * (z - mean) over a chunk, g being dy where the ReLU let it through.
@compute @workgroup_size(64)
fn sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    let chunk = i / dims.quads;
    let quad = i % dims.quads;
    let first = chunk * dims.chunk;
    let last = min(first + dims.chunk, pixels());
    if (first >= last) {
        return;
    }
    let scale = saved[quad];
    let shift = saved[dims.quads + quad];
    let mean = saved[2u * dims.quads + quad];
    var sum = vec4<f32>();
    var product = vec4<f32>();
    for (var pixel = first; pixel < last; pixel++) {
        let v = vec4<f32>(z[pixel * dims.quads + quad]);
        let d = vec4<f32>(dy[pixel * dims.quads + quad]);
        let g = select(vec4<f32>(), d, normalised(v, scale, shift) > vec4<f32>());
        sum += g;
        product += g * (v - mean);
    }
    gradient_sums[place(chunk, 0u, quad)] = sum;
    gradient_sums[place(chunk, 1u, quad)] = product;
}

// The same with pooling: a chunk is of pixels of dy.
@compute @workgroup_size(64)
fn sums_pooled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    let chunk = i / dims.quads;
    let quad = i % dims.quads;
    let first = chunk * dims.chunk;
    let last = min(first + dims.chunk, pooled_pixels());
    if (first >= last) {
        return;
    }
    let scale = saved[quad];
    let shift = saved[dims.quads + quad];
    let mean = saved[2u * dims.quads + quad];
    var sum = vec4<f32>();
    var product = vec4<f32>();
    for (var pixel = first; pixel < last; pixel++) {
        let upper = corner(pixel) + quad;
        let lower = upper + dims.width * dims.quads;
        let p = vec4<f32>(z[upper]);
        let q = vec4<f32>(z[upper + dims.quads]);
        let r = vec4<f32>(z[lower]);
        let s = vec4<f32>(z[lower + dims.quads]);
        let g = route(
            normalised(p, scale, shift),
            normalised(q, scale, shift),
            normalised(r, scale, shift),
            normalised(s, scale, shift),
            vec4<f32>(dy[pixel * dims.quads + quad]),
        );
        sum += g.p + g.q + g.r + g.s;
        product += g.p * (p - mean) + g.q * (q - mean) + g.r * (r - mean) + g.s * (s - mean);
    }
    gradient_sums[place(chunk, 0u, quad)] = sum;
    gradient_sums[place(chunk, 1u, quad)] = product;
}

struct Sums {
    sum: vec4<f32>,
    product: vec4<f32>,
}
var<workgroup> added: array<Sums, 64>;

// d_beta = sum of g, d_gamma = sum of g * (z - mean) * inverse; and the factors b, d of
// dz = scale * g + b * (z - mean) + d, through which the batch's statistics reach every pixel.
@compute @workgroup_size(64)
fn gradients(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let quad = group.x;
    let chunks = (select(pixels(), pooled_pixels(), dims.pooled == 1u) + dims.chunk - 1u) / dims.chunk;
    var own = Sums();
    for (var chunk = local; chunk < chunks; chunk += 64u) {
        own.sum += gradient_parts[place(chunk, 0u, quad)];
        own.product += gradient_parts[place(chunk, 1u, quad)];
    }
    added[local] = own;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (local < half) {
            added[local].sum += added[local + half].sum;
            added[local].product += added[local + half].product;
        }
        workgroupBarrier();
    }
    if (local == 0u) {
        let scale = saved_moments[quad];
        let inverse = saved_moments[3u * dims.quads + quad];
        let sum = added[0].sum;
        let product = added[0].product * inverse;
        let count = f32(pixels());
        gradient_parts[quad] = -scale * inverse * product / count;
        gradient_parts[dims.quads + quad] = -scale * sum / count;
        if (step.accumulate == 1u) {
            d_gamma[quad] += product;
            d_beta[quad] += sum;
        } else {
            d_gamma[quad] = product;
            d_beta[quad] = sum;
        }
    }
}

@compute @workgroup_size(64)
fn input_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i >= pixels() * dims.quads) {
        return;
    }
    let quad = i % dims.quads;
    let scale = saved[quad];
    let v = vec4<f32>(dz[i]);
    let g = select(vec4<f32>(), vec4<f32>(dy[i]), normalised(v, scale, saved[dims.quads + quad]) > vec4<f32>());
    dz[i] = Quad(scale * g + through_statistics(v, quad));
}

fn through_statistics(v: vec4<f32>, quad: u32) -> vec4<f32> {
    return factors[quad] * (v - saved[2u * dims.quads + quad]) + factors[dims.quads + quad];
}

// An invocation a window, whole or cut.
@compute @workgroup_size(64)
fn input_gradient_pooled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = pool_window(group_index(group, groups) * 64u + local);
    if (!at.inside) {
        return;
    }
    let upper = at.upper;
    let lower = at.lower;
    let quad = at.quad;
    if (at.right && at.below) {
        let scale = saved[quad];
        let shift = saved[dims.quads + quad];
        let p = vec4<f32>(dz[upper]);
        let q = vec4<f32>(dz[upper + dims.quads]);
        let r = vec4<f32>(dz[lower]);
        let s = vec4<f32>(dz[lower + dims.quads]);
        let g = route(
            normalised(p, scale, shift),
            normalised(q, scale, shift),
            normalised(r, scale, shift),
            normalised(s, scale, shift),
            vec4<f32>(dy[at.pooled]),
        );
        dz[upper] = Quad(scale * g.p + through_statistics(p, quad));
        dz[upper + dims.quads] = Quad(scale * g.q + through_statistics(q, quad));
        dz[lower] = Quad(scale * g.r + through_statistics(r, quad));
        dz[lower + dims.quads] = Quad(scale * g.s + through_statistics(s, quad));
    } else {
        dz[upper] = Quad(through_statistics(vec4<f32>(dz[upper]), quad));
        if (at.right) {
            dz[upper + dims.quads] = Quad(through_statistics(vec4<f32>(dz[upper + dims.quads]), quad));
        }
        if (at.below) {
            dz[lower] = Quad(through_statistics(vec4<f32>(dz[lower]), quad));
        }
    }
}
