//! HTTP/2 endpoints that disconnect, refuse, flood, stall, or violate the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::kit::h2::*;
use crate::kit::h2_script::*;
use crate::kit::hpack::literal;
use crate::kit::*;

// RFC 9113 §7.
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

const MAX_CONCURRENT_STREAMS: u16 = 3;

/// A proxy with one worker, so that there is one set of connections, that serves `app.test` with `origin`.
fn serving(driver: Driver, origin: &Scripted) -> Proxy {
    let proxy = Proxy::on(driver).env("PROXY_WORKERS", "1").start();
    let body = json!({
        "app_id": "app",
        "upstream_tls": { "insecure": true },
        "instance": { "instance_id": "app-1", "target": origin.target() },
    });
    proxy.api().post("/api/apps/register", &body).is(201);
    proxy.api().domain("app.test", "app", None);
    proxy
}

/// A client with a request under way.
fn asking(proxy: &Proxy, method: &str, path: &str) -> Client {
    let mut client = proxy.client();
    let length = if method == "POST" { "Content-Length: 4\r\n" } else { "" };
    let body = if method == "POST" { "body" } else { "" };
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: app.test\r\n{length}\r\n{body}"));
    client
}

fn paths(origin: &Scripted, path: &str) -> usize {
    origin.asked().iter().filter(|asked| asked.path() == path).count()
}

/// Error code of the response.
fn word(answer: &Message) -> String {
    let json = answer.json();
    json["error"]["code"].as_str().or(json["error"].as_str()).unwrap_or("?").to_owned()
}

