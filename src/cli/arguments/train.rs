//! The flags of `vggkit train`, and how they become a validated network and recipe.
//!
//! Reads no pack and starts nothing: the number of classes and the data set's mean are filled in by [`TrainSettings::fit_to`].

use std::path::Path;

use clap::Args;

use super::given::Given;
use super::network::NetworkArguments;
use super::recipe::{Normalize, RecipeArguments};
use super::run::RunArguments;
use super::shared::Shared;
use super::splits;
use super::switches::Switches;
use crate::dataset::Pack;
use crate::error::Result;
use crate::shell;
use crate::training::run::Recipe;
use crate::training::session::Options;
use crate::vgg::Network;

/// The five networks of the replaced project, in order: depth and whether its 1x1 convolutions are in.
const ALL: [(usize, bool); 5] = [(11, false), (13, false), (16, false), (16, true), (19, false)];

/// Train a network
#[derive(Clone, Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Ahead of the others, which take what they read out of what was parsed.
    #[command(flatten)]
    pub given: Given,
    #[command(flatten)]
    pub network: NetworkArguments,
    #[command(flatten)]
    pub recipe: RecipeArguments,
    #[command(flatten)]
    pub run: RunArguments,
    #[command(flatten)]
    pub shared: Shared,
    /// Behind the others, of which it makes switches that can be turned off too.
    #[command(flatten)]
    pub switches: Switches,
}

const EXAMPLES: &str = "\
Examples:
  vggkit train
      VGG-11 as the replaced project trained it
  vggkit train -d 16 -c11 -e 50 -es 5 -b 50
  vggkit train --depth 16 --conv1x1 --epochs 50 --patience 5 --batch-size 50
      VGG-16 with 1x1 convolutions, in the replaced project's spelling and in the modern one
  vggkit train --all --schedule cosine
      the five networks in turn
  vggkit train --all --recipe short
      the five networks by a recipe that comes with vggkit; other flags go on top of it, as in -e 40
  vggkit train --recipe cpu
      where there is no GPU: ten of fifteen epochs at 32 x 32 pixels
  vggkit train --config runs/vgg13 -d 16
      another network with the settings of that run
  vggkit train --recipe best --nesterov=off --trivial-augment=off
      without what the file turns on: every switch takes =on and =off
  vggkit train --config mine.toml --limit-train 0 --micro-batch 0 --distill none
      nor with what it sets: 0 or none, as the flag says, is what is done without it
  vggkit train --recipe short --print-config > mine.toml
      a file to change, for --config mine.toml
  vggkit train --recipe short -d 13 --find-lr
      which learning rate to take: the loss while it rises; nothing is written
  vggkit train --optimizer sgd --momentum 0.9 -lr 0.01 --weight-decay 5e-4
      the paper's optimiser
  vggkit train --optimizer sgd --momentum 0.9 --nesterov -lr 0.1 --schedule cosine -es 0 \\
      --weight-decay 5e-4 --no-decay norm,bias --clip-norm 5 --ema 0.999
      what others train with: the average of the weights is validated and kept
  vggkit train -d 16 --no-batch-norm --init vgg16.safetensors --init-partial --normalize imagenet
      torchvision's layers as far as they fit (not classifier.0 and .6), the others drawn
  vggkit train -d 16 --init vgg16_bn.safetensors --init-partial --normalize imagenet --head average --freeze features
      a new classifier on features that stay as they are
  vggkit train -d 16 --init runs/vgg16/best.safetensors --freeze features:7 -lr 0.0001
      an earlier run goes on from its eighth convolution up
  vggkit train --resume runs/vgg16c
      go on where it stopped; the result has the same bits as a training that never stopped
  vggkit train --resume runs/vgg16c -e 100
      the same, for more epochs; -es, -lr and --schedule can be changed too
  vggkit train --resume runs/vgg16c -es 0
      go on with a training that early stopping has ended
  vggkit train --all --resume
      go on with the five: what is done stays, what was stopped goes on, the rest is trained
  vggkit train --all --tensorboard
      the five networks for `tensorboard --logdir runs`; with --tensorboard-histograms their weights too
  vggkit train --max-steps 40 --trace trace.json
      where the time goes, to be drawn by https://ui.perfetto.dev";

