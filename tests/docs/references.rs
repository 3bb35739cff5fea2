//! References of all pages: linked files and headings, and the paths of sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::page;

/// Folders that short paths of ARCHITECTURE.md begin in: `session/idle.rs` is `src/worker/session/idle.rs`.
const SHORT: &[&str] = &["src/worker", "control/core"];

#[test]
fn links_lead_to_files_and_headings() {
    let mut wrong = Vec::new();
    let mut links = 0;
    for path in pages() {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, target) in prose(&text).flat_map(|(number, line)| {
            line.split("](").skip(1).filter_map(move |rest| Some((number, rest.split(')').next()?)))
        }) {
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let linked = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            let place = format!("{}:{number}: {target}", shown(&path));
            if !linked.exists() {
                wrong.push(format!("{place} does not exist"));
            } else if !heading.is_empty() && !headings(&linked).contains(heading) {
                wrong.push(format!("{place} has no such heading"));
            }
        }
    }
    assert!(links > 50, "only {links} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paths_of_sources_exist() {
    let mut wrong = Vec::new();
    let mut paths = 0;
    for page in pages().into_iter().filter(|page| !shown(page).starts_with("loadtest/report/")) {
        let text = std::fs::read_to_string(&page).unwrap();
        for (number, line) in prose(&text) {
            for code in line.split('`').skip(1).step_by(2) {
                let is_path = code.ends_with(".rs") && code.contains('/') && !code.contains(['*', ' ', '…']);
                if !is_path {
                    continue;
                }
                paths += 1;
                let beside = page.parent().unwrap().join(code);
                let exists = beside.exists()
                    || page::root().join(code).exists()
                    || SHORT.iter().any(|folder| page::root().join(folder).join(code).exists());
                if !exists {
                    wrong.push(format!("{}:{number}: {code}", shown(&page)));
                }
            }
        }
    }
    assert!(paths > 60, "only {paths} paths");
    assert!(wrong.is_empty(), "these files do not exist:\n{}", wrong.join("\n"));
}

/// Lists the pages of the repository.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "systemd", "loadtest", "loadtest/report", "tests"] {
        add_pages(&page::root().join(folder), &mut pages);
    }
    for entry in std::fs::read_dir(page::root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_pages(&path, &mut pages);
        }
    }
    assert!(pages.len() > 20, "only {} pages", pages.len());
    pages
}

fn add_pages(folder: &Path, pages: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
}

fn shown(path: &Path) -> String {
    path.strip_prefix(page::root()).unwrap().display().to_string()
}

/// Lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// Anchors of the headings of a page, as GitHub forms them.
fn headings(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| line.starts_with('#'));
    lines
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
            kept.map(|char| if char == ' ' { '-' } else { char }).collect()
        })
        .collect()
}
