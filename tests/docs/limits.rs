//! `docs/limits.md`, from the constants of all `limits.rs` files and their doc comments.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::page;

/// One constant.
struct Limit {
    name: String,
    section: String,
    doc: String,
    expression: String,
}

/// Value of a constant.
#[derive(Clone, Copy)]
enum Value {
    Number(u128),
    Time { micros: u128 },
}

#[test]
fn the_page_of_limits_matches_the_constants() {
    let mut files = Vec::new();
    for folder in ["src", "control"] {
        let limits = page::sources(folder).into_iter().filter(|path| path.ends_with("limits.rs"));
        files
            .extend(limits.map(|path| path.strip_prefix(page::root()).unwrap().to_str().unwrap().to_owned()));
    }
    assert!(files.len() > 10, "only {files:?}");
    let mut parsed: Vec<(String, String, Vec<Limit>)> = Vec::new();
    for file in &files {
        let text = page::read(file);
        let title = text.lines().next().unwrap().trim_start_matches("//! ").to_owned();
        parsed.push((file.clone(), title, parse(&text)));
    }
    let expressions: BTreeMap<&str, &str> = parsed
        .iter()
        .flat_map(|(_, _, limits)| limits)
        .map(|limit| (limit.name.as_str(), limit.expression.as_str()))
        .collect();

    let mut text = String::new();
    for (file, title, limits) in &parsed {
        let title = title.split(':').next().unwrap().trim_end_matches('.');
        let _ = writeln!(text, "## {title}\n\n[{file}](../{file})");
        let mut section = None;
        for limit in limits {
            if section != Some(&limit.section) {
                let _ = writeln!(text, "\n| {} | value | bounds |\n|---|---|---|", limit.section);
                section = Some(&limit.section);
            }
            let value = shown(&limit.name, evaluate(&limit.expression, &expressions));
            let _ = writeln!(text, "| `{}` | {value} | {} |", limit.name, page::cell(&unlinked(&limit.doc)));
        }
        text.push('\n');
    }
    page::check("limits.md", &[("limits", text)]);
}

fn parse(text: &str) -> Vec<Limit> {
    let mut limits = Vec::new();
    let (mut doc, mut section) = (String::new(), "constant".to_owned());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("// --- ") {
            section = heading.trim_end_matches(['-', ' ']).to_owned();
        } else if let Some(rest) = line.strip_prefix("///") {
            doc.push_str(rest);
        } else if let Some((_, rest)) = line.split_once("const ").filter(|(before, _)| !before.contains("//"))
        {
            let mut statement = rest.to_owned();
            while !statement.trim_end().ends_with([';', '{']) {
                statement.push_str(lines.next().unwrap());
            }
            let doc = std::mem::take(&mut doc);
            // A `const fn` derives a limit from another; its constant is listed.
            if statement.starts_with("fn ") {
                continue;
            }
            let (declared, expression) = statement.split_once('=').unwrap();
            let name = declared.split(':').next().unwrap().trim().to_owned();
            let expression = expression.trim().trim_end_matches(';').to_owned();
            limits.push(Limit { name, section: section.clone(), doc, expression });
        }
    }
    limits
}

/// Evaluates products, quotients, sums, durations and names of other limits.
fn evaluate(expression: &str, names: &BTreeMap<&str, &str>) -> Value {
    let expression = expression.trim();
    if let Some((left, right)) = expression.rsplit_once(" + ") {
        return match (evaluate(left, names), evaluate(right, names)) {
            (Value::Number(left), Value::Number(right)) => Value::Number(left + right),
            _ => panic!("{expression}: a sum of times"),
        };
    }
    if let Some((call, argument)) =
        expression.strip_prefix("Duration::from_").and_then(|it| it.split_once('('))
    {
        let Value::Number(number) = evaluate(argument.strip_suffix(')').unwrap(), names) else {
            panic!("{expression}: a time of a time");
        };
        let unit = match call {
            "micros" => 1,
            "millis" => 1_000,
            "secs" => 1_000_000,
            "mins" => 60_000_000,
            "hours" => 3_600_000_000,
            _ => panic!("{expression}: an unknown unit"),
        };
        return Value::Time { micros: number * unit };
    }
    for (operator, apply) in
        [(" / ", u128::checked_div as fn(u128, u128) -> Option<u128>), (" * ", u128::checked_mul)]
    {
        if let Some((left, right)) = expression.rsplit_once(operator) {
            return match (evaluate(left, names), evaluate(right, names)) {
                (Value::Number(left), Value::Number(right)) => Value::Number(apply(left, right).unwrap()),
                _ => panic!("{expression}: a product of times"),
            };
        }
    }
    let operand = expression.split(" as ").next().unwrap();
    let operand = operand.rsplit("::").next().unwrap();
    match operand.replace('_', "").parse() {
        Ok(number) => Value::Number(number),
        Err(_) => {
            let named = names.get(operand).unwrap_or_else(|| panic!("{expression}: no such limit"));
            evaluate(named, names)
        }
    }
}

fn shown(name: &str, value: Value) -> String {
    match value {
        Value::Time { micros } => {
            let units = [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s")];
            // 90 s stay 90 s: only whole units are shown.
            let unit = units.iter().find(|(unit, _)| micros >= *unit && micros.is_multiple_of(*unit));
            match unit {
                Some((unit, word)) => format!("{} {word}", micros / unit),
                None => format!("{} ms", micros / 1_000),
            }
        }
        Value::Number(number) => {
            let is_bytes = name.contains("BYTES") || name.contains("WINDOW") || name.ends_with("REST_MAX");
            for (unit, word) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
                if is_bytes && number >= 4 * 1024 && number.is_multiple_of(unit) {
                    return format!("{} {word}", number / unit);
                }
            }
            let digits = number.to_string();
            let mut grouped = String::new();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
    }
}

/// Turns rustdoc's links to items into code.
fn unlinked(doc: &str) -> String {
    doc.replace("[`", "`").replace("`]", "`")
}

#[test]
fn expressions_are_evaluated() {
    let names = BTreeMap::from([("BASE", "16 * 1024"), ("SLICE", "BASE as usize / 4")]);
    let text = |name: &str, expression: &str| shown(name, evaluate(expression, &names));
    assert_eq!(text("A_BYTES", "crate_name::limits::BASE + 64 * 1024"), "80 KiB");
    assert_eq!(text("A", "SLICE"), "4,096");
    assert_eq!(text("A", "Duration::from_secs(24 * 3600)"), "1 d");
    assert_eq!(text("A", "Duration::from_millis(2_500)"), "2500 ms");
    assert_eq!(text("A", "Duration::from_secs(90)"), "90 s");
}
