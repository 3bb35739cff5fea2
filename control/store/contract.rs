//! Contract of a [`Store`]: a test suite for every adapter, also for those of embedders.
//!
//! ```
//! use ringway_store::{Memory, Store, contract};
//!
//! contract::run(|| {
//!     let contents = Memory::new(); // new and empty
//!     move || Box::new(contents.clone()) as Box<dyn Store> // opens the same contents again and again
//! });
//! ```

use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    AccessLogStage, AdaptiveLimit, ApiKey, ApiKeys, App, AppId, AuthMethod, AuthStage, Balancer, Ban,
    BasicAuth, BodyLimit, BodyText, BrakeMode, Braked, CacheMode, CacheSpec, CacheTtl, Canary, CanaryState,
    CanaryStep, CanonicalHost, Certificate, CertificateFiles, CertificateMode, CircuitBreaker, ClaimField,
    ClaimRule, ClientAuth, ClientAuthNeed, Cohorts, Compress, ConfigVersion, Cors, DecisionCache, Delta,
    Domain, DomainKind, EndpointOverride, ErrorPage, ErrorPages, ExternalFilter, ExternalProtocol, FailMode,
    FailurePolicy, FieldMatch, FilePath, FixedResponse, FrameOptions, Generation, HeaderEdits,
    HeaderTransform, HealthCheck, Hedge, HedgeDelay, HostPattern, Hostname, Hsts, HttpProbe, Instance,
    InstanceId, IpAcl, JwtAuth, JwtKeys, Kind, Maintenance, Middleware, MiddlewareId, MiddlewareSpec, Mirror,
    OnAllUnhealthy, Outliers, Overload, Owner, PathMatch, PathRedirect, Percent, Plugin, PluginId,
    PluginKind, PluginRef, PluginSpec, Policy, PolicyId, PolicyRef, PolicySettings, PoolRef, PoolTraffic,
    Probe, ProbeHeaders, ProbeHost, ProbeMethod, ProbePath, RateLimit, RateLimitKey, RateLimitRef, Redirect,
    RequestIdStage, RequestKey, Resource, Retries, Revision, Rewrite, RewriteStage, Route, RouteAction,
    RouteId, RouteMatch, RouteSpec, Script, ScriptSpec, SecurityHeaders, SetCookiePolicy, SetVersion,
    SetWeight, StageSpec, StatusRanges, StatusSet, Target, Template, TenantId, TimeoutPolicy, Timestamp,
    TokenPlace, TracingStage, TrafficSpec, UpstreamProtocol, ValueMatch,
};

use crate::{Batch, Loaded, Memory, Store, StoreError, export, import, migrate};

/// Runs the whole suite. Each call of `make` gives a new and empty store; the function that it returns opens
/// that store, after the store opened before was dropped.
///
/// # Panics
/// At the first violation, with the name of the check.
pub fn run<P: FnMut() -> Box<dyn Store>>(mut make: impl FnMut() -> P) {
    for (name, check) in CHECKS {
        let mut opener = make();
        let mut open = || Opened { name, store: opener() };
        check(&mut open);
    }
}

type Check = fn(&mut dyn FnMut() -> Opened);

/// An opened store with assertions for the checks.
struct Opened {
    name: &'static str,
    store: Box<dyn Store>,
}

impl Opened {
    fn load(&mut self) -> Loaded {
        let loaded = self.store.load().unwrap_or_else(|error| panic!("{}: load: {error}", self.name));
        assert!(!loaded.report.is_degraded(), "{}: degraded: {}", self.name, loaded.report);
        loaded
    }

    fn commit(&mut self, revision: u64, deltas: &[Delta]) {
        self.store
            .commit(&Batch { revision: Revision(revision), deltas })
            .unwrap_or_else(|error| panic!("{}: commit {revision}: {error}", self.name));
    }

    fn expect(&mut self, revision: u64, resources: &[Resource]) {
        let loaded = self.load();
        assert_eq!(loaded.revision, Revision(revision), "{}: revision", self.name);
        assert_eq!(loaded.resources, resources, "{}: resources", self.name);
    }
}

