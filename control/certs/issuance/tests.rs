//! The whole machine against a real CA: pebble, with its habit of refusing good nonces.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use ringway_bridge::blocking_mailbox;
use ringway_tls::Facts;

use super::*;
use crate::certificates::tests::Front;
use crate::report::DomainState;
use crate::testing::{Plane, domain, host, on_control_thread};
use crate::{AcmeSettings, DirectorySettings, open};

use crate::testing::pebble::{EAB_HMAC, EAB_KID, Habits, Pebble, Release};
use CertificateMode::{Acme, Provided};

/// A machine that the CA reaches, with a certificate directory.
struct Scene {
    home: tempfile::TempDir,
}

/// One life of the process in it.
struct Life {
    plane: Plane,
    certificates: Certificates,
    /// Answers the CA and our own probes until the end.
    _front: Front,
}

impl Scene {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("certs")
    }

    /// The settings for these CAs; the front's port comes later.
    fn settings(&self, cas: &[&Pebble]) -> Settings {
        let bundle = self.home.path().join("bundle.pem");
        let roots: String = cas.iter().map(|ca| std::fs::read_to_string(ca.bundle()).unwrap()).collect();
        std::fs::write(&bundle, roots).unwrap();
        let directories = cas.iter().map(|ca| DirectorySettings { url: ca.directory(), eab: None }).collect();
        Settings {
            acme: Some(AcmeSettings {
                directories,
                email: Some("ops@example.com".to_owned()),
                ca_bundle: Some(bundle),
                profile: None,
            }),
            dns_resolver: cas.first().map(|ca| ca.names().dns),
            ..Settings::new(self.path())
        }
    }

    /// Begins a life with these domains.
    fn live(&self, settings: Settings, front: Front, plane: Plane, domains: &[&str]) -> Life {
        let (sender, _core) = blocking_mailbox(64);
        let settings = Settings { http_port: front.port, ..settings };
        let certificates = Certificates::new(open(settings, vec![sender]).unwrap());
        for name in domains {
            certificates.put_domain(&domain(name, Acme));
        }
        let (running, host) = (certificates.clone(), plane.clone());
        spawn(async move { running.run(host).await }, |panic| panic!("{panic:?}"));
        Life { plane, certificates, _front: front }
    }
}

/// A plane, and what answers for it.
fn reachable() -> (Plane, Front) {
    let plane = Plane::default();
    let front = Front::new(Arc::clone(&plane.told().challenges));
    (plane, front)
}

impl Life {
    fn state(&self, name: &str) -> DomainState {
        self.certificates.state(&host(name)).unwrap()
    }

    /// Waits until a domain has a certificate from the CA, and gives it.
    async fn issued(&self, name: &str) -> Arc<Facts> {
        self.event(&format!("{name} issued"), |event| match event {
            CertificateEvent::Issued { host, facts } if host.as_str() == name => Some(facts.clone()),
            _ => None,
        })
        .await
    }

    async fn event<T>(&self, what: &str, is_it: impl Fn(&CertificateEvent) -> Option<T>) -> T {
        let find = |told: &crate::testing::Told| told.events.borrow().iter().find_map(&is_it);
        self.plane.until(what, |told| find(told).is_some()).await;
        find(self.plane.told()).unwrap()
    }

    fn count(&self, is_it: impl Fn(&CertificateEvent) -> bool) -> usize {
        self.plane.told().events.borrow().iter().filter(|event| is_it(event)).count()
    }
}

/// Waits until something is so that nobody tells.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = clock::now().after(Duration::from_secs(60));
    while !is_so() {
        assert!(clock::now() < deadline, "never: {what}");
        yield_now().await;
    }
}

/// Pebble as it is by itself: it refuses five of a hundred nonces.
fn pebble(front: &Front) -> Pebble {
    Pebble::start(Habits::at(front.port))
}

