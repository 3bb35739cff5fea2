//! Directives of `Cache-Control`, and of a field that targets the cache.

use ringway_cache::control::{Directive, Directives};
use ringway_cache::limits::DELTA_SECONDS_MAX;

/// A line read twice says the same as once; a restriction more only adds to it; numbers have their limit. For
/// a dictionary the same holds, if it is one.
pub(crate) fn check(bytes: &[u8]) {
    let once = Directives::parse([bytes].into_iter());
    assert_eq!(once, Directives::parse([bytes, bytes].into_iter()));
    let restricted = Directives::parse([bytes, b"no-store"].into_iter());
    assert!(restricted.has(Directive::NoStore));
    assert_eq!(restricted.max_age, once.max_age);
    // A request's tolerance is no restriction; all others are.
    let shorter = Directives::parse([bytes, b"max-age=0, s-maxage=0"].into_iter());
    assert_eq!((shorter.max_age, shorter.s_maxage), (Some(0), Some(0)));
    let numbers = [
        once.max_age,
        once.s_maxage,
        once.stale_while_revalidate,
        once.stale_if_error,
        once.max_stale,
        once.min_fresh,
    ];
    assert!(numbers.into_iter().flatten().all(|number| number <= DELTA_SECONDS_MAX));

    if let Some(targeted) = Directives::parse_targeted([bytes].into_iter()) {
        assert_eq!(Some(targeted), Directives::parse_targeted([bytes, bytes].into_iter()));
        let closed = Directives::parse_targeted([bytes, b"private"].into_iter());
        assert!(closed.is_some_and(|closed| closed.has(Directive::Private)));
        assert_eq!(None, Directives::parse_targeted([bytes, b"="].into_iter()));
    }
}
