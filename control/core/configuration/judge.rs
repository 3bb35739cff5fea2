//! Judgement of an owner's new set: claims and references, the operator's rules, and the size guard.

use std::sync::Arc;

use ringway_config::{Finding, Place, Places, Severity};
use ringway_model::{Conflict, Holder, Kind, Owner};

use super::fields::kind_name;
use crate::limits::SIZE_GUARD_FLOOR;

/// Places of the resources of the owners, as far as their documents were read by this process.
pub(super) trait KnownPlaces {
    /// Place of a resource of an owner.
    fn place(&self, owner: &Owner, kind: Kind, id: &str) -> Option<&Place>;
}

/// An error of a set.
pub(super) fn error(code: &'static str, message: String, place: Option<Place>) -> Finding {
    Finding { severity: Severity::Error, code, pointer: String::new(), message, place }
}

/// The first error of findings, with the number of the others: `… (and 8 more)`.
pub(super) fn first_error(findings: &[Finding]) -> Option<String> {
    let mut errors = findings.iter().filter(|finding| finding.is_error() && !finding.is_rest());
    let first = errors.next()?;
    let at_least = if findings.iter().any(Finding::is_rest) { "more than " } else { "" };
    Some(match errors.count() {
        0 => first.to_string(),
        others => format!("{first} (and {at_least}{others} more)"),
    })
}

/// A conflict with its own place, and with that of the resource in the way.
pub(super) fn conflict_finding(conflict: &Conflict, own: &Places, known: &impl KnownPlaces) -> Finding {
    let (kind, id): (Kind, &str) = match conflict {
        Conflict::IdTaken { kind, id, .. } | Conflict::UnknownPolicy { kind, id, .. } => (*kind, id),
        Conflict::HostTaken { route, .. } | Conflict::UnknownPool { route, .. } => {
            (Kind::Route, route.as_str())
        }
        Conflict::Unknown { user_kind, user, .. } => (*user_kind, user),
        Conflict::InUse { kind, id, user_kind, user, owner } => {
            let user = known.place(owner, *user_kind, user);
            let at = known.place(owner, *kind, id).cloned();
            return error("reference", with_place(in_words(conflict), user), at);
        }
        Conflict::Full { .. } => return error("range", in_words(conflict), None),
    };
    let holder = match conflict {
        Conflict::HostTaken { holder: Holder::Route { id, owner }, .. } => {
            known.place(owner, Kind::Route, id.as_str())
        }
        Conflict::IdTaken { kind, id, holder } => known.place(holder, *kind, id),
        _ => None,
    };
    let code = match conflict {
        Conflict::UnknownPool { .. } | Conflict::UnknownPolicy { .. } | Conflict::Unknown { .. } => {
            "reference"
        }
        _ => "conflict",
    };
    error(code, with_place(in_words(conflict), holder), own.get(kind, id).cloned())
}

/// The conflict in the words of the documents: an app of an operator is a pool, an instance an endpoint.
fn in_words(conflict: &Conflict) -> String {
    match conflict {
        Conflict::IdTaken { kind, id, holder } => {
            let kind = kind_name(*kind).unwrap_or(kind.as_str());
            format!("{kind} {id} belongs to owner {holder}; ids are unique over all owners")
        }
        Conflict::UnknownPolicy { kind, id, policy } => {
            let kind = kind_name(*kind).unwrap_or(kind.as_str());
            format!("{kind} {id} names policy {policy}, which does not exist")
        }
        Conflict::InUse { kind, id, user_kind, user, owner } => {
            let kind = kind_name(*kind).unwrap_or(kind.as_str());
            format!("{kind} {id} cannot be removed: {user_kind} {user} (owner {owner}) uses it")
        }
        conflict => conflict.to_string(),
    }
}

fn with_place(message: String, place: Option<&Place>) -> String {
    match place {
        Some(place) => format!("{message} (there: {place})"),
        None => message,
    }
}

/// Refuses a set that has doubled or halved. A set of less than `SIZE_GUARD_FLOOR` objects may do so.
pub(super) fn size_guard(before: usize, after: usize) -> Option<Finding> {
    let is_guarded = before >= SIZE_GUARD_FLOOR;
    let verb = match () {
        () if is_guarded && after >= before.saturating_mul(2) => "grows",
        () if is_guarded && after.saturating_mul(2) <= before => "shrinks",
        () => return None,
    };
    let message = format!(
        "the set {verb} from {before} to {after} routes, pools and policies: a set that doubles or halves is \
         refused, unless the change is repeated with force_size"
    );
    Some(error("size", message, None))
}

/// The first findings, and the number of further ones.
pub(super) fn shorten(findings: &[Finding], most: usize) -> Vec<Arc<str>> {
    let mut lines: Vec<Arc<str>> =
        findings.iter().take(most).map(|finding| finding.to_string().into()).collect();
    if findings.len() > most {
        lines.push(format!("and {} more", findings.len() - most).into());
    }
    lines
}
