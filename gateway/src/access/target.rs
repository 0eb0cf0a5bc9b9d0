//! What a request that changes something changes, for the audit: its name, and
//! a hash of its state before and after.

use proto::orchestrator::v1::{GetExecutionRequest, ObjectKey, PipelineKey};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::text;
use crate::Gateway;
use crate::clients::answer;
use crate::request::Caller;

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Execution(String),
    Pipeline {
        id: String,
        application: String,
        name: String,
    },
    Object {
        kind: &'static str,
        id: String,
    },
    /// What has no state of its own that could be hashed.
    Other(String),
}

/// What the path and the body of a request say.
pub(super) struct Said<'a> {
    pub(super) params: &'a [(String, String)],
    pub(super) body: &'a Value,
}

impl Said<'_> {
    pub(super) fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The first that is said, in the path or else the body.
    fn any(&self, names: &[&str]) -> String {
        let in_path = names.iter().map(|name| self.param(name));
        let in_body = names.iter().map(|name| text(self.body, name));
        let mut said = in_path.chain(in_body).filter(|value| !value.is_empty());
        said.next().unwrap_or_default().to_owned()
    }
}

impl Target {
    /// What a handler changes.
    pub(super) fn of(handler: &str, said: &Said<'_>) -> Self {
        let object = |kind, names: &[&str]| Self::Object {
            kind,
            id: said.any(names),
        };
        let controller = handler.split('.').next().unwrap_or_default();
        match controller {
            "canary_configs" => object("canaryConfig", &["id"]),
            // A run is begun with what the path names, or is of it.
            "canaries" => Self::Other(
                format!("canary/{}", said.any(&["id", "application"]))
                    .trim_end_matches('/')
                    .to_owned(),
            ),
            "environments" => object("environment", &["name"]),
            "notifications" => object("notification", &["application"]),
            "pipeline_templates" => object("pipelineTemplate", &["id"]),
            "quarantine" => object("quarantine", &["id"]),
            "service_accounts" => object("serviceAccount", &["name"]),
            "tokens" if !said.param("id").is_empty() => object("apiToken", &["id"]),
            "pipeline_configs" | "pipeline_sets" | "strategies" if said.body.is_array() => {
                Self::Other("pipelines".to_owned())
            }
            "pipeline_configs" | "pipeline_sets" | "strategies" | "triggers" => Self::Pipeline {
                id: said.any(&["id"]),
                application: said.any(&["application"]),
                name: said.any(&["nameOrId", "from", "name"]),
            },
            _ if !said.param("id").is_empty() => Self::Execution(said.param("id").to_owned()),
            _ => {
                let place = [said.any(&["application"]), said.any(&["nameOrId", "name"])];
                Self::Other(
                    format!("{controller}/{}", place.join("/"))
                        .trim_end_matches('/')
                        .to_owned(),
                )
            }
        }
    }

    /// As the audit writes it.
    pub(super) fn name(&self) -> String {
        let name = match self {
            Self::Execution(id) => format!("execution/{id}"),
            Self::Pipeline {
                id,
                application,
                name,
            } if id.is_empty() => {
                format!("pipeline/{application}/{name}")
            }
            Self::Pipeline { id, .. } => format!("pipeline/{id}"),
            Self::Object { kind, id } => format!("{kind}/{id}"),
            Self::Other(name) => name.clone(),
        };
        name.chars().take(500).collect()
    }

    /// SHA-256 of its state as JSON, in hexadecimal; none if it is not there, has no
    /// state, or cannot be read.
    pub(super) async fn hash(&self, gate: &Gateway, caller: &Caller) -> Option<String> {
        let found = match self {
            Self::Execution(id) => {
                let call = caller.request(GetExecutionRequest {
                    id: id.clone(),
                    ..GetExecutionRequest::default()
                });
                answer(gate.clients.executions.clone().get(call)).await
            }
            Self::Pipeline {
                id,
                application,
                name,
            } => {
                let by_name = id.is_empty();
                let call = caller.request(PipelineKey {
                    id: id.clone(),
                    application: if by_name {
                        application.to_lowercase()
                    } else {
                        String::new()
                    },
                    name: if by_name { name.clone() } else { String::new() },
                    ..PipelineKey::default()
                });
                answer(gate.clients.definitions.clone().get_pipeline(call)).await
            }
            Self::Object { kind, id } => {
                let call = caller.request(ObjectKey {
                    kind: (*kind).to_owned(),
                    id: id.clone(),
                });
                answer(gate.clients.definitions.clone().get_object(call)).await
            }
            Self::Other(_) => return None,
        };
        let found = found.ok()?;
        Some(hex::encode(Sha256::digest(found.text.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_changed_has_a_name() {
        let params = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        for (handler, pairs, body, expected) in [
            (
                "pipelines.cancel",
                vec![("id", "E1")],
                json!(null),
                "execution/E1",
            ),
            (
                "pipelines.start",
                vec![("application", "a"), ("nameOrId", "n")],
                json!({}),
                "pipelines/a/n",
            ),
            (
                "pipeline_configs.save",
                vec![],
                json!({"application": "a", "name": "n"}),
                "pipeline/a/n",
            ),
            (
                "pipeline_configs.save",
                vec![],
                json!({"id": "p", "application": "a"}),
                "pipeline/p",
            ),
            ("pipeline_sets.bulk_save", vec![], json!([]), "pipelines"),
            (
                "environments.update",
                vec![("name", "prod")],
                json!({"name": "x"}),
                "environment/prod",
            ),
            (
                "tasks.start",
                vec![],
                json!({"application": "a"}),
                "tasks/a",
            ),
        ] {
            let params = params(&pairs);
            let said = Said {
                params: &params,
                body: &body,
            };
            assert_eq!(Target::of(handler, &said).name(), expected, "{handler}");
        }
    }
}
