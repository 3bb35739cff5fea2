#![allow(clippy::unwrap_used)]
use super::*;

fn args(requests: Option<u64>) -> DemoArgs {
    DemoArgs {
        http_port: Some(0),
        api_port: Some(0),
        tls: false,
        https_port: None,
        workers: Some(1),
        driver: DriverChoice::Epoll,
        requests,
        time: None,
    }
}

#[test]
fn a_demo_of_some_requests_registers_serves_and_cleans_up() {
    let temporary = tempfile::tempdir().unwrap();
    demo(&args(Some(6)), temporary.path()).unwrap();
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "the store's folder is left behind");
}

#[test]
fn the_introduction_names_working_addresses() {
    let proxy = DemoProxy {
        http: "127.0.0.1:1234".parse().unwrap(),
        https: None,
        api: "127.0.0.1:2345".parse().unwrap(),
        folder: "/tmp/x".into(),
        workers: 1,
        driver: "epoll",
    };
    let text = proxy.introduction(&args(None), Style::PLAIN);
    for part in [
        "http://shop.localhost:1234/",
        "http://127.0.0.1:2345/api/register",
        "--api 127.0.0.1:2345",
        "1 worker on epoll",
        "Ctrl-C",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let start = text.find("-d '").unwrap() + 4;
    let body = &text[start..start + text[start..].find('\'').unwrap()];
    assert!(serde_json::from_str::<Value>(body).unwrap()["domain"].is_string());
}

#[test]
fn over_tls_the_introduction_names_the_ca() {
    let proxy = DemoProxy {
        http: "127.0.0.1:1234".parse().unwrap(),
        https: Some("127.0.0.1:4321".parse().unwrap()),
        api: "127.0.0.1:2345".parse().unwrap(),
        folder: "/tmp/x".into(),
        workers: 1,
        driver: "epoll",
    };
    let text = proxy.introduction(&args(None), Style::PLAIN);
    assert!(text.contains("curl --cacert /tmp/x/ca.pem https://shop.localhost:4321/"), "{text}");
    assert!(text.contains("certificates list --api 127.0.0.1:2345"), "{text}");
    let plain = DemoProxy { https: None, ..proxy }.introduction(&args(None), Style::PLAIN);
    assert!(!plain.contains("TLS") && !plain.contains("https://"), "{plain}");
}

#[test]
fn a_demo_with_tls_cleans_up() {
    let temporary = tempfile::tempdir().unwrap();
    let args = DemoArgs { tls: true, https_port: Some(0), ..args(Some(6)) };
    demo(&args, temporary.path()).unwrap();
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "certificates are left behind");
}

#[test]
fn a_port_in_use_is_skipped() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let number = taken.local_addr().unwrap().port();
    assert_eq!(port(None, number), 0);
    assert_eq!(port(Some(number), number), number, "a given port is used or fails");
}

#[test]
fn the_folder_is_private_and_removed_afterwards() {
    use std::os::unix::fs::PermissionsExt;
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::new(temporary.path()).unwrap();
    let path = folder.path.clone();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    std::fs::write(path.join("file"), "x").unwrap();
    folder.remove().unwrap();
    assert!(!path.exists());
}

#[test]
fn notes_are_above_their_commands_on_a_narrow_terminal() {
    let proxy = DemoProxy {
        http: "127.0.0.1:1234".parse().unwrap(),
        https: None,
        api: "127.0.0.1:8080".parse().unwrap(),
        folder: "/tmp/x".into(),
        workers: 2,
        driver: "epoll",
    };
    let narrow = proxy.introduction(&args(None), Style { width: Some(70), colour: false });
    assert!(narrow.contains("  # another app\n  curl http://blog.localhost:1234/\n"), "{narrow}");
    let wide = proxy.introduction(&args(None), Style { width: Some(140), colour: false });
    assert!(
        wide.lines().any(|line| line.contains("curl http://blog") && line.ends_with("# another app")),
        "{wide}"
    );
}
