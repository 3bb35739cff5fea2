#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ringway_model::{
    FrameOptions, HeaderEdits, HeaderTransform, Hsts, SecurityHeaders as Spec, StageSpec, Template,
};

use crate::LocalReply;
use crate::builtin::test_chain;
use crate::chain::{Chain, Run};
use crate::testing::{TestServices, reply_lines, request};

fn stage() -> StageSpec {
    StageSpec::SecurityHeaders(Spec {
        hsts: Some(Hsts {
            max_age: Duration::from_secs(31_536_000),
            include_subdomains: true,
            preload: false,
        }),
        nosniff: true,
        frame_options: Some(FrameOptions::Deny),
        content_security_policy: Some("default-src 'self'".into()),
        referrer_policy: None,
        permissions_policy: None,
    })
}

fn lines(chain: &Chain, reply: &LocalReply) -> String {
    let (text, mut run) = ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", Run::default());
    let _ = request(chain, text, &TestServices::default(), &mut run);
    reply_lines(chain, text, reply, &mut run)
}

#[test]
fn fields_are_added_where_the_response_has_none() {
    let chain = test_chain(&[stage()]);
    assert_eq!(
        lines(&chain, &LocalReply::error(404)),
        "Strict-Transport-Security: max-age=31536000; includeSubDomains\r\nX-Content-Type-Options: nosniff\r\n\
         X-Frame-Options: DENY\r\nContent-Security-Policy: default-src 'self'\r\n"
    );
    let own = LocalReply::error(404).with_field("content-security-policy", b"none").unwrap();
    assert!(!lines(&chain, &own).contains("Content-Security-Policy"));
}

#[test]
fn fields_of_other_stages_are_kept() {
    let value = Template::parse("frame-ancestors 'none'").unwrap();
    let response =
        HeaderEdits { set: [("Content-Security-Policy".into(), value)].into(), ..HeaderEdits::default() };
    let transform = StageSpec::HeaderTransform(HeaderTransform { request: HeaderEdits::default(), response });
    // Response stages run in reverse: the transform before the fields.
    let lines = lines(&test_chain(&[stage(), transform]), &LocalReply::error(404));
    assert_eq!(lines.matches("Content-Security-Policy").count(), 1, "{lines}");
    assert!(lines.contains("frame-ancestors"));
}
