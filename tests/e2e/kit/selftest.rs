//! Tests of the kit: messages that its parser must accept or refuse, and its origin.

use super::http::Reader;
use super::pebble::{Habits, Pebble, Release};
use super::{After, Api, Client, Fault, Framing, Origin, chunked, eventually, json, pattern};

fn judge(bytes: &[u8]) -> Result<super::Message, Fault> {
    Reader::new(bytes).response("GET")
}

#[test]
fn the_parser_reads_every_framing() {
    let length = judge(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab").unwrap();
    assert_eq!((length.framing, length.text().as_str()), (Framing::Length(2), "ab"));
    let chunks =
        judge(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nT: u\r\n\r\n")
            .unwrap();
    assert_eq!((chunks.framing, chunks.text().as_str()), (Framing::Chunked, "ab"));
    assert_eq!(chunks.trailers, [("T".to_owned(), "u".to_owned())]);
    let close = judge(b"HTTP/1.0 200 OK\r\n\r\nab").unwrap();
    assert_eq!((close.framing, close.text().as_str()), (Framing::UntilClose, "ab"));
    let interim = judge(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").unwrap();
    assert_eq!((interim.status(), interim.interim.len()), (204, 1));
}

#[test]
fn the_parser_refuses_malformed_messages() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naX0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
    ] {
        let result = judge(bytes.as_bytes());
        assert!(matches!(result, Err(Fault::Malformed(_))), "{bytes:?}: {result:?}");
    }
}

#[test]
fn the_parser_distinguishes_truncated_from_complete_bodies() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
    ] {
        assert!(matches!(judge(bytes.as_bytes()), Err(Fault::Cut(_))), "{bytes:?}");
    }
    assert!(matches!(judge(b"HTTP/1.1 200 OK\r\nConte"), Err(Fault::CutHead)));
    assert!(matches!(judge(b""), Err(Fault::Closed)));
}

#[test]
fn a_change_counts_once_the_last_core_has_it() {
    let looks = std::sync::atomic::AtomicU64::new(0);
    let admin = Origin::http(move |request, connection| {
        if request.method() == "POST" {
            connection.reply(202, b"");
            return After::Close;
        }
        // The second core follows at the third look.
        let serial = 5 + looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst).min(2);
        let cores =
            format!("ringway_core_serial{{core=\"0\"}} 7\nringway_core_serial{{core=\"1\"}} {serial}\n");
        connection.reply(200, format!("ringway_published_serial 7\n{cores}").as_bytes());
        After::Close
    });
    let api = Api::new(admin.address());
    assert_eq!(api.post("/change", &json!({})).is(201).status, 201);
    assert_eq!(admin.request_count(), 4, "the change and three looks");
}

#[test]
fn chunked_and_pattern_agree_with_the_judge() {
    let body = pattern(100_000);
    let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    bytes.extend_from_slice(&chunked(&body, 777));
    assert_eq!(judge(&bytes).unwrap().body, body);
}

#[test]
fn an_origin_records_dies_and_comes_back() {
    let origin = Origin::named("a");
    let mut client = Client::connect(origin.address());
    let answer = client.get("app.test", "/1");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "a"));
    assert_eq!(origin.one_request().target(), "/1");
    assert_eq!(origin.connections()[0].bytes(), b"GET /1 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    origin.die();
    assert!(Client::try_connect(origin.address()).is_err());
    client.assert_closed();
    origin.revive();
    eventually("the origin listens again", || Client::try_connect(origin.address()).ok())
        .get("app.test", "/2");
}

#[test]
fn an_origin_can_reset() {
    let origin = Origin::http(|_, _| After::Reset);
    let mut client = Client::connect(origin.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(client.try_response("GET"), Err(Fault::Reset)));
}

#[test]
fn the_ca_comes_goes_and_comes_back_at_its_address() {
    for release in [Release::New, Release::Debian12] {
        let mut pebble = Pebble::start(Habits { release, ..Habits::at(80) });
        let (directory, root) = (pebble.directory(), pebble.root());
        assert!(root.contains("BEGIN CERTIFICATE"), "{release:?}");
        pebble.stop();
        let address = directory.trim_start_matches("https://").trim_end_matches("/dir").to_owned();
        assert!(std::net::TcpStream::connect(&address).is_err(), "{release:?}");
        pebble.start_again();
        assert_eq!(pebble.directory(), directory);
        assert_ne!(pebble.root(), root, "it has forgotten everything");
    }
}
