#![allow(clippy::unwrap_used)]
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ringway_bridge::{SlotReceiver, slot, wake_pair};
use ringway_config::Source;
use ringway_model::{
    AppId, AppSpec, Change, DomainKind, DomainSpec, Hostname, InstanceId, InstanceSpec, Outcome, Target,
    Timestamp,
};

use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::pattern::Patterns;
use ringway_traffic::policy::Defaults;
use ringway_traffic::samples::SampledHeads;
use ringway_traffic::simulate::Destination;

use super::super::auth_check::AuthCheckRequest;
use super::super::requests::{Diff, DiffRequest, ExplainRequest, Explanation, Mode, Proposal, Sampled};
use super::super::startup::{ConfigurationSettings, OnBadConfig, Start, prepare};
use super::*;
use crate::limits::{CONFIG_PLANS_MAX, CONFIG_READ_INTERVAL, CONFIG_SETTLE, CONFIG_STAT_INTERVAL};
use crate::simulation::Simulation;
use crate::submission::StorageFailure;
use crate::trial::TrialStatus;
use crate::trial::probation::Probation;
use ringway_middleware::{Outcome as MethodOutcome, Reason};

// --- Kit --------------------------------------------------------------------------------------------------

/// A control plane without cores.
#[derive(Clone, Default)]
struct Fake {
    state: Arc<Mutex<FakeState>>,
}

#[derive(Default)]
struct FakeState {
    desired: Desired,
    submitted: Vec<Submission>,
    has_full_disk: bool,
    trial: Option<TrialStatus>,
    samples: Vec<Arc<SampledHeads>>,
}

impl Fake {
    fn desired(&self) -> Desired {
        self.state.lock().unwrap().desired.clone()
    }

    fn submitted(&self) -> usize {
        self.state.lock().unwrap().submitted.len()
    }

    fn change(&self, change: Change) {
        Plane::submit(self, Submission::of(change)).unwrap();
        self.state.lock().unwrap().submitted.pop();
    }

    fn register(&self, app: &str, domain: &str) {
        let app = AppId::parse(app).unwrap();
        let target = Target::parse("http://10.9.9.9:80").unwrap();
        let id = InstanceId::parse(&format!("{app}-1")).unwrap();
        let instance = InstanceSpec { id, app: app.clone(), target, health_check: Default::default() };
        let domain = DomainSpec {
            name: Hostname::parse(domain).unwrap(),
            app: app.clone(),
            tenant: None,
            kind: DomainKind::Custom,
            cname_target: None,
            certificate: None,
            client_auth: None,
            policy: None,
        };
        let app = AppSpec::new(app);
        self.change(Change::Register { app, instance: Some(instance), domain: Some(domain) });
    }
}

impl Plane for Fake {
    fn desired(&self) -> Result<Desired, Refusal> {
        Ok(Self::desired(self))
    }

    fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let mut state = self.state.lock().unwrap();
        if state.has_full_disk {
            return Err(Refusal::Storage(StorageFailure::new(std::io::Error::other("no space left"))));
        }
        let applied = state.desired.apply(&submission.change, Timestamp(9)).map_err(Refusal::Rejected)?;
        state.desired = applied.desired;
        state.submitted.push(submission);
        Ok(Receipt {
            revision: state.desired.revision(),
            outcome: applied.outcome,
            generation: None,
            trial: None,
            pending: Vec::new(),
            replayed: false,
            applied_in: Duration::ZERO,
        })
    }

    fn trial(&self) -> Result<Option<TrialStatus>, Refusal> {
        Ok(self.state.lock().unwrap().trial.clone())
    }

    fn simulation(&self) -> Result<Simulation, Refusal> {
        let desired = Self::desired(self);
        let settings = CompilerSettings { hash_key: 1, cores: 1, ..Default::default() };
        let mut compiler = Compiler::new(settings);
        let compiled = compiler.compile_all(&desired);
        compiler.commit(compiled).unwrap();
        Ok(Simulation::new(desired, compiler, self.state.lock().unwrap().samples.clone()))
    }
}

/// The thread's state over a folder of files, on a clock of its own.
struct Scene {
    folder: tempfile::TempDir,
    plane: Fake,
    configurator: Configurator,
    questions: Questions,
    notices: SlotReceiver<Notice>,
    status: ConfigurationStatus,
    now: Tick,
}

impl Scene {
    fn without_files() -> Self {
        Self::over(Fake::default(), tempfile::tempdir().unwrap(), ConfigurationSettings::default())
    }

    /// Starts over one file.
    fn with_file(text: &str) -> Self {
        Self::with_file_over(Fake::default(), text)
    }

    fn with_file_over(plane: Fake, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), text).unwrap();
        let settings = settings_of(folder.path());
        Self::over(plane, folder, settings)
    }

    fn over(plane: Fake, folder: tempfile::TempDir, settings: ConfigurationSettings) -> Self {
        let started =
            prepare(plane.desired(), settings, of_routes(), &mut Probation::default(), Timestamp(5)).unwrap();
        plane.state.lock().unwrap().desired = started.desired.clone();
        let (waker, _source) = wake_pair().unwrap();
        let (sender, notices) = slot(waker);
        let configurator = Configurator::new(Arc::new(plane.clone()), started, sender);
        let questions = configurator.questions();
        let status = notices.take().unwrap().status;
        let mut scene = Self { folder, plane, configurator, questions, notices, status, now: Tick(1_000) };
        scene.advance();
        scene
    }

    /// Runs what is due at the present time.
    fn advance(&mut self) {
        self.configurator.advance(self.now);
        if let Some(notice) = self.notices.take() {
            self.status = notice.status;
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.yaml")
    }

    /// Saves the file and waits until it is read.
    fn save(&mut self, text: &str) {
        fs::write(self.path(), text).unwrap();
        self.now = self.now.after(CONFIG_READ_INTERVAL);
        self.advance();
        self.now = self.now.after(CONFIG_SETTLE);
        self.advance();
    }

    fn routes(&self) -> Vec<String> {
        let mut routes: Vec<_> = self.plane.desired().routes().map(|route| route.id().to_string()).collect();
        routes.sort();
        routes
    }

    fn status(&mut self) -> &ConfigurationStatus {
        if let Some(notice) = self.notices.take() {
            self.status = notice.status;
        }
        &self.status
    }

    fn apply(&mut self, text: &str) -> Result<Applied, ConfigError> {
        self.configurator
            .apply(ApplyRequest { content: ApplyContent::Proposal(proposal(text)), ..by_admin() })
    }
}

