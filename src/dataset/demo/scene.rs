//! One image of the demo set: a textured background, clutter, and the object in a colour that stands out.
//!
//! Every choice but the object's form is drawn from the same distribution for all classes.

use rand::{Rng, RngExt};

use super::shape::Shape;

/// Rows and columns.
pub const SIDE: usize = 64;
/// The least difference in luminance between object and background, of 255.
const LEAST_CONTRAST: f32 = 65.0;

type Colour = [f32; 3];

/// A drawn image.
pub struct Scene {
    /// RGB, [SIDE, SIDE, 3].
    pub pixels: Vec<u8>,
    /// x0, y0, x1, y1 of the object, inclusive.
    pub bounds: [i16; 4],
}

impl Scene {
    /// Draws one object of this shape.
    pub fn draw(shape: Shape, rng: &mut impl Rng) -> Self {
        let background = Background::draw(rng);
        let mut canvas: Vec<Colour> = (0..SIDE * SIDE).map(|i| background.at(i % SIDE, i / SIDE)).collect();
        for _ in 0..rng.random_range(0..=4) {
            Clutter::draw(rng).paint(&mut canvas);
        }
        let object = Object::draw(shape, &background, rng);
        let bounds = object.paint(&mut canvas);
        let noise = rng.random_range(2.0..10.0_f32);
        let pixels = canvas
            .iter()
            .flatten()
            // The sum of two uniform numbers: nearly normal, and the same on every machine.
            .map(|value| value + noise * (rng.random::<f32>() + rng.random::<f32>() - 1.0) * 1.7)
            .map(|value| value.round().clamp(0.0, 255.0) as u8)
            .collect();
        Self { pixels, bounds }
    }

    /// One byte a pixel: the luminance of JPEG (ITU-R BT.601).
    pub fn luminance(&self) -> Vec<u8> {
        self.pixels.chunks(3).map(|p| luminance([p[0], p[1], p[2]].map(f32::from)).round() as u8).collect()
    }
}

fn luminance([r, g, b]: Colour) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

fn colour(rng: &mut impl Rng) -> Colour {
    [(); 3].map(|()| rng.random_range(10.0..245.0))
}

fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * share)
}

/// How much of a pixel lies inside an edge at this signed distance, in pixels.
fn coverage(distance: f32) -> f32 {
    (0.5 - distance).clamp(0.0, 1.0)
}

/// A gradient between two near colours, with soft clouds over it.
struct Background {
    from: Colour,
    to: Colour,
    slope: (f32, f32),
    clouds: Vec<f32>,
    strength: f32,
}

/// Clouds are interpolated between points of a square grid with this many cells a side.
const CELLS: usize = 7;

impl Background {
    fn draw(rng: &mut impl Rng) -> Self {
        let from = colour(rng);
        let to = mix(from, colour(rng), 0.35);
        let angle: f32 = rng.random_range(0.0..std::f32::consts::TAU);
        let clouds = (0..(CELLS + 1) * (CELLS + 1)).map(|_| rng.random_range(-1.0..1.0)).collect();
        Self { from, to, slope: (angle.cos(), angle.sin()), clouds, strength: rng.random_range(4.0..22.0) }
    }

    fn mean(&self) -> Colour {
        mix(self.from, self.to, 0.5)
    }

    fn at(&self, x: usize, y: usize) -> Colour {
        let (u, v) = (x as f32 / SIDE as f32, y as f32 / SIDE as f32);
        let share = (0.5 + (u - 0.5) * self.slope.0 + (v - 0.5) * self.slope.1).clamp(0.0, 1.0);
        let cloud = self.strength * self.cloud(u * CELLS as f32, v * CELLS as f32);
        mix(self.from, self.to, share).map(|value| value + cloud)
    }

    fn cloud(&self, x: f32, y: f32) -> f32 {
        let soft = |t: f32| t * t * (3.0 - 2.0 * t);
        let (column, row) = (x as usize, y as usize);
        let (across, down) = (soft(x.fract()), soft(y.fract()));
        let point = |row: usize, column: usize| self.clouds[row * (CELLS + 1) + column];
        let upper = point(row, column) + (point(row, column + 1) - point(row, column)) * across;
        let lower = point(row + 1, column) + (point(row + 1, column + 1) - point(row + 1, column)) * across;
        upper + (lower - upper) * down
    }
}

