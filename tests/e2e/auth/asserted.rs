//! Fields that authentication asserts: those of a client reach the origin in no spelling and at no place,
//! judged by the bytes that the origin receives.

use super::*;
use crate::kit::tokens::sha256;

/// A key, and the field of its client's name.
fn keyed(optional: bool) -> Value {
    json!({ "optional": optional, "api_key": { "keys": { "ci": sha256("k") }, "user_header": "X-User" } })
}

/// Names that a server may take for `X-User`.
const SPELLINGS: &[&str] = &[
    "X-User", "x-user", "X-USER", "x-UsEr", "X_User", "x_user", "X_USER", "x.user", "X.User", "X~User",
    "X!User", "X#User", "X$User", "X%User", "X&User", "X'User", "X*User", "X+User", "X^User", "X`User",
    "X|User",
];

/// Field lines of what an origin received, folded as servers fold names into variables, that are named like
/// the asserted field.
fn lines_like_user(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let fold =
        |name: &str| name.replace(|char: char| !char.is_ascii_alphanumeric(), "_").to_ascii_uppercase();
    let is_user = |line: &&str| line.split_once(':').is_some_and(|(name, _)| fold(name.trim()) == "X_USER");
    text.lines().filter(is_user).map(|line| line.trim_end().to_owned()).collect()
}

/// All bytes that reached the origin.
fn received(origin: &Origin) -> Vec<u8> {
    origin.connections().iter().flat_map(|connection| connection.bytes()).collect()
}

on_both_drivers! {
    fn no_spelling_of_a_client_reaches_the_origin(driver) {
        for (optional, key, own) in [(false, "X-API-Key: k\r\n", &["x-user: ci"][..]), (true, "", &[])] {
            let origin = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", After::Close);
            let site = Site::secure(driver, &document(&origin, keyed(optional)));
            let mut forms: Vec<String> = SPELLINGS.iter().map(|name| format!("{name}: root\r\n")).collect();
            forms.push(SPELLINGS.iter().map(|name| format!("{name}: root\r\n")).collect());
            forms.push("X-User: root\r\nX-User: admin\r\nX-Other: 1\r\nx-user: root\r\n".to_owned());
            forms.push("X-User:\r\nX-User: root\r\n".to_owned());
            forms.push("Connection: x-user\r\nX-User: root\r\n".to_owned());
            forms.push("Connection: close, X_User, x-user, x.user\r\nX_User: root\r\nX-User: root\r\n".to_owned());
            forms.push("Connection: X-API-Key\r\nX-User: root\r\n".to_owned());
            for fields in &forms {
                let before = received(&origin).len();
                let answer = site.ask("/in/a", &format!("{key}{fields}"));
                assert_eq!(answer.status(), 200, "{fields}");
                let bytes = received(&origin)[before..].to_vec();
                let found: Vec<String> = lines_like_user(&bytes).iter().map(|line| line.to_ascii_lowercase()).collect();
                assert_eq!(found, own, "{fields}");
                assert!(!String::from_utf8_lossy(&bytes).contains("root"), "{fields}");
            }
            for name in SPELLINGS {
                let before = received(&origin).len();
                let mut fields = vec![("x-other", "1"), ("x-user", "root")];
                let name = name.to_ascii_lowercase();
                fields.push((&name, "root"));
                if !optional {
                    fields.push(("x-api-key", "k"));
                }
                assert_eq!(site.ask_h2("/in/a", &fields).status(), 200, "{name}");
                let found = lines_like_user(&received(&origin)[before..]);
                assert_eq!(found.iter().map(|line| line.to_ascii_lowercase()).collect::<Vec<_>>(), own, "{name}");
            }
        }
    }

    fn nothing_reaches_the_origin_when_authentication_fails(driver) {
        let origin = Origin::named("one");
        for optional in [false, true] {
            let site = Site::start(driver, &document(&origin, keyed(optional)));
            for name in SPELLINGS {
                let fields = format!("X-API-Key: wrong\r\n{name}: root\r\n");
                assert_eq!(site.ask("/in/a", &fields).status(), 401, "{name}");
            }
        }
        assert!(origin.connections().is_empty());
    }

    fn an_identity_is_not_that_of_the_next_request_on_its_connection(driver) {
        let origin = Origin::named("one");
        let site = Site::start(driver, &document(&origin, keyed(true)));
        let mut client = site.proxy.client();
        for (path, fields, status, user) in [
            ("/in/a", "X-API-Key: k\r\n", 200, Some("ci")),
            ("/in/b", "", 200, None),
            ("/in/c", "X-API-Key: k\r\n", 200, Some("ci")),
            ("/open", "", 200, None),
            ("/in/d", "X-API-Key: wrong\r\n", 401, None),
            ("/in/e", "", 200, None),
        ] {
            let before = origin.request_count();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"));
            assert_eq!(client.response("GET").status(), status, "{path}");
            let users: Vec<_> = origin.requests()[before..].iter().map(|request| request.field("x-user").map(str::to_owned)).collect();
            let expected: Vec<_> = if status == 200 { vec![user.map(str::to_owned)] } else { vec![] };
            assert_eq!(users, expected, "{path}");
        }
    }

    fn trailers_assert_nothing(driver) {
        for (optional, key) in [(false, "X-API-Key: k\r\n"), (true, "")] {
            let origin = Origin::echo();
            let site = Site::secure(driver, &document(&origin, keyed(optional)));
            for name in SPELLINGS {
                let mut client = site.proxy.client();
                client.send(format!(
                    "POST /in/a HTTP/1.1\r\nHost: {HOST}\r\n{key}TE: trailers\r\nTrailer: {name}\r\nTransfer-Encoding: chunked\r\n\r\n\
                     5\r\nhello\r\n0\r\n{name}: root\r\nX-API-Key: k\r\n\r\n"
                ));
                assert_eq!(client.response("POST").text(), "hello", "{name}");
            }
            // In pieces: the trailers come after the head was forwarded.
            let mut client = site.proxy.client();
            client.send(format!("POST /in/a HTTP/1.1\r\nHost: {HOST}\r\n{key}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"));
            let requests = || received(&origin).windows(5).filter(|bytes| bytes == b"hello").count();
            eventually("the first part", || (requests() > SPELLINGS.len()).then_some(()));
            client.send("0\r\nX-User: root\r\n\r\n");
            assert_eq!(client.response("POST").text(), "hello");

            let mut peer = H2::connect(&site.proxy);
            let mut fields = peer.fields("POST", HOST, "/in/a", &[("te", "trailers")]);
            if !optional {
                fields.push(("x-api-key", "k"));
            }
            let stream = peer.begin(&fields, false);
            peer.data(stream, b"hello", false);
            let trailers = h2::block(&[("x-user", "root"), ("x_user", "root")]);
            peer.frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, stream, &trailers);
            assert_eq!(peer.response(stream).text(), "hello");
            let text = String::from_utf8_lossy(&received(&origin)).into_owned();
            assert!(!text.contains("root"), "{text}");
        }
    }
}
