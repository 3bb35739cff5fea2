//! The README's shell examples, in order, in one shell, unmodified.
//!
//! A ```` ```sh ```` block is run, unless a comment `<!-- not run: REASON -->` precedes it; a new block joins
//! by itself. Three programs are others than a user's: `git` and `cargo` only make the folder that a clone
//! and a build would make, with the binary under test in it, and `curl` fails on an error status and waits
//! for a server that was started a moment before, as a person who types does. The README's ports are fixed,
//! so the shell has a network of its own; it has process ids of its own, too, and when it ends the kernel
//! ends all that it started.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::kit::output;
use crate::pages::{apart, blocks, found, install, without_settings};

const README: &str = include_str!("../../README.md");
const UNIT: &str = include_str!("../../systemd/ringway.service");
const NOTES: &str = include_str!("../../systemd/README.md");

/// One script of all blocks that are run, which names the line that it is at.
fn script(document: &str) -> String {
    let mut script = String::new();
    for block in blocks(document).iter().filter(|block| block.language == "sh" && block.exempted.is_none()) {
        script.push_str(&format!("echo '--- the block of line {}' >&2\n{}", block.line, block.text));
    }
    script
}

#[test]
fn the_examples_run_in_order_as_they_stand() {
    let home = tempfile::tempdir().unwrap();
    let tools = home.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let binary = env!("CARGO_BIN_EXE_ringway");
    install(
        &tools,
        "git",
        "#!/bin/sh\n[ \"$1\" = clone ] && mkdir ringway && cp \"$README\" ringway/README.md\n",
    );
    install(
        &tools,
        "cargo",
        &format!(
            "#!/bin/sh\n[ \"$*\" = 'build --release' ] && mkdir -p target/release && ln -s '{binary}' target/release/ringway\n"
        ),
    );
    let curl = format!(
        "#!/bin/sh\nexec {} --silent --show-error --fail --retry 100 --retry-delay 1 --retry-connrefused \
         --max-time 60 \"$@\"\n",
        found("curl")
    );
    install(&tools, "curl", &curl);
    // Expected result: the first instance is registered and serves.
    let checks = "echo '--- in the end' >&2\n\
                  ringway instances list --json\n\
                  curl http://app1.localhost:8081/README.md\n";
    let text = format!("set -eo pipefail\nip link set lo up\n{}{checks}", script(README));
    fs::write(home.path().join("script"), text).unwrap();

    let apart = apart();
    let mut command = Command::new(apart[0]);
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    without_settings(&mut command);
    command
        .args(&apart[1..])
        .args(["bash", "../script"])
        .current_dir({
            let folder = home.path().join("work");
            fs::create_dir(&folder).unwrap();
            folder
        })
        .env("HOME", home.path())
        .env("PATH", path)
        .env("README", Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let output = output(&mut command, Duration::from_secs(240));
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n--- and on standard error:\n{log}", output.status);
    let before =
        out.strip_suffix(README).unwrap_or_else(|| panic!("the first app answers in the end:\n{out}\n{log}"));
    assert!(
        before.contains(r#"{"instances":[{"instance_id":"app1-1""#),
        "it was not replaced, nor did it end: {before}"
    );
}

#[test]
fn every_code_block_names_its_language() {
    let all = blocks(README);
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for block in &all {
        assert!(
            ["sh", "json", "rust", "toml", "ini", "text", "http", "html", "yaml"].contains(&block.language),
            "line {}: a block without a language that is known here",
            block.line
        );
        *count.entry(block.language).or_default() += 1;
    }
    assert!(count["sh"] >= 3);
    assert!(all.iter().any(|block| block.text.contains("cargo build --release") && block.exempted.is_none()));
}

#[test]
fn blocks_are_read_with_their_exemptions() {
    let document = "text\n```sh\na\nb\n```\n<!-- not run: a reason -->\n```sh\nc\n```\n```json\n{}\n```\n";
    let read: Vec<_> = blocks(document)
        .into_iter()
        .map(|block| (block.line, block.language, block.exempted, block.text))
        .collect();
    assert_eq!(read.len(), 3);
    assert_eq!(read[0], (2, "sh", None, "a\nb\n".to_owned()));
    assert_eq!(read[1], (7, "sh", Some("a reason"), "c\n".to_owned()));
    assert_eq!(read[2].1, "json");
    assert!(
        script(document).contains("a\nb\n") && !script(document).contains('c'.to_string().repeat(2).as_str())
    );
    for wrong in ["<!-- not run -->\n```sh\n```\n", "<!-- not run: a -->\ntext\n", "```sh\nno end\n"] {
        assert!(std::panic::catch_unwind(|| blocks(wrong).len()).is_err(), "{wrong:?}");
    }
}

#[test]
fn the_unit_starts_what_its_notes_install() {
    let started = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let program = started.split_whitespace().next().unwrap();
    let installed = NOTES.lines().find_map(|line| line.strip_prefix("install -m 755 ")).unwrap();
    assert_eq!(installed.split_whitespace().next_back(), Some(program));
    // systemd's own reader of such files is the only one that reads them as systemd does.
    let settings = UNIT.lines().find_map(|line| line.strip_prefix("EnvironmentFile=-")).unwrap();
    assert!(NOTES.contains(&format!("-p EnvironmentFile={settings} {program} check")));
    assert!(!NOTES.contains("xargs"));
}
