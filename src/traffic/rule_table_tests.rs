#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use ringway_model::{FieldMatch, Owner, ValueMatch};
use ringway_wire::h1::{Limits, Parse};

use super::*;
use crate::policy::Policy;
use crate::route_path::RoutePathError;
use crate::snapshot::{MetricSlot, PoolId};
use crate::virtual_host::{Action, RuleId};

fn rule(name: &str) -> Arc<Rule> {
    Arc::new(Rule {
        traffic: None,
        id: RuleId(0),
        owner: Owner::Api,
        name: name.into(),
        app: None,
        action: Action::Proxy { pool: PoolId(0), rewrite: None },
        policy: Arc::new(Policy::default()),
        tenant: None,
        requires_client_cert: false,
        stages: None,
        is_logged: true,
        cache: None,
        metric: MetricSlot::SHARED,
    })
}

fn any() -> RouteMatch {
    RouteMatch { path: PathMatch::Any, methods: [].into(), headers: [].into(), query: [].into() }
}

fn with_path(path: PathMatch) -> RouteMatch {
    RouteMatch { path, ..any() }
}

fn exact(text: &str) -> PathMatch {
    PathMatch::Exact(text.into())
}

fn prefix(text: &str) -> PathMatch {
    PathMatch::Prefix(text.into())
}

fn regex(text: &str) -> PathMatch {
    PathMatch::Regex(text.into())
}

fn field(name: &str, value: Option<&str>) -> FieldMatch {
    let value = value.map_or(ValueMatch::Present, |value| ValueMatch::Exact(value.into()));
    FieldMatch { name: name.into(), value }
}

fn entry(name: &str, order: u32, matcher: RouteMatch) -> RuleEntry {
    RuleEntry { matcher, priority: 0, order, rule: rule(name) }
}

fn table(entries: Vec<RuleEntry>) -> RuleTable {
    let (table, rejected) = RuleTable::new(entries, Slashes::Merge, &Patterns::default());
    assert!(rejected.is_empty(), "{rejected:?}");
    table
}

/// Names of paths: each rule is called as it is written, so that a test reads as a table.
fn table_of(paths: &[PathMatch]) -> RuleTable {
    let name = |path: &PathMatch| match path {
        PathMatch::Any => "*".to_owned(),
        PathMatch::Exact(text) => format!("={text}"),
        PathMatch::Prefix(text) => text.to_string(),
        PathMatch::Regex(text) => format!("~{text}"),
    };
    table((0..).zip(paths).map(|(at, path)| entry(&name(path), at, with_path(path.clone()))).collect())
}

/// The same rules so often that the table has an index; the copies match nothing.
fn indexed(mut entries: Vec<RuleEntry>) -> RuleTable {
    for number in 0..LINEAR_ROWS_MAX as u32 {
        let matcher = with_path(exact(&format!("/never/{number}")));
        entries.push(entry("never", 1_000 + number, matcher));
    }
    let table = table(entries);
    assert!(table.index.is_some());
    table
}

fn request(text: &str, slashes: Slashes) -> Option<(RequestHead, Vec<u8>)> {
    let text = text.as_bytes().to_vec();
    let mut head = RequestHead::default();
    assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
    head.normalize_path(&text, slashes).ok()?;
    Some((head, text))
}

fn found(table: &RuleTable, line: &str, fields: &str) -> Option<String> {
    let (head, text) =
        request(&format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), table.slashes()).unwrap();
    let found = table.find(&head, &text).map(|rule| rule.name.to_string());
    let explained = table.explain(&head, &text).into_iter().find(|tested| tested.mismatch.is_none());
    assert_eq!(explained.map(|tested| tested.rule.name.to_string()), found, "{line}");
    found
}

fn get(table: &RuleTable, target: &str) -> Option<String> {
    found(table, &format!("GET {target}"), "")
}

