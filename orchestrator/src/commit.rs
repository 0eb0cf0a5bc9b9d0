//! A turn as one store batch: state, messages, events, task runs, indexes, log and
//! acknowledgement together, guarded by the version that was read.
//!
//! A plain function over values, for the worker and the simulator alike. What an
//! execution's document looks like is decided here and in [`crate::executions`]:
//!
//! | document | part | content |
//! |---|---|---|
//! | `execution:<id>` | `h` | the header, with the order of stages |
//! | | `s:<stageId>` | a stage |
//! | | `a` | answers to look-ups |
//! | `execution-log:<id>` | `<version>` | what that commit handled and what it changed |
//! | `gate:<pipelineConfigId>` | `h` | who runs and who waits |

use std::collections::BTreeMap;

use bytes::Bytes;
use orchestrator_core::ExecutionType;
use orchestrator_core::{
    Answers, Execution, Message, Mode, NOBODYS, Outgoing, PipelineConfigId, Stage, Subject, Target,
    TaskRun,
};
use proto::message::{PIPELINE_COMPLETED, PipelineCompleted};
use serde_json::{Map, Value, json};
use store::{
    Address, Batch, Delivery, DocumentKey, Guard, IndexChange, MAILBOX, Shard, Then, Version, blob,
};

use crate::difference;
use crate::notification::plan;
use crate::task::{self, Pool};
use crate::turn::{Loaded, Turn};

/// The part with an execution's header, or a gate.
pub const HEADER: &str = "h";
/// The part with answers to look-ups.
pub const ANSWERS: &str = "a";

/// What is acknowledged with a turn, and what becomes of the lease.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledge<'a> {
    /// The delivery.
    pub delivery: &'a Delivery,
    /// What follows.
    pub then: Then,
}

/// What a batch is made of beside the turn.
#[derive(Debug, Clone)]
pub struct Writing<'a> {
    /// The shard of the subject.
    pub shard: Shard,
    /// Id of the commit.
    pub id: String,
    /// Now, ms since the epoch.
    pub now: i64,
    /// What is acknowledged.
    pub acknowledge: Option<Acknowledge<'a>>,
    /// For each run of the turn: leased to the committer for so many ms, or none to
    /// leave it to any worker.
    pub leases: Vec<Option<u64>>,
    /// Answers recorded by this turn, beside those it began with.
    pub answers: &'a Answers,
    /// How long a finished execution stays in the store at least, ms.
    pub keep_ms: u64,
}

/// A batch, and the values it refers to, which must be there first.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The batch.
    pub batch: Batch,
    /// Large values, by the hash that the batch names.
    pub blobs: Vec<Bytes>,
}

/// The document of an execution.
pub fn execution_key(id: &str) -> DocumentKey {
    DocumentKey::new("execution", id)
}

/// The document of an execution's log.
pub fn log_key(id: &str) -> DocumentKey {
    DocumentKey::new("execution-log", id)
}

/// The document of a pipeline's gate.
pub fn gate_key(id: &PipelineConfigId) -> DocumentKey {
    DocumentKey::new("gate", id.as_str())
}

/// The mailbox of a target, on behalf of an application.
pub fn mailbox(to: &Target, application: &str) -> Address {
    match to {
        Target::Execution(id) => Address::new(MAILBOX, id.as_str(), application),
        Target::Gate(id) => Address::new(MAILBOX, &format!("gate:{id}"), application),
    }
}

/// The document of a subject.
fn document_key(subject: &Subject) -> DocumentKey {
    match subject {
        Subject::Execution(execution) => execution_key(execution.id.as_str()),
        Subject::PipelineGate(gate) => gate_key(&gate.pipeline_config_id),
    }
}

/// What a mailbox of this subject belongs to.
pub fn target(subject: &str) -> Target {
    match subject.strip_prefix("gate:") {
        Some(id) => Target::Gate(PipelineConfigId::new(id)),
        None => Target::Execution(orchestrator_core::ExecutionId::new(subject)),
    }
}

