//! What every adapter must keep, as a test suite that embedders can run on their own.
//!
//! ```
//! use ringway_store::{Memory, Store, contract};
//!
//! contract::run(|| {
//!     let place = Memory::new(); // a new, empty place
//!     move || Box::new(place.clone()) as Box<dyn Store> // opens it, again and again
//! });
//! ```

use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

use ringway_model::{
    App, AppId, BodyText, Delta, Domain, DomainKind, FailurePolicy, Generation, HealthCheck, Hostname,
    HttpProbe, Instance, InstanceId, OnAllUnhealthy, Probe, ProbeHeaders, ProbeHost, ProbeMethod, ProbePath,
    Revision, StatusRanges, StatusSet, Target, TenantId, TimeoutPolicy, Timestamp,
};

use crate::{Batch, Loaded, Memory, Store, StoreError, export, import, migrate};

/// Runs the whole suite. `make` gives a new and empty place each time that it is called; what it returns opens that
/// place, after the store opened before has been dropped.
///
/// # Panics
/// At the first promise that is not kept, with its name.
pub fn run<P: FnMut() -> Box<dyn Store>>(mut make: impl FnMut() -> P) {
    for (name, check) in CHECKS {
        let mut place = make();
        let mut open = || Place { name, store: place() };
        check(&mut open);
    }
}

type Check = fn(&mut dyn FnMut() -> Place);

/// An opened store with words for the checks.
struct Place {
    name: &'static str,
    store: Box<dyn Store>,
}

impl Place {
    fn load(&mut self) -> Loaded {
        let loaded = self.store.load().unwrap_or_else(|error| panic!("{}: load: {error}", self.name));
        assert!(!loaded.report.is_degraded(), "{}: degraded: {}", self.name, loaded.report);
        loaded
    }

    fn commit(&mut self, revision: u64, deltas: &[Delta]) {
        self.store
            .commit(&Batch { revision: Revision(revision), deltas })
            .unwrap_or_else(|error| panic!("{}: commit {revision}: {error}", self.name));
    }

    fn expect(&mut self, revision: u64, apps: &[App], instances: &[Instance], domains: &[Domain]) {
        let loaded = self.load();
        assert_eq!(loaded.revision, Revision(revision), "{}: revision", self.name);
        assert_eq!(loaded.apps, apps, "{}: apps", self.name);
        assert_eq!(loaded.instances, instances, "{}: instances", self.name);
        assert_eq!(loaded.domains, domains, "{}: domains", self.name);
    }
}

