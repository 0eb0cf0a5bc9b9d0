//! What an archived execution is searched by.

use std::collections::BTreeSet;

use orchestrator_core::Execution;
use serde_json::{Map, Value};
use store::archive::Row;

/// `pipelines` or `tasks`.
pub const KIND: &str = "kind";
/// The application, in lower case.
pub const APPLICATION: &str = "application";
/// The pipeline's id.
pub const PIPELINE: &str = "pipeline";
/// The pipeline's name.
pub const NAME: &str = "name";
/// The status.
pub const STATUS: &str = "status";
/// The trigger's type.
pub const TRIGGER: &str = "trigger";
/// The event that started it.
pub const EVENT: &str = "event";
/// Images, each with its tag and without.
pub const IMAGE: &str = "image";

/// So many images of an execution can be searched for.
const MOST_IMAGES: usize = 64;

/// The row of an execution.
pub fn of(execution: &Execution) -> Row {
    let header = execution.header_json();
    let mut row = header.as_object().map(of_header).unwrap_or_default();
    let mut images = BTreeSet::new();
    for value in execution.trigger.fields().values() {
        collect(value, &mut images);
    }
    let text = |key: &str| execution.trigger.text(key).filter(|text| !text.is_empty());
    if let (Some(repository), Some(tag)) = (text("repository"), text("tag")) {
        let registry = text("registry").map(|registry| format!("{registry}/"));
        let registry = registry.unwrap_or_default();
        add(&format!("{registry}{repository}:{tag}"), &mut images);
    }
    for stage in &execution.stages {
        for value in stage.context.values().chain(stage.outputs.values()) {
            collect(value, &mut images);
        }
        if let Some(Value::String(image)) = stage.context.get("imageId") {
            add(image, &mut images);
        }
    }
    if !images.is_empty() {
        let images = images.into_iter().take(MOST_IMAGES).collect();
        row.fields.insert(IMAGE.to_owned(), images);
    }
    row
}

/// The row of an execution by its header, so without images.
pub fn of_header(header: &Map<String, Value>) -> Row {
    let text = |key: &str| header.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| header.get(key).and_then(Value::as_i64);
    let trigger = |key: &str| {
        let value = header.get("trigger").and_then(|trigger| trigger.get(key));
        value.and_then(Value::as_str).unwrap_or_default()
    };
    let at = number("buildTime").unwrap_or_default();
    let mut row = Row {
        id: text("id").to_owned(),
        at,
        ended: number("endTime").unwrap_or(at),
        ..Row::default()
    };
    let kind = match text("type") {
        "PIPELINE" => "pipelines",
        _ => "tasks",
    };
    for (field, value) in [
        (KIND, kind),
        (APPLICATION, &text("application").to_lowercase()),
        (PIPELINE, text("pipelineConfigId")),
        (NAME, text("name")),
        (STATUS, text("status")),
        (TRIGGER, trigger("type")),
        (EVENT, trigger("eventId")),
    ] {
        if !value.is_empty() {
            row.fields.insert(field.to_owned(), vec![value.to_owned()]);
        }
    }
    row
}

/// Images that are named somewhere in a value: what is deployed, and artifacts.
fn collect(value: &Value, images: &mut BTreeSet<String>) {
    if images.len() >= MOST_IMAGES {
        return;
    }
    match value {
        Value::Array(list) => list.iter().for_each(|value| collect(value, images)),
        Value::Object(fields) => {
            let text = |key: &str| fields.get(key).and_then(Value::as_str);
            for key in ["imageId", "image"] {
                text(key).into_iter().for_each(|image| add(image, images));
            }
            if text("type") == Some("docker/image") {
                let reference = text("reference").or_else(|| text("name"));
                reference.into_iter().for_each(|image| add(image, images));
            }
            fields.values().for_each(|value| collect(value, images));
        }
        _ => {}
    }
}

fn add(image: &str, images: &mut BTreeSet<String>) {
    if image.is_empty() || image.contains("${") || image.len() > 500 {
        return;
    }
    images.insert(image.to_owned());
    // A colon before the last slash belongs to the registry's port.
    let name = image.split('@').next().unwrap_or(image);
    let from = name.rfind('/').map_or(0, |slash| slash + 1);
    let name = match name[from..].find(':') {
        Some(colon) => &name[..from + colon],
        None => name,
    };
    images.insert(name.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn images_are_found_with_their_tag_and_without() {
        let mut images = BTreeSet::new();
        let value = json!({
            "clusters": [{"imageId": "registry:5000/shop/web:1.2"}],
            "artifacts": [{"type": "docker/image", "reference": "shop/db@sha256:00"}],
            "other": {"type": "s3/object", "reference": "s3://bucket"},
            "unknown": {"image": "${trigger.tag}"},
        });
        collect(&value, &mut images);
        let found: Vec<&str> = images.iter().map(String::as_str).collect();
        assert_eq!(
            found,
            [
                "registry:5000/shop/web",
                "registry:5000/shop/web:1.2",
                "shop/db",
                "shop/db@sha256:00"
            ]
        );
    }
}