/// The batch of a turn.
pub fn prepare(loaded: &Loaded, turn: &Turn, writing: &Writing<'_>) -> Prepared {
    let mut prepared = Prepared {
        batch: Batch::new(writing.shard, writing.id.clone()),
        blobs: Vec::new(),
    };
    if loaded.version == 0 && matches!(loaded.subject, Subject::Execution(_)) {
        prepared.batch = prepared.batch.new_work();
    }
    if let Some(Acknowledge { delivery, then }) = writing.acknowledge {
        prepared.batch = prepared.batch.acknowledge(delivery, then);
    }
    let changes = turn.changes() || loaded.version == 0 || !writing.answers.is_empty();
    match (&loaded.subject, &turn.subject) {
        (Subject::Execution(before), Subject::Execution(after)) if changes => {
            execution(&mut prepared, loaded, before, after, turn, writing);
        }
        (_, Subject::PipelineGate(gate)) if changes => {
            let key = gate_key(&gate.pipeline_config_id);
            let batch = prepared.batch.document(&key, loaded.version);
            prepared.batch = batch.set(HEADER, text(&gate.to_json()));
        }
        // Nothing to do is a decision too: it holds only for what was read.
        _ => {
            let key = document_key(&loaded.subject);
            let guard = Guard::Version {
                key,
                expected: loaded.version,
            };
            prepared.batch = prepared.batch.guard(guard);
        }
    }
    for outgoing in &turn.messages {
        prepared.batch = prepared
            .batch
            .message(message(outgoing, &loaded.application));
    }
    for (run, lease_ms) in turn.runs.iter().zip(&writing.leases) {
        prepared.batch = prepared.batch.message(run_message(run, *lease_ms));
    }
    prepared
}

fn execution(
    prepared: &mut Prepared,
    loaded: &Loaded,
    before: &Execution,
    after: &Execution,
    turn: &Turn,
    writing: &Writing<'_>,
) {
    let is_new = loaded.version == 0;
    let key = execution_key(after.id.as_str());
    let mut parts: BTreeMap<String, Option<Bytes>> = BTreeMap::new();
    if turn.header || is_new {
        parts.insert(HEADER.to_owned(), Some(text(&after.header_json())));
    }
    for stage in &after.stages {
        if is_new || turn.touched.contains(&stage.id) {
            parts.insert(
                Execution::part(&stage.id),
                Some(text(&stage_json(stage).into())),
            );
        }
    }
    for id in &turn.removed {
        parts.insert(Execution::part(id), None);
    }
    if !writing.answers.is_empty() {
        let mut all = loaded.answers.clone();
        all.extend(writing.answers.clone());
        parts.insert(ANSWERS.to_owned(), Some(text(&json!(all))));
    }
    let mut batch = std::mem::replace(&mut prepared.batch, Batch::new(writing.shard, ""));
    batch = batch.document(&key, loaded.version);
    for (part, content) in parts {
        batch = match content {
            Some(content) => batch.set(&part, outsource(content, &mut prepared.blobs)),
            None => batch.unset(&part),
        };
    }
    for event in &turn.events {
        batch = batch.event(&key, text(&json!(event)));
    }
    // The log is written by the same commits as the execution, so their versions agree.
    let entry = text(&log_entry(is_new, before, after, turn, writing));
    batch = batch
        .document(&log_key(after.id.as_str()), loaded.version)
        .set(
            &log_part(loaded.version + 1),
            outsource(entry, &mut prepared.blobs),
        );
    for change in indexes(is_new, before, after, writing.now) {
        batch = batch.index(change);
    }
    for planned in plan::plan(after, &turn.events, writing.now) {
        batch = batch.message(planned.message(&loaded.application, 0));
    }
    if after.status.is_complete() && (is_new || !before.status.is_complete()) {
        batch = batch.message(retention(writing.keep_ms));
        if let Some(completed) = completed(after, writing.now) {
            batch = batch.message(completed);
        }
    }
    prepared.batch = batch;
}

