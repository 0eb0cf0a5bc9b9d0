//! What a metric store is asked: one metric, over one scope.
//!
//! Owns how a scope reads, which variables a template has, and the rule that a value of a request can never become
//! part of a query's own words: it is escaped as the store's language demands, or refused (`template`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::template::{Binding, Bindings, Language, expand, unescaped};

/// A field of a request or config that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}: {remedy}")]
pub struct Fault {
    /// Its path, as in `query.metricName`.
    pub field: String,
    /// What it is, shortened.
    pub value: String,
    /// What to do about it.
    pub remedy: String,
}

impl Fault {
    /// A text at `field`; `remedy` says what to do.
    pub(crate) fn new(field: impl Into<String>, value: &str, remedy: impl Into<String>) -> Self {
        const LONGEST: usize = 80;
        let mut shown: String = value.chars().take(LONGEST).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self {
            field: field.into(),
            value: format!("{shown:?}"),
            remedy: remedy.into(),
        }
    }

    /// A field that has to be there.
    pub(crate) fn missing(field: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            value: "missing".to_owned(),
            remedy: remedy.into(),
        }
    }
}

/// Where and when a metric is looked at (`kayenta: CanaryScope`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// What to look at: a server group, the value of a label.
    pub scope: String,
    /// Region, zone or namespace.
    pub location: String,
    /// First instant, Unix milliseconds.
    pub start_ms: i64,
    /// The end, itself outside; Unix milliseconds.
    pub end_ms: i64,
    /// Seconds between two values.
    pub step_s: u64,
    /// `extendedScopeParams`.
    pub extended: BTreeMap<String, String>,
}

impl Scope {
    /// Reads a scope as Kayenta has it; `path` says where it stands.
    ///
    /// # Errors
    /// A field that cannot be read, with its path.
    pub fn read(value: &Value, path: &str) -> Result<Self, Fault> {
        let Value::Object(scope) = value else {
            let remedy = "give an object with scope, location, start, end and step";
            return Err(Fault::new(path, &value.to_string(), remedy));
        };
        let at = |name: &str| format!("{path}.{name}");
        let instant = |name: &str| {
            let remedy = "give an instant such as 2026-01-01T00:00:00Z";
            let text = text(scope.get(name)).ok_or_else(|| Fault::missing(at(name), remedy))?;
            let read = text.parse::<jiff::Timestamp>();
            let read = read.map(jiff::Timestamp::as_millisecond);
            // Numbers are what other clients send: Unix milliseconds.
            let read = read.or_else(|_| text.parse());
            read.map_err(|_| Fault::new(at(name), &text, remedy))
        };
        let step = text(scope.get("step")).unwrap_or_default();
        let step_s = match step.as_str() {
            "" => 60,
            step => step.parse().map_err(|_| {
                let remedy = "give whole seconds between two values, such as 60";
                Fault::new(at("step"), step, remedy)
            })?,
        };
        let extended = match scope.get("extendedScopeParams") {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(all)) => all
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), text(Some(value))?)))
                .collect(),
            Some(other) => {
                let remedy = "give an object of texts";
                return Err(Fault::new(
                    at("extendedScopeParams"),
                    &other.to_string(),
                    remedy,
                ));
            }
        };
        Ok(Self {
            scope: text(scope.get("scope")).unwrap_or_default(),
            location: text(scope.get("location")).unwrap_or_default(),
            start_ms: instant("start")?,
            end_ms: instant("end")?,
            step_s,
            extended,
        })
    }
}

/// One query to be made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Question {
    /// Name of the metric, as the config has it: that of the sets.
    pub metric: String,
    /// The metric's `query`.
    pub query: Map<String, Value>,
    /// The config's `templates`.
    pub templates: Map<String, Value>,
    /// Where and when.
    pub scope: Scope,
}

