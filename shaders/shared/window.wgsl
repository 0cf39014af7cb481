// What ReLU and 2x2 maximum pooling share, four channels at a time.
//
// Numbers are looked at as bits where a NaN is to survive, so that a diverged network is seen in its loss: WGSL's max may
// drop it, and drivers may make max of a comparison.

// max(v, 0); a NaN stays one. From -0 (0x80000000) to -infinity (0xff800000) everything becomes 0.
fn relu(v: vec4<f32>) -> vec4<f32> {
    let from_minus_zero = bitcast<vec4<u32>>(v) - vec4<u32>(0x80000000u);
    return select(v, vec4<f32>(), from_minus_zero <= vec4<u32>(0x7f800000u));
}

// The greatest of four results of relu, whose bits are ordered as they are; a NaN is above all.
fn greatest(p: vec4<f32>, q: vec4<f32>, r: vec4<f32>, s: vec4<f32>) -> vec4<f32> {
    let upper = max(bitcast<vec4<u32>>(p), bitcast<vec4<u32>>(q));
    let lower = max(bitcast<vec4<u32>>(r), bitcast<vec4<u32>>(s));
    return bitcast<vec4<f32>>(max(upper, lower));
}

// Of a window in row-major order.
struct Window {
    p: vec4<f32>,
    q: vec4<f32>,
    r: vec4<f32>,
    s: vec4<f32>,
}

// dy at the first of the greatest of four results of relu, 0 at the others and where all four are 0.
fn route(p: vec4<f32>, q: vec4<f32>, r: vec4<f32>, s: vec4<f32>, dy: vec4<f32>) -> Window {
    let best = greatest(p, q, r, s);
    let none = vec4<f32>();
    let g = select(none, dy, best > none);
    let one = p == best;
    let two = q == best;
    let three = r == best;
    return Window(
        select(none, g, one),
        select(none, g, two & !one),
        select(none, g, three & !two & !one),
        select(g, none, one | two | three),
    );
}
