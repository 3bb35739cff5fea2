//! Uploaded certificates over the life of a process: stored, damaged, removed; and the operator's default
//! certificate files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::kit::pebble::{Habits, Pebble};
use crate::kit::tls::{Pair, presented, put};
use crate::kit::*;

/// Configuration of a process with TLS, with its certificate directory and a test CA.
struct Scene {
    builder: proxy::Builder,
    authority: Authority,
    directory: PathBuf,
}

impl Scene {
    fn new(driver: Driver) -> Self {
        let builder = Proxy::on(driver).env("PROXY_HTTPS_PORT", "0");
        let directory = builder.folder().join("certificates");
        let builder = builder.env("PROXY_CERT_PATH", directory.to_str().unwrap());
        Self { builder, authority: Authority::new("the tests' own"), directory }
    }

    /// With the operator's own certificate.
    fn with_default(mut self, pair: &Pair) -> Self {
        let (certificate, key) = pair.write(self.builder.folder(), "site");
        self.builder = self.builder.env("PROXY_TLS_CERT", certificate.to_str().unwrap());
        self.builder = self.builder.env("PROXY_TLS_KEY", key.to_str().unwrap());
        self
    }

    fn put(&self, name: &str, pair: &Pair) {
        let folder = self.folder(name);
        fs::create_dir_all(&folder).unwrap();
        put(&folder.join("certificate.pem"), &pair.certificate);
        put(&folder.join("key.pem"), &pair.key);
    }

    fn folder(&self, name: &str) -> PathBuf {
        folder(&self.directory, name)
    }
}

fn folder(directory: &Path, name: &str) -> PathBuf {
    directory.join("domains").join(name)
}

fn upload(proxy: &Proxy, name: &str, pair: &Pair) -> api::Answer {
    let body = json!({ "certificate": pair.certificate, "key": pair.key });
    proxy.api().put(&format!("/api/tenants/domains/{name}/certificate"), &body)
}

/// Returns the certificate that is served for a name; `None` if the handshake fails.
fn served(proxy: &Proxy, authority: &Authority, name: &str) -> Option<Vec<u8>> {
    Tls::new(authority, name).stream(proxy.https()).ok().map(|stream| presented(&stream))
}

#[track_caller]
fn serves(proxy: &Proxy, authority: &Authority, name: &str, pair: &Pair) {
    assert_eq!(served(proxy, authority, name), Some(pair.der()), "{name}");
}

