//! The interface as an OpenAPI 3 document, built from the routes that are
//! served ([`crate::routes`]) and a line for each handler ([`table`]). Routes
//! that answer 501 are not in it.

mod schemas;
mod table;

use std::sync::OnceLock;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};

use crate::rest;
use crate::routes::Operation;

/// Query parameters that are numbers.
const NUMBERS: &[&str] = &[
    "limit",
    "page",
    "size",
    "startIndex",
    "pageSize",
    "count",
    "seconds",
    "pipelineLimit",
    "triggerTimeStartBoundary",
    "triggerTimeEndBoundary",
];
/// Query parameters that are flags.
const FLAGS: &[&str] = &[
    "expand",
    "reverse",
    "force",
    "staleCheck",
    "includeDetails",
    "allowShortQuery",
];

/// `GET /openapi.json`, `GET /v3/api-docs`
pub(crate) async fn document() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let mut whole = build(&rest::operations());
        whole.sort_all_objects();
        whole.to_string()
    });
    let mut response = Response::new(Body::from(text.as_str()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn build(operations: &[Operation]) -> Value {
    let mut paths = Map::new();
    let mut known: Map<String, Value> = Map::new();
    for operation in operations {
        // A rest of a path is a parameter as any other.
        let path = operation.path.replace("{*", "{");
        let uses = known
            .entry(operation.handler.clone())
            .or_insert_with(|| json!(0));
        let count = uses.as_u64().unwrap_or(0) + 1;
        *uses = json!(count);
        let id = match count {
            1 => operation.handler.clone(),
            more => format!("{}.{more}", operation.handler),
        };
        let methods = paths.entry(path.clone()).or_insert_with(|| json!({}));
        methods[operation.method] = describe(operation, &path, &id);
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Gennaker",
            "description": "Gate's REST interface. Fields that are not listed may be there too.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths,
        "components": {"schemas": schemas::all()},
    })
}

fn describe(operation: &Operation, path: &str, id: &str) -> Value {
    let unknown = ("", "", "", "", "200 Any");
    let (_, summary, query, body, answer) = table::row(&operation.handler).unwrap_or(&unknown);
    let tag = operation.handler.split('.').next().unwrap_or_default();
    let in_path = path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
    });
    let in_query = query
        .split_whitespace()
        .map(|name| json!({"name": name, "in": "query", "schema": parameter(name)}));
    let mut told = json!({
        "operationId": id,
        "summary": summary,
        "tags": [tag],
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": responses(answer),
    });
    if !body.is_empty() {
        let media = match *body {
            "Form" => "application/x-www-form-urlencoded",
            _ => "application/json",
        };
        told["requestBody"] = json!({"content": {media: {"schema": schema(body)}}});
    }
    told
}

fn parameter(name: &str) -> Value {
    if NUMBERS.contains(&name) {
        json!({"type": "integer", "minimum": 0})
    } else if FLAGS.contains(&name) {
        json!({"type": "boolean"})
    } else {
        json!({"type": "string"})
    }
}

fn responses(answer: &str) -> Value {
    let (status, kind) = answer.split_once(' ').unwrap_or((answer, ""));
    let good = match kind {
        "" => json!({"description": "Done"}),
        text if text.contains('/') => {
            json!({"description": "Done", "content": {text: {"schema": {"type": "string"}}}})
        }
        name => json!({
            "description": "Done",
            "content": {"application/json": {"schema": schema(name)}},
        }),
    };
    json!({
        status: good,
        "default": {
            "description": "Why it was not done",
            "content": {"application/json": {"schema": schema("Error")}},
        },
    })
}

/// A schema by name, or a list of it.
fn schema(name: &str) -> Value {
    let of = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        Some(item) => json!({"type": "array", "items": of(item)}),
        None => of(name),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_handler_has_its_line_and_every_line_its_handler() {
        let served: BTreeSet<String> = rest::operations().into_iter().map(|o| o.handler).collect();
        let told: Vec<&str> = table::TABLE.iter().map(|row| row.0).collect();
        assert!(told.is_sorted(), "the table is in order");
        for handler in &served {
            assert!(
                told.contains(&handler.as_str()),
                "{handler} needs a line in openapi/table.rs"
            );
        }
        for handler in told {
            assert!(served.contains(handler), "{handler} serves no route");
        }
    }

    #[test]
    fn the_document_is_sound() {
        let document = build(&rest::operations());
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut ids = BTreeSet::new();
        let mut count = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                count += 1;
                let what = format!("{method} {path}");
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id), "{what}: {id} twice");
                assert!(!operation["summary"].as_str().unwrap().is_empty(), "{what}");
                let parameters = operation["parameters"].as_array().unwrap();
                let named = parameters.iter().filter(|p| p["in"] == "path").count();
                assert_eq!(named, path.matches('{').count(), "{what}");
            }
        }
        assert_eq!(count, rest::operations().len(), "none hides another");
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
    }
}
