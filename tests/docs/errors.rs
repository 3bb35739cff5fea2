//! `docs/errors.md`: every error code of the data plane is on the page, and every code on the page is in the
//! sources.

use std::collections::{BTreeMap, BTreeSet};

use crate::page;

/// Sources of the codes: failures of an exchange, local replies, and rejections of the parsers of HTTP/1.1
/// and of WebSocket handshakes.
const FAILURES: &str = "src/worker/exchange/failure.rs";
const REPLIES: &str = "src/worker/exchange/local_reply.rs";
const PARSERS: &[&str] = &["src/wire/h1/error.rs", "src/wire/websocket.rs"];

#[test]
fn the_page_of_errors_has_every_code() {
    let page = page::read("docs/errors.md");
    let mut listed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in page::rows(&page) {
        // `| status | code | …`: a cell may name several codes of one status.
        let [status, codes, ..] = row.as_slice() else { continue };
        for code in codes.split('`').skip(1).step_by(2) {
            listed.entry(code).or_default().extend(status.split(", "));
        }
    }
    assert!(listed.len() > 40, "only {} codes are listed", listed.len());

    let failures = page::code_of(&page::root().join(FAILURES));
    let mut wrong = Vec::new();
    for code in page::words(&failures).into_iter().filter(|code| !NO_CODES.contains(code)) {
        if !listed.contains_key(code) {
            wrong.push(format!("{FAILURES}: {code} is not on the page"));
        }
    }
    let replies = page::code_of(&page::root().join(REPLIES));
    for call in replies.split("Self::error(").skip(1) {
        // The code of a stage's reply is the stage's, and no literal here.
        let arguments = call.split(')').next().unwrap();
        let Some(code) = arguments.split('"').nth(1) else { continue };
        if !listed.contains_key(code) {
            wrong.push(format!("{REPLIES}: {code} is not on the page"));
        }
    }
    for parser in PARSERS {
        let text = page::code_of(&page::root().join(parser));
        for line in text.lines().filter(|line| line.contains("=> \"")) {
            for code in page::words(line) {
                if !listed.contains_key(code) {
                    wrong.push(format!("{parser}: {code} is not on the page"));
                }
            }
        }
    }
    let mut sources = String::new();
    for folder in ["src/worker", "src/wire", "src/middleware", "src/forward"] {
        page::sources(folder).iter().for_each(|file| sources.push_str(&page::code_of(file)));
    }
    for (code, statuses) in listed {
        let literal = format!("\"{code}\"");
        if !sources.contains(&literal) {
            wrong.push(format!("docs/errors.md: {code} is not in the sources"));
        }
        // `404, "unknown_host"`: the status stands before its code where a reply is made of both.
        let made = [&failures, &replies];
        for (text, at) in
            made.iter().flat_map(|text| text.match_indices(&literal).map(move |(at, _)| (text, at)))
        {
            let before = text[..at].trim_end().trim_end_matches(',');
            let digits: String = before.chars().rev().take_while(char::is_ascii_digit).collect();
            let status: String = digits.chars().rev().collect();
            if status.len() == 3 && !statuses.contains(status.as_str()) {
                wrong.push(format!("docs/errors.md: {code} has status {status}, the page says {statuses:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Words in the sources of failures that are no codes.
const NO_CODES: &[&str] = &["true"];
