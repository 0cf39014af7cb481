//! Parsers for the values of flags. A wrong value is answered with what is allowed and the nearest valid choice.
//!
//! They look at one value alone; what flags mean together is checked where the flags are turned into settings.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::ops::{Bound, RangeInclusive};
use std::str::FromStr;

use crate::engine::{Precision, gpu};
use crate::engines::Choice;
use crate::inference::predictions;
use crate::training::sizes::Sizes;
use crate::vgg::{Network, table};

/// A whole number of at least `least`.
pub fn whole<T>(least: T) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Copy + Send + Sync + 'static,
{
    move |text| match text.parse::<T>() {
        Ok(number) if number >= least => Ok(number),
        _ => {
            let allowed = format!("a whole number of at least {least}");
            // Through f64, so that "2.6" and "-3" have a nearest whole number too.
            let rounded = text.parse::<f64>().ok().filter(|v| v.is_finite()).map(f64::round);
            match rounded.map(|number| (number, format!("{number:.0}").parse::<T>())) {
                None => Err(choose(&allowed, None::<T>)),
                Some((_, Ok(number))) if number >= least => Err(choose(&allowed, Some(number))),
                Some((number, Err(_))) if number > 0.0 => Err(format!("choose {allowed}; this one is too large")),
                Some(_) => Err(choose(&allowed, Some(least))),
            }
        }
    }
}

/// A whole number within `range`, of `unit` (a plural).
pub fn within<T>(range: RangeInclusive<T>, unit: &str) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync
where
    T: FromStr + PartialOrd + Display + Copy + Send + Sync + 'static,
{
    let (least, most, unit) = (*range.start(), *range.end(), unit.to_owned());
    move |text| match whole(least)(text)? {
        number if number <= most => Ok(number),
        _ => Err(choose(&format!("from {least} to {most} {unit}"), Some(most))),
    }
}

/// A finite number within `low` and `high`.
pub fn real(low: Bound<f64>, high: Bound<f64>) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let parsed = text.parse::<f64>().ok();
        let number = parsed.filter(|v| v.is_finite());
        let too_low = number.filter(|v| match low {
            Bound::Included(low) => *v < low,
            Bound::Excluded(low) => *v <= low,
            Bound::Unbounded => false,
        });
        let too_high = number.filter(|v| match high {
            Bound::Included(high) => *v > high,
            Bound::Excluded(high) => *v >= high,
            Bound::Unbounded => false,
        });
        let nearest = match (number, too_low, too_high, low, high) {
            (Some(number), None, None, ..) => return Ok(number),
            (_, Some(_), _, Bound::Included(low), _) => Some(low),
            (_, _, Some(_), _, Bound::Included(high)) => Some(high),
            _ => None, // no number at all, or an open end, which has no nearest number
        };
        let from = match low {
            Bound::Included(low) => format!(" of at least {low}"),
            Bound::Excluded(low) => format!(" above {low}"),
            Bound::Unbounded => String::new(),
        };
        let to = match high {
            Bound::Included(high) => format!(" and at most {high}"),
            Bound::Excluded(high) => format!(" and below {high}"),
            Bound::Unbounded => String::new(),
        };
        let a = if parsed.is_some() && number.is_none() { "a finite" } else { "a" };
        Err(choose(&format!("{a} number{from}{to}"), nearest))
    }
}

/// A depth of Table 1.
pub fn depth(text: &str) -> Result<usize, String> {
    let depths = table::depths();
    match text.parse::<usize>() {
        Ok(depth) if depths.contains(&depth) => Ok(depth),
        Ok(depth) => Err(choose(&list(&depths), Some(table::nearest_depth(depth)))),
        Err(_) => Err(choose(&list(&depths), None::<usize>)),
    }
}

/// Height and width that a network can see.
pub fn image_size(text: &str) -> Result<usize, String> {
    within(Network::IMAGE_SIZES, "pixels")(text)
}

/// The same, or several in turn.
pub fn image_sizes(text: &str) -> Result<Sizes, String> {
    if text.contains([':', ',']) { text.parse() } else { image_size(text).map(Sizes::one) }
}

/// The name of a run: one folder name that needs no quoting in a shell.
pub fn run_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text == "image" || predictions::COLUMNS.contains(&text) {
        return Err(format!("{text} is a column of predictions.csv, where each run has one too; choose another name"));
    }
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    let mended: String = text.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    let mended = mended.trim_start_matches(['-', '_', '.']).trim_end_matches('-');
    let rule = "letters, digits, '-', '_' and '.', beginning with a letter or digit";
    Err(choose(rule, (!mended.is_empty()).then_some(mended)))
}

/// A number of worker threads. More than any machine has processors would take the memory of the work for stacks.
pub fn threads(text: &str) -> Result<NonZeroUsize, String> {
    const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
    within(NonZeroUsize::MIN..=MOST, "threads")(text)
}