#[test]
fn a_domain_gets_a_certificate_and_keeps_it_over_a_restart() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = pebble(&front);
    let settings = scene.settings(&[&ca]);
    on_control_thread(|| async {
        let life = scene.live(settings.clone(), front, plane, &["shop.example.com"]);
        let facts = life.issued("shop.example.com").await;
        assert_eq!(facts.names, ["shop.example.com"]);
        let state = life.state("shop.example.com");
        assert_eq!((state.state, state.failures, state.version), (State::Active, 0, Some(2)));
        let renewal_at = state.renewal_at.unwrap();
        assert!(renewal_at > clock::timestamp() && renewal_at < facts.not_after);
        // The challenge is gone, and so is the order; what is private is private.
        assert!(life.plane.told().challenges.lock().unwrap().is_empty());
        let folder = scene.path().join("domains/shop.example.com");
        until("the order is removed", || !folder.join("order.json").exists()).await;
        until("it is remembered", || folder.join("state.json").exists()).await;
        let account = std::fs::read_dir(scene.path().join("accounts")).unwrap().next().unwrap().unwrap();
        for file in [account.path(), folder.join("identity.pem"), scene.path().join("budgets.json")] {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
        assert_eq!(life.certificates.overview().orders_in_flight, 0);
        let mut metrics = String::new();
        life.certificates.render_metrics(&mut metrics);
        assert!(metrics.contains("ringway_certificate_orders_total{outcome=\"issued\"} 1"), "{metrics}");
    });
    // Started again, nothing is ordered: it has one.
    let (plane, front) = reachable();
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["shop.example.com"]);
        until("its certificate is read", || life.state("shop.example.com").renewal_at.is_some()).await;
        assert_eq!(life.state("shop.example.com").state, State::Active);
        assert_eq!(life.certificates.overview().queued + life.certificates.overview().orders_in_flight, 0);
    });
    let orders = ca.log().matches("Added order").count();
    assert_eq!(orders, 1, "{}", ca.log());
}

#[test]
fn debians_own_pebble_without_renewal_information_does_as_well() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = Pebble::start(Habits { release: Release::Debian12, ..Habits::at(front.port) });
    let settings = scene.settings(&[&ca]);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["shop.example.com"]);
        life.issued("shop.example.com").await;
    });
}

#[test]
fn half_or_nearly_all_nonces_refused_are_no_obstacle() {
    for percent in [50, 90] {
        let scene = Scene::new();
        let (plane, front) = reachable();
        let ca = Pebble::start(Habits { bad_nonces_percent: percent, ..Habits::at(front.port) });
        let settings = scene.settings(&[&ca]);
        on_control_thread(|| async {
            let life = scene.live(settings, front, plane, &["shop.example.com"]);
            life.issued("shop.example.com").await;
            let ca = &life.certificates.overview().authorities[0];
            assert_eq!(ca.problem, None);
        });
    }
}

#[test]
fn two_hundred_domains_at_once_five_at_a_time() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = Pebble::start(Habits { authz_reuse_percent: 0, ..Habits::at(front.port) });
    let settings = scene.settings(&[&ca]);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &[]);
        let names: Vec<String> = (0..200).map(|n| format!("shop.tenant-{n}.example")).collect();
        for name in &names {
            life.certificates.put_domain(&domain(name, Acme));
        }
        let is_issued = |event: &CertificateEvent| matches!(event, CertificateEvent::Issued { .. });
        let deadline = clock::now().after(Duration::from_secs(300));
        let mut was_told = false;
        while life.count(is_issued) < names.len() {
            let overview = life.certificates.overview();
            assert!(overview.orders_in_flight <= 5);
            let waiting = names.iter().map(|name| life.state(name)).find(|state| state.place.is_some());
            was_told |= waiting.is_some_and(|state| state.place.unwrap().expected_at.is_some());
            assert!(clock::now() < deadline, "{overview:?}");
            ringway_net::sleep(Duration::from_millis(100)).await;
        }
        assert!(was_told, "who waits is told when its turn comes");
        assert!(names.iter().all(|name| life.state(name).state == State::Active));
        assert!(life.plane.told().challenges.lock().unwrap().is_empty());
    });
}

