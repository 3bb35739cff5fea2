//! Renewals and expiry warnings.

use super::*;

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn short_lived_certificates_are_renewed_as_replacements() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = Pebble::start(Habits { lifetime_seconds: 20, ..Habits::at(server.port) });
    let mut settings = setup.settings(&[&ca]);
    // Without a profile in the order, pebble picks one at random.
    settings.acme.as_mut().unwrap().profile = Some("default".to_owned());
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["shop.example.com"]);
        let first = process.issued("shop.example.com").await;
        let renewed = process
            .event("renewed", |event| match event {
                CertificateEvent::Renewed { facts, .. } => Some(facts.clone()),
                _ => None,
            })
            .await;
        assert_ne!(first.fingerprint, renewed.fingerprint);
        assert!(renewed.not_after > first.not_after);
        let versions: Vec<_> =
            process.fake.recorded().certificates.borrow().iter().map(|(_, v)| *v).collect();
        assert_eq!(&versions[..2], [Some(2), Some(3)]);
        assert_eq!(process.state("shop.example.com").state, CertificateState::Active);
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn a_past_renewal_window_renews_at_once() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = pebble(&server);
    let settings = setup.settings(&[&ca]);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["shop.example.com"]);
        let facts = process.issued("shop.example.com").await;
        let asked = || {
            let domains = process.certificates.registry().table();
            let record = domains.get(&host("shop.example.com")).unwrap().record.clone().unwrap();
            record.issued.unwrap().ask_at > 0
        };
        until("renewal information was requested", asked).await;
        let suggested = process.state("shop.example.com").renewal_at.unwrap();
        assert!(suggested > clock::timestamp() && suggested < facts.not_after);
        // The CA revokes: the next request for renewal information is brought forward.
        let pem =
            std::fs::read_to_string(setup.path().join("domains/shop.example.com/identity.pem")).unwrap();
        let leaf = &pem[..pem.find("-----END CERTIFICATE-----").unwrap() + 26];
        ca.set_renewal_window(leaf, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        {
            let mut domains = process.certificates.registry().table_mut();
            let entry = domains.get_mut(&host("shop.example.com")).unwrap();
            entry.record.as_mut().unwrap().issued.as_mut().unwrap().ask_at = 0;
        }
        process.certificates.registry().mark_changed(&host("shop.example.com"));
        let renewed = process
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
fn a_provided_certificate_is_never_ordered_but_warned_about() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let names = loopback_names();
    let ca = scripted::Ca::start(|_| None);
    let settings = setup.scripted_settings(&[&ca], &names);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &[]);
        process.certificates.put_domain(&domain("a.example", Provided));
        // Issued in 2020 for seven years: less than an eighth is left.
        let pair = crate::testing::issue(&["a.example"], 2020, 2027);
        process.certificates.upload(&host("a.example"), &pair.chain, &pair.key).await.unwrap();
        let end = process
            .event("expiry warning", |event| match event {
                CertificateEvent::ExpiringSoon { host: Some(host), not_after }
                    if host.as_str() == "a.example" =>
                {
                    Some(*not_after)
                }
                _ => None,
            })
            .await;
        assert_eq!(end.to_rfc3339(), "2027-01-01T00:00:00Z");
        process.certificates.registry().mark_changed(&host("a.example"));
        until("it is reconsidered", || process.certificates.registry().is_unchanged()).await;
        yield_now().await;
        assert_eq!(process.count(|event| matches!(event, CertificateEvent::ExpiringSoon { .. })), 1, "once");
    });
    assert_eq!(ca.orders(), 0);
}