#[test]
fn prefixes_match_whole_segments() {
    let paths = [prefix("/v1"), prefix("/api/"), exact("/exact/path"), prefix("/a/b")];
    let few = table_of(&paths);
    let many = indexed(
        (0..).zip(&paths).map(|(at, path)| entry(&at.to_string(), at, with_path(path.clone()))).collect(),
    );
    for (target, expected) in [
        ("/v1", Some("/v1")),
        ("/v1/", Some("/v1")),
        ("/v1/x?y", Some("/v1")),
        ("/v1?y", Some("/v1")),
        ("/v10", None),
        ("/v1;x", None),
        ("/V1", None),
        ("/api", None),
        ("/api/", Some("/api/")),
        ("/api/x", Some("/api/")),
        ("/apix/", None),
        ("/exact/path", Some("=/exact/path")),
        ("/exact/path?q", Some("=/exact/path")),
        ("/exact/path/", None),
        ("/a/b/c", Some("/a/b")),
        ("/a/bc", None),
        ("/", None),
        ("//v1//x", Some("/v1")),
        ("/x/../v1", Some("/v1")),
        ("/%761/x", Some("/v1")),
    ] {
        assert_eq!(get(&few, target).as_deref(), expected, "{target}");
        assert_eq!(get(&many, target).is_some(), expected.is_some(), "{target}");
    }
}

#[test]
fn the_most_specific_path_wins() {
    let paths = [
        PathMatch::Any,
        prefix("/a"),
        prefix("/a/b"),
        prefix("/a/b/"),
        exact("/a/b"),
        regex("/a/b.*"),
        regex("/.*c"),
        regex(".*"),
    ];
    let order: Vec<String> = table_of(&paths).rules().map(|rule| rule.name.to_string()).collect();
    assert_eq!(order, ["=/a/b", "/a/b/", "~/a/b.*", "/a/b", "/a", "~/.*c", "~.*", "*"]);
    let table = table_of(&paths);
    for (target, expected) in [
        ("/a/b", "=/a/b"),
        ("/a/b/c", "/a/b/"),
        ("/a/bc", "~/a/b.*"),
        ("/a/c", "/a"),
        ("/c", "~/.*c"),
        ("/d", "~.*"),
    ] {
        assert_eq!(get(&table, target).as_deref(), Some(expected), "{target}");
    }
}

