//! The flags of `ringway run` and `ringway check`, made from the catalogue.
//!
//! They are taken as text: values are parsed together with those of the environment, and one run reports
//! every invalid setting.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgMatches, Command};

use super::catalogue::ALL;
use super::setting::{Fallback, Setting};

/// Values of the flags by the names of their settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(BTreeMap<&'static str, OsString>);

impl Flags {
    /// Returns the value that was given for a setting.
    pub(crate) fn get(&self, setting: &Setting) -> Option<&OsStr> {
        self.0.get(setting.name).map(OsString::as_os_str)
    }

    /// Flags as if given on a command line.
    #[cfg(test)]
    pub(crate) fn of(given: &[(&'static Setting, &str)]) -> Self {
        Self(given.iter().map(|(setting, value)| (setting.name, value.into())).collect())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(ALL.iter().filter_map(|setting| argument(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = ALL.iter().filter(|setting| setting.flag.is_some()).filter_map(|setting| {
            let value = matches.get_one::<OsString>(setting.name)?;
            Some((setting.name, value.clone()))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(setting: &'static Setting) -> Option<Arg> {
    let flag = setting.flag?;
    let (help, name, own) = (setting.help, setting.name, setting.own_name());
    let default = match setting.default {
        Fallback::Value(text) => format!(" [default: {text}]"),
        Fallback::Computed(how) => format!(" [default: {how}]"),
        Fallback::Absent => String::new(),
    };
    Some(
        Arg::new(setting.name)
            .long(flag)
            .value_name(setting.value)
            .value_parser(clap::value_parser!(OsString))
            // `--workers -1` is an invalid count, not an unknown flag `-1`.
            .allow_negative_numbers(true)
            .help(format!("{help}{default}"))
            .long_help(format!("{help}\n[env: {own}, {name}]{default}"))
            .hide_short_help(true)
            .help_heading(setting.group.title()),
    )
}
