//! Starts after crashes: a version that is not proven must survive its first minute.
#![allow(clippy::unwrap_used)]

use super::*;

fn document(host: &str) -> Arc<Document> {
    let text = format!(
        "version: v1\nroutes: [{{id: {host}-route, host: {host}.example, pool: {host}}}]\n\
         pools: [{{id: {host}, endpoints: [{{address: \"10.0.0.1:80\"}}]}}]\n"
    );
    let reading = ringway_config::read(&[Source { name: "a.yaml".into(), text }]);
    Arc::new(reading.document.unwrap_or_else(|| panic!("{:?}", reading.findings)))
}

/// Starts with the documents of the file.
fn start(stored: Desired, document: Option<&Arc<Document>>, probation: &mut Probation) -> Started {
    let start = match document {
        Some(document) => Start::Documents { sources: Vec::new(), document: document.clone() },
        None => Start::Empty,
    };
    let settings = ConfigurationSettings { start, ..ConfigurationSettings::default() };
    prepare(stored, settings, Default::default(), probation, Timestamp(5)).unwrap()
}

fn prove(desired: &Desired, owner: &Owner) -> Desired {
    let key = desired.version_of(owner).unwrap().key.clone();
    desired.apply(&Change::ProveVersion { key, is_proven: true }, Timestamp(6)).unwrap().desired
}

fn routes(desired: &Desired) -> Vec<String> {
    let mut routes: Vec<_> = desired.routes().map(|route| route.id().to_string()).collect();
    routes.sort_unstable();
    routes
}

#[test]
fn two_crashes_with_new_files_bring_back_the_proven_version() {
    let (good, bad) = (document("good"), document("bad"));
    let mut probation = Probation::default();
    let first = start(Desired::default(), Some(&good), &mut probation);
    let mut stored = prove(&first.desired, &Owner::File);
    for _ in 0..2 {
        let started = start(stored, Some(&bad), &mut probation);
        assert_eq!(routes(&started.desired), ["bad-route"]);
        stored = started.desired;
    }
    let started = start(stored, Some(&bad), &mut probation);
    assert_eq!(routes(&started.desired), ["good-route"]);
    let version = started.desired.version_of(&Owner::File).unwrap();
    assert_eq!((&version.version, version.is_proven), (&good.version, true));
    assert!(!started.deltas.is_empty(), "it is stored");
    assert!(matches!(&started.settings.start, Start::LastGood(findings) if findings[0].code == "refused"));
    assert_eq!(probation.warnings().count(), 1);
    // It stays refused, and nothing changes with further starts; new content is tried again.
    let again = start(started.desired, Some(&bad), &mut probation);
    assert_eq!((routes(&again.desired), again.deltas.len()), (vec!["good-route".to_owned()], 0));
    let mended = start(again.desired, Some(&document("mended")), &mut probation);
    assert_eq!(routes(&mended.desired), ["mended-route"]);
    assert_eq!(probation.warnings().count(), 0);
}

#[test]
fn a_crash_before_the_version_was_stored_counts_as_well() {
    let (good, bad) = (document("good"), document("bad"));
    let mut probation = Probation::default();
    let stored = prove(&start(Desired::default(), Some(&good), &mut probation).desired, &Owner::File);
    for _ in 0..2 {
        assert_eq!(routes(&start(stored.clone(), Some(&bad), &mut probation).desired), ["bad-route"]);
    }
    assert_eq!(routes(&start(stored, Some(&bad), &mut probation).desired), ["good-route"]);
}

#[test]
fn crashes_empty_no_set_when_no_version_is_proven() {
    let only = document("only");
    let mut probation = Probation::default();
    let mut stored = Desired::default();
    for _ in 0..4 {
        stored = start(stored, Some(&only), &mut probation).desired;
        assert_eq!(routes(&stored), ["only-route"]);
        assert_eq!(routes(&start(Desired::default(), Some(&only), &mut probation).desired), ["only-route"]);
    }
}

#[test]
fn versions_of_the_api_are_on_probation_too() {
    let apply = |desired: &Desired, document: &Document| {
        let version = NewVersion {
            version: document.version.clone(),
            by: "test".into(),
            reason: "".into(),
            source: history::pack(&document.canonical),
            is_proven: false,
        };
        let replacement = Replacement {
            owner: Owner::Admin,
            set: document.set.clone(),
            expect: None,
            version: Some(version),
        };
        desired.apply(&Change::ReplaceOwned(Arc::new(replacement)), Timestamp(1)).unwrap().desired
    };
    let (good, bad) = (document("good"), document("bad"));
    let stored = apply(&prove(&apply(&Desired::default(), &good), &Owner::Admin), &bad);
    let mut probation = Probation::default();
    for _ in 0..2 {
        assert_eq!(routes(&start(stored.clone(), None, &mut probation).desired), ["bad-route"]);
    }
    let started = start(stored, None, &mut probation);
    assert_eq!(routes(&started.desired), ["good-route"]);
    assert_eq!(started.desired.version_of(&Owner::Admin).unwrap().version, good.version);
}

