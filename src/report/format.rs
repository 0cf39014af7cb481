//! Numbers as people read them. A space between number and unit does not break.

/// "41.2 %" of a fraction.
pub fn percent(fraction: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * fraction)
}

/// "37.0–45.6 %" of two fractions.
pub fn percent_range((low, high): (f64, f64)) -> String {
    format!("{:.1}–{:.1}\u{a0}%", 100.0 * low, 100.0 * high)
}

/// "12,345".
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 image", "2 images", "2 classes".
pub fn counted(number: usize, singular: &str) -> String {
    let ending = match number {
        1 => "",
        _ if singular.ends_with('s') => "es",
        _ => "s",
    };
    format!("{}\u{a0}{singular}{ending}", count(number))
}

/// "35.2 M": three digits and a prefix.
pub fn short(number: f64) -> String {
    let (value, prefix) = match number {
        n if n >= 999.5e6 => (n / 1e9, "G"),
        n if n >= 999.5e3 => (n / 1e6, "M"),
        n if n >= 999.5 => (n / 1e3, "k"),
        n => return format!("{n:.0}"),
    };
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$}\u{a0}{prefix}")
}

/// "2.31".
pub fn loss(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.3}") } else { format!("{value:.3e}") }
}

/// "43.1" or "842": three digits.
pub fn rate(value: f64) -> String {
    if value < 99.95 { format!("{value:.1}") } else { count(value.round() as usize) }
}

/// "38 s", "12 min 05 s", "3 h 07 min".
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..=59 => format!("{s}\u{a0}s"),
        60..=3599 => format!("{}\u{a0}min {:02}\u{a0}s", s / 60, s % 60),
        _ => format!("{}\u{a0}h {:02}\u{a0}min", s / 3600, s % 3600 / 60),
    }
}

/// At most `limit` characters, the last an ellipsis where something was cut.
pub fn ellipsis(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(0.41249), "41.2\u{a0}%");
        assert_eq!(count(0), "0");
        assert_eq!(count(35_219_400), "35,219,400");
        assert_eq!(short(35_219_400.0), "35.2\u{a0}M");
        assert_eq!(short(1_270_000_000.0), "1.27\u{a0}G");
        assert_eq!(short(999.6e6), "1.00\u{a0}G");
        assert_eq!(short(12.0), "12");
        assert_eq!(duration(59.6), "1\u{a0}min 00\u{a0}s");
        assert_eq!(duration(11_220.0), "3\u{a0}h 07\u{a0}min");
        assert_eq!(ellipsis("äöüß", 3), "äö…");
    }
}
