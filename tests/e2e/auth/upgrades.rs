//! WebSocket upgrades: judged before the 101, and not after it.

use super::*;
use crate::kit::identity::Provider;
use crate::kit::tokens::{Signer, sha256};

/// An upgrade with these field lines.
fn upgrade(path: &str, fields: &str) -> String {
    ws::upgrade(HOST, path).replace("\r\n\r\n", &format!("\r\n{fields}\r\n"))
}

on_both_drivers! {
    fn upgrades_are_authenticated_before_the_101(driver) {
        let origin = Origin::websocket_echo("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let any = json!({ "any_of": [jwt(&provider), { "api_key": { "keys": { "ci": sha256("k") }, "user_header": "X-User" } }] });
        let site = Site::start(driver, &document(&origin, any));
        let refused = [
            String::new(),
            bearer("junk"),
            bearer(&good.token(&provider.claims_with("exp", json!(1)))),
            bearer(&good.token(&provider.claims_with("aud", json!("other")))),
            "X-API-Key: wrong\r\n".to_owned(),
            format!("Sec-WebSocket-Protocol: bearer, {}\r\n", provider.token(&good)),
            format!("Cookie: session={}\r\n", provider.token(&good)),
        ];
        for fields in refused {
            let mut client = site.proxy.client();
            client.send(upgrade("/in/chat", &fields));
            // Bytes of a client that takes the upgrade for granted.
            let _ = client.try_send(ws::masked(ws::TEXT, b"early"));
            let answer = client.response("GET");
            assert_eq!(answer.status(), 401, "{fields}");
            assert!(!answer.all("www-authenticate").is_empty());
        }
        assert_eq!(origin.connections().len(), 0, "not a byte reached the origin");
        for (fields, user) in [(bearer(&provider.token(&good)), "alice"), ("X-API-Key: k\r\n".to_owned(), "ci")] {
            let mut client = site.proxy.client();
            client.send(upgrade("/in/chat", &format!("{fields}X-User: root\r\nX_User: root\r\n")));
            let answer = client.response_head("GET");
            assert_eq!(answer.status(), 101, "{answer:?}");
            ws::ping_pong(&mut client, "hello");
            let request = origin.requests().pop().unwrap();
            assert_eq!((request.all("x-user"), request.all("x_user")), (vec![user], vec![]));
            assert_eq!(request.field("x-api-key"), None);
        }
    }
}
