//! One turn of the engine over one subject: messages, and what they lead to at
//! once, handled in memory; then one commit.
//!
//! Pure: clock, ids and answers come in, everything the turn causes goes out.
//! The truth about what follows from a message is `orchestrator-core`'s.

use std::collections::{BTreeSet, VecDeque};

use orchestrator_core::{
    Answers, Effects, Env, Event, Execution, IdSource, Lookup, Message, Mode, Outcome, Outgoing,
    PipelineGate, Reason, Settings, StageCatalog, StageId, Subject, Target, TaskError, TaskResult,
    TaskRun, Write, foreign_type, handle, task_finished,
};
use serde_json::Value;
use store::Version;

use crate::digest::Digest;
use crate::large::Stored;
use crate::record::input;

/// A subject as loaded: what a turn begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The subject.
    pub subject: Subject,
    /// The version its document was read at; 0: it does not exist yet.
    pub version: Version,
    /// Answers to look-ups that were recorded for it.
    pub answers: Answers,
    /// Its application.
    pub application: String,
    /// Hash of the state; none if it is not known yet: then the next commit makes it out.
    pub digest: Option<Digest>,
    /// What is known of it as it is stored.
    pub stored: Stored,
}

impl Loaded {
    /// The execution; none for a gate.
    pub fn execution(&self) -> Option<&Execution> {
        match &self.subject {
            Subject::Execution(execution) => Some(execution),
            Subject::PipelineGate(_) => None,
        }
    }
}

/// Something to handle.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A message.
    Message(Message),
    /// A worker's answer.
    Finished(TaskRun, Result<TaskResult, TaskError>),
    /// What a person's command decided already.
    Decided(Effects),
}

/// How far a turn goes before it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps at the most.
    pub steps: usize,
    /// Bytes of changed stages, about.
    pub bytes: usize,
    /// Changed stages, and messages; one step may add a hundred more.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 64,
            bytes: 256 * 1024,
            entries: 300,
        }
    }
}

/// Answers a task that needs nobody outside; none for any other.
pub type Decide<'a> = &'a dyn Fn(&TaskRun, &Execution) -> Option<Result<TaskResult, TaskError>>;

/// What a turn is given beside the subject.
pub struct Around<'a> {
    /// Now, ms since the epoch.
    pub now: i64,
    /// Source of ids.
    pub ids: &'a mut dyn IdSource,
    /// The catalogue.
    pub stages: &'a dyn StageCatalog,
    /// The engine's settings.
    pub settings: &'a Settings,
    /// Answers of tasks that need nobody outside.
    pub decide: Decide<'a>,
    /// How far to go.
    pub limits: Limits,
    /// Whether there is time for another step.
    pub in_time: &'a dyn Fn() -> bool,
}

/// Everything a turn causes.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The subject afterwards.
    pub subject: Subject,
    /// The clock it was decided by, ms since the epoch.
    pub now: i64,
    /// What was handled, for the log.
    pub inputs: Vec<Value>,
    /// How many of these the turn began with.
    pub given: usize,
    /// Fresh ids that were used.
    pub ids: Vec<String>,
    /// Messages for mailboxes.
    pub messages: Vec<Outgoing>,
    /// Events.
    pub events: Vec<Event>,
    /// Task runs.
    pub runs: Vec<TaskRun>,
    /// Stages that changed.
    pub touched: BTreeSet<StageId>,
    /// Stages that went.
    pub removed: BTreeSet<StageId>,
    /// The header, or the gate, changed.
    pub header: bool,
    /// Messages that had nothing to do, and why.
    pub ignored: Vec<(&'static str, Reason)>,
}

impl Turn {
    /// Whether anything is to be written.
    pub fn changes(&self) -> bool {
        self.header || !self.touched.is_empty() || !self.removed.is_empty()
    }
}

