//! Access: listeners, tokens, Unix sockets.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use ringway_net::{DriverChoice, RuntimeOptions};

use super::fake::{FakePlane, State};
use super::{Api, Client, PATIENCE};
use crate::{Listeners, Settings, Token, bind_unix, serve};

const TOKEN: &str = "a-token-of-the-tests";

fn with_token() -> Settings {
    Settings { token: Some(Token::parse(TOKEN).unwrap()), ..Settings::default() }
}

fn connect(path: &std::path::Path) -> Client<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client { stream, pending: Vec::new() }
}

#[test]
fn an_open_listener_without_a_token_is_not_served() {
    let attempt = |settings: Settings| {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let plane = FakePlane(Arc::new(Mutex::new(State::default())));
        ringway_net::run(RuntimeOptions::default(), |_| async move {
            let listeners = Listeners { tcp: vec![listener], ..Listeners::default() };
            serve(listeners, Rc::new(plane), settings, std::future::ready(())).await
        })
        .unwrap()
    };
    let error = attempt(Settings::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("without a token"));
    attempt(with_token()).unwrap();
}

#[test]
fn the_token_is_asked_for_and_two_are_none() {
    let api = Api::with(with_token(), DriverChoice::Auto, Listeners::default());
    let right = format!("Bearer {TOKEN}");
    let ask = |fields: &[(&str, &str)]| api.connect().ask("GET", "/api/apps", fields, "").status;
    assert_eq!(ask(&[("Authorization", &right)]), 200);
    assert_eq!(ask(&[]), 401);
    assert_eq!(ask(&[("Authorization", &right), ("Authorization", &right)]), 401);
    assert_eq!(api.ask("GET", "/healthz", "").status, 200);
    assert_eq!(api.ask("GET", "/metrics", "").status, 401);
    assert_eq!(api.ask("GET", "/nowhere", "").status, 404);
}

#[test]
fn a_unix_socket_is_for_owner_and_group_and_asks_for_no_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listeners = Listeners { unix: vec![bind_unix(&path).unwrap()], ..Listeners::default() };
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let mut api = Api::with(with_token(), DriverChoice::Auto, listeners);
    let mut client = connect(&path);
    assert_eq!(client.ask("POST", "/api/apps/register", &[], r#"{"app_id":"a"}"#).status, 201);
    assert_eq!(client.ask("GET", "/api/apps", &[("Host", "anything.example")], "").status, 200);
    drop(client);
    api.finish().unwrap();
    assert!(!path.exists(), "the socket file goes with the socket");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    drop(UnixListener::bind(&path).unwrap());
    let ours = bind_unix(&path).unwrap();
    assert_eq!(bind_unix(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert!(path.exists());
    drop(ours);
    assert!(!path.exists());

    std::fs::write(&path, "a file of somebody else").unwrap();
    assert_eq!(bind_unix(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file of somebody else");
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no draft is left behind");
}

#[test]
fn a_socket_file_that_was_replaced_meanwhile_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let ours = bind_unix(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "another").unwrap();
    drop(ours);
    assert!(path.exists());
}
