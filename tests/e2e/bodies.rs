//! Bodies in both directions: every framing, large ones, early responses, streams without buffering.

use std::net::SocketAddr;
use std::time::Duration;

use crate::kit::*;

/// Bytes that one end of a connection over IPv4 has given to the kernel, and the other end has not taken.
fn unacknowledged(from: SocketAddr, to: SocketAddr) -> usize {
    let hex = |address: SocketAddr| {
        let SocketAddr::V4(address) = address else { panic!("{address} is none of IPv4") };
        format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port())
    };
    let ends = format!(" {} {} ", hex(from), hex(to));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| line.contains(&ends)).expect("the connection");
    let queue = line.split_whitespace().nth(4).and_then(|queues| queues.split(':').next()).unwrap();
    usize::from_str_radix(queue, 16).unwrap()
}

on_both_drivers! {
    fn bodies_of_every_size_arrive_whole_in_both_directions(driver) {
        let origin = Origin::echo();
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for size in [1, 1000, 16 * 1024 - 1, 16 * 1024, 64 * 1024 + 1, 1_000_000, 5_000_000] {
            let body = pattern(size);
            let mut bytes = format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {size}\r\n\r\n").into_bytes();
            bytes.extend_from_slice(&body);
            client.send(&bytes);
            let answer = client.response("POST");
            assert!(answer.body == body, "{size} bytes with a length");
            let mut bytes = b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            bytes.extend_from_slice(&chunked(&body, 10_007));
            client.send(&bytes);
            let answer = client.response("POST");
            assert!(answer.body == body, "{size} bytes in chunks");
        }
    }

    fn chunked_responses_arrive_whole(driver) {
        let body = pattern(3_000_000);
        let origin = {
            let body = body.clone();
            Origin::http(move |request, connection| {
                let size: usize = request.target()[1..].parse().unwrap();
                connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                connection.send(chunked(&body, size));
                After::Keep
            })
        };
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for size in [100, 1000, 65_536, 1_000_003] {
            let answer = client.get("app.test", &format!("/{size}"));
            assert_eq!(answer.framing, Framing::Chunked);
            assert!(answer.body == body, "chunks of {size}");
        }
        assert_eq!(origin.connections().len(), 1);
    }

    fn a_response_that_ends_with_its_connection_arrives_whole(driver) {
        let body = pattern(1_000_000);
        let origin = {
            let body = body.clone();
            Origin::http(move |_, connection| {
                connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
                connection.send(&body);
                After::Close
            })
        };
        let proxy = Proxy::serving(driver, &origin);
        let answer = proxy.get("app.test", "/");
        assert!(answer.body == body, "{} bytes with {:?}", answer.body.len(), answer.framing);
    }

    fn trailers_pass_in_both_directions(driver) {
        let origin = Origin::http(|request, connection| {
            assert_eq!(request.text(), "hello");
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n");
            After::Keep
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Check: 7\r\nContent-Length: 3\r\nX-Tenant-ID: forged\r\n\r\n");
        let answer = client.response("POST");
        assert_eq!(answer.trailers, [("X-Sum".to_owned(), "42".to_owned())]);
        let trailers = origin.one_request().trailers;
        assert_eq!(trailers, [("X-Check".to_owned(), "7".to_owned())], "fields that belong in a head are dropped");
    }

    fn a_request_body_is_passed_on_as_it_comes(driver) {
        let first = Gate::new();
        let origin = {
            let first = first.clone();
            Origin::script(move |connection| {
                let Ok(mut request) = connection.request_head() else { return };
                if connection.chunk(&mut request).is_err() {
                    return;
                }
                first.open();
                if connection.body(&mut request).is_ok() {
                    connection.reply(200, &request.body.clone());
                }
            })
        };
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        assert!(first.pass(), "the origin has the first chunk while the rest is not sent yet");
        client.send("3\r\ntwo\r\n0\r\n\r\n");
        assert_eq!(client.response("POST").text(), "onetwo");
    }

    fn an_answer_before_the_end_of_the_request_is_delivered(driver) {
        let origin = Origin::script(|connection| {
            let Ok(request) = connection.request_head() else { return };
            connection.remember(&request);
            connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nConnection: close\r\n\r\nstop!");
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("POST /upload HTTP/1.1\r\nHost: app.test\r\nContent-Length: 50000000\r\n\r\n");
        client.send(pattern(1000));
        let answer = client.response("POST");
        assert_eq!((answer.status(), answer.text().as_str()), (403, "stop!"));
        assert!(answer.lists("connection", "close"), "the rest of the body is not read as a request");
    }

    fn an_early_answer_survives_a_client_that_goes_on_sending(driver) {
        let origin = Origin::script(|connection| {
            if connection.request_head().is_ok() {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            }
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        let body = pattern(100_000);
        client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len()));
        for piece in body.chunks(10_000) {
            if client.try_send(piece).is_err() {
                break;
            }
        }
        let answer = client.response("POST");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    }

    fn an_early_answer_to_a_small_upload_costs_no_connection(driver) {
        let origin = Origin::script(|connection| {
            while let Ok(mut request) = connection.request_head() {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                if connection.body(&mut request).is_err() {
                    return;
                }
                connection.remember(&request);
            }
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        let body = pattern(50_000);
        for _ in 0..3 {
            client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len()));
            client.send(&body[..20_000]);
            let answer = client.response("POST");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
            assert!(!answer.lists("connection", "close"), "the rest is waited for");
            client.send(&body[20_000..]);
        }
        assert_eq!(client.get("app.test", "/").status(), 200, "what follows the body is a request");
        eventually("all bodies arrive", || (origin.request_count() == 4).then_some(()));
        for request in &origin.requests()[..3] {
            assert!(request.body == body, "{} bytes", request.body.len());
        }
        assert_eq!(origin.connections().len(), 1);
    }

    fn an_early_answer_to_a_client_that_breaks_off_ends_its_connections(driver) {
        let origin = Origin::script(|connection| {
            if connection.request_head().is_ok() {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                connection.until_closed();
            }
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 50000\r\n\r\n");
        assert_eq!(client.response("POST").text(), "ok");
        drop(client);
        eventually("the endpoint's connection ends", || origin.connections().iter().all(|one| one.has_ended()).then_some(()));
        assert_eq!(proxy.get("app.test", "/").status(), 200, "another client has an endpoint's connection of its own");
    }

    fn both_sides_may_stream_at_once(driver) {
        // Answers every chunk with a chunk before it reads the next one.
        let origin = Origin::script(|connection| {
            let Ok(mut request) = connection.request_head() else { return };
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while let Ok(true) = connection.chunk(&mut request) {
                let body = std::mem::take(&mut request.body);
                connection.send(format!("{:x}\r\n", body.len()));
                connection.send(&body);
                connection.send("\r\n");
            }
            connection.send("0\r\n\r\n");
        });
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("5\r\nfirst\r\n");
        let mut answer = client.response_head("POST");
        assert_eq!(answer.status(), 200);
        for word in ["first", "second", "third"] {
            assert!(client.chunk(&mut answer));
            assert_eq!(std::mem::take(&mut answer.body), word.as_bytes());
            match word {
                "first" => client.send("6\r\nsecond\r\n"),
                "second" => client.send("5\r\nthird\r\n"),
                _ => client.send("0\r\n\r\n"),
            };
        }
        assert!(!client.chunk(&mut answer));
    }

    fn server_sent_events_arrive_one_by_one(driver) {
        let next = Gate::new();
        let origin = {
            let next = next.clone();
            Origin::http(move |request, connection| {
                let chunks = request.target() == "/chunked";
                connection.send(match chunks {
                    true => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
                    false => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
                });
                for number in 0..5 {
                    let event = format!("data: {number}\n\n");
                    connection.send(match chunks {
                        true => format!("{:x}\r\n{event}\r\n", event.len()),
                        false => event,
                    });
                    next.pass();
                }
                if chunks {
                    connection.send("0\r\n\r\n");
                }
                if chunks { After::Keep } else { After::Close }
            })
        };
        let proxy = Proxy::serving(driver, &origin);
        for target in ["/chunked", "/close"] {
            let mut client = proxy.client();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\nAccept: text/event-stream\r\n\r\n"));
            let mut answer = client.response_head("GET");
            assert_eq!(answer.field("content-type"), Some("text/event-stream"));
            for number in 0..5 {
                // The origin continues only after the client has this event.
                let event = format!("data: {number}\n\n");
                match answer.framing {
                    Framing::Chunked => {
                        while answer.body.len() < event.len() {
                            assert!(client.chunk(&mut answer));
                        }
                        assert_eq!(std::mem::take(&mut answer.body), event.as_bytes());
                    }
                    _ => assert_eq!(client.exactly(event.len()), event.as_bytes()),
                }
                next.open();
            }
            client.body(&mut answer).unwrap();
            assert!(answer.body.is_empty(), "nothing after the last event");
        }
    }

    fn the_head_of_a_response_does_not_wait_for_its_body(driver) {
        let go_on = Gate::new();
        let origin = {
            let go_on = go_on.clone();
            Origin::http(move |_, connection| {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
                go_on.pass();
                connection.send("late");
                After::Keep
            })
        };
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let mut answer = client.response_head("GET");
        go_on.open();
        client.body(&mut answer).unwrap();
        assert_eq!(answer.text(), "late");
    }

    fn a_client_that_does_not_read_holds_its_origin_back(driver) {
        // 64 MB that the client does not read: the proxy must stop reading long before it has buffered them.
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let origin = {
            let sent = std::sync::Arc::clone(&sent);
            Origin::http(move |_, connection| {
                let piece = pattern(64 * 1024);
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1024 * piece.len()));
                for _ in 0..1024 {
                    if !connection.send(&piece) {
                        return After::Close;
                    }
                    sent.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
                }
                After::Keep
            })
        };
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let mut answer = client.response_head("GET");
        let mut last = usize::MAX;
        let stopped = eventually("the origin is held back", || {
            pace(Duration::from_millis(200));
            let now = sent.load(std::sync::atomic::Ordering::SeqCst);
            (std::mem::replace(&mut last, now) == now).then_some(now)
        });
        assert!(stopped < 40 << 20, "{stopped} bytes are under way without a reader");
        let queued = unacknowledged(proxy.http(), client.local());
        assert!(queued <= 2 << 20, "{queued} bytes wait in the kernel for a client that reads nothing");
        // It continues when the client reads.
        client.body(&mut answer).unwrap();
        assert_eq!(answer.body.len(), 64 << 20);
    }

    fn a_client_that_goes_away_ends_its_upstream_request(driver) {
        let started = Gate::new();
        let origin = {
            let started = started.clone();
            Origin::http(move |_, connection| {
                connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                started.open();
                while connection.send("5\r\nhello\r\n") {
                    pause();
                }
                After::Close
            })
        };
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        client.response_head("GET");
        assert!(started.pass());
        drop(client);
        eventually("the upstream connection ends", || origin.connections()[0].has_ended().then_some(()));
    }
}
