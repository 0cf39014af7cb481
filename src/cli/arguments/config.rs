//! Settings from a file: `run.toml` of another run or one written by hand (`--config`), or a recipe of vggkit's (`--recipe`).
//! Each key becomes the flag that `training::settings` names, ahead of those of the command line, of which the last counts.
//!
//! It trains nothing, and takes nothing of a file but settings: what a run was trained on, what it began from and when it was to
//! pause are its own.

use std::any::TypeId;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use clap::{Arg, Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;
use toml::{Table, Value};

use super::recipe::Normalize;
use super::train::{Arguments, is_typed};
use crate::cli::output;
use crate::engine::Normalisation;
use crate::error::{Error, Result};
use crate::files;
use crate::training::run::{self, Data, Run};
use crate::training::settings::{self, Form, SETTINGS, Scope, Setting, Values};

/// What `run.toml` has beside settings.
const NOT_SETTINGS: [&str; 4] = ["schema", "data", "origin", "changes"];

/// A file of settings.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The one that is asked for. Errors: it cannot be read.
    fn of(arguments: &Arguments) -> Result<Option<Self>> {
        if let Some(name) = arguments.run.preset {
            let name_of = name.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            return Ok(Some(Self { path: format!("recipes/{name_of}.toml").into(), text: name.text().to_owned() }));
        }
        let Some(given) = &arguments.run.config else { return Ok(None) };
        let path = if given.is_dir() { Run::path(given) } else { given.clone() };
        let text = files::read_to_string(&path)
            .map_err(|e| e.or_help("--config takes run.toml of a run, its folder, or a file like it"))?;
        Ok(Some(Self { path, text }))
    }

    /// The flags that it stands for, and what is passed over. Errors: no TOML; a key that is no setting, a value of the wrong
    /// kind.
    fn flags(&self, arguments: &Arguments) -> Result<(Vec<OsString>, Vec<String>)> {
        let table: Table = toml::from_str(&self.text).map_err(|e| Error::data(&self.path, e))?;
        if let Some(schema) = table.get("schema").filter(|schema| schema.as_str() != Some(run::SCHEMA)) {
            return Err(Error::data(&self.path, format!("has schema {schema}; --config reads {}", run::SCHEMA)));
        }
        let mut values = Vec::new();
        let settings = table.iter().filter(|(key, _)| !NOT_SETTINGS.contains(&key.as_str()));
        settings.for_each(|(key, value)| leaves(key.clone(), value, &mut values));
        let own = |key: &str| values.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.as_str());

        let (mut flags, mut passed_over) = (Vec::new(), Vec::new());
        for (key, value) in &values {
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
                return Err(self.unknown(key));
            };
            if setting.key == "network.classes" || gives_way(setting, arguments, own) {
                continue; // the data's, or said otherwise on the command line
            }
            if matches!(setting.scope, Scope::Start | Scope::Pause) {
                passed_over.push(format!("{key} of {} stays its own: give --{}", self.path.display(), setting.flag));
                continue;
            }
            let flag = flag(setting, value).map_err(|what| Error::data(&self.path, format!("{key}: {what}")))?;
            flags.extend(flag.map(OsString::from));
        }
        Ok((flags, passed_over))
    }

    fn unknown(&self, key: &str) -> Error {
        let last = key.rsplit('.').next().unwrap_or_default();
        let likeness = |setting: &&Setting| {
            let parts = setting.key.split('.').map(|part| strsim::jaro_winkler(last, part));
            parts.fold(strsim::jaro_winkler(key, setting.key), f64::max)
        };
        let known = SETTINGS.iter().filter(|setting| !setting.key.starts_with("data."));
        let nearest = known.rev().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).map_or("", |setting| setting.key);
        Error::data(&self.path, format!("{key} is no setting; the nearest is {nearest}"))
            .with_help("`vggkit train --print-config` shows all settings")
    }
}

/// All keys of `value`, which stands under `key`, down to what a setting is or no table.
fn leaves<'a>(key: String, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    match value.as_table() {
        Some(table) if !table.is_empty() && SETTINGS.iter().all(|setting| setting.key != key) => {
            table.iter().for_each(|(name, value)| leaves(format!("{key}.{name}"), value, found));
        }
        _ => found.push((key, value)),
    }
}

