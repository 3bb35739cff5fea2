//! `ringway deploy` and `ringway instances replace`: registers new instances, waits until they serve, drains
//! the old.
//!
//! ```text
//! read the app ─► register (If-Match) ─► wait until all serve ─► domains ─► drain the others
//!   ▲                    │ changed meanwhile     │ timeout, Ctrl-C
//!   └────────────────────┘                       └─► roll back the registrations
//! ```
//! Every step can be repeated: an instance is found again by its target, and a removal by its generation. Of
//! two deploys of one app the second one is refused while the instances of the first one join; afterwards the
//! later registration wins, because a deploy removes only instances that were registered before its own.

mod registration;
mod removal;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cli::limits;
use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::instances::{HealthCheck, InstanceView, drain_time};
use super::text::escape;
use super::{Api, ApiArgs, Failure, Output, parse, pause, print, target};
use registration::NewInstance;
pub(crate) use removal::drained_text;
use removal::requests_left;

#[derive(Debug, clap::Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// ID of the app, which is registered if it is new
    #[arg(long)]
    app: String,
    /// Target of a new instance: http://HOST:PORT, https://HOST:PORT or h2c://HOST:PORT; repeat it for
    /// several
    #[arg(long, value_name = "URL", required = true)]
    target: Vec<String>,
    /// Domain to route to the app; repeat it for several
    #[arg(long, value_name = "DOMAIN")]
    host: Vec<String>,
    /// Tenant that owns these domains
    #[arg(long, requires = "host")]
    tenant: Option<String>,
    /// ID of the new instance [default: APP@HOST:PORT of its target]
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// Longest time for the former instances to finish their requests; then their WebSockets are closed
    #[arg(long, visible_alias = "drain-timeout", value_name = "TIME", default_value = "30s", value_parser = drain_time)]
    drain: Duration,
    /// Keep the app's other instances
    #[arg(long)]
    keep_old: bool,
    // Last: its help heading would also apply to the arguments after it.
    #[command(flatten)]
    health: HealthCheck,
}

/// Plan of a deploy.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) app: String,
    /// IDs, where given, and targets of the new instances.
    pub(crate) wanted: Vec<(Option<String>, String)>,
    pub(crate) hosts: Vec<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) health: Option<Value>,
    pub(crate) timeout: Duration,
    pub(crate) drain: Duration,
    pub(crate) old: OldInstances,
    pub(crate) wait_for_drain: bool,
}

/// Former instances of the app that are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OldInstances {
    All,
    None,
    One(String),
}

impl DeployArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.instance.is_some() && self.target.len() > 1 {
            return Err(Failure::Usage(
                "--instance is for one instance, but there are several --target".into(),
            ));
        }
        let api = self.api.open()?;
        let timeout = self.api.timeout.unwrap_or(SERVE_TIMEOUT);
        let mut instance = self.instance;
        let plan = Plan {
            app: self.app,
            wanted: self.target.into_iter().map(|target| (instance.take(), target)).collect(),
            hosts: self.host,
            tenant: self.tenant,
            health: self.health.value(),
            timeout,
            drain: self.drain,
            old: if self.keep_old { OldInstances::None } else { OldInstances::All },
            wait_for_drain: true,
        };
        run(&api, &plan)
    }
}

/// Runs a plan, and prints its summary.
pub(crate) fn run(api: &Api, plan: &Plan) -> Result<(), Failure> {
    let (interrupted, may_exit) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Without the handlers Ctrl-C ends the command at once; its registrations can be resumed or removed
        // even so.
        let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(&may_exit));
        let _ = signal_hook::flag::register(signal, Arc::clone(&interrupted));
    }
    // --timeout is for the instances; a response has at least the usual time.
    let client = api.client.clone().timeout(plan.timeout.max(limits::CLI_TIMEOUT));
    let api = &Api { client, ..*api };
    let deploy = Deploy { api, plan, interrupted, may_exit, started: Instant::now() };
    let summary = deploy.run()?;
    match api.output {
        Output::Json => api.print_json(summary.to_string().as_bytes()),
        Output::Text => print(&summary_text(&summary)),
    }
}