/// What computes.
pub fn engine(text: &str) -> Result<Choice, String> {
    match text {
        "auto" => Ok(Choice::Auto),
        "cpu" => Ok(Choice::Cpu),
        "gpu" => Ok(Choice::Gpu),
        _ => Err(choose("auto, gpu or cpu", None::<&str>)),
    }
}

/// What a GPU multiplies.
pub fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "f16" => Ok(Precision::F16),
        _ => Err(choose("f32 or f16", None::<&str>)),
    }
}

/// A failure of the GPU to provoke, from `VGGKIT_FAULT`: for tests of what happens then.
pub fn fault() -> Option<gpu::Fault> {
    std::env::var("VGGKIT_FAULT").ok().and_then(|text| gpu::Fault::parse(&text))
}

/// "choose ...; the nearest is ...".
fn choose(allowed: &str, nearest: Option<impl Display>) -> String {
    match nearest {
        Some(nearest) => format!("choose {allowed}; the nearest is {nearest}"),
        None => format!("choose {allowed}"),
    }
}

/// "11, 13, 16 or 19".
fn list(choices: &[usize]) -> String {
    let texts: Vec<_> = choices.iter().map(ToString::to_string).collect();
    match texts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => texts.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers() {
        assert_eq!(whole(1usize)("64"), Ok(64));
        assert_eq!(whole(0u64)("0"), Ok(0));
        for (text, nearest) in [("0", "1"), ("-3", "1"), ("2.6", "3"), ("1e3", "1000")] {
            let error = whole(1usize)(text).expect_err(text);
            assert_eq!(error, format!("choose a whole number of at least 1; the nearest is {nearest}"));
        }
        for text in ["many", "", "nan", "inf"] {
            assert_eq!(whole(1usize)(text), Err("choose a whole number of at least 1".into()), "{text}");
        }
        for text in ["99999999999999999999", "1e308"] {
            let error = whole(1usize)(text).expect_err(text);
            assert_eq!(error, "choose a whole number of at least 1; this one is too large");
        }
        let zero = whole(NonZeroUsize::MIN)("0");
        assert_eq!(zero, Err("choose a whole number of at least 1; the nearest is 1".into()));
        let bits = within(0u32..=10, "bits");
        assert_eq!(bits("10"), Ok(10));
        assert_eq!(bits("99"), Err("choose from 0 to 10 bits; the nearest is 10".into()));
        assert_eq!(bits("-1"), Err("choose a whole number of at least 0; the nearest is 0".into()));
    }

    #[test]
    fn real_numbers() {
        let rate = real(Bound::Excluded(0.0), Bound::Unbounded);
        assert_eq!(rate("1e-3"), Ok(0.001));
        for text in ["0", "-1", "fast", ""] {
            assert_eq!(rate(text), Err("choose a number above 0".into()), "{text}");
        }
        for text in ["nan", "inf", "1e999"] {
            assert_eq!(rate(text), Err("choose a finite number above 0".into()), "{text}");
        }
        let fraction = real(Bound::Included(0.0), Bound::Excluded(1.0));
        assert_eq!(fraction("0"), Ok(0.0));
        assert_eq!(fraction("-0.5"), Err("choose a number of at least 0 and below 1; the nearest is 0".into()));
        assert_eq!(fraction("1"), Err("choose a number of at least 0 and below 1".into()));
    }

    #[test]
    fn depths() {
        assert_eq!(depth("19"), Ok(19));
        assert_eq!(depth("17"), Err("choose 11, 13, 16 or 19; the nearest is 16".into()));
        assert_eq!(depth("0"), Err("choose 11, 13, 16 or 19; the nearest is 11".into()));
        assert_eq!(depth("deep"), Err("choose 11, 13, 16 or 19".into()));
    }

    #[test]
    fn sizes() {
        assert_eq!(image_size("32"), Ok(32));
        assert_eq!(image_size("31"), Err("choose a whole number of at least 32; the nearest is 32".into()));
        assert_eq!(image_sizes("40").map(|sizes| sizes.last()), Ok(40));
        assert_eq!(image_sizes("32:0,64:9").map(|sizes| sizes.at(9)), Ok(32));
        assert_eq!(image_sizes("31"), Err("choose a whole number of at least 32; the nearest is 32".into()));
        assert_eq!(image_size("5000"), Err("choose from 32 to 4096 pixels; the nearest is 4096".into()));
    }

    #[test]
    fn names_of_runs() {
        assert_eq!(run_name("vgg16c-seed.1"), Ok("vgg16c-seed.1".into()));
        assert!(run_name("runs/mine").is_err_and(|e| e.ends_with("the nearest is runs-mine")));
        assert!(run_name("../..").is_err_and(|e| !e.contains("nearest")));
        assert!(run_name("").is_err());
        assert!(run_name("vote").is_err_and(|e| e.contains("predictions.csv")));
    }
}
