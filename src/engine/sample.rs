//! What a sample of a batch is made of, and the target that follows from it: the one place that owns how a [`Pick`] is
//! bounded, what its target is, and how it is packed for a device.
//!
//! It draws nothing (`training::augment` does) and touches no pixels (the engines' gathers do). An augmentation is a field
//! here, a draw there, and a line in each of three gathers: `shaders/layers/gather.wgsl`, `cpu/layers/gather.rs` and their twin
//! `cpu/reference/gather.rs`; one that needs a whole image is an [`Enhancement`], and no gather knows of it.

use super::enhancement::Enhancement;
use super::images::Images;

/// One image as a network is shown it: enhanced, moved or warped, mirrored, then resized, coloured, normalised and erased.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    /// Index into [`Images`].
    pub index: u32,
    /// What happens to the whole image first.
    pub enhancement: Option<Enhancement>,
    /// Which part of the image is seen.
    pub geometry: Geometry,
    /// Mirror left and right, after the crop.
    pub flip: bool,
    /// What happens to its colours.
    pub colour: Option<Colour>,
    /// Set to 0 after normalisation (Zhong et al. 2017, Random Erasing).
    pub erased: Option<Area>,
}

/// Which part of an image is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Geometry {
    /// A window of the image's own size; pixels outside the image are black (0 before normalisation).
    Moved {
        /// Columns by which the window is moved right.
        x: i8,
        /// Rows by which it is moved down.
        y: i8,
    },
    /// Any affine map.
    Warped(Warp),
}

impl Default for Geometry {
    fn default() -> Self {
        Self::Moved { x: 0, y: 0 }
    }
}

/// Places of the output to places of the image, in both of which pixel `i` reaches from `i` to `i + 1`: the output's
/// square is 0 to 1 across and down, the image is in pixels. A pixel of the output is the mean of those around its place
/// with the triangle filter of [`resample`](super::resample), which is never narrower than a pixel on either side; those
/// outside `cut` are left out, and a place outside `cut` is black. Inside an image that is PIL's bilinear resize of a crop;
/// turned or sheared, PIL's bilinear `transform`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warp {
    /// Column of the image = `x[0] * across + x[1] * down + x[2]`.
    pub x: [f64; 3],
    /// Row of the image, likewise.
    pub y: [f64; 3],
    /// First and one past the last column and row that may be seen.
    pub cut: [u16; 4],
}

impl Warp {
    /// The crop of `width` x `height` pixels whose first column and row are `left` and `top`.
    pub fn crop(left: u16, top: u16, width: u16, height: u16) -> Self {
        Self {
            x: [width.into(), 0.0, left.into()],
            y: [0.0, height.into(), top.into()],
            cut: [left, top, left + width, top + height],
        }
    }

    /// First `inner` (places of the output, 0 to 1, to places of the same square), then this.
    pub fn after(self, inner: [[f64; 3]; 2]) -> Self {
        let [across, down] = inner;
        let through = |row: [f64; 3]| {
            let at = |i: usize| row[0] * across[i] + row[1] * down[i];
            [at(0), at(1), at(2) + row[2]]
        };
        Self { x: through(self.x), y: through(self.y), cut: self.cut }
    }

    /// For an output of `size`: column = `[0] * output column + [1] * output row + [2]` and the filter's reach to both
    /// sides, then the same of the row.
    pub fn lines(&self, size: usize, flip: bool) -> [[f64; 4]; 2] {
        [self.x, self.y].map(|[across, down, start]| {
            let (across, start) = if flip { (-across, start + across) } else { (across, start) };
            let [across, down] = [across, down].map(|v| v / size as f64);
            [across, down, start + (across + down) / 2.0, across.hypot(down).max(1.0)]
        })
    }
}

/// What happens to the colours of a pixel (R, G, B in 0..255), in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour {
    /// Each of R, G and B from all three and a constant; the result is cut to 0..255.
    pub matrix: [[f32; 4]; 3],
    /// Values from here on are inverted (255 - value); 256 for none.
    pub solarize: f32,
    /// Bits that are kept of a value, 1 to 8; 8 leaves it as it is.
    pub posterize: u32,
    /// Added at the end, not cut.
    pub shift: [f32; 3],
}