/// What tells the triggers that wait for a pipeline that it ended.
fn completed(execution: &Execution, now: i64) -> Option<store::Outgoing> {
    let id = execution.pipeline_config_id.as_ref()?;
    if execution.kind != ExecutionType::Pipeline {
        return None;
    }
    let ended = PipelineCompleted {
        execution_id: execution.id.to_string(),
        pipeline_config_id: id.to_string(),
        status: execution.status.as_str().to_owned(),
        ended_at_ms: execution.end_time.unwrap_or(now),
    };
    let body = serde_json::to_vec(&ended).unwrap_or_default();
    Some(store::Outgoing {
        to: store::Address::new(
            PIPELINE_COMPLETED,
            execution.id.as_str(),
            &execution.application,
        ),
        fingerprint: ended.ended_at_ms.to_string(),
        mode: store::Mode::Ensure,
        delay_ms: 0,
        body: body.into(),
    })
}

/// The part of a log with the commit that made this version.
pub fn log_part(version: Version) -> String {
    format!("{version:010}")
}

/// A stage as stored.
fn stage_json(stage: &Stage) -> Map<String, Value> {
    match serde_json::to_value(stage) {
        Ok(Value::Object(map)) => map,
        // A stage is an object of plain fields, so this cannot happen.
        Ok(_) | Err(_) => Map::new(),
    }
}