/// Settings that belong to the value of another one: to its flag, its key and its value on the command line.
struct Head<'a> {
    flag: &'a str,
    key: &'a str,
    asked: Option<clap::builder::PossibleValue>,
    /// What a file means that does not say it, as `run.toml` leaves the classic head out.
    unsaid: Option<&'a str>,
    /// What the keys of those that belong to it begin with.
    of_it: &'a [&'a str],
}

/// Whether what the file says of `setting` gives way to the command line, beside the flags that this repeats: a network is
/// chosen as a whole, and what belongs to a value goes with it. `own` is a value of the file.
fn gives_way<'a>(setting: &Setting, arguments: &Arguments, own: impl Fn(&str) -> Option<&'a str>) -> bool {
    let given = |flags: &[&str]| flags.iter().any(|flag| is_typed(&arguments.given, flag));
    if setting.names_the_network() {
        return given(&["all", "depth"]) || arguments.network.conv1x1 || arguments.network.lrn;
    }
    let recipe = &arguments.recipe;
    let (optimizer, schedule) = (recipe.optimizer.to_possible_value(), recipe.schedule.to_possible_value());
    let (augment, head) = (recipe.augment.augment.to_possible_value(), arguments.network.head.to_possible_value());
    let heads = [
        Head {
            flag: "optimizer",
            key: "training.optimizer.name",
            asked: optimizer,
            unsaid: None,
            of_it: &["training.optimizer.", "training.no_decay"],
        },
        Head {
            flag: "schedule",
            key: "training.schedule",
            asked: schedule,
            unsaid: None,
            of_it: &["training.patience"],
        },
        Head {
            flag: "augment",
            key: "training.augment",
            asked: augment,
            unsaid: None,
            of_it: &["training.crop_scale"],
        },
        Head { flag: "head", key: "network.head", asked: head, unsaid: Some("classic"), of_it: &["network.dropout"] },
    ];
    heads.iter().any(|head| {
        let asked = head.asked.as_ref().map(clap::builder::PossibleValue::get_name);
        let belongs = head.of_it.iter().any(|part| setting.key.starts_with(part));
        belongs && given(&[head.flag]) && own(head.key).or(head.unsaid).is_some_and(|own| Some(own) != asked)
    })
}

/// The flag that says `value`; none where that is what is done without it. Errors: what is wrong with the value.
fn flag(setting: &Setting, value: &Value) -> Result<Option<String>, String> {
    let long = setting.flag;
    let text = match (setting.form, value) {
        (Form::On | Form::Off, Value::Boolean(on)) => {
            return Ok((*on == (setting.form == Form::On)).then(|| format!("--{long}")));
        }
        (Form::On | Form::Off, _) => return Err(format!("{value} is neither true nor false")),
        (Form::None, _) => {
            return match Values::default_of(setting) {
                Some(fixed) if fixed != *value => Err(format!("is always {fixed}, not {value}")),
                _ => Ok(None),
            };
        }
        (Form::Value, Value::Float(number)) => number.to_string(),
        (Form::Value, Value::Boolean(true)) if setting.key == "training.trivial_augment" => "ten".into(), // all there were
        (Form::Value, Value::Array(values)) if values.is_empty() => return Ok(None),
        (Form::Value, Value::Table(_)) => match Normalisation::deserialize(value.clone()) {
            Ok(known) if setting.key == "training.normalisation" => known.name().unwrap_or("dataset").to_owned(),
            _ => return Err(format!("{value} is not what --{long} takes")),
        },
        (Form::Value, _) => settings::words(Some(value)),
    };
    if takes_a_number(setting) && !matches!(value, Value::Integer(_) | Value::Float(_)) {
        return Err(format!("{value} is no number"));
    }
    let flag = format!("--{long}={text}");
    match Line::try_parse_from(["vggkit", "train", &flag]) {
        Ok(_) => Ok(Some(flag)),
        Err(error) => Err(told(&error)),
    }
}

/// A command line that trains, parsed as [`super`] does it.
#[derive(Debug, Parser)]
#[command(name = "vggkit", args_override_self = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<Arguments>),
}

/// The flag of `setting` as clap has it.
fn argument(setting: &Setting) -> Option<Arg> {
    let command = Arguments::augment_args(clap::Command::new("train"));
    command.get_arguments().find(|argument| argument.get_long() == Some(setting.flag)).cloned()
}

fn takes_a_number(setting: &Setting) -> bool {
    let Some(kind) = argument(setting).map(|argument| argument.get_value_parser().type_id()) else { return false };
    [TypeId::of::<usize>(), TypeId::of::<u64>(), TypeId::of::<f64>()].iter().any(|number| kind == *number)
}

