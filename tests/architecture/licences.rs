//! Licences of all shipped crates, checked against the list in deny.toml.

use super::sources::{assert_none, deny_toml, package_by_id, section, shipped_packages};

#[test]
fn every_licence_is_allowed() {
    let allowed = section(&deny_toml(), "allow = [");
    assert!(allowed.contains(&"MIT".to_owned()), "deny.toml lost its list of licences");
    let mut wrong = Vec::new();
    for id in shipped_packages() {
        let package = package_by_id(&id);
        let name = package["name"].as_str().unwrap();
        match package["license"].as_str() {
            Some(licence) if licence_allowed(licence, &allowed) => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
    }
    assert_none(&wrong);
}

#[test]
fn licence_expressions_are_read_as_spdx_does() {
    let allowed: Vec<String> =
        ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
    for good in [
        "MIT",
        "GPL-2.0-only OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(licence_allowed(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND MPL-2.0", ""] {
        assert!(!licence_allowed(bad, &allowed), "{bad}");
    }
}

/// Whether an SPDX expression is satisfied by the allowed licences: OR binds weaker than AND.
fn licence_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let result = licence_or(&tokens, &mut at, allowed);
    result && at == tokens.len()
}

fn licence_or(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut result = licence_and(tokens, at, allowed);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        result |= licence_and(tokens, at, allowed);
    }
    result
}

fn licence_and(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut result = licence_term(tokens, at, allowed);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        result &= licence_term(tokens, at, allowed);
    }
    result
}

fn licence_term(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(token) = tokens.get(*at) else { return false };
    *at += 1;
    if *token == "(" {
        let result = licence_or(tokens, at, allowed);
        *at += 1;
        return result;
    }
    let mut name = (*token).to_owned();
    if tokens.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", tokens.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&name)
}
