//! Failures of a CA about one order: another is placed, or this domain waits alone, and the CA is never
//! paused.

use super::scripted::{Answer, Ca, Request};
use super::*;

/// A step of an order, and the script that leads to it.
type Step = (&'static str, fn(&Request<'_>) -> Option<Answer>);

/// A pending order with a pending challenge.
fn pending(request: &Request<'_>) -> Option<Answer> {
    match request.path {
        "/authorization" => Some(request.authorization("pending")),
        path if path.starts_with("/order") => Some(request.order("pending")),
        _ => None,
    }
}

fn at_once(status: &'static str) -> impl Fn(&Request<'_>) -> Option<Answer> {
    move |request| request.path.starts_with("/order").then(|| request.order(status))
}

/// Steps at which the CA can lose an order.
const STEPS: [Step; 5] = [
    ("/authorization", pending),
    ("/challenge", pending),
    ("/order/", pending),
    ("/finalize", |request| at_once("ready")(request)),
    ("/certificate", |request| at_once("valid")(request)),
];

/// A CA that returns this response at one step, and serves the others.
fn answering(step: Step, answer: impl Fn() -> Answer + Send + Sync + 'static) -> Ca {
    let (path, script) = step;
    Ca::start(move |request| match request.path.starts_with(path) {
        true => Some(answer()),
        false => script(request),
    })
}

impl Process {
    fn is_unharmed(&self) -> bool {
        let overview = self.certificates.overview();
        overview.authorities.iter().all(|ca| ca.problem.is_none() && ca.paused_until.is_none())
            && self.count(|event| matches!(event, CertificateEvent::Failed { .. })) == 0
    }
}

/// RFC 8555 §7.4: one more order at once, and no third one.
#[test]
fn a_lost_order_is_replaced_once_at_every_step() {
    type Make = fn() -> Answer;
    let answers: [(&str, Make); 4] = [
        ("bare 404", || Answer::bare(404)),
        ("bare 410", || Answer::bare(410)),
        ("malformed 404", || Answer::problem(404, "malformed", "No order found")),
        ("another account's", || Answer::problem(403, "unauthorized", "not your order")),
    ];
    for step in STEPS {
        for (what, answer) in answers {
            // A refused POST is followed by a poll of the order, which continues; a refused read is not.
            if what == "another account's" && matches!(step.0, "/challenge" | "/finalize") {
                continue;
            }
            let setup = Setup::new();
            let (fake, server) = reachable();
            let names = loopback_names();
            let ca = answering(step, answer);
            let settings = setup.scripted_settings(&[&ca], &names);
            on_control_thread(|| async {
                let process = setup.start(settings, server, fake, &["a.example.com"]);
                until(&format!("{what} of {}: it waits", step.0), || {
                    process.state("a.example.com").next_try.is_some()
                })
                .await;
                let state = process.state("a.example.com");
                assert_eq!((ca.orders(), state.failures), (2, 0), "{what} of {}: {state:?}", step.0);
                let wait = state.next_try.unwrap().0 - clock::timestamp().0;
                assert!(wait <= 60_000, "{wait}");
                assert!(process.is_unharmed(), "{what} of {}", step.0);
                assert!(!setup.path().join("domains/a.example.com/order.json").exists());
            });
        }
    }
}

#[test]
fn an_order_that_the_ca_fails_delays_no_other() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let names = loopback_names();
    // Fails for one name; the other proceeds to its challenge.
    let answers: [fn() -> Answer; 4] = [
        || Answer::problem(500, "serverInternal", "a failure"),
        || Answer::bare(403),
        || Answer::bare(404),
        || {
            Answer::problem(429, "rateLimited", "too much of bad.example.com for now")
                .with("Retry-After", "3600")
        },
    ];
    for answer in answers {
        let (fake, server) = (fake.clone(), ChallengeServer::new(Arc::clone(&fake.recorded().challenges)));
        let ca = Ca::start(move |request| {
            let is_bad = request.path == "/order" && request.payload.contains("bad.example.com");
            if is_bad { Some(answer()) } else { pending(request) }
        });
        let settings = setup.scripted_settings(&[&ca], &names);
        on_control_thread(|| async {
            let process = setup.start(settings, server, fake, &["bad.example.com"]);
            until("it waits", || process.state("bad.example.com").next_try.is_some()).await;
            assert!(process.is_unharmed() && process.state("bad.example.com").failures == 0);
            process.certificates.put_domain(&domain("good.example.com", Acme));
            until("the other is served", || {
                process.state("good.example.com").state == CertificateState::Issuing
            })
            .await;
            assert!(process.is_unharmed());
        });
    }
    drop(server);
}

