//! Faults of the machine: out of descriptors, disk and memory; clock jumps; names that do not resolve; files
//! that cannot be written; and processes that are killed under load, the proxy among them.
//!
//! None of this needs root: `prlimit` limits descriptors and memory, a preloaded library makes disk and
//! resolver fail (`tests/faults/shim.c`), libfaketime makes clocks jump.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::kit::load::{self, Dice, Known, Load};
use crate::kit::tls::presented;
use crate::kit::*;

/// The preloaded library and the folder of its switches.
struct Shim {
    folder: tempfile::TempDir,
}

impl Shim {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c");
        let built = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("shim.so"))
            .arg(source)
            .arg("-ldl")
            .output()
            .expect("a C compiler");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { folder }
    }

    fn under(&self, builder: proxy::Builder) -> proxy::Builder {
        builder
            .env("LD_PRELOAD", self.folder.path().join("shim.so").to_str().unwrap())
            .env("FAULTS_SWITCHES", self.folder.path().to_str().unwrap())
    }

    fn switch(&self, fault: &str) -> PathBuf {
        self.folder.path().join(fault)
    }

    fn on(&self, fault: &str) {
        std::fs::write(self.switch(fault), "").unwrap();
    }

    fn off(&self, fault: &str) {
        std::fs::remove_file(self.switch(fault)).unwrap();
    }
}

fn add_domain(proxy: &Proxy, domain: &str) -> u16 {
    let body = json!({ "domain": domain, "app_id": "app", "type": "subdomain" });
    proxy.api().post("/api/tenants/domains", &body).everywhere(201).status
}

fn upload(proxy: &Proxy, authority: &Authority, domain: &str) -> (u16, Vec<u8>) {
    let pair = authority.server(&[domain]);
    let body = json!({ "domain": domain, "certificate": pair.certificate, "key": pair.key });
    (proxy.api().post("/api/tenants/domains/certificate", &body).everywhere(200).status, pair.der())
}

fn served(proxy: &Proxy, authority: &Authority, name: &str) -> Option<Vec<u8>> {
    Tls::new(authority, name).stream(proxy.https()).ok().map(|stream| presented(&stream))
}

fn domains(proxy: &Proxy) -> Vec<String> {
    let list = proxy.api().get("/api/tenants/domains").is(200).json;
    list["domains"].as_array().unwrap().iter().map(|one| one["domain"].as_str().unwrap().to_owned()).collect()
}

/// A proxy and its origins are killed at random for so long, while every kind of traffic and change runs.
fn storm(driver: Driver, length: Duration, seed: u64) {
    println!("seed {seed}");
    let authority = Authority::new("storm");
    let mut proxy = Proxy::on(driver)
        .env("PROXY_HTTPS_PORT", "0")
        .env("PROXY_HANDSHAKE_RATE", "0")
        .env("LOG_LEVEL", "error")
        .start();
    let origins = [load::origin(), load::origin()];
    Load::prepare(&proxy, &[&origins[0], &origins[1]], &authority);
    let mut load = Load::start(&proxy, authority, seed);
    load.all_come_through();
    let mut dice = Dice::new(seed);
    let begun = Instant::now();
    let (mut proxies, mut killed) = (0, 0);
    while begun.elapsed() < length || proxies == 0 || killed == 0 {
        pace(Duration::from_millis(50 + dice.below(700)));
        match dice.below(3) {
            0 => {
                // Acknowledged changes survive the kill; changes in flight may or may not.
                let builder = proxy.kill9();
                proxies += 1;
                proxy = builder.start();
                let present = super::soak::dynamic_domains(&proxy);
                for (domain, known) in load.domains() {
                    match known {
                        Known::Present => {
                            assert!(present.contains(&domain), "{domain} was acknowledged and is lost")
                        }
                        Known::Absent => {
                            assert!(!present.contains(&domain), "{domain} was removed and is back")
                        }
                        Known::Unknown => {}
                    }
                }
                load.retarget(&proxy);
            }
            1 => {
                let origin = &origins[dice.below(2) as usize];
                origin.kill();
                killed += 1;
                pace(Duration::from_millis(dice.below(500)));
                origin.revive();
            }
            _ => {
                origins.iter().for_each(Origin::kill);
                pace(Duration::from_millis(dice.below(200)));
                origins.iter().for_each(Origin::revive);
            }
        }
        assert!(load.wrong().is_empty(), "wrong answers: {:?}", load.wrong());
    }
    // Left alone, everything works again by itself: breakers close after 30 s.
    load.all_come_through();
    load.stop();
    assert!(load.wrong().is_empty(), "wrong answers: {:?}", load.wrong());
    println!(
        "{proxies} proxies and {killed} origins killed; came through: {:?}; failed: {:?}",
        load.done(),
        load.failed()
    );
}