/// Handles steps, and the messages to the subject itself that follow from them at
/// once, until nothing is left or a limit is reached; what is left then is sent.
///
/// # Errors
/// The look-ups to make first: then everything is asked again.
pub fn take(
    loaded: &Loaded,
    steps: Vec<Step>,
    around: &mut Around<'_>,
) -> Result<Turn, Vec<Lookup>> {
    let mut ids = Noted {
        source: &mut *around.ids,
        used: Vec::new(),
    };
    let mut noting = Around {
        ids: &mut ids,
        ..*around
    };
    let mut turn = take_noting(loaded, steps, &mut noting)?;
    turn.ids = ids.used;
    Ok(turn)
}

/// Notes the ids that are given out.
struct Noted<'a> {
    source: &'a mut dyn IdSource,
    used: Vec<String>,
}

impl IdSource for Noted<'_> {
    fn next_id(&mut self) -> String {
        let id = self.source.next_id();
        self.used.push(id.clone());
        id
    }

    fn derived_id(&mut self, at: i64, purpose: &str) -> String {
        let id = self.source.derived_id(at, purpose);
        self.used.push(id.clone());
        id
    }
}

fn take_noting(
    loaded: &Loaded,
    steps: Vec<Step>,
    around: &mut Around<'_>,
) -> Result<Turn, Vec<Lookup>> {
    let mut turn = Turn {
        subject: loaded.subject.clone(),
        now: around.now,
        inputs: Vec::new(),
        given: 0,
        ids: Vec::new(),
        messages: Vec::new(),
        events: Vec::new(),
        runs: Vec::new(),
        touched: BTreeSet::new(),
        removed: BTreeSet::new(),
        header: false,
        ignored: Vec::new(),
    };
    let given = steps.len();
    let mut open: VecDeque<Step> = steps.into();
    let (mut taken, mut bytes) = (0, 0);
    let mut left = Vec::new();
    while let Some(step) = open.pop_front() {
        let limits = around.limits;
        let full = taken >= limits.steps || bytes >= limits.bytes || !(around.in_time)();
        // One commit holds so many changes and so many messages, and no more.
        let crowded = turn.touched.len() + turn.removed.len() >= limits.entries
            || turn.messages.len() + open.len() >= limits.entries;
        // What was given is handled and what followed may be left for later; messages of
        // either kind can be sent once more.
        let later = crowded && taken > 0 && matches!(step, Step::Message(_));
        if later || taken >= given && (full || crowded) {
            open.push_front(step);
            break;
        }
        // What this version does not know, another one may: then it is not decided along the way.
        let execution = match &turn.subject {
            Subject::Execution(execution) if taken >= given => Some(execution),
            _ => None,
        };
        if let (Step::Message(message), Some(execution)) = (&step, execution)
            && foreign_type(message, execution, around.stages).is_some()
        {
            left.push(step);
            continue;
        }
        taken += 1;
        turn.given = taken.min(given);
        turn.inputs.push(input(&step, &loaded.subject));
        let outcome = decide(&step, &turn.subject, &loaded.answers, around);
        let effects = match outcome {
            Outcome::Needs(lookups) => return Err(lookups),
            Outcome::Ignored(reason) => {
                turn.ignored.push((name(&step), reason));
                continue;
            }
            Outcome::Done(effects) => *effects,
        };
        bytes += absorb(&mut turn, effects, &mut open, loaded, around)?;
    }
    for step in left.into_iter().chain(open) {
        if let (Step::Message(message), Some(to)) = (step, own(&turn.subject)) {
            turn.messages.push(Outgoing {
                to,
                message,
                mode: Mode::Push,
                delay_ms: 0,
            });
        }
    }
    Ok(turn)
}

fn decide(step: &Step, subject: &Subject, answers: &Answers, around: &mut Around<'_>) -> Outcome {
    let mut env = Env {
        now: around.now,
        ids: &mut *around.ids,
        answers,
        stages: around.stages,
        settings: around.settings,
    };
    match (step, subject) {
        (Step::Message(message), subject) => handle(message, subject, &mut env),
        (Step::Finished(run, result), Subject::Execution(execution)) => {
            task_finished(run, result.clone(), execution, &mut env)
        }
        (Step::Finished(..), Subject::PipelineGate(_)) => Outcome::Ignored(Reason::WrongSubject),
        (Step::Decided(effects), _) => Outcome::Done(Box::new(effects.clone())),
    }
}