fn of_routes() -> (Defaults, Patterns) {
    Default::default()
}

fn settings_of(folder: &Path) -> ConfigurationSettings {
    let sources = super::super::sources::read_sources(folder).unwrap();
    let reading = ringway_config::read(&sources);
    let start = match reading.document {
        Some(document) => Start::Documents { sources, document: Arc::new(document) },
        None => Start::LastGood(reading.findings),
    };
    ConfigurationSettings {
        path: Some(folder.to_owned()),
        is_watched: true,
        start,
        ..ConfigurationSettings::default()
    }
}

fn proposal(text: &str) -> Proposal {
    let sources = vec![Source { name: "request".into(), text: text.to_owned() }];
    Proposal { owner: Owner::Admin, sources, mode: Mode::Merge }
}

fn by_admin() -> ApplyRequest {
    ApplyRequest {
        content: ApplyContent::Plan("".into()),
        expect: None,
        reason: "a test".into(),
        by: "token:ops".into(),
        force_size: false,
        bake: None,
    }
}

fn back_to(owner: Owner, version: &str) -> RollbackRequest {
    RollbackRequest {
        owner,
        version: Some(version.into()),
        expect: None,
        reason: "back".into(),
        by: "token:ops".into(),
    }
}

fn route(id: &str, host: &str, pool: &str) -> String {
    format!("{{id: {id}, host: {host}, pool: {pool}}}")
}

/// A document with these routes, and one pool.
fn document(routes: &[String], pool: &str) -> String {
    let routes = routes.join(", ");
    format!(
        "version: v1\nroutes: [{routes}]\npools:\n  - {{id: {pool}, endpoints: [{{address: \"10.0.0.1:8000\"}}]}}\n"
    )
}

fn one(id: &str, host: &str) -> String {
    document(&[route(id, host, &format!("{id}-pool"))], &format!("{id}-pool"))
}

fn messages(error: &ConfigError) -> String {
    match error {
        ConfigError::Refused { findings, .. } => judge::shorten(findings, 100).join("\n"),
        error => error.to_string(),
    }
}

// --- Files ------------------------------------------------------------------------------------------------

#[test]
fn the_documents_of_the_start_are_in_force_without_a_change() {
    let mut scene = Scene::with_file(&one("a", "a.example"));
    assert_eq!(scene.routes(), ["a"]);
    assert_eq!(scene.plane.submitted(), 0);
    let status = scene.status().clone();
    assert!(!status.has_drifted && status.refusal.is_empty() && status.warnings.is_empty(), "{status:?}");
    assert_eq!(status.versions.len(), 1);
}

#[test]
fn a_save_replaces_the_set() {
    let mut scene = Scene::with_file(&one("a", "a.example"));
    scene.save(&one("b", "b.example"));
    assert_eq!(scene.routes(), ["b"]);
    let last = scene.plane.desired().version_of(&Owner::File).unwrap().clone();
    assert_eq!((last.sequence, &*last.by), (2, "file"));
    assert!(!scene.status().has_drifted);
}

#[test]
fn a_mistake_changes_nothing_and_is_reported_once() {
    let mut scene = Scene::with_file(&one("a", "a.example"));
    scene.save("version: v1\nroutes:\n  - {id: a, hosts: a.example, pool: a-pool}\n");
    assert_eq!(scene.routes(), ["a"]);
    let status = scene.status().clone();
    assert!(status.has_drifted && status.refused == 1, "{status:?}");
    let place = status.refusal[0].place.clone().unwrap();
    assert_eq!((place.line, place.file.ends_with("a.yaml")), (3, true), "{:?}", status.refusal);
    // Neither touching the file nor the regular comparison reads it as a new mistake.
    for _ in 0..3 {
        let same = fs::read(scene.path()).unwrap();
        fs::write(scene.path(), same).unwrap();
        scene.now = scene.now.after(CONFIG_STAT_INTERVAL);
        scene.advance();
        scene.now = scene.now.after(CONFIG_SETTLE);
        scene.advance();
    }
    assert_eq!(scene.status().refused, 1);
    scene.save(&one("b", "b.example"));
    assert!(scene.status().refusal.is_empty());
    assert_eq!(scene.routes(), ["b"]);
}

#[test]
fn a_file_that_disappears_leaves_its_set_in_force() {
    let mut scene = Scene::with_file(&one("a", "a.example"));
    fs::remove_file(scene.path()).unwrap();
    scene.now = scene.now.after(CONFIG_READ_INTERVAL);
    scene.advance();
    scene.now = scene.now.after(CONFIG_SETTLE);
    scene.advance();
    assert_eq!(scene.routes(), ["a"]);
    assert!(scene.status().refusal[0].message.contains("no file that ends with"), "{:?}", scene.status());
    let text = one("a", "a.example");
    scene.save(&text);
    assert!(scene.status().refusal.is_empty() && !scene.status().has_drifted);
    assert_eq!(scene.plane.submitted(), 0, "the same content is in force still");
}

