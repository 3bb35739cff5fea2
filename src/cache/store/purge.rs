//! Purges: selection of entries, and the comparison of an entry or a fill with one.

use std::fmt;
use std::sync::Arc;

use super::scope::ScopeName;
use crate::KeyParts;
use crate::key::ScopeId;
use crate::limits;

/// Order to invalidate entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Entries that it concerns.
    pub selector: Selector,
    /// The only tenant whose entries it concerns; `None` for all.
    pub tenant: Option<Box<str>>,
    /// Effect on them.
    pub effect: Effect,
}

/// Kind of an invalidation, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeKind {
    /// Of everything.
    All,
    /// Of a tenant.
    Tenant,
    /// Of a route.
    Route,
    /// Of a URL.
    Url,
    /// Of all URLs that begin with one.
    Prefix,
    /// By hosts and paths with asterisks.
    Pattern,
    /// By tags.
    Tags,
    /// By the cache groups of a response (RFC 9875).
    Groups,
    /// After a request with an unsafe method (RFC 9111 §4.4).
    Method,
}

impl PurgeKind {
    /// All values.
    pub const ALL: [Self; 9] = [
        Self::All,
        Self::Tenant,
        Self::Route,
        Self::Url,
        Self::Prefix,
        Self::Pattern,
        Self::Tags,
        Self::Groups,
        Self::Method,
    ];

    /// Name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Tenant => "tenant",
            Self::Route => "route",
            Self::Url => "url",
            Self::Prefix => "prefix",
            Self::Pattern => "pattern",
            Self::Tags => "tags",
            Self::Groups => "groups",
            Self::Method => "method",
        }
    }
}

/// Effect of a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// Entries are removed.
    #[default]
    Remove,
    /// Entries become stale: they are validated before their next use, or serve as stale ones.
    Expire,
    /// None: entries are counted only.
    DryRun,
}

/// Result of a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Entries that it concerned.
    pub invalidated: u64,
    /// Entries that remain in the store.
    pub remaining: u64,
}

/// Selection of entries. Paths are those that clients asked for, or that were sent to the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// Everything.
    All,
    /// All routes of a tenant.
    Tenant(Box<str>),
    /// Routes of this name, of one tenant or of all.
    Route {
        /// The tenant; `None` for all.
        tenant: Option<Box<str>>,
        /// The route.
        route: Box<str>,
    },
    /// One URL with all its variants, for both schemes.
    Url(Url),
    /// All URLs that begin with one.
    Prefix(Url),
    /// URLs by hosts and paths with asterisks.
    Pattern(Pattern),
    /// Entries with one of these tags, by their hashes.
    Tags(Box<[u64]>),
    /// Entries of a host in a scope with one of these tags (RFC 9875).
    Groups {
        /// The scope.
        scope: ScopeId,
        /// The host.
        host: Box<str>,
        /// Hashes of the tags.
        tags: Box<[u64]>,
    },
}

/// Host, port and target of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Host in lower case, without a trailing dot.
    pub host: Box<str>,
    /// Port, if it is named.
    pub port: Option<u16>,
    /// Path and query.
    pub target: Box<[u8]>,
}

/// Host and path with asterisks, each for any number of characters: `*.example.com`, `example.com/img/*`,
/// `*/favicon.ico`. Without a path, all paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    host: Box<str>,
    path: Option<Box<str>>,
}

/// Selector that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectorError {
    /// It has more than [`limits::PURGE_PATTERN_BYTES_MAX`] bytes.
    TooLong,
    /// It has more than [`limits::PURGE_PATTERN_STARS_MAX`] asterisks.
    TooManyStars,
    /// It has no host.
    NoHost,
    /// Its scheme is neither http nor https.
    Scheme,
    /// Its port is no number below 65,536.
    Port,
    /// It has a user name.
    UserInfo,
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "is longer than {} bytes", limits::PURGE_PATTERN_BYTES_MAX),
            Self::TooManyStars => {
                write!(f, "has more than {} asterisks", limits::PURGE_PATTERN_STARS_MAX)
            }
            Self::NoHost => f.write_str("has no host: write host/path, or a URL"),
            Self::Scheme => f.write_str("has another scheme than http and https"),
            Self::UserInfo => f.write_str("has a user name (user@), which no request sends: leave it out"),
            Self::Port => f.write_str("has a port that is no number from 0 to 65535"),
        }
    }
}

