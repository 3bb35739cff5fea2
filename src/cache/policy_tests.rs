//! Tests of decisions that need no store. The exchanges of RFC 9111 and its extensions are cases of the
//! conformance table; here is what they cannot show: reasons, boundaries, and all inputs.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use ringway_model::{CacheMode, SetCookiePolicy, Timestamp};
use ringway_wire::message::Method;

use super::*;
use crate::fields::Lines;
use crate::{Settings, StoredHead};

const NOW: Timestamp = Timestamp(1_796_040_000_000);
const TIMES: Times = Times { asked_at: NOW, received_at: NOW };

fn later(millis: u64) -> Timestamp {
    Timestamp(NOW.0 + millis)
}

fn request(lines: &str) -> RequestFacts {
    RequestFacts::read(Method::Get, RequestTraits::default(), Lines(lines.as_bytes()), NOW)
}

fn try_store(settings: &Settings, asked: &str, status: u16, lines: &str) -> Result<StoredHead, NotStored> {
    let source = Lines(lines.as_bytes());
    let response = ResponseFacts::read(settings, status, source, NOW);
    let freshness =
        storable(settings, &request(asked), &response, &ResponseSource::new(b"/", source), TIMES)?;
    Ok(store(settings, Lines(asked.as_bytes()), &response, source, b"OK", freshness, TIMES))
}

fn head(lines: &str) -> StoredHead {
    try_store(&Settings::of_mode(CacheMode::Rfc9111), "", 200, lines).unwrap()
}

fn judged(mode: CacheMode, asked: &str, head: &StoredHead, now: Timestamp) -> Verdict {
    judge(mode, &request(asked), head, head.fresh_until(), now)
}

#[test]
fn each_bypass_has_its_reason() {
    let settings = Settings::default();
    let access = |traits, method, lines: &str| {
        RequestFacts::read(method, traits, Lines(lines.as_bytes()), NOW).access(&settings)
    };
    let plain = RequestTraits::default();
    assert_eq!(access(plain, Method::Get, ""), Ok(Access::ReadWrite));
    assert_eq!(access(plain, Method::Get, "Cookie: a=b\r\nAccept: x\r\n"), Ok(Access::ReadWrite));
    for read in ["Range: bytes=0-1\r\n", "Range: x\r\n", "Cache-Control: no-store\r\n"] {
        assert_eq!(access(plain, Method::Get, read), Ok(Access::Read), "{read}");
    }
    assert_eq!(access(plain, Method::Head, ""), Ok(Access::Read));
    for (lines, bypass) in [
        ("Authorization: A\r\n", Bypass::Authorization),
        ("Upgrade: x\r\n", Bypass::Upgrade),
        ("If-Match: *\r\n", Bypass::Precondition),
        ("if-unmodified-since: x\r\n", Bypass::Precondition),
        ("X-HTTP-Method: PUT\r\n", Bypass::MethodOverride),
        ("X_Method-Override: PUT\r\n", Bypass::MethodOverride),
        ("X-Rewrite_URL: /\r\n", Bypass::UrlOverride),
    ] {
        assert_eq!(access(plain, Method::Get, lines), Err(bypass), "{lines}");
        assert!(!bypass.name().is_empty());
    }
    let traits = [
        (RequestTraits { has_body: true, ..plain }, Bypass::Body),
        (RequestTraits { upgrades: true, ..plain }, Bypass::Upgrade),
        (RequestTraits { passes_certificate: true, ..plain }, Bypass::Certificate),
        (RequestTraits { names_other_host: true, ..plain }, Bypass::HostOverride),
    ];
    for (traits, bypass) in traits {
        assert_eq!(access(traits, Method::Get, ""), Err(bypass));
    }
    for method in [Method::Post, Method::Extension, Method::Options, Method::Connect] {
        assert_eq!(access(plain, method, ""), Err(Bypass::Method));
    }
}

