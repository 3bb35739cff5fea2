//! Every entry of the route table: exactly the responses in its documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::access::Access;
use crate::cache_operation::CacheOperation;
use crate::config_operation::ConfigOperation;
use ringway_certs::UploadError;
use ringway_control::{
    CanaryStatus, ConfigError, InstanceState, InstanceStatus, NextStep, Refusal, Step, StorageFailure,
    TrialId, TrialState,
};
use ringway_model::{
    CoreId, Hostname, Kind as ResourceKind, Owner, Percent, PolicyId, Rejection, RouteId, Timestamp,
};
use ringway_net::DriverChoice;
use ringway_wire::message::Method;

use super::{Api, Reply, access};
use crate::operation::Operation;
use crate::problem::Kind;
use crate::route::{Found, ROUTES, Route, find, keys_of, operations, with_keys};
use crate::tests::fake::{State, canary, trial};
use crate::{AccessSettings, Listeners, Scope, Settings, TokenDigest, TokensFile, openapi};

const TOKEN: &str = "a-token-of-the-tests";
const SECRET: &str = "correct-horse-battery";

/// `app1` serves `one.example` with the instances `i1` and `i2`, and `own.example` with a certificate of its
/// own; `app2` has nothing. `app1` has a webhook.
fn fixture(state: &mut State) {
    *state = State::default();
    state.configuration.trial = Some(trial(TrialState::Running));
    let stepping = CanaryStatus {
        next: Some(NextStep { weight: Percent::ALL, left: Duration::ZERO, hold: None }),
        ..canary("steps", false)
    };
    state.canaries = vec![canary("shop", true), canary("blog", false), stepping];
    state.app("app1");
    state.app("app2");
    state.instance("app1", "i1");
    state.instance("app1", "i2");
    state.make(&ringway_model::Change::PutEndpointOverride(std::sync::Arc::new(
        ringway_model::EndpointOverride {
            instance: ringway_model::InstanceId::parse("i2").unwrap(),
            owner: ringway_model::Owner::Api,
            weight: Some(0),
            is_drained: false,
            at: ringway_model::Timestamp(1),
            by: "an operator".into(),
            reason: "".into(),
        },
    )));
    state.domain("app1", "one.example", None);
    state.make(&ringway_model::Change::AddDomain(ringway_model::DomainSpec {
        policy: None,
        certificate: Some(ringway_model::CertificateMode::Provided),
        client_auth: None,
        name: ringway_model::Hostname::parse("own.example").unwrap(),
        app: ringway_model::AppId::parse("app1").unwrap(),
        tenant: None,
        kind: ringway_model::DomainKind::Subdomain,
        cname_target: None,
    }));
    state.make(&ringway_model::Change::PutWebhook {
        app: ringway_model::AppId::parse("app1").unwrap(),
        url: ringway_model::WebhookUrl::parse("https://app1.example/hook").unwrap(),
        secret: ringway_model::WebhookSecret::parse(SECRET).ok().into(),
    });
}

