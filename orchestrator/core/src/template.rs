//! Pipelines from templates (version 2): a configuration and the template it names become the pipeline that is
//! run. Pure; whoever calls it has read the template.
//! Source: `orca: V2TemplateLoaderExecutionPreprocessor`, `V2GraphMutator`, `V2TemplateSchemaExecutionGenerator`.

mod inject;
mod variables;

use serde_json::{Map, Value, json};

use crate::context::submitted;

/// Lists that a configuration adds to its template's, and under which names it may leave those out.
const MERGED: [(&str, &str); 4] = [
    ("notifications", "notifications"),
    ("parameterConfig", "parameters"),
    ("triggers", "triggers"),
    ("expectedArtifacts", "expectedArtifacts"),
];
/// Fields that the template's own value decides, else the configuration's.
const CONCURRENCY: [&str; 3] = [
    "limitConcurrent",
    "maxConcurrentExecutions",
    "keepWaitingPipelines",
];
/// Fields of a configuration that are not part of the pipeline.
const OWN: [&str; 3] = ["template", "variables", "exclude"];

/// Whether a submitted pipeline is the configuration of a template.
pub fn is_configuration(body: &Map<String, Value>) -> bool {
    let schema = body.get("schema").and_then(Value::as_str);
    schema == Some("v2") && body.get("template").is_some_and(Value::is_object)
}