impl std::error::Error for SelectorError {}

/// Entry or fill that is compared with a purge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) scope: &'a ScopeName,
    pub(crate) parts: KeyParts<'a>,
    /// Target that the client asked for, where the key has another one.
    pub(crate) asked: Option<&'a [u8]>,
    /// Hashes of the tags; `None` while they are not known.
    pub(crate) tags: Option<&'a [u64]>,
}

/// Record of a journal.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// Target of a request with an unsafe method.
    Url(Arc<Url>),
    /// A purge, of one tenant's entries or of all.
    Purge { selector: Arc<Selector>, tenant: Option<Box<str>> },
}

impl Record {
    pub(crate) fn matches(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Url(url) => url.is_of(subject),
            Self::Purge { selector, tenant } => {
                is_of_tenant(tenant.as_deref(), subject.scope) && selector.matches(subject)
            }
        }
    }
}

impl Selector {
    /// Reads a pattern of hosts and paths.
    ///
    /// # Errors
    /// See [`SelectorError`].
    pub fn pattern(text: &str) -> Result<Self, SelectorError> {
        if text.len() > limits::PURGE_PATTERN_BYTES_MAX {
            return Err(SelectorError::TooLong);
        }
        if text.matches('*').count() > limits::PURGE_PATTERN_STARS_MAX {
            return Err(SelectorError::TooManyStars);
        }
        let text = without_scheme(text)?;
        if text == "*" {
            return Ok(Self::All);
        }
        let (host, path) = match text.find('/') {
            Some(at) => (&text[..at], Some(&text[at..])),
            None => (text, None),
        };
        if host.is_empty() {
            return Err(SelectorError::NoHost);
        }
        if host.contains('@') {
            return Err(SelectorError::UserInfo);
        }
        Ok(Self::Pattern(Pattern { host: normalized(host), path: path.map(Into::into) }))
    }

    /// Reads a URL, with or without its scheme.
    ///
    /// # Errors
    /// See [`SelectorError`].
    pub fn url(text: &str) -> Result<Self, SelectorError> {
        Url::parse(text).map(Self::Url)
    }

    /// Reads the beginning of URLs: a host, and the beginning of a path.
    ///
    /// # Errors
    /// See [`SelectorError`].
    pub fn prefix(text: &str) -> Result<Self, SelectorError> {
        Url::parse(text).map(Self::Prefix)
    }

    /// Its kind.
    pub fn kind(&self) -> PurgeKind {
        match self {
            Self::All => PurgeKind::All,
            Self::Tenant(_) => PurgeKind::Tenant,
            Self::Route { .. } => PurgeKind::Route,
            Self::Url(_) => PurgeKind::Url,
            Self::Prefix(_) => PurgeKind::Prefix,
            Self::Pattern(_) => PurgeKind::Pattern,
            Self::Tags(_) => PurgeKind::Tags,
            Self::Groups { .. } => PurgeKind::Groups,
        }
    }

    /// Whether it concerns all entries of a scope, or none.
    pub(crate) fn is_by_scope(&self) -> bool {
        matches!(self, Self::All | Self::Tenant(_) | Self::Route { .. })
    }

    /// Whether entries of a scope may be concerned.
    pub(crate) fn may_match(&self, id: ScopeId, scope: &ScopeName) -> bool {
        match self {
            Self::Tenant(tenant) => scope.tenant.as_ref() == Some(tenant),
            Self::Route { tenant, route } => {
                scope.route == *route && (tenant.is_none() || scope.tenant == *tenant)
            }
            Self::Groups { scope, .. } => *scope == id,
            Self::All | Self::Url(_) | Self::Prefix(_) | Self::Pattern(_) | Self::Tags(_) => true,
        }
    }

