//! Commands: the effective configuration, its errors, and the registry.

use std::process::Command;

use crate::kit::*;

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

fn stdout_json(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", text(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

#[test]
fn help_names_the_settings_and_the_commands() {
    let output = Proxy::on(Driver::Epoll).arg("--help").run();
    assert!(output.status.success());
    let help = text(&output);
    for word in [
        "PROXY_HTTP_PORT",
        "PROXY_API_PORT",
        "PROXY_API_BIND",
        "PROXY_DB_PATH",
        "HEALTH_CHECK_INTERVAL",
        "HEALTH_CHECK_TIMEOUT",
        "HEARTBEAT_TIMEOUT",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "--workers",
        "check",
        "status",
        "apps",
        "instances",
        "domains",
        "demo",
    ] {
        assert!(help.contains(word), "{word} in {help}");
    }
}

#[allow(dead_code)]
#[path = "../../build.rs"]
mod build;

/// A clone as git makes it, a branch in `packed-refs`, a detached HEAD, a second working tree, and no clone
/// at all.
#[test]
fn a_build_knows_its_commit_by_the_files_of_git() {
    let id = "0123456789abcdef0123456789abcdef01234567";
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let commit = |name: &str| build::commit(&home.path().join(name));
    write("loose/.git/HEAD", "ref: refs/heads/main\n");
    write("loose/.git/refs/heads/main", &format!("{id}\n"));
    write("packed/.git/HEAD", "ref: refs/heads/main\n");
    write(
        "packed/.git/packed-refs",
        &format!("# pack-refs\n{} refs/heads/not-main\n{id} refs/heads/main\n", "f".repeat(40)),
    );
    write("detached/.git/HEAD", &format!("{id}\n"));
    write("second/.git", &format!("gitdir: {}\n", home.path().join("loose/.git/worktrees/second").display()));
    write("loose/.git/worktrees/second/HEAD", "ref: refs/heads/side\n");
    write("loose/.git/worktrees/second/commondir", "../..\n");
    write("loose/.git/refs/heads/side", &format!("{id}\n"));
    for name in ["loose", "packed", "detached", "second"] {
        assert_eq!(commit(name).as_deref(), Some(&id[..12]), "{name}");
    }
    write("empty/.git/HEAD", "ref: refs/heads/main\n");
    write("odd/.git/HEAD", "nothing\n");
    for name in ["empty", "odd", "none"] {
        assert_eq!(commit(name), None, "{name}");
    }
}

#[test]
fn the_version_names_the_commit_of_the_clone() {
    let version = stdout_json(&Proxy::on(Driver::Epoll).arg("version").arg("--json").run());
    let expected = option_env!("RINGWAY_COMMIT").unwrap_or("unknown");
    assert_eq!(version["commit"], expected);
    let is_clone = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists();
    assert!(!is_clone || expected != "unknown");
}

#[test]
fn check_prints_the_effective_configuration() {
    let output = Proxy::on(Driver::Epoll).env("HEALTH_CHECK_INTERVAL", "17s").arg("check").run();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("17s"), "{}", text(&output));
}

