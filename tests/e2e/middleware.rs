//! Stages of the configuration around requests: what the endpoint gets, and what the client gets, over
//! HTTP/1.1, HTTP/2 and WebSocket upgrades.

use crate::kit::*;

/// A document with one route of all paths below `/in` of app.test, with these stages.
fn document(origin: &Origin, stages: &str) -> String {
    let stages: String = stages.lines().map(|line| format!("      {line}\n")).collect();
    format!(
        "version: v1\nmiddleware:\n  - id: chain\n    stages:\n{stages}\
         routes:\n  - id: in\n    host: app.test\n    path_prefix: /in\n    pool: in-pool\n    middleware: chain\n\
         pools:\n  - id: in-pool\n    endpoints:\n      - address: \"{}\"\n",
        origin.address()
    )
}

/// A process with the document.
fn start(driver: Driver, document: &str) -> Proxy {
    configured(Proxy::on(driver), document).start()
}

fn configured(builder: proxy::Builder, document: &str) -> proxy::Builder {
    let file = builder.folder().join("config.yaml");
    std::fs::write(&file, document).unwrap();
    builder.env("PROXY_CONFIG", file.to_str().unwrap())
}

fn request(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n")
}

fn ask(proxy: &Proxy, target: &str, fields: &str) -> Message {
    let mut client = proxy.client();
    client.send(request(target, fields));
    client.response("GET")
}