/// A value of `setting` in words; one that is not in a `run.toml` is that of the flag's default.
pub fn in_words(setting: &Setting, value: Option<&Value>) -> String {
    let unasked = || match setting.form {
        Form::On => Some("off".to_owned()),
        Form::Off => Some("on".to_owned()),
        _ => argument(setting)?.get_default_values().first()?.to_str().map(str::to_owned),
    };
    value.is_none().then(unasked).flatten().unwrap_or_else(|| settings::words(value))
}

/// What clap says, in one line.
fn told(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}

/// `arguments` with the settings of the file that they name; `line` is the command line that they were parsed from. Errors:
/// those of the file, `--resume`, flags that do not go together with it.
pub fn settle(arguments: Arguments, mut line: Vec<OsString>) -> Result<Arguments> {
    let named = match &arguments.run {
        run if run.preset.is_some() => "--recipe",
        run if run.config.is_some() => "--config",
        _ => return Ok(arguments),
    };
    if arguments.run.resume.is_some() {
        return Err(Error::usage(format!("{named} begins a training, and --resume goes on with the settings it has"))
            .with_help(format!("leave {named} out; -e, -es, -lr, --schedule and --precision can be changed")));
    }
    let Some(source) = Source::of(&arguments)? else { return Ok(arguments) };
    let (flags, passed_over) = source.flags(&arguments)?;
    if !arguments.shared.quiet {
        passed_over.iter().for_each(|note| output::note(note));
    }
    let command = line.iter().skip(1).position(|argument| !argument.as_encoded_bytes().starts_with(b"-"));
    let place = command.map_or(line.len(), |at| at + 2); // behind `train`
    line.splice(place..place, flags);
    match Line::try_parse_from(line) {
        Ok(Line { command: Command::Train(settled) }) => Ok(*settled),
        Err(error) => Err(Error::usage(format!("with {}: {}", source.path.display(), told(&error)))),
    }
}

