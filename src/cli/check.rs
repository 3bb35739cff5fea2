//! `ringway check`: the settings in force, their origins, and all problems at once.

use std::fmt::Write;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::config::{Reading, Settings};
use super::configuration;
use super::flags::Flags;
use super::origin::{Origin, Problem, Value};
use super::parse::{Output, Storage};
use super::setting::Role;
use super::{FAILED, OK, USAGE, machine, version};

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

impl Format {
    /// Format for the flag `--json`.
    pub(crate) fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Prints the table or the object. Exit codes: 0 fine, 1 this machine or user cannot run it, 2 settings are
/// wrong.
pub(crate) fn run(flags: &Flags, format: Format) -> ExitCode {
    let reading = configuration::load(flags).reading;
    let obstacles = reading.outcome.as_ref().map(obstacles).unwrap_or_default();
    let text = match format {
        Format::Text => table(&reading, &obstacles),
        Format::Json => object(&reading, &obstacles),
    };
    // The reader may have closed the pipe.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(match (&reading.outcome, obstacles.is_empty()) {
        (Err(_), _) => USAGE,
        (Ok(_), false) => FAILED,
        (Ok(_), true) => OK,
    })
}

/// Message of a failed start: all problems.
pub(crate) fn problem_report(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "a setting is wrong:\n".to_owned(),
        count => format!("{count} settings are wrong:\n"),
    };
    for problem in problems {
        let _ = writeln!(text, "  {problem}");
    }
    text.push_str(
        "`ringway check` shows every setting and where it comes from, `ringway --help` explains them",
    );
    text
}

/// Obstacles to a start on this machine as this user, as far as they show without trying.
fn obstacles(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    let https = settings.tls.as_ref().map(|tls| tls.https.as_slice()).unwrap_or_default();
    let listeners = [
        ("PROXY_HTTP_PORT", &settings.http[..]),
        ("PROXY_HTTPS_PORT", https),
        ("PROXY_API_PORT", &settings.api),
        ("PROXY_METRICS_ADDRESS", &settings.metrics),
    ];
    let listed = settings.listeners.iter().map(|one| (&*one.name, &one.addresses[..]));
    for (name, addresses) in listeners.into_iter().chain(listed) {
        if let Some(address) = addresses.iter().find(|address| !machine::may_listen_on(address.port())) {
            found.push(format!("{name}: {}", privileged_port(address.port())));
        }
    }
    if settings.storage == Storage::Fjall {
        // Missing folders would be made in the nearest one that exists.
        let existing = settings.db_path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        if !machine::may_write(existing) {
            let path = settings.db_path.display();
            found.push(format!(
                "PROXY_DB_PATH: {path} cannot be written: {} is not writable",
                existing.display()
            ));
        }
    }
    if let Some(tls) = &settings.tls {
        let dir = &tls.certificates.dir;
        let existing = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        if !machine::may_write(existing) {
            let (dir, existing) = (dir.display(), existing.display());
            found.push(format!("PROXY_CERT_PATH: {dir} cannot be written: {existing} is not writable"));
        }
        if let Some(files) = &tls.certificates.default_files
            && let Err(error) = ringway_certs::check_default(files, ringway_net::clock::timestamp())
        {
            found.push(format!("PROXY_TLS_CERT, PROXY_TLS_KEY: {}", ringway_control::with_causes(&error)));
        }
    }
    let files = [("LOG_OUTPUT", settings.log_output.as_ref()), ("ACCESS_LOG", settings.access_log.as_ref())];
    for (name, output) in files {
        let Some(Output::File(path)) = output else { continue };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            found.push(format!("{name}: {} is in a folder that does not exist", path.display()));
        }
    }
    if settings.driver == ringway_net::DriverChoice::IoUring
        && let Err(reason) = version::io_uring()
    {
        found.push(format!("PROXY_DRIVER: io_uring is not available here: {reason}; use auto or epoll"));
    }
    found
}

/// Message about a port that only privileged processes may bind.
pub(crate) fn privileged_port(port: u16) -> String {
    format!(
        "port {port} needs a privilege that this process does not have; start it through systemd \
         (AmbientCapabilities=CAP_NET_BIND_SERVICE), or `setcap cap_net_bind_service=+ep` on the binary, or choose \
         another port, as in `--http-port 8081`"
    )
}

fn table(reading: &Reading, obstacles: &[String]) -> String {
    let cells: Vec<[String; 3]> = reading
        .rows
        .iter()
        .map(|row| [row.setting.name.to_owned(), row.value.to_string(), row.origin.to_string()])
        .collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (names, values) = (width(0), width(1).min(VALUE_WIDTH_MAX));
    let mut text = format!("{:names$}  {:values$}  FROM\n", "SETTING", "VALUE");
    let mut group = None;
    for (row, [name, value, origin]) in reading.rows.iter().zip(&cells) {
        if group.replace(row.setting.group).is_some_and(|before| before != row.setting.group) {
            text.push('\n');
        }
        let _ = writeln!(text, "{name:names$}  {value:values$}  {origin}");
    }
    let problems = reading.outcome.as_ref().err().map(Vec::as_slice).unwrap_or_default();
    for (title, items) in [
        ("wrong", problems.iter().map(ToString::to_string).collect::<Vec<_>>()),
        ("cannot work here", obstacles.to_vec()),
        ("warnings", reading.warnings.iter().map(ToString::to_string).collect()),
    ] {
        if !items.is_empty() {
            let _ = writeln!(text, "\n{title}:");
            items.iter().for_each(|item| {
                let _ = writeln!(text, "  {item}");
            });
        }
    }
    if problems.is_empty() && obstacles.is_empty() {
        text.push_str("\nringway can start with this\n");
    }
    text
}

fn object(reading: &Reading, obstacles: &[String]) -> String {
    let settings: Vec<_> = reading
        .rows
        .iter()
        .map(|row| {
            let value = match &row.value {
                Value::Shown(text) => Some(text),
                Value::Hidden | Value::Absent | Value::Invalid => None,
            };
            let origin = match &row.origin {
                Origin::Flag(_) => "flag",
                Origin::Environment(_) => "environment",
                Origin::File { .. } => "configuration",
                Origin::Default => "default",
            };
            json!({
                "name": row.setting.name,
                "env": row.setting.own_name().to_string(),
                "flag": row.setting.flag.map(|flag| format!("--{flag}")),
                "value": value,
                "secret": row.setting.role == Role::Secret,
                "set": matches!(row.value, Value::Shown(_) | Value::Hidden),
                "origin": origin,
                "from": (row.origin != Origin::Default).then(|| row.origin.to_string()),
            })
        })
        .collect();
    let problems = reading.outcome.as_ref().err().map(Vec::as_slice).unwrap_or_default();
    let strings = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>();
    let value = json!({
        "ok": problems.is_empty() && obstacles.is_empty(),
        "settings": settings,
        "wrong": strings(&mut problems.iter().map(ToString::to_string)),
        "obstacles": obstacles,
        "warnings": strings(&mut reading.warnings.iter().map(ToString::to_string)),
    });
    format!("{value:#}\n")
}

/// Columns of a value; a longer one moves only its own line.
const VALUE_WIDTH_MAX: usize = 48;
