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
//! | | `d` | a version, and the hash of the state at it |
//! | `execution-log:<id>` | `<version>` | what that commit handled and what it changed |
//! | `gate:<pipelineConfigId>` | `h` | who runs and who waits |
//!
//! [Large values](crate::large) of an execution and of its log are blobs of `execution:<id>`.

mod entry;

use std::collections::BTreeMap;

use bytes::Bytes;
use orchestrator_core::ExecutionType;
use orchestrator_core::{
    Answers, Execution, Message, Mode, NOBODYS, Outgoing, PipelineConfigId, StageId, Subject,
    Target, TaskRun,
};
use proto::message::{PIPELINE_COMPLETED, PipelineCompleted};
use serde_json::{Value, json};
use store::{
    Address, Batch, Delivery, DocumentKey, Guard, IndexChange, MAILBOX, Shard, Then, Version,
};

use crate::digest::Digest;
use crate::large::{self, Part, Putting, Stored};
use crate::notification::plan;
use crate::replay::Fold;
use crate::size::TooLarge;
use crate::task::{self, Pool};
use crate::turn::{Loaded, Turn};

pub(crate) use entry::digest_of_state;
use entry::{changed, log_entry, written};

/// The part with an execution's header, or a gate.
pub const HEADER: &str = "h";
/// The part with answers to look-ups.
pub const ANSWERS: &str = "a";
/// The part with the hash of the others.
pub const DIGEST: &str = "d";

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
    /// Who decided, see [`record::engine`].
    pub engine: &'a str,
    /// How large an execution may be, in bytes.
    pub limit: usize,
}

/// A batch, and the values it refers to, which must be there first.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The batch.
    pub batch: Batch,
    /// Large values of the execution, by the hash that the batch names.
    pub blobs: BTreeMap<String, Bytes>,
    /// What is known of the execution as it is stored once this is committed.
    pub stored: Stored,
    /// Stages with large values as this stores them.
    pub texts: Vec<(StageId, Bytes, Part)>,
    /// The execution would become larger than it may.
    pub too_large: Option<TooLarge>,
    /// Hash of the execution once this is committed; none if nothing of one changes.
    pub digest: Option<Digest>,
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
        blobs: BTreeMap::new(),
        stored: loaded.stored.clone(),
        texts: Vec::new(),
        too_large: None,
        digest: None,
    };
    if loaded.version == 0 && matches!(loaded.subject, Subject::Execution(_)) {
        prepared.batch = prepared.batch.new_work();
    }
    if let Some(Acknowledge { delivery, then }) = writing.acknowledge {
        prepared.batch = prepared.batch.acknowledge(delivery, then);
    }
    let changes = changes(loaded, turn, writing);
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

fn changes(loaded: &Loaded, turn: &Turn, writing: &Writing<'_>) -> bool {
    turn.changes() || loaded.version == 0 || !writing.answers.is_empty()
}

