//! The OpenAPI 3.1 document, made from the route table, the request shapes and the response types.

use std::collections::BTreeMap;

use ringway_wire::message::{Method, reason_phrase};
use serde_json::{Map, Value as Json, json};

use crate::access::{Access, Scope};
use crate::config_operation::ConfigOperation;
use crate::content::schema_of;
use crate::limits;
use crate::operation::Spec;
use crate::problem::{Kind, ProblemBody, type_of};
use crate::route::{ROUTES, Route, keys_of};
use ringway_config::{Described, Location, object_schema};

/// Generates the document. Cost: a millisecond; not cached, because it is rarely requested.
pub(crate) fn document() -> Json {
    let mut paths: BTreeMap<&str, Map<String, Json>> = BTreeMap::new();
    let mut components = BTreeMap::new();
    let problem = schema_of::<ProblemBody<'_>>();
    components.extend(problem.components.iter().cloned());
    components.insert("Problem".to_owned(), problem.schema);
    let mut ids = BTreeMap::new();
    for route in ROUTES {
        let spec = route.operation.spec();
        for content in spec.responses.iter().filter_map(|(_, content)| content.as_ref()) {
            components.extend(content.components.iter().cloned());
        }
        // Several routes share an operation, and an id may occur only once (OpenAPI §4.8.10).
        let count = ids.entry(spec.id).and_modify(|count| *count += 1).or_insert(1);
        let id = if *count == 1 { spec.id.to_owned() } else { format!("{}{count}", spec.id) };
        let method = route.method.name().unwrap_or_default().to_ascii_lowercase();
        paths.entry(route.path).or_default().insert(method, operation(route, &spec, &id));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ringway admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Apps register themselves, their instances and their tenants' domains. A change is answered when all cores have applied it, or with 202 and the cores that have not. Keys may be in the body, in the query or in the path, with the same meaning.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "Required if the process was started with a token or a file of tokens. Each operation names the least scope: `read` reads everything; `register` changes registrations and reads them; `apply` changes configurations and reads everything; `admin` may do everything, as may the single token." },
                "certificate": { "type": "mutualTLS", "description": "Required on listeners beyond the loopback interface if the process was started with a CA of clients; a token is required beside it where there is one." },
            },
        },
    })
}

fn operation(route: &Route, spec: &Spec, id: &str) -> Json {
    let mut operation = json!({
        "operationId": id,
        "summary": spec.summary,
        "tags": [tag(route.path)],
        "responses": responses(spec),
        "security": match spec.access {
            Access::Open => json!([]),
            // OpenAPI 3.1 §4.8.30 lets a scheme of any type list the required roles.
            access => json!([{}, { "token": Vec::from_iter(access.scope().map(Scope::as_str)) }, { "certificate": [] }]),
        },
    });
    let parameters = parameters(route, spec);
    if !parameters.is_empty() {
        operation["parameters"] = Json::Array(parameters);
    }
    if let Some(body) = body(route, spec) {
        operation["requestBody"] = body;
    }
    operation
}

fn tag(path: &str) -> &'static str {
    match path {
        path if path.starts_with("/api/apps") => "apps",
        path if path.starts_with("/api/tenants") => "domains",
        path if path.starts_with("/api/v2/config") || path == "/admin/reload" => "configuration",
        path if path.starts_with("/api/cache") || path.starts_with("/admin/cache") => "cache",
        path if path.starts_with("/api/register") || path.starts_with("/api/routes") => "in one step",
        _ => "status",
    }
}

/// `*`, or entity tags (RFC 9110 §8.8.3, §13.1.1).
const IF_MATCH_PATTERN: &str = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#;
/// Visible ASCII without double quotes, optionally quoted as a string of RFC 8941.
const IDEMPOTENCY_KEY_PATTERN: &str = r#"^("[!#-~]+"|[!#-~]+)$"#;

/// Parameters in path and query, and header fields of changes.
fn parameters(route: &Route, spec: &Spec) -> Vec<Json> {
    let mut parameters = Vec::new();
    for field in spec.fields.iter().filter(|field| field.location != Location::Body) {
        let is_key = keys_of(route.path).any(|name| name == field.name);
        parameters.push(json!({
            "name": field.name,
            "in": if is_key { "path" } else { "query" },
            // A query parameter may be in the body instead.
            "required": is_key,
            "description": field.doc,
            "schema": field.schema,
        }));
    }
    if spec.id == "heartbeat" {
        parameters.push(json!({
            "name": "Prefer", "in": "header", "required": false, "schema": { "type": "string", "examples": ["return=representation"] },
            "description": "return=representation is answered with 200 and the lease instead of 204 (RFC 7240).",
        }));
    }
    if route.operation.configuration().is_some_and(ConfigOperation::takes_version) {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": false, "schema": { "type": "string", "examples": ["\"3f2a90c4d1e7\""] },
            "description": "The version of the owner's configuration: the change is made only if it is still the present one.",
        }));
    }
    if spec.is_mutation {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": false, "schema": { "type": "string", "minLength": 1, "pattern": IF_MATCH_PATTERN, "examples": ["\"12\""] },
            "description": "The ETag of a response, or several, separated by commas: the change is made only if the configuration is still at that revision. Weak tags match nothing; `*` is no condition.",
        }));
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false, "schema": { "type": "string", "minLength": 1, "maxLength": limits::API_KEY_BYTES_MAX, "pattern": IDEMPOTENCY_KEY_PATTERN },
            "description": "Makes the change once, however often it is sent; repetitions get the first response with Idempotency-Replayed: true.",
        }));
    }
    parameters
}

