#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::{WakeSource, wake_pair};
use ringway_middleware::Credentials;
use ringway_model::CredentialSource;

use crate::link::{Event, Link};

const SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// Server of an identity provider on this machine: answers the paths, and ends with the test.
fn provider(answers: impl Fn(&str, &str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let own = address.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut head) = (client.unwrap(), Vec::new());
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if client.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head);
            let body = answers(head.split(' ').nth(1).unwrap_or_default(), &own);
            let _ = write!(
                client,
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    address
}

/// Waits for an event that `find` wants.
fn wait<T>((link, wakes): &(Link, WakeSource), find: impl Fn(Event) -> Option<T>) -> T {
    let mut stream = wakes.stream().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    loop {
        wakes.rearm();
        while let Some(event) = link.poll() {
            if let Some(found) = find(event) {
                return found;
            }
        }
        let woken = stream.read(&mut [0; 64]).unwrap();
        assert!(woken > 0, "the link has ended");
    }
}

fn start(folder: Option<&Path>) -> (Link, WakeSource) {
    let (waker, wakes) = wake_pair().unwrap();
    (crate::start(folder.map(Path::to_owned), waker).unwrap(), wakes)
}

fn loaded(event: Event) -> Option<Arc<Credentials>> {
    match event {
        Event::Loaded { credentials, .. } => credentials,
        _ => None,
    }
}

fn problem(event: Event) -> Option<Arc<str>> {
    match event {
        Event::Settled { status, .. } => status.problem,
        _ => None,
    }
}

fn want((link, _): &(Link, WakeSource), source: &CredentialSource) {
    link.want(BTreeSet::from([source.clone()]));
}

#[test]
fn keys_are_discovered_kept_and_used_after_a_restart_without_the_provider() {
    let folder = tempfile::tempdir().unwrap();
    let address = provider(|path, own| match path {
        "/.well-known/openid-configuration" => {
            format!(r#"{{"issuer":"{own}","jwks_uri":"{own}/jwks"}}"#)
        }
        "/jwks" => SET.to_owned(),
        other => panic!("{other}"),
    });
    let source = CredentialSource::Discovery(address.as_str().into());
    let link = start(Some(folder.path()));
    want(&link, &source);
    let Credentials::Keys(keys) = &*wait(&link, loaded) else { panic!("keys") };
    assert_eq!(keys.len(), 1);
    drop(link);
    // Same issuer, nothing listens: the kept keys are there before the failure.
    let kept = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), SET);
    let link = start(Some(folder.path()));
    want(&link, &source);
    wait(&link, loaded);
}

#[test]
fn a_configuration_of_another_issuer_is_refused() {
    let address =
        provider(|_, own| format!(r#"{{"issuer":"https://evil.example","jwks_uri":"{own}/jwks"}}"#));
    let link = start(None);
    want(&link, &CredentialSource::Discovery(address.as_str().into()));
    let problem = wait(&link, problem);
    assert!(problem.contains("evil.example"), "{problem}");
}

#[test]
fn a_file_is_loaded_again_when_it_changes_and_the_good_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let hash = bcrypt::hash("secret", 4).unwrap();
    std::fs::write(&path, format!("alice:{hash}\n")).unwrap();
    let source = CredentialSource::Users(path.to_str().unwrap().into());
    let link = start(None);
    want(&link, &source);
    wait(&link, loaded);
    std::fs::write(&path, "alice:secret\n").unwrap();
    let problem = wait(&link, problem);
    assert!(problem.contains("line 1") && !problem.contains("secret"), "{problem}");
    std::fs::write(&path, format!("alice:{hash}\nbob:{hash}\n")).unwrap();
    let Credentials::Users(users) = &*wait(&link, loaded) else { panic!("users") };
    assert_eq!(users.len(), 2);
}

#[test]
fn a_status_has_the_content_and_the_failures_by_kind() {
    use crate::failure_kind::FailureKind;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let source = CredentialSource::JwkFile(path.to_str().unwrap().into());
    let link = start(None);
    link.0.want(BTreeSet::from([source.clone()]));
    let status = |of: &CredentialSource| {
        wait(&link, |event| match event {
            Event::Settled { source, status } if source == *of => Some(status),
            _ => None,
        })
    };
    let missing = status(&source);
    assert_eq!((missing.failed.of(FailureKind::File), missing.entries, missing.loaded_at), (1, 0, None));
    let other = folder.path().join("junk");
    std::fs::write(&other, "{}").unwrap();
    std::fs::write(&path, SET).unwrap();
    let junk = CredentialSource::JwkFile(other.to_str().unwrap().into());
    link.0.want(BTreeSet::from([source.clone(), junk.clone()]));
    assert_eq!(status(&junk).failed.of(FailureKind::Invalid), 1);
    let loaded = loop {
        let status = status(&source);
        if status.loaded_at.is_some() {
            break status;
        }
    };
    assert_eq!((loaded.entries, loaded.problem.is_none()), (1, true));
    assert!(loaded.failed.of(FailureKind::File) >= 1);
}
