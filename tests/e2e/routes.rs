//! Routes of operators: conditions and their order, normal paths, rewriting, redirects, fixed responses,
//! policies, weights and host patterns.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringway::certs::CertificateSettings;

use ringway::model::{
    AppId, Balancer, CertificateFiles, Change, ClientAuth, ClientAuthNeed, EndpointSpec, FailurePolicy,
    FieldMatch, FilePath, FixedResponse, HealthCheck, HostPattern, InstanceId, OnAllUnhealthy, OperatorSet,
    Owner, PathMatch, PolicyRef, PolicySettings, PoolRef, PoolSpec, Redirect, Replacement, Rewrite,
    RouteAction, RouteId, RouteSpec, Target, TenantId, ValueMatch,
};
use ringway::{
    Builder, DataSettings, DriverChoice, Gateway, Handle, HttpMode, Resolved, ResolvedTarget, ResolverError,
    Submission, TargetResolver,
};

use crate::kit::*;

fn builder(driver: Driver) -> Builder {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let http = vec!["127.0.0.1:0".parse().unwrap()];
    Gateway::builder().http(http).driver(driver).workers(2).pin(false)
}

/// Starts a gateway in this process.
fn gateway(driver: Driver, settings: DataSettings) -> Handle {
    builder(driver).data(settings).spawn().unwrap()
}

