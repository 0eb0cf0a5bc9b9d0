//! The objects of an execution as expressions see them: properties with a fixed set
//! of names, where a map would take any key.
//!
//! All are views of the execution's JSON; nothing here changes it.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::error::{Fault, ILLEGAL_ARGUMENT};
use crate::value::{EnumKind, Heir, MapVal, Text, Val};

/// Which object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BeanKind {
    Execution,
    Stage,
    Task,
    Trigger,
    Authentication,
    Artifact,
    SourceControl,
}

impl BeanKind {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Execution => "com.netflix.spinnaker.orca.pipeline.model.PipelineExecutionImpl",
            Self::Stage => "com.netflix.spinnaker.orca.pipeline.model.StageExecutionImpl",
            Self::Task => "com.netflix.spinnaker.orca.pipeline.model.TaskExecutionImpl",
            Self::Trigger => "com.netflix.spinnaker.orca.pipeline.model.DefaultTrigger",
            Self::Authentication => {
                "com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution$AuthenticationDetails"
            }
            Self::Artifact => "com.netflix.spinnaker.kork.artifacts.model.Artifact",
            Self::SourceControl => "com.netflix.spinnaker.orca.pipeline.model.SourceControl",
        }
    }

    /// Properties of a class that expressions may not have, with the class.
    pub(crate) fn rejects(self, property: &str) -> Option<&'static str> {
        match (self, property) {
            (Self::Execution, "type") => {
                Some("com.netflix.spinnaker.orca.api.pipeline.models.ExecutionType")
            }
            (Self::Execution, "source") => Some(
                "com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution$PipelineSource",
            ),
            (Self::Stage, "syntheticStageOwner") => {
                Some("com.netflix.spinnaker.orca.api.pipeline.SyntheticStageOwner")
            }
            (Self::Stage, "lastModified") => Some(
                "com.netflix.spinnaker.orca.api.pipeline.models.StageExecution$LastModifiedDetails",
            ),
            _ => None,
        }
    }

    /// Properties that exist even where the JSON has none; of a trigger every key of
    /// its JSON is one as well.
    fn properties(self) -> &'static [&'static str] {
        match self {
            Self::Execution => &[
                "type",
                "id",
                "application",
                "name",
                "buildTime",
                "canceled",
                "canceledBy",
                "cancellationReason",
                "limitConcurrent",
                "maxConcurrentExecutions",
                "keepWaitingPipelines",
                "context",
                "stages",
                "startTime",
                "endTime",
                "startTimeExpiry",
                "status",
                "authentication",
                "paused",
                "origin",
                "trigger",
                "description",
                "pipelineConfigId",
                "source",
                "notifications",
                "initialConfig",
                "systemNotifications",
                "spelEvaluator",
                "templateVariables",
                "partition",
            ],
            Self::Stage => &[
                "id",
                "refId",
                "type",
                "name",
                "startTime",
                "endTime",
                "startTimeExpiry",
                "status",
                "context",
                "outputs",
                "tasks",
                "syntheticStageOwner",
                "parentStageId",
                "requisiteStageRefIds",
                "scheduledTime",
                "lastModified",
                "execution",
                "hasSucceeded",
                "hasFailed",
                "additionalMetricTags",
            ],
            Self::Task => &[
                "id",
                "implementingClass",
                "name",
                "startTime",
                "endTime",
                "status",
                "stageStart",
                "stageEnd",
                "loopStart",
                "loopEnd",
                "taskExceptionDetails",
            ],
            Self::Trigger => &[
                "type",
                "correlationId",
                "user",
                "parameters",
                "artifacts",
                "notifications",
                "rebake",
                "dryRun",
                "strategy",
                "resolvedExpectedArtifacts",
                "other",
            ],
            Self::Authentication => &["user", "allowedAccounts"],
            Self::Artifact => &[
                "type",
                "customKind",
                "name",
                "version",
                "location",
                "reference",
                "metadata",
                "artifactAccount",
                "provenance",
                "uuid",
            ],
            Self::SourceControl => &["name", "branch", "sha1"],
        }
    }
}

/// An object of an execution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bean<'a> {
    pub(crate) kind: BeanKind,
    pub(crate) fields: &'a Map<String, Value>,
    /// The execution it belongs to, for a stage.
    pub(crate) execution: Option<&'a Map<String, Value>>,
}

