//! Services that decide about requests: plugins over HTTP and gRPC, and forward authentication, with services
//! that are dead, slow, lying and flooding.

use serde_json::Value;

use crate::kit::h2_origin::{Asked, H2Origin, Replies};
use crate::kit::*;

/// A document with the route `in` behind the plugin, which has these settings, and `out` without middleware.
/// The service is never taken out of rotation: each request asks it.
fn document(origin: &Origin, kind: &str, service: &str, settings: &str) -> String {
    let plugin = format!("plugins:\n  - {{id: guard, type: {kind}, pool: service, {settings}}}\n");
    let stages = "middleware:\n  - id: chain\n    stages:\n      - {type: plugin, ref: guard}\n";
    format!("{plugin}{stages}{}", routes(origin, service))
}

/// The same with the service as a method of authentication.
fn forward(origin: &Origin, service: &str, settings: &str) -> String {
    let auth = format!("{{type: auth, config: {{forward: {{pool: service, {settings}}}}}}}");
    format!("middleware:\n  - id: chain\n    stages:\n      - {auth}\n{}", routes(origin, service))
}

fn routes(origin: &Origin, service: &str) -> String {
    let origin = origin.address();
    format!(
        "version: v1
routes:
  - {{id: in, host: app.test, path_prefix: /in, pool: origin, middleware: chain}}
  - {{id: out, host: app.test, path_prefix: /out, pool: origin}}
pools:
  - {{id: origin, endpoints: [{{address: '{origin}'}}]}}
  - id: service
    endpoints: [{{address: '{service}'}}]
    circuit_breaker: {{min_requests: 1000000}}
    health: {{passive: {{consecutive_failures: 100}}}}
"
    )
}

fn configured(driver: Driver, document: &str) -> proxy::Builder {
    let builder = Proxy::on(driver);
    let file = builder.folder().join("config.yaml");
    std::fs::write(&file, document).unwrap();
    builder.env("PROXY_CONFIG", file.to_str().unwrap())
}

fn start(driver: Driver, document: &str) -> Proxy {
    configured(driver, document).start()
}

fn request(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n")
}

fn ask(proxy: &Proxy, target: &str, fields: &str) -> Message {
    let mut client = proxy.client();
    client.send(request(target, fields));
    client.response("GET")
}

/// Code of an error of ringway.
fn code(answer: &Message) -> String {
    answer.json()["error"]["code"].as_str().unwrap().to_owned()
}

/// Timeout of services that answer: they have all the time that a busy machine takes.
const PATIENT: &str = "timeout: 10s, asserts: [X-User, X-Role]";
/// Timeout of services that do not answer.
const HASTY: &str = "timeout: 300ms, asserts: [X-User, X-Role]";

/// The field that only the service may set, as apps may read it.
const SPOOFED: &str = "X-User: admin\r\nx-user: admin\r\nX_User: admin\r\nX.User: admin\r\nX~USER: admin\r\n\
                       x'user: admin\r\nX-Role: root\r\nConnection: X-User, X-Role, X_User\r\n";

/// Asserts that the endpoint got no field of [`SPOOFED`].
fn assert_stripped(received: &Message) {
    let text = format!("{received:?}");
    assert!(!text.contains("admin") && !text.contains("root"), "{text}");
}

