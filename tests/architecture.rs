//! The invariants of ARCHITECTURE.md that `cargo metadata` or the text of the sources can show.
//!
//! Each test names one rule and prints every place that breaks it. A rule that is in the way is changed here
//! and in ARCHITECTURE.md together, with its reason.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

/// Who may import whom, ours only, tests aside: a direction that is not here is not allowed.
const IMPORTS: &[(&str, &[&str])] = &[
    ("ringway-model", &[]),
    ("ringway-wire", &[]),
    ("ringway-bridge", &[]),
    ("ringway-net", &["model"]),
    ("ringway-tls", &["model"]),
    ("ringway-traffic", &["model"]),
    ("ringway-telemetry", &["model"]),
    ("ringway-store", &["model"]),
    ("ringway-certs", &["model", "wire", "net", "tls", "bridge"]),
    ("ringway-webhooks", &["model", "bridge", "net", "tls"]),
    ("ringway-middleware", &["model", "wire"]),
    ("ringway-health", &["model", "wire", "net"]),
    ("ringway-worker", &["model", "wire", "traffic", "middleware", "telemetry", "bridge", "net", "tls"]),
    (
        "ringway-control",
        &[
            "model",
            "traffic",
            "telemetry",
            "bridge",
            "net",
            "tls",
            "wire",
            "store",
            "certs",
            "webhooks",
            "health",
        ],
    ),
    ("ringway-api", &["model", "wire", "net", "tls", "telemetry", "control", "certs"]),
    (
        "ringway",
        &[
            "model",
            "wire",
            "bridge",
            "net",
            "tls",
            "traffic",
            "middleware",
            "telemetry",
            "worker",
            "store",
            "certs",
            "webhooks",
            "health",
            "control",
            "api",
        ],
    ),
    ("ringway-bench", &["model", "wire", "traffic", "bridge", "middleware", "telemetry"]),
    ("ringway-fuzz-targets", &["model", "wire", "traffic", "worker", "store", "certs", "api"]),
];

/// The only crates with `unsafe`: they speak to the kernel, or across threads.
const UNSAFE: &[&str] = &["ringway-net", "ringway-bridge"];

