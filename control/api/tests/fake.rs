//! A plane without stores, cores and threads that applies changes to the model.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ringway_certs::{CertificateState as Stand, DomainState, Overview, Readiness, UploadError, Verification};
use ringway_config::{Finding, Place, Severity};
use ringway_control::{
    AppStatus, Applied, ApplyRequest, AuthChange, AuthCheck, AuthCheckRequest, AuthChecked, CacheScopeStatus,
    CacheStatus, CacheUsage, CachedFilter, CachedResponse, CanaryComparison, CanaryError, CanaryStatus,
    CheckError, CircuitStatus, ConfigError, CoreState, CoreStatus, CredentialKind, Current, Diff,
    DiffRequest, Effects, EjectionStatus, Evictions, ExplainRequest, ExplainedCache, ExplainedRoute,
    Explanation, FieldChanges, InFlightStatus, InstanceDrained, InstanceState, InstanceStatus, NoTrial,
    Proposal, Purge, Purged, Reason, Receipt, Refusal, ReloadRequest, RevertReason, RollbackRequest,
    Simulated, State as ProcessState, Status, StoreStats, StoreStatus, Submission, Tally, TrialId,
    TrialState, TrialStatus, Validation, Version,
};
use ringway_model::{
    AppId, AppSpec, BrakeMode, Braked, CanaryState, CertificateMode, Change, CoreId, Delta, Desired,
    DomainKind, DomainSpec, Generation, Health, HealthCheck, Hostname, InstanceId, InstanceSpec, Outcome,
    Owner, Percent, Rejection, Resource, Revision, RouteId, Serial, SetWeight, Target, TenantId, Timestamp,
};
use ringway_net::{clock, sleep_until};
use ringway_telemetry::{AppReading, CacheReading};
use ringway_tls::{Facts, KeyKind, LoadError, SecretKey};

use crate::Plane;

pub(super) struct FakePlane(pub(super) Arc<Mutex<State>>);

/// State and behaviour of the plane.
pub(super) struct State {
    pub(super) desired: Desired,
    /// Refuses the next change with this.
    pub(super) refuse: Option<Refusal>,
    /// Cores that are slow.
    pub(super) pending: Vec<CoreId>,
    pub(super) is_ready: bool,
    /// No instance of any app is healthy.
    pub(super) outage: bool,
    pub(super) is_ending: bool,
    pub(super) circuits: Vec<CircuitStatus>,
    pub(super) ejections: Vec<EjectionStatus>,
    pub(super) statuses: HashMap<InstanceId, InstanceStatus>,
    pub(super) heartbeats: Vec<(InstanceId, Option<Generation>)>,
    pub(super) submissions: Vec<Submission>,
    /// Blocks submissions.
    pub(super) is_held: bool,
    /// Number of reads of an instance's status or drain.
    pub(super) looks: usize,
    /// Result of drains; they never end when absent.
    pub(super) drain_end: Option<InstanceDrained>,
    drained: HashMap<(InstanceId, Generation), InstanceDrained>,
    receipts: HashMap<Box<str>, (u64, Receipt)>,
    pub(super) certificates: Certificates,
    pub(super) configuration: Configuration,
    pub(super) canaries: Vec<CanaryStatus>,
    /// The process has no cache.
    pub(super) is_cache_off: bool,
    pub(super) purges: Vec<Purge>,
}

/// Behaviour of the configuration of operators.
#[derive(Default)]
pub(super) struct Configuration {
    /// Error of the next request.
    pub(super) refuse: Option<ConfigError>,
    /// Requests, by their `Debug` output.
    pub(super) requests: Vec<String>,
    /// The trial; a change begins one where `bake` was given.
    pub(super) trial: Option<TrialStatus>,
}

/// A warning of a document with its place.
pub(super) fn warning() -> Finding {
    Finding {
        severity: Severity::Warning,
        code: "unsupported",
        pointer: "/cache".to_owned(),
        message: "is not supported".to_owned(),
        place: Some(Place { file: "request".into(), line: 3, column: 1 }),
    }
}

/// A stored response of the tenant `acme`.
fn cached(route: &str, target: &str) -> CachedResponse {
    CachedResponse {
        url: format!("https://acme.example{target}"),
        tenant: Some("acme".into()),
        route: route.into(),
        pool: None,
        status: 200,
        body_bytes: 5,
        age: 18,
        ttl: 42,
        received_at: NOW,
        etag: Some("\"one\"".to_owned()),
        vary: vec!["accept-language".to_owned()],
        tags: 1,
    }
}

