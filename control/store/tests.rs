#![allow(clippy::unwrap_used)]

mod compact;
mod damage;
mod failure;
mod format;
mod in_use;
mod migration;
mod unwritable;

use std::path::Path;

use ringway_model::{
    App, AppId, CertificateMode, Delta, Domain, DomainKind, FailurePolicy, Generation, HealthCheck, Hostname,
    Instance, InstanceId, OnAllUnhealthy, Owner, Resource, Revision, Target, Timestamp,
};

use crate::{Batch, Fjall, Loaded, Memory, Store, contract};

#[test]
fn memory_keeps_the_contract() {
    contract::run(|| {
        let place = Memory::new();
        move || Box::new(place.clone()) as Box<dyn Store>
    });
}

#[test]
fn fjall_keeps_the_contract() {
    contract::run(|| {
        let place = tempfile::tempdir().unwrap();
        move || Box::new(Fjall::open(place.path()).unwrap()) as Box<dyn Store>
    });
}

/// Deltas of a deterministic history at one revision.
fn deltas_of(revision: u64) -> Vec<Delta> {
    let mut deltas = vec![
        Delta::Put(instance(revision % 40, revision).into()),
        Delta::Put(domain(revision % 60, revision).into()),
    ];
    if revision == 1 {
        deltas.push(Delta::Put(app().into()));
    }
    if revision.is_multiple_of(7) {
        deltas.push(Delta::Remove(instance((revision + 3) % 40, 0).into()));
        deltas.push(Delta::Remove(domain((revision + 5) % 60, 0).into()));
    }
    deltas
}

/// State of that history at one revision.
fn state_at(revision: u64) -> Loaded {
    let mut store = Memory::new();
    commit_all(&mut store, 1..=revision);
    store.load().unwrap()
}

fn commit_all(store: &mut dyn Store, revisions: impl IntoIterator<Item = u64>) {
    for revision in revisions {
        store.commit(&Batch { revision: Revision(revision), deltas: &deltas_of(revision) }).unwrap();
    }
}

/// End of the process that had a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It closed its store, which then has an export.
    Clean,
    /// It was killed.
    Killed,
}

/// A closed store with the history up to a revision.
fn made(last: u64, ended: Ended) -> tempfile::TempDir {
    let place = directory();
    let mut store = Fjall::open(place.path()).unwrap();
    store.load().unwrap();
    commit_all(&mut store, 1..=last);
    if ended == Ended::Clean {
        store.close().unwrap();
    }
    place
}

fn same_records(a: &Loaded, b: &Loaded) -> bool {
    a.resources == b.resources
}

/// A temporary directory, in memory if possible: hundreds of copies are made.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn load(path: &Path) -> Loaded {
    Fjall::open(path).unwrap().load().unwrap()
}

fn app() -> App {
    App {
        traffic: None,
        balancer: Default::default(),
        policy: None,
        id: AppId::parse("app").unwrap(),
        owner: Owner::Api,
        name: "App".into(),
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        webhook: None,
        created_at: Timestamp(1),
        updated_at: Timestamp(1),
    }
}

fn instance_id(n: u64) -> InstanceId {
    InstanceId::parse(&format!("instance-{n}")).unwrap()
}

fn instance(n: u64, generation: u64) -> Instance {
    Instance {
        weight: 1,
        id: instance_id(n),
        owner: Owner::Api,
        app: AppId::parse("app").unwrap(),
        target: Target::parse("http://127.0.0.1:3001").unwrap(),
        health_check: HealthCheck::default(),
        registered_at: Timestamp(generation),
        generation: Generation(generation),
        draining: None,
    }
}

fn domain_name(n: u64) -> Hostname {
    Hostname::parse(&format!("d{n}.example")).unwrap()
}

fn domain(n: u64, at: u64) -> Domain {
    Domain {
        policy: None,
        certificate: CertificateMode::default(),
        client_auth: None,
        name: domain_name(n),
        owner: Owner::Api,
        app: AppId::parse("app").unwrap(),
        tenant: None,
        kind: DomainKind::Subdomain,
        cname_target: None,
        created_at: Timestamp(at),
        updated_at: Timestamp(at),
    }
}
