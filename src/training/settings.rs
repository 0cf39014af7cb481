//! Every setting of a run, described once: its key in `run.toml`, its flag of `vggkit train`, its name for people, and how a
//! run that differs in it is told apart. Values and defaults are those of [`Network`] and [`Recipe`] themselves, read through
//! the table that `run.toml` is.
//!
//! It parses no flag and reads no file; what goes together is checked where flags become settings.
//!
//! # How to add a setting
//!
//! 1. A field of `Recipe` (`run.rs`) or `Network` (`vgg/network.rs`), with its value in `default()`, and with `#[serde(default)]` so
//!    that older `run.toml` are read.
//! 2. A row in [`SETTINGS`].
//! 3. A clap argument in `cli/arguments/train.rs` or `cli/arguments/network.rs`, whose `default_value_t` is the field of
//!    `default()`, and its line in `recipe()` or `network()` there.
//!
//! The compiler asks for the last line, tests here and in `cli/arguments/train.rs` for row and flag. `run.toml`, what `--resume`
//! refuses, what `train --all` compares, the first lines of a training and the page follow from the row.

use serde::Deserialize;
use toml::Value;

use super::run::{Data, Recipe, Run};
use crate::engine::Normalisation;
use crate::error::{Error, Result};
use crate::vgg::Network;

/// One setting of a run.
pub struct Setting {
    /// Its place in `run.toml`, e.g. `training.batch_size`.
    pub key: &'static str,
    /// Its long flag, without dashes; of one that has none, empty.
    pub flag: &'static str,
    /// How the flag says it.
    pub form: Form,
    /// When it can be chosen.
    pub scope: Scope,
    /// Its name for people.
    pub title: &'static str,
    /// In few words that a run has this value, which is not the default; empty where the network's name says it already.
    pub tag: fn(&str) -> String,
}

/// How a flag says a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `--flag VALUE`, in [`words`].
    Value,
    /// `--flag` turns it on.
    On,
    /// `--flag` turns it off.
    Off,
    /// There is no flag: the program or the data say it.
    None,
}

/// When a setting can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// When a training begins.
    Fixed,
    /// Then too, and when it goes on.
    Changeable,
    /// When it begins, and for this run alone: where its first weights are from.
    Start,
    /// Each time: when it is to pause.
    Pause,
}

type Tag = fn(&str) -> String;

const fn value(key: &'static str, flag: &'static str, title: &'static str, tag: Tag) -> Setting {
    Setting { key, flag, form: Form::Value, scope: Scope::Fixed, title, tag }
}

const fn switch(key: &'static str, flag: &'static str, form: Form, title: &'static str, tag: Tag) -> Setting {
    Setting { key, flag, form, scope: Scope::Fixed, title, tag }
}

const fn constant(key: &'static str, title: &'static str, tag: Tag) -> Setting {
    Setting { key, flag: "", form: Form::None, scope: Scope::Fixed, title, tag }
}

impl Setting {
    const fn in_scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Whether the name of the network says it.
    pub fn names_the_network(&self) -> bool {
        ["network.depth", "network.conv1x1", "network.lrn"].contains(&self.key)
    }

    /// How an error spells it: the flag, where that takes a value.
    pub fn spelling(&self) -> String {
        match self.form {
            Form::Value | Form::On => format!("--{}", self.flag),
            Form::Off | Form::None => self.title.to_lowercase(),
        }
    }
}

/// For settings that the name of the network says.
const NAMED: Tag = |_| String::new();

