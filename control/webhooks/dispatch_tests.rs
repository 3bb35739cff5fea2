//! Deliveries to a scripted receiver on loopback.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use ringway_model::{AppId, Timestamp, WebhookSecret, WebhookUrl};

use super::*;
use crate::event::{Details, EventKind};

/// Received request: header fields in lower case, and the body.
struct Received {
    fields: Vec<(String, String)>,
    body: String,
}

impl Received {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Starts a receiver that responds with these statuses, one connection each, and repeats the last one.
fn receiver(statuses: &'static [u16]) -> (String, Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, got) = channel();
    thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut fields = Vec::new();
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                if let Some((name, value)) = line.split_once(": ") {
                    fields.push((name.to_ascii_lowercase(), value.trim_end().to_owned()));
                }
                line.clear();
            }
            let mut got = Received { fields, body: String::new() };
            let length: usize = got.field("content-length").unwrap().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            got.body = String::from_utf8(body).unwrap();
            let status = statuses[at.min(statuses.len() - 1)];
            let response = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            (&stream).write_all(response.as_bytes()).unwrap();
            if sender.send(got).is_err() {
                return;
            }
        }
    });
    (url, got)
}

fn webhook(url: &str, secret: Option<&str>) -> Webhook {
    Webhook {
        url: WebhookUrl::parse(url).unwrap(),
        secret: secret.map(|secret| WebhookSecret::parse(secret).unwrap()),
    }
}

fn event() -> Event {
    Event {
        kind: EventKind::AllInstancesDown,
        app: AppId::parse("app1").ok(),
        domain: None,
        tenant: None,
        at: Timestamp(1_700_000_000_000),
        details: Details { total_instances: Some(3), healthy_instances: Some(0), ..Details::default() },
    }
}

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let deadline = clock::now().after(Duration::from_secs(30));
    while !is_so() {
        assert!(clock::now() < deadline, "{what}");
        thread::yield_now();
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_delivery_is_signed_and_counted() {
    let (url, got) = receiver(&[204]);
    let webhooks = start().unwrap();
    webhooks.send(&webhook(&url, Some("correct-horse-battery")), event());
    let got = got.recv_timeout(PATIENCE).unwrap();
    assert_eq!(got.field("content-type"), Some("application/json"));
    assert!(
        got.body.contains("\"event\":\"all_instances_down\"") && got.body.contains("\"healthy_instances\":0")
    );
    let id = got.field("x-ringway-event-id").unwrap();
    assert!(got.body.contains(id), "{id} in {}", got.body);
    let timestamp = got.field("x-ringway-timestamp").unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"correct-horse-battery");
    let signed = aws_lc_rs::hmac::sign(&key, format!("{timestamp}.{}", got.body).as_bytes());
    let hex: String = signed.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(got.field("x-ringway-signature"), Some(format!("sha256={hex}").as_str()));
    wait("the delivery is counted", || {
        webhooks.counters().delivered == 1 && webhooks.counters().pending == 0
    });
}

#[test]
fn without_a_secret_there_is_no_signature() {
    let (url, got) = receiver(&[200]);
    let webhooks = start().unwrap();
    webhooks.send(&webhook(&url, None), event());
    assert_eq!(got.recv_timeout(PATIENCE).unwrap().field("x-ringway-signature"), None);
}

#[test]
fn a_failed_delivery_is_retried_with_the_same_event() {
    let (url, got) = receiver(&[503, 200]);
    let webhooks = start().unwrap();
    webhooks.send(&webhook(&url, None), event());
    let (first, second) = (got.recv_timeout(PATIENCE).unwrap(), got.recv_timeout(PATIENCE).unwrap());
    assert_eq!(first.field("x-ringway-event-id"), second.field("x-ringway-event-id"));
    assert_eq!(first.body, second.body);
    wait("both attempts are counted", || {
        webhooks.counters() == WebhookCounters { retried: 1, delivered: 1, ..WebhookCounters::default() }
    });
}

#[test]
fn a_redirect_is_not_followed() {
    let (url, got) = receiver(&[302]);
    let webhooks = start().unwrap();
    webhooks.send(&webhook(&url, None), event());
    got.recv_timeout(PATIENCE).unwrap();
    wait("the delivery has failed", || webhooks.counters().failed == 1);
    assert_eq!(webhooks.counters().retried, 0);
}

#[test]
fn a_receiver_that_hangs_does_not_delay_others() {
    // The kernel accepts its connections, and no response comes.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = webhook(&format!("http://{}/", hanging.local_addr().unwrap()), None);
    let (url, got) = receiver(&[200]);
    let webhooks = start().unwrap();
    for _ in 0..10 {
        webhooks.send(&slow, event());
    }
    webhooks.send(&webhook(&url, None), event());
    assert!(got.recv_timeout(PATIENCE).is_ok());
    drop(hanging);
}

#[test]
fn the_threads_end_with_the_last_handle() {
    let webhooks = start().unwrap();
    let counters = Arc::downgrade(&webhooks.link.counters);
    drop(webhooks.clone());
    assert!(counters.upgrade().is_some());
    drop(webhooks);
    wait("the dispatcher ends", || counters.upgrade().is_none());
}
