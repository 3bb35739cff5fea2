//! Readiness report: one line of JSON for programs, a log line for operators, and an example of a
//! registration.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use ringway::{Handle, Status};
use serde_json::json;

/// Addresses and status of a process that serves.
#[derive(Debug)]
pub(crate) struct Ready {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    forward: Vec<SocketAddr>,
    api: Vec<SocketAddr>,
    metrics: Vec<SocketAddr>,
    api_socket: Option<PathBuf>,
    workers: usize,
    driver: String,
    status: Option<Status>,
    audit_log: Vec<String>,
}

impl Ready {
    /// Queries the gateway. A control plane that does not respond at once is reported as degraded.
    pub(crate) fn of(gateway: &Handle, api_socket: Option<PathBuf>) -> Self {
        Self {
            http: gateway.http_addresses().to_vec(),
            https: gateway.https_addresses().to_vec(),
            forward: gateway.forward_addresses().to_vec(),
            api: gateway.admin_addresses().to_vec(),
            metrics: gateway.metrics_addresses().to_vec(),
            api_socket,
            workers: gateway.workers(),
            driver: gateway.driver().map_or_else(|| "unknown".to_owned(), |driver| driver.to_string()),
            status: gateway.client().status().ok(),
            audit_log: gateway.audit_log_warnings(),
        }
    }

    /// Prints one line of JSON on standard output, for supervisors and tests.
    pub(crate) fn print(&self) {
        let line = json!({
            "event": "ready",
            "http": self.http.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "https": self.https.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "forward": self.forward.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "api": self.api.first().map(ToString::to_string),
            "api_addresses": self.api.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "metrics": self.metrics.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "api_socket": self.api_socket,
            "revision": self.status.as_ref().map_or(0, |status| status.revision.0),
            "degraded": self.degraded(),
            "workers": self.workers,
            "driver": self.driver,
        });
        let mut out = std::io::stdout().lock();
        // Standard output may be closed.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    /// Logs the same for operators, and an example when nothing is registered.
    pub(crate) fn log(&self) {
        let joined = |addresses: &[SocketAddr]| {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let (http, https) = (joined(&self.http), joined(&self.https));
        let (api, metrics) = (joined(&self.api), joined(&self.metrics));
        let forward = joined(&self.forward);
        let counts = self.status.as_ref().map(|status| status.counts).unwrap_or_default();
        tracing::info!(
            http,
            https,
            forward,
            api,
            metrics,
            workers = self.workers,
            driver = self.driver,
            apps = counts.apps,
            instances = counts.instances,
            domains = counts.domains,
            "ringway serves"
        );
        for warning in self.degraded() {
            tracing::warn!("{warning}");
        }
        if counts.apps == 0
            && let Some(example) = self.example()
        {
            tracing::info!("no app is registered yet; apps register themselves, or try: {example}");
        }
    }

    /// Status line for `systemctl status`.
    pub(crate) fn summary(&self) -> String {
        let counts = self.status.as_ref().map(|status| status.counts).unwrap_or_default();
        format!("serving {} apps, {} instances, {} domains", counts.apps, counts.instances, counts.domains)
    }

    fn degraded(&self) -> Vec<String> {
        let mut problems = match &self.status {
            Some(status) => status.warnings.clone(),
            None => vec!["the control plane does not respond".to_owned()],
        };
        problems.extend(self.audit_log.iter().cloned());
        problems
    }

    /// Command of a first registration.
    fn example(&self) -> Option<String> {
        let (options, url) = match (self.api.first().copied(), &self.api_socket) {
            (Some(mut address), _) => {
                if address.ip().is_unspecified() {
                    address.set_ip(if address.is_ipv4() {
                        [127, 0, 0, 1].into()
                    } else {
                        std::net::Ipv6Addr::LOCALHOST.into()
                    });
                }
                (String::new(), format!("http://{address}"))
            }
            (None, Some(path)) => {
                (format!("--unix-socket {} ", path.display()), "http://localhost".to_owned())
            }
            (None, None) => return None,
        };
        Some(format!("curl {options}{url}/api/register -d '{EXAMPLE}'"))
    }
}

/// Registration of one app with one instance and one domain.
const EXAMPLE: &str =
    r#"{"app_id":"app1","instance_id":"app1-1","target":"http://127.0.0.1:3000","domain":"app1.localhost"}"#;
