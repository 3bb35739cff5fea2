//! Configuration from files: a save is live or refused, beside registrations and changes by the admin API.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ringway::{ConfigurationSettings, DriverChoice, Gateway, Handle, Start};

use crate::kit::*;

/// A document with one route to one endpoint.
fn document(host: &str, origin: &Origin) -> String {
    let address = origin.address();
    format!(
        "version: v1\nroutes:\n  - id: web\n    host: {host}\n    pool: web-pool\npools:\n  - id: web-pool\n    endpoints:\n      - address: \"{address}\"\n"
    )
}

/// A process that watches `conf.d` in its folder.
struct Site {
    proxy: Proxy,
    folder: PathBuf,
}

impl Site {
    fn start(driver: Driver, text: &str) -> Self {
        let builder = Proxy::on(driver);
        let folder = builder.folder().join("conf.d");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.yaml"), text).unwrap();
        let proxy = builder.env("PROXY_CONFIG", folder.to_str().unwrap()).start();
        Self { proxy, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("a.yaml")
    }

    /// Saves as most editors do: another file, renamed.
    fn save(&self, text: &str) {
        let other = self.folder.join(".a.yaml.new");
        fs::write(&other, text).unwrap();
        fs::rename(&other, self.file()).unwrap();
    }

    /// Log line with all these words.
    fn logged(&self, words: &[&str]) -> String {
        eventually(&format!("a log line with {words:?}"), || {
            self.proxy.log().into_iter().find(|line| words.iter().all(|word| line.contains(word)))
        })
    }

    fn text(&self, host: &str) -> String {
        self.proxy.get(host, "/").text()
    }

    fn status(&self) -> Value {
        self.proxy.api().get("/api/status").is(200).json
    }
}

on_both_drivers! {
    fn heartbeats_of_an_endpoint_of_the_files_are_refused(driver) {
        let origin = Origin::named("one");
        let site = Site::start(driver, &document("web.test", &origin));
        let id = format!("web-pool@{}", origin.address());
        let answer = site.proxy.api().post("/api/apps/heartbeat", &json!({ "instance_id": id }));
        assert_eq!((answer.status, &answer.json["code"]), (409, &json!("not_owned")));
        assert_eq!(site.text("web.test"), "one");
    }

    fn a_save_is_live_on_every_core(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let site = Site::start(driver, &document("web.test", &one));
        // New connections are spread over the cores.
        let mut kept: Vec<Client> = (0..16).map(|_| site.proxy.client()).collect();
        for client in &mut kept {
            assert_eq!(client.get("web.test", "/").text(), "one");
        }
        site.save(&document("web.test", &two));
        // Logged when all cores have acknowledged.
        site.logged(&["configuration applied"]);
        for client in &mut kept {
            assert_eq!(client.get("web.test", "/").text(), "two");
        }
        assert_eq!(site.proxy.metric("ringway_config_drift", &[]), 0.0);
        assert_eq!(site.proxy.metric("ringway_config_version_info", &["owner=\"file\""]), 1.0);
    }

    fn a_save_of_static_settings_names_those_that_need_a_restart(driver) {
        let origin = Origin::named("one");
        let site = Site::start(driver, &document("web.test", &origin));
        site.save(&format!("{}server:\n  timeouts:\n    idle: 71s\n", document("web.test", &origin)));
        let line = site.logged(&["need a restart", "/server/timeouts/idle"]);
        assert!(line.contains("WARN"), "{line}");
        site.logged(&["configuration applied", "version"]);
        // Every such save, also that of a setting that is named already.
        site.save(&format!("{}server:\n  timeouts:\n    idle: 72s\n", document("web.test", &origin)));
        eventually("the second save is in the log", || {
            let named = site.proxy.log().into_iter().filter(|line| line.contains("need a restart"));
            (named.count() == 2).then_some(())
        });
    }

    fn a_mistake_is_refused_with_its_place_and_the_old_configuration_goes_on(driver) {
        let origin = Origin::named("one");
        let site = Site::start(driver, &document("web.test", &origin));
        site.save(&document("web.test", &origin).replace("    host:", "    hosts:"));
        let line = site.logged(&["configuration refused", "a.yaml:4:5", "did you mean"]);
        assert!(line.contains("\"level\":\"ERROR\"") || line.contains("error") || line.contains("ERROR"), "{line}");
        assert_eq!(site.text("web.test"), "one");
        // Reported after the line is logged.
        eventually("the metrics report the refusal", || {
            let metric = |name| site.proxy.metric(name, &[]);
            (metric("ringway_config_drift") == 1.0 && metric("ringway_config_refused_total") == 1.0).then_some(())
        });
        let status = site.status();
        assert_eq!(status["status"], "degraded");
        assert!(status["warnings"].to_string().contains("a.yaml:4:5"), "{}", status["warnings"]);
        site.save(&document("other.test", &origin));
        site.logged(&["configuration applied"]);
        assert_eq!((site.text("other.test"), site.proxy.get("web.test", "/").status()), ("one".to_owned(), 404));
        eventually("the status is ready", || (site.status()["status"] == "ready").then_some(()));
    }

    fn all_documents_of_a_folder_are_one_configuration(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let site = Site::start(driver, &document("web.test", &one));
        let other = document("second.test", &two).replace("web", "second").replace("version: v1\n", "");
        fs::write(site.folder.join("b.yaml"), other).unwrap();
        site.logged(&["configuration applied"]);
        assert_eq!((site.text("web.test"), site.text("second.test")), ("one".to_owned(), "two".to_owned()));
        fs::remove_file(site.file()).unwrap();
        eventually("the routes of the removed file are gone", || {
            (site.proxy.get("web.test", "/").status() == 404).then_some(())
        });
        assert_eq!(site.text("second.test"), "two");
    }

    fn a_mounted_config_map_is_followed(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let builder = Proxy::on(driver);
        let folder = builder.folder().join("mounted");
        let version = |name: &str, origin: &Origin| {
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("a.yaml"), document("web.test", origin)).unwrap();
        };
        version("..v1", &one);
        symlink("..v1", folder.join("..data")).unwrap();
        symlink("..data/a.yaml", folder.join("a.yaml")).unwrap();
        let proxy = builder.env("PROXY_CONFIG", folder.join("a.yaml").to_str().unwrap()).start();
        assert_eq!(proxy.get("web.test", "/").text(), "one");
        version("..v2", &two);
        symlink("..v2", folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        fs::remove_dir_all(folder.join("..v1")).unwrap();
        eventually("the new version is live", || (proxy.get("web.test", "/").text() == "two").then_some(()));
    }

    fn the_first_claim_of_a_host_wins(driver) {
        let (one, app) = (Origin::named("one"), Origin::named("app"));
        let site = Site::start(driver, &document("web.test", &one));
        let api = site.proxy.api();
        api.register("app", "app-1", &app.target());
        api.domain("app.test", "app", None);
        // A registration cannot take a host of the files.
        let body = json!({ "domain": "web.test", "app_id": "app", "type": "subdomain" });
        let refused = api.post("/api/tenants/domains", &body).is(409);
        assert!(refused.message.text().contains("web"), "{}", refused.message.text());
        // Nor the files the host of a registration: the whole save is refused, and both are named.
        let text = format!("{}  # claims\n", document("app.test", &one));
        site.save(&text);
        let line = site.logged(&["configuration refused", "app.test"]);
        assert!(line.contains("a.yaml:3") && line.contains("app app"), "{line}");
        assert_eq!((site.text("web.test"), site.text("app.test")), ("one".to_owned(), "app".to_owned()));
        // A route with a path attaches.
        let attached = document("app.test", &one).replace("    host:", "    path_prefix: /static\n    host:");
        site.save(&attached);
        site.logged(&["configuration applied"]);
        assert_eq!(site.proxy.get("app.test", "/static/x").text(), "one");
        assert_eq!(site.proxy.get("app.test", "/other").text(), "app");
    }

    fn a_registered_host_is_left_out_at_a_start_and_nothing_else(driver) {
        let (one, app) = (Origin::named("one"), Origin::named("app"));
        let proxy = Proxy::start(driver);
        proxy.serve("app", "app.test", &app);
        let builder = proxy.stop();
        let file = builder.folder().join("config.yaml");
        let second = "  - id: second\n    host: web.test\n    pool: web-pool\npools:";
        fs::write(&file, document("app.test", &one).replace("pools:", second)).unwrap();
        let proxy = builder.env("PROXY_CONFIG", file.to_str().unwrap()).start();
        assert_eq!((proxy.get("app.test", "/").text(), proxy.get("web.test", "/").text()), ("app".to_owned(), "one".to_owned()));
        let status = proxy.api().get("/api/status").is(200).json;
        assert_eq!(status["status"], "degraded");
        assert!(status["warnings"].to_string().contains("app.test"), "{}", status["warnings"]);
        // The registration goes, and a reload brings the route.
        proxy.api().delete("/api/tenants/domains", &json!({ "domain": "app.test" })).is(204);
        proxy.signal(libc::SIGHUP);
        eventually("the route is there", || (proxy.get("app.test", "/").text() == "one").then_some(()));
        eventually("the status is ready", || {
            (proxy.api().get("/api/status").is(200).json["status"] == "ready").then_some(())
        });
    }

    fn the_files_decide_after_a_restart_and_without_them_their_routes_are_gone(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let site = Site::start(driver, &document("web.test", &one));
        let file = site.file();
        let builder = site.proxy.kill9();
        fs::write(&file, document("web.test", &two)).unwrap();
        let proxy = builder.start();
        assert_eq!(proxy.get("web.test", "/").text(), "two");
        let builder = proxy.stop().env("PROXY_CONFIG", "");
        let proxy = builder.start();
        assert_eq!(proxy.get("web.test", "/").status(), 404);
    }
}

// --- Beside changes by the admin API ----------------------------------------------------------------------

/// The same as JSON, for the admin API.
fn config(id: &str, host: &str, origin: &Origin) -> Value {
    let pool = format!("{id}-pool");
    let endpoints = json!([{ "address": origin.address().to_string() }]);
    json!({ "routes": [{ "id": id, "host": host, "pool": pool }], "pools": [{ "id": pool, "endpoints": endpoints }] })
}

fn apply(proxy: &Proxy, config: &Value) -> Value {
    let body = json!({ "config": config, "reason": "a test" });
    proxy.api().post("/api/v2/config/apply", &body).is(200).json
}

on_both_drivers! {
    fn an_acknowledged_change_survives_a_kill(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let site = Site::start(driver, &document("web.test", &one));
        apply(&site.proxy, &config("admin", "admin.test", &two));
        let proxy = site.proxy.kill9().start();
        assert_eq!((proxy.get("admin.test", "/").text(), proxy.get("web.test", "/").text()), ("two".to_owned(), "one".to_owned()));
        let history = proxy.api().get("/api/v2/config/history?owner=admin").is(200).json;
        assert_eq!(history["versions"].as_array().map(Vec::len), Some(1), "{history}");
    }

    fn files_and_requests_do_not_take_hosts_from_each_other(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let site = Site::start(driver, &document("web.test", &one));
        let body = json!({ "config": config("admin", "web.test", &two) });
        let refused = site.proxy.api().post("/api/v2/config/apply", &body).is(409);
        let text = refused.message.text();
        assert!(text.contains("owner file") && text.contains("a.yaml:3"), "{text}");
        apply(&site.proxy, &config("admin", "admin.test", &two));
        site.save(&document("admin.test", &one));
        site.logged(&["configuration refused", "admin.test", "owner admin"]);
        assert_eq!((site.text("web.test"), site.text("admin.test")), ("one".to_owned(), "two".to_owned()));
    }

    fn a_change_is_taken_back(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let proxy = Proxy::start(driver);
        let first = apply(&proxy, &config("admin", "admin.test", &one));
        apply(&proxy, &config("admin", "admin.test", &two));
        assert_eq!(proxy.get("admin.test", "/").text(), "two");
        let body = json!({ "version": first["version"], "owner": "admin", "reason": "worse" });
        let back = proxy.api().post("/api/v2/config/rollback", &body).is(200).json;
        assert_eq!(back["version"], first["version"]);
        assert_eq!(proxy.get("admin.test", "/").text(), "one");
    }
}

// --- Under load -------------------------------------------------------------------------------------------

const RELOADS: usize = 1_000;
const WEBSOCKETS: usize = 20;

/// Starts a gateway in this process over a file, to call it without a round trip over the admin API.
fn gateway(driver: Driver, file: &Path) -> Handle {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let text = fs::read_to_string(file).unwrap();
    let sources = vec![ringway_config::Source { name: file.to_str().unwrap().into(), text }];
    let document = Arc::new(ringway_config::read(&sources).document.unwrap());
    let settings = ConfigurationSettings {
        path: Some(file.to_owned()),
        start: Start::Documents { sources, document },
        ..ConfigurationSettings::default()
    };
    let builder = Gateway::builder().http(vec!["127.0.0.1:0".parse().unwrap()]).driver(driver);
    builder.workers(2).pin(false).configuration(settings).spawn().unwrap()
}

/// Resident memory of this process in KiB.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

on_both_drivers! {
    fn a_thousand_reloads_disturb_no_stream_and_no_request(driver) {
        let (sockets, origin) = (Origin::websocket_echo("sockets"), Origin::echo());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        // Each version has the same hosts in use, and others of its own.
        let text = |number: usize| {
            let (sockets, origin) = (sockets.address(), origin.address());
            format!(
                "routes:\n  - {{id: sockets, host: sockets.test, pool: sockets}}\n  - {{id: app, host: app.test, path_prefix: /up, pool: app}}\n  - {{id: n{number}, host: n{}.test, pool: app}}\npools:\n  - {{id: sockets, endpoints: [{{address: \"{sockets}\"}}]}}\n  - {{id: app, endpoints: [{{address: \"{origin}\"}}, {{address: \"127.0.0.1:1\", weight: 0}}]}}\n",
                number % 50
            )
        };
        fs::write(&file, text(0)).unwrap();
        let gateway = gateway(driver, &file);
        let address = gateway.http_addresses()[0];
        let mut open: Vec<Client> = (0..WEBSOCKETS)
            .map(|_| {
                let mut client = Client::connect(address);
                ws::open(&mut client, "sockets.test", "/");
                client
            })
            .collect();
        // An upload that stays open over all reloads.
        let mut upload = Client::connect(address);
        let piece = pattern(1_000);
        upload.send(format!("POST /up/slow HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", (RELOADS / 50) * piece.len()));
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(AtomicUsize::new(0));
        let load: Vec<_> = (0..3)
            .map(|number| {
                let (stop, requests) = (Arc::clone(&stop), Arc::clone(&requests));
                std::thread::spawn(move || {
                    let mut client = Client::connect(address);
                    let body = pattern(2_000 + number);
                    while !stop.load(Ordering::SeqCst) {
                        let mut bytes = format!("POST /up HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
                        bytes.extend_from_slice(&body);
                        client.send(&bytes);
                        let answer = client.response("POST");
                        assert!(answer.status() == 200 && answer.body == body, "{}", answer.first_line);
                        requests.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let client = gateway.client();
        let mut load = Some(load);
        let mut settled = 0;
        for number in 1..=RELOADS {
            fs::write(&file, text(number)).unwrap();
            let applied = client.reload_configuration().unwrap();
            assert!(applied.receipt.is_some_and(|receipt| receipt.pending.is_empty()), "reload {number}");
            if number % 50 == 0 {
                upload.send(&piece);
                ws::ping_pong(&mut open[number / 50 % WEBSOCKETS], "still here");
            }
            if number == RELOADS / 2 {
                stop.store(true, Ordering::SeqCst);
                for thread in load.take().into_iter().flatten() {
                    thread.join().expect("no request failed");
                }
                // The kit keeps what it has received: from here on memory is the gateway's. Its history is
                // full by now.
                settled = resident_kib();
            }
        }
        let grown = resident_kib().saturating_sub(settled);
        assert!(requests.load(Ordering::SeqCst) > 0);
        let answer = upload.response("POST");
        assert!(answer.status() == 200 && answer.body.len() == (RELOADS / 50) * piece.len(), "{}", answer.first_line);
        for client in &mut open {
            ws::ping_pong(client, "to the end");
        }
        assert_eq!(sockets.connections().len(), WEBSOCKETS, "no socket was opened twice");
        assert!(grown < 16 * 1024, "{grown} KiB more after another {} reloads", RELOADS / 2);
        drop(open);
        gateway.shutdown(SOON).unwrap();
    }
}
