//! `ringway canary`: lists and shows the canaries of routes, resumes braked ones, and sets weights.

use std::time::Duration;

use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::json;

use super::text::{Cell, Style, Table, Tone, escape};
use super::{Api, ApiArgs, Failure, Output, parse, pause, print, push_encoded, time};

#[derive(Debug, clap::Args)]
pub(crate) struct CanaryArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Repeat every ten seconds, the interval at which canaries are compared
    #[arg(long, short)]
    watch: bool,
    /// With --watch: stop after this many samples
    #[arg(long, value_name = "COUNT", requires = "watch")]
    count: Option<u64>,
    #[command(subcommand)]
    command: Option<CanaryCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum CanaryCommand {
    /// List the canaries, by route (the default)
    #[command(visible_alias = "ls")]
    List,
    /// Show the canary of a route
    Show {
        /// ID of the route
        route: String,
    },
    /// Resume a canary that was braked: it gets its weight again
    Resume {
        /// ID of the route
        route: String,
    },
    /// Set the weight of a canary in place of its plan's
    ///
    /// Outlives reloads and restarts, and ends with the plan: when the configuration changes pools, weights
    /// or brake of the canary. Refused while the canary is braked, or has steps before it.
    #[command(
        override_usage = "ringway canary weight <ROUTE> <PERCENT>\n       ringway canary weight <ROUTE> --reset"
    )]
    Weight {
        /// ID of the route
        route: String,
        /// Share of the requests in percent, as 12.5
        #[arg(required_unless_present = "reset", conflicts_with = "reset")]
        percent: Option<f64>,
        /// Give it the weight of its plan again
        #[arg(long)]
        reset: bool,
        /// Reason, for those who find it later
        #[arg(long, value_name = "TEXT", value_parser = super::reason)]
        reason: Option<String>,
    },
}

const PATH: &str = "/api/v2/traffic/canary";
/// Time between two samples of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

impl CanaryArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        let samples = if self.watch { self.count.unwrap_or(u64::MAX) } else { 1 };
        let command = match self.command {
            Some(CanaryCommand::Resume { route }) => {
                let mut target = format!("{PATH}/");
                push_encoded(&mut target, &route);
                target.push_str("/resume");
                return api.change(Method::Post, &target, &json!({}), &format!("canary of {route}"));
            }
            Some(CanaryCommand::Weight { route, percent, reset: _, reason }) => {
                let mut target = format!("{PATH}/");
                push_encoded(&mut target, &route);
                target.push_str("/weight");
                let body = json!({ "weight": percent, "reason": reason.unwrap_or_default() });
                return api.show(Method::Post, &target, Some(&body), |canary, style| details(&canary, style));
            }
            Some(CanaryCommand::Show { route }) => Some(route),
            Some(CanaryCommand::List) | None => None,
        };
        for sample in 0..samples {
            if sample > 0 {
                pause(WATCH_INTERVAL);
            }
            match &command {
                Some(route) => show(&api, route)?,
                None => api.show(Method::Get, PATH, None, list)?,
            }
        }
        Ok(())
    }
}

