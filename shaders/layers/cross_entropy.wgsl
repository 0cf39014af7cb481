// Softmax cross-entropy with label smoothing, its gradient, and hits; one workgroup a sample.
// logits z, gradient [samples, classes padded to four]; target [batch]; outcome [samples] of (loss, top1, top5, 1).
// loss = -sum over k of t[k] log softmax(z)[k] with t = smoothing / classes, and 1 - smoothing more, shared out between two
// labels; where there are teachers, what they say (rows [batch, classes]) is the share `taught` of t instead;
// gradient = (softmax(z) - t) / batch. A hit is top1 (top5) if fewer than one (five) logits are ahead of the label's: greater,
// or equal at a lower index; the label is the first. A label whose logit is NaN is never a hit.
// Then `metrics` adds the outcomes up, in a fixed order, in a slot of (loss, top1, top5, samples).
// Twin: engine::cpu::reference::cross_entropy.

const LANES: u32 = 256u;
const INFINITY: u32 = 0x7f800000u;

struct Dims {
    classes: u32,
    width: u32,             // classes padded
    everywhere: f32,        // (1 - taught) * smoothing / classes
    labelled: f32,          // (1 - taught) * (1 - smoothing)
    lowest: f32,            // -infinity and NaN, which WGSL's constants cannot be
    not_a_number: f32,
    taught: f32,
    unused: u32,
}
struct Target {
    first: u32,
    second: u32,
    share: f32,             // of the first
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read> targets: array<Target>;
@group(0) @binding(4) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(5) var<storage, read_write> outcomes: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> rows: array<f32>; // not read where nothing is taught
// metrics
@group(0) @binding(2) var<storage, read> parts: array<vec4<u32>>; // outcomes
@group(0) @binding(3) var<storage, read_write> slots: array<vec4<u32>>;

// As bits: compilers may take it that no number is a NaN.
fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > INFINITY;
}

fn is_finite(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) < INFINITY;
}

fn power(difference: f32) -> f32 {
    return select(exp(difference), 0.0, difference < -104.0); // -infinity too
}

// The greater; a NaN wins.
fn higher(a: f32, b: f32) -> f32 {
    if (is_nan(a)) {
        return a;
    }
    return select(a, b, is_nan(b) || b > a);
}

var<workgroup> highest_of: array<f32, LANES>;
var<workgroup> ahead_of: array<u32, LANES>;
var<workgroup> sums_of: array<vec3<f32>, LANES>;

@compute @workgroup_size(LANES)
fn forward_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let sample = group_index(group, groups);
    if (sample >= step.samples) {
        return;
    }
    let row = sample * dims.width;
    let aim = targets[step.first + sample];
    let label = min(aim.first, dims.classes - 1u);
    let other = min(aim.second, dims.classes - 1u);
    let at_label = dims.labelled * aim.share;
    let at_other = dims.labelled * (1.0 - aim.share);
    let labelled = logits[row + label];
    var own = dims.lowest;
    var ahead = 0u;
    for (var k = local; k < dims.classes; k += LANES) {
        let v = logits[row + k];
        own = higher(own, v);
        ahead += select(0u, 1u, !is_nan(v) && (v > labelled || (v == labelled && k < label)));
    }
    highest_of[local] = own;
    ahead_of[local] = ahead;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (local < half) {
            highest_of[local] = higher(highest_of[local], highest_of[local + half]);
            ahead_of[local] += ahead_of[local + half];
        }
        workgroupBarrier();
    }
    let highest = highest_of[0];

    // Sums of exp(z - highest), of highest - z, and of that times what teachers say, in blocks of 64.
    let lesson = (step.first + sample) * dims.classes;
    var sums = vec3<f32>();
    var block = vec3<f32>();
    var count = 0u;
    for (var k = local; k < dims.classes; k += LANES) {
        let difference = logits[row + k] - highest;
        var said = 0.0;
        if (dims.taught > 0.0) {
            let share = rows[lesson + k];
            said = select(0.0, share * -difference, share > 0.0); // not of an infinite logit
        }
        block += vec3<f32>(power(difference), -difference, said);
        count += 1u;
        if (count % 64u == 0u) {
            sums += block;
            block = vec3<f32>();
        }
    }
    sums_of[local] = sums + block;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (local < half) {
            sums_of[local] += sums_of[local + half];
        }
        workgroupBarrier();
    }
    let total = sums_of[0].x;
    let valid = is_finite(highest);

    let inverse = 1.0 / total;
    let batch = f32(step.batch);
    for (var k = local; k < dims.width; k += LANES) {
        var target_share = dims.everywhere + select(0.0, at_label, k == label) + select(0.0, at_other, k == other);
        var d = 0.0;
        if (k < dims.classes) {
            if (dims.taught > 0.0) {
                target_share += dims.taught * rows[lesson + k];
            }
            d = (power(logits[row + k] - highest) * inverse - target_share) / batch;
            d = select(dims.not_a_number, d, valid);
        }
        gradient[row + k] = d;
    }
    if (local == 0u) {
        let log_total = log(total);
        var loss = 0.0;
        // A target of 0 must not turn an infinite logit into NaN.
        if (at_label > 0.0) {
            loss += at_label * (log_total + (highest - labelled));
        }
        if (at_other > 0.0) {
            loss += at_other * (log_total + (highest - logits[row + other]));
        }
        if (dims.everywhere > 0.0) {
            loss += dims.everywhere * (f32(dims.classes) * log_total + sums_of[0].y);
        }
        if (dims.taught > 0.0) {
            loss += dims.taught * (log_total + sums_of[0].z);
        }
        loss = select(dims.not_a_number, loss, valid);
        let known = !is_nan(labelled);
        let top1 = select(0u, 1u, known && ahead_of[0] < 1u);
        let top5 = select(0u, 1u, known && ahead_of[0] < 5u);
        outcomes[sample] = vec4<u32>(bitcast<u32>(loss), top1, top5, 1u);
    }
}

fn add(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(bitcast<u32>(bitcast<f32>(a.x) + bitcast<f32>(b.x)), a.yzw + b.yzw);
}

var<workgroup> added: array<vec4<u32>, 64>;

@compute @workgroup_size(64)
fn metrics(@builtin(local_invocation_index) local: u32) {
    var own = vec4<u32>();
    for (var sample = local; sample < step.samples; sample += 64u) {
        own = add(own, parts[sample]);
    }
    added[local] = own;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (local < half) {
            added[local] = add(added[local], added[local + half]);
        }
        workgroupBarrier();
    }
    if (local == 0u) {
        if (step.accumulate == 1u) {
            slots[step.slot] = add(slots[step.slot], added[0]);
        } else {
            slots[step.slot] = added[0];
        }
    }
}
