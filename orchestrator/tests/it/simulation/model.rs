//! What an execution must become, worked out without queue, time or workers: from
//! the pipeline, the answers, and what people really did to it.

use std::collections::{BTreeMap, BTreeSet};

use orchestrator_core::{Execution, Stage, Status, Task};
use serde_json::{Map, Value};

use super::plan::{Asked, End, Plan};
use super::shape::{self, Child, Place, failed, flag, halts, lets_on, path};

type Statuses = BTreeSet<Status>;
type Context = Map<String, Value>;

pub(crate) struct Model<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) number: usize,
    /// The execution at its end: who was skipped by hand, which attempt counts,
    /// which task ran out of time.
    pub(crate) end: &'a Execution,
    /// A stage was restarted.
    pub(crate) restarted: bool,
}

fn determine(all: &[Status], context: &Context) -> Status {
    let any = |status| all.contains(&status);
    if any(Status::Terminal) {
        shape::failure(context, Status::Terminal)
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
    pub(crate) fn whole(&self) -> Statuses {
        let mut all = Statuses::new();
        if self.restarted {
            let end = |s: &Stage| (s.ref_id.to_string(), s.status);
            all.extend(self.verdict(&shape::own(self.end).map(end).collect()));
        } else {
            let mut open = vec![BTreeMap::new()];
            while let Some(found) = open.pop() {
                let next = shape::own(self.end).find(|s| {
                    let lets = |r: &_| {
                        found
                            .get(&format!("{r}"))
                            .is_some_and(|s: &Status| lets_on(*s))
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
                    && flag(&s.context, "completeOtherBranchesThenFail")
            };
            let any = shape::own(self.end).any(|s| fails(&s));
            ends.push(if any {
                Status::Terminal
            } else {
                Status::Succeeded
            });
        }
        ends
    }

    /// What a top-level stage may end with.
    pub(crate) fn top(&self, stage: &Stage) -> Statuses {
        let by_hand = flag(&stage.context, "manualSkip") && stage.status == Status::Skipped;
        if by_hand || stage.context.contains_key("stageEnabled") {
            return [Status::Skipped].into();
        }
        let at = stage.ref_id.to_string();
        self.one(&at, stage.attempt, &stage.kind, &stage.context)
    }

    fn child(&self, at: &str, attempt: u32, child: &Child) -> Statuses {
        let at = format!("{at}/{}", child.name);
        self.one(&at, attempt, child.kind, &child.context)
    }

    fn one(&self, at: &str, attempt: u32, kind: &str, context: &Context) -> Statuses {
        let Some(shape) = shape::shape(kind, context) else {
            return [determine(&[Status::Terminal], context)].into();
        };
        // Of stages side by side only the first fails by its plan, any by its time.
        let mut before = vec![Vec::new()];
        for (position, child) in shape.before.iter().enumerate() {
            let late = self.is_late(&format!("{at}/{}", child.name));
            let ends = match position {
                0 => self.child(at, attempt, child),
                _ if late => self.child(at, attempt, child),
                _ => [Status::Succeeded].into(),
            };
            let longer = |so_far: Vec<Status>| {
                let with = |end: &Status| [so_far.as_slice(), &[*end]].concat();
                ends.iter().map(with).collect::<Vec<_>>()
            };
            before = before.into_iter().flat_map(longer).collect();
        }
        let courses = before.into_iter().map(|course| {
            if course.iter().all(|status| goes_on(*status)) {
                self.tasks(at, attempt, kind, context, &shape.tasks, course)
            } else {
                course
            }
        });
        let courses = courses.flat_map(|course| match determine(&course, context) {
            status if goes_on(status) => self.chain(at, attempt, &shape.after, course),
            _ => vec![course],
        });
        let courses = courses.flat_map(|course| match determine(&course, context) {
            status if failed(status) => {
                self.failures(at, attempt, context, &shape.on_failure, course)
            }
            _ => vec![course],
        });
        courses.map(|course| determine(&course, context)).collect()
    }

    /// Those of a failure, one after another: one that fails ends the list only if the
    /// parent would not count as failed any more. Of a cancelled execution none is begun
    /// any more, so the parent stays what its own work made it.
    fn failures(
        &self,
        at: &str,
        attempt: u32,
        context: &Context,
        stages: &[Child],
        so_far: Vec<Status>,
    ) -> Vec<Vec<Status>> {
        let Some((child, rest)) = stages.split_first() else {
            return vec![so_far];
        };
        let stands = self.stands(&format!("{at}/{}", child.name));
        let ends = match stands {
            None | Some(Status::NotStarted) if self.end.canceled => return vec![so_far],
            // Or it was under way then.
            Some(Status::Canceled) if self.end.canceled => [Status::Canceled].into(),
            _ => self.child(at, attempt, child),
        };
        let ends = ends.into_iter();
        ends.flat_map(|status| {
            let mut course = so_far.clone();
            course.push(status);
            if goes_on(status) || failed(determine(&course, context)) {
                self.failures(at, attempt, context, rest, course)
            } else {
                vec![course]
            }
        })
        .collect()
    }

    fn stands(&self, at: &str) -> Option<Status> {
        let mut stages = self.end.stages.iter();
        let found = stages.find(|stage| path(self.end, stage) == at);
        found.map(|stage| stage.status)
    }

    /// One after another, as long as none fails.
    fn chain(
        &self,
        at: &str,
        attempt: u32,
        stages: &[Child],
        so_far: Vec<Status>,
    ) -> Vec<Vec<Status>> {
        let Some((child, rest)) = stages.split_first() else {
            return vec![so_far];
        };
        let ends = self.child(at, attempt, child).into_iter();
        ends.flat_map(|status| {
            let mut course = so_far.clone();
            course.push(status);
            if goes_on(status) {
                self.chain(at, attempt, rest, course)
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
        kind: &str,
        context: &Context,
        tasks: &[Place],
        mut course: Vec<Status>,
    ) -> Vec<Status> {
        let (mut position, mut round) = (0, 0);
        let mut ends = vec![None; tasks.len()];
        while let Some(place) = tasks.get(position) {
            let loop_end = *place == Place::Last;
            let task = (position + 1).to_string();
            let asked = Asked {
                execution: self.number,
                path: at,
                attempt,
                task: &task,
                round: if *place == Place::Alone { 0 } else { round },
                loop_end,
            };
            let end = if kind == "judged" {
                match self.plan.judgment(self.number, at, attempt) {
                    "stop" => End::Status(Status::Terminal),
                    _ => End::Status(Status::Succeeded),
                }
            } else {
                self.plan.answer(&asked).end
            };
            let becomes = match end {
                _ if self.timed_out(at, &task) => shape::failure(context, Status::Terminal),
                End::Status(Status::Redirect) => {
                    round += 1;
                    let first = tasks.iter().position(|p| *p == Place::First);
                    position = first.unwrap_or(0);
                    continue;
                }
                End::Status(status @ (Status::Terminal | Status::Canceled)) => {
                    shape::failure(context, status)
                }
                End::Status(status) => status,
                End::Permanent => shape::failure(context, Status::Terminal),
                End::Cancelled => Status::Canceled,
            };
            ends[position] = Some(becomes);
            position += 1;
            if halts(becomes) {
                break;
            }
        }
        course.extend(ends.into_iter().map_while(|end| end));
        course
    }

    fn timed_out(&self, at: &str, task: &str) -> bool {
        self.late(at).any(|late| late.id.as_str() == task)
    }

    fn is_late(&self, at: &str) -> bool {
        self.late(at).next().is_some()
    }

    /// The tasks of a stage whose time was over.
    fn late<'b>(&'b self, at: &'b str) -> impl Iterator<Item = &'b Task> {
        let stages = self.end.stages.iter();
        let stages = stages.filter(move |s| path(self.end, s) == at);
        stages.flat_map(|stage| &stage.tasks).filter(|task| {
            let details = task.task_exception_details.get("exception");
            let kind = details.and_then(|exception| exception.get("exceptionType"));
            kind.and_then(Value::as_str) == Some("TimeoutException")
        })
    }
}