/// All settings, in the order in which people are shown them.
pub const SETTINGS: &[Setting] = &[
    value("network.depth", "depth", "Depth", NAMED),
    switch("network.conv1x1", "conv1x1", Form::On, "1×1 convolutions", NAMED),
    switch("network.lrn", "lrn", Form::On, "Local response normalisation", NAMED),
    switch("network.batch_norm", "no-batch-norm", Form::Off, "Batch normalisation", |_| "without batch norm".into()),
    value("network.width", "width", "Width", |v| format!("width {v}")),
    value("network.dropout", "dropout", "Dropout", |v| format!("dropout {v}")),
    constant("network.classes", "Classes", NAMED), // of the data, which says more
    value("network.head", "head", "Head", |v| format!("{v} head")),
    value("network.image_size", "image-size", "Image size", |v| format!("{v}×{v} pixels")),
    value("data.train", "train", "Split trained on", |v| format!("trained on {v}")),
    value("data.val", "val", "Split validated on", |v| format!("validated on {v}")),
    value("training.batch_size", "batch-size", "Batch size", |v| format!("batch {v}")),
    value("training.micro_batch", "micro-batch", "Micro-batch", |v| format!("micro-batches of {v}")),
    switch("training.sync_batch_norm", "sync-batch-norm", Form::On, "Batch normalisation over the whole batch", |_| {
        "synchronised batch norm".into()
    }),
    value("training.epochs", "epochs", "Epochs at most", |v| format!("{v} epochs")).in_scope(Scope::Changeable),
    value("training.patience", "early-stopping", "Patience", |v| match v {
        "0" => "no early stopping".into(),
        _ => format!("patience {v}"),
    })
    .in_scope(Scope::Changeable),
    value("training.learning_rate", "learning-rate", "Learning rate", |v| format!("lr {v}"))
        .in_scope(Scope::Changeable),
    value("training.optimizer.name", "optimizer", "Optimizer", str::to_owned),
    constant("training.optimizer.beta1", "Beta 1", |v| format!("beta1 {v}")),
    constant("training.optimizer.beta2", "Beta 2", |v| format!("beta2 {v}")),
    constant("training.optimizer.epsilon", "Epsilon", |v| format!("epsilon {v}")),
    value("training.optimizer.momentum", "momentum", "Momentum", |v| format!("momentum {v}")),
    switch("training.optimizer.nesterov", "nesterov", Form::On, "Nesterov's momentum", |_| "Nesterov".into()),
    value("training.optimizer.weight_decay", "weight-decay", "Weight decay", |v| format!("weight decay {v}")),
    value("training.no_decay", "no-decay", "Without weight decay", |v| format!("no decay of {v}")),
    value("training.clip_norm", "clip-norm", "Norm of gradients at most", |v| format!("clipped to {v}")),
    value("training.ema", "ema", "Decay of averaged weights", |v| format!("EMA {v}")),
    value("training.augment", "augment", "Augmentation", |v| match v {
        "none" => "no augmentation".into(),
        _ => v.into(),
    }),
    value("training.crop_scale", "crop-scale", "Least share of a resized crop", |v| format!("crops from {v}")),
    value("training.trivial_augment", "trivial-augment", "TrivialAugment", |v| match v {
        "ten" => "TrivialAugment of ten".into(),
        _ => "TrivialAugment".into(),
    }),
    value("training.color_shift", "color-shift", "Color shift", |v| format!("color shift {v}")),
    value("training.erase", "erase", "Random erasing", |v| format!("erasing {v}")),
    value("training.mixup", "mixup", "Mixup", |v| format!("mixup {v}")),
    value("training.cutmix", "cutmix", "CutMix", |v| format!("CutMix {v}")),
    value("training.mix_off", "mix-off", "Last epochs without mixing", |v| format!("unmixed for {v}")),
    value("training.schedule", "schedule", "Schedule", str::to_owned).in_scope(Scope::Changeable),
    value("training.warmup", "warmup", "Epochs of warm-up", |v| format!("warm-up {v}")),
    value("training.label_smoothing", "label-smoothing", "Label smoothing", |v| format!("label smoothing {v}")),
    value("training.image_sizes", "image-size", "Image sizes in turn", |v| format!("sizes {v}")),
    value("training.distill", "distill", "Teachers", |v| {
        format!("distilled from {}", v.split(',').map(end_of_path).collect::<Vec<_>>().join(", "))
    }),
    value("training.distill_weight", "distill-weight", "Share of the target from teachers", |v| format!("taught {v}")),
    value("training.normalisation", "normalize", "Normalisation", |v| match v {
        "imagenet" => "normalised as ImageNet".into(),
        _ => "normalised by the data set".into(),
    }),
    value("training.seed", "seed", "Seed", |v| format!("seed {v}")),
    value("training.shuffle", "shuffle", "Shuffle", |_| "not shuffled".into()),
    value("training.precision", "precision", "Precision of products", str::to_owned).in_scope(Scope::Changeable),
    value("training.max_steps", "max-steps", "Steps at most", |v| format!("{v} steps at most")).in_scope(Scope::Pause),
    value("training.limit_train", "limit-train", "Train images", |v| format!("{v} train images")),
    value("training.select", "select", "Network kept by", |v| match v {
        "top1" => "selected by top-1".into(),
        "last" => "last epoch kept".into(),
        _ => format!("selected by {v}"),
    }),
    value("training.hold_out", "hold-out", "Share held out", |v| format!("hold-out {v}")),
    value("training.init", "init", "First weights", |v| format!("from {}", end_of_path(v))).in_scope(Scope::Start),
    switch("training.init_partial", "init-partial", Form::On, "First weights as far as they fit", |_| "in part".into())
        .in_scope(Scope::Start),
    value("training.freeze", "freeze", "Frozen layers", |v| format!("frozen {v}")),
];

