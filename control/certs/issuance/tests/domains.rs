//! Domains that the CA refuses, that lead elsewhere, or that are taken away: they are told why, and harm nobody else.

use super::*;

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
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
#[ignore = "needs pebble: run by tests/check.sh"]
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
        ca.names().set_default(Some(Ipv4Addr::LOCALHOST));
        life.certificates.verify(&host("shop.example.com")).await.unwrap();
        life.issued("shop.example.com").await;
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
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
#[ignore = "needs pebble: run by tests/check.sh"]
fn some_that_fail_harm_nobody_else_and_recover_when_somebody_asks() {
    let scene = Scene::new();
    let (plane, front) = reachable();
    // The CA's way here is fickle: what it asks for at every third domain is lost.
    let lost = Arc::new(Mutex::new(true));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (challenges, is_lost) = (Arc::clone(&plane.told().challenges), Arc::clone(&lost));
    answer_at(listener, move |head, token| {
        let number = head.split("Host: d").nth(1).and_then(|rest| rest.split('.').next());
        let is_bad = number.is_some_and(|number| number.parse::<u32>().unwrap_or(1).is_multiple_of(3));
        if is_bad && *is_lost.lock().unwrap() {
            return "lost".to_owned();
        }
        challenges.lock().unwrap().get(token).cloned().unwrap_or_default()
    });
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

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
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
