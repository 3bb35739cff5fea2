//! Stores of format 1, as version 0.1.0 (commit 60a1716) wrote them.
//!
//! `format-1/killed` and `format-1/closed` are the store folder of that release after `kill -9` and after a
//! clean end. It was filled through the admin API: `POST /api/apps/register` (all fields),
//! `/api/apps/instances`, `/api/tenants/domains`, `/api/webhooks`, and `DELETE
//! /api/apps/instances/slow-1?drain=3600s` during a request. `format-1/closed/export.jsonl` equals the output
//! of its `ringway export`.
//!
//! `format-2/killed` and `format-2/closed` are copies of them that the release of format 2 (commit 5f334f6)
//! migrated; one more app was stored, and the store was killed or closed.
//!
//! `format-3/killed` and `format-3/closed` are copies of `format-2/closed` that a build of format 3 (commit
//! 504bdc7) migrated and served with a file of a policy, a pool of two endpoints and a route; the drained
//! instance was removed by then.
//!
//! `format-4/closed` is a copy of `format-3/closed` that a build of format 4 (commit 3941a2d) migrated and
//! served with a file of a policy with retries and a rate limit, two pools, and a route with a canary; an
//! endpoint was drained over the admin API. `format-4/killed` was served once more: the weight of another
//! endpoint was set, and the store was killed.
//!
//! `format-5/closed` is a copy of `format-4/closed` that a build of format 5 (commit 038ed6b) migrated and
//! served with a file that has a chain and a plugin besides. `format-5/killed` was served once more, with one
//! more stage in the chain, and killed.

use std::fs;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    BodyText, CertificateFiles, ClientAuth, ClientAuthNeed, FilePath, HttpProbe, Kind, Probe, ProbeHeaders,
    ProbeHost, StatusRanges, StatusSet, TenantId, TimeoutPolicy, UpstreamTls, Webhook, WebhookSecret,
    WebhookUrl,
};

use super::unwritable::{allow_writing, everything, refuse_writing};
use super::*;
use crate::mark::{Mark, MarkRead, SCHEMA, Totals};
use crate::{Finding, LoadReport, StoreError, durable, export, import};

const MIGRATED: Finding = Finding::Migrated { from: 1, to: SCHEMA };

fn fixture(name: &str) -> PathBuf {
    fixture_of(1, name)
}

fn fixture_of(format: u32, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/format-{format}")).join(name)
}

/// A copy of a store of format 1.
fn old_store(name: &str) -> tempfile::TempDir {
    old_store_of(1, name)
}

fn old_store_of(format: u32, name: &str) -> tempfile::TempDir {
    let place = directory();
    durable::copy_dir(&fixture_of(format, name), place.path()).unwrap();
    // A checkout has no empty folders.
    for keyspace in 0..2 + kinds_of(format) {
        fs::create_dir_all(place.path().join(format!("live/keyspaces/{keyspace}/tables"))).unwrap();
    }
    place
}

/// Number of kinds of a format.
fn kinds_of(format: u32) -> usize {
    match format {
        1 | 2 => 3,
        3 => 7,
        4 => 9,
        _ => 11,
    }
}