impl<'a> Bean<'a> {
    pub(crate) fn new(kind: BeanKind, fields: &'a Map<String, Value>) -> Self {
        Self {
            kind,
            fields,
            execution: None,
        }
    }

    pub(crate) fn stage(fields: &'a Map<String, Value>, execution: &'a Map<String, Value>) -> Self {
        Self {
            kind: BeanKind::Stage,
            fields,
            execution: Some(execution),
        }
    }

    pub(crate) fn printed(&self) -> String {
        let text = |key| {
            self.fields
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        match self.kind {
            BeanKind::Stage => {
                format!("{} {{id='{}'}}", self.kind.class(), text("id"))
            }
            BeanKind::Execution => format!("Pipeline {}", text("id")),
            BeanKind::Task
            | BeanKind::Trigger
            | BeanKind::Authentication
            | BeanKind::Artifact
            | BeanKind::SourceControl => MapPrinter(self.fields).printed(),
        }
    }

    /// A property; none if it has no such.
    pub(crate) fn property(&self, name: &str) -> Option<Val<'a>> {
        let field = self.fields.get(name);
        let known = self.kind.properties().contains(&name);
        if !known && (self.kind != BeanKind::Trigger || field.is_none()) {
            return None;
        }
        let status = || self.fields.get("status").and_then(Value::as_str);
        Some(match (self.kind, name) {
            (BeanKind::Execution, "context") => self.outputs(),
            (BeanKind::Execution, "stages") => Val::list(
                stages(self.fields)
                    .map(|s| Val::Bean(Bean::stage(s, self.fields)))
                    .collect(),
            ),
            (BeanKind::Execution, "trigger") => object(field, BeanKind::Trigger),
            (BeanKind::Execution, "authentication") => object(field, BeanKind::Authentication),
            (BeanKind::Stage, "context") => self.context().map_or(Val::Null, Val::Map),
            (BeanKind::Stage, "execution") => self
                .execution
                .map_or(Val::Null, |e| Val::Bean(Bean::new(BeanKind::Execution, e))),
            (BeanKind::Stage, "hasSucceeded") => Val::Bool(status() == Some("SUCCEEDED")),
            (BeanKind::Stage, "hasFailed") => Val::Bool(status() == Some("TERMINAL")),
            (BeanKind::Stage, "tasks") => {
                let tasks = field.and_then(Value::as_array).into_iter().flatten();
                let bean =
                    |task: &'a Map<String, Value>| Val::Bean(Bean::new(BeanKind::Task, task));
                Val::list(tasks.filter_map(Value::as_object).map(bean).collect())
            }
            (BeanKind::Execution | BeanKind::Stage | BeanKind::Task, "status") => {
                status().map_or(Val::Null, |s| Val::Enum(EnumKind::Status, Text::Ref(s)))
            }
            _ => field.map_or(Val::Null, Val::from_json),
        })
    }

    /// A method that gives a stage or several; none if there is no such method.
    pub(crate) fn method(
        &self,
        name: &str,
        argument: Option<&str>,
    ) -> Option<Result<Val<'a>, Fault>> {
        let one = |key: &'static str| {
            let wanted = argument?;
            let found = stages(self.fields).find(|stage| field(stage, key) == Some(wanted));
            Some(match found {
                Some(stage) => Ok(Val::Bean(Bean::stage(stage, self.fields))),
                None => Err(Fault::java(
                    ILLEGAL_ARGUMENT,
                    format!("No stage with {key} {wanted} exists on this execution"),
                )),
            })
        };
        match (self.kind, name) {
            (BeanKind::Execution, "stageById") => one("id"),
            (BeanKind::Execution, "stageByRef") => one("refId"),
            (BeanKind::Stage, "ancestors") if argument.is_none() => {
                let execution = self.execution?;
                let found = ancestors(Heir {
                    stage: self.fields,
                    execution,
                });
                let bean = |stage| Val::Bean(Bean::stage(stage, execution));
                Some(Ok(Val::list(found.into_iter().map(bean).collect())))
            }
            _ => None,
        }
    }

    /// A stage's context, which sees its ancestors' outputs.
    pub(crate) fn context(&self) -> Option<MapVal<'a>> {
        let own = self.fields.get("context")?.as_object()?;
        let heir = self.execution.map(|execution| Heir {
            stage: self.fields,
            execution,
        });
        Some(MapVal::json(own).with_heir(heir))
    }

    /// The outputs of all top-level stages; lists are joined, else the later wins.
    fn outputs(&self) -> Val<'a> {
        let mut merged: IndexMap<String, Val<'a>> = IndexMap::new();
        for stage in in_order(self.fields) {
            for (key, value) in outputs(stage) {
                let value = Val::from_json(value);
                let joined = match (merged.get(key), &value) {
                    (Some(Val::Seq(before)), Val::Seq(after)) => {
                        let mut items: Vec<Val<'a>> = before.iter().collect();
                        for item in after.iter() {
                            if !items.iter().any(|known| known.same(&item)) {
                                items.push(item);
                            }
                        }
                        Val::list(items)
                    }
                    _ => value,
                };
                merged.insert(key.clone(), joined);
            }
        }
        Val::Map(MapVal::own(merged))
    }
}

