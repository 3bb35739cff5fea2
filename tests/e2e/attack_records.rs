//! Floods after the handshake: valid TLS records with no or almost no data.

use rustls::version::{TLS12, TLS13};
use rustls::{ContentType, SupportedProtocolVersion};

use crate::kit::h2::{H2, Secure, serving};
use crate::kit::records::{KeyUpdate, Records};
use crate::kit::*;

/// The n-th piece of a flood.
pub(crate) type Flood = fn(&mut Records, usize) -> Vec<u8>;

pub(crate) const FLOODS: &[(&str, Flood)] = &[
    ("key updates", |records, _| records.key_update(KeyUpdate::NotRequested)),
    ("key updates that ask for ours", |records, _| records.key_update(KeyUpdate::Requested)),
    ("empty records", |records, _| records.data(b"")),
    ("records of padding", |records, _| records.padded(ContentType::ApplicationData, b"", 16_000)),
    ("warnings", |records, _| records.record(ContentType::Alert, USER_CANCELED)),
    ("warnings in the clear", |_, _| [&[21, 3, 3, 0, 2], USER_CANCELED].concat()),
    ("changes of the cipher", |_, _| vec![20, 3, 3, 0, 1, 1]),
    ("empty messages", |records, _| records.record(ContentType::Handshake, b"")),
    ("a message byte by byte", |records, at| match at {
        0 => records.record(ContentType::Handshake, &[NEW_SESSION_TICKET, 0, 0xff, 0xff]),
        _ => records.record(ContentType::Handshake, b"x"),
    }),
    ("a message of 16 MB", |records, at| match at {
        0 => records.record(ContentType::Handshake, &[NEW_SESSION_TICKET, 0xff, 0xff, 0xff]),
        _ => records.record(ContentType::Handshake, &[0; 16_000]),
    }),
    ("forged records", |_, _| [&[23, 3, 3, 0, 32][..], &[0; 32]].concat()),
];

/// The same for TLS 1.2, which has no key updates and has renegotiation instead (CVE-2011-1473).
const OLD_FLOODS: &[(&str, Flood)] = &[
    ("hellos", |records, _| records.record(ContentType::Handshake, &hello())),
    ("empty records", |records, _| records.data(b"")),
    ("warnings", |records, _| records.record(ContentType::Alert, NO_RENEGOTIATION)),
    ("empty messages", |records, _| records.record(ContentType::Handshake, b"")),
];

pub(crate) static MODERN: [&SupportedProtocolVersion; 1] = [&TLS13];
static OLD: [&SupportedProtocolVersion; 1] = [&TLS12];

/// Alerts of the level that ends nothing (RFC 5246 §7.2).
const USER_CANCELED: &[u8] = &[1, 90];
const NO_RENEGOTIATION: &[u8] = &[1, 100];
/// RFC 8446 §4.6.1.
const NEW_SESSION_TICKET: u8 = 4;

/// A client's first message, without its record's header.
fn hello() -> Vec<u8> {
    Tls::new(&Authority::new("any"), "app.test").versions(&OLD).hello()[5..].to_vec()
}

