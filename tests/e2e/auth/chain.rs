//! The chain of the gateway's specification as it stands in the documents of the configuration's tests, each
//! stage judged by its effect outside.

use super::*;
use crate::kit::tokens::{Signer, now};

/// The chain `api-chain`, and the policy that it names.
const CHAIN: &str = include_str!("../../../src/config/tests/documents/gateway/middleware.yaml");
const POLICIES: &str = include_str!("../../../src/config/tests/documents/gateway/policies.yaml");

/// The file in which keys of a source are kept over a restart: named by a hash of the source.
fn kept_keys(store: &std::path::Path, source: &str) -> PathBuf {
    store.join("keys").join(format!("{}.jwks", &kit::tokens::sha256(source)[..32]))
}

on_both_drivers! {
    fn each_stage_of_the_documented_chain_has_its_effect(driver) {
        let origin = Origin::named("one");
        let good = Signer::rs256("k1");
        let text = format!(
            "version: v1\n{CHAIN}\n{POLICIES}\nroutes:\n  - id: api\n    host: {HOST}\n    path_prefix: /api\n    pool: app\n    middleware: api-chain\n\
             pools:\n  - id: app\n    endpoints:\n      - address: \"{}\"\n",
            origin.address()
        );
        let builder = Proxy::on(driver);
        let file = builder.folder().join("ringway.yaml");
        std::fs::write(&file, text).unwrap();
        let log = builder.folder().join("access.log");
        let builder = builder.env("PROXY_CONFIG", file.to_str().unwrap()).env("ACCESS_LOG", log.to_str().unwrap());
        // The identity provider of the document is out of reach: its keys are those of an earlier run.
        let again = builder.start().stop();
        let kept = kept_keys(&again.store(), "Discovery(\"https://auth.example.com\")");
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        tls::put(&kept, &json!({ "keys": [good.jwk()] }).to_string());
        let site = Site { proxy: again.start(), file };

        let claims = |issuer: &str, audience: &str| json!({ "iss": issuer, "aud": audience, "sub": "alice", "exp": now() + 600 });
        let token = bearer(&good.token(&claims("https://auth.example.com", "api")));
        let fields = "X-Internal-Secret: s\r\nX-Request-ID: mine\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";

        // auth: none, and those of others, are refused; the response has the request's id all the same.
        let refused = site.ask("/api/a", fields);
        assert_eq!(refusal(&refused), (401, "unauthenticated".to_owned()));
        let refused_id = refused.field("x-request-id").unwrap().to_owned();
        for (issuer, audience) in [("https://auth.example.com/", "api"), ("https://auth.example.com", "web")] {
            assert_eq!(site.ask("/api/a", &bearer(&good.token(&claims(issuer, audience)))).status(), 401);
        }
        assert_eq!(origin.request_count(), 0);

        let answer = site.ask("/api/a?q=1", &format!("{token}{fields}"));
        assert_eq!((answer.status(), answer.text().as_str()), (200, "one"));
        let request = origin.one_request();
        // request_id: of ringway, in request and response.
        let id = answer.field("x-request-id").unwrap().to_owned();
        assert!(id != "mine" && id != refused_id);
        assert_eq!(request.field("x-request-id"), Some(&*id));
        // header_transform.
        assert_eq!((request.field("x-proxy-version"), request.field("x-internal-secret")), (Some("1.0"), None));
        // tracing: a trace of our own, because the document trusts no client.
        let trace = request.field("traceparent").unwrap().to_owned();
        assert!(!trace.contains("b7ad6b7169203331") && trace.len() == 55, "{trace}");

        // rate_limit: 20 at once, then one each 10 ms.
        let limited = eventually("a refusal by the rate limit", || {
            let mut client = site.proxy.client();
            client.send(format!("GET /api/b HTTP/1.1\r\nHost: {HOST}\r\n{token}\r\n").repeat(60));
            (0..60).map(|_| client.response("GET")).find(|answer| answer.status() == 429)
        });
        assert!(limited.field("retry-after").is_some());
        assert!(limited.field("x-request-id").is_some());
        // Before it, auth: a request without a token is refused by that, and not counted.
        assert_eq!(site.ask("/api/c", "").status(), 401);
        site.await_status("/api/c", &token, 200);

        // access_log: each request with its route, its id and its end; no token.
        let lines = eventually("both requests in the log", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            (text.contains(&id) && text.contains(&refused_id)).then_some(text)
        });
        let line = |id: &str| -> Value {
            let line = lines.lines().find(|line| line.contains(id)).unwrap();
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        assert_eq!((&line(&id)["status"], &line(&refused_id)["status"]), (&json!(200), &json!(401)));
        assert!(line(&id).to_string().contains("\"api\""), "{}", line(&id));
        assert!(!lines.contains("eyJ"), "no token in the log");
    }
}