/// What the log keeps of a turn, and the hash it leads to; none if it changes nothing of an execution.
pub fn entry(loaded: &Loaded, turn: &Turn, writing: &Writing<'_>) -> Option<(Value, Digest)> {
    match (&loaded.subject, &turn.subject) {
        (Subject::Execution(before), Subject::Execution(after))
            if changes(loaded, turn, writing) =>
        {
            let changed = changed(loaded, before, after, turn, writing);
            let digest = written(loaded, before, &changed, &mut Putting::default()).digest;
            let entry = log_entry(&changed, loaded, digest, turn, writing);
            Some((entry.into(), digest))
        }
        _ => None,
    }
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
    let changed = changed(loaded, before, after, turn, writing);
    let mut putting = Putting::default();
    let written = written(loaded, before, &changed, &mut putting);
    prepared.too_large = written.check(after, &changed, writing.limit).err();
    let digest = written.digest;
    // What the log keeps of the same values is the same blobs.
    let entry = log_entry(&changed, loaded, digest, turn, writing);
    let entry_form = putting.form(&entry);
    let mut aside = putting.aside();
    let entry = large::text(&entry_form, &entry, &mut aside);
    let mut batch = std::mem::replace(&mut prepared.batch, Batch::new(writing.shard, ""));
    batch = batch.document(&key, loaded.version);
    for (part, form) in changed.iter().zip(&written.forms) {
        batch = match (&part.new, form) {
            (Some(new), Some(form)) => {
                let content = large::text(form, new, &mut aside);
                let id = part.name.strip_prefix("s:").map(StageId::new);
                if let Some(id) = id.filter(|_| !form.part.large.is_empty()) {
                    let text = (id, content.clone(), form.part.clone());
                    prepared.texts.push(text);
                }
                batch.set(&part.name, content)
            }
            _ => batch.unset(&part.name),
        };
    }
    batch = batch.set(DIGEST, digest_part(loaded.version + 1, digest));
    for hash in aside.keys() {
        batch = batch.blob(hash);
    }
    (prepared.digest, prepared.stored) = (Some(digest), written.stored);
    prepared.blobs = aside;
    for event in &turn.events {
        batch = batch.event(&key, serde_json::to_vec(event).unwrap_or_default());
    }
    // The log is written by the same commits as the execution, so their versions agree.
    batch = batch
        .document(&log_key(after.id.as_str()), loaded.version)
        .set(&log_part(loaded.version + 1), entry);
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

/// What is hashed of a state: its parts in their [stored form](crate::large). Before this it was their values in
/// their places, and the part did not say so.
const HASHED: u32 = 2;

/// The part that holds the hash of a version: one that was written by who knows nothing of it does not fit.
fn digest_part(version: Version, digest: Digest) -> Bytes {
    text(&json!([version, digest.to_string(), HASHED]))
}

/// The hash that a document's part holds for this version; none if it is of another, or of something else.
pub(crate) fn digest_of(content: &[u8], version: Version) -> Option<Digest> {
    let (of, digest, hashed): (Version, String, u32) = serde_json::from_slice(content).ok()?;
    let fits = of == version && hashed == HASHED;
    fits.then(|| digest.parse().ok()).flatten()
}

/// Rebuilds an execution's header and stages by folding log entries from the
/// first on.
///
/// # Errors
/// When an entry is damaged or the fold gives no execution.
pub fn fold<'a>(entries: impl IntoIterator<Item = &'a Value>) -> Result<Execution, String> {
    let mut fold = Fold::default();
    for entry in entries {
        fold.apply(entry).map_err(|fault| fault.to_string())?;
    }
    fold.execution()
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
    changes.extend(correlated(is_new, was, after));
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

/// What begins the key of the execution that has a correlation id.
pub const CORRELATION: &str = "execution-correlation:";

/// An execution has its correlation id to itself until it ends. One that was begun again
/// does not, for somebody else may have it by now.
fn correlated(is_new: bool, was_complete: bool, execution: &Execution) -> Option<IndexChange> {
    let id = execution.trigger.text("correlationId");
    let id = id.filter(|id| !id.is_empty())?;
    let key = format!("{CORRELATION}{}:{id}", execution.kind.plural());
    let ends = execution.status.is_complete() && !was_complete;
    match (is_new, ends) {
        (true, false) => Some(IndexChange::Claim {
            key,
            value: execution.id.to_string(),
        }),
        (false, true) if execution.stages.iter().all(|stage| stage.attempt == 0) => {
            Some(IndexChange::Free { key })
        }
        (true, true) | (false, _) => None,
    }
}

/// What begins the key of the execution that an event started.
pub const EVENT: &str = "execution-event:";
/// Events of a shard that started executions, by when they came.
pub const EVENTS: &str = "execution-events";

/// A claim of an execution's, with what remembers it so that it ends.
pub fn claimed(claim: IndexChange, now: i64) -> Vec<IndexChange> {
    let event = match &claim {
        IndexChange::Claim { key, .. } => key.strip_prefix(EVENT).map(ToOwned::to_owned),
        _ => None,
    };
    let remembered = event.map(|member| IndexChange::Put {
        index: EVENTS.to_owned(),
        member,
        score: now,
    });
    std::iter::once(claim).chain(remembered).collect()
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
