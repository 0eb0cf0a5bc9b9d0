//! What a job is made of, in the names that Gate's clients know.
//! Source: `igor: JobConfig`, and the documentation of Jenkins' remote access API.

use serde_json::{Map, Value, json};

/// The fields of a job that are asked for.
pub(super) const FIELDS: &str = "description,displayName,name,buildable,color,url,concurrentBuild,\
    property[parameterDefinitions[name,type,description,choices,defaultParameterValue[name,value]]],\
    upstreamProjects[name,url,color],downstreamProjects[name,url,color]";

/// A job as it is served; `name` is its full name.
pub(super) fn to_json(job: &Value, name: &str) -> Value {
    let field = |key: &str| job.get(key).cloned().unwrap_or_default();
    let list = |key: &str| job.get(key).and_then(Value::as_array).cloned();
    let defined = job.get("property").and_then(Value::as_array);
    let defined = defined
        .into_iter()
        .flatten()
        .filter_map(|property| property.get("parameterDefinitions")?.as_array())
        .flatten()
        .filter_map(Value::as_object);
    json!({
        "name": name,
        "displayName": field("displayName"),
        "description": field("description"),
        "buildable": field("buildable"),
        "color": field("color"),
        "url": field("url"),
        "concurrentBuild": field("concurrentBuild"),
        "parameterDefinitionList": defined.map(parameter).collect::<Vec<_>>(),
        "upstreamProjectList": list("upstreamProjects").unwrap_or_default(),
        "downstreamProjectList": list("downstreamProjects").unwrap_or_default(),
    })
}

fn parameter(defined: &Map<String, Value>) -> Value {
    let field = |key: &str| defined.get(key).cloned().unwrap_or_default();
    let (name, kind) = (field("name"), field("type"));
    let secret = kind.as_str().is_some_and(|kind| kind.contains("Password"));
    let default = defined.get("defaultParameterValue");
    let default = default
        .and_then(|given| given.get("value"))
        .filter(|_| !secret);
    let value = default.cloned().unwrap_or_default();
    let mut parameter = json!({
        "name": name,
        "type": kind,
        "description": field("description"),
        "defaultName": name,
        "defaultValue": value,
        "defaultParameterValue": {"name": name, "value": value},
    });
    if let Some(choices) = defined.get("choices").filter(|choices| choices.is_array()) {
        parameter["choices"] = choices.clone();
    }
    parameter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_told_without_the_values_of_passwords() {
        let defined = json!([
            {"name": "where", "type": "ChoiceParameterDefinition", "choices": ["a", "b"],
             "description": "d", "defaultParameterValue": {"name": "where", "value": "a"}},
            {"name": "token", "type": "PasswordParameterDefinition",
             "defaultParameterValue": {"name": "token", "value": "secret"}},
        ]);
        let job = json!({"name": "main", "buildable": true, "property": [{}, {"parameterDefinitions": defined}]});
        let told = to_json(&job, "team/job/main");
        assert_eq!(
            (&told["name"], &told["buildable"]),
            (&json!("team/job/main"), &json!(true))
        );
        let parameters = &told["parameterDefinitionList"];
        assert_eq!(parameters[0]["choices"], json!(["a", "b"]));
        assert_eq!(parameters[0]["defaultValue"], "a");
        assert_eq!(parameters[1]["defaultValue"], Value::Null);
        assert!(!told.to_string().contains("secret"));
        assert_eq!(told["upstreamProjectList"], json!([]));
    }
}
