//! Tests of the checks in their order.
#![allow(clippy::unwrap_used)]

use ringway_model::{ContentTypes, DomainListSpec, ListSource, PrivateTarget};

use super::*;

fn spec() -> ForwardSpec {
    ForwardSpec { allow_clients: vec!["10.0.0.0/8".parse().unwrap()], ..ForwardSpec::default() }
}

fn policy(spec: ForwardSpec) -> Policy {
    let (spec, key) = (Arc::new(spec), SuffixKey::random());
    let lists = spec.lists.iter().map(|list| {
        let ListSource::Domains(domains) = &list.source else { unreachable!("domains in place") };
        let text = domains.iter().map(|domain| format!("{domain}\n")).collect::<String>();
        Arc::new(parse_list(&list.name, &text, ListFormat::Plain, Policy::action(&spec, list), &key))
    });
    Policy::compile(&spec, lists.collect(), None, &key, (1, &[3128, 8080], &Arc::default())).unwrap()
}

fn list(name: &str, action: Option<ListAction>, domains: &[&str]) -> DomainListSpec {
    let domains = domains.iter().map(|domain| Arc::from(*domain)).collect();
    DomainListSpec { name: name.into(), action, source: ListSource::Domains(domains) }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn without_clients_and_credentials_nothing_starts() {
    assert_eq!(Policy::check_spec(&ForwardSpec::default()), Err(PolicyError::Open));
    let policy = policy(spec());
    assert!(policy.admits_client(ip("10.1.2.3")) && policy.admits_client(ip("::ffff:10.1.2.3")));
    assert!(!policy.admits_client(ip("192.0.2.1")));
}

#[test]
fn ports_come_before_lists_and_differ_by_kind() {
    let policy = policy(ForwardSpec { lists: vec![list("own", None, &[".bad.example"])], ..spec() });
    let check = |kind, host: &str, port| policy.check_target(kind, &Host::parse(host).unwrap(), port);
    assert_eq!(check(Kind::Tunnel, "bad.example", 25), Err(Denial::Port(25)));
    assert_eq!(check(Kind::Tunnel, "a.example", 80), Err(Denial::Port(80)));
    assert_eq!(check(Kind::Http, "a.example", 443), Err(Denial::Port(443)));
    assert_eq!(check(Kind::Http, "a.example", 80), Ok(()));
    let blocked = Denial::Blocked { list: "own".into(), rule: "bad.example".into() };
    assert_eq!(check(Kind::Tunnel, "x.bad.example", 443), Err(blocked));
}

#[test]
fn modes_decide_about_domains_without_a_rule() {
    let lists = |action| vec![list("l", action, &[".a.example", "192.0.2.9"])];
    let check = |mode, action, host: &str| {
        let policy = policy(ForwardSpec { mode, lists: lists(action), ..spec() });
        policy.check_lists(&Host::parse(host).unwrap()).map_err(|denial| denial.code())
    };
    let (blocked, not_listed) = (Err("proxy_domain_blocked"), Err("proxy_domain_not_allowed"));
    assert_eq!(check(ListMode::Blocklist, None, "x.a.example"), blocked);
    assert_eq!(check(ListMode::Blocklist, None, "b.example"), Ok(()));
    assert_eq!(check(ListMode::Blocklist, None, "192.0.2.9"), blocked);
    assert_eq!(check(ListMode::Blocklist, None, "192.0.2.8"), Ok(()));
    assert_eq!(check(ListMode::Allowlist, None, "x.a.example"), Ok(()));
    assert_eq!(check(ListMode::Allowlist, None, "b.example"), not_listed);
    assert_eq!(check(ListMode::Allowlist, None, "192.0.2.8"), not_listed);
    assert_eq!(check(ListMode::Mixed, Some(ListAction::Allow), "x.a.example"), Ok(()));
    assert_eq!(check(ListMode::Mixed, Some(ListAction::Block), "x.a.example"), blocked);
    assert_eq!(check(ListMode::Mixed, Some(ListAction::Block), "b.example"), not_listed);
    let spec = ForwardSpec { mode: ListMode::Mixed, lists: lists(None), ..spec() };
    assert_eq!(Policy::check_spec(&spec), Err(PolicyError::NoAction("l".into())));
}

#[test]
fn private_targets_need_the_name_and_the_network() {
    let private =
        PrivateTarget { domain: ".corp.example".into(), networks: vec!["10.2.0.0/16".parse().unwrap()] };
    let own = PrivateTarget { domain: "10.3.0.1".into(), networks: vec!["10.3.0.0/16".parse().unwrap()] };
    let policy = policy(ForwardSpec { allow_private: vec![private, own], ..spec() });
    let check = |host: &str, addresses: &[&str]| {
        let addresses: Vec<_> = addresses.iter().map(|text| ip(text)).collect();
        policy.check_addresses(&Host::parse(host).unwrap(), &addresses, 443)
    };
    let reached = |texts: &[&str]| Ok(texts.iter().map(|text| SocketAddr::new(ip(text), 443)).collect());
    assert_eq!(check("db.corp.example", &["10.2.0.7"]), reached(&["10.2.0.7"]));
    assert_eq!(check("db.corp.example", &["10.3.0.7"]), Err(Denial::Addresses("private")));
    assert_eq!(check("evil.example", &["10.2.0.7"]), Err(Denial::Addresses("private")));
    assert_eq!(check("evil.example", &["127.0.0.1", "8.8.8.8"]), reached(&["8.8.8.8"]), "each is checked");
    assert_eq!(check("10.3.0.1", &["10.3.0.1"]), reached(&["10.3.0.1"]));
    assert_eq!(check("10.3.0.2", &["10.3.0.2"]), Err(Denial::Addresses("private")));
    assert_eq!(check("a.example", &[]), Err(Denial::Addresses("no address")));
}

#[test]
fn own_ports_are_recognised_on_every_local_address() {
    let policy = policy(spec());
    let is_own = |local: &str, remote: &str| policy.is_own(ip(local), remote.parse().unwrap());
    assert!(is_own("203.0.113.1", "203.0.113.1:3128"));
    assert!(is_own("127.0.0.1", "127.0.0.2:8080"));
    assert!(!is_own("203.0.113.1", "203.0.113.2:3128"));
    assert!(!is_own("203.0.113.1", "203.0.113.1:443"));
}

#[test]
fn media_types_are_blocked_by_name_by_type_and_by_pattern() {
    let block = ["application/x-msdownload", "video/*", "regex:^application/x-exec"];
    let types = ContentTypes { block: block.map(Arc::from).into(), block_missing: true };
    let policy = policy(ForwardSpec { content_types: types, ..spec() });
    for (value, blocked) in [
        (Some("application/x-msdownload"), true),
        (Some("Application/X-MSDownload; charset=x"), true),
        (Some(" video/mp4"), true),
        (Some("application/x-executable"), true),
        (Some("text/application/x-exec"), false),
        (Some("videos/mp4"), false),
        (Some("text/html"), false),
        (None, true),
    ] {
        assert_eq!(policy.check_content_type(value.map(str::as_bytes)).is_err(), blocked, "{value:?}");
    }
    let wrong = |text: &str| {
        let types = ContentTypes { block: vec![text.into()], block_missing: false };
        Policy::check_spec(&ForwardSpec { content_types: types, ..spec() }).is_err()
    };
    assert!(wrong("text") && wrong("*/*") && wrong("regex:(") && wrong(""));
}

#[test]
fn a_check_names_the_rule_and_the_refusal() {
    let policy = policy(ForwardSpec { lists: vec![list("own", None, &["*.bad.example"])], ..spec() });
    let check = |client: &str, host: &str| {
        policy.check(Some(ip(client)), Kind::Tunnel, &Host::parse(host).unwrap(), 443)
    };
    let blocked = check("10.0.0.1", "x.bad.example");
    assert_eq!(blocked.rule, Some(("own".into(), "bad.example".to_owned(), ListAction::Block)));
    assert_eq!(blocked.denial.map(|denial| denial.code()), Some("proxy_domain_blocked"));
    assert_eq!(check("192.0.2.1", "a.example").denial, Some(Denial::Client));
    assert_eq!(check("10.0.0.1", "127.0.0.1").denial, Some(Denial::Addresses("loopback")));
    assert_eq!(check("10.0.0.1", "a.example").denial, None);
}