fn put(resource: impl Into<Resource>) -> Delta {
    Delta::Put(resource.into())
}

const CHECKS: &[(&str, Check)] = &[
    ("a new store is empty, at revision 0", |open| open().expect(0, &[])),
    ("every field of every record comes back, after opening again too", |open| {
        let (app, instance, domain) =
            (app("shop"), instance("shop", "shop-1"), domain("shop", "shop.example"));
        let bare = (bare_instance("shop", "shop-2"), bare_domain("shop", "www.shop.example"));
        let deltas = [
            put(app.clone()),
            put(instance.clone()),
            put(bare.0.clone()),
            put(domain.clone()),
            put(bare.1.clone()),
            put(policy()),
            put(redirect()),
            put(response()),
            put(route()),
            put(version()),
            put(certificate()),
            put(canary_state()),
            put(endpoint_override()),
            put(middleware()),
            put(plugin()),
            put(script()),
        ];
        let mut store = open();
        store.load();
        store.commit(1, &deltas);
        let all: [Resource; 16] = [
            app.into(),
            instance.into(),
            bare.0.into(),
            domain.into(),
            bare.1.into(),
            policy().into(),
            route().into(),
            response().into(),
            redirect().into(),
            version().into(),
            certificate().into(),
            canary_state().into(),
            endpoint_override().into(),
            middleware().into(),
            plugin().into(),
            script().into(),
        ];
        store.expect(1, &all);
        drop(store);
        open().expect(1, &all);
    }),
    ("a commit before the first load extends the present contents", |open| {
        open().commit(1, &[put(app("a"))]);
        open().commit(2, &[put(app("b"))]);
        open().expect(2, &[app("a").into(), app("b").into()]);
    }),
    ("a later put replaces, a removal removes", |open| {
        let mut store = open();
        let renamed = App { name: "another name".into(), updated_at: Timestamp(9), ..app("a") };
        store.commit(1, &[put(app("a")), put(domain("a", "a.example"))]);
        store.commit(2, &[put(renamed.clone())]);
        store.commit(3, &[Delta::Remove(domain("a", "a.example").into())]);
        store.expect(3, &[renamed.clone().into()]);
        drop(store);
        open().expect(3, &[renamed.into()]);
    }),
    ("of several deltas for one record the last one counts", |open| {
        let mut store = open();
        let (first, second) = (instance("a", "i"), bare_instance("a", "i"));
        let gone = Delta::Remove(first.clone().into());
        store.commit(1, &[put(first.clone()), gone.clone(), put(second.clone())]);
        store.expect(1, &[second.into()]);
        store.commit(2, &[put(first), gone]);
        drop(store);
        open().expect(2, &[]);
    }),
    ("removing an absent resource is no error", |open| {
        let mut store = open();
        store.commit(1, &[Delta::Remove(app("never").into())]);
        drop(store);
        open().expect(1, &[]);
    }),
    ("an empty batch moves the revision, and revisions may leave gaps", |open| {
        let mut store = open();
        store.commit(7, &[]);
        store.commit(100, &[]);
        drop(store);
        open().expect(100, &[]);
    }),
    ("a revision that is not newer is refused and changes nothing", |open| {
        let mut store = open();
        store.commit(5, &[put(app("a"))]);
        for revision in [0, 4, 5] {
            let refused =
                store.store.commit(&Batch { revision: Revision(revision), deltas: &[put(app("b"))] });
            assert!(
                matches!(refused, Err(StoreError::StaleRevision { .. })),
                "{}: {revision} was accepted: {refused:?}",
                store.name
            );
        }
        drop(store);
        open().expect(5, &[app("a").into()]);
    }),
    ("equal keys of different kinds do not collide", |open| {
        let mut store = open();
        let all = (app("same.example"), bare_instance("x", "same.example"), bare_domain("x", "same.example"));
        store.commit(1, &[put(all.0.clone()), put(all.1.clone()), put(all.2.clone())]);
        drop(store);
        open().expect(1, &[all.0.into(), all.1.into(), all.2.into()]);
    }),
    ("a batch of thousands is atomic", |open| {
        let mut store = open();
        let domains: Vec<Domain> = (0..3000).map(|n| bare_domain("a", &format!("d{n:04}.example"))).collect();
        let deltas: Vec<Delta> = domains.iter().cloned().map(put).collect();
        store.commit(1, &deltas);
        store.commit(2, &[Delta::Remove(domains[0].clone().into())]);
        drop(store);
        let left: Vec<Resource> = domains.into_iter().skip(1).map(Resource::from).collect();
        open().expect(2, &left);
    }),
    ("loading twice, maintenance and a clean close change nothing", |open| {
        let mut store = open();
        store.commit(1, &[put(app("a"))]);
        store.expect(1, &[app("a").into()]);
        store.expect(1, &[app("a").into()]);
        store.store.maintain().unwrap_or_else(|error| panic!("{}: maintain: {error}", store.name));
        store.commit(2, &[put(app("b"))]);
        store.store.close().unwrap_or_else(|error| panic!("{}: close: {error}", store.name));
        drop(store);
        let mut store = open();
        store.expect(2, &[app("a").into(), app("b").into()]);
        store.commit(3, &[]);
        store.expect(3, &[app("a").into(), app("b").into()]);
    }),
    ("the description has the revision and the kind of the store", |open| {
        let mut store = open();
        store.commit(3, &[]);
        let description = store.store.describe();
        assert_eq!(description.revision, Revision(3), "{}", store.name);
        assert!(!description.kind.is_empty(), "{}", store.name);
    }),
    ("an export can be imported into another store and equals the original", |open| {
        let all = [app("a")];
        let mut store = open();
        let (app, instance, domain) = (all[0].clone(), instance("a", "i"), domain("a", "a.example"));
        let of_operator = [
            put(policy()),
            put(route()),
            put(version()),
            put(certificate()),
            put(canary_state()),
            put(endpoint_override()),
            put(middleware()),
            put(plugin()),
            put(script()),
        ];
        store.commit(4, &[put(app), put(instance), put(domain)]);
        store.commit(5, &of_operator);
        let mut text = Vec::new();
        let written = export(&mut *store.store, &mut text).expect("exports");
        assert_eq!(Kind::ALL.map(|kind| written.count(kind)), [1; Kind::COUNT], "{}", store.name);
        let mut other = Memory::new();
        import(&mut text.as_slice(), &mut other).expect("imports");
        let here = store.load();
        let there = other.load().expect("loads");
        assert_eq!((here.revision, here.resources), (there.revision, there.resources));
        let refused = migrate(&mut other, &mut *store.store);
        assert!(matches!(refused, Err(StoreError::NotEmpty { .. })), "{}: {refused:?}", store.name);
    }),
    ("an empty store accepts the contents of another one", |open| {
        let mut other = Memory::new();
        other.commit(&Batch { revision: Revision(9), deltas: &[put(app("a"))] }).expect("memory accepts it");
        let mut store = open();
        migrate(&mut other, &mut *store.store).unwrap_or_else(|error| panic!("{}: {error}", store.name));
        drop(store);
        open().expect(9, &[app("a").into()]);
    }),
];

