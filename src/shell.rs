//! Commands as text that a shell reads back: the one that was typed, for the record, and parts of those that are advised.

use std::ffi::OsStr;
use std::path::Path;

/// One argument, quoted where it has to be. What is no UTF-8 is written as `$'\xff'`, which bash and zsh read.
pub fn quote(argument: impl AsRef<OsStr>) -> String {
    let argument = argument.as_ref();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
    match argument.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Some(text) => format!("'{}'", text.replace('\'', r"'\''")),
        None => {
            let byte = |byte: &u8| match byte {
                b'\\' | b'\'' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            };
            format!("$'{}'", argument.as_encoded_bytes().iter().map(byte).collect::<String>())
        }
    }
}

/// The command line as it was typed.
pub fn command_line() -> String {
    let rest = std::env::args_os().skip(1).map(quote);
    std::iter::once("vggkit".to_owned()).chain(rest).collect::<Vec<_>>().join(" ")
}

/// ` --flag path`.
pub fn flag(name: &str, path: &Path) -> String {
    format!(" {name} {}", quote(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_read_back_by_a_shell() {
        assert_eq!(quote("runs/vgg16-seed.1"), "runs/vgg16-seed.1");
        let odd = ["", "a b", "it's", "$HOME", "a\"b\\c", "\u{fc}\n*"];
        for text in odd {
            let command = format!("printf %s {}", quote(text));
            let output = std::process::Command::new("sh").args(["-c", &command]).output().expect("a shell");
            assert_eq!(String::from_utf8(output.stdout).as_deref(), Ok(text), "{command}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_text_are_escaped() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(quote(OsStr::from_bytes(b"da\xffta it's\\")), r"$'da\xffta it\'s\\'");
    }
}