impl Default for Colour {
    fn default() -> Self {
        let row = |c: usize| std::array::from_fn(|i| f32::from(u8::from(i == c)));
        Self { matrix: std::array::from_fn(row), solarize: 256.0, posterize: 8, shift: [0.0; 3] }
    }
}

impl Colour {
    /// Bits of a value that are kept.
    pub fn mask(&self) -> u32 {
        0xff & !(0xff >> self.posterize)
    }
}

/// A rectangle of the output in shares of its side: left, top, right, bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area(pub [f32; 4]);

impl Area {
    /// Its pixels in an output of `size`: first column and row, one past the last column and row.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the size of an image")]
    pub fn pixels(&self, size: usize) -> [u32; 4] {
        self.0.map(|share| (share.clamp(0.0, 1.0) * size as f32).round() as u32)
    }

    /// Whether a pixel of an output of `size` lies in it.
    pub fn holds(&self, size: usize, row: usize, column: usize) -> bool {
        let [left, top, right, bottom] = self.pixels(size).map(|v| v as usize);
        (left..right).contains(&column) && (top..bottom).contains(&row)
    }
}

/// One sample of a batch: drawn by the host, made where the data lives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pick {
    /// The image, or the first of two.
    pub view: View,
    /// The second of two, where there is one.
    pub mix: Option<Mix>,
}

/// A second image that is mixed into a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// It.
    pub view: View,
    /// How much of it, or where.
    pub blend: Blend,
}

/// How two images become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Blend {
    /// share * first + (1 - share) * second (Zhang et al. 2018, mixup).
    Share(f32),
    /// The second inside the area, the first elsewhere (Yun et al. 2019, CutMix).
    Area(Area),
}

impl From<View> for Pick {
    fn from(view: View) -> Self {
        Self { view, mix: None }
    }
}

impl Pick {
    /// Image `index` as it is.
    pub fn of(index: u32) -> Self {
        View { index, ..View::default() }.into()
    }

    /// The images it is made of.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        std::iter::once(&self.view).chain(self.mix.as_ref().map(|mix| &mix.view))
    }

    /// How much of an output of `size` is the first image's.
    pub fn share(&self, size: usize) -> f32 {
        match self.mix.map(|mix| mix.blend) {
            None => 1.0,
            Some(Blend::Share(share)) => share,
            Some(Blend::Area(area)) => {
                let [left, top, right, bottom] = area.pixels(size);
                let second = u64::from(right.saturating_sub(left)) * u64::from(bottom.saturating_sub(top));
                (1.0 - second as f64 / (size * size) as f64) as f32
            }
        }
    }

    /// What the network is to say of it, where `labels` are those of the images.
    pub fn target(&self, labels: &[u32], size: usize) -> Target {
        let label = |view: &View| labels[view.index as usize];
        match &self.mix {
            None => Target::of(label(&self.view)),
            Some(mix) => Target::mixed([label(&self.view), label(&mix.view)], self.share(size)),
        }
    }

    /// What is wrong with it as a sample of `images`; `None` where nothing is.
    pub fn fault(&self, images: &Images) -> Option<String> {
        if let Some(Mix { blend: Blend::Share(share), .. }) = self.mix
            && !(0.0..=1.0).contains(&share)
        {
            return Some(format!("a share of {share} is not from 0 to 1"));
        }
        self.views().find_map(|view| view.fault(images))
    }
}

impl View {
    fn fault(&self, images: &Images) -> Option<String> {
        if self.index as usize >= images.count {
            return Some(format!("pick of image {}, but there are {}", self.index, images.count));
        }
        if let Geometry::Warped(Warp { x, y, cut }) = self.geometry {
            let [left, top, right, bottom] = cut.map(usize::from);
            if !(left < right && right <= images.width && top < bottom && bottom <= images.height) {
                return Some(format!("a window {cut:?} of images of {}x{}", images.width, images.height));
            }
            // A reach of more than the image sees nothing more, and loops over it would not end.
            let scale = |row: [f64; 3]| row[0].hypot(row[1]);
            let most = 2.0 * images.width.max(images.height) as f64;
            if !(x.iter().chain(&y).all(|v| v.is_finite()) && scale(x) <= most && scale(y) <= most) {
                return Some(format!("a warp {x:?}, {y:?} that is not finite, or of a scale above {most}"));
            }
        }
        let bits = self.colour.map_or(8, |c| c.posterize);
        if !(1..=8).contains(&bits) {
            return Some(format!("posterised to {bits} bits: from 1 to 8 are possible"));
        }
        self.enhancement.and_then(Enhancement::fault)
    }
}

