//! Standard output and error for the commands. A reader that went away (`| head`) is not an error.

use std::io::Write;

use crate::error::{Error, Result};

/// Writes to standard output; a broken pipe ends the process quietly, as other command-line tools do.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes a line to standard output.
pub fn line(text: &str) {
    print(&format!("{text}\n"));
}

/// Writes a line for people to standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}"); // nobody is left to be told that standard error is gone
}

/// Writes a value as one indented JSON object to standard output.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::data("standard output", e))?;
    line(&text);
    Ok(())
}

/// A number for people: 100000 is `100,000`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let groups = digits.as_bytes()[first..].chunks(3).map(|g| String::from_utf8_lossy(g).into_owned());
    let head = (first > 0).then(|| digits[..first].to_owned());
    head.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (12, "12"), (999, "999"), (1000, "1,000"), (100_000, "100,000")] {
            assert_eq!(super::count(number), text);
        }
    }
}
