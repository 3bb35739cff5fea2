//! One setting of the operator: its names in the environment, its flag, its keys in a configuration, default
//! and help.
//!
//! Every setting has three kinds of names: its flag (`--http-port`), that flag in capitals behind
//! [`OWN_PREFIX`] (`RINGWAY_HTTP_PORT`), and its documented name (`PROXY_HTTP_PORT`), with more aliases
//! beside it. In a configuration it is a static value (`server.http.port`).

use std::fmt;
use std::net::SocketAddr;

use super::parse::{self, ValueError};

/// Setting of the operator.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Documented name, used in every message.
    pub(crate) name: &'static str,
    /// Flag without the dashes; none for a secret, because every user of a machine can read arguments.
    pub(crate) flag: Option<&'static str>,
    /// Other names in the environment.
    pub(crate) aliases: &'static [Alias],
    /// Its keys in a configuration; the first that is present wins.
    pub(crate) keys: &'static [Key],
    /// Placeholder of the value in `--help`.
    pub(crate) value: &'static str,
    /// Value without a flag and without a variable.
    pub(crate) default: Fallback,
    /// Section of `--help` and `ringway check`.
    pub(crate) group: Group,
    /// One or two sentences.
    pub(crate) help: &'static str,
    /// Whether its value may be shown.
    pub(crate) role: Role,
}

/// Another name for a setting.
#[derive(Debug)]
pub(crate) struct Alias {
    /// The name in the environment.
    pub(crate) name: &'static str,
    /// Its flag, if it has one of its own.
    pub(crate) flag: Option<AliasFlag>,
    /// Part of its value that is the setting's.
    pub(crate) part: Part,
}

/// Flag of an alias, for several settings in one value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AliasFlag {
    /// Name without the dashes.
    pub(crate) flag: &'static str,
    /// Placeholder of the value in `--help`.
    pub(crate) value: &'static str,
    /// One or two sentences.
    pub(crate) help: &'static str,
}

/// Key of a setting in a configuration.
#[derive(Debug)]
pub(crate) struct Key {
    /// JSON pointer.
    pub(crate) path: &'static str,
    /// Part of its value that is the setting's.
    pub(crate) part: Part,
}

/// Name of a setting in the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// [`OWN_PREFIX`], and this.
    Own(&'static str),
    /// Documented name, or an alias.
    Documented(&'static str),
}

/// Prefix that every setting may have in the environment.
pub(crate) const OWN_PREFIX: &str = "RINGWAY_";
/// Prefix of the documented names.
pub(super) const DOCUMENTED_PREFIX: &str = "PROXY_";
/// Prefixes that no other program uses for settings of its own; an invalid value behind them was meant for
/// ringway.
pub(super) const SPECIFIC_PREFIXES: [&str; 3] = [OWN_PREFIX, DOCUMENTED_PREFIX, "ACME_"];

impl Variable {
    /// Whether platforms and other programs use the same name for something else.
    pub(crate) fn is_generic(self) -> bool {
        match self {
            Self::Own(_) => false,
            Self::Documented(name) => !SPECIFIC_PREFIXES.iter().any(|prefix| name.starts_with(prefix)),
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(stem) => write!(f, "{OWN_PREFIX}{stem}"),
            Self::Documented(name) => f.write_str(name),
        }
    }
}

/// Part of a value that is the setting's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// The address of `address:port`; every address when it is empty, as in `:9090`.
    Host,
    /// The port of `address:port`.
    Port,
    /// Whether a lowest version of TLS leaves only 1.3.
    IsModern,
}

impl Part {
    /// Returns that part of a value.
    ///
    /// # Errors
    /// The value has not the form of which this is a part.
    pub(crate) fn of(self, text: &str) -> Result<String, ValueError> {
        Ok(match self {
            Self::Whole => text.to_owned(),
            Self::Host => {
                let addresses = parse::listen_addresses(text)?;
                let hosts: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
                hosts.join(",")
            }
            Self::Port => parse::listen_addresses(text)?.first().map_or(0, SocketAddr::port).to_string(),
            Self::IsModern => match text {
                "TLS1.2" => "false".to_owned(),
                "TLS1.3" => "true".to_owned(),
                _ => return Err(ValueError::Word(&["TLS1.2", "TLS1.3"])),
            },
        })
    }
}

/// Value of a setting without a flag and without a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// This value.
    Value(&'static str),
    /// Value that depends on the machine; the text describes it.
    Computed(&'static str),
    /// No value.
    Absent,
}

/// Subject of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Configuration,
    Traffic,
    Timeouts,
    Api,
    Storage,
    Health,
    Logs,
    Process,
    Certificates,
}

/// Whether a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Shown everywhere.
    Plain,
    /// Shown nowhere.
    Secret,
}

impl Group {
    /// Heading in `--help`.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Traffic => "Public traffic",
            Self::Timeouts => "Timeouts",
            Self::Api => "Admin API",
            Self::Storage => "Storage",
            Self::Health => "Health of instances",
            Self::Logs => "Logs",
            Self::Process => "Process",
            Self::Certificates => "TLS and certificates",
        }
    }
}