on_both_drivers! {
    fn kills_at_random_lose_nothing_and_mix_nothing_up(driver) {
        let seconds = std::env::var("STORM_SECONDS").map_or(10, |text| text.parse().expect("STORM_SECONDS: a number"));
        let seed = std::env::var("STORM_SEED").map_or(3, |text| text.parse().expect("STORM_SEED: a number"));
        storm(driver, Duration::from_secs(seconds), seed);
    }

    fn without_descriptors_established_connections_are_served(driver) {
        let origin = Origin::echo();
        // The connection limit is so high that descriptors run out long before.
        let proxy = Proxy::on(driver)
            .under(&["prlimit", "--nofile=200:200"])
            .env("PROXY_WORKERS", "1")
            .env("PROXY_CONNECTIONS_MAX", "10000")
            .start();
        proxy.serve("app", "app.test", &origin);
        let mut first = proxy.client();
        first.assert_open("app.test");
        let mut crowd: Vec<Client> = (0..300).filter_map(|_| Client::try_connect(proxy.http()).ok()).collect();
        // The core has taken as many as it could.
        let held = || std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count();
        eventually("descriptors run out", || (held() >= 195).then_some(()));
        for client in &mut crowd {
            let _ = client.try_send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        }
        // Every connection gets a response: from the app over a pooled connection, or an error; never
        // silence.
        for _ in 0..20 {
            let answer = first.get("app.test", "/");
            assert!([200, 503].contains(&answer.status()), "{answer:?}");
        }
        for client in &mut crowd {
            match client.within(Duration::from_secs(2)).patiently("GET") {
                Ok(answer) => assert!([200, 503].contains(&answer.status()), "{answer:?}"),
                Err(Fault::Closed | Fault::Reset) => {}
                // Those behind in the listener's queue are served once there is room: see below.
                Err(Fault::Deadline) => break,
                Err(fault) => panic!("{fault:?}"),
            }
        }
        drop(crowd);
        eventually("there is room again", || (proxy.get("app.test", "/").status() == 200).then_some(()));
        assert_eq!(add_domain(&proxy, "later.test"), 201);
        assert_eq!(proxy.get("later.test", "/").status(), 200);
        drop(first);
        proxy.api().remove("app-1");
        eventually("all are given back", || (held() < 60).then_some(()));
    }

    fn idle_clients_have_most_descriptors_and_apps_what_they_need(driver) {
        let origin = Origin::echo();
        // 344 descriptors for connections, of which clients may have 258 and instances the rest.
        let proxy = Proxy::on(driver).under(&["prlimit", "--nofile=600:600"]).env("PROXY_WORKERS", "1").start();
        proxy.serve("app", "app.test", &origin);
        let mut idle: Vec<Client> = (0..250)
            .map(|_| {
                let mut client = proxy.client();
                assert_eq!(client.get("app.test", "/").status(), 200, "more clients than half of the descriptors");
                client
            })
            .collect();
        for client in &mut idle {
            client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\n");
        }
        // All at once exceed the limit: some get 503, the others are served.
        for client in &mut idle {
            client.send("hi");
        }
        let answers: Vec<u16> = idle.iter_mut().map(|client| client.response("POST").status()).collect();
        assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
        assert!(answers.iter().filter(|status| **status == 200).count() >= 50, "{answers:?}");
        let mut more: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
        let turned_away = more.iter_mut().filter_map(|client| {
            client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
            client.try_response("GET").ok()
        });
        assert!(turned_away.filter(|answer| answer.status() == 503).count() > 0, "there is an end to it");
        drop(idle);
        eventually("there is room again", || (proxy.get("app.test", "/").status() == 200).then_some(()));
    }

    fn a_full_disk_refuses_changes_and_nothing_else(driver) {
        let (shim, origin, authority) = (Shim::new(), Origin::named("a"), Authority::new("full"));
        let proxy = shim.under(Proxy::on(driver).env("PROXY_HTTPS_PORT", "0")).start();
        proxy.serve("app", "app.test", &origin);
        let (status, first) = upload(&proxy, &authority, "app.test");
        assert_eq!(status, 200);
        shim.on("full");
        let refused: Vec<u16> = (0..3).map(|at| add_domain(&proxy, &format!("refused-{at}.test"))).collect();
        assert!(refused.iter().all(|status| *status >= 500), "{refused:?}");
        let (status, _) = upload(&proxy, &authority, "app.test");
        assert!(status >= 500, "{status}");
        // Stored registrations are served, refused ones are not.
        assert_eq!(proxy.get("app.test", "/").text(), "a");
        assert_eq!(served(&proxy, &authority, "app.test"), Some(first.clone()));
        assert_eq!(proxy.get("refused-0.test", "/").status(), 404);
        let status = proxy.api().get("/api/status").is(200).json;
        assert_eq!(status["status"], "degraded", "{status}");
        // A crash now: the next process starts although nothing can be written, with all that was
        // acknowledged.
        let proxy = proxy.kill9().start();
        assert_eq!(proxy.get("app.test", "/").text(), "a");
        assert_eq!(served(&proxy, &authority, "app.test"), Some(first));
        // And once there is room again it works by itself.
        shim.off("full");
        eventually("changes are accepted again", || (add_domain(&proxy, "later.test") == 201).then_some(()));
        let (status, second) = upload(&proxy, &authority, "app.test");
        assert_eq!((status, served(&proxy, &authority, "app.test")), (200, Some(second.clone())));
        let proxy = proxy.kill9().start();
        assert!(domains(&proxy).contains(&"later.test".to_owned()));
        assert_eq!(served(&proxy, &authority, "app.test"), Some(second));
        assert_eq!(proxy.api().get("/api/status").is(200).json["status"], "ready");
    }

    fn a_disk_that_fails_to_sync_acknowledges_nothing(driver) {
        let (shim, origin) = (Shim::new(), Origin::named("a"));
        let proxy = shim.under(Proxy::on(driver)).start();
        proxy.serve("app", "app.test", &origin);
        shim.on("broken");
        let status = add_domain(&proxy, "refused.test");
        assert!(status >= 500, "{status}");
        assert_eq!(proxy.get("app.test", "/").text(), "a");
        shim.off("broken");
        eventually("changes are accepted again", || (add_domain(&proxy, "later.test") == 201).then_some(()));
        let proxy = proxy.kill9().start();
        assert!(domains(&proxy).contains(&"later.test".to_owned()));
    }

    fn a_slow_disk_keeps_no_request_waiting(driver) {
        let (shim, origin) = (Shim::new(), Origin::named("a"));
        let proxy = shim.under(Proxy::on(driver)).start();
        proxy.serve("app", "app.test", &origin);
        shim.on("slow");
        let change = std::thread::scope(|scope| {
            let change = scope.spawn(|| add_domain(&proxy, "slow.test"));
            let mut client = proxy.client();
            let mut served = 0;
            while !change.is_finished() {
                assert_eq!(client.get("app.test", "/").text(), "a");
                served += 1;
            }
            assert!(served > 10, "only {served} requests while the disk was written");
            change.join().unwrap()
        });
        assert_eq!(change, 201);
        shim.off("slow");
        assert_eq!(proxy.get("slow.test", "/").text(), "a");
    }

    fn a_certificate_that_takes_long_to_read_is_served_once_it_is_acknowledged(driver) {
        let (shim, origin, authority) = (Shim::new(), Origin::named("a"), Authority::new("unread"));
        let proxy = shim.under(Proxy::on(driver).env("PROXY_HTTPS_PORT", "0").env("PROXY_WORKERS", "1")).start();
        proxy.serve("app", "app.test", &origin);
        let (status, first) = upload(&proxy, &authority, "app.test");
        assert_eq!((status, served(&proxy, &authority, "app.test")), (200, Some(first)));
        shim.on("unread");
        for _ in 0..2 {
            let (status, next) = upload(&proxy, &authority, "app.test");
            assert_eq!((status, served(&proxy, &authority, "app.test")), (200, Some(next)));
        }
    }

    fn a_store_that_cannot_be_written_is_served_and_refuses_changes(driver) {
        let (shim, origin, authority) = (Shim::new(), Origin::named("a"), Authority::new("read-only"));
        let proxy = shim.under(Proxy::on(driver).env("PROXY_HTTPS_PORT", "0")).start();
        proxy.serve("app", "app.test", &origin);
        let (status, certificate) = upload(&proxy, &authority, "app.test");
        assert_eq!(status, 200);
        let path = proxy.store().to_str().unwrap().to_owned();
        let check = |proxy: &Proxy| {
            assert!(proxy.ready()["degraded"].to_string().contains(&path), "{}", proxy.ready());
            assert_eq!(proxy.get("app.test", "/").text(), "a");
            assert_eq!(served(proxy, &authority, "app.test").as_ref(), Some(&certificate));
            let body = json!({ "domain": "refused.test", "app_id": "app", "type": "subdomain" });
            let refused = proxy.api().post("/api/tenants/domains", &body).is(503);
            let said = refused.message.text();
            let is_precise = ["storage_unavailable", &path, "--db-path", "Read-only"].iter().all(|word| said.contains(word));
            assert!(is_precise, "{said}");
            assert_eq!(proxy.get("refused.test", "/").status(), 404);
            let status = proxy.api().get("/api/status").is(200).json;
            assert_eq!(status["status"], "degraded", "{status}");
            assert!(status["store"]["degraded"].to_string().contains("changes are refused"), "{status}");
        };
        let builder = proxy.stop();
        // Nothing at all can be written: there is no room for a copy either.
        shim.on("readonly");
        let proxy = builder.start();
        check(&proxy);
        // Only the store; and the process before it has not ended cleanly.
        let builder = proxy.kill9();
        std::fs::write(shim.switch("readonly"), &path).unwrap();
        let proxy = builder.start();
        check(&proxy);
        // It is taken up again without a restart, and nothing was harmed.
        shim.off("readonly");
        eventually("changes are accepted again", || (add_domain(&proxy, "later.test") == 201).then_some(()));
        assert_eq!(proxy.get("later.test", "/").text(), "a");
        let proxy = proxy.kill9().start();
        assert_eq!(proxy.api().get("/api/status").is(200).json["status"], "ready");
        assert_eq!(domains(&proxy), ["app.test", "later.test"]);
        assert_eq!(served(&proxy, &authority, "app.test"), Some(certificate));
    }

    fn a_store_that_can_neither_be_read_nor_made_is_said_at_the_start(driver) {
        let shim = Shim::new();
        let builder = shim.under(Proxy::on(driver));
        shim.on("readonly");
        let output = builder.again().run();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains(builder.store().to_str().unwrap()), "which folder? {said}");
        assert!(!said.contains("panicked"), "{said}");
        shim.off("readonly");
        assert_eq!(builder.start().api().get("/api/status").is(200).json["status"], "ready");
    }

    fn names_that_do_not_resolve_keep_their_last_addresses(driver) {
        let (shim, origin) = (Shim::new(), Origin::named("a"));
        let proxy = shim.under(Proxy::on(driver)).start();
        let target = |name: &str| format!("http://{name}.fault:{}", origin.address().port());
        proxy.api().register("app", "app-1", &target("old"));
        proxy.api().domain("app.test", "app", None);
        eventually("the name is resolved", || (proxy.get("app.test", "/").status() == 200).then_some(()));
        shim.on("nameless");
        proxy.api().register("new", "new-1", &target("new"));
        proxy.api().domain("new.test", "new", None);
        // A name that was never known has no address; one that was keeps it, also when its instance comes
        // back from the dead.
        let mut client = proxy.client();
        eventually("it is asked for in vain", || {
            let known = client.get("app.test", "/");
            assert_eq!((known.status(), known.text().as_str()), (200, "a"));
            let unknown = client.get("new.test", "/");
            assert!([502, 503].contains(&unknown.status()), "{unknown:?}");
            (unknown.json()["error"]["code"] == "unresolved").then_some(())
        });
        origin.cut();
        assert_eq!(client.get("app.test", "/").text(), "a");
        shim.off("nameless");
        eventually_within(3 * SOON, "the name is found by itself", || {
            (client.get("new.test", "/").status() == 200).then_some(())
        });
    }

    fn a_clock_that_jumps_moves_no_deadline_lease_or_certificate(driver) {
        let clock = Clock::new();
        let (origin, silent, authority) = (Origin::named("a"), Origin::silent(), Authority::new("clock"));
        let proxy = clock
            .set_up(Proxy::on(driver))
            .env("PROXY_HTTPS_PORT", "0")
            .env("PROXY_RESPONSE_TIMEOUT", "2s")
            // Far more than a disk that stalls can take from a test, and far less than the clock jumps.
            .env("HEARTBEAT_TIMEOUT", "1h")
            .start();
        proxy.serve("app", "app.test", &origin);
        proxy.serve("silent", "silent.test", &silent);
        let (_, certificate) = upload(&proxy, &authority, "app.test");
        let beat = |proxy: &Proxy| {
            proxy.api().post("/api/apps/heartbeat", &json!({ "instance_id": "app-1" })).is(204);
        };
        let told = |proxy: &Proxy| proxy.api().instance("app", "app-1")["last_heartbeat"].as_str().unwrap().to_owned();
        let year = |time: &str| time[..4].parse::<i32>().unwrap();
        beat(&proxy);
        let this_year = year(&told(&proxy));
        let jumps = [("+3650d", 10), ("-3650d", -10), ("+10950d", 30), ("+0", 0), ("-3s", 0), ("+3s", 0)];
        for (at, (time, years)) in jumps.into_iter().enumerate() {
            let mut client = proxy.client();
            let begun = Instant::now();
            client.send(format!("GET /{at} HTTP/1.1\r\nHost: silent.test\r\n\r\n"));
            let head = format!("GET /{at} ");
            eventually("the endpoint is asked", || {
                silent.connections().iter().any(|one| one.text().contains(&head)).then_some(())
            });
            clock.set(time);
            // The deadline of what is under way comes, and not at once: never before its two seconds are
            // over.
            assert_eq!(client.response("GET").status(), 504, "{time}");
            assert!(begun.elapsed() >= Duration::from_secs(2), "{time}: a deadline came {:?} after it began", begun.elapsed());
            // The control plane has had two seconds to take the lease for ended.
            beat(&proxy);
            let told = told(&proxy);
            assert!((year(&told) - this_year - years).abs() <= 1, "{time}: the process believes that it is {told}");
            let mut client = proxy.client();
            assert_eq!(client.get("app.test", "/").text(), "a", "{time}");
            assert_eq!(served(&proxy, &authority, "app.test").as_ref(), Some(&certificate), "{time}");
            assert_eq!(add_domain(&proxy, &format!("jump-{at}.test")), 201, "{time}");
            assert_eq!(client.get(&format!("jump-{at}.test"), "/").text(), "a", "{time}");
            // The five failures that open a breaker are not collected here.
            proxy.api().remove("silent-1");
            proxy.api().register("silent", "silent-1", &silent.target());
        }
        // A start in another time finds everything.
        clock.set("+3650d");
        let proxy = proxy.kill9().env("HEARTBEAT_TIMEOUT", "2s").start();
        let found = domains(&proxy);
        assert!((0..6).all(|at| found.contains(&format!("jump-{at}.test"))), "{found:?}");
        assert_eq!(served(&proxy, &authority, "app.test"), Some(certificate));
        // A lease that is not renewed ends, though its end is twenty years away by the wall clock.
        beat(&proxy);
        clock.set("-3650d");
        eventually_within(3 * SOON, "the lease ends", || {
            let app = proxy.api().app("app");
            let mut instances = app["instances"].as_array().unwrap().iter();
            (!instances.any(|one| one["instance_id"] == "app-1")).then_some(())
        });
    }

    fn with_little_memory_a_crowd_is_served_or_refused(driver) {
        let origin = Origin::named("a");
        // Limit of the private data of the process, without mappings.
        let proxy = Proxy::on(driver).under(&["prlimit", "--data=268435456"]).start();
        proxy.serve("app", "app.test", &origin);
        let head = format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\nX: {}", "x".repeat(15_000));
        let mut crowd = Vec::new();
        for _ in 0..1_500 {
            let Ok(mut client) = Client::try_connect(proxy.http()) else { continue };
            if client.try_send(&head).is_ok() {
                crowd.push(client);
            }
        }
        assert!(crowd.len() > 100, "{}", crowd.len());
        let mut client = proxy.client();
        for _ in 0..20 {
            assert_eq!(client.get("app.test", "/").text(), "a");
        }
        drop(crowd);
        assert_eq!(add_domain(&proxy, "later.test"), 201);
        assert_eq!(proxy.get("later.test", "/").text(), "a");
    }
}
