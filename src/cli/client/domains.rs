//! `ringway domains`: lists, shows, adds, changes and removes domains.

use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::text::{Cell, Style, Table, Tone, escape};
use super::{ApiArgs, Failure, List, object, time};

#[derive(Debug, clap::Args)]
pub(crate) struct DomainsArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: DomainsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DomainsCommand {
    /// List the domains
    #[command(visible_alias = "ls")]
    List {
        /// Only domains of this app
        #[arg(long)]
        app: Option<String>,
        /// Only domains of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Show at most this many
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Show a domain
    Show {
        /// Name of the domain
        domain: String,
    },
    /// Route a domain to an app
    Add {
        /// Name of the domain; exact, without wildcard or port
        domain: String,
        /// ID of the app
        #[arg(long)]
        app: String,
        /// Tenant that owns the domain; sent to the app in X-Tenant-ID
        #[arg(long)]
        tenant: Option<String>,
        /// Type of the domain [default: custom with a tenant, else subdomain]
        #[arg(long = "type", value_name = "TYPE", value_parser = KINDS)]
        kind: Option<String>,
        /// Target of its CNAME record, for information
        #[arg(long, value_name = "NAME", hide_short_help = true)]
        cname_target: Option<String>,
        /// Source of its certificate [default: acme]
        #[arg(long, value_name = "MODE", value_parser = MODES)]
        certificate: Option<String>,
        /// PEM file, on the proxy's machine, with the CAs that verify client certificates
        #[arg(long, value_name = "PATH", hide_short_help = true)]
        client_ca: Option<String>,
        /// Whether clients must present a certificate
        #[arg(long, value_name = "NEED", value_parser = NEEDS, default_value = "required", requires = "client_ca", hide_short_help = true)]
        client_certificate: String,
    },
    /// Change a domain; options that are not given stay as they are
    #[command(
        group = clap::ArgGroup::new("change").required(true).multiple(true),
        override_usage = "ringway domains update <DOMAIN> <CHANGE>..."
    )]
    Update {
        /// Name of the domain
        domain: String,
        /// Route to this app
        #[arg(long, group = "change")]
        app: Option<String>,
        /// Assign to this tenant
        #[arg(long, group = "change")]
        tenant: Option<String>,
        /// Assign to no tenant
        #[arg(long, group = "change", conflicts_with = "tenant")]
        no_tenant: bool,
        /// Type of the domain
        #[arg(long = "type", value_name = "TYPE", value_parser = KINDS, group = "change")]
        kind: Option<String>,
        /// Target of its CNAME record
        #[arg(long, value_name = "NAME", group = "change", hide_short_help = true)]
        cname_target: Option<String>,
        /// Remove that target
        #[arg(long, group = "change", conflicts_with = "cname_target", hide_short_help = true)]
        no_cname_target: bool,
        /// Source of its certificate
        #[arg(long, value_name = "MODE", value_parser = MODES, group = "change")]
        certificate: Option<String>,
        /// PEM file, on the proxy's machine, with the CAs that verify client certificates
        #[arg(long, value_name = "PATH", group = "change", hide_short_help = true)]
        client_ca: Option<String>,
        /// Whether clients must present a certificate
        #[arg(long, value_name = "NEED", value_parser = NEEDS, default_value = "required", requires = "client_ca", hide_short_help = true)]
        client_certificate: String,
        /// Require no client certificate
        #[arg(long, group = "change", conflicts_with = "client_ca", hide_short_help = true)]
        no_client_ca: bool,
    },
    /// Remove a domain; requests for it get 404
    #[command(visible_alias = "rm")]
    Remove {
        /// Name of the domain
        domain: String,
    },
}

/// Types of domains.
const KINDS: [&str; 3] = ["subdomain", "custom", "cname_target"];

/// Sources of certificates.
const MODES: [&str; 3] = ["acme", "provided", "none"];

/// Whether clients must present a certificate.
const NEEDS: [&str; 2] = ["optional", "required"];

