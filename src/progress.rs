//! What a person sees while work goes on: a bar with rate and ETA on a terminal, nothing when piped.
//!
//! It never writes to standard output; results do.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Whether colour may be used on standard error: a terminal, and `NO_COLOR` unset or empty.
pub fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// A bar over `total` `unit`s under the heading `task`. Hidden when `quiet` or when standard error is not a terminal.
pub fn bar(task: &str, total: u64, unit: &str, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar_style = if colour() { "{bar:28.cyan/dim}" } else { "{bar:28}" };
    let template =
        format!("{{prefix}} {bar_style} {{human_pos}}/{{human_len}} {unit}  {{per_sec}}  ETA {{eta}}  {{msg}}");
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.with_prefix(format!("{task:>10}"))
}

/// A running count of `unit`s, where nobody knows how many there will be. Hidden as [`bar`] is.
pub fn counter(task: &str, unit: &str, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template(&format!("{{prefix}} {{human_pos}} {unit}  {{elapsed}}  {{msg}}")) {
        line.set_style(style);
    }
    line.with_prefix(format!("{task:>10}"))
}

/// A bar over bytes, with rate and ETA; a spinner's line where the `total` is not known. Hidden as [`bar`] is.
pub fn bytes(task: &str, total: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar_style = if colour() { "{bar:28.cyan/dim}" } else { "{bar:28}" };
    let template = format!(
        "{{prefix}} {bar_style} {{decimal_bytes}}/{{decimal_total_bytes}}  {{decimal_bytes_per_sec}}  ETA {{eta}}"
    );
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.with_prefix(format!("{task:>10}"))
}

/// What is being done, and for how long, where there is nothing to count: the caller sets the message. Hidden as [`bar`] is.
pub fn spinner(task: &str, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template("{prefix} {spinner} {msg}  {elapsed}") {
        line.set_style(style);
    }
    line.enable_steady_tick(Duration::from_millis(100));
    line.with_prefix(format!("{task:>10}"))
}

/// A line for people on standard error; one that cannot be written is not an error.
pub fn note(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}
