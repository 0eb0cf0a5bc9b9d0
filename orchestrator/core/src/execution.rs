//! Executions: their JSON, their parts in the store, and the questions the
//! engine asks of their graph.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::{ExecutionId, PipelineConfigId, RefId, StageId};
use crate::stage::{Owner, Stage};
use crate::stages::Stages;
use crate::status::Status;
use crate::trigger::Trigger;

/// A run of a pipeline, or of an ad-hoc list of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ExecutionType {
    /// `/pipelines/<id>`
    #[default]
    Pipeline,
    /// `/tasks/<id>`
    Orchestration,
}

impl ExecutionType {
    /// The name in references and indexes.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Pipeline => "pipelines",
            Self::Orchestration => "tasks",
        }
    }
}

/// One pause; an execution may have had several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pause {
    /// Who.
    pub paused_by: String,
    /// When, ms since the epoch.
    pub pause_time: i64,
    /// Who ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_by: Option<String>,
    /// When it ended, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_time: Option<i64>,
}

/// An execution (`orca: PipelineExecution`). Null properties are omitted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Execution {
    /// Kind.
    #[serde(rename = "type")]
    pub kind: ExecutionType,
    /// Id.
    pub id: ExecutionId,
    /// Id of the one that stands above all that started one another down to it; its own
    /// if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_id: Option<ExecutionId>,
    /// Whose it is.
    pub application: String,
    /// Name of the pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Description of an orchestration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it was submitted, ms since the epoch.
    pub build_time: i64,
    /// When it became RUNNING, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<i64>,
    /// When it ended, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<i64>,
    /// It is cancelled if it would start later, ms since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time_expiry: Option<i64>,
    /// Where it stands.
    pub status: Status,
    /// Somebody asked for its end.
    pub canceled: bool,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancellation_reason: Option<String>,
    /// One at a time of this pipeline.
    pub limit_concurrent: bool,
    /// So many at a time, if above 0.
    pub max_concurrent_executions: i64,
    /// Those that wait for their turn stay when a newer one comes.
    pub keep_waiting_pipelines: bool,
    /// In served order.
    #[serde(skip_serializing_if = "Stages::is_empty")]
    pub stages: Stages,
    /// What started it.
    pub trigger: Trigger,
    /// On whose behalf: `{user, allowedAccounts}`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub authentication: Map<String, Value>,
    /// Who sent it: `api`, `ui`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The pipeline it is a run of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_config_id: Option<PipelineConfigId>,
    /// The template it was made from: `{id, type, version}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Value>,
    /// Notifications of the pipeline.
    pub notifications: Vec<Value>,
    /// Configuration of a templated pipeline.
    pub initial_config: Map<String, Value>,
    /// Notices for people: `[{createdAt, group, message, closed}]`.
    pub system_notifications: Vec<Value>,
    /// Evaluator version: `v3` or `v4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spel_evaluator: Option<String>,
    /// Variables of a templated pipeline.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub template_variables: Map<String, Value>,
    /// Why it could not begin, if it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Its pauses. Engine's own; the last one is served as `paused`.
    #[serde(rename = "_pauses", skip_serializing_if = "Vec::is_empty")]
    pub pauses: Vec<Pause>,
    /// Its pipeline gate let it in. Engine's own, not served.
    #[serde(rename = "_admitted")]
    pub admitted: bool,
    /// It did not pass its pipeline's gate, which counts it all the same. Engine's own, not served.
    #[serde(rename = "_joined", skip_serializing_if = "no")]
    pub joined: bool,
    /// Losses of the store's shard that it knows of. Engine's own, not served.
    #[serde(rename = "_losses", skip_serializing_if = "zero")]
    pub losses: u64,
    /// Schema of the stored form. Engine's own, not served.
    #[serde(rename = "_schema")]
    pub schema: u32,
    /// Order of stages in the stored form. Engine's own, not served.
    #[serde(rename = "_order", skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<StageId>,
    /// What only a newer version knows: it is kept when this one writes.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn no(flag: &bool) -> bool {
    !flag
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn zero(count: &u64) -> bool {
    *count == 0
}

impl Execution {
    /// The stored form's schema number that this build writes. Fields may come without a new number, for who
    /// does not know them keeps them; whatever an older version would misread takes one.
    pub const SCHEMA: u32 = 1;