const CHECKS: &[(&str, Check)] = &[
    ("a new store is empty, at revision 0", |open| open().expect(0, &[], &[], &[])),
    ("every field of every record comes back, after opening again too", |open| {
        let (app, instance, domain) =
            (app("shop"), instance("shop", "shop-1"), domain("shop", "shop.example"));
        let bare = (bare_instance("shop", "shop-2"), bare_domain("shop", "www.shop.example"));
        let deltas = [
            Delta::PutApp(app.clone().into()),
            Delta::PutInstance(instance.clone().into()),
            Delta::PutInstance(bare.0.clone().into()),
            Delta::PutDomain(domain.clone().into()),
            Delta::PutDomain(bare.1.clone().into()),
        ];
        let mut place = open();
        place.load();
        place.commit(1, &deltas);
        let all = ([app], [instance, bare.0], [domain, bare.1]);
        place.expect(1, &all.0, &all.1, &all.2);
        drop(place);
        open().expect(1, &all.0, &all.1, &all.2);
    }),
    ("a commit before the first load finds what is there", |open| {
        open().commit(1, &[Delta::PutApp(app("a").into())]);
        open().commit(2, &[Delta::PutApp(app("b").into())]);
        open().expect(2, &[app("a"), app("b")], &[], &[]);
    }),
    ("a later put replaces, a removal removes", |open| {
        let mut place = open();
        let renamed = App { name: "another name".into(), updated_at: Timestamp(9), ..app("a") };
        place.commit(1, &[Delta::PutApp(app("a").into()), Delta::PutDomain(domain("a", "a.example").into())]);
        place.commit(2, &[Delta::PutApp(renamed.clone().into())]);
        place.commit(3, &[Delta::RemoveDomain(host("a.example"))]);
        place.expect(3, std::slice::from_ref(&renamed), &[], &[]);
        drop(place);
        open().expect(3, &[renamed], &[], &[]);
    }),
    ("of several deltas for one record the last one counts", |open| {
        let mut place = open();
        let (first, second) = (instance("a", "i"), bare_instance("a", "i"));
        let gone = Delta::RemoveInstance(first.app.clone(), first.id.clone());
        let put = |instance: &Instance| Delta::PutInstance(instance.clone().into());
        place.commit(1, &[put(&first), gone.clone(), put(&second)]);
        place.expect(1, &[], std::slice::from_ref(&second), &[]);
        place.commit(2, &[put(&first), gone]);
        drop(place);
        open().expect(2, &[], &[], &[]);
    }),
    ("removing what is not there is no error", |open| {
        let mut place = open();
        let id = AppId::parse("never").expect("a valid id");
        place.commit(1, &[Delta::RemoveApp(id)]);
        drop(place);
        open().expect(1, &[], &[], &[]);
    }),
    ("an empty batch moves the revision, and revisions may leave gaps", |open| {
        let mut place = open();
        place.commit(7, &[]);
        place.commit(100, &[]);
        drop(place);
        open().expect(100, &[], &[], &[]);
    }),
    ("a revision that is not newer is refused and changes nothing", |open| {
        let mut place = open();
        place.commit(5, &[Delta::PutApp(app("a").into())]);
        for revision in [0, 4, 5] {
            let refused = place
                .store
                .commit(&Batch { revision: Revision(revision), deltas: &[Delta::PutApp(app("b").into())] });
            assert!(
                matches!(refused, Err(StoreError::StaleRevision { .. })),
                "{}: {revision} was accepted: {refused:?}",
                place.name
            );
        }
        drop(place);
        open().expect(5, &[app("a")], &[], &[]);
    }),
    ("ids of different kinds do not meet", |open| {
        let mut place = open();
        let all = (app("same.example"), bare_instance("x", "same.example"), bare_domain("x", "same.example"));
        place.commit(
            1,
            &[
                Delta::PutApp(all.0.clone().into()),
                Delta::PutInstance(all.1.clone().into()),
                Delta::PutDomain(all.2.clone().into()),
            ],
        );
        drop(place);
        open().expect(1, &[all.0], &[all.1], &[all.2]);
    }),
    ("a batch of thousands is one", |open| {
        let mut place = open();
        let domains: Vec<Domain> = (0..3000).map(|n| bare_domain("a", &format!("d{n:04}.example"))).collect();
        let deltas: Vec<Delta> = domains.iter().map(|d| Delta::PutDomain(d.clone().into())).collect();
        place.commit(1, &deltas);
        place.commit(2, &[Delta::RemoveDomain(domains[0].name.clone())]);
        drop(place);
        open().expect(2, &[], &[], &domains[1..]);
    }),
    ("loading twice, maintenance and a clean end change nothing", |open| {
        let mut place = open();
        place.commit(1, &[Delta::PutApp(app("a").into())]);
        place.expect(1, &[app("a")], &[], &[]);
        place.expect(1, &[app("a")], &[], &[]);
        place.store.maintain().unwrap_or_else(|error| panic!("{}: maintain: {error}", place.name));
        place.commit(2, &[Delta::PutApp(app("b").into())]);
        place.store.close().unwrap_or_else(|error| panic!("{}: close: {error}", place.name));
        drop(place);
        let mut place = open();
        place.expect(2, &[app("a"), app("b")], &[], &[]);
        place.commit(3, &[]);
        place.expect(3, &[app("a"), app("b")], &[], &[]);
    }),
    ("the description tells the revision and the kind", |open| {
        let mut place = open();
        place.commit(3, &[]);
        let description = place.store.describe();
        assert_eq!(description.revision, Revision(3), "{}", place.name);
        assert!(!description.kind.is_empty(), "{}", place.name);
    }),
    ("what is exported can be imported elsewhere, and back", |open| {
        let all = [app("a")];
        let mut place = open();
        place.commit(
            4,
            &[
                Delta::PutApp(all[0].clone().into()),
                Delta::PutInstance(instance("a", "i").into()),
                Delta::PutDomain(domain("a", "a.example").into()),
            ],
        );
        let mut text = Vec::new();
        let written = export(&mut *place.store, &mut text).expect("exports");
        assert_eq!((written.apps, written.instances, written.domains), (1, 1, 1), "{}", place.name);
        let mut other = Memory::new();
        import(&mut text.as_slice(), &mut other).expect("imports");
        let here = place.load();
        let there = other.load().expect("loads");
        assert_eq!((here.revision, here.apps, here.instances, here.domains), {
            (there.revision, there.apps, there.instances, there.domains)
        });
        let refused = migrate(&mut other, &mut *place.store);
        assert!(matches!(refused, Err(StoreError::NotEmpty { .. })), "{}: {refused:?}", place.name);
    }),
    ("an empty store takes over another one", |open| {
        let mut other = Memory::new();
        other
            .commit(&Batch { revision: Revision(9), deltas: &[Delta::PutApp(app("a").into())] })
            .expect("memory accepts it");
        let mut place = open();
        migrate(&mut other, &mut *place.store).unwrap_or_else(|error| panic!("{}: {error}", place.name));
        drop(place);
        open().expect(9, &[app("a")], &[], &[]);
    }),
];