fn app(id: &str) -> App {
    App {
        traffic: Some(Arc::new(pool_traffic())),
        owner: Owner::Api,
        webhook: None,
        upstream_tls: None,
        failures: FailurePolicy {
            statuses: StatusSet::parse("500,502-504").expect("statuses"),
            timeouts: TimeoutPolicy::Always,
        },
        on_all_unhealthy: OnAllUnhealthy::Trickle,
        balancer: Balancer::WeightedRoundRobin,
        policy: Some(PolicyRef::Named(PolicyId::parse("strict").expect("a valid id"))),
        id: AppId::parse(id).expect("a valid id"),
        name: format!("The \"{id}\" app, größer").into(),
        created_at: Timestamp(1_700_000_000_001),
        updated_at: Timestamp(1_700_000_000_002),
    }
}

fn instance(app: &str, id: &str) -> Instance {
    Instance {
        health_check: HealthCheck {
            probe: Probe::Http(probe().into()),
            port: NonZeroU16::new(9000),
            interval: Some(Duration::from_millis(1_500)),
            timeout: Some(Duration::from_secs(1)),
            unhealthy_threshold: NonZeroU8::new(5),
            healthy_threshold: NonZeroU8::new(1),
        },
        target: Target::parse("http://[2001:db8::1]:3001").expect("a valid target"),
        ..bare_instance(app, id)
    }
}

