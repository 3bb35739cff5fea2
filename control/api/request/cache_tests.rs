#![allow(clippy::unwrap_used)]

use super::*;
use ringway_config::json;
use ringway_config::{Input, read_request as read};

fn parse(body: &str) -> Result<PurgeRequest, String> {
    let mut bytes = body.as_bytes().to_vec();
    let body = Some(json::parse(&mut bytes).unwrap());
    read(&Input { body, ..Input::default() }, purge).map_err(|findings| {
        let texts: Vec<_> =
            findings.iter().map(|found| format!("{} {}", found.field.dotted(), found.message)).collect();
        texts.join("\n")
    })
}

#[test]
fn a_purge_has_one_selection_and_perhaps_a_tenant() {
    for (body, subject, tenant, effect) in [
        (r#"{"url":"https://a.test/x?token=hush"}"#, "url https://a.test/x?…", None, PurgeEffect::Remove),
        (r#"{"prefix":"a.test/img/","soft":true}"#, "prefix a.test/img/", None, PurgeEffect::Expire),
        (r#"{"pattern":"*.a.test","dry_run":true}"#, "pattern *.a.test", None, PurgeEffect::DryRun),
        (r#"{"tags":["a","b c"]}"#, "tags a, b c", None, PurgeEffect::Remove),
        (r#"{"route":"shop"}"#, "route shop", None, PurgeEffect::Remove),
        (r#"{"route":"shop","tenant":"acme"}"#, "route shop tenant acme", Some("acme"), PurgeEffect::Remove),
        (r#"{"tenant":"acme"}"#, "tenant acme", Some("acme"), PurgeEffect::Remove),
        (r#"{"all":true}"#, "all", None, PurgeEffect::Remove),
        (r#"{"all":true,"tenant":"acme"}"#, "all tenant acme", Some("acme"), PurgeEffect::Remove),
        (r#"{"url":"a.test","all":false}"#, "url a.test", None, PurgeEffect::Remove),
    ] {
        let request = parse(body).unwrap();
        assert_eq!(request.subject, subject, "{body}");
        assert_eq!((request.purge.tenant.as_deref(), request.purge.effect), (tenant, effect), "{body}");
    }
    let tags = parse(r#"{"tags":["a"]}"#).unwrap().purge.selector;
    assert_eq!(tags, PurgeSelector::Tags([tag_hash(b"a")].into()));
}

#[test]
fn other_selections_are_refused_with_the_mistake() {
    let tags = |count: usize| format!(r#"{{"tags":[{}]}}"#, vec![r#""a""#; count].join(","));
    assert!(parse(&tags(PURGE_TAGS_MAX)).is_ok());
    for (body, part) in [
        ("{}".to_owned(), "url is required: one of url, prefix"),
        (r#"{"all":false,"soft":true}"#.to_owned(), "url is required"),
        (r#"{"url":"a.test","tags":["a"]}"#.to_owned(), "url stands beside another selection"),
        (r#"{"pattern":"*","all":true}"#.to_owned(), "url stands beside another selection"),
        (r#"{"url":"ftp://a.test/"}"#.to_owned(), "url has another scheme"),
        (r#"{"url":"/x"}"#.to_owned(), "url has no host"),
        (r#"{"url":"http://user@a.test/"}"#.to_owned(), "url has a user name (user@)"),
        (r#"{"prefix":"user:word@a.test/"}"#.to_owned(), "prefix has a user name (user@)"),
        (r#"{"pattern":"user@*/"}"#.to_owned(), "pattern has a user name (user@)"),
        (r#"{"url":"a.test:x/"}"#.to_owned(), "url has a port"),
        (r#"{"pattern":"*********"}"#.to_owned(), "pattern has more than 8 asterisks"),
        (r#"{"tags":[]}"#.to_owned(), "tags must have 1 to 64 tags"),
        (tags(PURGE_TAGS_MAX + 1), "tags must have 1 to 64 tags"),
        (format!(r#"{{"tags":["{}"]}}"#, "a".repeat(129)), "tags must have tags of 1 to 128 bytes"),
        (r#"{"tags":"a"}"#.to_owned(), "tags must be a list of strings"),
        (r#"{"tags":[1]}"#.to_owned(), "tags must be a list of strings"),
        (r#"{"tenant":"a b"}"#.to_owned(), "tenant "),
    ] {
        let error = parse(&body).unwrap_err();
        assert!(error.starts_with(part) && !error.contains('\n'), "{body}: {error}");
    }
}

#[test]
fn a_url_to_explain_is_one_of_http() {
    let parse = |url: &str| {
        let mut bytes = serde_json::json!({ "url": url }).to_string().into_bytes();
        let body = Some(json::parse(&mut bytes).unwrap());
        read(&Input { body, ..Input::default() }, explain)
            .map(|request| request.url.to_string())
            .map_err(|findings| findings[0].message.clone())
    };
    for (url, expected) in [
        ("HTTP://a.test/X", "http://a.test/X"),
        ("HttpS://a.test:8443/", "https://a.test:8443/"),
        ("a.test/?u=ftp://x", "a.test/?u=ftp://x"),
    ] {
        assert_eq!(parse(url).as_deref(), Ok(expected));
    }
    for (url, expected) in [
        ("ftp://a.test/", "has another scheme than http and https"),
        ("", "has no host: write host/path, or a URL"),
        ("http://", "has no host: write host/path, or a URL"),
        ("http://user@a.test/", "has a user name (user@), which no request sends: leave it out"),
        ("a.test:99999/", "has a port that is no number from 0 to 65535"),
        ("a.test/x y", "has blanks or control characters: write them as %20 and the like"),
    ] {
        assert_eq!(parse(url).unwrap_err(), expected, "{url}");
    }
}