#[test]
fn a_ca_that_fails_for_two_domains_is_paused() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let names = loopback_names();
    let ca = Ca::start(|request| (request.path == "/order").then(|| Answer::bare(500)));
    let settings = setup.scripted_settings(&[&ca], &names);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["a.example.com", "b.example.com"]);
        until("it is paused", || process.certificates.overview().authorities[0].paused_until.is_some()).await;
    });
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn a_domain_that_one_ca_fails_moves_to_the_next() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let second = pebble(&server);
    let first = Ca::start(|request| (request.path == "/order").then(|| Answer::bare(500)));
    let mut settings = setup.settings(&[&second]);
    let first_settings = DirectorySettings { url: first.directory.clone(), eab: None };
    settings.acme.as_mut().unwrap().directories.insert(0, first_settings);
    on_control_thread(|| async {
        let process = setup.start(settings, server, fake, &["a.example.com"]);
        for n in 1..=3 {
            until("an order failed", || ca_failed(&process) == n).await;
            until("it waits", || process.state("a.example.com").next_try.is_some()).await;
            // Ends its wait.
            process.certificates.verify(&host("a.example.com")).await.unwrap();
        }
        process.issued("a.example.com").await;
        assert_eq!(first.orders(), 3);
        assert!(process.is_unharmed());
    });
}

fn ca_failed(process: &Process) -> u64 {
    process.certificates.issuance().counters.failed.get()
}

#[test]
fn a_repeated_challenge_or_finalization_continues() {
    // The first response was lost, and the repetition is refused: the order's state decides.
    for (path, kind, status) in [
        ("/challenge", "malformed", 400),
        ("/finalize", "orderNotReady", 403),
        ("/finalize", "unauthorized", 403),
    ] {
        let setup = Setup::new();
        let (fake, server) = reachable();
        let names = loopback_names();
        let ca = Ca::start(move |request| match request.path {
            "/order" if path == "/finalize" => Some(request.order("ready")),
            "/order" => Some(request.order("pending")),
            "/authorization" if request.orders == 1 => Some(request.authorization("pending")),
            path if path.starts_with("/order/") => Some(request.order("valid")),
            "/certificate" => Some(Answer::problem(400, "rejectedIdentifier", "this far")),
            asked if asked == path => Some(Answer::problem(status, kind, "repeated")),
            _ => None,
        });
        let settings = setup.scripted_settings(&[&ca], &names);
        on_control_thread(|| async {
            let process = setup.start(settings, server, fake, &["a.example.com"]);
            let reason = || process.state("a.example.com").reason.unwrap_or_default();
            until("the certificate was requested", || reason().contains("this far")).await;
        });
    }
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn an_invalid_order_on_the_disk_is_replaced() {
    let setup = Setup::new();
    let (fake, server) = reachable();
    let ca = pebble(&server);
    let settings = setup.settings(&[&ca]);
    // An unknown order, an unreachable host, no URL.
    for (n, url) in [
        format!("{}/my-order/none", ca.directory().trim_end_matches("/dir")),
        "https://127.0.0.1:1/order/1".to_owned(),
        "nonsense".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("d{n}.example.com");
        let folder = setup.path().join("domains").join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        let order = serde_json::json!({ "directory": ca.directory(), "url": url, "key": "" });
        std::fs::write(folder.join("order.json"), order.to_string()).unwrap();
        let (fake, server) = (fake.clone(), ChallengeServer::new(Arc::clone(&fake.recorded().challenges)));
        let mut settings = settings.clone();
        settings.http_port = server.port;
        on_control_thread(|| async {
            let process = setup.start(settings, server, fake, &[&name]);
            process.issued(&name).await;
            assert!(process.is_unharmed(), "{url}");
        });
    }
    drop(server);
}
