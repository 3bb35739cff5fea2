//! Reading of all sources of a configuration into one document.

use std::sync::Arc;

use crate::finding::arrange;
use crate::reader::{Outcome, RawStatic, Reader, Report, read_document};
use crate::tree::{Parsed, Value, json, yaml};
use crate::{Finding, Place, Position, limits};

/// One text of a configuration: a file, or the document of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name in findings: the path as given, or `request`.
    pub name: Arc<str>,
    /// YAML, or JSON if its first character is `{` or `[`.
    pub text: String,
}

/// Result of reading a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The document; `None` when there is an error.
    pub document: Option<Document>,
    /// Errors and warnings, by file and position: at most [`limits::DOCUMENT_FINDINGS_MAX`], and one that
    /// counts the rest.
    pub findings: Vec<Finding>,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Values of the static sections, in the order of the text: settings of the process.
    pub statics: Vec<StaticValue>,
}

/// A scalar of a static section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticValue {
    /// JSON pointer in the words of the document: `/server/timeouts/idle`.
    pub path: Arc<str>,
    /// The text as written, without its quotes.
    pub value: Arc<str>,
    /// Position of the value.
    pub place: Place,
}

/// Reads all sources as one configuration: sections of the same name are joined. Never panics; takes about
/// 0.2 s for 1 MB, so not on a thread that others wait for.
pub fn read(sources: &[Source]) -> Reading {
    let mut findings = Vec::new();
    let mut statics = Vec::new();
    let bytes: usize = sources.iter().map(|source| source.text.len()).sum();
    if bytes > limits::DOCUMENT_BYTES_MAX || sources.len() > limits::SOURCES_MAX {
        findings.push(Finding {
            severity: crate::Severity::Error,
            code: "range",
            pointer: String::new(),
            message: format!(
                "a configuration has at most {} bytes in {} files; this one has {bytes} in {}",
                limits::DOCUMENT_BYTES_MAX,
                limits::SOURCES_MAX,
                sources.len()
            ),
            place: None,
        });
        return Reading { document: None, findings };
    }
    for source in sources {
        let outcome = read_source(source, |_| Some(()));
        findings.extend(outcome.reports.into_iter().map(|report| located(report, &source.name)));
        statics.extend(outcome.statics.into_iter().map(|value| static_value(value, &source.name)));
    }
    let is_usable = !findings.iter().any(Finding::is_error);
    Reading { document: is_usable.then_some(Document { statics }), findings: arrange(findings) }
}

fn read_source<T>(source: &Source, shape: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Outcome<T> {
    let text = source.text.as_str();
    let is_json = text.trim_start().starts_with(['{', '[']);
    let mut bytes = if is_json { text.as_bytes().to_vec() } else { Vec::new() };
    let Parsed { root, reports } =
        if is_json { json::parse_document(text, &mut bytes) } else { yaml::parse(text) };
    let start = Position { line: 1, column: 1 };
    let failed = |code, message: &str, at: Position| {
        let mut reports = reports.clone();
        if reports.is_empty() {
            reports.push(Report::error(crate::Pointer::default(), code, message.to_owned(), Some(at)));
        }
        Outcome { value: None, reports, omitted: 0, statics: Vec::new() }
    };
    match root {
        Some(node) => match &node.value {
            Value::Object(object) => {
                let mut outcome = read_document(object, node.at, shape);
                outcome.reports.extend(reports);
                outcome
            }
            Value::Null => failed("missing", "is empty", start),
            other => {
                failed("type", &format!("must be an object, not {}", other.kind()), node.at.unwrap_or(start))
            }
        },
        None => failed("missing", "is empty", start),
    }
}

fn located(report: Report, file: &Arc<str>) -> Finding {
    Finding {
        severity: report.severity,
        code: report.code,
        pointer: report.field.to_string(),
        message: report.message,
        place: report.at.map(|at| Place::new(file, at)),
    }
}

fn static_value(value: RawStatic, file: &Arc<str>) -> StaticValue {
    let at = value.at.unwrap_or(Position { line: 1, column: 1 });
    StaticValue { path: value.path.into(), value: value.value.into(), place: Place::new(file, at) }
}
