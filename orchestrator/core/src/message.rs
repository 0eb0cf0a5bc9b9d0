//! The engine's messages, at execution, stage and task level. Wire names are
//! Orca's (`orca: messages.kt`); what its `invalid…` and `noDownstreamTasks`
//! messages do, the handler that finds out does.

use serde::{Deserialize, Serialize};

use crate::ids::{ExecutionId, PipelineConfigId, StageId, TaskId};
use crate::stage::Owner;
use crate::status::Status;

/// One step to take. Kept as JSON with the discriminator `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Message {
    /// Begin, if the pipeline's limits let it in. To the gate first, if there is one.
    StartExecution {
        /// The execution, for a gate that holds several.
        execution_id: ExecutionId,
        /// Its application.
        application: String,
        /// How many of its pipeline may run at once; 0: no limit.
        #[serde(default)]
        limit: i64,
        /// For the gate: executions of the pipeline that run without having passed it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        beside: Vec<ExecutionId>,
        /// For the gate: which of its lives begins, see [`crate::execution::Execution::life`]. None: an older
        /// version's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        life: Option<u32>,
    },
    /// From a gate to an execution that did not pass it: others wait for its end.
    JoinGate,
    /// See whether it is over.
    CompleteExecution,
    /// End it at a person's wish.
    CancelExecution {
        /// Who.
        user: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Go on after a pause.
    ResumeExecution {
        /// Who.
        user: String,
    },
    /// Look at every running task now.
    RescheduleExecution,
    /// To a gate: an execution has ended, let the next one in.
    StartWaitingExecutions {
        /// The pipeline.
        pipeline_config_id: PipelineConfigId,
        /// Which execution ended.
        execution_id: ExecutionId,
        /// Only the newest waiting one is let in, the others are cancelled.
        purge_queue: bool,
        /// Which of its lives has ended. None: an older version's, so the one there is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        life: Option<u32>,
    },
    /// Begin a stage if its requisites allow it.
    StartStage {
        /// The stage.
        stage_id: StageId,
    },
    /// See whether a stage is over.
    CompleteStage {
        /// The stage.
        stage_id: StageId,
    },
    /// Pass over a stage.
    SkipStage {
        /// The stage.
        stage_id: StageId,
    },
    /// Undo what a failed or cancelled stage still does outside.
    CancelStage {
        /// The stage.
        stage_id: StageId,
    },
    /// Fail a stage: one of its messages was given up.
    AbortStage {
        /// The stage.
        stage_id: StageId,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// A task of the stage has noticed the pause.
    PauseStage {
        /// The stage.
        stage_id: StageId,
    },
    /// Go on after a pause.
    ResumeStage {
        /// The stage.
        stage_id: StageId,
    },
    /// Run a stage and what follows it again.
    RestartStage {
        /// The stage.
        stage_id: StageId,
        /// Who.
        user: String,
    },
    /// A synthetic stage is over; see whether its parent can go on.
    ContinueParentStage {
        /// The parent.
        stage_id: StageId,
        /// Which side is over.
        phase: Owner,
    },
    /// Begin a task.
    StartTask {
        /// The stage.
        stage_id: StageId,
        /// The task.
        task_id: TaskId,
    },
    /// Have a worker run a task.
    RunTask {
        /// The stage.
        stage_id: StageId,
        /// The task.
        task_id: TaskId,
    },
    /// A task is over.
    CompleteTask {
        /// The stage.
        stage_id: StageId,
        /// The task.
        task_id: TaskId,
        /// What it becomes.
        status: Status,
        /// What it answered, before the stage's failure options.
        original_status: Status,
    },
    /// A task has noticed the pause.
    PauseTask {
        /// The stage.
        stage_id: StageId,
        /// The task.
        task_id: TaskId,
    },
    /// Go on after a pause.
    ResumeTask {
        /// The stage.
        stage_id: StageId,
        /// The task.
        task_id: TaskId,
    },
}

impl Message {
    /// The wire names of all of them.
    pub const KINDS: [&str; 21] = [
        "startExecution",
        "joinGate",
        "completeExecution",
        "cancelExecution",
        "resumeExecution",
        "rescheduleExecution",
        "startWaitingExecutions",
        "startStage",
        "completeStage",
        "skipStage",
        "cancelStage",
        "abortStage",
        "pauseStage",
        "resumeStage",
        "restartStage",
        "continueParentStage",
        "startTask",
        "runTask",
        "completeTask",
        "pauseTask",
        "resumeTask",
    ];

    /// The wire name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::StartExecution { .. } => "startExecution",
            Self::JoinGate => "joinGate",
            Self::CompleteExecution => "completeExecution",
            Self::CancelExecution { .. } => "cancelExecution",
            Self::ResumeExecution { .. } => "resumeExecution",
            Self::RescheduleExecution => "rescheduleExecution",
            Self::StartWaitingExecutions { .. } => "startWaitingExecutions",
            Self::StartStage { .. } => "startStage",
            Self::CompleteStage { .. } => "completeStage",
            Self::SkipStage { .. } => "skipStage",
            Self::CancelStage { .. } => "cancelStage",
            Self::AbortStage { .. } => "abortStage",
            Self::PauseStage { .. } => "pauseStage",
            Self::ResumeStage { .. } => "resumeStage",
            Self::RestartStage { .. } => "restartStage",
            Self::ContinueParentStage { .. } => "continueParentStage",
            Self::StartTask { .. } => "startTask",
            Self::RunTask { .. } => "runTask",
            Self::CompleteTask { .. } => "completeTask",
            Self::PauseTask { .. } => "pauseTask",
            Self::ResumeTask { .. } => "resumeTask",
        }
    }

    /// The stage it is about, if it is about one.
    pub fn stage_id(&self) -> Option<&StageId> {
        match self {
            Self::StartStage { stage_id }
            | Self::CompleteStage { stage_id }
            | Self::SkipStage { stage_id }
            | Self::CancelStage { stage_id }
            | Self::AbortStage { stage_id, .. }
            | Self::PauseStage { stage_id }
            | Self::ResumeStage { stage_id }
            | Self::RestartStage { stage_id, .. }
            | Self::ContinueParentStage { stage_id, .. }
            | Self::StartTask { stage_id, .. }
            | Self::RunTask { stage_id, .. }
            | Self::CompleteTask { stage_id, .. }
            | Self::PauseTask { stage_id, .. }
            | Self::ResumeTask { stage_id, .. } => Some(stage_id),
            Self::StartExecution { .. }
            | Self::JoinGate
            | Self::CompleteExecution
            | Self::CancelExecution { .. }
            | Self::ResumeExecution { .. }
            | Self::RescheduleExecution
            | Self::StartWaitingExecutions { .. } => None,
        }
    }

    /// The task it is about, if it is about one.
    pub fn task_id(&self) -> Option<&TaskId> {
        match self {
            Self::StartTask { task_id, .. }
            | Self::RunTask { task_id, .. }
            | Self::CompleteTask { task_id, .. }
            | Self::PauseTask { task_id, .. }
            | Self::ResumeTask { task_id, .. } => Some(task_id),
            Self::StartExecution { .. }
            | Self::JoinGate
            | Self::CompleteExecution
            | Self::CancelExecution { .. }
            | Self::ResumeExecution { .. }
            | Self::RescheduleExecution
            | Self::StartWaitingExecutions { .. }
            | Self::StartStage { .. }
            | Self::CompleteStage { .. }
            | Self::SkipStage { .. }
            | Self::CancelStage { .. }
            | Self::AbortStage { .. }
            | Self::PauseStage { .. }
            | Self::ResumeStage { .. }
            | Self::RestartStage { .. }
            | Self::ContinueParentStage { .. } => None,
        }
    }

    /// Identity within a mailbox: an equal step that waits already is the same step.
    pub fn fingerprint(&self) -> String {
        let mut print = self.kind().to_owned();
        match self {
            Self::StartExecution { execution_id, .. }
            | Self::StartWaitingExecutions { execution_id, .. } => {
                print = format!("{print}/{execution_id}");
            }
            Self::ContinueParentStage { phase, .. } => {
                let side = match phase {
                    Owner::StageBefore => "before",
                    Owner::StageAfter => "after",
                };
                print = format!("{print}/{side}");
            }
            Self::JoinGate
            | Self::CompleteExecution
            | Self::CancelExecution { .. }
            | Self::ResumeExecution { .. }
            | Self::RescheduleExecution
            | Self::StartStage { .. }
            | Self::CompleteStage { .. }
            | Self::SkipStage { .. }
            | Self::CancelStage { .. }
            | Self::AbortStage { .. }
            | Self::PauseStage { .. }
            | Self::ResumeStage { .. }
            | Self::RestartStage { .. }
            | Self::StartTask { .. }
            | Self::RunTask { .. }
            | Self::CompleteTask { .. }
            | Self::PauseTask { .. }
            | Self::ResumeTask { .. } => {}
        }
        if let Some(stage) = self.stage_id() {
            print = format!("{print}/{stage}");
        }
        if let Some(task) = self.task_id() {
            print = format!("{print}/{task}");
        }
        print
    }

    /// What takes the place of a message that was given up: its owner fails.
    pub fn given_up(&self) -> Self {
        self.given_up_because(&format!(
            "message {} was given up after repeated failures",
            self.kind()
        ))
    }

    /// The same for another reason.
    pub fn given_up_because(&self, reason: &str) -> Self {
        let reason = reason.to_owned();
        match self.stage_id() {
            Some(stage) => Self::AbortStage {
                stage_id: stage.clone(),
                reason,
            },
            None => Self::CancelExecution {
                user: "gennaker".to_owned(),
                reason: Some(reason),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_is_listed() {
        let unknown = serde_json::from_value::<Message>(json!({"kind": "x"})).unwrap_err();
        let told = unknown.to_string();
        let expected: Vec<&str> = told.split('`').skip(3).step_by(2).collect();
        assert_eq!(expected, Message::KINDS);
    }
}
