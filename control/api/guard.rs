//! Access control of the API.
//!
//! Without a token the API listens on the loopback interface only, which is not enough: any web page opened
//! on the machine can make the browser send requests to 127.0.0.1. Therefore the `Host` must be a name of
//! this listener (DNS rebinding), requests that a browser marks as cross-site are refused (CSRF), and so are
//! requests that a proxy forwarded: an instance whose target is this API would expose it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::limits::{API_TOKEN_BYTES_MAX, API_TOKEN_BYTES_MIN};

use crate::problem::{Kind, Problem};

/// Bearer token of the API. Never printed.
#[derive(Clone)]
pub struct Token(Box<str>);

impl Token {
    /// Parses a token of `API_TOKEN_BYTES_MIN` to `API_TOKEN_BYTES_MAX` visible ASCII characters.
    ///
    /// # Errors
    /// [`TokenError`], which does not repeat the token.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() < API_TOKEN_BYTES_MIN {
            return Err(TokenError::TooShort);
        }
        if text.len() > API_TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        match text.bytes().all(|b| b.is_ascii_graphic()) {
            true => Ok(Self(text.into())),
            false => Err(TokenError::Character),
        }
    }

    /// Whether `given` is this token, in a time that depends only on the length of `given`.
    pub(crate) fn matches(&self, given: &[u8]) -> bool {
        let ours = self.0.as_bytes();
        let mut difference = ours.len() ^ given.len();
        for (at, byte) in given.iter().enumerate() {
            // Prevents the optimiser from returning at the first difference.
            difference = std::hint::black_box(difference | usize::from(byte ^ ours[at % ours.len()]));
        }
        difference == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Parse error of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Shorter than `API_TOKEN_BYTES_MIN`.
    TooShort,
    /// Longer than `API_TOKEN_BYTES_MAX`.
    TooLong,
    /// A space, a control or a non-ASCII character.
    Character,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => write!(f, "the API token must have at least {API_TOKEN_BYTES_MIN} characters"),
            Self::TooLong => write!(f, "the API token must have at most {API_TOKEN_BYTES_MAX} characters"),
            Self::Character => f.write_str("the API token must be visible ASCII without spaces"),
        }
    }
}

impl std::error::Error for TokenError {}

/// The API would be reachable from the network without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindError {
    /// The requested address.
    pub address: SocketAddr,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the admin API would be reachable on {} without a token; set one, or bind it to 127.0.0.1",
            self.address
        )
    }
}

impl std::error::Error for BindError {}

/// Checks whether the API may listen on an address: the loopback interface, or anything with a token.
///
/// # Errors
/// [`BindError`] for any other address without a token; the process must not start.
pub fn check_bind(address: SocketAddr, token: Option<&Token>) -> Result<(), BindError> {
    match address.ip().to_canonical().is_loopback() || token.is_some() {
        true => Ok(()),
        false => Err(BindError { address }),
    }
}

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
    /// A TCP listener bound to this address.
    Tcp(SocketAddr),
    /// A Unix socket: access is controlled by its file mode, and browsers cannot reach it.
    Unix,
}

/// Access rules of an API.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// Required on every TCP connection, except for health probes.
    pub(crate) token: Option<Token>,
    /// Further host names of the API, lower case.
    pub(crate) hosts: Vec<String>,
}

/// Access to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Without a token: health probes of load balancers and orchestrators.
    Open,
    /// With a token.
    Guarded,
}

