//! A plane without stores, cores and threads; what it does with a change is what the model does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ringway_model::{
    AppId, AppSpec, Change, CoreId, Delta, Desired, DomainKind, DomainSpec, Generation, Health, HealthCheck,
    Hostname, InstanceId, InstanceSpec, Outcome, Rejection, Serial, Target, TenantId, Timestamp,
};

use crate::{InstanceStatus, Plane, Receipt, Refusal, Status, StoreStatus, Submission, WorkerStatus};

pub(super) struct FakePlane(pub(super) Arc<Mutex<State>>);

/// What there is, and how it behaves.
pub(super) struct State {
    pub(super) desired: Desired,
    /// Refuses the next change with this.
    pub(super) refuse: Option<Refusal>,
    /// Cores that are slow.
    pub(super) pending: Vec<CoreId>,
    pub(super) is_ready: bool,
    pub(super) statuses: HashMap<InstanceId, InstanceStatus>,
    pub(super) heartbeats: Vec<(InstanceId, Option<Generation>)>,
    pub(super) submissions: Vec<Submission>,
    receipts: HashMap<String, (u64, Receipt)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            desired: Desired::default(),
            refuse: None,
            pending: Vec::new(),
            is_ready: true,
            statuses: HashMap::new(),
            heartbeats: Vec::new(),
            submissions: Vec::new(),
            receipts: HashMap::new(),
        }
    }
}

impl State {
    /// Applies a change that must succeed.
    pub(super) fn make(&mut self, change: &Change) {
        self.desired = self.desired.apply(change, NOW).unwrap().desired;
    }

    pub(super) fn app(&mut self, id: &str) {
        self.make(&Change::Register {
            app: AppSpec { id: AppId::parse(id).unwrap(), name: None, upstream_tls: None },
            instance: None,
            domain: None,
        });
    }

    pub(super) fn instance(&mut self, app: &str, id: &str) {
        self.make(&Change::AddInstance(InstanceSpec {
            id: InstanceId::parse(id).unwrap(),
            app: AppId::parse(app).unwrap(),
            target: Target::parse("http://10.0.0.5:3001").unwrap(),
            health_check: HealthCheck::default(),
        }));
    }

    pub(super) fn domain(&mut self, app: &str, name: &str, tenant: Option<&str>) {
        self.make(&Change::AddDomain(DomainSpec {
            certificate: None,
            client_auth: None,
            name: Hostname::parse(name).unwrap(),
            app: AppId::parse(app).unwrap(),
            tenant: tenant.map(|id| TenantId::parse(id).unwrap()),
            kind: DomainKind::Subdomain,
            cname_target: None,
        }));
    }

    pub(super) fn health(&mut self, id: &str, health: Health) {
        let status = InstanceStatus { health, streak: 3, ..InstanceStatus::default() };
        self.statuses.insert(InstanceId::parse(id).unwrap(), status);
    }
}

/// 2025-01-01T00:00:00Z
const NOW: Timestamp = Timestamp(1_735_689_600_000);

impl FakePlane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Plane for FakePlane {
    async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let mut state = self.state();
        state.submissions.push(submission.clone());
        if let Some(refusal) = state.refuse.take() {
            return Err(refusal);
        }
        if let Some(given) = &submission.idempotency
            && let Some((hash, receipt)) = state.receipts.get(&given.key)
        {
            return match *hash == given.request_hash {
                true => Ok(Receipt { replayed: true, ..receipt.clone() }),
                false => Err(Refusal::IdempotencyConflict),
            };
        }
        let current = state.desired.revision();
        if submission.if_match.is_some_and(|wanted| wanted != current) {
            return Err(Refusal::RevisionMismatch { current });
        }
        let applied = state.desired.apply(&submission.change, NOW).map_err(Refusal::Rejected)?;
        let generation = applied.deltas.iter().find_map(|delta| match delta {
            Delta::PutInstance(instance) => Some(instance.generation),
            _ => None,
        });
        let receipt = Receipt {
            revision: applied.desired.revision(),
            outcome: applied.outcome,
            generation,
            pending: if applied.outcome == Outcome::Unchanged { Vec::new() } else { state.pending.clone() },
            replayed: false,
            applied_in: Duration::from_micros(42),
        };
        state.desired = applied.desired;
        if let Some(given) = submission.idempotency {
            state.receipts.insert(given.key, (given.request_hash, receipt.clone()));
        }
        Ok(receipt)
    }

    fn heartbeat(&self, id: &InstanceId, generation: Option<Generation>) -> Result<(), Rejection> {
        let mut state = self.state();
        let Some(instance) = state.desired.instance(id.as_str()) else {
            return Err(Rejection::UnknownInstance(id.clone()));
        };
        let current = instance.generation;
        if generation.is_some_and(|given| given != current) {
            return Err(Rejection::StaleGeneration { id: id.clone(), current });
        }
        state.heartbeats.push((id.clone(), generation));
        Ok(())
    }

    fn desired(&self) -> Desired {
        self.state().desired.clone()
    }

    fn instance_status(&self, id: &InstanceId) -> Option<InstanceStatus> {
        self.state().statuses.get(id).cloned()
    }

    fn status(&self) -> Status {
        let is_ready = self.state().is_ready;
        Status {
            state: if is_ready { "ready" } else { "starting" },
            version: "1.2.3",
            commit: "unknown",
            uptime: Duration::from_secs(7),
            store: StoreStatus { kind: "memory", ..StoreStatus::default() },
            workers: vec![WorkerStatus {
                core: CoreId(0),
                driver: Some("epoll"),
                state: "following",
                connections: 3,
                upgrades: 0,
                exchanges: 5,
                panics: 0,
                serial: Serial(1),
                last_ack_micros: Some(10),
            }],
            ..Status::default()
        }
    }

    fn is_ready(&self) -> bool {
        self.state().is_ready
    }

    fn metrics(&self, out: &mut String) {
        out.push_str("# TYPE ringway_up gauge\nringway_up 1\n");
    }
}
