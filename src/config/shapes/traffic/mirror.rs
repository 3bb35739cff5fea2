//! Mirror of a route: copies of requests to another pool, whose responses are dropped.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{AppId, Mirror, Percent, PoolRef};

use super::pool;
use crate::draft::Draft;
use crate::limits::MIRROR_MS_MAX;
use crate::shapes::matcher::METHODS;
use crate::values::{id_schema, some_percent, time_within};
use crate::{Fault, Field, Reader};

/// Reads `mirror`.
pub(super) fn mirror(reader: &mut Reader<'_>, draft: &mut Draft) -> Option<Mirror> {
    let doc = "Copies of requests to another pool, whose responses are dropped.";
    reader.object("mirror", doc, |reader| {
        let pool = pool(reader, draft, &POOL);
        if pool.is_none() && !reader.has(POOL.name) {
            reader.fault(POOL.name, Fault { code: "missing", message: "is required".to_owned() });
        }
        let share = reader.optional(&PERCENT);
        let mut methods: Vec<Arc<str>> = reader.optional(&MIRRORED).unwrap_or_default();
        methods.sort();
        methods.dedup();
        let timeout = reader.optional(&TIMEOUT).unwrap_or(MIRROR_TIME);
        let share = share.unwrap_or(Percent::ALL);
        Some(Mirror { pool: PoolRef::Pool(pool?), share, methods: methods.into(), timeout })
    })
}

/// Timeout where none is given.
const MIRROR_TIME: Duration = Duration::from_secs(5);

static POOL: Field<AppId> = Field {
    name: "pool",
    doc: "Pool that gets the copies.",
    schema: || id_schema("api-v2"),
    parse: |given| AppId::parse(given.text()?).map_err(Fault::invalid),
};

static PERCENT: Field<Percent> =
    some_percent("percent", "Share of the requests that is copied; all when absent.");

static MIRRORED: Field<Vec<Arc<str>>> = Field {
    doc: "Methods whose requests are copied; GET, HEAD and OPTIONS when absent. Others change things twice.",
    ..METHODS
};

static TIMEOUT: Field<Duration> =
    time_within::<1, MIRROR_MS_MAX>("timeout", "Timeout of a copy; 5s when absent.");