fn probe() -> HttpProbe {
    let headers = [("Authorization", "Bearer \"x\""), ("X-Forwarded-Proto", "https")];
    HttpProbe {
        path: ProbePath::parse("/health?deep=\"1\"").expect("a valid path"),
        method: ProbeMethod::Options,
        host: Some(ProbeHost::parse("app.example:8443").expect("a valid host")),
        headers: ProbeHeaders::new(headers).expect("valid fields"),
        statuses: StatusRanges::parse("200,300-399").expect("valid ranges"),
        body: Some(BodyText::parse("größer \"ok\"").expect("a valid text")),
    }
}

fn bare_instance(app: &str, id: &str) -> Instance {
    Instance {
        id: InstanceId::parse(id).expect("a valid id"),
        owner: Owner::Api,
        app: AppId::parse(app).expect("a valid id"),
        target: Target::parse("http://origin.internal:80").expect("a valid target"),
        health_check: HealthCheck::default(),
        weight: 7,
        registered_at: Timestamp(3),
        generation: Generation(u64::MAX),
        draining: Some(Timestamp(u64::MAX)),
    }
}

fn domain(app: &str, name: &str) -> Domain {
    Domain {
        tenant: Some(TenantId::parse("tenant-1").expect("a valid id")),
        kind: DomainKind::Custom,
        cname_target: Some(host("cname.example")),
        ..bare_domain(app, name)
    }
}

fn bare_domain(app: &str, name: &str) -> Domain {
    Domain {
        certificate: CertificateMode::default(),
        client_auth: None,
        name: host(name),
        owner: Owner::Api,
        app: AppId::parse(app).expect("a valid id"),
        tenant: None,
        kind: DomainKind::Subdomain,
        cname_target: None,
        policy: Some(PolicyRef::Inline(Arc::new(settings()))),
        created_at: Timestamp(4),
        updated_at: Timestamp(5),
    }
}

fn settings() -> PolicySettings {
    PolicySettings {
        timeout: Some(Duration::from_millis(1_500)),
        per_try_timeout: Some(Duration::from_millis(1)),
        total_timeout: Some(Duration::from_secs(3_600)),
        body_size_limit: Some(u64::MAX),
        require_tls: Some(true),
        unavailable_status: Some(503),
        websocket: Some(false),
        retries: Some(Retries {
            idempotent_only: false,
            idempotency_key: Some("idempotency-key".into()),
            ..Retries::default()
        }),
        rate_limit: Some(RateLimit {
            requests: 100,
            per: Duration::from_secs(60),
            burst: 20,
            key: [
                RateLimitKey::Route,
                RateLimitKey::Client,
                RateLimitKey::Tenant,
                RateLimitKey::Host,
                RateLimitKey::Header("x-api-key".into()),
            ]
            .into(),
            ban: Some(Ban { after: 50, duration: Duration::from_secs(600) }),
            sends_fields: true,
            dry_run: true,
        }),
        circuit_breaker: Some(breaker()),
        hedge: Some(Hedge { delay: HedgeDelay::P95, budget: Percent::whole(5), dry_run: true }),
    }
}

fn breaker() -> CircuitBreaker {
    CircuitBreaker { failures: Some(5), dry_run: true, ..CircuitBreaker::default() }
}

fn pool_traffic() -> PoolTraffic {
    PoolTraffic {
        outliers: Outliers { error_rate: Percent::new(12.5), dry_run: true, ..Outliers::default() },
        circuit_breaker: Some(breaker()),
        hash_by: Some(RequestKey::Cookie("session".into())),
        slow_start: Some(Duration::from_secs(30)),
        endpoint_max_concurrent: Some(100),
        protocol: UpstreamProtocol::H2c,
    }
}

