//! Selection of instances: round robin, failover, circuit breakers, stale pooled connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::kit::*;

/// A proxy whose health checks do not get in the way of what is tested here.
fn unchecked(driver: Driver) -> Proxy {
    Proxy::on(driver).env("HEALTH_CHECK_INTERVAL", "300s").start()
}

on_both_drivers! {
    fn every_instance_has_its_turn(driver) {
        let origins: Vec<Origin> = ["a", "b", "c"].into_iter().map(Origin::named).collect();
        let proxy = unchecked(driver);
        proxy.serve("app", "app.test", &origins[0]);
        proxy.api().add("app", "app-2", &origins[1].target());
        proxy.api().add("app", "app-3", &origins[2].target());
        // On one core each gets exactly its share …
        let mut client = proxy.client();
        for _ in 0..30 {
            client.get("app.test", "/");
        }
        for origin in &origins {
            assert_eq!(origin.request_count(), 10);
        }
        // … and over all cores at most one more or less per core.
        for _ in 0..60 {
            proxy.get("app.test", "/");
        }
        for origin in &origins {
            let count = origin.request_count();
            assert!((28..=32).contains(&count), "{count} of 90 requests");
        }
    }

    fn a_dead_instance_costs_no_request(driver) {
        let (alive, dead) = (Origin::named("alive"), Origin::named("dead"));
        let proxy = unchecked(driver);
        proxy.serve("app", "app.test", &alive);
        proxy.api().add("app", "app-2", &dead.target());
        let mut clients = [proxy.client(), proxy.client(), proxy.client(), proxy.client()];
        for client in &mut clients {
            client.get("app.test", "/");
            client.get("app.test", "/");
        }
        assert!(dead.request_count() > 0);
        dead.die();
        for _ in 0..10 {
            for client in &mut clients {
                client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello");
                let answer = client.response("POST");
                assert_eq!((answer.status(), answer.text().as_str()), (200, "alive"));
            }
        }
    }

    fn an_instance_returns_to_the_rotation(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let proxy = Proxy::serving(driver, &one);
        proxy.api().add("app", "app-2", &two.target());
        two.die();
        eventually("the dead instance is seen to be so", || {
            assert_eq!(proxy.get("app.test", "/").status(), 200);
            (proxy.api().instance("app", "app-2")["health"] == "unhealthy").then_some(())
        });
        two.revive();
        let mut client = proxy.client();
        eventually_within(Duration::from_secs(60), "the instance is back in rotation", || {
            let answer = client.get("app.test", "/");
            assert_eq!(answer.status(), 200);
            (answer.text() == "two").then_some(())
        });
    }

    fn a_breaker_opens_after_five_failures_on_all_cores_at_once(driver) {
        let origin = Origin::named("a");
        origin.die();
        let proxy = unchecked(driver);
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        for number in 1..=5 {
            let answer = client.get("app.test", "/");
            assert_eq!(answer.status(), 502);
            assert!(answer.all("x-proxy-circuit-open").is_empty(), "open after {number} failures already");
        }
        // On every core: these connections spread over both.
        for _ in 0..16 {
            let answer = proxy.get("app.test", "/");
            assert_eq!(answer.status(), 502);
            assert!(answer.field("x-proxy-circuit-open").is_some(), "{answer:?}");
            assert!(answer.field("retry-after").is_some_and(|after| after.parse::<u32>().unwrap() <= 31), "{answer:?}");
        }
        eventually("the API tells it", || (proxy.api().instance("app", "app-1")["circuit_breaker"] == "open").then_some(()));
        // Half-open after 30 s: the first request that gets through closes it.
        origin.revive();
        eventually_within(Duration::from_secs(90), "the breaker closes", || {
            (client.get("app.test", "/").status() == 200).then_some(())
        });
        for _ in 0..16 {
            assert_eq!(proxy.get("app.test", "/").status(), 200);
        }
        eventually("the API tells it", || (proxy.api().instance("app", "app-1")["circuit_breaker"] == "closed").then_some(()));
    }

    fn a_breaker_is_one_instances_own(driver) {
        let (good, bad) = (Origin::named("good"), Origin::http(|_, _| After::Reset));
        let proxy = unchecked(driver);
        proxy.serve("app", "app.test", &good);
        proxy.api().add("app", "app-2", &bad.target());
        for _ in 0..30 {
            proxy.get("app.test", "/");
        }
        let attempts = bad.request_count();
        assert!((5..=7).contains(&attempts), "{attempts} requests reached the bad instance before its breaker opened");
        let mut client = proxy.client();
        for _ in 0..10 {
            assert_eq!(client.get("app.test", "/").text(), "good");
        }
        assert_eq!(bad.request_count(), attempts);
    }

    fn statuses_that_an_app_lists_count_against_the_instance(driver) {
        // They are passed on, and counted.
        let (good, bad) = (Origin::named("good"), Origin::fixed("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", After::Keep));
        let proxy = unchecked(driver);
        proxy.serve("app", "app.test", &good);
        proxy.api().add("app", "app-2", &bad.target());
        let body = json!({ "app_id": "app", "failures": { "statuses": [503] } });
        proxy.api().post("/api/apps/register", &body).is(200);
        let mut client = proxy.client();
        let statuses: Vec<u16> = (0..30).map(|_| client.get("app.test", "/").status()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 5, "{statuses:?}");
        assert_eq!(bad.request_count(), 5);
    }

    fn a_success_between_failures_keeps_the_breaker_closed(driver) {
        let count = AtomicUsize::new(0);
        let origin = Origin::http(move |_, connection| {
            // Four failures, one success, and so on.
            if count.fetch_add(1, Ordering::SeqCst) % 5 < 4 {
                return After::Reset;
            }
            connection.reply(200, b"ok");
            After::Keep
        });
        let proxy = unchecked(driver);
        proxy.serve("app", "app.test", &origin);
        for _ in 0..20 {
            let answer = proxy.client_post("app.test");
            assert!(answer.all("x-proxy-circuit-open").is_empty(), "{answer:?}");
        }
        assert_eq!(origin.request_count(), 20);
    }

    fn a_connection_that_the_origin_closed_meanwhile_is_not_used(driver) {
        let origin = Origin::echo();
        let proxy = unchecked(driver);
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        for round in 1..=5 {
            client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello");
            let answer = client.response("POST");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"), "round {round}");
            origin.cut();
        }
        assert_eq!(origin.request_count(), 5, "nothing was sent twice");
    }

    fn a_get_that_meets_a_stale_connection_is_sent_once_more(driver) {
        // Answers once per connection and hangs up on the second request.
        let origin = Origin::script(|connection| {
            for number in 0.. {
                let Ok(request) = connection.request() else { return };
                connection.remember(&request);
                if number == 1 {
                    return;
                }
                connection.reply(200, b"ok");
            }
        });
        let proxy = unchecked(driver);
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        for round in 0..6 {
            assert_eq!(client.get("app.test", &format!("/{round}")).status(), 200, "round {round}");
        }
    }

    fn a_post_that_may_have_arrived_is_never_sent_twice(driver) {
        let origin = Origin::script(|connection| {
            for number in 0.. {
                let Ok(request) = connection.request() else { return };
                connection.remember(&request);
                if number == 1 {
                    return;
                }
                connection.reply(200, b"ok");
            }
        });
        let proxy = unchecked(driver);
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        assert_eq!(client.get("app.test", "/first").status(), 200);
        client.send("POST /pay HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nmoney");
        assert_eq!(client.response("POST").status(), 502);
        let paid = origin.requests().iter().filter(|request| request.target() == "/pay").count();
        assert_eq!(paid, 1);
    }

    fn upstream_connections_are_shared_by_clients_of_a_core(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("PROXY_WORKERS", "1").env("HEALTH_CHECK_INTERVAL", "300s").start();
        proxy.serve("app", "app.test", &origin);
        for _ in 0..20 {
            assert_eq!(proxy.get("app.test", "/").status(), 200);
        }
        assert_eq!(origin.connections().len(), 1);
    }

    fn an_origin_that_closes_gets_a_new_connection(driver) {
        let origin = Origin::fixed("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", After::Keep);
        let proxy = unchecked(driver);
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        for _ in 0..3 {
            assert_eq!(client.get("app.test", "/").text(), "ok");
        }
        assert_eq!(origin.connections().len(), 3);
    }
}