struct MapPrinter<'a>(&'a Map<String, Value>);

impl MapPrinter<'_> {
    fn printed(&self) -> String {
        Val::Map(MapVal::json(self.0)).printed()
    }
}

fn object(field: Option<&Value>, kind: BeanKind) -> Val<'_> {
    match field.and_then(Value::as_object) {
        Some(fields) => Val::Bean(Bean::new(kind, fields)),
        None => Val::Null,
    }
}

/// The stages of an execution, in its order.
pub(crate) fn stages(execution: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    let stages = execution.get("stages").and_then(Value::as_array);
    stages.into_iter().flatten().filter_map(Value::as_object)
}

fn outputs(stage: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    stage
        .get("outputs")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

/// A text field of a stage.
pub(crate) fn field<'a>(stage: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    stage.get(name).and_then(Value::as_str)
}

fn requisites(stage: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let list = stage.get("requisiteStageRefIds").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// Top-level stages, each after those it requires; what is left of a cycle last.
fn in_order(execution: &Map<String, Value>) -> Vec<&Map<String, Value>> {
    let mut left: Vec<_> = stages(execution)
        .filter(|stage| field(stage, "parentStageId").is_none())
        .collect();
    let mut ordered = Vec::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    loop {
        let (ready, rest): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|stage| requisites(stage).all(|id| done.contains(id)));
        if ready.is_empty() {
            ordered.extend(rest);
            return ordered;
        }
        done.extend(ready.iter().filter_map(|stage| field(stage, "refId")));
        ordered.extend(ready);
        left = rest;
    }
}

/// The first of a stage's ancestors, itself included, whose outputs have this key.
pub(crate) fn inherited<'a>(heir: Heir<'a>, key: &str) -> Option<Val<'a>> {
    ancestors(heir)
        .into_iter()
        .find_map(|stage| stage.get("outputs")?.as_object()?.get(key))
        .map(Val::from_json)
}

/// A stage, those it waits for with their synthetic stages, and so on; where it waits
/// for none, its parent. Nearest first.
fn ancestors(heir: Heir<'_>) -> Vec<&Map<String, Value>> {
    let mut found = vec![heir.stage];
    let mut seen: BTreeSet<&str> = field(heir.stage, "id").into_iter().collect();
    let mut next = 0;
    while let Some(stage) = found.get(next).copied() {
        next += 1;
        let parent = field(stage, "parentStageId");
        let required: Vec<&str> = requisites(stage).collect();
        let before = |other: &Map<String, Value>| {
            field(other, "refId").is_some_and(|id| required.contains(&id))
        };
        let mut near: Vec<_> = stages(heir.execution).filter(|s| before(s)).collect();
        let ids: Vec<&str> = near.iter().filter_map(|s| field(s, "id")).collect();
        near.extend(
            stages(heir.execution)
                .filter(|s| field(s, "parentStageId").is_some_and(|id| ids.contains(&id))),
        );
        if required.is_empty()
            && let Some(parent) = parent
        {
            if field(stage, "syntheticStageOwner") == Some("STAGE_AFTER") {
                near.extend(stages(heir.execution).filter(|s| {
                    field(s, "parentStageId") == Some(parent)
                        && field(s, "syntheticStageOwner") == Some("STAGE_BEFORE")
                }));
            }
            near.extend(stages(heir.execution).filter(|s| field(s, "id") == Some(parent)));
        }
        for stage in near {
            // One without an id cannot be told from itself, so it is left out.
            if field(stage, "id").is_some_and(|id| seen.insert(id)) {
                found.push(stage);
            }
        }
    }
    found
}