/// The contents of both stores and of the export.
fn expected() -> Loaded {
    let app_id = |id: &str| AppId::parse(id).unwrap();
    let path = |text: &str| FilePath::parse(text).unwrap();
    let url = |text: &str| WebhookUrl::parse(text).unwrap();
    let blog = App {
        id: app_id("blog"),
        name: "blog".into(),
        webhook: Some(Webhook { url: url("http://127.0.0.1:9/hook"), secret: None }),
        created_at: Timestamp(1795988964784),
        updated_at: Timestamp(1795988965080),
        ..app()
    };
    let shop = App {
        traffic: None,
        balancer: Default::default(),
        policy: None,
        id: app_id("shop"),
        owner: Owner::Api,
        name: "The \"Shop\", größer".into(),
        upstream_tls: Some(UpstreamTls {
            ca_file: Some(path("/etc/ringway/ca.pem")),
            client_certificate: Some(CertificateFiles {
                certificate: path("/etc/ringway/client.pem"),
                key: path("/etc/ringway/client.key"),
            }),
            server_name: Some(Hostname::parse("shop.internal").unwrap()),
            insecure: false,
        }),
        failures: FailurePolicy {
            statuses: StatusSet::parse("500,502-504").unwrap(),
            timeouts: TimeoutPolicy::Always,
        },
        on_all_unhealthy: OnAllUnhealthy::Trickle,
        webhook: Some(Webhook {
            url: url("https://app1.example/hooks?a=1"),
            secret: Some(WebhookSecret::parse("correct-horse-battery-staple").unwrap()),
        }),
        created_at: Timestamp(1795988953006),
        updated_at: Timestamp(1795988965059),
    };
    let slow = App {
        id: app_id("slow"),
        name: "slow".into(),
        created_at: Timestamp(1795988983926),
        updated_at: Timestamp(1795988983926),
        ..app()
    };
    let plain = |id: &str, app: &str, target: &str, registered_at, generation| Instance {
        weight: 1,
        id: InstanceId::parse(id).unwrap(),
        owner: Owner::Api,
        app: app_id(app),
        target: Target::parse(target).unwrap(),
        health_check: HealthCheck::default(),
        registered_at: Timestamp(registered_at),
        generation: Generation(generation),
        draining: None,
    };
    let probe = HttpProbe {
        host: Some(ProbeHost::parse("shop.internal:8443").unwrap()),
        headers: ProbeHeaders::new([("Authorization", "Bearer abc"), ("X-Check", "1")]).unwrap(),
        statuses: StatusRanges::parse("200,300-399").unwrap(),
        body: Some(BodyText::parse("ok").unwrap()),
        ..HttpProbe::new("/health?deep=1").unwrap()
    };
    let instances = [
        plain("blog-1", "blog", "http://127.0.0.1:9", 1795988964784, 3),
        Instance {
            health_check: HealthCheck {
                probe: Probe::Http(probe.into()),
                port: 9000.try_into().ok(),
                interval: Some(Duration::from_secs(5)),
                timeout: Some(Duration::from_millis(1500)),
                unhealthy_threshold: 5.try_into().ok(),
                healthy_threshold: 1.try_into().ok(),
            },
            ..plain("shop-1", "shop", "https://10.0.0.5:3001", 1795988953006, 1)
        },
        Instance {
            draining: Some(Timestamp(1795992584992)),
            ..plain("slow-1", "slow", "http://127.0.0.1:45527", 1795988983926, 11)
        },
    ];
    let plain = |name: &str, app: &str, at| Domain {
        name: Hostname::parse(name).unwrap(),
        app: app_id(app),
        created_at: Timestamp(at),
        updated_at: Timestamp(at),
        ..domain(0, 0)
    };
    let domains = [
        Domain {
            kind: DomainKind::CnameTarget,
            certificate: CertificateMode::Provided,
            ..plain("own.example", "blog", 1795988964847)
        },
        Domain { certificate: CertificateMode::None, ..plain("shop.example", "shop", 1795988964804) },
        plain("slow.example", "slow", 1795988983949),
        Domain {
            tenant: Some(TenantId::parse("tenant-1").unwrap()),
            kind: DomainKind::Custom,
            cname_target: Some(Hostname::parse("shop.example").unwrap()),
            client_auth: Some(ClientAuth {
                ca_file: path("/etc/ringway/ca.pem"),
                need: ClientAuthNeed::Optional,
            }),
            ..plain("xn--bcher-kva.example", "shop", 1795988964822)
        },
    ];
    let apps = [blog, shop, slow].map(Resource::from).into_iter();
    let instances = instances.map(Resource::from);
    let domains = domains.map(Resource::from);
    Loaded {
        resources: apps.chain(instances).chain(domains).collect(),
        revision: Revision(13),
        report: LoadReport::default(),
    }
}

fn assert_expected(loaded: &Loaded, case: &str) {
    assert!(!loaded.report.is_degraded(), "{case}: {}", loaded.report);
    assert_eq!(loaded.revision, Revision(13), "{case}");
    assert_eq!(loaded.resources, expected().resources, "{case}");
}