    /// The schema number of a stored header, where this build must not read it.
    pub fn newer_schema(header: &[u8]) -> Option<u32> {
        #[derive(Deserialize)]
        struct Schema {
            #[serde(rename = "_schema")]
            number: u32,
        }
        let found: Schema = serde_json::from_slice(header).ok()?;
        (found.number > Self::SCHEMA).then_some(found.number)
    }

    /// The part of the store's document that holds a stage.
    pub fn part(stage: &StageId) -> String {
        format!("s:{stage}")
    }

    /// The header as stored, part `h`: everything but the stages, with their order.
    pub fn header_json(&self) -> Value {
        let mut header = serde_json::to_value(self.without_stages()).unwrap_or_default();
        if let Some(object) = header.as_object_mut() {
            let order: Vec<&str> = self.stages.iter().map(|s| s.id.as_str()).collect();
            object.insert("_order".to_owned(), order.into());
            // What is new has none yet.
            let schema = if self.schema == 0 {
                Self::SCHEMA
            } else {
                self.schema
            };
            object.insert("_schema".to_owned(), schema.into());
        }
        header
    }

    /// A copy of everything but the stages.
    pub(crate) fn without_stages(&self) -> Self {
        Self {
            stages: Stages::default(),
            ..self.clone()
        }
    }

    /// An execution from its header and its stages, in any order.
    ///
    /// # Errors
    /// When the header is not one, or a stage it names is missing.
    pub fn from_parts(header: &str, stages: Vec<Stage>) -> Result<Self, String> {
        Self::from_shared(header, stages.into_iter().map(Arc::new).collect())
    }

    /// The same of stages that others share.
    ///
    /// # Errors
    /// When the header is not one, or a stage it names is missing.
    pub fn from_shared(header: &str, stages: Vec<Arc<Stage>>) -> Result<Self, String> {
        let mut execution: Self =
            serde_json::from_str(header).map_err(|e| format!("execution header: {e}"))?;
        let mut stages: std::collections::BTreeMap<_, _> =
            stages.into_iter().map(|s| (s.id.clone(), s)).collect();
        let found = std::mem::take(&mut execution.order).into_iter().map(|id| {
            let stage = stages.remove(&id);
            stage.ok_or_else(|| format!("stage {id} is missing"))
        });
        execution.stages = found.collect::<Result<Stages, String>>()?;
        Ok(execution)
    }

    /// The execution as clients see it: null fields are left out, however deep, and
    /// so are the engine's own.
    pub fn to_json(&self) -> Value {
        let stages: Vec<Value> = self.stages.iter().map(Stage::to_json).collect();
        let mut value = self.header_json();
        if let Some(object) = value.as_object_mut() {
            object.retain(|key, _| !key.starts_with('_'));
            object.values_mut().for_each(without_nulls);
            object.insert("stages".to_owned(), stages.into());
            if let Some(pause) = self.pauses.last() {
                object.insert("paused".to_owned(), paused_json(pause));
            }
        }
        value
    }

    /// A stage by id.
    pub fn stage(&self, id: &StageId) -> Option<&Stage> {
        self.stages.iter().find(|s| s.id == *id)
    }

    /// A stage by refId.
    pub fn stage_by_ref(&self, id: &RefId) -> Option<&Stage> {
        self.stages.iter().find(|s| s.ref_id == *id)
    }

    /// Stages of the user's.
    pub fn top_level(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter().filter(|s| !s.is_synthetic())
    }

