//! Identity providers that rotate their keys, that are down, slow or wrong, and that flood.

use super::*;
use crate::kit::identity::{Answer, Provider};
use crate::kit::tokens::Signer;

/// One protected route `/NUMBER` for each provider, and an open one.
fn document_of(origin: &Origin, providers: &[&Provider]) -> Value {
    let mut all = document(origin, json!({ "api_key": { "keys": { "ci": "0".repeat(64) } } }));
    for (number, provider) in providers.iter().enumerate() {
        let route = json!({
            "id": format!("r{number}"), "host": HOST, "path_prefix": format!("/{number}"), "pool": "app",
            "middleware": [{ "type": "auth", "config": jwt(provider) }],
        });
        all["routes"].as_array_mut().unwrap().push(route);
    }
    all
}

/// Statuses of requests that are sent at the same time, each with its field lines.
fn at_once(site: &Site<Proxy>, requests: &[String]) -> Vec<u16> {
    let mut clients: Vec<Client> = requests
        .iter()
        .zip(0..)
        .map(|(fields, number): (_, u8)| {
            let mut client = Client::connect_from([127, 0, 2, number], site.proxy.http());
            client.send(format!("GET /in/a HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"));
            client
        })
        .collect();
    clients.iter_mut().map(|client| client.response("GET").status()).collect()
}