#[test]
fn an_old_store_is_rewritten_once_and_takes_changes() {
    for name in ["killed", "closed"] {
        let place = old_store(name);
        let mut store = Fjall::open(place.path()).unwrap();
        let loaded = store.load().unwrap();
        assert_expected(&loaded, name);
        assert!(loaded.report.findings().contains(&MIGRATED), "{name}: {}", loaded.report);
        let head = Mark::decode(&fs::read(place.path().join("HEAD")).unwrap());
        let MarkRead::Whole(head) = head else { panic!("{name}: {head:?}") };
        assert_eq!((head.schema, head.revision), (SCHEMA, 13), "{name}");
        assert!(!place.path().join("live.old").exists() && !place.path().join("live.new").exists());

        // Killed right after the migration.
        drop(store);
        let mut store = Fjall::open(place.path()).unwrap();
        let loaded = store.load().unwrap();
        assert_expected(&loaded, name);
        assert!(!loaded.report.findings().contains(&MIGRATED), "{name}: {}", loaded.report);
        store.commit(&Batch { revision: Revision(14), deltas: &[Delta::Put(app().into())] }).unwrap();
        store.close().unwrap();
        drop(store);
        let loaded = load(place.path());
        assert_eq!((loaded.revision, loaded.resources.len()), (Revision(14), 11), "{name}");
        assert!(loaded.report.findings().is_empty(), "{name}: {}", loaded.report);
    }
}

#[test]
fn a_store_of_format_2_is_rewritten_with_all_records() {
    for name in ["killed", "closed"] {
        let place = old_store_of(2, name);
        let loaded = load(place.path());
        let migrated = Finding::Migrated { from: 2, to: SCHEMA };
        assert!(loaded.report.findings().contains(&migrated), "{name}: {}", loaded.report);
        assert!(!loaded.report.is_degraded(), "{name}: {}", loaded.report);
        assert_eq!(loaded.revision, Revision(14), "{name}");
        let mut resources = expected().resources;
        let at = resources
            .partition_point(|resource| resource.kind() == Kind::App && resource.key() < app().id.as_str());
        resources.insert(at, app().into());
        assert_eq!(loaded.resources, resources, "{name}");
        let again = load(place.path());
        assert!(!again.report.findings().contains(&migrated), "{name}: {}", again.report);
    }
}

#[test]
fn a_store_of_format_3_is_rewritten_with_all_records() {
    for name in ["killed", "closed"] {
        let place = old_store_of(3, name);
        let loaded = load(place.path());
        let migrated = Finding::Migrated { from: 3, to: SCHEMA };
        assert!(loaded.report.findings().contains(&migrated), "{name}: {}", loaded.report);
        assert!(!loaded.report.is_degraded(), "{name}: {}", loaded.report);
        assert_eq!((loaded.revision, loaded.resources.len()), (Revision(16), 16), "{name}");
        let of = |kind: Kind, key: &str| {
            let found = loaded.resources.iter().find(|known| known.kind() == kind && known.key() == key);
            found.unwrap_or_else(|| panic!("{name}: {kind} {key}")).clone()
        };
        let (Resource::App(pool), Resource::App(app)) = (of(Kind::App, "api-pool"), of(Kind::App, "blog"))
        else {
            panic!("apps");
        };
        assert_eq!((&pool.traffic, &app.traffic), (&Some(Arc::default()), &None), "{name}");
        let Resource::Policy(policy) = of(Kind::Policy, "strict") else { panic!("a policy") };
        assert_eq!((&policy.settings.retries, policy.settings.body_size_limit), (&None, Some(1_000_000)));
        let Resource::Route(route) = of(Kind::Route, "api") else { panic!("a route") };
        assert_eq!(route.spec.traffic, None, "{name}");
        let again = load(place.path());
        assert!(!again.report.findings().contains(&migrated), "{name}: {}", again.report);
        assert_eq!(again.resources, loaded.resources, "{name}");
    }
}

