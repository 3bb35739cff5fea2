//! The admin HTTP API: schema, handlers, problems, OpenAPI.
