//! Findings: mistakes and warnings about a document, with their places.

use std::fmt;

use crate::{Place, limits};

/// Weight of a [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// The document can be used; something in it has no effect, or is probably not meant.
    Warning,
}

impl Severity {
    /// The word for programs: `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One mistake or warning.
///
/// `Display` prints one line: `c.yaml:12:5: /routes/0/hosts is not known here; did you mean host?`, and
/// `warning: ` before the pointer of a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Weight.
    pub severity: Severity,
    /// Kind, for programs: `syntax`, `missing`, `unknown`, `type`, `invalid`, `range`, `conflict`,
    /// `duplicate`, `reference`, `unsupported` or `more`.
    pub code: &'static str,
    /// JSON pointer into the document (RFC 6901); empty for the whole document.
    pub pointer: String,
    /// Predicate of a sentence whose subject is the value: "must be a number, not text". For people.
    pub message: String,
    /// Place of the value, if its position is known.
    pub place: Option<Place>,
}

impl Finding {
    /// Whether the document cannot be used because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Whether it only counts those that were left out.
    pub fn is_rest(&self) -> bool {
        self.code == REST
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.pointer.is_empty() {
            // A key is any text: in a terminal or a log it must not forge a line.
            let is_harmless =
                |c: char| !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            for c in self.pointer.chars() {
                match is_harmless(c) {
                    true => write!(f, "{c}")?,
                    false => write!(f, "{}", c.escape_unicode())?,
                }
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

/// Code of the finding that counts those that are left out.
const REST: &str = "more";

/// Sorts findings by place and cuts them to [`limits::DOCUMENT_FINDINGS_MAX`], errors before warnings; a last
/// finding counts the rest and `omitted` further ones.
pub(crate) fn arrange(mut findings: Vec<Finding>, omitted: usize) -> Vec<Finding> {
    findings.sort_by(|a, b| (a.severity, &a.place).cmp(&(b.severity, &b.place)));
    let most = limits::DOCUMENT_FINDINGS_MAX.min(findings.len());
    let rest = findings.split_off(most).len() + omitted;
    findings.sort_by(|a, b| a.place.cmp(&b.place));
    if rest > 0 {
        let severity = findings.iter().map(|finding| finding.severity).min().unwrap_or(Severity::Error);
        let (pointer, message) = (String::new(), format!("and {rest} more"));
        findings.push(Finding { severity, code: REST, pointer, message, place: None });
    }
    findings
}
