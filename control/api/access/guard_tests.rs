#![allow(clippy::unwrap_used)]
use super::*;
use crate::access::Scope;

const TOKEN: &str = "0123456789abcdef";

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const REGISTER: Access = Access::Scoped(Scope::Register);

fn guard() -> Guard {
    let token = Some(Token::parse(TOKEN).unwrap());
    Guard::new(&AccessSettings { token, hosts: vec!["Ringway.internal".into()], ..AccessSettings::default() })
}

fn named(lines: &str) -> Guard {
    let guard = Guard::default();
    guard.set_tokens(TokenSet::parse(lines).unwrap());
    guard
}

fn tcp() -> Listener {
    Listener::Tcp("127.0.0.1:8080".parse().unwrap())
}

/// Identity of a caller, or the kind of the problem.
fn authorize(
    guard: &Guard,
    listener: &Listener,
    access: Access,
    authorization: Option<&str>,
) -> Result<String, Kind> {
    let from = Credentials { authorization: authorization.map(str::as_bytes), ..Credentials::default() };
    let peer = Peer { uid: Some(1000), ..Peer::default() };
    let result = guard.authorize(listener, &peer, access, &from, NOW);
    result.map(|caller| caller.identity.to_string()).map_err(|denied| denied.problem.kind)
}

fn site(bound: &str, host: &str) -> bool {
    let listener = Listener::Tcp(bound.parse().unwrap());
    guard().check_site(&listener, &Credentials { host, authority: host, ..Credentials::default() }).is_ok()
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
    let guard = guard();
    let single = Ok("token:PROXY_API_TOKEN".to_owned());
    assert_eq!(authorize(&guard, &tcp(), REGISTER, Some("Bearer 0123456789abcdef")), single);
    assert_eq!(authorize(&guard, &tcp(), REGISTER, Some("bearer  0123456789abcdef")), single);
    for wrong in
        [None, Some("Bearer"), Some("Bearer "), Some("Bearer x"), Some("Basic 0123456789abcdef"), Some(TOKEN)]
    {
        assert_eq!(authorize(&guard, &tcp(), REGISTER, wrong), Err(Kind::Unauthorized), "{wrong:?}");
    }
    assert_eq!(authorize(&guard, &tcp(), Access::Open, None), Ok("unknown".to_owned()));
    assert_eq!(authorize(&guard, &Listener::Unix, REGISTER, None), Ok("uid:1000".to_owned()));
    assert_eq!(authorize(&Guard::default(), &tcp(), REGISTER, None), Ok("loopback".to_owned()));
}

#[test]
fn a_named_token_has_its_scopes_until_it_expires() {
    let line = |name: &str, scopes: &str, expires: &str| {
        format!("{name} {scopes} {} {expires}\n", TokenDigest::of(format!("secret-of-{name}").as_bytes()))
    };
    let lines = line("web", "register", "")
        + &line("old", "admin", "2023-11-14T22:13:20Z")
        + &line("new", "read", "2023-11-14T22:13:21Z");
    let guard = named(&lines);
    let ask =
        |name: &str, access| authorize(&guard, &tcp(), access, Some(&format!("Bearer secret-of-{name}")));
    assert_eq!(ask("web", REGISTER), Ok("token:web".to_owned()));
    assert_eq!(ask("web", Access::Registrations), Ok("token:web".to_owned()));
    assert_eq!(ask("web", Access::Scoped(Scope::Apply)), Err(Kind::MissingScope));
    assert_eq!(ask("web", Access::Scoped(Scope::Read)), Err(Kind::MissingScope));
    assert_eq!(
        ask("old", Access::Scoped(Scope::Read)),
        Err(Kind::Unauthorized),
        "the moment itself is too late"
    );
    assert_eq!(ask("new", Access::Scoped(Scope::Read)), Ok("token:new".to_owned()));
    assert_eq!(ask("nobody", Access::Scoped(Scope::Read)), Err(Kind::Unauthorized));
    assert_eq!(
        authorize(&guard, &tcp(), REGISTER, None),
        Err(Kind::Unauthorized),
        "a file of tokens requires one"
    );
}

