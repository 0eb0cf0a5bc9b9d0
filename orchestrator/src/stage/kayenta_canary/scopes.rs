//! What is compared: `scopes` of a canary stage, and of the judge's request. Pure.

use serde_json::{Map, Value, json};

use super::settings::{Settings, iso, short, text};

/// One of `scopes`.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::stage) struct Scope {
    pub(in crate::stage) name: String,
    pub(in crate::stage) control: Value,
    pub(in crate::stage) control_location: Value,
    pub(in crate::stage) experiment: Value,
    pub(in crate::stage) experiment_location: Value,
    pub(in crate::stage) extended: Map<String, Value>,
}

impl Settings {
    /// What the judge's request says of the scopes, for one window.
    pub(in crate::stage) fn request_scopes(
        &self,
        (start_ms, end_ms): (i64, i64),
        deployed: Option<&Value>,
    ) -> Value {
        let offset = i64::try_from(self.offset_ms).unwrap_or(i64::MAX);
        let side = |scope: &Scope, key: &str, start: i64, end: i64| {
            let (mut name, mut location) = match key {
                "control" => (scope.control.clone(), scope.control_location.clone()),
                _ => (scope.experiment.clone(), scope.experiment_location.clone()),
            };
            let mut extended = scope.extended.clone();
            if let Some(deployed) = deployed {
                let field = |end: &str| deployed.get(format!("{key}{end}")).cloned();
                extended
                    .entry("dataset")
                    .or_insert_with(|| "regional".into());
                extended.insert("type".to_owned(), "asg".into());
                if let Some(id) = field("AccountId").filter(|id| !id.is_null()) {
                    extended.insert("accountId".to_owned(), id);
                }
                location = field("Location").unwrap_or_default();
                name = field("Scope").unwrap_or_default();
            }
            let mut all = json!({
                "scope": name, "start": iso(start), "end": iso(end), "step": self.step_s,
                "extendedScopeParams": extended,
            });
            if !location.is_null() {
                all["location"] = location;
            }
            all
        };
        let each = self.scopes.iter().map(|scope| {
            let both = json!({
                "controlScope": side(scope, "control", start_ms.saturating_sub(offset), end_ms.saturating_sub(offset)),
                "experimentScope": side(scope, "experiment", start_ms, end_ms),
            });
            (scope.name.clone(), both)
        });
        Value::Object(each.collect())
    }
}

impl Scope {
    pub(in crate::stage) fn of(value: &Value) -> Result<Self, (String, String)> {
        let Some(scope) = value.as_object() else {
            return Err((
                String::new(),
                format!("{} is no object; correct it", short(value)),
            ));
        };
        let field = |key: &str| scope.get(key).cloned().unwrap_or_default();
        let extended = match scope.get("extendedScopeParams") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(params)) => params.clone(),
            Some(other) => {
                let message = format!("{} is no object; set {{name: text}}", short(other));
                return Err((".extendedScopeParams".to_owned(), message));
            }
        };
        let name = scope.get("scopeName").and_then(text);
        Ok(Self {
            name: name.unwrap_or("default").to_owned(),
            control: field("controlScope"),
            control_location: field("controlLocation"),
            experiment: field("experimentScope"),
            experiment_location: field("experimentLocation"),
            extended: extended.into_iter().filter(|(_, v)| !v.is_null()).collect(),
        })
    }
}