/// A service over HTTP. The path of the request that it judges says what it does.
fn http_service() -> Origin {
    Origin::http(|request, connection| {
        let path = request.field("x-forwarded-uri").unwrap_or_default().to_owned();
        match path.rsplit('/').next().unwrap_or_default() {
            "allow" => connection.send(
                "HTTP/1.1 200 OK\r\nX-User: alice\r\nX-Other: of the service\r\nSet-Cookie: a=1\r\nContent-Length: 2\r\n\r\nok",
            ),
            "silent" => connection.send("HTTP/1.1 204 No Content\r\n\r\n"),
            "deny" => connection.send(
                "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nSet-Cookie: a=1\r\nX-Internal: secret\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno",
            ),
            "login" => connection.send("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"),
            "long" => {
                connection.send("HTTP/1.1 403 No\r\nContent-Length: 200000\r\n\r\n");
                connection.send(vec![b'x'; 200_000])
            }
            "cut" => {
                connection.send("HTTP/1.1 403 No\r\nContent-Length: 200\r\n\r\nshort");
                return After::Close;
            }
            // Says no, and never ends.
            "stalled" => connection.send("HTTP/1.1 401 No\r\nContent-Length: 200\r\n\r\nshort"),
            "error" => connection.send("HTTP/1.1 500 Oops\r\nX-User: admin\r\nContent-Length: 0\r\n\r\n"),
            "interim" => connection.send("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            "reset" => return After::Reset,
            "garbage" => connection.send("HTTP/9.9 nothing\r\n\r\n"),
            "twice" => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n"),
            "head" => {
                connection.send("HTTP/1.1 200 OK\r\n");
                connection.send(format!("X-Long: {}\r\n\r\n", "x".repeat(200_000)))
            }
            "endless" => {
                connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                while connection.send("400\r\n".to_owned() + &"x".repeat(1024) + "\r\n") {}
                false
            }
            // Sends the head and no content, or nothing.
            "half" => connection.send("HTTP/1.1 200 OK\r\nX-User: admin\r\nContent-Length: 10\r\n\r\nhalf"),
            "hang" => {
                connection.until_closed();
                false
            }
            other => panic!("no answer for {other}"),
        };
        After::Keep
    })
}

/// Last parts of paths for which the service gives no decision.
const FAILING: [&str; 9] =
    ["error", "interim", "reset", "garbage", "twice", "head", "endless", "half", "hang"];

on_both_drivers! {
    fn a_service_over_http_decides(driver) {
        let (origin, service) = (Origin::named("app"), http_service());
        let proxy = start(driver, &document(&origin, "external_http", &service.target(), PATIENT));
        let fields = format!("{SPOOFED}X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Uri: /in/deny\r\nCookie: c=1\r\n");
        let answer = ask(&proxy, "/in/allow", &fields);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "app"));
        assert_eq!(answer.field("set-cookie"), None);
        let received = origin.one_request();
        assert_stripped(&received);
        assert_eq!(received.all("x-user"), ["alice"]);
        assert_eq!(received.field("x-other"), None);
        let asked = service.one_request();
        assert_stripped(&asked);
        assert_eq!((asked.method(), asked.target()), ("GET", "/"));
        assert_eq!(asked.all("x-forwarded-uri"), ["/in/allow"]);
        assert_eq!(asked.all("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(asked.all("x-forwarded-host"), ["app.test"]);
        assert_eq!((asked.field("x-forwarded-method"), asked.field("x-forwarded-proto")), (Some("GET"), Some("http")));
        assert_eq!(asked.field("cookie"), Some("c=1"));

        let answer = ask(&proxy, "/in/silent", SPOOFED);
        assert_eq!(answer.status(), 200);
        assert_stripped(&origin.requests()[1]);
        let answer = ask(&proxy, "/in/deny", "");
        assert_eq!((answer.status(), answer.text().as_str()), (401, "no"));
        assert_eq!((answer.field("www-authenticate"), answer.field("set-cookie")), (Some("Bearer"), Some("a=1")));
        assert_eq!(answer.field("x-internal"), None);
        let answer = ask(&proxy, "/in/login", "");
        assert_eq!((answer.status(), answer.field("location")), (302, Some("/login")));
        for path in ["/in/long", "/in/cut"] {
            let answer = ask(&proxy, path, "");
            assert_eq!((answer.status(), code(&answer).as_str()), (403, "filter_denied"), "{path}");
        }
        assert_eq!(ask(&proxy, "/out", SPOOFED).status(), 200);
        assert_eq!((origin.request_count(), service.request_count()), (3, 6));
        for (decision, count) in [("allowed", 2.0), ("denied", 4.0)] {
            let labels = ["pool=\"service\"", &format!("decision=\"{decision}\"")];
            assert_eq!(proxy.metric("proxy_filter_decisions_total", &labels), count, "{decision}");
        }
    }

    fn it_decides_over_http2(driver) {
        let (origin, service) = (Origin::websocket_echo("app"), http_service());
        let secure = h2::secure(configured(driver, &document(&origin, "external_http", &service.target(), PATIENT)));
        let mut peer = h2::H2::connect(&secure);
        let mut ask = |path: &str| {
            let stream = peer.begin(
                &[(":method", "GET"), (":scheme", "https"), (":authority", "app.test"), (":path", path),
                  ("x-user", "admin"), ("x_user", "admin"), ("x.user", "admin")],
                true,
            );
            peer.response(stream)
        };
        assert_eq!(ask("/in/allow").status(), 200);
        let denied = ask("/in/deny");
        assert_eq!((denied.status(), denied.text().as_str(), denied.get("www-authenticate")), (401, "no", Some("Bearer")));
        assert_eq!(ask("/in/silent").status(), 200);
        assert_eq!(ask("/in/login").get("location"), Some("/login"));
        let received = origin.requests();
        assert_eq!(received.len(), 2);
        received.iter().for_each(assert_stripped);
        assert_eq!((received[0].all("x-user"), received[1].all("x-user")), (vec!["alice"], vec![]));
    }

    fn it_decides_before_upgrades(driver) {
        let (origin, service) = (Origin::websocket_echo("app"), http_service());
        let proxy = start(driver, &document(&origin, "external_http", &service.target(), PATIENT));
        let mut client = proxy.client();
        ws::open(&mut client, "app.test", "/in/allow");
        ws::ping_pong(&mut client, "hello");
        assert_eq!(origin.one_request().all("x-user"), ["alice"]);
        assert_eq!(service.one_request().field("sec-websocket-key"), None);
        for (path, status) in [("/in/deny", 401), ("/in/error", 503)] {
            let mut client = proxy.client();
            client.send(ws::upgrade("app.test", path));
            assert_eq!(client.response("GET").status(), status);
        }
        assert_eq!(origin.request_count(), 1, "refused before the 101");
    }

    fn without_a_decision_the_fail_mode_holds(driver) {
        for (mode, settings) in [("closed", ""), ("open", ", failed_open_header: X-Unjudged")] {
            let (origin, service) = (Origin::named("app"), http_service());
            let settings = format!("{HASTY}, fail_mode: {mode}{settings}");
            let proxy = start(driver, &document(&origin, "external_http", &service.target(), &settings));
            for (asked, path) in FAILING.iter().enumerate() {
                let answer = ask(&proxy, &format!("/in/{path}"), &format!("{SPOOFED}X-Unjudged: no\r\n"));
                match mode {
                    "closed" => {
                        assert_eq!((answer.status(), code(&answer).as_str()), (503, "filter_unavailable"), "{path}");
                        assert_eq!(origin.request_count(), 0, "{path}");
                    }
                    _ => {
                        assert_eq!((answer.status(), answer.text().as_str()), (200, "app"), "{path}");
                        let received = origin.requests().pop().unwrap();
                        assert_stripped(&received);
                        assert_eq!(received.field("x-user"), None, "{path}");
                        assert!(!["no", ""].contains(&received.field("x-unjudged").unwrap()), "{path}");
                    }
                }
                assert!(service.request_count() > asked, "{path}: the service is asked");
            }
            let labels = ["pool=\"service\"", &format!("decision=\"failed_{mode}\"")];
            assert_eq!(proxy.metric("proxy_filter_decisions_total", &labels), 9.0);
            // The others were never in the way of this one.
            assert_eq!(ask(&proxy, "/in/allow", "").status(), 200);
            let failures = |reason: &str| {
                let reason = format!("reason=\"{reason}\"");
                proxy.metric("proxy_filter_failures_total", &["pool=\"service\"", &reason])
            };
            assert_eq!((failures("timeout"), failures("status")), (2.0, 1.0));
            for (path, status) in [("/in/long", 403), ("/in/cut", 403), ("/in/stalled", 401)] {
                let answer = ask(&proxy, path, "");
                assert_eq!(answer.status(), status, "{mode} {path}: a denial stays one");
                assert_eq!(code(&answer), "filter_denied", "{mode} {path}");
            }
            service.die();
            assert_eq!(ask(&proxy, "/in/allow", "").status(), if mode == "closed" { 503 } else { 200 });
        }
    }

    fn a_request_without_a_decision_is_marked_in_the_access_log(driver) {
        for (mode, status) in [("closed", 503), ("open", 200)] {
            let (origin, service) = (Origin::named("app"), http_service());
            let settings = format!("{HASTY}, fail_mode: {mode}");
            let builder = configured(driver, &document(&origin, "external_http", &service.target(), &settings));
            let proxy = builder.env("ACCESS_LOG", "stdout").start();
            assert_eq!(ask(&proxy, "/in/hang", "").status(), status);
            assert_eq!(ask(&proxy, "/in/allow", "").status(), 200);
            let logged = |path: &str| {
                eventually("the line is written", || {
                    let log = proxy.log();
                    let mut lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                    lines.find(|line| line["path"] == path)
                })
            };
            let hung = logged("/in/hang");
            assert_eq!(hung["filter_result"], format!("failed_{mode}"));
            assert_eq!((&hung["filter_failure"], &hung["status"]), (&Value::from("timeout"), &Value::from(status)));
            let allowed = logged("/in/allow");
            assert!(allowed["filter_result"].is_null() && allowed["filter_failure"].is_null(), "{allowed}");
        }
    }

    fn an_open_breaker_says_when_to_come_back(driver) {
        let origin = Origin::named("app");
        let service = http_service();
        let document = document(&origin, "external_http", &service.target(), HASTY)
            .replace("{min_requests: 1000000}", "{failure_threshold: 2, open_duration: 60s}");
        let proxy = start(driver, &document);
        for _ in 0..2 {
            let answer = ask(&proxy, "/in/reset", "");
            assert_eq!((code(&answer).as_str(), answer.field("retry-after")), ("filter_unavailable", None));
        }
        let answer = ask(&proxy, "/in/allow", "");
        assert_eq!((answer.status(), code(&answer).as_str()), (503, "filter_unavailable"));
        let seconds: u32 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        let labels = ["pool=\"service\"", "reason=\"circuit_open\""];
        assert_eq!(proxy.metric("proxy_filter_failures_total", &labels), 1.0);
    }

    fn forward_authentication_is_closed(driver) {
        let (origin, service) = (Origin::named("app"), http_service());
        let proxy = start(driver, &forward(&origin, &service.target(), &format!("{HASTY}, path: '/check?from=us'")));
        assert_eq!(ask(&proxy, "/in/allow", SPOOFED).status(), 200);
        let received = origin.one_request();
        assert_stripped(&received);
        assert_eq!(received.all("x-user"), ["alice"]);
        assert_eq!(service.one_request().target(), "/check?from=us");
        assert_eq!(ask(&proxy, "/in/deny", "").status(), 401);
        for path in ["/in/error", "/in/hang", "/in/reset"] {
            let answer = ask(&proxy, path, "");
            assert_eq!((answer.status(), code(&answer).as_str()), (503, "auth_unavailable"), "{path}");
        }
        service.die();
        assert_eq!(ask(&proxy, "/in/allow", "").status(), 503);
        assert_eq!(origin.request_count(), 1);
    }

    fn others_are_served_while_a_service_hangs(driver) {
        let (origin, service) = (Origin::named("app"), http_service());
        let settings = "timeout: 10s, asserts: X-User";
        let proxy = start(driver, &document(&origin, "external_http", &service.target(), settings));
        let mut waiting: Vec<Client> = (0..64).map(|_| proxy.client()).collect();
        for client in &mut waiting {
            client.send(request("/in/hang", ""));
        }
        eventually("all of them wait", || (service.request_count() == 64).then_some(()));
        for _ in 0..20 {
            assert_eq!(ask(&proxy, "/out", "").status(), 200);
            assert_eq!(ask(&proxy, "/in/allow", "").status(), 200);
        }
        // Those that leave take their calls with them.
        drop(waiting);
        eventually("all calls end", || {
            let ended = service.connections().iter().filter(|record| record.has_ended()).count();
            (ended >= 64).then_some(())
        });
        assert_eq!(origin.request_count(), 40);
    }

    fn nothing_of_a_decision_is_left_for_the_next_request(driver) {
        let (origin, service) = (Origin::named("app"), http_service());
        let proxy = start(driver, &document(&origin, "external_http", &service.target(), PATIENT));
        let mut client = proxy.client();
        for _ in 0..5 {
            for (path, status) in [("/in/allow", 200), ("/in/silent", 200), ("/in/deny", 401), ("/out", 200), ("/in/silent", 200)] {
                client.send(request(path, ""));
                let answer = client.response("GET");
                assert_eq!(answer.status(), status, "{path}");
                assert_eq!(answer.field("set-cookie").is_some(), path == "/in/deny");
            }
        }
        for received in origin.requests() {
            let expected: &[&str] = if received.target() == "/in/allow" { &["alice"] } else { &[] };
            assert_eq!(received.all("x-user"), expected, "{}", received.target());
        }
    }

    fn kept_decisions_are_those_of_the_same_client(driver) {
        let origin = Origin::named("app");
        // It admits 127.0.0.1, whoever that claims to be.
        let service = Origin::http(|request, connection| {
            let client = request.field("x-forwarded-for").unwrap_or_default();
            let user = request.field("authorization").unwrap_or("none");
            match client {
                "127.0.0.1" => connection.send(format!("HTTP/1.1 200 OK\r\nX-User: {user}\r\nContent-Length: 0\r\n\r\n")),
                _ => connection.send("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
            };
            After::Keep
        });
        let settings = format!("{PATIENT}, cache: {{key: [authorization, x-forwarded-for], ttl: 60s}}");
        let builder = configured(driver, &document(&origin, "external_http", &service.target(), &settings));
        // One core, which keeps what it has asked for.
        let proxy = builder.env("PROXY_WORKERS", "1").start();
        for (fields, user, asked) in [
            ("Authorization: one\r\n", "one", 1),
            ("Authorization: one\r\n", "one", 1),
            ("Authorization: two\r\n", "two", 2),
            ("", "none", 3),
            ("Authorization: one\r\nX-User: two\r\n", "one", 3),
        ] {
            assert_eq!(ask(&proxy, "/in/a", fields).status(), 200);
            assert_eq!(origin.requests().pop().unwrap().all("x-user"), [user]);
            assert_eq!(service.request_count(), asked, "{fields}");
        }
        for _ in 0..2 {
            let mut other = Client::connect_from([127, 0, 0, 2], proxy.http());
            other.send(request("/in/a", "Authorization: one\r\nX-Forwarded-For: 127.0.0.1\r\n"));
            assert_eq!(other.response("GET").status(), 403);
        }
        assert_eq!(service.request_count(), 4);
        let labels = ["pool=\"service\"", "decision=\"cached\""];
        assert_eq!(proxy.metric("proxy_filter_decisions_total", &labels), 3.0);
    }
}

// --- gRPC -------------------------------------------------------------------------------------------------

/// A field of a message with bytes of fewer than 16,384.
fn bytes(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut field = vec![tag << 3 | 2];
    match length {
        0..=127 => field.push(length as u8),
        _ => field.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]),
    }
    field.extend(content);
    field
}

