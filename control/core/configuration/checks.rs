//! Checks of a document beyond its text: whether its routes and scripts compile, and whether the files that
//! it names can be used.

use std::sync::Arc;

use ahash::AHashSet;
use ringway_certs::{check_files_blocking, names_files};
use ringway_config::{Document, FieldPlace, Finding, Place, Position, Severity};
use ringway_model::{Kind, OperatorSet, PathMatch, RouteId, RouteSpec};
#[cfg(feature = "lua")]
use ringway_script::RouteTarget;
use ringway_tls::{IdentityName, SecretKey};
use ringway_traffic::pattern::{Pattern, Patterns};
use ringway_traffic::redirect;
use ringway_traffic::route_check;
use ringway_traffic::rule_table::TableError;
use ringway_traffic::scripts::ScriptFinding;
use ringway_wire::path::Slashes;

use super::judge::error;

/// Code of a finding about a named file: the document itself may be right.
pub(super) const FILE: &str = "file";

/// Code of a finding about a file of credentials.
const CREDENTIALS: &str = "credentials";

/// Routes of a document, checked.
pub(super) struct CheckedRoutes {
    /// Mistakes, or warnings where there is none.
    pub(super) findings: Vec<Finding>,
    /// Their compiled patterns.
    pub(super) patterns: Vec<Arc<Pattern>>,
}

impl CheckedRoutes {
    pub(super) fn has_mistakes(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }
}

/// Checks whether the routes of a document compile, whether redirects lead in circles, and whether each
/// pattern can match a path.
pub(super) fn routes(document: &Document, slashes: Slashes, patterns: &Patterns) -> CheckedRoutes {
    let routes = &document.set.routes;
    let checked = route_check::check(routes.iter().map(|route| &**route), slashes, patterns);
    let of_route = |(id, why): &(RouteId, TableError)| {
        let field = why.field();
        about_field(document, id, field, "invalid", Severity::Error, &why.to_string())
    };
    let mut findings: Vec<Finding> = checked.mistakes.iter().map(of_route).collect();
    if findings.is_empty() {
        let circles = redirect::circles(routes, slashes, patterns);
        findings.extend(circles.iter().map(|circle| circle_finding(document, circle)));
        findings.extend(unmatchable(document, &checked.patterns));
    }
    CheckedRoutes { findings, patterns: checked.patterns }
}

/// Findings about the routes and scripts of a document that the reader does not make: for a check without a
/// server.
pub fn check_routes(document: &Document, slashes: Slashes) -> Vec<Finding> {
    let mut findings = routes(document, slashes, &Patterns::default()).findings;
    findings.extend(scripts(document, &|_| false));
    findings
}

/// Mistakes of scripts: in their text, while they are loaded, and in what they declare. `has_pool`: whether
/// another owner has a pool of this id.
#[cfg(feature = "lua")]
pub(super) fn scripts(document: &Document, has_pool: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    if document.set.scripts.is_empty() {
        return Vec::new();
    }
    let bundle = match ringway_traffic::scripts::check(document.set.scripts.iter().map(|script| &**script)) {
        Ok(bundle) => bundle,
        Err(findings) => return findings.into_iter().map(|finding| of_script(document, finding)).collect(),
    };
    let is_known = |id: &str| document.set.pools.iter().any(|pool| pool.id.as_str() == id) || has_pool(id);
    let declarations = bundle.declarations();
    let unknown = declarations.routes.iter().filter_map(|route| match &route.target {
        RouteTarget::Proxy(proxy) if !is_known(proxy.pool.as_str()) => Some(ScriptFinding {
            place: Some((route.place.file.clone(), route.place.line)),
            message: format!("names the pool {}, which does not exist", proxy.pool).into(),
        }),
        RouteTarget::Proxy(_) | RouteTarget::Handler(_) => None,
    });
    unknown.map(|finding| Finding { code: "reference", ..of_script(document, finding) }).collect()
}

/// Refuses scripts: this program has no Lua.
#[cfg(not(feature = "lua"))]
pub(super) fn scripts(document: &Document, _: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    match ringway_traffic::scripts::check(document.set.scripts.iter().map(|script| &**script)) {
        Ok(()) => Vec::new(),
        Err(findings) => findings.into_iter().map(|finding| of_script(document, finding)).collect(),
    }
}

