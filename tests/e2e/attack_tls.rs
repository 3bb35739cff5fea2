//! Findings of attacks on TLS, certificates and server names.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::kit::h2::{H2, serving};
use crate::kit::tls::{Pair, presented};
use crate::kit::*;

/// The types of a TLS record (RFC 8446 §5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

fn secure(driver: Driver, origin: &Origin) -> (Proxy, Authority) {
    let proxy = Proxy::on(driver).env("PROXY_HTTPS_PORT", "0").start();
    proxy.serve("app", "app.test", origin);
    (proxy, Authority::new("the tests' own"))
}

fn body(pair: &Pair) -> Value {
    json!({ "domain": "app.test", "certificate": pair.certificate, "key": pair.key })
}

const UPLOAD: &str = "/api/tenants/domains/certificate";

fn is_private(path: &Path) -> bool {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0
}

on_both_drivers! {
    /// `app.test.` is what a client of `https://app.test./` may ask for, though it should not.
    fn a_name_with_a_dot_at_its_end_is_the_same_name(driver) {
        let origin = Origin::named("a");
        let (proxy, authority) = secure(driver, &origin);
        proxy.api().post(UPLOAD, &body(&authority.server(&["app.test"]))).is(200);
        let answer = |ending: &[u8]| {
            let mut hello = Tls::new(&authority, "app.testx").hello();
            let at = hello.windows(9).position(|name| name == b"app.testx").unwrap();
            hello[at + 8..at + 9].copy_from_slice(ending);
            let mut client = Client::connect(proxy.https());
            client.send(hello);
            client.exactly(1)[0]
        };
        assert_eq!(answer(b"y"), ALERT, "nobody has that name");
        assert_eq!(answer(b"."), HANDSHAKE);
    }

    /// Some CGI servers make `_` of every mark, so that all of these are `HTTP_X_CLIENT_CERT_VERIFIED` to an
    /// app.
    fn no_spelling_disguises_a_field_about_the_client(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut request = String::from("POST / HTTP/1.1\r\nHost: app.test\r\nX.Kept: yes\r\nTransfer-Encoding: chunked\r\n");
        let mut trailers = String::new();
        for mark in "!#$%&'*+.^`|~".chars() {
            for name in ["X-Client-Cert-Verified", "X-Tenant-ID", "X-Forwarded-For", "X-Real-IP", "X-Original-Host"] {
                if (usize::from(mark as u8) + name.len()) % 2 == 0 {
                    request += &format!("{}: forged\r\n", name.replace('-', &mark.to_string()));
                } else {
                    request += &format!("{}: forged\r\n", name.replacen('-', &mark.to_string(), 1));
                }
            }
            trailers += &format!("X{mark}Client{mark}Cert-Subject: forged\r\n");
        }
        let mut client = proxy.client();
        client.send(format!("{request}\r\n1\r\nx\r\n0\r\n{trailers}X.Digest: kept\r\n\r\n"));
        assert_eq!(client.response("POST").status(), 200);
        let request = origin.one_request();
        let forged: Vec<_> = request.fields.iter().filter(|(_, value)| value == "forged").collect();
        assert!(forged.is_empty(), "{forged:?}");
        assert_eq!(request.field("x.kept"), Some("yes"), "others with marks are what they are");
    }

    /// A connection no longer serves a domain after the domain is removed.
    fn a_connection_loses_the_name_that_it_was_made_for(driver) {
        let origin = Origin::named("a");
        let proxy = serving(driver, &origin);
        proxy.api().domain("same.test", "app", None);
        proxy.api().domain("tenant.test", "app", Some("tenant"));
        let mut client = H2::connect(&proxy);
        let mut status = |name: &str| {
            let stream = client.get(name, "/");
            client.response(stream).status()
        };
        assert_eq!((status("app.test"), status("same.test"), status("tenant.test")), (200, 200, 421));
        // The same name becomes another tenant's: so does the connection.
        proxy.api().put("/api/tenants/domains/app.test", &json!({ "tenant_id": "tenant" })).is(200);
        assert_eq!((status("app.test"), status("same.test"), status("tenant.test")), (200, 421, 200));
        proxy.api().delete("/api/tenants/domains", &json!({ "domain": "app.test" }));
        assert_eq!((status("app.test"), status("same.test"), status("tenant.test")), (404, 421, 421));
    }

    /// A certificate that no client would accept is rejected at the upload.
    fn a_certificate_that_is_not_for_servers_is_refused(driver) {
        let origin = Origin::named("a");
        let (proxy, authority) = secure(driver, &origin);
        let good = authority.server(&["app.test"]);
        proxy.api().post(UPLOAD, &body(&good)).is(200);
        let wrong = authority.for_clients_only(&["app.test"]);
        let answer = proxy.api().post(UPLOAD, &body(&wrong)).is(422);
        assert!(answer.json["detail"].as_str().unwrap().contains("serverAuth"), "{}", answer.json);
        let nameless = proxy.api().post(UPLOAD, &body(&authority.client("app.test"))).is(422);
        assert!(nameless.json["detail"].as_str().unwrap().contains("must name app.test"), "{}", nameless.json);
        let served = Tls::new(&authority, "app.test").stream(proxy.https()).unwrap();
        assert_eq!(presented(&served), good.der());

        let builder = Proxy::on(driver).env("PROXY_HTTPS_PORT", "0");
        let (certificate, key) = wrong.write(builder.folder(), "wrong");
        let output = builder
            .env("PROXY_TLS_CERT", certificate.to_str().unwrap())
            .env("PROXY_TLS_KEY", key.to_str().unwrap())
            .arg("run")
            .run();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success() && said.contains("wrong.pem") && said.contains("serverAuth"), "{said}");
    }

    /// A file without an end is not read to its end.
    fn the_command_reads_no_more_than_could_be_uploaded(driver) {
        let proxy = Proxy::start(driver);
        let arguments = ["certificates", "upload", "app.test", "--cert", "/dev/zero", "--key", "/dev/zero"];
        let output = proxy.command(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("/dev/zero") && said.contains("bytes"), "{said}");
    }

    /// Other users of the machine must not read the secret of an app's deliveries.
    fn copies_of_the_store_have_its_permissions(driver) {
        const SECRET: &str = "correct-horse-battery";
        let builder = Proxy::on(driver);
        // A folder that was there before, open to all.
        std::fs::create_dir(builder.store()).unwrap();
        std::fs::set_permissions(builder.store(), PermissionsExt::from_mode(0o755)).unwrap();
        let proxy = builder.start();
        proxy.api().post("/api/apps/register", &json!({ "app_id": "app" })).is(201);
        let webhook = json!({ "app_id": "app", "url": "http://127.0.0.1:1/", "secret": SECRET });
        proxy.api().post("/api/webhooks", &webhook).is(201);
        let builder = proxy.stop();
        let copy = builder.store().join("export.jsonl");
        assert!(std::fs::read_to_string(&copy).unwrap().contains(SECRET), "what this test is about");
        assert!(is_private(&copy));
        let (file, store) = (builder.folder().join("moved.jsonl"), builder.store());
        // Left over from an earlier try.
        std::fs::write(builder.folder().join("moved.jsonl.part"), "").unwrap();
        let output = builder.again().arg("export").arg(file.to_str().unwrap()).run();
        assert!(output.status.success(), "{}: {}", store.display(), String::from_utf8_lossy(&output.stderr));
        assert!(std::fs::read_to_string(&file).unwrap().contains(SECRET));
        assert!(is_private(&file));
    }

    /// Chain and key of different uploads are never combined, whenever the process is killed.
    fn a_process_killed_between_uploads_serves_one_of_them(driver) {
        let origin = Origin::named("a");
        let (mut proxy, authority) = secure(driver, &origin);
        let pairs = [authority.server(&["app.test"]), authority.server(&["app.test"])];
        proxy.api().post(UPLOAD, &body(&pairs[1])).is(200);
        for round in 0..4 {
            let api = proxy.api();
            let (told, heard) = std::sync::mpsc::channel();
            let bodies = [body(&pairs[0]), body(&pairs[1])];
            let address = api.address();
            let uploads = std::thread::spawn(move || {
                for turn in 0.. {
                    let text = bodies[turn % 2].to_string();
                    let Ok(mut client) = Client::try_connect(address) else { return };
                    let request = format!(
                        "POST {UPLOAD} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
                         Content-Length: {}\r\n\r\n{text}",
                        text.len()
                    );
                    let done = client.try_send(request).is_ok() && client.try_response("POST").is_ok_and(|answer| answer.status() == 200);
                    if !done || told.send(turn).is_err() {
                        return;
                    }
                }
            });
            for _ in 0..=round {
                heard.recv().unwrap();
            }
            let builder = proxy.kill9();
            uploads.join().unwrap();
            let last = heard.try_iter().last().unwrap_or(round);
            proxy = builder.start();
            let served = presented(&Tls::new(&authority, "app.test").stream(proxy.https()).unwrap());
            // The last one that was answered, or the one after it, which was under way.
            assert!([last, last + 1].iter().any(|turn| served == pairs[turn % 2].der()), "round {round}");
        }
    }
}
