//! Checks of a request: its site, its token or certificate, and the scope that its operation needs.
//!
//! Without a token the API listens on the loopback interface only, which is not enough: any web page opened
//! on the machine can make the browser send requests to 127.0.0.1. Therefore the `Host` must be a name of
//! this listener (DNS rebinding), requests that a browser marks as cross-site are refused (CSRF), and so are
//! requests that a proxy forwarded: an instance whose target is this API would expose it.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use ringway_model::Timestamp;

use super::{Access, AccessSettings, AdminTls, Caller, Identity, Peer, Scopes, Token, TokenDigest, TokenSet};
use crate::problem::{Kind, Problem};

/// Origin and destination of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Credentials<'a> {
    /// The normalised host of the request; empty when it has none.
    pub(crate) host: &'a str,
    /// `host[:port]` as the client sent it, for comparison with `Origin`.
    pub(crate) authority: &'a str,
    /// `Origin`.
    pub(crate) origin: Option<&'a [u8]>,
    /// `Sec-Fetch-Site`.
    pub(crate) fetch_site: Option<&'a [u8]>,
    /// `Authorization`.
    pub(crate) authorization: Option<&'a [u8]>,
    /// Whether a proxy forwarded the request, by its header fields. ringway always adds them.
    pub(crate) is_forwarded: bool,
}

/// Listener of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// A TCP listener bound to this address, with or without TLS.
    Tcp(SocketAddr),
    /// A Unix socket: access is controlled by its file mode, and browsers cannot reach it.
    Unix,
    /// A TCP listener of metrics and health probes, which needs no token.
    Metrics(SocketAddr),
}

/// Access rules of an API.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// Required on every TCP connection, except for health probes, unless there are named ones.
    token: Option<Token>,
    /// Named tokens; `None` without a file of them.
    tokens: RefCell<Option<TokenSet>>,
    /// Further host names of the API, lower case.
    hosts: Vec<String>,
    /// Certificate of the API, whose names are names of the API.
    certificate: RefCell<Option<ringway_tls::Identity>>,
}

/// Refusal of a request, and the caller as far as it was identified.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) problem: Problem,
    pub(crate) identity: Identity,
}

impl From<Problem> for Denied {
    fn from(problem: Problem) -> Self {
        Self { problem, identity: Identity::Unknown }
    }
}

impl Guard {
    pub(crate) fn new(settings: &AccessSettings) -> Self {
        Self {
            token: settings.token,
            tokens: RefCell::new(settings.tokens.as_ref().map(|file| file.tokens().clone())),
            hosts: settings.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            certificate: RefCell::new(settings.tls.as_ref().map(AdminTls::identity)),
        }
    }

    /// Replaces the named tokens.
    pub(crate) fn set_tokens(&self, tokens: TokenSet) {
        self.tokens.replace(Some(tokens));
    }

    /// Replaces the certificate.
    pub(crate) fn set_certificate(&self, certificate: ringway_tls::Identity) {
        self.certificate.replace(Some(certificate));
    }

    /// Refuses requests for another host and from another site. The first check, before routing.
    ///
    /// A metrics listener beyond the loopback interface takes any host: it is reached under names that only
    /// the network knows, and serves the same to everyone.
    pub(crate) fn check_site(&self, listener: &Listener, from: &Credentials<'_>) -> Result<(), Problem> {
        let bound = match listener {
            Listener::Unix => return Ok(()),
            Listener::Metrics(bound) if !bound.ip().to_canonical().is_loopback() => None,
            Listener::Tcp(bound) | Listener::Metrics(bound) => Some(*bound),
        };
        if bound.is_some_and(|bound| !self.is_ours(bound, from.host)) {
            return Err(Problem::new(
                Kind::Misdirected,
                "the Host must be localhost, a loopback address, the address that the API is bound to, or a name of its certificate",
            ));
        }
        let is_same_site = |site: &[u8]| site == b"same-origin" || site == b"none";
        if from.fetch_site.is_some_and(|site| !is_same_site(site)) {
            return Err(Problem::new(Kind::CrossSite, "Sec-Fetch-Site marks the request as cross-site"));
        }
        if let Some(origin) = from.origin {
            let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
            if !authority.is_some_and(|authority| authority.eq_ignore_ascii_case(from.authority.as_bytes())) {
                return Err(Problem::new(Kind::CrossSite, "the Origin differs from the Host"));
            }
        }
        Ok(())
    }

