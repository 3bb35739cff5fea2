//! Changes of the configuration and of keys while tokens are kept: the next request is judged by them.

use super::*;
use crate::kit::identity::Provider;
use crate::kit::tokens::{Signer, sha256};

on_both_drivers! {
    fn a_saved_document_judges_kept_tokens_anew(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let with = |change: fn(&mut Value)| {
            let mut auth = jwt(&provider);
            change(&mut auth["jwt"]);
            document(&origin, auth)
        };
        let site = Site::start(driver, &with(|_| {}));
        let token = bearer(&good.token(&provider.claims_with("scope", json!("read"))));
        // On each core.
        let all = |status: u16| {
            for _ in 0..16 {
                assert_eq!(site.ask("/in/a", &token).status(), status);
            }
        };
        site.await_status("/in/a", &token, 200);
        all(200);
        site.save(&with(|jwt| jwt["audience"] = json!("other")));
        all(401);
        site.save(&with(|jwt| jwt["audience"] = json!(["other", "api"])));
        all(200);
        site.save(&with(|jwt| jwt["require"] = json!({ "scope": "write" })));
        all(403);
        site.save(&with(|jwt| jwt["claims"] = json!({ "sub": "X-Subject" })));
        all(200);
        let request = origin.requests().pop().unwrap();
        assert_eq!((request.field("x-subject"), request.field("x-user")), (Some("alice"), None));
        assert_eq!(provider.key_requests(), 1, "no change needs the keys again");
        site.save(&with(|jwt| jwt["issuer"] = json!(jwt["issuer"].as_str().unwrap().replace("127.0.0.1", "localhost"))));
        all(401);
        site.save(&document(&origin, json!({ "api_key": { "keys": { "ci": sha256("k") } } })));
        all(401);
        assert_eq!(site.ask("/in/a", "X-API-Key: k\r\n").status(), 200);
        site.save(&document(&origin, json!({ "api_key": { "keys": { "ci": sha256("k2") } } })));
        assert_eq!(site.ask("/in/a", "X-API-Key: k\r\n").status(), 401);
        assert_eq!(site.ask("/in/a", "X-API-Key: k2\r\n").status(), 200);
    }

    fn a_key_that_is_removed_from_the_file_is_out(driver) {
        let origin = Origin::named("one");
        let (one, two) = (Signer::es256("k1"), Signer::rs256("k2"));
        let provider = Provider::new(&[]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let put = |keys: &[&Signer]| {
            let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
            tls::put(&path, &json!({ "keys": keys }).to_string());
        };
        put(&[&one, &two]);
        let mut auth = jwt(&provider);
        auth["jwt"]["jwks_file"] = json!(path.to_str().unwrap());
        let site = Site::start(driver, &document(&origin, auth));
        let (first, second) = (bearer(&provider.token(&one)), bearer(&provider.token(&two)));
        site.await_status("/in/a", &first, 200);
        assert_eq!(site.ask("/in/a", &second).status(), 200);
        put(&[&two]);
        site.await_status("/in/a", &first, 401);
        for _ in 0..16 {
            assert_eq!((site.ask("/in/a", &first).status(), site.ask("/in/a", &second).status()), (401, 200));
        }
        // Another key of the same name.
        put(&[&Signer::rs256("k2")]);
        site.await_status("/in/a", &second, 401);
        assert_eq!((provider.key_requests(), provider.configuration_requests()), (0, 0));
    }
}