fn app(id: &str) -> App {
    App {
        webhook: None,
        upstream_tls: None,
        failures: FailurePolicy {
            statuses: StatusSet::parse("500,502-504").expect("statuses"),
            timeouts: TimeoutPolicy::Always,
        },
        on_all_unhealthy: OnAllUnhealthy::Trickle,
        id: AppId::parse(id).expect("a valid id"),
        name: format!("The \"{id}\" app, größer").into(),
        created_at: Timestamp(1_700_000_000_001),
        updated_at: Timestamp(1_700_000_000_002),
    }
}

fn instance(app: &str, id: &str) -> Instance {
    Instance {
        health_check: HealthCheck {
            probe: Probe::Http(probe().into()),
            port: NonZeroU16::new(9000),
            interval: Some(Duration::from_millis(1_500)),
            timeout: Some(Duration::from_secs(1)),
            unhealthy_threshold: NonZeroU8::new(5),
            healthy_threshold: NonZeroU8::new(1),
        },
        target: Target::parse("http://[2001:db8::1]:3001").expect("a valid target"),
        ..bare_instance(app, id)
    }
}

fn probe() -> HttpProbe {
    let headers = [("Authorization", "Bearer \"x\""), ("X-Forwarded-Proto", "https")];
    HttpProbe {
        path: ProbePath::parse("/health?deep=\"1\"").expect("a valid path"),
        method: ProbeMethod::Options,
        host: Some(ProbeHost::parse("app.example:8443").expect("a valid host")),
        headers: ProbeHeaders::new(headers).expect("valid fields"),
        statuses: StatusRanges::parse("200,300-399").expect("valid ranges"),
        body: Some(BodyText::parse("größer \"ok\"").expect("a valid text")),
    }
}

fn bare_instance(app: &str, id: &str) -> Instance {
    Instance {
        id: InstanceId::parse(id).expect("a valid id"),
        app: AppId::parse(app).expect("a valid id"),
        target: Target::parse("http://origin.internal:80").expect("a valid target"),
        health_check: HealthCheck::default(),
        registered_at: Timestamp(3),
        generation: Generation(u64::MAX),
        draining: Some(Timestamp(u64::MAX)),
    }
}

fn domain(app: &str, name: &str) -> Domain {
    Domain {
        tenant: Some(TenantId::parse("tenant-1").expect("a valid id")),
        kind: DomainKind::Custom,
        cname_target: Some(host("cname.example")),
        ..bare_domain(app, name)
    }
}

fn bare_domain(app: &str, name: &str) -> Domain {
    Domain {
        certificate: ringway_model::CertificateMode::default(),
        client_auth: None,
        name: host(name),
        app: AppId::parse(app).expect("a valid id"),
        tenant: None,
        kind: DomainKind::Subdomain,
        cname_target: None,
        created_at: Timestamp(4),
        updated_at: Timestamp(5),
    }
}

fn host(name: &str) -> Hostname {
    Hostname::parse(name).expect("a valid name")
}