#[test]
fn a_store_of_format_4_is_rewritten_with_all_records() {
    for (name, revision, overrides) in [("killed", 19, 2), ("closed", 18, 1)] {
        let place = old_store_of(4, name);
        let loaded = load(place.path());
        let migrated = Finding::Migrated { from: 4, to: SCHEMA };
        assert!(loaded.report.findings().contains(&migrated), "{name}: {}", loaded.report);
        assert!(!loaded.report.is_degraded(), "{name}: {}", loaded.report);
        let count = 19 + overrides;
        assert_eq!((loaded.revision, loaded.resources.len()), (Revision(revision), count), "{name}");
        let of = |kind: Kind, key: &str| {
            let found = loaded.resources.iter().find(|known| known.kind() == kind && known.key() == key);
            found.unwrap_or_else(|| panic!("{name}: {kind} {key}")).clone()
        };
        let Resource::Policy(policy) = of(Kind::Policy, "strict") else { panic!("a policy") };
        assert_eq!(policy.settings.rate_limit.as_ref().map(|limit| limit.burst), Some(20), "{name}");
        let Resource::Route(route) = of(Kind::Route, "api") else { panic!("a route") };
        let canary = route.spec.traffic.as_ref().and_then(|traffic| traffic.canary.as_ref());
        assert_eq!(canary.map(|canary| canary.pool.id().as_str()), Some("canary-pool"), "{name}");
        assert!(route.spec.middleware.is_empty(), "{name}");
        let drained = of(Kind::EndpointOverride, "api-pool@10.0.1.10:8000");
        let Resource::EndpointOverride(drained) = drained else { panic!("an override") };
        assert_eq!((drained.weight, drained.is_drained), (Some(2), true), "{name}");
        let again = load(place.path());
        assert!(!again.report.findings().contains(&migrated), "{name}: {}", again.report);
        assert_eq!(again.resources, loaded.resources, "{name}");
    }
}

#[test]
fn a_store_of_format_5_is_rewritten_with_all_records() {
    for (name, revision, stages, versions) in [("killed", 21, 4, 4), ("closed", 20, 3, 3)] {
        let place = old_store_of(5, name);
        let loaded = load(place.path());
        let migrated = Finding::Migrated { from: 5, to: SCHEMA };
        assert!(loaded.report.findings().contains(&migrated), "{name}: {}", loaded.report);
        assert!(!loaded.report.is_degraded(), "{name}: {}", loaded.report);
        let count = 20 + versions;
        assert_eq!((loaded.revision, loaded.resources.len()), (Revision(revision), count), "{name}");
        let of = |kind: Kind, key: &str| {
            let found = loaded.resources.iter().find(|known| known.kind() == kind && known.key() == key);
            found.unwrap_or_else(|| panic!("{name}: {kind} {key}")).clone()
        };
        let Resource::Route(route) = of(Kind::Route, "api") else { panic!("a route") };
        assert_eq!(
            route.spec.middleware.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
            ["site"],
            "{name}"
        );
        assert_eq!(route.spec.cache, None, "{name}");
        let Resource::Middleware(chain) = of(Kind::Middleware, "site") else { panic!("a chain") };
        assert_eq!(chain.spec.stages.len(), stages, "{name}");
        of(Kind::Plugin, "check");
        let again = load(place.path());
        assert!(!again.report.findings().contains(&migrated), "{name}: {}", again.report);
        assert_eq!(again.resources, loaded.resources, "{name}");
    }
}

#[test]
fn a_migration_that_is_killed_leaves_the_old_store_or_the_new_one() {
    let migrated = old_store("closed");
    load(migrated.path());
    // State of `live`, `live.new` and `live.old` after each step; HEAD is written last.
    let place_with = |case: &str, live: &[(&str, &Path)]| {
        let place = old_store("killed");
        fs::remove_dir_all(place.path().join("live")).unwrap();
        for (name, from) in live {
            durable::copy_dir(from, &place.path().join(name)).unwrap();
        }
        let loaded = load(place.path());
        assert_expected(&loaded, case);
        assert_expected(&load(place.path()), case);
        assert!(place.path().join("live").exists() && !place.path().join("aside/0001").exists(), "{case}");
        loaded.report.findings().contains(&MIGRATED)
    };
    let old_place = old_store("killed");
    let (before, after) = (old_place.path().join("live"), migrated.path().join("live"));
    let torn = directory();
    durable::copy_dir(&after, torn.path()).unwrap();
    fs::remove_dir_all(torn.path().join("keyspaces/1")).unwrap();

    assert!(place_with("while live.new is written", &[("live", &before), ("live.new", torn.path())]));
    assert!(place_with("before the exchange", &[("live", &before), ("live.new", &after)]));
    assert!(!place_with("between two renames", &[("live.old", &before), ("live.new", &after)]));
    assert!(!place_with("before live.old is removed", &[("live", &after), ("live.old", &before)]));
    assert!(!place_with("before HEAD is written", &[("live", &after)]));
}

