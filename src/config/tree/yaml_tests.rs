#![allow(clippy::unwrap_used)]
use super::*;
use crate::tree::json::parse_document;

/// Reports of a text: line, column, pointer, message.
fn reports(text: &str) -> Vec<String> {
    let shown = |report: &Report| {
        let at = report.at.unwrap();
        format!("{}:{} {} {} [{}]", at.line, at.column, report.field, report.message, report.code)
    };
    parse(text).reports.iter().map(shown).collect()
}

/// All values of a tree with their positions, scalars as text.
fn flat(node: &Node<'_>, pointer: &str, found: &mut Vec<(String, String, Position)>) {
    let at = node.at.unwrap();
    match &node.value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                flat(item, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(object) => {
            for member in object.members() {
                let pointer = format!("{pointer}/{}", member.name);
                found.push((pointer.clone(), "key".to_owned(), member.at.unwrap()));
                flat(&member.node, &pointer, found);
            }
        }
        Value::Text(text) | Value::Plain(text) => found.push((pointer.to_owned(), text.to_string(), at)),
        Value::Bool(value) => found.push((pointer.to_owned(), value.to_string(), at)),
        Value::Unsigned(number) => found.push((pointer.to_owned(), number.to_string(), at)),
        other => found.push((pointer.to_owned(), other.kind().to_owned(), at)),
    }
}

#[test]
fn a_tree_has_positions_and_keeps_scalars_as_text() {
    let text = "a: no\nb:\n  - 010\n  - 'x'\nc: {d: 2026-01-01, \u{e9}: 1}\n";
    let parsed = parse(text);
    assert_eq!(parsed.reports, []);
    let mut found = Vec::new();
    flat(&parsed.root.unwrap(), "", &mut found);
    let shown: Vec<String> = found
        .iter()
        .filter(|(_, text, _)| text != "key")
        .map(|(pointer, text, at)| format!("{}:{} {pointer} {text}", at.line, at.column))
        .collect();
    assert_eq!(shown, ["1:4 /a no", "3:5 /b/0 010", "4:5 /b/1 x", "5:8 /c/d 2026-01-01", "5:23 /c/\u{e9} 1"]);
}

#[test]
fn json_and_yaml_have_the_same_tree_and_positions() {
    let text = "{\"a\": [1, true, \"x\\\"y\", null],\n  \"\u{e9}\": {\"b\": {}, \"c\": []}, \"d\": \"\"}\n";
    let mut bytes = text.as_bytes().to_vec();
    let (json, yaml) = (parse_document(text, &mut bytes), parse(text));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    flat(&json.root.unwrap(), "", &mut first);
    flat(&yaml.root.unwrap(), "", &mut second);
    assert_eq!(first, second);
    assert_eq!(first.len(), 9 + 1);
}

#[test]
fn refuses_what_makes_a_text_mean_something_else() {
    for (text, expected) in [
        ("a: &x 1\n", "1:7 /a has an anchor (&name), which is not accepted [invalid]"),
        ("a: !!str 1\n", "1:10 /a has a tag (!name), which is not accepted [invalid]"),
        ("a: !include x\n", "1:13 /a has a tag (!name), which is not accepted [invalid]"),
        (
            "a: 1\n---\nb: 2\n",
            "2:1  is a second document: a file has one; split it, or join its lists [invalid]",
        ),
        ("<<: {a: 1}\n", "1:1 /<< is a merge key, which is not accepted: write the members out [invalid]"),
        ("a: 1\nb: 2\na: 3\n", "3:1 /a is already given in line 1 [duplicate]"),
        ("? [a]\n: 1\n", "1:3  has a key that is not a scalar [invalid]"),
    ] {
        assert_eq!(reports(text), [expected], "{text:?}");
    }
    // The parser stops here.
    for text in [
        "a: [1\n",
        "a: 'x\n",
        "a: 1\n b: 2\n",
        "a:\n\tb: 1\n",
        "a: b: c\n",
        "%YAML 1.1\n---\na: 1\n",
        "a: *x\n",
    ] {
        let reports = reports(text);
        assert_eq!(reports.len(), 1, "{text:?}: {reports:?}");
        assert!(reports[0].ends_with("[syntax]"), "{text:?}: {reports:?}");
    }
}

#[test]
fn goes_on_behind_what_it_refuses() {
    let text = "a: &x 1\nb: *x\nc: !t 2\nd: 1\nd: 2\n";
    let codes: Vec<_> = parse(text).reports.iter().map(|report| report.code).collect();
    assert_eq!(codes, ["invalid", "invalid", "invalid", "duplicate"]);
    let Some(Node { value: Value::Object(object), .. }) = parse(text).root else { panic!("a tree") };
    assert_eq!(object.names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert_eq!(object.value("b"), Some(&Value::Refused));
}

#[test]
fn an_alias_does_not_multiply_values() {
    let mut text = "a0: &a0 [x, x]\n".to_owned();
    for n in 1..30 {
        text.push_str(&format!("a{n}: &a{n} [*a{}, *a{}]\n", n - 1, n - 1));
    }
    let parsed = parse(&text);
    assert!(!parsed.reports.is_empty() && parsed.reports.len() <= REPORTS_MAX);
}

#[test]
fn bounds_are_kept_on_both_sides() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(parse(&nested(limits::DOCUMENT_DEPTH_MAX)).reports, []);
    let over = nested(limits::DOCUMENT_DEPTH_MAX + 1);
    assert!(reports(&over)[0].contains("nested more than 32 levels"), "{:?}", reports(&over));
    let items = |count: usize| format!("[{}]", "1,".repeat(count));
    assert_eq!(parse(&items(limits::DOCUMENT_VALUES_MAX - 1)).reports, []);
    assert!(reports(&items(limits::DOCUMENT_VALUES_MAX))[0].contains("500000 values"));
    let json = |text: &str| parse_document(text, &mut text.as_bytes().to_vec()).reports.len();
    let items = |count: usize| format!("[{}1]", "1,".repeat(count));
    assert_eq!(json(&items(limits::DOCUMENT_VALUES_MAX - 2)), 0);
    assert_eq!(json(&items(limits::DOCUMENT_VALUES_MAX)), 1);
    assert_eq!(json(&nested(limits::DOCUMENT_DEPTH_MAX)), 0);
    assert_eq!(json(&nested(limits::DOCUMENT_DEPTH_MAX + 1)), 1);
    for hostile in ["[".repeat(200_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "? ".repeat(100_000)] {
        assert!(!parse(&hostile).reports.is_empty());
    }
}

#[test]
fn large_mappings_are_compared_in_one_pass() {
    let mut text: String = (0..100_000).map(|n| format!("k{n}: 1\n")).collect();
    text.push_str("k77: 2\n");
    assert_eq!(reports(&text), ["100001:1 /k77 is already given in line 78 [duplicate]"]);
}
