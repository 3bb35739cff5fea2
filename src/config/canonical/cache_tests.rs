#![allow(clippy::unwrap_used)]
use std::time::Duration;

use ringway_model::{CacheMode, CacheTtl, SetCookiePolicy};

use super::*;

/// A cache whose every value differs from the default.
fn full() -> CacheSpec {
    CacheSpec {
        mode: CacheMode::Rfc9111,
        ttl: Some(CacheTtl::Fixed(Duration::from_secs(60))),
        respect_cache_headers: false,
        statuses: [200, 410].into(),
        auth_aware: true,
        vary_headers: ["accept-language".into(), "authorization".into()].into(),
        set_cookie: SetCookiePolicy::Strip,
        coalesce: false,
        coalesce_timeout: Duration::from_millis(1500),
        stale_while_revalidate: Duration::from_secs(1),
        stale_if_error: Duration::from_secs(2),
        stale_on_disconnect: Duration::from_secs(3),
        targets: ["x-cache-control".into()].into(),
        patterns: ["*.css".into()].into(),
        sort_query: true,
        ignore_params: ["utm_source".into()].into(),
        max_size: 1 << 20,
        max_object: 1 << 10,
    }
}

#[test]
fn each_value_that_differs_is_among_the_texts() {
    let spec = full();
    let members = cache(&spec);
    let texts = cache_texts(&spec);
    assert_eq!(texts.len(), members.as_object().unwrap().len());
    assert!(texts.contains(&("/cache/vary_headers", "accept-language, authorization".to_owned())));
    assert!(texts.contains(&("/cache/ttl", "60s".to_owned())));
    assert_eq!(cache_texts(&CacheSpec::default()), [("/cache/mode", "safe".to_owned())]);
    let rfc9111 = CacheSpec::of_mode(CacheMode::Rfc9111);
    assert_eq!(cache_texts(&rfc9111), [("/cache/mode", "rfc9111".to_owned())]);
}

#[test]
fn the_stored_form_reads_back() {
    for spec in [full(), CacheSpec::default(), CacheSpec { ttl: Some(CacheTtl::Default), ..full() }] {
        assert_eq!(serde_json::from_value::<CacheSpec>(cache(&spec)).unwrap(), spec);
    }
    let mut unknown = cache(&full());
    unknown["x"] = Json::Bool(true);
    assert!(serde_json::from_value::<CacheSpec>(unknown).is_err());
}
