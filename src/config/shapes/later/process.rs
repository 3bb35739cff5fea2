//! Settings of the process without effect: tracing, further stores and providers.

use super::object;
use crate::Reader;
use crate::values::{boolean, percent, text, texts};

/// Reads the members of a section of settings that the table of settings leaves out.
pub(in crate::shapes) fn members_of_settings(reader: &mut Reader<'_>, path: &str) {
    match path {
        "/storage" => {
            reader.optional(&text("dsn_file", "File with the address of a database."));
            reader.has_no_effect("dsn_file");
        }
        "/providers" => providers(reader),
        _ => {}
    }
}

fn providers(reader: &mut Reader<'_>) {
    reader.object("files", "Configuration files.", |reader| {
        reader.optional(&text("dir", "The folder."));
        reader.optional(&boolean("watch", "Whether it is watched."));
        Some(())
    });
    reader.has_no_effect_because("files", "the folder is named by --config, and is watched");
    object(reader, "consul", "Services in Consul.", |reader| {
        reader.optional(&text("address", "URL of the agent."));
    });
    object(reader, "kubernetes", "Services in Kubernetes.", |reader| {
        reader.optional(&text("namespace", "The namespace."));
    });
    object(reader, "fleet", "Bundles of a distributor.", |reader| {
        reader.optional(&text("url", "URL of the distributor."));
        reader.optional(&text("node", "Name of this node."));
        reader.optional(&texts("keys", "Keys that bundles are signed with."));
    });
}

pub(super) fn sections(reader: &mut Reader<'_>) {
    object(reader, "tracing", "Distributed traces.", |reader| {
        reader.optional(&text("endpoint", "URL of the collector."));
        reader.optional(&percent("sample", "Share of the requests."));
        reader.optional(&texts("keep", "Requests that are kept in any case."));
        reader.optional(&texts("trust", "Networks whose traceparent is continued."));
    });
}
