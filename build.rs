//! Sets `RINGWAY_COMMIT` to the commit of the clone that is built, read from the files of git without calling
//! it, and strips the binary of symbols.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    strip();
    println!("cargo:rerun-if-env-changed=RINGWAY_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    // A packager's value takes precedence.
    if let Ok(commit) = std::env::var("RINGWAY_COMMIT") {
        println!("cargo:rustc-env=RINGWAY_COMMIT={commit}");
        return;
    }
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    if let Some(commit) = commit(&root) {
        println!("cargo:rustc-env=RINGWAY_COMMIT={commit}");
    }
}

/// Strips optimised builds, unless `RINGWAY_SYMBOLS` is set, as profilers need. It is what
/// `strip = "symbols"` of the profile would do, which cargo forgets for a package that has an entry in the
/// profile.
fn strip() {
    println!("cargo:rerun-if-env-changed=RINGWAY_SYMBOLS");
    let is_optimised = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if is_optimised && std::env::var_os("RINGWAY_SYMBOLS").is_none() {
        println!("cargo:rustc-link-arg-bins=-Wl,--strip-all");
    }
}

/// Reads the checked-out commit from the files of git; `None` without them.
pub(crate) fn commit(root: &Path) -> Option<String> {
    let git = folder(root)?;
    // A linked worktree has its own HEAD and shares the branches.
    let common = read(&git.join("commondir")).map_or_else(|| git.clone(), |path| git.join(path));
    // It grows with each commit, also with the first one of a branch that has no file yet.
    watched(git.join("logs/HEAD"));
    let head = read(&watched(git.join("HEAD")))?;
    let id = match head.strip_prefix("ref: ") {
        None => head,
        Some(branch) => match read(&watched(common.join(branch))) {
            Some(id) => id,
            None => read(&watched(common.join("packed-refs")))?
                .lines()
                .find_map(|line| line.strip_suffix(branch)?.strip_suffix(' ').map(str::to_owned))?,
        },
    };
    let is_id = id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id[..SHOWN].to_owned())
}

/// Digits of a commit that are shown.
const SHOWN: usize = 12;

fn folder(root: &Path) -> Option<PathBuf> {
    let git = root.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    Some(root.join(read(&git)?.strip_prefix("gitdir: ")?))
}

/// Rebuilds when the file changes. A missing file is not watched: it would rebuild each time.
fn watched(path: PathBuf) -> PathBuf {
    if path.exists() {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    path
}

fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}
