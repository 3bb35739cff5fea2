//! Checks of the invariants of ARCHITECTURE.md by `cargo metadata` and the text of the sources.
//!
//! Each test is one rule and prints every violation. A rule is changed here and in ARCHITECTURE.md together,
//! with the reason.

#![allow(clippy::unwrap_used)]

#[path = "architecture/language.rs"]
mod language;
#[path = "architecture/licences.rs"]
mod licences;
#[path = "architecture/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use sources::{
    BUILT, assert_none, crates, deny_toml, dependents_beyond, lines_with, package_by_id, reachable, root,
    section, shipped_dependencies, shipped_packages, source_files, tracked_files, workspace_packages,
};

/// Allowed imports between our crates, without those of tests; any other direction is an error.
const IMPORTS: &[(&str, &[&str])] = &[
    ("ringway-model", &[]),
    ("ringway-config", &["model"]),
    ("ringway-wire", &[]),
    ("ringway-bridge", &[]),
    ("ringway-net", &["model"]),
    ("ringway-tls", &["model"]),
    ("ringway-traffic", &["model", "wire", "middleware", "cache", "script"]),
    ("ringway-forward", &["model", "middleware", "traffic"]),
    ("ringway-telemetry", &["model"]),
    ("ringway-store", &["model"]),
    ("ringway-dns", &["model", "net"]),
    ("ringway-certs", &["model", "wire", "net", "tls", "bridge", "dns"]),
    ("ringway-webhooks", &["model", "bridge", "net", "tls"]),
    ("ringway-auth", &["model", "bridge", "net", "tls", "middleware"]),
    ("ringway-forward-control", &["model", "bridge", "dns", "forward", "middleware", "net", "traffic"]),
    ("ringway-compress", &["model"]),
    ("ringway-middleware", &["model", "wire", "compress"]),
    ("ringway-cache", &["model", "wire"]),
    ("ringway-script", &["model", "wire", "middleware"]),
    ("ringway-health", &["model", "wire", "net"]),
    (
        "ringway-worker",
        &[
            "model",
            "wire",
            "traffic",
            "middleware",
            "cache",
            "forward",
            "script",
            "telemetry",
            "bridge",
            "net",
            "tls",
        ],
    ),
    (
        "ringway-control",
        &[
            "model",
            "config",
            "traffic",
            "middleware",
            "cache",
            "script",
            "telemetry",
            "bridge",
            "net",
            "tls",
            "wire",
            "store",
            "certs",
            "webhooks",
            "auth",
            "health",
        ],
    ),
    ("ringway-api", &["model", "config", "wire", "net", "tls", "telemetry", "control", "certs"]),
    (
        "ringway",
        &[
            "model",
            "config",
            "wire",
            "bridge",
            "net",
            "tls",
            "traffic",
            "middleware",
            "cache",
            "script",
            "telemetry",
            "worker",
            "store",
            "certs",
            "webhooks",
            "health",
            "control",
            "api",
            "forward",
            "forward-control",
        ],
    ),
    ("ringway-bench", &["model", "wire", "traffic", "bridge", "cache", "middleware", "telemetry", "forward"]),
    (
        "ringway-fuzz-targets",
        &[
            "model",
            "config",
            "wire",
            "compress",
            "middleware",
            "script",
            "traffic",
            "cache",
            "worker",
            "store",
            "certs",
            "api",
        ],
    ),
];

/// The crates with `unsafe`: for system calls, and for memory shared between threads.
const UNSAFE: &[&str] = &["ringway-net", "ringway-bridge"];

#[test]
fn crates_import_only_in_the_allowed_directions() {
    let mut wrong = Vec::new();
    for package in workspace_packages() {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = IMPORTS.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{name}: no line in IMPORTS"));
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
            "ringway-config",
            "ringway-store",
            "ringway-certs",
            "ringway-webhooks",
            // Tokens and sets of keys are JSON.
            "ringway-auth",
            "ringway-middleware",
            // `gw.json` of scripts.
            "ringway-script",
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

/// The release profile compiles crates of the control plane for size.
#[test]
fn the_data_path_is_compiled_for_speed() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, sizes) = manifest.split_once("[profile.release.package]").unwrap();
    let small: Vec<&str> = sizes
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.strip_suffix(".opt-level = \"z\""))
        .collect();
    assert!(small.contains(&"ringway-api"), "{small:?}");
    let mut fast = reachable("ringway-worker");
    fast.insert("ringway-worker".to_owned());
    fast.retain(|name| name.starts_with("ringway-") && small.contains(&name.as_str()));
    assert_none(&fast.into_iter().collect::<Vec<_>>());
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
    // At the start, before any event loop runs, binding retries until the kernel frees an address.
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
fn every_limit_is_documented() {
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
fn a_bound_outside_the_limits_is_private_and_documented() {
    // `wire` and `bridge` do not import `model`; the binary's timeouts are those of its commands.
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
            // A constant computed from a limit is not a new limit.
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
            // Stores that tests open have the layout of their engine.
            && !file.contains("/tests/format-")
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
    assert!(seen, "monoio and h2 bring tokio's traits: without tokio in the graph this test checks nothing");
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
        wrong.push(format!("deny.toml skips {skip}, which is no longer in the graph"));
    }
    assert_none(&wrong);
}

#[test]
fn every_module_has_documentation() {
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

/// A threat, a fault or a requirement whose test has been renamed or removed is not shown to be answered any
/// more.
#[test]
fn the_threat_model_and_the_reports_name_tests_that_exist() {
    let mut named = 0;
    let mut wrong = Vec::new();
    for page in ["tests/THREATS.md", "loadtest/report/faults.md", "loadtest/report/requirements.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        for (number, line) in text.lines().enumerate() {
            let tests: Vec<_> =
                line.split('`').skip(1).step_by(2).filter_map(|word| word.rsplit_once("::")).collect();
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
                let source = std::fs::read_to_string(
                    root().join(format!("tests/e2e/{}.rs", module.replace("::", "/"))),
                )
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
