//! What the seed decides before anything happens: the pipeline, how many
//! executions of it there are, and what each task will answer.

use orchestrator_core::{ErrorClass, Status, TaskError, TaskResult};
use serde_json::{Value, json};

use super::random::{Random, hash};

/// How a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Status(Status),
    Permanent,
    Cancelled,
}

/// What a task answers: RUNNING so many times, then its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) polls: u64,
    pub(crate) end: End,
}

/// Which task of which round is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Number of the execution.
    pub(crate) execution: usize,
    /// refId of the top-level stage, then names of synthetic stages.
    pub(crate) path: &'a str,
    /// Attempt of the top-level stage.
    pub(crate) attempt: u32,
    pub(crate) task: &'a str,
    /// Round of the task's loop, from 0.
    pub(crate) round: u32,
    /// It is the last of a loop.
    pub(crate) loop_end: bool,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) stages: Vec<Value>,
    /// Each is a run of the pipeline.
    pub(crate) executions: usize,
    /// How many of them may run at once; 0: no limit.
    pub(crate) limit: usize,
    pub(crate) keep_waiting: bool,
    /// How often things go wrong, of a thousand steps.
    pub(crate) faults: u64,
    /// Among it, that the store loses its last commits.
    pub(crate) loses: bool,
    /// What a person does, times.
    pub(crate) actions: usize,
    /// Messages handled for one commit.
    pub(crate) steps: usize,
    /// How often tasks fail, of a thousand.
    failures: u64,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let count = 1 + random.below(5);
        let stages = (0..count)
            .map(|position| stage(position, &mut random))
            .collect();
        let (executions, limit) = if random.chance(250) {
            (2 + random.below(3), 1 + random.below(2))
        } else {
            (1, 0)
        };
        Self {
            seed,
            stages,
            executions,
            limit,
            keep_waiting: random.chance(500),
            faults: [0, 60, 200][random.below(3)],
            loses: random.chance(300),
            actions: [0, 3, 8][random.below(3)],
            steps: [1, 3, 64][random.below(3)],
            failures: [60, 250][random.below(2)],
        }
    }

    pub(crate) fn body(&self) -> Value {
        json!({
            "application": "shop", "name": "p", "id": "config", "stages": self.stages,
            "limitConcurrent": self.limit == 1, "maxConcurrentExecutions": self.limit,
            "keepWaitingPipelines": self.keep_waiting,
        })
    }

    /// What a task answers: the same whenever and by whomever it is asked.
    pub(crate) fn answer(&self, asked: &Asked<'_>) -> Answer {
        let Asked {
            execution,
            path,
            attempt,
            task,
            round,
            ..
        } = asked;
        let key = format!("{execution}:{path}:{attempt}:{task}:{round}");
        let mut random = Random::new(hash(self.seed, &key));
        let polls = if random.chance(300) {
            1 + random.next() % 3
        } else {
            0
        };
        let again = hash(self.seed, &format!("{path}:{attempt}:loop")) % 3;
        if asked.loop_end && u64::from(asked.round) < again {
            return Answer {
                polls,
                end: End::Status(Status::Redirect),
            };
        }
        // Of synthetic stages side by side only the first may fail: so what becomes
        // of their parent does not depend on which was faster.
        let sibling = (2..9).any(|n| path.contains(&format!("before {n}")));
        if sibling || !random.chance(self.failures) {
            return Answer {
                polls,
                end: End::Status(Status::Succeeded),
            };
        }
        let ends = [
            End::Status(Status::Terminal),
            End::Status(Status::Terminal),
            End::Status(Status::Stopped),
            End::Status(Status::FailedContinue),
            End::Status(Status::Skipped),
            End::Status(Status::Canceled),
            End::Permanent,
            End::Cancelled,
        ];
        Answer {
            polls,
            end: ends[random.below(ends.len())],
        }
    }

    /// What a person decides about a judged stage.
    pub(crate) fn judgment(&self, execution: usize, path: &str, attempt: u32) -> &'static str {
        let hash = hash(self.seed, &format!("{execution}:{path}:{attempt}:judgment"));
        if hash.is_multiple_of(4) {
            "stop"
        } else {
            "continue"
        }
    }
}

impl Answer {
    /// The answer to the `n`th question, from 0.
    pub(crate) fn to(self, n: u64) -> Result<TaskResult, TaskError> {
        if n < self.polls {
            return Ok(TaskResult::running());
        }
        match self.end {
            End::Status(status) => Ok(TaskResult::status(status)),
            End::Permanent => Err(TaskError::permanent("it does not work")),
            End::Cancelled => Err(TaskError::new(ErrorClass::Cancelled, "told to stop")),
        }
    }
}

fn stage(position: usize, random: &mut Random) -> Value {
    let mut requisites: Vec<String> = Vec::new();
    for _ in 0..random.below(3) {
        if position > 0 {
            let requisite = random.below(position).to_string();
            if !requisites.contains(&requisite) {
                requisites.push(requisite);
            }
        }
    }
    let kinds = [
        "plain", "plain", "nested", "nested", "deep", "looping", "judged", "manual",
    ];
    let kind = if random.chance(30) {
        "broken"
    } else {
        kinds[random.below(kinds.len())]
    };
    let mut stage = json!({
        "refId": position.to_string(), "requisiteStageRefIds": requisites, "type": kind,
        "before": random.below(3), "after": random.below(3), "onFailure": random.below(3),
        "tasks": random.below(3), "note": "${1 + 1}",
    });
    if random.chance(200) {
        stage["note"] = json!("${#fromUrl('http://peer/a') + #fromUrl('http://peer/b')}");
    }
    for (key, often) in [
        ("continuePipeline", 150),
        ("completeOtherBranchesThenFail", 150),
        ("cancellable", 300),
        ("instant", 200),
    ] {
        if random.chance(often) {
            stage[key] = true.into();
        }
    }
    if random.chance(300) {
        stage["failPipeline"] = random.chance(300).into();
    }
    if random.chance(50) {
        stage["stageEnabled"] = json!({"type": "expression", "expression": "false"});
    }
    stage
}
