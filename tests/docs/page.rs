//! Pages, their generated regions, and the cells of their tables.

use std::path::{Path, PathBuf};

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a file of the repository.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Compares the generated regions of `docs/{name}` with `regions`, or rewrites them when `UPDATE_DOCS` is
/// set.
pub(crate) fn check(name: &str, regions: &[(&str, String)]) {
    let path = root().join("docs").join(name);
    let committed = read(&format!("docs/{name}"));
    let mut rendered = committed.clone();
    for (region, text) in regions {
        rendered = replace_region(&rendered, region, text);
    }
    if rendered == committed {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, rendered).unwrap();
        return;
    }
    let (old, new) = committed
        .lines()
        .zip(rendered.lines())
        .find(|(old, new)| old != new)
        .unwrap_or(("(the number of lines differs)", ""));
    panic!(
        "docs/{name} is out of date; run `UPDATE_DOCS=1 cargo nextest run -p ringway --test docs`\n\
         - {old}\n+ {new}"
    );
}

fn replace_region(page: &str, region: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- generated: {region} -->\n"), format!("<!-- end: {region} -->"));
    let from = page.find(&begin).unwrap_or_else(|| panic!("no region {region}")) + begin.len();
    let to = from + page[from..].find(&end).unwrap_or_else(|| panic!("region {region} has no end"));
    format!("{}\n{}\n\n{}", &page[..from], text.trim_end(), &page[to..])
}

/// Joins lines to one and escapes the separator of table cells.
pub(crate) fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Breaks a paragraph into lines of at most 108 columns.
pub(crate) fn wrapped(text: &str) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 108 {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.join("\n")
}

/// Lists the Rust sources below a folder of the repository, tests aside, sorted.
pub(crate) fn sources(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![root().join(folder)];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}")) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["target", "tests"].contains(&name) {
                    waiting.push(path);
                }
            } else if name.ends_with(".rs") && !name.ends_with("_tests.rs") && name != "tests.rs" {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Returns the text of a source file without the unit tests at its end.
pub(crate) fn code_of(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end].to_owned()
}

/// Returns the string literals of a source text that consist of lower-case letters, digits and underscores.
pub(crate) fn words(code: &str) -> Vec<&str> {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|word| {
            word.starts_with(|first: char| first.is_ascii_lowercase())
                && word.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
        })
        .collect()
}

/// Returns the cells of the table rows of a page.
pub(crate) fn rows(page: &str) -> Vec<Vec<&str>> {
    let lines = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}