impl Guard {
    /// Refuses requests for another host and from another site. The first check, before routing.
    pub(crate) fn check_site(&self, listener: &Listener, from: &Credentials<'_>) -> Result<(), Problem> {
        let Listener::Tcp(bound) = listener else { return Ok(()) };
        if !self.is_ours(*bound, from.host) {
            return Err(Problem::new(
                Kind::Misdirected,
                "the Host must be localhost, a loopback address or the address that the API is bound to",
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

    /// Requires the token where there is one, otherwise a client on this machine.
    pub(crate) fn check_token(
        &self,
        listener: &Listener,
        access: Access,
        from: &Credentials<'_>,
    ) -> Result<(), Problem> {
        if *listener == Listener::Unix || access == Access::Open {
            return Ok(());
        }
        let Some(token) = &self.token else {
            return match from.is_forwarded {
                false => Ok(()),
                true => Err(Problem::new(
                    Kind::CrossSite,
                    "the request was forwarded by a proxy (Via, Forwarded or X-Forwarded-For); without a token only clients on this machine are served",
                )),
            };
        };
        match from.authorization.and_then(bearer) {
            Some(given) if token.matches(given) => Ok(()),
            Some(_) => Err(Problem::new(Kind::Unauthorized, "the token is wrong")),
            None => Err(Problem::new(Kind::Unauthorized, "send the token as Authorization: Bearer TOKEN")),
        }
    }

    /// Whether the host is one of this API. An address cannot result from DNS rebinding; an unknown name can.
    fn is_ours(&self, bound: SocketAddr, host: &str) -> bool {
        if host == "localhost" || self.hosts.iter().any(|known| known == host) {
            return true;
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let Ok(ip) = bare.parse::<IpAddr>() else { return false };
        let (ip, bound) = (ip.to_canonical(), bound.ip().to_canonical());
        ip.is_loopback() || ip == bound || bound.is_unspecified()
    }
}

/// Returns the credentials of the Bearer scheme (RFC 6750 §2.1); the scheme's case does not matter (RFC 9110
/// §11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn guard() -> Guard {
        Guard { token: Some(Token::parse(TOKEN).unwrap()), hosts: vec!["ringway.internal".into()] }
    }

    fn site(bound: &str, host: &str) -> bool {
        let listener = Listener::Tcp(bound.parse().unwrap());
        guard()
            .check_site(&listener, &Credentials { host, authority: host, ..Credentials::default() })
            .is_ok()
    }

    #[test]
    fn only_loopback_goes_without_a_token() {
        let token = Token::parse(TOKEN).unwrap();
        for (address, is_fine) in [
            ("127.0.0.1:8080", true),
            ("127.9.9.9:1", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]:8080", true),
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
            ("10.0.0.1:8080", false),
            ("[fe80::1]:8080", false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(check_bind(address, None).is_ok(), is_fine, "{address}");
            assert_eq!(check_bind(address, Some(&token)), Ok(()), "{address}");
        }
    }

    #[test]
    fn tokens_have_a_least_length_and_stay_secret() {
        assert_eq!(Token::parse(&TOKEN[1..]).unwrap_err(), TokenError::TooShort);
        assert_eq!(Token::parse(&"x".repeat(API_TOKEN_BYTES_MAX + 1)).unwrap_err(), TokenError::TooLong);
        assert_eq!(Token::parse("0123456789abcde\n").unwrap_err(), TokenError::Character);
        assert!(!format!("{:?}", guard()).contains(TOKEN));
    }

    #[test]
    fn tokens_match_whole_or_not_at_all() {
        let token = Token::parse(TOKEN).unwrap();
        assert!(token.matches(TOKEN.as_bytes()));
        let doubled = TOKEN.repeat(2);
        for wrong in ["", "0", &TOKEN[..15], "0123456789abcdeF", &doubled, "0123456789abcdef0"] {
            assert!(!token.matches(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn the_host_must_be_ours() {
        for host in ["localhost", "127.0.0.1", "127.0.0.2", "[::1]", "ringway.internal"] {
            assert!(site("127.0.0.1:8080", host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "10.0.0.1", "[fe80::1]", "127.0.0.1.evil.example"]
        {
            assert!(!site("127.0.0.1:8080", host), "{host}");
        }
        assert!(site("10.0.0.1:8080", "10.0.0.1"));
        assert!(!site("10.0.0.1:8080", "10.0.0.2"));
        assert!(site("0.0.0.0:8080", "10.0.0.2"));
        assert!(!site("0.0.0.0:8080", "evil.example"));
    }

    #[test]
    fn other_sites_are_refused_and_pages_of_our_own_are_not() {
        let listener = Listener::Tcp("127.0.0.1:8080".parse().unwrap());
        let own = Credentials { host: "localhost", authority: "localhost:8080", ..Credentials::default() };
        let check = |origin: Option<&'static str>, site: Option<&'static str>| {
            let from =
                Credentials { origin: origin.map(str::as_bytes), fetch_site: site.map(str::as_bytes), ..own };
            guard().check_site(&listener, &from).map_err(|problem| problem.kind)
        };
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(check(Some("http://localhost:8080"), Some("same-origin")), Ok(()));
        assert_eq!(check(None, Some("none")), Ok(()));
        for origin in
            ["http://evil.example", "null", "http://localhost:3000", "http://localhost", "", "localhost:8080"]
        {
            assert_eq!(check(Some(origin), None), Err(Kind::CrossSite), "{origin}");
        }
        for fetch_site in ["cross-site", "same-site", ""] {
            assert_eq!(check(None, Some(fetch_site)), Err(Kind::CrossSite), "{fetch_site}");
        }
        assert_eq!(guard().check_site(&Listener::Unix, &Credentials::default()), Ok(()));
    }

    #[test]
    fn the_token_is_asked_for_on_tcp_but_not_for_probes() {
        let listener = Listener::Tcp("127.0.0.1:8080".parse().unwrap());
        let check = |listener: &Listener, access, authorization: Option<&str>| {
            let from =
                Credentials { authorization: authorization.map(str::as_bytes), ..Credentials::default() };
            guard().check_token(listener, access, &from).is_ok()
        };
        assert!(check(&listener, Access::Guarded, Some("Bearer 0123456789abcdef")));
        assert!(check(&listener, Access::Guarded, Some("bearer  0123456789abcdef")));
        for wrong in [
            None,
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer x"),
            Some("Basic 0123456789abcdef"),
            Some(TOKEN),
        ] {
            assert!(!check(&listener, Access::Guarded, wrong), "{wrong:?}");
        }
        assert!(check(&listener, Access::Open, None));
        assert!(check(&Listener::Unix, Access::Guarded, None));
        assert!(Guard::default().check_token(&listener, Access::Guarded, &Credentials::default()).is_ok());
    }

    #[test]
    fn what_a_proxy_passed_on_needs_a_token() {
        let listener = Listener::Tcp("127.0.0.1:8080".parse().unwrap());
        let from = Credentials { is_forwarded: true, ..Credentials::default() };
        let open = Guard::default();
        let kind = |result: Result<(), Problem>| result.map_err(|problem| problem.kind);
        assert_eq!(kind(open.check_token(&listener, Access::Guarded, &from)), Err(Kind::CrossSite));
        assert_eq!(kind(open.check_token(&listener, Access::Open, &from)), Ok(()), "probes tell nothing");
        assert_eq!(kind(open.check_token(&Listener::Unix, Access::Guarded, &from)), Ok(()));
        let with_token = Credentials { authorization: Some(b"Bearer 0123456789abcdef"), ..from };
        assert_eq!(kind(guard().check_token(&listener, Access::Guarded, &with_token)), Ok(()));
    }
}
