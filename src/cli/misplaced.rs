//! Hint about an option of a command that was given before the command, as in `ringway --api X status`.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use super::help;

/// Adds a tip to the error about an unknown option, if the command that follows it has this option.
pub(super) fn explain(error: Error) -> Error {
    explain_for(error, std::env::args())
}

fn explain_for(mut error: Error, arguments: impl Iterator<Item = String>) -> Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return error };
    let name = option.trim_start_matches('-').to_owned();
    let root = help::command();
    let command = arguments.skip(1).find_map(|argument| root.find_subcommand(argument));
    let Some(command) = command.filter(|command| has_option(command, &name)) else { return error };
    let tip = format!("'--{name}' goes after the command: ringway {} --{name} ...", command.get_name());
    error.remove(ContextKind::SuggestedArg);
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

fn has_option(command: &Command, name: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = help::command().try_get_matches_from(&words).expect_err("the option is misplaced");
        explain_for(error, words.into_iter()).to_string()
    }

    #[test]
    fn an_option_before_its_command_is_reported_with_its_place() {
        for (line, place) in [
            ("ringway --api 10.0.0.7:8080 status", "ringway status --api"),
            ("ringway --api unix:/run/x apps list", "ringway apps --api"),
            ("ringway --json check", "ringway check --json"),
        ] {
            let message = message(line);
            assert!(message.contains("goes after the command") && message.contains(place), "{message}");
        }
    }

    #[test]
    fn other_unknown_options_get_no_such_hint() {
        for line in ["ringway --apy x status", "ringway --watch check", "ringway --worker-count 3"] {
            assert!(!message(line).contains("goes after"), "{line}");
        }
    }
}
