#![allow(clippy::unwrap_used)]
use super::*;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

/// Accepts one connection, reads one request, sends these bytes, and closes. Returns the request.
fn scripted(response: &[u8]) -> (HttpClient, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = HttpClient::new(Address::Tcp(listener.local_addr().unwrap().to_string()));
    let response = response.to_vec();
    let server = std::thread::spawn(move || serve(&mut listener.accept().unwrap().0, &response));
    (client, server)
}

fn serve(stream: &mut (impl Read + Write), response: &[u8]) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let text = String::from_utf8(request.clone()).unwrap();
    let length =
        text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    stream.write_all(response).unwrap();
    text + &String::from_utf8(body).unwrap()
}

fn get(response: &[u8]) -> Result<HttpResponse, HttpError> {
    let (client, server) = scripted(response);
    let result = client.send(Method::Get, "/", None);
    server.join().unwrap();
    result
}

#[test]
fn requests_have_host_user_agent_and_token() {
    let (client, server) = scripted(b"HTTP/1.1 204 No Content\r\n\r\n");
    let client = client.token(Some("0123456789abcdef".into())).host("shop.localhost");
    let response = client.send(Method::Post, "/api/apps?limit=1", Some(b"{\"a\":1}")).unwrap();
    assert_eq!((response.status, response.body.len()), (204, 0));
    let request = server.join().unwrap();
    assert!(request.starts_with("POST /api/apps?limit=1 HTTP/1.1\r\nHost: shop.localhost\r\n"), "{request}");
    assert!(request.contains("Authorization: Bearer 0123456789abcdef\r\n"), "{request}");
    assert!(
        request.ends_with("Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}"),
        "{request}"
    );
}

#[test]
fn bodies_are_framed_in_three_ways() {
    for response in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let response = get(response).unwrap();
        assert_eq!((response.status, response.body.as_slice()), (200, &b"hello"[..]));
    }
}

#[test]
fn an_error_status_is_a_response() {
    let response = get(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}").unwrap();
    assert_eq!((response.status, response.body.as_slice()), (404, &b"{}"[..]));
}

#[test]
fn a_truncated_response_is_an_error() {
    for response in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let error = get(response).unwrap_err();
        assert!(matches!(error, HttpError::Cut), "{error:?}");
    }
}

#[test]
fn responses_that_are_not_http_are_reported() {
    assert!(matches!(get(b"SSH-2.0-OpenSSH_9.2\r\n"), Err(HttpError::Head(_))));
    let broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n";
    assert!(matches!(get(broken), Err(HttpError::Body(_))));
}

#[test]
fn a_response_beyond_the_limit_is_refused_before_it_is_read() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", CLI_RESPONSE_BYTES_MAX + 1);
    assert!(matches!(get(head.as_bytes()), Err(HttpError::TooLarge)));
}

#[test]
fn a_silent_server_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap().to_string());
    let client = HttpClient::new(address).timeout(Duration::from_millis(50));
    // The kernel accepts the connection; no response follows.
    let error = client.send(Method::Get, "/", None).unwrap_err();
    assert!(matches!(error, HttpError::TimedOut(_)), "{error:?}");
    drop(listener);
}

#[test]
fn a_trickling_server_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap().to_string());
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        // Until the client has gone; each byte alone would be in time.
        while stream.write_all(b"H").is_ok() {
            std::thread::yield_now();
            if stream.set_nodelay(true).is_err() {
                break;
            }
        }
    });
    let error =
        HttpClient::new(address).timeout(Duration::from_millis(50)).send(Method::Get, "/", None).unwrap_err();
    assert!(matches!(error, HttpError::TimedOut(_) | HttpError::Head(_)), "{error:?}");
    server.join().unwrap();
}

#[test]
fn a_refused_connection_is_reported() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Address::Tcp(listener.local_addr().unwrap().to_string())
    };
    let error = HttpClient::new(address).send(Method::Get, "/", None).unwrap_err();
    assert!(matches!(&error, HttpError::Connect(_)), "{error:?}");
    assert_eq!(error.to_string(), "connection refused: no process listens there");
}

#[test]
fn unix_sockets_are_supported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        serve(&mut listener.accept().unwrap().0, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    });
    let client = HttpClient::new(Address::Unix(path));
    assert_eq!(client.send(Method::Get, "/healthz", None).unwrap().body, b"ok");
    assert!(server.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\nHost: localhost\r\n"));
    let missing = HttpClient::new(Address::Unix(folder.path().join("none")));
    assert_eq!(missing.send(Method::Get, "/", None).unwrap_err().to_string(), "there is no such socket");
}

#[test]
fn an_early_response_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = HttpClient::new(Address::Tcp(listener.local_addr().unwrap().to_string()));
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    });
    assert_eq!(client.send(Method::Post, "/", Some(&vec![b' '; 1 << 20])).unwrap().status, 413);
    server.join().unwrap();
}
