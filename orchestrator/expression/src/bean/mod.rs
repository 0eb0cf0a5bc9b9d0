//! The objects of an execution as expressions see them: properties with a fixed set
//! of names, where a map would take any key.
//!
//! All are views of the execution's JSON; nothing here changes it.

mod kinds;
mod stages;

pub(crate) use kinds::BeanKind;
use kinds::TriggerKind;
use stages::{ancestors, downstream, in_order, lineage, outputs};
pub(crate) use stages::{field, inherited, stages};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::error::{Fault, ILLEGAL_ARGUMENT};
use crate::value::{EnumKind, Heir, MapVal, Text, Val};

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
        let text = |key| field(self.fields, key).unwrap_or_default();
        match self.kind {
            BeanKind::Stage => {
                let execution = self.execution.and_then(|e| field(e, "id"));
                let (id, execution) = (text("id"), execution.unwrap_or_default());
                format!("Stage {{id='{id}', executionId='{execution}'}}")
            }
            BeanKind::Execution => format!("Pipeline {}", text("id")),
            BeanKind::Artifact
            | BeanKind::ExpectedArtifact
            | BeanKind::BuildInfo
            | BeanKind::BuildArtifact
            | BeanKind::SourceControl => {
                let class = self.kind.class();
                let (_, name) = class.rsplit_once('.').unwrap_or_default();
                let fields = self.written().into_iter();
                let fields: Vec<String> = fields
                    .map(|(key, value)| format!("{key}={}", value.printed()))
                    .collect();
                format!("{name}({})", fields.join(", "))
            }
            BeanKind::Task | BeanKind::Trigger(_) | BeanKind::Authentication => {
                Val::Map(MapVal::json(self.fields)).printed()
            }
        }
    }

    /// What becomes JSON of it: every property of the small ones, the others as they
    /// are served.
    pub(crate) fn written(&self) -> Vec<(&str, Val<'a>)> {
        match self.kind {
            BeanKind::Artifact
            | BeanKind::ExpectedArtifact
            | BeanKind::BuildInfo
            | BeanKind::BuildArtifact
            | BeanKind::SourceControl => {
                let names = self.kind.properties().iter();
                names
                    .map(|name| (*name, self.property(name).unwrap_or(Val::Null)))
                    .collect()
            }
            BeanKind::Execution
            | BeanKind::Stage
            | BeanKind::Task
            | BeanKind::Trigger(_)
            | BeanKind::Authentication => {
                let fields = self.fields.iter();
                fields
                    .map(|(key, value)| (key.as_str(), Val::from_json(value)))
                    .collect()
            }
        }
    }

    /// A property; none if it has no such.
    pub(crate) fn property(&self, name: &str) -> Option<Val<'a>> {
        if !self.kind.has(name) {
            return None;
        }
        let field = self.fields.get(name).filter(|value| !value.is_null());
        Some(match self.kind {
            BeanKind::Execution => self.of_execution(name, field),
            BeanKind::Stage => self.of_stage(name, field),
            BeanKind::Task if name == "status" => status(field),
            BeanKind::Trigger(_) => match name {
                "artifacts" => objects(field, BeanKind::Artifact),
                "resolvedExpectedArtifacts" => objects(field, BeanKind::ExpectedArtifact),
                "buildInfo" => object(field, BeanKind::BuildInfo),
                "other" => Val::Map(MapVal::json(self.fields)),
                _ => plain(field),
            },
            BeanKind::Artifact => match name {
                "customKind" => flag(field),
                "metadata" if field.is_none() => {
                    Val::Map(MapVal::own(IndexMap::<String, Val<'a>>::new()))
                }
                _ => plain(field),
            },
            BeanKind::ExpectedArtifact => match name {
                "matchArtifact" | "boundArtifact" | "defaultArtifact" => {
                    object(field, BeanKind::Artifact)
                }
                "usePriorArtifact" | "useDefaultArtifact" => flag(field),
                _ => plain(field),
            },
            BeanKind::BuildInfo => match name {
                "artifacts" if field.is_some() => objects(field, BeanKind::BuildArtifact),
                "scm" if field.is_some() => objects(field, BeanKind::SourceControl),
                "building" => flag(field),
                "fullDisplayName" if field.is_none() => {
                    let part = |key| plain(self.fields.get(key)).printed();
                    Val::text(format!("{}#{}", part("name"), part("number")))
                }
                _ => plain(field),
            },
            BeanKind::Task
            | BeanKind::Authentication
            | BeanKind::BuildArtifact
            | BeanKind::SourceControl => plain(field),
        })
    }

    fn of_execution(&self, name: &str, field: Option<&'a Value>) -> Val<'a> {
        match name {
            "context" => self.outputs(),
            "stages" => Val::list(
                stages(self.fields)
                    .map(|s| Val::Bean(Bean::stage(s, self.fields)))
                    .collect(),
            ),
            "trigger" => {
                let fields = field.and_then(Value::as_object);
                let kind = fields.map_or(TriggerKind::Default, TriggerKind::of);
                object(field, BeanKind::Trigger(kind))
            }
            "authentication" => object(field, BeanKind::Authentication),
            "status" => status(field),
            _ => plain(field),
        }
    }

    fn of_stage(&self, name: &str, field: Option<&'a Value>) -> Val<'a> {
        let is = |wanted| self.fields.get("status").and_then(Value::as_str) == Some(wanted);
        match name {
            "context" => self.context().map_or(Val::Null, Val::Map),
            "execution" => self
                .execution
                .map_or(Val::Null, |e| Val::Bean(Bean::new(BeanKind::Execution, e))),
            "hasSucceeded" => Val::Bool(is("SUCCEEDED")),
            "hasFailed" => Val::Bool(is("TERMINAL")),
            "tasks" => objects(field, BeanKind::Task),
            "status" => status(field),
            _ => plain(field),
        }
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
            (BeanKind::Execution, "namedStage") => {
                let wanted = argument?;
                let found = stages(self.fields).find(|s| field(s, "type") == Some(wanted));
                let bean = |stage| Val::Bean(Bean::stage(stage, self.fields));
                Some(Ok(found.map_or(Val::Null, bean)))
            }
            (BeanKind::Stage, _) if argument.is_none() => self.related(name).map(Ok),
            _ => None,
        }
    }

    /// What a stage says of the stages around it.
    fn related(&self, name: &str) -> Option<Val<'a>> {
        let execution = self.execution?;
        let heir = Heir {
            stage: self.fields,
            execution,
        };
        let bean = |stage| Val::Bean(Bean::stage(stage, execution));
        let all = |found: Vec<_>| Val::list(found.into_iter().map(bean).collect());
        let required = self.fields.get("requisiteStageRefIds");
        Some(match name {
            "ancestors" => all(ancestors(heir)),
            "directAncestors" => all(lineage(heir)),
            "downstreamStages" => all(downstream(heir, false)),
            "allDownstreamStages" => all(downstream(heir, true)),
            "getTopLevelStage" => lineage(heir).pop().map_or(Val::Null, bean),
            "getParent" => lineage(heir).get(1).copied().map_or(Val::Null, bean),
            "isJoin" => Val::Bool(
                required
                    .and_then(Value::as_array)
                    .is_some_and(|list| list.len() > 1),
            ),
            "isManualJudgmentType" => {
                Val::Bool(field(self.fields, "type") == Some("manualJudgment"))
            }
            _ => return None,
        })
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

fn plain(field: Option<&Value>) -> Val<'_> {
    field.map_or(Val::Null, Val::from_json)
}

fn flag(field: Option<&Value>) -> Val<'_> {
    field.map_or(Val::Bool(false), Val::from_json)
}

fn status(field: Option<&Value>) -> Val<'_> {
    let name = field.and_then(Value::as_str);
    name.map_or(Val::Null, |name| {
        Val::Enum(EnumKind::Status, Text::Ref(name))
    })
}

fn object(field: Option<&Value>, kind: BeanKind) -> Val<'_> {
    match field.and_then(Value::as_object) {
        Some(fields) => Val::Bean(Bean::new(kind, fields)),
        None => Val::Null,
    }
}

fn objects(field: Option<&Value>, kind: BeanKind) -> Val<'_> {
    let list = field.and_then(Value::as_array).into_iter().flatten();
    let fields = list.filter_map(Value::as_object);
    Val::list(
        fields
            .map(|fields| Val::Bean(Bean::new(kind, fields)))
            .collect(),
    )
}