#[test]
fn short_lived_certificates_are_renewed_as_replacements() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = Pebble::start(Habits { lifetime_seconds: 20, ..Habits::at(front.port) });
    let mut settings = scene.settings(&[&ca]);
    // Without a wish, pebble takes one of its profiles by chance.
    settings.acme.as_mut().unwrap().profile = Some("default".to_owned());
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["shop.example.com"]);
        let first = life.issued("shop.example.com").await;
        let renewed = life
            .event("renewed", |event| match event {
                CertificateEvent::Renewed { facts, .. } => Some(facts.clone()),
                _ => None,
            })
            .await;
        assert_ne!(first.fingerprint, renewed.fingerprint);
        assert!(renewed.not_after > first.not_after);
        let versions: Vec<_> = life.plane.told().certificates.borrow().iter().map(|(_, v)| *v).collect();
        assert_eq!(&versions[..2], [Some(2), Some(3)]);
        assert_eq!(life.state("shop.example.com").state, State::Active);
    });
}

#[test]
fn a_window_of_the_ca_that_has_passed_renews_at_once() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = pebble(&front);
    let settings = scene.settings(&[&ca]);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["shop.example.com"]);
        let facts = life.issued("shop.example.com").await;
        let asked = || {
            let domains = life.certificates.shared.domains.borrow();
            let memory = domains.get(&host("shop.example.com")).unwrap().memory.clone().unwrap();
            memory.issued.unwrap().ask_at > 0
        };
        until("the CA is asked about the renewal", asked).await;
        let suggested = life.state("shop.example.com").renewal_at.unwrap();
        assert!(suggested > clock::timestamp() && suggested < facts.not_after);
        // The CA wants it back, and is asked: the moment of the next question is brought forward here.
        let pem =
            std::fs::read_to_string(scene.path().join("domains/shop.example.com/identity.pem")).unwrap();
        let leaf = &pem[..pem.find("-----END CERTIFICATE-----").unwrap() + 26];
        ca.set_renewal_window(leaf, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        {
            let mut domains = life.certificates.shared.domains.borrow_mut();
            let entry = domains.get_mut(&host("shop.example.com")).unwrap();
            entry.memory.as_mut().unwrap().issued.as_mut().unwrap().ask_at = 0;
        }
        life.certificates.touch(&host("shop.example.com"));
        let renewed = life
            .event("renewed", |event| match event {
                CertificateEvent::Renewed { facts, .. } => Some(facts.clone()),
                _ => None,
            })
            .await;
        assert_ne!(facts.fingerprint, renewed.fingerprint);
    });
    assert!(
        ca.log().contains("replaces") || ca.log().contains("Replac") || ca.log().contains("ARI"),
        "{}",
        ca.log()
    );
}

#[test]
fn a_profile_is_asked_for_where_the_ca_has_it() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = pebble(&front);
    let mut settings = scene.settings(&[&ca]);
    settings.acme.as_mut().unwrap().profile = Some("shortlived".to_owned());
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["shop.example.com"]);
        let facts = life.issued("shop.example.com").await;
        let days = (facts.not_after.0 - facts.not_before.0) / DAY.as_millis() as u64;
        assert!((5..=6).contains(&days), "{days}");
    });
}

#[test]
fn an_account_is_bound_to_an_external_one() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = Pebble::start(Habits { needs_eab: true, ..Habits::at(front.port) });
    let mut settings = scene.settings(&[&ca]);
    settings.acme.as_mut().unwrap().directories[0].eab = Some((EAB_KID.to_owned(), EAB_HMAC.to_owned()));
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["shop.example.com"]);
        life.issued("shop.example.com").await;
    });
}

