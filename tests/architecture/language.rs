//! House rules for text: plain technical English in comments and pages, short lines, no references to what is
//! not in the repository.
//!
//! A rule with a limit allows that many findings per 1,000 comment lines, and prints all of them beyond it.

use super::sources::{assert_none, root, tracked_files};

/// Words that must not open a comment line: they announce a fact instead of naming it.
const OPENINGS: &[&str] = &["What", "Who", "Whom", "Whose", "How", "So", "That"];
/// Most comment lines of 1,000 that open with one of them.
const OPENINGS_MAX: f64 = 1.0;

/// Personifying verbs: components return, send, report and log.
const TELL: &[&str] = &["tell", "tells", "telling", "told"];
/// Most comment lines of 1,000 with one of them.
const TELL_MAX: f64 = 0.5;

/// Indefinite persons and archaic adverbs: name the component, client, peer or user instead.
const VAGUE: &[&str] = &["somebody", "nobody", "whoever", "anew"];
/// Most comment lines of 1,000 with one of them.
const VAGUE_MAX: f64 = 0.5;

/// Path of this file, which has examples of what it forbids.
const THIS_FILE: &str = "tests/architecture/language.rs";

/// Columns of a comment line and of a line of a page.
const COLUMNS: usize = 110;

#[test]
fn comment_lines_open_with_the_term_that_they_explain() {
    let opens = |comment: &Comment| OPENINGS.contains(&words(&comment.text).next().unwrap_or_default());
    assert_rare("open with What/Who/Whose/How/So/That", opens, OPENINGS_MAX);
}

#[test]
fn comments_say_report_and_send_rather_than_tell() {
    assert_rare("say tell/tells/told", |comment| has_word(&comment.text, TELL), TELL_MAX);
}

#[test]
fn comments_name_who_acts() {
    assert_rare("say somebody/nobody/whoever/anew", |comment| has_word(&comment.text, VAGUE), VAGUE_MAX);
}

#[test]
fn comment_lines_fit_the_page() {
    let long: Vec<String> = comments()
        .into_iter()
        .filter(|comment| comment.columns > COLUMNS && !comment.is_fenced && !is_drawn(&comment.text))
        .map(|comment| format!("{}: {} columns", comment.place, comment.columns))
        .collect();
    assert_none(&long);
}

#[test]
fn lines_of_pages_fit_the_page() {
    let pages = |file: &str| {
        ["README.md", "ARCHITECTURE.md"].contains(&file)
            || (file.ends_with(".md")
                && ["docs/", "systemd/", "tests/", "loadtest/"].iter().any(|top| file.starts_with(top)))
    };
    let mut long = Vec::new();
    for (file, text) in texts(pages) {
        let mut in_code = false;
        for (index, line) in text.lines().enumerate() {
            let is_fence = line.trim_start().starts_with("```");
            in_code ^= is_fence;
            let columns = line.chars().count();
            let is_exempt = in_code || is_fence || line.trim_start().starts_with('|') || line.contains("](");
            if columns > COLUMNS && !is_exempt {
                long.push(format!("{file}:{}: {columns} columns", index + 1));
            }
        }
    }
    assert_none(&long);
}

