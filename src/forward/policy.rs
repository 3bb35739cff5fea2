//! The rules in force, and the checks of a request in their order.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringway_middleware::Credentials;
use ringway_model::{
    Ban, Cidr, ForwardSpec, ListAction, ListFormat, ListMode, RateLimit, RateLimitKey, limits as model_limits,
};
use ringway_traffic::pattern::{Pattern, PatternError};
use ringway_traffic::rate_limit::{LimitScope, RateLimitTable, RateLimiter};

use crate::addresses::forbidden;
use crate::denial::Denial;
use crate::domain_set::SuffixKey;
use crate::host::Host;
use crate::limits;
use crate::list::{DomainList, Found, find, normal, parse_list};

/// The rules of the forward proxy at one revision; the same on all cores.
pub struct Policy {
    /// Number of the revision: a higher one is newer.
    pub revision: u64,
    /// The configuration that it was made from.
    pub spec: Arc<ForwardSpec>,
    /// Lists of domains, in the order of the configuration.
    pub lists: Box<[Arc<DomainList>]>,
    /// Users, where credentials are required.
    pub users: Option<Users>,
    /// Rate of each client.
    pub rate: Option<Arc<RateLimiter>>,
    key: SuffixKey,
    private: Box<[Private]>,
    types: Box<[TypeRule]>,
    /// Ports of this process, which a tunnel must not reach.
    own_ports: Box<[u16]>,
}

/// Users of the proxy.
pub type Users = Arc<Credentials>;

/// Kind of a request to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `CONNECT`.
    Tunnel,
    /// A target with `http://`.
    Http,
}

/// Result of a check without a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The rule of a list that decided, with its list and action.
    pub rule: Option<(Arc<str>, String, ListAction)>,
    /// The refusal; none where the request would be admitted as far as it is known without addresses.
    pub denial: Option<Denial>,
}

/// Part of a configuration that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// Neither `allow_clients` nor `auth`: everybody could use the proxy.
    Open,
    /// No domain: of `allow_private` or of a list.
    Domain(String),
    /// A pattern of `content_types`.
    Pattern(String, PatternError),
    /// No media type.
    Type(String),
    /// More lists than [`LISTS_MAX`](limits::LISTS_MAX).
    Lists,
    /// Two lists of one name.
    ListName(Arc<str>),
    /// Mode `mixed`, and a list without an action.
    NoAction(Arc<str>),
}

/// Names that may lead to these networks.
struct Private {
    names: Arc<DomainList>,
    networks: Box<[Cidr]>,
}

/// Blocked media type.
enum TypeRule {
    Exact(Box<str>),
    /// All subtypes, by the type with its slash.
    Type(Box<str>),
    Pattern(Box<Pattern>),
}

impl Policy {
    /// Compiles a configuration, with the lists that it names loaded. The lists in place are part of `lists`,
    /// too: see [`action`](Self::action).
    ///
    /// # Errors
    /// [`PolicyError`]
    pub fn compile(
        spec: &Arc<ForwardSpec>,
        lists: Box<[Arc<DomainList>]>,
        users: Option<Users>,
        key: &SuffixKey,
        own: (u64, &[u16], &Arc<RateLimitTable>),
    ) -> Result<Self, PolicyError> {
        let (revision, own_ports, table) = own;
        Self::check_spec(spec)?;
        let private = |target: &ringway_model::PrivateTarget| {
            if !is_domain(&target.domain) {
                return Err(PolicyError::Domain((*target.domain).into()));
            }
            let names = parse_list(&"".into(), &target.domain, ListFormat::Plain, ListAction::Allow, key);
            Ok(Private { names: Arc::new(names), networks: target.networks.clone().into() })
        };
        let rate = spec.rate.map(|rate| {
            let settings = RateLimit {
                requests: rate.per_second,
                per: std::time::Duration::from_secs(1),
                burst: rate.burst.max(1),
                key: [RateLimitKey::Client].into(),
                ban: rate.ban.map(|duration| Ban { after: rate.burst.max(1), duration }),
                sends_fields: false,
                dry_run: false,
            };
            Arc::new(RateLimiter::new(LimitScope::Route("forward".into()), settings, table.clone()))
        });
        Ok(Self {
            revision,
            lists,
            users,
            rate,
            key: key.clone(),
            private: spec.allow_private.iter().map(private).collect::<Result<_, _>>()?,
            types: spec.content_types.block.iter().map(TypeRule::parse).collect::<Result<_, _>>()?,
            own_ports: own_ports.into(),
            spec: spec.clone(),
        })
    }

