//! Layout of `-h` (one screen) and `--help` (everything).
//!
//! The root lists its commands in groups; its settings, and the options that all client commands share, are
//! in `--help` only.

use std::fmt::Write;

use clap::{Command, CommandFactory};

use super::Cli;

/// Command line with its help laid out.
pub(super) fn command() -> Command {
    let names = |command: &Command| -> Vec<String> {
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect()
    };
    let mut root = Cli::command();
    let commands = groups(&root);
    for name in names(&root) {
        root = root.mut_subcommand(name, exit_codes_in_long_help);
    }
    root = root
        .before_help(format!("{commands}\n{HINT}"))
        .before_long_help(commands)
        .override_usage("ringway [OPTIONS] | ringway <COMMAND>")
        .help_template("{about-with-newline}{usage-heading} {usage}\n\n{before-help}{all-args}{after-help}");
    // Adds the command `help`.
    root.build();
    for flag in ["help", "version"] {
        root = root.mut_arg(flag, |arg| arg.hide_short_help(true));
    }
    for name in names(&root) {
        // The groups list them.
        root = root.mut_subcommand(name, |command| command.hide(true));
    }
    root
}

/// Commands in groups, each with the first line of its help.
fn groups(root: &Command) -> String {
    let width = root.get_subcommands().map(|command| command.get_name().len()).max().unwrap_or(0);
    let mut text = String::new();
    for (title, is_local) in
        [("Run ringway and maintain its store:", true), ("Administer a running ringway:", false)]
    {
        let _ = writeln!(text, "{title}");
        for command in
            root.get_subcommands().filter(|command| LOCAL.contains(&command.get_name()) == is_local)
        {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {:width$}  {about}", command.get_name());
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn exit_codes_in_long_help(command: Command) -> Command {
    match command.get_after_help().cloned() {
        Some(exit_codes) if command.get_after_long_help().is_none() => {
            command.after_help(None::<&str>).after_long_help(exit_codes)
        }
        _ => command,
    }
}

/// End of the short help.
const HINT: &str = "`ringway --help` lists all settings, `ringway COMMAND -h` explains a command.";

/// Commands that need no running ringway.
const LOCAL: [&str; 8] = ["run", "check", "demo", "export", "import", "audit", "token", "version"];

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands with their full names.
    fn all(command: &Command, words: &str, found: &mut Vec<(String, Command)>) {
        found.push((words.to_owned(), command.clone()));
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            all(command, &format!("{words} {}", command.get_name()), found);
        }
    }

    fn rendered(command: &Command, columns: usize, is_long: bool) -> String {
        let mut command = command.clone().term_width(columns);
        let text = if is_long { command.render_long_help() } else { command.render_help() };
        text.to_string()
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        let mut commands = Vec::new();
        all(&command(), "ringway", &mut commands);
        assert!(commands.len() > 20);
        for (words, command) in commands {
            for (columns, is_long) in [(80, false), (80, true), (100, false), (100, true)] {
                let help = rendered(&command, columns, is_long);
                let wide = help.lines().find(|line| line.chars().count() > columns);
                assert_eq!(wide, None, "{words} at {columns} columns");
            }
        }
    }

    #[test]
    fn the_short_help_fits_one_screen() {
        let help = rendered(&command(), 80, false);
        assert!(help.lines().count() <= 30, "with the next prompt 31 lines: {help}");
        for known in command().get_subcommands().filter(|command| command.get_name() != "help") {
            let line = format!("  {} ", known.get_name());
            let shown = help.lines().find(|text| text.starts_with(&line));
            let about = known.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(shown.is_some_and(|shown| shown.ends_with(&about)), "{line}has one line in {help}");
        }
        assert!(help.contains("--help"), "{help}");
    }

    #[test]
    fn every_command_has_both_helps() {
        let mut commands = Vec::new();
        all(&command(), "ringway", &mut commands);
        for (words, _) in commands {
            for flag in ["-h", "--help"] {
                let words = words.split(' ').chain([flag]);
                let error = command().try_get_matches_from(words.clone()).expect_err("help is no success");
                assert_eq!(error.kind(), clap::error::ErrorKind::DisplayHelp, "{words:?}");
            }
        }
    }

    #[test]
    fn hand_wrapped_parts_keep_their_lines() {
        let help = rendered(&command(), 80, true);
        for line in super::super::AFTER_HELP.lines() {
            assert!(help.lines().any(|shown| shown == line), "broken: {line}");
        }
    }
}
