//! `ringway deploy` and `ringway instances replace`: new instances in, wait until they serve, old ones out.
//!
//! ```text
//! look ─► register (If-Match) ─► wait until all serve ─► domains ─► drain the others
//!   ▲            │ changed meanwhile      │ time over, Ctrl-C
//!   └────────────┘                        └─► take back what was registered
//! ```
//! Every step can be repeated: an instance is found again by its target, and a removal by its generation. Of two deploys
//! of one app the second one to begin is refused while the instances of the first one join; afterwards the later
//! registration wins, for a deploy removes only what was registered before its own instances.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cli::limits;
use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Refusal;
use super::instances::{HealthCheck, InstanceView, drain_time};
use super::text::escape;
use super::{Answer, Api, ApiArgs, Failure, Output, object, parse, pause, print, target};

#[derive(Debug, clap::Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// The app's id; it is registered if it is new
    #[arg(long)]
    app: String,
    /// Where a new instance listens: http://HOST:PORT, https://HOST:PORT or h2c://HOST:PORT; repeat it for several
    #[arg(long, value_name = "URL", required = true)]
    target: Vec<String>,
    /// A domain that is to lead to the app; repeat it for several
    #[arg(long, value_name = "DOMAIN")]
    host: Vec<String>,
    /// The tenant whose own domains they are
    #[arg(long, requires = "host")]
    tenant: Option<String>,
    /// The new instance's id [default: APP@HOST:PORT of its target]
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// How long the former instances may finish their requests; WebSockets that are open then are closed
    #[arg(long, visible_alias = "drain-timeout", value_name = "TIME", default_value = "30s", value_parser = drain_time)]
    drain: Duration,
    /// Leave the app's other instances as they are
    #[arg(long)]
    keep_old: bool,
    // Last: its heading would be that of the arguments behind it.
    #[command(flatten)]
    health: HealthCheck,
}

/// Plan of a deploy.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) app: String,
    /// Where the new instances listen, and their ids where those are given.
    pub(crate) wanted: Vec<(Option<String>, String)>,
    pub(crate) hosts: Vec<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) health: Option<Value>,
    pub(crate) patience: Duration,
    pub(crate) drain: Duration,
    pub(crate) old: Old,
    pub(crate) wait_for_drain: bool,
}

/// Which of the app's other instances go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    All,
    None,
    One(String),
}

impl DeployArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.instance.is_some() && self.target.len() > 1 {
            return Err(Failure::Usage(
                "--instance names one instance, and there are several --target".into(),
            ));
        }
        let api = self.api.open()?;
        let patience = self.api.timeout.unwrap_or(PATIENCE);
        let mut instance = self.instance;
        let plan = Plan {
            app: self.app,
            wanted: self.target.into_iter().map(|target| (instance.take(), target)).collect(),
            hosts: self.host,
            tenant: self.tenant,
            health: self.health.value(),
            patience,
            drain: self.drain,
            old: if self.keep_old { Old::None } else { Old::All },
            wait_for_drain: true,
        };
        run(&api, &plan)
    }
}

/// Runs a plan, and prints what it did.
pub(crate) fn run(api: &Api, plan: &Plan) -> Result<(), Failure> {
    let (interrupted, may_end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Without them Ctrl-C ends the command at once; what is registered by then can be resumed or removed all the same.
        let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(&may_end));
        let _ = signal_hook::flag::register(signal, Arc::clone(&interrupted));
    }
    // --timeout is for the instances; an answer may take what it always may.
    let client = api.client.clone().timeout(plan.patience.max(limits::CLI_TIMEOUT));
    let api = &Api { client, ..*api };
    let deploy = Deploy { api, plan, interrupted, may_end, begun: Instant::now() };
    let summary = deploy.run()?;
    match api.output {
        Output::Json => api.print_json(summary.to_string().as_bytes()),
        Output::Text => print(&told(&summary)),
    }
}

struct Deploy<'a> {
    api: &'a Api,
    plan: &'a Plan,
    interrupted: Arc<AtomicBool>,
    /// A signal ends the command at once: nothing is left to be taken back.
    may_end: Arc<AtomicBool>,
    begun: Instant,
}

