//! Requests against a scripted server.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::Certificate;

use super::*;
use crate::testing::{on_control_thread, valid_pair};

/// Responses per connection: one for each request, then the connection is closed.
struct Script(Vec<Vec<&'static [u8]>>);

/// Serves connections one after the other; returns the address and the requests.
fn serve_script(script: Script) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for answers in script.0 {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let Some(request) = read_request(&mut stream) else { break };
                if sender.send(request).is_err() {
                    return;
                }
                // In two parts, so that heads and chunks arrive split.
                let middle = answer.len() / 2;
                let _ = stream.write_all(&answer[..middle]);
                let _ = stream.flush();
                std::thread::yield_now();
                let _ = stream.write_all(&answer[middle..]);
            }
        }
    });
    (address, requests)
}

/// A request with its body; `None` at the end of the connection.
fn read_request(stream: &mut std::net::TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    Some(head + std::str::from_utf8(&body).unwrap())
}

fn client() -> Client {
    let pair = valid_pair(&["localhost"]);
    let root = CertificateDer::from_pem_slice(&pair.chain).unwrap();
    Client::new(RootCerts::Specific(Arc::new(vec![Certificate::from_der(&root).to_owned()])))
}

/// Fetches a document over the only connection of the script.
fn fetch(script: Vec<&'static [u8]>) -> Result<(u16, String, ResponseMeta), String> {
    let (address, _requests) = serve_script(Script(vec![script]));
    on_control_thread(|| async move {
        let client = client();
        let answer = client.get(&format!("http://{address}/dir")).await;
        let meta = client.last_response();
        answer
            .map(|(status, body)| (status, String::from_utf8(body.to_vec()).unwrap(), meta))
            .map_err(|error| error.to_string())
    })
}

#[test]
fn reads_bodies_of_every_framing() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nA: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
    ] {
        let (status, body, _) = fetch(vec![answer]).unwrap();
        assert_eq!((status, body.as_str()), (200, "hello"));
    }
    let (status, body, _) = fetch(vec![b"HTTP/1.1 204 No Content\r\n\r\n"]).unwrap();
    assert_eq!((status, body.as_str()), (204, ""));
}