fn applied(owner: Owner, trial: Option<TrialId>, pending: Vec<CoreId>) -> Applied {
    Applied {
        owner,
        version: "bbbbbbbbbbbb".into(),
        previous: Some("aaaaaaaaaaaa".into()),
        changes: (0, Vec::new()),
        auth_changes: vec![
            (AuthChange::Lost, RouteId::parse("open").unwrap()),
            (AuthChange::Gained, RouteId::parse("closed").unwrap()),
        ],
        effects: Effects::default(),
        findings: vec![warning()],
        restart_needed: vec!["/server/http/port".into()],
        receipt: Some(Receipt {
            revision: Revision(9),
            outcome: Outcome::Updated,
            generation: None,
            pending,
            replayed: false,
            applied_in: Duration::from_micros(5),
            trial,
        }),
    }
}

fn current(owner: Owner, version: Arc<str>) -> Current {
    let document = r#"{"routes":[]}"#.into();
    let version = Version {
        owner: owner.clone(),
        version,
        sequence: 2,
        at: NOW,
        by: "token:ci".into(),
        reason: "a reason".into(),
        is_proven: true,
        is_current: true,
    };
    Current { owner, version, document }
}

pub(super) fn trial(state: TrialState) -> TrialStatus {
    TrialStatus {
        id: TrialId(1),
        owner: Owner::Admin,
        version: "bbbbbbbbbbbb".into(),
        state,
        core: CoreId(0),
        started_at: NOW,
        elapsed: Duration::ZERO,
        bake: Duration::from_secs(15),
        on_trial: Tally::default(),
        others: Tally::default(),
        before: Tally::default(),
        z: None,
    }
}

/// State and behaviour of certificates.
pub(super) struct Certificates {
    /// Whether certificates are managed.
    pub(super) is_on: bool,
    /// States of domains; others have the state of their mode.
    pub(super) states: HashMap<Hostname, DomainState>,
    pub(super) overview: Overview,
    /// Error of the next check of a certificate.
    pub(super) unusable: Option<UploadError>,
    /// Files that changes name cannot be used, for this reason.
    pub(super) files: Option<&'static str>,
    /// Error of the next upload.
    pub(super) stuck: Option<UploadError>,
    /// Whether too many verifications wait.
    pub(super) is_busy: bool,
    /// Uploads: domain, chain, key.
    pub(super) uploads: Vec<(Hostname, String, String)>,
    pub(super) discarded: Vec<Hostname>,
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            is_on: true,
            states: HashMap::new(),
            overview: Overview::default(),
            unusable: None,
            files: None,
            stuck: None,
            is_busy: false,
            uploads: Vec::new(),
            discarded: Vec::new(),
        }
    }
}

/// A domain whose certificate has this state.
pub(super) fn stand(mode: CertificateMode, state: Stand) -> DomainState {
    DomainState {
        mode,
        state,
        reason: None,
        certificate: None,
        version: None,
        next_try: None,
        renewal_at: None,
        failures: 0,
        queue_position: None,
        verification: None,
    }
}

/// Facts of every uploaded certificate.
pub(super) fn facts(host: &str) -> Facts {
    Facts {
        names: vec![host.to_owned()],
        not_before: NOW,
        // 90 days.
        not_after: Timestamp(NOW.0 + 90 * 24 * 3_600_000),
        serial: "01:02".to_owned(),
        issuer: "CN=A CA".to_owned(),
        fingerprint: "ab".repeat(32),
        key: KeyKind::Ecdsa,
        for_servers: true,
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            desired: Desired::default(),
            refuse: None,
            pending: Vec::new(),
            is_ready: true,
            outage: false,
            is_ending: false,
            circuits: Vec::new(),
            ejections: Vec::new(),
            statuses: HashMap::new(),
            heartbeats: Vec::new(),
            submissions: Vec::new(),
            is_held: false,
            looks: 0,
            drain_end: Some(InstanceDrained {
                took: Duration::from_millis(1_500),
                left: InFlightStatus { requests: 0, tunnels: 0 },
            }),
            drained: HashMap::new(),
            receipts: HashMap::new(),
            certificates: Certificates::default(),
            configuration: Configuration::default(),
            canaries: Vec::new(),
            is_cache_off: false,
            purges: Vec::new(),
        }
    }
}

