//! Input of the rules: `cargo metadata`, `cargo tree`, the tracked files, and the lines of the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

pub(super) static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &target])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
});

/// Packages that the shipped binary is built from: name, version and features. `cargo metadata` also lists
/// packages that only a weak feature (`a?/b`) enables, and their features, though they are not compiled.
pub(super) static BUILT: LazyLock<Vec<(String, String, Vec<String>)>> = LazyLock::new(|| {
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

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn workspace_packages() -> Vec<&'static Value> {
    let members: BTreeSet<&str> =
        METADATA["workspace_members"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let packages = METADATA["packages"].as_array().unwrap();
    let ours: Vec<_> =
        packages.iter().filter(|package| members.contains(package["id"].as_str().unwrap())).collect();
    assert!(ours.len() > 10, "only {} crates found", ours.len());
    ours
}

pub(super) fn package_by_id(id: &str) -> &'static Value {
    METADATA["packages"].as_array().unwrap().iter().find(|package| package["id"] == id).unwrap()
}

/// Names of a package's dependencies, without those of its tests.
pub(super) fn shipped_dependencies(package: &Value) -> Vec<&str> {
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    dependencies.filter(|one| one["kind"] != "dev").filter_map(|one| one["name"].as_str()).collect()
}

/// Names of our crates that `from` depends on.
pub(super) fn reachable(from: &str) -> BTreeSet<String> {
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
pub(super) fn shipped_packages() -> BTreeSet<String> {
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

/// Our crates that depend on one of `names` and are not in `allowed`.
pub(super) fn dependents_beyond(names: &[&str], allowed: &[&str]) -> Vec<String> {
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

/// Source files of the product, relative to the root, without its tests.
pub(super) fn source_files() -> Vec<String> {
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

pub(super) fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
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
pub(super) fn source_lines() -> Vec<(String, usize, String)> {
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

pub(super) fn lines_with(needles: &[&str], may: impl Fn(&str) -> bool) -> Vec<String> {
    let hit = |text: &str| {
        needles.iter().any(|needle| {
            text.match_indices(needle).any(|(at, _)| {
                // `fjall::` is also part of `xfjall::`, and `crate::fjall::` is our own module.
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

/// Files that git tracks; in an unpacked archive, the source files.
pub(super) fn tracked_files() -> Vec<String> {
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

pub(super) fn deny_toml() -> String {
    std::fs::read_to_string(root().join("deny.toml")).unwrap()
}

/// The quoted strings of the first list that begins at or after the line `header`.
pub(super) fn section(text: &str, header: &str) -> Vec<String> {
    let from = text.find(header).unwrap_or_else(|| panic!("deny.toml has no `{header}`"));
    let list = text[from..].find("= [").unwrap() + from;
    let end = list + text[list..].find("\n]").unwrap();
    let lines = text[list..end].lines().map(str::trim).filter(|line| line.starts_with('"'));
    lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// The names in a list of `{ crate = "name", … }`.
pub(super) fn crates(text: &str, header: &str) -> Vec<String> {
    let from = text.find(&format!("\n{header}")).unwrap_or_else(|| panic!("deny.toml has no `{header}`"));
    let end = from + text[from..].find("\n]").unwrap();
    let lines = text[from..end].lines().filter(|line| line.trim_start().starts_with("{ crate"));
    lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

pub(super) fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} finding(s):\n  {}", wrong.len(), wrong.join("\n  "));
}
