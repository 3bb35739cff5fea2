//! Domains that the CA refuses, that point elsewhere, or that are removed: they have a reason, and affect no
//! other.

use super::*;

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn a_refused_order_has_a_reason_and_is_retried() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = pebble(&server);
    let settings = setup.settings(&[&ca]);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["blocked.example", "good.example"]);
        let (reason, next_try) = process
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
        let state = process.state("blocked.example");
        assert_eq!((state.state, state.failures, state.next_try), (CertificateState::Failed, 1, next_try));
        assert_eq!(state.reason.as_deref(), Some(reason.as_str()));
        // Others are not affected.
        process.issued("good.example").await;
        until("it is on the disk", || setup.path().join("domains/blocked.example/state.json").exists()).await;
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn a_domain_that_points_elsewhere_places_no_order() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = pebble(&server);
    let settings = setup.settings(&[&ca]);
    ca.names().set_default(None);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["shop.example.com"]);
        until("it is pending", || process.state("shop.example.com").state == CertificateState::PendingDns)
            .await;
        let state = process.state("shop.example.com");
        assert!(state.reason.unwrap().contains("create an A record"));
        assert!(state.next_try.is_some() && state.queue_position.is_none());
        assert!(!ca.log().contains("Added order"));
        // Once the records exist, a verification retries at once.
        ca.names().set_default(Some(Ipv4Addr::LOCALHOST));
        process.certificates.verify(&host("shop.example.com")).await.unwrap();
        process.issued("shop.example.com").await;
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn failed_validations_are_reported_counted_and_retried() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    // The CA validates at a port of another server; our own probe does not.
    let other = ChallengeServer::new(Arc::default());
    let ca = Pebble::start(Habits { authz_reuse_percent: 0, ..Habits::at(other.port) });
    let settings = setup.settings(&[&ca]);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["shop.example.com"]);
        let reason = process
            .event("refused", |event| match event {
                CertificateEvent::Failed { reason, .. } => Some(reason.clone()),
                _ => None,
            })
            .await;
        assert!(reason.contains("Another server answered the CA"), "{reason}");
        let budgets = process.certificates.overview().budgets;
        let failures = budgets.iter().find(|budget| budget.limit == "failed_validations").unwrap();
        assert_eq!((failures.left, failures.subject.as_deref()), (4, Some("shop.example.com")));
        let folder = setup.path().join("domains/shop.example.com");
        until("the order is forgotten", || !folder.join("order.json").exists()).await;
        until("no challenge is left", || process.fake.recorded().challenges.lock().unwrap().is_empty()).await;
        assert_eq!(process.certificates.overview().authorities[0].problem, None, "the CA is healthy");
        // Backs off until the next verification.
        let mut table = process.certificates.registry().table_mut();
        let record = table.get_mut(&host("shop.example.com")).unwrap().record.as_mut().unwrap();
        assert_eq!((record.failures, record.failure_kind), (1, Some(FailureKind::Refusal)));
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn failing_domains_affect_no_other_and_recover_by_a_verification() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    // The CA gets a wrong response for every third domain.
    let lost = Arc::new(Mutex::new(true));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (challenges, is_lost) = (Arc::clone(&fake.recorded().challenges), Arc::clone(&lost));
    answer_at(listener, move |head, token| {
        let number = head.split("Host: d").nth(1).and_then(|rest| rest.split('.').next());
        let is_bad = number.is_some_and(|number| number.parse::<u32>().unwrap_or(1).is_multiple_of(3));
        if is_bad && *is_lost.lock().unwrap() {
            return "lost".to_owned();
        }
        challenges.lock().unwrap().get(token).cloned().unwrap_or_default()
    });
    let ca = Pebble::start(Habits { authz_reuse_percent: 0, ..Habits::at(port) });
    let settings = setup.settings(&[&ca]);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &[]);
        let names: Vec<String> = (0..12).map(|n| format!("d{n}.tenant-{n}.example")).collect();
        for name in &names {
            process.certificates.put_domain(&domain(name, Acme));
        }
        let bad = |name: &&String| {
            name.as_str().trim_start_matches('d').split('.').next().unwrap().parse::<u32>().unwrap() % 3 == 0
        };
        let settled =
            |state: CertificateState| state == CertificateState::Active || state == CertificateState::Failed;
        until("all are settled", || names.iter().all(|name| settled(process.state(name).state))).await;
        for name in &names {
            let expected = if bad(&name) { CertificateState::Failed } else { CertificateState::Active };
            assert_eq!(process.state(name).state, expected, "{name}");
        }
        *lost.lock().unwrap() = false;
        for name in names.iter().filter(bad) {
            process.certificates.verify(&host(name)).await.unwrap();
            process.issued(name).await;
            assert_eq!(process.state(name).failures, 0);
        }
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn a_domain_that_is_removed_leaves_nothing_behind() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = pebble(&server);
    let settings = setup.settings(&[&ca]);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["a.example.com", "b.example.com"]);
        process.issued("a.example.com").await;
        process.certificates.remove_domain(&host("a.example.com"));
        // One in the middle of issuance.
        process.certificates.remove_domain(&host("b.example.com"));
        process
            .event("removed", |event| match event {
                CertificateEvent::Removed { host } if host.as_str() == "a.example.com" => Some(()),
                _ => None,
            })
            .await;
        until("nothing is in flight", || process.certificates.overview().orders_in_flight == 0).await;
        until("nothing is left", || {
            std::fs::read_dir(setup.path().join("domains")).unwrap().next().is_none()
        })
        .await;
        until("no challenge is left", || process.fake.recorded().challenges.lock().unwrap().is_empty()).await;
        assert_eq!(process.certificates.overview().queued, 0);
    });
}