impl FakePlane {
    /// Records a request about the configuration, and refuses it if a test wants that.
    fn configure(&self, request: &dyn std::fmt::Debug) -> Result<(), ConfigError> {
        let mut state = self.state();
        state.configuration.requests.push(format!("{request:?}"));
        state.configuration.refuse.take().map_or(Ok(()), Err)
    }
}

impl State {
    /// Applies a change that must succeed.
    pub(super) fn make(&mut self, change: &Change) {
        self.desired = self.desired.apply(change, NOW).unwrap().desired;
    }

    pub(super) fn app(&mut self, id: &str) {
        self.make(&Change::Register {
            app: AppSpec::new(AppId::parse(id).unwrap()),
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
            policy: None,
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

impl State {
    pub(super) fn stands(&mut self, id: &str, state: InstanceState, reason: Option<&str>) {
        let reason = reason.map(str::to_owned);
        let status = InstanceStatus { state, state_reason: reason, ..InstanceStatus::default() };
        self.statuses.insert(InstanceId::parse(id).unwrap(), status);
    }
}

/// 2025-01-01T00:00:00Z
pub(super) const NOW: Timestamp = Timestamp(1_735_689_600_000);

impl FakePlane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Plane for FakePlane {
    async fn validate(&self, request: Proposal) -> Result<Validation, ConfigError> {
        self.configure(&request)?;
        let version = Some("bbbbbbbbbbbb".into());
        Ok(Validation { version, findings: vec![warning()], effects: Some(Effects::default()) })
    }

    async fn diff(&self, request: DiffRequest) -> Result<Diff, ConfigError> {
        self.configure(&request)?;
        Ok(Diff {
            plan: Some("a-plan".into()),
            owner: Owner::Admin,
            from: None,
            to: "bbbbbbbbbbbb".into(),
            changes: Vec::new(),
            effects: Effects::default(),
            findings: vec![warning()],
        })
    }

    async fn apply(&self, request: ApplyRequest) -> Result<Applied, ConfigError> {
        self.configure(&request)?;
        let is_trial = request.bake.is_some_and(|bake| !bake.is_zero());
        self.state().configuration.trial = is_trial.then(|| trial(TrialState::Running));
        Ok(applied(Owner::Admin, is_trial.then_some(TrialId(1)), self.state().pending.clone()))
    }

    async fn rollback(&self, request: RollbackRequest) -> Result<Applied, ConfigError> {
        self.configure(&request)?;
        Ok(applied(request.owner, None, self.state().pending.clone()))
    }

    async fn reload(&self, request: ReloadRequest) -> Result<Applied, ConfigError> {
        self.configure(&request)?;
        Ok(applied(Owner::File, None, self.state().pending.clone()))
    }

    async fn current(&self, owner: Option<Owner>) -> Result<Vec<Current>, ConfigError> {
        self.configure(&owner)?;
        Ok(vec![current(owner.unwrap_or(Owner::Admin), "bbbbbbbbbbbb".into())])
    }

    async fn history(&self, owner: Owner) -> Result<Vec<Version>, ConfigError> {
        self.configure(&owner)?;
        Ok(vec![current(owner, "bbbbbbbbbbbb".into()).version])
    }

    async fn version(&self, owner: Owner, version: Arc<str>) -> Result<Current, ConfigError> {
        self.configure(&(&owner, &version))?;
        Ok(current(owner, version))
    }

    async fn explain(&self, request: ExplainRequest) -> Result<Explanation, ConfigError> {
        self.configure(&request)?;
        let route = (&*request.url == "acme.example/x").then(|| ExplainedRoute {
            id: "shop".into(),
            owner: Owner::File,
            pool: None,
            variant: None,
            variant_reason: None,
            action: "proxy",
            tenant: Some("acme".into()),
            timeout: None,
            requires_tls: false,
            body_bytes_max: None,
            is_logged: true,
            place: None,
        });
        let cache = route.is_some().then(|| ExplainedCache {
            mode: "safe",
            ttl: None,
            verdict: "hit",
            reason: "fresh for 42 s more".to_owned(),
            fills: true,
            key_fields: vec!["accept-language".to_owned()],
            response: Some(cached("shop", "/x")),
            variants: 2,
        });
        Ok(Explanation {
            host: "a.example".into(),
            status: Some(404),
            route,
            cache,
            ..Explanation::default()
        })
    }

    fn cache_status(&self) -> Option<CacheStatus> {
        let store = StoreStats {
            used: CacheUsage { bytes: 67_108_864, entries: 234 },
            max: CacheUsage { bytes: 256_000_000, entries: 10_000 },
            insertions: 300,
            evictions: Evictions { store: 5, tenant: 4, scope: 3 },
            purged: [7; 9],
            expired: 9,
        };
        let requests = CacheReading { hits: 73, misses: 27, bypasses: 11 };
        (!self.state().is_cache_off).then_some(CacheStatus { store, requests })
    }

    fn cache_scopes(&self) -> Option<Vec<CacheScopeStatus>> {
        let scope = |tenant: Option<&str>, route: &str, bytes, hits| CacheScopeStatus {
            tenant: tenant.map(Into::into),
            route: route.into(),
            used: CacheUsage { bytes, entries: 2 },
            bytes_max: 10_000_000,
            evictions: 1,
            requests: Some(CacheReading { hits, misses: 10, bypasses: 0 }),
        };
        let scopes = vec![
            scope(None, "site", 50, 30),
            scope(Some("acme"), "blog", 100, 0),
            scope(Some("acme"), "shop", 200, 30),
        ];
        (!self.state().is_cache_off).then_some(scopes)
    }

    fn cached_responses(&self, filter: &CachedFilter) -> Option<Vec<CachedResponse>> {
        let mut found = vec![cached("shop", "/1"), cached("shop", "/2?token=x"), cached("shop", "/3")];
        found.retain(|response| filter.tenant.is_none() || response.tenant == filter.tenant);
        found.truncate(filter.limit);
        (!self.state().is_cache_off).then_some(found)
    }

    fn purge_cache(&self, purge: &Purge) -> Option<Purged> {
        let mut state = self.state();
        state.purges.push(purge.clone());
        (!state.is_cache_off).then_some(Purged { invalidated: 15, remaining: 234 })
    }

    async fn check_auth(&self, request: AuthCheckRequest) -> Result<AuthChecked, ConfigError> {
        self.configure(&request)?;
        match &*request.route {
            "nope" => return Err(ConfigError::UnknownRoute(request.route)),
            "open" => {
                return Err(ConfigError::NotCheckable { route: request.route, why: CheckError::NoAuth });
            }
            _ => {}
        }
        let check = AuthCheck {
            kind: CredentialKind::Token,
            place: "Authorization: Bearer".to_owned(),
            is_admitted: Some(false),
            reply: None,
            reason: Some(Reason::Expired),
            user: None,
            claims: vec![("sub".to_owned(), "alice".to_owned())],
            is_verified: false,
            methods: Vec::new(),
            request: FieldChanges::default(),
        };
        Ok(AuthChecked { check, sources: Vec::new() })
    }

    async fn simulate(&self, request: Proposal) -> Result<Simulated, ConfigError> {
        self.configure(&request)?;
        Ok(Simulated::default())
    }

    fn trial(&self) -> Option<TrialStatus> {
        self.state().configuration.trial.clone()
    }

    fn canaries(&self) -> Vec<CanaryStatus> {
        self.state().canaries.clone()
    }

    fn resumed_canary(&self, route: &RouteId) -> Result<CanaryState, CanaryError> {
        let state = self.state();
        let status =
            state.canaries.iter().find(|status| status.route == *route).ok_or(CanaryError::NoCanary)?;
        status.braked.as_ref().ok_or(CanaryError::NotBraked)?;
        Ok(CanaryState {
            route: route.clone(),
            owner: Owner::Api,
            plan: 1,
            braked: None,
            step: 0,
            stepped_at: Timestamp(2),
            set_weight: None,
        })
    }

    fn weighted_canary(
        &self,
        route: &RouteId,
        set_weight: Option<SetWeight>,
    ) -> Result<CanaryState, CanaryError> {
        let state = self.state();
        let status =
            state.canaries.iter().find(|status| status.route == *route).ok_or(CanaryError::NoCanary)?;
        match (&status.braked, &status.next) {
            (Some(_), _) => Err(CanaryError::Braked),
            (None, Some(_)) => Err(CanaryError::Stepping),
            (None, None) => Ok(CanaryState {
                route: route.clone(),
                owner: Owner::Api,
                plan: 1,
                braked: None,
                step: 0,
                stepped_at: Timestamp(2),
                set_weight,
            }),
        }
    }

    fn promote_trial(&self) -> Result<(), NoTrial> {
        let mut state = self.state();
        let trial =
            state.configuration.trial.as_mut().filter(|trial| !trial.state.is_over()).ok_or(NoTrial)?;
        trial.state = TrialState::Promoted { is_judged: false };
        Ok(())
    }

    fn abort_trial(&self) -> Result<(), NoTrial> {
        let mut state = self.state();
        let trial =
            state.configuration.trial.as_mut().filter(|trial| !trial.state.is_over()).ok_or(NoTrial)?;
        trial.state = TrialState::Reverted(RevertReason::Aborted);
        Ok(())
    }

    async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        self.state().submissions.push(submission.clone());
        while self.state().is_held {
            sleep_until(clock::now().after(Duration::from_millis(1))).await;
        }
        let mut state = self.state();
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
            Delta::Put(Resource::Instance(instance)) => Some(instance.generation),
            _ => None,
        });
        let receipt = Receipt {
            revision: applied.desired.revision(),
            outcome: applied.outcome,
            generation,
            trial: None,
            pending: if applied.outcome == Outcome::Unchanged { Vec::new() } else { state.pending.clone() },
            replayed: false,
            applied_in: Duration::from_micros(42),
        };
        state.desired = applied.desired;
        if let Change::DrainInstance { id, .. } = &submission.change
            && let Some(end) = state.drain_end
        {
            let remove = Change::RemoveInstance { id: id.clone(), generation };
            state.make(&remove);
            state.drained.insert((id.clone(), generation.unwrap()), end);
        }
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
        let mut state = self.state();
        state.looks += 1;
        state.statuses.get(id).cloned()
    }

    fn drained(&self, id: &InstanceId, generation: Generation) -> Option<InstanceDrained> {
        let mut state = self.state();
        state.looks += 1;
        state.drained.get(&(id.clone(), generation)).copied()
    }

    fn circuits(&self) -> Vec<CircuitStatus> {
        self.state().circuits.clone()
    }

    fn ejections(&self) -> Vec<EjectionStatus> {
        self.state().ejections.clone()
    }

    fn outage(&self, app: &AppId) -> Option<String> {
        self.state().outage.then(|| format!("all instances of app {app} fail their health checks"))
    }

    fn status(&self) -> Status {
        let (is_ready, is_ending) = {
            let state = self.state();
            (state.is_ready, state.is_ending)
        };
        Status {
            state: match (is_ending, is_ready) {
                (true, _) => ProcessState::Draining,
                (false, true) => ProcessState::Ready,
                (false, false) => ProcessState::Starting,
            },
            version: "1.2.3",
            commit: "unknown",
            uptime: Duration::from_secs(7),
            store: StoreStatus { kind: "memory", ..StoreStatus::default() },
            cores: vec![CoreStatus {
                core: CoreId(0),
                driver: Some("epoll"),
                state: CoreState::Following,
                connections: 3,
                upgrades: 0,
                exchanges: 5,
                panics: 0,
                serial: Serial(1),
                last_ack_micros: Some(10),
                behind: None,
            }],
            ..Status::default()
        }
    }

    fn app_statuses(&self, most: usize) -> Vec<AppStatus> {
        let state = self.state();
        let apps = state.desired.apps().take(most);
        apps.map(|app| AppStatus {
            app: app.id.clone(),
            total: state.desired.instance_count_of(app.id.as_str()),
            available: 1,
            unhealthy: Vec::new(),
            breakers_open: state
                .desired
                .instances_of(app.id.as_str())
                .take(1)
                .map(|one| one.id.clone())
                .collect(),
            traffic: Some(AppReading {
                requests: 100,
                errors: 1,
                durations: [99, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            }),
        })
        .collect()
    }

    fn is_ready(&self) -> bool {
        let state = self.state();
        state.is_ready && !state.is_ending
    }

    fn metrics(&self, out: &mut String) {
        out.push_str("# TYPE ringway_up gauge\nringway_up 1\n");
    }

    fn has_certificates(&self) -> bool {
        self.state().certificates.is_on
    }

    fn certificate(&self, host: &Hostname) -> Option<DomainState> {
        let state = self.state();
        let mode = state.desired.domain(host.as_str())?.certificate;
        let certificates = state.certificates.is_on.then_some(&state.certificates)?;
        let default = stand(
            mode,
            match mode {
                CertificateMode::Provided => Stand::Provided,
                CertificateMode::Acme | CertificateMode::None => Stand::None,
            },
        );
        Some(certificates.states.get(host).cloned().unwrap_or(default))
    }

    fn certificates(&self) -> Option<Overview> {
        let state = self.state();
        state.certificates.is_on.then(|| state.certificates.overview.clone())
    }

    async fn verify(&self, _: &Hostname) -> Option<Arc<Verification>> {
        (!self.state().certificates.is_busy).then(|| Arc::new(verification()))
    }

    fn check_certificate(&self, host: &Hostname, _: &[u8], _: &[u8]) -> Result<Arc<Facts>, UploadError> {
        match self.state().certificates.unusable.take() {
            Some(error) => Err(error),
            None => Ok(Arc::new(facts(host.as_str()))),
        }
    }

    async fn check_files(&self, _: SecretKey) -> Result<(), LoadError> {
        self.state().certificates.files.map_or(Ok(()), |why| Err(LoadError::new(why)))
    }

    async fn upload_certificate(
        &self,
        host: &Hostname,
        chain: &[u8],
        key: &[u8],
    ) -> Result<Arc<Facts>, UploadError> {
        let mut state = self.state();
        if let Some(error) = state.certificates.stuck.take() {
            return Err(error);
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        state.certificates.uploads.push((host.clone(), text(chain), text(key)));
        let facts = Arc::new(facts(host.as_str()));
        let known = DomainState {
            certificate: Some(Arc::clone(&facts)),
            ..stand(CertificateMode::Provided, Stand::Provided)
        };
        state.certificates.states.insert(host.clone(), known);
        Ok(facts)
    }

    async fn discard_certificate(&self, host: &Hostname) -> Result<(), UploadError> {
        let mut state = self.state();
        if let Some(error) = state.certificates.stuck.take() {
            return Err(error);
        }
        state.certificates.states.remove(host);
        state.certificates.discarded.push(host.clone());
        Ok(())
    }
}

/// Verification of a domain that leads to another server.
pub(super) fn verification() -> Verification {
    use ringway_certs::{CaaCheck, ExpectedRecord, FoundRecords, Probe, ProbeOutcome};
    Verification {
        checked_at: NOW,
        expected: vec![ExpectedRecord::Address([203, 0, 113, 7].into())],
        found: FoundRecords {
            aliases: vec!["edge.example.net".to_owned()],
            addresses: vec![[198, 51, 100, 1].into()],
            problem: None,
        },
        caa: CaaCheck::Forbidden { at: "example".to_owned(), issuers: vec!["other.example".to_owned()] },
        probes: vec![Probe {
            address: ([198, 51, 100, 1], 80).into(),
            outcome: ProbeOutcome::OtherServer(404),
            is_local: false,
        }],
        readiness: Readiness::Elsewhere,
        advice: "point it here".to_owned(),
    }
}

/// Canary of a route with a weight of 10 %, or braked.
pub(super) fn canary(route: &str, is_braked: bool) -> CanaryStatus {
    let tally = |requests, errors| Tally { requests, errors };
    let braked = is_braked.then(|| Braked { at: Timestamp(0), reason: "it failed".into() });
    CanaryStatus {
        route: RouteId::parse(route).unwrap(),
        owner: Owner::File,
        stable: AppId::parse("v1").unwrap(),
        canary: AppId::parse("v2").unwrap(),
        weight: Percent::whole(if is_braked { 0 } else { 10 }),
        configured_weight: Percent::whole(10),
        set_weight: None,
        step: 0,
        steps: 0,
        next: None,
        mode: BrakeMode::On,
        window: CanaryComparison { stable: tally(900, 1), canary: tally(100, 60), p_value: Some(1e-50) },
        since_step: CanaryComparison::default(),
        braked,
        would_brake_since: None,
        fallbacks: 3,
    }
}
