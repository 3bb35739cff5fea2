//! What is told of the files, in the text format of Prometheus.

use std::fmt::Write as _;

use super::Certificates;

impl Certificates {
    pub(super) fn render_metrics_of_files(&self, out: &mut String) {
        let overview = self.overview_of_files();
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
            "Certificates on the disk that have not been read since the start.",
            &one(overview.unread),
        );
        gauge(
            "ringway_certificates_damaged",
            "Domains whose files on the disk cannot be served.",
            &one(overview.damaged),
        );
        gauge(
            "ringway_certificates_expired",
            "Certificates of domains that are past their end.",
            &one(overview.expired),
        );
        gauge(
            "ringway_certificates_orphaned",
            "Certificates on the disk without a domain.",
            &one(overview.orphans),
        );
        let is_broken = usize::from(overview.directory_problem.is_some());
        gauge(
            "ringway_certificate_directory_unusable",
            "1 when nothing can be stored in the certificate directory.",
            &one(is_broken),
        );
        gauge(
            "ringway_certificate_files_read",
            "Files that were opened to be read since the start.",
            &[(String::new(), self.shared.files.opened())],
        );
        let ends = self
            .shared
            .domains
            .borrow()
            .iter()
            .filter_map(|(_, entry)| entry.held.facts().map(|facts| facts.not_after))
            .min();
        if let Some(end) = ends {
            gauge(
                "ringway_certificate_next_expiry_timestamp_seconds",
                "When the first of all certificates of domains ends.",
                &[(String::new(), end.0 / 1000)],
            );
        }
        if let Some(default) = overview.default {
            gauge(
                "ringway_default_certificate_expiry_timestamp_seconds",
                "When the default certificate ends.",
                &[(String::new(), default.facts.not_after.0 / 1000)],
            );
            let is_refused = usize::from(default.problem.is_some());
            gauge(
                "ringway_default_certificate_refused",
                "1 when its files have changed and cannot be served.",
                &one(is_refused),
            );
        }
    }
}
