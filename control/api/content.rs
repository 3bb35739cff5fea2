//! Content of responses in the OpenAPI document: a media type and a schema.

use serde_json::{Value as Json, json};
use utoipa::ToSchema;

use crate::views::Accepted;

/// The body of an answer.
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

    /// JSON that says itself what it is.
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

/// JSON of what a change answers: the object, and what the change did.
pub(crate) fn schema_of_accepted<T: ToSchema>() -> Content {
    let mut content = schema_of::<Accepted<T>>();
    // A type argument is referred to, but not defined by the type that it is given to.
    content.components.push((T::name().into_owned(), to_json(&T::schema())));
    content
}

fn to_json(schema: &impl serde::Serialize) -> Json {
    serde_json::to_value(schema).unwrap_or(Json::Null)
}