/// Messages of a client before its flood.
const BEGINNINGS: &[(&str, &[&str], &[u8])] = &[
    ("at first", &[], b""),
    ("in a head", &[], b"POST / HTTP/1.1\r\nHost: app.test\r\n"),
    ("in a body", &[], b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\nx"),
    ("of HTTP/2", &["h2"], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
];

/// Sends a flood until the proxy ends it. One that is not stopped would be far longer than what the sockets
/// take.
fn flood(name: &str, mut records: Records, piece: Flood) {
    let mut sent = 0;
    while sent < FLOOD_BYTES_MAX {
        let mut bytes = Vec::new();
        for at in 0..50 {
            bytes.extend(piece(&mut records, sent + at));
        }
        if records.send(&bytes).is_err() {
            break;
        }
        sent += bytes.len();
    }
    assert!(sent < FLOOD_BYTES_MAX, "{name}: never stopped");
    assert!(records.until_ended().is_ok(), "{name}: the connection goes on");
}

/// More than both sockets hold.
const FLOOD_BYTES_MAX: usize = 64 << 20;

fn tls(proxy: &Secure, alpn: &[&str]) -> Tls {
    Tls::trusting(&proxy.authority(), "app.test").alpn(alpn)
}

/// Bytes that the process holds.
fn memory(proxy: &Proxy) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

on_both_drivers! {
    fn records_without_data_end_their_connection_and_no_other(driver) {
        let origin = Origin::named("o");
        let proxy = serving(driver, &origin);
        let mut other = tls(&proxy, &[]).connect(proxy.https());
        assert_eq!(other.get("app.test", "/").status(), 200);
        let before = memory(&proxy);
        for (name, piece) in FLOODS {
            for (when, alpn, beginning) in BEGINNINGS {
                let tls = tls(&proxy, alpn).versions(&MODERN);
                let (mut records, reader) = Records::open(&tls, proxy.https()).unwrap();
                if !beginning.is_empty() {
                    let bytes = records.data(beginning);
                    records.send(&bytes).unwrap();
                }
                flood(&format!("{name}, {when}"), records, *piece);
                drop(reader);
                assert_eq!(other.get("app.test", "/").status(), 200, "{name}, {when}: others are served");
            }
        }
        for (name, piece) in OLD_FLOODS {
            let tls = tls(&proxy, &[]).versions(&OLD);
            let (records, _) = Records::open(&tls, proxy.https()).unwrap();
            flood(&format!("{name} of TLS 1.2"), records, *piece);
            assert_eq!(other.get("app.test", "/").status(), 200, "{name} of TLS 1.2: others are served");
        }
        let after = memory(&proxy);
        assert!(after < before + (16 << 20), "memory went from {before} to {after}");
        let metrics = proxy.api().get("/metrics").is(200).message.text();
        let mut panics = metrics.lines().filter(|line| line.starts_with("ringway_panics_total"));
        assert!(panics.all(|line| line.ends_with(" 0")), "{metrics}");
    }

    /// Old clients send an empty record in front of each (CVE-2011-3389), and keys are renewed on long
    /// connections.
    fn a_few_records_without_data_are_harmless(driver) {
        let origin = Origin::named("o");
        let proxy = serving(driver, &origin);
        let (mut records, client) = Records::open(&tls(&proxy, &[]).versions(&MODERN), proxy.https()).unwrap();
        let mut client = client.unwrap();
        for _ in 0..20 {
            let mut bytes = Vec::new();
            for part in [&b"GET / HTTP/1.1\r\n"[..], b"Host: app.test\r\n", b"\r\n"] {
                bytes.extend(records.data(b""));
                bytes.extend(records.padded(ContentType::ApplicationData, part, 100));
                bytes.extend(records.key_update(KeyUpdate::NotRequested));
                bytes.extend(records.key_update(KeyUpdate::Requested));
            }
            records.send(&bytes).unwrap();
            assert_eq!(client.within(SOON).response("GET").text(), "o");
        }
    }

    /// Each costs a hundred times what its byte is worth, and none may be refused.
    fn records_of_a_byte_are_served_beside_others(driver) {
        let origin = Origin::echo();
        let proxy = serving(driver, &origin);
        let mut other = H2::connect(&proxy);
        let before = memory(&proxy);
        let (mut records, client) = Records::open(&tls(&proxy, &[]).versions(&MODERN), proxy.https()).unwrap();
        let body = pattern(100_000);
        let head = format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len());
        let message = [head.as_bytes(), &body].concat();
        let sender = std::thread::spawn(move || {
            for part in message.chunks(1000) {
                let mut bytes = Vec::new();
                for byte in part {
                    bytes.extend(records.data(b""));
                    bytes.extend(records.data(&[*byte]));
                }
                for _ in 0..30 {
                    bytes.extend(records.key_update(KeyUpdate::Requested));
                }
                records.send(&bytes).unwrap();
            }
            records
        });
        let mut served = 0;
        while !sender.is_finished() {
            other.within(SOON);
            let stream = other.get("app.test", "/");
            assert_eq!(other.response(stream).status(), 200);
            served += 1;
        }
        assert!(served > 0, "others are served meanwhile");
        let _records = sender.join().unwrap();
        let answer = client.unwrap().within(3 * SOON).response("POST");
        assert_eq!((answer.status(), answer.body == body), (200, true));
        let after = memory(&proxy);
        assert!(after < before + (16 << 20), "memory went from {before} to {after}");
    }
}
