#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringway_model::{AuthMethod, BasicAuth};

use crate::auth::testing::{NOW, chain, judge, services};
use crate::chain::Chain;
use crate::credentials::{Credentials, Users};
use crate::testing::TestServices;

fn method() -> AuthMethod {
    AuthMethod::Basic(BasicAuth {
        users_file: "/users".into(),
        realm: "shop".into(),
        user_header: Some("x-user".into()),
    })
}

fn users() -> Arc<Credentials> {
    let text = format!("alice:$2b$04${}\n", "x".repeat(53));
    Arc::new(Credentials::Users(Users::parse(&text).unwrap()))
}

fn stage(password: Option<bool>) -> (Arc<Chain>, TestServices) {
    (chain(&[method()], false), TestServices { password, ..services(&method(), users()) })
}

fn login(pair: &[u8]) -> String {
    format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(pair))
}

#[test]
fn a_password_is_verified_once_for_a_while() {
    let (stage, mut services) = stage(Some(true));
    let lines = format!("X-User: root\r\nX_User: root\r\n{}", login(b"alice:secret"));
    assert_eq!(judge(&stage, &lines, &services).lines(), "x-user: alice\r\n");
    services.password = Some(false);
    assert_eq!(judge(&stage, &lines, &services).word(), "admitted");
    assert_eq!(judge(&stage, &login(b"alice:secreT"), &services).word(), "invalid_credentials");
    // Name and password cannot be shifted against each other.
    assert_eq!(judge(&stage, &login(b"alices:ecret"), &services).word(), "invalid_credentials");
    // A changed file of users, and time, end what was verified.
    let known = services.credentials.clone();
    services.credentials.values_mut().for_each(|credentials| *credentials = users());
    assert_eq!(judge(&stage, &lines, &services).word(), "invalid_credentials");
    services.credentials = known;
    assert_eq!(judge(&stage, &lines, &services).word(), "admitted");
    services.now = NOW + 61;
    assert_eq!(judge(&stage, &lines, &services).word(), "invalid_credentials");
}

#[test]
fn unknown_names_are_refused_even_with_the_password_of_another() {
    // Their passwords are verified against another's hash, so that they take as long.
    let (stage, services) = stage(Some(true));
    assert_eq!(judge(&stage, &login(b"mallory:secret"), &services).word(), "invalid_credentials");
    assert_eq!(judge(&stage, &login(b"Alice:secret"), &services).word(), "invalid_credentials");
    let (stage, services) = self::stage(None);
    let judged = judge(&stage, &login(b"alice:secret"), &services);
    assert_eq!((judged.status(), judged.word()), (503, "auth_unavailable"));
}

#[test]
fn malformed_credentials_are_refused() {
    for (lines, expected) in [
        (login(b"alice"), "invalid_credentials"),
        (login(b":secret"), "invalid_credentials"),
        (login(b""), "invalid_credentials"),
        (login(b"al\0ice:secret"), "invalid_credentials"),
        (login(b"al\r\nice:secret"), "invalid_credentials"),
        (login(b"\xff:secret"), "invalid_credentials"),
        (login(&[b'a'; 2000]), "invalid_credentials"),
        ("Authorization: Basic\r\n".to_owned(), "invalid_credentials"),
        ("Authorization: Basic !!!\r\n".to_owned(), "invalid_credentials"),
        ("Authorization: Basic YWxpY2U6c2VjcmV0, x\r\n".to_owned(), "invalid_credentials"),
        (login(b"alice:secret") + &login(b"alice:secret"), "invalid_credentials"),
        ("Authorization: Basicx YWxpY2U6c2VjcmV0\r\n".to_owned(), "unauthenticated"),
        (login(b"alice:a:b\xff"), "admitted"),
        (login(b"alice:"), "admitted"),
        ("Authorization: bAsIc \t YWxpY2U6c2VjcmV0 \r\n".to_owned(), "admitted"),
    ] {
        let (stage, services) = stage(Some(true));
        assert_eq!(judge(&stage, &lines, &services).word(), expected, "{lines}");
    }
}

#[test]
fn failures_throttle_a_client_and_spare_its_verified_passwords() {
    let (stage, mut services) = stage(Some(true));
    assert_eq!(judge(&stage, &login(b"alice:secret"), &services).word(), "admitted");
    services.password = Some(false);
    let words: Vec<_> =
        (0..100).map(|n| judge(&stage, &login(format!("alice:{n}").as_bytes()), &services).word()).collect();
    assert_eq!((words[0], words[99]), ("invalid_credentials", "too_many_failures"));
    assert_eq!(judge(&stage, &login(b"alice:secret"), &services).word(), "admitted");
}

#[test]
fn files_of_users_have_slow_hashes_within_bounds() {
    let bcrypt = |cost: &str| format!("alice:$2y${cost}${}", "x".repeat(53));
    let argon2 = |costs: &str| format!("alice:$argon2id$v=19${costs}$c2FsdHNhbHQ$aGFzaGhhc2g");
    for good in
        [bcrypt("04"), bcrypt("12"), argon2("m=65536,t=3,p=4"), argon2("m=19456,t=2,p=1"), String::new()]
    {
        assert!(Users::parse(&format!("# users\n\n{good}\n")).is_ok(), "{good}");
    }
    for bad in [
        "alice".to_owned(),
        ":x".to_owned(),
        "alice:secret".to_owned(),
        "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=".to_owned(),
        "alice:$apr1$x$y".to_owned(),
        bcrypt("03"),
        bcrypt("16"),
        bcrypt("31"),
        argon2("m=4294967295,t=1,p=1"),
        argon2("m=65536,t=1000000,p=1"),
        argon2("m=65536,t=1,p=100000"),
        argon2("m=65536,t=1"),
        argon2("t=1"),
        format!("{}\n{}", bcrypt("04"), bcrypt("05")),
    ] {
        let error = Users::parse(&bad).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
