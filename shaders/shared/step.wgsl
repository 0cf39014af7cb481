// What every shader sees: the numbers of the step (engine::gpu::plumbing::step::StepUniform), and how workgroups are counted.

struct Step {
    samples: u32,       // samples in this micro-batch
    batch: u32,         // samples in the whole batch
    first: u32,         // index in the batch of this micro-batch's first sample
    accumulate: u32,    // 1: add to gradients and metrics; 0: overwrite
    done: vec2<u32>,    // steps done before this one, low and high half
    seed: vec2<u32>,    // key of the dropout masks, low and high half
    step_size: f32,     // see optimizer.wgsl
    root_correction: f32,
    slot: u32,          // of this step's metrics
    learning_rate: f32,
    average_share: f32, // see average.wgsl
    unused_0: u32,
    unused_1: u32,
    unused_2: u32,
}
@group(0) @binding(1) var<uniform> step: Step;

// The workgroup's place in a row that the host may have bent into x and y (dispatch::spread).
fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.x + group.y * groups.x;
}

// a / b for quotients below 2^22, with inverse = 1 / b rounded: integer division takes some twenty instructions.
fn quotient(a: u32, b: u32, inverse: f32) -> u32 {
    let q = u32(f32(a) * inverse);
    let rest = i32(a - q * b);
    return select(select(q, q + 1u, rest >= i32(b)), q - 1u, rest < 0);
}