#[test]
fn saves_are_read_ten_times_a_second_at_most() {
    let mut scene = Scene::with_file(&one("a", "a.example"));
    let mut applied = 0;
    let end = scene.now.after(Duration::from_secs(1));
    let mut number = 0;
    while scene.now < end {
        number += 1;
        fs::write(scene.path(), one("a", &format!("h{number}.example"))).unwrap();
        scene.advance();
        scene.now = scene.now.after(CONFIG_SETTLE);
        scene.advance();
        applied = scene.plane.submitted();
    }
    assert!((5..=11).contains(&applied), "{applied} of {number}");
}

#[test]
fn a_store_that_is_full_is_tried_again() {
    let mut scene = Scene::with_file(&one("a", "a.example"));
    scene.plane.state.lock().unwrap().has_full_disk = true;
    scene.save(&one("b", "b.example"));
    assert_eq!(scene.routes(), ["a"]);
    assert!(scene.status().refusal[0].message.contains("no space left"), "{:?}", scene.status().refusal);
    scene.plane.state.lock().unwrap().has_full_disk = false;
    scene.now = scene.now.after(CONFIG_STAT_INTERVAL);
    scene.advance();
    assert_eq!(scene.routes(), ["b"]);
    assert!(scene.status().refusal.is_empty());
}

#[test]
fn a_reload_without_a_file_says_so() {
    let mut scene = Scene::without_files();
    let request = ReloadRequest { by: "signal".into(), reason: "".into(), force_size: false };
    assert!(matches!(scene.configurator.reload(&request), Err(ConfigError::NoFile)));
}

#[test]
fn a_reload_of_unchanged_files_changes_nothing() {
    let mut scene = Scene::with_file(&one("a", "a.example"));
    let request = ReloadRequest { by: "signal".into(), reason: "".into(), force_size: false };
    let applied = scene.configurator.reload(&request).unwrap();
    assert!(applied.receipt.is_none() && applied.changes.0 == 0);
    assert_eq!(scene.plane.submitted(), 0);
}

// --- Start ------------------------------------------------------------------------------------------------

#[test]
fn without_a_file_its_stored_set_is_dropped() {
    let first = Scene::with_file(&one("a", "a.example"));
    let plane = first.plane.clone();
    let scene = Scene::over(plane, tempfile::tempdir().unwrap(), ConfigurationSettings::default());
    assert_eq!(scene.routes(), [""; 0]);
}

#[test]
fn the_last_good_set_serves_while_the_documents_are_bad() {
    let first = Scene::with_file(&one("a", "a.example"));
    let mut scene = Scene::with_file_over(first.plane.clone(), "version: v1\nroutes: 7\n");
    assert_eq!(scene.routes(), ["a"]);
    let status = scene.status().clone();
    assert!(status.has_drifted && !status.refusal.is_empty(), "{status:?}");
    scene.save(&one("b", "b.example"));
    assert_eq!(scene.routes(), ["b"]);
}

#[test]
fn a_registered_domain_cannot_prevent_a_start() {
    let plane = Fake::default();
    plane.register("shop", "a.example");
    let text = document(&[route("a", "a.example", "p"), route("b", "b.example", "p")], "p");
    let mut scene = Scene::with_file_over(plane, &text);
    assert_eq!(scene.routes(), ["b"]);
    let quarantined = scene.status().quarantined.clone();
    assert_eq!(quarantined.len(), 1);
    let line = quarantined[0].to_string();
    assert!(line.contains("a.yaml:2:") && line.contains("registered domain of app shop"), "{line}");
    // The next reload tries again.
    scene.plane.change(Change::RemoveDomain { name: Hostname::parse("a.example").unwrap() });
    let request = ReloadRequest { by: "signal".into(), reason: "".into(), force_size: false };
    scene.configurator.reload(&request).unwrap();
    assert_eq!(scene.routes(), ["a", "b"]);
    assert!(scene.status().quarantined.is_empty());
}

#[test]
fn a_pool_with_the_id_of_a_registered_app_is_left_out_with_its_routes() {
    let plane = Fake::default();
    plane.register("p", "shop.example");
    let text = document(&[route("a", "a.example", "p")], "p");
    let mut scene = Scene::with_file_over(plane, &text);
    assert_eq!(scene.routes(), [""; 0]);
    assert_eq!(scene.status().quarantined.len(), 2, "{:?}", scene.status().quarantined);
}

#[test]
fn a_pool_that_another_owner_uses_survives_its_removal_at_a_start() {
    let mut first = Scene::with_file(&one("a", "a.example"));
    first.apply("routes: [{id: x, host: x.example, pool: a-pool}]").unwrap();
    let scene = Scene::with_file_over(first.plane.clone(), &one("b", "b.example"));
    assert_eq!(scene.routes(), ["b", "x"]);
    assert!(scene.plane.desired().app("a-pool").is_some());
    // At run time it is refused.
    let mut scene = scene;
    scene.save(&one("c", "c.example"));
    assert_eq!(scene.routes(), ["b", "x"]);
    assert!(scene.status().refusal[0].message.contains("uses it"), "{:?}", scene.status().refusal);
}