#[test]
fn a_missing_binding_is_told_and_blames_no_domain() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = Pebble::start(Habits { needs_eab: true, ..Habits::at(front.port) });
    let settings = scene.settings(&[&ca]);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["shop.example.com"]);
        until("it is told", || life.certificates.overview().authorities[0].problem.is_some()).await;
        let problem = life.certificates.overview().authorities[0].problem.clone().unwrap();
        assert!(problem.contains("ACME_EAB_KID"), "{problem}");
        until("the domain waits", || life.state("shop.example.com").reason.is_some()).await;
        let state = life.state("shop.example.com");
        assert_eq!((state.state, state.failures), (State::Verifying, 0));
        assert_eq!(state.place.unwrap().expected_at, None, "nobody knows when the settings are mended");
        assert_eq!(life.count(|event| matches!(event, CertificateEvent::Failed { .. })), 0);
    });
}

#[test]
fn what_the_ca_refuses_says_why_and_is_tried_later() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = pebble(&front);
    let settings = scene.settings(&[&ca]);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["blocked.example", "good.example"]);
        let (reason, next_try) = life
            .event("refused", |event| match event {
                CertificateEvent::Failed { reason, next_try, .. } => Some((reason.clone(), *next_try)),
                _ => None,
            })
            .await;
        assert!(
            reason.contains("the CA says") && reason.contains("does not issue for this name"),
            "{reason}"
        );
        let wait = next_try.unwrap().0 - clock::timestamp().0;
        assert!((3 * 60_000..=5 * 60_000).contains(&wait), "{wait}");
        let state = life.state("blocked.example");
        assert_eq!((state.state, state.failures, state.next_try), (State::Failed, 1, next_try));
        assert_eq!(state.reason.as_deref(), Some(reason.as_str()));
        // Nobody else is harmed.
        life.issued("good.example").await;
        until("it is on the disk", || scene.path().join("domains/blocked.example/state.json").exists()).await;
    });
}

#[test]
fn a_domain_that_leads_elsewhere_waits_for_its_records_and_takes_no_order() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = pebble(&front);
    let settings = scene.settings(&[&ca]);
    ca.names().set_default(None);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["shop.example.com"]);
        until("it is pending", || life.state("shop.example.com").state == State::PendingDns).await;
        let state = life.state("shop.example.com");
        assert!(state.reason.unwrap().contains("create an A record"));
        assert!(state.next_try.is_some() && state.place.is_none());
        assert!(!ca.log().contains("Added order"));
        // The records are made, and somebody asks: it is tried at once.
        ca.names().set_default(Some(std::net::Ipv4Addr::LOCALHOST));
        life.certificates.verify(&host("shop.example.com")).await.unwrap();
        life.issued("shop.example.com").await;
    });
}

#[test]
fn a_restart_in_the_middle_of_an_order_resumes_it() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    // Answers to the CA's questions are held back for as long as the port is somebody else's.
    let nobody = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ca = Pebble::start(Habits {
        // A connection that is accepted by nobody: the validation hangs.
        http_port: nobody.local_addr().unwrap().port(),
        authz_reuse_percent: 0,
        ..Habits::at(front.port)
    });
    let settings = scene.settings(&[&ca]);
    let order = scene.path().join("domains/shop.example.com/order.json");
    on_control_thread(|| async {
        let life = scene.live(settings.clone(), front, plane, &["shop.example.com"]);
        until("the order is on the disk", || order.exists()).await;
        until("the challenge is live", || !life.plane.told().challenges.lock().unwrap().is_empty()).await;
        // And here the process ends, as by kill -9: everything is dropped where it is.
    });
    let before = std::fs::read_to_string(&order).unwrap();
    let url = serde_json::from_str::<serde_json::Value>(&before).unwrap()["url"].as_str().unwrap().to_owned();
    // The CA's question is answered by the next life, with the same account key.
    let (plane, front) = reachable();
    let challenges = Arc::clone(&plane.told().challenges);
    let answers = std::thread::spawn(move || answer_for(nobody, challenges));
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["shop.example.com"]);
        let certified = life.issued("shop.example.com").await;
        assert_eq!(certified.names, ["shop.example.com"]);
    });
    drop(answers);
    assert_eq!(ca.log().matches("Added order").count(), 1, "the same order: {url}\n{}", ca.log());
}

