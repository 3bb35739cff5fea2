//! Distribution of connections over the cores: even in spite of the kernel's hash, without losing any.

use std::net::SocketAddr;

use crate::kit::tls::Authority;
use crate::kit::*;

const CORES: usize = 4;
const CONNECTIONS: usize = 64;
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

fn four(driver: Driver) -> proxy::Builder {
    Proxy::on(driver).env("PROXY_WORKERS", &CORES.to_string())
}

/// A number of each core, by its name in the metrics.
fn of_each_core(proxy: &Proxy, name: &str) -> Vec<usize> {
    let text = proxy.api().get("/metrics").is(200).message.text();
    let samples = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("{core=\""));
    samples.map(|sample| sample.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

/// No core is ahead of another by more than an eighth and one, and the connection that it was still given.
fn assert_even(proxy: &Proxy, connections: usize) {
    let open = of_each_core(proxy, "ringway_connections_open");
    assert_eq!((open.len(), open.iter().sum()), (CORES, connections), "{open:?}");
    let (least, most) = (open.iter().min().unwrap(), open.iter().max().unwrap());
    assert!(*most <= least + least / 8 + 2, "{open:?}");
    let accepted = of_each_core(proxy, "ringway_connections_accepted_total");
    assert_eq!(accepted, open, "each is counted where it is served, and once");
}

fn descriptors(proxy: &Proxy) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count()
}

/// Connections with an answer each, one after the other.
fn connected(count: usize, connect: impl Fn() -> Client) -> Vec<Client> {
    let one = || {
        let mut client = connect();
        client.send(REQUEST);
        assert_eq!(client.response("GET").status(), 200);
        client
    };
    (0..count).map(|_| one()).collect()
}

fn assert_all_answer(clients: &mut [Client]) {
    for client in clients {
        assert_eq!(client.get("app.test", "/").status(), 200);
    }
}

on_both_drivers! {
    fn long_connections_are_spread_evenly(driver) {
        let origin = Origin::named("a");
        let proxy = four(driver).start();
        proxy.serve("app", "app.test", &origin);
        let mut clients = connected(CONNECTIONS, || proxy.client());
        assert_even(&proxy, CONNECTIONS);
        assert_all_answer(&mut clients);
    }

    fn connections_over_tls_are_spread_evenly(driver) {
        let (origin, authority, folder) = (Origin::named("a"), Authority::new("the tests' own"), tempfile::tempdir().unwrap());
        let (certificate, key) = authority.server(&["app.test"]).write(folder.path(), "default");
        let proxy = four(driver)
            .env("PROXY_HTTPS_PORT", "0")
            .env("PROXY_TLS_CERT", certificate.to_str().unwrap())
            .env("PROXY_TLS_KEY", key.to_str().unwrap())
            .start();
        proxy.serve("app", "app.test", &origin);
        let tls = Tls::new(&authority, "app.test");
        let mut clients = connected(CONNECTIONS, || tls.connect(proxy.https()));
        assert_even(&proxy, CONNECTIONS);
        assert_all_answer(&mut clients);
    }

    fn connections_of_a_balancer_are_spread_evenly(driver) {
        let origin = Origin::named("a");
        let proxy = four(driver).env("PROXY_PROXY_PROTOCOL", "127.0.0.1/32").start();
        proxy.serve("app", "app.test", &origin);
        let connect = || {
            let mut client = proxy.client();
            client.send("PROXY TCP4 203.0.113.9 192.0.2.1 49153 80\r\n");
            client
        };
        let mut clients = connected(CONNECTIONS, connect);
        assert_even(&proxy, CONNECTIONS);
        assert_all_answer(&mut clients);
        assert_eq!(origin.requests()[0].field("x-forwarded-for"), Some("203.0.113.9"));
    }

    fn a_crowd_that_comes_at_once_is_served_and_counted_once(driver) {
        // An origin that leaves nothing for the pools, whose descriptors would be in the way.
        let origin = Origin::http(|_, connection| {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na");
            After::Close
        });
        let proxy = four(driver).start();
        proxy.serve("app", "app.test", &origin);
        let before = descriptors(&proxy);
        let address: SocketAddr = proxy.http();
        let crowd = || {
            let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(address)).collect();
            for client in &mut clients {
                client.send(REQUEST);
            }
            for client in &mut clients {
                assert_eq!(client.response("GET").status(), 200);
            }
            clients
        };
        let crowds: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(crowd)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let open: usize = of_each_core(&proxy, "ringway_connections_open").iter().sum();
        let accepted: usize = of_each_core(&proxy, "ringway_connections_accepted_total").iter().sum();
        assert_eq!((open, accepted), (4 * CONNECTIONS, 4 * CONNECTIONS));
        drop(crowds);
        eventually("all are closed", || {
            of_each_core(&proxy, "ringway_connections_open").iter().all(|&open| open == 0).then_some(())
        });
        eventually("no descriptor is left behind", || (descriptors(&proxy) <= before).then_some(()));
    }

    fn no_connection_is_turned_away_while_another_core_has_room(driver) {
        let origin = Origin::named("a");
        let proxy = four(driver).env("PROXY_CONNECTIONS_MAX", "4").start();
        proxy.serve("app", "app.test", &origin);
        let mut clients = connected(4 * CORES, || proxy.client());
        assert_eq!(of_each_core(&proxy, "ringway_connections_open"), [4; CORES]);
        let mut late = proxy.client();
        assert_eq!(late.response("GET").status(), 503);
        assert_all_answer(&mut clients);
    }

    fn a_drain_answers_those_that_were_handed_over_too(driver) {
        let origin = Origin::named("a");
        let mut proxy = four(driver).start();
        proxy.serve("app", "app.test", &origin);
        let mut clients = Vec::new();
        for _ in 0..100 {
            let mut client = proxy.client();
            client.send(REQUEST);
            clients.push(client);
        }
        proxy.sigterm();
        for (number, client) in clients.iter_mut().enumerate() {
            let answer = client.try_response("GET");
            assert!(answer.as_ref().is_ok_and(|answer| answer.status() == 200), "connection {number}: {answer:?}");
        }
        assert_eq!(proxy.wait_exit().code(), Some(0));
    }

    fn a_single_core_keeps_what_it_accepts(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("PROXY_WORKERS", "1").start();
        proxy.serve("app", "app.test", &origin);
        let _clients = connected(10, || proxy.client());
        assert_eq!(of_each_core(&proxy, "ringway_connections_open"), [10]);
        assert_eq!(of_each_core(&proxy, "ringway_connections_handed_over_total"), [0]);
    }
}