#[test]
fn authorization_is_for_those_that_are_aware_of_it() {
    let access = |settings: &Settings| request("Authorization: A\r\n").access(settings);
    let mut settings = Settings::default();
    assert_eq!(access(&settings), Err(Bypass::Authorization));
    settings.is_auth_aware = true;
    assert_eq!(access(&settings), Ok(Access::ReadWrite));
    assert_eq!(access(&Settings::of_mode(CacheMode::Rfc9111)), Ok(Access::ReadWrite));
}

#[test]
fn each_response_that_is_not_stored_has_its_reason() {
    let safe = Settings::default();
    for (asked, status, lines, reason) in [
        ("Range: bytes=0-1\r\n", 200, "Cache-Control: max-age=9\r\n", NotStored::Request),
        ("Cache-Control: no-store\r\n", 200, "Cache-Control: max-age=9\r\n", NotStored::Request),
        ("", 103, "Cache-Control: max-age=9\r\n", NotStored::Incomplete),
        ("", 206, "Cache-Control: max-age=9\r\n", NotStored::Incomplete),
        ("", 200, "Cache-Control: max-age=9, no-store\r\n", NotStored::NoStore),
        ("", 200, "Cache-Control: max-age=9, private\r\n", NotStored::Private),
        ("", 599, "Cache-Control: max-age=9, must-understand\r\n", NotStored::NotUnderstood),
        ("", 200, "Cache-Control: max-age=9\r\nSet-Cookie: a=b\r\n", NotStored::SetCookie),
        ("", 200, "Cache-Control: max-age=9\r\nVary: *\r\n", NotStored::VaryAnything),
        ("", 200, "Cache-Control: max-age=9\r\nVary: a b\r\n", NotStored::VaryUnusable),
        ("", 418, "Cache-Control: max-age=9\r\n", NotStored::Status),
        ("", 200, "", NotStored::NoLifetime),
        ("", 200, "Cache-Control: max-age=9\r\nAge: 9999999\r\n", NotStored::NoLifetime),
        ("", 200, "Cache-Control: max-age=9\r\nContent-Length: 99999999\r\n", NotStored::TooLarge),
        ("Authorization: A\r\n", 200, "Cache-Control: max-age=9, public\r\n", NotStored::Authorization),
    ] {
        assert_eq!(try_store(&safe, asked, status, lines), Err(reason), "{asked}{status} {lines}");
        assert!(!reason.name().is_empty());
    }
}

/// The mode `safe` and personal responses: a lifetime of the configuration says nothing about who may see
/// them.
#[test]
fn a_configured_lifetime_is_for_impersonal_responses() {
    let ttl = |settings: &Settings, asked: &str, lines: &str| {
        let settings = Settings { ttl: Some(60), ..settings.clone() };
        try_store(&settings, asked, 200, lines).map(|head| head.lifetime)
    };
    let safe = Settings::default();
    assert_eq!(ttl(&safe, "", ""), Ok(60));
    assert_eq!(ttl(&safe, "Cookie: a=b\r\n", ""), Err(NotStored::NoLifetime));
    assert_eq!(ttl(&safe, "Cookie: a=b\r\n", "Cache-Control: max-age=5\r\n"), Ok(5));
    let strips = Settings { set_cookies: SetCookiePolicy::Strip, ..safe.clone() };
    assert_eq!(ttl(&strips, "", "Set-Cookie: a=b\r\n"), Err(NotStored::NoLifetime));
    let keyed = Settings { vary_headers: ["cookie".into()].into(), ..safe.clone() };
    assert_eq!(ttl(&keyed, "Cookie: a=b\r\n", ""), Ok(60));
    let aware =
        Settings { is_auth_aware: true, vary_headers: ["authorization".into()].into(), ..safe.clone() };
    assert_eq!(ttl(&aware, "Authorization: A\r\n", ""), Ok(60));
    let unkeyed = Settings { is_auth_aware: true, ..safe };
    assert_eq!(ttl(&unkeyed, "Authorization: A\r\n", ""), Err(NotStored::Authorization));
}

