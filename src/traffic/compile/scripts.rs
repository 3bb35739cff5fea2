//! Scripts of a snapshot: their bundle, and the rules for the hosts that they serve.

use std::sync::Arc;

use ringway_model::{Desired, HostPattern, Owner};

use super::draft::{Draft, Known};
use crate::scripts::ScriptRoutes;
#[cfg(feature = "lua")]
use crate::scripts::{self, Scripts};
use crate::virtual_host::{Action, Rule};

#[cfg(feature = "lua")]
impl Draft<'_> {
    /// Compiles the bundle. Returns the hosts whose rules may change.
    pub(super) fn put_scripts(&mut self, desired: &Desired) -> Vec<HostPattern> {
        let old = self.snapshot.scripts.take();
        let mut hosts: Vec<HostPattern> =
            old.iter().flat_map(|scripts| scripts::hosts(&scripts.bundle)).collect();
        let sources: Vec<_> = desired.scripts().map(|script| &*script.spec).collect();
        if !sources.is_empty() {
            let new = scripts::check(sources).map(|bundle| Scripts::new(bundle, self.script_state));
            self.snapshot.scripts = match (new, old) {
                (Ok(new), Some(old)) if *old == new => Some(old),
                (Ok(new), _) => {
                    self.script_state.prepare();
                    Some(Arc::new(new))
                }
                // They were compiled before the change was accepted, by another build perhaps.
                (Err(findings), old) => {
                    self.effects.refused_scripts = findings.into_iter().next();
                    old
                }
            };
        }
        let new = self.snapshot.scripts.iter().flat_map(|scripts| scripts::hosts(&scripts.bundle));
        hosts.extend(new);
        hosts
    }

    /// Routes of scripts for a host.
    pub(super) fn script_routes(&self, host: &HostPattern) -> Option<ScriptRoutes> {
        let scripts = self.snapshot.scripts.as_ref()?;
        let named = Some(host.clone());
        let host = match host {
            HostPattern::Any if !scripts.bundle.tables().contains_key(&named) => None,
            _ => named,
        };
        let is_served = scripts.bundle.tables().contains_key(&host);
        is_served.then(|| ScriptRoutes { scripts: scripts.clone(), host })
    }
}

impl Draft<'_> {
    /// The rule of a host that runs scripts, behind all others of the host.
    pub(super) fn script_rule(
        &mut self,
        desired: &Desired,
        routes: ScriptRoutes,
        known: Known<'_>,
    ) -> Arc<Rule> {
        let name: Arc<str> = routes.name().into();
        let layers = self.layers(desired, &name, &[], None);
        let policy = self.policy(&layers, Some(UNAVAILABLE_STATUS));
        let traffic = self.rule_traffic(desired, &layers, (None, policy.head_timeout()), &[], known);
        let (id, metric) = self.rule_id(known);
        let rule = Rule {
            id,
            owner: Owner::File,
            name,
            app: None,
            tenant: None,
            requires_client_cert: false,
            action: Action::Script(Arc::new(routes)),
            policy,
            traffic,
            stages: self.settings.defaults.stages.clone(),
            is_logged: true,
            cache: None,
            metric,
        };
        self.keep_or_make(rule, known)
    }
}

const UNAVAILABLE_STATUS: u16 = 503;

#[cfg(not(feature = "lua"))]
impl Draft<'_> {
    /// There are no scripts.
    pub(super) fn put_scripts(&mut self, _: &Desired) -> Vec<HostPattern> {
        Vec::new()
    }

    /// There are no scripts.
    pub(super) fn script_routes(&self, _: &HostPattern) -> Option<ScriptRoutes> {
        None
    }
}