#[test]
fn an_order_that_failed_while_nobody_was_there_is_booked_and_replaced_once() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    // The CA's question is accepted by nobody, until this end of it is closed.
    let nobody = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ca = Pebble::start(Habits {
        http_port: nobody.local_addr().unwrap().port(),
        authz_reuse_percent: 0,
        ..Habits::at(front.port)
    });
    let settings = scene.settings(&[&ca]);
    let order = scene.path().join("domains/shop.example.com/order.json");
    on_control_thread(|| async {
        let _life = scene.live(settings.clone(), front, plane, &["shop.example.com"]);
        until("the order is on the disk", || order.exists()).await;
        until("the CA is told to ask", || ca.log().contains("Pulled a task from the Tasks queue")).await;
        // And here the process ends, as by kill -9: everything is dropped where it is.
    });
    drop(nobody);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !ca.log().contains("set INVALID") {
        assert!(std::time::Instant::now() < deadline, "the CA does not end the order:\n{}", ca.log());
        std::thread::yield_now();
    }
    let (plane, front) = reachable();
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["shop.example.com"]);
        let next_try = life
            .event("refused", |event| match event {
                CertificateEvent::Failed { next_try, .. } => Some(*next_try),
                _ => None,
            })
            .await;
        let state = life.state("shop.example.com");
        assert_eq!((state.state, state.failures, state.next_try), (State::Failed, 1, next_try));
        let wait = next_try.unwrap().0 - clock::timestamp().0;
        assert!((3 * 60_000..=5 * 60_000).contains(&wait), "{wait}");
        let budgets = life.certificates.overview().budgets;
        let failures = budgets.iter().find(|budget| budget.limit == "failed_validations").unwrap();
        assert_eq!(
            (failures.left, failures.subject.as_deref()),
            (3, Some("shop.example.com")),
            "both are booked"
        );
        until("the order is forgotten", || !order.exists()).await;
    });
    assert_eq!(ca.log().matches("Added order").count(), 2, "one new order\n{}", ca.log());
}

/// Answers challenges at a listener that was there before, until the test ends.
fn answer_for(listener: std::net::TcpListener, challenges: Arc<std::sync::Mutex<HashMap<String, String>>>) {
    use std::io::{Read, Write};
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut head = [0; 4096];
        let Ok(read) = stream.read(&mut head) else { continue };
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        let token = head.split_whitespace().nth(1).and_then(|path| path.rsplit('/').next());
        let deadline = std::time::Instant::now() + Duration::from_secs(8);
        // The life that answers may have begun a moment ago.
        let answer = loop {
            let answer = token.and_then(|token| challenges.lock().unwrap().get(token).cloned());
            if answer.is_some() || std::time::Instant::now() > deadline {
                break answer.unwrap_or_default();
            }
            std::thread::yield_now();
        };
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
    }
}

#[test]
fn validations_that_fail_are_told_counted_and_tried_again_later() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    // The CA comes to a port where somebody else answers; our own probe does not.
    let other = Front::new(Arc::default());
    let ca = Pebble::start(Habits { authz_reuse_percent: 0, ..Habits::at(other.port) });
    let settings = scene.settings(&[&ca]);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["shop.example.com"]);
        let reason = life
            .event("refused", |event| match event {
                CertificateEvent::Failed { reason, .. } => Some(reason.clone()),
                _ => None,
            })
            .await;
        assert!(reason.contains("Another server answered the CA"), "{reason}");
        let budgets = life.certificates.overview().budgets;
        let failures = budgets.iter().find(|budget| budget.limit == "failed_validations").unwrap();
        assert_eq!((failures.left, failures.subject.as_deref()), (4, Some("shop.example.com")));
        let folder = scene.path().join("domains/shop.example.com");
        until("the order is forgotten", || !folder.join("order.json").exists()).await;
        until("no challenge is left", || life.plane.told().challenges.lock().unwrap().is_empty()).await;
        assert_eq!(life.certificates.overview().authorities[0].problem, None, "the CA is in order");
        // Until somebody has mended it, and asks.
        let mut memory = life.certificates.shared.domains.borrow_mut();
        let memory = memory.get_mut(&host("shop.example.com")).unwrap().memory.as_mut().unwrap();
        assert_eq!((memory.failures, memory.trouble), (1, Some(Trouble::Refusal)));
    });
}