struct Deploy<'a> {
    api: &'a Api,
    plan: &'a Plan,
    interrupted: Arc<AtomicBool>,
    /// A signal ends the command at once, because nothing needs a rollback any longer.
    may_exit: Arc<AtomicBool>,
    started: Instant,
}

/// State of the app at one revision.
#[derive(Debug)]
struct AppState {
    revision: u64,
    has_app: bool,
    instances: Vec<InstanceView>,
}

impl Deploy<'_> {
    fn run(&self) -> Result<Value, Failure> {
        self.check_hosts()?;
        let (new_instances, is_new_app) = self.register()?;
        let undo = |failure: Failure| self.roll_back(&new_instances, is_new_app, failure);
        self.wait_until_serving(&new_instances).map_err(undo)?;
        for host in &self.plan.hosts {
            self.add_host(host).map_err(undo)?;
        }
        let (removed, kept) = self.remove_old(&new_instances)?;
        Ok(json!({
            "app_id": self.plan.app,
            "instances": new_instances
                .iter()
                .map(|new| json!({
                    "instance_id": new.id, "target": new.target, "generation": new.generation, "state": "serving",
                }))
                .collect::<Vec<_>>(),
            "domains": self.plan.hosts,
            "removed": removed,
            "kept": kept,
            "took_ms": u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))
    }

    /// Waits until all new instances serve, and reports their states meanwhile.
    fn wait_until_serving(&self, new_instances: &[NewInstance]) -> Result<(), Failure> {
        let deadline = Instant::now() + self.plan.timeout;
        let mut reported: Vec<String> = vec![String::new(); new_instances.len()];
        if new_instances.iter().any(|new| new.is_ours) {
            self.report(&format!(
                "waiting up to {} for a successful probe ({}); Ctrl-C rolls back the registrations",
                humantime::format_duration(self.plan.timeout),
                probe_text(self.plan.health.as_ref())
            ));
        }
        loop {
            let mut waiting: Option<String> = None;
            for (new, reported) in new_instances.iter().zip(&mut reported) {
                let readiness = match self.instance(&new.id) {
                    Ok(Some(view)) if view.generation != new.generation => {
                        return Err(Failure::Conflict(format!(
                            "{} was registered again by another client (generation {}, ours {})",
                            new.id, view.generation, new.generation
                        )));
                    }
                    Ok(Some(view)) if view.state == "draining" => {
                        return Err(Failure::Conflict(format!("another client removes {}", new.id)));
                    }
                    Ok(Some(view)) => view.readiness(),
                    Ok(None) => return Err(Failure::Conflict(format!("another client removed {}", new.id))),
                    // It may be restarting, and keeps what it has stored.
                    Err(Failure::Unreachable { .. }) => {
                        Readiness::Waiting("the admin API does not respond".into())
                    }
                    Err(failure) => return Err(failure),
                };
                let text = match readiness {
                    Readiness::Serving => "serving".to_owned(),
                    Readiness::Waiting(text) => {
                        waiting.get_or_insert_with(|| format!("{} is {text}", new.id));
                        text
                    }
                };
                if *reported != text {
                    self.report(&format!("{}: {text}", new.id));
                    *reported = text;
                }
            }
            let Some(waiting) = waiting else { return Ok(()) };
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Failure::Deploy(format!("interrupted; {waiting}")));
            }
            if Instant::now() >= deadline {
                let timeout = humantime::format_duration(self.plan.timeout);
                return Err(Failure::Deploy(format!(
                    "not serving within {timeout}: {waiting}\n  --timeout waits longer"
                )));
            }
            pause(POLL_INTERVAL);
        }
    }

    /// Reads the app and its instances.
    fn app_state(&self) -> Result<AppState, Failure> {
        let query = [("app_id", self.plan.app.as_str())];
        let apps: Value = parse(&self.api.call(Method::Get, &target("/api/apps", &query), None)?)?;
        let has_app = apps["apps"].as_array().is_some_and(|apps| !apps.is_empty());
        let limit = ringway_model::limits::PAGE_ITEMS_MAX.to_string();
        let query = [("app_id", self.plan.app.as_str()), ("limit", &limit)];
        let page: InstancePage = parse(&self.api.call(Method::Get, &target(INSTANCES, &query), None)?)?;
        Ok(AppState { revision: page.revision, has_app, instances: page.instances })
    }

    fn instance(&self, id: &str) -> Result<Option<InstanceView>, Failure> {
        let page: InstancePage =
            parse(&self.api.call(Method::Get, &target(INSTANCES, &[("instance_id", id)]), None)?)?;
        Ok(page.instances.into_iter().next())
    }

    /// Prints a line of progress on standard error; standard output has the result.
    fn report(&self, text: &str) {
        eprintln!("{:>6.1}s  {}", self.started.elapsed().as_secs_f64(), escape(text));
    }
}