    /// Checks all that needs no list.
    ///
    /// # Errors
    /// [`PolicyError`]
    pub fn check_spec(spec: &ForwardSpec) -> Result<(), PolicyError> {
        if spec.allow_clients.is_empty() && spec.auth.is_none() {
            return Err(PolicyError::Open);
        }
        if spec.lists.len() > limits::LISTS_MAX {
            return Err(PolicyError::Lists);
        }
        for (at, list) in spec.lists.iter().enumerate() {
            if spec.lists[..at].iter().any(|other| other.name == list.name) {
                return Err(PolicyError::ListName(list.name.clone()));
            }
            if spec.mode == ListMode::Mixed && list.action.is_none() {
                return Err(PolicyError::NoAction(list.name.clone()));
            }
            if let ringway_model::ListSource::Domains(domains) = &list.source
                && let Some(wrong) = domains.iter().find(|domain| !is_domain(domain))
            {
                return Err(PolicyError::Domain((**wrong).into()));
            }
        }
        for target in &spec.allow_private {
            if !is_domain(&target.domain) {
                return Err(PolicyError::Domain((*target.domain).into()));
            }
        }
        spec.content_types.block.iter().try_for_each(|text| TypeRule::parse(text).map(drop))
    }

    /// Action of the rules of a list.
    pub fn action(spec: &ForwardSpec, list: &ringway_model::DomainListSpec) -> ListAction {
        list.action.unwrap_or(match spec.mode {
            ListMode::Blocklist | ListMode::Mixed => ListAction::Block,
            ListMode::Allowlist => ListAction::Allow,
        })
    }

    /// Whether a client's network is admitted.
    pub fn admits_client(&self, client: IpAddr) -> bool {
        let networks = &self.spec.allow_clients;
        networks.is_empty() || networks.iter().any(|network| network.contains(client))
    }

    /// Checks the port of a target, then its lists.
    ///
    /// # Errors
    /// The [`Denial`]
    pub fn check_target(&self, kind: Kind, host: &Host<'_>, port: u16) -> Result<(), Denial> {
        let ports = match kind {
            Kind::Tunnel => &self.spec.connect_ports,
            Kind::Http => &self.spec.http_ports,
        };
        if !ports.contains(&port) {
            return Err(Denial::Port(port));
        }
        self.check_lists(host)
    }

    /// Checks the lists.
    ///
    /// # Errors
    /// [`Denial::Blocked`], [`Denial::NotListed`]
    pub fn check_lists(&self, host: &Host<'_>) -> Result<(), Denial> {
        let address;
        let text = match host {
            Host::Name(name) => *name,
            Host::Address(ip) => {
                address = ip.to_string();
                &address
            }
        };
        let found = match host {
            Host::Name(name) => find(&self.key, &self.lists, name),
            // An address has no parents.
            Host::Address(_) => find(&self.key, &self.lists, text).filter(|found| found.domain == text),
        };
        match (found.map(|found| found.action), self.spec.mode) {
            (Some(ListAction::Allow), _) | (None, ListMode::Blocklist) => Ok(()),
            (Some(ListAction::Block), _) => Err(found.map_or(Denial::NotListed, |found: Found<'_>| {
                Denial::Blocked { list: found.list.clone(), rule: found.domain.into() }
            })),
            (None, ListMode::Allowlist | ListMode::Mixed) => Err(Denial::NotListed),
        }
    }

    /// The addresses among those of a host that may be connected to, in their order.
    ///
    /// # Errors
    /// [`Denial::Addresses`] where none may be.
    pub fn check_addresses(
        &self,
        host: &Host<'_>,
        addresses: &[IpAddr],
        port: u16,
    ) -> Result<Vec<SocketAddr>, Denial> {
        let mut reason = "no address";
        let admits = |address: &&IpAddr| match forbidden(**address) {
            None => true,
            Some(why) => {
                reason = why;
                self.may_be_private(host, **address)
            }
        };
        let admitted: Vec<_> = addresses
            .iter()
            .filter(admits)
            .map(|address| SocketAddr::new(address.to_canonical(), port))
            .collect();
        if admitted.is_empty() { Err(Denial::Addresses(reason)) } else { Ok(admitted) }
    }

    /// Whether the configuration allows a host to lead to this forbidden address: name and network.
    fn may_be_private(&self, host: &Host<'_>, address: IpAddr) -> bool {
        let text = host.to_string();
        self.private.iter().any(|private| {
            let names = std::slice::from_ref(&private.names);
            let is_named = match host {
                Host::Name(name) => find(&self.key, names, name).is_some(),
                Host::Address(_) => find(&self.key, names, &text).is_some_and(|found| found.domain == text),
            };
            is_named && private.networks.iter().any(|network| network.contains(address))
        })
    }

    /// Whether a connection from `local` to `remote` has reached this process.
    pub fn is_own(&self, local: IpAddr, remote: SocketAddr) -> bool {
        let is_here = local.to_canonical() == remote.ip().to_canonical() || remote.ip().is_loopback();
        is_here && self.own_ports.contains(&remote.port())
    }

    /// Checks the media type of a response.
    ///
    /// # Errors
    /// [`Denial::ContentType`]
    pub fn check_content_type(&self, value: Option<&[u8]>) -> Result<(), Denial> {
        let is_blocked = match value.map(media_type) {
            None => self.spec.content_types.block_missing && !self.types.is_empty(),
            Some(given) => self.types.iter().any(|rule| rule.matches(&given)),
        };
        if is_blocked { Err(Denial::ContentType) } else { Ok(()) }
    }

    /// Whether responses have to be checked for their media types.
    pub fn checks_types(&self) -> bool {
        !self.types.is_empty()
    }

    /// Checks all that is known without addresses, for people who ask.
    pub fn check(&self, client: Option<IpAddr>, kind: Kind, host: &Host<'_>, port: u16) -> Check {
        let text = host.to_string();
        let rule = find(&self.key, &self.lists, &text)
            .filter(|found| host.name().is_some() || found.domain == text)
            .map(|found| (found.list.clone(), found.domain.to_owned(), found.action));
        let denial = match client {
            Some(client) if !self.admits_client(client) => Some(Denial::Client),
            _ => self.check_target(kind, host, port).err(),
        };
        let denial = denial.or_else(|| match host {
            Host::Address(address) => self.check_addresses(host, &[*address], port).err(),
            Host::Name(_) => None,
        });
        Check { rule, denial }
    }
}

