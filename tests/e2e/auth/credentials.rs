//! Passwords, keys of clients and client certificates, alone and as alternatives: who they admit, and that
//! the origin gets none of them.

use super::*;
use crate::kit::identity::Provider;
use crate::kit::tokens::{Signer, sha256};

/// A file of users as `htpasswd` and others write it: alice has the password `secret`, bob `other`, carol
/// `hunter2` and dave `hunter3`.
const USERS: &str = "\
# users of the tests
alice:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW
bob:$2y$05$bbcdefghijklmnopqrstuuRbJMaOE85Jzy7YxrhO2UtTmhGFRpQlO

carol:$argon2id$v=19$m=64,t=1,p=1$bFLrzS8FuiGpv5W/iyAwOg$mId0fUCKRTMLJUbRiatWrnZNPSfnxQfIFTNZgfJpLJ8
dave:$argon2i$v=19$m=64,t=1,p=1$r58u175RsUE2N4VT46fxzg$XRJpI/401FIXUao0clemoXOcx9m21hY9gCEywI9jPhE
";

/// A folder with a file, and the file's path.
fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

on_both_drivers! {
    fn passwords_of_a_file_admit_their_users(driver) {
        let origin = Origin::named("one");
        let (_folder, users) = file("users", USERS);
        let auth = json!({ "basic": { "users_file": users, "realm": "shop", "user_header": "X-User" } });
        let site = Site::secure(driver, &document(&origin, auth));
        for (name, password) in [("alice", "secret"), ("bob", "other"), ("carol", "hunter2"), ("dave", "hunter3")] {
            let fields = format!("{}X-User: root\r\n", basic(name, password));
            // The second request needs no verification.
            for _ in 0..2 {
                assert_eq!(site.ask("/in/a", &fields).status(), 200, "{name}");
            }
            let credentials = kit::tokens::base64(format!("{name}:{password}").as_bytes());
            assert_eq!(site.ask_h2("/in/a", &[("authorization", &format!("bAsIc {credentials}"))]).status(), 200);
            for request in origin.requests().iter().rev().take(3) {
                assert_eq!((request.field("x-user"), request.field("authorization")), (Some(name), None));
            }
        }
        let served = origin.request_count();
        let wrong = [
            basic("alice", "Secret"), basic("alice", ""), basic("alice", "secret\0"), basic("alice", "other"), basic("", "secret"),
            basic("mallory", "secret"), basic("Alice", "secret"), basic("alice ", "secret"), basic("# users of the tests", ""),
            "Authorization: Basic\r\n".to_owned(), "Authorization: Basic !!!\r\n".to_owned(),
            format!("Authorization: Basic {}\r\n", kit::tokens::base64(b"alice")),
            format!("Authorization: Basic {}\r\n", kit::tokens::base64(b"\xff\xfe:secret")),
            format!("{}{}", basic("alice", "secret"), basic("alice", "secret")),
            format!("{}{}", basic("alice", "secret"), bearer("x")),
            basic("alice", &"x".repeat(2000)),
        ];
        for (number, fields) in (1..).zip(wrong) {
            let answer = site.ask_from([127, 0, 1, number], "/in/a", &fields);
            assert_eq!(refusal(&answer), (401, "invalid_credentials".to_owned()), "{fields}");
            let [challenge] = &challenges(&answer.all("www-authenticate"))[..] else { panic!("{answer:?}") };
            assert_eq!((challenge.scheme.as_str(), challenge.get("realm")), ("Basic", Some("shop")));
            assert_eq!(challenge.get("charset"), Some("UTF-8"));
        }
        assert_eq!(origin.request_count(), served);
        assert!(!site.logs(&["secret"]) && !site.logs(&["hunter"]), "no password in a log");
    }

    fn a_user_who_is_removed_from_the_file_is_out(driver) {
        let origin = Origin::named("one");
        let (_folder, users) = file("users", USERS);
        let site = Site::start(driver, &document(&origin, json!({ "basic": { "users_file": users } })));
        let (alice, bob) = (basic("alice", "secret"), basic("bob", "other"));
        assert_eq!((site.ask("/in/a", &alice).status(), site.ask("/in/a", &bob).status()), (200, 200));
        let without_alice: String = USERS.split_inclusive('\n').filter(|line| !line.starts_with("alice")).collect();
        tls::put(users.as_ref(), &without_alice);
        site.await_status("/in/a", &alice, 401);
        assert_eq!(site.ask("/in/a", &bob).status(), 200);
        // A file that cannot be read as one of users changes nothing.
        tls::put(users.as_ref(), "alice:secret\n");
        eventually("a warning", || site.logs(&["credentials cannot be loaded", "line 1"]).then_some(()));
        assert_eq!(site.ask("/in/a", &bob).status(), 200);
        tls::put(users.as_ref(), USERS);
        site.await_status("/in/a", &alice, 200);
    }

    fn users_that_could_not_be_loaded_yet_are_not_refused(driver) {
        let origin = Origin::named("one");
        let (_folder, users) = file("users", "junk\n");
        let site = Site::start(driver, &document(&origin, json!({ "basic": { "users_file": users } })));
        let alice = basic("alice", "secret");
        assert_eq!(refusal(&site.ask("/in/a", &alice)), (503, "auth_unavailable".to_owned()));
        assert_eq!(site.ask("/in/a", "").status(), 401);
        tls::put(users.as_ref(), USERS);
        site.await_status("/in/a", &alice, 200);
        assert_eq!(origin.request_count(), 1);
    }

    fn keys_of_clients_admit_and_stay_here(driver) {
        let origin = Origin::named("one");
        let (_folder, keys) = file("keys", &format!("# keys\nbackup:{}\n", sha256("kept-key")));
        let in_place = json!({ "api_key": { "keys": { "ci": sha256("place-key") }, "user_header": "X-User" } });
        let of_file = json!({ "api_key": { "header": "X-Token", "keys_file": keys, "user_header": "X-User" } });
        let any = json!({ "any_of": [in_place, of_file] });
        let site = Site::secure(driver, &document(&origin, any));
        for (field, key, name) in [("X-API-Key", "place-key", "ci"), ("x-token", "kept-key", "backup")] {
            let fields = format!("{field}: {key}\r\nX_API_Key: x\r\nX.Token: x\r\nX-User: root\r\n");
            assert_eq!(site.ask("/in/a", &fields).status(), 200, "{name}");
            assert_eq!(site.ask_h2("/in/a", &[(&field.to_ascii_lowercase(), key)]).status(), 200, "{name}");
            for request in origin.requests().iter().rev().take(2) {
                assert_eq!(request.all("x-user"), [name]);
                let text = String::from_utf8_lossy(&request.head).to_ascii_lowercase();
                for kept in ["-key:", "_key:", "x-token", "x.token", "place-key", "kept-key"] {
                    assert!(!text.contains(kept), "{kept} in {text}");
                }
            }
        }
        let served = origin.request_count();
        for fields in [
            "X-API-Key: place-ke\r\n".to_owned(),
            "X-API-Key: place-key2\r\n".to_owned(),
            "X-API-Key: PLACE-KEY\r\n".to_owned(),
            "X-API-Key: kept-key\r\n".to_owned(),
            "X-API-Key:\r\n".to_owned(),
            "X-API-Key: place-key\r\nX-API-Key: place-key\r\n".to_owned(),
            "X-API-Key: place-key, place-key\r\n".to_owned(),
            format!("X-API-Key: {}\r\n", sha256("place-key")),
        ] {
            let answer = site.ask("/in/a", &fields);
            assert_eq!(refusal(&answer), (401, "invalid_credentials".to_owned()), "{fields}");
            assert!(!answer.all("www-authenticate").is_empty(), "RFC 9110 §15.5.2: a 401 has a challenge");
        }
        for (path, fields) in [("/in/a?x-api-key=place-key&api_key=place-key", ""), ("/in/a", "X_API_Key: place-key\r\n"), ("/in/a", "Cookie: x-api-key=place-key\r\n")] {
            assert_eq!(refusal(&site.ask(path, fields)), (401, "unauthenticated".to_owned()), "{path} {fields}");
        }
        assert_eq!(origin.request_count(), served);
        tls::put(keys.as_ref(), &format!("other:{}\n", sha256("other-key")));
        site.await_status("/in/a", "X-Token: kept-key\r\n", 401);
    }

    fn the_first_method_with_credentials_decides_and_the_others_are_removed(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let (_folder, users) = file("users", USERS);
        let mut of_cookie = jwt(&provider);
        of_cookie["jwt"]["token"] = json!({ "cookie": "session" });
        let any = json!({ "any_of": [
            { "api_key": { "keys": { "ci": sha256("k") }, "user_header": "X-User" } },
            jwt(&provider),
            { "basic": { "users_file": users, "user_header": "X-User" } },
            of_cookie,
        ]});
        let site = Site::start(driver, &document(&origin, any));
        let (key, token) = ("X-API-Key: k\r\n", provider.token(&good));
        let cookie = format!("Cookie: a=1; session={token}\r\n");
        let forged = "Cookie: a=1; session=forged\r\n";
        // Fields, and what the origin gets: user, authorization, cookie.
        let own = format!("Bearer {token}");
        let both = format!("a=1; session={token}");
        for (fields, user, authorization, cookies) in [
            (key.to_owned(), "ci", None, None),
            (format!("{key}{}", bearer("forged")), "ci", None, None),
            (format!("{key}{}{forged}", bearer("forged")), "ci", None, Some("a=1")),
            (format!("{key}{}", basic("alice", "wrong")), "ci", None, None),
            (format!("{key}Authorization: Digest d\r\nAuthorization: Bearer forged\r\n"), "ci", None, None),
            (format!("{}{forged}", bearer(&token)), "alice", Some(&*own), Some("a=1")),
            (format!("{}{forged}", basic("bob", "other")), "bob", None, Some("a=1")),
            (cookie.clone(), "alice", None, Some(&*both)),
        ] {
            let answer = site.await_status("/in/a", &fields, 200);
            assert_eq!(answer.text(), "one");
            let request = origin.requests().pop().unwrap();
            assert_eq!(request.all("x-user"), [user], "{fields}");
            assert_eq!(request.field("authorization"), authorization, "{fields}");
            assert_eq!(request.field("cookie"), cookies, "{fields}");
            assert_eq!(request.field("x-api-key"), None);
        }
        let served = origin.request_count();
        for fields in [
            format!("X-API-Key: wrong\r\n{}", bearer(&token)),
            format!("{}{cookie}", bearer("forged")),
            format!("{}{cookie}", basic("alice", "wrong")),
            forged.to_owned(),
        ] {
            assert_eq!(refusal(&site.ask("/in/a", &fields)), (401, "invalid_credentials".to_owned()), "{fields}");
        }
        let answer = site.ask("/in/a", "");
        assert_eq!(refusal(&answer), (401, "unauthenticated".to_owned()));
        let schemes: Vec<_> = challenges(&answer.all("www-authenticate")).into_iter().map(|one| one.scheme).collect();
        assert_eq!(schemes, ["ApiKey", "Bearer", "Basic"], "each once");
        assert_eq!(origin.request_count(), served);
    }

    fn optional_authentication_lets_requests_without_credentials_pass_without_a_user(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let mut auth = json!({ "any_of": [jwt(&provider), { "api_key": { "keys": { "ci": sha256("k") }, "user_header": "X-Key-User" } }] });
        auth["optional"] = json!(true);
        let site = Site::secure(driver, &document(&origin, auth));
        let spoofed = "X-User: root\r\nX_User: root\r\nx.key.user: root\r\nX-GROUPS: root\r\n";
        assert_eq!(site.ask("/in/a", spoofed).status(), 200);
        assert_eq!(site.ask_h2("/in/a", &[("x-user", "root"), ("x_user", "root"), ("x-key-user", "root")]).status(), 200);
        for request in origin.requests() {
            assert!(!String::from_utf8_lossy(&request.head).contains("root"), "{request:?}");
        }
        assert_eq!(site.ask("/in/a", &bearer(&provider.token(&good))).status(), 200);
        assert_eq!(origin.requests()[2].field("x-user"), Some("alice"));
        for fields in [bearer("junk"), "X-API-Key: wrong\r\n".to_owned(), bearer(&good.token(&provider.claims_with("exp", json!(1))))] {
            assert_eq!(refusal(&site.ask("/in/a", &fields)), (401, "invalid_credentials".to_owned()), "{fields}");
        }
        assert_eq!(origin.request_count(), 3);
    }

    fn client_certificates_admit_where_a_route_says_so(driver) {
        let origin = Origin::named("one");
        let clients = Authority::new("clients");
        let (_folder, ca) = file("clients.pem", &clients.pem());
        let key = json!({ "api_key": { "keys": { "ci": sha256("k") } } });
        let chain = |auth: Value| json!([{ "type": "auth", "config": auth }]);
        let mut all = document(&origin, key.clone());
        let route = |id: &str, more: Value| {
            let mut route = json!({ "id": id, "host": HOST, "path_prefix": format!("/{id}"), "pool": "app" });
            route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            route
        };
        all["tls"] = json!({ "mtls": { "ca_file": ca } });
        all["routes"].as_array_mut().unwrap().extend([
            route("needed", json!({ "require_mtls": true })),
            route("alone", json!({ "middleware": chain(json!({ "client_certificate": true })) })),
            route("either", json!({ "middleware": chain(json!({ "any_of": [{ "client_certificate": true }, key] })) })),
            route("both", json!({ "require_mtls": true, "middleware": chain(key.clone()) })),
        ]);
        let site = Site::secure(driver, &all);
        let known = site.proxy.tls().certificate(&clients.client("alice"));
        let ask = |tls: &Tls, path: &str, fields: &str| {
            let mut client = tls.clone().alpn(&["http/1.1"]).connect(site.proxy.https());
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"));
            client.response("GET")
        };
        let ask_h2 = |tls: &Tls, path: &str| {
            let mut peer = H2::open(Box::new(tls.stream(site.proxy.https()).unwrap()), "https", &[]);
            let fields = peer.fields("GET", HOST, path, &[("x-client-cert-verified", "SUCCESS")]);
            let stream = peer.begin(&fields, true);
            peer.response(stream).status()
        };
        let none = site.proxy.tls();
        let forged = "X-Client-Cert-Verified: SUCCESS\r\nX-Client-Cert-Subject: CN=alice\r\nX-SSL-Client-Verify: SUCCESS\r\n";
        for (path, with, without) in [("/needed/a", 200, 403), ("/alone/a", 200, 403), ("/either/a", 200, 401), ("/both/a", 401, 403), ("/x", 200, 200)] {
            assert_eq!(ask(&known, path, "").status(), with, "{path}");
            assert_eq!(ask(&none, path, forged).status(), without, "{path} without a certificate");
            assert_eq!((ask_h2(&known, path), ask_h2(&none, path)), (with, without), "{path} over HTTP/2");
        }
        assert_eq!(refusal(&ask(&none, "/alone/a", "")).1, "client_certificate_required");
        assert_eq!(refusal(&ask(&none, "/needed/a", "")).1, "client_certificate_required");
        assert_eq!(ask(&none, "/either/a", "X-API-Key: k\r\n").status(), 200);
        assert_eq!(ask(&known, "/both/a", "X-API-Key: k\r\n").status(), 200);
        let subject = origin.requests().pop().unwrap();
        assert!(subject.field("x-client-cert-subject").is_some_and(|subject| subject.contains("alice")), "{subject:?}");
        // Another CA's certificate is none.
        let stranger = site.proxy.tls().certificate(&Authority::new("others").client("alice"));
        stranger.alpn(&["http/1.1"]).refusal(site.proxy.https());
        // Without TLS there can be no certificate.
        assert_eq!(site.ask("/needed/a", forged).status(), 421);
        assert_eq!(site.ask("/alone/a", forged).status(), 403);
        // All of them are events.
        let of_route = json!([{ "kind": "route", "id": "needed" }]);
        let missing = |line: &Value| line["reason"] == "client_certificate_missing" && line["objects"] == of_route;
        let line = site.proxy.audited(missing).into_iter().find(missing).unwrap();
        assert_eq!((&line["action"], &line["result"]), (&json!("auth.refused"), &json!("refused")), "{line}");
        let invalid = |line: &Value| line["reason"] == "client_certificate_invalid";
        let line = site.proxy.audited(invalid).into_iter().find(invalid).unwrap();
        assert_eq!((&line["action"], &line["objects"]), (&json!("auth.refused"), &json!([{ "kind": "route", "id": HOST }])));
        let refusals = |reason: &str| site.proxy.metric("proxy_auth_refusals_total", &[&format!("reason=\"{reason}\"")]);
        // Three of "needed", two of "both", and one without TLS.
        assert_eq!((refusals("client_certificate_missing"), refusals("client_certificate_invalid")), (6.0, 1.0));
    }
}
