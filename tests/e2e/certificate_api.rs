//! Certificates in the API, the commands, the status and the metrics.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::kit::pebble::{Habits, Pebble};
use crate::kit::tls::{Pair, presented};
use crate::kit::*;

/// A process with TLS, where `app.test` and `other.test` lead to an app.
fn stage(driver: Driver, origin: &Origin) -> (Proxy, Authority) {
    let proxy = Proxy::on(driver).env("PROXY_HTTPS_PORT", "0").start();
    proxy.serve("app", "app.test", origin);
    proxy.api().domain("other.test", "app", None);
    (proxy, Authority::new("the tests' own"))
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

fn served(proxy: &Proxy, authority: &Authority, name: &str) -> Option<Vec<u8>> {
    Tls::new(authority, name).stream(proxy.https()).ok().map(|stream| presented(&stream))
}

fn metric(proxy: &Proxy, series: &str) -> Option<u64> {
    let text = proxy.api().get("/metrics").is(200).message.text().to_owned();
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// The files of a pair, in the process's own folder.
fn files(proxy: &Proxy, pair: &Pair) -> [String; 2] {
    let (certificate, key) = pair.write(proxy.store().parent().unwrap(), "pair");
    [certificate, key].map(|path| path.to_str().unwrap().to_owned())
}

on_both_drivers! {
    fn certificates_are_kept_from_a_terminal(driver) {
        let origin = Origin::named("a");
        let (proxy, authority) = stage(driver, &origin);
        let pair = authority.server(&["app.test"]);
        let [certificate, key] = files(&proxy, &pair);
        let upload = ["certificates", "upload", "app.test", "--cert", &certificate, "--key", &key];
        let output = proxy.command(&upload);
        assert!(output.status.success() && said(&output).contains("served by every core"), "{}", said(&output));
        assert_eq!(served(&proxy, &authority, "app.test"), Some(pair.der()));

        let list = said(&proxy.command(&["certificates", "list"]));
        let line = list.lines().find(|line| line.starts_with("app.test")).unwrap();
        assert!(line.contains("provided") && line.contains("Z"), "{list}");
        let list = said(&proxy.command(&["certificates", "list", "--state", "provided"]));
        assert!(list.contains("app.test") && !list.contains("other.test"), "{list}");
        let shown = said(&proxy.command(&["certificates", "show", "app.test"]));
        assert!(shown.contains("the tests' own"), "{shown}");
        assert!(said(&proxy.command(&["status"])).contains("1 provided"));

        // The files the wrong way round, a file that is not there, a name that it is not for.
        let output = proxy.command(&["certificates", "upload", "app.test", "--cert", &key, "--key", &certificate]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("The certificate cannot be used"), "{}", said(&output));
        let output = proxy.command(&["certificates", "upload", "app.test", "--cert", "/nowhere", "--key", &key]);
        assert!(!output.status.success() && said(&output).contains("/nowhere"), "{}", said(&output));
        let output = proxy.command(&["certificates", "upload", "other.test", "--cert", &certificate, "--key", &key]);
        assert!(!output.status.success() && said(&output).contains("other.test"), "{}", said(&output));
        assert_eq!(served(&proxy, &authority, "app.test"), Some(pair.der()));

        let output = proxy.command(&["certificates", "remove", "app.test"]);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(served(&proxy, &authority, "app.test"), None);
        let output = proxy.command(&["certificates", "remove", "app.test"]);
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert_eq!(proxy.get("app.test", "/").text(), "a", "and plain HTTP goes on");
    }

    fn what_an_upload_changes_is_seen_everywhere(driver) {
        let origin = Origin::named("a");
        let (proxy, authority) = stage(driver, &origin);
        let pair = authority.server(&["app.test"]);
        let body = json!({ "domain": "app.test", "certificate": pair.certificate, "key": pair.key });
        let before = proxy.api().get("/api/status").is(200).revision();
        // A condition of another revision is refused before anything happens.
        let stale = [("If-Match", "\"1\"")];
        proxy.api().call_with("POST", "/api/tenants/domains/certificate", &stale, Some(&body)).is(412);
        assert_eq!(served(&proxy, &authority, "app.test"), None);
        let answer = proxy.api().post("/api/tenants/domains/certificate", &body).is(200);
        assert_eq!(answer.revision(), before + 1);
        assert_eq!(answer.json["names"], json!(["app.test"]));

        let domain = proxy.api().get("/api/tenants/domains/app.test").is(200).json;
        assert_eq!(domain["certificate_status"], "provided");
        assert_eq!(domain["certificate_expiry"], answer.json["expires_at"]);
        assert_eq!(domain["certificate"]["fingerprint"], answer.json["fingerprint"]);
        let page = proxy.api().get("/api/status/certificates?state=provided").is(200).json;
        assert_eq!((&page["total"], &page["certificates"][0]["domain"]), (&json!(1), &json!("app.test")));
        assert_eq!(page["overview"]["states"]["provided"], 1);
        assert_eq!(proxy.api().get("/api/status").is(200).json["certificates"], page["overview"]);

        assert_eq!(metric(&proxy, "ringway_certificate_domains{state=\"provided\"}"), Some(1));
        let ends = metric(&proxy, "ringway_certificate_expiry_timestamp_seconds{domain=\"app.test\"}");
        assert!(ends.is_some_and(|seconds| seconds > 1_700_000_000), "{ends:?}");
        eventually("every core tells that it has what was published", || {
            let published = metric(&proxy, "ringway_published_serial")?;
            (metric(&proxy, "ringway_core_serial{core=\"0\"}")? == published).then_some(())
        });

        // The operator's choice of a certificate survives a restart.
        let proxy = proxy.stop().start();
        let domain = proxy.api().get("/api/tenants/domains/app.test").is(200).json;
        assert_eq!(domain["certificate"]["mode"], "provided");
        assert_eq!(served(&proxy, &authority, "app.test"), Some(pair.der()));
        let told = || {
            let domain = proxy.api().get("/api/tenants/domains/app.test").is(200).json;
            (domain["certificate_expiry"] == answer.json["expires_at"]).then_some(())
        };
        eventually("the certificate was read", told);
    }

    fn an_issued_certificate_is_reported_everywhere(driver) {
        let http = pebble::free_address().port();
        let pebble = Pebble::start(Habits::at(http));
        let proxy = Proxy::on(driver)
            .env("PROXY_HTTPS_PORT", "0")
            .env("PROXY_HTTP_PORT", &http.to_string())
            .env("ACME_CHALLENGE_PORT", &http.to_string())
            .env("ACME_DIRECTORY_URL", &pebble.directory())
            .env("ACME_CA_BUNDLE", pebble.bundle().to_str().unwrap())
            .env("DNS_RESOLVER", &pebble.names().dns.to_string())
            .start();
        let origin = Origin::named("a");
        proxy.serve("app", "app.test", &origin);
        proxy.api().domain("plain.test", "app", None);
        proxy.api().put("/api/tenants/domains/plain.test", &json!({ "certificate": "none" })).is(200);
        let domain = eventually_within(SOON_ON_DISK, "the certificate is issued", || {
            let domain = proxy.api().get("/api/tenants/domains/app.test").is(200).json;
            (domain["certificate_status"] == "active").then_some(domain)
        });
        let certificate = &domain["certificate"];
        assert_eq!((&domain["verified"], &certificate["mode"]), (&json!(true), &json!("acme")));
        assert_eq!(certificate["expires_at"], domain["certificate_expiry"]);
        assert!(certificate["renew_at"].is_string() && certificate["issuer"].is_string(), "{certificate}");
        let page = proxy.api().get("/api/status/certificates?state=active").is(200).json;
        assert_eq!((&page["total"], &page["certificates"][0]["domain"]), (&json!(1), &json!("app.test")));
        let overview = &page["overview"];
        assert_eq!((&overview["states"]["active"], &overview["states"]["none"]), (&json!(1), &json!(1)));
        assert_eq!(overview["authorities"][0]["url"], pebble.directory());
        assert_eq!(overview["authorities"][0]["usable"], true);
        let budgets = overview["budgets"].as_array().unwrap();
        assert!(budgets.iter().any(|budget| budget["left"].as_u64() < budget["capacity"].as_u64()), "{overview}");
        assert_eq!(metric(&proxy, "ringway_certificate_domains{state=\"active\"}"), Some(1));

        let shown = said(&proxy.command(&["certificates", "show", "app.test"]));
        assert!(shown.contains("active") && shown.contains("Pebble") && shown.contains("ready"), "{shown}");
        let budgets = said(&proxy.command(&["certificates", "budgets"]));
        assert!(budgets.contains(&pebble.directory()) && budgets.contains("usable"), "{budgets}");
        let verified = said(&proxy.command(&["certificates", "verify", "app.test"]));
        assert!(verified.contains("ready") && verified.contains("127.0.0.1"), "{verified}");

        // A certificate of one's own takes its place, and is given back to the CA.
        let pair = Authority::new("the tests' own").server(&["app.test"]);
        let [chain, key] = files(&proxy, &pair);
        let upload = ["certificates", "upload", "app.test", "--cert", &chain, "--key", &key];
        assert!(proxy.command(&upload).status.success());
        let domain = proxy.api().get("/api/tenants/domains/app.test").is(200).json;
        assert_eq!(domain["certificate_status"], "provided");
        proxy.api().delete("/api/tenants/domains/app.test/certificate", &json!({})).is(204);
        eventually_within(SOON_ON_DISK, "the CA has issued again", || {
            let domain = proxy.api().get("/api/tenants/domains/app.test").is(200).json;
            let issuer = domain["certificate"]["issuer"].as_str()?.to_owned();
            (domain["certificate_status"] == "active" && issuer.contains("Pebble")).then_some(())
        });
    }

    fn a_domain_of_the_default_certificate_is_listed_with_its_end(driver) {
        let authority = Authority::new("the tests' own");
        let builder = Proxy::on(driver).env("PROXY_HTTPS_PORT", "0");
        let (certificate, key) = authority.server(&["app.test"]).write(builder.folder(), "default");
        let proxy = builder
            .env("PROXY_TLS_CERT", certificate.to_str().unwrap())
            .env("PROXY_TLS_KEY", key.to_str().unwrap())
            .start();
        let origin = Origin::named("a");
        proxy.serve("app", "app.test", &origin);
        let domain = proxy.api().get("/api/tenants/domains/app.test").is(200).json;
        assert_eq!(domain["certificate_status"], "default");
        assert!(domain["certificate_expiry"].is_string() && domain["certificate"]["reason"].is_null(), "{domain:#}");
        let page = proxy.api().get("/api/status/certificates?state=default").is(200).json;
        assert_eq!((&page["total"], &page["overview"]["states"]["default"]), (&json!(1), &json!(1)));
        assert_eq!(page["certificates"][0]["expires_at"], page["overview"]["default"]["expires_at"]);
        let list = said(&proxy.command(&["certificates", "list", "--state", "default"]));
        let line = list.lines().find(|line| line.starts_with("app.test")).unwrap();
        assert!(line.contains("default") && line.contains('Z') && !line.contains("upload"), "{list}");
        assert_eq!(metric(&proxy, "ringway_certificate_domains{state=\"default\"}"), Some(1));
        let ends = metric(&proxy, "ringway_certificate_expiry_timestamp_seconds{domain=\"app.test\"}");
        assert!(ends.is_some_and(|seconds| seconds > 1_700_000_000), "{ends:?}");
        assert!(served(&proxy, &authority, "app.test").is_some());
    }

    fn an_operators_certificate_that_has_expired_stops_the_start(driver) {
        let authority = Authority::new("the tests' own");
        let builder = Proxy::on(driver).env("PROXY_HTTPS_PORT", "0");
        let (certificate, key) = authority.expired(&["app.test"]).write(builder.folder(), "old");
        let builder = builder
            .env("PROXY_TLS_CERT", certificate.to_str().unwrap())
            .env("PROXY_TLS_KEY", key.to_str().unwrap());
        for (arguments, code) in [(&["run"][..], 1), (&["check"], 1)] {
            let builder = arguments.iter().fold(builder.again(), |builder, argument| builder.arg(argument));
            let output = builder.run();
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
            assert!(said(&output).contains("old.pem") && said(&output).contains("expired"), "{}", said(&output));
        }
        // Half of the pair is a mistake in the settings.
        let output = builder.again().env("PROXY_TLS_KEY", "").arg("run").run();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("PROXY_TLS_KEY"), "{}", said(&output));
    }
}

/// The command that the demo prints works, and the demo ends cleanly.
#[test]
fn the_demo_serves_https() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args([
            "demo",
            "--tls",
            "--http-port=0",
            "--https-port=0",
            "--api-port=0",
            "--workers=1",
            "--driver=epoll",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut out = BufReader::new(demo.stdout.take().unwrap());
    let line = loop {
        let before = said.len();
        assert!(out.read_line(&mut said).unwrap() > 0, "no such line in {said}");
        let line = said[before..].trim();
        if line.starts_with("curl --cacert") {
            break line.split("  #").next().unwrap().trim().to_owned();
        }
    };
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let mut arguments =
        vec!["--silent", "--show-error", "--max-time", "20", "--retry", "5", "--retry-connrefused"];
    arguments.extend(words);
    let output = Command::new("curl").args(arguments).output().unwrap();
    let answer =
        String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned();
    assert!(output.status.success() && answer.contains("shop"), "{line}: {answer}");
    // Its further output must be read until it ends.
    let rest = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    let interrupted = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert!(demo.wait().unwrap().success());
    rest.join().unwrap().unwrap();
}
