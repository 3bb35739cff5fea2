//! The flags of `ringway run` and `ringway check`, made from the catalogue.
//!
//! They are taken as text: values are parsed together with those of the environment, and one run reports
//! every invalid setting.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgMatches, Command};

use super::catalogue::ALL;
use super::setting::{AliasFlag, Fallback, Setting};

/// Values of the flags by the names of their settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(BTreeMap<&'static str, OsString>);

impl Flags {
    /// Returns the value that was given for a setting.
    pub(crate) fn get(&self, setting: &Setting) -> Option<&OsStr> {
        self.named(setting.name)
    }

    /// Returns the value that was given for a setting or an alias by its name.
    pub(crate) fn named(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str)
    }

    /// Gives a value by the name of a setting or an alias.
    #[cfg(test)]
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.0.insert(name, value.into());
    }

    /// Flags as if given on a command line.
    #[cfg(test)]
    pub(crate) fn of(given: &[(&'static Setting, &str)]) -> Self {
        Self(given.iter().map(|(setting, value)| (setting.name, value.into())).collect())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(ALL.iter().copied().flat_map(|setting| {
            let aliases = aliases(setting).filter(|(name, _)| first_with(name) == setting.name);
            argument(setting).into_iter().chain(aliases.map(|alias| alias_argument(setting, alias)))
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = ALL.iter().flat_map(|setting| {
            let own = setting.flag.map(|_| setting.name);
            own.into_iter().chain(aliases(setting).map(|(name, _)| name))
        });
        let given = names.filter_map(|name| Some((name, matches.get_one::<OsString>(name)?.clone())));
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Aliases of a setting that have flags.
fn aliases(setting: &'static Setting) -> impl Iterator<Item = (&'static str, AliasFlag)> {
    setting.aliases.iter().filter_map(|alias| Some((alias.name, alias.flag?)))
}

/// Name of the first setting with this alias: there its flag is in the help.
fn first_with(alias: &str) -> &'static str {
    let first = ALL.iter().find(|setting| aliases(setting).any(|(name, _)| name == alias));
    first.map_or("", |setting| setting.name)
}

fn alias_argument(setting: &'static Setting, (name, alias): (&'static str, AliasFlag)) -> Arg {
    Arg::new(name)
        .long(alias.flag)
        .value_name(alias.value)
        .value_parser(clap::value_parser!(OsString))
        .help(alias.help)
        .long_help(format!("{}\n[env: {name}]", alias.help))
        .hide_short_help(true)
        .help_heading(setting.group.title())
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
