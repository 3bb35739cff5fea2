//! Tokens: those of the identity provider reach the origin with their claims; all others are refused, with
//! the challenge of RFC 6750 §3.

use super::*;
use crate::kit::identity::Provider;
use crate::kit::tokens::{Signer, now, unsigned};

/// A request whose token is refused.
struct Refused {
    name: &'static str,
    token: String,
}

/// Tokens that are refused as they are: `good` is the provider's key, `other` one that it does not have.
fn bad_tokens(provider: &Provider, good: &Signer, other: &Signer) -> Vec<Refused> {
    let case = |name, token| Refused { name, token };
    let claim = |name, claim, value| case(name, good.token(&provider.claims_with(claim, value)));
    let header = |name, header: Value| case(name, good.token_with(&header, &provider.claims()));
    let whole = provider.token(good);
    let part = |at: usize| whole.split('.').nth(at).unwrap().to_owned();
    let stranger = Signer::es256(&good.id);
    vec![
        claim("expired", "exp", json!(now() - 3600)),
        claim("without expiry", "exp", Value::Null),
        claim("with an expiry that is text", "exp", json!((now() + 600).to_string())),
        claim("not valid yet", "nbf", json!(now() + 3600)),
        claim("of the future", "iat", json!(now() + 3600)),
        claim("for another audience", "aud", json!("other")),
        claim("without audience", "aud", Value::Null),
        claim("for other audiences", "aud", json!(["other", "apis"])),
        claim("of a list of issuers", "iss", json!([provider.issuer()])),
        claim("without issuer", "iss", Value::Null),
        claim("of another issuer", "iss", json!("https://evil.example")),
        claim("of an issuer with a slash", "iss", json!(format!("{}/", provider.issuer()))),
        case("unsigned", format!("{}.", unsigned(&json!({ "alg": "none" }), &provider.claims()))),
        case(
            "unsigned with the key's id",
            format!("{}.", unsigned(&json!({ "alg": "none", "kid": good.id }), &provider.claims())),
        ),
        case("with a cut signature", whole[..whole.len() - 4].to_owned()),
        case("without a signature", format!("{}.{}.", part(0), part(1))),
        case("without claims", format!("{}..{}", part(0), part(2))),
        case("of five parts", format!("{whole}.a.b")),
        case("of no parts", "junk".to_owned()),
        case("of the key's id, and another key", stranger.token(&provider.claims())),
        case("of an unknown key", other.token(&provider.claims())),
        header("of another family", json!({ "alg": "RS256", "kid": good.id })),
        header("with a secret's algorithm", json!({ "alg": "HS256", "kid": good.id })),
        header("with its own key", json!({ "alg": "ES256", "kid": good.id, "jwk": other.jwk() })),
        header("with a URL of keys", json!({ "alg": "ES256", "kid": good.id, "jku": "http://127.0.0.1:1/" })),
        header("with extensions", json!({ "alg": "ES256", "kid": good.id, "crit": ["x"], "x": 1 })),
        header("of another type", json!({ "alg": "ES256", "kid": good.id, "typ": "dpop+jwt" })),
    ]
}

