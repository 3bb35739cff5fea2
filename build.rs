//! Tells the program from which commit it is built, where it is built from a clone; no program is called for it.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=RINGWAY_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    // A packager's word counts more than what is found here.
    if let Ok(commit) = std::env::var("RINGWAY_COMMIT") {
        println!("cargo:rustc-env=RINGWAY_COMMIT={commit}");
        return;
    }
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    if let Some(commit) = commit(&root) {
        println!("cargo:rustc-env=RINGWAY_COMMIT={commit}");
    }
}

/// The commit that is checked out, by the files of git; `None` where there are none.
pub(crate) fn commit(root: &Path) -> Option<String> {
    let git = folder(root)?;
    // A working tree beside others has its HEAD, and shares the branches.
    let common = read(&git.join("commondir")).map_or_else(|| git.clone(), |path| git.join(path));
    // It grows with each commit, also with the first one of a branch whose file is not there yet.
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

/// Has the build look again when the file changes; one that is not there would have it look each time.
fn watched(path: PathBuf) -> PathBuf {
    if path.exists() {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    path
}

fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}
