//! `docs/configuration.md`, from `ringway --help`.

use std::fmt::Write;

use crate::{page, process};

/// One setting.
#[derive(Debug, Default)]
struct Setting {
    flag: String,
    value: String,
    text: String,
}

#[test]
fn the_page_of_settings_matches_the_help() {
    let groups = parse(&process::output(&["--help"]));
    assert!(groups.len() > 6, "only {} groups", groups.len());
    let mut text = String::new();
    for (title, settings) in &groups {
        let _ = writeln!(text, "## {title}\n\n| flag | variables | default | meaning |\n|---|---|---|---|");
        for setting in settings {
            let (help, variables, default) = setting.parts();
            let flag = match setting.flag.as_str() {
                "" => "none".to_owned(),
                flag => format!("`{flag} {}`", setting.value),
            };
            let variables: Vec<String> = variables.iter().map(|name| format!("`{name}`")).collect();
            let (variables, help) = (variables.join(", "), page::cell(&help));
            let _ = writeln!(text, "| {} | {variables} | {default} | {help} |", page::cell(&flag));
        }
        text.push('\n');
    }
    page::check("configuration.md", &[("settings", text)]);
}

impl Setting {
    /// Splits the help into its text, the variables (`[env: …]`) and the default (`[default: …]`).
    fn parts(&self) -> (String, Vec<String>, String) {
        let joined = page::cell(&self.text).replace("\\|", "|");
        let bracket = |name: &str| {
            let (_, rest) = joined.split_once(&format!("[{name}: "))?;
            // A default may hold brackets of its own; an address in brackets does not end it.
            Some(rest.split("] [").next().unwrap().trim_end_matches(']').to_owned())
        };
        let variables = bracket("env").unwrap_or_default();
        let default = match bracket("default") {
            Some(default) if default.contains(' ') => default,
            Some(default) => format!("`{default}`"),
            None => "none".to_owned(),
        };
        let help = joined.split(" [env: ").next().unwrap().to_owned();
        (help, variables.split(", ").map(str::to_owned).collect(), default)
    }
}

fn parse(help: &str) -> Vec<(String, Vec<Setting>)> {
    let mut groups: Vec<(String, Vec<Setting>)> = Vec::new();
    let mut is_secret = false;
    for line in help.lines() {
        if line.starts_with("Values:") {
            break;
        }
        if line.starts_with("Environment only") {
            groups.push(("Secrets: variables only".to_owned(), Vec::new()));
            is_secret = true;
        } else if !is_secret && !line.starts_with(' ') && line.ends_with(':') {
            groups.push((line.trim_end_matches(':').to_owned(), Vec::new()));
        } else if let Some(flag) =
            line.trim_start().strip_prefix("--").filter(|_| line.starts_with("      --"))
        {
            let (flag, value) = flag.split_once(' ').unwrap_or((flag, ""));
            let setting =
                Setting { flag: format!("--{flag}"), value: value.to_owned(), ..Setting::default() };
            groups.last_mut().unwrap().1.push(setting);
        } else if is_secret && line.starts_with("  ") && !line.starts_with("   ") {
            let text = format!(" [env: {}]", line.trim());
            groups.last_mut().unwrap().1.push(Setting { text, ..Setting::default() });
        } else if let Some(setting) = groups.last_mut().and_then(|(_, settings)| settings.last_mut()) {
            match is_secret && !line.trim().is_empty() {
                // The names stand before the text of a secret.
                true => {
                    let at = setting.text.find(" [env: ").unwrap();
                    setting.text.insert_str(at, &format!(" {}", line.trim()));
                }
                false => {
                    setting.text.push(' ');
                    setting.text.push_str(line.trim());
                }
            }
        }
    }
    groups.retain(|(_, settings)| !settings.is_empty());
    groups
}
