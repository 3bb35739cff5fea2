//! Integration of the process: service manager, unix socket, log files, moving a store, the demo.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use crate::kit::*;

on_both_drivers! {
    fn the_service_manager_is_notified(driver) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let told = |what: &str| {
            let mut bytes = [0; 4096];
            eventually(what, || {
                let count = socket.recv(&mut bytes).unwrap();
                String::from_utf8_lossy(&bytes[..count]).lines().any(|line| line == what).then_some(())
            });
        };
        let mut proxy = Proxy::on(driver)
            .env("NOTIFY_SOCKET", path.to_str().unwrap())
            .env("WATCHDOG_USEC", "1000000")
            .start();
        told("READY=1");
        told("WATCHDOG=1");
        told("WATCHDOG=1");
        proxy.sigterm();
        told("STOPPING=1");
        assert!(proxy.wait_exit().success());
    }

    fn the_admin_api_answers_on_a_unix_socket_too(driver) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let proxy = Proxy::on(driver).env("PROXY_API_SOCKET", path.to_str().unwrap()).start();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "others may not use it: {mode:o}");
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        proxy.stop();
        assert!(!path.exists(), "a clean end leaves no socket behind");
    }

    fn log_files_are_reopened_on_sighup(driver) {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("ACCESS_LOG", path.to_str().unwrap()).start();
        proxy.serve("app", "app.test", &origin);
        let written = |path: &std::path::Path, word: &str| std::fs::read_to_string(path).is_ok_and(|text| text.contains(word));
        proxy.get("app.test", "/before");
        eventually("the first line", || written(&path, "/before").then_some(()));
        std::fs::rename(&path, &rotated).unwrap();
        proxy.signal(libc::SIGHUP);
        eventually("a new file", || path.exists().then_some(()));
        proxy.get("app.test", "/after");
        eventually("the next line", || written(&path, "/after").then_some(()));
        assert!(!written(&rotated, "/after"));
    }

    fn a_clean_end_writes_the_last_lines_of_the_access_log(driver) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("ACCESS_LOG", path.to_str().unwrap()).start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        for number in 0..100 {
            client.get("app.test", &format!("/{number}"));
        }
        proxy.stop();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert_eq!(lines, 100);
    }
}

/// Each export is one revision, whole, and not older than what was acknowledged before it.
#[test]
fn a_store_is_exported_beside_a_running_proxy() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(Driver::Epoll);
    proxy.api().register("app", "app-1", &origin.target());
    let store = proxy.store();
    let folder = store.parent().unwrap();
    for round in 0..4 {
        let file = folder.join(format!("export-{round}"));
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let before = proxy.api().get("/api/status").is(200).revision();
        std::thread::scope(|scope| {
            let proxy = &proxy;
            // Changes happen meanwhile.
            scope.spawn(move || {
                let mut count = 0;
                while is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) && count < 500 {
                    proxy.api().domain(&format!("d{count}.round{round}.test"), "app", None);
                    count += 1;
                }
            });
            let arguments = ["export", file.to_str().unwrap(), "--db-path", store.to_str().unwrap()];
            let output = proxy.command(&arguments);
            drop(done);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.contains("certificates, their keys"), "{said}");
        });
        let text = std::fs::read_to_string(&file).unwrap();
        let head: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert!(head["revision"].as_u64().unwrap() >= before, "{head} after {before}");
        let copy = folder.join(format!("copy-{round}"));
        let arguments = ["import", file.to_str().unwrap(), "--db-path", copy.to_str().unwrap()];
        let output = proxy.command(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(proxy.api().get("/api/status").is(200).json["status"], "ready");
}

#[test]
fn a_store_moves_by_export_and_import() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(Driver::Epoll);
    proxy.serve("app", "app.test", &origin);
    let builder = proxy.stop();
    let file = builder.folder().join("moved.jsonl");
    let file = file.to_str().unwrap();
    let output = builder.again().arg("export").arg(file).run();
    assert!(output.status.success(), "{output:?}");
    let other = Proxy::on(Driver::Epoll);
    let output = other.again().arg("import").arg(file).run();
    assert!(output.status.success(), "{output:?}");
    let proxy = other.start();
    assert_eq!(proxy.get("app.test", "/").text(), "a");
    // A store that is in use, or has something in it, is not imported into.
    let builder = proxy.stop();
    assert!(!builder.again().arg("import").arg(file).run().status.success());
}

#[test]
fn the_demo_serves_its_sample_apps_and_ends_cleanly() {
    let output = Proxy::on(Driver::Epoll)
        .arg("demo")
        .arg("--http-port=0")
        .arg("--api-port=0")
        .arg("--workers=1")
        .arg("--requests=20")
        .run_within(Duration::from_secs(120));
    let said = String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("curl"), "it says what to try: {said}");
}

#[test]
fn https_alone_needs_something_to_serve_it_with() {
    let output = Proxy::on(Driver::Epoll).env("PROXY_HTTP_MODE", "https_only").run();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("PROXY_HTTP_MODE") && said.contains("PROXY_TLS_CERT"), "{said}");
}