#[test]
fn an_old_export_is_imported() {
    let text = fs::read(fixture("closed/export.jsonl")).unwrap();
    let mut store = Memory::new();
    let summary = import(&mut text.as_slice(), &mut store).unwrap();
    assert_eq!(Kind::ALL.map(|kind| summary.count(kind)), [3, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_expected(&store.load().unwrap(), "imported");

    // The export of a migrated store is the same as one of the import.
    let place = old_store("closed");
    let (mut of_import, mut of_store) = (Vec::new(), Vec::new());
    export(&mut store, &mut of_import).unwrap();
    export(&mut Fjall::open(place.path()).unwrap(), &mut of_store).unwrap();
    assert_eq!(String::from_utf8(of_store).unwrap(), String::from_utf8(of_import).unwrap());
}

#[test]
fn an_old_store_in_a_folder_that_cannot_be_written_is_served_and_migrated_later() {
    for (name, has_scratch) in [("killed", true), ("killed", false), ("closed", true), ("closed", false)] {
        let case = format!("{name}, room for a copy: {has_scratch}");
        let place = old_store(name);
        refuse_writing(place.path());
        let before = everything(place.path());
        let mut store = Fjall::open(place.path()).unwrap();
        if !has_scratch {
            store = store.without_scratch();
        }
        assert_expected(&store.load().unwrap(), &case);
        assert_eq!(everything(place.path()), before, "{case}");
        allow_writing(place.path());
        store.commit(&Batch { revision: Revision(14), deltas: &[] }).unwrap();
        drop(store);
        let loaded = load(place.path());
        assert_eq!((loaded.revision, loaded.resources), (Revision(14), expected().resources), "{case}");
    }
}

#[test]
fn a_damaged_old_store_is_recovered_into_the_present_format() {
    let place = old_store("closed");
    let journal = fs::read(place.path().join("live/0.jnl")).unwrap();
    fs::write(place.path().join("live/0.jnl"), &journal[..journal.len() / 2]).unwrap();
    let loaded = load(place.path());
    assert_eq!((loaded.revision, &loaded.resources), (Revision(13), &expected().resources));
    assert!(loaded.report.findings().contains(&Finding::NothingLost { revision: Revision(13) }));
    assert_expected(&load(place.path()), "the next start");
}

/// The export of a release that is no longer in use stays until the next one is written.
#[test]
fn a_migrated_store_that_is_damaged_is_restored_from_its_old_export() {
    let place = old_store("closed");
    load(place.path());
    fs::remove_dir_all(place.path().join("live")).unwrap();
    let loaded = load(place.path());
    assert_eq!((loaded.revision, &loaded.resources), (Revision(13), &expected().resources));
    assert!(
        loaded.report.findings().contains(&Finding::NothingLost { revision: Revision(13) }),
        "{}",
        loaded.report
    );
}

#[test]
fn an_old_store_in_use_by_another_process_is_read() {
    let place = old_store("killed");
    assert_expected(&Fjall::read_in_use(place.path()).unwrap(), "in use");
}

#[test]
fn a_store_of_a_newer_format_is_refused_and_left_as_it_is() {
    let newer = Mark { schema: SCHEMA + 1, ..Mark::new(Revision(13), Totals::default()) };
    let place = old_store("closed");
    fs::write(place.path().join("HEAD"), newer.encode()).unwrap();
    let before = everything(place.path());
    let refused = Fjall::open(place.path()).unwrap().load();
    let Err(error @ StoreError::NewerSchema { found: 7, known: 6, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(error.to_string().contains("format 7; this version reads formats up to 6"), "{error}");
    assert_eq!(everything(place.path()), before);

    let mut text: &[u8] = b"{\"ringway_export\":7,\"revision\":1,\"records\":0}\n";
    let refused = import(&mut BufReader::new(&mut text), &mut Memory::new()).unwrap_err();
    assert!(refused.to_string().starts_with("the export was written by a newer version"), "{refused}");
}
