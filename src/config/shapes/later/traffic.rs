//! Cache, rollouts over a fleet.

use super::object;
use crate::Reader;
use crate::values::{boolean, decimal, number, percent, size, text, texts, time};

/// Reads `cache` of a rule.
pub(in crate::shapes) fn cache_of_rule(reader: &mut Reader<'_>) {
    reader.optional(&boolean("cache", "Whether responses are cached."));
    reader.has_no_effect("cache");
}

pub(super) fn sections(reader: &mut Reader<'_>) {
    reader.list_or_object(
        "cache",
        "Cache: rules of routes, or the store and its defaults.",
        cache_rule,
        cache_store,
    );
    reader.has_no_effect("cache");
    object(reader, "rollout", "Stages of a change over a fleet.", rollout);
}

fn cache_rule(reader: &mut Reader<'_>) -> Option<()> {
    reader.optional(&text("route", "The route."));
    reader.optional(&boolean("enabled", "Whether the rule is in use."));
    reader.optional(&time("ttl", "Time to live."));
    reader.optional(&texts("vary_headers", "Header fields that responses differ by."));
    reader.optional(&size("max_size", "Largest response."));
    reader.optional(&boolean("auth_aware", "Whether requests with Authorization are cached."));
    reader.optional(&boolean("coalesce", "Whether equal requests wait for one response."));
    reader.optional(&time("coalesce_timeout", "Longest wait."));
    Some(())
}

fn cache_store(reader: &mut Reader<'_>) -> Option<()> {
    reader.optional(&boolean("enabled", "Whether responses are cached."));
    reader.optional(&size("max_memory", "Memory of the store."));
    reader.optional(&number::<0, 1_000_000_000>("max_entries", "Entries of the store."));
    reader.optional(&time("default_ttl", "Time to live of responses that name none."));
    reader.optional(&boolean("respect_cache_headers", "Whether Cache-Control decides."));
    reader.optional(&texts("patterns", "Patterns of paths."));
    Some(())
}

fn rollout(reader: &mut Reader<'_>) {
    reader.list("stages", "Stages, one after the other.", |reader| {
        reader.optional(&text("name", "Name."));
        reader.optional(&percent("fleet_percent", "Share of the fleet."));
        reader.optional(&time("bake_time", "Time until the next stage."));
        Some(())
    });
    reader.list("health_gates", "Conditions of the next stage.", |reader| {
        reader.optional(&text("metric", "Metric."));
        reader.optional(&THRESHOLD);
        Some(())
    });
    reader.object("auto_rollback", "Condition of a rollback.", |reader| {
        reader.optional(&text("error_budget_burn_rate", "Multiple of the error budget, such as 10x."));
        Some(())
    });
}

/// A share, or a duration.
static THRESHOLD: crate::Field<()> = crate::Field {
    name: "threshold",
    doc: "Largest value: a number, or a duration.",
    schema: || serde_json::json!({ "type": ["number", "string"] }),
    parse: |given| {
        let is_number = (decimal("", "").parse)(given).is_ok();
        match is_number || (time("", "").parse)(given).is_ok() {
            true => Ok(()),
            false => Err(crate::Fault::invalid("must be a number, or a duration such as 500ms")),
        }
    },
};