/// What a new training needs, checked.
#[derive(Clone, Debug)]
pub struct TrainSettings {
    /// One network, or the five of `--all`, each with the name of its run's folder.
    pub networks: Vec<(String, Network)>,
    /// How each of them is trained.
    pub recipe: Recipe,
    /// Name of the split to train on.
    pub train: String,
    /// Name of the split to validate on.
    pub val: String,
    normalize: Normalize,
}

impl TrainSettings {
    /// Takes over what only the train pack knows: the number of classes and, with `--normalize dataset`, mean and
    /// deviation. Errors: so many classes that no network can be laid out.
    pub fn fit_to(&mut self, pack: &Pack) -> Result<()> {
        for (_, network) in &mut self.networks {
            network.classes = pack.wnids.len();
            network.plan()?;
        }
        if self.normalize == Normalize::Dataset {
            self.recipe.normalisation = pack.normalisation;
        }
        Ok(())
    }
}

impl Arguments {
    /// What to compute with and what to keep.
    pub fn options(&self) -> Options {
        Options {
            engine: self.shared.target(),
            threads: self.shared.threads(),
            checkpoint_every: self.run.checkpoint_every.unwrap_or(0),
            log_steps: self.run.log_steps,
            tensorboard: self.run.tensorboard(),
            command: shell::command_line(),
            ranks: None,
        }
    }

    /// The settings that the flags ask for, on the data in `data`. Errors: flags that do not go together, splits that do
    /// not exist.
    pub fn settings(&self, data: &Path) -> Result<TrainSettings> {
        let (networks, recipe) = (self.networks()?, self.training()?);
        networks.iter().try_for_each(|(_, network)| recipe.plan(network).map(drop))?; // can be frozen so
        Ok(TrainSettings {
            networks,
            recipe,
            train: splits::resolve("--train", &self.recipe.train, data)?,
            val: splits::resolve("--val", &self.recipe.val, data)?,
            normalize: self.recipe.normalize,
        })
    }

    /// How each network is trained. Errors: flags that do not go together.
    pub fn training(&self) -> Result<Recipe> {
        self.recipe.recipe(&self.run, &self.network.image_size, &self.shared)
    }

    /// One network, or the five of `--all`, each with the name of its run. Errors: flags that do not go together.
    pub fn networks(&self) -> Result<Vec<(String, Network)>> {
        let given = self.network.network(Network::default().classes)?;
        if !self.run.all {
            let name = self.run.name.clone().unwrap_or_else(|| given.short_name());
            return Ok(vec![(name, given)]);
        }
        let prefix = self.run.name.as_ref().map(|name| format!("{name}-")).unwrap_or_default();
        Ok(ALL
            .iter()
            .map(|&(depth, conv1x1)| Network { depth, conv1x1, ..given.clone() })
            .map(|network| (format!("{prefix}{}", network.short_name()), network))
            .collect())
    }
}

