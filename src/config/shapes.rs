//! Shapes of all sections of a document: one module each.
//!
//! | section | module |
//! |---|---|
//! | `routes`, `pools`, `policies` | `route`, `pool`, `policy` |
//! | `defaults`, `health_checks` | `defaults` |
//! | `routing`: rules with a target each | `routing` |
//! | `tenants`: services by host and path | `tenants` |
//! | `tls`, `certificates` | `tls` |
//! | `governance`, `canary` | `governance` |
//! | settings of the process | `process` |
//! | `traffic_management` | `traffic` |
//! | `cache` | `cache` |
//! | `middleware`, `plugins` | `middleware` |
//! | `compression` | `compression` |
//! | `circuit_breaker` of all pools | `policy` |
//! | `scripts`, `lua_routing` | `scripts` |
//! | `security` | `security` |
//! | `forward` | `forward` |
//! | sections that later versions support | `later` |

use ringway_model::{PolicyId, TenantId};
use serde_json::json;

use crate::draft::Draft;
use crate::values::id_schema;
use crate::{Fault, Field, Given, Reader};

mod cache;
mod compression;
mod defaults;
mod forward;
mod governance;
mod later;
mod matcher;
mod middleware;
mod policy;
mod pool;
mod process;
mod request_key;
mod route;
mod routing;
mod scripts;
mod security;
mod tenants;
mod tls;
mod traffic;

pub(crate) use compression::{CHAIN as COMPRESSION_CHAIN, chain_of_route};
#[cfg(test)]
pub(crate) use middleware::STAGE_TYPES;
pub(crate) use middleware::{origin_of_chain, origin_of_pool};
pub(crate) use policy::{doubts, key_text};
pub use policy::{policy, policy_patch};
pub(crate) use pool::default_failures;
pub use scripts::{ScriptPaths, script_paths};

/// Reads one document.
pub(crate) fn document(reader: &mut Reader<'_>, draft: &mut Draft) {
    reader.optional(&VERSION);
    reader.optional(&SIGNATURE);
    reader.has_no_effect(SIGNATURE.name);
    process::settings(reader);
    // Before all that they are defaults of.
    defaults::defaults(reader, draft);
    policy::policies(reader, draft);
    pool::pools(reader, draft);
    route::routes(reader, draft);
    routing::routing(reader, draft);
    tenants::tenants(reader, draft);
    tls::tls(reader, draft);
    traffic::traffic_management(reader, draft);
    cache::section(reader, draft);
    middleware::middleware(reader, draft);
    middleware::plugins(reader, draft);
    compression::section(reader, draft);
    circuit_breaker(reader, draft);
    scripts::section(reader, draft);
    security::security(reader, draft);
    forward::section(reader, draft);
    governance::governance(reader, draft);
    later::sections(reader);
}

/// Reads the circuit breaker of all pools that have none.
fn circuit_breaker(reader: &mut Reader<'_>, draft: &mut Draft) {
    let Some(breaker) = policy::circuit_breaker(reader) else { return };
    if draft.circuit_breaker.as_ref().is_some_and(|known| *known != breaker) {
        let message = "differs from that of another file".to_owned();
        reader.fault("circuit_breaker", Fault { code: "conflict", message });
    }
    draft.circuit_breaker = Some(breaker);
}

static VERSION: Field<()> = Field {
    name: "version",
    doc: "Version of the format.",
    schema: || json!({ "enum": ["v1"] }),
    parse: |given| match given.text() {
        Ok("v1") => Ok(()),
        _ => Err(Fault::invalid("must be v1, the only version of the format")),
    },
};

static SIGNATURE: Field<std::sync::Arc<str>> = crate::values::text("signature", "Signature of the document.");

/// Name of a policy.
static POLICY_ID: Field<PolicyId> = Field {
    name: "policy",
    doc: "A policy of `policies`.",
    schema: || id_schema("strict"),
    parse: |given| PolicyId::parse(given.text()?).map_err(Fault::invalid),
};

fn tenant_id(given: Given<'_>) -> Result<TenantId, Fault> {
    TenantId::parse(given.text()?).map_err(Fault::invalid)
}