/// The media type of a field's value, without parameters, in lower case.
fn media_type(value: &[u8]) -> String {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    String::from_utf8_lossy(essence).trim().to_ascii_lowercase()
}

impl TypeRule {
    fn parse(text: &Arc<str>) -> Result<Self, PolicyError> {
        if let Some(pattern) = text.strip_prefix("regex:") {
            // Patterns match whole texts; these are searched for, as everywhere else.
            let (start, rest) = pattern.strip_prefix('^').map_or((".*", pattern), |rest| ("", rest));
            let (rest, end) = rest.strip_suffix('$').map_or((rest, ".*"), |rest| (rest, ""));
            let whole: Arc<str> = format!("{start}(?:{rest}){end}").into();
            return Pattern::new(&whole)
                .map(|pattern| Self::Pattern(Box::new(pattern)))
                .map_err(|error| PolicyError::Pattern((**text).into(), error));
        }
        let lower = text.to_ascii_lowercase();
        let is_token = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        match lower.split_once('/') {
            Some((kind, "*")) if is_token(kind) => Ok(Self::Type(format!("{kind}/").into())),
            Some((kind, subtype)) if is_token(kind) && is_token(subtype) => Ok(Self::Exact(lower.into())),
            _ => Err(PolicyError::Type((**text).into())),
        }
    }

    fn matches(&self, given: &str) -> bool {
        match self {
            Self::Exact(known) => given == &**known,
            Self::Type(kind) => given.starts_with(&**kind),
            Self::Pattern(pattern) => pattern.is_match(given.as_bytes()),
        }
    }
}

fn is_domain(text: &str) -> bool {
    let bare = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    text.len() <= model_limits::HOST_BYTES_MAX + 2 && normal(bare, &mut String::new()).is_some()
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str(
                "the forward proxy needs allow_clients or auth: without both, everybody could use it",
            ),
            Self::Domain(text) => {
                write!(f, "{text:?} is no domain, such as a.example, *.a.example or .a.example")
            }
            Self::Pattern(text, error) => write!(f, "{text:?} is no pattern: {error}"),
            Self::Type(text) => write!(f, "{text:?} is no media type, such as application/zip or video/*"),
            Self::Lists => write!(f, "there are more than {} lists", limits::LISTS_MAX),
            Self::ListName(name) => write!(f, "two lists have the name {name}"),
            Self::NoAction(name) => write!(f, "the list {name} needs an action in the mode mixed"),
        }
    }
}

impl std::error::Error for PolicyError {}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
