//! The concurrency limit and waiting list of one pipeline: a subject of its own,
//! so that checking and starting is one commit.
//!
//! Differs from Spinnaker: Orca counts RUNNING executions in its store, so two
//! that start at once both see none; and a paused one lets the next begin. The limit
//! that counts is the one that the newest arrival brings, for all that wait.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::execution::Execution;
use crate::ids::{ExecutionId, PipelineConfigId};
use crate::message::Message;
use crate::outcome::{Effects, Mode, Outcome, Outgoing, Reason, Target, Write};

/// Who runs and who waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PipelineGate {
    /// The pipeline.
    pub pipeline_config_id: PipelineConfigId,
    /// How many may run at once, as the execution that came last said; 0: no limit.
    pub limit: i64,
    /// Let in and not over.
    pub running: Vec<ExecutionId>,
    /// Waiting, in order of arrival: what to send each when it is let in.
    pub waiting: Vec<Waiting>,
    /// Of those that were begun again: which of its lives runs or waits. A former one's end may be heard of after
    /// that and is none of this.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lives: BTreeMap<ExecutionId, u32>,
    /// What only a newer version knows: it is kept when this one writes.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// One that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The message that came, sent on when it is let in.
    pub message: Message,
}

/// Why an execution that waited was cancelled.
const SUPERSEDED: &str = "a newer execution of this pipeline took its place; the pipeline is set \
                          to keep only the newest one waiting";

/// The limit an execution asks for; 0 for none.
pub(crate) fn limit(execution: &Execution) -> i64 {
    if execution.limit_concurrent {
        1
    } else {
        execution.max_concurrent_executions.max(0)
    }
}

/// Whether an execution passes a gate before it starts.
pub(crate) fn gate_of(execution: &Execution) -> Option<PipelineConfigId> {
    execution
        .pipeline_config_id
        .clone()
        .filter(|_| limit(execution) > 0)
}

impl PipelineGate {
    /// An empty gate.
    pub fn new(pipeline_config_id: PipelineConfigId) -> Self {
        Self {
            pipeline_config_id,
            ..Self::default()
        }
    }

    /// Takes in who wants to start and lets in whom the limit allows.
    ///
    /// | message | before | after |
    /// |---|---|---|
    /// | `startExecution` (of a restart too) | unknown | running, or waiting; those beside it running |
    /// | `startExecution` of a later life | running or waiting | the same, in that life |
    /// | `startWaitingExecutions` | running or waiting in that life, or an earlier one | gone; next ones running |
    pub fn handle(&self, message: &Message) -> Outcome {
        match message {
            Message::StartExecution {
                execution_id,
                limit,
                beside,
                life,
                ..
            } => self.arrive(execution_id, (*limit, life.unwrap_or(0)), beside, message),
            Message::StartWaitingExecutions {
                execution_id,
                purge_queue,
                life,
                ..
            } => self.leave(execution_id, *life, *purge_queue),
            Message::JoinGate
            | Message::CompleteExecution
            | Message::CancelExecution { .. }
            | Message::ResumeExecution { .. }
            | Message::RescheduleExecution
            | Message::StartStage { .. }
            | Message::CompleteStage { .. }
            | Message::SkipStage { .. }
            | Message::CancelStage { .. }
            | Message::AbortStage { .. }
            | Message::PauseStage { .. }
            | Message::ResumeStage { .. }
            | Message::RestartStage { .. }
            | Message::ContinueParentStage { .. }
            | Message::StartTask { .. }
            | Message::RunTask { .. }
            | Message::CompleteTask { .. }
            | Message::PauseTask { .. }
            | Message::ResumeTask { .. } => Outcome::Ignored(Reason::WrongSubject),
        }
    }

    fn life(&self, execution: &ExecutionId) -> u32 {
        self.lives.get(execution).copied().unwrap_or(0)
    }

    /// One that is known was begun again before the end of its former life was heard of: it keeps its place.
    fn again(&self, execution: &ExecutionId, life: u32, message: &Message) -> Outcome {
        if life <= self.life(execution) {
            return Outcome::Ignored(Reason::AlreadyDone);
        }
        let mut gate = self.clone();
        gate.lives.insert(execution.clone(), life);
        let mut effects = Effects::default();
        if gate.running.contains(execution) {
            effects.messages.push(to(execution, message.clone()));
        }
        let waiting = gate.waiting.iter_mut();
        for waiting in waiting.filter(|w| w.execution_id == *execution) {
            waiting.message = message.clone();
        }
        effects.writes.push(Write::Gate(gate));
        Outcome::Done(Box::new(effects))
    }