/// An instance that is to serve.
#[derive(Clone, Debug)]
struct Newcomer {
    id: String,
    target: String,
    generation: u64,
    /// Taken back when the deploy fails: it did not serve before.
    is_ours: bool,
}

/// The app as it is.
#[derive(Debug)]
struct Sight {
    revision: u64,
    has_app: bool,
    instances: Vec<InstanceView>,
}

impl Deploy<'_> {
    fn run(&self) -> Result<Value, Failure> {
        self.check_hosts()?;
        let (newcomers, is_new_app) = self.register()?;
        let undo = |failure: Failure| self.take_back(&newcomers, is_new_app, failure);
        self.wait(&newcomers).map_err(undo)?;
        for host in &self.plan.hosts {
            self.add_host(host).map_err(undo)?;
        }
        let (removed, kept) = self.remove_old(&newcomers)?;
        Ok(json!({
            "app_id": self.plan.app,
            "instances": newcomers
                .iter()
                .map(|new| json!({
                    "instance_id": new.id, "target": new.target, "generation": new.generation, "state": "serving",
                }))
                .collect::<Vec<_>>(),
            "domains": self.plan.hosts,
            "removed": removed,
            "kept": kept,
            "took_ms": u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))
    }

    /// A domain of another app is an error that shows before anything is changed.
    fn check_hosts(&self) -> Result<(), Failure> {
        for host in &self.plan.hosts {
            let body = json!({ "domain": host });
            match self.api.call(Method::Post, "/api/tenants/domains/get", Some(&body)) {
                Ok(answer) => {
                    let domain: Value = parse(&answer)?;
                    let (app, tenant) = (domain["app_id"].as_str(), domain["tenant_id"].as_str());
                    if app != Some(&self.plan.app) {
                        return Err(Failure::Conflict(format!(
                            "domain {host} leads to app {}; move it with: ringway domains update {host} --app {}",
                            app.unwrap_or_default(),
                            self.plan.app
                        )));
                    }
                    if self.plan.tenant.is_some() && tenant != self.plan.tenant.as_deref() {
                        let tenant = tenant.unwrap_or("none");
                        return Err(Failure::Conflict(format!(
                            "domain {host} belongs to tenant {tenant}; change it with: ringway domains update {host}"
                        )));
                    }
                }
                Err(Failure::Refused(refusal)) if refusal.status() == 404 => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn add_host(&self, host: &str) -> Result<(), Failure> {
        // There is one already, or there was none a moment ago.
        let known = self.api.call(Method::Post, "/api/tenants/domains/get", Some(&json!({ "domain": host })));
        if known.is_ok() {
            return Ok(());
        }
        let body = object([
            ("domain", Some(host.into())),
            ("app_id", Some(self.plan.app.clone().into())),
            ("tenant_id", self.plan.tenant.clone().map(Into::into)),
        ]);
        let path = match self.plan.tenant {
            Some(_) => "/api/tenants/custom-domains",
            None => "/api/tenants/domains",
        };
        self.api.call(Method::Post, path, Some(&body))?;
        self.say(&format!("domain {host}: leads to {}", self.plan.app));
        Ok(())
    }

    /// Registers what is not there yet. Each registration is made on the condition that nothing has changed since the look
    /// at the app, so that two deploys cannot both begin.
    fn register(&self) -> Result<(Vec<Newcomer>, bool), Failure> {
        let mut newcomers: Vec<Newcomer> = Vec::new();
        let mut is_new_app = false;
        for _ in 0..LOOKS_MAX {
            let sight = self.look()?;
            let undo = |failure| self.take_back(&newcomers, is_new_app, failure);
            let wanted = self.resolve(&sight).map_err(undo)?;
            self.refuse_another(&sight, &wanted).map_err(undo)?;
            let mut revision = sight.revision;
            let mut is_outdated = false;
            let mut has_app = sight.has_app;
            for (id, target) in &wanted {
                if newcomers.iter().any(|new| new.id == *id) {
                    continue;
                }
                let known = sight.instances.iter().find(|instance| instance.instance_id == *id);
                if let Some(known) = known.filter(|known| self.is_kept(known)) {
                    // One that joins was left by a deploy that was interrupted: it is ours to wait for, and to take back.
                    newcomers.push(Newcomer {
                        id: id.clone(),
                        target: target.clone(),
                        generation: known.generation,
                        is_ours: known.state == "joining",
                    });
                    continue;
                }
                match self.register_one(id, target, known, &sight, has_app, revision) {
                    Ok(answer) => {
                        let receipt: Registered = parse(&answer)?;
                        is_new_app |= !has_app;
                        has_app = true;
                        revision = receipt.revision;
                        self.say(&format!("{id}: registered at {target}, generation {}", receipt.generation));
                        newcomers.push(Newcomer {
                            id: id.clone(),
                            target: target.clone(),
                            generation: receipt.generation,
                            is_ours: known.is_none_or(|known| known.state == "joining"),
                        });
                    }
                    Err(Failure::Refused(refusal)) if refusal.status() == 412 => {
                        is_outdated = true;
                        break;
                    }
                    Err(failure) => return Err(self.take_back(&newcomers, is_new_app, failure)),
                }
            }
            if !is_outdated {
                return Ok((newcomers, is_new_app));
            }
        }
        let failure = Failure::Conflict("the configuration keeps changing; try again".into());
        Err(self.take_back(&newcomers, is_new_app, failure))
    }

    fn register_one(
        &self,
        id: &str,
        target: &str,
        known: Option<&InstanceView>,
        sight: &Sight,
        has_app: bool,
        revision: u64,
    ) -> Result<Answer, Failure> {
        // What was not said stays.
        let health = match (&self.plan.health, known) {
            (Some(said), _) => Some(said.clone()),
            (None, Some(known)) => known.health_check.clone(),
            (None, None) => inherited(&self.plan.old, sight)?,
        };
        let instance =
            [("instance_id", Some(id.into())), ("target", Some(target.into())), ("health_check", health)];
        let app = Value::from(self.plan.app.clone());
        let (path, body) = match has_app {
            true => {
                let mut body = object(instance);
                body["app_id"] = app;
                ("/api/apps/instances", body)
            }
            false => ("/api/apps/register", json!({ "app_id": app, "instance": object(instance) })),
        };
        self.api.call_at(Method::Post, path, &body, revision)
    }

    /// Whether an instance need not be registered again.
    fn is_kept(&self, known: &InstanceView) -> bool {
        let is_same = self.plan.health.as_ref().is_none_or(|check| match &known.health_check {
            Some(known) => check == known,
            None => check == "tcp",
        });
        is_same && matches!(known.state.as_str(), "serving" | "joining")
    }

    /// The id of each target: the one that is there, else the given one, else one that follows from app and target.
    fn resolve(&self, sight: &Sight) -> Result<Vec<(String, String)>, Failure> {
        let mut resolved: Vec<(String, String)> = Vec::new();
        for (given, wanted) in &self.plan.wanted {
            let there = sight.instances.iter().find(|instance| same_target(&instance.target, wanted));
            let id = match (there, given) {
                (Some(there), Some(given)) if there.instance_id != *given => {
                    return Err(Failure::Conflict(format!(
                        "{} is the target of instance {} already; leave --instance out to resume it",
                        wanted, there.instance_id
                    )));
                }
                (Some(there), _) => there.instance_id.clone(),
                (None, given) => given.clone().unwrap_or_else(|| id_of(&self.plan.app, wanted)),
            };
            let other = sight.instances.iter().find(|instance| instance.instance_id == id);
            if let Some(other) = other.filter(|other| !same_target(&other.target, wanted)) {
                return Err(Failure::Conflict(format!(
                    "instance {id} is registered at {}; a new version needs another id, or none",
                    other.target
                )));
            }
            if !resolved.iter().any(|(known, _)| *known == id) {
                resolved.push((id, wanted.clone()));
            }
        }
        Ok(resolved)
    }

    /// Instances of others that join belong to a deploy that is under way.
    fn refuse_another(&self, sight: &Sight, wanted: &[(String, String)]) -> Result<(), Failure> {
        let is_ours = |instance: &&InstanceView| wanted.iter().any(|(id, _)| *id == instance.instance_id);
        let other = sight.instances.iter().find(|instance| instance.state == "joining" && !is_ours(instance));
        match other {
            None => Ok(()),
            Some(other) => Err(Failure::Conflict(format!(
                "another deploy of app {} is under way: instance {} at {} is joining ({}); wait for it, or remove it with: \
                 ringway instances remove {}",
                self.plan.app,
                other.instance_id,
                other.target,
                other.state_reason.as_deref().unwrap_or("not probed yet"),
                other.instance_id
            ))),
        }
    }

    /// Waits until all serve, and says what is seen meanwhile.
    fn wait(&self, newcomers: &[Newcomer]) -> Result<(), Failure> {
        let deadline = Instant::now() + self.plan.patience;
        let mut said: Vec<String> = vec![String::new(); newcomers.len()];
        if newcomers.iter().any(|new| new.is_ours) {
            self.say(&format!(
                "waiting up to {} for a successful probe ({}); Ctrl-C takes back what was registered",
                humantime::format_duration(self.plan.patience),
                probe_text(self.plan.health.as_ref())
            ));
        }
        loop {
            let mut waiting: Option<String> = None;
            for (new, said) in newcomers.iter().zip(&mut said) {
                let seen = match self.instance(&new.id) {
                    Ok(Some(view)) if view.generation != new.generation => {
                        return Err(Failure::Conflict(format!(
                            "{} was registered again by another (generation {}, ours {})",
                            new.id, view.generation, new.generation
                        )));
                    }
                    Ok(Some(view)) if view.state == "draining" => {
                        return Err(Failure::Conflict(format!("{} is being removed by another", new.id)));
                    }
                    Ok(Some(view)) => view.seen(),
                    Ok(None) => return Err(Failure::Conflict(format!("{} was removed by another", new.id))),
                    // It may be on its way back; what it has stored is there then.
                    Err(Failure::Unreachable { .. }) => Seen::Waiting("the admin API does not answer".into()),
                    Err(failure) => return Err(failure),
                };
                let text = match seen {
                    Seen::Serving => "serving".to_owned(),
                    Seen::Waiting(text) => {
                        waiting.get_or_insert_with(|| format!("{} is {text}", new.id));
                        text
                    }
                };
                if *said != text {
                    self.say(&format!("{}: {text}", new.id));
                    *said = text;
                }
            }
            let Some(waiting) = waiting else { return Ok(()) };
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Failure::Deploy(format!("interrupted; {waiting}")));
            }
            if Instant::now() >= deadline {
                let patience = humantime::format_duration(self.plan.patience);
                return Err(Failure::Deploy(format!(
                    "not serving within {patience}: {waiting}\n  --timeout waits longer"
                )));
            }
            pause(LOOK_AGAIN);
        }
    }

    /// Undoes the registrations of this deploy.
    fn take_back(&self, newcomers: &[Newcomer], is_new_app: bool, failure: Failure) -> Failure {
        let mut left = Vec::new();
        let mut undone = Vec::new();
        for new in newcomers.iter().filter(|new| new.is_ours) {
            let body = json!({ "instance_id": new.id, "generation": new.generation });
            match self.api.call(Method::Delete, "/api/apps/instances", Some(&body)) {
                Ok(_) => undone.push(new.id.clone()),
                // Gone already, or somebody else's by now.
                Err(Failure::Refused(refusal)) if matches!(refusal.status(), 404 | 409) => {}
                Err(_) => left.push(new.id.clone()),
            }
        }
        if is_new_app && left.is_empty() {
            // Refused when somebody has given it a domain meanwhile, or an instance: then it is not ours.
            let is_empty = self.look().is_ok_and(|sight| sight.instances.is_empty());
            if is_empty {
                let _ = self.api.call(Method::Delete, "/api/apps", Some(&json!({ "app_id": self.plan.app })));
            }
        }
        let mut note = String::new();
        if !undone.is_empty() {
            note.push_str(&format!("\n  taken back: {}; nothing else has changed", undone.join(", ")));
        }
        for id in left {
            note.push_str(&format!(
                "\n  {id} is still registered: repeat the command to go on, or: ringway instances remove {id}"
            ));
        }
        failure.with_note(&note)
    }

    /// Drains what was registered before our instances, all at the same time.
    fn remove_old(&self, newcomers: &[Newcomer]) -> Result<(Vec<Value>, Vec<String>), Failure> {
        let newest = newcomers.iter().map(|new| new.generation).max().unwrap_or_default();
        let sight = self.look()?;
        let is_ours = |instance: &InstanceView| newcomers.iter().any(|new| new.id == instance.instance_id);
        let others: Vec<&InstanceView> =
            sight.instances.iter().filter(|instance| !is_ours(instance)).collect();
        let (old, kept): (Vec<&InstanceView>, Vec<&InstanceView>) = match &self.plan.old {
            Old::All => others.into_iter().partition(|instance| instance.generation < newest),
            Old::None => (Vec::new(), others),
            Old::One(id) => {
                (others.into_iter().filter(|instance| instance.instance_id == *id).collect(), Vec::new())
            }
        };
        let kept: Vec<String> = kept.iter().map(|instance| instance.instance_id.clone()).collect();
        if self.plan.old == Old::All {
            for id in &kept {
                self.say(&format!("{id}: registered after this deploy began; left alone"));
            }
        }
        if !old.is_empty() && self.plan.wait_for_drain {
            self.say("Ctrl-C ends the command; the drains go on by themselves");
            self.may_end.store(true, Ordering::Relaxed);
        }
        let mut removed = Vec::new();
        for some in old.chunks(DRAINS_AT_ONCE) {
            for instance in some {
                self.say(&format!(
                    "{}: draining, {} in flight, up to {}",
                    instance.instance_id,
                    instance.requests_in_flight,
                    humantime::format_duration(self.plan.drain)
                ));
            }
            let ended: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> =
                    some.iter().map(|instance| scope.spawn(|| self.drain(instance))).collect();
                threads.into_iter().map(|thread| thread.join()).collect()
            });
            for ended in ended {
                match ended {
                    Ok(result) => removed.extend(result?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        }
        Ok((removed, kept))
    }

    /// Drains one instance; nothing when it is not there any more, or has registered again.
    fn drain(&self, instance: &InstanceView) -> Result<Option<Value>, Failure> {
        let id = &instance.instance_id;
        let body = json!({
            "instance_id": id,
            "generation": instance.generation,
            "drain": format!("{}ms", self.plan.drain.as_millis()),
        });
        let answered = match self.plan.wait_for_drain {
            true => self.api.call_within(self.plan.drain, Method::Delete, "/api/apps/instances", &body),
            false => match self.api.call(Method::Delete, "/api/apps/instances", Some(&body)) {
                Err(Failure::Unreachable { error, .. }) if error.is_timeout() => {
                    return Ok(Some(json!({ "instance_id": id, "drained": null })));
                }
                answered => answered,
            },
        };
        match answered {
            Ok(answer) => {
                let mut drained: Value = parse(&answer)?;
                if drained["state"] == "draining" && self.plan.wait_for_drain {
                    drained = self.watch_drain(instance)?;
                }
                self.say(&format!("{id}: {}", drained_text(&drained)));
                Ok(Some(drained))
            }
            Err(Failure::Refused(refusal)) if refusal.status() == 404 => Ok(None),
            Err(Failure::Refused(refusal)) if refusal.status() == 409 => {
                self.say(&format!("{id}: registered again meanwhile; left alone"));
                Ok(None)
            }
            Err(failure) => Err(failure
                .with_note("\n  the new version serves; repeat the command to remove the former instances")),
        }
    }

    /// Waits for the end of a drain that the API does not answer for, because many wait there already.
    fn watch_drain(&self, instance: &InstanceView) -> Result<Value, Failure> {
        let deadline = Instant::now() + self.plan.drain + limits::CLI_TIMEOUT;
        while Instant::now() < deadline {
            match self.instance(&instance.instance_id)? {
                Some(view) if view.generation == instance.generation => pause(LOOK_AGAIN),
                _ => break,
            }
        }
        Ok(json!({ "instance_id": instance.instance_id, "drained": null }))
    }

    fn look(&self) -> Result<Sight, Failure> {
        let query = [("app_id", self.plan.app.as_str())];
        let apps: Value = parse(&self.api.call(Method::Get, &target("/api/apps", &query), None)?)?;
        let has_app = apps["apps"].as_array().is_some_and(|apps| !apps.is_empty());
        let limit = ringway_model::limits::PAGE_ITEMS_MAX.to_string();
        let query = [("app_id", self.plan.app.as_str()), ("limit", &limit)];
        let page: InstancePage = parse(&self.api.call(Method::Get, &target(INSTANCES, &query), None)?)?;
        Ok(Sight { revision: page.revision, has_app, instances: page.instances })
    }

    fn instance(&self, id: &str) -> Result<Option<InstanceView>, Failure> {
        let page: InstancePage =
            parse(&self.api.call(Method::Get, &target(INSTANCES, &[("instance_id", id)]), None)?)?;
        Ok(page.instances.into_iter().next())
    }

    /// A line of progress, on standard error: standard output has the result.
    fn say(&self, text: &str) {
        eprintln!("{:>6.1}s  {}", self.begun.elapsed().as_secs_f64(), escape(text));
    }
}

/// Observed state of an instance.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Serving,
    Waiting(String),
}

impl InstanceView {
    /// Only a successful probe counts: after a restart of the proxy an instance serves before it was probed.
    fn seen(&self) -> Seen {
        if self.state == "serving" && self.health == "healthy" {
            return Seen::Serving;
        }
        match &self.state_reason {
            Some(reason) => Seen::Waiting(format!("{}: {reason}", self.state)),
            None => Seen::Waiting(self.state.clone()),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InstancePage {
    instances: Vec<InstanceView>,
    revision: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Registered {
    revision: u64,
    generation: u64,
}

/// Targets are shown in their normal form, which may be shorter than what was typed.
fn same_target(known: &str, typed: &str) -> bool {
    match (ringway_model::Target::parse(known), ringway_model::Target::parse(typed)) {
        (Ok(known), Ok(typed)) => known == typed,
        _ => known == typed,
    }
}

/// The same for the same app and target, so that a deploy that was interrupted finds its instance again.
fn id_of(app: &str, target: &str) -> String {
    let authority = target.split_once("://").map_or(target, |(_, rest)| rest).trim_end_matches('/');
    let id: String = format!("{app}@{authority}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_.:@-".contains(c) { c } else { '-' })
        .collect();
    match id.len() <= ringway_model::limits::ID_BYTES_MAX {
        true => id,
        false => {
            let hash = id.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
            });
            let kept: String = id.chars().take(ringway_model::limits::ID_BYTES_MAX - 17).collect();
            format!("{kept}-{hash:016x}")
        }
    }
}

/// The health check of a new instance for which none is given: that of the instance that it replaces, or the newest of the app.
fn inherited(old: &Old, sight: &Sight) -> Result<Option<Value>, Failure> {
    let model = match old {
        Old::One(id) => sight.instances.iter().find(|instance| instance.instance_id == *id),
        Old::All | Old::None => sight.instances.iter().max_by_key(|instance| instance.generation),
    };
    let Some(model) = model else { return Ok(None) };
    match &model.health_check {
        Some(check) if !check["headers"].is_null() => Err(Failure::Usage(format!(
            "the check of {} has headers, whose values are shown to nobody: give --health-check and --health-header again, or \
             --health-check tcp for a TCP connection",
            model.instance_id
        ))),
        check => Ok(check.clone()),
    }
}

/// Text about the probe, for people.
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

/// Text about the end of a drain, for people.
pub(crate) fn drained_text(drained: &Value) -> String {
    let took = Duration::from_millis(drained["took_ms"].as_u64().unwrap_or_default());
    let took = humantime::format_duration(took);
    let left = drained["requests_left"].as_u64().unwrap_or_default();
    let websockets = drained["websockets_left"].as_u64().unwrap_or_default();
    if drained["state"] == "draining" {
        let until = drained["draining_until"].as_str().unwrap_or_default();
        return format!("draining until {until} at the latest, which goes on by itself");
    }
    if drained["drained"].is_null() && drained["took_ms"].is_null() {
        return "removed".to_owned();
    }
    match left {
        0 => format!("drained in {took} and removed"),
        _ => format!(
            "removed after {took}; WebSockets closed: {websockets}, requests going on: {}",
            requests_left(drained)
        ),
    }
}

/// Requests that an instance still answers after its removal; WebSockets are closed.
fn requests_left(drained: &Value) -> u64 {
    let count = |field: &str| drained[field].as_u64().unwrap_or_default();
    count("requests_left").saturating_sub(count("websockets_left"))
}

fn told(summary: &Value) -> String {
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
        1 => out.push_str("; 1 request still runs there: let it finish before the process ends"),
        left => out
            .push_str(&format!("; {left} requests still run there: let them finish before the process ends")),
    }
    let kept = names(&summary["kept"]);
    if !kept.is_empty() {
        out.push_str(&format!("; beside {}", kept.join(", ")));
    }
    out + &format!(" ({})\n", humantime::format_duration(took))
}

/// The refusal's status, for what is no failure here.
impl Refusal {
    fn status(&self) -> u16 {
        self.status
    }
}

const INSTANCES: &str = "/api/status/instances";
/// Default time for the new instances to serve; kamal-proxy has the same.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Looks at an app whose configuration changes at each try.
const LOOKS_MAX: usize = 20;
/// Drains that are waited for at the same time: a thread and a connection each.
const DRAINS_AT_ONCE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_id_follows_from_app_and_target() {
        for (target, id) in [
            ("http://127.0.0.1:3002", "web@127.0.0.1:3002"),
            ("http://127.0.0.1:3002/", "web@127.0.0.1:3002"),
            ("h2c://[::1]:50051", "web@-::1-:50051"),
        ] {
            assert_eq!(id_of("web", target), id);
            assert!(ringway_model::InstanceId::parse(id).is_ok());
        }
        let long = format!("http://{}.example:1", "a".repeat(60)).replace(".example", &".b".repeat(60));
        let (one, other) = (id_of("web", &long), id_of("web", &format!("{long}2")));
        assert!(one != other && ringway_model::InstanceId::parse(&one).is_ok(), "{one}");
    }

    #[test]
    fn targets_are_the_same_however_they_are_typed() {
        assert!(same_target("http://127.0.0.1:80", "http://127.0.0.1"));
        assert!(!same_target("http://127.0.0.1:80", "h2c://127.0.0.1:80"));
    }

    #[test]
    fn only_a_probed_instance_serves() {
        let view = |state: &str, health: &str| InstanceView {
            state: state.into(),
            health: health.into(),
            ..InstanceView::default()
        };
        assert_eq!(view("serving", "healthy").seen(), Seen::Serving);
        assert_eq!(view("serving", "unknown").seen(), Seen::Waiting("serving".into()));
        assert_eq!(view("ejected", "healthy").seen(), Seen::Waiting("ejected".into()));
    }

    #[test]
    fn a_drain_is_told_with_what_was_left() {
        assert_eq!(
            drained_text(&json!({ "took_ms": 1_500, "requests_left": 0 })),
            "drained in 1s 500ms and removed"
        );
        assert_eq!(
            drained_text(&json!({ "took_ms": 30_000, "requests_left": 3, "websockets_left": 2 })),
            "removed after 30s; WebSockets closed: 2, requests going on: 1"
        );
    }
}
