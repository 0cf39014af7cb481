// One update of parameters, as torch.optim.Adam, AdamW and SGD do it; twin: engine::cpu::reference::optimizer.
// g = gradient + weight_decay * p; with AdamW (DECOUPLED) g = gradient, and p *= 1 - rate * weight_decay ahead of the step.
// Adam: m += (1 - beta1) (g - m), v = beta2 v + (1 - beta2) g^2, p -= step_size * m / (sqrt(v) / root_correction + epsilon),
//       with step_size = rate / (1 - beta1^t) and root_correction = sqrt(1 - beta2^t), both from the host in f64, or with a
//       scaled loss from the device: functions of optimizer_host.wgsl with optimizer_plain.wgsl or optimizer_clipped.wgsl, or of
//       optimizer_scaled.wgsl, which go behind this file; they also say what the gradient is multiplied by, and keep what comes out.
// SGD:  b = momentum b + g, p -= step_size * b, with step_size = rate; with NESTEROV p -= step_size * (g + momentum b).
// All arrays have the same length, `count` vectors of four. One invocation a vector.

struct Dims {
    count: u32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    momentum: f32,
    unused: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> parameter: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> first_moment: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> second_moment: array<vec4<f32>>;

@compute @workgroup_size(64)
fn adam(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i >= dims.count || skips()) {
        return;
    }
    var p = parameter[i];
    var g = unscaled(gradient[i]);
    if (DECOUPLED) {
        p *= 1.0 - step.learning_rate * dims.weight_decay;
    } else {
        g += dims.weight_decay * p;
    }
    let m = first_moment[i] + dims.one_minus_beta1 * (g - first_moment[i]);
    let v = dims.beta2 * second_moment[i] + dims.one_minus_beta2 * g * g;
    first_moment[i] = m;
    second_moment[i] = v;
    keep(i, p - step_size() * m / (sqrt(v) / root_correction() + dims.epsilon));
}

@compute @workgroup_size(64)
fn sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i >= dims.count || skips()) {
        return;
    }
    let p = parameter[i];
    if (NESTEROV) {
        let g = unscaled(gradient[i]) + dims.weight_decay * p;
        let b = dims.momentum * first_moment[i] + g;
        first_moment[i] = b;
        keep(i, p - step_size() * (g + dims.momentum * b));
    } else {
        let b = dims.momentum * first_moment[i] + unscaled(gradient[i]) + dims.weight_decay * p;
        first_moment[i] = b;
        keep(i, p - step_size() * b);
    }
}
