//! `operations`: several operations as one, performed one after another; the
//! first that fails ends it, and what those before it did stays.
//!
//! Input: `operations`, a list of `{kind: input}` as `clouddriver: POST /ops` takes
//! it. Differs from Spinnaker: there the operations after a failed one still run.

use proto::status::FieldError;
use serde_json::{Map, Value, json};

use super::create_server_groups;
use super::run_job::RunJob;
use super::{Changes, Completion, Fault, Input, Kind, Memory, Phase, Planning, Refused, input};
use crate::config::Config;

/// The kind.
#[derive(Debug)]
pub(crate) struct Sequence;

/// Most operations of one.
const MOST: usize = 100;

struct Part {
    kind: &'static dyn Kind,
    input: Input,
}

fn part(n: usize, value: &Value) -> Result<Part, Fault> {
    let path = format!("operations[{n}]");
    let (name, value) = match value.as_object().map(|o| (o.len(), o.iter().next())) {
        Some((1, Some(entry))) => entry,
        _ => {
            let message = "must be an object of one field, the operation's kind";
            return Err(input::fault(path, message));
        }
    };
    // A job stands alone: it moves no groups, and may take hours.
    let alone = |kind: &dyn Kind| [Sequence.name(), RunJob.name()].contains(&kind.name());
    let kind = super::kind(name).filter(|kind| !alone(*kind));
    let kind = kind.ok_or_else(|| {
        let name: String = name.chars().take(64).collect();
        input::fault(
            path.clone(),
            format!("\"{name}\" is no kind of operation that can be one of several"),
        )
    })?;
    Ok(Part {
        kind,
        input: Input::of(value.clone())?,
    })
}

fn parts(input: &Input) -> Result<Vec<Part>, Fault> {
    let value = input.value();
    match value.get("operations") {
        Some(Value::Array(list)) if (1..=MOST).contains(&list.len()) => list
            .iter()
            .enumerate()
            .map(|(n, one)| part(n, one))
            .collect(),
        _ => Err(input::fault(
            "operations",
            format!("must be a list of 1 to {MOST} operations"),
        )),
    }
}

/// The input that says what a sequence, or a creation of several groups, is about: that of its first.
pub(crate) fn first_input(input: &Input) -> Option<Input> {
    let first = inputs(input).into_iter().next();
    first.filter(|first| first != input)
}

/// The inputs of all of them; the input itself where it is neither.
pub(crate) fn inputs(input: &Input) -> Vec<Input> {
    let each = match parts(input) {
        Ok(parts) => parts.into_iter().map(|part| part.input).collect(),
        Err(_) => vec![input.clone()],
    };
    let groups = |one: Input| create_server_groups::parts(&one).unwrap_or_else(|_| vec![one]);
    each.into_iter().flat_map(groups).collect()
}

/// Which operation it is at, since which phase, and what that one remembers.
struct Progress {
    at: usize,
    since: u32,
    own: Memory,
    result: Map<String, Value>,
}

impl Progress {
    fn of(memory: &Memory) -> Self {
        let number = |key: &str| memory.get(key).and_then(Value::as_u64).unwrap_or(0);
        let object = |key: &str| {
            let value = memory.get(key).and_then(Value::as_object);
            value.cloned().unwrap_or_default()
        };
        Self {
            at: usize::try_from(number("at")).unwrap_or(usize::MAX),
            since: u32::try_from(number("since")).unwrap_or(u32::MAX),
            own: object("own"),
            result: object("result"),
        }
    }

    fn memory(&self, own: Memory) -> Memory {
        let memory = json!({
            "at": self.at, "since": self.since, "own": own, "result": self.result,
        });
        memory.as_object().cloned().unwrap_or_default()
    }
}

/// One operation's circumstances; its id makes its instances its own.
fn circumstances<'a>(
    planning: &Planning<'a>,
    id: &'a str,
    part: &'a Part,
    memory: &'a Memory,
) -> Planning<'a> {
    Planning {
        operation: id,
        input: &part.input,
        config: planning.config,
        everything: planning.everything,
        dead: planning.dead,
        serving: planning.serving,
        memory,
        now_ms: planning.now_ms,
    }
}

fn id_of(planning: &Planning<'_>, at: usize) -> String {
    format!("{}/{at}", planning.operation)
}

fn add(to: &mut Changes, more: Changes) {
    to.groups.extend(more.groups);
    to.gone.extend(more.gone);
    to.balancers.extend(more.balancers);
}

impl Kind for Sequence {
    fn name(&self) -> &'static str {
        "operations"
    }

    fn check(&self, input: &Input, config: &Config) -> Vec<Fault> {
        let parts = match parts(input) {
            Ok(parts) => parts,
            Err(fault) => return vec![fault],
        };
        let within = |n: usize, fault: FieldError| {
            input::fault(format!("operations[{n}].{}", fault.path), fault.message)
        };
        parts
            .iter()
            .enumerate()
            .flat_map(|(n, part)| {
                let faults = part.kind.check(&part.input, config).into_iter();
                faults.map(move |fault| within(n, fault))
            })
            .collect()
    }

    fn phase(&self, number: u32, planning: &Planning<'_>) -> Result<Option<Phase>, Refused> {
        let parts = parts(planning.input)?;
        let mut progress = Progress::of(planning.memory);
        let mut changes = Changes::default();
        while let Some(part) = parts.get(progress.at) {
            let id = id_of(planning, progress.at);
            let own = progress.own.clone();
            let circumstances = circumstances(planning, &id, part, &own);
            if let Some(phase) = part.kind.phase(number - progress.since, &circumstances)? {
                add(&mut changes, phase.changes);
                return Ok(Some(Phase {
                    changes,
                    rollout: phase.rollout,
                    memory: progress.memory(phase.memory),
                }));
            }
            let done = part.kind.complete(&circumstances);
            add(&mut changes, done.changes);
            progress.result.extend(done.result);
            progress.at += 1;
            progress.since = number;
            progress.own = Memory::new();
        }
        // What the last ones leave behind is written by `complete`.
        Ok(None)
    }

    fn complete(&self, planning: &Planning<'_>) -> Completion {
        let mut progress = Progress::of(planning.memory);
        let mut completion = Completion::default();
        for (n, part) in parts(planning.input)
            .unwrap_or_default()
            .iter()
            .enumerate()
            .skip(progress.at)
        {
            let id = id_of(planning, n);
            let own = std::mem::take(&mut progress.own);
            let done = part
                .kind
                .complete(&circumstances(planning, &id, part, &own));
            add(&mut completion.changes, done.changes);
            progress.result.extend(done.result);
        }
        completion.result = progress.result;
        completion
    }

    fn abandon(&self, planning: &Planning<'_>) -> Changes {
        let progress = Progress::of(planning.memory);
        let parts = parts(planning.input).unwrap_or_default();
        let Some(part) = parts.get(progress.at) else {
            return Changes::default();
        };
        let id = id_of(planning, progress.at);
        part.kind
            .abandon(&circumstances(planning, &id, part, &progress.own))
    }
}
