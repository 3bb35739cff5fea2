//! CAs that want an account bound, set limits, are away, or have forgotten us: no domain is blamed for them.

use super::*;

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