/// A short line or a small lump that belongs to no class.
struct Clutter {
    from: (f32, f32),
    to: (f32, f32),
    radius: f32,
    colour: Colour,
    opacity: f32,
}

impl Clutter {
    fn draw(rng: &mut impl Rng) -> Self {
        let side = SIDE as f32;
        let from = (rng.random_range(0.0..side), rng.random_range(0.0..side));
        let (angle, length): (f32, f32) = (rng.random_range(0.0..std::f32::consts::TAU), rng.random_range(1.5..18.0));
        let to = (from.0 + length * angle.cos(), from.1 + length * angle.sin());
        let radius = rng.random_range(0.8..2.4);
        Self { from, to, radius, colour: colour(rng), opacity: rng.random_range(0.3..0.9) }
    }

    fn paint(&self, canvas: &mut [Colour]) {
        let along = (self.to.0 - self.from.0, self.to.1 - self.from.1);
        let length = (along.0 * along.0 + along.1 * along.1).max(1e-6);
        for (i, pixel) in canvas.iter_mut().enumerate() {
            let (x, y) = ((i % SIDE) as f32 - self.from.0, (i / SIDE) as f32 - self.from.1);
            let t = ((x * along.0 + y * along.1) / length).clamp(0.0, 1.0);
            let distance = (x - t * along.0).hypot(y - t * along.1) - self.radius;
            *pixel = mix(*pixel, self.colour, self.opacity * coverage(distance));
        }
    }
}

/// The object: where, how large, how turned, in which colour.
struct Object {
    shape: Shape,
    centre: (f32, f32),
    radius: f32,
    turn: (f32, f32),
    phase: f32,
    colour: Colour,
    shade: (f32, f32),
}

impl Object {
    fn draw(shape: Shape, background: &Background, rng: &mut impl Rng) -> Self {
        // Large enough that a narrow network learns its edges in minutes; textures need room for a few periods.
        let radius = if shape.is_texture() { rng.random_range(20.0..29.0) } else { rng.random_range(18.0..28.0) };
        let reach = SIDE as f32 - 0.85 * radius;
        let mut place = || rng.random_range(0.85 * radius..reach);
        let centre = (place(), place());
        let angle: f32 = rng.random_range(0.0..std::f32::consts::TAU);
        let behind = luminance(background.mean());
        // Luminance ends at 0 and 255 and the background may be in the middle: some colour is always far enough.
        let colour = loop {
            let colour = colour(rng);
            if (luminance(colour) - behind).abs() >= LEAST_CONTRAST {
                break colour;
            }
        };
        let shade: (f32, f32) = (rng.random_range(-0.25..0.25), rng.random_range(-0.25..0.25));
        Self { shape, centre, radius, turn: (angle.cos(), angle.sin()), phase: rng.random(), colour, shade }
    }

    fn paint(&self, canvas: &mut [Colour]) -> [i16; 4] {
        let mut bounds = [SIDE as i16, SIDE as i16, -1, -1];
        for (i, pixel) in canvas.iter_mut().enumerate() {
            let (column, row) = (i % SIDE, i / SIDE);
            let (dx, dy) = ((column as f32 - self.centre.0) / self.radius, (row as f32 - self.centre.1) / self.radius);
            if dx.abs().max(dy.abs()) > 1.3 {
                continue; // beyond every shape
            }
            let (x, y) = (dx * self.turn.0 + dy * self.turn.1, dy * self.turn.0 - dx * self.turn.1);
            let share = coverage(self.shape.distance(x, y, self.phase) * self.radius);
            let light = 1.0 + dx * self.shade.0 + dy * self.shade.1;
            *pixel = mix(*pixel, self.colour.map(|value| value * light), share);
            if share >= 0.5 {
                let (x, y) = (column as i16, row as i16); // below SIDE
                bounds = [bounds[0].min(x), bounds[1].min(y), bounds[2].max(x), bounds[3].max(y)];
            }
        }
        bounds
    }
}
