//! Permissions of this process on this machine, from /proc and the file system; changes and opens nothing.
//!
//! Hardening may hide parts of /proc: an unreadable one counts as allowed, and the start finds out.

use std::fs;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::config::{Machine, SYSTEM_STATE};

impl Machine {
    /// The machine of this process.
    pub(crate) fn here() -> Self {
        Self {
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
            cpus: ringway_net::cores().len(),
            system_state_is_ours: may_write(Path::new(SYSTEM_STATE)),
            read_file: |path| fs::read_to_string(path),
        }
    }
}

/// Whether this process may listen on a port.
pub(crate) fn may_listen_on(port: u16) -> bool {
    let status = fs::read_to_string("/proc/self/status").ok();
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    is_port_allowed(port, status.as_deref(), first.as_deref())
}

/// Release of the kernel, as in `uname -r`.
pub(crate) fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    if release.is_empty() { "unknown".to_owned() } else { release.to_owned() }
}

/// Whether this process may write in a directory, or create it. `false` in doubt: the caller has another
/// directory.
pub(crate) fn may_write(folder: &Path) -> bool {
    let Some(user) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(effective_user) else {
        return false;
    };
    match fs::metadata(folder) {
        Ok(found) => found.is_dir() && (user == 0 || (found.uid() == user && found.mode() & 0o300 == 0o300)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            user == 0 && folder.parent().is_some_and(Path::is_dir)
        }
        Err(_) => false,
    }
}

/// Ports below `first` need CAP_NET_BIND_SERVICE (capabilities(7)).
fn is_port_allowed(port: u16, status: Option<&str>, first: Option<&str>) -> bool {
    let first: u16 = first.and_then(|text| text.trim().parse().ok()).unwrap_or(UNPRIVILEGED_PORT_START);
    let capabilities =
        status.and_then(|status| field(status, "CapEff")).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    port == 0 || port >= first || capabilities.is_none_or(|mask| mask & (1 << CAP_NET_BIND_SERVICE) != 0)
}

/// Effective user: the second number of `Uid:` (proc_pid_status(5)).
fn effective_user(status: &str) -> Option<u32> {
    field(status, "Uid")?.split_whitespace().nth(1)?.parse().ok()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Kernel default of `net.ipv4.ip_unprivileged_port_start`.
const UNPRIVILEGED_PORT_START: u16 = 1024;
/// Number of the capability (linux/capability.h).
const CAP_NET_BIND_SERVICE: u32 = 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PLAIN: &str = "Name:\tringway\nUid:\t1000\t1001\t1000\t1000\nCapEff:\t0000000000000000\n";
    const CAPABLE: &str = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000400\n";

    #[test]
    fn low_ports_need_the_capability() {
        assert!(!is_port_allowed(80, Some(PLAIN), Some("1024\n")));
        assert!(!is_port_allowed(1023, Some(PLAIN), Some("1024\n")));
        assert!(is_port_allowed(1024, Some(PLAIN), Some("1024\n")));
        assert!(is_port_allowed(0, Some(PLAIN), Some("1024\n")));
        assert!(is_port_allowed(80, Some(CAPABLE), Some("1024\n")));
        assert!(is_port_allowed(80, Some(PLAIN), Some("80\n")));
        assert!(!is_port_allowed(80, Some(PLAIN), None));
        assert!(is_port_allowed(80, None, None), "unreadable counts as allowed");
    }

    #[test]
    fn the_user_is_the_effective_one() {
        assert_eq!(effective_user(PLAIN), Some(1001));
        assert_eq!(effective_user("Name:\tx\n"), None);
    }

    #[test]
    fn own_directories_are_writable_and_files_are_not_directories() {
        let folder = tempfile::tempdir().unwrap();
        assert!(may_write(folder.path()));
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(!may_write(&file));
        assert!(!may_write(&file.join("below")));
    }
}
