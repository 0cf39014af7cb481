// What both operand files of a convolution know of its taps, KERNEL x KERNEL with stride 1 and zero padding KERNEL / 2.
//
// Which taps of a pixel lie inside the image is one bit each, worked out once a pixel: a load tests a bit instead of four
// bounds. Tap r * 3 + s has bit r * 3 + s; the only tap of KERNEL 1 has that of the middle, which every pixel has.

const MIDDLE = 16u;

struct Place {
    h: u32,
    w: u32,
}

// Where in its image a pixel of the batch is.
fn place_of(pixel: u32, height: u32, width: u32, plane_inverse: f32, width_inverse: f32) -> Place {
    if (KERNEL == 1u) {
        return Place();
    }
    let plane = height * width;
    let within = pixel - quotient(pixel, plane, plane_inverse) * plane;
    let h = quotient(within, width, width_inverse);
    return Place(h, within - h * width);
}

fn taps_inside(at: Place, height: u32, width: u32) -> u32 {
    if (KERNEL == 1u) {
        return MIDDLE;
    }
    var inside = 0x1ffu;
    inside &= select(0x1ffu, 0x1f8u, at.h == 0u);
    inside &= select(0x1ffu, 0x03fu, at.h + 1u == height);
    inside &= select(0x1ffu, 0x1b6u, at.w == 0u);
    inside &= select(0x1ffu, 0x0dbu, at.w + 1u == width);
    return inside;
}

fn tap_bit(tap: u32) -> u32 {
    if (KERNEL == 1u) {
        return MIDDLE;
    }
    return 1u << tap;
}

// Pixels from one to what its tap meets, modulo 2^32.
fn offset_of(tap: u32, width: u32) -> u32 {
    if (KERNEL == 1u) {
        return 0u;
    }
    let r = (tap * 11u) >> 5u; // tap / 3
    return (r - 1u) * width + tap - r * 3u - 1u;
}