/// Applies effects to the turn; what follows at once is opened. Answers about how
/// many bytes changed.
fn absorb(
    turn: &mut Turn,
    effects: Effects,
    open: &mut VecDeque<Step>,
    loaded: &Loaded,
    around: &mut Around<'_>,
) -> Result<usize, Vec<Lookup>> {
    let mut bytes = 0;
    turn.subject.apply(&effects);
    for write in &effects.writes {
        match write {
            Write::Header(..) | Write::Gate(_) => turn.header = true,
            Write::Stage(stage) => {
                turn.removed.remove(&stage.id);
                turn.touched.insert(stage.id.clone());
                bytes += weight(&stage.context) + weight(&stage.outputs);
            }
            Write::RemoveStage(id) => {
                turn.touched.remove(id);
                turn.removed.insert(id.clone());
            }
        }
    }
    turn.events.extend(effects.events);
    let own = own(&turn.subject);
    for outgoing in effects.messages {
        let folds = outgoing.delay_ms == 0
            && matches!(outgoing.mode, Mode::Push | Mode::Ensure)
            && Some(&outgoing.to) == own.as_ref();
        if !folds {
            turn.messages.push(outgoing);
            continue;
        }
        if waits_in_store(&outgoing.message, &turn.subject) {
            // It takes the place of one that waits for its time.
            turn.messages.push(Outgoing {
                mode: Mode::Remove,
                ..outgoing.clone()
            });
        }
        open.push_back(Step::Message(outgoing.message));
    }
    if let Some(run) = effects.run {
        let execution = match &turn.subject {
            Subject::Execution(execution) => execution,
            Subject::PipelineGate(_) => return Ok(bytes),
        };
        match (around.decide)(&run, execution) {
            None => turn.runs.push(run),
            Some(result) => {
                let step = Step::Finished(run, result);
                let mut input = input(&step, &loaded.subject);
                input["folded"] = Value::Bool(true);
                turn.inputs.push(input);
                match decide(&step, &turn.subject, &loaded.answers, around) {
                    Outcome::Needs(lookups) => return Err(lookups),
                    Outcome::Ignored(reason) => turn.ignored.push((name(&step), reason)),
                    // A task's answer never hands out another run.
                    Outcome::Done(effects) => {
                        bytes += absorb(turn, *effects, open, loaded, around)?
                    }
                }
            }
        }
    }
    Ok(bytes)
}

/// Whether an equal message may wait for its time: only tasks that are asked
/// again have such.
fn waits_in_store(message: &Message, subject: &Subject) -> bool {
    let Subject::Execution(execution) = subject else {
        return false;
    };
    let Message::RunTask { stage_id, task_id } = message else {
        return false;
    };
    execution
        .stage(stage_id)
        .and_then(|stage| stage.task(task_id))
        .is_some_and(|task| task.runs > 0)
}

/// The mailbox of a subject.
fn own(subject: &Subject) -> Option<Target> {
    match subject {
        Subject::Execution(execution) => Some(Target::Execution(execution.id.clone())),
        Subject::PipelineGate(PipelineGate {
            pipeline_config_id, ..
        }) => Some(Target::Gate(pipeline_config_id.clone())),
    }
}

/// A cheap measure of JSON: its texts and its entries.
pub(crate) fn weight(map: &serde_json::Map<String, Value>) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => items.iter().map(of).sum::<usize>() + 2,
            Value::Object(map) => weight(map),
            Value::Null | Value::Bool(_) | Value::Number(_) => 6,
        }
    }
    map.iter()
        .map(|(key, value)| key.len() + 4 + of(value))
        .sum::<usize>()
        + 2
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Message(message) => message.kind(),
        Step::Finished(..) => "taskFinished",
        Step::Decided(_) => "command",
    }
}