#[test]
fn crates_import_only_in_the_allowed_directions() {
    let mut wrong = Vec::new();
    for package in workspace_packages() {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = IMPORTS.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{name}: no line in IMPORTS; which direction does it protect?"));
            continue;
        };
        for dependency in shipped_dependencies(package) {
            if let Some(ours) = dependency.strip_prefix("ringway-")
                && !allowed.contains(&ours)
            {
                wrong.push(format!("{name} imports {dependency}"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn worker_and_control_reach_each_other_through_the_root_only() {
    for (from, to) in [("ringway-worker", "ringway-control"), ("ringway-control", "ringway-worker")] {
        assert!(!reachable(from).contains(to), "{from} reaches {to}");
    }
}

#[test]
fn only_net_depends_on_the_runtime() {
    assert_none(&dependents_beyond(&["monoio", "io-uring"], &["ringway-net"]));
    assert_none(&lines_with(&["monoio::", "io_uring::"], |file| file.starts_with("src/net/")));
}

#[test]
fn only_one_file_names_fjall() {
    assert_none(&dependents_beyond(&["fjall"], &["ringway-store"]));
    // The crate's root has a module of that name, which hides the dependency there.
    assert_none(&lines_with(&["fjall::"], |file| {
        ["control/store/fjall/engine.rs", "control/store/lib.rs"].contains(&file)
    }));
}

#[test]
fn only_the_api_the_store_and_the_binary_decide_json() {
    let json = ["serde_json", "simd-json", "utoipa"];
    assert_none(&dependents_beyond(
        &json,
        &[
            "ringway-api",
            "ringway-store",
            "ringway-certs",
            "ringway-webhooks",
            "ringway",
            "ringway-fuzz-targets",
        ],
    ));
}

#[test]
fn unsafe_code_is_forbidden_outside_net_and_bridge() {
    let mut wrong = Vec::new();
    for package in workspace_packages() {
        let name = package["name"].as_str().unwrap();
        if UNSAFE.contains(&name) {
            continue;
        }
        for target in package["targets"].as_array().unwrap() {
            let kinds: Vec<&str> =
                target["kind"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            if kinds.contains(&"test") || kinds.contains(&"example") {
                continue;
            }
            let path = target["src_path"].as_str().unwrap();
            if !std::fs::read_to_string(path).unwrap().contains("#![forbid(unsafe_code)]") {
                wrong.push(format!("{path}: no #![forbid(unsafe_code)]"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_crate_takes_the_lints_and_the_edition_of_the_workspace() {
    let mut wrong = Vec::new();
    for package in workspace_packages() {
        let manifest = package["manifest_path"].as_str().unwrap();
        let text = std::fs::read_to_string(manifest).unwrap();
        for line in ["[lints]\nworkspace = true", "edition.workspace = true", "license.workspace = true"] {
            if !text.contains(line) {
                wrong.push(format!("{manifest}: no `{}`", line.replace('\n', " ")));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn clocks_are_read_in_net_the_control_shell_and_the_binary_only() {
    let may = |file: &str| {
        ["src/net/", "src/cli/", "control/core/thread", "bench/"]
            .iter()
            .any(|prefix| file.starts_with(prefix))
            || ["src/main.rs", "src/lib.rs"].contains(&file)
    };
    assert_none(&lines_with(
        &["Instant::now()", "SystemTime::now()", "Zoned::now()", "Timestamp::now()"],
        may,
    ));
}

#[test]
fn nothing_sleeps_and_no_library_ends_the_process() {
    // Binding at the start waits for the kernel to let go of an address, before any loop runs.
    let may = |file: &str| {
        ["src/main.rs", "src/net/listen.rs"].contains(&file)
            || file.starts_with("src/cli/")
            || file.starts_with("bench/")
    };
    assert_none(&lines_with(&["thread::sleep", "process::exit", "process::abort"], may));
}

#[test]
fn no_unbounded_channel() {
    assert_none(&lines_with(&["unbounded()", "unbounded::<", "mpsc::channel()", "mpsc::channel::<"], |_| {
        false
    }));
}

#[test]
fn every_limit_has_its_reason_beside_it() {
    let mut wrong = Vec::new();
    let mut limits = 0;
    for file in source_files().into_iter().filter(|file| file.ends_with("/limits.rs")) {
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        let mut before = "";
        for line in text.lines() {
            if let Some((_, rest)) = line.split_once("const ")
                && line.starts_with("pub")
            {
                limits += 1;
                if !before.starts_with("///") {
                    wrong.push(format!("{file}: {rest}"));
                }
            }
            before = line;
        }
    }
    assert!(limits > 200, "only {limits} limits found: did the files move?");
    assert_none(&wrong);
}

#[test]
fn a_bound_outside_the_limits_is_private_and_says_why() {
    // `wire` and `bridge` stand below `model`; the binary's own waits are those of its commands.
    let may = |file: &str| {
        file.ends_with("/limits.rs")
            || ["src/wire/", "src/bridge/", "src/cli/", "bench/"]
                .iter()
                .any(|prefix| file.starts_with(prefix))
    };
    let mut wrong = Vec::new();
    for file in source_files().into_iter().filter(|file| !may(file)) {
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        let mut before = "";
        for (index, line) in text.lines().enumerate() {
            let code = line.trim_start();
            let is_public = code.starts_with("pub");
            let rest = code.strip_prefix("pub const ").or(code.strip_prefix("const ")).unwrap_or_default();
            let name = rest.split([':', ' ', '=']).next().unwrap_or_default();
            let is_bound =
                ["_MAX", "_TIMEOUT", "_DEADLINE", "_CAPACITY"].iter().any(|end| name.ends_with(end));
            // A constant made from a limit is not a new one.
            let has_reason = before.starts_with("///") && !is_public;
            if is_bound && !code.contains("limits::") && !has_reason {
                wrong.push(format!("{file}:{}: {code}", index + 1));
            }
            before = code;
        }
    }
    assert_none(&wrong);
}

#[test]
fn module_files_stand_beside_their_folders() {
    let wrong = tracked_files().into_iter().filter(|file| file.ends_with("/mod.rs"));
    assert_none(&wrong.collect::<Vec<_>>());
}

/// A folder is for several files; the tests of one module stand beside it (`name_tests.rs`).
#[test]
fn no_source_folder_holds_one_file() {
    let mut files: BTreeMap<String, usize> = BTreeMap::new();
    for file in tracked_files() {
        if (file.starts_with("src/") || file.starts_with("control/"))
            && let Some((folder, _)) = file.rsplit_once('/')
        {
            *files.entry(folder.to_owned()).or_default() += 1;
        }
    }
    let wrong: Vec<String> =
        files.into_iter().filter(|(_, count)| *count == 1).map(|(folder, _)| folder).collect();
    assert_none(&wrong);
}

#[test]
fn the_shipped_binary_has_no_tokio_runtime_and_no_tokio_sockets() {
    let banned: BTreeSet<String> = section(&deny_toml(), "[[bans.features]]").into_iter().collect();
    assert!(banned.contains("rt") && banned.contains("net"), "deny.toml lost its tokio features: {banned:?}");
    let mut seen = false;
    for (name, _, features) in BUILT.iter().filter(|(name, ..)| name == "tokio") {
        seen = true;
        let found: Vec<_> = features.iter().filter(|feature| banned.contains(*feature)).collect();
        assert!(found.is_empty(), "{name} is built with {found:?}");
    }
    assert!(seen, "monoio and h2 bring tokio's traits: without tokio in the graph this test sees nothing");
}

#[test]
fn no_banned_crate_and_no_unexplained_duplicate() {
    let deny = deny_toml();
    let banned = crates(&deny, "deny = [");
    assert!(banned.contains(&"openssl".to_owned()), "deny.toml lost its list of banned crates");
    let skipped: BTreeSet<String> = crates(&deny, "skip = [").into_iter().collect();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for id in shipped_packages() {
        let package = package_by_id(&id);
        let name = package["name"].as_str().unwrap().to_owned();
        if banned.contains(&name) {
            wrong.push(format!("{name} is banned by deny.toml"));
        }
        versions.entry(name).or_default().push(package["version"].as_str().unwrap().to_owned());
    }
    let mut used = BTreeSet::new();
    for (name, versions) in versions {
        let unexplained: Vec<_> = versions
            .iter()
            .filter(|version| {
                let explained = skipped.iter().find(|skip| {
                    let (skip_name, skip_version) = skip.split_once('@').unwrap_or((skip, ""));
                    skip_name == name
                        && (*version == skip_version || version.starts_with(&format!("{skip_version}.")))
                });
                explained.map(|skip| used.insert(skip.clone())).is_none()
            })
            .collect();
        if unexplained.len() > 1 {
            wrong.push(format!("{name}: {unexplained:?}"));
        }
    }
    for skip in skipped.difference(&used) {
        wrong.push(format!("deny.toml skips {skip}, which is not in the graph any more"));
    }
    assert_none(&wrong);
}

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

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let homes = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    let mut wrong = Vec::new();
    for file in tracked_files() {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
        for (index, line) in text.lines().enumerate() {
            for home in homes {
                // A path begins where no other path goes on: `/srv/home/` is not one of these.
                let begins = line.match_indices(home).any(|(at, _)| {
                    !line[..at].ends_with(|before: char| before.is_alphanumeric() || "./_-}".contains(before))
                });
                if begins {
                    wrong.push(format!("{file}:{}: {}", index + 1, line.trim()));
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_module_says_what_it_is() {
    let mut wrong = Vec::new();
    for file in source_files() {
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        let first =
            text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!")).unwrap_or_default();
        if !first.starts_with("//!") {
            wrong.push(file);
        }
    }
    assert_none(&wrong);
}

// --- What the rules read -----------------------------------------------------------------------------------

static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &target])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
});

/// What the shipped binary is really built from: name, version and features. `cargo metadata` also lists crates that only a
/// weak feature (`a?/b`) of somebody names, and their features, though nothing of them is compiled.
static BUILT: LazyLock<Vec<(String, String, Vec<String>)>> = LazyLock::new(|| {
    let arguments =
        ["tree", "--locked", "--package", "ringway", "--edges", "normal,build", "--prefix", "none"];
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--format", "{p}|{f}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut built = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (package, features) = line.split_once('|').unwrap();
        let mut words = package.split_whitespace();
        let (name, version) = (words.next().unwrap(), words.next().unwrap().trim_start_matches('v'));
        let features = features.trim_end_matches(" (*)").split(',').map(str::to_owned).collect();
        built.push((name.to_owned(), version.to_owned(), features));
    }
    built
});

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workspace_packages() -> Vec<&'static Value> {
    let members: BTreeSet<&str> =
        METADATA["workspace_members"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let packages = METADATA["packages"].as_array().unwrap();
    let ours: Vec<_> =
        packages.iter().filter(|package| members.contains(package["id"].as_str().unwrap())).collect();
    assert!(ours.len() > 10, "only {} crates found", ours.len());
    ours
}

fn package_by_id(id: &str) -> &'static Value {
    METADATA["packages"].as_array().unwrap().iter().find(|package| package["id"] == id).unwrap()
}

/// The names of a package's dependencies, those of its tests aside.
fn shipped_dependencies(package: &Value) -> Vec<&str> {
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    dependencies.filter(|one| one["kind"] != "dev").filter_map(|one| one["name"].as_str()).collect()
}

/// The names of the crates of ours that `from` stands on.
fn reachable(from: &str) -> BTreeSet<String> {
    let packages = workspace_packages();
    let mut found = BTreeSet::new();
    let mut waiting = vec![from.to_owned()];
    while let Some(name) = waiting.pop() {
        let Some(package) = packages.iter().find(|package| package["name"] == name.as_str()) else {
            continue;
        };
        for dependency in shipped_dependencies(package) {
            if found.insert(dependency.to_owned()) {
                waiting.push(dependency.to_owned());
            }
        }
    }
    found
}

/// The ids of all packages that are compiled into the binary, or to build it.
fn shipped_packages() -> BTreeSet<String> {
    let nodes = METADATA["resolve"]["nodes"].as_array().unwrap();
    let by_id: BTreeMap<&str, &Value> =
        nodes.iter().map(|node| (node["id"].as_str().unwrap(), node)).collect();
    let binary = workspace_packages().into_iter().find(|package| package["name"] == "ringway").unwrap();
    let mut found = BTreeSet::new();
    let mut waiting = vec![binary["id"].as_str().unwrap()];
    while let Some(id) = waiting.pop() {
        if !found.insert(id.to_owned()) {
            continue;
        }
        for dependency in by_id[id]["deps"].as_array().unwrap() {
            if dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev") {
                waiting.push(dependency["pkg"].as_str().unwrap());
            }
        }
    }
    found.retain(|id| {
        let package = package_by_id(id);
        let field = |name: &str| package[name].as_str().unwrap().to_owned();
        BUILT.iter().any(|(name, version, _)| *name == field("name") && *version == field("version"))
    });
    found
}

/// Crates of ours that depend on one of `names` without being in `allowed`.
fn dependents_beyond(names: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in workspace_packages() {
        let name = package["name"].as_str().unwrap();
        for dependency in shipped_dependencies(package) {
            if names.contains(&dependency) && !allowed.contains(&name) {
                wrong.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    wrong
}

/// The product's source files, relative to the root, without those of its tests.
fn source_files() -> Vec<String> {
    let mut files = Vec::new();
    for top in ["src", "control", "bench"] {
        rust_files(&root().join(top), &mut files);
    }
    let mut files: Vec<String> =
        files.iter().map(|file| file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect();
    files.retain(|file| {
        let parts: Vec<&str> = file.split('/').collect();
        !parts.contains(&"tests") && !file.ends_with("/tests.rs") && !file.ends_with("_tests.rs")
    });
    files.sort();
    assert!(files.len() > 20, "only {} source files found", files.len());
    files
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != "target" {
                rust_files(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Every line of the product's code (file, number, text): without comments and without test modules, which
/// stand at the end of a file.
fn source_lines() -> Vec<(String, usize, String)> {
    let mut lines = Vec::new();
    for file in source_files() {
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        let mut test_gate = false;
        for (index, line) in text.lines().enumerate() {
            let code = line.trim();
            if test_gate && code.starts_with("mod ") && code.ends_with('{') {
                break;
            }
            test_gate = code == "#[cfg(test)]" || (test_gate && (code.starts_with("#[") || code.is_empty()));
            let code = line.split(" //").next().unwrap_or_default();
            if !code.trim_start().starts_with("//") {
                lines.push((file.clone(), index + 1, code.to_owned()));
            }
        }
    }
    lines
}

fn lines_with(needles: &[&str], may: impl Fn(&str) -> bool) -> Vec<String> {
    let hit = |text: &str| {
        needles.iter().any(|needle| {
            text.match_indices(needle).any(|(at, _)| {
                // `fjall::` also begins inside `xfjall::`, and `crate::fjall::` is our own module.
                let before = &text[..at];
                !before.ends_with(|before: char| before.is_alphanumeric() || before == '_')
                    && !before.ends_with("crate::")
                    && !before.ends_with("self::")
                    && !before.ends_with("super::")
            })
        })
    };
    source_lines()
        .into_iter()
        .filter(|(file, _, text)| !may(file) && hit(text))
        .map(|(file, line, text)| format!("{file}:{line}: {}", text.trim()))
        .collect()
}

/// What git tracks, or, in an unpacked archive, what lies there.
fn tracked_files() -> Vec<String> {
    let git = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    if let Ok(output) = git
        && output.status.success()
        && !output.stdout.is_empty()
    {
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        return names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    }
    source_files()
}

fn deny_toml() -> String {
    std::fs::read_to_string(root().join("deny.toml")).unwrap()
}

/// The quoted strings of the first list that begins at or after the line `header`.
fn section(text: &str, header: &str) -> Vec<String> {
    let from = text.find(header).unwrap_or_else(|| panic!("deny.toml has no `{header}`"));
    let list = text[from..].find("= [").unwrap() + from;
    let end = list + text[list..].find("\n]").unwrap();
    let lines = text[list..end].lines().map(str::trim).filter(|line| line.starts_with('"'));
    lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// The names in a list of `{ crate = "name", … }`.
fn crates(text: &str, header: &str) -> Vec<String> {
    let from = text.find(&format!("\n{header}")).unwrap_or_else(|| panic!("deny.toml has no `{header}`"));
    let end = from + text[from..].find("\n]").unwrap();
    let lines = text[from..end].lines().filter(|line| line.trim_start().starts_with("{ crate"));
    lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
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

/// A threat, a fault or a requirement whose test has been renamed or removed is not shown to be answered any more.
#[test]
fn the_threat_model_and_the_reports_name_tests_that_exist() {
    let mut named = 0;
    let mut wrong = Vec::new();
    for page in ["tests/THREATS.md", "loadtest/report/faults.md", "loadtest/report/requirements.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        for (number, line) in text.lines().enumerate() {
            let tests: Vec<_> =
                line.split('`').skip(1).step_by(2).filter_map(|word| word.split_once("::")).collect();
            if line.starts_with('|') && line.matches(" | ").count() == 2 && tests.is_empty() {
                let is_heading =
                    ["| attack ", "| who ", "| fault "].iter().any(|word| line.starts_with(word));
                let is_party = line.starts_with("| **");
                if !is_heading && !is_party {
                    wrong.push(format!("{page}:{}: no test is named", number + 1));
                }
            }
            for (module, test) in tests {
                named += 1;
                let source = std::fs::read_to_string(root().join(format!("tests/e2e/{module}.rs")))
                    .unwrap_or_default();
                if !source.contains(&format!("fn {test}(")) {
                    wrong.push(format!("{page}:{}: {module}::{test} is not in tests/e2e", number + 1));
                }
            }
        }
    }
    assert!(named > 40, "only {named} tests are named");
    assert_none(&wrong);
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} finding(s):\n  {}", wrong.len(), wrong.join("\n  "));
}
