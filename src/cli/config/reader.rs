//! Reader of single settings: where the value of each comes from, and everything that is wrong with it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::cli::catalogue;
use crate::cli::flags::Flags;
use crate::cli::misspelt;
use crate::cli::origin::{Origin, Problem, Row, Value, Warning};
use crate::cli::parse::ValueError;
use crate::cli::setting::{Fallback, Part, Role, Setting, Variable, is_service_link};
use crate::cli::statics::Statics;

/// Collects values, problems and warnings.
pub(super) struct Reader<'a> {
    pub(super) flags: &'a Flags,
    pub(super) environment: &'a BTreeMap<String, OsString>,
    pub(super) statics: Statics,
    pub(super) rows: Vec<Row>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

/// Value of a setting as it was given.
pub(super) enum Decision<T> {
    Value(T),
    /// Invalid, which is recorded.
    Invalid,
    /// Not given, or not meant for ringway.
    Default,
}

/// Text that was given for a setting.
struct Given {
    origin: Origin,
    /// Absent when it is not text.
    text: Option<String>,
    /// Part of it that is the setting's.
    part: Part,
}

impl<T> Decision<T> {
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Invalid | Self::Default => None,
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        flags: &'a Flags,
        environment: &'a BTreeMap<String, OsString>,
        statics: Statics,
    ) -> Self {
        let (rows, problems, warnings) = Default::default();
        Self { flags, environment, statics, rows, problems, warnings }
    }

    /// Reads a setting with a default in the catalogue. `None` when its value is invalid, which is recorded.
    pub(super) fn value<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, ValueError>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let Fallback::Value(text) = setting.default else {
            unreachable!("{} has no default of its own", setting.name)
        };
        let default = parse(text).expect("the defaults of the catalogue are valid; a test reads them all");
        self.computed(setting, parse, show, default)
    }

    /// Reads a setting that need not have a value.
    pub(super) fn optional<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, ValueError>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let decision = self.decision(setting, parse, show);
        if let Decision::Default = decision {
            let value = match setting.default {
                Fallback::Computed(how) => Value::Shown(how.to_owned()),
                Fallback::Value(_) | Fallback::Absent => Value::Absent,
            };
            self.row(setting, value, Origin::Default);
        }
        decision.value()
    }

    /// Reads a setting whose default depends on the machine.
    pub(super) fn computed<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, ValueError>,
        show: impl Fn(&T) -> String,
        default: T,
    ) -> Option<T> {
        let decision = self.decision(setting, parse, &show);
        if let Decision::Default = decision {
            self.row(setting, Value::Shown(show(&default)), Origin::Default);
            return Some(default);
        }
        decision.value()
    }

    /// Parses the given value and records it.
    pub(super) fn decision<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, ValueError>,
        show: impl Fn(&T) -> String,
    ) -> Decision<T> {
        let Some(Given { origin, text, part }) = self.given(setting) else { return Decision::Default };
        let is_secret = setting.role == Role::Secret;
        let parsed = text.as_deref().ok_or(ValueError::Unicode).and_then(|text| parse(&part.of(text)?));
        match parsed {
            Ok(value) => {
                let shown = if is_secret { Value::Hidden } else { Value::Shown(show(&value)) };
                self.row(setting, shown, origin);
                Decision::Value(value)
            }
            Err(error) => {
                let given = text.filter(|_| !is_secret);
                if let Origin::Environment(name) = origin
                    && name.is_generic()
                {
                    let own = setting.own_name();
                    self.warn_once(Warning::Generic { name, own, given, error });
                    return Decision::Default;
                }
                self.row(setting, Value::Invalid, origin.clone());
                // A value in two parts has one mistake.
                let name = match (&origin, part) {
                    (Origin::Environment(Variable::Documented(alias)), Part::Host | Part::Port) => alias,
                    (Origin::File { .. }, _) => "",
                    _ => setting.name,
                };
                self.problem_once(Problem::Value { name, origin, given, error });
                Decision::Invalid
            }
        }
    }

    /// Parses the value at a key of the configuration that is no setting's. `None` when it is absent, or
    /// invalid, which is recorded.
    pub(super) fn at_key<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        let found = self.statics.get(path)?;
        match parse(&found.text) {
            Ok(value) => Some(value),
            Err(error) => {
                let origin = Origin::File { path: path.into(), place: found.place };
                self.problems.push(Problem::Value { name: "", origin, given: Some(found.text), error });
                None
            }
        }
    }

    /// Value that was given: by a flag, else in the environment, else in the configuration.
    fn given(&mut self, setting: &'static Setting) -> Option<Given> {
        let own = setting.flag.and_then(|flag| Some((flag, self.flags.get(setting)?, Part::Whole)));
        let of_alias = || {
            setting
                .aliases
                .iter()
                .find_map(|alias| Some((alias.flag?.flag, self.flags.named(alias.name)?, alias.part)))
        };
        let of_alias = of_alias();
        if let (Some((flag, ..)), Some((alias, ..))) = (own, of_alias) {
            let (name, by) = (format!("--{alias}"), format!("--{flag}"));
            self.warnings.push(Warning::Shadowed { name, by });
        }
        if let Some((flag, value, part)) = own.or(of_alias) {
            return Some(Given { origin: Origin::Flag(flag), text: value.to_str().map(str::to_owned), part });
        }
        self.in_environment(setting).or_else(|| self.in_configuration(setting))
    }

    fn in_environment(&mut self, setting: &'static Setting) -> Option<Given> {
        let mut found: Option<(Variable, Given, Option<String>)> = None;
        for (variable, part) in setting.variables() {
            let name = variable.to_string();
            let Some(value) = self.environment.get(&name) else { continue };
            let text = value.to_str().map(str::to_owned);
            if text.as_ref().is_some_and(|text| is_service_link(&name, text)) {
                self.warn_once(Warning::ServiceLink(variable));
                continue;
            }
            let own_part = text.as_deref().and_then(|text| part.of(text).ok());
            match &found {
                Some((_, _, same)) if *same == own_part => {}
                Some((by, ..)) => {
                    let by = by.to_string();
                    self.warn_once(Warning::Shadowed { name, by });
                }
                None => {
                    let given = Given { origin: Origin::Environment(variable), text, part };
                    found = Some((variable, given, own_part));
                }
            }
        }
        found.map(|(_, given, _)| given)
    }

    fn in_configuration(&mut self, setting: &'static Setting) -> Option<Given> {
        let mut found: Option<(Given, Option<String>, String)> = None;
        for key in setting.keys {
            let Some(value) = self.statics.get(key.path) else { continue };
            let own_part = key.part.of(&value.text).ok();
            let name = format!("{}: {}", value.place, key.path);
            match &found {
                Some((_, same, _)) if *same == own_part => {}
                Some((_, _, by)) => {
                    let by = by.clone();
                    self.warn_once(Warning::Shadowed { name, by });
                }
                None => {
                    let origin = Origin::File { path: key.path.into(), place: value.place };
                    let given = Given { origin, text: Some(value.text), part: key.part };
                    found = Some((given, own_part, name));
                }
            }
        }
        found.map(|(given, ..)| given)
    }

    /// Origin of the value of a setting, also before it is read.
    pub(super) fn given_at(&mut self, setting: &'static Setting) -> Option<Origin> {
        let warnings = self.warnings.len();
        let given = self.given(setting);
        // Warnings are recorded when it is read.
        self.warnings.truncate(warnings);
        given.map(|given| given.origin)
    }

    /// Whether a value was given for a setting that was read.
    pub(super) fn is_given(&self, setting: &'static Setting) -> bool {
        self.origin_of(setting) != Origin::Default
    }

    /// Origin of a value that was read.
    pub(super) fn origin_of(&self, setting: &'static Setting) -> Origin {
        let row = self.rows.iter().find(|row| row.setting.name == setting.name);
        row.map_or(Origin::Default, |row| row.origin.clone())
    }

    pub(super) fn row(&mut self, setting: &'static Setting, value: Value, origin: Origin) {
        self.rows.push(Row { setting, value, origin });
    }

    pub(super) fn warn_once(&mut self, warning: Warning) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    pub(super) fn problem_once(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub(super) fn warn_about_names(&mut self) {
        for (name, value) in self.environment {
            if let Some(later) = catalogue::LATER.iter().find(|later| *later == name) {
                self.warnings.push(Warning::Later(later));
                continue;
            }
            let is_link = value.to_str().is_some_and(|value| is_service_link(name, value));
            if !misspelt::is_ours(name) || is_link {
                continue;
            }
            if !misspelt::known_names().any(|known| known == *name) {
                let nearest = misspelt::nearest(name);
                self.warnings.push(Warning::Unknown { name: name.clone(), nearest });
            }
        }
    }
}
