//! Text output: tables, colours, and escapes for terminals.

use std::io::IsTerminal;
use std::io::{self, Write};

/// Width and colours of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// Columns of the terminal; `None` for a pipe or file, where nothing is shortened.
    pub(crate) width: Option<usize>,
    /// Whether to use colours.
    pub(crate) colour: bool,
}

impl Style {
    /// Style of a pipe or file.
    pub(crate) const PLAIN: Self = Self { width: None, colour: false };

    /// Style of standard output. `NO_COLOR` and dumb terminals disable colours.
    pub(crate) fn of_stdout() -> Self {
        Self::of(&io::stdout(), || terminal_size::terminal_size_of(io::stdout()))
    }

    /// Style of standard error.
    pub(crate) fn of_stderr() -> Self {
        Self::of(&io::stderr(), || terminal_size::terminal_size_of(io::stderr()))
    }

    fn of(
        output: &impl IsTerminal,
        size: impl Fn() -> Option<(terminal_size::Width, terminal_size::Height)>,
    ) -> Self {
        if !output.is_terminal() {
            return Self::PLAIN;
        }
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let width = size().map_or(80, |(width, _)| usize::from(width.0)).max(20);
        Self { width: Some(width), colour: !is_set("NO_COLOR") && !is_dumb }
    }

    /// Whether the output is a terminal.
    pub(crate) fn is_terminal(self) -> bool {
        self.width.is_some()
    }

    /// Colours a text.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        match tone.code().filter(|_| self.colour) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_owned(),
        }
    }
}

/// Meaning of a text, which chooses its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Neutral.
    #[default]
    Plain,
    /// Healthy.
    Good,
    /// Needs attention.
    Warning,
    /// Broken.
    Bad,
    /// Heading.
    Heading,
    /// Secondary.
    Faint,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warning => Some("33"),
            Self::Bad => Some("31"),
            Self::Heading => Some("1"),
            Self::Faint => Some("2"),
        }
    }

    /// Tone of a state in a response of the API.
    pub(crate) fn of_state(word: &str) -> Self {
        match word {
            "ok" | "ready" | "healthy" | "serving" | "closed" | "active" | "provided" | "default" => {
                Self::Good
            }
            "degraded" | "unknown" | "half_open" | "joining" | "starting" | "draining" | "not_ready"
            | "pending_dns" | "verifying" | "issuing" => Self::Warning,
            "unhealthy" | "ejected" | "open" | "down" | "unavailable" | "failed" | "parked" => Self::Bad,
            _ => Self::Plain,
        }
    }
}

/// Escapes untrusted text: control characters could move the cursor or set the window's title, and marks that
/// reorder text make one name look like another (Unicode TR 36 §2.7).
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unsafe(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Escapes JSON for a terminal: characters that JSON allows unescaped in strings, but terminals interpret.
/// The value stays the same.
pub(crate) fn escape_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            // All of them are below U+10000: one escape each (RFC 8259 §7).
            c if is_unsafe(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Columns of a text: none for combining marks, two for East Asian wide characters (Unicode UAX 11), by their
/// large blocks.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200d | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Shortens a text to `width` columns.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut taken = 0;
    for c in text.chars() {
        if taken + columns_of(c) + 1 > width {
            break;
        }
        taken += columns_of(c);
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// Cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Cell with untrusted text.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: escape(text), tone: Tone::Plain }
    }

    /// Cell with untrusted text, or a dash.
    pub(crate) fn or_dash(text: Option<&str>) -> Self {
        text.filter(|text| !text.is_empty()).map_or_else(|| Self::new("-").tone(Tone::Faint), Self::new)
    }

    /// Cell with a state in its colour.
    pub(crate) fn state(word: &str) -> Self {
        Self::new(word).tone(Tone::of_state(word))
    }

    /// Cell with a number.
    pub(crate) fn number(number: u64) -> Self {
        Self::new(&number.to_string())
    }

    /// Sets the colour.
    pub(crate) fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

/// Table with aligned columns.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Creates a table without rows. A heading that begins with `>` aligns its column to the right.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells);
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Renders the table. On a terminal the widest columns are shortened until a row fits.
    pub(crate) fn render(&self, style: Style) -> String {
        let names: Vec<&str> = self.headings.iter().map(|name| name.trim_start_matches('>')).collect();
        let mut widths: Vec<usize> = names.iter().map(|name| columns(name)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(columns(&cell.text));
            }
        }
        if let Some(total) = style.width {
            fit(&mut widths, total);
        }
        let mut out = String::new();
        let headings: Vec<Cell> = names.iter().map(|name| Cell::new(name).tone(Tone::Heading)).collect();
        self.line(&headings, &widths, style, &mut out);
        for row in &self.rows {
            self.line(row, &widths, style, &mut out);
        }
        out
    }

    fn line(&self, cells: &[Cell], widths: &[usize], style: Style, out: &mut String) {
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let text = shorten(&cell.text, *width);
            let pad = " ".repeat(width - columns(&text).min(*width));
            let is_last = column + 1 == cells.len();
            let painted = style.paint(cell.tone, &text);
            if self.headings[column].starts_with('>') {
                out.push_str(&pad);
                out.push_str(&painted);
            } else {
                out.push_str(&painted);
                if !is_last {
                    out.push_str(&pad);
                }
            }
            if !is_last {
                out.push_str(GAP);
            }
        }
        // Trailing spaces of an empty last cell.
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
}

