//! Content of responses in the OpenAPI document: a media type and a schema.

use serde_json::{Value as Json, json};
use utoipa::ToSchema;

use crate::views::Accepted;

/// Content of a response.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) media_type: &'static str,
    pub(crate) schema: Json,
    /// Schemas that it refers to, by name.
    pub(crate) components: Vec<(String, Json)>,
}

impl Content {
    /// Plain text.
    pub(crate) fn text(media_type: &'static str) -> Self {
        Self { media_type, schema: json!({ "type": "string" }), components: Vec::new() }
    }

    /// A JSON object without a schema.
    pub(crate) fn any_json() -> Self {
        Self { media_type: "application/json", schema: json!({ "type": "object" }), components: Vec::new() }
    }
}

/// JSON of a type.
pub(crate) fn schema_of<T: ToSchema>() -> Content {
    let mut components = Vec::new();
    T::schemas(&mut components);
    Content {
        media_type: "application/json",
        schema: to_json(&T::schema()),
        components: components.iter().map(|(name, schema)| (name.clone(), to_json(schema))).collect(),
    }
}

/// JSON of the response to a change: the object and the outcome.
pub(crate) fn schema_of_accepted<T: ToSchema>() -> Content {
    let mut content = schema_of::<Accepted<T>>();
    // The schema of a type argument is only referred to, not included.
    content.components.push((T::name().into_owned(), to_json(&T::schema())));
    content
}

fn to_json(schema: &impl serde::Serialize) -> Json {
    serde_json::to_value(schema).unwrap_or(Json::Null)
}