#[test]
fn no_text_cites_a_requirements_ledger() {
    let mut cited = Vec::new();
    for (file, text) in
        texts(|file| !file.contains("corpus/") && !file.ends_with(".lock") && file != THIS_FILE)
    {
        let is_page = file.ends_with(".md");
        for (index, line) in text.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//") || line.trim_start().starts_with('#');
            // `RFC 7541 §C.5` is a section of a public document.
            let is_public = line.contains("RFC");
            if (is_page || is_comment) && !is_public && words(line).any(is_ledger_number) {
                cited.push(format!("{file}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    assert_none(&cited);
}

#[test]
fn no_file_names_a_path_of_a_developers_machine() {
    let homes = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    let mut wrong = Vec::new();
    for (file, text) in texts(|_| true) {
        for (index, line) in text.lines().enumerate() {
            for home in homes {
                // A path begins where no other path goes on: `/srv/home/` is not one of these.
                let begins = line.match_indices(home).any(|(at, _)| {
                    !line[..at].ends_with(|before: char| before.is_alphanumeric() || "./_-}".contains(before))
                });
                if begins {
                    wrong.push(format!("{file}:{}: {}", index + 1, line.trim()));
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn ledger_numbers_are_recognised() {
    for number in ["FR-3.7", "NFR-4.2", "C43", "S2-86"] {
        assert!(is_ledger_number(number), "{number}");
    }
    for word in ["RFC", "C", "C100", "HTTP-1", "AFR-1", "CO2"] {
        assert!(!is_ledger_number(word), "{word}");
    }
}

/// One line of a Rust file that is a comment.
struct Comment {
    /// File and line.
    place: String,
    /// Text after the slashes.
    text: String,
    /// Length of the whole line.
    columns: usize,
    /// The line is code or a diagram between fences.
    is_fenced: bool,
}

/// All comment lines of the tracked Rust files that have a text.
fn comments() -> Vec<Comment> {
    let mut comments = Vec::new();
    for (file, text) in texts(|file| file.ends_with(".rs")) {
        let mut is_fenced = false;
        for (index, line) in text.lines().enumerate() {
            let Some(comment) = line.trim().strip_prefix("//") else { continue };
            let comment = comment.trim_start_matches(['/', '!']).trim();
            is_fenced ^= comment.starts_with("```");
            if !comment.is_empty() {
                let place = format!("{file}:{}", index + 1);
                comments.push(Comment {
                    place,
                    text: comment.to_owned(),
                    columns: line.trim_end().chars().count(),
                    is_fenced,
                });
            }
        }
    }
    assert!(comments.len() > 5_000, "only {} comment lines found", comments.len());
    comments
}

/// Path and content of the tracked files that `wanted` selects and that are text.
fn texts(wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let files = tracked_files().into_iter().filter(|file| wanted(file));
    files.filter_map(|file| Some((file.clone(), std::fs::read_to_string(root().join(file)).ok()?))).collect()
}

/// Words of a line; a hyphen, a point or an apostrophe between letters or digits belongs to its word.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let part = |text: char| text.is_alphanumeric() || "-.'_".contains(text);
    line.split(move |text| !part(text))
        .map(|word| word.trim_matches(['-', '.', '\'']))
        .filter(|word| !word.is_empty())
}

fn has_word(line: &str, listed: &[&str]) -> bool {
    words(line).any(|word| listed.contains(&word.to_ascii_lowercase().as_str()))
}

/// `FR-1.2` and `NFR-1.2`, `C12`, `S1-23`.
fn is_ledger_number(word: &str) -> bool {
    let is_number =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match word.split_once('-') {
        Some(("FR" | "NFR", number)) => is_number(number),
        Some((kind, number)) => {
            kind.len() == 2 && kind.strip_prefix('S').is_some_and(is_number) && is_number(number)
        }
        None => word.len() == 3 && word.strip_prefix('C').is_some_and(is_number),
    }
}

/// Whether a comment line is a row of a table or a part of a diagram, which cannot be wrapped.
fn is_drawn(text: &str) -> bool {
    text.starts_with('|') || text.contains(['─', '│', '►', '▲', '▼'])
}

fn assert_rare(habit: &str, has_habit: impl Fn(&Comment) -> bool, limit: f64) {
    let comments = comments();
    let found: Vec<&Comment> = comments.iter().filter(|comment| has_habit(comment)).collect();
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let rate = found.len() as f64 * 1_000.0 / comments.len() as f64;
    let places: Vec<String> =
        found.iter().map(|comment| format!("{}: {}", comment.place, comment.text)).collect();
    assert!(
        rate <= limit,
        "{rate:.1} of 1,000 comment lines {habit}, {limit} are allowed:\n  {}",
        places.join("\n  ")
    );
}
