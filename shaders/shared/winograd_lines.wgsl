// The one-dimensional transforms of Winograd's minimal filtering F(2, 3) and F(4, 3) (Lavin & Gray 2016, arXiv 1509.09308,
// sections 4.1 and 4.3), over four channels at once; two-dimensional ones apply them to columns and then to rows.
// TILE outputs and 3 taps meet in WINDOW = TILE + 2 inputs: 2 and 4 (points 0, 1, -1, infinity), or 4 and 6 (points 0, 1,
// -1, 2, -2, infinity). These are all of the constants; twin of F(2, 3): engine::cpu::products::winograd_transforms.
//
//            F(2, 3)                          F(4, 3)
//   B^T   1  0 -1  0                     4  0 -5  0  1  0
//         0  1  1  0                     0 -4 -4  1  1  0
//         0 -1  1  0                     0  4 -4 -1  1  0
//         0  1  0 -1                     0 -2 -1  2  1  0
//                                        0  2 -1 -2  1  0
//                                        0  4  0 -5  0  1
//   G     1    0    0                    1/4   0    0
//         1/2  1/2  1/2                 -1/6 -1/6 -1/6
//         1/2 -1/2  1/2                 -1/6  1/6 -1/6
//         0    0    1                    1/24 1/12 1/6
//                                        1/24 -1/12 1/6
//                                        0    0    1
//   A^T   1  1  1  0                     1  1  1  1  1  0
//         0  1 -1 -1                     0  1 -1  2 -2  0
//                                        0  1  1  4  4  0
//                                        0  1 -1  8 -8  1
//
// A line has room for six values, whatever it holds of them; the rest is zero and never used. So both sizes share the
// code, in which every index is a literal: nothing depends on a compiler that unrolls loops.

alias Line = array<vec4<f32>, 6>;
alias Lines = array<Line, 6>;

const NONE = vec4<f32>(0.0, 0.0, 0.0, 0.0);

// B^T d: WINDOW values to WINDOW.
fn input_line(d: Line) -> Line {
    if (TILE == 2u) {
        return Line(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3], NONE, NONE);
    }
    let even = d[4] - 4.0 * d[2];
    let odd = d[3] - 4.0 * d[1];
    let outer = d[4] - d[2];
    let inner = 2.0 * (d[3] - d[1]);
    return Line(
        4.0 * d[0] - 5.0 * d[2] + d[4],
        even + odd,
        even - odd,
        outer + inner,
        outer - inner,
        4.0 * d[1] - 5.0 * d[3] + d[5],
    );
}

// G g: 3 values to WINDOW.
fn filter_line(g: Line) -> Line {
    if (TILE == 2u) {
        let outer = 0.5 * (g[0] + g[2]);
        let inner = 0.5 * g[1];
        return Line(g[0], outer + inner, outer - inner, g[2], NONE, NONE);
    }
    let near = (g[0] + g[2]) / -6.0;
    let middle = g[1] / 6.0;
    let far = (g[0] + 4.0 * g[2]) / 24.0;
    let inner = g[1] / 12.0;
    return Line(0.25 * g[0], near - middle, near + middle, far + inner, far - inner, g[2]);
}

// A^T m: WINDOW values to TILE.
fn output_line(m: Line) -> Line {
    if (TILE == 2u) {
        return Line(m[0] + m[1] + m[2], m[1] - m[2] - m[3], NONE, NONE, NONE, NONE);
    }
    let near_sum = m[1] + m[2];
    let near_difference = m[1] - m[2];
    let far_sum = m[3] + m[4];
    let far_difference = m[3] - m[4];
    return Line(
        m[0] + near_sum + far_sum,
        near_difference + 2.0 * far_difference,
        near_sum + 4.0 * far_sum,
        near_difference + 8.0 * far_difference + m[5],
        NONE,
        NONE,
    );
}

// A y: TILE values to WINDOW, the adjoint of output_line.
fn gradient_line(y: Line) -> Line {
    if (TILE == 2u) {
        return Line(y[0], y[0] + y[1], y[0] - y[1], -y[1], NONE, NONE);
    }
    let near_even = y[0] + y[2];
    let near_odd = y[1] + y[3];
    let far_even = y[0] + 4.0 * y[2];
    let far_odd = 2.0 * y[1] + 8.0 * y[3];
    return Line(y[0], near_even + near_odd, near_even - near_odd, far_even + far_odd, far_even - far_odd, y[3]);
}

// G^T u: WINDOW values to 3, the adjoint of filter_line.
fn filter_gradient_line(u: Line) -> Line {
    if (TILE == 2u) {
        let sum = 0.5 * (u[1] + u[2]);
        return Line(u[0] + sum, 0.5 * (u[1] - u[2]), sum + u[3], NONE, NONE, NONE);
    }
    let near = (u[1] + u[2]) / -6.0;
    let far = u[3] + u[4];
    return Line(
        0.25 * u[0] + near + far / 24.0,
        (u[2] - u[1]) / 6.0 + (u[3] - u[4]) / 12.0,
        near + far / 6.0 + u[5],
        NONE,
        NONE,
        NONE,
    );
}
