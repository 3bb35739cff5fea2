#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD as BASE64};
use ringway_model::{AuthMethod, ClaimField, ClaimRule, JwtAuth, JwtKeys, TokenPlace};
use serde_json::{Value, json};

use crate::auth::testing::{
    ISSUER, NOW, SIGNERS, chain, claims, claims_with, forge, judge, jwt, keys, keys_of, rsa_der, rsa_modulus,
    services, signer,
};
use crate::credentials::KeySet;
use crate::testing::TestServices;

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn jwt_services(spec: &JwtAuth) -> TestServices {
    let is_file = matches!(spec.keys, JwtKeys::File(_));
    services(&AuthMethod::Jwt(spec.clone()), keys(is_file))
}

/// The word of the judgement of a token, by fresh services: no failure counts.
fn word(spec: &JwtAuth, token: &str) -> &'static str {
    judge(&chain(&[AuthMethod::Jwt(spec.clone())], false), &bearer(token), &jwt_services(spec)).word()
}

/// The reason of the judgement.
fn reason(spec: &JwtAuth, token: &str) -> String {
    judge(&chain(&[AuthMethod::Jwt(spec.clone())], false), &bearer(token), &jwt_services(spec)).reason()
}

/// Settings with a file of keys, which may have secrets.
fn file() -> JwtAuth {
    JwtAuth { keys: JwtKeys::File("/jwks.json".into()), ..jwt() }
}

#[test]
fn a_token_is_good_with_the_algorithm_of_its_key_alone() {
    for key in &*SIGNERS {
        for other in &*SIGNERS {
            let header = json!({ "alg": other.algorithm, "kid": key.algorithm });
            let by_key = key.token_with(&header, &claims());
            let by_other = other.token_with(&header, &claims());
            let pair = format!("{} with the key of {}", other.algorithm, key.algorithm);
            let expected = if key.algorithm == other.algorithm { "admitted" } else { "invalid_credentials" };
            for token in [by_key, by_other] {
                assert_eq!(word(&file(), &token), expected, "{pair}");
                let is_secret = key.algorithm.starts_with("HS");
                let expected = if is_secret { "invalid_credentials" } else { expected };
                assert_eq!(word(&jwt(), &token), expected, "{pair}, of a published set");
            }
        }
    }
}

#[test]
fn a_token_without_key_id_is_tried_with_the_keys_of_its_algorithm() {
    for key in &*SIGNERS {
        assert_eq!(word(&file(), &key.token_with(&json!({ "alg": key.algorithm }), &claims())), "admitted");
    }
}

#[test]
fn claims_decide() {
    let admitted = [
        ("two audiences", claims_with("aud", json!(["web", "api"]))),
        ("an expiry with a fraction", claims_with("exp", json!(NOW as f64 + 0.5))),
        ("expired within the leeway", claims_with("exp", json!(NOW - 29))),
        ("valid soon, within the leeway", claims_with("nbf", json!(NOW + 30))),
        ("no subject", claims_with("sub", Value::Null)),
        ("no time of issue", claims_with("iat", Value::Null)),
        ("further claims", claims_with("x", json!({ "y": [1, null, true] }))),
    ];
    for key in SIGNERS.iter().filter(|key| !key.algorithm.starts_with("HS")) {
        for (name, claims) in &admitted {
            assert_eq!(word(&jwt(), &key.token(claims)), "admitted", "{}: {name}", key.algorithm);
        }
    }
    let refused = [
        ("iss", Value::Null, "the token is of another issuer"),
        ("iss", json!("https://auth.example.com/"), "the token is of another issuer"),
        ("aud", Value::Null, "the token is for another audience"),
        ("exp", Value::Null, "the token has expired or has no expiry"),
        ("exp", json!(NOW - 30), "the token has expired or has no expiry"),
        ("nbf", json!(NOW + 31), "the token is not valid yet"),
    ];
    for (name, value, expected) in refused {
        let token = signer("ES256").token(&claims_with(name, value.clone()));
        assert_eq!(reason(&jwt(), &token), expected, "{name} {value}");
    }
}

