//! Reports of the reader and of the parsers, before they have a source.

use crate::{Pointer, Position, Severity};

/// One mistake or warning about a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Weight.
    pub severity: Severity,
    /// See [`Finding::code`](crate::Finding::code).
    pub code: &'static str,
    /// See [`Finding::message`](crate::Finding::message).
    pub message: String,
    /// The value's path; for a value of the path or the query its name.
    pub field: Pointer,
    /// Part of the input that has the value.
    pub origin: Origin,
    /// Position of the value, if the input has positions.
    pub at: Option<Position>,
}

/// Part of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The document, or the body of a request.
    Body,
    /// The path or the query of a request.
    Address,
}

impl Report {
    /// Creates the report of a mistake in the body.
    pub fn error(field: Pointer, code: &'static str, message: String, at: Option<Position>) -> Self {
        Self { severity: Severity::Error, code, message, field, origin: Origin::Body, at }
    }
}

/// Reports of one reading.
#[derive(Default)]
pub(super) struct Log {
    pub(super) reports: Vec<Report>,
    /// Number of errors, also of those that are not kept.
    pub(super) errors: usize,
    /// Reports that are not kept.
    pub(super) omitted: usize,
    /// Members without effect: whether they are sections of the document, name, index of the report, and
    /// occurrences.
    unsupported: Vec<(bool, &'static str, usize, usize)>,
}

impl Log {
    pub(super) fn push(&mut self, report: Report) {
        self.errors += usize::from(report.severity == Severity::Error);
        match self.reports.len() < REPORTS_MAX {
            true => self.reports.push(report),
            false => self.omitted += 1,
        }
    }

    /// Counts errors that are not kept.
    pub(super) fn omit(&mut self, errors: usize) {
        self.errors += errors;
        self.omitted += errors;
    }

    /// Warns about a member that this version knows and does not support: once for all of its name, and once
    /// for a section of the document.
    pub(super) fn warn_unsupported(&mut self, name: &'static str, field: Pointer, at: Option<Position>) {
        let key = (field.depth() == 1, name);
        if let Some((.., count)) = self.unsupported.iter_mut().find(|known| (known.0, known.1) == key) {
            *count += 1;
            return;
        }
        self.unsupported.push((key.0, name, self.reports.len(), 1));
        self.push(Report {
            severity: Severity::Warning,
            code: "unsupported",
            message: "is not supported by this version and has no effect".to_owned(),
            field,
            origin: Origin::Body,
            at,
        });
    }

    /// Adds to each warning about members without effect how many there are.
    pub(super) fn finish(&mut self) {
        for (.., index, count) in self.unsupported.drain(..) {
            if count > 1
                && let Some(report) = self.reports.get_mut(index)
            {
                report.message.push_str(&format!("; there are {} more of this name", count - 1));
            }
        }
    }
}

/// Reports kept of one reading: more than are shown, so that the first of them by position are among these.
const REPORTS_MAX: usize = 1_000;
