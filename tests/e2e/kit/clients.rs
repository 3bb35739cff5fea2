//! Third-party clients that are not Debian packages, fetched by `tests/clients.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Runs the Python that has `grpcio` and `requests`.
pub(crate) fn python() -> Command {
    Command::new(folder().join("python/bin/python3"))
}

/// Runs Node.js where `require("undici")` finds it.
pub(crate) fn node() -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", folder().join("node_modules"));
    command
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients.sh");
        let output = Command::new(script).output().expect("tests/clients.sh can be run");
        assert!(output.status.success(), "tests/clients.sh: {}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}