#[test]
fn a_root_prefix_is_every_path() {
    let table = table_of(&[prefix("/")]);
    assert!(get(&table, "/").is_some() && get(&table, "/a/b").is_some());
    let (head, text) = request("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Slashes::Merge).unwrap();
    assert!(table.find(&head, &text).is_some());
    assert!(table_of(&[prefix("/a")]).find(&head, &text).is_none());
}

#[test]
fn priority_comes_before_everything() {
    let with =
        |name: &str, order, priority, path| RuleEntry { priority, ..entry(name, order, with_path(path)) };
    let entries = || {
        vec![
            with("exact", 0, 0, exact("/a/b")),
            with("long", 1, 0, prefix("/a/b")),
            with("high", 2, 10, PathMatch::Any),
            with("low", 3, -1, exact("/a/b")),
        ]
    };
    for table in [table(entries()), indexed(entries())] {
        assert_eq!(get(&table, "/a/b").as_deref(), Some("high"));
    }
    let mut entries = entries();
    entries[2].matcher.methods = ["POST".into()].into();
    for table in [table(entries.clone()), indexed(entries)] {
        assert_eq!(get(&table, "/a/b").as_deref(), Some("exact"));
        assert_eq!(found(&table, "POST /a/b", "").as_deref(), Some("high"));
    }
}

#[test]
fn more_conditions_come_first_and_the_next_rule_is_tried() {
    let of = |name: &str, order, methods: &[&str], headers: &[FieldMatch], query: &[FieldMatch]| {
        let matcher = RouteMatch {
            path: prefix("/a"),
            methods: methods.iter().map(|method| Arc::from(*method)).collect(),
            headers: headers.into(),
            query: query.into(),
        };
        entry(name, order, matcher)
    };
    let (one, two) = (field("x-one", None), field("x-two", Some("2")));
    let entries = || {
        vec![
            of("plain", 0, &[], &[], &[]),
            of("query", 1, &[], &[], &[field("q", None)]),
            of("one header", 2, &[], std::slice::from_ref(&one), &[]),
            of("two headers", 3, &[], &[one.clone(), two.clone()], &[]),
            of("method", 4, &["POST", "PURGE"], &[], &[]),
        ]
    };
    for table in [table(entries()), indexed(entries())] {
        for (line, fields, expected) in [
            ("GET /a", "", "plain"),
            ("GET /a?q", "", "query"),
            ("GET /a?q=1", "", "query"),
            ("GET /a?r", "", "plain"),
            ("GET /a", "X-One: \r\n", "one header"),
            ("GET /a?q", "X-One: x\r\n", "one header"),
            ("GET /a", "X-One: x\r\nX-Two: 2\r\n", "two headers"),
            ("GET /a", "X-One: x\r\nX-Two: 3\r\n", "one header"),
            ("GET /a", "X-Two: 2\r\n", "plain"),
            ("POST /a", "X-One: x\r\nX-Two: 2\r\n", "method"),
            ("PURGE /a", "", "method"),
            ("HEAD /a", "", "plain"),
        ] {
            assert_eq!(found(&table, line, fields).as_deref(), Some(expected), "{line} {fields}");
        }
    }
}

#[test]
fn get_does_not_imply_head_and_methods_have_a_case() {
    let table = table(vec![entry("get", 0, RouteMatch { methods: ["GET".into()].into(), ..any() })]);
    assert!(found(&table, "GET /", "").is_some());
    assert!(found(&table, "HEAD /", "").is_none() && found(&table, "get /", "").is_none());
}

#[test]
fn lines_of_a_header_are_joined() {
    let table =
        table(vec![entry("x", 0, RouteMatch { headers: [field("x-a", Some("1, 2"))].into(), ..any() })]);
    for (fields, matches) in [
        ("X-A: 1, 2\r\n", true),
        ("x-a: 1\r\nX-A: 2\r\n", true),
        ("X-A: 1\r\n", false),
        ("X-A: 1,2\r\n", false),
        ("X-A: 2\r\nX-A: 1\r\n", false),
        ("X-A: 1\r\nX-A: 2\r\nX-A: \r\n", false),
        ("X-A: 1, 2, 3\r\n", false),
        ("X-B: 1, 2\r\n", false),
        ("", false),
    ] {
        assert_eq!(found(&table, "GET /", fields).is_some(), matches, "{fields}");
    }
    let empty = super::tests::table(vec![entry(
        "x",
        0,
        RouteMatch { headers: [field("x-a", Some(""))].into(), ..any() },
    )]);
    assert!(found(&empty, "GET /", "X-A:\r\n").is_some() && found(&empty, "GET /", "").is_none());
}

#[test]
fn the_first_parameter_of_a_name_counts_decoded() {
    let with = |name: &str, value| {
        table(vec![entry("x", 0, RouteMatch { query: [field(name, value)].into(), ..any() })])
    };
    let debug = with("debug", Some("a b"));
    for (target, matches) in [
        ("/?debug=a+b", true),
        ("/?debug=a%20b", true),
        ("/?%64ebug=%61%20b", true),
        ("/?x&debug=a+b&debug=c", true),
        ("/?debug=c&debug=a+b", false),
        ("/?debug=a%2520b", false),
        ("/?debug", false),
        ("/?debug=a+b+", false),
        ("/?xdebug=a+b", false),
        ("/debug=a+b", false),
        ("/", false),
    ] {
        assert_eq!(get(&debug, target).is_some(), matches, "{target}");
    }
    let present = with("debug", None);
    for (target, matches) in [
        ("/?debug", true),
        ("/?debug=", true),
        ("/?debug=x", true),
        ("/?Debug", false),
        ("/?a=debug", false),
        ("/?&&", false),
    ] {
        assert_eq!(get(&present, target).is_some(), matches, "{target}");
    }
    assert!(
        get(&with("q", Some("%")), "/?q=%").is_some() && get(&with("q", Some("%zz")), "/?q=%zz").is_some()
    );
    assert!(get(&with("q", Some("é")), "/?q=%C3%A9").is_some());
}

#[test]
fn an_explanation_names_the_first_condition_that_fails() {
    let matcher = RouteMatch {
        path: prefix("/a"),
        methods: ["GET".into()].into(),
        headers: [field("x-a", None)].into(),
        query: [field("q", Some("1"))].into(),
    };
    let table = table(vec![entry("all", 0, matcher), entry("any", 1, any())]);
    let first = |text: &str| {
        let (head, text) = request(text, Slashes::Merge).unwrap();
        let tested = table.explain(&head, &text);
        assert_eq!(tested.len(), 2);
        assert_eq!(tested[1].mismatch, None);
        tested[0].mismatch.map(|mismatch| mismatch.describe(&head, &text))
    };
    for (line, fields, expected) in [
        ("GET /b", "", Some("path /b is not below /a")),
        ("POST /a", "", Some("method POST is not among GET")),
        ("GET /a", "", Some("header x-a is missing")),
        ("GET /a", "X-A: \r\n", Some("parameter q is missing")),
        ("GET /a?q=2", "X-A: \r\n", Some("parameter q is not 1")),
        ("GET /a?q=1", "X-A: \r\n", None),
    ] {
        let text = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(first(&text).as_deref(), expected, "{line}");
    }
}

#[test]
fn a_mismatch_names_the_condition_and_the_value() {
    let described = |matcher: RouteMatch, text: &str| {
        let table = table(vec![entry("r", 0, matcher)]);
        let (head, text) = request(text, Slashes::Merge).unwrap();
        table.explain(&head, &text)[0].mismatch.map(|mismatch| mismatch.describe(&head, &text))
    };
    let at = |path: PathMatch| RouteMatch { path, ..any() };
    let get = "GET /b?q=1 HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n";
    for (matcher, expected) in [
        (at(PathMatch::Exact("/a".into())), "path /b is not /a"),
        (at(PathMatch::Regex("/[0-9]+".into())), "path /b does not match /[0-9]+"),
        (
            RouteMatch { methods: ["PUT".into(), "POST".into()].into(), ..any() },
            "method GET is not among PUT, POST",
        ),
        (RouteMatch { headers: [field("x-a", Some("2"))].into(), ..any() }, "header x-a is not 2"),
    ] {
        assert_eq!(described(matcher, get).as_deref(), Some(expected));
    }
}

#[test]
fn rules_that_cannot_be_compiled_are_left_out_and_named() {
    let rejected = |entries: Vec<RuleEntry>| {
        let count = entries.len();
        let (table, rejected) = RuleTable::new(entries, Slashes::Merge, &Patterns::default());
        assert_eq!(table.rules().count() + rejected.len(), count);
        assert!(rejected.iter().all(|rejected| &*rejected.rule.name == "bad"), "{rejected:?}");
        rejected.into_iter().map(|rejected| rejected.error).collect::<Vec<_>>()
    };
    let of = |path| rejected(vec![entry("fine", 0, any()), entry("bad", 1, with_path(path))]);
    assert_eq!(of(exact("a")), [TableError::Path(RoutePathError::NoSlash)]);
    assert_eq!(of(prefix("/a?b")), [TableError::Path(RoutePathError::NotOnlyPath)]);
    assert!(matches!(of(prefix("/../a"))[..], [TableError::Path(RoutePathError::Unreachable(_))]));
    assert!(matches!(of(regex("/(a"))[..], [TableError::Pattern(PatternError::Syntax(_))]));
    let mut most: Vec<_> =
        (0..PATTERNS_PER_HOST_MAX).map(|at| entry("fine", at as u32, with_path(regex("/a")))).collect();
    assert_eq!(rejected(most.clone()), []);
    most.push(entry("bad", 999, with_path(regex("/a"))));
    assert_eq!(rejected(most), [TableError::TooManyPatterns]);
}

#[test]
fn ten_thousand_rules_are_ordered_quickly() {
    let entries: Vec<RuleEntry> = (0..10_000)
        .map(|at: u32| entry("x", at, with_path(prefix(&format!("/service-{}/v{}/x{at}", at % 97, at % 5)))))
        .collect();
    let begun = std::time::Instant::now();
    let table = table(entries);
    println!("{:?}", begun.elapsed());
    assert_eq!(table.rules().count(), 10_000);
    assert!(get(&table, "/service-1/v1/x1/y").is_some());
}

fn paths() -> impl Strategy<Value = PathMatch> {
    let segments = || prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 0..4);
    prop_oneof![
        1 => Just(PathMatch::Any),
        2 => segments().prop_map(|segments| exact(&format!("/{}", segments.join("/")))),
        6 => (segments(), proptest::bool::ANY).prop_map(|(segments, is_folder)| {
            prefix(&format!("/{}{}", segments.join("/"), if is_folder && !segments.is_empty() { "/" } else { "" }))
        }),
        2 => prop::sample::select(vec!["/.*", "/a.*", "/a/[ab]+", "/a|/b", "/a/b(/.*)?"]).prop_map(regex),
    ]
}

