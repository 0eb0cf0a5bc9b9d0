//! The shapes that are named in the document. Fields beyond those listed are
//! allowed everywhere: documents of users pass through unchanged.

use serde_json::{Value, json};

fn object(required: &[&str], properties: &Value) -> Value {
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn text() -> Value {
    json!({"type": "string"})
}

fn whole() -> Value {
    json!({"type": "integer"})
}

fn list(of: &Value) -> Value {
    json!({"type": "array", "items": of})
}

fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// All of them, by name.
pub(super) fn all() -> Value {
    let any = json!({});
    let map = json!({"type": "object"});
    json!({
        "Any": any,
        "Object": map,
        "Form": {"type": "object", "required": ["username", "password"],
            "properties": {"username": {"type": "string"}, "password": {"type": "string"}}},
        "String": text(),
        "Account": object(&["name", "authorized"], &json!({
            "name": text(), "type": text(), "authorized": {"type": "boolean"},
        })),
        "Application": object(&["name", "attributes", "clusters"], &json!({
            "name": text(), "attributes": named("Attributes"), "clusters": map,
        })),
        "Attributes": object(&["name"], &json!({
            "name": text(), "email": text(), "accounts": text(), "cloudProviders": text(),
        })),
        "Cluster": object(&["name"], &json!({
            "name": text(), "serverGroups": list(&any), "loadBalancers": list(&any),
        })),
        "Environment": object(&["name", "accounts"], &json!({
            "name": text(), "accounts": list(&text()), "order": whole(), "owner": text(),
            "mixedVersionsAfterMs": whole(),
        })),
        "EnvironmentState": object(&["name", "health", "mixedVersions", "clusters"], &json!({
            "name": text(), "mixedVersions": {"type": "boolean"},
            "health": {"type": "string", "enum": ["healthy", "degraded", "down", "empty"]},
            "clusters": list(&object(&["account", "cluster", "versions"], &json!({
                "account": text(), "cluster": text(), "instanceCounts": map,
                "mixedVersions": {"type": "boolean"},
                "versions": list(&object(&["version", "instanceCounts", "health"], &json!({
                    "version": text(), "instanceCounts": map, "health": text(),
                }))),
            }))),
        })),
        "Error": object(&["error", "message", "status", "timestamp"], &json!({
            "error": text(), "message": text(), "status": whole(), "timestamp": whole(),
            "errors": list(&object(&["path", "message"], &json!({
                "path": text(), "message": text(),
            }))),
        })),
        "Evaluation": object(&["result"], &json!({"result": any, "detail": any})),
        "Execution": object(&["id", "status", "stages"], &json!({
            "id": text(), "application": text(), "name": text(), "status": text(),
            "buildTime": whole(), "startTime": whole(), "endTime": whole(), "trigger": map,
            "stages": list(&object(&["refId"], &json!({
                "refId": text(), "type": text(), "status": text(), "context": map,
                "tasks": list(&map),
            }))),
        })),
        "LoadBalancer": object(&["name"], &json!({
            "name": text(), "account": text(), "region": text(),
        })),
        "Pipeline": object(&["application", "name"], &json!({
            "id": text(), "application": text(), "name": text(), "stages": list(&map),
            "triggers": list(&map), "parameterConfig": list(&map),
        })),
        "Project": object(&["name"], &json!({
            "id": text(), "name": text(), "email": text(), "config": map,
        })),
        "ServerGroup": object(&["name", "account", "region"], &json!({
            "name": text(), "account": text(), "region": text(), "cluster": text(),
            "capacity": map, "instanceCounts": map, "buildInfo": map,
        })),
        "Started": object(&["ref"], &json!({"ref": text(), "eventId": text()})),
        "Task": object(&["id", "status", "steps", "variables"], &json!({
            "id": text(), "status": text(), "steps": list(&map), "variables": list(&object(
                &["key"], &json!({"key": text(), "value": any}),
            )),
        })),
        "Template": object(&["id"], &json!({
            "id": text(), "schema": text(), "metadata": map, "tag": text(),
        })),
        "Version": object(&["version"], &json!({"version": text()})),
    })
}
