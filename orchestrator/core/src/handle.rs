//! From message to handler: an arm for each, no logic.

use crate::change::ignored;
use crate::env::Env;
use crate::handler as h;
use crate::message::Message as M;
use crate::outcome::{Outcome, Reason, Subject};

/// Handles a message: total, without a clock, a socket or randomness of its own.
pub fn handle(message: &M, subject: &Subject, env: &mut Env<'_>) -> Outcome {
    #[cfg(any(test, feature = "testing"))]
    if let Some(mutant) = env.settings.mutant {
        return mutant.handle(message, subject, env);
    }
    sound(message, subject, env)
}

/// The same without a bug.
pub(crate) fn sound(message: &M, subject: &Subject, env: &mut Env<'_>) -> Outcome {
    let execution = match subject {
        Subject::PipelineGate(gate) => return gate.handle(message),
        Subject::Execution(execution) => execution,
    };
    // Another worker's clock, or this one's yesterday, may have been ahead.
    env.now = env.now.max(execution.latest());
    match message {
        M::StartExecution { .. } => h::start_execution::handle(execution, env),
        M::JoinGate => h::join_gate::handle(execution),
        M::CompleteExecution => h::complete_execution::handle(execution, env),
        M::CancelExecution { user, reason } => {
            h::cancel_execution::handle(execution, user, reason.as_deref(), env)
        }
        M::ResumeExecution { user } => h::resume_execution::handle(execution, user, env),
        M::RescheduleExecution => h::reschedule_execution::handle(execution),
        M::StartWaitingExecutions { .. } => ignored(Reason::WrongSubject),
        M::StartStage { stage_id } => h::start_stage::handle(execution, stage_id, env),
        M::CompleteStage { stage_id } => h::complete_stage::handle(execution, stage_id, env),
        M::SkipStage { stage_id } => h::skip_stage::handle(execution, stage_id, env),
        M::CancelStage { stage_id } => h::cancel_stage::handle(execution, stage_id, env),
        M::AbortStage { stage_id, reason } => {
            h::abort_stage::handle(execution, stage_id, reason, env)
        }
        M::PauseStage { stage_id } => h::pause_stage::handle(execution, stage_id),
        M::ResumeStage { stage_id } => h::resume_stage::handle(execution, stage_id),
        M::RestartStage { stage_id, user } => {
            h::restart_stage::handle(execution, stage_id, user, env)
        }
        M::ContinueParentStage { stage_id, phase } => {
            h::continue_parent_stage::handle(execution, stage_id, *phase, env)
        }
        M::StartTask { stage_id, task_id } => {
            h::start_task::handle(execution, stage_id, task_id, env)
        }
        M::RunTask { stage_id, task_id } => h::run_task::handle(execution, stage_id, task_id, env),
        M::CompleteTask {
            stage_id,
            task_id,
            status,
            original_status,
        } => h::complete_task::handle(execution, stage_id, task_id, *status, *original_status, env),
        M::PauseTask { stage_id, task_id } => h::pause_task::handle(execution, stage_id, task_id),
        M::ResumeTask { stage_id, task_id } => h::resume_task::handle(execution, stage_id, task_id),
    }
}
