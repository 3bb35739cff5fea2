//! Spellings of a protected path: beside a route `/admin` that needs authentication, an open route takes all
//! other paths. Nothing that a server may read as a path below `/admin` reaches the origin without it, judged
//! by the bytes that the origin receives.

use std::collections::BTreeSet;

use super::*;
use crate::kit::tokens::sha256;

/// A target of HTTP/1.1 or a `:path`, and more field lines.
type Case = (String, &'static str);

/// Spellings of `/admin` and `/admin/users`.
fn corpus() -> Vec<Case> {
    let targets = [
        "/admin",
        "/admin/",
        "/admin/users",
        "/admin?x=1",
        "/admin/?x=1",
        "/admin?",
        "/admin?/../public",
        "/admin?x=/public",
        // Slashes.
        "//admin",
        "///admin",
        "//admin//users",
        "/./admin",
        "/.//admin",
        "/admin//",
        "/admin/.",
        "/admin/./users",
        "//admin/",
        "/public//../admin",
        // Dot segments.
        "/public/../admin",
        "/public/../admin/users",
        "/a/b/../../admin",
        "/../admin",
        "/../../admin",
        "/./../admin",
        "/public/./../admin",
        "/public/..",
        "/admin/..",
        "/admin/../admin",
        "/public/%2e%2e/admin",
        "/public/.%2e/admin",
        "/public/%2e./admin",
        "/%2e/admin",
        "/public/%2E%2E/admin",
        "/public/..%2fadmin",
        "/public/..%2Fadmin",
        "/public%2f..%2fadmin",
        "/public/%2e%2e%2fadmin",
        "/public/...//../../admin",
        // Escaped bytes of the name.
        "/%61dmin",
        "/%61%64%6d%69%6e",
        "/adm%69n",
        "/admin%2f",
        "/admin%2Fusers",
        "/%2fadmin",
        "/%2Fadmin",
        "/admin%2f..%2fadmin",
        "/%2e%2fadmin",
        "/admin%00",
        "/admin%00.html",
        "/admin%00/users",
        "/%00/admin",
        "/admin%3f",
        "/admin%3Fx",
        "/admin%23",
        "/admin%3b",
        "/admin%3Bx=1",
        "/admin%20",
        "/%20admin",
        "/admin%09",
        "/admin%0a",
        "/admin%0d%0a",
        "/admin%0d%0aX-User:%20root",
        "/admin%5c",
        "/%5cadmin",
        "/public%5c..%5cadmin",
        "/%41dmin",
        "/ADMI%4e",
        "/admin%2e",
        "/admin%2e%2e",
        // Twice escaped.
        "/%2561dmin",
        "/%252fadmin",
        "/public/%252e%252e/admin",
        "/public/..%252fadmin",
        "/admin%252f",
        "/admin%252fusers",
        "/%25%36%31dmin",
        "/admin%2500",
        "/admin%253f",
        "/admin%255cusers",
        "/%2525361dmin",
        "/%252561dmin",
        "/admin%253bx",
        "/public%252f..%252fadmin",
        "/%255cadmin",
        "/public%255c..%255cadmin",
        // Backslashes.
        "/\\admin",
        "\\admin",
        "/public\\..\\admin",
        "/public/..\\admin",
        "/admin\\",
        "/admin\\users",
        "/\\/admin",
        "//\\admin",
        "/.\\admin",
        // Parameters of segments.
        "/admin;",
        "/admin;x",
        "/admin;x=1",
        "/admin;x/users",
        "/admin;x=1/users;y",
        "/;/admin",
        "/;x/admin",
        "/public/..;/admin",
        "/public/..;x/admin",
        "/public/..;x=1/admin",
        "/.;/admin",
        "/admin;/",
        "/public;x/../admin",
        "/public/;/../admin",
        "/admin;jsessionid=1",
        "/admin;%2f",
        "/public/%2e%2e;/admin",
        "/..;/admin",
        "/admin/..;/admin",
        "/admin/;x",
        "/%3b/admin",
        "/admin;%00",
        "/admin;a.css",
        "/admin/users;.js",
        "/public/..;a=/admin",
        "/;admin",
        "//;/admin",
        // Case, and what some file systems drop.
        "/ADMIN",
        "/Admin",
        "/aDmIn/users",
        "/ADMIN/",
        "/Admin;x",
        "//ADMIN",
        "/public/../ADMIN",
        "/%41DMIN",
        "/admin.",
        "/admin..",
        "/admin./users",
        "/admin...",
        "/Admin.",
        "/admin./",
        // Overlong UTF-8, full-width forms, and other escapes.
        "/%c0%afadmin",
        "/public/%c0%ae%c0%ae/admin",
        "/admin%c0%afusers",
        "/%c1%a1dmin",
        "/%e0%80%afadmin",
        "/admin%e0%80%af",
        "/%ef%bc%8fadmin",
        "/%ef%bd%81dmin",
        "/%f0%80%80%afadmin",
        "/public/%c0%2e%c0%2e/admin",
        "/admin%c1%9c",
        "/%u0061dmin",
        "/%u002fadmin",
        "/admin%u002f",
        "/%",
        "/%a",
        "/admin%",
        "/admin%2",
        "/admin%zz",
        "/%%36%31dmin",
        "/%6%31dmin",
        "/%25u0061dmin",
        // Absolute form.
        "http://app.test/admin",
        "http://app.test//admin",
        "HTTP://APP.TEST/admin",
        "http://app.test/%61dmin",
        "http://app.test/admin;x",
        "http://app.test:80/admin",
        "http://app.test/ADMIN",
        "http://app.test/public/../admin",
        "http://app.test\\admin",
        "http://app.test/\\admin",
        "http://app.test?/admin",
        "http://app.test/?/admin",
        "https://app.test/admin",
        "http:///admin",
        "http:/admin",
        "//app.test/admin",
        "http://user@app.test/admin",
        "http://app.test#/admin",
        "app.test/admin",
        "admin",
        "./admin",
        "../admin",
        "*/admin",
        "*",
        "?/admin",
        ";/admin",
        "#/admin",
        // Fragments, and queries that look like paths.
        "/#/admin",
        "/admin#",
        "/admin#x",
        "/public#/../admin",
        "/public?/../admin",
        "/?url=/admin",
        "/admin&x=1",
        "/admin&",
        "/public?x=1/../../admin",
        "/public%3f/../admin",
        "/public%23/../admin",
        // Mixed.
        "/%2e/%61dmin;x",
        "/./%41dmin/",
        "//public/..;//%61dmin",
        "/PUBLIC/%2e%2e/ADMIN;x=1",
        "/x/%2e%2e/%2e/adm%69n%3b",
        "/.;x/ADMIN",
        "/;x=1/%2561dmin",
        "/%5c/ADMIN",
        "/public/../;/admin",
        "/public/.;/../admin",
    ];
    let overridden = [
        "X-Original-URL: /admin\r\n",
        "X-Rewrite-URL: /admin\r\n",
        "X-Original-URL: http://app.test/admin\r\n",
        "X_Original_URL: /admin\r\n",
        "x.rewrite.url: /admin\r\n",
        "X-ORIGINAL-URL: /admin\r\nX-Rewrite-Url: /admin/users\r\n",
        "X-Original-URL: /public\r\nX-Original-URL: /admin\r\n",
        "Connection: x-other\r\nX-Original-URL: /%61dmin\r\n",
        "X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /admin\r\n",
        "X-Forwarded-Prefix: /admin\r\nX-Rewrite-URL: /ADMIN\r\n",
        "X-Original-Path: /admin\r\n",
        "X-Forwarded-Uri: /admin\r\n",
        "X-Forwarded-Path: /admin\r\n",
    ];
    let targets = targets.into_iter().map(|target| (target.to_owned(), ""));
    let overridden = overridden
        .into_iter()
        .flat_map(|fields| [("/".to_owned(), fields), ("/public/x".to_owned(), fields)]);
    targets.chain(overridden).collect()
}

/// Ways in which servers read a path: the union of their habits, each with or without.
#[derive(Clone, Copy)]
struct Habits {
    /// Escapes are decoded so many times.
    decodes: usize,
    cuts_parameters: bool,
    has_backslashes: bool,
    /// Overlong and full-width forms are the characters that they resemble.
    is_lax_in_unicode: bool,
    /// NUL, and a `?` or `#` that was escaped, end a path.
    cuts_at_ends: bool,
    /// Case, and dots and spaces at the end of a segment, do not matter.
    is_windows: bool,
}

impl Habits {
    fn all() -> impl Iterator<Item = Self> {
        (0..4usize).flat_map(|decodes| {
            (0..32u8).map(move |bits| Self {
                decodes,
                cuts_parameters: bits & 1 != 0,
                has_backslashes: bits & 2 != 0,
                is_lax_in_unicode: bits & 4 != 0,
                cuts_at_ends: bits & 8 != 0,
                is_windows: bits & 16 != 0,
            })
        })
    }

    /// Segments of a target's path.
    fn read(self, target: &str) -> Vec<String> {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let path = match path.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => path,
        };
        // Parameters are cut before segments are decoded, as in servlet containers, and after.
        let mut bytes = self.without_parameters(path.as_bytes());
        for _ in 0..self.decodes {
            bytes = decoded(&bytes);
        }
        if self.is_lax_in_unicode {
            bytes = folded(&bytes);
        }
        if self.cuts_at_ends {
            let end = bytes.iter().position(|byte| b"\0?#".contains(byte)).unwrap_or(bytes.len());
            bytes.truncate(end);
        }
        let bytes = self.without_parameters(&bytes);
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if self.has_backslashes {
            text = text.replace('\\', "/");
        }
        if self.is_windows {
            text = text.to_lowercase();
        }
        let mut segments: Vec<String> = Vec::new();
        for segment in text.split('/') {
            match segment {
                "" | "." => {}
                ".." => _ = segments.pop(),
                segment if self.is_windows => {
                    segments.push(segment.trim().trim_end_matches(['.', ' ']).to_owned());
                }
                segment => segments.push(segment.to_owned()),
            }
        }
        segments
    }

    fn without_parameters(self, path: &[u8]) -> Vec<u8> {
        if !self.cuts_parameters {
            return path.to_vec();
        }
        let cut = |segment: &[u8]| segment.split(|byte| *byte == b';').next().unwrap_or_default().to_vec();
        path.split(|byte| *byte == b'/').map(cut).collect::<Vec<_>>().join(&b'/')
    }
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits = |range: std::ops::Range<usize>| {
            let digits = std::str::from_utf8(bytes.get(range)?).ok()?;
            u8::from_str_radix(digits, 16)
                .ok()
                .filter(|_| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        };
        match (byte, digits(at + 1..at + 3)) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// ASCII in place of overlong and full-width forms of it.
fn folded(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let (byte, length) = match bytes[at..] {
            [high @ 0xc0..=0xc1, low, ..] => ((high & 1) << 6 | low & 0x3f, 2),
            [0xe0, high @ 0x80..=0x81, low, ..] => ((high & 1) << 6 | low & 0x3f, 3),
            [0xf0, 0x80, high @ 0x80..=0x81, low, ..] => ((high & 1) << 6 | low & 0x3f, 4),
            [0xef, 0xbc, low @ 0x81..=0xbf, ..] => (low - 0x81 + 0x21, 3),
            [0xef, 0xbd, low @ 0x80..=0x9e, ..] => (low - 0x80 + 0x60, 3),
            [byte, ..] => (byte, 1),
            [] => break,
        };
        out.push(byte);
        at += length;
    }
    out
}

/// Whether some server reads a target as a path below `/admin`.
fn is_admin(target: &str) -> bool {
    Habits::all().any(|habits| habits.read(target).first().is_some_and(|first| first == "admin"))
}

/// Targets that a received request has for some server: its own, and those of fields that take its place.
fn targets(request: &Message) -> Vec<String> {
    let fold =
        |name: &str| name.replace(|char: char| !char.is_ascii_alphanumeric(), "-").to_ascii_lowercase();
    let overrides = ["x-original-url", "x-rewrite-url"];
    let overriding = request
        .fields
        .iter()
        .filter(|(name, _)| overrides.contains(&&*fold(name)))
        .map(|(_, value)| value.clone());
    overriding.chain([request.target().to_owned()]).collect()
}

/// The protected route, and the open one.
fn split(origin: &Origin, path: Value) -> Value {
    let mut all = document(origin, json!({ "api_key": { "keys": { "ci": sha256("k") } } }));
    let route = &mut all["routes"][0];
    route.as_object_mut().unwrap().remove("path_prefix");
    route.as_object_mut().unwrap().extend(path.as_object().unwrap().clone());
    all
}

/// Paths of the open route that nothing protected resembles.
const OPEN: &[&str] = &[
    "/",
    "/public",
    "/administrator",
    "/admin-panel/x",
    "/users/admin",
    "/a%20b",
    "/Profiles/ABC",
    "/x;y=1",
    "/%C3%A9t%C3%A9",
    "/a.b/c..d",
    "/public/",
    "/x/Admin",
    "/100%25",
    "/search?q=/admin",
    "/UPPER;a/b.",
    "/a%2Bb",
    "/%E6%97%A5",
    "/x/%25adm",
    "/public/admin",
];

/// Sends bytes as they are, and reads the response if there is one.
fn raw(proxy: &Proxy, target: &str, fields: &str) -> Option<u16> {
    let mut client = proxy.client();
    let _ = client.try_send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"));
    client.try_response("GET").ok().map(|answer| answer.status())
}

on_both_drivers! {
    fn no_spelling_of_a_protected_path_reaches_the_origin_without_authentication(driver) {
        let corpus = corpus();
        let distinct: BTreeSet<_> = corpus.iter().collect();
        assert!(distinct.len() >= 200, "{}", distinct.len());
        let protected = [
            json!({ "path_prefix": "/admin" }),
            json!({ "path_regex": "/admin(/.*)?" }),
            json!({ "path": "/admin" }),
        ];
        for (round, path) in protected.into_iter().enumerate() {
            // Paths below are protected by the first two.
            let is_exact = round == 2;
            let origin = Origin::named("one");
            let site = Site::secure(driver, &split(&origin, path.clone()));
            let judge = |case: &Case, protocol: &str, status: Option<u16>, before: usize| {
                let received = origin.requests()[before..].to_vec();
                for target in received.iter().flat_map(targets) {
                    let is_it = Habits::all().any(|habits| {
                        let segments = habits.read(&target);
                        segments.first().is_some_and(|first| first == "admin") && (!is_exact || segments.len() == 1)
                    });
                    assert!(!is_it, "{case:?} over {protocol} on {path}: {status:?}, and the origin got {target}");
                }
                let is_refused = matches!(status, Some(400 | 401 | 403 | 404 | 405 | 421) | None);
                assert!(is_refused || !received.is_empty(), "{case:?} over {protocol}: {status:?}");
            };
            for case in &corpus {
                let before = origin.request_count();
                judge(case, "HTTP/1.1", raw(&site.proxy, &case.0, case.1), before);
            }
            let mut peer = H2::connect(&site.proxy);
            for case in &corpus {
                let lines: Vec<(String, String)> = case.1.lines().filter_map(|line| line.split_once(": ")).filter(|(name, _)| *name != "Connection")
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
                let mut fields = peer.fields("GET", HOST, &case.0, &[]);
                fields.extend(lines.iter().map(|(name, value)| (&**name, &**value)));
                let before = origin.request_count();
                let stream = peer.begin(&fields, true);
                let answer = peer.response(stream);
                judge(case, "HTTP/2", answer.reset.is_none().then(|| answer.status()), before);
            }
            for open in OPEN {
                assert_eq!(site.ask(open, "").status(), 200, "{open} is open on {path}");
                assert_eq!(site.ask_h2(open, &[]).status(), 200, "{open} is open over HTTP/2 on {path}");
            }
            let key = "X-API-Key: k\r\n";
            assert_eq!((site.ask("/admin", key).status(), site.ask("/admin", "").status()), (200, 401));
        }
    }

    fn fields_that_replace_the_path_are_removed_on_open_routes_with_stages_too(driver) {
        let origin = Origin::named("one");
        let mut all = split(&origin, json!({ "path_prefix": "/admin" }));
        all["routes"][1]["middleware"] = json!([{ "type": "header_transform", "config": { "set": { "X-Seen": "yes" } } }]);
        let site = Site::start(driver, &all);
        let mut client = site.proxy.client();
        for fields in ["X-Original-URL: /admin\r\n", "x_rewrite_url: /admin\r\nX-HTTP-Method-Override: PUT\r\n", ""] {
            client.send(format!("GET /public HTTP/1.1\r\nHost: {HOST}\r\n{fields}X-Own: 1\r\n\r\n"));
            assert_eq!(client.response("GET").status(), 200);
            let request = origin.requests().pop().unwrap();
            let head = String::from_utf8_lossy(&request.head).to_ascii_lowercase();
            assert!(!head.contains("url") && !head.contains("override"), "{head}");
            assert_eq!((request.field("x-seen"), request.field("x-own")), (Some("yes"), Some("1")));
        }
    }

    fn a_key_opens_the_protected_path_in_its_plain_spellings(driver) {
        let origin = Origin::named("one");
        let site = Site::start(driver, &split(&origin, json!({ "path_prefix": "/admin" })));
        let key = "X-API-Key: k\r\n";
        for path in ["/admin", "/admin/", "/admin/users", "//admin", "/public/../admin", "/%61dmin", "/admin/Users;x=1", "/admin/a%20b", "/admin?x=1"] {
            assert_eq!(site.ask(path, key).status(), 200, "{path}");
            assert_eq!(site.ask(path, "").status(), 401, "{path}");
        }
        assert!(origin.requests().iter().all(|request| is_admin(request.target())));
    }

    fn routes_with_the_same_protection_take_any_spelling(driver) {
        let origin = Origin::named("one");
        let mut all = split(&origin, json!({ "path_prefix": "/admin" }));
        all["routes"][1]["middleware"] = json!("auth");
        let site = Site::start(driver, &all);
        for path in ["/ADMIN", "/admin;x", "/%2561dmin", "/Admin."] {
            assert_eq!((site.ask(path, "X-API-Key: k\r\n").status(), site.ask(path, "").status()), (200, 401), "{path}");
        }
        // Without any protection there is nothing to confuse.
        all["routes"].as_array_mut().unwrap().iter_mut().for_each(|route| _ = route.as_object_mut().unwrap().remove("middleware"));
        site.save(&all);
        for path in ["/ADMIN", "/admin;x", "/%2561dmin"] {
            assert_eq!(site.ask(path, "X-Original-URL: /admin\r\n").status(), 200, "{path}");
            assert_eq!(origin.requests().pop().unwrap().field("x-original-url"), Some("/admin"));
        }
    }
}