#[test]
fn files_that_a_trial_reverted_do_not_come_back_by_a_start() {
    let (good, bad) = (document("good"), document("bad"));
    let mut probation = Probation::default();
    let stored = start(Desired::default(), Some(&good), &mut probation).desired;
    probation.refuse(&Owner::File, &bad.version);
    let started = start(stored, Some(&bad), &mut probation);
    assert_eq!((routes(&started.desired), started.deltas.len()), (vec!["good-route".to_owned()], 0));
    assert!(matches!(started.settings.start, Start::LastGood(_)));
}

fn read(text: &str) -> Arc<Document> {
    let reading = ringway_config::read(&[Source { name: "a.yaml".into(), text: text.to_owned() }]);
    Arc::new(reading.document.unwrap_or_else(|| panic!("{:?}", reading.findings)))
}

fn replace(desired: &Desired, owner: Owner, set: OperatorSet) -> Desired {
    let replacement = Replacement { owner, set: Arc::new(set), expect: None, version: None };
    desired.apply(&Change::ReplaceOwned(Arc::new(replacement)), Timestamp(1)).unwrap().desired
}

/// A route without its chain would serve what the chain protects.
#[test]
fn a_route_whose_chain_is_left_out_is_left_out_too() {
    let other = read("middleware: [{id: guard, stages: [{type: request_id}]}]\nroutes: []");
    let stored = replace(&Desired::default(), Owner::Admin, OperatorSet::clone(&other.set));
    let own = read(
        "pools: [{id: p, endpoints: [{address: x}]}]
middleware: [{id: guard, stages: [{type: ip_acl, config: {deny: 0.0.0.0/0}}]}, {id: fine, stages: []}]
plugins: [{id: asks, type: external_http, address: y}]
routes:
  - {id: a, host: a.example, pool: p, middleware: guard}
  - {id: b, host: b.example, pool: p, middleware: fine}
  - {id: c, host: c.example, pool: p, middleware: [{type: plugin, ref: asks}]}
",
    );
    let started = start(stored.clone(), Some(&own), &mut Probation::default());
    // The other owner's chain of the same id is not the one that the route was written for.
    let quarantined: Vec<_> = started.quarantined.iter().map(ToString::to_string).collect();
    assert!(quarantined[0].contains("middleware guard belongs to owner admin"), "{quarantined:?}");
    assert_eq!(routes(&started.desired), ["b", "c"]);
    // A pool whose id a registered app has takes the plugin, its chain and the route along.
    let app = ringway_model::AppSpec::new(AppId::parse("plugin.asks").unwrap());
    let register = Change::Register { app, instance: None, domain: None };
    let taken = Desired::default().apply(&register, Timestamp(1)).unwrap().desired;
    let started = start(taken, Some(&own), &mut Probation::default());
    assert_eq!(routes(&started.desired), ["a", "b"]);
    assert!(started.desired.plugin("asks").is_none() && started.desired.middleware("route.c").is_none());
}

#[test]
fn a_chain_that_a_route_of_another_owner_passes_is_kept_with_all_that_it_needs() {
    let own = read(
        "pools: [{id: p, endpoints: [{address: x}]}]
policies: [{id: slow, rate_limit: {requests_per_second: 1}}]
middleware: [{id: guard, stages: [{type: plugin, ref: asks}, {type: rate_limit, policy_ref: slow}]}]
plugins: [{id: asks, type: external_http, address: y}]
routes: []",
    );
    let stored = start(Desired::default(), Some(&own), &mut Probation::default()).desired;
    let source = Source {
        name: "b.yaml".into(),
        text: "routes: [{id: r, host: r.example, respond: {}, middleware: guard}]".into(),
    };
    let beside = ringway_config::Beside { is_known: &|_, _| true, ..ringway_config::Beside::NOTHING };
    let other = ringway_config::read_beside(&[source], &beside).document.unwrap();
    let stored = replace(&stored, Owner::Admin, OperatorSet::clone(&other.set));
    let started = start(stored, Some(&read("routes: []")), &mut Probation::default());
    assert_eq!(routes(&started.desired), ["r"]);
    let desired = &started.desired;
    assert!(desired.middleware("guard").is_some() && desired.plugin("asks").is_some());
    assert!(desired.policy("slow").is_some() && desired.app("plugin.asks").is_some());
    assert!(desired.app("p").is_none(), "it has no user");
}
