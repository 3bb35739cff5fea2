//! Tests of the section `forward`.
#![allow(clippy::unwrap_used)]

use ringway_model::{ForwardSpec, ListAction, ListFormat, ListMode, ListSource};

use crate::{Reading, Source, read};

fn reading(text: &str) -> Reading {
    read(&[Source { name: "test".into(), text: text.to_owned() }])
}

fn spec(text: &str) -> ForwardSpec {
    let reading = reading(text);
    assert!(reading.findings.is_empty(), "{:?}", reading.findings);
    ForwardSpec::clone(reading.document.unwrap().forward.as_deref().unwrap())
}

#[test]
fn the_section_has_defaults_and_all_its_parts() {
    let least = spec("forward: {listen: '127.0.0.1:3128', allow_clients: 127.0.0.0/8}");
    assert_eq!(
        (least.connect_ports, least.http_ports, least.limits.connections),
        (vec![443], vec![80], 1000)
    );
    let text = "
forward:
  listen: ['127.0.0.1:3128', '[::1]:3128']
  allow_clients: [10.0.0.0/8]
  auth: {kind: basic, realm: proxy, users_file: /etc/ringway/users}
  connect_ports: [443, 8443]
  http_ports: [80]
  mode: mixed
  lists:
    - {name: ads, action: block, file: /etc/ringway/ads.txt, format: hosts}
    - {name: own, action: allow, domains: ['*.example.com']}
  allow_private: [{domain: .corp.example, networks: [10.2.0.0/16]}]
  blocked_answer: {status: 451, body: no}
  content_types: {block: [application/x-msdownload, 'regex:^application/x-exec'], missing: block}
  rate: {per_client: 100, burst: 200, ban: 60s}
  limits: {url: 8192, head: 16384, fields: 100, body: 10MB, connections: 1000, tunnels_per_client: 256}
  disclose_client: true
";
    let spec = spec(text);
    assert_eq!((spec.mode, spec.listen.len(), spec.blocked_answer.status), (ListMode::Mixed, 2, 451));
    assert_eq!(spec.lists[0].action, Some(ListAction::Block));
    let file = ListSource::File { path: "/etc/ringway/ads.txt".into(), format: ListFormat::Hosts };
    assert_eq!(spec.lists[0].source, file);
    assert_eq!(spec.lists[1].source, ListSource::Domains(vec!["*.example.com".into()]));
    assert!(spec.content_types.block_missing && spec.disclose_client && spec.auth.is_some());
    let rate = spec.rate.unwrap();
    assert_eq!((rate.per_second, rate.burst, rate.ban.map(|ban| ban.as_secs())), (100, 200, Some(60)));
}

#[test]
fn an_open_proxy_and_half_lists_are_mistakes() {
    for (text, message) in [
        ("forward: {listen: '127.0.0.1:1'}", "/forward/allow_clients is required, or auth"),
        ("forward: {allow_clients: 10.0.0.0/8}", "/forward/listen is required"),
        ("forward: {listen: x, allow_clients: 10.0.0.0/8}", "/forward/listen must be addresses"),
        (
            "forward: {listen: '127.0.0.1:1', allow_clients: 10.0.0.0/8, lists: [{name: a}]}",
            "/forward/lists/0/file is required, or domains",
        ),
        (
            "forward: {listen: '127.0.0.1:1', allow_clients: 10.0.0.0/8, connect_ports: [0]}",
            "/forward/connect_ports must be",
        ),
    ] {
        let findings: Vec<String> = reading(text).findings.iter().map(ToString::to_string).collect();
        assert!(findings.iter().any(|finding| finding.contains(message)), "{text}: {findings:?}");
    }
}