#[test]
fn rejects_malformed_responses() {
    for (answer, expected) in [
        // Repeated once, on a connection that is not accepted.
        (&b""[..], "onnection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", "ended early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "ended early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "chunk length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "ended early"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "onnection"),
    ] {
        let error = fetch(vec![answer]).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn repeats_a_request_once_when_the_connection_breaks() {
    let (address, requests) =
        serve_script(Script(vec![vec![b""], vec![b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"]]));
    on_control_thread(|| async move {
        let (status, body) = client().get(&format!("http://{address}/dir")).await.unwrap();
        assert_eq!((status, &body[..]), (200, &b"hello"[..]));
    });
    assert_eq!(requests.iter().count(), 2);
}

#[test]
fn reads_a_bounded_response() {
    let endless: &'static [u8] = Box::leak(
        [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b'x'; 2 * ACME_RESPONSE_BYTES_MAX]].concat().into(),
    );
    assert!(fetch(vec![endless]).unwrap_err().contains("too long"));
    let chunked: &'static [u8] = Box::leak(
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000\r\n", &vec![b'x'; 0x40000][..]]
            .concat()
            .into(),
    );
    assert!(fetch(vec![chunked]).unwrap_err().contains("too long"));
    let head: &'static [u8] =
        Box::leak([&b"HTTP/1.1 200 OK\r\nA: "[..], &vec![b'x'; 2 * HEAD_BUFFER_BYTES]].concat().into());
    assert!(fetch(vec![head]).is_err());
}

#[test]
fn stores_retry_after() {
    let of = |value: &str| {
        let answer = format!("HTTP/1.1 429 Too Many\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n");
        let (status, _, meta) = fetch(vec![Box::leak(answer.into_bytes().into())]).unwrap();
        assert_eq!((status, meta.status), (429, 429));
        meta.retry_after
    };
    assert_eq!(of("120"), Some(Duration::from_secs(120)));
    assert_eq!(of("soon"), None);
    let in_2100 = of("Fri, 01 Jan 2100 00:00:00 GMT").unwrap();
    assert!(in_2100 > Duration::from_secs(50 * 365 * 24 * 3600));
    let now = Timestamp(784_111_777_000);
    for (value, expected) in [
        ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
        ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
        ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
        (" 7 ", Some(7)),
        ("0", Some(0)),
        ("-1", None),
        ("", None),
        ("99999999999999999999999", None),
    ] {
        assert_eq!(parse_retry_after(value, now).map(|wait| wait.as_secs()), expected, "{value}");
    }
}

#[test]
fn a_connection_is_reused() {
    let ok: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (address, requests) = serve_script(Script(vec![vec![ok; 3]]));
    on_control_thread(|| async move {
        let client = client();
        for n in 0..3 {
            client.get(&format!("http://{address}/{n}")).await.unwrap();
        }
    });
    let asked: Vec<String> = requests.iter().collect();
    assert_eq!(asked.len(), 3);
    assert!(asked[2].starts_with("GET /2 HTTP/1.1\r\n"), "{}", asked[2]);
    for request in asked.iter().map(|request| request.to_ascii_lowercase()) {
        assert!(request.contains(&format!("\r\nhost: {address}\r\n")), "{request}");
        assert_eq!(request.matches("user-agent: ringway/").count(), 1, "{request}");
        assert_eq!(request.matches("user-agent").count(), 1, "{request}");
    }
}

#[test]
fn a_closed_idle_connection_is_replaced() {
    let ok: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (address, requests) = serve_script(Script(vec![vec![ok], vec![ok]]));
    on_control_thread(|| async move {
        let client = client();
        client.get(&format!("http://{address}/1")).await.unwrap();
        // The server has closed it, or is about to.
        client.get(&format!("http://{address}/2")).await.unwrap();
    });
    assert_eq!(requests.iter().count(), 2);
}

#[test]
fn a_response_to_head_has_no_body() {
    let answer: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\nReplay-Nonce: abc\r\n\r\n";
    let (address, requests) = serve_script(Script(vec![vec![answer; 2]]));
    on_control_thread(|| async move {
        let client = client();
        for _ in 0..2 {
            let request = http::Request::head(format!("http://{address}/nonce"));
            let response = client.request(request.body(BodyWrapper::default()).unwrap()).await.unwrap();
            assert_eq!(response.parts.headers["replay-nonce"], "abc");
        }
    });
    assert_eq!(requests.iter().count(), 2, "over one connection");
}

#[test]
fn a_post_carries_its_body() {
    let ok: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nLocation: x\r\n\r\n";
    let (address, requests) = serve_script(Script(vec![vec![ok]]));
    on_control_thread(|| async move {
        let request = http::Request::post(format!("http://{address}/order"))
            .header("content-type", "application/jose+json")
            .body(BodyWrapper::from(b"{\"a\":1}".to_vec()))
            .unwrap();
        let response = client().request(request).await.unwrap();
        assert_eq!(response.parts.status, 201);
    });
    let asked = requests.recv().unwrap();
    assert!(
        asked.contains("content-type: application/jose+json\r\n") && asked.ends_with("\r\n\r\n{\"a\":1}")
    );
}

#[test]
fn plain_http_is_limited_to_this_machine() {
    on_control_thread(|| async {
        let client = client();
        for url in ["http://192.0.2.1/dir", "ftp://127.0.0.1/", "/dir"] {
            let error = client.get(url).await.unwrap_err().to_string();
            assert!(error.contains("is not an https URL"), "{url}: {error}");
        }
    });
}

#[test]
fn a_failed_tls_handshake_is_reported() {
    // The server does not speak TLS.
    let (address, _requests) = serve_script(Script(vec![vec![b"no TLS at all\r\n\r\n"]]));
    on_control_thread(|| async move {
        let error = client().get(&format!("https://{address}/dir")).await.unwrap_err().to_string();
        assert!(error.contains("the TLS handshake with the CA failed"), "{error}");
    });
}

/// A listener that never accepts: connections stay in its backlog, and requests without a response.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/dir", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn the_queue_is_bounded() {
    let (_listener, url) = silent();
    on_control_thread(|| async move {
        let client = client();
        let mut pending = Vec::new();
        let error = loop {
            let mut next = Box::pin(client.get(&url));
            match poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await {
                Poll::Pending => pending.push(next),
                Poll::Ready(result) => break result.unwrap_err().to_string(),
            }
        };
        assert!(error.contains("too many requests"), "{error}");
        // The threads may or may not have taken theirs from the queue.
        let bounds = ACME_REQUESTS_WAITING_MAX..=ACME_REQUESTS_WAITING_MAX + ACME_THREADS_MAX;
        assert!(bounds.contains(&pending.len()), "{}", pending.len());
        assert_eq!(lock(&client.0.0.jobs).threads, ACME_THREADS_MAX);
    });
}

#[test]
fn dropping_the_client_ends_requests_in_flight() {
    let (listener, url) = silent();
    on_control_thread(|| async move {
        let client = client();
        let request = http::Request::get(url).body(BodyWrapper::default()).unwrap();
        let mut in_flight = client.request(request);
        assert!(poll_fn(|cx| Poll::Ready(in_flight.as_mut().poll(cx).is_pending())).await);
        // The connection is established: the request waits for its response.
        let (mut stream, _) = listener.accept().unwrap();
        assert!(read_request(&mut stream).is_some());
        drop(client);
        assert!(in_flight.await.is_err());
    });
}
