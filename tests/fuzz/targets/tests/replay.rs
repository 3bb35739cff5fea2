//! Every input that fuzzing kept, and a bounded number of seeded mutations of them, through every target.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ringway_fuzz_targets::{Mutator, TARGETS, run};

/// Mutations of one run of a target: one to three seconds of a debug build.
const MUTATIONS: u64 = 4000;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// The inputs of a target with their names, sorted.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut inputs = Vec::new();
    for entry in std::fs::read_dir(corpora().join(target)).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        inputs.push((entry.file_name().into_string().unwrap(), bytes));
    }
    inputs.sort();
    inputs
}

fn replay(target: &str, mutations: u64) {
    let check = |what: &dyn Fn() -> String, bytes: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| run(target, bytes))).is_err() {
            panic!("{target}, {}: b\"{}\"", what(), bytes.escape_ascii());
        }
    };
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has no corpus");
    for (name, bytes) in &corpus {
        check(&|| format!("input {name}"), bytes);
    }
    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    for seed in 0..mutations {
        check(&|| format!("mutation {seed}"), &Mutator::new(seed).next(&inputs));
    }
}

#[test]
fn every_target_has_a_corpus_a_binary_and_a_test() {
    let names = |folder: &Path| -> BTreeSet<String> {
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        std::fs::read_dir(folder).unwrap().map(|entry| stem(entry.unwrap().path())).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names(&corpora()), targets);
    assert_eq!(names(&corpora().join("../bins")), targets);
    let manifest = std::fs::read_to_string(corpora().join("../Cargo.toml")).unwrap();
    let tests = include_str!("replay.rs");
    for target in &targets {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is no binary");
        assert!(tests.contains(&format!("replay(\"{target}\"")), "{target} is not replayed");
    }
}

/// Corpora stay small: they are the seeds of fuzzing, and part of every clone of the repository.
#[test]
fn corpora_are_small() {
    for target in TARGETS {
        let bytes: usize = corpus(target.name).iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= 32 * 1024, "{}: {bytes} bytes", target.name);
    }
}

#[test]
fn api() {
    replay("api", MUTATIONS);
}

#[test]
fn cache_dates() {
    replay("cache_dates", MUTATIONS);
}

#[test]
fn cache_directives() {
    replay("cache_directives", MUTATIONS);
}

#[test]
fn cache_ranges() {
    replay("cache_ranges", MUTATIONS);
}

#[test]
fn certificate() {
    // Keys are checked against their certificates.
    replay("certificate", MUTATIONS / 8);
}

#[test]
fn chunks() {
    replay("chunks", MUTATIONS);
}

#[test]
fn configuration() {
    // A history takes a hundred times as long as a head.
    replay("configuration", MUTATIONS / 20);
}

#[test]
fn document() {
    // Each is read twice.
    replay("document", MUTATIONS / 4);
}

#[test]
fn h2_head() {
    // Each is a connection.
    replay("h2_head", MUTATIONS / 8);
}

#[test]
fn host() {
    replay("host", MUTATIONS);
}

#[test]
fn proxy_protocol() {
    replay("proxy_protocol", MUTATIONS);
}

#[test]
fn records() {
    replay("records", MUTATIONS);
}

#[test]
fn request() {
    replay("request", MUTATIONS);
}

#[test]
fn response() {
    replay("response", MUTATIONS);
}

/// Each input compiles a bundle and runs it in a VM.
#[test]
fn script() {
    replay("script", MUTATIONS / 10);
}

#[test]
fn structured_fields() {
    replay("structured_fields", MUTATIONS);
}

#[test]
fn websocket() {
    replay("websocket", MUTATIONS);
}

#[test]
fn accept_encoding() {
    replay("accept_encoding", MUTATIONS);
}

#[test]
fn brotli() {
    replay("brotli", MUTATIONS);
}