    fn arrive(
        &self,
        execution: &ExecutionId,
        (limit, life): (i64, u32),
        beside: &[ExecutionId],
        message: &Message,
    ) -> Outcome {
        let known = self.running.contains(execution)
            || self.waiting.iter().any(|w| w.execution_id == *execution);
        if known {
            return self.again(execution, life, message);
        }
        let mut gate = Self {
            limit,
            ..self.clone()
        };
        if life > 0 {
            gate.lives.insert(execution.clone(), life);
        }
        gate.waiting.push(Waiting {
            execution_id: execution.clone(),
            message: message.clone(),
        });
        // They began while there was no limit: they take places like others, and tell of their end.
        let mut joining = Vec::new();
        for other in beside {
            if !gate.running.contains(other) && other != execution {
                gate.running.push(other.clone());
                joining.push(to(other, Message::JoinGate));
            }
        }
        match gate.admit() {
            Outcome::Done(mut effects) => {
                effects.messages.extend(joining);
                Outcome::Done(effects)
            }
            other @ (Outcome::Needs(_) | Outcome::Ignored(_)) => other,
        }
    }

    fn leave(&self, execution: &ExecutionId, life: Option<u32>, purge: bool) -> Outcome {
        if life.is_some_and(|life| life < self.life(execution)) {
            // A former one's, and this one has begun.
            return Outcome::Ignored(Reason::Superseded);
        }
        let mut gate = self.clone();
        gate.running.retain(|r| r != execution);
        gate.waiting.retain(|w| w.execution_id != *execution);
        gate.lives.remove(execution);
        let mut dropped = Vec::new();
        if purge && gate.waiting.len() > 1 {
            let newest = gate.waiting.pop();
            dropped = std::mem::take(&mut gate.waiting);
            gate.waiting.extend(newest);
        }
        let outcome = gate.admit();
        if gate == *self && dropped.is_empty() {
            return Outcome::Ignored(Reason::AlreadyDone);
        }
        match outcome {
            Outcome::Done(mut effects) => {
                for gone in dropped {
                    let user = "gennaker".to_owned();
                    let message = Message::CancelExecution {
                        user,
                        reason: Some(SUPERSEDED.to_owned()),
                    };
                    effects.messages.push(to(&gone.execution_id, message));
                }
                Outcome::Done(effects)
            }
            other @ (Outcome::Needs(_) | Outcome::Ignored(_)) => other,
        }
    }

    fn admit(&mut self) -> Outcome {
        let mut effects = Effects::default();
        let free = |gate: &Self| {
            gate.limit <= 0 || i64::try_from(gate.running.len()).unwrap_or(i64::MAX) < gate.limit
        };
        while !self.waiting.is_empty() && free(self) {
            let next = self.waiting.remove(0);
            self.running.push(next.execution_id.clone());
            effects.messages.push(to(&next.execution_id, next.message));
        }
        effects.writes.push(Write::Gate(self.clone()));
        Outcome::Done(Box::new(effects))
    }