/// The reference by which a configuration names its template: what follows `spinnaker://`.
///
/// # Errors
/// One sentence that names the field.
pub fn reference(config: &Map<String, Value>) -> Result<&str, String> {
    let told = config
        .get("template")
        .and_then(|template| template.get("reference")?.as_str());
    let told = told.ok_or("template.reference is missing; name one such as spinnaker://<id>")?;
    told.strip_prefix("spinnaker://").ok_or_else(|| {
        format!("template.reference is \"{told}\"; templates are stored here, name one as spinnaker://<id>")
    })
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn list(map: &Map<String, Value>, key: &str) -> Vec<Value> {
    let found = map.get(key).and_then(Value::as_array);
    found.cloned().unwrap_or_default()
}

/// The pipeline of a configuration.
///
/// # Errors
/// Every reason why there is none, each a sentence.
pub fn plan(
    config: &Map<String, Value>,
    template: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<String>> {
    let mut faults = Vec::new();
    for (what, map) in [("template", template), ("configuration", config)] {
        let schema = text(map, "schema").unwrap_or("none");
        if schema != "v2" {
            faults.push(format!(
                "schema of the {what} is {schema}; only v2 is planned"
            ));
        }
    }
    if text(config, "application").is_none() {
        faults.push(
            "application is missing; name the application the pipeline belongs to".to_owned(),
        );
    }
    let stages = list(config, "stages");
    if template.get("protect") == Some(&Value::Bool(true)) && !stages.is_empty() {
        faults.push(
            "Modification of the stage graph (adding, removing, editing) is disallowed".to_owned(),
        );
    }
    let none = Map::new();
    let pipeline = template.get("pipeline").and_then(Value::as_object);
    let pipeline = pipeline.unwrap_or_else(|| {
        faults.push("the template has no pipeline".to_owned());
        &none
    });
    let variables = variables::of(config, template).unwrap_or_else(|wrong| {
        faults.extend(wrong);
        Map::new()
    });
    let graph = inject::graph(list(pipeline, "stages"), stages).unwrap_or_else(|wrong| {
        faults.push(wrong);
        Vec::new()
    });
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut planned = pipeline.clone();
    for (key, value) in config {
        if !OWN.contains(&key.as_str()) && !planned.contains_key(key) {
            planned.insert(key.clone(), value.clone());
        }
    }
    for key in CONCURRENCY {
        if let Some(value) = pipeline.get(key).or_else(|| config.get(key)) {
            planned.insert(key.to_owned(), value.clone());
        }
    }
    let excluded = list(config, "exclude");
    for (key, name) in MERGED {
        let inherited = if excluded.iter().any(|kind| kind == name) {
            Vec::new()
        } else {
            list(pipeline, key)
        };
        // `parameters` is what a configuration's own are called in Orca's.
        let own = [key, name].map(|key| list(config, key));
        let own = own
            .into_iter()
            .find(|list| !list.is_empty())
            .unwrap_or_default();
        let merged = merged(inherited, own);
        if !merged.is_empty() || planned.contains_key(key) {
            planned.insert(key.to_owned(), merged.into());
        }
    }
    let id = text(config, "id").or_else(|| text(config, "pipelineConfigId"));
    let name = text(config, "name").unwrap_or("Unnamed Execution");
    for (key, value) in [
        ("id", json!(id.unwrap_or("unknown"))),
        (
            "application",
            config.get("application").cloned().unwrap_or_default(),
        ),
        ("name", json!(name)),
        ("type", json!("templatedPipeline")),
        ("schema", json!("v2")),
        ("stages", graph.into()),
        ("templateVariables", variables.into()),
    ] {
        planned.insert(key.to_owned(), value);
    }
    let source = json!({"type": "templatedPipeline", "version": "v2"});
    planned.entry("source").or_insert(source);
    Ok(planned)
}

/// The pipeline with the expressions evaluated that can be before it runs.
///
/// # Errors
/// What could not be, of the variables.
pub fn evaluated(
    planned: &Map<String, Value>,
    user: &str,
    now: i64,
) -> Result<Map<String, Value>, Vec<String>> {
    let (evaluated, failures) = submitted(planned, user, now);
    let of_variables = failures
        .into_iter()
        .filter(|failure| failure.key.starts_with("templateVariables."));
    let faults: Vec<String> = of_variables.map(|failure| failure.description).collect();
    if faults.is_empty() {
        Ok(evaluated)
    } else {
        Err(faults)
    }
}

/// The template's entries, marked as such, before those of the configuration; none twice.
fn merged(inherited: Vec<Value>, own: Vec<Value>) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    let mark = |mut entry: Value| {
        if let Value::Object(fields) = &mut entry {
            fields.insert("inherited".to_owned(), true.into());
        }
        entry
    };
    for entry in inherited.into_iter().map(mark).chain(own) {
        if !all.contains(&entry) {
            all.push(entry);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    fn template(extra: Value) -> Map<String, Value> {
        let mut template = map(
            json!({"schema": "v2", "id": "t", "protect": false, "variables": [
            {"name": "region", "type": "string", "defaultValue": "eu"},
            {"name": "count", "type": "int"}],
            "pipeline": {"limitConcurrent": true, "description": "of the template",
                "triggers": [{"type": "cron", "id": "t"}],
                "stages": [{"refId": "1", "type": "wait", "waitTime": "${templateVariables.count}"}]}}),
        );
        template.extend(map(extra));
        template
    }

    fn config(extra: Value) -> Map<String, Value> {
        let mut config = map(
            json!({"schema": "v2", "application": "a", "name": "n", "id": "p",
            "template": {"reference": "spinnaker://t"}, "variables": {"count": 3},
            "limitConcurrent": false, "keepWaitingPipelines": true}),
        );
        config.extend(map(extra));
        config
    }

    #[test]
    fn a_configuration_becomes_the_templates_pipeline_with_its_own_name_and_variables() {
        let own = json!({"triggers": [{"type": "manual", "id": "c"}], "description": "own",
            "stages": [{"refId": "2", "type": "wait", "requisiteStageRefIds": ["1"]}]});
        let planned = plan(&config(own), &template(json!({}))).unwrap();
        assert_eq!(
            planned["templateVariables"],
            json!({"count": 3, "region": "eu"})
        );
        assert_eq!(
            planned["triggers"],
            json!([{"type": "cron", "id": "t", "inherited": true}, {"type": "manual", "id": "c"}])
        );
        assert_eq!(
            (
                &planned["limitConcurrent"],
                &planned["keepWaitingPipelines"]
            ),
            (&json!(true), &json!(true))
        );
        assert_eq!(
            (&planned["id"], &planned["name"], &planned["application"]),
            (&json!("p"), &json!("n"), &json!("a"))
        );
        let stages = planned["stages"].as_array().unwrap();
        assert_eq!(stages.len(), 2);
        assert_eq!(stages[0]["waitTime"], "${templateVariables.count}");
        assert!(!planned.contains_key("variables") && !planned.contains_key("template"));
        let alone = json!({"triggers": [{"type": "manual", "id": "c"}], "exclude": ["triggers"]});
        let planned = plan(&config(alone), &template(json!({}))).unwrap();
        assert_eq!(planned["triggers"], json!([{"type": "manual", "id": "c"}]));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let config = config(json!({"application": "", "variables": {},
            "stages": [{"refId": "9", "type": "wait", "inject": {"first": true}}]}));
        let faults = plan(&config, &template(json!({"protect": true, "schema": "1"}))).unwrap_err();
        let all = faults.join("\n");
        for says in [
            "schema of the template is 1",
            "application is missing",
            "Modification of the stage graph",
            "Missing variable values for: count",
        ] {
            assert!(all.contains(says), "{says}: {all}");
        }
    }

    #[test]
    fn a_template_is_named_by_its_reference() {
        assert_eq!(reference(&config(json!({}))).unwrap(), "t");
        let other = config(json!({"template": {"reference": "gs://x"}}));
        assert!(reference(&other).unwrap_err().contains("spinnaker://<id>"));
        assert!(is_configuration(&other) && !is_configuration(&map(json!({"schema": "v2"}))));
    }
}
