//! Filters, commands, and scripts of tenants.

use super::object;
use crate::Reader;
use crate::values::{boolean, number, size, text, texts, time};

/// Reads `lua_routes` of a tenant.
pub(in crate::shapes) fn lua_of_tenant(reader: &mut Reader<'_>) {
    reader.optional(&text("lua_routes", "Script with routes of the tenant."));
    reader.has_no_effect("lua_routes");
}

/// Reads `discover` of a pool.
pub(in crate::shapes) fn discover(reader: &mut Reader<'_>) {
    object(reader, "discover", "Source of the endpoints.", |reader| {
        for (name, doc) in [
            ("consul", "Service in Consul."),
            ("kubernetes", "Service in Kubernetes."),
            ("srv", "Name of an SRV record."),
            ("http", "URL of a list of endpoints."),
        ] {
            reader.optional(&text(name, doc));
        }
        reader.optional(&texts("tags", "Tags that an endpoint must have."));
    });
}

pub(super) fn sections(reader: &mut Reader<'_>) {
    reader.optional(&text("admin_base_path", "Path of the admin endpoints."));
    reader.has_no_effect("admin_base_path");
    object(reader, "filtering", FILTERING, filtering);
    object(reader, "cli", "Commands that requests may run.", |reader| {
        reader.optional(&boolean("enabled", "Whether commands may run."));
        reader.optional(&number::<1, 10_000>("max_concurrent", "Commands at a time."));
        reader.optional(&time("process_timeout", "Longest run."));
        reader.optional(&size("max_memory_per_process", "Memory of a command."));
        reader.optional(&texts("allowed_commands", "Commands that may run."));
    });
}

const FILTERING: &str = "Hosts that requests of the forward proxy may reach.";

fn filtering(reader: &mut Reader<'_>) {
    reader.one_of("mode", "Meaning of the lists.", &["blocklist", "allowlist", "mixed"]);
    reader.object("domains", "Lists of hosts.", |reader| {
        reader.optional(&texts("blocked", "Hosts that are refused."));
        reader.optional(&texts("allowed", "Hosts that are admitted."));
        Some(())
    });
    reader.optional(&texts("content_types", "Media types that are refused."));
    reader.object("response", "Response to a refused request.", |reader| {
        reader.optional(&number::<200, 599>("status", "Status."));
        reader.optional(&text("body", "Content."));
        Some(())
    });
}

/// Reads the members of `security` without effect.
pub(in crate::shapes) fn security(reader: &mut Reader<'_>) {
    object(reader, "filtering", FILTERING, filtering);
}