/// Space between two columns.
const GAP: &str = "  ";
/// Narrowest column.
const COLUMN_MIN: usize = 6;

/// Narrows the widest columns until the row fits, as far as possible.
fn fit(widths: &mut [usize], total: usize) {
    let gaps = GAP.len() * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > total {
        let Some(widest) = widths.iter_mut().max_by_key(|width| **width).filter(|width| **width > COLUMN_MIN)
        else {
            return;
        };
        *widest -= 1;
    }
}

/// Writes to standard output. A closed pipe, as behind `| head`, is not an error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", ">COUNT", "STATE"]);
        table.row(vec![Cell::new("shop"), Cell::number(7), Cell::state("healthy")]);
        table.row(vec![Cell::new("a-rather-long-name"), Cell::number(1_234), Cell::state("unhealthy")]);
        table
    }

    #[test]
    fn columns_are_aligned_and_numbers_are_right_aligned() {
        assert_eq!(
            table().render(Style::PLAIN),
            "NAME                COUNT  STATE\n\
             shop                    7  healthy\n\
             a-rather-long-name   1234  unhealthy\n"
        );
    }

    #[test]
    fn a_narrow_terminal_shortens_only_the_widest_column() {
        let style = Style { width: Some(30), colour: false };
        let text = table().render(style);
        assert!(text.contains("a-rather-lo…"), "{text}");
        assert!(text.contains("unhealthy") && text.contains("1234"), "{text}");
        assert!(text.lines().all(|line| columns(line) <= 30), "{text}");
    }

    #[test]
    fn a_terminal_that_is_too_narrow_still_gets_a_table() {
        let text = table().render(Style { width: Some(1), colour: false });
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn colours_do_not_shift_columns() {
        let style = Style { width: Some(80), colour: true };
        let painted = table().render(style);
        assert!(
            painted.contains("\x1b[32mhealthy\x1b[0m") && painted.contains("\x1b[31munhealthy\x1b[0m"),
            "{painted}"
        );
        let mut bare = painted.clone();
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m"] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, table().render(Style::PLAIN));
    }

    #[test]
    fn wide_characters_count_as_two_columns() {
        let mut table = Table::new(&["NAME", "X"]);
        table.row(vec![Cell::new("株式"), Cell::new("1")]);
        table.row(vec![Cell::new("e\u{301}"), Cell::new("2")]);
        assert_eq!(table.render(Style::PLAIN), "NAME  X\n株式  1\ne\u{301}     2\n");
    }

    #[test]
    fn names_cannot_send_control_characters_to_the_terminal() {
        assert_eq!(escape("\x1b]0;owned\x07"), "\\u{1b}]0;owned\\u{7}");
        assert_eq!(escape("a\r\nb\u{9b}2J\u{202e}x"), "a\\r\\nb\\u{9b}2J\\u{202e}x");
        assert_eq!(escape("Büro 株式会社"), "Büro 株式会社");
        let mut table = Table::new(&["NAME"]);
        table.row(vec![Cell::new("x\nforged row")]);
        assert_eq!(table.render(Style::PLAIN).lines().count(), 2);
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let value = serde_json::json!({ "name": "a\u{9b}b\u{202e}c\u{7f}" });
        let text = escape_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.chars().any(|c| c != '\n' && is_unsafe(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn texts_are_shortened_to_the_exact_width() {
        assert_eq!(shorten("abcd", 4), "abcd");
        assert_eq!(shorten("abcde", 4), "abc…");
        assert_eq!(shorten("株式会社", 5), "株式…");
        assert_eq!(shorten("株式会社", 4), "株…");
        assert_eq!(shorten("abc", 0), "");
    }
}
