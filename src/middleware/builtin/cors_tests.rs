#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Cors as Spec, StageSpec};

use crate::builtin::test_chain;
use crate::chain::{Chain, Run};
use crate::testing::{TestServices, reply_lines, request};
use crate::{Flow, LocalReply};

fn chain(origins: &[&str], credentials: bool) -> Arc<Chain> {
    let list = |texts: &[&str]| texts.iter().map(|text| Arc::from(*text)).collect();
    test_chain(&[StageSpec::Cors(Spec {
        allow_origins: list(origins),
        allow_methods: list(&["GET", "PUT"]),
        allow_headers: list(&[]),
        expose_headers: list(&["X-Total"]),
        allow_credentials: credentials,
        max_age: Duration::from_secs(600),
    })])
}

fn get(origin: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.example\r\nOrigin: {origin}\r\n\r\n")
}

fn preflight(origin: &str) -> String {
    format!(
        "OPTIONS / HTTP/1.1\r\nHost: a.example\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\
         Access-Control-Request-Headers: x-a, x-b\r\n\r\n"
    )
}

fn answer(chain: &Chain, text: &str) -> (u16, String) {
    match request(chain, text, &TestServices::default(), &mut Run::default()) {
        Flow::Reply(reply) => (reply.status(), String::from_utf8_lossy(reply.lines()).into_owned()),
        other => panic!("{other:?}"),
    }
}

/// Fields of a response to a request that passed the stage.
fn response(chain: &Chain, text: &str) -> String {
    let mut run = Run::default();
    assert!(matches!(request(chain, text, &TestServices::default(), &mut run), Flow::Continue));
    reply_lines(chain, text, &LocalReply::error(401), &mut run)
}

#[test]
fn preflights_of_admitted_origins_get_what_they_ask_for() {
    let chain = chain(&["https://app.example"], true);
    let vary = "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n";
    assert_eq!(
        answer(&chain, &preflight("https://app.example")),
        (
            204,
            format!(
                "{vary}Access-Control-Allow-Origin: https://app.example\r\n\
                 Access-Control-Allow-Methods: GET, PUT\r\nAccess-Control-Allow-Headers: x-a, x-b\r\n\
                 Access-Control-Allow-Credentials: true\r\nAccess-Control-Max-Age: 600\r\n"
            )
        )
    );
    for other in ["https://evil.example", "http://app.example", "https://app.example:8443", "null", ""] {
        assert_eq!(answer(&chain, &preflight(other)), (204, vary.to_owned()), "{other}");
    }
}

#[test]
fn options_that_are_no_preflight_go_on() {
    let chain = chain(&["https://app.example"], false);
    for text in [
        "OPTIONS / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: a.example\r\nOrigin: https://app.example\r\n\r\n",
    ] {
        let flow = request(&chain, text, &TestServices::default(), &mut Run::default());
        assert!(matches!(flow, Flow::Continue), "{text}");
    }
}

#[test]
fn every_response_varies_by_origin_and_names_only_admitted_ones() {
    let chain = chain(&["https://app.example", "https://*.pages.example"], true);
    let admitted = |origin: &str| {
        format!(
            "Vary: Origin\r\nAccess-Control-Allow-Origin: {origin}\r\n\
             Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: X-Total\r\n"
        )
    };
    for good in ["https://app.example", "https://a-1.pages.example"] {
        assert_eq!(response(&chain, &get(good)), admitted(good));
    }
    for bad in [
        "https://pages.example",
        "https://.pages.example",
        "https://a.b.pages.example",
        "https://evil.example/.pages.example",
        "https://app.example.evil.example",
        "https://a.pages.example:444",
    ] {
        assert_eq!(response(&chain, &get(bad)), "Vary: Origin\r\n", "{bad}");
    }
    let without = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(response(&chain, without), "Vary: Origin\r\n");
    let twice = "GET / HTTP/1.1\r\nHost: a.example\r\nOrigin: https://app.example\r\nOrigin: https://evil.example\r\n\r\n";
    assert_eq!(response(&chain, twice), "Vary: Origin\r\n");
}

#[test]
fn all_origins_need_no_vary() {
    let chain = chain(&["*"], false);
    assert_eq!(
        response(&chain, &get("https://any.example")),
        "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-Total\r\n"
    );
}