/// Rules of which those whose name begins with `!` need a client certificate.
fn guarded(paths: &[(&str, PathMatch)]) -> Vec<RuleEntry> {
    let entry_of = |(at, (name, path)): (u32, &(&str, PathMatch))| {
        let mut entry = entry(name, at, with_path(path.clone()));
        Arc::make_mut(&mut entry.rule).requires_client_cert = name.starts_with('!');
        entry
    };
    (0..).zip(paths).map(entry_of).collect()
}

fn is_ambiguous(table: &RuleTable, target: &str) -> bool {
    let (head, text) =
        request(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), table.slashes()).unwrap();
    let found = table.find(&head, &text).unwrap();
    table.is_ambiguous(found, &head, &text)
}

#[test]
fn paths_that_lenient_servers_read_as_guarded_ones_are_ambiguous() {
    let entries = || {
        guarded(&[
            ("!admin", prefix("/Admin")),
            ("!login", exact("/login")),
            ("!pattern", PathMatch::Regex("/v[0-9]+/keys/?".into())),
            ("free", prefix("/admin/free")),
            ("open", PathMatch::Any),
        ])
    };
    for table in [table(entries()), indexed(entries())] {
        assert!(table.is_partly_guarded());
        for target in [
            "/admin",
            "/admin/x",
            "/ADMIN",
            "/admin;x",
            "/Admin%20",
            "/admin.",
            "/%2541dmin/x",
            "/login/",
            "/login;a=1",
            "/LOGIN",
            "/login/.%20",
            "/v1/keys;x",
            "/v1/Keys",
            "/%C1%A1dmin",
            "/a%255c..%255cadmin",
            "/%25252525256cogin",
        ] {
            assert!(is_ambiguous(&table, target), "{target}");
        }
        for target in [
            "/",
            "/x",
            "/administrator",
            "/Admin/x;y",
            "/Admin/X",
            "/login",
            "/login/x",
            "/v1/keys",
            "/v1/keysx;",
            "/X;y/z.",
            "/a%20b",
            "/admin/free",
            "/x?y=/admin",
            "/v/keys;x",
            "/100%25",
        ] {
            assert!(!is_ambiguous(&table, target), "{target}");
        }
    }
    let same = guarded(&[("!a", prefix("/a")), ("!b", PathMatch::Any)]);
    assert!(!table(same).is_partly_guarded());
    assert!(!table(guarded(&[("a", prefix("/a")), ("b", PathMatch::Any)])).is_partly_guarded());
}

