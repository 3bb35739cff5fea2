//! Warnings about certificates, from the overview of the certificate component; pure.

use ringway_certs::Overview;
use ringway_model::Timestamp;

/// Problems of this process with certificates, independent of single domains.
pub(super) fn certificate_warnings(overview: &Overview, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(problem) = &overview.clock_problem {
        warnings.push(format!("certificates: {problem}"));
    } else if now < CLOCK_PLAUSIBLE {
        warnings.push(format!(
            "this machine's clock is at {}: certificates cannot be validated or ordered until it is set",
            now.to_rfc3339()
        ));
    }
    if let Some(problem) = &overview.directory_problem {
        warnings.push(format!("certificates: {problem}"));
    }
    if let Some(default) = &overview.default {
        let (begin, end) = (default.facts.not_before, default.facts.not_after);
        if let Some(problem) = &default.problem {
            warnings.push(format!("files of the default certificate changed and cannot be served, the old one stays in use: {problem}"));
        }
        if now > end {
            warnings.push(format!("the default certificate expired on {}", end.to_rfc3339()));
        } else if is_late(begin, end, now) {
            warnings.push(format!(
                "the default certificate expires on {} and was not replaced",
                end.to_rfc3339()
            ));
        }
    }
    for authority in overview.authorities.iter().filter(|authority| !authority.is_usable) {
        let problem = authority.problem.as_deref().unwrap_or("paused");
        warnings.push(format!("the CA {} is unavailable: {problem}", authority.url));
    }
    warnings
}

/// Present and coming problems with certificates of single domains. They do not degrade the process.
pub(super) fn domain_warnings(overview: &Overview) -> Vec<String> {
    let mut warnings = Vec::new();
    let domains = |count: usize| if count == 1 { "1 domain".to_owned() } else { format!("{count} domains") };
    if overview.expired > 0 {
        warnings.push(format!("the certificates of {} have expired", domains(overview.expired)));
    }
    if overview.late > 0 {
        let count = domains(overview.late);
        warnings.push(format!(
            "the certificates of {count} are past two thirds of their lifetime and were not renewed"
        ));
    }
    if overview.damaged > 0 {
        let count = domains(overview.damaged);
        warnings.push(format!("the certificates of {count} on disk cannot be served; see the log"));
    }
    if overview.queued > 0 {
        for budget in overview.budgets.iter().filter(|budget| budget.left == 0) {
            let of = budget.subject.as_ref().map(|subject| format!(" of {subject}")).unwrap_or_default();
            let until = budget.next_at.map(|at| format!(" until {}", at.to_rfc3339())).unwrap_or_default();
            let waiting = overview.queued;
            warnings.push(format!(
                "the CA's rate limit \"{}\"{of} is exhausted{until}, with {} waiting",
                budget.limit,
                domains(waiting)
            ));
        }
    }
    warnings
}

/// Whether two thirds of the lifetime are over.
fn is_late(begin: Timestamp, end: Timestamp, now: Timestamp) -> bool {
    let lifetime = end.0.saturating_sub(begin.0);
    now.0.saturating_sub(begin.0) > lifetime / 3 * 2
}

/// 2025-01-01T00:00:00Z, earlier than every build of this program: the clock of a machine before it is not
/// set.
const CLOCK_PLAUSIBLE: Timestamp = Timestamp(1_735_689_600_000);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_certs::{AuthorityState, BudgetState, DefaultState};
    use ringway_tls::{Facts as CertificateFacts, KeyKind};
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const DAY: u64 = 86_400_000;

    fn default_ending(left_days: u64) -> DefaultState {
        let facts = CertificateFacts {
            names: vec!["*.example".to_owned()],
            not_before: Timestamp(NOW.0 + left_days * DAY - 90 * DAY),
            not_after: Timestamp(NOW.0 + left_days * DAY),
            serial: "01".to_owned(),
            issuer: "CN=A".to_owned(),
            fingerprint: "ab".to_owned(),
            key: KeyKind::Ecdsa,
            for_servers: true,
        };
        DefaultState { facts: Arc::new(facts), version: 1, problem: None }
    }

    #[test]
    fn no_warning_without_a_problem() {
        let overview = Overview { default: Some(default_ending(31)), ..Overview::default() };
        assert_eq!(certificate_warnings(&overview, NOW), [""; 0]);
        assert_eq!(domain_warnings(&overview), [""; 0]);
    }

    #[test]
    fn a_default_certificate_in_its_last_third_is_a_warning() {
        let overview = Overview { default: Some(default_ending(29)), ..Overview::default() };
        assert!(certificate_warnings(&overview, NOW)[0].contains("was not replaced"));
        let later = Timestamp(NOW.0 + 30 * DAY);
        assert!(certificate_warnings(&overview, later)[0].contains("expired on"));
        let mut refused = default_ending(90);
        refused.problem = Some("the key does not match".to_owned());
        let overview = Overview { default: Some(refused), ..Overview::default() };
        assert!(
            certificate_warnings(&overview, NOW)[0]
                .contains("the old one stays in use: the key does not match")
        );
    }

    #[test]
    fn problems_of_all_certificates_are_warnings() {
        let overview = Overview {
            directory_problem: Some("/var/lib/x cannot be written".to_owned()),
            authorities: vec![AuthorityState {
                url: "https://ca.example/dir".to_owned(),
                is_usable: false,
                problem: Some("it does not respond".to_owned()),
                paused_until: None,
                orders_in_flight: 0,
            }],
            ..Overview::default()
        };
        let warnings = certificate_warnings(&overview, Timestamp(0)).join("\n");
        for part in [
            "1970-01-01",
            "/var/lib/x cannot be written",
            "https://ca.example/dir is unavailable: it does not respond",
        ] {
            assert!(warnings.contains(part), "{part} in {warnings}");
        }
    }

    #[test]
    fn an_exhausted_budget_is_a_warning_when_orders_wait_for_it() {
        let budget = BudgetState {
            limit: "new orders",
            authority: "https://ca.example/dir".to_owned(),
            subject: None,
            left: 0,
            capacity: 300,
            next_at: Some(NOW),
        };
        let mut overview = Overview { budgets: vec![budget], ..Overview::default() };
        assert_eq!(domain_warnings(&overview), [""; 0]);
        overview.queued = 2;
        overview.expired = 1;
        overview.late = 3;
        let warnings = domain_warnings(&overview);
        assert!(warnings[0].starts_with("the certificates of 1 domain have expired"), "{warnings:?}");
        assert!(warnings[1].contains("3 domains are past two thirds"), "{warnings:?}");
        assert!(
            warnings[2].contains("\"new orders\" is exhausted until 2027-")
                && warnings[2].contains("2 domains"),
            "{warnings:?}"
        );
    }
}