    /// Whether it concerns an entry. Tags that are not known yet may be any.
    pub(crate) fn matches(&self, subject: &Subject<'_>) -> bool {
        self.may_match(subject.parts.scope, subject.scope)
            && match self {
                Self::All | Self::Tenant(_) | Self::Route { .. } => true,
                Self::Url(url) => url.is_of(subject),
                Self::Prefix(url) => url.is_prefix_of(subject),
                Self::Pattern(pattern) => pattern.matches(subject),
                Self::Tags(tags) => has_tag(subject, tags),
                Self::Groups { host, tags, .. } => *subject.parts.host == **host && has_tag(subject, tags),
            }
    }
}

impl Url {
    /// Reads a URL, with or without its scheme. A fragment is no part of it.
    ///
    /// # Errors
    /// See [`SelectorError`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > limits::KEY_BYTES_MAX {
            return Err(SelectorError::TooLong);
        }
        let rest = without_scheme(text)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(SelectorError::UserInfo);
        }
        let (host, port) = match authority.rsplit_once(':') {
            // The colons of an IPv6 address stand within brackets.
            Some((host, port)) if !port.contains(']') => {
                (host, Some(port.parse().map_err(|_| SelectorError::Port)?))
            }
            _ => (authority, None),
        };
        if host.is_empty() {
            return Err(SelectorError::NoHost);
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        let target = [slash.as_bytes(), target.as_bytes()].concat().into();
        Ok(Self { host: normalized(host), port, target })
    }

    fn is_of(&self, subject: &Subject<'_>) -> bool {
        self.has_authority(subject) && subject.targets().any(|target| *target == *self.target)
    }

    fn is_prefix_of(&self, subject: &Subject<'_>) -> bool {
        self.has_authority(subject) && subject.targets().any(|target| target.starts_with(&self.target))
    }

    fn has_authority(&self, subject: &Subject<'_>) -> bool {
        *subject.parts.host == *self.host && self.port.is_none_or(|port| subject.parts.port == port)
    }
}

impl Subject<'_> {
    fn targets(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.parts.target).chain(self.asked)
    }
}

impl Pattern {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        matches_glob(self.host.as_bytes(), subject.parts.host.as_bytes())
            && self
                .path
                .as_ref()
                .is_none_or(|path| subject.targets().any(|target| matches_glob(path.as_bytes(), target)))
    }
}

/// Whether a scope is one of a tenant; every one is where none is given.
pub(crate) fn is_of_tenant(tenant: Option<&str>, scope: &ScopeName) -> bool {
    tenant.is_none_or(|tenant| scope.tenant.as_deref() == Some(tenant))
}

fn has_tag(subject: &Subject<'_>, tags: &[u64]) -> bool {
    subject.tags.is_none_or(|known| known.iter().any(|tag| tags.contains(tag)))
}

/// Whether a text has the form of a pattern, in which each asterisk stands for any bytes. The first place is
/// taken for each part between two asterisks: the cost is at most the product of both lengths.
fn matches_glob(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts.filter(|part| !part.is_empty()) {
        let Some(at) = rest.windows(part.len()).position(|window| window == part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn without_scheme(text: &str) -> Result<&str, SelectorError> {
    match text.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            Ok(rest)
        }
        // An URL may stand in a query.
        Some((scheme, _)) if !scheme.contains(['/', '?', '*']) => Err(SelectorError::Scheme),
        _ => Ok(text),
    }
}

/// Host as it stands in keys.
fn normalized(host: &str) -> Box<str> {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase().into()
}

#[cfg(all(test, not(loom)))]
#[path = "purge_tests.rs"]
mod tests;