    /// Identifies the caller, and requires the scope of the operation: by the token where there is one,
    /// otherwise by the client certificate, otherwise a client on this machine may do everything.
    pub(crate) fn authorize(
        &self,
        listener: &Listener,
        peer: &Peer,
        access: Access,
        from: &Credentials<'_>,
        now: Timestamp,
    ) -> Result<Caller, Denied> {
        let admin = |identity| Caller { identity, scopes: Scopes::ADMIN, tenant: None };
        if *listener == Listener::Unix {
            return Ok(admin(Identity::Process(peer.uid)));
        }
        if access == Access::Open {
            return Ok(Caller::default());
        }
        let tokens = self.tokens.borrow();
        if self.token.is_some() || tokens.is_some() {
            let caller = self.by_token(tokens.as_ref(), peer, from, now)?;
            return permit(caller, access);
        }
        if let Some(subject) = &peer.certificate {
            return Ok(admin(Identity::Certificate(subject.clone())));
        }
        match from.is_forwarded {
            false => Ok(admin(Identity::Loopback)),
            true => Err(Problem::new(
                Kind::CrossSite,
                "the request was forwarded by a proxy (Via, Forwarded or X-Forwarded-For); without a token only clients on this machine are served",
            )
            .into()),
        }
    }

    /// Identifies the caller by its token.
    fn by_token(
        &self,
        tokens: Option<&TokenSet>,
        peer: &Peer,
        from: &Credentials<'_>,
        now: Timestamp,
    ) -> Result<Caller, Denied> {
        let unauthorized = |detail| Problem::new(Kind::Unauthorized, detail);
        let given = from
            .authorization
            .and_then(bearer)
            .ok_or_else(|| unauthorized("send the token as Authorization: Bearer TOKEN"))?;
        let given = TokenDigest::of(given);
        let identity = |name| Identity::Token { name, certificate: peer.certificate.clone() };
        if self.token.as_ref().is_some_and(|token| token.matches(&given)) {
            return Ok(Caller { identity: identity(None), scopes: Scopes::ADMIN, tenant: None });
        }
        let token = tokens
            .and_then(|tokens| tokens.find(&given))
            .ok_or_else(|| unauthorized("the token is wrong"))?;
        let identity = identity(Some(token.name.clone()));
        match token.expires.is_some_and(|expires| expires <= now) {
            true => Err(Denied { problem: unauthorized("the token has expired"), identity }),
            false => Ok(Caller { identity, scopes: token.scopes, tenant: token.tenant.clone() }),
        }
    }

    /// Whether the host is one of this API. An address cannot result from DNS rebinding; an unknown name can.
    fn is_ours(&self, bound: SocketAddr, host: &str) -> bool {
        let is_certified =
            || self.certificate.borrow().as_ref().is_some_and(|certificate| certificate.facts().covers(host));
        if host == "localhost" || self.hosts.iter().any(|known| known == host) || is_certified() {
            return true;
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let Ok(ip) = bare.parse::<IpAddr>() else { return false };
        let (ip, bound) = (ip.to_canonical(), bound.ip().to_canonical());
        ip.is_loopback() || ip == bound || bound.is_unspecified()
    }
}

/// Requires the scope of an operation.
fn permit(caller: Caller, access: Access) -> Result<Caller, Denied> {
    match access.scope() {
        Some(scope) if !caller.scopes.permit(access) => {
            let detail =
                format!("this needs a token with the scope {scope}; the given one has {}", caller.scopes);
            Err(Denied { problem: Problem::new(Kind::MissingScope, detail), identity: caller.identity })
        }
        _ => Ok(caller),
    }
}

/// Returns the credentials of the Bearer scheme (RFC 6750 §2.1); the scheme's case does not matter (RFC 9110
/// §11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii_start())
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
