#![allow(clippy::unwrap_used)]

use std::rc::Rc;

use super::*;
use crate::testing::{Script, TestHost, bytes, source};
use crate::{Outcome, Vm};

fn file(path: &str, text: &str, script: bool) -> SourceFile {
    let id = path.strip_suffix(".lua").unwrap_or(path);
    let kind = if script { SourceKind::Script(id.into()) } else { SourceKind::Module };
    SourceFile { path: path.into(), text: text.into(), kind }
}

fn message(files: Vec<SourceFile>) -> String {
    Bundle::compile(&BundleSource { files, ..BundleSource::default() }).unwrap_err()[0].to_string()
}

#[test]
fn scripts_share_modules() {
    let files = vec![
        file(
            "a.lua",
            "local n = require('lib/n') gw.get('/', function() return 200, n.text .. n.runs end)",
            true,
        ),
        file("b.lua", "local n = require('lib/n.lua') gw.get('/b', function() return 200, n.text end)", true),
        file(
            "lib/n.lua",
            "count = (count or 0) + 1 local m = require('lib/m') return {text = m, runs = count}",
            false,
        ),
        file("lib/m.lua", "return 'module'", false),
    ];
    let bundle = Arc::new(Bundle::compile(&BundleSource { files, ..BundleSource::default() }).unwrap());
    let host = Rc::new(TestHost::default());
    let script = Script { vm: Vm::load(&bundle, host.clone()).unwrap(), host };
    assert_eq!(script.body(), "module1");
    let Outcome::Reply(reply) = script.get("/b") else { panic!() };
    assert_eq!(*reply.body(), bytes("module"));
    assert_eq!(
        bundle.declarations().scripts.iter().map(|script| &*script.id).collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[test]
fn circles_of_modules_are_refused() {
    let files = vec![
        file("a.lua", "require('b')", true),
        file("b.lua", "\nrequire('c')", false),
        file("c.lua", "require('b')", false),
    ];
    assert!(message(files).starts_with("c.lua:1: the module b requires itself"));
}

#[test]
fn bad_bundles_are_refused() {
    for (files, wrong) in [
        (vec![file("a.lua", "", true), file("a.lua", "", true)], "two files of this path"),
        (vec![file("../a.lua", "", true)], "a script's path"),
        (vec![file("/a.lua", "", true)], "a script's path"),
        (vec![file("a", "", true)], "a script's path"),
        (vec![file("a b.lua", "", true)], "a script's path"),
        (vec![file("a.lua", &"-".repeat(1_100_000), true)], "larger than 1 MiB"),
    ] {
        assert!(message(files).contains(wrong), "{wrong}");
    }
    let twice = vec![file("a.lua", "", true), SourceFile { path: "b.lua".into(), ..file("a.lua", "", true) }];
    assert!(message(twice).contains("two scripts of this id"));
    let many = (0..1_001).map(|index| file(&format!("{index}.lua"), "", true)).collect();
    assert!(message(many).contains("at most 1000 files"));
}

/// All syntax errors of a bundle are found at once.
#[test]
fn all_syntax_errors_are_found() {
    let files = vec![file("a.lua", "x =", true), file("b.lua", "\n\n}", true), file("c.lua", "", true)];
    let errors = Bundle::compile(&BundleSource { files, ..BundleSource::default() }).unwrap_err();
    let places: Vec<String> =
        errors.iter().filter_map(|error| error.place.as_ref()).map(ToString::to_string).collect();
    assert_eq!(places, ["a.lua:1", "b.lua:3"]);
}

#[test]
fn the_sum_is_that_of_everything() {
    let sum = |source: &BundleSource| *Bundle::compile(source).unwrap().sha256();
    let one = source("return 1");
    let mut config = one.clone();
    config.config.insert("a".into(), ConfigValue::Number(1.0));
    let mut limits = one.clone();
    limits.limits.steps = 1;
    let mut module = one.clone();
    module.files.push(file("m.lua", "", false));
    let sums = [&one, &source("return 2"), &config, &limits, &module].map(sum);
    for (index, one) in sums.iter().enumerate() {
        assert!(!sums[..index].contains(one), "{index}");
    }
    assert_eq!(sum(&one), sums[0]);
}

#[test]
fn bundles_are_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Bundle>();
}

/// A core whose VM declares something else than the bundle says would run the wrong functions.
#[test]
fn a_vm_that_declares_something_else_is_refused() {
    let mut bundle = Bundle::compile(&source("gw.get('/x', function() return 200 end)")).unwrap();
    bundle.declarations.routes.clear();
    let failure = Vm::load(&Arc::new(bundle), Rc::new(TestHost::default())).unwrap_err();
    assert!(failure.message.contains("declares other routes"), "{failure}");
}
