//! The switches among the settings of a training: `--flag` alone means on, and `--flag=off` goes on top of a file that turns it on.
//!
//! It declares none: those that `training::settings` lists are made so wherever they are declared.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::training::settings::{Form, SETTINGS};

/// Behind all flags of a command, whose switches then take `on` or `off`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switches;

impl FromArgMatches for Switches {
    fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self)
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        Ok(())
    }
}

impl Args for Switches {
    fn augment_args(command: Command) -> Command {
        command.mut_args(|argument| {
            let mut switches = SETTINGS.iter().filter(|setting| matches!(setting.form, Form::On | Form::Off));
            if !switches.any(|setting| argument.get_long() == Some(setting.flag)) {
                return argument;
            }
            argument
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .value_name("on|off")
                .value_parser(PossibleValuesParser::new(["on", "off"]).map(|word| word == "on"))
                .hide_possible_values(true)
                .default_missing_value("on")
                .default_value("off")
                .hide_default_value(true)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
