//! Registration of a deploy's new instances and domains, and its rollback.

use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AppState, Deploy, OldInstances};
use crate::cli::client::http::HttpResponse;
use crate::cli::client::instances::InstanceView;
use crate::cli::client::{Failure, object, parse};

/// New instance of a deploy.
#[derive(Clone, Debug)]
pub(super) struct NewInstance {
    pub(super) id: String,
    pub(super) target: String,
    pub(super) generation: u64,
    /// Removed when the deploy fails, because it did not serve before.
    pub(super) is_ours: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Registered {
    revision: u64,
    generation: u64,
}

impl Deploy<'_> {
    /// Refuses domains of another app, before anything is changed.
    pub(super) fn check_hosts(&self) -> Result<(), Failure> {
        for host in &self.plan.hosts {
            let body = json!({ "domain": host });
            match self.api.call(Method::Post, "/api/tenants/domains/get", Some(&body)) {
                Ok(response) => {
                    let domain: Value = parse(&response)?;
                    let (app, tenant) = (domain["app_id"].as_str(), domain["tenant_id"].as_str());
                    if app != Some(&self.plan.app) {
                        return Err(Failure::Conflict(format!(
                            "domain {host} is routed to app {}; move it with: ringway domains update {host} --app {}",
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
                Err(Failure::Refused(refusal)) if refusal.status == 404 => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Registers a domain, unless it is registered.
    pub(super) fn add_host(&self, host: &str) -> Result<(), Failure> {
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
        self.report(&format!("domain {host}: routed to {}", self.plan.app));
        Ok(())
    }

    /// Registers the new instances that are not registered yet. Each registration is conditional on the
    /// revision that was read, which keeps two deploys from starting at the same time.
    pub(super) fn register(&self) -> Result<(Vec<NewInstance>, bool), Failure> {
        let mut new_instances: Vec<NewInstance> = Vec::new();
        let mut is_new_app = false;
        for _ in 0..REGISTER_ATTEMPTS_MAX {
            let state = self.app_state()?;
            let undo = |failure| self.roll_back(&new_instances, is_new_app, failure);
            let wanted = self.resolve(&state).map_err(undo)?;
            self.refuse_concurrent(&state, &wanted).map_err(undo)?;
            let mut revision = state.revision;
            let mut is_outdated = false;
            let mut has_app = state.has_app;
            for (id, target) in &wanted {
                if new_instances.iter().any(|new| new.id == *id) {
                    continue;
                }
                let known = state.instances.iter().find(|instance| instance.instance_id == *id);
                if let Some(known) = known.filter(|known| self.is_kept(known)) {
                    // One that joins is left over from an interrupted deploy, and is rolled back like ours.
                    new_instances.push(NewInstance {
                        id: id.clone(),
                        target: target.clone(),
                        generation: known.generation,
                        is_ours: known.state == "joining",
                    });
                    continue;
                }
                match self.register_one(id, target, known, &state, has_app, revision) {
                    Ok(response) => {
                        let receipt: Registered = parse(&response)?;
                        is_new_app |= !has_app;
                        has_app = true;
                        revision = receipt.revision;
                        self.report(&format!(
                            "{id}: registered at {target}, generation {}",
                            receipt.generation
                        ));
                        new_instances.push(NewInstance {
                            id: id.clone(),
                            target: target.clone(),
                            generation: receipt.generation,
                            is_ours: known.is_none_or(|known| known.state == "joining"),
                        });
                    }
                    Err(Failure::Refused(refusal)) if refusal.status == 412 => {
                        is_outdated = true;
                        break;
                    }
                    Err(failure) => return Err(self.roll_back(&new_instances, is_new_app, failure)),
                }
            }
            if !is_outdated {
                return Ok((new_instances, is_new_app));
            }
        }
        let failure = Failure::Conflict("the configuration keeps changing; try again".into());
        Err(self.roll_back(&new_instances, is_new_app, failure))
    }

    fn register_one(
        &self,
        id: &str,
        target: &str,
        known: Option<&InstanceView>,
        state: &AppState,
        has_app: bool,
        revision: u64,
    ) -> Result<HttpResponse, Failure> {
        // A health check that is not given stays.
        let health = match (&self.plan.health, known) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(known)) => known.health_check.clone(),
            (None, None) => inherited_check(&self.plan.old, state)?,
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

    /// Whether a registration is up to date.
    fn is_kept(&self, known: &InstanceView) -> bool {
        let is_same = self.plan.health.as_ref().is_none_or(|check| match &known.health_check {
            Some(known) => check == known,
            None => check == "tcp",
        });
        is_same && matches!(known.state.as_str(), "serving" | "joining")
    }

    /// Finds the ID of each target: the registered one, else the given one, else one made from app and
    /// target.
    fn resolve(&self, state: &AppState) -> Result<Vec<(String, String)>, Failure> {
        let mut resolved: Vec<(String, String)> = Vec::new();
        for (given, wanted) in &self.plan.wanted {
            let registered = state.instances.iter().find(|instance| same_target(&instance.target, wanted));
            let id = match (registered, given) {
                (Some(registered), Some(given)) if registered.instance_id != *given => {
                    return Err(Failure::Conflict(format!(
                        "{} is the target of instance {} already; leave --instance out to resume it",
                        wanted, registered.instance_id
                    )));
                }
                (Some(registered), _) => registered.instance_id.clone(),
                (None, given) => given.clone().unwrap_or_else(|| id_of(&self.plan.app, wanted)),
            };
            let other = state.instances.iter().find(|instance| instance.instance_id == id);
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

    /// Refuses to start while instances of another deploy join.
    fn refuse_concurrent(&self, state: &AppState, wanted: &[(String, String)]) -> Result<(), Failure> {
        let is_ours = |instance: &&InstanceView| wanted.iter().any(|(id, _)| *id == instance.instance_id);
        let other = state.instances.iter().find(|instance| instance.state == "joining" && !is_ours(instance));
        match other {
            None => Ok(()),
            Some(other) => Err(Failure::Conflict(format!(
                "another deploy of app {} is in progress: instance {} at {} is joining ({}); wait for it, or remove it with: \
                 ringway instances remove {}",
                self.plan.app,
                other.instance_id,
                other.target,
                other.state_reason.as_deref().unwrap_or("not probed yet"),
                other.instance_id
            ))),
        }
    }

    /// Removes the registrations of this deploy; the failure reports the result.
    pub(super) fn roll_back(
        &self,
        new_instances: &[NewInstance],
        is_new_app: bool,
        failure: Failure,
    ) -> Failure {
        let mut left = Vec::new();
        let mut undone = Vec::new();
        for new in new_instances.iter().filter(|new| new.is_ours) {
            let body = json!({ "instance_id": new.id, "generation": new.generation });
            match self.api.call(Method::Delete, "/api/apps/instances", Some(&body)) {
                Ok(_) => undone.push(new.id.clone()),
                // Removed or registered again by another client.
                Err(Failure::Refused(refusal)) if matches!(refusal.status, 404 | 409) => {}
                Err(_) => left.push(new.id.clone()),
            }
        }
        if is_new_app && left.is_empty() {
            // Refused when another client has given it a domain or an instance meanwhile.
            let is_empty = self.app_state().is_ok_and(|state| state.instances.is_empty());
            if is_empty {
                let _ = self.api.call(Method::Delete, "/api/apps", Some(&json!({ "app_id": self.plan.app })));
            }
        }
        let mut note = String::new();
        if !undone.is_empty() {
            note.push_str(&format!("\n  rolled back: {}; nothing else has changed", undone.join(", ")));
        }
        for id in left {
            note.push_str(&format!(
                "\n  {id} is still registered: repeat the command to resume, or run: ringway instances remove {id}"
            ));
        }
        failure.with_note(&note)
    }
}

/// Whether two texts are the same target; the API shows the normal form, which may be shorter than the typed
/// one.
fn same_target(known: &str, typed: &str) -> bool {
    match (ringway_model::Target::parse(known), ringway_model::Target::parse(typed)) {
        (Ok(known), Ok(typed)) => known == typed,
        _ => known == typed,
    }
}

/// Makes an instance ID from app and target: the same each time, which lets a repeated deploy find its
/// instance.
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

/// Finds the health check of a new instance for which none is given: that of the instance that it replaces,
/// or of the newest one of the app.
fn inherited_check(old: &OldInstances, state: &AppState) -> Result<Option<Value>, Failure> {
    let model = match old {
        OldInstances::One(id) => state.instances.iter().find(|instance| instance.instance_id == *id),
        OldInstances::All | OldInstances::None => {
            state.instances.iter().max_by_key(|instance| instance.generation)
        }
    };
    let Some(model) = model else { return Ok(None) };
    match &model.health_check {
        Some(check) if !check["headers"].is_null() => Err(Failure::Usage(format!(
            "the check of {} has headers, whose values are secret: give --health-check and --health-header again, or \
             --health-check tcp for a TCP connection",
            model.instance_id
        ))),
        check => Ok(check.clone()),
    }
}

/// Attempts to register while the configuration changes each time.
const REGISTER_ATTEMPTS_MAX: usize = 20;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_ids_are_made_from_app_and_target() {
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
    fn targets_are_compared_in_normal_form() {
        assert!(same_target("http://127.0.0.1:80", "http://127.0.0.1"));
        assert!(!same_target("http://127.0.0.1:80", "h2c://127.0.0.1:80"));
    }
}
