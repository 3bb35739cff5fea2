//! Pages whose examples are run: their fenced blocks, and a shell with a network of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A fenced block of a page.
pub(crate) struct Block<'a> {
    /// The line of its fence.
    pub(crate) line: usize,
    pub(crate) language: &'a str,
    /// Reason to skip it.
    pub(crate) exempted: Option<&'a str>,
    /// Meaning for the test.
    pub(crate) role: Role<'a>,
    pub(crate) text: String,
}

/// Meaning of a block for the test, by the comment before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role<'a> {
    /// A shell block is run; others are read by people only.
    #[default]
    Plain,
    /// `<!-- file: NAME -->`: content of a file that the reader writes.
    File(&'a str),
    /// `<!-- output -->`: lines that the shell block before it prints; `…` stands for any text.
    Output,
    /// `<!-- output: soon -->`: the same, but the block is repeated until it prints them.
    OutputSoon,
}

/// All fenced blocks of a page.
///
/// # Panics
/// When one is not closed, or a comment has no reason, or no block that it can be about.
pub(crate) fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut exemption: Option<(usize, &str)> = None;
    let mut role: Option<(usize, Role<'_>)> = None;
    let mut lines = page.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        if let Some(comment) = line.strip_prefix("<!-- not run") {
            let reason = comment.strip_prefix(": ").and_then(|rest| rest.strip_suffix(" -->"));
            let reason = reason.filter(|reason| !reason.is_empty());
            exemption = Some((number, reason.unwrap_or_else(|| panic!("line {number} gives no reason"))));
            continue;
        }
        if let Some(given) = Role::of(line) {
            role = Some((number, given));
            continue;
        }
        let Some(language) = line.strip_prefix("```") else {
            if let Some((exempted, _)) = exemption.take() {
                panic!("line {exempted} exempts no block");
            }
            if let Some((number, _)) = role.take() {
                panic!("line {number} is about no block");
            }
            continue;
        };
        let mut text = String::new();
        loop {
            match lines.next() {
                Some((_, "```")) => break,
                Some((_, line)) => text.extend([line, "\n"]),
                None => panic!("the block of line {number} does not end"),
            }
        }
        let exempted = exemption.take().map(|(_, reason)| reason);
        assert!(exempted.is_none() || language == "sh", "line {number}: {language} is never run");
        let role = role.take().map(|(_, role)| role).unwrap_or_default();
        assert!(role == Role::Plain || language != "sh", "line {number}: a shell block is run");
        blocks.push(Block { line: number, language, exempted, role, text });
    }
    blocks
}

impl<'a> Role<'a> {
    fn of(line: &'a str) -> Option<Self> {
        match line.strip_prefix("<!-- ")?.strip_suffix(" -->")? {
            "output" => Some(Self::Output),
            "output: soon" => Some(Self::OutputSoon),
            comment => comment.strip_prefix("file: ").map(Self::File),
        }
    }
}

/// Writes a program.
pub(crate) fn install(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The path of a program that a test needs.
pub(crate) fn found(program: &str) -> String {
    let output = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().unwrap();
    assert!(output.status.success(), "{program} is not installed");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A command below which a program has network and process ids of its own; root needs no more, others a user
/// namespace.
pub(crate) fn apart() -> Vec<&'static str> {
    let plain = vec!["unshare", "--net", "--pid", "--fork", "--kill-child"];
    let as_user = vec!["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"];
    for command in [plain, as_user] {
        let mut check = Command::new(command[0]);
        check.args(&command[1..]).args(["ip", "link", "set", "lo", "up"]);
        if check.output().is_ok_and(|output| output.status.success()) {
            return command;
        }
    }
    panic!(
        "the ports of the pages are fixed, so their examples are run in a network namespace of their own, which could not be made: \
         install iproute2 and util-linux, and run this as root or allow user namespaces (kernel.unprivileged_userns_clone=1, \
         kernel.apparmor_restrict_unprivileged_userns=0)"
    );
}

/// Removes the variables that ringway reads from a command's environment.
pub(crate) fn without_settings(command: &mut Command) {
    const PREFIXES: [&str; 7] =
        ["PROXY_", "RINGWAY_", "ACME_", "HEALTH_", "HEARTBEAT_", "LOG_", "ACCESS_LOG"];
    for (name, _) in std::env::vars_os() {
        if PREFIXES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
}
