//! Tests of the domain set against a naive matcher.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use super::*;
use proptest::prelude::*;

/// Rule of the naive matcher.
#[derive(Clone, Debug)]
struct Rule {
    domain: String,
    below: bool,
    exact: bool,
    action: ListAction,
}

/// The longest suffix with a rule decides; block on a tie.
fn naive(rules: &[Rule], host: &str) -> Option<ListAction> {
    let matching = rules.iter().filter(|rule| {
        (rule.exact && rule.domain == host) || (rule.below && host.ends_with(&format!(".{}", rule.domain)))
    });
    let longest = matching.clone().map(|rule| rule.domain.len()).max()?;
    let blocks = matching.filter(|rule| rule.domain.len() == longest);
    let has_block = blocks.clone().any(|rule| rule.action == ListAction::Block);
    blocks.into_iter().next()?;
    Some(if has_block { ListAction::Block } else { ListAction::Allow })
}

fn set(rules: &[Rule]) -> DomainSet {
    let of = |rule: &Rule| {
        let exact = if rule.exact { Rules::exact(rule.action) } else { Rules::NONE };
        let below = if rule.below { Rules::below(rule.action) } else { Rules::NONE };
        exact.and(below)
    };
    let key = SuffixKey::random();
    DomainSet::build(&key, rules.iter().map(|rule| (rule.domain.as_str(), of(rule))), rules.len())
}

/// Few labels, so that names share suffixes.
fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "com", "x-1"]), 1..6)
        .prop_map(|labels| labels.join("."))
}

fn rule() -> impl Strategy<Value = Rule> {
    (name(), 1u8..4, any::<bool>()).prop_map(|(domain, form, allow)| Rule {
        domain,
        exact: form & 1 != 0,
        below: form & 2 != 0,
        action: if allow { ListAction::Allow } else { ListAction::Block },
    })
}

proptest! {
    #[test]
    fn decides_as_a_naive_matcher(
        rules in prop::collection::vec(rule(), 0..40),
        hosts in prop::collection::vec(name(), 1..40),
    ) {
        let set = set(&rules);
        for host in &hosts {
            prop_assert_eq!(set.find(host), naive(&rules, host), "{}", host);
        }
    }
}

#[test]
fn whole_labels_match() {
    let block = |domain: &str, exact, below| Rule {
        domain: domain.to_owned(),
        exact,
        below,
        action: ListAction::Block,
    };
    let set = set(&[block("trusted.net", true, true), block("below.org", false, true)]);
    for (host, found) in [
        ("trusted.net", true),
        ("a.trusted.net", true),
        ("nottrusted.net", false),
        ("trusted.net.evil.org", false),
        ("below.org", false),
        ("x.y.below.org", true),
        ("net", false),
    ] {
        assert_eq!(set.find(host).is_some(), found, "{host}");
    }
}

#[test]
fn a_hundred_thousand_rules_are_all_found_in_sixteen_bytes_each() {
    let names: Vec<String> = (0..100_000).map(|n| format!("h{n}.t{}.example", n % 977)).collect();
    let key = SuffixKey::random();
    let rules = names.iter().map(|name| (name.as_str(), Rules::both(ListAction::Block)));
    let set = DomainSet::build(&key, rules, names.len());
    assert_eq!(set.len(), names.len());
    assert!(set.bytes() <= 16 * names.len(), "{} bytes", set.bytes());
    assert!(names.iter().all(|name| set.find(name) == Some(ListAction::Block)));
    let others: HashMap<String, bool> = (0..100_000).map(|n| (format!("o{n}.t.example"), false)).collect();
    assert_eq!(others.keys().filter(|name| set.find(name).is_some()).count(), 0);
}

#[test]
fn an_empty_set_and_the_longest_name_are_answered() {
    let none = set(&[]);
    assert!(none.is_empty());
    let longest = ["a"; 127].join(".");
    assert_eq!(none.find(&longest), None);
    let rule = Rule { domain: longest.clone(), exact: true, below: false, action: ListAction::Allow };
    assert_eq!(set(&[rule]).find(&longest), Some(ListAction::Allow));
}
