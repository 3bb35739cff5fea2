//! The configuration that the command line names, read before anything is bound.
//!
//! ```text
//! --config, --static-config ─► files ─► documents ─► static values ─┐
//!                                           │                       ├─► Settings, or all problems
//! flags, environment ───────────────────────┼───────────────────────┘
//!                                           └─► routes, pools and policies, for the control plane
//! ```

use std::sync::Arc;

use ringway_config::{Finding, Source};
use serde_json::json;

use super::config::{self, Configuration, DefaultBackend, Environment, Machine};
use super::flags::Flags;
use super::origin::{Problem, Warning};
use super::parse::OnBadConfig;
use super::statics::Statics;

/// Settings, and the configuration that some of them come from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings, with all problems of the configuration among theirs.
    pub(crate) reading: config::Reading,
    pub(crate) configuration: Option<Configuration>,
    /// Result of reading it; absent without one, and when its files cannot be read.
    pub(crate) documents: Option<ringway_config::Reading>,
}

/// Reads the configuration and all settings.
pub(crate) fn load(flags: &Flags) -> Loaded {
    load_from(flags, &config::environment(std::env::vars_os()), &Machine::here())
}

/// [`load`] in an environment.
pub(crate) fn load_from(flags: &Flags, environment: &Environment, machine: &Machine) -> Loaded {
    let configuration = config::configuration(flags, environment);
    let (documents, unreadable) = match configuration.as_ref().map(read) {
        None => (None, None),
        Some(Ok(documents)) => (Some(documents), None),
        Some(Err(error)) => (None, Some(error)),
    };
    let statics = documents.as_ref().map(|documents| Statics::new(&documents.statics)).unwrap_or_default();
    let mut reading = config::read(flags, environment, statics, machine);
    let findings = documents.iter().flat_map(|documents| &documents.findings);
    let (errors, warnings): (Vec<&Finding>, Vec<_>) = findings.partition(|finding| finding.is_error());
    reading.warnings.extend(warnings.into_iter().map(|finding| Warning::Finding(finding.to_string())));
    let mut problems: Vec<String> = errors.into_iter().map(ToString::to_string).collect();
    problems.extend(unreadable);
    problems.extend(
        documents.as_ref().and_then(|documents| more_than_settings(configuration.as_ref()?, documents)),
    );
    if !problems.is_empty() {
        refuse(&mut reading, problems);
    }
    Loaded { reading, configuration, documents }
}

/// Reads the documents.
fn read(configuration: &Configuration) -> Result<ringway_config::Reading, String> {
    let (Configuration::Full(path) | Configuration::Static(path)) = configuration;
    let sources =
        ringway_control::read_sources(path).map_err(|error| ringway_control::with_causes(&error))?;
    Ok(ringway_config::read(&sources))
}

/// Mistake of a static configuration with routes, pools or policies, which would be ignored.
fn more_than_settings(configuration: &Configuration, documents: &ringway_config::Reading) -> Option<String> {
    let Configuration::Static(path) = configuration else { return None };
    let sections = documents.document.as_ref()?.sections;
    let has_more = sections != ringway_config::Sections::default();
    has_more.then(|| {
        format!(
            "{}: has routes, pools or policies, but --static-config takes settings of the process only; give it as \
             --config, or move them to a configuration that is applied by the admin API",
            path.display()
        )
    })
}

/// Adds the mistakes of the configuration to the settings: as problems, or as warnings where the last good
/// configuration is used in its place.
fn refuse(reading: &mut config::Reading, mistakes: Vec<String>) {
    match &mut reading.outcome {
        Ok(settings) if settings.on_bad_config == OnBadConfig::LastGood => {
            reading.warnings.extend(mistakes.into_iter().map(Warning::BadConfiguration));
        }
        Ok(_) => reading.outcome = Err(mistakes.into_iter().map(Problem::Finding).collect()),
        Err(problems) => {
            // The mistakes first: settings may be wrong only because a part could not be read.
            problems.splice(0..0, mistakes.into_iter().map(Problem::Finding));
        }
    }
}

impl DefaultBackend {
    /// The document that makes a route of it.
    pub(crate) fn source(&self) -> Source {
        let policy = self.timeout.map(|timeout| json!({ "timeout": format!("{}ms", timeout.as_millis()) }));
        let mut route = json!({ "id": BACKEND_ID, "pool": BACKEND_ID });
        if let Some(policy) = policy {
            route["policy"] = policy;
        }
        let pool = json!({ "id": BACKEND_ID, "endpoints": [{ "address": self.target.to_string() }] });
        let text = json!({ "routes": [route], "pools": [pool] }).to_string();
        Source { name: Arc::from("DEFAULT_BACKEND"), text }
    }
}

/// ID of the default backend's route and pool.
const BACKEND_ID: &str = "default-backend";
