//! Limits of requests, at and beyond each limit, and timeouts of slow clients.

use std::time::{Duration, Instant};

use crate::kit::*;

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A GET whose head is exactly this many bytes, in fields of about 1,000 bytes.
fn head_of(bytes: usize) -> String {
    let mut head = "GET / HTTP/1.1\r\nHost: app.test\r\n".to_owned();
    while head.len() + 2 < bytes {
        let left = bytes - head.len() - 2;
        let line = if left > 1100 { 1000 } else { left };
        head.push_str(&format!("X: {}\r\n", "x".repeat(line - 5)));
    }
    head.push_str("\r\n");
    assert_eq!(head.len(), bytes);
    head
}

on_both_drivers! {
    fn a_target_may_have_8_kib_and_no_more(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let longest = format!("/{}", "x".repeat(8191));
        assert_eq!(proxy.get("app.test", &longest).status(), 200);
        let mut client = proxy.client();
        assert_eq!(client.get("app.test", &format!("{longest}y")).status(), 414);
        client.assert_closed();
        assert_eq!(origin.one_request().target(), longest);
    }

    fn a_head_may_have_16_kib_and_no_more(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        for (bytes, status) in [(16_000, 200), (16 * 1024, 200), (16 * 1024 + 1, 431), (17_000, 431), (100_000, 431)] {
            let mut client = proxy.client();
            let _ = client.try_send(head_of(bytes));
            assert_eq!(client.response("GET").status(), status, "{bytes} bytes");
        }
        assert_eq!(origin.request_count(), 2);
    }

    fn a_head_without_an_end_is_refused_as_soon_as_it_is_too_long(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\nX: ");
        let _ = client.try_send("x".repeat(20_000));
        assert_eq!(client.response("GET").status(), 431);
        let mut client = proxy.client();
        client.send("GET /");
        let _ = client.try_send("x".repeat(20_000));
        assert_eq!(client.response("GET").status(), 414);
    }

    fn a_head_may_have_100_fields_and_no_more(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        for (count, status) in [(100, 200), (101, 431), (1000, 431)] {
            let mut client = proxy.client();
            let fields = "X: y\r\n".repeat(count - 1);
            client.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"));
            assert_eq!(client.response("GET").status(), status, "{count} fields");
        }
    }

    fn a_body_beyond_its_limit_is_413(driver) {
        let origin = Origin::echo();
        let proxy = Proxy::on(driver).env("PROXY_BODY_LIMIT", "1000").start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000\r\n\r\n{}", "x".repeat(1000)));
        assert_eq!(client.response("POST").status(), 200);
        // At once, by the announced length.
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1001\r\n\r\n");
        assert_eq!(client.response("POST").status(), 413);
        // And as soon as it is too much, without one.
        let mut client = proxy.client();
        let body = String::from_utf8(chunked(&[b'x'; 1001], 100)).unwrap();
        client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        assert_eq!(client.response("POST").status(), 413);
        assert_eq!(origin.request_count(), 1, "a body that was too long never arrived as a whole one");
    }

    fn a_head_that_does_not_end_costs_a_bounded_time(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let begin = Instant::now();
        let mut silent = proxy.client();
        let mut half = proxy.client();
        half.send("GET / HTTP/1.1\r\nHost: app.test\r\nX-Slow: ");
        let mut drip = proxy.client();
        drip.send("GET / HTTP/1.1\r\nHost: app.test\r\nX-Slow: ");
        // A byte now and then does not buy more time.
        let limit = begin + HEAD_TIMEOUT + Duration::from_secs(20);
        while drip.try_send("x").is_ok() {
            assert!(Instant::now() < limit, "a dripping client is still connected");
            pace(Duration::from_millis(200));
        }
        for client in [&mut half, &mut silent] {
            let rest = String::from_utf8_lossy(&client.rest_within(Duration::from_secs(20))).into_owned();
            assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408 "), "{rest}");
        }
        assert!(begin.elapsed() >= HEAD_TIMEOUT - Duration::from_secs(2), "closed after {:?}", begin.elapsed());
        assert_eq!(origin.request_count(), 0);
    }

    fn many_slow_clients_do_not_keep_a_quick_one_waiting(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let slow: Vec<Client> = (0..200)
            .map(|_| {
                let mut client = proxy.client();
                client.send("GET / HTTP/1.1\r\nHost: app.test\r\n");
                client
            })
            .collect();
        for _ in 0..20 {
            assert_eq!(proxy.get("app.test", "/").status(), 200);
        }
        drop(slow);
    }
}
