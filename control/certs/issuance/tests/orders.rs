//! Orders: single, many at once, across restarts, and with profiles.

use super::*;

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn a_domain_gets_a_certificate_and_keeps_it_over_a_restart() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = pebble(&server);
    let settings = setup.settings(&[&ca]);
    on_control_thread(|| async {
        let process = setup.start(settings.clone(), server, fake, &["shop.example.com"]);
        let facts = process.issued("shop.example.com").await;
        assert_eq!(facts.names, ["shop.example.com"]);
        let state = process.state("shop.example.com");
        assert_eq!((state.state, state.failures, state.version), (CertificateState::Active, 0, Some(2)));
        let renewal_at = state.renewal_at.unwrap();
        assert!(renewal_at > clock::timestamp() && renewal_at < facts.not_after);
        // Challenge and order are gone; private files are private.
        assert!(process.fake.recorded().challenges.lock().unwrap().is_empty());
        let folder = setup.path().join("domains/shop.example.com");
        until("the order is removed", || !folder.join("order.json").exists()).await;
        until("the record is stored", || folder.join("state.json").exists()).await;
        let account = std::fs::read_dir(setup.path().join("accounts")).unwrap().next().unwrap().unwrap();
        for file in [account.path(), folder.join("identity.pem"), setup.path().join("budgets.json")] {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
        assert_eq!(process.certificates.overview().orders_in_flight, 0);
        let mut metrics = String::new();
        process.certificates.render_metrics(&mut metrics);
        assert!(metrics.contains("ringway_certificate_orders_total{outcome=\"issued\"} 1"), "{metrics}");
    });
    // After a restart nothing is ordered.
    let (fake, server) = reachable();
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["shop.example.com"]);
        until("its certificate is read", || process.state("shop.example.com").renewal_at.is_some()).await;
        assert_eq!(process.state("shop.example.com").state, CertificateState::Active);
        assert_eq!(
            process.certificates.overview().queued + process.certificates.overview().orders_in_flight,
            0
        );
    });
    let orders = ca.log().matches("Added order").count();
    assert_eq!(orders, 1, "{}", ca.log());
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn a_ca_without_renewal_information_works() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = Pebble::start(Habits { release: Release::Debian12, ..Habits::at(server.port) });
    let settings = setup.settings(&[&ca]);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["shop.example.com"]);
        process.issued("shop.example.com").await;
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn orders_survive_refused_nonces() {
    for percent in [50, 90] {
        let setup = Setup::new();
        let (fake, server) = reachable();
        let ca = Pebble::start(Habits { bad_nonces_percent: percent, ..Habits::at(server.port) });
        let settings = setup.settings(&[&ca]);
        on_control_thread(|| async {
            let process = setup.start(settings, server, fake, &["shop.example.com"]);
            process.issued("shop.example.com").await;
            let ca = &process.certificates.overview().authorities[0];
            assert_eq!(ca.problem, None);
        });
    }
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn two_hundred_domains_at_once_five_at_a_time() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = Pebble::start(Habits { authz_reuse_percent: 0, ..Habits::at(server.port) });
    let settings = setup.settings(&[&ca]);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &[]);
        let names: Vec<String> = (0..200).map(|n| format!("shop.tenant-{n}.example")).collect();
        for name in &names {
            process.certificates.put_domain(&domain(name, Acme));
        }
        let is_issued = |event: &CertificateEvent| matches!(event, CertificateEvent::Issued { .. });
        let deadline = clock::now().after(Duration::from_secs(300));
        let mut was_forecast = false;
        while process.count(is_issued) < names.len() {
            let overview = process.certificates.overview();
            assert!(overview.orders_in_flight <= 5);
            let waiting =
                names.iter().map(|name| process.state(name)).find(|state| state.queue_position.is_some());
            was_forecast |= waiting.is_some_and(|state| state.queue_position.unwrap().expected_at.is_some());
            assert!(clock::now() < deadline, "{overview:?}");
            ringway_net::sleep(Duration::from_millis(100)).await;
        }
        assert!(was_forecast, "queued domains have a forecast");
        assert!(names.iter().all(|name| process.state(name).state == CertificateState::Active));
        assert!(process.fake.recorded().challenges.lock().unwrap().is_empty());
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn a_profile_is_requested_where_the_ca_offers_it() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = pebble(&server);
    let mut settings = setup.settings(&[&ca]);
    settings.acme.as_mut().unwrap().profile = Some("shortlived".to_owned());
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["shop.example.com"]);
        let facts = process.issued("shop.example.com").await;
        let days = (facts.not_after.0 - facts.not_before.0) / DAY.as_millis() as u64;
        assert!((5..=6).contains(&days), "{days}");
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn a_restart_in_the_middle_of_an_order_resumes_it() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    // The CA validates at a port without a server.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ca = Pebble::start(Habits {
        // A connection that is never accepted: the validation hangs.
        http_port: silent.local_addr().unwrap().port(),
        authz_reuse_percent: 0,
        ..Habits::at(server.port)
    });
    let settings = setup.settings(&[&ca]);
    let order = setup.path().join("domains/shop.example.com/order.json");
    on_control_thread(|| async {
        let process = setup.start(settings.clone(), server, fake, &["shop.example.com"]);
        until("the order is on the disk", || order.exists()).await;
        until("the challenge is live", || !process.fake.recorded().challenges.lock().unwrap().is_empty())
            .await;
        // The process ends here, as by kill -9.
    });
    let before = std::fs::read_to_string(&order).unwrap();
    let url = serde_json::from_str::<serde_json::Value>(&before).unwrap()["url"].as_str().unwrap().to_owned();
    // The next process serves the validation, with the same account key.
    let (fake, server) = reachable();
    let challenges = Arc::clone(&fake.recorded().challenges);
    answer_at(silent, move |_, token| {
        let deadline = std::time::Instant::now() + Duration::from_secs(8);
        // The process may have started a moment ago.
        loop {
            let answer = challenges.lock().unwrap().get(token).cloned();
            if answer.is_some() || std::time::Instant::now() > deadline {
                return answer.unwrap_or_default();
            }
            std::thread::yield_now();
        }
    });
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["shop.example.com"]);
        let certified = process.issued("shop.example.com").await;
        assert_eq!(certified.names, ["shop.example.com"]);
    });
    assert_eq!(ca.log().matches("Added order").count(), 1, "the same order: {url}\n{}", ca.log());
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn an_order_that_failed_during_downtime_is_booked_and_replaced_once() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    // The validation is never accepted, until the listener is closed.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ca = Pebble::start(Habits {
        http_port: silent.local_addr().unwrap().port(),
        authz_reuse_percent: 0,
        ..Habits::at(server.port)
    });
    let settings = setup.settings(&[&ca]);
    let order = setup.path().join("domains/shop.example.com/order.json");
    on_control_thread(|| async {
        let _life = setup.start(settings.clone(), server, fake, &["shop.example.com"]);
        until("the order is on the disk", || order.exists()).await;
        until("the CA validates", || ca.log().contains("Pulled a task from the Tasks queue")).await;
        // The process ends here, as by kill -9.
    });
    drop(silent);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !ca.log().contains("set INVALID") {
        assert!(std::time::Instant::now() < deadline, "the CA does not end the order:\n{}", ca.log());
        std::thread::yield_now();
    }
    let (fake, server) = reachable();
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["shop.example.com"]);
        let next_try = process
            .event("refused", |event| match event {
                CertificateEvent::Failed { next_try, .. } => Some(*next_try),
                _ => None,
            })
            .await;
        let state = process.state("shop.example.com");
        assert_eq!((state.state, state.failures, state.next_try), (CertificateState::Failed, 1, next_try));
        let wait = next_try.unwrap().0 - clock::timestamp().0;
        assert!((3 * 60_000..=5 * 60_000).contains(&wait), "{wait}");
        let budgets = process.certificates.overview().budgets;
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
