//! The variables of a templated pipeline: those the template declares, with its defaults, each of its type.

use serde_json::{Map, Value};

fn text<'a>(map: &'a Value, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a value is of a declared type. Source: `orca: V2ConfigurationValidator`.
fn is_of(kind: &str, value: &Value) -> bool {
    let integral = |number: f64| number.fract() == 0.0;
    match kind.to_lowercase().as_str() {
        "object" => true,
        "int" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(integral),
        "bool" | "boolean" => value.is_boolean(),
        "list" => value.is_array(),
        "string" => value.is_string(),
        // A whole number is no double to Java.
        "float" | "double" => value.is_f64(),
        "map" => value.is_object(),
        _ => false,
    }
}

/// The variables by name.
///
/// # Errors
/// What is missing, and what is of another type.
pub(super) fn of(
    config: &Map<String, Value>,
    template: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<String>> {
    let declared = template.get("variables").and_then(Value::as_array);
    let given = config.get("variables").and_then(Value::as_object);
    let (mut values, mut missing, mut faults) = (Map::new(), Vec::new(), Vec::new());
    for variable in declared.into_iter().flatten() {
        let name = text(variable, "name");
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(fits) {
            faults.push(format!(
                "variable name \"{name}\" of the template has other characters than letters, digits and _"
            ));
            continue;
        }
        let nullable = variable.get("nullable") == Some(&Value::Bool(true));
        let own = given.and_then(|given| given.get(name));
        let default = variable
            .get("defaultValue")
            .filter(|value| !value.is_null());
        match own.or(default) {
            None if nullable => {
                values.insert(name.to_owned(), Value::Null);
            }
            None => missing.push(name),
            Some(Value::Null) if !nullable => {
                faults.push(format!("variable {name} is null, and is not nullable"));
            }
            Some(value) => {
                let kind = text(variable, "type");
                if !value.is_null() && !is_of(kind, value) {
                    faults.push(format!("variable {name} is {value}, which is no {kind}"));
                }
                values.insert(name.to_owned(), value.clone());
            }
        }
    }
    if !missing.is_empty() {
        faults.insert(
            0,
            format!("Missing variable values for: {}", missing.join(", ")),
        );
    }
    if faults.is_empty() {
        Ok(values)
    } else {
        Err(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(kind: &str, value: Value) -> Result<Map<String, Value>, Vec<String>> {
        let template = json!({"variables": [{"name": "v", "type": kind}]});
        let config = json!({"variables": {"v": value, "undeclared": 1}});
        of(config.as_object().unwrap(), template.as_object().unwrap())
    }

    #[test]
    fn each_type_takes_its_values_and_no_others() {
        for (kind, good, bad) in [
            ("int", json!(3), json!(3.5)),
            ("int", json!(3.0), json!("3")),
            ("float", json!(1.5), json!("x")),
            ("bool", json!(true), json!("true")),
            ("list", json!([1]), json!({})),
            ("string", json!("s"), json!(1)),
        ] {
            assert_eq!(found(kind, good.clone()).unwrap()["v"], good, "{kind}");
            let faults = found(kind, bad).unwrap_err();
            assert!(faults[0].contains("variable v is"), "{faults:?}");
        }
        assert!(found("object", json!([1, {}])).is_ok());
        assert_eq!(
            found("object", json!(1)).unwrap().len(),
            1,
            "only what is declared"
        );
    }

    #[test]
    fn what_is_missing_is_told_together_and_null_needs_leave() {
        let template = json!({"variables": [
            {"name": "a", "type": "string"}, {"name": "b", "type": "int"},
            {"name": "c", "type": "int", "nullable": true},
            {"name": "d", "type": "int", "defaultValue": 4}]});
        let template = template.as_object().unwrap();
        let faults = of(&Map::new(), template).unwrap_err();
        assert_eq!(faults, ["Missing variable values for: a, b"]);
        let config = json!({"variables": {"a": "x", "b": null, "c": null}});
        let faults = of(config.as_object().unwrap(), template).unwrap_err();
        assert_eq!(faults, ["variable b is null, and is not nullable"]);
        let config = json!({"variables": {"a": "x", "b": 2}});
        let values = of(config.as_object().unwrap(), template).unwrap();
        assert_eq!(
            Value::Object(values),
            json!({"a": "x", "b": 2, "c": null, "d": 4})
        );
    }
}
