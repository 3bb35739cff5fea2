#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::testing::bundle;

const ROUTES: &str = "
    local function h() return 200 end
    gw.get('/', h)
    gw.get('/users', h)
    gw.get('/users/{id}', h)
    gw.post('/users/{id}', h)
    gw.get('/users/me', h)
    gw.get('/users/{id}/posts/{post}', h)
    gw.get('/users/{who}/friends', h)
    gw.any('/files/{*rest}', gw.proxy{pool = 'files', strip_prefix = '/files', timeout = 500})
    gw.head('/ping', h)
    gw.group('/v1', function(g)
        g.use(function() end)
        g.get('/', h)
        g.with(function() end).delete('/x', h)
        g.group('/deep', function(d) d.get('/y', h) end)
    end)
    gw.host('b.test', function(h2) h2.get('/only', h) h2.not_found(h) end)
";

fn find(method: &str, path: &str) -> String {
    let bundle = bundle(ROUTES);
    let declarations = bundle.declarations();
    match bundle.tables()[&None].find(declarations, method, path) {
        Found::Route(route, parameters) => {
            let values =
                parameters.iter().map(|(name, value)| format!(" {name}={}", String::from_utf8_lossy(value)));
            format!("{}{}", route.pattern, values.collect::<String>())
        }
        Found::Fallback(..) => "fallback".to_owned(),
        Found::MethodNotAllowed(allowed) => format!("allowed: {allowed}"),
        Found::NotFound => "none".to_owned(),
    }
}

#[test]
fn the_most_exact_route_serves() {
    for (method, path, found) in [
        ("GET", "/", "/"),
        ("HEAD", "/", "/"),
        ("GET", "/users", "/users"),
        ("GET", "/users/", "none"),
        ("GET", "/users/42", "/users/{id} id=42"),
        ("GET", "/users/me", "/users/me"),
        ("POST", "/users/me", "/users/{id} id=me"),
        ("GET", "/users/a%2Fb", "/users/{id} id=a/b"),
        ("GET", "/users/1/posts/2", "/users/{id}/posts/{post} id=1 post=2"),
        ("GET", "/users/1/friends", "/users/{who}/friends who=1"),
        ("GET", "/users/me/friends", "/users/{who}/friends who=me"),
        ("GET", "/users//friends", "none"),
        ("PUT", "/users/1", "allowed: GET, HEAD, POST"),
        ("BREW", "/users/1", "allowed: GET, HEAD, POST"),
        ("GET", "/files/a/b.txt", "/files/{*rest} rest=a/b.txt"),
        ("BREW", "/files/", "/files/{*rest} rest="),
        ("GET", "/files", "none"),
        ("GET", "/ping", "allowed: HEAD"),
        ("GET", "/v1", "/v1"),
        ("DELETE", "/v1/x", "/v1/x"),
        ("GET", "/v1/deep/y", "/v1/deep/y"),
        ("GET", "/only", "none"),
        ("GET", "*", "none"),
        ("GET", "", "none"),
    ] {
        assert_eq!(find(method, path), found, "{method} {path}");
    }
}

#[test]
fn hooks_are_those_of_the_groups_around_a_route() {
    let bundle = bundle(ROUTES);
    let hooks = |path: &str| {
        let routes = &bundle.declarations().routes;
        routes.iter().find(|route| route.pattern.as_str() == path).map(|route| route.hooks.len())
    };
    assert_eq!(
        [hooks("/users"), hooks("/v1"), hooks("/v1/x"), hooks("/v1/deep/y")],
        [Some(0), Some(1), Some(2), Some(1)]
    );
    let script = bundle.declarations().script("test").unwrap();
    assert!(script.hooks.is_empty(), "they are of a group");
}

#[test]
fn hosts_and_pools_are_declared() {
    let bundle = bundle(ROUTES);
    let declarations = bundle.declarations();
    let host = HostPattern::parse("b.test").unwrap();
    assert_eq!(declarations.hosts().into_iter().collect::<Vec<_>>(), [None, Some(&host)]);
    assert_eq!(declarations.pools().into_iter().map(ToString::to_string).collect::<Vec<_>>(), ["files"]);
    let table = &bundle.tables()[&Some(host)];
    assert!(matches!(table.find(declarations, "GET", "/only"), Found::Route(..)));
    assert!(matches!(table.find(declarations, "GET", "/users"), Found::Fallback(_, None)));
}

#[test]
fn routes_for_the_same_requests_are_refused() {
    for (one, two) in [("/a", "/a"), ("/{x}", "/{y}"), ("/a/{*x}", "/a/{*y}")] {
        let text = format!("gw.get('{one}', function() end)\ngw.get('{two}', function() end)");
        let errors = crate::Bundle::compile(&crate::testing::source(&text)).unwrap_err();
        assert_eq!(errors[0].to_string(), "test.lua:2: the route is declared at test.lua:1 already");
    }
}

proptest! {
    /// Any path finds a route or none, and its parameters are those of its pattern.
    #[test]
    fn any_path_is_answered(path in "/?([a-z%0-9/]{0,30}|users/[a-z/]{0,9}|files/.{0,9})") {
        let bundle = bundle(ROUTES);
        if let Found::Route(route, parameters) = bundle.tables()[&None].find(bundle.declarations(), "GET", &path) {
            let names = route.pattern.segments().iter().filter_map(Segment::name).count();
            prop_assert_eq!(parameters.len(), names);
        }
    }
}