/// The chain that protects browsers, and shows each of its parts.
const BROWSER: &str = "- type: request_id
- type: cors
  config:
    allow_origins: [\"https://app.example\"]
    allow_credentials: true
- type: security_headers
  config:
    nosniff: true
    frame_options: deny
    content_security_policy: \"default-src 'self'\"
- type: header_transform
  config:
    add:
      X-Proxy-Version: \"1.0\"
    set:
      X-Who: \"${client_ip} ${host} ${scheme}\"
    remove: [X-Internal-Secret]
    response:
      set: { X-Route: \"${route}\" }
      remove: [Server]";

/// An origin that answers with fields of its own.
fn talkative() -> Origin {
    Origin::http(|_, connection| {
        connection.send(
            "HTTP/1.1 200 OK\r\nServer: old/1.0\r\nAccess-Control-Allow-Origin: *\r\nX-Frame-Options: SAMEORIGIN\r\nContent-Length: 2\r\n\r\nok",
        );
        After::Keep
    })
}

on_both_drivers! {
    fn fields_of_requests_and_responses_are_changed(driver) {
        let origin = talkative();
        let proxy = start(driver, &document(&origin, BROWSER));
        let answer = ask(&proxy, "/in/a", "X-Internal-Secret: s\r\nX-Who: me\r\nOrigin: https://app.example\r\n");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
        assert_eq!(answer.field("x-route"), Some("in"));
        assert_eq!(answer.field("server"), None);
        assert_eq!(answer.field("access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(answer.field("access-control-allow-credentials"), Some("true"));
        assert!(answer.lists("vary", "Origin"));
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.all("x-frame-options"), ["SAMEORIGIN"], "the app's own stays");
        assert_eq!(answer.field("content-security-policy"), Some("default-src 'self'"));
        let received = origin.one_request();
        assert_eq!(received.field("x-request-id"), answer.field("x-request-id"));
        assert_eq!(received.all("x-who"), ["127.0.0.1 app.test http"]);
        assert_eq!(received.field("x-proxy-version"), Some("1.0"));
        assert_eq!(received.field("x-internal-secret"), None);
    }

    fn a_preflight_is_answered_before_authentication_and_errors_have_the_fields(driver) {
        let origin = talkative();
        let stages = format!("{BROWSER}\n- type: auth\n  config:\n    api_key:\n      keys: {{ ci: {} }}", "0".repeat(64));
        let proxy = start(driver, &document(&origin, &stages));
        let mut client = proxy.client();
        client.send("OPTIONS /in/a HTTP/1.1\r\nHost: app.test\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: PUT\r\n\r\n");
        let preflight = client.response("OPTIONS");
        assert_eq!((preflight.status(), preflight.field("access-control-allow-origin")), (204, Some("https://app.example")));
        client.send(request("/in/a", "Origin: https://app.example\r\n"));
        let refusal = client.response("GET");
        assert_eq!((refusal.status(), refusal.field("access-control-allow-origin")), (401, Some("https://app.example")));
        assert_eq!(refusal.json()["error"]["code"], "unauthenticated");
        assert_eq!(refusal.field("x-content-type-options"), Some("nosniff"));
        assert_eq!(origin.request_count(), 0);
    }

    fn stages_see_http2_and_its_responses(driver) {
        let origin = talkative();
        let secure = h2::secure(configured(Proxy::on(driver), &document(&origin, BROWSER)));
        let mut peer = h2::H2::connect(&secure);
        let stream = peer.begin(
            &[(":method", "GET"), (":scheme", "https"), (":authority", "app.test"), (":path", "/in/a"),
              ("x-internal-secret", "s"), ("origin", "https://app.example")],
            true,
        );
        let answer = peer.response(stream);
        assert_eq!((answer.status(), answer.get("x-route")), (200, Some("in")));
        assert_eq!(answer.get("access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(answer.get("server"), None);
        let received = origin.one_request();
        assert_eq!(received.field("x-internal-secret"), None);
        assert_eq!(received.all("x-who"), ["127.0.0.1 app.test https"]);
    }

    fn upgrades_pass_the_stages_before_the_101(driver) {
        let origin = Origin::websocket_echo("a");
        let acl = "- type: header_transform\n  config:\n    set: { X-Seen: \"yes\" }\n- type: ip_acl\n  config:\n    deny: [127.0.0.2/32]";
        let proxy = start(driver, &document(&origin, acl));
        let mut client = proxy.client();
        ws::open(&mut client, "app.test", "/in/chat");
        ws::ping_pong(&mut client, "hello");
        assert_eq!(origin.one_request().field("x-seen"), Some("yes"));
        let mut denied = Client::connect_from([127, 0, 0, 2], proxy.http());
        denied.send(ws::upgrade("app.test", "/in/chat"));
        assert_eq!(denied.response("GET").status(), 403);
        assert_eq!(origin.request_count(), 1);
    }

    fn addresses_are_refused_by_their_networks_alone(driver) {
        let origin = Origin::named("one");
        let acl = "- type: ip_acl\n  config:\n    allow: [127.0.0.0/30]\n    deny: [127.0.0.2]";
        let proxy = start(driver, &document(&origin, acl));
        for (source, status) in [([127, 0, 0, 1], 200), ([127, 0, 0, 2], 403), ([127, 0, 0, 3], 200), ([127, 0, 0, 4], 403)] {
            let mut client = Client::connect_from(source, proxy.http());
            client.send(request("/in/a", "X-Forwarded-For: 127.0.0.1\r\n"));
            let answer = client.response("GET");
            assert_eq!(answer.status(), status, "{source:?}");
            if status == 403 {
                assert_eq!(answer.json()["error"]["code"], "client_address_denied");
            }
        }
    }

    fn redirects_lead_to_paths_and_hosts(driver) {
        let origin = Origin::named("one");
        let stages = "- type: canonical_host\n  config:\n    host: www.app.test\n    status: 301\n";
        let redirects = "- type: redirect\n  config:\n    from: /in/old/*\n    to: /in/new/*";
        let proxy = start(driver, &document(&origin, redirects));
        let answer = ask(&proxy, "/in/old/a?b=1", "");
        let location = "http://app.test/in/new/a?b=1";
        assert_eq!((answer.status(), answer.field("location")), (308, Some(location)));
        assert_eq!(ask(&proxy, "/in/older", "").status(), 200);
        let proxy = start(driver, &document(&origin, stages.trim_end()));
        let answer = ask(&proxy, "/in/a?b=1", "");
        assert_eq!((answer.status(), answer.field("location")), (301, Some("http://www.app.test/in/a?b=1")));
    }

    fn maintenance_answers_all_but_some_and_pages_replace_errors(driver) {
        let origin = Origin::named("one");
        let stages = "- type: error_pages\n  config:\n    pages:\n      - { statuses: \"5xx\", content_type: text/plain, body: \"sorry ${status}\" }\n- type: maintenance\n  config:\n    retry_after: 5m\n    bypass: [127.0.0.2]";
        let proxy = start(driver, &document(&origin, stages));
        let answer = ask(&proxy, "/in/a", "");
        assert_eq!((answer.status(), answer.text().as_str()), (503, "sorry 503"));
        assert_eq!((answer.field("retry-after"), answer.field("content-type")), (Some("300"), Some("text/plain")));
        let mut client = Client::connect_from([127, 0, 0, 2], proxy.http());
        client.send(request("/in/a", ""));
        assert_eq!(client.response("GET").text(), "one");
    }

    fn traces_continue_and_begin(driver) {
        let origin = Origin::named("one");
        let proxy = start(driver, &document(&origin, "- type: tracing\n  config:\n    trust_client: true"));
        ask(&proxy, "/in/a", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n");
        ask(&proxy, "/in/b", "");
        let requests = origin.requests();
        let continued = requests[0].field("traceparent").unwrap().to_owned();
        assert!(continued.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && continued.ends_with("-00"), "{continued}");
        assert!(!continued.contains("b7ad6b7169203331"));
        let begun = requests[1].field("traceparent").unwrap().to_owned();
        assert!(begun.contains(requests[1].field("x-request-id").unwrap()), "{begun}");
    }

    fn a_rate_limit_of_a_stage_counts_once_and_a_body_limit_refuses(driver) {
        let origin = Origin::named("one");
        let stages = "- type: rate_limit\n  policy_ref: slow\n- type: body_limit\n  config:\n    size: 4";
        let policy = "policies:\n  - id: slow\n    rate_limit:\n      requests_per_hour: 1\n      burst: 2\n";
        let text = document(&origin, stages).replace("    pool: in-pool\n", "    pool: in-pool\n    policy: slow\n") + policy;
        let proxy = start(driver, &text);
        let statuses: Vec<_> = (0..3).map(|_| ask(&proxy, "/in/a", "").status()).collect();
        assert_eq!(statuses, [200, 200, 429], "the policy of the route is the stage's: counted once");
        let proxy = start(driver, &document(&origin, "- type: body_limit\n  config:\n    size: 4"));
        let mut client = proxy.client();
        client.send("POST /in/a HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nabcde");
        assert_eq!(client.response("POST").status(), 413);
    }

    fn a_saved_chain_is_in_force_on_its_routes(driver) {
        let origin = Origin::named("one");
        let proxy = start(driver, &document(&origin, "- type: maintenance"));
        assert_eq!(ask(&proxy, "/in/a", "").status(), 503);
        let file = proxy.store().parent().unwrap().join("config.yaml");
        assert!(file.exists(), "{}", file.display());
        std::fs::write(&file, document(&origin, "- type: request_id")).unwrap();
        eventually("the chain without maintenance", || (ask(&proxy, "/in/a", "").status() == 200).then_some(()));
    }
}