/// A request that succeeds against the fixture: path and body. Where the path has the key, the body has not.
fn request(route: &Route) -> (String, String) {
    let (key, body) = match route.operation {
        Operation::RegisterApp => {
            ("", r#"{"app_id":"app3","instance":{"instance_id":"i3","target":"http://10.0.0.6:3001"}}"#)
        }
        Operation::RemoveApp => ("app2", r#"{"app_id":"app2"}"#),
        Operation::ShowApp | Operation::AppStatus | Operation::ListInstancesOfApp => {
            ("app1", r#"{"app_id":"app1"}"#)
        }
        Operation::PoolHealth | Operation::ShowPool => ("app1", ""),
        Operation::SetCanaryWeight => ("blog", r#"{"weight":25}"#),
        Operation::ResumeCanary => ("shop", ""),
        Operation::CheckAuth => ("", r#"{"route":"shop","token":"a.b.c"}"#),
        Operation::SetEndpoint => ("i1", r#"{"drain":true}"#),
        Operation::ResetEndpoint => ("i2", ""),
        Operation::Configuration(operation) => match operation {
            ConfigOperation::Validate
            | ConfigOperation::Diff
            | ConfigOperation::Simulate
            | ConfigOperation::Apply => ("", r#"{"config":{"routes":[]}}"#),
            ConfigOperation::Explain => ("", r#"{"url":"http://a.example/"}"#),
            ConfigOperation::Rollback => ("", r#"{"version":"aaaaaaaaaaaa"}"#),
            ConfigOperation::Version => ("aaaaaaaaaaaa", ""),
            _ => ("", ""),
        },
        Operation::Cache(operation) => match operation {
            CacheOperation::Purge => ("", r#"{"url":"https://a.example/x","soft":true}"#),
            CacheOperation::PurgePattern => ("", r#"{"pattern":"*.example.com"}"#),
            CacheOperation::Explain => ("", r#"{"url":"a.example/"}"#),
            CacheOperation::Stats | CacheOperation::HitRates | CacheOperation::Entries => ("", ""),
        },
        Operation::AddInstance => {
            ("", r#"{"app_id":"app1","instance_id":"i3","target":"http://10.0.0.6:3001"}"#)
        }
        Operation::RemoveInstance | Operation::Heartbeat => ("i1", r#"{"instance_id":"i1"}"#),
        Operation::Deregister => ("i1", r#"{"instance_id":"i1","app_id":"app1","domain":"one.example"}"#),
        Operation::AddDomain => ("", r#"{"domain":"two.example","app_id":"app1","type":"subdomain"}"#),
        Operation::AddCustomDomain => ("", r#"{"domain":"two.example","app_id":"app1","tenant_id":"t1"}"#),
        Operation::AddRoute => ("", r#"{"domain":"two.example","app_id":"app1","tenant_id":"t1"}"#),
        Operation::UpdateDomain if route.path.contains('{') => ("one.example", r#"{"tenant_id":"t2"}"#),
        Operation::UpdateDomain => ("", r#"{"domain":"one.example","tenant_id":"t2"}"#),
        Operation::RemoveDomain | Operation::ShowDomain | Operation::VerifyDomain => {
            ("one.example", r#"{"domain":"one.example"}"#)
        }
        Operation::UploadCertificate if route.path.contains('{') => {
            ("one.example", r#"{"certificate":"a chain","key":"a key"}"#)
        }
        Operation::UploadCertificate => {
            ("", r#"{"domain":"one.example","certificate":"a chain","key":"a key"}"#)
        }
        Operation::RemoveCertificate => ("own.example", r#"{"domain":"own.example"}"#),
        Operation::PutWebhook => ("", r#"{"app_id":"app2","url":"https://app2.example/hook"}"#),
        Operation::UpdateWebhook if route.path.contains('{') => ("app1", r#"{"url":"https://b.example/"}"#),
        Operation::UpdateWebhook => ("", r#"{"app_id":"app1","url":"https://b.example/"}"#),
        Operation::RemoveWebhook | Operation::ShowWebhook => ("app1", r#"{"app_id":"app1"}"#),
        Operation::Register => (
            "",
            r#"{"domain":"two.example","instance_id":"i3","target":"http://10.0.0.6:3001","app_id":"app1","health_check":"/health"}"#,
        ),
        Operation::ListApps
        | Operation::ListPools
        | Operation::ListInstances
        | Operation::ListDomains
        | Operation::ListCertificates
        | Operation::ListWebhooks
        | Operation::Status
        | Operation::Health
        | Operation::ListBreakers
        | Operation::ListCanaries
        | Operation::ListTenants
        | Operation::Liveness
        | Operation::Readiness
        | Operation::Startup
        | Operation::Metrics
        | Operation::OpenApi => ("", ""),
    };
    match keys_of(route.path).next() {
        Some(_) => {
            let body = match route.operation {
                Operation::UpdateDomain
                | Operation::UploadCertificate
                | Operation::UpdateWebhook
                | Operation::SetCanaryWeight
                | Operation::SetEndpoint => body.to_owned(),
                _ => String::new(),
            };
            (with_keys(route.path, &["app1", key]), body)
        }
        None => (route.path.to_owned(), body.to_owned()),
    }
}

/// An API with a token, and its responses.
struct Survey {
    api: Api,
    observed: BTreeMap<Operation, BTreeSet<(u16, String)>>,
}

impl Survey {
    /// Sends a request to a fresh fixture and records the response.
    fn send(
        &mut self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
        prepare: impl FnOnce(&mut State),
    ) -> Reply {
        {
            let mut state = self.api.state();
            fixture(&mut state);
            prepare(&mut state);
        }
        let authorization = format!("Bearer {TOKEN}");
        let mut all = fields.to_vec();
        if !fields.iter().any(|(name, _)| *name == "Authorization") {
            all.push(("Authorization", &authorization));
        }
        let reply = self.api.connect().ask(method.name().unwrap(), path, &all, body);
        let bare = path.split('?').next().unwrap();
        let Found::Operation(operation, _) = find(method, bare) else {
            panic!("{method} {path} leads nowhere")
        };
        self.observed.entry(operation).or_default().insert((reply.status, reply.code()));
        reply
    }

    /// Sends a request of one operation.
    fn check(&mut self, method: Method, path: &str, body: &str, expected: Kind) {
        let reply = self.send(method, path, &[], body, |_| {});
        assert_eq!(reply.code(), expected.code(), "{method} {path} {body}: {reply:?}");
    }
}

#[test]
fn every_route_answers_as_documented_and_in_no_other_way() {
    use Method::{Delete, Get, Post, Put};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    let lines = ["read", "register", "purge"].map(|scope| {
        format!("{scope} {scope} {}\n", TokenDigest::of(format!("secret-to-{scope}").as_bytes()))
    });
    let acme = format!("acme purge {} tenant=acme\n", TokenDigest::of(b"secret-to-acme"));
    std::fs::write(&path, lines.concat() + &acme).unwrap();
    let guarded = AccessSettings { tokens: Some(TokensFile::open(&path).unwrap()), ..access(Some(TOKEN)) };
    let settings = Settings { access: guarded, ..Settings::default() };
    let api = Api::with(settings, DriverChoice::Auto, Listeners::default());
    let mut survey = Survey { api, observed: BTreeMap::new() };

    for route in ROUTES {
        let (method, operation) = (route.method, route.operation);
        let (path, body) = request(route);
        let told = |reply: &Reply| format!("{method} {path}: {reply:?}");
        let expect = |reply: Reply, kind: Kind| {
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (kind.status(), kind.code()),
                "{}",
                told(&reply)
            );
        };

        let reply = survey.send(method, &path, &[], &body, |_| {});
        assert!((200..300).contains(&reply.status), "{}", told(&reply));
        if method == Get {
            let head =
                survey.api.connect().ask("HEAD", &path, &[("Authorization", &format!("Bearer {TOKEN}"))], "");
            let wanted = if body.is_empty() { 200 } else { 422 };
            assert_eq!(head.status, wanted, "HEAD {path}");
        }

        expect(survey.send(method, &path, &[("Host", "evil.example")], &body, |_| {}), Kind::Misdirected);
        expect(
            survey.send(method, &path, &[("Origin", "http://evil.example")], &body, |_| {}),
            Kind::CrossSite,
        );
        expect(
            survey.send(method, &path, &[("Sec-Fetch-Site", "same-site")], &body, |_| {}),
            Kind::CrossSite,
        );
        expect(survey.send(method, &path, &[("Content-Type", "text/plain")], "{}", |_| {}), Kind::NotJson);
        expect(survey.send(method, &path, &[], "{", |_| {}), Kind::BadDocument);
        expect(survey.send(method, &path, &[], r#"{"nonsense":1}"#, |_| {}), Kind::Invalid);
        let too_long = (operation.body_bytes_max() + 1).to_string();
        expect(survey.send(method, &path, &[("Content-Length", &too_long)], "", |_| {}), Kind::TooLarge);
        let reply =
            survey.send(method, &path, &[("Authorization", "Bearer wrong-wrong-wrong")], &body, |_| {});
        match operation {
            Operation::Liveness | Operation::Readiness | Operation::Startup => {
                assert_eq!(reply.status, 200, "{}", told(&reply));
            }
            _ => {
                assert!(reply.field("www-authenticate").is_some(), "{}", told(&reply));
                expect(reply, Kind::Unauthorized);
            }
        }
        if let Some(scope) = operation.access().scope() {
            let other = match operation.access() {
                Access::Registrations => "purge",
                Access::Cache | Access::Scoped(Scope::Read) => "register",
                Access::Open | Access::Scoped(_) => "read",
            };
            let bearer = format!("Bearer secret-to-{other}");
            let reply = survey.send(method, &path, &[("Authorization", &bearer)], &body, |_| {});
            assert!(reply.json()["detail"].as_str().unwrap().contains(scope.as_str()), "{}", told(&reply));
            expect(reply, Kind::MissingScope);
        }

        if let Some(configuration) = operation.configuration() {
            survey_configuration(&mut survey, route, configuration, &path, &body);
        }
        if operation.spec().problems.contains(&Kind::CacheOff) {
            let reply = survey.send(method, &path, &[], &body, |state| state.is_cache_off = true);
            expect(reply, Kind::CacheOff);
        }
        if operation == Operation::Cache(CacheOperation::Explain) {
            survey_refusals(&mut survey, route, &path, &body);
        }
        if !operation.is_mutation() {
            continue;
        }
        let reply =
            survey.send(method, &path, &[], &body, |state| state.pending = vec![CoreId(1), CoreId(3)]);
        assert_eq!(reply.status, 202, "{}", told(&reply));
        assert_eq!(reply.json()["pending"], serde_json::json!([1, 3]));
        expect(survey.send(method, &path, &[("If-Match", "12")], &body, |_| {}), Kind::BadHeader);
        let reply = survey.send(method, &path, &[("If-Match", "\"999\"")], &body, |_| {});
        assert_eq!(reply.field("etag"), Some("\"8\""), "the present revision is told");
        expect(reply, Kind::RevisionMismatch);
        for (refusal, kind, retry_after) in [
            (Refusal::Busy { retry_after: Duration::from_secs(2) }, Kind::Busy, Some("2")),
            (
                Refusal::Storage(StorageFailure::new(std::io::Error::other("the disk is full"))),
                Kind::Storage,
                Some("5"),
            ),
            (Refusal::ShuttingDown, Kind::ShuttingDown, Some("5")),
            (Refusal::Unconfirmed, Kind::Unconfirmed, None),
            (Refusal::IdempotencyConflict, Kind::KeyReused, None),
        ] {
            let reply = survey.send(method, &path, &[], &body, |state| state.refuse = Some(refusal));
            assert_eq!(reply.field("retry-after"), retry_after);
            expect(reply, kind);
        }
        let (host, id) = (Hostname::parse("one.example").unwrap(), "x");
        for (kind, rejection) in [
            (
                Kind::NotOwned,
                Rejection::NotOwned { kind: ResourceKind::App, key: id.into(), owner: Owner::File },
            ),
            (
                Kind::Claimed,
                Rejection::HostClaimed { host, route: RouteId::parse(id).unwrap(), owner: Owner::File },
            ),
            (Kind::UnknownPolicy, Rejection::UnknownPolicy(PolicyId::parse(id).unwrap())),
        ] {
            if operation.spec().problems.contains(&kind) {
                let refuse = Refusal::Rejected(rejection);
                let reply = survey.send(method, &path, &[], &body, |state| state.refuse = Some(refuse));
                assert!(kind == Kind::UnknownPolicy || reply.json()["detail"].to_string().contains("file"));
                expect(reply, kind);
            }
        }
        if operation.spec().problems.contains(&Kind::LimitReached) {
            let full = Refusal::Rejected(Rejection::Full { what: "domains", max: 1 });
            let reply = survey.send(method, &path, &[], &body, |state| state.refuse = Some(full));
            expect(reply, Kind::LimitReached);
        }
    }

    // A heartbeat is answered with the lease if that is preferred.
    let prefer = [("Prefer", "return=representation")];
    let reply = survey.send(Post, "/api/apps/heartbeat", &prefer, r#"{"instance_id":"i1"}"#, |state| {
        let id = ringway_model::InstanceId::parse("i1").unwrap();
        let status = InstanceStatus {
            lease_expires: Some(Timestamp(30_000)),
            deregisters_at: Some(Timestamp(60_000)),
            ..Default::default()
        };
        state.statuses.insert(id, status);
    });
    assert_eq!((reply.status, reply.field("preference-applied")), (200, Some("return=representation")));
    let lease = reply.json();
    assert_eq!((&lease["instance_id"], lease["generation"].is_u64()), (&serde_json::json!("i1"), true));
    assert_eq!(lease["lease_expires"], "1970-01-01T00:00:30Z");
    assert_eq!(lease["deregisters_at"], "1970-01-01T00:01:00Z");
    let minimal = [("Prefer", "return=minimal")];
    let reply = survey.send(Post, "/api/apps/heartbeat", &minimal, r#"{"instance_id":"i1"}"#, |_| {});
    assert_eq!((reply.status, reply.field("preference-applied")), (204, None));

    // Existing objects are renewed.
    for (path, body) in [
        ("/api/apps/register", r#"{"app_id":"app1","app_name":"One"}"#),
        ("/api/apps/instances", r#"{"app_id":"app1","instance_id":"i1","target":"http://10.0.0.9:1"}"#),
        ("/api/tenants/domains", r#"{"domain":"one.example","app_id":"app1"}"#),
        ("/api/webhooks", r#"{"app_id":"app1","url":"https://other.example/"}"#),
        ("/api/routes", r#"{"domain":"one.example","app_id":"app1"}"#),
        (
            "/api/register",
            r#"{"domain":"one.example","instance_id":"i1","target":"http://10.0.0.9:1","app_id":"app1"}"#,
        ),
    ] {
        assert_eq!(survey.send(Post, path, &[], body, |_| {}).status, 200, "{path}");
    }
    let custom = r#"{"domain":"two.example","app_id":"app1","tenant_id":"t1"}"#;
    let reply = survey.send(Post, "/api/tenants/custom-domains", &[], custom, |state| {
        state.make(&ringway_model::Change::AddDomain(ringway_model::DomainSpec {
            policy: None,
            certificate: None,
            client_auth: None,
            name: ringway_model::Hostname::parse("two.example").unwrap(),
            app: ringway_model::AppId::parse("app1").unwrap(),
            tenant: Some(ringway_model::TenantId::parse("t1").unwrap()),
            kind: ringway_model::DomainKind::Custom,
            cname_target: None,
        }));
    });
    assert_eq!(reply.status, 200);

    for path in ["/ready", "/health/startup"] {
        assert_eq!(survey.send(Get, path, &[], "", |state| state.is_ready = false).status, 503, "{path}");
    }

    for (path, body) in [
        ("/api/apps/instances", r#"{"instance_id":"i1","drain":"30s"}"#),
        ("/api/register", r#"{"instance_id":"i1","app_id":"app1","domain":"one.example","drain":30}"#),
    ] {
        let reply = survey.send(Delete, path, &[], body, |_| {});
        assert_eq!(reply.status, 200, "{path}");
    }
    let waiting = "/api/status/instances?instance_id=i1&wait=serving&timeout=1ms";
    let joining = |state: &mut State| state.stands("i1", InstanceState::Joining, Some("no probe yet"));
    assert_eq!(survey.send(Get, waiting, &[], "", joining).status, 504);

    // Without permits for waiting requests.
    let settings = Settings { access: access(Some(TOKEN)), waits_max: 0, ..Settings::default() };
    let api =
        std::mem::replace(&mut survey.api, Api::with(settings, DriverChoice::Auto, Listeners::default()));
    let crowded = "/api/status/instances?instance_id=i1&wait=serving&timeout=60s";
    let reply = survey.send(Get, crowded, &[], "", joining);
    assert_eq!((reply.status, reply.code().as_str()), (503, "too_many_waits"));
    survey.api = api;

    let upload = r#"{"domain":"one.example","certificate":"a chain","key":"a key"}"#;
    for (method, path, body) in [
        (Post, "/api/tenants/domains/verify", r#"{"domain":"one.example"}"#),
        (Post, "/api/tenants/domains/certificate", upload),
        (Delete, "/api/tenants/domains/certificate", r#"{"domain":"own.example"}"#),
    ] {
        let reply = survey.send(method, path, &[], body, |state| state.certificates.is_on = false);
        assert_eq!((reply.status, reply.code().as_str()), (409, "certificates_off"), "{path}");
    }
    let busy = |state: &mut State| state.certificates.is_busy = true;
    let reply = survey.send(Post, "/api/tenants/domains/verify", &[], r#"{"domain":"one.example"}"#, busy);
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
    let reply = survey.send(Post, "/api/tenants/domains/certificate", &[], upload, |state| {
        state.certificates.stuck = Some(UploadError::NotProvided);
    });
    assert_eq!((reply.status, reply.code().as_str()), (409, "certificate_not_provided"));
    let reply = survey.send(Post, "/api/tenants/domains/certificate", &[], upload, |state| {
        state.certificates.unusable = Some(UploadError::Expired(Timestamp(0)));
    });
    assert_eq!((reply.status, reply.code().as_str()), (422, "certificate_unusable"));
    let reply = survey.send(Delete, "/api/tenants/domains/one.example/certificate", &[], "", |_| {});
    assert_eq!((reply.status, reply.code().as_str()), (409, "certificate_not_provided"));

    use Kind::*;
    for (method, path, body, kind) in [
        (Get, "/api/status/instances?instance_id=nope&wait=serving&timeout=1ms", "", UnknownInstance),
        (Post, "/api/webhooks", r#"{"app_id":"nope","url":"https://a.example/"}"#, UnknownApp),
        (Put, "/api/webhooks", r#"{"app_id":"nope","url":"https://a.example/"}"#, UnknownApp),
        (Put, "/api/webhooks", r#"{"app_id":"app2","url":"https://a.example/"}"#, UnknownWebhook),
        (Put, "/api/webhooks/app1", r#"{"app_id":"app2"}"#, Conflicting),
        (Post, "/api/webhooks/get", r#"{"app_id":"nope"}"#, UnknownApp),
        (Post, "/api/webhooks/get", r#"{"app_id":"app2"}"#, UnknownWebhook),
        (Get, "/api/webhooks/app1?app_id=app2", "", Conflicting),
        (Get, "/api/webhooks?app_id=app1&app_id=app2", "", Conflicting),
        (Delete, "/api/webhooks", r#"{"app_id":"nope"}"#, UnknownApp),
        (Delete, "/api/webhooks", r#"{"app_id":"app2"}"#, UnknownWebhook),
        (Delete, "/api/webhooks/app1", r#"{"app_id":"app2"}"#, Conflicting),
        (Post, "/api/tenants/domains/verify", r#"{"domain":"nope.example"}"#, UnknownDomain),
        (Post, "/api/tenants/domains/verify/one.example", r#"{"domain":"two.example"}"#, Conflicting),
        (
            Post,
            "/api/tenants/domains/certificate",
            r#"{"domain":"nope.example","certificate":"a","key":"b"}"#,
            UnknownDomain,
        ),
        (
            Put,
            "/api/tenants/domains/one.example/certificate",
            r#"{"domain":"two.example","certificate":"a","key":"b"}"#,
            Conflicting,
        ),
        (Delete, "/api/tenants/domains/certificate", r#"{"domain":"nope.example"}"#, UnknownDomain),
        (Delete, "/api/tenants/domains/own.example/certificate", r#"{"domain":"two.example"}"#, Conflicting),
        (Get, "/api/status/certificates?state=active&state=failed", "", Conflicting),
        (
            Post,
            "/api/apps/register",
            r#"{"app_id":"app2","instance":{"instance_id":"i1","target":"http://a:1"}}"#,
            InstanceOfOtherApp,
        ),
        (
            Post,
            "/api/apps/instances",
            r#"{"app_id":"nope","instance_id":"i3","target":"http://a:1"}"#,
            UnknownApp,
        ),
        (
            Post,
            "/api/apps/instances",
            r#"{"app_id":"app2","instance_id":"i1","target":"http://a:1"}"#,
            InstanceOfOtherApp,
        ),
        (Put, "/api/v2/pools/nope/endpoints/i1", r#"{"drain":true}"#, UnknownPool),
        (Put, "/api/v2/pools/app2/endpoints/i1", r#"{"drain":true}"#, UnknownInstance),
        (Put, "/api/v2/pools/app1/endpoints/i1", r#"{"pool":"app2"}"#, Conflicting),
        (Delete, "/api/v2/pools/nope/endpoints/i1", "", UnknownPool),
        (Delete, "/api/v2/pools/app1/endpoints/nope", "", UnknownInstance),
        (Delete, "/api/v2/pools/app1/endpoints/i1", r#"{"pool":"app2"}"#, Conflicting),
        (Post, "/api/v2/traffic/canary/blog/resume", "", NotBraked),
        (Post, "/api/v2/traffic/canary/nope/resume", "", UnknownCanary),
        (Post, "/api/v2/traffic/canary/blog/resume", r#"{"route":"shop"}"#, Conflicting),
        (Post, "/api/v2/traffic/canary/shop/weight", r#"{"weight":5}"#, CanaryBraked),
        (Post, "/api/v2/traffic/canary/steps/weight", r#"{"weight":5}"#, CanarySteps),
        (Post, "/api/v2/traffic/canary/nope/weight", r#"{"weight":5}"#, UnknownCanary),
        (Post, "/api/v2/traffic/canary/blog/weight", r#"{"route":"shop"}"#, Conflicting),
        (Post, "/api/cache/purge?url=a.example", r#"{"url":"b.example"}"#, Conflicting),
        (Delete, "/admin/cache?pattern=*", r#"{"pattern":"a.example"}"#, Conflicting),
        (Get, "/api/cache/stats?by=route&by=tenant", "", Conflicting),
        (Get, "/api/cache/entries?host=a&host=b", "", Conflicting),
        (Post, "/api/cache/explain?url=a", r#"{"url":"b"}"#, Conflicting),
        (Post, "/api/v2/auth/check", r#"{"route":"nope","token":"a.b.c"}"#, UnknownRoute),
        (Post, "/api/v2/auth/check", r#"{"route":"open","token":"a.b.c"}"#, NotCheckable),
        (Get, "/api/v2/pools/nope", "", UnknownPool),
        (Get, "/api/v2/pools?owner=api", r#"{"owner":"file"}"#, Conflicting),
        (Get, "/api/v2/pools/app1", r#"{"pool":"app2"}"#, Conflicting),
        (Delete, "/api/apps", r#"{"app_id":"nope"}"#, UnknownApp),
        (Delete, "/api/apps", r#"{"app_id":"app1"}"#, AppHasDomains),
        (Delete, "/api/apps/app2", r#"{"app_id":"app1"}"#, Conflicting),
        (Get, "/api/apps?app_id=app1", r#"{"app_id":"app2"}"#, Conflicting),
        (Post, "/api/apps/get", r#"{"app_id":"nope"}"#, UnknownApp),
        (Post, "/api/apps/get?app_id=app1", r#"{"app_id":"app2"}"#, Conflicting),
        (Delete, "/api/apps/instances", r#"{"instance_id":"nope"}"#, UnknownInstance),
        (Delete, "/api/apps/instances", r#"{"instance_id":"i1","generation":1}"#, StaleGeneration),
        (Delete, "/api/apps/instances/i2", r#"{"instance_id":"i1"}"#, Conflicting),
        (Get, "/api/apps/instances?domain=nope.example", "", UnknownDomain),
        (Get, "/api/apps/instances?app_id=app1&app_id=app2", "", Conflicting),
        (Post, "/api/apps/instances/list", r#"{"app_id":"nope"}"#, UnknownApp),
        (Post, "/api/apps/instances/list/app1", r#"{"app_id":"app2"}"#, Conflicting),
        (Post, "/api/apps/heartbeat", r#"{"instance_id":"nope"}"#, UnknownInstance),
        (Post, "/api/apps/heartbeat", r#"{"instance_id":"i1","generation":1}"#, StaleGeneration),
        (Post, "/api/apps/heartbeat/i2", r#"{"instance_id":"i1"}"#, Conflicting),
        (Post, "/api/tenants/domains", r#"{"domain":"two.example","app_id":"nope"}"#, UnknownApp),
        (Post, "/api/tenants/domains", r#"{"domain":"one.example","app_id":"app2"}"#, DomainTaken),
        (
            Post,
            "/api/tenants/custom-domains",
            r#"{"domain":"two.example","app_id":"nope","tenant_id":"t"}"#,
            UnknownApp,
        ),
        (
            Post,
            "/api/tenants/custom-domains",
            r#"{"domain":"one.example","app_id":"app1","tenant_id":"t"}"#,
            DomainTaken,
        ),
        (Post, "/api/routes", r#"{"domain":"two.example","app_id":"nope"}"#, UnknownApp),
        (Post, "/api/routes", r#"{"domain":"one.example","app_id":"app2"}"#, DomainTaken),
        (Put, "/api/tenants/domains", r#"{"domain":"nope.example","tenant_id":"t"}"#, UnknownDomain),
        (Put, "/api/tenants/domains", r#"{"domain":"one.example","app_id":"nope"}"#, UnknownApp),
        (Put, "/api/tenants/domains/one.example", r#"{"domain":"two.example"}"#, Conflicting),
        (Delete, "/api/tenants/domains", r#"{"domain":"nope.example"}"#, UnknownDomain),
        (Delete, "/api/tenants/domains/one.example?domain=two.example", "", Conflicting),
        (Get, "/api/tenants/domains?tenant_id=a", r#"{"tenant_id":"b"}"#, Conflicting),
        (Post, "/api/tenants/domains/get", r#"{"domain":"nope.example"}"#, UnknownDomain),
        (Post, "/api/tenants/domains/get?domain=one.example", r#"{"domain":"two.example"}"#, Conflicting),
        (
            Post,
            "/api/register",
            r#"{"domain":"two.example","instance_id":"i1","target":"http://a:1","app_id":"app2"}"#,
            InstanceOfOtherApp,
        ),
        (
            Post,
            "/api/register",
            r#"{"domain":"one.example","instance_id":"i9","target":"http://a:1","app_id":"app2"}"#,
            DomainTaken,
        ),
        (Delete, "/api/register", r#"{"instance_id":"nope"}"#, UnknownInstance),
        (Delete, "/api/register", r#"{"instance_id":"i1","app_id":"app2"}"#, InstanceOfOtherApp),
        (Delete, "/api/register", r#"{"instance_id":"i1","generation":1}"#, StaleGeneration),
        (Delete, "/api/register/i2", r#"{"instance_id":"i1"}"#, Conflicting),
        (Post, "/api/status/app", r#"{"app_id":"nope"}"#, UnknownApp),
        (Get, "/api/status/app?app_id=app1&app_id=app2", "", Conflicting),
        (Get, "/api/v2/pools/nope/health", "", UnknownPool),
        (Get, "/api/v2/pools/app1/health?pool=app2", "", Conflicting),
        (Get, "/api/v2/breakers?app_id=app1&app_id=app2", "", Conflicting),
        (Get, "/admin/tenants?tenant_id=a&tenant_id=b", "", Conflicting),
        (Get, "/api/v2/config/versions/aaaaaaaaaaaa?version=b", "", Conflicting),
        (Post, "/api/v2/config/validate", r#"{"config":{},"sources":[]}"#, Conflicting),
        (Post, "/api/v2/config/simulate?owner=file", r#"{"config":{},"owner":"admin"}"#, Conflicting),
        (Post, "/api/v2/config/diff?mode=merge", r#"{"config":{},"mode":"replace"}"#, Conflicting),
        (Post, "/api/v2/config/explain?url=a", r#"{"url":"b"}"#, Conflicting),
        (Post, "/api/v2/config/apply?plan=a", r#"{"plan":"b"}"#, Conflicting),
        (Post, "/api/v2/config/rollback?version=a", r#"{"version":"b"}"#, Conflicting),
        (Post, "/admin/reload?reason=a", r#"{"reason":"b"}"#, Conflicting),
        (Get, "/api/v2/config/current?owner=file&owner=admin", "", Conflicting),
        (Get, "/api/v2/config/history?owner=file&owner=admin", "", Conflicting),
    ] {
        survey.check(method, path, body, kind);
    }

    for path in ["/api/v2/config/rollout/promote", "/api/v2/config/rollout/abort"] {
        let reply = survey.send(Post, path, &[], "", |state| state.configuration.trial = None);
        assert_eq!(reply.code(), "no_trial");
    }

    survey.check(Post, "/api/cache/purge", r#"{"route":"nosuch"}"#, UnknownRoute);
    let acme = [("Authorization", "Bearer secret-to-acme")];
    for (method, path, body, kind) in [
        (Post, "/api/cache/purge", r#"{"tenant":"other"}"#, ForeignTenant),
        (Get, "/api/cache/entries?tenant=other", "", ForeignTenant),
        (Post, "/api/cache/explain", r#"{"url":"a.example/"}"#, UnknownRoute),
    ] {
        assert_eq!(survey.send(method, path, &acme, body, |_| {}).code(), kind.code(), "{path}");
    }

    for operation in operations() {
        let spec = operation.spec();
        let documented: BTreeSet<(u16, String)> = spec
            .responses
            .iter()
            .map(|(status, _)| (*status, String::new()))
            .chain(spec.problems.iter().map(|kind| (kind.status(), kind.code().to_owned())))
            .collect();
        assert_eq!(survey.observed[&operation], documented, "{operation:?}");
    }
}

/// Sends all requests about the configuration that are refused.
fn survey_configuration(
    survey: &mut Survey,
    route: &Route,
    operation: ConfigOperation,
    path: &str,
    body: &str,
) {
    survey_refusals(survey, route, path, body);
    if route.operation.spec().responses.iter().any(|(status, _)| *status == 202) {
        let reply = survey.send(route.method, path, &[], body, |state| state.pending = vec![CoreId(1)]);
        assert_eq!((reply.status, &reply.json()["pending"]), (202, &serde_json::json!([1])));
    }
    if operation.takes_version() {
        let reply = survey.send(route.method, path, &[("If-Match", "12")], body, |_| {});
        assert_eq!(reply.code(), "malformed_header");
    }
}

/// Sends a request that the threads of the configuration refuse, for each reason.
fn survey_refusals(survey: &mut Survey, route: &Route, path: &str, body: &str) {
    let documented = route.operation.spec().problems;
    let refused = |step| ConfigError::Refused { step, findings: vec![super::fake::warning()] };
    let storage = StorageFailure::new(std::io::Error::other("the disk is full"));
    let on_trial = Refusal::OnTrial { trial: TrialId(1), owner: Owner::File };
    for (error, kind) in [
        (refused(Step::Reading), Kind::ConfigInvalid),
        (refused(Step::Claims), Kind::ConfigClaims),
        (refused(Step::Governance), Kind::ConfigGovernance),
        (refused(Step::Size), Kind::ConfigSize),
        (
            ConfigError::Stale { owner: Owner::Admin, current: Some("cccccccccccc".into()) },
            Kind::StaleVersion,
        ),
        (ConfigError::PlanOutdated, Kind::PlanOutdated),
        (ConfigError::UnknownVersion { owner: Owner::Admin, version: None }, Kind::UnknownVersion),
        (ConfigError::NotReplaceable(Owner::File), Kind::ConfigNotReplaceable),
        (ConfigError::NoFile, Kind::NoConfigFile),
        (ConfigError::Busy, Kind::Busy),
        (ConfigError::Failed, Kind::ConfigFailed),
        (ConfigError::ControlPlane(Refusal::Unconfirmed), Kind::Unconfirmed),
        (ConfigError::ControlPlane(Refusal::ShuttingDown), Kind::ShuttingDown),
        (ConfigError::ControlPlane(Refusal::Storage(storage)), Kind::Storage),
        (ConfigError::ControlPlane(on_trial), Kind::OnTrial),
    ] {
        if documented.contains(&kind) {
            let reply =
                survey.send(route.method, path, &[], body, |state| state.configuration.refuse = Some(error));
            assert_eq!(reply.code(), kind.code(), "{path}: {reply:?}");
            if kind == Kind::StaleVersion {
                assert_eq!(reply.field("etag"), Some("\"cccccccccccc\""));
            }
            if kind == Kind::ConfigInvalid {
                assert_eq!(reply.json()["findings"][0]["pointer"], "/cache");
            }
        }
    }
}

#[test]
fn unknown_paths_and_methods_tell_what_is_known() {
    let api = Api::start();
    let reply = api.ask("GET", "/api/route", "");
    assert_eq!((reply.status, reply.code().as_str()), (404, "no_such_path"));
    assert!(reply.json()["detail"].as_str().unwrap().contains("/api/routes"), "{reply:?}");
    for path in
        ["/", "/api", "/api/apps/", "/api/status/certificate", "/api/tenants/domains/x/y", "/../api/apps"]
    {
        assert_eq!(api.ask("GET", path, "").status, 404, "{path}");
    }
    for path in ["/api/tenants/domains/verfy", "/api/webhook", "/api/apps/regster"] {
        assert_eq!(api.ask("POST", path, "{}").status, 404, "{path}");
    }
    let reply = api.ask("POST", "/api/apps/regster", "");
    assert!(reply.json()["detail"].as_str().unwrap().contains("/api/apps/register"), "{reply:?}");
    let reply = api.ask("PATCH", "/api/apps/app1", "");
    assert_eq!((reply.status, reply.field("allow")), (405, Some("GET, DELETE, HEAD, OPTIONS")));
    let reply = api.ask("PATCH", "/api/apps", "");
    assert_eq!((reply.status, reply.field("allow")), (405, Some("GET, DELETE, HEAD, OPTIONS")));
    let reply = api.ask("OPTIONS", "/api/tenants/domains", "");
    assert_eq!((reply.status, reply.field("allow")), (204, Some("POST, PUT, DELETE, GET, HEAD, OPTIONS")));
    assert_eq!(reply.field("access-control-allow-origin"), None);
    assert_eq!(api.ask("OPTIONS", "*", "").status, 204);
    assert_eq!(api.ask("OPTIONS", "/nowhere", "").status, 404);
    assert_eq!(api.ask("BREW", "/nowhere", "").status, 501);
    assert_eq!(api.ask("BREW", "/api/apps", "").status, 405);
}

#[test]
fn the_openapi_document_lists_the_paths_of_the_api() {
    let api = Api::start();
    let reply = api.ask("GET", "/api/openapi.json", "");
    assert_eq!(reply.json(), openapi::document());
    assert_eq!(reply.json()["openapi"], "3.1.0");
    let paths: Vec<String> = reply.json()["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        paths,
        [
            "/admin/cache",
            "/admin/cache/stats",
            "/admin/health",
            "/admin/reload",
            "/admin/tenants",
            "/api/apps",
            "/api/apps/delete",
            "/api/apps/delete/{app_id}",
            "/api/apps/get",
            "/api/apps/get/{app_id}",
            "/api/apps/heartbeat",
            "/api/apps/heartbeat/{instance_id}",
            "/api/apps/instances",
            "/api/apps/instances/delete",
            "/api/apps/instances/delete/{instance_id}",
            "/api/apps/instances/list",
            "/api/apps/instances/list/{app_id}",
            "/api/apps/instances/{instance_id}",
            "/api/apps/register",
            "/api/apps/{app_id}",
            "/api/cache/entries",
            "/api/cache/explain",
            "/api/cache/purge",
            "/api/cache/stats",
            "/api/openapi.json",
            "/api/register",
            "/api/register/delete",
            "/api/register/{instance_id}",
            "/api/routes",
            "/api/routes/delete",
            "/api/routes/{domain}",
            "/api/status",
            "/api/status/app",
            "/api/status/app/{app_id}",
            "/api/status/certificates",
            "/api/status/instances",
            "/api/tenants/custom-domains",
            "/api/tenants/domains",
            "/api/tenants/domains/certificate",
            "/api/tenants/domains/certificate/delete",
            "/api/tenants/domains/delete",
            "/api/tenants/domains/delete/{domain}",
            "/api/tenants/domains/get",
            "/api/tenants/domains/get/{domain}",
            "/api/tenants/domains/verify",
            "/api/tenants/domains/verify/{domain}",
            "/api/tenants/domains/{domain}",
            "/api/tenants/domains/{domain}/certificate",
            "/api/v2/auth/check",
            "/api/v2/breakers",
            "/api/v2/config/apply",
            "/api/v2/config/current",
            "/api/v2/config/diff",
            "/api/v2/config/explain",
            "/api/v2/config/history",
            "/api/v2/config/rollback",
            "/api/v2/config/rollout",
            "/api/v2/config/rollout/abort",
            "/api/v2/config/rollout/promote",
            "/api/v2/config/simulate",
            "/api/v2/config/validate",
            "/api/v2/config/versions/{version}",
            "/api/v2/pools",
            "/api/v2/pools/{pool}",
            "/api/v2/pools/{pool}/endpoints/{endpoint}",
            "/api/v2/pools/{pool}/health",
            "/api/v2/traffic/canary",
            "/api/v2/traffic/canary/{route}/resume",
            "/api/v2/traffic/canary/{route}/weight",
            "/api/webhooks",
            "/api/webhooks/delete",
            "/api/webhooks/get",
            "/api/webhooks/{app_id}",
            "/health/liveness",
            "/health/readiness",
            "/health/startup",
            "/healthz",
            "/metrics",
            "/ready",
        ]
    );
}

#[test]
fn a_webhook_s_secret_is_kept_and_never_shown() {
    let settings = Settings { access: access(Some(TOKEN)), ..Settings::default() };
    let api = Api::with(settings, DriverChoice::Auto, Listeners::default());
    fixture(&mut api.state());
    let authorization = format!("Bearer {TOKEN}");
    let ask = |method: &str, path: &str, body: &str| {
        let reply = api.connect().ask(method, path, &[("Authorization", &authorization)], body);
        assert!(!format!("{reply:?}").contains(SECRET), "{method} {path}: {reply:?}");
        reply
    };
    let secret = || {
        let state = api.state();
        let app = state.desired.app("app1").unwrap().clone();
        app.webhook.as_ref().unwrap().secret.as_ref().map(|secret| secret.expose().to_owned())
    };
    let shown = ask("GET", "/api/webhooks", "").json();
    assert_eq!(shown["webhooks"][0]["url"], "https://app1.example/hook");
    assert_eq!(shown["webhooks"][0]["signed"], true);
    ask("PUT", "/api/webhooks/app1", r#"{"url":"https://new.example/"}"#);
    assert_eq!(secret().as_deref(), Some(SECRET), "a new URL leaves the secret as it is");
    let short = ask("PUT", "/api/webhooks/app1", r#"{"secret":"too-short"}"#);
    assert_eq!(short.status, 422);
    assert!(!format!("{short:?}").contains("too-short"), "{short:?}");
    ask("PUT", "/api/webhooks/app1", r#"{"secret":null}"#);
    assert_eq!(secret(), None);
    let wrong = ask("POST", "/api/webhooks", r#"{"app_id":"app1","url":"https://me:pass@a.example/"}"#);
    assert_eq!(wrong.status, 422);
    assert!(!format!("{wrong:?}").contains("pass@"), "{wrong:?}");
}