on_both_drivers! {
    fn tokens_of_each_algorithm_reach_the_origin_with_their_claims(driver) {
        let origin = Origin::named("one");
        let signers = [Signer::rs256("r"), Signer::es256("e"), Signer::eddsa("d")];
        let provider = Provider::new(&signers.iter().collect::<Vec<_>>());
        let site = Site::secure(driver, &document(&origin, jwt(&provider)));
        let mut claims = provider.claims();
        claims["groups"] = json!(["staff", "ops"]);
        for signer in &signers {
            let token = signer.token(&claims);
            let bearer = format!("bearer {token}");
            let spoofed = format!("Authorization: {bearer}\r\nX-User: root\r\nX-Groups: root\r\n");
            assert_eq!(site.ask("/in/a", &spoofed).status(), 200, "{}", signer.algorithm());
            assert_eq!(site.ask_h2("/in/b", &[("authorization", &bearer), ("x-user", "root")]).status(), 200);
            let received = origin.requests();
            for request in &received[received.len() - 2..] {
                assert_eq!(request.all("x-user"), ["alice"]);
                assert_eq!(request.all("x-groups"), ["staff,ops"]);
                assert_eq!(request.field("authorization"), Some(&*bearer), "forwarded unless the route says no");
            }
        }
        assert_eq!((provider.configuration_requests(), provider.key_requests()), (1, 1));
    }

    fn bad_tokens_are_refused_with_a_challenge_and_reach_nothing(driver) {
        let origin = Origin::named("one");
        let (good, other) = (Signer::es256("k1"), Signer::es256("k2"));
        let provider = Provider::new(&[&good]);
        let site = Site::secure(driver, &document(&origin, jwt(&provider)));
        site.await_status("/in/a", &bearer(&provider.token(&good)), 200);
        let served = origin.request_count();
        for (number, Refused { name, token }) in (1..).zip(bad_tokens(&provider, &good, &other)) {
            // An address each: a client with many failures is refused for another reason.
            let answer = site.ask_from([127, 0, 1, number], "/in/a", &bearer(&token));
            assert_eq!(refusal(&answer), (401, "invalid_credentials".to_owned()), "{name}");
            let [challenge] = &challenges(&answer.all("www-authenticate"))[..] else { panic!("{answer:?}") };
            assert_eq!(challenge.scheme, "Bearer", "{name}");
            assert_eq!(challenge.get("error"), Some("invalid_token"), "{name}");
            assert!(challenge.get("realm").is_some(), "{name}: {challenge:?}");
            assert!(!answer.text().contains(&token), "{name}: no token in an answer");
        }
        let h2 = site.ask_h2("/in/a", &[("authorization", "Bearer junk")]);
        assert_eq!(h2.status(), 401);
        assert!(h2.get("www-authenticate").is_some_and(|value| value.contains("error=\"invalid_token\"")));
        assert_eq!(origin.request_count(), served);
        assert!(!site.logs(&["eyJ"]), "no token in a log");
    }

    fn requests_without_a_token_get_a_challenge_without_an_error(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let site = Site::start(driver, &document(&origin, jwt(&provider)));
        let token = provider.token(&good);
        let places = [
            ("/in/a", String::new()),
            ("/in/a", "Authorization: Digest username=\"a\"\r\n".to_owned()),
            ("/in/a", format!("Authorization: {token}\r\n")),
            ("/in/a", format!("Proxy-Authorization: Bearer {token}\r\n")),
            ("/in/a", format!("Cookie: access_token={token}; token={token}; jwt={token}\r\n")),
            ("/in/a", format!("X-Authorization: Bearer {token}\r\nAuthorization_: Bearer {token}\r\n")),
            (&*format!("/in/a?access_token={token}"), String::new()),
        ]
        .map(|(path, fields)| (path.to_owned(), fields));
        for (path, fields) in places {
            let answer = site.ask(&path, &fields);
            assert_eq!(refusal(&answer), (401, "unauthenticated".to_owned()), "{path} {fields}");
            let [challenge] = &challenges(&answer.all("www-authenticate"))[..] else { panic!("{answer:?}") };
            // RFC 6750 §3: at least one parameter; §3.1: no error without credentials.
            assert_eq!((challenge.scheme.as_str(), challenge.get("error")), ("Bearer", None));
            assert!(!challenge.parameters.is_empty(), "{challenge:?}");
        }
        assert_eq!(origin.request_count(), 0);
    }

    fn a_request_with_two_tokens_is_refused(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let site = Site::start(driver, &document(&origin, jwt(&provider)));
        let token = provider.token(&good);
        site.await_status("/in/a", &bearer(&token), 200);
        let served = origin.request_count();
        let twice = [
            format!("{}{}", bearer(&token), bearer("junk")),
            format!("{}{}", bearer("junk"), bearer(&token)),
            format!("{}{}", bearer(&token), basic("alice", "secret")),
            format!("{}authorization: Bearer {token}\r\n", bearer(&token)),
            format!("Authorization: Bearer {token}, Bearer {token}\r\n"),
            format!("Authorization: Bearer {token} {token}\r\n"),
        ];
        for fields in twice {
            assert_eq!(refusal(&site.ask("/in/a", &fields)), (401, "invalid_credentials".to_owned()), "{fields}");
        }
        assert_eq!(origin.request_count(), served);
    }

    fn a_good_token_without_a_claim_of_the_route_is_forbidden(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let mut auth = jwt(&provider);
        auth["jwt"]["require"] = json!({ "scope": ["write", "admin"], "realm.tier": "gold" });
        let site = Site::start(driver, &document(&origin, auth));
        let with = |scope: Value, tier: Value| {
            let mut claims = provider.claims_with("scope", scope);
            claims["realm"] = json!({ "tier": tier });
            bearer(&good.token(&claims))
        };
        assert_eq!(site.ask("/in/a", &with(json!("read write"), json!("gold"))).status(), 200);
        assert_eq!(site.ask("/in/a", &with(json!(["admin"]), json!(["gold"]))).status(), 200);
        for (scope, tier) in [(json!("read"), json!("gold")), (json!("writer"), json!("gold")), (json!("write"), json!("tin"))] {
            // Kept tokens are judged as new ones are.
            for _ in 0..2 {
                let answer = site.ask("/in/a", &with(scope.clone(), tier.clone()));
                assert_eq!(refusal(&answer), (403, "forbidden".to_owned()), "{scope} {tier}");
                let [challenge] = &challenges(&answer.all("www-authenticate"))[..] else { panic!("{answer:?}") };
                assert_eq!((challenge.scheme.as_str(), challenge.get("error")), ("Bearer", Some("insufficient_scope")));
            }
        }
        assert_eq!(origin.request_count(), 2);
    }

    fn a_token_has_the_place_that_the_route_names(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let token = provider.token(&good);
        let placed = |place: Value, forward: bool| {
            let mut auth = jwt(&provider);
            auth["jwt"]["token"] = place;
            auth["jwt"]["forward"] = json!(forward);
            document(&origin, auth)
        };
        let site = Site::start(driver, &placed(json!("bearer"), false));
        assert_eq!(site.ask("/in/a", &bearer(&token)).status(), 200);
        assert_eq!(origin.requests()[0].field("authorization"), None);

        site.save(&placed(json!({ "header": "X-Token" }), true));
        let fields = format!("X-Token: {token}\r\nX_Token: forged\r\n{}", bearer("other"));
        assert_eq!(site.ask("/in/a", &fields).status(), 200);
        let received = &origin.requests()[1];
        assert_eq!((received.all("x-token"), received.all("x_token")), (vec![&*token], vec![]));
        assert_eq!(refusal(&site.ask("/in/a", &bearer(&token))), (401, "unauthenticated".to_owned()));

        site.save(&placed(json!({ "header": "X-Token" }), false));
        assert_eq!(site.ask("/in/a", &fields).status(), 200);
        assert_eq!(origin.requests()[2].field("x-token"), None);

        let cookies = format!("Cookie: a=1; session={token}; b=2\r\n");
        site.save(&placed(json!({ "cookie": "session" }), true));
        assert_eq!(site.ask("/in/a", &cookies).status(), 200);
        assert_eq!(origin.requests()[3].field("cookie"), Some(&*format!("a=1; session={token}; b=2")));
        let twice = format!("Cookie: session={token}; session=forged\r\n");
        assert_eq!(refusal(&site.ask("/in/a", &twice)), (401, "invalid_credentials".to_owned()));
        let lines = format!("Cookie: session={token}\r\nCookie: session=forged\r\n");
        assert_eq!(refusal(&site.ask("/in/a", &lines)), (401, "invalid_credentials".to_owned()));

        site.save(&placed(json!({ "cookie": "session" }), false));
        assert_eq!(site.ask("/in/a", &cookies).status(), 200);
        assert_eq!(origin.requests()[4].field("cookie"), Some("a=1; b=2"), "the token is for ringway alone");
    }

    fn trailers_bring_back_no_field_that_stages_own(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let edits = json!({ "remove": ["X-Internal"], "set": { "X-Client": "${client_ip}" } });
        let stages = json!([
            { "type": "auth", "config": jwt(&provider) },
            { "type": "header_transform", "config": edits },
        ]);
        let site = Site::start(driver, &chained(&origin, stages));
        let head = format!(
            "POST /in/a HTTP/1.1\r\nHost: {HOST}\r\n{}TE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n",
            bearer(&good.token(&provider.claims()))
        );
        let end = "0\r\nX-User: root\r\nX.User: root\r\nx-groups: root\r\n\
                   X-Internal: 1\r\nx-client: 1\r\nX-Sum: 7\r\n\r\n";
        // With the head, and long after it.
        for size in [2, 512 * 1024] {
            let mut client = Client::connect(site.proxy.http());
            client.send(format!("{head}{size:x}\r\n{}\r\n{end}", "x".repeat(size)));
            assert_eq!(client.response("POST").status(), 200);
            let received = origin.requests().pop().unwrap();
            assert_eq!(received.field("x-user"), Some("alice"));
            assert_eq!(received.trailers, [("X-Sum".to_owned(), "7".to_owned())]);
        }
    }

    fn limits_of_users_count_the_verified_one(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let stages = json!([{ "type": "auth", "config": jwt(&provider) }, { "type": "rate_limit", "policy_ref": "users" }]);
        let mut document = chained(&origin, stages);
        document["policies"] = json!([{
            "id": "users",
            "rate_limit": { "requests_per_hour": 1, "burst": 2, "key": ["header:X-User"] },
        }]);
        let site = Site::start(driver, &document);
        let ask = |user: &str, forged: &str| {
            let mut claims = provider.claims();
            claims["sub"] = json!(user);
            site.ask("/in/a", &format!("X-User: {forged}\r\n{}", bearer(&good.token(&claims)))).status()
        };
        assert_eq!([ask("alice", "a"), ask("alice", "b"), ask("alice", "c")], [200, 200, 429]);
        assert_eq!(ask("bob", "alice"), 200, "another user has a limit of their own");
    }

    fn claims_that_cannot_stand_in_a_field_are_left_out(driver) {
        let origin = Origin::named("one");
        let good = Signer::es256("k1");
        let provider = Provider::new(&[&good]);
        let site = Site::start(driver, &document(&origin, jwt(&provider)));
        let hostile = [
            json!("a\r\nX-Admin: 1"),
            json!("a\nb"),
            json!("a\u{0}b"),
            json!({ "a": 1 }),
            Value::Null,
            json!("x".repeat(5000)),
            json!(["a", ["b"]]),
            json!(["a,root", "b"]),
        ];
        for groups in hostile {
            let mut claims = provider.claims();
            claims["groups"] = groups.clone();
            let fields = format!("{}X-Groups: root\r\nx_groups: root\r\n", bearer(&good.token(&claims)));
            assert_eq!(site.ask("/in/a", &fields).status(), 200);
            let received = origin.requests().pop().unwrap();
            assert_eq!((received.all("x-groups"), received.all("x_groups")), (vec![], vec![]), "{groups}");
            assert_eq!((received.field("x-user"), received.field("x-admin")), (Some("alice"), None));
        }
    }
}
