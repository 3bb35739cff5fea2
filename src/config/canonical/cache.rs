//! Caches of routes, in the form of a route's `cache`.

use ringway_model::CacheSpec;
use serde_json::Value as Json;

/// A cache as an object, with all its values.
pub(super) fn cache(spec: &CacheSpec) -> Json {
    serde_json::to_value(spec).expect("strings, numbers and lists serialise")
}

/// The mode of a cache, and the values that differ from its defaults, for differences.
pub fn cache_texts(spec: &CacheSpec) -> Vec<(&'static str, String)> {
    let (given, default) = (cache(spec), cache(&CacheSpec::of_mode(spec.mode)));
    let mut texts = vec![(MODE, text(&given["mode"]))];
    for path in PATHS {
        let name = path.rsplit('/').next().unwrap_or(path);
        if given[name] != default[name] {
            texts.push((path, text(&given[name])));
        }
    }
    texts
}

fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Json::Null => "none".to_owned(),
        value => value.to_string(),
    }
}

const MODE: &str = "/cache/mode";

/// Paths of the other members.
const PATHS: [&str; 17] = [
    "/cache/ttl",
    "/cache/respect_cache_headers",
    "/cache/statuses",
    "/cache/auth_aware",
    "/cache/vary_headers",
    "/cache/set_cookie",
    "/cache/coalesce",
    "/cache/coalesce_timeout",
    "/cache/stale_while_revalidate",
    "/cache/stale_if_error",
    "/cache/stale_on_disconnect",
    "/cache/targets",
    "/cache/patterns",
    "/cache/sort_query",
    "/cache/ignore_params",
    "/cache/max_size",
    "/cache/max_object",
];

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