#[test]
fn a_dangling_reference_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("a.yaml"),
        "version: v1\nroutes: [{id: a, host: a.example, pool: nowhere}]\n",
    )
    .unwrap();
    let mut settings = settings_of(folder.path());
    if let Start::LastGood(findings) = &settings.start {
        // The reader may find it by itself.
        assert!(findings.iter().any(|finding| finding.message.contains("nowhere")), "{findings:?}");
        return;
    }
    let findings =
        prepare(Desired::default(), settings.clone(), of_routes(), &mut Probation::default(), Timestamp(5))
            .unwrap_err();
    assert!(findings[0].message.contains("nowhere"), "{findings:?}");
    settings.on_bad = OnBadConfig::LastGood;
    assert!(
        prepare(Desired::default(), settings, of_routes(), &mut Probation::default(), Timestamp(5))
            .unwrap()
            .deltas
            .is_empty()
    );
}

// --- Requests ---------------------------------------------------------------------------------------------

#[test]
fn an_application_replaces_the_set_of_admin_and_leaves_absent_sections_alone() {
    let mut scene = Scene::without_files();
    let applied = scene.apply(&one("a", "a.example")).unwrap();
    assert_eq!((applied.previous, applied.changes.0), (None, 3));
    assert_eq!(applied.effects.hosts_added, ["a.example".into()]);
    assert_eq!(applied.receipt.unwrap().outcome, Outcome::Updated);
    scene.apply("routes: [{id: b, host: b.example, pool: a-pool}]").unwrap();
    assert_eq!(scene.routes(), ["b"]);
    assert!(scene.plane.desired().app("a-pool").is_some(), "an absent section stays");
    scene.apply("routes: []").unwrap();
    assert_eq!(scene.routes(), [""; 0]);
    scene.apply("pools: []").unwrap();
    assert!(scene.plane.desired().app("a-pool").is_none(), "an empty section empties it");
}

#[test]
fn the_same_content_again_is_no_change() {
    let mut scene = Scene::without_files();
    let first = scene.apply(&one("a", "a.example")).unwrap();
    let again = scene.apply(&one("a", "a.example")).unwrap();
    assert_eq!(first.version, again.version);
    assert!(again.receipt.is_none());
    assert_eq!(scene.questions.history(&Owner::Admin).unwrap().len(), 1);
}

#[test]
fn a_required_version_must_be_the_present_one() {
    let mut scene = Scene::without_files();
    let version = scene.apply(&one("a", "a.example")).unwrap().version;
    let request = |expect: &str, text: &str| ApplyRequest {
        content: ApplyContent::Proposal(proposal(text)),
        expect: Some(expect.into()),
        ..by_admin()
    };
    let stale = scene.configurator.apply(request("000000000000", &one("b", "b.example")));
    assert!(matches!(stale, Err(ConfigError::Stale { current: Some(current), .. }) if current == version));
    assert_eq!(scene.routes(), ["a"]);
    scene.configurator.apply(request(&version, &one("b", "b.example"))).unwrap();
    // A registration is no change of this owner's set.
    let version = scene.questions.current(Some(&Owner::Admin)).unwrap()[0].version.version.clone();
    scene.plane.register("shop", "shop.example");
    scene.configurator.apply(request(&version, &one("c", "c.example"))).unwrap();
}

#[test]
fn a_claim_of_another_owner_names_both_places() {
    let mut scene = Scene::with_file(&one("a", "a.example"));
    let error = scene.apply(&one("b", "a.example")).unwrap_err();
    let ConfigError::Refused { step: Step::Claims, .. } = &error else { panic!("{error:?}") };
    let text = messages(&error);
    assert!(
        text.contains("request:2:") && text.contains("a.yaml:2:") && text.contains("owner file"),
        "{text}"
    );
    assert_eq!(scene.routes(), ["a"]);
    // The other way round: the newcomer is the file.
    scene.apply(&one("x", "x.example")).unwrap();
    scene.save(&one("a", "x.example"));
    assert_eq!(scene.routes(), ["a", "x"]);
    let refusal = scene.status().refusal[0].to_string();
    assert!(refusal.contains("a.yaml:2:") && refusal.contains("owner admin"), "{refusal}");
}

#[test]
fn a_set_that_doubles_or_halves_needs_force() {
    let mut scene = Scene::without_files();
    let routes = |count: usize| -> String {
        let routes: Vec<String> =
            (0..count).map(|at| route(&format!("r{at}"), &format!("h{at}.example"), "p")).collect();
        document(&routes, "p")
    };
    scene.apply(&routes(30)).unwrap();
    for count in [5, 61] {
        let error = scene.apply(&routes(count)).unwrap_err();
        assert!(matches!(error, ConfigError::Refused { step: Step::Size, .. }), "{error:?}");
        assert_eq!(scene.routes().len(), 30);
    }
    let force = ApplyRequest {
        content: ApplyContent::Proposal(proposal(&routes(5))),
        force_size: true,
        ..by_admin()
    };
    scene.configurator.apply(force).unwrap();
    assert_eq!(scene.routes().len(), 5);
    scene.apply(&routes(15)).unwrap();
}

#[test]
fn a_validation_changes_nothing_and_lists_every_finding() {
    let scene = Scene::with_file(&one("a", "a.example"));
    let validation = scene.questions.validate(&proposal(&one("b", "b.example"))).unwrap();
    assert!(validation.is_valid() && validation.version.is_some(), "{validation:?}");
    assert_eq!(validation.effects.unwrap().hosts_added, ["b.example".into()]);
    let validation = scene.questions.validate(&proposal(&one("b", "a.example"))).unwrap();
    assert!(!validation.is_valid());
    let of_process = scene.questions.validate(&proposal("server: {port: 8080}\n")).unwrap();
    assert_eq!(of_process.findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["unsupported"]);
    let validation = scene.questions.validate(&proposal("routes: 7\npools: 8\n")).unwrap();
    assert_eq!(validation.findings.iter().filter(|finding| finding.is_error()).count(), 2, "{validation:?}");
    assert_eq!((scene.plane.submitted(), scene.routes()), (0, vec!["a".to_owned()]));
}