    /// The gate as JSON, for its document.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn to(execution: &ExecutionId, message: Message) -> Outgoing {
    let to = Target::Execution(execution.clone());
    Outgoing {
        to,
        message,
        mode: Mode::Push,
        delay_ms: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(id: &str) -> Message {
        let execution_id = ExecutionId::new(id);
        Message::StartExecution {
            execution_id,
            application: "a".into(),
            limit: 1,
            beside: Vec::new(),
            life: None,
        }
    }

    // Of two kinds only.
    #[allow(clippy::wildcard_enum_match_arm)]
    fn of_life(message: Message, now: u32) -> Message {
        match message {
            Message::StartExecution {
                execution_id,
                application,
                limit,
                beside,
                ..
            } => Message::StartExecution {
                execution_id,
                application,
                limit,
                beside,
                life: Some(now),
            },
            Message::StartWaitingExecutions {
                pipeline_config_id,
                execution_id,
                purge_queue,
                ..
            } => Message::StartWaitingExecutions {
                pipeline_config_id,
                execution_id,
                purge_queue,
                life: Some(now),
            },
            other => other,
        }
    }

    #[test]
    fn an_end_that_is_heard_of_after_a_restart_is_the_former_lifes() {
        let mut gate = PipelineGate::new(PipelineConfigId::new("p"));
        let mut tell = |message: Message, life: u32| {
            let outcome = gate.handle(&of_life(message, life));
            let Outcome::Done(effects) = outcome else {
                return None;
            };
            for write in &effects.writes {
                if let Write::Gate(new) = write {
                    gate = new.clone();
                }
            }
            let told = effects.messages.len();
            Some((told, gate.running.len(), gate.waiting.len()))
        };
        assert_eq!(tell(start("1"), 0), Some((1, 1, 0)));
        assert_eq!(tell(start("2"), 0), Some((0, 1, 1)));
        // It ended and was begun again; the gate hears of the second first.
        assert_eq!(tell(start("1"), 1), Some((1, 1, 1)));
        assert_eq!(tell(start("1"), 1), None);
        assert_eq!(tell(end("1", false), 0), None);
        assert_eq!(tell(end("1", false), 1), Some((1, 1, 0)));
        assert_eq!(tell(end("2", false), 0), Some((0, 0, 0)));
        assert!(gate.lives.is_empty());
    }

    fn end(id: &str, purge_queue: bool) -> Message {
        Message::StartWaitingExecutions {
            pipeline_config_id: PipelineConfigId::new("p"),
            execution_id: ExecutionId::new(id),
            purge_queue,
            life: None,
        }
    }

    fn step(gate: &mut PipelineGate, message: &Message) -> Vec<String> {
        let Outcome::Done(effects) = gate.handle(message) else {
            return Vec::new();
        };
        for write in effects.writes {
            if let Write::Gate(new) = write {
                *gate = new;
            }
        }
        effects
            .messages
            .iter()
            .map(|m| {
                let Target::Execution(id) = &m.to else {
                    return String::new();
                };
                format!("{} {id}", m.message.kind())
            })
            .collect()
    }

    fn gate() -> PipelineGate {
        PipelineGate::new(PipelineConfigId::new("p"))
    }

    #[test]
    fn one_at_a_time_in_order_of_arrival() {
        let mut gate = gate();
        assert_eq!(step(&mut gate, &start("1")), ["startExecution 1"]);
        assert!(step(&mut gate, &start("2")).is_empty());
        assert!(step(&mut gate, &start("2")).is_empty());
        assert!(step(&mut gate, &start("3")).is_empty());
        assert_eq!(step(&mut gate, &end("1", false)), ["startExecution 2"]);
        assert!(step(&mut gate, &end("1", false)).is_empty());
        assert_eq!(step(&mut gate, &end("2", false)), ["startExecution 3"]);
    }

    #[test]
    fn those_that_began_without_a_limit_are_waited_for() {
        let mut gate = gate();
        let Message::StartExecution {
            execution_id,
            application,
            limit,
            ..
        } = start("3")
        else {
            unreachable!();
        };
        let beside = ["1", "2"].map(ExecutionId::new).to_vec();
        let arrives = Message::StartExecution {
            execution_id,
            application,
            limit,
            beside,
            life: None,
        };
        assert_eq!(step(&mut gate, &arrives), ["joinGate 1", "joinGate 2"]);
        assert!(step(&mut gate, &end("1", false)).is_empty());
        assert_eq!(step(&mut gate, &end("2", false)), ["startExecution 3"]);
    }

    #[test]
    fn only_the_newest_stays_waiting_when_the_others_are_purged() {
        let mut gate = gate();
        for id in ["1", "2", "3", "4"] {
            step(&mut gate, &start(id));
        }
        let sent = step(&mut gate, &end("1", true));
        assert_eq!(
            sent,
            ["startExecution 4", "cancelExecution 2", "cancelExecution 3"]
        );
    }

    #[test]
    fn one_that_is_cancelled_while_it_waits_frees_no_place() {
        let mut gate = gate();
        for id in ["1", "2", "3"] {
            step(&mut gate, &start(id));
        }
        assert!(step(&mut gate, &end("2", false)).is_empty());
        assert_eq!(step(&mut gate, &end("1", false)), ["startExecution 3"]);
    }
}