/// RFC 9111 §4.2: to the millisecond, and no stale moment in a window of 0 seconds.
#[test]
fn lifetimes_end_at_their_millisecond() {
    let head = head("Cache-Control: max-age=10\r\nETag: \"a\"\r\n");
    let at = |millis| judged(CacheMode::Safe, "", &head, later(millis));
    assert_eq!(at(0), Verdict::Serve { ttl: 10 });
    assert_eq!(at(9_999), Verdict::Serve { ttl: 0 });
    assert_eq!(at(10_000), Verdict::Revalidate(Revalidation::Stale));
    let head = self::head("Cache-Control: max-age=10, stale-while-revalidate=1\r\n");
    let at = |millis| judged(CacheMode::Safe, "", &head, later(millis));
    assert_eq!(at(10_000), Verdict::ServeStale { ttl: 0, reason: StaleReason::Revalidating });
    assert_eq!(at(11_000), Verdict::ServeStale { ttl: -1, reason: StaleReason::Revalidating });
    assert_eq!(at(11_001), Verdict::Revalidate(Revalidation::Stale));
    // A purge that only expires entries moves the end.
    assert_eq!(
        judge(CacheMode::Safe, &request(""), &head, NOW, later(500)),
        Verdict::ServeStale { ttl: -1, reason: StaleReason::Revalidating }
    );
}

/// RFC 9111 §4.2.3: a clock that is set back makes nothing younger than it was at its receipt.
#[test]
fn a_clock_that_goes_back_shows_no_negative_age() {
    let head = head("Cache-Control: max-age=10\r\nAge: 3\r\n");
    assert_eq!(head.age(Timestamp(0)), 3);
    assert_eq!(head.age(later(u64::MAX / 2)), crate::limits::DELTA_SECONDS_MAX);
    assert!(matches!(judged(CacheMode::Safe, "", &head, Timestamp(0)), Verdict::Serve { .. }));
}

#[test]
fn ends_of_use_follow_the_windows() {
    let seconds = |lines: &str| (head(lines).usable_until().0.saturating_sub(NOW.0)) / 1_000;
    assert_eq!(seconds("Cache-Control: max-age=10, stale-while-revalidate=5\r\n"), 10 + 86_400);
    assert_eq!(seconds("Cache-Control: max-age=10, stale-if-error=99999\r\n"), 10 + 99_999);
    assert_eq!(seconds("Cache-Control: max-age=10, must-revalidate, stale-if-error=99\r\n"), 10);
    assert_eq!(seconds("Cache-Control: s-maxage=10\r\n"), 10);
}

