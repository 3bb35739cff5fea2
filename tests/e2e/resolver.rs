//! Hosts that are not registered, served through a resolver: in this process, and over HTTP.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringway::model::Target;
use ringway::{
    Builder, DriverChoice, Gateway, Handle, Resolved, ResolvedTarget, ResolverError, TargetResolver,
};

use crate::kit::*;

/// Small process manager: resolves hosts that a test sets, and counts lookups.
#[derive(Default)]
struct Manager {
    hosts: Mutex<HashMap<String, Result<Resolved, ResolverError>>>,
    asked: Mutex<Vec<String>>,
    /// The question that finds one waits there.
    gate: Mutex<Option<Gate>>,
}

impl TargetResolver for Manager {
    fn resolve(&self, host: &str) -> Result<Resolved, ResolverError> {
        self.asked.lock().unwrap().push(host.to_owned());
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            gate.pass();
        }
        match host {
            "panic.test" => panic!("a resolver's own mistake"),
            _ => self.hosts.lock().unwrap().get(host).cloned().unwrap_or(Ok(Resolved::Unknown)),
        }
    }
}

impl Manager {
    fn run(&self, host: &str, targets: &[(&str, bool)]) {
        let targets = targets
            .iter()
            .map(|(target, healthy)| ResolvedTarget {
                target: Target::parse(target).unwrap(),
                healthy: *healthy,
            })
            .collect();
        self.hosts.lock().unwrap().insert(host.into(), Ok(Resolved::Targets(targets)));
    }

    fn fail(&self, host: &str) {
        self.hosts.lock().unwrap().insert(host.into(), Err(ResolverError::new("it is down")));
    }

    fn forget(&self, host: &str) {
        self.hosts.lock().unwrap().remove(host);
    }

    fn times_asked(&self, host: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == host).count()
    }
}

fn gateway(driver: Driver, manager: &Arc<Manager>, build: impl FnOnce(Builder) -> Builder) -> Handle {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let builder = Gateway::builder().http(vec!["127.0.0.1:0".parse().unwrap()]).driver(driver);
    build(builder.workers(2).pin(false).resolver(manager.clone())).spawn().unwrap()
}

fn get(gateway: &Handle, host: &str) -> Message {
    Client::connect(gateway.http_addresses()[0]).get(host, "/")
}

