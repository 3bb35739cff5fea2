//! Tests of keys, scopes, words and fields of a compiled rate limit.

#![allow(clippy::unwrap_used)]

use super::*;
use ringway_model::Ban;
use ringway_wire::h1::{Limits, Parse, RequestHead};

fn settings(key: &[RateLimitKey]) -> RateLimit {
    RateLimit {
        requests: 1,
        per: Duration::from_secs(3_600),
        burst: 2,
        key: key.into(),
        ban: None,
        sends_fields: true,
        dry_run: false,
    }
}

fn limiter(scope: LimitScope, key: &[RateLimitKey]) -> RateLimiter {
    RateLimiter::new(scope, settings(key), Arc::default())
}

/// A request for a host from a client, with further field lines.
struct Request {
    head: RequestHead,
    text: Vec<u8>,
    rule: u64,
    client: &'static str,
    tenant: Option<&'static str>,
}

impl Request {
    fn new(host: &str, lines: &str) -> Self {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n").into_bytes();
        let mut head = RequestHead::default();
        assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
        Self { head, text, rule: 1, client: "192.0.2.1", tenant: None }
    }

    fn from(client: &'static str) -> Self {
        Self { client, ..Self::new("a.example", "") }
    }

    fn key(&self, limiter: &RateLimiter) -> Key {
        limiter.key(&self.source())
    }

    fn source(&self) -> KeySource<'_> {
        KeySource {
            rule: RuleId(self.rule),
            client: self.client.parse().unwrap(),
            tenant: self.tenant,
            fields: RequestFields::received(&self.head, &self.text),
        }
    }
}

/// Whether two requests are counted together.
fn are_one(key: &[RateLimitKey], one: &Request, other: &Request) -> bool {
    let limiter = limiter(LimitScope::Policy("p".into()), key);
    one.key(&limiter) == other.key(&limiter)
}

#[test]
fn the_default_key_is_the_route() {
    let key = [RateLimitKey::Route];
    let other_route = Request { rule: 2, ..Request::from("192.0.2.1") };
    assert!(are_one(&key, &Request::from("192.0.2.1"), &Request::from("192.0.2.2")));
    assert!(!are_one(&key, &Request::from("192.0.2.1"), &other_route));
}

#[test]
fn a_client_is_an_address_of_ipv4_or_a_network_of_ipv6() {
    let is_one = |one, other| are_one(&[RateLimitKey::Client], &Request::from(one), &Request::from(other));
    assert!(is_one("192.0.2.1", "192.0.2.1") && !is_one("192.0.2.1", "192.0.2.2"));
    assert!(is_one("192.0.2.1", "::ffff:192.0.2.1"));
    assert!(is_one("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"));
    assert!(!is_one("2001:db8::1", "2001:db8:0:1::1"));
    assert!(!is_one("::1", "::ffff:0.0.0.1"));
}

#[test]
fn tenants_and_hosts_are_apart() {
    let tenant = |tenant| Request { tenant, ..Request::from("192.0.2.1") };
    assert!(!are_one(&[RateLimitKey::Tenant], &tenant(Some("a")), &tenant(Some("b"))));
    assert!(!are_one(&[RateLimitKey::Tenant], &tenant(Some("")), &tenant(None)));
    assert!(are_one(&[RateLimitKey::Tenant], &tenant(None), &tenant(None)));
    let (a, b) = (Request::new("a.example", ""), Request::new("b.example", ""));
    assert!(!are_one(&[RateLimitKey::Host], &a, &b));
    assert!(are_one(&[RateLimitKey::Host], &a, &Request::new("A.Example.", "")));
}

#[test]
fn a_field_is_keyed_by_its_lines_and_a_missing_one_is_shared() {
    let key = [RateLimitKey::Header("x-key".into())];
    let with = |lines| Request::new("a.example", lines);
    assert!(are_one(&key, &with(""), &with("X-Other: 1\r\n")));
    assert!(are_one(&key, &with("X-Key: a\r\n"), &with("x-KEY:  a \r\n")));
    assert!(!are_one(&key, &with(""), &with("X-Key:\r\n")));
    assert!(!are_one(&key, &with("X-Key: a\r\n"), &with("X-Key: b\r\n")));
    assert!(!are_one(&key, &with("X-Key: a\r\nX-Key: b\r\n"), &with("X-Key: ab\r\n")));
    let both = [RateLimitKey::Header("x".into()), RateLimitKey::Header("y".into())];
    assert!(!are_one(&both, &with("X: a\r\nY: b\r\n"), &with("X: ab\r\n")));
    assert!(!are_one(&both, &with("X: a\r\n"), &with("Y: a\r\n")));
}