#[test]
fn the_set_of_the_files_is_not_replaced_by_requests() {
    let mut scene = Scene::without_files();
    let proposal = Proposal { owner: Owner::File, ..proposal(&one("a", "a.example")) };
    let request = ApplyRequest { content: ApplyContent::Proposal(proposal), ..by_admin() };
    assert!(matches!(scene.configurator.apply(request), Err(ConfigError::NotReplaceable(Owner::File))));
}

#[test]
fn a_save_can_be_judged_before_it_is_made() {
    let scene = Scene::with_file(&one("a", "a.example"));
    let save = |text: &str| Proposal { owner: Owner::File, ..proposal(text) };
    let diff = scene.questions.diff(DiffRequest::Proposal(save(&one("b", "b.example")))).unwrap();
    // Whatever the file leaves out is removed, whichever mode is asked for.
    assert_eq!((diff.effects.hosts_added.len(), diff.effects.hosts_removed.len()), (1, 1), "{diff:?}");
    assert!(diff.plan.is_none() && diff.findings.is_empty(), "{diff:?}");
    let validation = scene.questions.validate(&save(&one("a", "a.example"))).unwrap();
    assert!(validation.is_valid(), "its own ids and hosts are no conflict: {validation:?}");
    assert_eq!((scene.plane.submitted(), scene.routes()), (0, vec!["a".to_owned()]));
}

#[test]
fn a_plan_is_applied_as_shown_or_not_at_all() {
    let mut scene = Scene::without_files();
    scene.apply(&one("a", "a.example")).unwrap();
    let diff = scene.questions.diff(DiffRequest::Proposal(proposal(&one("b", "b.example")))).unwrap();
    let plan =
        |diff: &Diff| ApplyRequest { content: ApplyContent::Plan(diff.plan.clone().unwrap()), ..by_admin() };
    let applied = scene.configurator.apply(plan(&diff)).unwrap();
    assert_eq!((applied.changes.1, &applied.version), (diff.changes.clone(), &diff.to));
    // The base has moved: by this very application.
    assert!(matches!(scene.configurator.apply(plan(&diff)), Err(ConfigError::PlanOutdated)));
    let unknown = ApplyRequest { content: ApplyContent::Plan("0123".into()), ..by_admin() };
    assert!(matches!(scene.configurator.apply(unknown), Err(ConfigError::PlanOutdated)));
}

#[test]
fn plans_are_bounded() {
    let scene = Scene::without_files();
    for number in 0..3 * CONFIG_PLANS_MAX {
        let text = one("a", &format!("h{number}.example"));
        scene.questions.diff(DiffRequest::Proposal(proposal(&text))).unwrap();
    }
    assert_eq!(scene.configurator.plans.len(), CONFIG_PLANS_MAX);
}

#[test]
fn routes_that_do_not_compile_and_files_that_are_missing_are_mistakes() {
    let mut scene = Scene::with_file(&one("a", "a.example"));
    let regex = one("b", "b.example").replace("host: b.example", "host: b.example, path_regex: \"^/(a|\"");
    let error = scene.apply(&regex).unwrap_err();
    assert!(matches!(error, ConfigError::Refused { step: Step::Reading, .. }), "{error:?}");
    let text = messages(&error);
    let expected =
        "request:2:47: /routes/0/path_regex is not a valid regular expression: unclosed group (route b)";
    assert_eq!(text, expected);
    // A question does not compile it either.
    let question = scene.questions.explain(&question("b.example/a", Some(proposal(&regex))));
    assert_eq!(messages(&question.unwrap_err()), expected);
    assert_eq!(messages(&scene.questions.simulate(&proposal(&regex)).unwrap_err()), expected);
    let diff = scene.questions.diff(DiffRequest::Proposal(proposal(&regex))).unwrap();
    assert!(diff.effects.sampled.is_none() && diff.findings[0].to_string() == expected, "{diff:?}");
    // A file that appears later is looked for again.
    let ca = scene.folder.path().join("ca.pem");
    let text = one("a", "a.example").replace("10.0.0.1:8000", "https://10.0.0.1:8000");
    let tls =
        format!("endpoints: [{{address: \"https://10.0.0.1:8000\"}}], tls: {{ca_file: {}}}}}", ca.display());
    let text = text.replace("endpoints: [{address: \"https://10.0.0.1:8000\"}]}", &tls);
    scene.save(&text);
    let refusal = scene.status().refusal[0].to_string();
    assert!(refusal.contains("ca.pem"), "{refusal}");
    assert!(scene.plane.desired().app("a-pool").unwrap().upstream_tls.is_none());
    let refused = scene.status().refused;
    let mut wait = || {
        scene.now = scene.now.after(CONFIG_STAT_INTERVAL);
        scene.advance();
        scene.status().refused
    };
    assert_eq!(wait(), refused, "the same reason counts once");
    fs::write(&ca, "no certificate").unwrap();
    assert_eq!(wait(), refused + 1, "judged again without a save");
}

