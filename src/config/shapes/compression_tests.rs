#![allow(clippy::unwrap_used)]
use ringway_model::{Coding, Compress, StageSpec};

use crate::{Document, Source, read};

const ROUTES: &str = "pools: [{id: p, endpoints: [{address: '10.0.0.1:80'}]}]
middleware: [{id: c, stages: [{type: request_id}]}]
routes:
  - {id: api, host: a.example, pool: p, middleware: c}
  - {id: web, host: b.example, pool: p}
  - {id: old, host: c.example, redirect: /new}
";

fn source(text: &str) -> Source {
    Source { name: "c".into(), text: text.to_owned() }
}

fn document(text: &str) -> Document {
    let reading = read(&[source(text)]);
    assert!(reading.findings.is_empty(), "{:#?}", reading.findings);
    reading.document.unwrap()
}

fn findings(text: &str) -> Vec<String> {
    let findings = read(&[source(text)]).findings;
    findings.iter().map(|finding| format!("{finding} [{}]", finding.code)).collect()
}

/// The chains of a route.
fn chains<'d>(document: &'d Document, id: &str) -> Vec<&'d str> {
    let route = document.set.routes.iter().find(|route| route.id.as_str() == id).unwrap();
    route.middleware.iter().map(|chain| chain.as_str()).collect()
}

/// Compression of a chain.
fn compress(document: &Document, id: &str) -> Compress {
    let chain = document.set.middlewares.iter().find(|chain| chain.id.as_str() == id).unwrap();
    match &*chain.stages {
        [StageSpec::Compress(compress)] => compress.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_compressed_until_a_document_says_so() {
    let document = document(ROUTES);
    assert!(document.set.middlewares.iter().all(|chain| chain.id.as_str() == "c"));
}

#[test]
fn the_section_compresses_all_routes_that_forward() {
    let document = document(&format!("{ROUTES}compression: true\n"));
    assert_eq!(chains(&document, "api"), ["compression", "c"]);
    assert_eq!(chains(&document, "web"), ["compression"]);
    assert_eq!(chains(&document, "old"), [""; 0]);
    assert_eq!(compress(&document, "compression"), Compress::default());
    let off = self::document(&format!("{ROUTES}compression: false\n"));
    assert_eq!(chains(&off, "web"), [""; 0]);
}

#[test]
fn the_section_has_its_own_words() {
    let text = format!(
        "{ROUTES}compression: {{enabled: true, level: 1, content_types: [application/json, TEXT/HTML], min_size: 1KB}}\n"
    );
    let expected = Compress {
        gzip_level: 1,
        types: ["application/json".into(), "text/html".into()].into(),
        min_bytes: 1000,
        ..Compress::default()
    };
    assert_eq!(compress(&document(&text), "compression"), expected);
}

#[test]
fn a_route_decides_for_itself() {
    let routes = ROUTES
        .replace("b.example,", "b.example, compress: false,")
        .replace("a.example,", "a.example, compress: {codings: [br, gzip], gzip_level: 9},");
    let document = document(&format!("{routes}compression: true\n"));
    assert_eq!(chains(&document, "web"), [""; 0]);
    assert_eq!(chains(&document, "api"), ["compress.api", "c"]);
    let own = compress(&document, "compress.api");
    assert_eq!((&*own.codings, own.gzip_level), (&[Coding::Br, Coding::Gzip][..], 9));
    assert!(
        document.set.middlewares.iter().all(|chain| chain.id.as_str() != "compression"),
        "no route has it"
    );
}

#[test]
fn one_line_compresses_one_route_by_the_settings_of_the_section() {
    let routes = ROUTES.replace("b.example,", "b.example, compress: true,");
    let document = document(&routes);
    assert_eq!((chains(&document, "web"), chains(&document, "api")), (vec!["compression"], vec!["c"]));
    assert_eq!(compress(&document, "compression"), Compress::default());
    let document = self::document(&format!("compression: {{enabled: false, level: 9}}\n{routes}"));
    assert_eq!((chains(&document, "web"), chains(&document, "api")), (vec!["compression"], vec!["c"]));
    assert_eq!(compress(&document, "compression").gzip_level, 9);
}

#[test]
fn the_stage_stands_in_a_chain_too() {
    let text = "middleware:
  - {id: a, stages: [{type: compress}]}
  - {id: b, stages: [{type: compress, config: {codings: zstd, min_bytes: 0, types: ['application/*+json']}}]}
";
    let document = document(text);
    assert_eq!(compress(&document, "a"), Compress::default());
    let own = compress(&document, "b");
    assert_eq!((&*own.codings, own.min_bytes), (&[Coding::Zstd][..], 0));
    assert_eq!(&*own.types, ["application/*+json".into()]);
}

#[test]
fn settings_are_checked() {
    for (members, expected) in [
        ("codings: [deflate]", "/codings must have some of zstd, br, gzip [invalid]"),
        ("codings: []", "/codings must have at least one coding [range]"),
        ("codings: [br, br]", "/codings has an item twice [duplicate]"),
        ("gzip_level: 10", "/gzip_level must be from 1 to 9 [range]"),
        ("gzip_level: 0", "/gzip_level must be from 1 to 9 [range]"),
        (
            "types: html",
            "/types must have media types without parameters, such as application/json or text/* [invalid]",
        ),
        (
            "types: 'text/html; charset=utf-8'",
            "/types must have media types without parameters, such as application/json or text/* [invalid]",
        ),
        (
            "types: '*/*'",
            "/types must have media types without parameters, such as application/json or text/* [invalid]",
        ),
        ("types: []", "/types must have at least one type [range]"),
        ("level: 5", "/level is not known here"),
        ("codings: br, gzip_level: 5", "/gzip_level has no effect: gzip is not among the codings [conflict]"),
    ] {
        let routes = ROUTES.replace("b.example,", &format!("b.example, compress: {{{members}}},"));
        let found = findings(&routes);
        assert!(
            found.len() == 1
                && found[0].contains(&format!("/routes/1/compress{}", expected.split(" [").next().unwrap())),
            "{members}: {found:#?}"
        );
    }
    let old = findings(&ROUTES.replace("c.example,", "c.example, compress: true,"));
    assert!(
        old[0].ends_with("has compress and forwards no requests: its responses are short [conflict]"),
        "{old:?}"
    );
    let taken = findings("compression: true\nmiddleware: [{id: compression, stages: []}]\n");
    assert_eq!(taken.len(), 1);
    assert!(taken[0].contains("/compression is already the id of a middleware at c:2:19"), "{taken:?}");
}

#[test]
fn two_files_with_different_settings_are_refused() {
    let sources = [source("compression: {level: 1}\n"), source("compression: {level: 2}\n")];
    let found: Vec<_> = read(&sources).findings.iter().map(ToString::to_string).collect();
    assert!(
        found.len() == 1 && found[0].ends_with("/compression differs from that of another file"),
        "{found:?}"
    );
}

#[test]
fn the_canonical_text_reads_back() {
    let first = document(&format!("{ROUTES}compression: {{level: 1}}\n"));
    let second = document(&first.canonical);
    assert_eq!(first.set, second.set);
    assert_eq!(first.canonical, second.canonical);
}
