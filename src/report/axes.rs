//! The axes of a chart: round bounds, ticks of our choosing and what stands beside them. Draws nothing.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use super::format;

/// What the y axis measures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// A fraction, shown in per cent.
    Accuracy,
    /// Cross-entropy.
    Loss,
    /// Of the optimizer.
    LearningRate,
    /// Images per second.
    Speed,
}

/// An axis with ticks of our choosing; plotters' own may fall between epochs.
pub struct Axis {
    /// From its beginning to its end.
    pub range: std::ops::Range<f64>,
    /// Within it, in order.
    pub ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        low + (f64::from(high - low) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.range.clone()
    }
}

/// Characters for which there is room beside the axis.
const TICK: usize = 6;

/// The texts at an axis, in one notation for all of them.
pub fn tick_texts(ticks: &[f64], measure: Measure) -> Vec<String> {
    let all = |text: &dyn Fn(f64) -> String| ticks.iter().map(|tick| text(*tick)).collect::<Vec<_>>();
    match measure {
        Measure::Accuracy => all(&|v| format!("{:.0}\u{a0}%", 100.0 * v)),
        Measure::Loss => all(&|v| plain(v, 2)),
        Measure::Speed if ticks.last().is_some_and(|most| *most >= 10.0) => all(&|v| format::count(v.round() as usize)),
        Measure::Speed => all(&|v| plain(v, 2)),
        Measure::LearningRate => {
            // Ticks are multiples of each other: what six places show of the least they show of all.
            let plainly = all(&|v| plain(v, 6));
            let exact =
                |(text, tick): (&String, &f64)| text.parse().is_ok_and(|v: f64| (v - tick).abs() <= 1e-3 * tick);
            if plainly.iter().zip(ticks).all(|pair| pair.0.len() <= TICK && exact(pair)) {
                return plainly;
            }
            // Zero is zero in every notation. Three digits take what summing has left away.
            let rounded = |v: f64| format!("{v:.2e}").parse().unwrap_or(v);
            all(&|v| if v == 0.0 { "0".into() } else { format!("{:e}", rounded(v)) })
        }
    }
}

/// Without the zeros at its end.
pub fn plain(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Whole epochs, at most nine, multiples of 1, 2 or 5 times a power of ten.
pub fn epoch_ticks(last: usize) -> Vec<f64> {
    let step = (0..).flat_map(|p| [1, 2, 5].map(|m| m * 10_usize.pow(p))).find(|s| last / s <= 8).unwrap_or(last);
    (1..=last).filter(|e| e % step == 0).map(|e| e as f64).collect()
}

/// Round bounds around the values and ticks between them.
pub fn y_axis(values: impl Iterator<Item = f64>, measure: Measure) -> (std::ops::Range<f64>, Vec<f64>) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let (low, high) = match measure {
        Measure::Accuracy => (0.0, high.max(0.1)),
        Measure::Loss if low.is_finite() => (low.min(high - 0.1), high),
        Measure::Loss => (0.0, 1.0),
        Measure::LearningRate => (0.0, high.max(1e-12)),
        Measure::Speed => (0.0, high.max(1.0)),
    };
    let raw = (high - low) / 5.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw).unwrap_or(raw);
    let (first, last) = ((low / step).floor(), (high / step - 1e-9).ceil());
    let ticks = (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect();
    (first * step..last * step, ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_one_notation() {
        let texts = |high: f64| tick_texts(&y_axis([high].into_iter(), Measure::LearningRate).1, Measure::LearningRate);
        assert_eq!(texts(0.05), ["0", "0.01", "0.02", "0.03", "0.04", "0.05"]);
        assert_eq!(texts(0.001), ["0", "0.0002", "0.0004", "0.0006", "0.0008", "0.001"]);
        assert_eq!(texts(3e-5), ["0", "1e-5", "2e-5", "3e-5"]);
        assert_eq!(texts(5e-6), ["0", "2e-6", "4e-6", "6e-6"]);
        let speed = |high: f64| tick_texts(&y_axis([high].into_iter(), Measure::Speed).1, Measure::Speed);
        assert_eq!(speed(16_800.0), ["0", "5,000", "10,000", "15,000", "20,000"]);
        assert_eq!(speed(0.9), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
    }

    #[test]
    fn axes_are_round() {
        assert_eq!(epoch_ticks(1), [1.0]);
        assert_eq!(epoch_ticks(20), [5.0, 10.0, 15.0, 20.0]);
        let (range, ticks) = y_axis([0.11, 0.43].into_iter(), Measure::Accuracy);
        assert!(range == (0.0..0.5) && ticks.len() == 6, "{range:?} {ticks:?}");
    }
}
