//! Projects: applications and pipelines that are looked at together. One keeps
//! its id when it is renamed; its name is unique in any case.
//! Source of rules: `front50: Project, ProjectsController`.

use proto::status::{Failure, FieldError};
use serde_json::{Map, Value, json};

use super::object::Object;
use super::{Definitions, kind_of, text, unavailable};
use crate::ids;

const NAME_MAX: usize = 250;

fn name_key(name: &str) -> String {
    format!("project-name:{}", name.trim().to_lowercase())
}

/// The name as unique key.
pub(super) fn claims(body: &Map<String, Value>) -> Vec<String> {
    text(body, "name").map(name_key).into_iter().collect()
}

/// What is said when a name is another project's.
pub(super) fn taken(key: &str) -> FieldError {
    let name = key.split_once(':').map_or(key, |(_, name)| name);
    FieldError::new("name", format!("A Project named '{name}' already exists"))
}

impl Definitions {
    /// The id of a project by its id, else by its name; none if there is none.
    pub(super) async fn project_id(&self, name_or_id: &str) -> Result<Option<String>, Failure> {
        let kind = Object::Project;
        let shard = self.shard_of(kind);
        let found = self.load(kind.collection(), shard, name_or_id).await?;
        if found.is_some() {
            return Ok(Some(name_or_id.to_owned()));
        }
        self.store
            .unique(shard, &name_key(name_or_id))
            .await
            .map_err(unavailable)
    }

    /// Where a project as sent belongs. Without an id it is the one of its name, so that a client
    /// that could not read it makes no second.
    pub(super) async fn project_place(&self, body: &Map<String, Value>) -> Result<String, Failure> {
        if let Some(id) = text(body, "id") {
            return Ok(id.to_owned());
        }
        let name = text(body, "name").unwrap_or_default();
        let found = self
            .store
            .unique(self.shard_of(Object::Project), &name_key(name))
            .await
            .map_err(unavailable)?;
        Ok(found.unwrap_or_else(|| ids::uuid_in(0)))
    }

    /// Takes a deleted application out of all projects; one that is left empty goes.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(super) async fn leave_projects(&self, application: &str) -> Result<(), Failure> {
        let kind = Object::Project;
        for project in self.list_objects(kind).await? {
            let Value::Object(mut project) = project else {
                continue;
            };
            let field = |key: &str| text(&project, key).unwrap_or_default().to_owned();
            let (id, user) = (field("id"), field("lastModifiedBy"));
            match without(&mut project, application) {
                None => {}
                Some(true) => self.delete_object(kind, &id).await?,
                Some(false) => {
                    let project = Value::Object(project);
                    self.put_object(kind, project, &user, false).await?;
                }
            }
        }
        Ok(())
    }
}

/// Removes an application; whether the project is empty now, none if it was not in it.
fn without(project: &mut Map<String, Value>, application: &str) -> Option<bool> {
    let config = project.get_mut("config")?.as_object_mut()?;
    let is = |value: &Value| {
        value
            .as_str()
            .is_some_and(|a| a.eq_ignore_ascii_case(application))
    };
    let applications = config.get_mut("applications")?.as_array_mut()?;
    let before = applications.len();
    applications.retain(|a| !is(a));
    if applications.len() == before {
        return None;
    }
    let empty = applications.is_empty();
    if let Some(Value::Array(pipelines)) = config.get_mut("pipelineConfigs") {
        pipelines.retain(|p| !p.get("application").is_some_and(is));
    }
    Some(empty)
}

/// The lists that every reader expects.
pub(super) fn complete(body: &mut Map<String, Value>) {
    let config = body.entry("config").or_insert_with(|| json!({}));
    if config.is_null() {
        *config = json!({});
    }
    if let Value::Object(config) = config {
        for list in ["applications", "clusters", "pipelineConfigs"] {
            config.entry(list).or_insert_with(|| json!([]));
        }
    }
}

/// Every fault of a project; empty for one that may be saved.
pub(super) fn check(body: &Map<String, Value>) -> Vec<FieldError> {
    let mut faults = Vec::new();
    match text(body, "name") {
        None => faults.push(FieldError::new(
            "name",
            "it is missing; a project needs a name",
        )),
        Some(name) if name.len() > NAME_MAX => {
            let message = format!("it is longer than the {NAME_MAX} bytes allowed; shorten it");
            faults.push(FieldError::new("name", message));
        }
        Some(_) => {}
    }
    let config = match body.get("config") {
        None | Some(Value::Null) => return faults,
        Some(Value::Object(config)) => config,
        Some(other) => {
            let message = format!("it is {}; send an object", kind_of(other));
            faults.push(FieldError::new("config", message));
            return faults;
        }
    };
    for (field, needed) in [
        ("applications", &[][..]),
        ("clusters", &["account"][..]),
        ("pipelineConfigs", &["application", "pipelineConfigId"][..]),
    ] {
        let list = match config.get(field) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(list)) => list,
            Some(other) => {
                let message = format!("it is {}; send a list", kind_of(other));
                faults.push(FieldError::new(format!("config.{field}"), message));
                continue;
            }
        };
        for (i, entry) in list.iter().enumerate() {
            let path = format!("config.{field}[{i}]");
            if needed.is_empty() {
                if entry.as_str().is_none_or(str::is_empty) {
                    faults.push(FieldError::new(
                        &path,
                        "it is no name; send the name of an application",
                    ));
                }
                continue;
            }
            for key in needed {
                if entry
                    .get(key)
                    .and_then(Value::as_str)
                    .is_none_or(str::is_empty)
                {
                    faults.push(FieldError::new(
                        format!("{path}.{key}"),
                        "it is missing; name one",
                    ));
                }
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_project_is_named_by_its_path() {
        for (project, path) in [
            (json!({}), "name"),
            (json!({"name": "p", "config": []}), "config"),
            (
                json!({"name": "p", "config": {"applications": "a"}}),
                "config.applications",
            ),
            (
                json!({"name": "p", "config": {"applications": [1]}}),
                "config.applications[0]",
            ),
            (
                json!({"name": "p", "config": {"clusters": [{"stack": "*"}]}}),
                "config.clusters[0].account",
            ),
            (
                json!({"name": "p", "config": {"pipelineConfigs": [{"application": "a"}]}}),
                "config.pipelineConfigs[0].pipelineConfigId",
            ),
        ] {
            let found = check(project.as_object().unwrap());
            let paths: Vec<_> = found.iter().map(|f| f.path.as_str()).collect();
            assert_eq!(paths, [path], "{project}");
        }
        assert!(check(json!({"name": "p", "config": null}).as_object().unwrap()).is_empty());
    }

    #[test]
    fn a_deleted_application_leaves_and_an_empty_project_goes() {
        for (applications, left) in [
            (json!(["a", "b"]), Some(false)),
            (json!(["A"]), Some(true)),
            (json!(["b"]), None),
        ] {
            let mut project = json!({"config": {"applications": applications,
                "pipelineConfigs": [{"application": "a", "pipelineConfigId": "1"}]}});
            let project = project.as_object_mut().unwrap();
            assert_eq!(without(project, "a"), left, "{applications}");
            let pipelines = project["config"]["pipelineConfigs"].as_array().unwrap();
            assert_eq!(pipelines.is_empty(), left.is_some());
        }
    }
}
