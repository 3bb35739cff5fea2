//! Findings about a configuration, as text: a line each, and on a terminal the line of the document with a
//! mark.

use std::fmt::Write;

use ringway_config::{Finding, Source};
use serde::{Deserialize, Serialize};

use super::super::text::{Style, Tone, escape};

/// Finding as the API sends it and `--json` prints it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct FindingView {
    pub(super) severity: String,
    pub(super) code: String,
    pub(super) pointer: String,
    pub(super) message: String,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        let place = finding.place.as_ref();
        Self {
            severity: finding.severity.as_str().to_owned(),
            code: finding.code.to_owned(),
            pointer: finding.pointer.clone(),
            message: finding.message.clone(),
            file: place.map(|place| place.file.to_string()),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
        }
    }
}

impl FindingView {
    /// Whether the configuration cannot be used because of it.
    pub(super) fn is_error(&self) -> bool {
        self.severity != "warning"
    }

    /// Whether it stands for those that are not shown, and says their number.
    pub(super) fn is_rest(&self) -> bool {
        self.code == "more"
    }

    /// `file:line:column: error: pointer message`.
    fn line(&self, style: Style) -> String {
        let mut text = String::new();
        if let Some(file) = &self.file {
            let _ = write!(text, "{}:", escape(file));
            for number in [self.line, self.column].into_iter().flatten() {
                let _ = write!(text, "{number}:");
            }
            text.push(' ');
        }
        let (word, tone) = if self.is_error() { ("error", Tone::Bad) } else { ("warning", Tone::Warning) };
        let _ = write!(text, "{}: ", style.paint(tone, word));
        if !self.pointer.is_empty() {
            let _ = write!(text, "{} ", escape(&self.pointer));
        }
        text.push_str(&escape(&self.message));
        text
    }
}

/// Renders findings; with the lines of their documents where the output is a terminal.
pub(super) fn render(findings: &[FindingView], sources: &[Source], style: Style) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&finding.line(style));
        text.push('\n');
        if style.is_terminal()
            && let Some(excerpt) = excerpt(finding, sources, style)
        {
            text.push_str(&excerpt);
        }
    }
    text
}

/// The line of the document, and a mark below the value.
fn excerpt(finding: &FindingView, sources: &[Source], style: Style) -> Option<String> {
    let file = finding.file.as_deref()?;
    let source = sources.iter().find(|source| &*source.name == file)?;
    let number = finding.line?;
    let line = source.text.lines().nth(usize::try_from(number).ok()?.checked_sub(1)?)?;
    let at = usize::try_from(finding.column?).ok()?.checked_sub(1)?;
    // From near the mark on, where the line is longer than the terminal.
    let width = style.width.unwrap_or(80).saturating_sub(GUTTER).max(20);
    let start = if at + MARGIN > width { at.saturating_sub(width / 2) } else { 0 };
    // A column of the text each: what is wider, or moves the cursor, would misplace the mark.
    let plain = |c: char| {
        if c.is_control() || super::super::text::escape(&c.to_string()).len() > c.len_utf8() {
            ' '
        } else {
            c
        }
    };
    let shown: String = line.chars().skip(start).take(width).map(plain).collect();
    let before: String = shown.chars().take(at.saturating_sub(start)).collect();
    let indent = " ".repeat(super::super::text::columns(&before));
    let tone = if finding.is_error() { Tone::Bad } else { Tone::Warning };
    Some(format!("{number:>6} | {shown}\n       | {indent}{}\n", style.paint(tone, "^")))
}

/// Counts findings: `2 errors, 1 warning`; empty without any. Those that are not shown count as one or more.
pub(super) fn counted(findings: &[FindingView]) -> String {
    let shown: Vec<&FindingView> = findings.iter().filter(|finding| !finding.is_rest()).collect();
    let errors = shown.iter().filter(|finding| finding.is_error()).count();
    let plural = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{count} {word}s")),
    };
    let parts = [plural(errors, "error"), plural(shown.len() - errors, "warning")];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    match shown.len() < findings.len() {
        true => format!("more than {text}"),
        false => text,
    }
}

/// Columns before an excerpt.
const GUTTER: usize = 9;
/// Columns that are shown behind a mark.
const MARGIN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line: u32, column: u32) -> FindingView {
        FindingView {
            severity: "error".into(),
            pointer: "/routes/0/hosts".into(),
            message: "is not known here; did you mean host?".into(),
            file: Some("c.yaml".into()),
            line: Some(line),
            column: Some(column),
            ..FindingView::default()
        }
    }

    fn sources(text: &str) -> [Source; 1] {
        [Source { name: "c.yaml".into(), text: text.into() }]
    }

    const TERMINAL: Style = Style { width: Some(80), colour: false };
    const LINE: &str = "c.yaml:2:5: error: /routes/0/hosts is not known here; did you mean host?\n";

    #[test]
    fn a_pipe_gets_one_line_for_each_finding() {
        let sources = sources("routes:\n  - hosts: a\n");
        assert_eq!(render(&[finding(2, 5)], &sources, Style::PLAIN), LINE);
    }

    #[test]
    fn a_terminal_shows_the_value() {
        let text = render(&[finding(2, 5)], &sources("routes:\n  - hosts: a\n"), TERMINAL);
        assert_eq!(text, format!("{LINE}     2 |   - hosts: a\n       |     ^\n"));
        // Tabs and control characters have one column; wide characters have two.
        let text = render(&[finding(1, 4)], &sources("\t\u{1b}漢x\n"), TERMINAL);
        assert!(text.ends_with("     1 |   漢x\n       |     ^\n"), "{text}");
    }

    #[test]
    fn a_long_line_is_shown_around_the_value() {
        let line = format!("{}target{}", "a".repeat(500), "b".repeat(500));
        let text = render(&[finding(1, 501)], &sources(&line), TERMINAL);
        let [_, shown, mark] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(shown.chars().count() <= 80, "{shown}");
        let at = mark.find('^').unwrap_or_default();
        assert!(shown[at..].starts_with("target"), "{text}");
    }

    #[test]
    fn a_place_that_is_not_there_is_left_out() {
        for (line, column) in [(0, 0), (9, 1), (1, 0)] {
            let text = render(&[finding(line, column)], &sources("a: b\n"), TERMINAL);
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }

    #[test]
    fn findings_are_counted() {
        let warning = FindingView { severity: "warning".into(), ..finding(1, 1) };
        assert_eq!(counted(&[]), "");
        assert_eq!(counted(&[finding(1, 1), warning.clone(), finding(1, 1)]), "2 errors, 1 warning");
        assert_eq!(counted(&[warning]), "1 warning");
        let rest = FindingView { code: "more".into(), ..FindingView::default() };
        assert_eq!(counted(&[finding(1, 1), finding(1, 1), rest]), "more than 2 errors");
    }
}