/// The last two names of a path.
fn end_of_path(path: &str) -> &str {
    let cut = path.rmatch_indices(['/', '\\']).nth(1).map_or(0, |(at, _)| at + 1);
    &path[cut..]
}

/// The settings of a run as the table that its `run.toml` is.
#[derive(Clone, Debug, PartialEq)]
pub struct Values(Value);

impl Values {
    /// Those of `run`. Errors: a number that TOML cannot hold.
    pub fn of(run: &Run) -> Result<Self> {
        Value::try_from(run).map(Self).map_err(|e| Error::usage(format!("the settings of a run: {e}")))
    }

    /// Those that `text` sets, in the form of `run.toml`. Errors: no TOML.
    pub fn parsed(text: &str) -> Result<Self> {
        let table: toml::Table =
            toml::from_str(text).map_err(|e| Error::usage(format!("the settings of a recipe: {e}")))?;
        Ok(Self(Value::Table(table)))
    }

    /// What `run` would have where nothing but its optimizer and schedule are asked for.
    pub fn defaults(run: &Run) -> Result<Self> {
        let network = Network { classes: run.network.classes, ..Network::default() };
        let patience = run.training.schedule.patience();
        let with = |optimizer| {
            let recipe = Recipe { optimizer, patience, ..Recipe::default() };
            Self::of(&Run::new(network.clone(), recipe, Data::default()))
        };
        let usual = with(Recipe::default().optimizer)?;
        let mut defaults = with(run.training.optimizer.by_default())?;
        let optimizer = defaults.0.get_mut("training").and_then(|training| training.get_mut("optimizer"));
        if let (Some(Value::Table(constants)), Some(name)) = (optimizer, usual.at("training.optimizer.name")) {
            constants.insert("name".into(), name.clone());
        }
        Ok(defaults)
    }

    /// What `setting` is of a run without flags.
    pub fn default_of(setting: &Setting) -> Option<Value> {
        Self::of(&Run::new(Network::default(), Recipe::default(), Data::default())).ok()?.get(setting).cloned()
    }

    fn at(&self, key: &str) -> Option<&Value> {
        key.split('.').try_fold(&self.0, |table, key| table.get(key))
    }

    /// The value of `setting`, where it has one.
    pub fn get(&self, setting: &Setting) -> Option<&Value> {
        self.at(setting.key)
    }
}

/// A value in words, as its flag takes it.
pub fn words(value: Option<&Value>) -> String {
    match value {
        None => "none".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Boolean(true)) => "on".into(),
        Some(Value::Boolean(false)) => "off".into(),
        Some(Value::Float(number)) => number_in_words(*number),
        Some(Value::Array(values)) => {
            let each: Vec<_> = values.iter().map(|value| words(Some(value))).collect();
            if each.is_empty() { "none".into() } else { each.join(",") }
        }
        Some(Value::Table(table)) => {
            match Normalisation::deserialize(Value::Table(table.clone())).ok().and_then(|n| n.name()) {
                Some(name) => name.into(),
                None => {
                    let parts = table.iter().map(|(name, value)| format!("{name} {}", words(Some(value))));
                    format!("dataset: {}", parts.collect::<Vec<_>>().join(", "))
                }
            }
        }
        Some(other) => other.to_string(),
    }
}

