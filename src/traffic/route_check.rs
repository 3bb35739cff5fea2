//! Check of routes before they are accepted: everything that their compilation may refuse.

use std::collections::HashMap;
use std::sync::Arc;

use ringway_model::{HostPattern, PathMatch, RouteAction, RouteId, RouteSpec};
use ringway_wire::path::Slashes;

use crate::limits::{PATTERN_STEPS_MAX, PATTERNS_PER_HOST_MAX};
use crate::pattern::{Pattern, PatternError, Patterns};
use crate::rewrite::Rewrite;
use crate::route_path;
use crate::rule_table::TableError;

/// Result of a check.
#[derive(Debug, Default)]
pub struct Checked {
    /// Routes that cannot be compiled, each with its first mistake.
    pub mistakes: Vec<(RouteId, TableError)>,
    /// The compiled patterns. As long as they are kept, a compiler with the same [`Patterns`] does not
    /// compile them again.
    pub patterns: Vec<Arc<Pattern>>,
}

/// Checks all routes of a configuration.
///
/// Cost: a few microseconds a route, and the compilation of the patterns that are not in use, each text once.
/// After `PATTERN_STEPS_MAX` steps, no further one is compiled, and the first route with one has a mistake.
pub fn check<'r>(
    routes: impl IntoIterator<Item = &'r RouteSpec>,
    slashes: Slashes,
    patterns: &Patterns,
) -> Checked {
    check_within(PATTERN_STEPS_MAX, routes, slashes, patterns)
}