impl Setting {
    /// Part that all its names share, as `HTTP_PORT`.
    pub(super) fn stem(&self) -> &'static str {
        self.name.strip_prefix(DOCUMENTED_PREFIX).unwrap_or(self.name)
    }

    /// Name behind [`OWN_PREFIX`].
    pub(crate) fn own_name(&self) -> Variable {
        Variable::Own(self.stem())
    }

    /// Names in the environment with the part of each value that is used; the first that is set wins.
    ///
    /// Names that platforms use too come last: they never override a name that only ringway reads.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (Variable, Part)> + use<> {
        let documented = std::iter::once((Variable::Documented(self.name), Part::Whole));
        let aliases = self.aliases.iter().map(|alias| (Variable::Documented(alias.name), alias.part));
        let documented = documented.chain(aliases);
        let specific = documented.clone().filter(|(variable, _)| !variable.is_generic());
        let generic = documented.filter(|(variable, _)| variable.is_generic());
        std::iter::once((self.own_name(), Part::Whole)).chain(specific).chain(generic)
    }

    /// Returns the value of the first of its names that is set.
    pub(crate) fn find(&self, environment: impl Fn(&str) -> Option<String>) -> Option<(Variable, String)> {
        self.variables().find_map(|(variable, part)| {
            let name = variable.to_string();
            let value = environment(&name).filter(|value| !is_service_link(&name, value))?;
            Some((variable, part.of(&value).unwrap_or(value)))
        })
    }

    /// Setting without a default; the functions below change the rest.
    pub(super) const fn new(name: &'static str, flag: &'static str, group: Group) -> Self {
        Self {
            name,
            flag: Some(flag),
            aliases: &[],
            keys: &[],
            value: "VALUE",
            default: Fallback::Absent,
            group,
            help: "",
            role: Role::Plain,
        }
    }

    pub(super) const fn default(mut self, value: &'static str) -> Self {
        self.default = Fallback::Value(value);
        self
    }

    pub(super) const fn computed(mut self, how: &'static str) -> Self {
        self.default = Fallback::Computed(how);
        self
    }

    pub(super) const fn value(mut self, placeholder: &'static str) -> Self {
        self.value = placeholder;
        self
    }

    pub(super) const fn help(mut self, text: &'static str) -> Self {
        self.help = text;
        self
    }

    pub(super) const fn aliases(mut self, aliases: &'static [Alias]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn keys(mut self, keys: &'static [Key]) -> Self {
        self.keys = keys;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.role = Role::Secret;
        self.flag = None;
        self
    }
}

/// Whether Kubernetes sets this variable for a service named like one of our prefixes (`ringway`,
/// `proxy-api`): `RINGWAY_SERVICE_HOST`, `PROXY_API_PORT_80_TCP_ADDR` and others, or an address with a scheme
/// in place of a port.
pub(crate) fn is_service_link(name: &str, value: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let names_port =
        name.rsplit_once("_PORT_").is_some_and(|(_, port)| port.starts_with(|c: char| c.is_ascii_digit()));
    let names_service = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    is_address || names_port || names_service
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::catalogue::{ALL, LOG_LEVEL};
    use crate::cli::misspelt::is_ours;
    use std::collections::BTreeSet;

    #[test]
    fn the_own_name_of_a_setting_is_its_flag_in_capitals() {
        for setting in ALL {
            let name = setting.own_name().to_string();
            assert!(!setting.own_name().is_generic() && is_ours(&name), "{name}");
            if let Some(flag) = setting.flag {
                assert_eq!(name, format!("RINGWAY_{}", flag.replace('-', "_").to_uppercase()));
            }
            assert_eq!(setting.variables().next(), Some((setting.own_name(), Part::Whole)), "it wins");
        }
        let names: Vec<_> = ALL.iter().map(|setting| setting.own_name().to_string()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn names_that_others_use_too_come_last() {
        let generic = |name| Variable::Documented(name).is_generic();
        assert!(
            ["LOG_LEVEL", "ACCESS_LOG", "HEALTH_CHECK_INTERVAL", "DNS_RESOLVER"].into_iter().all(generic)
        );
        assert!(!["PROXY_WORKERS", "ACME_EMAIL", "PROXY_LOG_LEVEL"].into_iter().any(generic));
        let names: Vec<_> = LOG_LEVEL.variables().map(|(variable, _)| variable.to_string()).collect();
        assert_eq!(names, ["RINGWAY_LOG_LEVEL", "PROXY_LOG_LEVEL", "LOG_LEVEL"]);
    }

    #[test]
    fn service_links_are_recognised_by_name_or_value() {
        for (name, value) in [
            ("RINGWAY_SERVICE_HOST", "10.0.0.1"),
            ("RINGWAY_SERVICE_PORT", "80"),
            ("PROXY_API_SERVICE_PORT_HTTP", "80"),
            ("RINGWAY_HTTP_PORT", "tcp://10.0.0.1:80"),
            ("RINGWAY_PORT_53_UDP_PROTO", "udp"),
        ] {
            assert!(is_service_link(name, value), "{name}={value}");
        }
        assert!(!is_service_link("RINGWAY_HTTP_PORT", "80") && !is_service_link("PROXY_HTTP_PORT", "tcp"));
    }
}