/// Prints the canary of one route, out of the list.
fn show(api: &Api, route: &str) -> Result<(), Failure> {
    let response = api.call(Method::Get, PATH, None)?;
    let mut page: serde_json::Value = parse(&response)?;
    let canaries = page["canaries"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let Some(canary) = canaries.into_iter().find(|canary| canary["route"] == route) else {
        return Err(Failure::NotFound(format!("route {route} has no canary")));
    };
    match api.output {
        Output::Json => api.print_json(canary.to_string().as_bytes()),
        Output::Text => {
            let canary = serde_json::from_value(canary)
                .map_err(|error| Failure::Unexpected { status: response.status, error })?;
            print(&details(&canary, api.style))
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CanariesView {
    canaries: Vec<CanaryView>,
    total: usize,
}

/// The parts of a canary that are shown; a field that a version lacks has its default.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CanaryView {
    route: String,
    stable_pool: String,
    canary_pool: String,
    state: String,
    weight: f64,
    configured_weight: f64,
    set_weight: Option<SetWeightView>,
    step: u64,
    steps: u64,
    next_step: Option<NextStepView>,
    brake: String,
    window: ComparisonView,
    since_step: ComparisonView,
    braked_at: Option<String>,
    braked_because: Option<String>,
    would_brake_since: Option<String>,
    fallbacks: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SetWeightView {
    weight: f64,
    at: String,
    by: String,
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NextStepView {
    weight: f64,
    due_in_seconds: f64,
    held_by: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ComparisonView {
    stable: VariantView,
    canary: VariantView,
    p_value: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct VariantView {
    requests: u64,
    errors: u64,
    error_rate: f64,
}

impl VariantView {
    fn text(&self) -> String {
        format!("{} of {} ({} %)", self.errors, self.requests, self.error_rate)
    }
}

impl CanaryView {
    fn tone(&self) -> Tone {
        match self.state.as_str() {
            "braked" => Tone::Bad,
            _ if self.would_brake_since.is_some() => Tone::Warning,
            "complete" => Tone::Warning,
            _ => Tone::Good,
        }
    }

    /// Explanation of the state, and the next thing to do.
    fn advice(&self) -> Option<String> {
        match self.state.as_str() {
            "braked" => Some(format!(
                "once it is mended: ringway canary resume {}, or another plan",
                escape(&self.route)
            )),
            "complete" => {
                Some(format!("it gets all requests: make {} the stable pool now", escape(&self.canary_pool)))
            }
            _ => None,
        }
    }

    fn next(&self) -> Option<String> {
        let next = self.next_step.as_ref()?;
        let when = match next.held_by.as_deref() {
            Some("traffic") if next.due_in_seconds == 0.0 => "held: too few requests".to_owned(),
            Some("failures") if next.due_in_seconds == 0.0 => "held: the canary fails more often".to_owned(),
            _ => format!("due in {} s", next.due_in_seconds.ceil()),
        };
        Some(format!("{} % ({when})", next.weight))
    }
}

fn list(view: CanariesView, style: Style) -> String {
    if view.canaries.is_empty() {
        return "no canaries\n".to_owned();
    }
    let mut table =
        Table::new(&["ROUTE", "CANARY", "STATE", "WEIGHT", "STEP", "FAILED", "FAILED STABLE", "P VALUE"]);
    for canary in &view.canaries {
        let p_value = canary.window.p_value.map_or_else(|| "-".to_owned(), |p| format!("{p:.2e}"));
        table.row(vec![
            Cell::new(&canary.route),
            Cell::new(&canary.canary_pool),
            Cell::new(&canary.state).tone(canary.tone()),
            Cell::new(&format!("{} %", canary.weight)),
            Cell::new(&format!("{}/{}", canary.step, canary.steps)),
            Cell::new(&canary.window.canary.text()),
            Cell::new(&canary.window.stable.text()),
            Cell::new(&p_value),
        ]);
    }
    let mut text = table.render(style);
    if view.canaries.len() < view.total {
        text.push_str(&format!("{} of {} canaries\n", view.canaries.len(), view.total));
    }
    text
}

fn details(canary: &CanaryView, style: Style) -> String {
    let mut text = format!("{}\n", style.paint(Tone::Heading, &escape(&canary.route)));
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<14} {value}\n"));
    line("state", &style.paint(canary.tone(), &escape(&canary.state)));
    line("stable pool", &escape(&canary.stable_pool));
    line("canary pool", &escape(&canary.canary_pool));
    line("weight", &format!("{} %, step {} of {}", canary.weight, canary.step, canary.steps));
    if let Some(set) = &canary.set_weight {
        let (by, at, planned) = (escape(&set.by), escape(&time(&set.at)), canary.configured_weight);
        let mut value = format!("{} % in place of {planned} %, by {by} since {at}", set.weight);
        if !set.reason.is_empty() {
            value.push_str(&format!(": {}", escape(&set.reason)));
        }
        line("set weight", &value);
    }
    if let Some(next) = canary.next() {
        line("next weight", &next);
    }
    line("brake", &escape(&canary.brake));
    for (name, comparison) in [("last minute", &canary.window), ("since step", &canary.since_step)] {
        let p_value = comparison.p_value.map_or_else(String::new, |p| format!(", p {p:.2e}"));
        let (of_canary, of_stable) = (comparison.canary.text(), comparison.stable.text());
        line(name, &format!("{of_canary} failed in the canary, {of_stable} in the stable pool{p_value}"));
    }
    line("fallbacks", &canary.fallbacks.to_string());
    if let Some(at) = &canary.braked_at {
        line("braked", &escape(&time(at)));
    }
    if let Some(reason) = &canary.braked_because {
        line("because", &escape(reason));
    }
    if let Some(at) = &canary.would_brake_since {
        line("would brake", &format!("since {}", escape(&time(at))));
    }
    if let Some(advice) = canary.advice() {
        line("", &advice);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary(state: &str) -> CanaryView {
        CanaryView {
            route: "shop".into(),
            stable_pool: "v1".into(),
            canary_pool: "v2".into(),
            state: state.into(),
            weight: 10.0,
            steps: 2,
            brake: "on".into(),
            window: ComparisonView {
                stable: VariantView { requests: 900, errors: 1, error_rate: 0.11 },
                canary: VariantView { requests: 100, errors: 60, error_rate: 60.0 },
                p_value: Some(1e-50),
            },
            ..CanaryView::default()
        }
    }

    #[test]
    fn the_list_shows_both_variants() {
        let text = list(CanariesView { canaries: vec![canary("stepping")], total: 1 }, Style::PLAIN);
        for part in ["shop", "v2", "stepping", "10 %", "0/2", "60 of 100 (60 %)", "1 of 900", "1.00e-50"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(list(CanariesView { canaries: Vec::new(), total: 0 }, Style::PLAIN), "no canaries\n");
    }

    #[test]
    fn details_say_what_to_do() {
        let braked = CanaryView { braked_because: Some("it\u{1b} failed".into()), ..canary("braked") };
        let text = details(&braked, Style::PLAIN);
        assert!(text.contains("ringway canary resume shop") && !text.contains('\u{1b}'), "{text}");
        assert!(details(&canary("complete"), Style::PLAIN).contains("make v2 the stable pool now"));
        let held = NextStepView { weight: 50.0, due_in_seconds: 0.0, held_by: Some("traffic".into()) };
        let text = details(&CanaryView { next_step: Some(held), ..canary("stepping") }, Style::PLAIN);
        assert!(text.contains("50 % (held: too few requests)"), "{text}");
    }
}