/// What a network is to say of a sample: two classes and the share of the first, which is at least a half.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Target {
    /// Class indices; equal where there is one.
    pub labels: [u32; 2],
    /// Of the first.
    pub share: f32,
}

impl Target {
    /// One class.
    pub fn of(label: u32) -> Self {
        Self { labels: [label; 2], share: 1.0 }
    }

    /// One class a sample.
    pub fn each(labels: &[u32]) -> Vec<Self> {
        labels.iter().map(|label| Self::of(*label)).collect()
    }

    /// Two classes, `share` of the first.
    pub fn mixed(labels: [u32; 2], share: f32) -> Self {
        let [first, second] = labels;
        if share < 0.5 { Self { labels: [second, first], share: 1.0 - share } } else { Self { labels, share } }
    }

    /// The class that a hit is counted for.
    pub fn label(&self) -> u32 {
        self.labels[0]
    }

    /// Each class with its share.
    pub fn shares(&self) -> [(usize, f32); 2] {
        [(self.labels[0] as usize, self.share), (self.labels[1] as usize, 1.0 - self.share)]
    }
}

/// A view as the shaders have it (`View` in `shaders/layers/gather.wgsl`).
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Packed {
    /// Of the image, or its place among those that were sent.
    index: u32,
    /// From bit 0 on: x, y (8 bits each), then whether it is mirrored, warped, coloured, erased, and for the first of two
    /// whether they are added or the second covers an area.
    flags: u32,
    cut: [u32; 2],
    lines: [[f32; 4]; 2],
    colours: [[f32; 4]; 3],
    shift: [f32; 3],
    solarize: f32,
    /// Left and top in one number, right and bottom in the next.
    erased: [u32; 2],
    /// Of the second of two.
    area: [u32; 2],
    mask: u32,
    /// Of the first, for the second of two.
    share: f32,
    unused: [u32; 2],
}

const _: () = assert!(size_of::<Packed>().is_multiple_of(16), "WGSL rounds the struct up to its widest member");

/// Two halves of a word each: `[left, top, right, bottom]`.
fn corners(area: [u32; 4]) -> [u32; 2] {
    [area[0] | area[1] << 16, area[2] | area[3] << 16]
}

impl View {
    fn packed(&self, place: u32, size: usize) -> Packed {
        let (moved, warp) = match self.geometry {
            Geometry::Moved { x, y } => ([x, y].map(|v| u32::from(v.cast_unsigned())), None),
            Geometry::Warped(warp) => ([0; 2], Some(warp)),
        };
        let bit = |at: u32, set: bool| u32::from(set) << at;
        let colour = self.colour.unwrap_or_default();
        let lines = warp.map(|warp| warp.lines(size, self.flip)).unwrap_or_default();
        Packed {
            index: place,
            flags: moved[0]
                | moved[1] << 8
                | bit(16, self.flip)
                | bit(17, warp.is_some())
                | bit(18, self.colour.is_some())
                | bit(19, self.erased.is_some()),
            cut: corners(warp.map(|warp| warp.cut.map(u32::from)).unwrap_or_default()),
            lines: lines.map(|line| line.map(|v| v as f32)),
            colours: colour.matrix,
            shift: colour.shift,
            solarize: colour.solarize,
            erased: corners(self.erased.map(|area| area.pixels(size)).unwrap_or_default()),
            area: [0; 2],
            mask: colour.mask(),
            share: 1.0,
            unused: [0; 2],
        }
    }
}