fn fields(names: &'static [&'static str]) -> impl Strategy<Value = Box<[FieldMatch]>> {
    let value = prop::sample::select(vec![None, Some("1"), Some("2")]);
    let field = (prop::sample::select(names), value).prop_map(|(name, value)| field(name, value));
    prop::collection::vec(field, 0..3).prop_map(Into::into)
}

fn entries() -> impl Strategy<Value = Vec<RuleEntry>> {
    let methods = prop::sample::select(vec![vec![], vec!["GET"], vec!["POST", "PUT"]]);
    let rules = (paths(), methods, fields(&["x-a", "x-b"]), fields(&["p", "q"]), -1..2_i32);
    prop::collection::vec(rules, 0..40).prop_map(|rules| {
        let entry_of = |(at, (path, methods, headers, query, priority)): (u32, (_, Vec<&str>, _, _, _))| {
            let methods = methods.into_iter().map(Arc::from).collect();
            let matcher = RouteMatch { path, methods, headers, query };
            RuleEntry { priority, ..entry(&at.to_string(), at, matcher) }
        };
        (0..).zip(rules).map(entry_of).collect()
    })
}

fn requests() -> impl Strategy<Value = String> {
    let segments = prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "c"]), 0..5);
    let method = prop::sample::select(vec!["GET", "POST", "HEAD"]);
    let query = prop::sample::select(vec!["", "?p", "?p=1", "?q=1&p=2", "?q=2&q=1"]);
    let fields = prop::sample::select(vec!["", "X-A: 1\r\n", "X-B: 2\r\nX-A: 2\r\n", "X-B: 1\r\n"]);
    (method, segments, proptest::bool::ANY, query, fields).prop_map(
        |(method, segments, is_folder, query, fields)| {
            let slash = if is_folder && !segments.is_empty() { "/" } else { "" };
            format!("{method} /{}{slash}{query} HTTP/1.1\r\nHost: a\r\n{fields}\r\n", segments.join("/"))
        },
    )
}

