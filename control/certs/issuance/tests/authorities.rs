//! CAs that require an account binding, limit us, are unavailable, or lost our account: no domain is at
//! fault.

use super::*;

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn an_account_is_bound_to_an_external_one() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = Pebble::start(Habits { needs_eab: true, ..Habits::at(server.port) });
    let mut settings = setup.settings(&[&ca]);
    settings.acme.as_mut().unwrap().directories[0].eab = Some((EAB_KID.to_owned(), EAB_HMAC.to_owned()));
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["shop.example.com"]);
        process.issued("shop.example.com").await;
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn a_missing_binding_is_reported_and_fails_no_domain() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = Pebble::start(Habits { needs_eab: true, ..Habits::at(server.port) });
    let settings = setup.settings(&[&ca]);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["shop.example.com"]);
        until("it is reported", || process.certificates.overview().authorities[0].problem.is_some()).await;
        let problem = process.certificates.overview().authorities[0].problem.clone().unwrap();
        assert!(problem.contains("ACME_EAB_KID"), "{problem}");
        until("the domain waits", || process.state("shop.example.com").reason.is_some()).await;
        let state = process.state("shop.example.com");
        assert_eq!((state.state, state.failures), (CertificateState::Verifying, 0));
        assert_eq!(state.queue_position.unwrap().expected_at, None, "unknown until the settings change");
        assert_eq!(process.count(|event| matches!(event, CertificateEvent::Failed { .. })), 0);
    });
}

