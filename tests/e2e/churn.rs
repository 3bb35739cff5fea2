//! Continuous changes without effect on requests and connections in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::kit::*;

const CHANGES: usize = 1_000;
const WEBSOCKETS: usize = 50;

on_both_drivers! {
    fn a_thousand_changes_disturb_no_stream_and_no_request(driver) {
        let sockets = Origin::websocket_echo("sockets");
        let origin = Origin::echo();
        let proxy = Proxy::serving(driver, &origin);
        proxy.serve("sockets", "sockets.test", &sockets);
        let mut open: Vec<Client> = (0..WEBSOCKETS)
            .map(|_| {
                let mut client = proxy.client();
                ws::open(&mut client, "sockets.test", "/");
                client
            })
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(AtomicUsize::new(0));
        let load: Vec<_> = (0..4)
            .map(|number| {
                let (stop, requests, address) = (Arc::clone(&stop), Arc::clone(&requests), proxy.http());
                std::thread::spawn(move || {
                    let mut client = Client::connect(address);
                    let body = pattern(2_000 + number);
                    while !stop.load(Ordering::SeqCst) {
                        let mut bytes = format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
                        bytes.extend_from_slice(&body);
                        client.send(&bytes);
                        let answer = client.response("POST");
                        assert!(answer.status() == 200 && answer.body == body, "{}", answer.first_line);
                        requests.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        // One connection, kept alive: what an app's client does.
        let mut api = Client::connect(proxy.api_address());
        let address = proxy.api_address();
        let mut call = |method: &str, path: &str, body: Value| {
            let body = body.to_string();
            api.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            let answer = api.within(SOON_ON_DISK).patient_response(method);
            assert!(answer.status() < 300, "{method} {path}: {} {}", answer.first_line, answer.text());
        };
        for number in 0..CHANGES {
            let name = format!("d{}.test", number % 100);
            match number % 4 {
                0 => call("POST", "/api/tenants/domains", json!({ "domain": name, "app_id": "app", "type": "subdomain" })),
                1 => call("POST", "/api/apps/instances", json!({ "app_id": "app", "instance_id": "comes-and-goes", "target": origin.target() })),
                2 => call("DELETE", "/api/apps/instances", json!({ "instance_id": "comes-and-goes" })),
                _ => call("DELETE", "/api/tenants/domains", json!({ "domain": format!("d{}.test", (number - 3) % 100) })),
            }
            if number % 100 == 0 {
                let socket = number / 100;
                ws::ping_pong(&mut open[socket], "still here");
            }
        }
        stop.store(true, Ordering::SeqCst);
        for thread in load {
            thread.join().expect("no request failed");
        }
        assert!(requests.load(Ordering::SeqCst) > 0);
        for client in &mut open {
            ws::ping_pong(client, "to the end");
        }
        assert_eq!(sockets.connections().len(), WEBSOCKETS, "no socket was opened twice");
    }
}