on_both_drivers! {
    fn an_upload_is_live_at_once_and_after_every_end(driver) {
        let Scene { builder, authority, .. } = Scene::new(driver);
        let origin = Origin::named("a");
        let proxy = builder.start();
        proxy.serve("app", "app.test", &origin);
        assert_eq!(served(&proxy, &authority, "app.test"), None);
        let (first, second) = (authority.server(&["app.test"]), authority.server(&["app.test"]));
        for pair in [&first, &second] {
            upload(&proxy, "app.test", pair).is(200);
            // Each core has its own memory: none may serve the old one once the call has returned.
            for _ in 0..8 {
                serves(&proxy, &authority, "app.test", pair);
            }
        }
        let mut client = Tls::new(&authority, "app.test").connect(proxy.https());
        assert_eq!(client.get("app.test", "/").text(), "a");

        let proxy = proxy.stop().start();
        serves(&proxy, &authority, "app.test", &second);
        // The same after a crash.
        let proxy = proxy.kill9().start();
        serves(&proxy, &authority, "app.test", &second);
    }

    fn a_removed_domain_takes_its_key_with_it(driver) {
        let Scene { builder, authority, directory } = Scene::new(driver);
        let origin = Origin::named("a");
        let proxy = builder.start();
        proxy.serve("app", "app.test", &origin);
        proxy.api().domain("other.test", "app", None);
        let pair = authority.server(&["app.test", "other.test"]);
        upload(&proxy, "app.test", &pair).is(200);
        upload(&proxy, "other.test", &pair).is(200);
        proxy.api().delete("/api/tenants/domains", &json!({ "domain": "app.test" })).is(204);
        eventually("the key is gone", || (!folder(&directory, "app.test").exists()).then_some(()));
        assert_eq!(served(&proxy, &authority, "app.test"), None);
        serves(&proxy, &authority, "other.test", &pair);
    }

    fn a_refused_upload_is_explained_and_changes_nothing(driver) {
        let Scene { builder, authority, directory } = Scene::new(driver);
        let origin = Origin::named("a");
        let proxy = builder.start();
        proxy.serve("app", "app.test", &origin);
        let good = authority.server(&["app.test"]);
        upload(&proxy, "app.test", &good).is(200);
        let stolen = Pair { certificate: good.certificate.clone(), key: authority.server(&["app.test"]).key };
        let answer = upload(&proxy, "app.test", &stolen);
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert!(answer.message.text().contains("key"), "{answer:?}");
        let answer = upload(&proxy, "app.test", &authority.server(&["other.test"]));
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert!(answer.message.text().contains("other.test"), "{answer:?}");
        serves(&proxy, &authority, "app.test", &good);
        let identity = fs::read_to_string(folder(&directory, "app.test").join("identity.pem")).unwrap();
        assert!(identity.contains(good.key.trim()));
        // Neither the API nor the log has ever shown a key.
        let everything = format!("{}{}", proxy.log().join("\n"), proxy.api().get("/api/status/certificates").message.text());
        assert!(!everything.contains("PRIVATE KEY"));
    }

    fn what_is_on_the_disk_is_served_and_one_damage_harms_one_domain(driver) {
        let scene = Scene::new(driver);
        let origin = Origin::named("a");
        let (good, bad) = (scene.authority.server(&["good.test"]), scene.authority.server(&["bad.test"]));
        scene.put("good.test", &good);
        scene.put("bad.test", &bad);
        put(&scene.folder("bad.test").join("certificate.pem"), "nonsense");
        let Scene { builder, authority, .. } = scene;
        let proxy = builder.start();
        proxy.serve("app", "good.test", &origin);
        proxy.api().domain("bad.test", "app", None);
        eventually("the good one is served", || served(&proxy, &authority, "good.test"));
        serves(&proxy, &authority, "good.test", &good);
        assert_eq!(served(&proxy, &authority, "bad.test"), None);
        let said = || proxy.log().into_iter().find(|line| line.contains("bad.test") && line.contains("cannot be served"));
        eventually("the damage is told", said);
        assert_eq!(proxy.get("bad.test", "/").text(), "a", "and plain HTTP goes on");
        // The next process knows both from the first moment.
        let proxy = proxy.stop().start();
        serves(&proxy, &authority, "good.test", &good);
        assert_eq!(served(&proxy, &authority, "bad.test"), None);
    }

    fn a_directory_that_cannot_be_used_stops_neither_the_start_nor_the_traffic(driver) {
        let scene = Scene::new(driver);
        fs::write(&scene.directory, "a file").unwrap();
        let origin = Origin::named("a");
        let default = scene.authority.server(&["app.test"]);
        let Scene { builder, authority, directory } = scene.with_default(&default);
        let proxy = builder.start();
        proxy.serve("app", "app.test", &origin);
        serves(&proxy, &authority, "app.test", &default);
        assert_eq!(proxy.get("app.test", "/").text(), "a");
        let problem = proxy.api().get("/api/status").is(200).message.text();
        assert!(problem.contains(directory.to_str().unwrap()), "{problem}");
        let answer = upload(&proxy, "app.test", &authority.server(&["app.test"]));
        assert!(answer.status >= 500, "{answer:?}");
        serves(&proxy, &authority, "app.test", &default);
    }

    fn a_start_with_an_operators_certificate_that_cannot_be_served_is_refused(driver) {
        let authority = Authority::new("the tests' own");
        let pair = authority.server(&["app.test"]);
        let start = |pair: &Pair, spoil: fn(&Path)| {
            let scene = Scene::new(driver).with_default(pair);
            spoil(scene.builder.folder());
            let output = scene.builder.run();
            assert!(!output.status.success());
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        let said = start(&pair, |folder| fs::remove_file(folder.join("site.key")).unwrap());
        assert!(said.contains("site.key") && said.contains("No such file"), "{said}");
        let said = start(&pair, |folder| fs::write(folder.join("site.pem"), "nonsense").unwrap());
        assert!(said.contains("site.pem"), "{said}");
        let other = Pair { certificate: pair.certificate.clone(), key: authority.server(&["app.test"]).key };
        let said = start(&other, |_| {});
        assert!(said.contains("site.key") && said.contains("site.pem"), "{said}");
    }

    fn the_operators_files_are_swapped_without_a_restart(driver) {
        let scene = Scene::new(driver);
        let origin = Origin::named("a");
        let (old, new) = (scene.authority.server(&["app.test"]), scene.authority.server(&["app.test"]));
        let Scene { builder, authority, .. } = scene.with_default(&old);
        let proxy = builder.start();
        proxy.serve("app", "app.test", &origin);
        serves(&proxy, &authority, "app.test", &old);
        let mut connected = Tls::new(&authority, "app.test").connect(proxy.https());
        let place = proxy.store().parent().unwrap().to_owned();
        new.write(&place, "site");
        eventually("the new one is served", || {
            (served(&proxy, &authority, "app.test") == Some(new.der())).then_some(())
        });
        assert_eq!(connected.get("app.test", "/").text(), "a", "and a connection of before lives on");
        put(&place.join("site.pem"), "nonsense");
        let said = || proxy.log().into_iter().find(|line| line.contains("cannot be served: the old one stays"));
        eventually("the broken file is told", said);
        serves(&proxy, &authority, "app.test", &new);
    }

    fn a_domain_is_verified_by_its_records_and_by_asking_ourselves(driver) {
        let pebble = Pebble::start(Habits::at(80));
        let http = crate::kit::pebble::free_address().port().to_string();
        let scene = Scene::new(driver);
        let builder = scene
            .builder
            .env("DNS_RESOLVER", &pebble.names().dns.to_string())
            .env("PROXY_HTTP_PORT", &http)
            .env("ACME_CHALLENGE_PORT", &http);
        let origin = Origin::named("a");
        let proxy = builder.start();
        proxy.serve("app", "app.test", &origin);
        let verify = || {
            let body = json!({ "domain": "app.test" });
            proxy.api().post("/api/tenants/domains/verify", &body).is(200).message.text()
        };
        let said = verify();
        assert!(said.contains("\"ready\""), "{said}");
        pebble.names().set_default(None);
        let said = verify();
        assert!(said.contains("\"no_records\"") && said.contains("app.test"), "{said}");
        pebble.names().set_a("app.test", &["127.0.0.1"]);
        pebble.names().set_caa("app.test", "issue", ";");
        let said = verify();
        assert!(said.contains("\"caa_forbids\""), "{said}");
    }
}
