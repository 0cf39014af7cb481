//! The replaced project's spelling of flags. Only `-es`, `-lr`, `-c11` and their attached values (`-es5`, `-lr=1e-3`)
//! are rewritten, before clap sees them, since clap reads a single dash as one-letter flags.
//!
//! What follows `--`, what is the value of another flag, and flags that a command does not have stay as they are.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// The replaced project's token and the long flag that it means.
const SPELLINGS: [(&str, &str); 3] = [("-es", "early-stopping"), ("-lr", "learning-rate"), ("-c11", "conv1x1")];

/// Rewrites the three tokens for the subcommand that `arguments` (the program's name first) call.
pub fn modernise(program: &Command, arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.collect();
    let is_name = |argument: &OsString| !argument.as_encoded_bytes().starts_with(b"-");
    let Some(position) = arguments.iter().skip(1).position(is_name).map(|i| i + 1) else { return arguments };
    let Some(command) = program.find_subcommand(&arguments[position]) else { return arguments };

    let mut flag = None; // the one before it, whose value it is
    for argument in &mut arguments[position + 1..] {
        if argument == "--" {
            break; // to clap it is never a value
        }
        if std::mem::take(&mut flag).is_some_and(|flag| takes(flag, argument)) {
            continue;
        }
        if let Some(modern) = argument.to_str().and_then(|token| rewrite(command, token)) {
            *argument = modern.into();
        }
        flag = awaiting_value(command, argument);
    }
    arguments
}

/// The modern spelling of `token`, where it is one of the three and `command` has that flag.
fn rewrite(command: &Command, token: &str) -> Option<String> {
    SPELLINGS.iter().find_map(|(old, long)| {
        let attached = token.strip_prefix(old)?;
        let flag = command.get_arguments().find(|flag| flag.get_long() == Some(long))?;
        // `-es5` and `-lr.01` have a value attached; `-lrn` and `-estimate` are something else.
        let number = attached.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'));
        match attached {
            "" => Some(format!("--{long}")),
            _ if attached.starts_with('=') => Some(format!("--{long}{attached}")),
            _ if number && waits_for_value(flag) => Some(format!("--{long}={attached}")),
            _ => None,
        }
    })
}

/// Whether a value can follow `flag` without an equals sign.
fn waits_for_value(flag: &Arg) -> bool {
    flag.get_action().takes_values() && !flag.is_require_equals_set()
}

/// Whether `argument` is the value of `flag` ahead of it. A value that may be left out begins with no dash.
fn takes(flag: &Arg, argument: &OsStr) -> bool {
    let optional = flag.get_num_args().is_some_and(|range| range.min_values() == 0);
    !optional || !argument.as_encoded_bytes().starts_with(b"-")
}

