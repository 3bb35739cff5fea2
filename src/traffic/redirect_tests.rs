#![allow(clippy::unwrap_used)]
use super::*;
use ringway_model::PoolRef;

fn location_of(to: &str, keep_path: bool, target: &str) -> String {
    let text = format!("OPTIONS {target} HTTP/1.1\r\nHost: A.Example:8080\r\n\r\n").into_bytes();
    let mut head = RequestHead::default();
    assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
    location(&Redirect { to: to.into(), status: 308, keep_path }, &head, &text, false)
}

#[test]
fn a_location_is_absolute_and_keeps_path_and_query_on_request() {
    assert_eq!(location_of("https://new.example/base/", false, "/a?b"), "https://new.example/base/");
    assert_eq!(location_of("https://new.example/base/", true, "/a?b"), "https://new.example/base/a?b");
    assert_eq!(location_of("https://new.example", true, "/"), "https://new.example/");
    assert_eq!(
        location_of("https://new.example", true, "//evil.example"),
        "https://new.example//evil.example"
    );
    assert_eq!(location_of("https://new.example", true, "*"), "https://new.example");
    assert_eq!(location_of("/login", false, "/a"), "http://a.example:8080/login");
    assert_eq!(location_of("/v2", true, "/a?b"), "http://a.example:8080/v2/a?b");
    assert_eq!(location_of("//evil.example", false, "/a"), "http://a.example:8080//evil.example");
}

#[test]
fn a_location_cannot_add_a_field() {
    let location = location_of("/a b\r\nX-Evil: 1\u{e9}", false, "/");
    assert_eq!(location, "http://a.example:8080/a%20b%0D%0AX-Evil:%201%C3%A9");
}

/// A route `id` of a host and a path prefix that redirects to a place; `+` at its end keeps the path.
fn redirect(id: &str, host: &str, path: &str, to: &str) -> Arc<RouteSpec> {
    let mut spec = plain(id, host, path);
    let keep_path = to.ends_with('+');
    let to = to.trim_end_matches('+').into();
    spec.action = RouteAction::Redirect(Redirect { to, status: 308, keep_path });
    Arc::new(spec)
}

fn plain(id: &str, host: &str, path: &str) -> RouteSpec {
    let pool = PoolRef::Pool(ringway_model::AppId::parse("pool").unwrap());
    let mut spec = RouteSpec::new(RouteId::parse(id).unwrap(), HostPattern::parse(host).unwrap(), pool);
    spec.matcher.path = match path {
        "" => PathMatch::Any,
        path => match path.strip_prefix('=') {
            Some(exact) => PathMatch::Exact(exact.into()),
            None => PathMatch::Prefix(path.into()),
        },
    };
    spec
}

fn found(routes: &[Arc<RouteSpec>]) -> Vec<String> {
    let circles = circles(routes, Slashes::Merge, &Patterns::default());
    let name = |circle: &Vec<RouteId>| circle.iter().map(RouteId::as_str).collect::<Vec<_>>().join(" ");
    circles.iter().map(name).collect()
}

#[test]
fn routes_that_redirect_to_each_other_are_a_circle() {
    let there = || redirect("there", "a.example", "/old", "https://b.example/new");
    let back = |to: &str| redirect("back", "b.example", "/new", to);
    assert_eq!(found(&[there(), back("https://a.example/old/x")]), ["there back"]);
    assert_eq!(found(&[there(), back("https://a.example:443/old#x")]), ["there back"]);
    // Elsewhere, or to a path that another route takes.
    assert!(found(&[there(), back("https://a.example/other")]).is_empty());
    assert!(found(&[there(), back("https://c.example/old")]).is_empty());
    let taken = Arc::new(plain("taken", "a.example", "=/old/x"));
    assert!(found(&[there(), back("https://a.example/old/x"), taken]).is_empty());
    assert!(found(&[there()]).is_empty());
}

#[test]
fn a_route_that_redirects_to_itself_is_a_circle() {
    for (host, path, to) in [
        ("a.example", "", "https://a.example/+"),
        ("a.example", "", "/login"),
        ("*", "", "/login"),
        ("*.example", "", "https://www.example"),
        ("a.example", "/docs", "/docs/"),
        ("a.example", "/docs", "/docs/new+"),
        ("A.Example", "=/x", "https://A.EXAMPLE/x?y=1"),
    ] {
        assert_eq!(found(&[redirect("r", host, path, to)]), ["r"], "{host}{path} {to}");
    }
    let wide = redirect("wide", "*.example", "", "https://www.example/");
    assert_eq!(found(&[wide.clone(), redirect("www", "www.example", "", "https://a.example")]), ["wide www"]);
    assert!(found(&[wide, Arc::new(plain("www", "www.example", ""))]).is_empty());
    // The path itself is taken by another route.
    let login = Arc::new(plain("login", "a.example", "=/login"));
    assert!(found(&[redirect("r", "a.example", "", "/login"), login]).is_empty());
}

#[test]
fn a_circle_is_found_once_and_a_way_into_it_is_none() {
    let chain =
        |id: &str, to: &str| redirect(id, &format!("{id}.example"), "", &format!("https://{to}.example/+"));
    let routes = [chain("in", "a"), chain("a", "b"), chain("b", "c"), chain("c", "a")];
    assert_eq!(found(&routes), ["a b c"]);
    let other = [routes.to_vec(), vec![chain("x", "y"), chain("y", "x")]].concat();
    assert_eq!(found(&other), ["a b c", "x y"]);
    // A long chain ends.
    let long: Vec<_> = (0..100).map(|at| chain(&format!("h{at}"), &format!("h{}", at + 1))).collect();
    assert!(found(&long).is_empty());
}

#[test]
fn conditions_of_the_first_route_are_met_on_the_whole_way() {
    let with_header = |route: Arc<RouteSpec>| {
        let mut route = RouteSpec::clone(&route);
        route.matcher.headers =
            [FieldMatch { name: "x-beta".into(), value: ValueMatch::Exact("1".into()) }].into();
        route.matcher.methods = ["POST".into()].into();
        Arc::new(route)
    };
    let there = || redirect("there", "a.example", "", "https://b.example/");
    let back = || redirect("back", "b.example", "", "https://a.example/");
    assert_eq!(found(&[with_header(there()), with_header(back())]), ["there back"]);
    assert_eq!(found(&[with_header(there()), back()]), ["there back"]);
    // A request without the field ends at the other route.
    let rest = Arc::new(plain("rest", "a.example", "/"));
    assert_eq!(found(&[with_header(there()), rest, back()]), ["there back"]);
}

#[test]
fn strange_routes_are_no_circle() {
    let mut by_regex = RouteSpec::clone(&redirect("r", "a.example", "", "/x"));
    by_regex.matcher.path = PathMatch::Regex("/(".into());
    assert!(found(&[Arc::new(by_regex)]).is_empty());
    assert!(found(&[redirect("r", r"[a-z]+\.example", "", "/x")]).is_empty());
    for to in ["https://[::1]/", "https:///", "https://a b/", "http://?"] {
        assert!(found(&[redirect("r", "a.example", "", to)]).is_empty(), "{to}");
    }
    assert!(found(&[redirect("r", "a.example", "=/..", "/x")]).is_empty());
}
