//! Templated pipelines: the template that a configuration names is read, and planned by
//! [`orchestrator_core::template`].

use orchestrator_core::template;
use proto::status::{Failure, FieldError};
use serde_json::{Map, Value, json};

use crate::definition::Object;
use crate::services::Definitions;

/// The pipeline of a configuration, or why there is none.
///
/// # Errors
/// When the template cannot be read now.
async fn planned(
    definitions: &dyn Definitions,
    config: &Map<String, Value>,
) -> Result<Result<Map<String, Value>, Vec<String>>, Failure> {
    let reference = match template::reference(config) {
        Ok(reference) => reference,
        Err(fault) => return Ok(Err(vec![fault])),
    };
    let found = definitions
        .object(Object::PipelineTemplate, reference)
        .await?;
    let Some(Value::Object(found)) = found else {
        let fault = format!("there is no pipeline template {reference}; save it first");
        return Ok(Err(vec![fault]));
    };
    Ok(template::plan(config, &found))
}

/// A pipeline to be started: that of its template where it is a configuration; what is wrong with it is in its
/// `errors` then, and the execution ends with them.
///
/// # Errors
/// When the template cannot be read now.
pub(crate) async fn expanded(definitions: &dyn Definitions, body: Value) -> Result<Value, Failure> {
    let Value::Object(config) = body else {
        return Ok(body);
    };
    if !template::is_configuration(&config) {
        return Ok(Value::Object(config));
    }
    Ok(match planned(definitions, &config).await? {
        Ok(planned) => Value::Object(planned),
        Err(faults) => {
            let mut failed = config;
            failed.insert("errors".to_owned(), json!(faults));
            failed.insert("stages".to_owned(), json!([]));
            Value::Object(failed)
        }
    })
}

/// The pipeline that a configuration would run as, with what can be evaluated before it runs.
///
/// # Errors
/// `Invalid` with everything that is wrong, or when the template cannot be read now.
pub(crate) async fn plan(
    definitions: &dyn Definitions,
    config: Value,
    user: &str,
    now: i64,
) -> Result<Value, Failure> {
    let wrong = |faults: Vec<String>| {
        let told = format!("Pipeline template is invalid: {}", faults.join("; "));
        let fields = faults
            .iter()
            .map(|fault| FieldError::new("template", fault));
        Failure::invalid(told, fields.collect())
    };
    let Value::Object(mut config) = config else {
        return Err(wrong(vec![
            "the body is no object; send a configuration".to_owned(),
        ]));
    };
    if !template::is_configuration(&config) {
        let fault = "it is no configuration of a template; send schema v2 and template.reference";
        return Err(wrong(vec![fault.to_owned()]));
    }
    let trigger = config.entry("trigger").or_insert_with(|| json!({}));
    if !trigger.is_object() {
        *trigger = json!({});
    }
    let planned = planned(definitions, &config).await?.map_err(wrong)?;
    let evaluated = template::evaluated(&planned, user, now).map_err(wrong)?;
    Ok(Value::Object(evaluated))
}
