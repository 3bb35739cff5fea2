//! Trial of a configuration: on one core first, reverted by itself when requests fail there.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::kit::identity::Provider;
use crate::kit::tokens::Signer;
use crate::kit::*;

/// A document with one route to an address, on trial for so long.
fn document(address: &str, bake: &str) -> String {
    format!(
        "version: v1\ncanary: {{bake: {bake}}}\nroutes: [{{id: web, host: web.test, pool: web-pool}}]\n\
         pools: [{{id: web-pool, endpoints: [{{address: \"{address}\"}}]}}]\n"
    )
}

/// A process whose file has the origin, under steady load on many connections, so that every core has some.
struct Site {
    proxy: Arc<Proxy>,
    file: std::path::PathBuf,
    is_over: Arc<AtomicBool>,
    load: Option<std::thread::JoinHandle<()>>,
}

impl Site {
    fn start(driver: Driver, origin: &Origin) -> Self {
        let builder = Proxy::on(driver);
        let folder = builder.folder().join("conf.d");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("a.yaml");
        fs::write(&file, document(&origin.address().to_string(), "0s")).unwrap();
        let proxy = Arc::new(builder.env("PROXY_CONFIG", folder.to_str().unwrap()).start());
        let is_over = Arc::new(AtomicBool::new(false));
        let (loaded, over) = (Arc::clone(&proxy), Arc::clone(&is_over));
        let load = std::thread::spawn(move || {
            let mut clients: Vec<Client> = (0..16).map(|_| loaded.client()).collect();
            while !over.load(Ordering::Relaxed) {
                for client in &mut clients {
                    client.get("web.test", "/");
                }
            }
        });
        // The counts of all cores before the trial.
        eventually("both cores have served", || {
            let requests = |core: &str| proxy.metric("ringway_exchanges_total", &[core]);
            (requests("core=\"0\"") > 100.0 && requests("core=\"1\"") > 100.0).then_some(())
        });
        Self { proxy, file, is_over, load: Some(load) }
    }

    fn save(&self, text: &str) {
        let other = self.file.with_extension("new");
        fs::write(&other, text).unwrap();
        fs::rename(&other, &self.file).unwrap();
    }

    fn logged(&self, words: &[&str]) -> String {
        eventually(&format!("a log line with {words:?}"), || {
            self.proxy.log().into_iter().find(|line| words.iter().all(|word| line.contains(word)))
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(load) = self.load.take() {
            let _ = load.join();
        }
    }
}

/// An address that refuses connections.
fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

on_both_drivers! {
    fn a_pool_of_dead_endpoints_is_reverted_by_itself_and_named(driver) {
        let origin = Origin::named("good");
        let site = Site::start(driver, &origin);
        // Without its end the trial would last for the whole test.
        site.save(&document(&dead(), "10m"));
        site.logged(&["configuration on trial on one core"]);
        let line = site.logged(&["configuration reverted"]);
        assert!(line.contains("\"code\":\"worse\"") || line.contains("worse"), "{line}");
        assert_eq!(site.proxy.metric("ringway_trials_reverted_total", &[]), 1.0);
        assert_eq!(site.proxy.metric("ringway_trial_running", &[]), 0.0);
        assert_eq!(site.proxy.metric("ringway_config_drift", &[]), 1.0);
        // All cores route as before.
        for _ in 0..16 {
            assert_eq!(site.proxy.get("web.test", "/").text(), "good");
        }
    }

    fn a_good_configuration_is_promoted_to_all_cores(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let site = Site::start(driver, &one);
        site.save(&document(&two.address().to_string(), "1s"));
        site.logged(&["configuration on trial on one core"]);
        site.logged(&["configuration promoted to all cores"]);
        assert_eq!(site.proxy.metric("ringway_trials_promoted_total", &[]), 1.0);
        for _ in 0..16 {
            assert_eq!(site.proxy.get("web.test", "/").text(), "two");
        }
    }

    fn registrations_of_the_meantime_are_live_on_all_cores(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let site = Site::start(driver, &one);
        site.save(&document(&two.address().to_string(), "10m"));
        site.logged(&["configuration on trial on one core"]);
        site.proxy.serve("app", "app.test", &one);
        for _ in 0..16 {
            assert_eq!(site.proxy.get("app.test", "/").text(), "one");
        }
        assert_eq!(site.proxy.metric("ringway_trial_running", &[]), 1.0);
        // A newer save takes the place of the trial.
        site.save(&document(&one.address().to_string(), "0s"));
        eventually("the trial has ended", || {
            (site.proxy.metric("ringway_trial_running", &[]) == 0.0).then_some(())
        });
        for _ in 0..16 {
            assert_eq!(site.proxy.get("app.test", "/").text(), "one");
            assert_eq!(site.proxy.get("web.test", "/").text(), "one");
        }
    }
    fn requests_on_trial_wait_for_the_first_keys_of_a_new_issuer(driver) {
        let origin = Origin::named("one");
        let site = Site::start(driver, &origin);
        let signer = Signer::es256("k1");
        let provider = Provider::new(&[&signer]);
        let jwt = format!("{{issuer: '{}', audience: api}}", provider.issuer());
        let auth = format!("pool: web-pool, middleware: [{{type: auth, config: {{jwt: {jwt}}}}}]}}]");
        site.save(&document(&origin.address().to_string(), "10m").replace("pool: web-pool}]", &auth));
        site.logged(&["configuration on trial on one core"]);
        let token = provider.token(&signer);
        // Connections that are open at the same time are spread over the cores.
        let mut clients: Vec<_> = (0..32).map(|_| site.proxy.client()).collect();
        let on_trial = clients.iter_mut().filter_map(|client| {
            client.send(format!("GET / HTTP/1.1\r\nHost: web.test\r\nAuthorization: Bearer {token}\r\n\r\n"));
            assert_eq!(client.response("GET").status(), 200, "on both cores");
            // The other core has no authentication.
            (client.get("web.test", "/").status() == 401).then_some(())
        });
        assert!(on_trial.count() > 0, "the trial's core has served some");
        assert_eq!(provider.configuration_requests(), 1);
        assert_eq!(site.proxy.metric("ringway_trial_running", &[]), 1.0);
    }
}
