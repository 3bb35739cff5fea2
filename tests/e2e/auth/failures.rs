//! Clients that fail often, and tokens beyond what is kept.

use super::*;
use crate::kit::identity::Provider;
use crate::kit::tokens::Signer;

/// A process with one core: failures are counted by core.
fn one_core(driver: Driver, document: &Value) -> Site<Proxy> {
    Site::of(Proxy::on(driver).env("PROXY_WORKERS", "1"), document)
}

/// Statuses of requests on one connection, sent together.
fn pipelined(site: &Site<Proxy>, source: [u8; 4], requests: &[String]) -> Vec<u16> {
    let mut client = Client::connect_from(source, site.proxy.http());
    let mut statuses = Vec::new();
    for some in requests.chunks(50) {
        let text: String =
            some.iter().map(|fields| format!("GET /in/a HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).collect();
        client.send(text);
        statuses.extend(some.iter().map(|_| client.response("GET").status()));
    }
    statuses
}

on_both_drivers! {
    fn a_client_that_fails_often_is_not_judged_for_a_while(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let site = one_core(driver, &document(&origin, jwt(&provider)));
        let (failing, other) = ([127, 0, 0, 7], [127, 0, 0, 8]);
        let cached = bearer(&provider.token(&good));
        eventually("the keys", || (site.ask_from(failing, "/in/a", &cached).status() == 200).then_some(()));

        // Requests without credentials are no failures.
        assert_eq!(pipelined(&site, failing, &vec![String::new(); 120]), [401; 120]);
        let forged = bearer(&Signer::es256("k1").token(&provider.claims()));
        let first = pipelined(&site, failing, &vec![forged.clone(); 50]);
        assert_eq!(first, [401; 50], "the burst");
        let throttled = eventually("a refusal without a judgement", || {
            let answer = site.ask_from(failing, "/in/a", &forged);
            (answer.status() == 429).then_some(answer)
        });
        assert_eq!(refusal(&throttled).1, "too_many_failures");
        assert!(throttled.field("retry-after").is_some());
        assert_eq!(throttled.field("www-authenticate"), None);
        assert_eq!(site.ask_from(failing, "/in/a", &cached).status(), 200, "a verified token costs nothing");
        assert_eq!(site.ask_from(other, "/in/a", &forged).status(), 401, "another client");
        let fresh = bearer(&good.token(&provider.claims_with("sub", json!("bob"))));
        assert_eq!(site.ask_from(other, "/in/a", &fresh).status(), 200);
        let new = bearer(&good.token(&provider.claims_with("sub", json!("carol"))));
        eventually("it is judged again", || (site.ask_from(failing, "/in/a", &new).status() == 200).then_some(()));
    }

    fn more_tokens_than_are_kept_are_admitted(driver) {
        let origin = Origin::forgetful(|connection| {
            while connection.request().is_ok() {
                connection.reply(200, b"");
            }
        });
        let good = Signer::eddsa("k1");
        let provider = Provider::new(&[&good]);
        let site = one_core(driver, &document(&origin, jwt(&provider)));
        let token = |number: usize| bearer(&good.token(&provider.claims_with("sub", json!(format!("user-{number}")))));
        site.await_status("/in/a", &token(0), 200);
        // A core keeps 4,096.
        let tokens: Vec<String> = (0..4_200).map(token).collect();
        let mut statuses = pipelined(&site, [127, 0, 0, 1], &tokens);
        statuses.extend(pipelined(&site, [127, 0, 0, 1], &tokens[..100]));
        statuses.dedup();
        assert_eq!(statuses, [200]);
    }
}