#[test]
fn a_refusal_names_the_scope_and_the_caller_and_no_secret() {
    let guard = named(&format!("web read {}", TokenDigest::of(b"secret-of-web")));
    let from = Credentials { authorization: Some(b"Bearer secret-of-web"), ..Credentials::default() };
    let denied = guard.authorize(&tcp(), &Peer::default(), REGISTER, &from, NOW).unwrap_err();
    assert_eq!(denied.identity.to_string(), "token:web");
    let detail = denied.problem.detail;
    assert!(detail.contains("scope register") && detail.contains("has read"), "{detail}");
    assert!(!detail.contains("secret"), "{detail}");
    guard.set_tokens(TokenSet::default());
    let denied = guard.authorize(&tcp(), &Peer::default(), REGISTER, &from, NOW).unwrap_err();
    assert_eq!(denied.problem.kind, Kind::Unauthorized, "a removed token is not accepted");
}

#[test]
fn a_client_certificate_does_not_replace_the_token() {
    let peer = Peer { certificate: Some("CN=ops".into()), ..Peer::default() };
    let ask = |guard: &Guard, authorization: Option<&'static [u8]>| {
        let from = Credentials { authorization, ..Credentials::default() };
        let result = guard.authorize(&tcp(), &peer, REGISTER, &from, NOW);
        result.map(|caller| caller.identity.to_string()).map_err(|denied| denied.problem.kind)
    };
    assert_eq!(ask(&guard(), None), Err(Kind::Unauthorized));
    let both = "token:PROXY_API_TOKEN certificate:CN=ops".to_owned();
    assert_eq!(ask(&guard(), Some(b"Bearer 0123456789abcdef")), Ok(both));
    assert_eq!(ask(&Guard::default(), None), Ok("certificate:CN=ops".to_owned()), "no token is required");
}

#[test]
fn what_a_proxy_passed_on_needs_a_token() {
    let from = Credentials { is_forwarded: true, ..Credentials::default() };
    let open = Guard::default();
    let kind = |guard: &Guard, listener: &Listener, access, from: &Credentials<'_>| {
        let result = guard.authorize(listener, &Peer::default(), access, from, NOW);
        result.map(drop).map_err(|denied| denied.problem.kind)
    };
    assert_eq!(kind(&open, &tcp(), REGISTER, &from), Err(Kind::CrossSite));
    assert_eq!(kind(&open, &tcp(), Access::Open, &from), Ok(()), "probes reveal nothing");
    assert_eq!(kind(&open, &Listener::Unix, REGISTER, &from), Ok(()));
    let with_token = Credentials { authorization: Some(b"Bearer 0123456789abcdef"), ..from };
    assert_eq!(kind(&guard(), &tcp(), REGISTER, &with_token), Ok(()));
}

#[test]
fn a_metrics_listener_beyond_loopback_takes_any_host() {
    let check = |bound: &str, host: &str, fetch_site: Option<&'static str>| {
        let listener = Listener::Metrics(bound.parse().unwrap());
        let fetch_site = fetch_site.map(str::as_bytes);
        let from = Credentials { host, authority: host, fetch_site, ..Credentials::default() };
        Guard::default().check_site(&listener, &from).map_err(|problem| problem.kind)
    };
    assert_eq!(check("10.0.0.1:9091", "ringway.monitoring.svc", None), Ok(()));
    assert_eq!(check("0.0.0.0:9091", "", None), Ok(()), "probes of HTTP/1.0");
    assert_eq!(check("127.0.0.1:9091", "evil.example", None), Err(Kind::Misdirected));
    assert_eq!(check("10.0.0.1:9091", "10.0.0.1", Some("cross-site")), Err(Kind::CrossSite));
}
