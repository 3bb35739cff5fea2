#![allow(clippy::unwrap_used)]

use ringway_model::{CanonicalHost as HostSpec, PathRedirect, StageSpec};

use crate::Flow;
use crate::builtin::test_chain;
use crate::chain::Run;
use crate::testing::{TestServices, request};

/// Status and location of the reply to a request for a target, if there is one.
fn reply(stage: StageSpec, host: &str, target: &str) -> Option<(u16, String)> {
    let text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    match request(&test_chain(&[stage]), &text, &TestServices::default(), &mut Run::default()) {
        Flow::Continue => None,
        Flow::Reply(reply) => {
            let lines = String::from_utf8_lossy(reply.lines()).into_owned();
            let location = lines.strip_prefix("Location: ").unwrap().trim_end().to_owned();
            Some((reply.status(), location))
        }
        other => panic!("{other:?}"),
    }
}

fn moved(from: &str, to: &str, target: &str) -> Option<String> {
    let stage = StageSpec::Redirect(PathRedirect { from: from.into(), to: to.into(), status: 308 });
    reply(stage, "a.example:8443", target).map(|(status, location)| {
        assert_eq!(status, 308);
        location
    })
}

#[test]
fn exact_paths_and_paths_below_are_redirected() {
    assert_eq!(moved("/old", "/new", "/old").unwrap(), "https://a.example:8443/new");
    assert_eq!(moved("/old", "/new", "/old?a=1").unwrap(), "https://a.example:8443/new?a=1");
    assert_eq!(moved("/old", "/new?b=2", "/old?a=1").unwrap(), "https://a.example:8443/new?b=2");
    assert_eq!(moved("/old", "/new", "/old/x"), None);
    assert_eq!(moved("/old/*", "https://b.example/n/*", "/old/x/y").unwrap(), "https://b.example/n/x/y");
    assert_eq!(moved("/old/*", "https://b.example/n/*", "/old").unwrap(), "https://b.example/n/");
    assert_eq!(moved("/old/*", "/n", "/old/x").unwrap(), "https://a.example:8443/n");
    assert_eq!(moved("/old/*", "/n", "/older"), None);
}

#[test]
fn a_path_cannot_lead_to_another_host() {
    assert_eq!(moved("/*", "/*", "//evil.example/x").unwrap(), "https://a.example:8443//evil.example/x");
}

#[test]
fn other_hosts_are_sent_to_the_canonical_one() {
    let stage = || StageSpec::CanonicalHost(HostSpec { host: "www.a.example".into(), status: 301 });
    assert_eq!(reply(stage(), "www.a.example", "/x"), None);
    assert_eq!(
        reply(stage(), "a.example", "/x?q=1").unwrap(),
        (301, "https://www.a.example/x?q=1".to_owned())
    );
    assert_eq!(
        reply(stage(), "a.example:8443", "/").unwrap(),
        (301, "https://www.a.example:8443/".to_owned()),
        "the port is the client's"
    );
}