fn check_within<'r>(
    steps_max: u64,
    routes: impl IntoIterator<Item = &'r RouteSpec>,
    slashes: Slashes,
    patterns: &Patterns,
) -> Checked {
    let mut budget = Budget::new(steps_max, patterns);
    let mut per_host: HashMap<&HostPattern, usize> = HashMap::new();
    let mut check_one = |route: &'r RouteSpec| {
        if let HostPattern::Regex(text) = &route.host {
            budget.compile(&route.id, text, TableError::Host)?;
        }
        match &route.matcher.path {
            PathMatch::Any => {}
            PathMatch::Exact(path) | PathMatch::Prefix(path) => {
                route_path::normal(path, slashes).map_err(TableError::Path)?;
            }
            PathMatch::Regex(text) => {
                let count = per_host.entry(&route.host).or_default();
                *count += 1;
                if *count > PATTERNS_PER_HOST_MAX {
                    return Err(TableError::TooManyPatterns);
                }
                budget.compile(&route.id, text, TableError::Pattern)?;
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
    let mistakes = routes.into_iter().filter_map(mistake).collect();
    Checked { mistakes, patterns: budget.compiled.into_values().filter_map(Result::ok).collect() }
}

/// Budget of compiling the patterns of one configuration. A pattern in use costs as much as a new one, so
/// that the result does not depend on what was checked before.
struct Budget<'r> {
    steps_left: u64,
    patterns: &'r Patterns,
    /// Results by text.
    compiled: HashMap<&'r str, Result<Arc<Pattern>, PatternError>>,
    costliest: Option<(u64, &'r RouteId)>,
    is_exceeded: bool,
}

impl<'r> Budget<'r> {
    fn new(steps_left: u64, patterns: &'r Patterns) -> Self {
        Self { steps_left, patterns, compiled: HashMap::new(), costliest: None, is_exceeded: false }
    }

    /// Compiles a pattern of a route, unless the budget is exceeded.
    ///
    /// # Errors
    /// The pattern's, and [`TableError::PatternBudget`] once.
    fn compile(
        &mut self,
        route: &'r RouteId,
        text: &'r Arc<str>,
        error: fn(PatternError) -> TableError,
    ) -> Result<(), TableError> {
        if let Some(known) = self.compiled.get(&**text) {
            return known.clone().map(drop).map_err(error);
        }
        if self.is_exceeded {
            return Ok(());
        }
        let result = self.patterns.compile(text);
        let steps = match &result {
            Ok(pattern) => pattern.steps(),
            Err(error) => error.steps(),
        };
        self.costliest = self.costliest.max(Some((steps, route)));
        self.compiled.insert(text, result.clone());
        match self.steps_left.checked_sub(steps) {
            Some(left) => self.steps_left = left,
            None => {
                self.is_exceeded = true;
                let (steps, costliest) = self.costliest.unwrap_or((steps, route));
                let field = error(PatternError::TooLarge).field();
                return Err(TableError::PatternBudget { field, costliest: costliest.clone(), steps });
            }
        }
        result.map(drop).map_err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PATTERN_REFUSED_STEPS;
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
        errors(check(routes, Slashes::Merge, &Patterns::default()))
    }

    fn errors(checked: Checked) -> Vec<TableError> {
        checked.mistakes.into_iter().map(|(_, error)| error).collect()
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

    /// Routes `r0`, `r1`, … of one host each.
    fn routes_of(patterns: impl IntoIterator<Item = String>) -> Vec<RouteSpec> {
        let numbered = patterns.into_iter().enumerate();
        let route = |(number, text): (usize, String)| {
            let path = PathMatch::Regex(text.into());
            let mut route = route(&format!("h{number}.test"), path, ringway_model::Rewrite::Keep);
            route.id = RouteId::parse(&format!("r{number}")).unwrap();
            route
        };
        numbered.map(route).collect()
    }

    #[test]
    fn the_patterns_of_a_configuration_have_a_budget() {
        let steps = |text: &str| Pattern::new(&text.into()).unwrap().steps();
        let common = steps("/v[0-9]+/.*");
        let routes = routes_of((1..=10).map(|number| format!("/v{number}[0-9]+/.*")));
        let one = steps("/v1[0-9]+/.*");
        assert!(one > common, "{one} {common}");
        let total: u64 = (1..=10).map(|number| steps(&format!("/v{number}[0-9]+/.*"))).sum();
        let within = |steps_max| check_within(steps_max, &routes, Slashes::Merge, &Patterns::default());
        assert_eq!(errors(within(total)), []);
        let checked = within(total - 1);
        let [(route, error @ TableError::PatternBudget { costliest, .. })] = &checked.mistakes[..] else {
            panic!("{checked:?}")
        };
        assert_eq!((route.as_str(), costliest.as_str()), ("r9", "r9"));
        let message = error.to_string();
        assert!(message.contains("budget of 256 million steps") && message.contains("route r9"), "{message}");
        // One mistake for all that is beyond the budget.
        let beyond = within(one);
        assert_eq!((beyond.mistakes.len(), beyond.mistakes[0].0.as_str()), (1, "r1"));
        assert_eq!(beyond.patterns.len(), 2);
    }

    #[test]
    fn a_text_counts_once_and_a_refused_one_too() {
        let steps = Pattern::new(&"/a+".into()).unwrap().steps();
        let same = routes_of(std::iter::repeat_n("/a+".to_owned(), 100));
        let patterns = Patterns::default();
        for _ in 0..2 {
            // Also when the compiler has it already.
            let checked = check_within(steps, &same, Slashes::Merge, &patterns);
            assert!(checked.mistakes.is_empty() && checked.patterns.len() == 1, "{checked:?}");
        }
        let hostile = "(a|aa|aaa){900}".to_owned();
        let refused = routes_of(std::iter::repeat_n(hostile, 3));
        let within = |steps_max| check_within(steps_max, &refused, Slashes::Merge, &Patterns::default());
        let too_large = TableError::Pattern(PatternError::TooLarge);
        assert_eq!(errors(within(PATTERN_REFUSED_STEPS)), [too_large.clone(), too_large.clone(), too_large]);
        let first = &within(PATTERN_REFUSED_STEPS - 1).mistakes[0].1;
        assert!(matches!(first, TableError::PatternBudget { .. }), "{first:?}");
    }

    #[test]
    fn hostile_patterns_end_the_compilation_early() {
        // Each is small enough as a table, and takes milliseconds.
        let hostile = routes_of((0..500).map(|number| format!("/{number}([a-z]*[b-y]){{200}}x")));
        let patterns = Patterns::default();
        let steps_max = 20_000_000;
        let checked = check_within(steps_max, &hostile, Slashes::Merge, &patterns);
        assert_eq!(checked.mistakes.len(), 1);
        assert!(checked.patterns.len() < 20, "{}", checked.patterns.len());
    }

    #[test]
    fn common_patterns_fit_by_the_thousands() {
        let texts = [
            "/v[0-9]+/.*",
            "/api/(users|groups)/[^/]+",
            "^/users/([0-9a-f-]{36})/orders$",
            "(?i)/images/.*\\.(png|jpe?g|gif|webp)",
            "/[a-z]{2}-[a-z]{2}/.*",
        ];
        let steps: u64 = texts.iter().map(|text| Pattern::new(&(*text).into()).unwrap().steps()).sum();
        assert!(1_000 * steps < PATTERN_STEPS_MAX, "{steps}");
    }

    #[test]
    fn a_compiler_finds_the_checked_patterns() {
        let patterns = Patterns::default();
        let routes = routes_of(["/a+".to_owned()]);
        let checked = check(&routes, Slashes::Merge, &patterns);
        let again = patterns.compile(&"/a+".into()).unwrap();
        assert!(Arc::ptr_eq(&again, &checked.patterns[0]));
    }
}
