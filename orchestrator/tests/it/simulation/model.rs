//! What an execution must become, worked out without queue, time or workers: from
//! the pipeline, the answers, and what people really did to it.

use std::collections::{BTreeMap, BTreeSet};

use orchestrator_core::{Execution, Stage, StageCatalog, StageDefinition, StageView, Status};
use serde_json::Value;

use super::catalog::Catalog;
use super::plan::{Asked, End, Plan, path};

type Statuses = BTreeSet<Status>;

pub(crate) struct Model<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) number: usize,
    /// The execution at its end: who was skipped by hand, which attempt counts,
    /// which task ran out of time.
    pub(crate) end: &'a Execution,
    /// A stage was restarted.
    pub(crate) restarted: bool,
}

fn determine(all: &[Status], stage: &Stage) -> Status {
    let any = |status| all.contains(&status);
    if any(Status::Terminal) {
        stage.failure_status(Status::Terminal)
    } else if let Some(found) = [Status::Stopped, Status::Canceled, Status::FailedContinue]
        .into_iter()
        .find(|status| any(*status))
    {
        found
    } else if all.is_empty() {
        Status::Skipped
    } else {
        Status::Succeeded
    }
}

fn goes_on(status: Status) -> bool {
    matches!(status, Status::Succeeded | Status::Skipped)
}