#[test]
fn some_that_fail_harm_nobody_else_and_recover_when_somebody_asks() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    // The CA's way here is fickle: what it asks for at every third domain is lost.
    let lost: Arc<std::sync::Mutex<bool>> = Arc::new(std::sync::Mutex::new(true));
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (challenges, is_lost) = (Arc::clone(&plane.told().challenges), Arc::clone(&lost));
    std::thread::spawn(move || fickle(&listener, &challenges, &is_lost));
    let ca = Pebble::start(Habits { authz_reuse_percent: 0, ..Habits::at(port) });
    let settings = scene.settings(&[&ca]);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &[]);
        let names: Vec<String> = (0..12).map(|n| format!("d{n}.tenant-{n}.example")).collect();
        for name in &names {
            life.certificates.put_domain(&domain(name, Acme));
        }
        let bad = |name: &&String| {
            name.as_str().trim_start_matches('d').split('.').next().unwrap().parse::<u32>().unwrap() % 3 == 0
        };
        let settled = |state: State| state == State::Active || state == State::Failed;
        until("all have their answer", || names.iter().all(|name| settled(life.state(name).state))).await;
        for name in &names {
            let expected = if bad(&name) { State::Failed } else { State::Active };
            assert_eq!(life.state(name).state, expected, "{name}");
        }
        *lost.lock().unwrap() = false;
        for name in names.iter().filter(bad) {
            life.certificates.verify(&host(name)).await.unwrap();
            life.issued(name).await;
            assert_eq!(life.state(name).failures, 0);
        }
    });
}

/// Answers challenges, but not to the CA for every third domain, while that is so.
fn fickle(
    listener: &std::net::TcpListener,
    challenges: &std::sync::Mutex<HashMap<String, String>>,
    is_lost: &std::sync::Mutex<bool>,
) {
    use std::io::{Read, Write};
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut head = [0; 4096];
        let Ok(read) = stream.read(&mut head) else { continue };
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        let number = head.split("Host: d").nth(1).and_then(|rest| rest.split('.').next());
        let is_bad = number.is_some_and(|number| number.parse::<u32>().unwrap_or(1).is_multiple_of(3));
        let token =
            head.split_whitespace().nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let answer = challenges.lock().unwrap().get(token).cloned().unwrap_or_default();
        let answer = if is_bad && *is_lost.lock().unwrap() { "lost".to_owned() } else { answer };
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
    }
}