on_both_drivers! {
    fn requests_under_way_share_a_connection(driver) {
        const COUNT: usize = 60;
        let origin = Scripted::script(|line| {
            // No response is sent before all requests have arrived.
            let held: Vec<Asked> = (0..COUNT).map_while(|_| line.request()).collect();
            for asked in held.iter().rev() {
                line.reply(asked.stream, asked.path().as_bytes());
            }
            line.until_closed();
        });
        let proxy = serving(driver, &origin);
        let clients: Vec<Client> = (0..COUNT).map(|at| asking(&proxy, "POST", &format!("/{at}"))).collect();
        for (at, mut client) in clients.into_iter().enumerate() {
            assert_eq!(client.response("POST").text(), format!("/{at}"));
        }
        assert_eq!(origin.lines(), 1);
    }

    fn no_more_requests_run_at_one_time_than_the_endpoint_allows(driver) {
        let gate = Gate::new();
        let opened = gate.clone();
        let origin = Scripted::with(&[(MAX_CONCURRENT_STREAMS, 2)], move |line| {
            let mut held = Vec::new();
            while let Some(asked) = line.request() {
                if asked.path() != "/held" {
                    assert!(held.len() < 2);
                    line.reply(asked.stream, b"quick");
                    continue;
                }
                held.push(asked.stream);
                if held.len() == 2 {
                    gate.pass();
                    held.drain(..).for_each(|stream| line.reply(stream, b"held"));
                }
            }
        });
        let proxy = serving(driver, &origin);
        assert_eq!(proxy.get("app.test", "/first").text(), "quick");
        let held = [asking(&proxy, "POST", "/held"), asking(&proxy, "POST", "/held")];
        eventually("both are held", || (paths(&origin, "/held") == 2).then_some(()));
        for _ in 0..4 {
            assert_eq!(proxy.get("app.test", "/quick").text(), "quick");
        }
        assert_eq!(origin.lines(), 2, "the connection was full");
        opened.open();
        for mut client in held {
            assert_eq!(client.response("POST").text(), "held");
        }
    }

    fn a_goaway_loses_no_request(driver) {
        let origin = Scripted::script(|line| {
            if line.index > 0 {
                return line.answer_all(&|asked| asked.path().as_bytes().to_vec());
            }
            let held: Vec<Asked> = (0..4).map_while(|_| line.request()).collect();
            let Some(first) = held.first() else { return };
            line.goaway(first.stream, NO_ERROR);
            line.reply(first.stream, first.path().as_bytes());
            line.until_closed();
        });
        let proxy = serving(driver, &origin);
        let clients: Vec<Client> = (0..4).map(|at| asking(&proxy, "POST", &format!("/{at}"))).collect();
        for (at, mut client) in clients.into_iter().enumerate() {
            let answer = client.response("POST");
            assert_eq!((answer.status(), answer.text()), (200, format!("/{at}")));
        }
        assert_eq!(origin.lines(), 2, "one connection for all that were sent away");
        assert_eq!(proxy.get("app.test", "/later").text(), "/later");
        assert_eq!(origin.lines(), 2);
    }

    fn a_refused_request_is_asked_again_whatever_its_method(driver) {
        let refused = Arc::new(AtomicUsize::new(0));
        let refusing = Arc::clone(&refused);
        let origin = Scripted::script(move |line| {
            while let Some(asked) = line.request() {
                if refusing.fetch_add(1, Ordering::SeqCst) == 1 {
                    line.reset(asked.stream, REFUSED_STREAM);
                } else {
                    line.reply(asked.stream, &asked.body);
                }
            }
        });
        let proxy = serving(driver, &origin);
        for _ in 0..3 {
            let answer = asking(&proxy, "POST", "/").response("POST");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "body"));
        }
        assert_eq!(refused.load(Ordering::SeqCst), 4);
    }

    fn an_endpoint_that_refuses_everything_is_asked_a_few_times(driver) {
        let origin = Scripted::script(|line| {
            while let Some(asked) = line.request() {
                line.reset(asked.stream, REFUSED_STREAM);
            }
        });
        let proxy = serving(driver, &origin);
        let answer = asking(&proxy, "POST", "/").response("POST");
        assert_eq!((answer.status(), word(&answer).as_str()), (502, "upstream_refused"));
        assert_eq!(paths(&origin, "/"), 4);
        // It responds to the PING: no reason to avoid it.
        for _ in 0..6 {
            assert_eq!(asking(&proxy, "POST", "/").response("POST").field("x-proxy-circuit-open"), None);
        }
    }

    fn a_request_that_was_given_up_is_not_asked_again(driver) {
        let origin = Scripted::script(|line| {
            while let Some(asked) = line.request() {
                match asked.path() {
                    "/" => line.reply(asked.stream, b"fine"),
                    _ => line.reset(asked.stream, INTERNAL_ERROR),
                }
            }
        });
        let proxy = serving(driver, &origin);
        assert_eq!(proxy.get("app.test", "/").text(), "fine");
        for (method, path) in [("GET", "/get"), ("POST", "/post")] {
            assert_eq!(asking(&proxy, method, path).response(method).status(), 502);
            assert_eq!(paths(&origin, path), 1, "it may have been acted on");
        }
        // Servers of gRPC end a stream that way for what a client has asked.
        for _ in 0..6 {
            let answer = asking(&proxy, "POST", "/again").response("POST");
            assert_eq!((answer.status(), answer.field("x-proxy-circuit-open")), (502, None));
        }
        assert_eq!(proxy.get("app.test", "/").text(), "fine");
        assert_eq!(origin.lines(), 1, "the others have nothing to do with it");
    }

    fn a_broken_connection_is_made_up_for_where_that_is_harmless(driver) {
        let origin = Scripted::script(|line| {
            while let Some(asked) = line.request() {
                match (asked.path(), line.index) {
                    ("/get", 0) | ("/post", 1) => return,
                    _ => line.reply(asked.stream, b"fine"),
                }
            }
        });
        let proxy = serving(driver, &origin);
        assert_eq!(proxy.get("app.test", "/").text(), "fine");
        assert_eq!(proxy.get("app.test", "/get").text(), "fine");
        assert_eq!(paths(&origin, "/get"), 2);
        assert_eq!(asking(&proxy, "POST", "/post").response("POST").status(), 502);
        assert_eq!(paths(&origin, "/post"), 1);
        assert_eq!(proxy.get("app.test", "/").text(), "fine");
        assert_eq!(origin.lines(), 3);
    }

    fn an_answer_that_is_cut_never_looks_whole(driver) {
        let origin = Scripted::script(|line| {
            while let Some(asked) = line.request() {
                let stream = asked.stream;
                match asked.path() {
                    "/length" => {
                        line.headers(stream, &[(":status", "200"), ("content-length", "50")], false);
                        line.data(stream, b"hello", false);
                        line.reset(stream, INTERNAL_ERROR);
                    }
                    "/none" => {
                        line.headers(stream, &[(":status", "200")], false);
                        line.data(stream, b"hello", false);
                        line.reset(stream, NO_ERROR);
                    }
                    "/short" => {
                        line.headers(stream, &[(":status", "200"), ("content-length", "50")], false);
                        line.data(stream, b"hello", true);
                    }
                    "/long" => {
                        line.headers(stream, &[(":status", "200"), ("content-length", "5")], false);
                        line.data(stream, b"hello, and more", true);
                    }
                    _ => {
                        line.headers(stream, &[(":status", "200")], false);
                        line.data(stream, b"hello", false);
                        return;
                    }
                }
            }
        });
        let proxy = serving(driver, &origin);
        for path in ["/length", "/none", "/short", "/long", "/closed"] {
            let answer = asking(&proxy, "GET", path).try_response("GET");
            let is_refused = answer.as_ref().is_ok_and(|answer| answer.status() == 502);
            assert!(answer.is_err() || is_refused, "{path}: {answer:?}");
        }
    }

    fn what_no_endpoint_may_say_is_not_passed_on(driver) {
        let origin = Scripted::script(|line| {
            while let Some(asked) = line.request() {
                let stream = asked.stream;
                let plain: &[(&str, &str)] = match asked.path() {
                    "/connection" => &[(":status", "200"), ("connection", "close")],
                    "/coding" => &[(":status", "200"), ("transfer-encoding", "chunked")],
                    "/upgrade" => &[(":status", "200"), ("upgrade", "h2c")],
                    "/nothing" => &[("x", "y")],
                    "/word" => &[(":status", "abc")],
                    "/twice" => &[(":status", "200"), (":status", "404")],
                    "/late" => &[("x", "y"), (":status", "200")],
                    "/lengths" => &[(":status", "200"), ("content-length", "2"), ("content-length", "3")],
                    "/sign" => &[(":status", "200"), ("content-length", "+2")],
                    "/switch" => &[(":status", "101"), ("x", "y")],
                    "/crlf" => &[(":status", "200"), ("x", "y\r\nevil: 1")],
                    "/lf" => &[(":status", "200"), ("x", "y\nevil: 1")],
                    "/nul" => &[(":status", "200"), ("x", "y\0z")],
                    "/name" => &[(":status", "200"), ("x: y\r\nevil", "1")],
                    "/upper" => &[(":status", "200"), ("Evil", "1")],
                    "/space" => &[(":status", "200"), ("x y", "1")],
                    _ => &[(":status", "200"), ("x-good", "yes")],
                };
                line.headers(stream, plain, asked.path() != "/lengths" && asked.path() != "/sign");
                if asked.path() == "/lengths" || asked.path() == "/sign" {
                    line.data(stream, b"ab", true);
                }
            }
        });
        let proxy = serving(driver, &origin);
        for path in [
            "/connection", "/coding", "/upgrade", "/nothing", "/word", "/twice", "/late", "/lengths", "/sign",
            "/switch", "/crlf", "/lf", "/nul", "/name", "/upper", "/space",
        ] {
            let answer = asking(&proxy, "POST", path).response("POST");
            assert_eq!(answer.status(), 502, "{path}: {answer:?}");
            assert!(answer.field("evil").is_none() && answer.field("x").is_none(), "{path}: {answer:?}");
            assert_eq!(paths(&origin, path), 1, "{path}");
            // Keeps the breaker closed, too.
            assert_eq!(proxy.get("app.test", "/good").field("x-good"), Some("yes"));
        }
    }

    fn bodies_where_none_may_be_do_not_become_the_next_answer(driver) {
        let origin = Scripted::script(|line| {
            while let Some(asked) = line.request() {
                let status = match asked.path() {
                    "/204" => "204",
                    "/304" => "304",
                    _ => "200",
                };
                line.headers(asked.stream, &[(":status", status)], false);
                line.data(asked.stream, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", true);
            }
        });
        let proxy = serving(driver, &origin);
        for (method, path) in [("HEAD", "/"), ("GET", "/204"), ("GET", "/304")] {
            let mut client = asking(&proxy, method, path);
            if let Ok(answer) = client.try_response(method) {
                assert!(answer.body.is_empty(), "{method} {path}: {answer:?}");
                client.send("HEAD /next HTTP/1.1\r\nHost: app.test\r\n\r\n");
                if let Ok(next) = client.try_response("HEAD") {
                    assert!(next.field("x-request-id").is_some() || next.field("content-length") != Some("4"));
                }
            }
        }
    }

    fn floods_of_an_endpoint_end_its_connection_and_nothing_else(driver) {
        let origin = Scripted::script(|line| {
            while let Some(asked) = line.request() {
                let stream = asked.stream;
                match asked.path() {
                    "/interim" => while line.frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "103")])) {},
                    "/continued" => {
                        line.frame(HEADERS, 0, stream, &block(&[(":status", "200")]));
                        while line.frame(CONTINUATION, 0, stream, &block(&[("x", "y")])) {}
                    }
                    "/list" => {
                        let value = "v".repeat(1_000);
                        let mut fields = block(&[(":status", "200")]);
                        (0..1_000).for_each(|_| literal(&mut fields, b"x", value.as_bytes()));
                        let mut pieces = fields.chunks(16_384).peekable();
                        line.frame(HEADERS, 0, stream, pieces.next().unwrap());
                        while let Some(piece) = pieces.next() {
                            let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
                            if !line.frame(CONTINUATION, flags, stream, piece) {
                                break;
                            }
                        }
                    }
                    "/settings" => while line.frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]) {},
                    "/data" => {
                        line.headers(stream, &[(":status", "200")], false);
                        // No window allows that.
                        while line.frame(DATA, 0, stream, &[0; 16_384]) {}
                    }
                    _ => line.reply(stream, b"fine"),
                }
            }
        });
        let proxy = serving(driver, &origin);
        for path in ["/interim", "/continued", "/list", "/settings", "/data"] {
            let mut client = asking(&proxy, "POST", path);
            let answer = client.try_response("POST");
            let is_refused = answer.as_ref().is_ok_and(|answer| answer.status() == 502);
            assert!(answer.is_err() || is_refused, "{path}: {answer:?}");
            let next = asking(&proxy, "GET", "/").try_response("GET");
            assert!(next.as_ref().is_ok_and(|next| next.text() == "fine"), "after {path}: {next:?}");
        }
    }

    fn an_early_answer_ends_an_upload(driver) {
        let origin = Scripted::script(|line| {
            line.is_greedy = false;
            while let Some(asked) = line.head() {
                line.headers(asked.stream, &[(":status", "403"), ("content-length", "2")], false);
                line.data(asked.stream, b"no", true);
                line.reset(asked.stream, NO_ERROR);
            }
        });
        let proxy = serving(driver, &origin);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10000000\r\n\r\n");
        client.send(vec![7; 30_000]);
        let answer = client.response("POST");
        assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
    }

    fn long_bodies_pass_through_narrow_windows(driver) {
        let origin = Scripted::with(&[(INITIAL_WINDOW_SIZE, 1_000)], |line| line.answer_all(&|asked| asked.body.clone()));
        let proxy = serving(driver, &origin);
        let body = pattern(900_000);
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        assert!(client.response("POST").body == body, "bytes were changed");
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunked(&body, 70_000));
        assert!(client.response("POST").body == body, "bytes were changed");
    }

    fn a_client_that_does_not_read_holds_up_no_other(driver) {
        let body = Arc::new(pattern(24 << 20));
        let (sending, sent) = (Arc::clone(&body), Arc::new(AtomicUsize::new(0)));
        let counting = Arc::clone(&sent);
        let origin = Scripted::script(move |line| {
            let mut big: Option<(u32, usize)> = None;
            loop {
                if let Some((stream, at)) = &mut big {
                    let part = line.room(*stream).min(16_384).min(sending.len() - *at);
                    if part > 0 {
                        let end = *at + part == sending.len();
                        line.data(*stream, &sending[*at..*at + part], end);
                        *at += part;
                        counting.store(*at, Ordering::SeqCst);
                        if end {
                            big = None;
                        }
                        continue;
                    }
                }
                match line.head_at_hand() {
                    Some(asked) if asked.path() == "/big" => {
                        line.headers(asked.stream, &[(":status", "200")], false);
                        big = Some((asked.stream, 0));
                    }
                    Some(asked) => line.reply(asked.stream, b"quick"),
                    None if !line.turn() => return,
                    None => {}
                }
            }
        });
        let proxy = serving(driver, &origin);
        let mut slow = asking(&proxy, "GET", "/big");
        eventually("something was sent", || (sent.load(Ordering::SeqCst) > 0).then_some(()));
        for _ in 0..50 {
            assert_eq!(proxy.get("app.test", "/quick").text(), "quick");
        }
        assert!(sent.load(Ordering::SeqCst) < body.len(), "24 MiB were taken for a client that reads nothing");
        assert!(slow.response("GET").body == *body);
        assert_eq!(origin.lines(), 1);
    }

    fn an_endpoint_that_is_removed_loses_its_connection(driver) {
        let gate = Gate::new();
        let closed = gate.clone();
        let origin = Scripted::script(move |line| {
            line.answer_all(&|_| b"fine".to_vec());
            closed.open();
        });
        let proxy = serving(driver, &origin);
        assert_eq!(proxy.get("app.test", "/").text(), "fine");
        proxy.api().remove("app-1");
        assert!(gate.pass(), "the connection stayed open");
    }

    fn a_silent_connection_is_found_out(driver) {
        let origin = Scripted::script(|line| match line.index {
            0 => {
                let first = line.request().unwrap();
                line.reply(first.stream, b"fine");
                line.head();
                line.play_dead();
            }
            _ => line.answer_all(&|_| b"fine".to_vec()),
        });
        let proxy = serving(driver, &origin);
        assert_eq!(proxy.get("app.test", "/").text(), "fine");
        let mut client = asking(&proxy, "GET", "/second");
        let answer = client.within(Duration::from_secs(90)).patient_response("GET");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "fine"));
        assert_eq!(origin.lines(), 2);
    }

    fn http2_over_tls_is_chosen_where_the_endpoint_offers_it(driver) {
        let pair = Authority::new("the apps' CA").server(&["app.internal"]);
        let origin = Scripted::secure(&pair, |line| line.answer_all(&|asked| asked.body.clone()));
        let proxy = serving(driver, &origin);
        let body = pattern(500_000);
        let mut client = proxy.client();
        for _ in 0..2 {
            client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len()));
            client.send(&body);
            assert!(client.response("POST").body == body);
        }
        assert_eq!(origin.lines(), 1);
        assert_eq!(origin.asked()[0].get(":scheme"), Some("https"));
    }
}