on_both_drivers! {
    fn an_unknown_key_causes_one_refresh_for_all(driver) {
        let origin = Origin::named("one");
        let (old, new) = (Signer::es256("old"), Signer::es256("new"));
        let provider = Provider::new(&[&old]);
        let site = Site::start(driver, &document(&origin, jwt(&provider)));
        site.await_status("/in/a", &bearer(&provider.token(&old)), 200);
        assert_eq!(provider.key_requests(), 1);

        provider.rotate(&[&old, &new]);
        let requests = vec![bearer(&provider.token(&new)); 60];
        assert_eq!(at_once(&site, &requests), [200; 60], "requests with the new key wait for it");
        assert_eq!(provider.key_requests(), 2);
        assert_eq!(site.ask("/in/a", &bearer(&provider.token(&old))).status(), 200);

        let unknown: Vec<String> = (0..60)
            .map(|number| {
                let header = json!({ "alg": "ES256", "kid": format!("random-{number}") });
                bearer(&new.token_with(&header, &provider.claims()))
            })
            .collect();
        assert_eq!(at_once(&site, &unknown), [401; 60]);
        // A machine that is slow may have needed longer than the pause between two refreshes.
        assert!(provider.key_requests() <= 3, "{}", provider.key_requests());
    }

    fn tokens_are_not_judged_before_the_first_keys(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        provider.die();
        let site = Site::secure(driver, &document(&origin, jwt(&provider)));
        let token = provider.token(&good);
        let answer = site.ask("/in/a", &bearer(&token));
        assert_eq!(refusal(&answer), (503, "auth_unavailable".to_owned()), "a client may try again");
        assert!(answer.field("retry-after").is_some());
        assert_eq!(answer.field("www-authenticate"), None);
        assert_eq!(site.ask_h2("/in/a", &[("authorization", &format!("Bearer {token}"))]).status(), 503);
        // These need no keys to be refused.
        assert_eq!(site.ask("/in/a", "").status(), 401);
        assert_eq!(site.ask("/in/a", &bearer("junk")).status(), 401);
        assert_eq!(site.ask("/in/a", &bearer(&good.token(&provider.claims_with("exp", json!(1))))).status(), 401);
        assert_eq!(site.ask("/open", "").status(), 200);
        assert_eq!(origin.request_count(), 1);
        eventually("a warning in the status", || {
            let status = site.proxy.api().get("/api/status").is(200).json;
            status["warnings"].to_string().contains(&provider.issuer()).then_some(())
        });
        provider.revive();
        site.await_status("/in/a", &bearer(&token), 200);
        eventually("no warning in the status", || {
            let status = site.proxy.api().get("/api/status").is(200).json;
            (!status["warnings"].to_string().contains(&provider.issuer())).then_some(())
        });
    }

    fn the_last_good_keys_serve_while_the_provider_is_down_and_over_a_restart(driver) {
        let origin = Origin::named("one");
        let (good, other) = (Signer::es256("k1"), Signer::es256("k2"));
        let provider = Provider::new(&[&good]);
        let site = Site::start(driver, &document(&origin, jwt(&provider)));
        site.await_status("/in/a", &bearer(&provider.token(&good)), 200);

        provider.die();
        assert_eq!(site.ask("/in/a", &bearer(&provider.token(&other))).status(), 401, "no one has this key");
        eventually("the failed refresh", || site.logs(&["credentials cannot be loaded"]).then_some(()));
        let fresh = provider.claims_with("sub", json!("bob"));
        assert_eq!(site.ask("/in/a", &bearer(&good.token(&fresh))).status(), 200, "not from the cache");

        let site = site.restart();
        let token = bearer(&provider.token(&good));
        assert_eq!(site.ask("/in/a", &token).status(), 200, "keys from the disk, with the first request");
        assert_eq!(site.ask("/in/a", &bearer(&provider.token(&other))).status(), 401);
        assert_eq!(provider.key_requests(), 1);

        // Rotated in the meantime: the kept keys serve only until the provider answers.
        provider.rotate(&[&other]);
        provider.revive();
        site.await_status("/in/a", &bearer(&provider.token(&other)), 200);
        assert_eq!(site.ask("/in/a", &token).status(), 401, "a key that the provider has withdrawn");
    }

    fn wrong_answers_give_no_keys_until_the_right_ones_come(driver) {
        let origin = Origin::named("one");
        let elsewhere = Provider::new(&[&Signer::es256("k1")]);
        let evil = Signer::es256("k1");
        let evil_set = json!({ "keys": [evil.jwk()] }).to_string();
        let twice = format!("{{\"keys\":[{0}],\"keys\":[{0}]}}", evil.jwk());
        let secret = json!({ "keys": [{ "kty": "oct", "kid": "k1", "alg": "HS256", "k": "A".repeat(64) }] });
        let many = json!({ "keys": vec![evil.jwk(); 65] }).to_string();
        let padded = json!({ "keys": [evil.jwk()], "padding": "x".repeat(300 * 1024) }).to_string();
        let answers = [
            ("another issuer", Answer::Issuer("https://evil.example".to_owned()), "is of issuer"),
            ("an issuer with a slash", Answer::Issuer("SELF/".to_owned()), "is of issuer"),
            ("garbage", Answer::Text("<html>login</html>".to_owned()), "is not JSON"),
            ("no configuration", Answer::Text("{}".to_owned()), "names no issuer"),
            ("keys in place of the configuration", Answer::Text(evil_set), "names no issuer"),
            ("garbage as keys", Answer::Keys("keys".to_owned()), "no JSON object"),
            ("no keys", Answer::Keys(json!({ "keys": [] }).to_string()), "no key that verifies"),
            ("two lists of keys", Answer::Keys(twice), "no JSON object"),
            ("a secret", Answer::Keys(secret.to_string()), "no key that verifies"),
            ("too many keys", Answer::Keys(many), "more than"),
            ("too many bytes", Answer::Keys(padded), "larger than"),
            ("status 500", Answer::Status(500), "status 500"),
            ("status 404", Answer::Status(404), "status 404"),
            ("a redirect", Answer::Redirect(elsewhere.issuer()), "status 302"),
            ("a body without an end", Answer::Flood, "larger than"),
            ("a head without an end", Answer::EndlessHead, "not valid HTTP"),
            ("the end of the connection", Answer::Hangup, ""),
        ];
        let good = Signer::es256("k1");
        let providers: Vec<Provider> = answers.iter().map(|_| Provider::new(&[&good])).collect();
        for (provider, (_, answer, _)) in providers.iter().zip(&answers) {
            provider.answer(match answer {
                Answer::Issuer(text) => Answer::Issuer(text.replace("SELF", &provider.issuer())),
                answer => answer.clone(),
            });
        }
        let site = Site::start(driver, &document_of(&origin, &providers.iter().collect::<Vec<_>>()));
        for ((name, _, reason), (number, provider)) in answers.iter().zip(providers.iter().enumerate()) {
            let path = format!("/{number}/a");
            eventually(&format!("a reason in the log: {name}"), || {
                site.logs(&["credentials cannot be loaded", &provider.issuer(), reason]).then_some(())
            });
            for signer in [&good, &evil] {
                let answer = site.ask(&path, &bearer(&provider.token(signer)));
                assert_eq!(refusal(&answer), (503, "auth_unavailable".to_owned()), "{name}");
            }
        }
        assert_eq!(elsewhere.key_requests() + elsewhere.configuration_requests(), 0, "no redirect is followed");
        assert_eq!(origin.request_count(), 0);
        providers.iter().for_each(|provider| provider.answer(Answer::Good));
        for (number, provider) in providers.iter().enumerate() {
            site.await_status(&format!("/{number}/a"), &bearer(&provider.token(&good)), 200);
            assert_eq!(site.ask(&format!("/{number}/a"), &bearer(&provider.token(&evil))).status(), 401);
        }
    }

    fn a_wrong_answer_does_not_replace_good_keys(driver) {
        let origin = Origin::named("one");
        let (good, evil) = (Signer::es256("k1"), Signer::es256("k2"));
        let answers = [
            Answer::Issuer("https://evil.example".to_owned()),
            Answer::Text("garbage".to_owned()),
            Answer::Keys(json!({ "keys": [] }).to_string()),
            Answer::Status(500),
            Answer::Flood,
        ];
        let providers: Vec<Provider> = answers.iter().map(|_| Provider::new(&[&good])).collect();
        let site = Site::start(driver, &document_of(&origin, &providers.iter().collect::<Vec<_>>()));
        for ((number, provider), answer) in providers.iter().enumerate().zip(answers) {
            let path = format!("/{number}/a");
            site.await_status(&path, &bearer(&provider.token(&good)), 200);
            provider.answer(answer);
            provider.rotate(&[&evil]);
            assert_eq!(site.ask(&path, &bearer(&provider.token(&evil))).status(), 401);
            eventually("the failed refresh", || site.logs(&["cannot be loaded", &provider.issuer()]).then_some(()));
            let other = provider.claims_with("sub", json!("bob"));
            assert_eq!(site.ask(&path, &bearer(&good.token(&other))).status(), 200);
        }
    }

    fn slow_providers_delay_their_own_tokens_alone(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let gate = Gate::new();
        let slow = Provider::new(&[&good]);
        slow.answer(Answer::After(gate.clone()));
        let quick = Provider::new(&[&good]);
        let site = Site::start(driver, &document_of(&origin, &[&slow, &quick]));
        site.await_status("/1/a", &bearer(&quick.token(&good)), 200);
        assert_eq!(site.ask("/open", "").status(), 200);
        let token = bearer(&slow.token(&good));
        assert_eq!(refusal(&site.ask("/0/a", &token)), (503, "auth_unavailable".to_owned()));
        assert_eq!(slow.key_requests(), 0);
        // One request for the configuration and one for the keys, and those of repeated loads.
        (0..20).for_each(|_| gate.open());
        site.await_status("/0/a", &token, 200);
    }
}