fn traffic() -> TrafficSpec {
    let pool = |id: &str| PoolRef::App(AppId::parse(id).expect("a valid id"));
    TrafficSpec {
        canary: Some(Canary {
            pool: pool("v2"),
            weight: Percent::whole(10),
            steps: [CanaryStep { weight: Percent::whole(50), after: Duration::from_secs(600) }].into(),
            hash: Some(RequestKey::Header("x-user".into())),
            cookie: Some("variant".into()),
            brake: BrakeMode::DryRun,
        }),
        cohorts: Some(Cohorts {
            header: Some("x-cohort".into()),
            cookie: Some("cohort".into()),
            trusted_only: true,
            mappings: [("beta".into(), pool("v2"))].into(),
            brake: true,
        }),
        overload: Some(Overload {
            max_concurrent: 40,
            queue_size: 100,
            queue_timeout: Duration::from_secs(1),
            adaptive: Some(AdaptiveLimit { target: Some(Duration::from_millis(250)), min: 4 }),
            dry_run: true,
        }),
        mirror: Some(Mirror {
            pool: pool("shadow"),
            share: Percent::new(0.25).expect("a share"),
            methods: ["GET".into()].into(),
            timeout: Duration::from_secs(5),
        }),
    }
}

fn canary_state() -> CanaryState {
    CanaryState {
        route: RouteId::parse("api").expect("a valid id"),
        owner: Owner::Api,
        plan: u64::MAX,
        braked: Some(Braked { at: Timestamp(8), reason: "5 of 10 failed".into() }),
        step: 2,
        stepped_at: Timestamp(9),
        set_weight: Some(SetWeight {
            weight: Percent::whole(25),
            at: Timestamp(8),
            by: "operator".into(),
            reason: "a first look".into(),
        }),
    }
}

fn endpoint_override() -> EndpointOverride {
    EndpointOverride {
        instance: InstanceId::parse("i").expect("a valid id"),
        owner: Owner::Api,
        weight: Some(7),
        is_drained: true,
        at: Timestamp(10),
        by: "operator".into(),
        reason: "maintenance".into(),
    }
}

/// A chain with a stage of every type.
fn middleware() -> Middleware {
    let network = |text: &str| text.parse().expect("a network");
    let template = |text: &str| Template::parse(text).expect("a template");
    let stages = [
        StageSpec::Compress(Compress { gzip_level: 9, ..Compress::default() }),
        StageSpec::RequestId(RequestIdStage { header: "X-Request-ID".into() }),
        StageSpec::AccessLog(AccessLogStage { enabled: false }),
        StageSpec::Tracing(TracingStage { trust_client: true }),
        StageSpec::IpAcl(IpAcl {
            allow: [network("10.0.0.0/8")].into(),
            deny: [network("2001:db8::/32")].into(),
        }),
        StageSpec::Cors(Cors {
            allow_origins: ["https://*.example.com".into()].into(),
            allow_methods: ["GET".into()].into(),
            allow_headers: ["X-Größe".into()].into(),
            expose_headers: [].into(),
            allow_credentials: true,
            max_age: Duration::from_millis(1_500),
        }),
        StageSpec::SecurityHeaders(SecurityHeaders {
            hsts: Some(Hsts { max_age: Duration::from_secs(9), include_subdomains: true, preload: false }),
            nosniff: true,
            frame_options: Some(FrameOptions::Sameorigin),
            content_security_policy: Some("default-src 'self'".into()),
            referrer_policy: None,
            permissions_policy: Some("camera=()".into()),
        }),
        StageSpec::RateLimit(RateLimitRef { policy_ref: PolicyId::parse("strict").expect("a valid id") }),
        StageSpec::Auth(AuthStage { any_of: methods(), optional: true }),
        StageSpec::HeaderTransform(HeaderTransform {
            request: HeaderEdits {
                add: [("X-B".into(), template("${claim.a.b} $$")), ("X-A".into(), template("1"))].into(),
                set: [("X-Ip".into(), template("${client_ip}"))].into(),
                remove: ["X-Internal".into()].into(),
            },
            response: HeaderEdits { remove: ["Server".into()].into(), ..HeaderEdits::default() },
        }),
        StageSpec::Redirect(PathRedirect { from: "/a/*".into(), to: "/b/*".into(), status: 302 }),
        StageSpec::Rewrite(RewriteStage::StripPrefix("/v1".into())),
        StageSpec::CanonicalHost(CanonicalHost { host: "www.example.com".into(), status: 308 }),
        StageSpec::BodyLimit(BodyLimit { size: u64::MAX }),
        StageSpec::Plugin(PluginRef { plugin: PluginId::parse("custom-auth").expect("a valid id") }),
        StageSpec::ErrorPages(ErrorPages {
            pages: [ErrorPage {
                statuses: "5xx".into(),
                content_type: "text/html".into(),
                body: "<p>\n".into(),
            }]
            .into(),
        }),
        StageSpec::Maintenance(Maintenance {
            retry_after: Duration::from_secs(60),
            page: Some("<p>größer".into()),
            bypass: [network("127.0.0.1")].into(),
        }),
    ];
    let id = MiddlewareId::parse("api-chain").expect("a valid id");
    Middleware {
        spec: Arc::new(MiddlewareSpec { id, stages: stages.into() }),
        owner: Owner::File,
        created_at: Timestamp(11),
        updated_at: Timestamp(12),
    }
}