impl Pick {
    /// Both views for an output of `size`, the second the first again where there is none; `places` are where their images
    /// lie on the device.
    pub fn packed(&self, places: [u32; 2], size: usize) -> [Packed; 2] {
        let mut first = self.view.packed(places[0], size);
        let Some(mix) = &self.mix else { return [first, first] };
        let mut second = mix.view.packed(places[1], size);
        match mix.blend {
            Blend::Share(share) => {
                first.flags |= 1 << 20;
                second.share = share;
            }
            Blend::Area(area) => {
                first.flags |= 1 << 21;
                second.area = corners(area.pixels(size));
            }
        }
        [first, second]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(blend: Blend) -> Pick {
        let view = |index| View { index, ..View::default() };
        Pick { view: view(0), mix: Some(Mix { view: view(2), blend }) }
    }

    #[test]
    fn the_greater_share_is_the_first_of_a_target() {
        let labels = [7, 8, 9];
        assert_eq!(Pick::of(1).target(&labels, 4), Target { labels: [8, 8], share: 1.0 });
        assert_eq!(mixed(Blend::Share(0.75)).target(&labels, 4), Target { labels: [7, 9], share: 0.75 });
        assert_eq!(mixed(Blend::Share(0.25)).target(&labels, 4), Target { labels: [9, 7], share: 0.75 });
        // 3 x 2 of 4 x 4 pixels.
        let area = Blend::Area(Area([0.25, 0.0, 1.0, 0.5]));
        assert_eq!(mixed(area).target(&labels, 4), Target { labels: [7, 9], share: 0.625 });
        assert_eq!(mixed(Blend::Area(Area([0.5, 0.5, 0.5, 0.5]))).share(64), 1.0);
    }

    #[test]
    fn an_area_is_its_pixels_at_every_size() {
        let area = Area([0.1, 0.5, 0.9, 1.0]);
        for size in [1, 3, 10, 64] {
            let [left, top, right, bottom] = area.pixels(size);
            let pixels = (0..size * size).filter(|at| area.holds(size, at / size, at % size)).count();
            assert_eq!(pixels as u32, (right - left) * (bottom - top), "{size}");
        }
    }

    #[test]
    fn a_mirrored_crop_runs_from_its_other_end() {
        let crop = Warp::crop(2, 1, 4, 3);
        let [[across, down, start, reach], _] = crop.lines(4, false);
        assert_eq!((across, down, start, reach), (1.0, 0.0, 2.5, 1.0));
        let [[across, _, start, _], [_, down, top, reach]] = crop.lines(4, true);
        assert_eq!((across, start, down, top, reach), (-1.0, 5.5, 0.75, 1.375, 1.0));
        // Half a turn of the crop is both mirrors.
        let turned = crop.after([[-1.0, 0.0, 1.0], [0.0, -1.0, 1.0]]);
        assert_eq!(turned.lines(4, false)[0], crop.lines(4, true)[0]);
        assert_eq!(turned.lines(4, true)[1][..3], [0.0, -0.75, 3.625]);
    }

    #[test]
    fn what_no_gather_could_do_is_a_fault() {
        let images = crate::test_support::images(vec![0; 3 * 12], 2, 2);
        let warped = |warp| Pick::from(View { geometry: Geometry::Warped(warp), ..View::default() });
        let whole = Warp::crop(0, 0, 2, 2);
        assert_eq!(warped(whole).fault(&images), None);
        let posterized = Colour { posterize: 0, ..Colour::default() };
        for wrong in [
            Pick::of(3),
            Pick {
                mix: Some(Mix { view: View { index: 3, ..View::default() }, blend: Blend::Share(0.5) }),
                ..Pick::of(0)
            },
            mixed(Blend::Share(f32::NAN)),
            warped(Warp::crop(1, 0, 2, 2)),
            warped(Warp::crop(0, 0, 0, 2)),
            warped(Warp { x: [f64::INFINITY, 0.0, 0.0], ..whole }),
            warped(Warp { y: [0.0, 1e9, 0.0], ..whole }),
            View { colour: Some(posterized), ..View::default() }.into(),
            View { enhancement: Some(Enhancement::Contrast(f64::NAN)), ..View::default() }.into(),
        ] {
            assert!(wrong.fault(&images).is_some(), "{wrong:?}");
        }
    }
}
