//! Known bugs that can be put into the engine, to see who would notice.

use crate::env::Env;
use crate::execution::Execution;
use crate::handle::sound;
use crate::message::Message;
use crate::outcome::{Effects, Outcome, Outgoing, Reason, Subject};
use crate::stage::Stage;
use crate::status::Status;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Of the stages that a join waits for, the last one to end does not tell it.
    LostJoin,
    /// `startStage` does not see that the stage has begun.
    DoubleStart,
    /// A gate lets in one more than its limit.
    LimitOffByOne,
    /// `cancelExecution` is acknowledged, and nothing follows.
    CancelIgnored,
}

impl Mutant {
    /// What the engine does with this bug in it.
    pub(crate) fn handle(self, message: &Message, subject: &Subject, env: &mut Env<'_>) -> Outcome {
        match (self, message, subject) {
            (Self::CancelIgnored, Message::CancelExecution { .. }, Subject::Execution(_)) => {
                Outcome::Ignored(Reason::AlreadyDone)
            }
            (
                Self::LimitOffByOne,
                Message::StartExecution {
                    execution_id,
                    application,
                    limit,
                    beside,
                    life,
                },
                Subject::PipelineGate(_),
            ) => {
                let generous = Message::StartExecution {
                    execution_id: execution_id.clone(),
                    application: application.clone(),
                    limit: limit + 1,
                    beside: beside.clone(),
                    life: *life,
                };
                sound(&generous, subject, env)
            }
            (
                Self::DoubleStart,
                Message::StartStage { stage_id },
                Subject::Execution(execution),
            ) => {
                let mut blind = execution.clone();
                let begun = |s: &Stage| s.id == *stage_id && s.status == Status::Running;
                let forget = |stage: &mut Stage| stage.status = Status::NotStarted;
                blind.stages.change(begun, forget);
                sound(message, &Subject::Execution(blind), env)
            }
            (Self::LostJoin, _, Subject::Execution(execution)) => {
                let mut outcome = sound(message, subject, env);
                if let Outcome::Done(effects) = &mut outcome {
                    forget_joins(execution, effects);
                }
                outcome
            }
            _ => sound(message, subject, env),
        }
    }
}

/// Takes out the starts of stages that wait for this one only.
fn forget_joins(before: &Execution, effects: &mut Effects) {
    let kept = |outgoing: &Outgoing| {
        let Message::StartStage { stage_id } = &outgoing.message else {
            return true;
        };
        let Some(stage) = before.stage(stage_id) else {
            return true;
        };
        let open = |s: &&Stage| !s.status.is_complete();
        stage.requisite_stage_ref_ids.len() < 2 || before.upstream(stage).filter(open).count() != 1
    };
    effects.messages.retain(kept);
}
