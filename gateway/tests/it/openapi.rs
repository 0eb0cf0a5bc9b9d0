//! The document says what is served, and what is served is as the document says.

use serde_json::Value;

use crate::fake::Gate;
use crate::routes::served;

/// Where a value breaks a schema; the keywords the document uses and no others.
fn fault(schema: &Value, value: &Value, all: &Value, at: &str) -> Option<String> {
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(name) => &all[name.rsplit('/').next().unwrap()],
        None => schema,
    };
    for keyword in schema.as_object().unwrap().keys() {
        let known = ["type", "properties", "required", "items", "enum"];
        assert!(
            known.contains(&keyword.as_str()),
            "{keyword} is not checked"
        );
    }
    let fits = match schema.get("type").and_then(Value::as_str) {
        None => true,
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some(other) => panic!("{other} is not checked"),
    };
    if !fits {
        return Some(format!("{at}: {value} is no {}", schema["type"]));
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        return Some(format!("{at}: {value} is none of {allowed:?}"));
    }
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            return Some(format!("{at}: {name} is missing"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, inner) in properties.into_iter().flatten() {
        // What a peer leaves empty is `null`.
        if let Some(found) = value.get(name).filter(|found| !found.is_null())
            && let Some(fault) = fault(inner, found, all, &format!("{at}.{name}"))
        {
            return Some(fault);
        }
    }
    let items = value.as_array().into_iter().flatten().enumerate();
    schema.get("items").and_then(|inner| {
        let mut items = items;
        items.find_map(|(i, item)| fault(inner, item, all, &format!("{at}[{i}]")))
    })
}

/// How well a template fits a path: the number of its literal parts; none if it does not.
fn fit(template: &str, path: &str) -> Option<usize> {
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    let last_is_rest = template.last().is_some_and(|part| part.starts_with('{'));
    if path.len() < template.len() || (path.len() > template.len() && !last_is_rest) {
        return None;
    }
    let mut literal = 0;
    for (part, found) in template.iter().zip(&path) {
        if part.starts_with('{') {
            continue;
        }
        if part != found {
            return None;
        }
        literal += 1;
    }
    Some(literal * 10 + usize::from(path.len() == template.len()))
}

fn operation<'a>(document: &'a Value, method: &str, path: &str) -> &'a Value {
    let path = path.split('?').next().unwrap();
    let paths = document["paths"].as_object().unwrap();
    let found = paths
        .iter()
        .filter(|(_, methods)| methods.get(method.to_lowercase()).is_some())
        .filter_map(|(template, methods)| Some((fit(template, path)?, methods)))
        .max_by_key(|(fit, _)| *fit);
    let (_, methods) = found.unwrap_or_else(|| panic!("{method} {path} is not in the document"));
    &methods[method.to_lowercase()]
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let gate = Gate::up();
    let document = gate.get("/openapi.json").await.json();
    let all = &document["components"]["schemas"];
    let mut checked = 0;
    for (method, path, body, _, _) in served() {
        let answer = gate.send(method, path, body).await;
        let operation = operation(&document, method, path);
        let what = format!("{method} {path}: {} {}", answer.status, answer.text());
        let responses = &operation["responses"];
        let told = match responses.get(answer.status.as_str()) {
            Some(told) => told,
            None => {
                assert!(!answer.status.is_success(), "{what} is not documented");
                &responses["default"]
            }
        };
        match told.get("content") {
            None => assert!(answer.body.is_empty(), "{what} should be empty"),
            Some(content) => {
                let kind = answer.headers["content-type"].to_str().unwrap();
                let schema = &content[kind]["schema"];
                assert!(schema.is_object(), "{what}: {kind} is not documented");
                let value = match kind {
                    "application/json" => answer.json(),
                    _ => Value::from(answer.text()),
                };
                let fault = fault(schema, &value, all, "answer");
                assert_eq!(fault, None, "{what}");
                checked += 1;
            }
        }
    }
    assert!(checked > 80, "{checked} answers were checked");
}

#[tokio::test]
async fn every_path_of_the_document_is_served() {
    let gate = Gate::up();
    let document = gate.get("/v3/api-docs").await.json();
    let mut count = 0;
    for (template, methods) in document["paths"].as_object().unwrap() {
        let path: Vec<&str> = template
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect();
        for method in methods.as_object().unwrap().keys() {
            if template == "/live" {
                continue;
            }
            let answer = gate.send(&method.to_uppercase(), &path.join("/"), "").await;
            let status = answer.status.as_u16();
            assert!(![405, 501].contains(&status), "{method} {template}");
            assert!(!answer.text().contains("there is no route"), "{template}");
            count += 1;
        }
    }
    assert!(count > 90, "{count}");
}

#[test]
fn an_answer_that_breaks_its_schema_is_found() {
    let all = serde_json::json!({"T": {"type": "object", "required": ["id"],
        "properties": {"id": {"type": "string"}, "n": {"type": "array", "items": {"type": "integer"}}}}});
    let schema = serde_json::json!({"$ref": "#/components/schemas/T"});
    for (value, faulty) in [
        (serde_json::json!({"id": "1", "n": [1], "more": {}}), false),
        (serde_json::json!({"id": "1", "n": null}), false),
        (serde_json::json!({"n": [1]}), true),
        (serde_json::json!({"id": 1}), true),
        (serde_json::json!({"id": "1", "n": [1, "2"]}), true),
        (serde_json::json!([]), true),
    ] {
        assert_eq!(
            fault(&schema, &value, &all, "").is_some(),
            faulty,
            "{value}"
        );
    }
}
