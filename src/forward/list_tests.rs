//! Tests of the formats of lists, and of lookups in several.
#![allow(clippy::unwrap_used)]

use super::*;

fn list(name: &str, text: &str, format: ListFormat, action: ListAction, key: &SuffixKey) -> Arc<DomainList> {
    Arc::new(parse_list(&name.into(), text, format, action, key))
}

fn found(text: &str, format: ListFormat, host: &str) -> Option<ListAction> {
    let key = SuffixKey::random();
    let lists = [list("l", text, format, ListAction::Block, &key)];
    find(&key, &lists, host).map(|found| found.action)
}

#[test]
fn plain_lines_match_the_domain_those_below_or_both() {
    let text = "\u{feff}# comment\n\nExact.example\n*.below.example\r\n.both.example. # why\n192.0.2.7\n";
    for (host, blocked) in [
        ("exact.example", true),
        ("a.exact.example", false),
        ("below.example", false),
        ("a.below.example", true),
        ("both.example", true),
        ("a.b.both.example", true),
        ("192.0.2.7", true),
        ("comment", false),
    ] {
        assert_eq!(found(text, ListFormat::Plain, host).is_some(), blocked, "{host}");
    }
}

#[test]
fn hosts_files_name_domains_and_not_the_machine() {
    let text =
        "127.0.0.1 localhost\n0.0.0.0 ads.example track.example # both\n:: six.example\nads.example x\n";
    for (host, blocked) in [
        ("ads.example", true),
        ("track.example", true),
        ("six.example", true),
        ("localhost", false),
        ("x", false),
    ] {
        assert_eq!(found(text, ListFormat::Hosts, host).is_some(), blocked, "{host}");
    }
    let key = SuffixKey::random();
    let counts = list("l", text, ListFormat::Hosts, ListAction::Block, &key).counts;
    assert_eq!(counts, ListCounts { rules: 3, comments: 0, other: 2, beyond: 0 });
}

#[test]
fn filters_of_ad_blockers_have_exceptions_and_other_lines_are_counted() {
    let text = "[Adblock Plus 2.0]\n! title\n||ads.example^\n@@||good.ads.example^\n||opt.example^$third-party\n\
                /banner/*\nexample##.ad\n";
    assert_eq!(found(text, ListFormat::Adblock, "x.ads.example"), Some(ListAction::Block));
    assert_eq!(found(text, ListFormat::Adblock, "a.good.ads.example"), Some(ListAction::Allow));
    assert_eq!(found(text, ListFormat::Adblock, "opt.example"), None);
    let key = SuffixKey::random();
    let counts = list("l", text, ListFormat::Adblock, ListAction::Block, &key).counts;
    assert_eq!(counts, ListCounts { rules: 2, comments: 2, other: 3, beyond: 0 });
}

#[test]
fn the_longest_domain_of_all_lists_decides_and_block_on_a_tie() {
    let key = SuffixKey::random();
    let lists = [
        list("allow", ".a.example\n.tie.example", ListFormat::Plain, ListAction::Allow, &key),
        list("block", ".example\n.x.a.example\n.tie.example", ListFormat::Plain, ListAction::Block, &key),
    ];
    let action = |host| find(&key, &lists, host).map(|found| (&**found.list, found.domain, found.action));
    assert_eq!(action("b.a.example"), Some(("allow", "a.example", ListAction::Allow)));
    assert_eq!(action("y.x.a.example"), Some(("block", "x.a.example", ListAction::Block)));
    assert_eq!(action("other.example"), Some(("block", "example", ListAction::Block)));
    assert_eq!(action("tie.example"), Some(("block", "tie.example", ListAction::Block)));
    assert_eq!(action("example.org"), None);
}

#[test]
fn lines_that_are_no_domain_are_no_rule() {
    let long = "a".repeat(64);
    let text = format!("a b\na..b\n{long}.example\nbücher.example\nhttp://a.example/\n/x/\n-\n");
    let key = SuffixKey::random();
    let counts = list("l", &text, ListFormat::Plain, ListAction::Block, &key).counts;
    assert_eq!((counts.rules, counts.other), (1, 6), "a hyphen is odd, and resolves to nothing");
}
