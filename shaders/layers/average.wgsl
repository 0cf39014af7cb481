// The moving average of weights: averaged += share * (live - averaged), as torch.optim.swa_utils.get_ema_multi_avg_fn does
// it; twin: engine::cpu::reference::average. The share is engine::Update::average_share, max(LEAST, 9 / (10 + t)) for update t:
// from the host, or where the loss is scaled from the device, which knows how many updates there were: functions of
// average_plain.wgsl or average_scaled.wgsl, of which one goes behind this file. `count` vectors of four, an invocation a
// vector.

struct Dims {
    count: u32,
    least: f32, // 1 - the decay
    unused_0: u32,
    unused_1: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(2) var<storage, read> live: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> averaged: array<vec4<f32>>;

@compute @workgroup_size(64)
fn follow(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = group_index(group, groups) * 64u + local;
    if (i < dims.count && !skips()) {
        averaged[i] += share() * (live[i] - averaged[i]);
    }
}
