//! Check of routes before they are accepted: everything that their compilation may refuse.

use std::collections::HashMap;

use ringway_model::{HostPattern, PathMatch, RouteAction, RouteId, RouteSpec};
use ringway_wire::path::Slashes;

use crate::limits::PATTERNS_PER_HOST_MAX;
use crate::pattern::Patterns;
use crate::rewrite::Rewrite;
use crate::route_path;
use crate::rule_table::TableError;

/// Returns the routes that cannot be compiled, each with its first mistake.
///
/// Cost: a few microseconds a route, and the compilation of its patterns.
pub fn check<'r>(
    routes: impl IntoIterator<Item = &'r RouteSpec>,
    slashes: Slashes,
) -> Vec<(RouteId, TableError)> {
    let patterns = Patterns::default();
    let mut compiled = Vec::new();
    let mut per_host: HashMap<&HostPattern, usize> = HashMap::new();
    let mut check_one = |route: &'r RouteSpec| {
        if let HostPattern::Regex(text) = &route.host {
            compiled.push(patterns.compile(text).map_err(TableError::Host)?);
        }
        match &route.matcher.path {
            PathMatch::Any => {}
            PathMatch::Exact(path) | PathMatch::Prefix(path) => {
                route_path::normal(path, slashes).map_err(TableError::Path)?;
            }
            PathMatch::Regex(text) => {
                compiled.push(patterns.compile(text).map_err(TableError::Pattern)?);
                let count = per_host.entry(&route.host).or_default();
                *count += 1;
                if *count > PATTERNS_PER_HOST_MAX {
                    return Err(TableError::TooManyPatterns);
                }
            }
        }
        match &route.action {
            RouteAction::Proxy { rewrite, .. } => {
                Rewrite::new(rewrite, &route.matcher.path, slashes).map(drop).map_err(TableError::Rewrite)
            }
            RouteAction::Redirect(_) | RouteAction::Respond(_) => Ok(()),
        }
    };
    let mistake = |route: &'r RouteSpec| Some((route.id.clone(), check_one(route).err()?));
    routes.into_iter().filter_map(mistake).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::PatternError;
    use crate::route_path::RoutePathError;
    use ringway_model::{AppId, PoolRef};

    fn route(host: &str, path: PathMatch, rewrite: ringway_model::Rewrite) -> RouteSpec {
        let pool = PoolRef::Pool(AppId::parse("pool").unwrap());
        let mut spec =
            RouteSpec::new(RouteId::parse("r").unwrap(), HostPattern::parse(host).unwrap(), pool.clone());
        spec.matcher.path = path;
        spec.action = RouteAction::Proxy { pool, rewrite };
        spec
    }

    fn mistakes(routes: &[RouteSpec]) -> Vec<TableError> {
        check(routes, Slashes::Merge).into_iter().map(|(_, error)| error).collect()
    }

    #[test]
    fn each_mistake_is_found() {
        use ringway_model::Rewrite::{Keep, ReplacePath};
        let fine = route("a.test", PathMatch::Prefix("/a".into()), Keep);
        let mistakes = mistakes(&[
            fine.clone(),
            route("(a.test", PathMatch::Any, Keep),
            route("a.test", PathMatch::Regex("/(a".into()), Keep),
            route("a.test", PathMatch::Exact("a".into()), Keep),
            route("a.test", PathMatch::Any, ReplacePath("/a?b".into())),
            fine,
        ]);
        let unclosed = || PatternError::Syntax("unclosed group".into());
        assert_eq!(
            mistakes,
            [
                TableError::Host(unclosed()),
                TableError::Pattern(unclosed()),
                TableError::Path(RoutePathError::NoSlash),
                TableError::Rewrite(RoutePathError::NotOnlyPath),
            ]
        );
    }

    #[test]
    fn patterns_are_counted_per_host() {
        let of = |host: &str| route(host, PathMatch::Regex("/a.*".into()), ringway_model::Rewrite::Keep);
        let mut routes: Vec<_> =
            (0..PATTERNS_PER_HOST_MAX).flat_map(|_| [of("a.test"), of("b.test")]).collect();
        assert_eq!(mistakes(&routes), []);
        routes.push(of("a.test"));
        assert_eq!(mistakes(&routes), [TableError::TooManyPatterns]);
    }
}