#[test]
fn redirects_in_a_circle_are_a_warning() {
    let mut scene = Scene::without_files();
    let text = "version: v1
routes:
  - {id: a, host: a.example, redirect: {to: 'https://b.example', keep_path: true}}
  - {id: b, host: b.example, redirect: {to: 'https://a.example', keep_path: true}}
";
    let expected = "request:3:40: warning: /routes/0/redirect redirects in a circle, a to b to a: a browser gives \
                    up (route a)";
    let validation = scene.questions.validate(&proposal(text)).unwrap();
    assert!(validation.is_valid() && validation.findings.len() == 1, "{validation:?}");
    assert_eq!(validation.findings[0].to_string(), expected);
    let applied = scene.apply(text).unwrap();
    assert_eq!(applied.findings[0].to_string(), expected);
    assert_eq!(scene.routes(), ["a", "b"]);
}

// --- History ----------------------------------------------------------------------------------------------

#[test]
fn a_rollback_is_a_new_revision_with_exactly_the_old_content() {
    let mut scene = Scene::without_files();
    let first = scene.apply(&one("a", "a.example")).unwrap().version;
    let before = scene.questions.version(&Owner::Admin, &first).unwrap();
    let second = scene.apply(&one("b", "b.example")).unwrap().version;
    let applied = scene.configurator.rollback(back_to(Owner::Admin, &first)).unwrap();
    assert_eq!((applied.version, applied.previous), (first.clone(), Some(second.clone())));
    assert_eq!(scene.routes(), ["a"]);
    let history = scene.questions.history(&Owner::Admin).unwrap();
    let summary: Vec<_> = history
        .iter()
        .map(|version| (version.sequence, version.version.clone(), version.is_current))
        .collect();
    assert_eq!(summary, [(3, first.clone(), true), (2, second, false), (1, first, false)]);
    assert_eq!((&*history[0].by, &*history[0].reason), ("token:ops", "back"));
    let current = scene.questions.current(Some(&Owner::Admin)).unwrap();
    assert_eq!(current[0].document, before.document);
}

#[test]
fn a_rollback_without_a_version_returns_to_the_one_before() {
    let mut scene = Scene::without_files();
    let request = || RollbackRequest { version: None, ..back_to(Owner::Admin, "") };
    assert!(matches!(
        scene.configurator.rollback(request()),
        Err(ConfigError::UnknownVersion { version: None, .. })
    ));
    scene.apply(&one("a", "a.example")).unwrap();
    scene.apply(&one("b", "b.example")).unwrap();
    scene.configurator.rollback(request()).unwrap();
    assert_eq!(scene.routes(), ["a"]);
}

#[test]
fn a_rollback_whose_references_are_gone_names_them() {
    let mut scene = Scene::with_file(&one("a", "a.example"));
    let text = "routes: [{id: x, host: x.example, pool: a-pool}]";
    let first = scene.apply(text).unwrap().version;
    scene.apply("routes: []").unwrap();
    scene.save(&one("b", "b.example"));
    let error = scene.configurator.rollback(back_to(Owner::Admin, &first)).unwrap_err();
    let text = messages(&error);
    assert!(text.contains("route x names pool a-pool, which does not exist"), "{text}");
    assert_eq!(scene.routes(), ["b"]);
}

#[test]
fn a_rollback_of_the_files_is_a_drift_until_they_change() {
    let mut scene = Scene::with_file(&one("a", "a.example"));
    let first = scene.questions.history(&Owner::File).unwrap()[0].version.clone();
    scene.save(&one("b", "b.example"));
    scene.configurator.rollback(back_to(Owner::File, &first)).unwrap();
    assert_eq!(scene.routes(), ["a"]);
    assert!(scene.status().has_drifted);
    // The regular comparison does not undo it.
    scene.now = scene.now.after(CONFIG_STAT_INTERVAL);
    scene.advance();
    assert_eq!(scene.routes(), ["a"]);
    scene.save(&one("c", "c.example"));
    assert_eq!(scene.routes(), ["c"]);
    assert!(!scene.status().has_drifted);
}

#[test]
fn a_hundred_versions_are_kept() {
    let mut scene = Scene::without_files();
    for number in 0..105 {
        scene.apply(&one("a", &format!("h{number}.example"))).unwrap();
    }
    let history = scene.questions.history(&Owner::Admin).unwrap();
    assert_eq!((history.len(), history[0].sequence, history[99].sequence), (100, 105, 6));
}

#[test]
fn versions_are_compared() {
    let mut scene = Scene::without_files();
    let from = scene.apply(&one("a", "a.example")).unwrap().version;
    let to = scene.apply(&one("a", "b.example")).unwrap().version;
    scene.apply(&one("c", "c.example")).unwrap();
    let diff = scene.questions.diff(DiffRequest::Versions { owner: Owner::Admin, from, to }).unwrap();
    let change = &diff.changes[0];
    assert_eq!(diff.changes.len(), 1, "{:?}", diff.changes);
    assert_eq!(
        (&*change.path, change.from.as_deref(), change.to.as_deref()),
        ("/host", Some("a.example"), Some("b.example"))
    );
}

// --- Governance -------------------------------------------------------------------------------------------

#[test]
fn the_rules_of_the_files_bind_changes_by_requests() {
    let rules =
        "governance: [{rule: reserved_hosts, hosts: [\"*.corp.example\"], owner: file, mode: refuse}]\n";
    let mut scene = Scene::with_file(&format!("{}{rules}", one("a", "a.example")));
    let error = scene.apply(&one("b", "wiki.corp.example")).unwrap_err();
    assert!(matches!(error, ConfigError::Refused { step: Step::Governance, .. }), "{error:?}");
    assert!(messages(&error).contains("reserved for owner file"), "{}", messages(&error));
    scene.apply(&one("b", "b.example")).unwrap();
    // And still after a restart.
    let path = scene.folder.path().to_owned();
    let settings = settings_of(&path);
    let mut scene = Scene::over(scene.plane.clone(), scene.folder, settings);
    assert!(scene.apply(&one("b", "wiki.corp.example")).is_err());
}