#[test]
fn check_reports_all_problems() {
    let output = Proxy::on(Driver::Epoll)
        .env("HEALTH_CHECK_INTERVAL", "soon")
        .env("PROXY_HTTP_PORT", "99999")
        .env("PROXY_HTTP_MODE", "sometimes")
        .arg("check")
        .run();
    assert!(!output.status.success());
    let said = text(&output);
    for word in ["HEALTH_CHECK_INTERVAL", "PROXY_HTTP_PORT", "PROXY_HTTP_MODE"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[test]
fn a_wrong_setting_stops_the_start_and_is_named() {
    for (name, value) in [
        ("RINGWAY_HEARTBEAT_TIMEOUT", "-1s"),
        ("PROXY_API_PORT", "x"),
        ("PROXY_LOG_FORMAT", "xml"),
        ("PROXY_WORKERS", "0"),
        ("RINGWAY_ACCESS_LOG", "console"),
    ] {
        let output = Proxy::on(Driver::Epoll).env(name, value).run();
        assert!(!output.status.success(), "{name}={value}");
        assert!(text(&output).contains(name), "{name}={value}: {}", text(&output));
    }
}

#[test]
fn an_unknown_setting_of_ours_is_warned_about() {
    let proxy = Proxy::on(Driver::Epoll).env("PROXY_HTPP_PORT", "80").start();
    eventually("the warning", || {
        proxy.log().iter().any(|line| line.contains("PROXY_HTPP_PORT")).then_some(())
    });
}

#[test]
fn names_of_a_platform_stop_no_start_and_make_no_file() {
    let proxy = Proxy::on(Driver::Epoll)
        .env("LOG_FORMAT", "combined")
        .env("LOG_LEVEL", "verbose")
        .env("ACCESS_LOG", "on")
        .env("RINGWAY_HTTP_PORT", "0")
        .env("PROXY_HTTP_PORT", "80")
        .start();
    proxy.get("unknown.test", "/");
    for words in [
        &["LOG_FORMAT", "combined", "RINGWAY_LOG_FORMAT"][..],
        &["LOG_LEVEL", "verbose"],
        &["PROXY_HTTP_PORT", "RINGWAY_HTTP_PORT"],
        &["unknown_host", "unknown.test"],
    ] {
        eventually("the line is there", || {
            proxy.log().iter().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
        });
    }
    let folder = proxy.store().parent().unwrap().to_owned();
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name == "on"), "{files:?}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Proxy::on(Driver::Epoll).env("PROXY_API_PORT", &port).run();
    assert!(!output.status.success());
    assert!(text(&output).contains(&port), "{}", text(&output));
}

#[test]
fn a_file_that_cannot_be_transferred_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing/file");
    for verb in ["export", "import"] {
        let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args([verb, missing.to_str().unwrap(), "--db-path"])
            .arg(folder.path())
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert!(text(&output).contains(missing.to_str().unwrap()), "{}", text(&output));
    }
}

on_both_drivers! {
    fn the_registry_is_kept_from_a_terminal(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        let run = |arguments: &[&str]| {
            let output = proxy.command(arguments);
            assert!(output.status.success(), "{arguments:?}: {}", text(&output));
            output
        };
        run(&["apps", "add", "app"]);
        run(&["instances", "add", "--app", "app", "app-1", &origin.target()]);
        run(&["domains", "add", "--app", "app", "app.test"]);
        assert_eq!(proxy.get("app.test", "/").text(), "a");
        let apps = stdout_json(&run(&["apps", "list", "--json"]));
        assert!(apps.to_string().contains("\"app\""), "{apps}");
        assert!(text(&run(&["instances", "list"])).contains("app-1"));
        assert!(text(&run(&["domains", "list"])).contains("app.test"));
        run(&["domains", "remove", "app.test"]);
        assert_eq!(proxy.get("app.test", "/").status(), 404);
        run(&["instances", "remove", "app-1"]);
        run(&["apps", "remove", "app"]);
        assert_eq!(proxy.api().get("/api/apps").is(200).json["apps"].as_array().map(Vec::len), Some(0));
    }

    fn status_shows_the_state_of_the_process(driver) {
        let proxy = Proxy::start(driver);
        let status = stdout_json(&proxy.command(&["status", "--json"]));
        assert_eq!(status["status"], "ready");
        let table = proxy.command(&["status"]);
        assert!(table.status.success() && text(&table).contains(driver.name()), "{}", text(&table));
    }

    fn an_api_error_is_reported_with_an_exit_code(driver) {
        let proxy = Proxy::start(driver);
        let output = proxy.command(&["domains", "remove", "nobody.test"]);
        assert!(!output.status.success());
        assert!(text(&output).contains("nobody.test"), "{}", text(&output));
    }

    fn an_unreachable_api_is_reported(driver) {
        let proxy = Proxy::start(driver);
        let address = proxy.api_address();
        let builder = proxy.stop();
        let output = builder.env("PROXY_API_PORT", &address.port().to_string()).arg("status").run();
        assert!(!output.status.success());
        assert!(text(&output).contains(&address.port().to_string()), "{}", text(&output));
    }
}
