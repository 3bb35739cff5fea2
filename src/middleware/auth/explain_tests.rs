#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ringway_model::{AuthMethod, BasicAuth, ClaimField, JwtAuth, TokenPlace};
use serde_json::json;

use super::{CredentialKind, Outcome};
use crate::auth::reason::Reason;
use crate::auth::testing::{chain, claims, claims_with, jwt, keys, services, signer};
use crate::explain::{AuthCheck, CheckError, StageVerdict, check_auth, explain};
use crate::testing::{TestServices, head, view};

fn method() -> AuthMethod {
    let field = ClaimField { claim: "sub".into(), header: "x-user".into() };
    AuthMethod::Jwt(JwtAuth { claims: Box::new([field]), forward: false, ..jwt() })
}

fn basic() -> AuthMethod {
    AuthMethod::Basic(BasicAuth { users_file: "/u".into(), realm: "r".into(), user_header: None })
}

fn check(token: &str) -> Result<AuthCheck, CheckError> {
    let services = services(&method(), keys(false));
    check_auth(&chain(&[method()], false), token, None, "api", &services)
}

#[test]
fn a_good_token_shows_user_claims_and_fields() {
    let token = signer("ES256").token(&claims());
    let check = check(&token).unwrap();
    assert_eq!((check.is_admitted, check.reason, check.is_verified), (Some(true), None, true));
    assert_eq!((check.user.as_deref(), check.place.as_str()), (Some("alice"), "Authorization: Bearer"));
    assert!(check.claims.contains(&("aud".to_owned(), "api".to_owned())));
    assert_eq!(check.request.added, [("x-user".to_owned(), "alice".to_owned())]);
    assert_eq!(check.request.removed, ["x-user", "authorization"]);
    assert!(!format!("{check:?}").contains(&token), "the token is nowhere in it");
}

#[test]
fn each_refusal_has_its_name() {
    let good = signer("ES256").token(&claims());
    let other = signer("ES256").token_with(&json!({ "alg": "ES256", "kid": "other" }), &claims());
    for (token, reason) in [
        (signer("ES256").token(&claims_with("exp", json!(5))), Reason::Expired),
        (signer("ES256").token(&claims_with("aud", json!("shop"))), Reason::Audience),
        (signer("ES256").token(&claims_with("iss", json!("https://evil.example"))), Reason::Issuer),
        (signer("ES256").token(&claims_with("nbf", json!(2_000_000_000_u64))), Reason::NotYetValid),
        (other, Reason::UnknownKey),
        (format!("{}AAAA", &good[..good.len() - 4]), Reason::Signature),
        ("junk".to_owned(), Reason::Malformed),
        ("two words".to_owned(), Reason::Malformed),
    ] {
        let check = check(&token).unwrap();
        assert_eq!((check.is_admitted, check.reason), (Some(false), Some(reason)), "{token}");
        assert_eq!(check.reply.unwrap().status(), 401);
        assert!(!check.is_verified && check.user.is_none());
    }
}

#[test]
fn claims_of_a_refused_token_are_shown_unverified() {
    let check = check(&signer("ES256").token(&claims_with("exp", json!(5)))).unwrap();
    assert!(check.claims.contains(&("sub".to_owned(), "alice".to_owned())) && !check.is_verified);
}

#[test]
fn without_keys_it_is_unavailable() {
    let chain = chain(&[method()], false);
    let services = TestServices { now: crate::auth::testing::NOW, ..TestServices::default() };
    let check = check_auth(&chain, &signer("ES256").token(&claims()), None, "api", &services).unwrap();
    assert_eq!((check.reply.unwrap().status(), check.reason), (503, Some(Reason::NoTokenKeys)));
}

#[test]
fn every_place_of_a_kind_is_tried() {
    let cookie = AuthMethod::Jwt(JwtAuth { token: TokenPlace::Cookie("session".into()), ..jwt() });
    let bearer = AuthMethod::Jwt(JwtAuth { audience: Box::new(["other".into()]), ..jwt() });
    let services = services(&bearer, keys(false));
    let token = signer("ES256").token(&claims());
    let check = check_auth(&chain(&[bearer, cookie], false), &token, None, "api", &services).unwrap();
    assert_eq!((check.is_admitted, check.place.as_str()), (Some(true), "cookie session"));
    assert_eq!(check.methods[0].outcome, Outcome::Absent);
}

#[test]
fn what_cannot_be_checked_is_refused_without_its_text() {
    let empty = crate::chain::Chain::default();
    let services = TestServices::default();
    assert_eq!(check_auth(&empty, "t", None, "api", &services), Err(CheckError::NoAuth));
    let only = chain(&[basic()], false);
    let kind = Some(CredentialKind::Token);
    assert_eq!(check_auth(&only, "t", kind, "api", &services), Err(CheckError::NoMethod));
    for bad in ["", " ", "a\r\nX-Tenant: b", "a\0b", "a\n"] {
        assert_eq!(check(bad), Err(CheckError::Invalid), "{bad:?}");
    }
}

#[test]
fn a_password_is_judged_by_its_method() {
    let users = crate::Users::parse(&format!("alice:$2b$04${}\n", "x".repeat(53))).unwrap();
    let mut services = services(&basic(), Arc::new(crate::Credentials::Users(users)));
    services.password = Some(true);
    let of = |services: &TestServices| {
        check_auth(&chain(&[basic()], false), "alice:secret", None, "api", services).unwrap()
    };
    let good = of(&services);
    assert_eq!(
        (good.kind, good.is_admitted, good.user.as_deref()),
        (CredentialKind::Password, Some(true), Some("alice"))
    );
    services.core = crate::CoreState::default();
    services.password = Some(false);
    assert_eq!(of(&services).reason, Some(Reason::Password));
}

#[test]
fn methods_are_explained_in_their_order() {
    let text = format!(
        "GET / HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer {}\r\nX-User: root\r\n\r\n",
        signer("ES256").token(&claims_with("exp", json!(5)))
    );
    let head = head(&text);
    let chain = chain(&[basic(), method(), AuthMethod::ClientCertificate {}], true);
    let found = explain(&chain, view(&head, &text).parts, None, &services(&method(), keys(false)));
    let outcomes: Vec<_> = found.stages[0].methods.iter().map(|method| method.outcome).collect();
    assert_eq!(outcomes, [Outcome::Absent, Outcome::Refuses(Reason::Expired), Outcome::NotAsked]);
    assert_eq!(found.stages[0].verdict, StageVerdict::Replies);
    assert_eq!(found.stripped, ["X-User"]);
    assert_eq!(found.reply.unwrap().status(), 401);
}