impl Model<'_> {
    /// The statuses it may end with: more than one only where it depends on who
    /// was faster.
    pub(crate) fn execution(&self) -> Statuses {
        let mut all = Statuses::new();
        if self.restarted {
            let end = |s: &Stage| (s.ref_id.to_string(), s.status);
            all.extend(self.verdict(&self.end.top_level().map(end).collect()));
        } else {
            let mut open = vec![BTreeMap::new()];
            while let Some(found) = open.pop() {
                let next = self.end.top_level().find(|s| {
                    let lets = |r: &_| {
                        found
                            .get(&format!("{r}"))
                            .is_some_and(|s: &Status| s.lets_downstream_run())
                    };
                    !found.contains_key(s.ref_id.as_str())
                        && s.requisite_stage_ref_ids.iter().all(lets)
                });
                match next {
                    None => all.extend(self.verdict(&found)),
                    Some(stage) => open.extend(self.top(stage).into_iter().map(|status| {
                        let mut more = found.clone();
                        more.insert(stage.ref_id.to_string(), status);
                        more
                    })),
                }
            }
        }
        if self.end.canceled {
            all.insert(Status::Canceled);
        }
        all
    }

    fn verdict(&self, found: &BTreeMap<String, Status>) -> Vec<Status> {
        let halts = [Status::Terminal, Status::Canceled];
        let mut ends: Vec<Status> = halts
            .into_iter()
            .filter(|h| found.values().any(|s| s == h))
            .collect();
        if ends.is_empty() {
            let fails = |s: &&Stage| {
                found.get(s.ref_id.as_str()) == Some(&Status::Stopped)
                    && s.flag("completeOtherBranchesThenFail") == Some(true)
            };
            let failed = self.end.top_level().any(|s| fails(&s));
            ends.push(if failed {
                Status::Terminal
            } else {
                Status::Succeeded
            });
        }
        ends
    }

    /// What a top-level stage may end with.
    pub(crate) fn top(&self, stage: &Stage) -> Statuses {
        let by_hand = stage.context.get("manualSkip") == Some(&Value::Bool(true))
            && stage.status == Status::Skipped;
        if by_hand || stage.context.contains_key("stageEnabled") {
            return [Status::Skipped].into();
        }
        self.stage(stage.ref_id.as_str(), stage.attempt, stage)
    }

    fn stage(&self, at: &str, attempt: u32, stage: &Stage) -> Statuses {
        let definition = Catalog.stage(&stage.kind).unwrap();
        let view = StageView {
            execution: self.end,
            stage,
        };
        let children = |hook: Hook| {
            let named = |new: orchestrator_core::NewStage| {
                let stage = Stage {
                    kind: new.kind,
                    context: new.context,
                    ..Stage::default()
                };
                (format!("{at}/{}", new.name), stage)
            };
            hook(definition, view)
                .unwrap()
                .into_iter()
                .map(named)
                .collect::<Vec<_>>()
        };
        let Ok(tasks) = definition.tasks(view) else {
            return [determine(&[Status::Terminal], stage)].into();
        };
        let tasks: Vec<bool> = tasks.iter().map(|t| t.loop_end).collect();
        let before = children(|d, v| d.before(v));
        let mut courses = Vec::new();
        let first = before
            .first()
            .map(|(at, child)| self.stage(at, attempt, child));
        for status in first.clone().unwrap_or_default() {
            let mut course = vec![Status::Succeeded; before.len()];
            course[0] = status;
            courses.push(if goes_on(status) {
                self.tasks(at, attempt, stage, &tasks, course)
            } else {
                course
            });
        }
        if first.is_none() {
            courses.push(self.tasks(at, attempt, stage, &tasks, Vec::new()));
        }
        let after = children(|d, v| d.after(v));
        let on_failure = children(|d, v| d.on_failure(v));
        let courses = courses
            .into_iter()
            .flat_map(|course| match determine(&course, stage) {
                status if goes_on(status) => self.chain(attempt, &after, course),
                _ => vec![course],
            });
        let courses = courses.flat_map(|course| match determine(&course, stage) {
            status if status.is_failure() => self.chain(attempt, &on_failure, course),
            _ => vec![course],
        });
        courses.map(|course| determine(&course, stage)).collect()
    }

    /// One after another, as long as none fails.
    fn chain(
        &self,
        attempt: u32,
        stages: &[(String, Stage)],
        so_far: Vec<Status>,
    ) -> Vec<Vec<Status>> {
        let Some(((at, child), rest)) = stages.split_first() else {
            return vec![so_far];
        };
        let ends = self.stage(at, attempt, child).into_iter();
        ends.flat_map(|status| {
            let mut course = so_far.clone();
            course.push(status);
            if goes_on(status) {
                self.chain(attempt, rest, course)
            } else {
                vec![course]
            }
        })
        .collect()
    }

    fn tasks(
        &self,
        at: &str,
        attempt: u32,
        stage: &Stage,
        tasks: &[bool],
        mut course: Vec<Status>,
    ) -> Vec<Status> {
        let (mut position, mut round) = (0, 0);
        let mut ends = vec![None; tasks.len()];
        while let Some(&loop_end) = tasks.get(position) {
            let task = (position + 1).to_string();
            let asked = Asked {
                execution: self.number,
                path: at,
                attempt,
                task: &task,
                round,
                loop_end,
            };
            // The loop is tasks 2 and 3; round 0 elsewhere.
            let asked = Asked {
                round: if position == 1 || loop_end { round } else { 0 },
                ..asked
            };
            let end = if stage.kind == "judged" {
                match self.plan.judgment(self.number, at, attempt) {
                    "stop" => End::Status(Status::Terminal),
                    _ => End::Status(Status::Succeeded),
                }
            } else {
                self.plan.answer(&asked).end
            };
            let becomes = match end {
                _ if self.timed_out(at, &task) => stage.failure_status(Status::Terminal),
                End::Status(Status::Redirect) => {
                    round += 1;
                    position = 1;
                    continue;
                }
                End::Status(status @ (Status::Terminal | Status::Canceled)) => {
                    stage.failure_status(status)
                }
                End::Status(status) => status,
                End::Permanent => stage.failure_status(Status::Terminal),
                End::Cancelled => Status::Canceled,
            };
            ends[position] = Some(becomes);
            position += 1;
            if becomes.is_halt() {
                break;
            }
        }
        course.extend(ends.into_iter().map_while(|end| end));
        course
    }

    fn timed_out(&self, at: &str, task: &str) -> bool {
        self.end
            .stages
            .iter()
            .filter(|s| path(self.end, s) == at)
            .any(|stage| {
                let task = stage.tasks.iter().find(|t| t.id.as_str() == task);
                let kind = task.and_then(|t| {
                    t.task_exception_details
                        .get("exception")?
                        .get("exceptionType")
                });
                kind.and_then(Value::as_str) == Some("TimeoutException")
            })
    }
}

type Hook =
    fn(&dyn StageDefinition, StageView<'_>) -> Result<Vec<orchestrator_core::NewStage>, String>;