fn header_map(execution: &Execution) -> Map<String, Value> {
    match execution.header_json() {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What one commit handled, and the difference it made.
fn log_entry(
    is_new: bool,
    before: &Execution,
    after: &Execution,
    turn: &Turn,
    writing: &Writing<'_>,
) -> Value {
    let mut writes = Map::new();
    if turn.header || is_new {
        let old = if is_new {
            Map::new()
        } else {
            header_map(before)
        };
        if let Some(difference) = difference::between(&old, &header_map(after)) {
            writes.insert(HEADER.to_owned(), difference);
        }
    }
    for stage in &after.stages {
        if !is_new && !turn.touched.contains(&stage.id) {
            continue;
        }
        let old = before.stage(&stage.id).filter(|_| !is_new).map(stage_json);
        let old = old.unwrap_or_default();
        if let Some(difference) = difference::between(&old, &stage_json(stage)) {
            writes.insert(Execution::part(&stage.id), difference);
        }
    }
    for id in &turn.removed {
        writes.insert(Execution::part(id), Value::Null);
    }
    let mut entry = json!({"at": writing.now, "inputs": turn.inputs, "writes": writes});
    if !writing.answers.is_empty() {
        entry["answers"] = json!(writing.answers);
    }
    entry
}

/// Rebuilds an execution's header and stages by folding log entries from the
/// first on.
///
/// # Errors
/// When an entry is damaged or the fold gives no execution.
pub fn fold<'a>(entries: impl IntoIterator<Item = &'a Value>) -> Result<Execution, String> {
    let mut parts: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for entry in entries {
        let writes = entry.get("writes").and_then(Value::as_object);
        for (part, difference) in writes.ok_or("a log entry has no writes")? {
            if difference.is_null() {
                parts.remove(part);
            } else {
                difference::apply(parts.entry(part.clone()).or_default(), difference);
            }
        }
    }
    let header = parts.remove(HEADER).ok_or("the log has no header")?;
    let stages = parts
        .into_values()
        .map(|stage| serde_json::from_value(Value::Object(stage)).map_err(|e| e.to_string()))
        .collect::<Result<Vec<Stage>, String>>()?;
    Execution::from_parts(&Value::Object(header).to_string(), stages)
}

/// Puts a large value aside as a blob.
fn outsource(content: Bytes, blobs: &mut Vec<Bytes>) -> Bytes {
    let (content, aside) = blob::outsource(content);
    blobs.extend(aside);
    content
}

/// The indexes of an execution: by kind, application and pipeline; active or done.
fn indexes(is_new: bool, before: &Execution, after: &Execution, now: i64) -> Vec<IndexChange> {
    let id = after.id.to_string();
    let put = |index: String, score: i64| IndexChange::Put {
        index,
        member: id.clone(),
        score,
    };
    let mut changes = Vec::new();
    if is_new {
        for index in listings(after) {
            changes.push(put(index, after.build_time));
        }
    }
    let (was, is) = (
        !is_new && before.status.is_complete(),
        after.status.is_complete(),
    );
    if is && (is_new || !was) {
        changes.push(put(DONE.to_owned(), after.end_time.unwrap_or(now)));
        if !is_new {
            changes.push(IndexChange::Drop {
                index: active(after),
                member: id.clone(),
            });
        }
    } else if !is && (is_new || was) {
        changes.push(put(active(after), after.build_time));
        if was {
            changes.push(IndexChange::Drop {
                index: DONE.to_owned(),
                member: id.clone(),
            });
        }
    }
    changes
}

/// Complete executions of a shard, by end.
pub const DONE: &str = "executions-done";

/// Executions of a kind, of an application (empty: of the shard), by build time.
pub fn listing(plural: &str, application: &str) -> String {
    if application.is_empty() {
        format!("executions:{plural}")
    } else {
        format!("executions:{plural}:{}", application.to_lowercase())
    }
}

/// Executions of a pipeline, by build time.
pub fn of_pipeline(config: &str) -> String {
    format!("executions-of:{config}")
}

/// Executions that are not complete.
pub fn active(execution: &Execution) -> String {
    active_of(execution.kind.plural(), &execution.application)
}

/// The same by kind and application.
pub fn active_of(plural: &str, application: &str) -> String {
    format!("executions-active:{plural}:{}", application.to_lowercase())
}

/// The listings an execution is in as long as it exists.
pub fn listings(execution: &Execution) -> Vec<String> {
    let plural = execution.kind.plural();
    let mut all = vec![listing(plural, ""), listing(plural, &execution.application)];
    if let Some(config) = &execution.pipeline_config_id {
        all.push(of_pipeline(config.as_str()));
    }
    all
}

/// The queue whose messages take finished executions out of a shard.
pub const RETENTION: &str = "retention";

/// Asks for a look at the finished executions of the shard: one message for all of them.
pub fn retention(delay_ms: u64) -> store::Outgoing {
    store::Outgoing {
        to: Address::new(RETENTION, DONE, NOBODYS),
        fingerprint: "end".to_owned(),
        mode: store::Mode::Ensure,
        delay_ms,
        body: Bytes::new(),
    }
}

/// An engine message as the store takes it.
pub fn message(outgoing: &Outgoing, application: &str) -> store::Outgoing {
    store::Outgoing {
        to: mailbox(&outgoing.to, application),
        fingerprint: outgoing.message.fingerprint(),
        mode: match outgoing.mode {
            Mode::Push => store::Mode::Push,
            Mode::Ensure => store::Mode::Ensure,
            Mode::Reschedule => store::Mode::Reschedule,
            Mode::Remove => store::Mode::Remove,
        },
        delay_ms: outgoing.delay_ms,
        body: encode(&outgoing.message),
    }
}

/// A message as bytes.
pub fn encode(message: &Message) -> Bytes {
    // An enum of texts and numbers always serialises.
    serde_json::to_vec(message).unwrap_or_default().into()
}

/// Where a run waits: each run is a subject of its own, so that none waits for another.
pub fn run_address(run: &TaskRun) -> Address {
    let pool = task::find(&run.task_type).map_or(Pool::Definitions, |t| t.pool());
    let subject = format!("{}#{}", run.effect_id, run.number);
    Address::new(pool.queue(), &subject, &run.application)
}

fn run_message(run: &TaskRun, lease_ms: Option<u64>) -> store::Outgoing {
    store::Outgoing {
        to: run_address(run),
        fingerprint: "run".to_owned(),
        mode: lease_ms.map_or(store::Mode::Push, store::Mode::Leased),
        delay_ms: 0,
        body: serde_json::to_vec(run).unwrap_or_default().into(),
    }
}

fn text(value: &Value) -> Bytes {
    value.to_string().into_bytes().into()
}
