use super::*;
use crate::{Place, Position};

fn values(pairs: &[(&str, &str)]) -> Vec<StaticValue> {
    let place = |line| Place::new(&"c.yaml".into(), Position { line, column: 1 });
    let value = |(line, (path, value)): (usize, &(&str, &str))| StaticValue {
        path: (*path).into(),
        value: (*value).into(),
        place: place(line as u32),
    };
    pairs.iter().enumerate().map(value).collect()
}

fn changed(running: &[(&str, &str)], newer: &[(&str, &str)]) -> Vec<String> {
    restart_needed(&values(running), &values(newer)).iter().map(ToString::to_string).collect()
}

#[test]
fn values_that_differ_need_a_restart() {
    let running = [("/server/port", "8080"), ("/idle_timeout", "90s"), ("/storage/kind", "fjall")];
    assert!(changed(&running, &running).is_empty());
    let newer = [("/server/port", "8081"), ("/storage/kind", "fjall"), ("/logging/level", "debug")];
    assert_eq!(changed(&running, &newer), ["/idle_timeout", "/logging/level", "/server/port"]);
    assert_eq!(changed(&[], &running).len(), 3);
    assert_eq!(changed(&running, &[]).len(), 3);
}

#[test]
fn the_place_and_the_order_of_a_value_do_not_matter() {
    let one = [("/server/port", "8080"), ("/idle_timeout", "90s")];
    let other = [("/idle_timeout", "90s"), ("/server/port", "8080")];
    assert!(changed(&one, &other).is_empty());
}

#[test]
fn a_key_covers_its_paths_and_no_others() {
    let key = |path: &str| STATIC_KEYS.iter().filter(|key| key.covers(path)).count();
    for path in [
        "/server/port",
        "/listeners/0/address",
        "/listeners/17/tls/cert",
        "/server/http/bind",
        "/server/http/bind/1",
    ] {
        assert_eq!(key(path), 1, "{path}");
    }
    for path in
        ["", "/", "/server", "/server/port/0", "/listeners/x/address", "/listeners//address", "/ports"]
    {
        assert_eq!(key(path), 0, "{path}");
    }
}

#[test]
fn keys_are_unique_and_described() {
    for (at, key) in STATIC_KEYS.iter().enumerate() {
        assert!(STATIC_KEYS[at + 1..].iter().all(|other| other.path != key.path), "{}", key.path);
        assert!(key.path.starts_with('/') && !key.doc.is_empty() && !key.doc.ends_with('.'), "{}", key.path);
    }
}

#[test]
fn a_value_in_two_files_is_a_mistake() {
    let source = |name: &str, text: &str| crate::Source { name: name.into(), text: text.into() };
    let (one, other) = (source("a.yaml", "server: {port: 1}\n"), source("b.yaml", "server: {port: 2}\n"));
    let reading = crate::read(&[one.clone(), other]);
    let lines: Vec<_> = reading.findings.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["b.yaml:1:16: /server/port is given in a.yaml:1:16 already; keep one of them"]);
    assert_eq!(reading.statics.len(), 2, "they are there, although there is no document");
    assert!(crate::read(&[one, source("c.yaml", "server: {host: '::'}\n")]).document.is_some());
}