on_both_drivers! {
    fn a_host_is_served_by_the_targets_of_the_resolver(driver) {
        let origin = Origin::named("a");
        let manager = Arc::new(Manager::default());
        manager.run("app.test", &[(&origin.target(), true), ("http://127.0.0.1:1", false)]);
        let gateway = gateway(driver, &manager, |builder| builder);
        let answer = get(&gateway, "App.Test.:80");
        assert_eq!((answer.status(), answer.text()), (200, "a".into()));
        assert_eq!(manager.asked.lock().unwrap().first().map(String::as_str), Some("app.test"));
        assert_eq!(get(&gateway, "other.test").status(), 404);
        assert_eq!(get(&gateway, "127.0.0.1").status(), 404, "an address is nobody's host name");
        assert!(origin.one_request().field("x-forwarded-host").is_some());
    }

    fn many_requests_ask_once(driver) {
        let origin = Origin::named("a");
        let gate = Gate::new();
        let manager = Arc::new(Manager { gate: Mutex::new(Some(gate.clone())), ..Manager::default() });
        manager.run("app.test", &[(&origin.target(), true)]);
        let gateway = gateway(driver, &manager, |builder| builder);
        let mut clients: Vec<_> = (0..32).map(|_| Client::connect(gateway.http_addresses()[0])).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        }
        eventually("somebody asks", || (manager.times_asked("app.test") > 0).then_some(()));
        gate.open();
        for client in &mut clients {
            assert_eq!(client.response("GET").status(), 200);
        }
        // A host in use is asked for again about once a second, and no more often.
        assert!(manager.times_asked("app.test") < clients.len(), "{}", manager.times_asked("app.test"));
    }

    fn a_later_result_of_the_resolver_replaces_the_earlier(driver) {
        let (first, second) = (Origin::named("first"), Origin::named("second"));
        let manager = Arc::new(Manager::default());
        manager.run("app.test", &[(&first.target(), true)]);
        let gateway = gateway(driver, &manager, |builder| builder);
        assert_eq!(get(&gateway, "app.test").text(), "first");
        manager.run("app.test", &[(&second.target(), true)]);
        eventually("the app has moved", || (get(&gateway, "app.test").text() == "second").then_some(()));
        manager.run("app.test", &[(&second.target(), false)]);
        eventually("the app is not healthy", || (get(&gateway, "app.test").status() == 503).then_some(()));
        manager.forget("app.test");
        eventually("the app is gone", || (get(&gateway, "app.test").status() == 404).then_some(()));
        manager.run("app.test", &[(&second.target(), true)]);
        eventually("the app is back", || (get(&gateway, "app.test").text() == "second").then_some(()));
    }

    fn a_resolver_that_fails_leaves_what_is_known(driver) {
        let origin = Origin::named("a");
        let manager = Arc::new(Manager::default());
        manager.run("app.test", &[(&origin.target(), true)]);
        let gateway = gateway(driver, &manager, |builder| builder);
        assert_eq!(get(&gateway, "app.test").status(), 200);
        manager.fail("app.test");
        manager.fail("new.test");
        let asked = manager.times_asked("app.test");
        eventually("it was asked again", || {
            assert_eq!(get(&gateway, "app.test").status(), 200);
            (manager.times_asked("app.test") > asked + 1).then_some(())
        });
        let answer = get(&gateway, "new.test");
        assert_eq!((answer.status(), answer.field("retry-after")), (503, Some("1")));
        assert!(answer.text().contains("\"unresolved\""), "{}", answer.text());
        assert_eq!(get(&gateway, "panic.test").status(), 503);
        assert_eq!(get(&gateway, "other.test").status(), 404, "a panic is one answer less and nothing else");
    }

    fn a_resolver_that_hangs_is_not_waited_for_for_ever(driver) {
        let origin = Origin::named("a");
        let gate = Gate::new();
        let manager = Arc::new(Manager { gate: Mutex::new(Some(gate.clone())), ..Manager::default() });
        let gateway = gateway(driver, &manager, |builder| builder);
        gateway.register_app("app", &origin.target()).unwrap();
        gateway.register_domain("registered.test", "app", None).unwrap();
        let mut client = Client::connect(gateway.http_addresses()[0]);
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        eventually("it is asked", || (manager.times_asked("app.test") > 0).then_some(()));
        assert_eq!(get(&gateway, "registered.test").status(), 200);
        assert_eq!(client.response("GET").status(), 503);
        gate.open();
        eventually("it answers again", || (get(&gateway, "app.test").status() == 404).then_some(()));
    }

    fn a_registered_domain_goes_first(driver) {
        let (registered, resolved) = (Origin::named("registered"), Origin::named("resolved"));
        let manager = Arc::new(Manager::default());
        manager.run("app.test", &[(&resolved.target(), true)]);
        let gateway = gateway(driver, &manager, |builder| builder);
        assert_eq!(get(&gateway, "app.test").text(), "resolved");
        gateway.register_app("app", &registered.target()).unwrap();
        gateway.register_domain("app.test", "app", None).unwrap();
        for _ in 0..4 {
            assert_eq!(get(&gateway, "app.test").text(), "registered");
        }
        let name = ringway::model::Hostname::parse("app.test").unwrap();
        let change = ringway::model::Change::RemoveDomain { name };
        gateway.client().submit(ringway::Submission::of(change)).unwrap();
        assert_eq!(get(&gateway, "app.test").text(), "resolved");
        assert!(gateway.shutdown(Duration::from_secs(10)).unwrap());
    }

    fn a_target_with_a_name_is_resolved_before_it_is_sent_to(driver) {
        let origin = Origin::named("a");
        let manager = Arc::new(Manager::default());
        let port = origin.address().port();
        manager.run("app.test", &[(&format!("http://localhost:{port}"), true)]);
        let gateway = gateway(driver, &manager, |builder| builder);
        assert_eq!(get(&gateway, "app.test").text(), "a");
    }

    fn a_process_manager_is_asked_over_http(driver) {
        let origin = Origin::named("a");
        let manager = {
            let target = origin.target();
            Origin::http(move |request, connection| {
                let (status, body) = match request.target() {
                    "/find?host=app.test" => (200, format!(r#"{{"targets":[{{"target":"{target}"}}]}}"#)),
                    "/find?host=broken.test" => (200, "no JSON".to_owned()),
                    "/find?host=failing.test" => (500, String::new()),
                    _ => (404, String::new()),
                };
                connection.reply(status, body.as_bytes());
                After::Close
            })
        };
        let url = format!("{}/find", manager.target());
        let proxy = Proxy::on(driver).env("PROXY_RESOLVER_URL", &url).start();
        let get = |host: &str| proxy.get(host, "/");
        assert_eq!(get("app.test").text(), "a");
        assert_eq!(get("other.test").status(), 404);
        assert_eq!(get("broken.test").status(), 503);
        assert_eq!(get("failing.test").status(), 503);
        // The log is written by another thread than the responses.
        eventually("a failure is logged", || {
            let log = proxy.log().concat();
            (log.contains("status 500") || log.contains("not in the expected format")).then_some(())
        });
    }
}

#[test]
fn a_process_manager_has_ringway_inside() {
    // The example as a user runs it: document 001 whole, with apps as processes of their own.
    let mut manager = Example::start();
    let shop = manager.get("shop.localhost");
    assert!(shop.starts_with("shop.localhost, process "), "{shop}");
    assert!(manager.get("blog.localhost").starts_with("blog.localhost, process "));
    manager.say("restart shop");
    let restarted = eventually("the shop runs again", || {
        Some(manager.get("shop.localhost"))
            .filter(|text| text.starts_with("shop.localhost, process "))
            .filter(|text| *text != shop)
    });
    assert_ne!(restarted, shop);
    manager.say("stop shop");
    eventually("the shop does not run", || {
        manager.get("shop.localhost").contains("not_running").then_some(())
    });
    assert!(manager.get("blog.localhost").starts_with("blog.localhost, process "));
    manager.say("start shop");
    eventually("the shop runs", || {
        manager.get("shop.localhost").starts_with("shop.localhost, process ").then_some(())
    });
    assert!(manager.end().success());
}

/// The example `process_manager`, in a process of its own.
struct Example {
    child: Child,
    /// Address and CA in the curl command, by host.
    port: u16,
    ca: PathBuf,
}

impl Example {
    fn start() -> Self {
        let program = build();
        let mut child = Command::new(&program)
            .arg("0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = words[4].split(':').nth(1).unwrap().parse().unwrap();
        Self { ca: words[2].into(), port, child }
    }

    fn say(&mut self, command: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    fn get(&self, host: &str) -> String {
        let to = (std::net::Ipv4Addr::LOCALHOST, self.port).into();
        let mut client = Tls::trusting(&std::fs::read_to_string(&self.ca).unwrap(), host).connect(to);
        client.get(host, "/").text()
    }

    fn end(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        // Its further output must not fill the pipe.
        std::io::copy(self.child.stdout.as_mut().unwrap(), &mut std::io::sink()).unwrap();
        self.child.wait().unwrap()
    }
}

/// The example's program. Tests are run without their examples, so it is built here, with what was built for
/// the tests.
fn build() -> PathBuf {
    let profile = Path::new(env!("CARGO_BIN_EXE_ringway")).parent().unwrap();
    let arguments = ["build", "--quiet", "--locked", "--workspace", "--example", "process_manager"];
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--target-dir")
        .arg(profile.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success(), "cargo {}", arguments.join(" "));
    profile.join("examples/process_manager")
}

impl Drop for Example {
    fn drop(&mut self) {
        // It has ended where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