/// A gateway with TLS, whose default certificate covers `a.test` and what is below `s.test`.
pub(crate) struct Secure {
    pub(crate) gateway: Handle,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Secure {
    pub(crate) fn new(driver: Driver) -> Self {
        let (authority, folder) = (Authority::new("servers"), tempfile::tempdir().unwrap());
        let (certificate, key) = authority.server(&["a.test", "*.s.test"]).write(folder.path(), "default");
        let mut settings = CertificateSettings::new(folder.path().join("certificates"));
        settings.default_files = Some(CertificateFiles { certificate: path(&certificate), key: path(&key) });
        let https = vec!["127.0.0.1:0".parse().unwrap()];
        let builder = builder(driver).https(https).http_mode(HttpMode::Plain).certificates(settings);
        let gateway = builder.spawn().unwrap();
        Self { gateway, authority, folder }
    }

    pub(crate) fn tls(&self, name: &str) -> Tls {
        Tls::new(&self.authority, name)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.https_addresses()[0]
    }
}

fn path(file: &Path) -> FilePath {
    FilePath::parse(file.to_str().unwrap()).unwrap()
}

fn client(gateway: &Handle) -> Client {
    Client::connect(gateway.http_addresses()[0])
}

fn pool(id: &str, endpoints: &[(&Origin, u16)]) -> PoolSpec {
    let id = AppId::parse(id).unwrap();
    let endpoint = |(origin, weight): &(&Origin, u16)| {
        let target = Target::parse(&origin.target()).unwrap();
        let id = InstanceId::of_endpoint(&id, &target);
        EndpointSpec { id, target, weight: *weight, health_check: HealthCheck::default() }
    };
    PoolSpec {
        traffic: Default::default(),
        endpoints: endpoints.iter().map(endpoint).collect(),
        id,
        balancer: Balancer::WeightedRoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
    }
}

fn route(id: &str, host: &str, path: PathMatch, pool: &str) -> RouteSpec {
    let pool = PoolRef::Pool(AppId::parse(pool).unwrap());
    let mut route = RouteSpec::new(RouteId::parse(id).unwrap(), HostPattern::parse(host).unwrap(), pool);
    route.matcher.path = path;
    route
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

fn with_action(route: RouteSpec, action: RouteAction) -> RouteSpec {
    RouteSpec { action, ..route }
}

fn with_policy(route: RouteSpec, settings: PolicySettings) -> RouteSpec {
    RouteSpec { policies: [PolicyRef::Inline(Arc::new(settings))].into(), ..route }
}

fn with_rewrite(mut route: RouteSpec, rewrite: Rewrite) -> RouteSpec {
    let RouteAction::Proxy { rewrite: old, .. } = &mut route.action else { panic!("it forwards nothing") };
    *old = rewrite;
    route
}

/// Puts these pools and routes in place of those before, in the order of their declaration.
fn configure(gateway: &Handle, pools: Vec<PoolSpec>, routes: Vec<RouteSpec>) {
    let routes = (0..).zip(routes).map(|(order, route)| Arc::new(RouteSpec { order, ..route })).collect();
    let set = Arc::new(OperatorSet { pools, routes, ..OperatorSet::default() });
    let replacement = Replacement { owner: Owner::File, set, expect: None, version: None };
    gateway.client().submit(Submission::of(Change::ReplaceOwned(Arc::new(replacement)))).unwrap();
}

/// Starts a gateway with these routes to the pools `one` and `two`, whose origins say their names.
fn routing(driver: Driver, routes: Vec<RouteSpec>) -> (Handle, Origin, Origin) {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let gateway = gateway(driver, DataSettings::default());
    configure(&gateway, vec![pool("one", &[(&one, 1)]), pool("two", &[(&two, 1)])], routes);
    (gateway, one, two)
}

/// Sends a request; the status, with the body of a success or the code of an error.
fn ask(client: &mut Client, request: &str) -> (u16, String) {
    client.send(request);
    let answer = client.response(request.split(' ').next().unwrap());
    let text = match answer.status() {
        200..300 => answer.text(),
        _ => answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned(),
    };
    (answer.status(), text)
}

fn get(client: &mut Client, host: &str, target: &str) -> (u16, String) {
    ask(client, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Target of the last request at an origin.
fn target(origin: &Origin) -> String {
    origin.requests().pop().expect("a request at the origin").target().to_owned()
}

on_both_drivers! {
    fn the_most_specific_route_serves_a_request(driver) {
        let field = |name: &str, value: &str| FieldMatch { name: name.into(), value: ValueMatch::Exact(value.into()) };
        let mut posts = route("posts", "a.test", prefix("/v1"), "two");
        posts.matcher.methods = ["POST".into()].into();
        let mut marked = route("marked", "a.test", prefix("/v1"), "two");
        marked.matcher.headers = [field("x-version", "2")].into();
        let mut debug = route("debug", "a.test", prefix("/v1"), "two");
        debug.matcher.query = [field("debug", "a b")].into();
        let (gateway, _one, _two) = routing(driver, vec![
            route("v1", "a.test", prefix("/v1"), "one"),
            posts, marked, debug,
            route("exact", "a.test", PathMatch::Exact("/v1/exact".into()), "two"),
            route("regex", "a.test", PathMatch::Regex("^/v[0-9]+/.*".into()), "two"),
            route("below", "a.test", prefix("/folder/"), "one"),
        ]);
        let mut client = client(&gateway);
        for (target, expected) in [
            ("/v1", ok("one")), ("/v1/x", ok("one")), ("/v1?q", ok("one")), ("/v1/exact", ok("two")),
            ("/v1?debug=a+b", ok("two")), ("/v1?debug=a%20b&debug=c", ok("two")), ("/v1?debug=c&debug=a+b", ok("one")),
            ("/v2/x", ok("two")), ("/folder/", ok("one")),
            ("/v10", refused(404, "no_route")), ("/v2", refused(404, "no_route")), ("/folder", refused(404, "no_route")),
            ("/", refused(404, "no_route")), ("/V1", refused(404, "no_route")),
        ] {
            assert_eq!(get(&mut client, "a.test", target), expected, "{target}");
        }
        assert_eq!(ask(&mut client, "POST /v1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n"), ok("two"));
        assert_eq!(ask(&mut client, "GET /v1 HTTP/1.1\r\nHost: a.test\r\nX-Version: 2\r\n\r\n"), ok("two"));
        assert_eq!(ask(&mut client, "GET /v1 HTTP/1.1\r\nHost: a.test\r\nX-Version: 2\r\nX-Version: 3\r\n\r\n"), ok("one"));
    }

    fn an_endpoint_gets_the_path_that_was_matched(driver) {
        let (gateway, one, two) = routing(driver, vec![
            route("public", "a.test", prefix("/public"), "one"),
            with_rewrite(route("admin", "a.test", prefix("/admin"), "two"), Rewrite::StripPrefix),
            with_rewrite(route("old", "a.test", prefix("/old"), "one"), Rewrite::ReplacePrefix("/new".into())),
            with_rewrite(route("ping", "a.test", PathMatch::Exact("/ping".into()), "one"), Rewrite::ReplacePath("/health/live".into())),
        ]);
        let mut client = client(&gateway);
        for (asked, origin, received) in [
            ("/public/a?b=/../c//d", &one, "/public/a?b=/../c//d"),
            ("/public/./a//b/%41", &one, "/public/a/b/A"),
            ("/%70ublic/x", &one, "/public/x"),
            ("/public/../admin/x", &two, "/x"),
            ("/public/%2e%2E/admin", &two, "/"),
            ("/admin//x//", &two, "/x/"),
            ("/admin?x", &two, "/?x"),
            ("http://a.test/public//x", &one, "/public/x"),
            ("/old/x?y", &one, "/new/x?y"),
            ("/old", &one, "/new"),
            ("/ping?now", &one, "/health/live?now"),
        ] {
            assert_eq!(get(&mut client, "a.test", asked).0, 200, "{asked}");
            assert_eq!(target(origin), received, "{asked}");
        }
        let (before, reached) = (one.request_count(), two.request_count());
        for asked in [
            "/public/..%2fadmin", "/public/%5c..%5cadmin", "/public/..\\admin", "/public/..;/admin", "/public/.;x/admin",
            "/public%00", "/public/%3bx", "/public/a%3Fb", "/public/%23", "/../public", "/public/../../admin",
            "/public/%", "/public/%2", "/public/%zz", "/public/%%32%65",
        ] {
            assert_eq!(get(&mut client, "a.test", asked), refused(400, "bad_path"), "{asked}");
        }
        assert_eq!((one.request_count(), two.request_count()), (before, reached));
    }

    fn the_path_of_a_registered_domain_stays_as_it_is(driver) {
        let (app, api) = (Origin::named("app"), Origin::named("api"));
        let gateway = gateway(driver, DataSettings::default());
        gateway.register_app("app", &app.target()).unwrap();
        gateway.register_domain("a.test", "app", None).unwrap();
        let mut client = client(&gateway);
        assert_eq!(get(&mut client, "a.test", "/x/..//%2fy"), ok("app"));
        assert_eq!(target(&app), "/x/..//%2fy");
        // A route that attaches to it takes its own paths, and makes all paths normal.
        configure(&gateway, vec![pool("api", &[(&api, 1)])], vec![route("api", "a.test", prefix("/api"), "api")]);
        assert_eq!(get(&mut client, "a.test", "/x/..//api/y"), ok("api"));
        assert_eq!(target(&api), "/api/y");
        assert_eq!(get(&mut client, "a.test", "/apis"), ok("app"));
        assert_eq!(get(&mut client, "a.test", "/x%2fapi"), refused(400, "bad_path"));
        configure(&gateway, Vec::new(), Vec::new());
        assert_eq!(get(&mut client, "a.test", "/x%2fapi"), ok("app"));
    }

    fn redirects_and_fixed_responses_need_no_endpoint(driver) {
        let redirect = |to: &str, status, keep_path| {
            RouteAction::Redirect(Redirect { to: to.into(), status, keep_path })
        };
        let fixed = |status, body: &str| {
            let content_type = "text/plain; charset=utf-8".into();
            RouteAction::Respond(FixedResponse { status, content_type, body: body.into() })
        };
        let any = |id: &str, path: &str, action| with_action(route(id, "a.test", prefix(path), "one"), action);
        let (gateway, one, _two) = routing(driver, vec![
            any("moved", "/moved", redirect("https://new.test/base/", 301, true)),
            any("login", "/login", redirect("/sign-in", 302, false)),
            any("robots", "/robots.txt", fixed(200, "User-agent: *\n")),
            any("gone", "/gone", fixed(410, "gone")),
            any("empty", "/empty", fixed(204, "")),
        ]);
        let mut client = client(&gateway);
        for (target, status, location) in [
            ("/moved/a?b", 301, "https://new.test/base/moved/a?b"),
            ("/moved/..//moved//x", 301, "https://new.test/base/moved/x"),
            ("/login?next=1", 302, "http://a.test:8080/sign-in"),
        ] {
            let answer = client.get("a.test:8080", target);
            assert_eq!((answer.status(), answer.field("location")), (status, Some(location)), "{target}");
        }
        let robots = client.get("a.test", "/robots.txt");
        assert_eq!((robots.status(), robots.text().as_str()), (200, "User-agent: *\n"));
        assert_eq!(robots.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(robots.field("cache-control"), None);
        client.send("HEAD /robots.txt HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let head = client.response("HEAD");
        assert_eq!((head.status(), head.field("content-length"), head.body.len()), (200, Some("14"), 0));
        let empty = client.get("a.test", "/empty");
        assert_eq!((empty.status(), empty.field("content-length")), (204, None));
        assert_eq!(client.get("a.test", "/gone").status(), 410);
        // The body of a request that nobody reads does not become the next one.
        client.send("POST /gone HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.response("POST").status(), 410);
        assert_eq!(client.get("a.test", "/gone").status(), 410);
        assert_eq!(one.request_count(), 0);
    }

    fn hosts_are_found_tier_by_tier(driver) {
        let (gateway, _one, _two) = routing(driver, vec![
            route("any", "*", prefix("/"), "one"),
            route("regex", "r[0-9]+\\.test", PathMatch::Any, "two"),
            route("suffix", "**.s.test", prefix("/suffix"), "two"),
            route("wildcard", "*.s.test", prefix("/wildcard"), "two"),
            route("exact", "x.s.test", prefix("/exact"), "two"),
        ]);
        let mut client = client(&gateway);
        for (host, target, expected) in [
            ("x.s.test", "/exact", ok("two")),
            // The first tier that knows the host decides.
            ("x.s.test", "/wildcard", refused(404, "no_route")),
            ("y.s.test", "/wildcard", ok("two")),
            ("y.s.test", "/suffix", refused(404, "no_route")),
            ("y.y.s.test", "/suffix", ok("two")),
            ("s.test", "/suffix", ok("one")),
            ("r17.test", "/", ok("two")),
            ("R17.TEST.:80", "/", ok("two")),
            ("r17.test.evil", "/", ok("one")),
            ("unknown.test", "/", ok("one")),
            ("127.0.0.1", "/", ok("one")),
            ("[::1]:80", "/", ok("one")),
        ] {
            assert_eq!(get(&mut client, host, target), expected, "{host} {target}");
        }
        client.send("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(client.response("GET").text(), "one");
    }

    fn a_route_that_requires_tls_is_not_served_without(driver) {
        let secure = PolicySettings { require_tls: Some(true), ..PolicySettings::default() };
        let routes = |pool: &str| vec![with_policy(route("secure", "a.test", PathMatch::Any, pool), secure.clone())];
        let (plain, one, _two) = routing(driver, routes("one"));
        let mut asked = client(&plain);
        for method in ["GET", "POST"] {
            let request = format!("{method} / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(ask(&mut asked, &request), refused(421, "https_only"), "{method}");
        }
        assert_eq!(one.request_count(), 0);
        // A trusted proxy says how its client came.
        let trusting = DataSettings { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..DataSettings::default() };
        let behind = gateway(driver, trusting);
        configure(&behind, vec![pool("one", &[(&one, 1)])], routes("one"));
        let mut client = client(&behind);
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n"), ok("one"));
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: http\r\n\r\n"), refused(421, "https_only"));
        assert_eq!(get(&mut client, "a.test", "/"), refused(421, "https_only"));
    }

    fn the_body_limit_of_a_route_is_kept_before_the_endpoint(driver) {
        let small = PolicySettings { body_size_limit: Some(10), ..PolicySettings::default() };
        let (gateway, one, _two) = routing(driver, vec![
            with_policy(route("small", "a.test", prefix("/small"), "one"), small),
            route("large", "a.test", PathMatch::Any, "one"),
        ]);
        let post = |target: &str, fields: &str, body: &str| {
            let request = format!("POST {target} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n{body}");
            ask(&mut client(&gateway), &request)
        };
        assert_eq!(post("/small", "Content-Length: 10\r\n", "0123456789"), ok("one"));
        assert_eq!(post("/small", "Content-Length: 11\r\n", "0123456789a"), refused(413, "body_too_large"));
        // No 100, for which the client would send the body.
        assert_eq!(post("/small", "Content-Length: 11\r\nExpect: 100-continue\r\n", ""), refused(413, "body_too_large"));
        assert_eq!(post("/small", "Transfer-Encoding: chunked\r\n", "b\r\n0123456789a\r\n0\r\n\r\n"), refused(413, "body_too_large"));
        assert_eq!(one.request_count(), 1);
        assert_eq!(post("/large", "Content-Length: 11\r\n", "0123456789a"), ok("one"));
    }

    fn a_silent_endpoint_is_given_up_after_the_timeout_of_the_route(driver) {
        let timeout = PolicySettings { timeout: Some(Duration::from_millis(200)), ..PolicySettings::default() };
        let total = PolicySettings { total_timeout: Some(Duration::from_millis(200)), ..PolicySettings::default() };
        let silent = Origin::silent();
        let gateway = gateway(driver, DataSettings::default());
        configure(&gateway, vec![pool("silent", &[(&silent, 1)])], vec![
            with_policy(route("head", "a.test", prefix("/head"), "silent"), timeout),
            with_policy(route("all", "a.test", prefix("/all"), "silent"), total),
        ]);
        let mut client = client(&gateway);
        assert_eq!(get(&mut client, "a.test", "/head"), refused(504, "upstream_timeout"));
        assert_eq!(get(&mut client, "a.test", "/all"), refused(504, "total_timeout"));
    }

    fn an_attempt_that_takes_too_long_is_followed_by_another(driver) {
        let settings = PolicySettings {
            timeout: Some(Duration::from_secs(30)),
            per_try_timeout: Some(Duration::from_millis(150)),
            ..PolicySettings::default()
        };
        let (silent, one) = (Origin::silent(), Origin::named("one"));
        let gateway = gateway(driver, DataSettings::default());
        configure(&gateway, vec![pool("mixed", &[(&silent, 1), (&one, 1)])], vec![
            with_policy(route("retried", "a.test", PathMatch::Any, "mixed"), settings),
        ]);
        let mut client = client(&gateway);
        for _ in 0..4 {
            assert_eq!(get(&mut client, "a.test", "/"), ok("one"));
        }
        // A request that may have been processed is not sent twice.
        let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
        let answers: Vec<_> = (0..4).map(|_| ask(&mut client, post)).collect();
        assert!(answers.contains(&refused(504, "upstream_timeout")), "{answers:?}");
    }

    fn a_response_that_goes_on_beyond_the_total_timeout_is_cut(driver) {
        let settings = PolicySettings { total_timeout: Some(Duration::from_millis(300)), ..PolicySettings::default() };
        let endless = Origin::http(|_, connection| {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while connection.send("5\r\nagain\r\n") {
                pause();
            }
            After::Close
        });
        let gateway = gateway(driver, DataSettings::default());
        configure(&gateway, vec![pool("endless", &[(&endless, 1)])], vec![
            with_policy(route("cut", "a.test", PathMatch::Any, "endless"), settings),
        ]);
        let mut client = client(&gateway);
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let mut answer = client.response_head("GET");
        assert_eq!(answer.status(), 200);
        let cut = client.body(&mut answer);
        assert!(cut.is_err(), "the response must not look complete");
    }

    fn requests_are_shared_by_weight(driver) {
        let (heavy, light, none) = (Origin::named("heavy"), Origin::named("light"), Origin::named("none"));
        let gateway = gateway(driver, DataSettings::default());
        let route = || vec![route("all", "a.test", PathMatch::Any, "pool")];
        configure(&gateway, vec![pool("pool", &[(&heavy, 3), (&light, 1), (&none, 0)])], route());
        let mut asked = client(&gateway);
        // Endpoints join one by one, with their first health check.
        eventually("all endpoints in rotation", || {
            let names: Vec<String> = (0..8).map(|_| get(&mut asked, "a.test", "/").1).collect();
            (names.iter().filter(|name| *name == "heavy").count() == 6).then_some(())
        });
        let names: Vec<String> = (0..40).map(|_| get(&mut asked, "a.test", "/").1).collect();
        assert_eq!(names.iter().filter(|name| *name == "heavy").count(), 30, "{names:?}");
        assert_eq!(none.request_count(), 0);
        configure(&gateway, vec![pool("pool", &[(&heavy, 0), (&light, 1), (&none, 0)])], route());
        let before = heavy.request_count();
        for _ in 0..10 {
            assert_eq!(get(&mut asked, "a.test", "/"), ok("light"));
        }
        assert_eq!(heavy.request_count(), before);
    }

    fn websockets_are_refused_where_the_policy_says_so(driver) {
        let settings = PolicySettings { websocket: Some(false), ..PolicySettings::default() };
        let origin = Origin::websocket_echo("one");
        let gateway = gateway(driver, DataSettings::default());
        configure(&gateway, vec![pool("one", &[(&origin, 1)])], vec![
            with_policy(route("closed", "a.test", prefix("/closed"), "one"), settings),
            route("open", "a.test", prefix("/open"), "one"),
        ]);
        assert_eq!(ask(&mut client(&gateway), &ws::upgrade("a.test", "/closed")), refused(403, "websocket_forbidden"));
        assert_eq!(get(&mut client(&gateway), "a.test", "/closed"), ok("one"));
        let mut client = client(&gateway);
        ws::open(&mut client, "a.test", "/open/x");
        ws::ping_pong(&mut client, "hello");
    }

    fn a_route_has_its_own_tenant_and_status_without_endpoints(driver) {
        let tenant = |route: RouteSpec, tenant: &str| RouteSpec { tenant: Some(TenantId::parse(tenant).unwrap()), ..route };
        let settings = PolicySettings { unavailable_status: Some(502), ..PolicySettings::default() };
        let (gateway, one, _two) = routing(driver, vec![
            tenant(route("acme", "a.test", prefix("/acme"), "one"), "acme"),
            route("plain", "a.test", prefix("/plain"), "one"),
        ]);
        let mut client = client(&gateway);
        for (target, tenant) in [("/acme", Some("acme")), ("/plain", None)] {
            client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nX-Tenant-ID: evil\r\n\r\n"));
            assert_eq!(client.response("GET").status(), 200);
            assert_eq!(one.requests().pop().unwrap().field("x-tenant-id"), tenant, "{target}");
        }
        configure(&gateway, vec![pool("empty", &[])], vec![
            route("default", "a.test", prefix("/default"), "empty"),
            with_policy(route("own", "a.test", prefix("/own"), "empty"), settings),
        ]);
        assert_eq!(get(&mut client, "a.test", "/default"), refused(503, "no_instances"));
        assert_eq!(get(&mut client, "a.test", "/own"), refused(502, "no_instances"));
    }

    fn http2_requests_are_routed_and_normalised_alike(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let secure = Secure::new(driver);
        configure(&secure.gateway, vec![pool("one", &[(&one, 1)]), pool("two", &[(&two, 1)])], vec![
            with_rewrite(route("v1", "a.test", prefix("/v1"), "one"), Rewrite::StripPrefix),
            route("v2", "a.test", prefix("/v2"), "two"),
        ]);
        let stream = secure.tls("a.test").alpn(&["h2"]).stream(secure.address()).unwrap();
        let mut client = h2::H2::open(Box::new(stream), "https", &[]);
        for (asked, status, text) in [
            ("/v1/x?y", 200, "one"), ("/v1/../v2/%78", 200, "two"), ("/v2/..%2fv1", 400, ""), ("/v3", 404, ""),
        ] {
            let stream = client.get("a.test", asked);
            let answer = client.response(stream);
            assert_eq!(answer.status(), status, "{asked}");
            assert!(status != 200 || answer.text() == text, "{asked}");
        }
        assert_eq!((target(&one), target(&two)), ("/x?y".into(), "/v2/x".into()));
    }

    fn a_route_that_requires_tls_redirects_to_where_it_is_served(driver) {
        let settings = PolicySettings { require_tls: Some(true), ..PolicySettings::default() };
        let one = Origin::named("one");
        let secure = Secure::new(driver);
        configure(&secure.gateway, vec![pool("one", &[(&one, 1)])], vec![
            with_policy(route("secure", "a.test", prefix("/secure"), "one"), settings.clone()),
            route("plain", "a.test", prefix("/plain"), "one"),
            with_policy(route("below", "*.s.test", PathMatch::Any, "one"), settings.clone()),
            with_policy(route("uncovered", "b.test", PathMatch::Any, "one"), settings),
        ]);
        let mut plain = client(&secure.gateway);
        let port = secure.address().port();
        for (host, target, location) in [
            ("a.test", "/secure/./x?y", format!("https://a.test:{port}/secure/x?y")),
            ("x.s.test", "/", format!("https://x.s.test:{port}/")),
        ] {
            let location = eventually("the default certificate is loaded", || {
                let answer = plain.get(host, target);
                (answer.status() != 421).then(|| (answer.status(), answer.field("location").map(str::to_owned)))
                    .filter(|found| *found == (308, Some(location.clone())))
            });
            assert_eq!(location.0, 308, "{host}");
        }
        assert_eq!(get(&mut plain, "b.test", "/"), refused(421, "https_only"));
        assert_eq!(get(&mut plain, "a.test", "/plain"), ok("one"));
        assert_eq!(get(&mut secure.tls("a.test").connect(secure.address()), "a.test", "/secure"), ok("one"));
        let mut below = secure.tls("x.s.test").connect(secure.address());
        assert_eq!(get(&mut below, "x.s.test", "/"), ok("one"));
        // Another host of the same pattern has the same rules; the host of another one is not served here.
        assert_eq!(get(&mut below, "y.s.test", "/"), ok("one"));
        assert_eq!(get(&mut below, "c.test", "/"), refused(404, "unknown_host"));
    }

    fn a_route_may_need_a_client_certificate_where_its_host_asks_for_one(driver) {
        let (one, clients) = (Origin::named("one"), Authority::new("clients"));
        let secure = Secure::new(driver);
        let ca = secure.folder.path().join("clients.pem");
        tls::put(&ca, &clients.pem());
        let auth = ClientAuth { ca_file: path(&ca), need: ClientAuthNeed::Optional };
        let with_auth = |route: RouteSpec, requires_client_cert| {
            RouteSpec { client_auth: Some(auth.clone()), requires_client_cert, ..route }
        };
        configure(&secure.gateway, vec![pool("one", &[(&one, 1)])], vec![
            with_auth(route("admin", "a.test", prefix("/admin"), "one"), true),
            with_auth(route("open", "a.test", PathMatch::Any, "one"), false),
        ]);
        let mut stranger = secure.tls("a.test").connect(secure.address());
        assert_eq!(get(&mut stranger, "a.test", "/"), ok("one"));
        assert_eq!(get(&mut stranger, "a.test", "/admin"), refused(403, "client_certificate_required"));
        assert_eq!(get(&mut stranger, "a.test", "/x/../admin/"), refused(403, "client_certificate_required"));
        let known = secure.tls("a.test").certificate(&clients.client("alice"));
        let mut known = known.connect(secure.address());
        assert_eq!(get(&mut known, "a.test", "/admin"), ok("one"));
        assert_eq!(one.requests().pop().unwrap().field("x-client-cert-verified"), Some("SUCCESS"));
        assert_eq!(get(&mut client(&secure.gateway), "a.test", "/admin"), refused(421, "https_only"));
    }

    fn the_default_host_serves_what_the_resolver_does_not_know(driver) {
        struct Known { target: Target, asked: Mutex<Vec<String>> }
        impl TargetResolver for Known {
            fn resolve(&self, host: &str) -> Result<Resolved, ResolverError> {
                self.asked.lock().unwrap().push(host.to_owned());
                match host {
                    "known.test" => Ok(Resolved::Targets(vec![ResolvedTarget { target: self.target.clone(), healthy: true }])),
                    "down.test" => Err(ResolverError::new("it is down")),
                    _ => Ok(Resolved::Unknown),
                }
            }
        }
        let (one, resolved) = (Origin::named("one"), Origin::named("resolved"));
        let resolver = Arc::new(Known { target: Target::parse(&resolved.target()).unwrap(), asked: Mutex::default() });
        let gateway = builder(driver).resolver(resolver.clone()).spawn().unwrap();
        configure(&gateway, vec![pool("one", &[(&one, 1)])], vec![
            route("any", "*", PathMatch::Any, "one"),
            route("below", "*.s.test", PathMatch::Any, "one"),
        ]);
        let mut client = client(&gateway);
        assert_eq!(get(&mut client, "known.test", "/"), ok("resolved"));
        assert_eq!(get(&mut client, "unknown.test", "/"), ok("one"));
        assert_eq!(get(&mut client, "down.test", "/"), refused(503, "unresolved"));
        assert_eq!(get(&mut client, "127.0.0.1", "/"), ok("one"));
        assert_eq!(get(&mut client, "x.s.test", "/"), ok("one"));
        let asked = resolver.asked.lock().unwrap();
        assert!(!asked.iter().any(|host| host == "x.s.test" || host == "127.0.0.1"), "{asked:?}");
    }
}
