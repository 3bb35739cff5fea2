//! JSON Schema of a document, for editors: made from the same functions that read it.

use serde_json::{Value as Json, json};

use crate::draft::Draft;
use crate::reader::describe_document;
use crate::{object_schema, shapes};

/// The schema (JSON Schema 2020-12).
pub fn schema() -> Json {
    let mut draft = Draft::default();
    let fields = describe_document(|reader| {
        shapes::document(reader, &mut draft);
        Some(())
    });
    let mut schema = object_schema(&fields);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("ringway configuration");
    schema
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