#[test]
fn a_limit_of_the_ca_is_honoured_as_it_says() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = limiting::Ca::start(&["7", "Fri, 01 Jan 2100 00:00:00 GMT"]);
    let mut settings = scene.settings(&[]);
    let names = pebble(&front);
    let acme = settings.acme.as_mut().unwrap();
    acme.directories = vec![DirectorySettings { url: ca.directory.clone(), eab: None }];
    acme.ca_bundle = Some(names.bundle());
    settings.dns_resolver = Some(names.names().dns);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["a.example.com"]);
        until("the CA has limited us", || ca.orders() == 1).await;
        let of_orders = || {
            let budgets = life.certificates.overview().budgets;
            budgets.into_iter().find(|budget| budget.limit == "orders")
        };
        until("its limit is known", || of_orders().is_some()).await;
        let budget = of_orders().unwrap();
        let wait = budget.next_at.unwrap().0 - clock::timestamp().0;
        assert!(budget.left == 0 && (4_000..=7_000).contains(&wait), "{budget:?}");
        until("the domain waits", || life.state("a.example.com").place.is_some()).await;
        let state = life.state("a.example.com");
        assert_eq!((state.state, state.failures), (State::Verifying, 0));
        assert!(state.reason.unwrap().contains("too many new orders"));
        assert!(state.place.unwrap().expected_at.unwrap() >= budget.next_at.unwrap());
        assert_eq!(life.certificates.overview().authorities[0].problem, None);
        // Then it is asked again, and says "in 2100": for a week at most.
        until("it is asked again", || ca.orders() == 2).await;
        until("the new limit is known", || {
            of_orders()
                .is_some_and(|budget| budget.next_at.is_some_and(|at| at.0 > clock::timestamp().0 + 60_000))
        })
        .await;
        let wait = of_orders().unwrap().next_at.unwrap().0 - clock::timestamp().0;
        assert!(wait <= 7 * DAY.as_millis() as u64, "{wait}");
        assert_eq!(life.count(|event| matches!(event, CertificateEvent::Failed { .. })), 0);
        assert_eq!(ca.orders(), 2);
    });
}

/// A CA that makes accounts and limits orders; over plain HTTP on this machine.
mod limiting {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub(super) struct Ca {
        pub(super) directory: String,
        orders: Arc<AtomicUsize>,
    }

    impl Ca {
        /// Each order is answered with the next of these as its `Retry-After`.
        pub(super) fn start(retry_afters: &'static [&'static str]) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let base = format!("http://{}", listener.local_addr().unwrap());
            let orders = Arc::new(AtomicUsize::new(0));
            let (url, count) = (base.clone(), Arc::clone(&orders));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let (url, count) = (url.clone(), Arc::clone(&count));
                    std::thread::spawn(
                        move || while serve(stream.as_ref().unwrap(), &url, retry_afters, &count) {},
                    );
                }
            });
            Self { directory: format!("{base}/dir"), orders }
        }

        /// How many orders were asked for.
        pub(super) fn orders(&self) -> usize {
            self.orders.load(Ordering::SeqCst)
        }
    }

    fn serve(stream: &TcpStream, url: &str, retry_afters: &[&str], orders: &AtomicUsize) -> bool {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return false;
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        let mut line = head.split_whitespace();
        let (method, path) = (line.next().unwrap(), line.next().unwrap());
        let (status, more, body) = match path {
            "/dir" => {
                let text = format!(
                    r#"{{"newNonce":"{url}/nonce","newAccount":"{url}/account","newOrder":"{url}/order"}}"#
                );
                ("200 OK", String::new(), text)
            }
            "/account" => ("201 Created", format!("Location: {url}/account/1\r\n"), "{}".to_owned()),
            "/order" => {
                let count = orders.fetch_add(1, Ordering::SeqCst);
                let wait = retry_afters[count.min(retry_afters.len() - 1)];
                let text = r#"{"type":"urn:ietf:params:acme:error:rateLimited","status":429,
                    "detail":"too many new orders (300) from this account in the last 3h0m0s"}"#;
                ("429 Too Many Requests", format!("Retry-After: {wait}\r\n"), text.to_owned())
            }
            _ => ("200 OK", String::new(), String::new()),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nReplay-Nonce: abcd\r\n{more}Content-Length: {}\r\n\r\n{}",
            body.len(),
            if method == "HEAD" { "" } else { &body }
        );
        (&*stream).write_all(answer.as_bytes()).is_ok()
    }
}