#[test]
fn a_policy_is_one_count_wherever_it_is_referenced() {
    let table = Arc::<RateLimitTable>::default();
    let limiter = |scope| RateLimiter::new(scope, settings(&[RateLimitKey::Client]), table.clone());
    let [here, there] =
        [limiter(LimitScope::Policy("shared".into())), limiter(LimitScope::Policy("shared".into()))];
    let request = Request::from("192.0.2.1");
    let is_admitted =
        |limiter: &RateLimiter| matches!(limiter.decide(&request.source(), 5), Decision::Admitted { .. });
    assert!(is_admitted(&here) && is_admitted(&there) && !is_admitted(&here) && !is_admitted(&there));
    for other in [
        LimitScope::Route("shared".into()),
        LimitScope::Pool("shared".into()),
        LimitScope::Policy("other".into()),
        LimitScope::Process,
    ] {
        assert!(is_admitted(&limiter(other.clone())), "{other:?} has a count of its own");
    }
}

#[test]
fn changed_numbers_apply_to_the_counts_there_are() {
    let table = Arc::<RateLimitTable>::default();
    let request = Request::from("192.0.2.1");
    let slow = RateLimiter::new(LimitScope::Route("r".into()), settings(&[]), table.clone());
    for _ in 0..3 {
        slow.decide(&request.source(), 0);
    }
    let wider = RateLimit { burst: 4, ..settings(&[]) };
    let wider = RateLimiter::new(LimitScope::Route("r".into()), wider, table);
    let admitted = (0..5).filter(|_| matches!(wider.decide(&request.source(), 0), Decision::Admitted { .. }));
    assert_eq!(admitted.count(), 2, "two of the four were used before");
}

#[test]
fn a_limit_is_named_in_words() {
    let key = |parts: &[RateLimitKey]| settings(parts);
    assert_eq!(words(&key(&[RateLimitKey::Route])), "1 per hour, burst 2");
    assert_eq!(
        words(&RateLimit { per: Duration::from_millis(1_500), ..key(&[RateLimitKey::Client]) }),
        "1 per 1500 ms, burst 2, for each client"
    );
    let parts = [RateLimitKey::Tenant, RateLimitKey::Header("x-api-key".into())];
    let limit = RateLimit { per: Duration::from_secs(10), ..key(&parts) };
    assert_eq!(words(&limit), "1 per 10 s, burst 2, for each tenant and x-api-key");
}

#[test]
fn the_fields_say_what_is_left_and_until_when() {
    let limiter = RateLimiter::new(
        LimitScope::Policy("stri\"ct".into()),
        RateLimit { requests: 100, per: Duration::from_secs(1), burst: 20, ..settings(&[]) },
        Arc::default(),
    );
    let fields = |decision| {
        let mut lines = Vec::new();
        limiter.push_fields(&mut lines, &decision);
        String::from_utf8(lines).unwrap()
    };
    let policy = "RateLimit-Policy: \"stri\\\"ct\";q=100;w=1\r\n";
    assert_eq!(
        fields(Decision::Admitted { debt_us: 10_000 }),
        format!("RateLimit: \"stri\\\"ct\";r=19;t=1\r\n{policy}")
    );
    assert_eq!(
        fields(Decision::Limited { retry_after: Duration::from_millis(1_001) }),
        format!("RateLimit: \"stri\\\"ct\";r=0;t=2\r\n{policy}")
    );
}

#[test]
fn the_window_of_the_policy_field_is_in_whole_seconds() {
    let line = |requests, per_ms| {
        let limit = RateLimit { requests, per: Duration::from_millis(per_ms), ..settings(&[]) };
        String::from_utf8(policy_line("p", &limit)).unwrap()
    };
    assert_eq!(line(10, 100), "RateLimit-Policy: \"p\";q=100;w=1\r\n");
    assert_eq!(line(10, 60_000), "RateLimit-Policy: \"p\";q=10;w=60\r\n");
    assert_eq!(line(3, 1_500), "RateLimit-Policy: \"p\";q=4;w=2\r\n");
    assert_eq!(line(u32::MAX, 0), "RateLimit-Policy: \"p\";q=999999999999999;w=1\r\n");
}

#[test]
fn nothing_but_visible_ascii_gets_into_a_field() {
    let mut lines = Vec::new();
    push_quoted(&mut lines, "a\r\nX-Evil: 1 \u{e9}");
    assert_eq!(lines, b"\"a__X-Evil: 1 _\"");
}

#[test]
fn a_ban_is_by_the_policy_too() {
    let ban = Some(Ban { after: 1, duration: Duration::from_secs(60) });
    let limiter = RateLimiter::new(
        LimitScope::Policy("p".into()),
        RateLimit { ban, burst: 1, ..settings(&[]) },
        Arc::default(),
    );
    let request = Request::from("192.0.2.1");
    assert!(matches!(limiter.decide(&request.source(), 0), Decision::Admitted { .. }));
    let retry_after = Duration::from_secs(60);
    assert_eq!(limiter.decide(&request.source(), 0), Decision::Banned { retry_after });
}
