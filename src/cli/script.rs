//! `ringway script`: Lua scripts without a running proxy.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ringway_config::{Document, Finding, ScriptPaths, Source};
use ringway_wire::path::Slashes;
use serde_json::json;

use super::{FAILED, OK, USAGE};

/// Lua scripts.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ScriptCommand {
    /// Find mistakes in scripts, and list their routes
    ///
    /// Compiles and loads a script, or all scripts of a folder, as a save does. Pools are not looked up: they
    /// stand in the configuration, which `ringway config validate` checks with its scripts. Exit codes: 0
    /// fine, 1 mistakes, 2 the scripts cannot be read.
    Check {
        /// A script, or the folder with the scripts
        path: PathBuf,
    },
}

impl ScriptCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> ExitCode {
        let Self::Check { path } = self;
        let sources = match read(&path) {
            Ok(sources) => sources,
            Err(problem) => {
                eprintln!("ringway: {problem}");
                return ExitCode::from(USAGE);
            }
        };
        let reading = ringway_config::read(&sources);
        let mut mistakes: Vec<Finding> = reading.findings;
        if let Some(document) = &reading.document {
            let of_scripts = ringway_control::check_routes(document, Slashes::default());
            mistakes.extend(of_scripts.into_iter().filter(|finding| finding.code != "reference"));
        }
        mistakes.retain(Finding::is_error);
        for mistake in &mistakes {
            println!("{mistake}");
        }
        match (&reading.document, mistakes.is_empty()) {
            (Some(document), true) => {
                list_routes(document);
                ExitCode::from(OK)
            }
            _ => ExitCode::from(FAILED),
        }
    }
}

/// A document that names the scripts, and the scripts.
fn read(path: &Path) -> Result<Vec<Source>, String> {
    let mut paths = ScriptPaths::default();
    let name = path.to_string_lossy();
    let section = match path.is_dir() {
        true => {
            paths.folders.insert(path.to_owned());
            json!({ "dir": name })
        }
        false => {
            let id = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
            paths.files.insert(path.to_owned());
            json!([{ "id": id, "file": name }])
        }
    };
    let text = json!({ "version": "v1", "scripts": section }).to_string();
    let mut sources = vec![Source { name: "arguments".into(), text }];
    let scripts = ringway_control::read_scripts(&paths);
    sources.extend(scripts.map_err(|error| ringway_control::with_causes(&error))?);
    if sources.len() == 1 {
        return Err(format!("{name} is no script, and has none"));
    }
    Ok(sources)
}

#[cfg(feature = "lua")]
fn list_routes(document: &Document) {
    let scripts = document.set.scripts.iter().map(|script| &**script);
    let Ok(bundle) = ringway_traffic::scripts::check(scripts) else { return };
    let declarations = bundle.declarations();
    println!("{} script(s), {} route(s)", declarations.scripts.len(), declarations.routes.len());
    for route in &declarations.routes {
        let method = route.method.map_or("ANY", |method| method.as_str());
        let host = route.host.as_ref().map(ToString::to_string).unwrap_or_default();
        println!("{method:<8}{host}{}  {}", route.pattern, route.place);
    }
}

#[cfg(not(feature = "lua"))]
fn list_routes(document: &Document) {
    println!("{} script(s)", document.set.scripts.len());
}