// --- Routing of single requests ---------------------------------------------------------------------------

fn question(url: &str, proposal: Option<Proposal>) -> ExplainRequest {
    ExplainRequest { url: url.into(), method: "GET".into(), headers: Vec::new(), client: None, proposal }
}

const TWO_PATHS: &str = "routes:
  - {id: api, host: a.example, path_prefix: /v1, headers: {x-beta: \"1\"}, pool: p}
  - {id: rest, host: a.example, pool: p}
pools: [{id: p, endpoints: [{address: \"10.0.0.1:8000\"}]}]
";

#[test]
fn an_explanation_names_the_route_and_why_the_others_do_not_apply() {
    let mut scene = Scene::without_files();
    scene.apply(TWO_PATHS).unwrap();
    let explanation = scene.questions.explain(&question("http://a.example/v1/./users?x=1", None)).unwrap();
    assert_eq!((explanation.tier, &*explanation.path), (Some("exact"), "/v1/users"));
    let route = explanation.route.unwrap();
    assert_eq!((&*route.id, route.pool.as_deref(), route.owner), ("rest", Some("p"), Owner::Admin));
    let candidates: Vec<_> =
        explanation.candidates.iter().map(|one| (&*one.id, one.mismatch.as_deref())).collect();
    assert_eq!(candidates, [("api", Some("header x-beta is missing")), ("rest", None)]);
    let headers = vec![("X-Beta".into(), "1".into())];
    let with_header = ExplainRequest { headers, ..question("a.example/v1", None) };
    assert_eq!(&*scene.questions.explain(&with_header).unwrap().route.unwrap().id, "api");
    let unknown = scene.questions.explain(&question("https://b.example/", None)).unwrap();
    assert_eq!((unknown.status, unknown.route), (Some(404), None));
    let bad_path = scene.questions.explain(&question("a.example/a%2Fb", None)).unwrap();
    assert_eq!(bad_path.status, Some(400));
}

#[test]
fn an_explanation_shows_what_plain_http_gets_where_tls_is_required() {
    let mut scene = Scene::without_files();
    let document = "routes: [{id: r, host: a.example, pool: p, policy: {require_tls: true}}]
pools: [{id: p, endpoints: [{address: \"10.0.0.1:8000\"}]}]
";
    scene.apply(document).unwrap();
    for (url, method, status) in [
        ("http://a.example/", "GET", Some(308)),
        ("http://a.example/", "POST", Some(421)),
        ("https://a.example/", "GET", None),
        ("a.example/", "GET", None),
    ] {
        let request = ExplainRequest { method: method.into(), ..question(url, None) };
        let explanation = scene.questions.explain(&request).unwrap();
        assert_eq!(explanation.status, status, "{method} {url}");
        assert_eq!(explanation.reason.contains("requires TLS"), status.is_some(), "{method} {url}");
        assert!(explanation.route.unwrap().requires_tls);
    }
}

#[test]
fn an_explanation_names_a_cohort_that_counts_from_trusted_proxies_only() {
    let mut scene = Scene::without_files();
    let document = "routes: [{id: r, host: a.example, pool: p}]
pools:
  - {id: p, endpoints: [{address: \"10.0.0.1:8000\"}]}
  - {id: q, endpoints: [{address: \"10.0.0.2:8000\"}]}
traffic_management:
  - {route: r, cohort_routing: {header: X-Cohort, mappings: {beta: q}, trusted_only: true}}
";
    scene.apply(document).unwrap();
    for (cohort, is_named) in [("beta", true), ("other", false)] {
        let headers = vec![("X-Cohort".into(), cohort.into())];
        let request = ExplainRequest { headers, ..question("a.example/", None) };
        let route = scene.questions.explain(&request).unwrap().route.unwrap();
        assert_eq!(route.pool.as_deref(), Some("p"));
        assert_eq!(route.variant_reason.unwrap().contains("trusted proxies"), is_named, "{cohort}");
    }
}

#[test]
fn a_proposal_is_explained_without_being_applied() {
    let scene = Scene::without_files();
    let explanation = scene.questions.explain(&question("a.example/x", Some(proposal(TWO_PATHS)))).unwrap();
    let route = explanation.route.unwrap();
    assert_eq!((&*route.id, route.place.unwrap().line), ("rest", 3));
    assert_eq!(scene.routes(), [""; 0]);
}

#[test]
fn a_description_that_is_no_request_is_refused() {
    let scene = Scene::without_files();
    for (url, method, value) in [
        ("a.example/", "GE T", "1"),
        ("a.example/ x", "GET", "1"),
        ("", "GET", "1"),
        ("a.example/", "GET", "1\r\nHost: b.example"),
        ("a.example\r\nX: y/", "GET", "1"),
    ] {
        let headers = vec![("x".into(), value.into())];
        let request = ExplainRequest { method: method.into(), headers, ..question(url, None) };
        assert!(scene.questions.explain(&request).is_err(), "{url:?} {method:?} {value:?}");
    }
}

#[test]
fn a_simulation_counts_the_requests_that_meet_another_route() {
    let mut scene = Scene::without_files();
    scene.apply(TWO_PATHS).unwrap();
    let mut heads = SampledHeads::default();
    for target in ["/a?1", "/a?2", "/a", "/v1/x"] {
        heads.push(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes());
    }
    heads.push(b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n");
    heads.push(b"no request");
    scene.plane.state.lock().unwrap().samples = vec![Arc::new(heads)];
    let text = "routes: [{id: api, host: a.example, path_prefix: /v1, pool: p}]";
    let rerouting = scene.questions.simulate(&proposal(text)).unwrap();
    assert_eq!((rerouting.requests, rerouting.rerouted), (5, 4));
    let place = |place: &Option<Destination>| place.as_ref().map(ToString::to_string);
    let groups: Vec<_> = rerouting
        .examples
        .iter()
        .map(|one| (one.count, place(&one.before).unwrap(), place(&one.after)))
        .collect();
    assert_eq!(
        groups,
        [(3, "rest to p".to_owned(), None), (1, "rest to p".to_owned(), Some("api to p".to_owned()))]
    );
    assert_eq!(rerouting.lost, 3);
    let diff = scene.questions.diff(DiffRequest::Proposal(proposal(text))).unwrap();
    assert_eq!(diff.effects.sampled, Some(Sampled { requests: 5, rerouted: 4 }));
}

#[test]
fn a_return_to_the_present_files_ends_their_trial() {
    let text = one("a", "a.example");
    let mut scene = Scene::with_file(&text);
    let before = scene.plane.submitted();
    scene.save(&format!("{text}# the same\n"));
    assert_eq!(scene.plane.submitted(), before, "in force already");
    scene.plane.state.lock().unwrap().trial = Some(TrialStatus {
        id: TrialId(0),
        owner: Owner::File,
        version: "000000000000".into(),
        state: TrialState::Running,
        core: ringway_model::CoreId(0),
        started_at: Timestamp(0),
        elapsed: Duration::ZERO,
        bake: Duration::from_secs(600),
        on_trial: Default::default(),
        others: Default::default(),
        before: Default::default(),
        z: None,
    });
    scene.save(&format!("{text}# again\n"));
    assert_eq!(scene.plane.submitted(), before + 1, "it takes the place of the trial");
}

const STAGES: &str = "routes:
  - id: api
    host: a.example
    pool: p
    policy: {rate_limit: {requests_per_second: 100}}
    middleware:
      - {type: request_id}
      - {type: ip_acl, config: {allow: [10.0.0.0/8]}}
      - {type: header_transform, config: {set: {x-host: \"${host}\"}, response: {remove: [server]}}}
      - {type: auth, config: {jwt: {issuer: \"https://i.example\", audience: api}}}
      - {type: redirect, config: {from: /old, to: /new}}
  - id: open
    host: b.example
    pool: p
    middleware:
      - {type: rewrite, config: {strip_prefix: /v1}}
      - {type: access_log, config: {enabled: false}}
      - {type: body_limit, config: {size: 1KiB}}
pools: [{id: p, endpoints: [{address: \"10.0.0.1:8000\"}]}]
";

#[test]
fn an_explanation_shows_the_verdict_of_each_stage() {
    let mut scene = Scene::without_files();
    scene.apply(STAGES).unwrap();
    let explain = |url, client: Option<&str>, headers: &[(&str, &str)]| {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let client = client.map(|client| client.parse().unwrap());
        scene.questions.explain(&ExplainRequest { client, headers, ..question(url, None) }).unwrap()
    };
    let verdicts = |found: &Explanation| {
        found.stages.stages.iter().map(|stage| (stage.stage, stage.verdict)).collect::<Vec<_>>()
    };
    let refused = explain("a.example/", Some("192.0.2.1"), &[]);
    assert_eq!(
        verdicts(&refused),
        [
            ("rate_limit", "limits"),
            ("request_id", "passes"),
            ("ip_acl", "replies"),
            ("header_transform", "not_reached"),
            ("auth", "not_reached"),
            ("redirect", "not_reached")
        ]
    );
    assert_eq!(refused.status, Some(403));
    assert!(refused.stages.stages[0].detail.contains("100"), "{:?}", refused.stages.stages[0]);
    let without = explain("a.example/old", Some("10.0.0.1"), &[]);
    assert_eq!((without.status, verdicts(&without)[4]), (Some(401), ("auth", "replies")));
    let token = explain("a.example/", None, &[("Authorization", "Bearer junk")]);
    assert_eq!(verdicts(&token)[2], ("ip_acl", "undecided"));
    assert_eq!(token.stages.stages[4].methods[0].outcome, MethodOutcome::Refuses(Reason::Malformed));
    let open = explain("b.example/v1/users?x=1", None, &[]);
    assert_eq!((open.rewritten.as_deref(), open.status), (Some("/users?x=1"), None));
    let route = open.route.unwrap();
    assert_eq!((route.is_logged, route.body_bytes_max), (false, Some(1024)));
}

#[test]
fn a_credential_is_checked_by_the_route_that_is_named() {
    let mut scene = Scene::without_files();
    scene.apply(STAGES).unwrap();
    let check = |route: &str, credential: &str| {
        let request = AuthCheckRequest { route: route.into(), credential: credential.into(), kind: None };
        scene.questions.check_auth(&request)
    };
    let checked = check("api", "junk").unwrap();
    assert_eq!((checked.check.is_admitted, checked.check.reason), (Some(false), Some(Reason::Malformed)));
    assert_eq!(
        (&*checked.sources[0].name, checked.sources[0].entries),
        ("keys of issuer https://i.example", None)
    );
    let error = check("open", "junk").unwrap_err();
    assert!(matches!(error, ConfigError::NotCheckable { .. }) && error.to_string().contains("stage auth"));
    let error = check("nope", "a-secret").unwrap_err();
    assert!(error.to_string().contains("nope") && !error.to_string().contains("a-secret"));
}