/// The settings of `arguments` as a file for `--config`. Errors: flags that do not go together.
pub fn printed(arguments: &Arguments) -> Result<String> {
    let network = arguments.networks()?.swap_remove(0).1;
    let values = Values::of(&Run::new(network, arguments.training()?, Data::default()))?;
    let mut text = "# For `vggkit train --config FILE`; flags go on top.\n".to_owned();
    for part in ["network", "training"] {
        let _ = writeln!(text, "\n[{part}]");
        for setting in SETTINGS.iter().filter(|setting| setting.form != Form::None) {
            let Some(name) = setting.key.strip_prefix(part).and_then(|key| key.strip_prefix('.')) else { continue };
            if arguments.run.all && setting.names_the_network() || matches!(setting.scope, Scope::Start | Scope::Pause)
            {
                continue;
            }
            let value = values.get(setting);
            let words = in_words(setting, value);
            let value = match value {
                Some(Value::Table(_)) if arguments.recipe.normalize == Normalize::Dataset => "\"dataset\"".into(),
                Some(Value::Table(_)) => format!("{words:?}"),
                Some(Value::Float(_)) => words,
                Some(value) => value.to_string(),
                None if SETTINGS.iter().filter(|other| other.flag == setting.flag).count() > 1 => continue, // another has it
                None if setting.form != Form::Value => (words == "on").to_string(),
                None if argument(setting).is_none_or(|flag| flag.get_default_values().is_empty()) => continue, // of what is not there
                None if takes_a_number(setting) => words,
                None => format!("{words:?}"),
            };
            let _ = writeln!(text, "{name} = {value}");
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Of each setting that a file may have: what it needs beside it in the file, and a value that is not the default.
    const OTHERS: &[(&str, &str, &str)] = &[
        ("network.depth", "", "16"),
        ("network.conv1x1", "network.depth = 16", "true"),
        ("network.lrn", "", "true"),
        ("network.batch_norm", "", "false"),
        ("network.width", "", "0.5"),
        ("network.dropout", "", "0.25"),
        ("network.head", "", "\"linear\""),
        ("network.image_size", "", "48"),
        ("training.batch_size", "", "5"),
        ("training.micro_batch", "", "4"),
        ("training.sync_batch_norm", "", "true"),
        ("training.epochs", "", "9"),
        ("training.patience", "", "3"),
        ("training.learning_rate", "", "0.5"),
        ("training.optimizer.name", "", "\"adamw\""),
        ("training.optimizer.momentum", "training.optimizer.name = \"sgd\"", "0.9"),
        ("training.optimizer.nesterov", "training.optimizer.name = \"sgd\"\ntraining.optimizer.momentum = 0.9", "true"),
        ("training.optimizer.weight_decay", "", "0.1"),
        ("training.no_decay", "training.optimizer.weight_decay = 0.1", "\"norm,bias\""),
        ("training.clip_norm", "", "2.0"),
        ("training.ema", "", "0.5"),
        ("training.augment", "", "\"crop\""),
        ("training.crop_scale", "training.augment = \"resized-crop\"", "0.5"),
        ("training.trivial_augment", "", "\"wide\""),
        ("training.color_shift", "", "0.1"),
        ("training.erase", "", "0.25"),
        ("training.mixup", "", "0.2"),
        ("training.cutmix", "", "1.0"),
        ("training.mix_off", "training.cutmix = 1.0", "2"),
        ("training.schedule", "", "\"cosine\""),
        ("training.warmup", "", "1.5"),
        ("training.label_smoothing", "", "0.1"),
        ("training.image_sizes", "", "\"32:0,64:9\""),
        ("training.distill", "", "[\"a\", \"b\"]"),
        ("training.distill_weight", "training.distill = [\"a\"]", "0.75"),
        ("training.normalisation", "", "\"imagenet\""),
        ("training.seed", "", "3"),
        ("training.shuffle", "", "false"),
        ("training.precision", "", "\"f16\""),
        ("training.limit_train", "", "20"),
        ("training.select", "", "\"top1\""),
        ("training.hold_out", "", "0.1"),
        ("training.freeze", "", "\"features\""),
    ];

    /// The settings of a training with a file of `lines` and `flags` on top.
    fn settled(lines: &str, flags: &[&str]) -> Values {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mine.toml");
        files::write_atomic(&file, |to| to.write_all(lines.as_bytes())).expect("written");
        let words = ["vggkit", "train", "--init", "w", "--config"].map(OsString::from).into_iter();
        let line: Vec<_> = words.chain([file.into()]).chain(flags.iter().map(OsString::from)).collect();
        let Line { command: Command::Train(arguments) } = Line::try_parse_from(line.clone()).expect("flags");
        let run = settle(*arguments, line).and_then(|settled| {
            let (network, recipe) = (settled.networks()?.swap_remove(0).1, settled.training()?);
            Values::of(&Run::new(network, recipe, Data::default()))
        });
        run.unwrap_or_else(|error| panic!("{lines} {flags:?}: {error}"))
    }

    #[test]
    fn a_flag_on_top_of_a_file_brings_back_what_is_done_without_it() {
        let of_files = |setting: &&Setting| {
            let passed_over = matches!(setting.scope, Scope::Start | Scope::Pause) || setting.key.starts_with("data.");
            setting.form != Form::None && !passed_over
        };
        for setting in SETTINGS.iter().filter(of_files) {
            let Setting { key, flag, form, .. } = setting;
            let (_, beside, other) = OTHERS
                .iter()
                .find(|(known, ..)| known == key)
                .unwrap_or_else(|| panic!("{key}: OTHERS needs a value of it that is not the default"));
            let file = format!("{beside}\n{key} = {other}");
            let without = settled(beside, &[]);
            assert_ne!(settled(&file, &[]).get(setting), without.get(setting), "{file}");
            let word = if *form == Form::Value { in_words(setting, without.get(setting)) } else { "off".into() };
            let back = format!("--{flag}={word}");
            assert!(settled(&file, &[&back]) == without, "{back} on top of {file}");
            if *form == Form::Value && without.get(setting).is_none() {
                let quoted = if takes_a_number(setting) { word } else { format!("{word:?}") };
                assert!(settled(&format!("{beside}\n{key} = {quoted}"), &[]) == without, "{key} = {quoted} in a file");
            }
        }
    }

    #[test]
    fn teachers_on_top_of_a_file_take_the_place_of_its_own() {
        let distill = SETTINGS.iter().find(|setting| setting.key == "training.distill").expect("a row");
        let of = |flags: &[&str]| settings::words(settled("training.distill = [\"a\", \"b\"]", flags).get(distill));
        assert_eq!(
            (of(&[]), of(&["--distill", "c"]), of(&["--distill", "none"])),
            ("a,b".into(), "c".into(), "none".into())
        );
    }
}
