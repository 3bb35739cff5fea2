#![allow(clippy::unwrap_used)]
use super::*;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

/// Takes one connection, reads one whole request, answers with these bytes, and closes. Gives the request back.
fn scripted(answer: &[u8]) -> (Client, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(Address::Tcp(listener.local_addr().unwrap().to_string()));
    let answer = answer.to_vec();
    let server = std::thread::spawn(move || serve(&mut listener.accept().unwrap().0, &answer));
    (client, server)
}

fn serve(stream: &mut (impl Read + Write), answer: &[u8]) -> String {
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
    stream.write_all(answer).unwrap();
    text + &String::from_utf8(body).unwrap()
}

fn get(answer: &[u8]) -> Result<Answer, HttpError> {
    let (client, server) = scripted(answer);
    let result = client.send(Method::Get, "/", None);
    server.join().unwrap();
    result
}

#[test]
fn a_request_says_who_asks_for_what() {
    let (client, server) = scripted(b"HTTP/1.1 204 No Content\r\n\r\n");
    let client = client.token(Some("0123456789abcdef".into())).host("shop.localhost");
    let answer = client.send(Method::Post, "/api/apps?limit=1", Some(b"{\"a\":1}")).unwrap();
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let request = server.join().unwrap();
    assert!(request.starts_with("POST /api/apps?limit=1 HTTP/1.1\r\nHost: shop.localhost\r\n"), "{request}");
    assert!(request.contains("Authorization: Bearer 0123456789abcdef\r\n"), "{request}");
    assert!(
        request.ends_with("Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}"),
        "{request}"
    );
}

#[test]
fn bodies_end_in_three_ways() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let answer = get(answer).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
    }
}

#[test]
fn an_error_is_an_answer_too() {
    let answer = get(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}").unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (404, &b"{}"[..]));
}

#[test]
fn a_cut_answer_is_never_taken_for_a_whole_one() {
    for answer in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let error = get(answer).unwrap_err();
        assert!(matches!(error, HttpError::Cut), "{error:?}");
    }
}

#[test]
fn what_is_not_http_is_told() {
    assert!(matches!(get(b"SSH-2.0-OpenSSH_9.2\r\n"), Err(HttpError::Head(_))));
    let broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n";
    assert!(matches!(get(broken), Err(HttpError::Body(_))));
}

#[test]
fn an_answer_beyond_all_measure_is_refused_before_it_is_read() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", CLI_RESPONSE_BYTES_MAX + 1);
    assert!(matches!(get(head.as_bytes()), Err(HttpError::TooLarge)));
}

#[test]
fn a_server_that_says_nothing_ends_with_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap().to_string());
    let client = Client::new(address).timeout(Duration::from_millis(50));
    // The kernel accepts the connection; nobody ever answers.
    let error = client.send(Method::Get, "/", None).unwrap_err();
    assert!(matches!(error, HttpError::TimedOut(_)), "{error:?}");
    drop(listener);
}

#[test]
fn a_server_that_trickles_does_not_outlast_the_deadline() {
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
        Client::new(address).timeout(Duration::from_millis(50)).send(Method::Get, "/", None).unwrap_err();
    assert!(matches!(error, HttpError::TimedOut(_) | HttpError::Head(_)), "{error:?}");
    server.join().unwrap();
}

#[test]
fn nobody_at_home_is_a_failed_connection() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Address::Tcp(listener.local_addr().unwrap().to_string())
    };
    let error = Client::new(address).send(Method::Get, "/", None).unwrap_err();
    assert!(matches!(&error, HttpError::Connect(_)), "{error:?}");
    assert_eq!(error.to_string(), "nobody listens there");
}

#[test]
fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        serve(&mut listener.accept().unwrap().0, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    });
    let client = Client::new(Address::Unix(path));
    assert_eq!(client.send(Method::Get, "/healthz", None).unwrap().body, b"ok");
    assert!(server.join().unwrap().starts_with("GET /healthz HTTP/1.1\r\nHost: localhost\r\n"));
    let missing = Client::new(Address::Unix(folder.path().join("none")));
    assert_eq!(missing.send(Method::Get, "/", None).unwrap_err().to_string(), "there is no such socket");
}

#[test]
fn an_answer_that_comes_before_the_request_was_taken_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(Address::Tcp(listener.local_addr().unwrap().to_string()));
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    });
    assert_eq!(client.send(Method::Post, "/", Some(&vec![b' '; 1 << 20])).unwrap().status, 413);
    server.join().unwrap();
}
