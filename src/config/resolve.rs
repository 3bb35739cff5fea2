//! Checks over all sources: references, routes with the same conditions, client certificates, traffic.
//!
//! Defaults of the whole document are given to its routes and pools here.

use std::collections::HashMap;

use ringway_model::{ClientAuth, HostPattern, Kind, RouteMatch, RouteSpec, STRUCTURED_LOGGER};

use crate::draft::{Declared, Draft, noun};
use crate::reader::nearest;
use crate::shapes::{origin_of_chain, origin_of_pool};
use crate::{Beside, Document, Finding, Severity};

mod cache;
mod compression;
mod lint;
mod middleware;
mod traffic;

/// Completes a draft and returns what is wrong with it as a whole.
pub(crate) fn resolve(draft: &mut Draft, beside: &Beside<'_>) -> Vec<Finding> {
    traffic::take_routes(draft, beside);
    cache::take_routes(draft, beside);
    let mut findings = dangling(draft, beside);
    findings.extend(client_certificates(draft));
    findings.extend(same_conditions(draft));
    findings.extend(client_auth_of_hosts(draft));
    traffic::circuit_breakers(draft);
    traffic::rate_limit(draft);
    security_chain(draft);
    findings.extend(compression::give(draft));
    findings.extend(cache::give(draft));
    findings.extend(traffic::manage(draft));
    findings.extend(lint::lint(draft));
    findings.extend(unknown_builtins(draft, beside));
    findings.extend(middleware::judge(draft, beside));
    findings
}

/// References to resources that do not exist.
fn dangling(draft: &Draft, beside: &Beside<'_>) -> Vec<Finding> {
    let names = &draft.names;
    let kept = |kind: Kind, id: &str| {
        let Some(Document { set, .. }) = beside.base else { return false };
        let given = draft.sections;
        match kind {
            Kind::App => {
                !given.has(origin_of_pool(id)) && set.pools.iter().any(|pool| pool.id.as_str() == id)
            }
            Kind::Policy => !given.policies && set.policies.iter().any(|policy| policy.id.as_str() == id),
            Kind::Middleware => {
                !given.has(origin_of_chain(id)) && set.middlewares.iter().any(|of| of.id.as_str() == id)
            }
            Kind::Plugin => !given.plugins && set.plugins.iter().any(|of| of.id.as_str() == id),
            _ => false,
        }
    };
    let dangles = |kind: Kind, id: &std::sync::Arc<str>| {
        !names.unreadable.contains(&kind)
            && !names.declared.contains_key(&(kind, id.clone()))
            && !kept(kind, id)
            && !(beside.is_known)(kind, id)
    };
    let dangling = names.references.iter().filter(|reference| dangles(reference.kind, &reference.id));
    dangling
        .map(|reference| {
            let what = noun(reference.kind);
            let known = names.declared.keys().filter(|(kind, _)| *kind == reference.kind);
            let near = nearest(&reference.id, known.map(|(_, id)| &**id));
            let mut message = format!("names the {what} {}, which does not exist", reference.id);
            if let Some(near) = near {
                message.push_str(&format!("; did you mean {near}?"));
            }
            Finding {
                severity: Severity::Error,
                code: "reference",
                pointer: reference.pointer.to_string(),
                message,
                place: reference.place.clone(),
            }
        })
        .collect()
}

/// Plugins of the type `builtin` whose stage the program does not have.
fn unknown_builtins(draft: &Draft, beside: &Beside<'_>) -> Vec<Finding> {
    let Some(custom) = beside.builtins else { return Vec::new() };
    let known: Vec<&str> =
        std::iter::once(STRUCTURED_LOGGER).chain(custom.iter().map(|name| &**name)).collect();
    let unknown = draft.builtins.iter().filter(|reference| !known.contains(&&*reference.id));
    unknown
        .map(|reference| Finding {
            severity: Severity::Error,
            code: "reference",
            pointer: reference.pointer.to_string(),
            message: format!(
                "names the builtin {}, which this program does not have; it has {}",
                reference.id,
                known.join(", ")
            ),
            place: reference.place.clone(),
        })
        .collect()
}

/// Gives all routes the client certificates of `tls.mtls`.
fn client_certificates(draft: &mut Draft) -> Vec<Finding> {
    let Some(auth) = &draft.client_auth else {
        let missing = draft.mtls_routes.iter().map(|route| Finding {
            severity: Severity::Error,
            code: "missing",
            pointer: route.pointer.to_string(),
            message: "needs the CAs of client certificates: tls.mtls.ca_file, or client_auth of the route"
                .to_owned(),
            place: route.place.clone(),
        });
        return missing.collect();
    };
    for route in &mut draft.routes {
        route.client_auth.get_or_insert_with(|| auth.clone());
    }
    Vec::new()
}

/// Gives all routes the chain of `security`, before their own.
fn security_chain(draft: &mut Draft) {
    let Some(chain) = &draft.security else { return };
    for route in &mut draft.routes {
        let own = std::mem::take(&mut route.middleware).into_vec();
        route.middleware = std::iter::once(chain.clone()).chain(own).collect();
    }
}

/// Routes of which one can never serve a request.
fn same_conditions(draft: &Draft) -> Vec<Finding> {
    type Conditions<'a> = (&'a HostPattern, &'a RouteMatch, i32);
    let mut seen: HashMap<Conditions<'_>, &RouteSpec, ahash::RandomState> = HashMap::default();
    let mut findings = Vec::new();
    for route in &draft.routes {
        let conditions = (&route.host, &route.matcher, route.priority);
        if let Some(first) = seen.get(&conditions) {
            let message = format!(
                "has host, conditions and priority of {}: one of the two would never serve a request",
                shown(draft, first)
            );
            findings.push(about(draft, route, "conflict", message));
        } else {
            seen.insert(conditions, route);
        }
    }
    findings
}

/// Routes of one host whose handshakes would ask for different client certificates.
fn client_auth_of_hosts(draft: &Draft) -> Vec<Finding> {
    type Known<'a> = (&'a RouteSpec, Option<&'a ClientAuth>);
    let mut seen: HashMap<&HostPattern, Known<'_>, ahash::RandomState> = HashMap::default();
    let mut findings = Vec::new();
    for route in &draft.routes {
        let auth = route.client_auth.as_ref();
        let (first, known) = seen.entry(&route.host).or_insert((route, auth));
        if *known != auth {
            let message = format!(
                "has another client_auth than {}, which has the same host: a handshake knows only the host",
                shown(draft, first)
            );
            findings.push(about(draft, route, "conflict", message));
        }
    }
    findings
}

fn declared<'d>(draft: &'d Draft, route: &RouteSpec) -> Option<&'d Declared> {
    draft.names.declared.get(&(Kind::Route, route.id.as_str().into()))
}

fn shown(draft: &Draft, route: &RouteSpec) -> String {
    match declared(draft, route).and_then(|declared| declared.place.as_ref()) {
        Some(place) => format!("route {} at {place}", route.id),
        None => format!("route {}", route.id),
    }
}

fn warning(finding: Finding) -> Finding {
    Finding { severity: Severity::Warning, ..finding }
}

fn about(draft: &Draft, route: &RouteSpec, code: &'static str, message: String) -> Finding {
    let declared = declared(draft, route);
    Finding {
        severity: Severity::Error,
        code,
        pointer: declared.map_or_else(String::new, |declared| declared.pointer.to_string()),
        message,
        place: declared.and_then(|declared| declared.place.clone()),
    }
}
