//! Rollouts over a fleet.

use super::object;
use crate::Reader;
use crate::values::{decimal, percent, text, time};

pub(super) fn sections(reader: &mut Reader<'_>) {
    object(reader, "rollout", "Stages of a change over a fleet.", rollout);
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