/// A method of authentication of every kind.
fn methods() -> Box<[AuthMethod]> {
    let jwt = |keys, token| {
        AuthMethod::Jwt(JwtAuth {
            issuer: "https://auth.example.com".into(),
            audience: ["api".into()].into(),
            keys,
            token,
            claims: [ClaimField { claim: "sub".into(), header: "x-user".into() }].into(),
            require: [ClaimRule { claim: "scope".into(), values: ["a".into(), "b".into()].into() }].into(),
            leeway: Duration::from_secs(30),
            forward: true,
        })
    };
    [
        jwt(JwtKeys::Discovery, TokenPlace::Bearer),
        jwt(JwtKeys::Jwks("https://auth.example.com/keys".into()), TokenPlace::Header("x-token".into())),
        jwt(JwtKeys::File("/etc/keys.json".into()), TokenPlace::Cookie("token".into())),
        AuthMethod::Basic(BasicAuth {
            users_file: "/etc/users".into(),
            realm: "restricted".into(),
            user_header: Some("x-user".into()),
        }),
        AuthMethod::ApiKey(ApiKeys {
            header: "x-api-key".into(),
            keys: [ApiKey { name: "one".into(), sha256: "0f".repeat(32).into() }].into(),
            keys_file: None,
            user_header: None,
        }),
        AuthMethod::Forward(ExternalFilter {
            protocol: ExternalProtocol::Http { path: "/check?a".into() },
            cache: None,
            ..filter()
        }),
        AuthMethod::ClientCertificate {},
    ]
    .into()
}

fn filter() -> ExternalFilter {
    ExternalFilter {
        pool: AppId::parse("plugin.custom-auth").expect("a valid id"),
        protocol: ExternalProtocol::Grpc,
        timeout: Duration::from_millis(50),
        fail_mode: FailMode::Open,
        send: ["cookie".into()].into(),
        asserts: ["x-user".into()].into(),
        failed_open_header: Some("x-open".into()),
        cache: Some(DecisionCache {
            key: ["cookie".into(), "path".into()].into(),
            ttl: Duration::from_secs(9),
        }),
    }
}

fn plugin() -> Plugin {
    let id = PluginId::parse("custom-auth").expect("a valid id");
    Plugin {
        spec: Arc::new(PluginSpec { id, kind: PluginKind::External(filter()) }),
        owner: Owner::Admin,
        created_at: Timestamp(13),
        updated_at: Timestamp(14),
    }
}

fn script() -> Script {
    Script {
        spec: Arc::new(ScriptSpec {
            id: "hello".into(),
            file: "hello.lua".into(),
            is_module: false,
            source: "gw.get(\"/\", function() return 200 end)\n".into(),
        }),
        owner: Owner::File,
        created_at: Timestamp(15),
        updated_at: Timestamp(16),
    }
}

