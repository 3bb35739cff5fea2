//! The configuration that the command line names, read before anything is bound.
//!
//! ```text
//! --config, --static-config ─► files ─► documents ─► static values ─┐
//!                                           │                       ├─► Settings, or all problems
//! flags, environment ───────────────────────┼───────────────────────┘
//!                                           └─► routes, pools and policies, for the control plane
//! ```

use std::path::Path;
use std::sync::Arc;

use ringway::model::ForwardSpec;
use ringway::{ConfigurationSettings, OnBadConfig, Start};
use ringway_config::{Finding, Sections, Severity, Source};
use serde_json::json;

use super::config::{self, Configuration, DefaultBackend, Environment, Machine};
use super::flags::Flags;
use super::origin::{Problem, Warning};
use super::parse;
use super::statics::Statics;

/// Settings, and the configuration that some of them come from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings, with all problems of the configuration among theirs.
    pub(crate) reading: config::Reading,
    /// The configuration for the control plane; without mistakes, or for a start with the last good one.
    pub(crate) configuration: ConfigurationSettings,
    /// The forward proxy.
    pub(crate) forward: Option<Arc<ForwardSpec>>,
}

/// The section `forward` of a file or folder, as it is now; `None` where it cannot be read.
pub(crate) fn forward_of(path: &Path) -> Option<Arc<ForwardSpec>> {
    let sources = ringway_control::read_sources(path).ok()?;
    ringway_config::read(&sources).document?.forward
}

/// Documents as they were read.
struct Documents {
    sources: Vec<Source>,
    reading: ringway_config::Reading,
}

/// Reads the configuration and all settings.
pub(crate) fn load(flags: &Flags) -> Loaded {
    load_from(flags, &config::environment(std::env::vars_os()), &Machine::here())
}

/// [`load`] in an environment.
pub(crate) fn load_from(flags: &Flags, environment: &Environment, machine: &Machine) -> Loaded {
    let named = config::configuration(flags, environment);
    let fixed: Vec<Source> =
        config::default_backend(flags, environment).iter().map(DefaultBackend::source).collect();
    let (documents, mut mistakes) = match read(named.as_ref(), &fixed) {
        Ok(documents) => (documents, Vec::new()),
        Err(message) => (None, vec![mistake("unreadable", message)]),
    };
    let statics = documents.as_ref().map(|documents| documents.reading.statics.clone()).unwrap_or_default();
    let mut reading = config::read(flags, environment, Statics::new(&statics), machine);

    let (errors, warnings): (Vec<Finding>, Vec<_>) = match &documents {
        Some(documents) => documents.reading.findings.iter().cloned().partition(Finding::is_error),
        None => (Vec::new(), Vec::new()),
    };
    reading.warnings.extend(warnings.iter().map(|finding| Warning::Finding(finding.to_string())));
    mistakes.extend(errors);
    if let (Some(Configuration::Static(path)), Some(documents)) = (&named, &documents) {
        mistakes.extend(more_than_settings(path, documents));
    }
    refuse(&mut reading, &mistakes);

    let settings = reading.outcome.as_ref().ok();
    let path = match named {
        Some(Configuration::Full(path)) => Some(path),
        Some(Configuration::Static(_)) | None => None,
    };
    let document = documents.as_ref().and_then(|documents| documents.reading.document.as_ref());
    let forward = document.and_then(|document| document.forward.clone());
    let start = match documents {
        _ if !mistakes.is_empty() => Start::LastGood(mistakes),
        Some(Documents { sources, reading }) if path.is_some() || !fixed.is_empty() => reading
            .document
            .map_or(Start::Empty, |document| Start::Documents { sources, document: Arc::new(document) }),
        Some(_) | None => Start::Empty,
    };
    let configuration = ConfigurationSettings {
        path,
        fixed,
        is_watched: settings.is_some_and(|settings| settings.watches_config),
        statics,
        start,
        on_bad: match settings.map(|settings| settings.on_bad_config) {
            Some(parse::OnBadConfig::LastGood) => OnBadConfig::LastGood,
            Some(parse::OnBadConfig::Fail) | None => OnBadConfig::Fail,
        },
    };
    Loaded { reading, configuration, forward }
}

/// Reads the documents: the fixed ones, then those of the files. `None` without any.
fn read(named: Option<&Configuration>, fixed: &[Source]) -> Result<Option<Documents>, String> {
    let mut sources = fixed.to_vec();
    if let Some(Configuration::Full(path) | Configuration::Static(path)) = named {
        let files = ringway_control::read_sources(path);
        sources.extend(files.map_err(|error| ringway_control::with_causes(&error))?);
    }
    let reading = (!sources.is_empty()).then(|| ringway_config::read(&sources));
    Ok(reading.map(|reading| Documents { sources, reading }))
}

/// Mistake of a static configuration with routes, pools or policies, which would be ignored.
fn more_than_settings(path: &Path, documents: &Documents) -> Option<Finding> {
    let files = documents.sources.iter().filter(|source| &*source.name != BACKEND_NAME).cloned();
    let reading = ringway_config::read(&files.collect::<Vec<_>>());
    let has_more = reading.document?.sections != Sections::default();
    has_more.then(|| {
        mistake(
            "unsupported",
            format!(
                "{}: has routes, pools or policies, but --static-config takes settings of the process only; give it \
                 as --config, or move them to a configuration that is applied by the admin API",
                path.display()
            ),
        )
    })
}

/// A mistake of the whole configuration.
fn mistake(code: &'static str, message: String) -> Finding {
    Finding { severity: Severity::Error, code, pointer: String::new(), message, place: None }
}

/// Adds the mistakes of the configuration to the settings: as problems, or as warnings where the last good
/// configuration is used in its place.
fn refuse(reading: &mut config::Reading, mistakes: &[Finding]) {
    if mistakes.is_empty() {
        return;
    }
    let mistakes = mistakes.iter().map(ToString::to_string);
    match &mut reading.outcome {
        Ok(settings) if settings.on_bad_config == parse::OnBadConfig::LastGood => {
            reading.warnings.extend(mistakes.map(Warning::BadConfiguration));
        }
        Ok(_) => reading.outcome = Err(mistakes.map(Problem::Finding).collect()),
        Err(problems) => {
            // The mistakes first: settings may be wrong only because a part could not be read.
            problems.splice(0..0, mistakes.map(Problem::Finding));
        }
    }
}

impl DefaultBackend {
    /// The document that makes a route of it.
    fn source(&self) -> Source {
        let mut route = json!({ "id": BACKEND_ID, "pool": BACKEND_ID });
        if let Some(timeout) = self.timeout {
            route["policy"] = json!({ "timeout": format!("{}ms", timeout.as_millis()) });
        }
        let pool = json!({ "id": BACKEND_ID, "endpoints": [{ "address": self.target.to_string() }] });
        let text = json!({ "routes": [route], "pools": [pool] }).to_string();
        Source { name: BACKEND_NAME.into(), text }
    }
}

/// ID of the default backend's route and pool.
const BACKEND_ID: &str = "default-backend";
/// Name of its document in findings.
const BACKEND_NAME: &str = "DEFAULT_BACKEND";
