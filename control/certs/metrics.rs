//! Metrics of the certificate files, in the text format of Prometheus.

use std::fmt::Write as _;

use ringway_model::Timestamp;

use crate::report::Overview;

/// Appends the metrics. `next_expiry`: the earliest end of all certificates of domains.
pub(crate) fn render(overview: &Overview, next_expiry: Option<Timestamp>, files_read: u64, out: &mut String) {
    let mut gauge = |name: &str, help: &str, series: &[(String, u64)]| {
        // Writing to a String does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in series {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let one = |value: usize| vec![(String::new(), value as u64)];
    let states: Vec<(String, u64)> = overview
        .states
        .iter()
        .map(|(state, count)| (format!("{{state=\"{}\"}}", state.as_str()), *count as u64))
        .collect();
    gauge("ringway_certificate_domains", "Domains by the state of their certificate.", &states);
    gauge(
        "ringway_certificates_unread",
        "Certificates on the disk not read yet since the start.",
        &one(overview.unread),
    );
    gauge(
        "ringway_certificates_damaged",
        "Domains whose certificate on the disk is damaged.",
        &one(overview.damaged),
    );
    gauge("ringway_certificates_expired", "Expired certificates of domains.", &one(overview.expired));
    gauge(
        "ringway_certificates_orphaned",
        "Certificates on the disk whose domain is not registered.",
        &one(overview.orphans),
    );
    let is_broken = usize::from(overview.directory_problem.is_some());
    gauge(
        "ringway_certificate_directory_unusable",
        "1 when the certificate directory is unusable.",
        &one(is_broken),
    );
    gauge(
        "ringway_certificate_files_read",
        "Certificate files opened for reading since the start.",
        &[(String::new(), files_read)],
    );
    if let Some(end) = next_expiry {
        gauge(
            "ringway_certificate_next_expiry_timestamp_seconds",
            "Earliest expiry of all certificates of domains.",
            &[(String::new(), end.0 / 1000)],
        );
    }
    if let Some(default) = &overview.default {
        gauge(
            "ringway_default_certificate_expiry_timestamp_seconds",
            "Expiry of the default certificate.",
            &[(String::new(), default.facts.not_after.0 / 1000)],
        );
        let is_refused = usize::from(default.problem.is_some());
        gauge(
            "ringway_default_certificate_refused",
            "1 when its files changed and are invalid: the previous certificate is served.",
            &one(is_refused),
        );
    }
}