impl DomainsArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        match self.command {
            DomainsCommand::List { app, tenant, limit } => api.list(
                &List {
                    path: "/api/tenants/domains",
                    items: "domains",
                    filters: vec![("app_id", app), ("tenant_id", tenant)],
                    limit,
                },
                Table::new(&["DOMAIN", "APP", "TENANT", "TYPE", "CERTIFICATE", "REGISTERED"]),
                |table, domain: DomainView| {
                    table.row(vec![
                        Cell::new(&domain.domain),
                        Cell::new(&domain.app_id),
                        Cell::or_dash(domain.tenant_id.as_deref()),
                        Cell::new(&domain.kind),
                        Cell::or_dash(Some(&domain.certificate_status)),
                        Cell::new(&time(&domain.created_at)),
                    ]);
                },
            ),
            DomainsCommand::Show { domain } => api.show(
                Method::Post,
                "/api/tenants/domains/get",
                Some(&json!({ "domain": domain })),
                details,
            ),
            DomainsCommand::Add {
                domain,
                app,
                tenant,
                kind,
                cname_target,
                certificate,
                client_ca,
                client_certificate,
            } => {
                let is_custom = tenant.is_some() && kind.as_deref().is_none_or(|kind| kind == "custom");
                let path = if is_custom { "/api/tenants/custom-domains" } else { "/api/tenants/domains" };
                let body = object([
                    ("domain", Some(domain.clone().into())),
                    ("app_id", Some(app.into())),
                    ("tenant_id", tenant.map(Into::into)),
                    ("type", kind.map(Into::into)),
                    ("cname_target", cname_target.map(Into::into)),
                    ("certificate", certificate.map(Into::into)),
                    ("client_auth", client_auth(client_ca, &client_certificate)),
                ]);
                api.change(Method::Post, path, &body, &format!("domain {domain}"))
            }
            DomainsCommand::Update {
                domain,
                app,
                tenant,
                no_tenant,
                kind,
                cname_target,
                no_cname_target,
                certificate,
                client_ca,
                client_certificate,
                no_client_ca,
            } => {
                let body = object([
                    ("domain", Some(domain.clone().into())),
                    ("app_id", app.map(Into::into)),
                    ("tenant_id", patch(tenant, no_tenant)),
                    ("type", kind.map(Into::into)),
                    ("cname_target", patch(cname_target, no_cname_target)),
                    ("certificate", certificate.map(Into::into)),
                    (
                        "client_auth",
                        client_auth(client_ca, &client_certificate).or(no_client_ca.then_some(Value::Null)),
                    ),
                ]);
                api.change(Method::Put, "/api/tenants/domains", &body, &format!("domain {domain}"))
            }
            DomainsCommand::Remove { domain } => {
                let body = json!({ "domain": domain });
                api.change(Method::Delete, "/api/tenants/domains", &body, &format!("domain {domain}"))
            }
        }
    }
}

/// HttpClient authentication, where it is given.
fn client_auth(ca_file: Option<String>, need: &str) -> Option<Value> {
    ca_file.map(|ca_file| json!({ "ca_file": ca_file, "mode": need }))
}

/// New value; `null` removes it, absence keeps it.
fn patch(value: Option<String>, none: bool) -> Option<Value> {
    value.map(Value::String).or(none.then_some(Value::Null))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DomainView {
    domain: String,
    app_id: String,
    tenant_id: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    cname_target: Option<String>,
    certificate_status: String,
    certificate_expiry: Option<String>,
    created_at: String,
    updated_at: String,
}

fn details(domain: DomainView, style: Style) -> String {
    let mut out = format!("{}\n", style.paint(Tone::Heading, &escape(&domain.domain)));
    let certificate = match &domain.certificate_expiry {
        Some(expiry) => format!("{}, until {}", domain.certificate_status, time(expiry)),
        None => domain.certificate_status.clone(),
    };
    for (name, value) in [
        ("app", Some(domain.app_id.as_str())),
        ("tenant", domain.tenant_id.as_deref()),
        ("type", Some(domain.kind.as_str())),
        ("cname target", domain.cname_target.as_deref()),
        ("certificate", Some(certificate.as_str())),
        ("registered", Some(time(&domain.created_at).as_str())),
        ("updated", Some(time(&domain.updated_at).as_str())),
    ] {
        out.push_str(&format!("{name:<13} {}\n", value.map_or_else(|| "-".to_owned(), escape)));
    }
    out
}