/// Forged or wrong requests: a name, and the field lines.
fn forgeries() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, token: String| all.push((name.to_owned(), bearer(&token)));
    let es = signer("ES256");
    let good = es.token(&claims());
    let text = claims().to_string();
    let hmac = |key: Vec<u8>| {
        move |message: &[u8]| {
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
            aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
        }
    };
    // No signature, whatever the algorithm is called.
    for name in
        ["none", "None", "NONE", "nOnE", "", " ", "null", "HS256 ", "es256", "ES256K", "ES256\0", "RSA1_5"]
    {
        add(
            &format!("algorithm {name:?}"),
            forge(&json!({ "alg": name, "kid": "ES256" }).to_string(), &text, |_| vec![]),
        );
    }
    for (name, value) in [
        ("null", Value::Null),
        ("a number", json!(0)),
        ("true", json!(true)),
        ("a list", json!(["ES256"])),
        ("an object", json!({ "alg": "ES256" })),
    ] {
        add(
            &format!("algorithm is {name}"),
            es.token_with(&json!({ "alg": value, "kid": "ES256" }), &claims()),
        );
        if name != "null" {
            add(
                &format!("key id is {name}"),
                es.token_with(&json!({ "alg": "ES256", "kid": value }), &claims()),
            );
        }
    }
    add("no algorithm", es.token_with(&json!({ "kid": "ES256" }), &claims()));
    // Confusion of kinds of keys.
    for (name, secret) in [
        ("the RSA key in DER", rsa_der()),
        ("the RSA modulus", rsa_modulus()),
        ("the RSA modulus in base64", BASE64.encode(rsa_modulus()).into_bytes()),
        ("the RSA key as a JWK", signer("RS256").jwk().to_string().into_bytes()),
        ("the x of the EC key", BASE64.decode(es.jwk()["x"].as_str().unwrap()).unwrap()),
        ("nothing", vec![]),
        ("one zero", vec![0]),
        ("32 zeros", vec![0; 32]),
        ("the key id", b"ES256".to_vec()),
        ("the word secret", b"secret".to_vec()),
    ] {
        for id in ["RS256", "ES256", "HS256"] {
            add(
                &format!("HMAC by {name}, key {id}"),
                forge(&json!({ "alg": "HS256", "kid": id }).to_string(), &text, hmac(secret.clone())),
            );
        }
    }
    add("a published secret", signer("HS256").token(&claims()));
    add("another family without a key id", forge(r#"{"alg":"HS256"}"#, &text, hmac(rsa_der())));
    // Signatures that are none.
    for (algorithm, size) in
        [("ES256", 64), ("ES384", 96), ("ES512", 132), ("EdDSA", 64), ("RS256", 256), ("PS256", 256)]
    {
        let header = json!({ "alg": algorithm, "kid": algorithm }).to_string();
        for (name, bytes) in [
            ("r = s = 0", vec![0; size]),
            ("all ones", vec![0xff; size]),
            ("empty", vec![]),
            ("one byte short", vec![0; size - 1]),
            ("one byte more", vec![0; size + 1]),
        ] {
            add(&format!("{algorithm}, signature {name}"), forge(&header, &text, |_| bytes));
        }
        let mut one = vec![0; size];
        one[size - 1] = 1;
        one[size / 2 - 1] = 1;
        add(&format!("{algorithm}, signature r = s = 1"), forge(&header, &text, |_| one));
        let mut sign = signer(algorithm).sign(b"another message");
        add(&format!("{algorithm}, signature of another message"), forge(&header, &text, |_| sign.clone()));
        sign.reverse();
        add(&format!("{algorithm}, signature reversed"), forge(&header, &text, |_| sign));
    }
    // The order of P-256, which is 0 modulo itself.
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    add(
        "ES256, signature r = s = n",
        forge(r#"{"alg":"ES256","kid":"ES256"}"#, &text, |_| [order, order].concat()),
    );
    // Headers that bring keys, or want to be understood.
    let header = |name: &str, value: Value| {
        let mut header = json!({ "alg": "ES256", "kid": "ES256" });
        header[name] = value;
        es.token_with(&header, &claims())
    };
    for (name, value) in [
        ("jwk", es.jwk()),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("typ", json!("JWE")),
        ("typ", json!("dpop+jwt")),
        ("typ", json!("application/application/jwt")),
        ("typ", json!(["JWT"])),
    ] {
        add(&format!("header {name} {value}"), header(name, value));
    }
    for id in [
        "../../dev/null",
        "/dev/null",
        "' OR 1=1 --",
        "evil",
        "ES256\0",
        "es256",
        "",
        "ES384",
        "http://evil/",
    ] {
        add(&format!("key id {id:?}"), header("kid", json!(id)));
    }
    // Claims.
    for (name, value) in [
        ("iss", Value::Null),
        ("iss", json!("https://evil.example")),
        ("iss", json!("https://auth.example.com/")),
        ("iss", json!("HTTPS://auth.example.com")),
        ("iss", json!("https://auth.example.com\0")),
        ("iss", json!([ISSUER])),
        ("iss", json!({ "0": ISSUER })),
        ("iss", json!(1)),
        ("aud", Value::Null),
        ("aud", json!("web")),
        ("aud", json!("API")),
        ("aud", json!("api ")),
        ("aud", json!("")),
        ("aud", json!([])),
        ("aud", json!([["api"]])),
        ("aud", json!({ "api": true })),
        ("aud", json!(true)),
        ("exp", Value::Null),
        ("exp", json!(NOW - 30)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", json!(u64::MAX)),
        ("exp", json!((NOW + 600) * 1000)),
        ("exp", json!((NOW + 600).to_string())),
        ("exp", json!([NOW + 600])),
        ("exp", json!(true)),
        ("nbf", json!(NOW + 31)),
        ("nbf", json!("0")),
        ("nbf", json!(-1)),
        ("iat", json!(NOW + 31)),
        ("iat", json!({})),
    ] {
        add(&format!("claim {name} {value}"), es.token(&claims_with(name, value)));
    }
    // Bytes and forms.
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    for (name, token) in [
        ("padding of the signature", format!("{good}=")),
        ("padding of the header", format!("{head}=.{payload}.{signature}")),
        ("a dot at the end", format!("{good}.")),
        ("a dot at the begin", format!(".{good}")),
        ("two dots", format!("{head}..{payload}.{signature}")),
        ("two parts", message.to_owned()),
        ("one part", head.to_owned()),
        ("dots alone", "..".to_owned()),
        ("five parts", "e30.e30.e30.e30.e30".to_owned()),
        ("five parts around a good token", format!("{good}.e30.e30")),
        ("a space within", format!("{head}. {payload}.{signature}")),
        ("a tab within", format!("{head}.\t{payload}.{signature}")),
        ("a comma behind", format!("{good},")),
        ("two tokens joined by a comma", format!("{good},{good}")),
        ("two tokens joined by comma and space", format!("{good}, {good}")),
        ("two tokens joined by a space", format!("{good} {good}")),
        ("the scheme twice", format!("Bearer {good}")),
        ("quotes", format!("\"{good}\"")),
        ("percent-encoded dots", good.replace('.', "%2e")),
        (
            "other base64 of the claims",
            format!("{head}.{}.{signature}", BASE64_URL_SAFE.encode(text.as_bytes()) + "="),
        ),
        ("base64 with + and /", format!("{}.{payload}.{signature}", BASE64_STANDARD.encode([0xfb; 3]))),
        ("nothing", String::new()),
        ("one character changed in the claims", {
            let last = payload.len() - 2;
            let other = if payload.as_bytes()[last] == b'A' { "B" } else { "A" };
            format!("{head}.{}{other}{}.{signature}", &payload[..last], &payload[last + 1..])
        }),
        ("trailing bits of the signature", {
            // 64 bytes leave four unused bits in the last character.
            let last = signature.chars().last().unwrap();
            let next = char::from(last as u8 + 1);
            format!("{message}.{}{next}", &signature[..signature.len() - 1])
        }),
        ("no JSON", forge("ES256", &text, |message| es.sign(message))),
        ("a header that is a list", forge("[]", &text, |message| es.sign(message))),
        ("claims that are a list", es.token(&json!([claims()]))),
        ("claims that are a text", es.token(&json!("claims"))),
        ("claims that are null", es.token(&Value::Null)),
        ("two objects", forge(r#"{"alg":"ES256","kid":"ES256"}{}"#, &text, |message| es.sign(message))),
        (
            "junk behind the claims",
            forge(r#"{"alg":"ES256","kid":"ES256"}"#, &format!("{text}x"), |m| es.sign(m)),
        ),
        ("deep JSON", forge(r#"{"alg":"ES256","kid":"ES256"}"#, &"[".repeat(5000), |m| es.sign(m))),
        ("a huge token", es.token(&claims_with("x", json!("x".repeat(9000))))),
        ("a huge key id", header("kid", json!("k".repeat(7000)))),
        (
            "the algorithm twice",
            forge(r#"{"alg":"none","alg":"ES256","kid":"ES256"}"#, &text, |m| es.sign(m)),
        ),
        ("the key id twice", forge(r#"{"alg":"ES256","kid":"evil","kid":"ES256"}"#, &text, |m| es.sign(m))),
        (
            "an escaped second name",
            forge(r#"{"alg":"ES256","kid":"ES256","al\u0067":"none"}"#, &text, |m| es.sign(m)),
        ),
        ("UTF-16", good.replacen(head, &BASE64.encode(b"{\0\"\0"), 1)),
        ("a byte-order mark", forge("\u{feff}{\"alg\":\"ES256\",\"kid\":\"ES256\"}", &text, |m| es.sign(m))),
    ] {
        add(name, token);
    }
    for name in ["sub", "iss", "aud", "exp"] {
        let twice = format!("{{\"{name}\":\"x\",{}", &text[1..]);
        add(
            &format!("claim {name} twice"),
            forge(r#"{"alg":"ES256","kid":"ES256"}"#, &twice, |m| es.sign(m)),
        );
    }
    // Requests.
    let mut lines = |name: &str, lines: String| all.push((name.to_owned(), lines));
    lines("no field", String::new());
    lines("two fields", bearer(&good) + &bearer(&good));
    lines("two fields, the second bad", bearer(&good) + &bearer("x"));
    lines("a password beside it", bearer(&good) + "Authorization: Basic YTpi\r\n");
    lines("a password before it", "Authorization: Basic YTpi\r\n".to_owned() + &bearer(&good));
    lines("in a scheme joined by a comma", format!("Authorization: Basic YTpi, Bearer {good}\r\n"));
    lines("without a scheme", format!("Authorization: {good}\r\n"));
    lines("in another scheme", format!("Authorization: Token {good}\r\n"));
    lines("a scheme without a space", format!("Authorization: Bearer{good}\r\n"));
    lines("a scheme with a colon", format!("Authorization: Bearer:{good}\r\n"));
    lines("in a cookie", format!("Cookie: token={good}\r\n"));
    lines("in X-Authorization", format!("X-Authorization: Bearer {good}\r\n"));
    lines("in Proxy-Authorization", format!("Proxy-Authorization: Bearer {good}\r\n"));
    lines("the scheme alone", "Authorization: Bearer\r\n".to_owned());
    all
}

#[test]
fn forged_tokens_are_refused_each_by_its_name() {
    let forgeries = forgeries();
    let names: BTreeSet<_> = forgeries.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), forgeries.len(), "names");
    assert!(forgeries.len() >= 200, "{}", forgeries.len());
    let spec = jwt();
    let stage = chain(&[AuthMethod::Jwt(spec.clone())], false);
    for (name, lines) in &forgeries {
        let judged = judge(&stage, lines, &jwt_services(&spec));
        assert_eq!(judged.status(), 401, "{name}: {}", judged.reason());
    }
    assert_eq!(judge(&stage, &bearer(&signer("ES256").token(&claims())), &jwt_services(&spec)).status(), 200);
}

#[test]
fn the_scheme_has_any_case_and_any_space() {
    let (token, spec) = (signer("ES256").token(&claims()), jwt());
    let stage = chain(&[AuthMethod::Jwt(spec.clone())], false);
    for scheme in ["Bearer ", "bearer ", "BEARER   ", "bEaReR\t"] {
        let lines = format!("Authorization: {scheme}{token}\r\n");
        assert_eq!(judge(&stage, &lines, &jwt_services(&spec)).word(), "admitted", "{scheme:?}");
    }
}

#[test]
fn optional_authentication_refuses_wrong_tokens_in_any_spelling() {
    let spec = jwt();
    let stage = chain(&[AuthMethod::Jwt(spec.clone())], true);
    for (lines, expected) in [
        ("", "admitted"),
        ("Authorization: Basic YTpi\r\n", "admitted"),
        ("Authorization: Bearer x\r\n", "invalid_credentials"),
        ("Authorization: Bearer\tx\r\n", "invalid_credentials"),
        ("Authorization: Bearer\r\n", "invalid_credentials"),
        ("Authorization: Basic YTpi\r\nAuthorization: Bearer x\r\n", "invalid_credentials"),
        ("Authorization: a\r\nAuthorization: b\r\n", "invalid_credentials"),
    ] {
        assert_eq!(judge(&stage, lines, &jwt_services(&spec)).word(), expected, "{lines}");
    }
}

#[test]
fn keys_that_are_weak_or_strange_are_left_out() {
    let rsa = |n: Vec<u8>, e: &[u8]| json!({ "kty": "RSA", "alg": "RS256", "n": BASE64.encode(n), "e": BASE64.encode(e) });
    let (n, e) = (rsa_modulus(), [1, 0, 1]);
    let mut even = n.clone();
    *even.last_mut().unwrap() &= 0xfe;
    let es = signer("ES256").jwk();
    let changed = |name: &str, value: Value| {
        let mut jwk = es.clone();
        jwk[name] = value;
        jwk
    };
    for (name, jwk) in [
        ("exponent 1", rsa(n.clone(), &[1])),
        ("exponent 0", rsa(n.clone(), &[0])),
        ("exponent 2", rsa(n.clone(), &[2])),
        ("no exponent", rsa(n.clone(), &[])),
        ("exponent with a leading zero", rsa(n.clone(), &[0, 1, 0, 1])),
        ("exponent of nine bytes", rsa(n.clone(), &[1; 9])),
        ("modulus of 1,024 bits", rsa(n[..128].to_vec(), &e)),
        ("modulus of 1,024 bits with zeros before it", rsa([vec![0; 128], n[128..].to_vec()].concat(), &e)),
        ("modulus with a leading zero", rsa([vec![0], n.clone()].concat(), &e)),
        ("modulus of 16,384 bits", rsa(n.repeat(8), &e)),
        ("even modulus", rsa(even, &e)),
        ("no modulus", rsa(vec![], &e)),
        ("a secret", signer("HS256").jwk()),
        ("a key for encryption", changed("use", json!("enc"))),
        ("a use that is no text", changed("use", json!(1))),
        ("operations without verify", changed("key_ops", json!(["sign"]))),
        ("operations that are a text", changed("key_ops", json!("verify"))),
        ("the algorithm of another curve", changed("alg", json!("ES384"))),
        ("the algorithm of another family", changed("alg", json!("HS256"))),
        ("an unknown algorithm", changed("alg", json!("ES256K"))),
        ("another curve", changed("crv", json!("P-384"))),
        ("an unknown curve", changed("crv", json!("secp256k1"))),
        ("a short x", changed("x", json!("AQ"))),
        ("an x with padding", changed("x", json!(format!("{}=", es["x"].as_str().unwrap())))),
        ("an unknown kind", changed("kty", json!("XYZ"))),
    ] {
        let set = json!({ "keys": [jwk] }).to_string();
        assert!(KeySet::parse(set.as_bytes(), false).is_err(), "{name}");
    }
    assert!(KeySet::parse(json!({ "keys": [rsa(n, &e)] }).to_string().as_bytes(), false).is_ok());
    for short in [vec![], vec![1; 31]] {
        let jwk = json!({ "kty": "oct", "alg": "HS256", "k": BASE64.encode(short) });
        assert!(KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes(), true).is_err());
    }
}

#[test]
fn a_point_that_is_not_on_its_curve_verifies_nothing() {
    let mut jwk = signer("ES256").jwk();
    jwk["y"] = BASE64.encode([1; 32]).into();
    let spec = jwt();
    let services = services(&AuthMethod::Jwt(spec.clone()), keys_of(&[jwk], false));
    let stage = chain(&[AuthMethod::Jwt(spec)], false);
    let judged = judge(&stage, &bearer(&signer("ES256").token(&claims())), &services);
    assert_eq!(judged.word(), "invalid_credentials");
}

#[test]
fn a_cached_token_needs_the_same_settings_keys_and_time() {
    let spec = jwt();
    let other = JwtAuth { require: Box::new([rule("role", &["admin"])]), ..jwt() };
    let (stage, strict) =
        (chain(&[AuthMethod::Jwt(spec.clone())], false), chain(&[AuthMethod::Jwt(other)], false));
    let mut services = jwt_services(&spec);
    let lines = bearer(&signer("ES256").token(&claims()));
    for _ in 0..2 {
        assert_eq!(judge(&stage, &lines, &services).word(), "admitted");
        assert_eq!(judge(&strict, &lines, &services).word(), "forbidden");
    }
    // Keys without the token's: what was verified with the old ones is worth nothing.
    let known = services.credentials.clone();
    services.credentials.values_mut().for_each(|keys| *keys = keys_of(&[signer("ES384").jwk()], false));
    assert_eq!(judge(&stage, &lines, &services).word(), "invalid_credentials");
    services.credentials = known;
    assert_eq!(judge(&stage, &lines, &services).word(), "admitted");
    services.now = NOW + 631;
    assert_eq!(judge(&stage, &lines, &services).word(), "invalid_credentials", "expired while cached");
}

#[test]
fn an_unknown_key_waits_for_newer_ones() {
    let spec = jwt();
    let stage = chain(&[AuthMethod::Jwt(spec.clone())], false);
    let source = AuthMethod::Jwt(spec.clone()).source().unwrap();
    let mut services = services(&AuthMethod::Jwt(spec), keys_of(&[signer("ES384").jwk()], false));
    let (lines, no_id) = (
        bearer(&signer("ES256").token(&claims())),
        bearer(&signer("ES256").token_with(&json!({ "alg": "ES256" }), &claims())),
    );
    assert_eq!(judge(&stage, &lines, &services).word(), "invalid_credentials");
    services.newest.insert(source.clone(), keys_of(&[signer("ES256").jwk()], false));
    assert_eq!(judge(&stage, &lines, &services).word(), "admitted");
    // Of two keys of one algorithm, a token without an id may need the newer one.
    let mut stranger = signer("ES256").jwk();
    stranger["x"] = BASE64.encode([1; 32]).into();
    services.credentials.insert(source.clone(), keys_of(&[stranger], false));
    assert_eq!(judge(&stage, &no_id, &services).word(), "admitted");
    services.credentials.clear();
    assert_eq!(judge(&stage, &lines, &services).word(), "admitted");
    services.newest.clear();
    let judged = judge(&stage, &lines, &services);
    assert_eq!((judged.status(), judged.word()), (503, "auth_unavailable"));
    let crate::auth::testing::Judged::Refused(reply) = judged else { panic!("refused") };
    assert!(String::from_utf8_lossy(reply.lines()).contains("Retry-After: 5\r\n"));
    for junk in ["x".to_owned(), signer("ES256").token(&claims_with("exp", json!(1)))] {
        assert_eq!(judge(&stage, &bearer(&junk), &services).word(), "invalid_credentials", "without keys");
    }
}

#[test]
fn failures_throttle_a_client_and_spare_its_verified_tokens() {
    let spec = jwt();
    let stage = chain(&[AuthMethod::Jwt(spec.clone())], false);
    let mut services = jwt_services(&spec);
    let (known, fresh) =
        (bearer(&signer("ES256").token(&claims())), bearer(&signer("ES384").token(&claims())));
    assert_eq!(judge(&stage, &known, &services).word(), "admitted");
    let words: Vec<_> = (0..100).map(|_| judge(&stage, &bearer("x.y.z"), &services).word()).collect();
    assert_eq!(words[0], "invalid_credentials");
    assert_eq!(words[99], "too_many_failures");
    let throttled = judge(&stage, &fresh, &services);
    assert_eq!((throttled.status(), throttled.word()), (429, "too_many_failures"));
    assert_eq!(judge(&stage, &known, &services).word(), "admitted");
    services.now += 1;
    assert_eq!(judge(&stage, &fresh, &services).word(), "admitted");
}

fn rule(claim: &str, values: &[&str]) -> ClaimRule {
    ClaimRule { claim: claim.into(), values: values.iter().map(|value| (*value).into()).collect() }
}

#[test]
fn required_claims_are_words_items_and_paths() {
    let with = |claim: &str, values: &[&str]| JwtAuth { require: Box::new([rule(claim, values)]), ..jwt() };
    let mut claims = claims();
    claims["scope"] = json!("read write");
    claims["groups"] = json!(["dev", 7]);
    claims["realm"] = json!({ "roles": ["user"] });
    claims["https://x.example/role"] = json!("admin");
    claims["realm.roles"] = json!("literal");
    let token = signer("EdDSA").token(&claims);
    for (spec, expected) in [
        (with("scope", &["write"]), "admitted"),
        (with("scope", &["writ"]), "forbidden"),
        (with("groups", &["ops", "dev"]), "admitted"),
        (with("groups", &["7"]), "admitted"),
        (with("https://x.example/role", &["admin"]), "admitted"),
        (with("realm.roles", &["literal"]), "admitted"),
        (with("realm.roles", &["user"]), "forbidden"),
        (with("realm", &["user"]), "forbidden"),
        (with("missing", &[""]), "forbidden"),
    ] {
        assert_eq!(word(&spec, &token), expected, "{:?}", spec.require);
    }
}

fn fields(pairs: &[(&str, &str)]) -> Box<[ClaimField]> {
    let field =
        |(claim, header): &(&str, &str)| ClaimField { claim: (*claim).into(), header: (*header).into() };
    pairs.iter().map(field).collect()
}

#[test]
fn claims_become_fields_and_those_of_clients_never_pass() {
    let spec = JwtAuth {
        claims: fields(&[
            ("sub", "x-user"),
            ("groups", "x-groups"),
            ("realm.role", "x-role"),
            ("zz", "x-zz"),
        ]),
        ..jwt()
    };
    let stage = chain(&[AuthMethod::Jwt(spec.clone())], false);
    let own =
        "X-User: root\r\nx_user: root\r\nX.USER: root\r\nx~user: root\r\nX-ROLE: root\r\nX-Users: kept\r\n";
    let mut claims = claims();
    claims["realm"] = json!({ "role": "user" });
    claims["groups"] = json!(["a", "b"]);
    claims["zz"] = json!("last");
    // More claims than an identity keeps: those that fields need are kept.
    (0..100).for_each(|number| claims[format!("c{number}")] = json!(number));
    let token = bearer(&signer("ES256").token(&claims));
    let judged = judge(&stage, &format!("{own}{token}"), &jwt_services(&spec));
    let expected =
        format!("X-Users: kept\r\n{token}x-user: alice\r\nx-groups: a,b\r\nx-role: user\r\nx-zz: last\r\n");
    assert_eq!(judged.lines(), expected);
    // A value that cannot stand in a field, or that would read as another: no field at all.
    for (name, value) in [
        ("sub", json!("a\r\nX-Role: admin")),
        ("sub", json!("a\0b")),
        ("sub", json!({ "a": 1 })),
        ("sub", json!("x".repeat(2000))),
        ("groups", json!(["a,admin"])),
        ("groups", json!([["admin"]])),
    ] {
        let token = bearer(&signer("ES256").token(&claims_with(name, value.clone())));
        let judged = judge(&stage, &format!("{own}{token}"), &jwt_services(&spec));
        let header = if name == "sub" { "x-user" } else { "x-groups" };
        assert!(!judged.lines().to_lowercase().contains(&format!("{header}:")), "{value}: {judged:?}");
        assert!(!judged.lines().contains("admin") || judged.lines().contains(&token), "{value}");
    }
    // Without authentication too.
    let optional = chain(&[AuthMethod::Jwt(spec.clone())], true);
    assert_eq!(judge(&optional, own, &jwt_services(&spec)).lines(), "X-Users: kept\r\n");
}

#[test]
fn the_endpoint_gets_the_verified_token_or_none() {
    let token = signer("ES256").token(&claims());
    let hidden = JwtAuth { forward: false, ..jwt() };
    let stage = chain(&[AuthMethod::Jwt(hidden.clone())], false);
    assert_eq!(judge(&stage, &bearer(&token), &jwt_services(&hidden)).lines(), "");
    let place = TokenPlace::Header("x-token".into());
    for forward in [true, false] {
        let spec = JwtAuth { token: place.clone(), forward, ..jwt() };
        let stage = chain(&[AuthMethod::Jwt(spec.clone())], false);
        let lines = format!("X-Token: {token}\r\nX_Token: evil\r\n");
        let expected = if forward { format!("x-token: {token}\r\n") } else { String::new() };
        assert_eq!(judge(&stage, &lines, &jwt_services(&spec)).lines(), expected);
        let twice = format!("X-Token: {token}\r\nx-token: {token}\r\n");
        assert_eq!(judge(&stage, &twice, &jwt_services(&spec)).word(), "invalid_credentials");
    }
    let spec = JwtAuth { token: TokenPlace::Cookie("session".into()), ..jwt() };
    let stage = chain(&[AuthMethod::Jwt(spec.clone())], false);
    for (lines, expected) in [
        (format!("Cookie: a=b; session={token}; c=d\r\n"), "admitted"),
        (format!("Cookie: session={token}; session={token}\r\n"), "invalid_credentials"),
        (format!("Cookie: session={token}\r\nCookie: session=x\r\n"), "invalid_credentials"),
        (format!("Cookie: Session={token}\r\n"), "unauthenticated"),
        (format!("Cookie: xsession={token}\r\n"), "unauthenticated"),
        ("Cookie: session=\r\n".to_owned(), "invalid_credentials"),
    ] {
        assert_eq!(judge(&stage, &lines, &jwt_services(&spec)).word(), expected, "{lines}");
    }
}