/// Whether a rule matches, written down anew from the documentation.
fn naive_match(matcher: &RouteMatch, head: &RequestHead, text: &[u8]) -> bool {
    let path = head.path(text);
    let segments = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let path_matches = match &matcher.path {
        PathMatch::Any => true,
        PathMatch::Exact(exact) => **exact == *path,
        PathMatch::Prefix(prefix) if &**prefix == "/" => true,
        PathMatch::Prefix(prefix) => match prefix.strip_suffix('/') {
            Some(folder) => {
                segments(path).len() > segments(folder).len() && segments(path).starts_with(&segments(folder))
            }
            None => segments(path).starts_with(&segments(prefix)),
        },
        PathMatch::Regex(text) => crate::pattern::Pattern::new(text).unwrap().is_match(path.as_bytes()),
    };
    let value_matches = |expected: &ValueMatch, value: Option<String>| match expected {
        ValueMatch::Present => value.is_some(),
        ValueMatch::Exact(expected) => value.as_deref() == Some(&**expected),
    };
    let header = |name: &str| {
        let lines: Vec<String> =
            head.field(text, name).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    };
    let parameter = |name: &str| {
        let mut parts = head.query(text)?.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
        parts.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
    };
    path_matches
        && (matcher.methods.is_empty()
            || matcher.methods.iter().any(|method| **method == *head.method_str(text)))
        && matcher.headers.iter().all(|field| value_matches(&field.value, header(&field.name)))
        && matcher.query.iter().all(|field| value_matches(&field.value, parameter(&field.name)))
}

/// Sorts by the documented order and returns the first rule that matches.
fn naive_find(entries: &[RuleEntry], head: &RequestHead, text: &[u8]) -> Option<String> {
    let key = |entry: &&RuleEntry| {
        let (class, literal) = match &entry.matcher.path {
            PathMatch::Exact(path) => (0, path.len()),
            PathMatch::Any => (2, 0),
            PathMatch::Prefix(path) => (2, if &**path == "/" { 0 } else { path.len() }),
            PathMatch::Regex(path) => (1, crate::pattern::Pattern::new(path).unwrap().literal().len()),
        };
        let matcher = &entry.matcher;
        (
            -entry.priority,
            class != 0,
            -(literal as i64),
            class,
            matcher.methods.is_empty(),
            -(matcher.headers.len() as i64),
            -(matcher.query.len() as i64),
            entry.order,
        )
    };
    let matching = entries.iter().filter(|entry| naive_match(&entry.matcher, head, text));
    matching.min_by_key(key).map(|entry| entry.rule.name.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The table finds the rule that sorting and scanning finds.
    #[test]
    fn a_table_finds_what_a_scan_finds(entries in entries(), requests in prop::collection::vec(requests(), 1..12)) {
        let table = table(entries.clone());
        for line in requests {
            let (head, text) = request(&line, Slashes::Merge).unwrap();
            let found = table.find(&head, &text).map(|rule| rule.name.to_string());
            prop_assert_eq!(&found, &naive_find(&entries, &head, &text), "{}", line);
            let explained = table.explain(&head, &text).into_iter().find(|tested| tested.mismatch.is_none());
            prop_assert_eq!(explained.map(|tested| tested.rule.name.to_string()), found);
        }
    }

    /// The order in which rules are passed means nothing; their declared order does.
    #[test]
    fn shuffling_changes_nothing(
        (entries, shuffled) in entries().prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle())),
    ) {
        prop_assert_eq!(table(entries), table(shuffled));
    }
}
