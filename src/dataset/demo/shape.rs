//! The classes of the demo set as signed distances: negative inside, positive outside, in units of the shape's radius.
//!
//! Distances may be rough away from the edge; only their zero and their slope there are drawn.

use std::f32::consts::{PI, TAU};

/// A class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Disc,
    Ring,
    Square,
    Triangle,
    Star,
    Cross,
    Stripes,
    Checkerboard,
    Dots,
    Spiral,
    Crescent,
    Heart,
    Arrow,
    Waves,
    Lattice,
    Gear,
}

/// In class order.
pub const ALL: [Shape; 16] = [
    Shape::Disc,
    Shape::Ring,
    Shape::Square,
    Shape::Triangle,
    Shape::Star,
    Shape::Cross,
    Shape::Stripes,
    Shape::Checkerboard,
    Shape::Dots,
    Shape::Spiral,
    Shape::Crescent,
    Shape::Heart,
    Shape::Arrow,
    Shape::Waves,
    Shape::Lattice,
    Shape::Gear,
];

impl Shape {
    /// As words.txt has them: the first is shown.
    pub fn names(self) -> &'static str {
        match self {
            Self::Disc => "disc, filled circle",
            Self::Ring => "ring, annulus",
            Self::Square => "square, filled square",
            Self::Triangle => "triangle, equilateral triangle",
            Self::Star => "star, pentagram",
            Self::Cross => "cross, plus sign",
            Self::Stripes => "stripes, parallel bars",
            Self::Checkerboard => "checkerboard, chequers",
            Self::Dots => "dots, polka dots",
            Self::Spiral => "spiral, spiral of Archimedes",
            Self::Crescent => "crescent, lune",
            Self::Heart => "heart, heart shape",
            Self::Arrow => "arrow, pointer",
            Self::Waves => "waves, wavy bars",
            Self::Lattice => "lattice, square grid",
            Self::Gear => "gear, cogwheel",
        }
    }

    /// Textures fill a patch without a shape of its own.
    pub fn is_texture(self) -> bool {
        matches!(self, Self::Stripes | Self::Checkerboard | Self::Dots | Self::Waves | Self::Lattice)
    }

    /// Signed distance of a point. `phase` shifts textures and bends the outline of their patch.
    pub fn distance(self, x: f32, y: f32, phase: f32) -> f32 {
        let radius = x.hypot(y);
        let angle = y.atan2(x);
        match self {
            Self::Disc => radius - 0.95,
            Self::Ring => (radius - 0.76).abs() - 0.2,
            Self::Square => x.abs().max(y.abs()) - 0.8,
            Self::Triangle => triangle(x, y, 0.55),
            Self::Star => star(radius, angle),
            Self::Cross => boxed(x, y, 1.0, 0.3).min(boxed(x, y, 0.3, 1.0)),
            Self::Spiral => (bars(radius - angle / TAU * 0.44, 0.44)).max(radius - 1.0),
            Self::Crescent => (radius - 0.98).max(0.82 - (x - 0.48).hypot(y)),
            Self::Heart => heart(x, y),
            Self::Arrow => boxed(x + 0.4, y, 0.6, 0.2).min(triangle(x - 0.42, y, 0.34)),
            Self::Gear => (radius - 0.8 - 0.17 * (angle * 8.0).cos().clamp(-0.6, 0.6) / 0.6).max(0.3 - radius),
            Self::Stripes => bars(x + phase, 0.5).max(patch(radius, angle, phase)),
            Self::Waves => bars(x + 0.2 * (y * 5.0).sin() + phase, 0.62).max(patch(radius, angle, phase)),
            Self::Checkerboard => checks(x + phase, y + phase / 2.0, 0.4).max(patch(radius, angle, phase)),
            Self::Dots => dots(x + phase, y - phase, 0.56).max(patch(radius, angle, phase)),
            Self::Lattice => {
                let lines = thin(x + phase, 0.5).min(thin(y - phase, 0.5));
                lines.max(patch(radius, angle, phase))
            }
        }
    }
}

fn boxed(x: f32, y: f32, half_width: f32, half_height: f32) -> f32 {
    (x.abs() - half_width).max(y.abs() - half_height)
}

/// Points right; `inner` is the radius of the circle inside.
fn triangle(x: f32, y: f32, inner: f32) -> f32 {
    let half_root = 0.75_f32.sqrt();
    (-x).max(0.5 * x + half_root * y).max(0.5 * x - half_root * y) - inner
}

/// Five points at radius 1.05, notches at 0.45.
fn star(radius: f32, angle: f32) -> f32 {
    let sector = TAU / 5.0;
    let folded = ((angle + TAU).rem_euclid(sector) - sector / 2.0).abs(); // 0 at a notch, sector / 2 at a point
    let (x, y) = (radius * folded.cos(), radius * folded.sin());
    let (tip_x, tip_y) = (1.05 * (sector / 2.0).cos(), 1.05 * (sector / 2.0).sin());
    let (along_x, along_y) = (tip_x - 0.45, tip_y);
    ((x - 0.45) * along_y - y * along_x) / along_x.hypot(along_y)
}

/// A square on its corner with a disc on each upper side.
fn heart(x: f32, y: f32) -> f32 {
    let half = 0.5;
    let (u, v) = ((x - y - 0.2) * 0.5_f32.sqrt(), (-x - y - 0.2) * 0.5_f32.sqrt());
    let square = u.abs().max(v.abs()) - half;
    square.min((u - half).hypot(v) - half).min(u.hypot(v - half) - half)
}

/// Distance from the nearest multiple of `period`.
fn from_multiple(x: f32, period: f32) -> f32 {
    (x - period * (x / period).round()).abs()
}

fn bars(x: f32, period: f32) -> f32 {
    from_multiple(x, period) - period / 4.0
}

fn thin(x: f32, period: f32) -> f32 {
    from_multiple(x, period) - period / 7.0
}

fn checks(x: f32, y: f32, cell: f32) -> f32 {
    let edge = from_multiple(x, cell).min(from_multiple(y, cell));
    let odd = ((x / cell).floor() + (y / cell).floor()).rem_euclid(2.0) > 0.5;
    if odd { edge } else { -edge }
}

fn dots(x: f32, y: f32, period: f32) -> f32 {
    from_multiple(x, period).hypot(from_multiple(y, period)) - period * 0.3
}

/// A lump without corners, never quite round.
fn patch(radius: f32, angle: f32, phase: f32) -> f32 {
    radius - 0.95 - 0.1 * (3.0 * angle + phase * 9.0).sin() - 0.06 * (5.0 * angle + PI * phase).sin()
}