/// A text, a number or a truth value as text; nothing else is one, nor is an empty one.
pub(crate) fn text(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

impl Question {
    /// A field of the query, none if it is empty.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        text(self.query.get(name))
    }

    /// A list of texts of the query.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<String>, Fault> {
        match self.query.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(all)) => Ok(all.iter().filter_map(|v| text(Some(v))).collect()),
            Some(other) => {
                let field = format!("query.{name}");
                Err(Fault::new(
                    field,
                    &other.to_string(),
                    "give a list of texts",
                ))
            }
        }
    }

    /// What the scope says under a name, for templates and defaults; none if it is empty.
    pub(crate) fn attribute(&self, name: &str) -> Option<(String, String)> {
        let own = match name {
            "scope" => self.scope.scope.clone(),
            "location" => self.scope.location.clone(),
            "step" => self.scope.step_s.to_string(),
            _ => return None,
        };
        Some((own, format!("scope.{name}"))).filter(|(own, _)| !own.is_empty())
    }

    /// The variables that a template may use: those of `base` that the scope has, then the query's of the same names,
    /// then all of `extendedScopeParams`; what comes later wins.
    pub(crate) fn bindings(&self, base: &[&str]) -> Bindings {
        let mut bindings = Bindings::new();
        for name in base {
            if let Some((value, field)) = self.attribute(name) {
                bindings.insert((*name).to_owned(), Binding::Given { value, field });
            }
            if let Some(value) = self.field(name) {
                let field = format!("query.{name}");
                bindings.insert((*name).to_owned(), Binding::Given { value, field });
            }
        }
        for (name, value) in &self.scope.extended {
            let field = format!("scope.extendedScopeParams.{name}");
            let value = value.clone();
            bindings.insert(name.clone(), Binding::Given { value, field });
        }
        bindings
    }

    /// The metric's own template, expanded; none if it has none. An inline one wins over one that is named.
    ///
    /// # Errors
    /// A template nobody wrote, a variable nobody knows, a value that would break out of the query. The texts about
    /// templates are the original's.
    pub(crate) fn template(
        &self,
        bindings: &Bindings,
        language: &Language,
    ) -> Result<Option<String>, Fault> {
        if self.query.get("customFilter").is_some_and(|v| !v.is_null()) {
            let value = self.field("customFilter").unwrap_or_default();
            let remedy = "it is not read any more; write it as customInlineTemplate";
            return Err(Fault::new("query.customFilter", &value, remedy));
        }
        let (field, template) = match self.field("customInlineTemplate") {
            Some(template) => ("query.customInlineTemplate".to_owned(), template),
            None => match self.field("customFilterTemplate") {
                None => return Ok(None),
                Some(name) => {
                    let template = text(self.templates.get(&name)).ok_or_else(|| {
                        let known: Vec<_> = self.templates.keys().map(String::as_str).collect();
                        let remedy = format!(
                            "Custom filter template '{name}' was not found. Known are: {}",
                            known.join(", ")
                        );
                        Fault::new("query.customFilterTemplate", &name, remedy)
                    })?;
                    (format!("templates.{name}"), template)
                }
            },
        };
        expand(&field, &unescaped(&template), bindings, language).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_scope_reads_as_kayenta_writes_it() {
        let scope = json!({
            "scope": "app-v001", "location": "eu", "start": "2026-01-01T00:00:00Z",
            "end": "1767229200000", "step": "30", "extendedScopeParams": {"a": "b", "n": 5},
        });
        let scope = Scope::read(&scope, "s").unwrap();
        assert_eq!(
            (scope.start_ms, scope.end_ms),
            (1_767_225_600_000, 1_767_229_200_000)
        );
        assert_eq!((scope.step_s, scope.extended["n"].as_str()), (30, "5"));
    }

    #[test]
    fn a_scope_that_cannot_be_read_says_which_field_it_is() {
        for (scope, text) in [
            (json!([]), "s is \"[]\": give an object"),
            (json!({"start": "0"}), "s.end is missing: give an instant"),
            (
                json!({"start": "noon", "end": "0"}),
                "s.start is \"noon\": give an instant",
            ),
            (
                json!({"start": "0", "end": "1", "step": "1m"}),
                "s.step is \"1m\": give whole seconds",
            ),
        ] {
            let fault = Scope::read(&scope, "s").unwrap_err().to_string();
            assert!(fault.starts_with(text), "{fault}");
        }
    }

    #[test]
    fn later_variables_win() {
        let mut question = Question {
            scope: Scope {
                scope: "s".into(),
                ..Scope::default()
            },
            ..Question::default()
        };
        let value =
            |question: &Question| match question.bindings(&["scope", "location"]).get("scope") {
                Some(Binding::Given { value, .. }) => value.clone(),
                other => panic!("{other:?}"),
            };
        assert_eq!(value(&question), "s");
        assert!(question.bindings(&["location"]).is_empty());
        question.query.insert("scope".into(), json!("of the query"));
        assert_eq!(value(&question), "of the query");
        question
            .scope
            .extended
            .insert("scope".into(), "extended".into());
        assert_eq!(value(&question), "extended");
    }

    #[test]
    fn a_template_that_nobody_wrote_and_the_old_field_are_refused() {
        let language = &crate::template::PROMQL;
        let mut question = Question::default();
        question
            .query
            .insert("customFilterTemplate".into(), json!("t"));
        let fault = question.template(&Bindings::new(), language).unwrap_err();
        assert!(
            fault
                .to_string()
                .contains("Custom filter template 't' was not found.")
        );
        question.templates.insert("t".into(), json!("a=\"b\""));
        let found = question.template(&Bindings::new(), language).unwrap();
        assert_eq!(found.as_deref(), Some("a=\"b\""));
        question
            .query
            .insert("customInlineTemplate".into(), json!("inline"));
        let found = question.template(&Bindings::new(), language).unwrap();
        assert_eq!(found.as_deref(), Some("inline"));
        question.query.insert("customFilter".into(), json!("x"));
        let fault = question.template(&Bindings::new(), language).unwrap_err();
        assert!(fault.to_string().contains("customInlineTemplate"));
    }
}