fn number(tag: u8, value: u16) -> Vec<u8> {
    vec![tag << 3, (value & 0x7f) as u8 | 0x80, (value >> 7) as u8]
}

/// `HeaderValueOption`
fn header(name: &str, value: &str) -> Vec<u8> {
    bytes(1, &[bytes(1, name.as_bytes()), bytes(2, value.as_bytes())].concat())
}

/// `CheckResponse.status`
fn status(code: u16) -> Vec<u8> {
    bytes(1, &number(1, code))
}

/// `CheckResponse.ok_response`
fn okay(parts: &[Vec<u8>]) -> Vec<u8> {
    bytes(3, &parts.concat())
}

/// `CheckResponse.denied_response`
fn denied(code: u16, headers: &[Vec<u8>], body: &str) -> Vec<u8> {
    let headers: Vec<u8> = headers.iter().flat_map(|header| bytes(2, header)).collect();
    bytes(2, &[bytes(1, &number(1, code)), headers, bytes(3, body.as_bytes())].concat())
}

/// A message with its prefix.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

const GRPC_HEAD: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];

/// A whole answer.
fn answer(replies: &mut Replies, stream: u32, message: &[u8]) {
    replies.head(stream, &GRPC_HEAD, false).data(stream, &framed(message), false);
    replies.head(stream, &[("grpc-status", "0")], true);
}

