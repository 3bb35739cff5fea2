#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringway_model::{ApiKey, ApiKeys, AuthMethod, BasicAuth, ClaimField, JwtAuth, JwtKeys, TokenPlace};
use serde_json::json;

use crate::auth::testing::{
    Judged, NOW, chain, claims, claims_with, judge, judge_with, jwt, keys, keys_of, services, signer,
};
use crate::credentials::{ApiKeyTable, Credentials, Users};
use crate::testing::TestServices;

fn sha256(text: &str) -> String {
    digest::digest(&digest::SHA256, text.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn api_key(header: &str, key: &str) -> AuthMethod {
    AuthMethod::ApiKey(ApiKeys {
        header: header.into(),
        keys: Box::new([ApiKey { name: "ci".into(), sha256: sha256(key).into() }]),
        keys_file: None,
        user_header: Some("x-user".into()),
    })
}

fn basic() -> AuthMethod {
    AuthMethod::Basic(BasicAuth {
        users_file: "/users".into(),
        realm: "shop".into(),
        user_header: Some("x-user".into()),
    })
}

/// Keys of tokens, and a file of users with `alice`.
fn all_services() -> TestServices {
    let users = Users::parse(&format!("alice:$2b$04${}\n", "x".repeat(53))).unwrap();
    TestServices {
        now: NOW,
        credentials: HashMap::from([
            (AuthMethod::Jwt(jwt()).source().unwrap(), keys(false)),
            (basic().source().unwrap(), Arc::new(Credentials::Users(users))),
        ]),
        password: Some(true),
        ..TestServices::default()
    }
}

fn token() -> String {
    signer("ES256").token(&claims())
}

fn login() -> String {
    format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode("alice:secret"))
}

#[test]
fn the_first_method_with_credentials_decides() {
    let stage = chain(&[AuthMethod::Jwt(jwt()), basic(), api_key("x-api-key", "k")], false);
    let bearer = format!("Authorization: Bearer {}\r\n", token());
    for (lines, expected) in [
        (String::new(), "unauthenticated"),
        (bearer.clone(), "admitted"),
        (login(), "admitted"),
        ("X-API-Key: k\r\n".to_owned(), "admitted"),
        ("X-API-Key: wrong\r\n".to_owned(), "invalid_credentials"),
        (format!("{bearer}X-API-Key: wrong\r\n"), "admitted"),
        ("Authorization: Bearer x\r\nX-API-Key: k\r\n".to_owned(), "invalid_credentials"),
        ("Authorization: Digest x\r\n".to_owned(), "unauthenticated"),
        ("Authorization: Digest x\r\nX-API-Key: k\r\n".to_owned(), "admitted"),
    ] {
        assert_eq!(judge(&stage, &lines, &all_services()).word(), expected, "{lines}");
    }
    let Judged::Refused(reply) = judge(&stage, "", &all_services()) else { panic!("refused") };
    let lines = String::from_utf8(reply.lines().to_vec()).unwrap();
    assert_eq!(
        lines,
        "WWW-Authenticate: Bearer realm=\"restricted\"\r\n\
         WWW-Authenticate: Basic realm=\"shop\", charset=\"UTF-8\"\r\n\
         WWW-Authenticate: ApiKey realm=\"restricted\"\r\n"
    );
}

#[test]
fn credentials_that_nobody_verified_do_not_reach_the_endpoint() {
    let bearer = format!("Authorization: Bearer {}\r\n", token());
    let stage = chain(&[api_key("x-api-key", "k"), AuthMethod::Jwt(jwt()), basic()], false);
    // The key decides: the token beside it is nobody's.
    let forged = "X-API-Key: k\r\nAuthorization: Bearer forged\r\nX-Other: 1\r\n";
    assert_eq!(judge(&stage, forged, &all_services()).lines(), "X-Other: 1\r\nx-user: ci\r\n");
    assert_eq!(
        judge(&stage, &format!("X-API-Key: k\r\n{}", login()), &all_services()).lines(),
        "x-user: ci\r\n"
    );
    // Of several lines the endpoint might take any.
    let several = "X-API-Key: k\r\nAuthorization: Digest d\r\nAuthorization: bearer forged\r\n";
    assert_eq!(judge(&stage, several, &all_services()).lines(), "x-user: ci\r\n");
    // An app's own scheme passes.
    assert_eq!(
        judge(&stage, "X-API-Key: k\r\nAuthorization: Digest d\r\n", &all_services()).lines(),
        "Authorization: Digest d\r\nx-user: ci\r\n"
    );
    // Keys never pass, in no spelling.
    let stage = chain(&[AuthMethod::Jwt(jwt()), api_key("x-api-key", "k")], false);
    let lines = format!("{bearer}X-API-Key: x\r\nx_api_key: x\r\nX.Api.Key: x\r\n");
    assert_eq!(judge(&stage, &lines, &all_services()).lines(), bearer);
    assert_eq!(judge(&chain(&[basic()], false), &login(), &all_services()).lines(), "x-user: alice\r\n");
}

#[test]
fn cookies_with_tokens_that_nobody_verified_or_for_us_alone_do_not_reach_the_endpoint() {
    let cookie = |name: &str, forward| {
        AuthMethod::Jwt(JwtAuth { token: TokenPlace::Cookie(name.into()), forward, ..jwt() })
    };
    let methods = [api_key("x-api-key", "k"), cookie("one", true), cookie("two", false)];
    let stage = chain(&methods, false);
    let (services, token) = (all_services(), token());
    let judged = |lines: &str| judge(&stage, lines, &services).lines().to_owned();
    assert_eq!(judged("X-API-Key: k\r\nCookie: a=1; one=x;b=2\r\n"), "cookie: a=1; b=2\r\nx-user: ci\r\n");
    assert_eq!(judged("X-API-Key: k\r\nCookie: one =x\r\nCookie: two=y\r\n"), "x-user: ci\r\n");
    assert_eq!(
        judged("X-API-Key: k\r\nCookie: a=1; on=x; one_=y\r\n"),
        "Cookie: a=1; on=x; one_=y\r\nx-user: ci\r\n"
    );
    assert_eq!(judged(&format!("Cookie: one={token}; two=x\r\n")), format!("cookie: one={token}\r\n"));
    assert_eq!(judged(&format!("Cookie: a=1; two={token}\r\n")), "cookie: a=1\r\n");
}

#[test]
fn tokens_of_several_issuers_find_theirs() {
    let second = JwtAuth {
        issuer: "https://two.example".into(),
        keys: JwtKeys::Jwks("https://two.example/keys".into()),
        claims: Box::new([ClaimField { claim: "sub".into(), header: "x-two".into() }]),
        ..jwt()
    };
    let (one, two) = (AuthMethod::Jwt(jwt()), AuthMethod::Jwt(second));
    let stage = chain(&[one.clone(), two.clone()], false);
    let mut services = services(&one, keys_of(&[signer("ES256").jwk()], false));
    services.credentials.insert(two.source().unwrap(), keys_of(&[signer("ES384").jwk()], false));
    let of = |key: &str, issuer: &str| {
        let token = signer(key).token(&claims_with("iss", json!(issuer)));
        format!("Authorization: Bearer {token}\r\n")
    };
    let first = of("ES256", "https://auth.example.com");
    assert_eq!(judge(&stage, &first, &services).lines(), first);
    let second = of("ES384", "https://two.example");
    assert_eq!(judge(&stage, &second, &services).lines(), format!("{second}x-two: alice\r\n"));
    // The key of one issuer proves nothing for the other.
    for (key, issuer) in
        [("ES384", "https://auth.example.com"), ("ES256", "https://two.example"), ("ES256", "x")]
    {
        assert_eq!(judge(&stage, &of(key, issuer), &services).status(), 401, "{key} {issuer}");
    }
    // Keys of the first issuer are missing: the second one's tokens need none.
    services.credentials.remove(&one.source().unwrap());
    assert_eq!(judge(&stage, &second, &services).word(), "admitted");
    assert_eq!(judge(&stage, &first, &services).word(), "auth_unavailable");
}

#[test]
fn a_client_certificate_admits_and_nothing_else_does() {
    let stage = chain(&[AuthMethod::ClientCertificate {}], false);
    let services = all_services();
    assert_eq!(judge_with(&stage, "", &services, Some("CN=alice")).word(), "admitted");
    for lines in ["", "X-Client-Cert-Subject: CN=alice\r\n", "Authorization: Bearer x\r\n"] {
        let judged = judge_with(&stage, lines, &services, None);
        assert_eq!((judged.status(), judged.word()), (403, "client_certificate_required"), "{lines}");
    }
}

#[test]
fn keys_of_clients_are_of_a_place_or_of_a_file() {
    let stage = chain(&[api_key("x-api-key", "k")], false);
    for (lines, expected) in [
        ("X-API-Key: k\r\n", "admitted"),
        ("X-API-Key:   k  \r\n", "admitted"),
        ("X-API-Key: K\r\n", "invalid_credentials"),
        ("X-API-Key: k\r\nX-API-Key: k\r\n", "invalid_credentials"),
        ("X-API-Key: k, k\r\n", "invalid_credentials"),
        ("X-API-Key:\r\n", "invalid_credentials"),
        ("X_API_Key: k\r\n", "unauthenticated"),
    ] {
        assert_eq!(judge(&stage, lines, &all_services()).word(), expected, "{lines}");
    }
    let long = format!("X-API-Key: {}\r\n", "k".repeat(513));
    assert_eq!(judge(&stage, &long, &all_services()).word(), "invalid_credentials");
    // The hash is no key.
    let hash = format!("X-API-Key: {}\r\n", sha256("k"));
    assert_eq!(judge(&stage, &hash, &all_services()).word(), "invalid_credentials");
    let method = AuthMethod::ApiKey(ApiKeys {
        header: "x-api-key".into(),
        keys: Box::default(),
        keys_file: Some("/keys".into()),
        user_header: None,
    });
    let stage = chain(std::slice::from_ref(&method), false);
    let table = ApiKeyTable::parse(&format!("# keys\nci:{}\n", sha256("f"))).unwrap();
    let mut services = services(&method, Arc::new(Credentials::ApiKeys(table)));
    assert_eq!(judge(&stage, "X-API-Key: f\r\n", &services).word(), "admitted");
    assert_eq!(judge(&stage, "X-API-Key: k\r\n", &services).word(), "invalid_credentials");
    services.credentials.clear();
    assert_eq!(judge(&stage, "X-API-Key: f\r\n", &services).word(), "auth_unavailable");
}