fn body(route: &Route, spec: &Spec) -> Option<Json> {
    // The body of a GET has no meaning (RFC 9110 §9.3.1); it is accepted, but not documented.
    if route.method == Method::Get {
        return None;
    }
    let fields: Vec<Described> = spec
        .fields
        .iter()
        // A key in the path may be repeated in the body with the same value.
        .filter(|field| keys_of(route.path).all(|name| name != field.name))
        .map(|field| Described {
            // Fields that may be in path or query are optional here.
            is_required: field.is_required && field.location == Location::Body,
            ..field.clone()
        })
        .collect();
    if fields.is_empty() {
        return None;
    }
    let is_required = keys_of(route.path).next().is_none()
        && spec.fields.iter().any(|field| field.is_required && field.location == Location::Body);
    let mut content = json!({ "application/json": { "schema": object_schema(&fields) } });
    if route.operation.configuration().is_some_and(ConfigOperation::takes_documents) {
        content["application/yaml"] = json!({ "schema": {
            "type": "string", "description": "The configuration; the other fields are in the query.",
        } });
    }
    Some(json!({ "required": is_required, "content": content }))
}

fn responses(spec: &Spec) -> Map<String, Json> {
    let mut responses = Map::new();
    for (status, content) in &spec.responses {
        let mut response = json!({ "description": response_description(*status) });
        if let Some(content) = content {
            response["content"] = json!({ content.media_type: { "schema": content.schema } });
        }
        if spec.is_mutation {
            response["headers"] = json!({
                "ETag": { "schema": { "type": "string" }, "description": "The revision, for If-Match." },
                "X-Ringway-Revision": { "schema": { "type": "integer" }, "description": "The revision." },
                "X-Ringway-Applied-Micros": { "schema": { "type": "integer" }, "description": "Microseconds until all cores had applied it." },
            });
        }
        responses.insert(status.to_string(), response);
    }
    let mut problems: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in spec.problems.iter().chain(BEFORE_ROUTING) {
        problems.entry(kind.status()).or_default().push(*kind);
    }
    for (status, kinds) in problems {
        let titles: Vec<_> = kinds.iter().map(|kind| format!("{} ({})", kind.title(), kind.code())).collect();
        let types: Vec<_> = kinds.iter().map(|kind| type_of(*kind)).collect();
        responses.insert(
            status.to_string(),
            json!({
                "description": titles.join("; "),
                "content": { "application/problem+json": { "schema": {
                    "allOf": [{ "$ref": "#/components/schemas/Problem" }, { "properties": { "type": { "enum": types } } }],
                } } },
            }),
        );
    }
    responses
}

/// Problems of every request before routing. Unknown methods and paths are not part of the document.
const BEFORE_ROUTING: &[Kind] = &[Kind::Timeout, Kind::UriTooLong, Kind::HeadTooLarge, Kind::Crowded];

fn response_description(status: u16) -> &'static str {
    match status {
        200 => "Done, or nothing to do",
        201 => "Created",
        202 => "Stored; the cores in `pending` do not serve it yet",
        204 => "Done",
        other => reason_phrase(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    /// Every `$ref` in a document.
    fn references<'a>(value: &'a Json, found: &mut BTreeSet<&'a str>) {
        match value {
            Json::Object(members) => {
                if let Some(Json::String(reference)) = members.get("$ref") {
                    found.insert(reference);
                }
                members.values().for_each(|value| references(value, found));
            }
            Json::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn has_every_route_and_nothing_else() {
        let document = document();
        let mut listed: Vec<String> = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                listed.push(format!("{} {path}", method.to_uppercase()));
            }
        }
        let mut routes: Vec<String> =
            ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        listed.sort();
        routes.sort();
        assert_eq!(listed, routes);
    }

    #[test]
    fn refers_only_to_what_it_defines() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn operation_ids_are_unique() {
        let document = document();
        let mut ids = BTreeSet::new();
        for methods in document["paths"].as_object().unwrap().values() {
            for operation in methods.as_object().unwrap().values() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
            }
        }
        assert_eq!(ids.len(), ROUTES.len());
    }

    #[test]
    fn the_schema_of_a_body_is_what_its_reader_takes() {
        let document = document();
        let schema = &document["paths"]["/api/apps/register"]["post"]["requestBody"]["content"]["application/json"]
            ["schema"];
        assert_eq!(schema["required"], json!(["app_id"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        let instance = &schema["properties"]["instance"]["oneOf"][0];
        assert_eq!(instance["required"], json!(["instance_id", "target"]));
        assert!(instance["properties"]["health_check"]["oneOf"][1]["properties"]["interval"].is_object());
    }

    #[test]
    fn a_key_in_the_path_is_in_no_body() {
        let document = document();
        for (path, methods) in document["paths"].as_object().unwrap() {
            let keys: Vec<&str> =
                path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect();
            for operation in methods.as_object().unwrap().values() {
                let properties =
                    &operation["requestBody"]["content"]["application/json"]["schema"]["properties"];
                assert!(keys.iter().all(|key| properties.get(key).is_none()), "{path}");
            }
        }
    }

    #[test]
    fn keys_in_the_path_are_path_parameters() {
        let document = document();
        let parameters = &document["paths"]["/api/apps/{app_id}"]["get"]["parameters"];
        assert_eq!(parameters[0]["name"], "app_id");
        assert_eq!(parameters[0]["in"], "path");
        assert_eq!(parameters[0]["required"], true);
        let parameters = &document["paths"]["/api/apps/get"]["post"]["parameters"];
        assert_eq!((&parameters[0]["in"], &parameters[0]["required"]), (&json!("query"), &json!(false)));
    }
}
