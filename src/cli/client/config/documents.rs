//! Documents of the command line: files read here, for a check without a server or to be sent to one.

use std::path::Path;

use ringway_config::{Finding, Source};
use ringway_wire::path::Slashes;
use serde_json::{Value, json};

use super::findings::FindingView;
use crate::cli::client::Failure;
use crate::cli::config::{self, Environment, Machine};
use crate::cli::flags::Flags;
use crate::cli::origin::Problem;
use crate::cli::statics::Statics;

/// Reads the documents of a file or a folder; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Vec<Source>, Failure> {
    if path == Path::new("-") {
        let text = std::io::read_to_string(std::io::stdin().lock())
            .map_err(|error| Failure::File { path: "standard input".into(), error })?;
        return Ok(vec![Source { name: "-".into(), text }]);
    }
    ringway_control::read_sources(path).map_err(|error| Failure::Usage(ringway_control::with_causes(&error)))
}

/// Reads header fields, one a line.
pub(super) fn read_fields(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let text = match path == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin().lock()),
        false => std::fs::read_to_string(path),
    };
    let text = text.map_err(|error| Failure::File { path: name.clone(), error })?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines
        .map(|(line, number)| match super::header(line) {
            Ok(field) => Ok(field),
            // The line may be a credential, which no error repeats.
            Err(_) => {
                Err(Failure::Usage(format!("{name}, line {number}: must be a name, a colon and a value")))
            }
        })
        .collect()
}

/// Documents as the API takes them: their texts, whose positions its findings name.
pub(super) fn content(sources: &[Source]) -> Value {
    sources.iter().map(|source| json!({ "name": &*source.name, "text": source.text })).collect()
}

/// Result of a check without a server.
pub(super) struct Checked {
    pub(super) findings: Vec<FindingView>,
    pub(super) document: Option<ringway_config::Document>,
}

/// Checks documents as a start would, by themselves: without flags and environment.
pub(super) fn check(sources: &[Source]) -> Checked {
    let reading = ringway_config::read(sources);
    let mut findings: Vec<FindingView> = reading.findings.iter().map(FindingView::from).collect();
    let statics = Statics::new(&reading.statics);
    let settings = config::read(&Flags::default(), &Environment::new(), statics, &Machine::here());
    if let Err(problems) = &settings.outcome {
        let of_documents = problems.iter().filter_map(Problem::finding);
        findings.extend(of_documents.map(|finding: Finding| FindingView::from(&finding)));
    }
    if let Some(document) = &reading.document {
        let of_routes = ringway_control::check_routes(document, Slashes::default());
        let of_credentials = ringway_control::check_credentials(document);
        findings.extend(of_routes.iter().chain(&of_credentials).map(FindingView::from));
    }
    findings.sort_by(|a, b| {
        (a.is_rest(), &a.file, a.line, a.column).cmp(&(b.is_rest(), &b.file, b.line, b.column))
    });
    Checked { findings, document: reading.document }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_further_findings_comes_last() {
        let text = format!("routes:\n{}", "  - {idd: x}\n".repeat(200));
        let findings = check(&[Source { name: "c.yaml".into(), text }]).findings;
        let (last, first) = findings.split_last().unwrap();
        assert!(last.is_rest(), "{last:?}");
        assert!(first.iter().all(|finding| !finding.is_rest() && finding.line.is_some()));
    }
}
