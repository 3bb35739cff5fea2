//! The quick starts of `docs/`, word by word: files as they are printed, commands in order in one shell,
//! outputs as they are promised.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::kit::eventually_within;
use crate::pages::{Block, Role, apart, blocks, found, install, without_settings};

/// Longest time for a block to end, and to print what is promised "soon": the slowest step is a start with a
/// new store on a busy machine.
const BLOCK_TIME: Duration = Duration::from_secs(60);

/// A shell with a network of its own, in an empty folder.
struct Shell {
    child: Child,
    commands: ChildStdin,
    home: tempfile::TempDir,
    count: usize,
}

impl Shell {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (tools, work) = (home.path().join("tools"), home.path().join("work"));
        for folder in [&tools, &work] {
            fs::create_dir(folder).unwrap();
        }
        let binary = env!("CARGO_BIN_EXE_ringway");
        install(&tools, "ringway", &format!("#!/bin/sh\nexec '{binary}' \"$@\"\n"));
        let curl = found("curl");
        install(
            &tools,
            "curl",
            &format!("#!/bin/sh\nexec {curl} --silent --show-error --max-time 60 \"$@\"\n"),
        );
        let apart = apart();
        let mut command = Command::new(apart[0]);
        without_settings(&mut command);
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
        command.args(&apart[1..]).arg("bash").current_dir(&work);
        // Not the machine's store and certificates.
        command.env("HOME", home.path()).env("PATH", path).env("RINGWAY_DB_PATH", home.path().join("store"));
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let commands = child.stdin.take().unwrap();
        let mut shell = Self { child, commands, home, count: 0 };
        shell.run("ip link set lo up");
        shell
    }

    fn folder(&self) -> std::path::PathBuf {
        self.home.path().join("work")
    }

    /// Runs commands in the shell itself. Returns the exit code of the last one and all output.
    fn run(&mut self, text: &str) -> (i32, String) {
        self.count += 1;
        let place = |kind: &str| self.home.path().join(format!("{kind}-{}", self.count));
        let (output, code, unfinished) = (place("output"), place("code"), place("unfinished"));
        let (output, code, unfinished) = (&output, &code, &unfinished);
        let script = format!(
            "{{\n{text}\n}} > '{}' 2>&1 < /dev/null\necho $? > '{}'\nmv '{}' '{}'\n",
            output.display(),
            unfinished.display(),
            unfinished.display(),
            code.display()
        );
        self.commands.write_all(script.as_bytes()).unwrap();
        let code =
            eventually_within(BLOCK_TIME, &format!("the end of {text:?}"), || fs::read_to_string(code).ok());
        (code.trim().parse().unwrap(), fs::read_to_string(output).unwrap())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The first process of its own process ids: the kernel ends the others with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Follows a page of `docs/` from its top to its end.
fn follow(name: &str) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap();
    let mut shell = Shell::start();
    let blocks: Vec<Block<'_>> = blocks(&page);
    let mut outputs = 0;
    for (index, block) in blocks.iter().enumerate() {
        match (block.role, block.language) {
            (Role::File(name), _) => fs::write(shell.folder().join(name), &block.text).unwrap(),
            (Role::Plain, "sh") if block.exempted.is_none() => {
                let promised =
                    blocks.get(index + 1).filter(|next| matches!(next.role, Role::Output | Role::OutputSoon));
                outputs += usize::from(promised.is_some());
                run(&mut shell, block, promised);
            }
            _ => {}
        }
    }
    assert!(outputs > 2, "the page promises {outputs} outputs");
}

fn run(shell: &mut Shell, block: &Block<'_>, promised: Option<&Block<'_>>) {
    let deadline = Instant::now() + BLOCK_TIME;
    loop {
        let (code, output) = shell.run(&block.text);
        let Some(promised) = promised else {
            assert_eq!(code, 0, "line {}: {output}", block.line);
            return;
        };
        let Err(missing) = compare(&promised.text, &output) else { return };
        let is_over = promised.role == Role::Output || Instant::now() > deadline;
        assert!(!is_over, "line {}: {missing:?} is not in:\n{output}", promised.line);
    }
}

/// Finds the promised lines in an output, in their order. `…` is any text within a line.
///
/// # Errors
/// The first line that is not there.
fn compare<'a>(promised: &'a str, output: &str) -> Result<(), &'a str> {
    let mut lines = output.lines();
    for wanted in promised.lines().filter(|line| !line.trim().is_empty()) {
        if !lines.any(|line| is_like(wanted.trim(), line.trim())) {
            return Err(wanted);
        }
    }
    Ok(())
}

fn is_like(wanted: &str, line: &str) -> bool {
    let mut parts = wanted.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[test]
fn the_quick_start_of_the_gateway_holds() {
    follow("quickstart-gateway.md");
}

#[test]
fn the_quick_start_of_the_reverse_proxy_holds() {
    follow("quickstart-proxy.md");
}

#[test]
fn the_quick_start_of_tenants_holds() {
    follow("quickstart-tenants.md");
}

#[test]
fn every_example_is_valid_by_itself() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in [
        "examples/config",
        "examples/config/environments",
        "src/config/tests/documents/gateway",
        "src/config/tests/documents/proxy",
    ] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")));
    }
    // Parts of documents, which name what they leave out, or leave it to the reader.
    files.retain(|file| {
        !["dynamic", "middleware", "router", "tls", "traffic_management"]
            .iter()
            .any(|part| file.file_stem().is_some_and(|name| name == *part))
            && !file.ends_with("gateway/cache.yaml")
    });
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        without_settings(&mut command);
        let output = command.args(["config", "validate", "--json"]).arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let findings = report["findings"].as_array().unwrap();
        // Sections of later versions, and a setting that needs another one: nothing else.
        let is_expected = |finding: &serde_json::Value| match finding["code"].as_str() {
            Some("unsupported") => finding["line"].as_u64() > Some(0),
            code => code == Some("setting") && finding["severity"] == "warning",
        };
        let is_valid = output.status.success() && report["valid"] == true;
        assert!(is_valid && findings.iter().all(is_expected), "{}: {text}", file.display());
    }
}

#[test]
fn a_promised_line_may_have_gaps() {
    for (wanted, line) in [("a", "a"), ("a … c", "a b c"), ("… of …", "x of y"), ("a…", "abc"), ("…", "")]
    {
        assert!(is_like(wanted, line), "{wanted:?} {line:?}");
    }
    for (wanted, line) in [("a", "ab"), ("a…c", "ab"), ("…b", "bc"), ("a…b…c", "acb")] {
        assert!(!is_like(wanted, line), "{wanted:?} {line:?}");
    }
    assert_eq!(compare("a\n…c\n", "x\na\nb\nbc\n"), Ok(()));
    assert_eq!(compare("b\na\n", "a\nb\n"), Err("a"));
}