/// Whether the long flag `name`, without dashes, stands on the command line.
pub fn is_typed(given: &Given, name: &str) -> bool {
    let command = Arguments::augment_args(clap::Command::new("train"));
    command.get_arguments().any(|flag| flag.get_long() == Some(name) && given.has(flag))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::engine::{NoDecay, Normalisation, Optimizer};
    use crate::training::choices::Schedule;
    use crate::training::run::{Augment, Data};
    use crate::training::settings::{Form, SETTINGS, Setting};

    #[derive(Parser)]
    #[command(args_override_self = true)]
    struct Harness {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Harness::try_parse_from(std::iter::once("train").chain(line.split_whitespace())).map(|h| h.arguments)
    }

    fn settings(line: &str) -> Result<TrainSettings> {
        let arguments = parse(line).expect(line);
        arguments.settings(arguments.shared.data())
    }

    #[test]
    fn defaults_are_the_replaced_projects() -> Result<()> {
        let settings = settings("--data nowhere")?;
        let [(name, network)] = settings.networks.as_slice() else { panic!("one network: {settings:?}") };
        assert_eq!(*network, Network::default());
        assert_eq!(name, "vgg11");
        let recipe = &settings.recipe;
        assert_eq!((recipe.batch_size, recipe.epochs, recipe.patience, recipe.seed), (64, 50, 6, 0));
        assert_eq!((recipe.learning_rate, recipe.optimizer), (0.001, Optimizer::adam()));
        assert_eq!((recipe.augment, recipe.schedule, recipe.shuffle), (Augment::Flip, Schedule::Constant, true));
        assert_eq!(recipe.normalisation, Normalisation { mean: [0.5; 3], std: [0.5; 3] });
        assert_eq!((settings.train.as_str(), settings.val.as_str()), ("train", "val"));
        Ok(())
    }

    #[test]
    fn without_flags_it_is_the_default_recipe() -> Result<()> {
        let settings = settings("--data nowhere")?;
        assert_eq!((settings.networks[0].1.clone(), settings.recipe), (Network::default(), Recipe::default()));
        let splits = Data { train: settings.train, val: settings.val, ..Data::default() };
        assert_eq!(splits, Data::default());
        Ok(())
    }

    #[test]
    fn optimisers_have_pytorchs_constants_and_what_is_asked_for() -> Result<()> {
        let recipe = |line: &str| settings(&format!("{line} --data nowhere")).map(|settings| settings.recipe);
        assert_eq!(recipe("--optimizer adamw")?.optimizer, Optimizer::adamw());
        assert_eq!(recipe("--optimizer adamw --weight-decay 0")?.optimizer, Optimizer::adamw().with_decay(0.0));
        let all = recipe(
            "--optimizer sgd --momentum 0.9 --nesterov --weight-decay 5e-4 --no-decay bias,norm --clip-norm 2 --ema 0.999",
        )?;
        let expected = Recipe {
            optimizer: Optimizer::Sgd { momentum: 0.9, weight_decay: 5e-4, nesterov: true },
            no_decay: NoDecay { norm: true, bias: true },
            clip_norm: 2.0,
            ema: 0.999,
            ..Recipe::default()
        };
        assert_eq!(all, expected);
        assert_eq!(recipe("--no-decay none --clip-norm 0 --ema 0")?, Recipe::default());
        Ok(())
    }

    #[test]
    fn every_setting_has_its_flag_and_every_flag_its_setting() {
        let command = Harness::command();
        let flag = |long: &str| command.get_arguments().find(|flag| flag.get_long() == Some(long));
        for Setting { key, flag: long, form, .. } in SETTINGS.iter().filter(|setting| setting.form != Form::None) {
            let flag = flag(long).unwrap_or_else(|| panic!("{key}: there is no --{long}"));
            assert!(flag.get_action().takes_values(), "{key}: --{long}");
            if *form != Form::Value {
                assert!(flag.is_require_equals_set(), "{key}: --{long} turns on what stands alone");
            }
        }
        for flag in command.get_arguments() {
            let long = flag.get_long().expect("flags are long");
            if !matches!(flag.get_help_heading(), None | Some("Run" | "All commands")) {
                assert!(SETTINGS.iter().any(|setting| setting.flag == long), "--{long} has no row in SETTINGS");
            }
        }
    }

    #[test]
    fn every_spelling_means_the_same() -> Result<()> {
        let short = "-d 16 --conv1_1 -t a -v b -b 5 -e 7 -i 48 --early_stopping 2 --lr 0.5 --data nowhere";
        let expected = format!("{:?}", settings(short)?);
        for long in [
            "--depth 16 --conv1x1 --train a --val b --batchsize 5 --epochs 7 --imagesize 48 --patience 2 --learning_rate 0.5",
            "--depth=16 --conv1x1 --train=a --val=b --batch=5 --epochs=7 --image-size=48 --early-stopping=2 --learning-rate=.5",
            "-d16 --conv1x1 -ta -vb --batch-size 5 -e7 -i48 --patience 2 --lr 5e-1",
        ] {
            assert_eq!(format!("{:?}", settings(&format!("{long} --data nowhere"))?), expected, "{long}");
        }
        Ok(())
    }

    #[test]
    fn every_switch_can_be_turned_off() {
        let command = Harness::command();
        for Setting { key, flag, .. } in SETTINGS.iter().filter(|s| matches!(s.form, Form::On | Form::Off)) {
            let argument = command.get_arguments().find(|argument| argument.get_long() == Some(flag)).expect(key);
            let said = |line: &str| {
                let line = format!("train {line} --init weights");
                let matches = command.clone().try_get_matches_from(line.split_whitespace()).expect(&line);
                matches.get_one::<bool>(argument.get_id().as_str()).copied()
            };
            assert_eq!(said(""), Some(false), "{key}");
            for line in [format!("--{flag}"), format!("--{flag}=on"), format!("--{flag}=off --{flag}")] {
                assert_eq!(said(&line), Some(true), "{line}");
            }
            for line in [format!("--{flag}=off"), format!("--{flag} --{flag}=off")] {
                assert_eq!(said(&line), Some(false), "{line}");
            }
            let error = parse(&format!("--{flag}=of --init weights")).expect_err("neither");
            assert!(error.to_string().contains("'off'"), "{error}");
        }
    }

    #[test]
    fn all_is_the_five_networks() -> Result<()> {
        let names =
            |line| -> Result<Vec<String>> { Ok(settings(line)?.networks.into_iter().map(|(n, _)| n).collect()) };
        assert_eq!(names("--all --data nowhere")?, ["vgg11", "vgg13", "vgg16", "vgg16c", "vgg19"]);
        assert_eq!(names("--all --run seed3 --data nowhere")?[4], "seed3-vgg19");
        assert!(settings("--all --width 0.25 --data nowhere")?.networks.iter().all(|(_, n)| n.width == 0.25));
        Ok(())
    }

    #[test]
    fn wrong_values_say_what_is_allowed() {
        for (line, part) in [
            ("-d 17", "choose 11, 13, 16 or 19; the nearest is 16"),
            ("-b 0", "at least 1; the nearest is 1"),
            ("-e -3", "at least 1; the nearest is 1"),
            ("--lr 0", "a number above 0"),
            ("--lr -1", "a number above 0"),
            ("--lr nan", "a finite number above 0"),
            ("--label-smoothing 1.5", "of at least 0 and below 1"),
            ("--dropout 1", "below 1"),
            ("-i 31", "the nearest is 32"),
            ("--schedule cosin", "'cosine'"),
            ("--augment flips", "'flip'"),
            ("--optimizer rmsprop", "adam, adamw, sgd"),
            ("--no-decay weights", "choose norm, bias, norm,bias or none"),
            ("--clip-norm -1", "a number of at least 0"),
            ("--ema 1", "at least 0 and below 1"),
            ("--run a/b", "the nearest is a-b"),
            ("--learning-rat 1", "'--learning-rate'"),
            ("--all -d 16", "cannot be used with"),
            ("--engine tpu", "choose auto, gpu or cpu"),
            ("--threads 0", "the nearest is 1"),
            ("--threads 1000000", "the nearest is 1024"),
            ("--micro-batch -1", "the nearest is 0"),
            ("--limit-train -1", "the nearest is 0"),
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
        for (line, part) in [
            ("--conv1x1", "depth 16 only"),
            ("-d 13 --lrn", "depth 11 only"),
            ("--momentum 0.9", "--optimizer sgd"),
            ("--optimizer adamw --momentum 0.9", "--optimizer sgd"),
            ("--nesterov", "there is none"),
            ("--optimizer sgd --nesterov", "there is none"),
            ("--optimizer sgd --momentum 0 --nesterov", "there is none"),
            ("--no-decay norm", "there is none"),
            ("--no-decay bias --optimizer adamw --weight-decay 0", "there is none"),
            ("-e 3 --warmup 3.5", "at most 3"),
            ("--distill a,none", "choose runs, or none"),
            ("-t elsewhere/train", "not a split below"),
        ] {
            let error = settings(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(part), "{line}: {error}");
        }
    }
}