/// The flag in `argument` that waits for a value in the argument after it.
fn awaiting_value<'a>(command: &'a Command, argument: &OsStr) -> Option<&'a Arg> {
    let token = argument.to_str()?;
    let with_value = |flag: Option<&'a Arg>| flag.filter(|flag| waits_for_value(flag));
    if let Some(long) = token.strip_prefix("--") {
        return with_value(command.get_arguments().find(|flag| {
            flag.get_long() == Some(long) || flag.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
        }));
    }
    // In a cluster such as `-qd` the first letter that takes a value takes the rest of the token, or the next one.
    let letters = token.strip_prefix('-')?;
    let flag_of = |letter| command.get_arguments().find(|flag| flag.get_short() == Some(letter));
    let (at, flag) = letters
        .char_indices()
        .find_map(|(at, letter)| with_value(flag_of(letter)).map(|flag| (at + letter.len_utf8(), flag)))?;
    (at == letters.len()).then_some(flag)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use proptest::prelude::*;

    use super::*;

    fn modern(line: &str) -> String {
        let arguments = std::iter::once("vggkit").chain(line.split_whitespace()).map(OsString::from);
        let result = modernise(&crate::cli::Cli::command(), arguments);
        result[1..].join(OsStr::new(" ")).into_string().expect("the tests are UTF-8")
    }

    #[test]
    fn the_three_tokens_and_their_values() {
        for (old, new) in [
            ("train -d 16 -c11 -e 50 -es 5 -b 50", "train -d 16 --conv1x1 -e 50 --early-stopping 5 -b 50"),
            ("train -lr 0.001", "train --learning-rate 0.001"),
            ("train -lr0.01 -es5", "train --learning-rate=0.01 --early-stopping=5"),
            ("train -lr=1e-3 -es=5", "train --learning-rate=1e-3 --early-stopping=5"),
            ("train -lr.1 -lr-1", "train --learning-rate=.1 --learning-rate=-1"),
            ("train -q -c11 -es 1", "train -q --conv1x1 --early-stopping 1"),
            ("describe -c11 -d16", "describe --conv1x1 -d16"),
            ("train --all --resume -es 0", "train --all --resume --early-stopping 0"),
            (
                "train --resume runs/a -es 0 -lr 1 -lr 2",
                "train --resume runs/a --early-stopping 0 --learning-rate 1 --learning-rate 2",
            ),
        ] {
            assert_eq!(modern(old), new);
        }
    }

    #[test]
    fn everything_else_stays() {
        for line in [
            "train -- -es -lr0.1 -c11",
            "train --init -es5 --run=-lr -t -lr -v -es",
            "train -qt -es",
            "train -lrn -estimate -c1 -c110 -e s -l r",
            "describe -es 5 -lr 1",
            "report -es 5 -lr 1 -c11",
            "predict --image -lr",
            "-es train",
            "--version -lr",
            "unknown -es",
            "",
        ] {
            assert_eq!(modern(line), line);
        }
        assert_eq!(modern("train --patience -es -es 5"), "train --patience -es --early-stopping 5");
    }

    #[test]
    fn arguments_that_are_not_utf8_stay() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"-lr\xff".to_vec());
        let line = [OsString::from("vggkit"), "train".into(), odd];
        assert_eq!(modernise(&crate::cli::Cli::command(), line.clone().into_iter()), line);
    }

    fn token() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "-es", "-lr", "-c11", "-es5", "-lr=1e-3", "-c11=", "--", "-t", "-qb", "-q", "--init", "--run=x",
                "--lr", "-d", "-d16", "--all", "5", "train", "-lrn",
            ])
            .prop_map(String::from),
            "-{0,2}[a-z0-9=.]{0,6}",
        ]
    }

    proptest! {
        /// Whatever is typed: as many arguments as before, only the three tokens change, nothing after `--` does,
        /// and doing it twice changes nothing more.
        #[test]
        fn only_the_three_tokens_change(tokens in prop::collection::vec(token(), 0..12)) {
            let line: Vec<OsString> = ["vggkit", "train"].into_iter().map(OsString::from)
                .chain(tokens.iter().map(OsString::from)).collect();
            let program = crate::cli::Cli::command();
            let result = modernise(&program, line.clone().into_iter());
            prop_assert_eq!(result.len(), line.len());
            for (before, after) in line.iter().zip(&result).filter(|(before, after)| before != after) {
                let (before, after) = (before.to_str().unwrap_or_default(), after.to_str().unwrap_or_default());
                let (old, long) = SPELLINGS.iter().find(|(old, _)| before.starts_with(old)).expect("one of the three");
                let modern = format!("--{long}");
                prop_assert!(after.starts_with(&modern));
                let value = |text: &str, flag: &str| text[flag.len()..].trim_start_matches('=').to_owned();
                prop_assert_eq!(value(before, old), value(after, &modern));
            }
            prop_assert_eq!(modernise(&program, result.clone().into_iter()), result);
        }

        /// The value of a flag is never changed, however it looks, and what follows it is read as before.
        #[test]
        fn values_of_other_flags_stay(flag in prop::sample::select(vec!["-t", "-b", "--init", "--batchsize", "-es", "-qd"]),
                                      value in token()) {
            let line: Vec<OsString> = ["vggkit", "train", flag, &value, "-c11"].into_iter().map(OsString::from).collect();
            let result = modernise(&crate::cli::Cli::command(), line.into_iter());
            prop_assert_eq!(&result[3], &OsString::from(&value));
            prop_assert_eq!(&result[4], if value == "--" { "-c11" } else { "--conv1x1" });
        }
    }
}