#[test]
fn a_stored_head_is_ready_lines() {
    let head = head(
        "Cache-Control: max-age=9\r\nETag: W/\"x\"\r\nAge: 1\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nDate: Mon, 30 Nov 2026 12:00:00 GMT\r\n",
    );
    assert_eq!(head.status_text(), b"200 OK");
    let expected = "Cache-Control: max-age=9\r\nETag: W/\"x\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nDate: Mon, 30 Nov 2026 12:00:00 GMT\r\n";
    assert_eq!(head.lines().escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string());
    assert_eq!(head.etag(), Some(&b"W/\"x\""[..]));
    assert_eq!(head.last_modified(), Some(&b"Sun, 06 Nov 1994 08:49:37 GMT"[..]));
    let mut conditions = Vec::new();
    write_conditions(&mut conditions, &head);
    assert_eq!(conditions, b"If-None-Match: W/\"x\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
}

/// A refresh is one for all clients: no credentials that are no part of the key.
#[test]
fn a_refresh_keeps_keyed_fields_only() {
    let settings = Settings {
        vary_headers: ["authorization".into()].into(),
        is_auth_aware: true,
        ..Settings::default()
    };
    let asked = "Cookie: a=b\r\nAuthorization: A\r\n";
    let head = |vary: &str| {
        try_store(&settings, asked, 200, &format!("Cache-Control: max-age=9\r\nVary: {vary}\r\n")).unwrap()
    };
    let removed = |head: &StoredHead, name: &str| is_removed_on_refresh(&settings, head, name.as_bytes());
    assert!(removed(&head("x"), "COOKIE") && !removed(&head("cookie"), "cookie"));
    assert!(!removed(&head("x"), "Authorization") && !removed(&head("x"), "Accept"));
    assert!(is_removed_on_refresh(&Settings::default(), &head("x"), b"authorization"));
    for name in CONDITIONAL_FIELDS.into_iter().chain(["Cache-Control", "pragma"]) {
        assert!(removed(&head("x"), name), "{name}");
    }
}

/// RFC 9211 §2: a list member with its parameters.
#[test]
fn outcomes_have_their_fields() {
    use ringway_wire::headers::is_field_value;
    let forwarded = |storing, collapsed| Outcome::Forwarded {
        forward: Forward::UriMiss,
        status: 200,
        storing,
        collapsed,
    };
    for (outcome, short, full) in [
        (Outcome::Hit { ttl: 5 }, "HIT", "ringway; hit; ttl=5"),
        (Outcome::Stale { ttl: -5, reason: StaleReason::Revalidating }, "STALE", "ringway; hit; ttl=-5"),
        (
            Outcome::Stale { ttl: i64::MIN, reason: StaleReason::Requested },
            "STALE",
            "ringway; hit; ttl=-999999999999999; detail=max-stale",
        ),
        (
            Outcome::StaleAfter { ttl: -1, status: 503 },
            "STALE",
            "ringway; fwd=stale; fwd-status=503; ttl=-1; detail=stale-if-error",
        ),
        (
            Outcome::Revalidated { forward: Forward::Stale, ttl: 9 },
            "REVALIDATED",
            "ringway; fwd=stale; fwd-status=304; ttl=9",
        ),
        (
            forwarded(Storing::Stored, true),
            "MISS",
            "ringway; fwd=uri-miss; fwd-status=200; collapsed; stored",
        ),
        (
            forwarded(Storing::Not(NotStored::Private), false),
            "MISS",
            "ringway; fwd=uri-miss; fwd-status=200; detail=private",
        ),
        (forwarded(Storing::Full, false), "MISS", "ringway; fwd=uri-miss; fwd-status=200; detail=cache-full"),
        (forwarded(Storing::Underway, true), "MISS", "ringway; fwd=uri-miss; fwd-status=200; collapsed"),
        (
            forwarded(Storing::Invalidated, false),
            "MISS",
            "ringway; fwd=uri-miss; fwd-status=200; detail=invalidated",
        ),
        (Outcome::Bypass(Bypass::Method), "BYPASS", "ringway; fwd=method"),
        (Outcome::Bypass(Bypass::KeyTooLong), "BYPASS", "ringway; fwd=bypass; detail=key-too-long"),
    ] {
        let mut written = Vec::new();
        outcome.write_cache_status(&mut written);
        assert_eq!(String::from_utf8(written.clone()).unwrap(), full);
        assert_eq!(outcome.x_cache_status(), short);
        assert!(is_field_value(&written));
        assert!(crate::control::parse_list([&written[..]].into_iter(), |_| {}).is_ok(), "{full}");
    }
}

/// A directive, or a field, as random responses have them.
fn a_field() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("ETag: \"a\"".to_owned()),
        Just("Vary: X-A".to_owned()),
        Just("Set-Cookie: a=b".to_owned()),
        Just("Expires: Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
        Just("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
        Just("Connection: X-A".to_owned()),
        "Age: [0-9]{1,4}",
        "X-A: [a-z]{0,3}",
        "Cache-Control: (no-store|private|no-cache|public|must-revalidate|max-age=[0-9]{1,4}|s-maxage=[0-9]{1,3}|stale-if-error=[0-9]{1,3}|stale-while-revalidate=[0-9]{1,3})",
    ]
}

proptest! {
    /// Nothing is served without its origin past its lifetime, but within a window that it has; nothing that
    /// must not be stored is stored; the stored lines hold no field of one connection.
    #[test]
    fn no_response_is_used_against_its_directives(
        fields in proptest::collection::vec(a_field(), 0..6),
        status in proptest::sample::select(vec![200u16, 204, 301, 404, 500, 206]),
        wait in 0u64..20_000,
        is_safe: bool,
    ) {
        let mode = if is_safe { CacheMode::Safe } else { CacheMode::Rfc9111 };
        let settings = Settings::of_mode(mode);
        let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let says = |directive: &str| lines.contains(&format!("Cache-Control: {directive}"));
        let Ok(head) = try_store(&settings, "", status, &lines) else { return Ok(()) };
        prop_assert!(!says("no-store") && !says("private") && status != 206);
        prop_assert!(!is_safe || !lines.contains("Set-Cookie"));
        let stored = String::from_utf8(head.lines().to_vec()).unwrap();
        prop_assert!(!stored.contains("Connection:") && !stored.contains("Age:"));
        prop_assert!(!lines.contains("Connection:") || !stored.contains("X-A:"));
        prop_assert_eq!(stored.lines().count(), stored.matches("\r\n").count());

        let now = later(wait * 1_000);
        let age = u64::from(head.age(now));
        match judged(mode, "", &head, now) {
            Verdict::Serve { ttl } => {
                prop_assert!(!says("no-cache") && age < u64::from(head.lifetime) && ttl > 0);
            }
            Verdict::ServeStale { reason, .. } => {
                prop_assert_eq!(reason, StaleReason::Revalidating);
                let window = u64::from(head.stale_while_revalidate);
                prop_assert!(age >= u64::from(head.lifetime) && age <= u64::from(head.lifetime) + window);
                prop_assert!(says("stale-while-revalidate") && !says("must-revalidate") && !says("no-cache"));
            }
            Verdict::Revalidate(_) => {}
            other => prop_assert!(false, "{other:?}"),
        }
        for failure in [OriginFailure::Unreachable, OriginFailure::Status(503)] {
            let served = may_serve_stale(&head, head.fresh_until(), failure, now).is_some();
            prop_assert!(!served || !says("no-cache"));
            let is_late = age >= u64::from(head.lifetime);
            prop_assert!(!(served && is_late && says("must-revalidate")));
            prop_assert!(!(served && is_late && says("s-maxage") && !says("stale-if-error")));
        }
    }

    /// Any head may be read, stored, answered from and updated.
    #[test]
    fn any_heads_may_meet(
        asked in "[ -~\r\n]{0,120}", answered in "[ -~\r\n]{0,120}", status in 200u16..599, len in 0u64..99,
    ) {
        let settings = Settings::of_mode(CacheMode::Rfc9111);
        let asked = format!("Range: bytes=1-2\r\n{asked}");
        let answered = format!("Cache-Control: max-age=9\r\n{answered}");
        if let Ok(head) = try_store(&settings, "", status, &answered) {
            let facts = request(&asked);
            let source = Lines(asked.as_bytes());
            let reply = reply(&facts, source, &head, Some(len));
            let mut out = Vec::new();
            write_reply_fields(&mut out, &head, &reply, len, NOW);
            prop_assert!(out.ends_with(b"\r\n"));
            let again = freshen(&settings, &head, &request(""), source, b"/", Lines(answered.as_bytes()), TIMES);
            prop_assert_eq!(again.head.status(), status);
            prop_assert_eq!(again.head.etag(), head.etag());
        }
    }
}