/// Whether the message of a request contains a text.
fn says(asked: &Asked, text: &str) -> bool {
    asked.body.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Ways in which a service gives no decision.
const LIES: [&str; 14] = [
    "protobuf",
    "contrary",
    "empty",
    "error",
    "type",
    "status",
    "headstatus",
    "trailers",
    "prefix",
    "coded",
    "length",
    "flood",
    "reset",
    "away",
];

/// A service over gRPC. The path of the request that it judges says what it does.
fn grpc_service() -> H2Origin {
    H2Origin::new(|asked, replies| {
        let stream = asked.stream;
        let does = |what: &str| says(asked, &format!("/in/{what}"));
        let yes = [status(0), okay(&[bytes(2, &header("x-user", "alice"))])].concat();
        if does("allow") {
            let edits = [
                bytes(2, &header("x-user", "alice")),
                bytes(2, &header("x-added", "1")),
                bytes(5, b"x-secret"),
                bytes(6, &header("x-by", "service")),
            ];
            answer(replies, stream, &[status(0), okay(&edits)].concat());
        } else if does("silent") {
            answer(replies, stream, &status(0));
        } else if does("deny") {
            let headers = [header("www-authenticate", "Bearer"), header("content-length", "99")];
            answer(replies, stream, &[status(7), denied(401, &headers, "no")].concat());
        } else if does("refused-long") {
            // The length of the message, and the beginning of a denial without end.
            let prefix = [0, 0, 2, 0, 0];
            let message = [
                &status(7)[..],
                &[2 << 3 | 2, 0xf0, 0xff, 0x07],
                &bytes(1, &number(1, 401)),
                &[3 << 3 | 2, 0xe0, 0xff, 0x07],
            ]
            .concat();
            replies.head(stream, &GRPC_HEAD, false).data(stream, &[&prefix[..], &message].concat(), false);
            for _ in 0..8 {
                replies.data(stream, &[b'x'; 16_384], false);
            }
        } else if does("refused-slow") {
            // The whole message, and no end of the call.
            let message = [status(7), denied(429, &[], "no")].concat();
            replies.head(stream, &GRPC_HEAD, false).data(stream, &framed(&message), false);
        } else if does("bare") {
            answer(replies, stream, &status(16));
        } else if does("protobuf") {
            answer(replies, stream, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
        } else if does("contrary") {
            answer(replies, stream, &[status(0), denied(403, &[], "no")].concat());
        } else if does("empty") {
            answer(replies, stream, b"");
        } else if does("error") {
            answer(replies, stream, &[status(0), bytes(5, &bytes(3, b"oops"))].concat());
        } else if does("type") {
            replies.head(stream, &[(":status", "200"), ("content-type", "text/html")], false);
            replies.data(stream, &framed(&yes), false).head(stream, &[("grpc-status", "0")], true);
        } else if does("status") {
            replies.head(stream, &GRPC_HEAD, false).data(stream, &framed(&yes), false);
            replies.head(stream, &[("grpc-status", "13")], true);
        } else if does("headstatus") {
            let head = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")];
            replies.head(stream, &head, true);
        } else if does("trailers") {
            replies.head(stream, &GRPC_HEAD, false).data(stream, &framed(&yes), true);
        } else if does("prefix") {
            replies.head(stream, &GRPC_HEAD, false).data(stream, &framed(&yes)[..7], false);
            replies.head(stream, &[("grpc-status", "0")], true);
        } else if does("coded") {
            let mut message = framed(&yes);
            message[0] = 1;
            replies.head(stream, &GRPC_HEAD, false).data(stream, &message, false);
            replies.head(stream, &[("grpc-status", "0")], true);
        } else if does("length") {
            replies.head(stream, &GRPC_HEAD, false).data(stream, b"\0\xff\xff\xff\xffxxxx", false);
        } else if does("flood") {
            let long = "x".repeat(15_000);
            // More content than the proxy's window and the limit of a decision admit.
            replies.head(stream, &[GRPC_HEAD[0], GRPC_HEAD[1], ("x-long", &long)], false);
            for _ in 0..8 {
                replies.data(stream, &[0; 16_384], false);
            }
        } else if does("reset") {
            replies.frame(h2::RST_STREAM, 0, stream, &2u32.to_be_bytes());
        } else if does("away") {
            replies.closes = true;
        }
        // Everything else gets no answer.
    })
}

on_both_drivers! {
    fn a_service_over_grpc_decides(driver) {
        let (origin, service) = (Origin::named("app"), grpc_service());
        let proxy = start(driver, &document(&origin, "external_grpc", &service.target(), PATIENT));
        let answer = ask(&proxy, "/in/allow", &format!("{SPOOFED}X-Secret: s\r\nX-Added: mine\r\n"));
        assert_eq!((answer.status(), answer.field("x-by")), (200, Some("service")));
        let received = origin.one_request();
        assert_stripped(&received);
        assert_eq!((received.all("x-user"), received.all("x-added")), (vec!["alice"], vec!["1"]));
        assert_eq!(received.field("x-secret"), None);
        let asked = service.requests().pop().unwrap();
        assert_eq!(asked.get(":path"), Some("/envoy.service.auth.v3.Authorization/Check"));
        assert_eq!((asked.get("content-type"), asked.get("te")), (Some("application/grpc"), Some("trailers")));
        assert!(says(&asked, "127.0.0.1") && says(&asked, "app.test") && !says(&asked, "admin"));

        assert_eq!(ask(&proxy, "/in/silent", SPOOFED).field("x-by"), None);
        let received = origin.requests().pop().unwrap();
        assert_stripped(&received);
        assert_eq!(received.field("x-user"), None);
        let answer = ask(&proxy, "/in/deny", "");
        assert_eq!((answer.status(), answer.text().as_str()), (401, "no"));
        assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
        let answer = ask(&proxy, "/in/bare", "");
        assert_eq!((answer.status(), code(&answer).as_str()), (403, "filter_denied"));
        assert_eq!((origin.request_count(), service.requests().len()), (2, 4));
        let mut client = proxy.client();
        client.send(ws::upgrade("app.test", "/in/deny"));
        assert_eq!(client.response("GET").status(), 401);
    }

    fn clients_of_grpc_get_a_status_of_their_own(driver) {
        let (origin, service) = (Origin::named("app"), grpc_service());
        let document = document(&origin, "external_grpc", &service.target(), HASTY);
        let secure = h2::secure(configured(driver, &document));
        let mut peer = h2::H2::connect(&secure);
        for (path, expected) in [("/in/deny", "16"), ("/in/bare", "7"), ("/in/hang", "14")] {
            let stream = peer.begin(
                &[(":method", "POST"), (":scheme", "https"), (":authority", "app.test"), (":path", path),
                  ("content-type", "application/grpc"), ("te", "trailers")],
                true,
            );
            let answer = peer.response(stream);
            assert_eq!((answer.status(), answer.get("grpc-status")), (200, Some(expected)), "{path}");
            assert_eq!((answer.get("content-type"), answer.text().as_str()), (Some("application/grpc"), ""));
            assert_eq!(answer.get("www-authenticate"), None);
        }
        assert_eq!(origin.request_count(), 0);
    }

    fn a_grpc_service_that_lies_decides_nothing(driver) {
        for mode in ["closed", "open"] {
            let (origin, service) = (Origin::named("app"), grpc_service());
            let settings = format!("{HASTY}, fail_mode: {mode}");
            let proxy = start(driver, &document(&origin, "external_grpc", &service.target(), &settings));
            let mut served = 0;
            for lie in LIES.iter().chain(&["hang"]) {
                let answer = ask(&proxy, &format!("/in/{lie}"), SPOOFED);
                match mode {
                    "closed" => {
                        assert_eq!((answer.status(), code(&answer).as_str()), (503, "filter_unavailable"), "{lie}");
                        assert_eq!(origin.request_count(), served, "{lie}");
                    }
                    _ => {
                        assert_eq!(answer.status(), 200, "{lie}");
                        let received = origin.requests().pop().unwrap();
                        assert_stripped(&received);
                        assert_eq!(received.field("x-user"), None, "{lie}");
                    }
                }
                assert!(service.requests().iter().any(|asked| says(asked, &format!("/in/{lie}"))), "{lie} was asked");
                assert_eq!(ask(&proxy, "/in/silent", "").status(), 200, "after {lie}");
                assert_eq!(ask(&proxy, "/in/bare", "").status(), 403, "after {lie}");
                served = origin.request_count();
            }
            for (path, status) in [("/in/refused-long", 401), ("/in/refused-slow", 429)] {
                let answer = ask(&proxy, path, "");
                assert_eq!((answer.status(), code(&answer).as_str()), (status, "filter_denied"), "{mode} {path}");
            }
            assert_eq!(origin.request_count(), served);
        }
    }

    fn a_dead_grpc_service_holds_its_fail_mode(driver) {
        for (mode, status) in [("closed", 503), ("open", 200)] {
            let origin = Origin::named("app");
            let service = grpc_service();
            let target = service.target();
            drop(service);
            let settings = format!("{HASTY}, fail_mode: {mode}");
            let proxy = start(driver, &document(&origin, "external_grpc", &target, &settings));
            assert_eq!(ask(&proxy, "/in/allow", SPOOFED).status(), status);
            origin.requests().iter().for_each(assert_stripped);
            assert_eq!(ask(&proxy, "/out", "").status(), 200);
        }
    }
}
