//! Checks of a document beyond its text: whether its routes compile, and whether the files that it names can
//! be used.

use std::sync::Arc;

use ahash::AHashSet;
use ringway_certs::{check_files_blocking, names_files};
use ringway_config::{Document, Finding};
use ringway_model::{Kind, OperatorSet, RouteId};
use ringway_tls::{IdentityName, SecretKey};
use ringway_traffic::pattern::{Pattern, Patterns};
use ringway_traffic::route_check::{self, Checked};
use ringway_wire::path::Slashes;

use super::judge::error;

/// Code of a finding about a named file: the document itself may be right.
pub(super) const FILE: &str = "file";

/// Routes of a document, checked.
pub(super) struct CheckedRoutes {
    pub(super) mistakes: Vec<Finding>,
    /// Their compiled patterns.
    pub(super) patterns: Vec<Arc<Pattern>>,
}

/// Checks whether the routes of a document compile.
pub(super) fn routes(document: &Document, slashes: Slashes, patterns: &Patterns) -> CheckedRoutes {
    let routes = document.set.routes.iter().map(|route| &**route);
    let Checked { mistakes, patterns } = route_check::check(routes, slashes, patterns);
    let of_route = |(id, why)| {
        let place = document.places.get(Kind::Route, RouteId::as_str(&id)).cloned();
        error("invalid", format!("route {id}: {why}"), place)
    };
    CheckedRoutes { mistakes: mistakes.into_iter().map(of_route).collect(), patterns }
}

/// Named files that cannot be used. Reads them; blocks.
pub(super) fn files(document: &Document) -> Vec<Finding> {
    let mut findings = Vec::new();
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
