// Dynamic loss scaling, as torch.amp.GradScaler does it: what of a loss's gradient would vanish in f16 is multiplied by a
// scale, and the optimiser divides by it. `scale` multiplies the gradient of the logits and only then rounds it to f16;
// `find` looks whether any gradient of a parameter is not finite; `decide` then says what the optimiser is to do
// (optimizer_scaled.wgsl) and moves the scale: halved where one was found, and that update is left out; doubled after
// `interval` updates in a row. The reported loss is not scaled. Scales are powers of two, so that scaling rounds nothing.
// Adam's t counts updates, so that one left out changes nothing: t = step.done + 1 - skipped. The host does not know it;
// 1 - beta^t is made here as -expm1(t log beta). Needs scaling.wgsl.
// Twin: engine::cpu::reference::loss_scaling.

struct Dims {
    count: u32,      // vec4 of `gradient`; `scale`: of a sample
    interval: u32,   // updates after which the scale is doubled
    log_beta1: f32,  // natural logarithms; 0 for sgd
    log_beta2: f32,
}
@group(0) @binding(0) var<uniform> dims: Dims;

@group(0) @binding(2) var<storage, read_write> scaling: Scaling;
@group(0) @binding(3) var<storage, read> unscaled: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> d_logits: array<Quad>;
// find
@group(0) @binding(2) var<storage, read_write> flags: array<atomic<u32>, 9>; // scaling
@group(0) @binding(3) var<storage, read> gradient: array<vec4<f32>>;

const FOUND = 3u; // in flags
const LEAST = 0x1p-64f;
const MOST = 0x1p64f;

@compute @workgroup_size(64)
fn scale(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i < step.samples * dims.count) {
        d_logits[i] = Quad(unscaled[i] * scaling.scale);
    }
}

// Whoever finds one says so: the order in which they do changes nothing.
@compute @workgroup_size(64)
fn find(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i < dims.count) {
        // As bits: compilers may take it that every number is finite.
        let exponents = bitcast<vec4<u32>>(gradient[i]) & vec4(0x7f800000u);
        if (any(exponents == vec4(0x7f800000u))) {
            atomicOr(&flags[FOUND], 1u);
        }
    }
}

// 1 - e^x for x <= 0, to a few ulp: near zero by its series, where 1 - exp(x) would lose all digits.
fn one_minus_exp(x: f32) -> f32 {
    if (x < -0.5) {
        return 1.0 - exp(max(x, -100.0));
    }
    let rest = 1.0 + x / 6.0 * (1.0 + x / 7.0 * (1.0 + x / 8.0));
    return -x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * rest))));
}

@compute @workgroup_size(1)
fn decide() {
    let found = scaling.found != 0u;
    scaling.found = 0u;
    scaling.inverse = 1.0 / scaling.scale;
    scaling.factor = scaling.inverse;
    scaling.skip = u32(found);
    let t = f32(step.done.x + 1u - scaling.skipped); // beyond 2^24 both corrections have long been 1
    scaling.step_size = step.learning_rate;
    scaling.root_correction = 1.0;
    if (dims.log_beta1 < 0.0) {
        scaling.step_size /= one_minus_exp(t * dims.log_beta1);
        scaling.root_correction = sqrt(one_minus_exp(t * dims.log_beta2));
    }
    if (found) {
        scaling.scale = max(0.5 * scaling.scale, LEAST);
        scaling.good = 0u;
        scaling.skipped += 1u;
    } else {
        scaling.good += 1u;
        if (scaling.good == dims.interval) {
            scaling.scale = min(2.0 * scaling.scale, MOST);
            scaling.good = 0u;
        }
    }
}