/// As short as says which number it is: a file has an f32 with the digits of an f64.
fn number_in_words(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "compared with the number it was")]
    let short = number as f32;
    if f64::from(short) == number { short.to_string() } else { number.to_string() }
}

/// The settings in which two runs differ, with the values of both.
pub fn differences<'a>(
    a: &'a Values,
    b: &'a Values,
) -> impl Iterator<Item = (&'static Setting, Option<&'a Value>, Option<&'a Value>)> {
    SETTINGS.iter().map(|setting| (setting, a.get(setting), b.get(setting))).filter(|(_, a, b)| a != b)
}

/// Names and values of the settings that are `wanted`, so far as the run has them.
pub fn listed(run: &Run, wanted: impl Fn(&Setting) -> bool) -> Result<Vec<(&'static str, String)>> {
    let values = Values::of(run)?;
    let lines = SETTINGS.iter().filter(|setting| wanted(setting));
    Ok(lines.filter_map(|setting| Some((setting.title, words(Some(values.get(setting)?))))).collect())
}

#[cfg(test)]
mod tests {
    use serde::de::value::Error as Told;
    use serde::de::{Deserializer, Error as _, Visitor};

    use super::*;
    use crate::engine::Optimizer;

    /// Answers whoever wants to be read from it with the names of the fields that were asked for.
    struct Asked;

    impl<'de> Deserializer<'de> for Asked {
        type Error = Told;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Told> {
            Err(Told::custom("no struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Told> {
            Err(Told::custom(fields.join(" ")))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
            seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    /// Names of the fields of `T` in a file, those that a default leaves out too.
    fn fields<T: for<'de> Deserialize<'de> + std::fmt::Debug>() -> Vec<String> {
        T::deserialize(Asked).expect_err("names").to_string().split(' ').map(str::to_owned).collect()
    }

    fn run(training: Recipe) -> Run {
        Run::new(Network::default(), training, Data::default())
    }

    #[test]
    fn every_field_has_a_row_and_every_row_a_field() -> Result<()> {
        let network = fields::<Network>().into_iter().map(|field| format!("network.{field}"));
        let keys: Vec<String> =
            network.chain(fields::<Recipe>().into_iter().map(|field| format!("training.{field}"))).collect();
        assert!(keys.contains(&"training.init_partial".to_owned()), "also what is left out of files: {keys:?}");
        for key in &keys {
            let within = format!("{key}.");
            assert!(
                SETTINGS.iter().any(|s| s.key == *key || s.key.starts_with(&within)),
                "{key} has no row in SETTINGS: how to add one stands at the top of this file"
            );
        }
        for Setting { key, .. } in SETTINGS.iter().filter(|s| !s.key.starts_with("data.")) {
            let of_row = |field: &String| key == field || key.starts_with(&format!("{field}."));
            assert!(keys.iter().any(of_row), "{key} is no field");
        }
        let nesterov = Optimizer::Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: true };
        for optimizer in [Optimizer::adam(), Optimizer::adamw(), nesterov] {
            let values = Values::of(&run(Recipe { optimizer, ..Recipe::default() }))?;
            for constant in values.at("training.optimizer").and_then(Value::as_table).expect("a table").keys() {
                let key = format!("training.optimizer.{constant}");
                assert!(SETTINGS.iter().any(|s| s.key == key), "{key} has no row in SETTINGS");
            }
        }
        Ok(())
    }

    #[test]
    fn words_are_short_and_exact() {
        for (value, text) in [
            (Value::Float(f64::from(0.1_f32)), "0.1"),
            (Value::Float(0.1), "0.1"),
            (Value::Float(5e-4), "0.0005"),
            (Value::Float(2.0), "2"),
            (Value::Float(0.123_456_789), "0.123456789"),
            (Value::Boolean(false), "off"),
            (Value::Array(vec!["norm".into(), "bias".into()]), "norm,bias"),
        ] {
            assert_eq!(words(Some(&value)), text);
        }
        assert_eq!(words(None), "none");
    }
}