/// A finding about a script, at its line of the file that the script was read from.
fn of_script(document: &Document, finding: ScriptFinding) -> Finding {
    let ScriptFinding { place, message } = finding;
    let Some((file, line)) = place else { return error("script", message.into(), None) };
    let script = document.set.scripts.iter().find(|script| *script.file == *file);
    let known = script.and_then(|script| document.places.get(Kind::Script, &script.id));
    let (file, is_file): (Arc<str>, bool) = match known {
        Some(place) if place.file.ends_with(".lua") => (place.file.clone(), true),
        _ => (file.into(), false),
    };
    let place = match (is_file, known) {
        // In a source within the document, lines count from its own beginning.
        (false, Some(known)) => {
            return error("script", format!("{file}:{line}: {message}"), Some(known.clone()));
        }
        _ => Place::new(&file, Position { line, column: 1 }),
    };
    error("script", message.into(), Some(place))
}

/// Warnings about patterns of paths that match none.
fn unmatchable(document: &Document, patterns: &[Arc<Pattern>]) -> Vec<Finding> {
    let none: AHashSet<&str> =
        patterns.iter().filter(|pattern| !pattern.may_match_path()).map(|pattern| pattern.as_str()).collect();
    let why = "matches no path: every path begins with /, and the pattern is compared with all of it";
    let finding = |route: &Arc<RouteSpec>| match &route.matcher.path {
        PathMatch::Regex(text) if none.contains(&**text) => {
            Some(about_field(document, &route.id, "path_regex", "no_effect", Severity::Warning, why))
        }
        _ => None,
    };
    document.set.routes.iter().filter_map(finding).collect()
}

fn circle_finding(document: &Document, circle: &[RouteId]) -> Finding {
    let Some(first) = circle.first() else { return error("conflict", String::new(), None) };
    let message = match circle {
        [_] => "redirects to itself: a browser gives up".to_owned(),
        _ => {
            let names: Vec<&str> = circle.iter().chain([first]).map(RouteId::as_str).collect();
            format!("redirects in a circle, {}: a browser gives up", names.join(" to "))
        }
    };
    about_field(document, first, "redirect", "conflict", Severity::Warning, &message)
}

/// A finding about a field of a route, at its place where that is known.
fn about_field(
    document: &Document,
    route: &RouteId,
    field: &'static str,
    code: &'static str,
    severity: Severity,
    why: &str,
) -> Finding {
    match document.checked_later.get(route.as_str(), field) {
        Some(FieldPlace { pointer, place }) => Finding {
            severity,
            code,
            pointer: pointer.clone(),
            message: format!("{why} (route {route})"),
            place: place.clone(),
        },
        None => {
            let place = document.places.get(Kind::Route, route.as_str()).cloned();
            Finding { severity, ..error(code, format!("route {route}: {field} {why}"), place) }
        }
    }
}

/// Named files that cannot be used. Without those of certificates nothing is served; files of credentials may
/// follow. Reads them; blocks.
pub(super) fn files(document: &Document) -> Vec<Finding> {
    let mut findings = credentials(document);
    let mut checked = AHashSet::new();
    for (kind, id, key) in named_files(&document.set) {
        if !checked.insert(key.clone()) {
            continue;
        }
        if let Err(why) = check_files_blocking(&key) {
            let place = document.places.get(kind, &id).cloned();
            findings.push(error(FILE, format!("a file that {kind} {id} names cannot be used: {why}"), place));
        }
    }
    findings
}

/// Warnings about files of keys and users that cannot be used: their routes refuse requests until they can.
/// Reads them; blocks.
pub fn credentials(document: &Document) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut checked = AHashSet::new();
    for chain in &document.set.middlewares {
        for source in chain.sources().filter(|source| checked.insert(source.clone())) {
            let Some(why) = ringway_auth::file_problem_blocking(&source) else { continue };
            let place = document.places.get(Kind::Middleware, chain.id.as_str()).cloned();
            let message = format!(
                "{why}; authentication by it answers 503 until the file can be used (chain {})",
                chain.id
            );
            findings.push(Finding { severity: Severity::Warning, ..error(CREDENTIALS, message, place) });
        }
    }
    findings
}

/// Resources that name files, and the secrets in them.
fn named_files(set: &OperatorSet) -> Vec<(Kind, Arc<str>, SecretKey)> {
    let certificates = set.certificates.iter().map(|certificate| {
        let key = SecretKey::Identity(IdentityName::Files(certificate.files.clone()));
        (Kind::Certificate, certificate.sni.to_string().into(), key)
    });
    let pools = set.pools.iter().filter_map(|pool| {
        let key = SecretKey::Upstream(pool.id.clone(), pool.upstream_tls.clone()?);
        names_files(&key).then(|| (Kind::App, pool.id.as_str().into(), key))
    });
    let routes = set.routes.iter().filter_map(|route| {
        let key = SecretKey::ClientCa(route.client_auth.as_ref()?.ca_file.clone());
        Some((Kind::Route, route.id.as_str().into(), key))
    });
    certificates.chain(pools).chain(routes).collect()
}
