#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ringway_model::{HeaderEdits, HeaderTransform, StageSpec, Template};

use crate::chain::{Chain, Run};
use crate::compile::{ChainSource, compile};
use crate::testing::{TestServices, reply_lines, request};
use crate::{Flow, LocalReply};

fn fields(fields: &[(&str, &str)]) -> Box<[(Arc<str>, Template)]> {
    fields.iter().map(|(name, value)| (Arc::from(*name), Template::parse(value).unwrap())).collect()
}

fn chain(spec: HeaderTransform) -> Arc<Chain> {
    let spec = StageSpec::HeaderTransform(spec);
    let source = ChainSource {
        custom: None,
        stages: &[&spec],
        plugin: &|_| None,
        builtins: &crate::Builtins::default(),
    };
    compile(&source).chain.unwrap()
}

#[test]
fn values_of_the_request_are_filled_in() {
    let request_edits = HeaderEdits {
        add: fields(&[("x-proxy-version", "1.0"), ("x-who", "${client_ip} ${tenant} ${header.x-a}")]),
        set: fields(&[("x-scheme", "${scheme}"), ("x-absent", "${claim.sub}")]),
        remove: ["x-internal-secret".into()].into(),
    };
    let response =
        HeaderEdits { set: fields(&[("x-route", "${route}${header.x-a}")]), ..HeaderEdits::default() };
    let chain = chain(HeaderTransform { request: request_edits, response });
    let (services, mut run) = (TestServices::default(), Run::default());
    let text = "GET /a HTTP/1.1\r\nHost: a.example\r\nX-A: b\r\n\r\n";
    assert!(matches!(request(&chain, text, &services, &mut run), Flow::Continue));
    let edits = run.request_edits();
    assert_eq!(
        String::from_utf8_lossy(edits.lines()),
        "x-scheme: https\r\nx-proxy-version: 1.0\r\nx-who: 192.0.2.1 tenant-1 b\r\n"
    );
    let removed: Vec<_> = edits.removed().collect();
    assert_eq!(removed, ["x-internal-secret", "x-scheme", "x-absent"], "an absent value removes the field");
    assert_eq!(reply_lines(&chain, text, &LocalReply::error(403), &mut run), "x-route: routeb\r\n");
}

#[test]
fn other_spellings_of_the_client_are_removed() {
    let edits = HeaderEdits {
        set: fields(&[("x-client", "${client_ip}")]),
        remove: ["X-Internal-Secret".into()].into(),
        ..HeaderEdits::default()
    };
    let chain = chain(HeaderTransform { request: edits, response: HeaderEdits::default() });
    let (services, mut run) = (TestServices::default(), Run::default());
    let text =
        "GET / HTTP/1.1\r\nHost: a.example\r\nX.Internal~Secret: 1\r\nX.Client: 1\r\nX.Other: 1\r\n\r\n";
    assert!(matches!(request(&chain, text, &services, &mut run), Flow::Continue));
    let edits = run.request_edits();
    assert!(edits.removes(b"X.Internal~Secret") && edits.removes(b"X.Client") && !edits.removes(b"X.Other"));
    let refused = chain.refused_trailers(&run);
    assert!(refused.contain(b"x_internal_secret") && refused.contain(b"X-Client"));
    assert!(!refused.contain(b"X-Checksum"));
}

/// Documents refuse edits of the fields that the data plane sets or removes itself.
#[test]
fn the_fields_of_the_proxy_are_those_that_documents_protect() {
    use ringway_model::Direction;
    use ringway_wire::headers::{FieldKind, HOP_BY_HOP, IDENTITY, OWN_IDENTITY};

    let names = [
        "Connection",
        "Content-Length",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Transfer-Encoding",
        "Upgrade",
        "HTTP2-Settings",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Prefix",
        "X-Real-IP",
        "Forwarded",
        "X-Request-ID",
        "X-Tenant-ID",
        "X-Original-Host",
        "X-Client-Cert-Subject",
        "Accept",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "Content-Type",
        "User-Agent",
        "Origin",
        "Server",
        "Retry-After",
        "If-Match",
        "Idempotency-Key",
        "X-User",
        "X-Forward",
    ];
    let own = HOP_BY_HOP.with(IDENTITY).with(OWN_IDENTITY);
    for name in names {
        let kind = FieldKind::of(name.as_bytes());
        assert_eq!(Direction::Request.protects(name), own.has(kind), "{name}");
        if HOP_BY_HOP.has(kind) {
            assert!(Direction::Response.protects(name), "{name}");
        }
    }
}
