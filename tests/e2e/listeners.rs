//! Several listeners, each with timeouts and limits of its own.

use std::time::Duration;

use ringway::{DriverChoice, Gateway, Handle, HttpMode, Listener};

use crate::kit::*;

/// A gateway in this process with these listeners and one app, `app`, on `app.test`.
fn gateway(driver: Driver, workers: usize, origin: &Origin, listeners: Vec<Listener>) -> Handle {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let builder = Gateway::builder().driver(driver).workers(workers).pin(false);
    let gateway = listeners.into_iter().fold(builder, ringway::Builder::listen).spawn().unwrap();
    gateway.register_app("app", &origin.target()).unwrap();
    gateway.register_domain("app.test", "app", None).unwrap();
    gateway
}

fn http() -> Listener {
    Listener::http(vec!["127.0.0.1:0".parse().unwrap()])
}

/// Shorter than every default, and longer than a busy machine needs for one step of a test.
const SHORT: Duration = Duration::from_secs(1);

on_both_drivers! {
    fn each_listener_has_its_own_connection_limit(driver) {
        let origin = Origin::named("a");
        let gateway = gateway(driver, 2, &origin, vec![http().connections_max(2), http()]);
        let [limited, other] = gateway.http_addresses() else { panic!("two listeners") };
        let mut clients = [Client::connect(*limited), Client::connect(*limited)];
        for client in &mut clients {
            assert_eq!(client.get("app.test", "/").text(), "a");
        }
        // The count is of all workers together, and an idle connection is one of it.
        for _ in 0..4 {
            assert_eq!(Client::connect(*limited).response("GET").status(), 503);
        }
        assert_eq!(Client::connect(*other).get("app.test", "/").text(), "a", "the other has no limit");
        for client in &mut clients {
            assert_eq!(client.get("app.test", "/").text(), "a", "those inside go on");
        }
        let [first, _second] = clients;
        drop(first);
        eventually("a place is free again", || {
            let mut client = Client::connect(*limited);
            client.try_send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").ok()?;
            client.try_response("GET").ok().filter(|answer| answer.status() == 200)
        });
    }

    fn each_listener_has_its_own_idle_timeout(driver) {
        let origin = Origin::named("a");
        let gateway = gateway(driver, 1, &origin, vec![http().idle_timeout(SHORT), http()]);
        let [short, usual] = gateway.http_addresses() else { panic!("two listeners") };
        let (mut short, mut usual) = (Client::connect(*short), Client::connect(*usual));
        assert_eq!(short.get("app.test", "/").text(), "a");
        assert_eq!(usual.get("app.test", "/").text(), "a");
        short.assert_closed();
        usual.assert_open("app.test");
    }

    fn each_listener_has_its_own_time_for_a_head(driver) {
        let origin = Origin::named("a");
        let gateway = gateway(driver, 1, &origin, vec![http().head_timeout(SHORT), http()]);
        let [short, usual] = gateway.http_addresses() else { panic!("two listeners") };
        let (mut short, mut usual) = (Client::connect(*short), Client::connect(*usual));
        for client in [&mut usual, &mut short] {
            client.send("GET / HTTP/1.1\r\nHost: app");
        }
        assert_eq!(short.response("GET").status(), 408);
        usual.send(".test\r\n\r\n");
        assert_eq!(usual.response("GET").text(), "a");
    }

    fn each_listener_has_its_own_limit_of_a_head(driver) {
        let origin = Origin::named("a");
        let listeners = vec![http().head_bytes_max(1024), http(), http().head_bytes_max(40 * 1024)];
        let gateway = gateway(driver, 1, &origin, listeners);
        let [small, usual, large] = gateway.http_addresses() else { panic!("three listeners") };
        let status = |address: std::net::SocketAddr, bytes: usize| {
            let mut client = Client::connect(address);
            let value = "v".repeat(bytes);
            client.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\nX-Long: {value}\r\n\r\n"));
            client.response("GET").status()
        };
        assert_eq!((status(*small, 900), status(*small, 1_100)), (200, 431));
        assert_eq!((status(*usual, 1_100), status(*usual, 17_000)), (200, 431));
        assert_eq!((status(*large, 39_000), status(*large, 41_000)), (200, 431));
    }

    fn each_listener_has_its_own_time_for_a_body(driver) {
        let origin = Origin::echo();
        let gateway = gateway(driver, 1, &origin, vec![http().read_timeout(SHORT), http()]);
        let [short, usual] = gateway.http_addresses() else { panic!("two listeners") };
        // A short body, and one that is long enough to be moved within the kernel.
        for length in [10, 1 << 20] {
            let (mut short, mut usual) = (Client::connect(*short), Client::connect(*usual));
            for client in [&mut usual, &mut short] {
                let head = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length:";
                client.send(format!("{head} {length}\r\n\r\nhello"));
            }
            assert_eq!(short.response("POST").status(), 408, "{length}");
            usual.send(vec![b'x'; length - 5]);
            assert_eq!(usual.response("POST").status(), 200, "{length}");
        }
    }

    fn each_listener_has_its_own_time_for_a_client_that_takes_nothing(driver) {
        let large = pattern(64 << 20);
        let origin = Origin::fixed(
            [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", large.len()).as_bytes(), &large].concat(),
            After::Keep,
        );
        let gateway = gateway(driver, 1, &origin, vec![http().write_timeout(SHORT)]);
        let address = gateway.http_addresses()[0];
        let mut client = Client::connect(address);
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        eventually("the response is given up", || {
            let connections = origin.connections();
            connections.iter().any(|one| one.text().contains("app.test") && one.has_ended()).then_some(())
        });
    }

    fn each_listener_has_its_own_mode(driver) {
        let origin = Origin::named("a");
        let listeners = vec![http().mode(HttpMode::Plain), http().mode(HttpMode::HttpsOnly)];
        let gateway = gateway(driver, 1, &origin, listeners);
        let [plain, closed] = gateway.http_addresses() else { panic!("two listeners") };
        assert_eq!(Client::connect(*plain).get("app.test", "/").text(), "a");
        assert_eq!(Client::connect(*closed).get("app.test", "/").status(), 421);
    }

    fn a_limit_of_connections_holds_for_tls_too(driver) {
        let origin = Origin::named("a");
        let https = Listener::https(vec!["127.0.0.1:0".parse().unwrap()]).connections_max(1);
        let gateway = gateway(driver, 1, &origin, vec![http(), https]);
        let address = gateway.https_addresses()[0];
        // Without a byte: the connection waits for its handshake.
        let waiting = Client::connect(address);
        let full = r#"ringway_connections_refused_total{core="0",reason="full"}"#;
        eventually("the next one is refused", || {
            let _next = Client::try_connect(address);
            let metrics = gateway.client().metrics().unwrap();
            metrics.lines().any(|line| line.starts_with(full) && !line.ends_with(" 0")).then_some(())
        });
        drop(waiting);
    }
}

#[test]
fn more_listeners_than_a_process_may_have_are_refused() {
    let addresses = vec!["127.0.0.1:0".parse().unwrap(); ringway::model::limits::LISTENERS_MAX + 1];
    let error = Gateway::builder().workers(1).listen(Listener::http(addresses)).spawn().unwrap_err();
    assert!(error.to_string().contains("257 addresses"), "{error}");
}