/// Readiness of an instance.
#[derive(Debug, PartialEq, Eq)]
enum Readiness {
    Serving,
    Waiting(String),
}

impl InstanceView {
    /// Requires a successful probe: after a restart of the proxy an instance serves before it was probed.
    fn readiness(&self) -> Readiness {
        if self.state == "serving" && self.health == "healthy" {
            return Readiness::Serving;
        }
        match &self.state_reason {
            Some(reason) => Readiness::Waiting(format!("{}: {reason}", self.state)),
            None => Readiness::Waiting(self.state.clone()),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InstancePage {
    instances: Vec<InstanceView>,
    revision: u64,
}

/// Describes the probe.
fn probe_text(health: Option<&Value>) -> String {
    match health {
        None => "the check of the app's present instances, else a TCP connection".to_owned(),
        Some(Value::String(path)) if path.starts_with('/') => format!("GET {path}"),
        Some(Value::String(_)) => "a TCP connection".to_owned(),
        Some(check) => match check["path"].as_str() {
            Some(path) => format!("{} {path}", check["method"].as_str().unwrap_or("GET")),
            None => "a TCP connection".to_owned(),
        },
    }
}

/// Describes the result of a deploy.
fn summary_text(summary: &Value) -> String {
    let names = |list: &Value| -> Vec<String> {
        let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
        let name = |item: &Value| item.as_str().or_else(|| item["instance_id"].as_str()).map(escape);
        items.iter().filter_map(name).collect()
    };
    let took = Duration::from_millis(summary["took_ms"].as_u64().unwrap_or_default());
    let mut out = format!(
        "{} is served by {}",
        escape(summary["app_id"].as_str().unwrap_or_default()),
        names(&summary["instances"]).join(", ")
    );
    let removed = names(&summary["removed"]);
    if !removed.is_empty() {
        out.push_str(&format!("; removed {}", removed.join(", ")));
    }
    let ended = summary["removed"].as_array().map(Vec::as_slice).unwrap_or_default();
    match ended.iter().map(requests_left).sum() {
        0 => {}
        1 => out.push_str("; 1 request is still in flight there: let it finish before you stop the process"),
        left => out.push_str(&format!(
            "; {left} requests are still in flight there: let them finish before you stop the process"
        )),
    }
    let kept = names(&summary["kept"]);
    if !kept.is_empty() {
        out.push_str(&format!("; kept {}", kept.join(", ")));
    }
    out + &format!(" ({})\n", humantime::format_duration(took))
}

const INSTANCES: &str = "/api/status/instances";
/// Default time for the new instances to serve, as in kamal-proxy.
pub(crate) const SERVE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two polls of an instance.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_probed_instance_is_ready() {
        let view = |state: &str, health: &str| InstanceView {
            state: state.into(),
            health: health.into(),
            ..InstanceView::default()
        };
        assert_eq!(view("serving", "healthy").readiness(), Readiness::Serving);
        assert_eq!(view("serving", "unknown").readiness(), Readiness::Waiting("serving".into()));
        assert_eq!(view("ejected", "healthy").readiness(), Readiness::Waiting("ejected".into()));
    }
}