#[test]
fn an_outage_blames_nobody_and_ends_by_itself() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let mut ca = pebble(&front);
    let settings = scene.settings(&[&ca]);
    ca.stop();
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["a.example.com", "b.example.com"]);
        until("it is noticed", || life.certificates.overview().authorities[0].paused_until.is_some()).await;
        until("both wait", || life.certificates.overview().orders_in_flight == 0).await;
        for name in ["a.example.com", "b.example.com"] {
            let state = life.state(name);
            assert_eq!((state.state, state.failures), (State::Verifying, 0));
        }
        let told = life.state("a.example.com").reason.or(life.state("b.example.com").reason).unwrap();
        assert!(told.contains("could not be reached"), "{told}");
        ca.start_again();
        life.issued("a.example.com").await;
        life.issued("b.example.com").await;
        assert_eq!(life.certificates.overview().authorities[0].problem, None);
        assert_eq!(life.count(|event| matches!(event, CertificateEvent::Failed { .. })), 0);
    });
}

#[test]
fn a_ca_that_has_forgotten_our_account_gets_a_new_one() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let mut ca = pebble(&front);
    let settings = scene.settings(&[&ca]);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["a.example.com"]);
        life.issued("a.example.com").await;
        ca.start_again();
        life.certificates.put_domain(&domain("b.example.com", Acme));
        life.issued("b.example.com").await;
    });
}

#[test]
fn the_second_ca_takes_over_when_the_first_is_gone() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let mut first = pebble(&front);
    let second = pebble(&front);
    let settings = scene.settings(&[&first, &second]);
    first.stop();
    // Its DNS server is still there; only its API is gone, and has been for long.
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &[]);
        for _ in 0..3 {
            let seat = &life.certificates.issuance().seats[0];
            let after_pause = seat.health.borrow().paused_until();
            seat.health.borrow_mut().fall("it is down".to_owned(), None, after_pause);
        }
        life.certificates.put_domain(&domain("shop.example.com", Acme));
        life.issued("shop.example.com").await;
        let cas = life.certificates.overview().authorities;
        assert!(!cas[0].is_usable && cas[0].problem.is_some() && cas[1].is_usable);
    });
    assert!(second.log().contains("shop.example.com"));
}

#[test]
fn a_domain_that_is_removed_leaves_nothing_behind() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = pebble(&front);
    let settings = scene.settings(&[&ca]);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &["a.example.com", "b.example.com"]);
        life.issued("a.example.com").await;
        life.certificates.remove_domain(&host("a.example.com"));
        // One in the middle of its course.
        life.certificates.remove_domain(&host("b.example.com"));
        life.event("removed", |event| match event {
            CertificateEvent::Removed { host } if host.as_str() == "a.example.com" => Some(()),
            _ => None,
        })
        .await;
        until("nothing is in flight", || life.certificates.overview().orders_in_flight == 0).await;
        until("nothing is left", || {
            std::fs::read_dir(scene.path().join("domains")).unwrap().next().is_none()
        })
        .await;
        until("no challenge is left", || life.plane.told().challenges.lock().unwrap().is_empty()).await;
        assert_eq!(life.certificates.overview().queued, 0);
    });
}

#[test]
fn what_is_provided_is_never_ordered_and_told_when_it_ends() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    let ca = pebble(&front);
    let settings = scene.settings(&[&ca]);
    on_control_thread(|| async {
        let life = scene.live(settings, front, plane, &[]);
        life.certificates.put_domain(&domain("a.example", Provided));
        // Issued in 2020 for seven years: far less than an eighth is left.
        let pair = crate::testing::issue(&["a.example"], 2020, 2027);
        life.certificates.upload(&host("a.example"), &pair.chain, &pair.key).await.unwrap();
        let end = life
            .event("it ends soon", |event| match event {
                CertificateEvent::ExpiringSoon { host: Some(host), not_after }
                    if host.as_str() == "a.example" =>
                {
                    Some(*not_after)
                }
                _ => None,
            })
            .await;
        assert_eq!(end.to_rfc3339(), "2027-01-01T00:00:00Z");
        life.certificates.touch(&host("a.example"));
        ringway_net::sleep(Duration::from_millis(50)).await;
        assert_eq!(life.count(|event| matches!(event, CertificateEvent::ExpiringSoon { .. })), 1, "once");
    });
    assert!(!ca.log().contains("Added order"));
}
