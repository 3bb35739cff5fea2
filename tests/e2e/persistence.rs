//! Acknowledged changes survive a restart, a power cut, and as far as possible damage to the store.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::kit::*;

fn domains(proxy: &Proxy) -> BTreeSet<String> {
    let list = proxy.api().get("/api/tenants/domains").is(200).json;
    let domains = list["domains"].as_array().expect("a list").iter();
    domains.map(|one| one["domain"].as_str().unwrap().to_owned()).collect()
}

/// All files below a folder, the largest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    found
}

/// Overwrites every occurrence of `needle` in a file; returns their number.
fn damage(path: &Path, needle: &[u8]) -> usize {
    let mut file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, part)| *part == needle)
        .map(|(at, _)| at)
        .collect();
    for at in &places {
        file.seek(SeekFrom::Start(*at as u64)).unwrap();
        file.write_all(&vec![0xff; needle.len()]).unwrap();
    }
    places.len()
}

on_both_drivers! {
    fn everything_survives_a_restart(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        api.register("app", "app-1", &one.target());
        api.add_checked("app", "app-2", &two.target());
        api.domain("app.test", "app", None);
        api.domain("brand.test", "app", Some("tenant-123"));
        api.domain("gone.test", "app", None);
        let last = api.delete("/api/tenants/domains", &json!({ "domain": "gone.test" }));
        last.is(204);
        let without_health = |mut details: Value| {
            details["instances"].as_array_mut().unwrap().iter_mut().for_each(|one| {
                for name in ["health", "health_reason", "health_streak", "last_check", "circuit_breaker"] {
                    one.as_object_mut().unwrap().remove(name);
                }
            });
            details
        };
        let before = without_health(api.app("app"));
        let proxy = proxy.stop().start();
        assert_eq!(without_health(proxy.api().app("app")), before);
        let mut client = proxy.client();
        let mut names = [client.get("app.test", "/").text(), client.get("app.test", "/").text()];
        names.sort();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(client.get("gone.test", "/").status(), 404);
        client.get("brand.test", "/");
        let seen = one.requests().into_iter().chain(two.requests()).any(|request| request.field("x-tenant-id") == Some("tenant-123"));
        assert!(seen);
        assert_eq!(proxy.api().get("/api/status").is(200).json["status"], "ready");
    }

    fn a_kill_in_a_storm_of_registrations_loses_nothing_acknowledged(driver) {
        let origin = Origin::named("a");
        let mut builder = Proxy::on(driver);
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        for round in 0..10 {
            let proxy = builder.start();
            // All acknowledged changes so far are stored and served.
            let present = domains(&proxy);
            let missing: Vec<String> = acknowledged.lock().unwrap().difference(&present).cloned().collect();
            assert!(missing.is_empty(), "round {round}: lost {missing:?}");
            if round == 0 {
                proxy.api().register("app", "app-1", &origin.target());
            } else if let Some(name) = acknowledged.lock().unwrap().last() {
                assert_eq!(proxy.get(name, "/").status(), 200);
            }
            let stop = Arc::new(AtomicBool::new(false));
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let (stop, acknowledged, address) = (Arc::clone(&stop), Arc::clone(&acknowledged), proxy.api_address());
                    std::thread::spawn(move || {
                        for number in 0.. {
                            let name = format!("r{round}-w{writer}-n{number}.test");
                            let body = json!({ "domain": name, "app_id": "app", "type": "subdomain" }).to_string();
                            let Ok(mut client) = Client::try_connect(address) else { return };
                            let sent = client.try_send(format!(
                                "POST /api/tenants/domains HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                                body.len()
                            ));
                            match sent.ok().and_then(|()| client.try_response("POST").ok()) {
                                Some(answer) if answer.status() == 201 => drop(acknowledged.lock().unwrap().insert(name)),
                                _ => return,
                            }
                            if stop.load(Ordering::SeqCst) {
                                return;
                            }
                        }
                    })
                })
                .collect();
            let floor = acknowledged.lock().unwrap().len() + 20 + 7 * round;
            eventually("the storm is on", || (acknowledged.lock().unwrap().len() >= floor).then_some(()));
            builder = proxy.kill9();
            stop.store(true, Ordering::SeqCst);
            for writer in writers {
                writer.join().unwrap();
            }
        }
        let proxy = builder.start();
        assert!(domains(&proxy).is_superset(&acknowledged.lock().unwrap()));
        assert_eq!(proxy.api().get("/api/status").is(200).json["status"], "ready", "a kill is no damage");
    }

    fn a_damaged_store_is_named_kept_aside_and_served_as_far_as_it_goes(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        proxy.serve("app", "app.test", &origin);
        for number in 0..50 {
            proxy.api().domain(&format!("damage-{number}.test"), "app", None);
        }
        let store = proxy.store();
        // A clean end writes the export that the store falls back to; what comes after it stands in the
        // engine alone.
        let proxy = proxy.stop().start();
        proxy.api().domain("late.test", "app", None);
        let builder = proxy.kill9();
        let engine = files(&store.join("live"));
        let places: usize = engine.iter().map(|file| damage(file, b"damage-25") + damage(file, b"late.test")).sum();
        assert!(places > 0, "the engine does not hold names in clear; damage it otherwise");
        let proxy = builder.start();
        // It starts, reports the damage, and serves the rest.
        let status = proxy.api().get("/api/status").is(200).json;
        assert_eq!(status["status"], "degraded", "{status}");
        assert!(!status["store"]["degraded"].as_array().unwrap().is_empty(), "{status}");
        assert!(!files(&store.join("aside")).is_empty(), "a copy of the damaged files is kept aside");
        assert!(domains(&proxy).contains("damage-0.test"), "what can be read is served: {:?}", domains(&proxy));
        assert_eq!(proxy.get("damage-0.test", "/").status(), 200);
        let log = proxy.log().join("\n");
        let files = store.join("live");
        assert!(log.contains("store") && log.contains(files.to_str().unwrap()), "the log says which file: {log}");
    }

    fn a_truncated_store_is_noticed(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        proxy.serve("app", "app.test", &origin);
        for number in 0..50 {
            proxy.api().domain(&format!("cut-{number}.test"), "app", None);
        }
        let store = proxy.store();
        let builder = proxy.kill9();
        // Cut the journal in the middle: an older state would open without an error.
        let journal = files(&store)
            .into_iter()
            .find(|file| std::fs::read(file).unwrap().windows(6).any(|part| part == b"cut-25"))
            .expect("a file with the records");
        let bytes = std::fs::read(&journal).unwrap();
        let at = bytes.windows(6).position(|part| part == b"cut-25").unwrap();
        std::fs::File::options().write(true).open(&journal).unwrap().set_len(at as u64).unwrap();
        let proxy = builder.start();
        let status = proxy.api().get("/api/status").is(200).json;
        assert_eq!(status["status"], "degraded", "{status}");
    }

    fn two_processes_do_not_share_a_store(driver) {
        let proxy = Proxy::start(driver);
        let output = Proxy::on(driver).env("PROXY_DB_PATH", proxy.store().to_str().unwrap()).run();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).to_lowercase();
        assert!(said.contains("lock") || said.contains("in use") || said.contains("another process"), "{said}");
        // The first one is not disturbed.
        assert_eq!(proxy.api().get("/healthz").status, 200);
    }
}