    /// Direct synthetic stages of a stage, on one side or both.
    pub fn synthetics<'a>(
        &'a self,
        parent: &'a StageId,
        owner: Option<Owner>,
    ) -> impl Iterator<Item = &'a Stage> {
        self.stages.iter().filter(move |s| {
            s.parent_stage_id.as_ref() == Some(parent)
                && (owner.is_none() || s.synthetic_stage_owner == owner)
        })
    }

    /// Which of its lives this is: every restart of a stage begins another.
    pub fn life(&self) -> u32 {
        self.top_level().map(|stage| stage.attempt).sum()
    }

    /// All synthetic stages below a stage.
    pub fn descendants(&self, parent: &StageId) -> Vec<StageId> {
        let mut found: Vec<StageId> = Vec::new();
        let mut open = vec![parent.clone()];
        while let Some(at) = open.pop() {
            for child in self.synthetics(&at, None) {
                found.push(child.id.clone());
                open.push(child.id.clone());
            }
        }
        found
    }

    /// Stages that must be over before this one. Of two with the same refId both,
    /// as in Orca; requisites name siblings only.
    pub fn upstream<'a>(&'a self, stage: &'a Stage) -> impl Iterator<Item = &'a Stage> {
        self.stages.iter().filter(move |s| {
            s.parent_stage_id == stage.parent_stage_id
                && stage.requisite_stage_ref_ids.contains(&s.ref_id)
        })
    }

    /// Stages that wait for this one.
    pub fn downstream<'a>(&'a self, stage: &'a Stage) -> impl Iterator<Item = &'a Stage> {
        self.stages.iter().filter(move |s| {
            s.parent_stage_id == stage.parent_stage_id
                && s.requisite_stage_ref_ids.contains(&stage.ref_id)
        })
    }

    /// The top-level stage that a stage belongs to.
    pub fn top_of<'a>(&'a self, stage: &'a Stage) -> &'a Stage {
        let mut at = stage;
        for _ in 0..self.stages.len() {
            match at.parent_stage_id.as_ref().and_then(|p| self.stage(p)) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        at
    }

    /// A stage and what it sees, nearest first: upstream stages with their
    /// synthetics, or, without upstream, its parent's side.
    pub fn ancestors<'a>(&'a self, stage: &'a Stage) -> Vec<&'a Stage> {
        let mut found: Vec<&Stage> = vec![stage];
        let mut next = 0;
        while let Some(at) = found.get(next).copied() {
            next += 1;
            let mut more: Vec<&Stage> = Vec::new();
            if at.requisite_stage_ref_ids.is_empty() {
                if let Some(parent) = at.parent_stage_id.as_ref().and_then(|p| self.stage(p)) {
                    if at.synthetic_stage_owner == Some(Owner::StageAfter) {
                        more.extend(self.synthetics(&parent.id, Some(Owner::StageBefore)));
                    }
                    more.push(parent);
                }
            } else {
                for upstream in self.upstream(at) {
                    more.push(upstream);
                    let below = self.descendants(&upstream.id);
                    more.extend(below.iter().filter_map(|id| self.stage(id)));
                }
            }
            for stage in more {
                if !found.iter().any(|f| f.id == stage.id) {
                    found.push(stage);
                }
            }
        }
        found
    }

    /// A key as a stage sees it: its own value (even null), else the first output
    /// among its ancestors, nearest first.
    pub fn lookup<'a>(&'a self, stage: &'a Stage, key: &str) -> Option<&'a Value> {
        stage.context.get(key).or_else(|| {
            self.ancestors(stage)
                .into_iter()
                .find_map(|ancestor| ancestor.outputs.get(key))
        })
    }

    /// The user it runs for.
    pub fn user(&self) -> &str {
        self.authentication
            .get("user")
            .and_then(Value::as_str)
            .unwrap_or("anonymous")
    }

    /// The latest time recorded in it: no later record may be earlier.
    pub(crate) fn latest(&self) -> i64 {
        let stages = self.stages.iter().flat_map(|stage| {
            let tasks = stage.tasks.iter().flat_map(|t| [t.start_time, t.end_time]);
            tasks.chain([stage.start_time, stage.end_time])
        });
        let pauses = self
            .pauses
            .iter()
            .flat_map(|p| [Some(p.pause_time), p.resume_time]);
        let own = [Some(self.build_time), self.start_time, self.end_time];
        stages.chain(pauses).chain(own).flatten().max().unwrap_or(0)
    }

    /// Time it was paused after an instant, in ms, all pauses counted.
    ///
    /// Differs from Spinnaker: Orca counts only the last pause, so an execution
    /// that was paused twice timed out too early.
    pub fn paused_since(&self, since: i64, now: i64) -> i64 {
        self.pauses
            .iter()
            .map(|p| p.resume_time.unwrap_or(now).max(since) - p.pause_time.max(since))
            .map(|ms| ms.max(0))
            .sum()
    }
}

/// Leaves null fields out of objects (`orca: OrcaObjectMapper`, inclusion
/// `NON_NULL`); nulls in lists stay.
pub(crate) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn paused_json(pause: &Pause) -> Value {
    let mut value = serde_json::to_value(pause).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.insert("paused".to_owned(), pause.resume_time.is_none().into());
        let ms = pause.resume_time.map_or(0, |end| end - pause.pause_time);
        object.insert("pausedMs".to_owned(), ms.into());
    }
    value
}