#[test]
fn a_rate_limit_closes_its_bucket_until_retry_after() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = scripted::Ca::that_limits(&["7", "Fri, 01 Jan 2100 00:00:00 GMT"]);
    let names = loopback_names();
    let settings = setup.scripted_settings(&[&ca], &names);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["a.example.com"]);
        until("the CA limits us", || ca.orders() == 1).await;
        let of_orders = || {
            let budgets = process.certificates.overview().budgets;
            budgets.into_iter().find(|budget| budget.limit == "orders")
        };
        until("its limit is known", || of_orders().is_some()).await;
        let budget = of_orders().unwrap();
        let wait = budget.next_at.unwrap().0 - clock::timestamp().0;
        assert!(budget.left == 0 && (4_000..=7_000).contains(&wait), "{budget:?}");
        until("the domain waits", || process.state("a.example.com").queue_position.is_some()).await;
        let state = process.state("a.example.com");
        assert_eq!((state.state, state.failures), (CertificateState::Verifying, 0));
        assert!(state.reason.unwrap().contains("too many new orders"));
        assert!(state.queue_position.unwrap().expected_at.unwrap() >= budget.next_at.unwrap());
        assert_eq!(process.certificates.overview().authorities[0].problem, None);
        // The second Retry-After, in 2100, is bounded to a week.
        until("the second order is sent", || ca.orders() == 2).await;
        until("the new limit is known", || {
            of_orders()
                .is_some_and(|budget| budget.next_at.is_some_and(|at| at.0 > clock::timestamp().0 + 60_000))
        })
        .await;
        let wait = of_orders().unwrap().next_at.unwrap().0 - clock::timestamp().0;
        assert!(wait <= 7 * DAY.as_millis() as u64, "{wait}");
        assert_eq!(process.count(|event| matches!(event, CertificateEvent::Failed { .. })), 0);
        assert_eq!(ca.orders(), 2);
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn an_outage_fails_no_domain_and_ends_by_itself() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let mut ca = pebble(&server);
    let settings = setup.settings(&[&ca]);
    ca.stop();
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["a.example.com", "b.example.com"]);
        until("it is noticed", || process.certificates.overview().authorities[0].paused_until.is_some())
            .await;
        until("both wait", || process.certificates.overview().orders_in_flight == 0).await;
        for name in ["a.example.com", "b.example.com"] {
            let state = process.state(name);
            assert_eq!((state.state, state.failures), (CertificateState::Verifying, 0));
        }
        let reason = process.state("a.example.com").reason.or(process.state("b.example.com").reason).unwrap();
        assert!(reason.contains("could not be reached"), "{reason}");
        ca.start_again();
        process.issued("a.example.com").await;
        process.issued("b.example.com").await;
        assert_eq!(process.certificates.overview().authorities[0].problem, None);
        assert_eq!(process.count(|event| matches!(event, CertificateEvent::Failed { .. })), 0);
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn an_unknown_account_is_replaced() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let mut ca = pebble(&server);
    let settings = setup.settings(&[&ca]);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["a.example.com"]);
        process.issued("a.example.com").await;
        ca.start_again();
        process.certificates.put_domain(&domain("b.example.com", Acme));
        process.issued("b.example.com").await;
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn a_ca_that_loses_five_orders_is_not_paused() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    // The CA first validates at a port without a server: its orders stay pending.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut ca = Pebble::start(Habits {
        http_port: silent.local_addr().unwrap().port(),
        authz_reuse_percent: 0,
        ..Habits::at(server.port)
    });
    let settings = setup.settings(&[&ca]);
    let names = ["a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com"];
    let http_port = server.port;
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &names);
        until("five are under way", || {
            let is_issuing = |name: &&str| process.state(name).state == CertificateState::Issuing;
            names.iter().all(is_issuing)
                && process.fake.recorded().challenges.lock().unwrap().len() == names.len()
                && process.certificates.issuance().slots[0].authority.is_idle()
        })
        .await;
        // No request is in flight, and this thread sends none meanwhile: the CA is never seen as unavailable.
        ca.habits().http_port = http_port;
        ca.start_again();
        for name in names {
            process.issued(name).await;
        }
        assert_eq!(process.count(|event| matches!(event, CertificateEvent::Failed { .. })), 0);
        let mut metrics = String::new();
        process.certificates.render_metrics(&mut metrics);
        assert!(metrics.contains("ringway_certificate_orders_total{outcome=\"ca_down\"} 0"), "{metrics}");
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn orders_lost_in_an_outage_are_replaced() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut ca = Pebble::start(Habits {
        http_port: silent.local_addr().unwrap().port(),
        authz_reuse_percent: 0,
        ..Habits::at(server.port)
    });
    let settings = setup.settings(&[&ca]);
    let names = ["a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com"];
    let order_of = |name: &str| setup.path().join("domains").join(name).join("order.json");
    let http_port = server.port;
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &names);
        until("five orders are on the disk", || names.iter().all(|name| order_of(name).exists())).await;
        ca.stop();
        until("all have met the outage", || {
            let wait = |name: &&str| process.state(name).reason.is_some();
            process.certificates.overview().orders_in_flight == 0 && names.iter().all(wait)
        })
        .await;
        assert!(names.iter().all(|name| order_of(name).exists()), "they are to be resumed");
        ca.habits().http_port = http_port;
        ca.start_again();
        // Ends the pause; no other follows.
        let slot = &process.certificates.issuance().slots[0];
        slot.health.borrow_mut().record_success();
        let outages = process.certificates.issuance().counters.outages.get();
        process.certificates.registry().mark_changed(&host(names[0]));
        for name in names {
            process.issued(name).await;
        }
        assert_eq!(process.certificates.issuance().counters.outages.get(), outages);
        assert_eq!(process.count(|event| matches!(event, CertificateEvent::Failed { .. })), 0);
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn the_second_ca_takes_over_when_the_first_is_unavailable() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let mut first = pebble(&server);
    let second = pebble(&server);
    let settings = setup.settings(&[&first, &second]);
    first.stop();
    // Only its API is down, for a long time; its DNS server is up.
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &[]);
        for _ in 0..3 {
            let slot = &process.certificates.issuance().slots[0];
            let after_pause = slot.health.borrow().paused_until();
            slot.health.borrow_mut().record_failure("it is down".to_owned(), None, after_pause);
        }
        process.certificates.put_domain(&domain("shop.example.com", Acme));
        process.issued("shop.example.com").await;
        let cas = process.certificates.overview().authorities;
        assert!(!cas[0].is_usable && cas[0].problem.is_some() && cas[1].is_usable);
    });
    assert!(second.log().contains("shop.example.com"));
}