fn policy() -> Policy {
    Policy {
        id: PolicyId::parse("strict").expect("a valid id"),
        owner: Owner::File,
        settings: settings(),
        created_at: Timestamp(6),
        updated_at: Timestamp(7),
    }
}

fn route() -> Route {
    let field = |name: &str, value| FieldMatch { name: name.into(), value };
    let spec = RouteSpec {
        tenant: Some(TenantId::parse("tenant-1").expect("a valid id")),
        matcher: RouteMatch {
            path: PathMatch::Prefix("/größer \"1\"".into()),
            methods: ["GET".into(), "POST".into()].into(),
            headers: [field("x-api-version", ValueMatch::Exact("v2".into()))].into(),
            query: [field("debug", ValueMatch::Present)].into(),
        },
        priority: -3,
        order: 4,
        action: RouteAction::Proxy {
            pool: PoolRef::App(AppId::parse("a").expect("a valid id")),
            rewrite: Rewrite::ReplacePrefix("/v2".into()),
        },
        policies: [
            PolicyRef::Named(PolicyId::parse("strict").expect("a valid id")),
            PolicyRef::Inline(Arc::new(settings())),
        ]
        .into(),
        client_auth: Some(ClientAuth {
            ca_file: FilePath::parse("/etc/ca.pem").expect("a valid path"),
            need: ClientAuthNeed::Required,
        }),
        requires_client_cert: true,
        traffic: Some(Arc::new(traffic())),
        cache: Some(Arc::new(cache())),
        ..bare_route("api", "**.api.example")
    };
    configured(spec)
}

fn cache() -> CacheSpec {
    CacheSpec {
        ttl: Some(CacheTtl::Fixed(Duration::from_millis(60_000))),
        vary_headers: ["accept-language".into(), "authorization".into()].into(),
        auth_aware: true,
        set_cookie: SetCookiePolicy::Strip,
        coalesce_timeout: Duration::from_millis(1_500),
        patterns: ["*.css".into()].into(),
        ..CacheSpec::of_mode(CacheMode::Rfc9111)
    }
}

fn redirect() -> Route {
    let redirect = Redirect { to: "https://www.example/".into(), status: 307, keep_path: true };
    configured(RouteSpec { action: RouteAction::Redirect(redirect), ..bare_route("old", "old.example") })
}

fn response() -> Route {
    let (content_type, body) = ("text/plain".into(), "größer \"ok\"".into());
    let response = FixedResponse { status: 410, content_type, body };
    configured(RouteSpec { action: RouteAction::Respond(response), ..bare_route("gone", "g[0-9]\\.example") })
}

fn bare_route(id: &str, host: &str) -> RouteSpec {
    RouteSpec::new(
        RouteId::parse(id).expect("a valid id"),
        HostPattern::parse(host).expect("a valid pattern"),
        PoolRef::Pool(AppId::parse("a").expect("a valid id")),
    )
}

fn configured(spec: RouteSpec) -> Route {
    Route {
        spec: Arc::new(spec),
        owner: Owner::File,
        is_attached: true,
        created_at: Timestamp(8),
        updated_at: Timestamp(9),
    }
}

fn certificate() -> Certificate {
    Certificate {
        key: "*.shop.example".into(),
        owner: Owner::File,
        sni: HostPattern::parse("*.shop.example").expect("a valid pattern"),
        files: CertificateFiles {
            certificate: FilePath::parse("/etc/c.pem").expect("a valid path"),
            key: FilePath::parse("/etc/k.pem").expect("a valid path"),
        },
        created_at: Timestamp(11),
        updated_at: Timestamp(12),
    }
}

fn version() -> ConfigVersion {
    ConfigVersion {
        key: ConfigVersion::key_of(&Owner::Admin, 12),
        owner: Owner::Admin,
        sequence: 12,
        version: SetVersion::parse("0123456789ab").expect("twelve digits"),
        at: Timestamp(10),
        by: "token \"deploy\"".into(),
        reason: "größer".into(),
        source: vec![0, 255, 7].into(),
        is_proven: true,
    }
}

fn host(name: &str) -> Hostname {
    Hostname::parse(name).expect("a valid name")
}
