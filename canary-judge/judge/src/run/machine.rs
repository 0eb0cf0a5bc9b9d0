//! What happens to a run: events in, a new state and one effect out.

use serde::{Deserialize, Serialize};

use super::plan::{Look, Pace, Window};
use crate::number;
use crate::result::Decision;

/// Judgements that are remembered one by one; of more, the first and the last.
const MOST_HISTORY: usize = 500;
/// Bytes of warnings that are remembered of the last judgement, and of all others together.
const MOST_WARNED: usize = 48 * 1024;

/// What of a run never changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Course {
    /// When it is judged.
    #[serde(flatten)]
    pub pace: Pace,
    /// The request's marginal threshold.
    pub marginal: f64,
}

/// Where a run is, in Kayenta's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing was judged yet.
    #[default]
    NotStarted,
    /// Something was, and more is to come.
    Running,
    /// It was judged, whatever the score.
    Succeeded,
    /// It could not be.
    Terminal,
    /// Somebody ended it.
    Canceled,
}

impl Status {
    /// Whether nothing follows any more.
    pub fn is_complete(self) -> bool {
        matches!(self, Self::Succeeded | Self::Terminal | Self::Canceled)
    }

    /// As JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Terminal => "terminal",
            Self::Canceled => "canceled",
        }
    }
}

/// What is remembered of one judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Which one.
    pub number: u64,
    /// What of the experiment was judged; none: the times that its scopes name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// What of control was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Window>,
    /// Its score.
    #[serde(with = "number")]
    pub score: f64,
    /// `Pass`, `Marginal` or `Fail`.
    pub classification: String,
    /// What a judge that decides by steps said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// SHA-256 of the metric set pairs it was judged on, in hexadecimal.
    pub digest: String,
    /// When, Unix ms.
    pub at_ms: i64,
    /// What a reader must know; what is too much for a run says how much more there was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether its pairs are kept.
    #[serde(default)]
    pub kept: bool,
}

impl Judged {
    /// Bytes of its warnings.
    fn warned(&self) -> usize {
        self.warnings.iter().map(String::len).sum()
    }
}

/// Leaves warnings of so many bytes, and says how many there were more: a run whose state grows with them could not be
/// written any more some day.
fn shorten(warnings: &mut Vec<String>, mut room: usize) {
    let all = warnings.len();
    warnings.retain(|warning| {
        let fits = warning.len() <= room;
        room = room.saturating_sub(if fits { warning.len() } else { room });
        fits
    });
    let lost = all - warnings.len();
    if lost > 0 {
        warnings.push(format!("{lost} more warnings are not kept with the run"));
    }
}

/// What of a run changes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// Where it is.
    pub status: Status,
    /// Judgements made.
    pub judged: u64,
    /// Failed attempts at the next one.
    pub attempts: u32,
    /// Why the last of these failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// One for each interval, oldest first.
    pub intervals: Vec<Judged>,
    /// The last judgement, be it within an interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Judged>,
    /// Why it ended without a result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// When the first judgement was begun, Unix ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<i64>,
    /// When it ended, Unix ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Somebody looked after the run, in time or not.
    Tick,
    /// A judgement was made.
    Judged(Judged),
    /// A judgement could not be made.
    Failed {
        /// Which one.
        number: u64,
        /// Why, with the remedy.
        message: String,
        /// After how many ms it is worth another attempt; none: never.
        again_ms: Option<u64>,
    },
    /// Somebody ended it.
    Canceled {
        /// Why.
        reason: String,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Look after it again at this moment, Unix ms.
    Wait {
        /// When.
        until_ms: i64,
    },
    /// Make this judgement now.
    Judge(Look),
    /// Nothing, ever.
    End,
}

impl State {
    /// The number of the next judgement.
    pub fn next(&self) -> u64 {
        self.judged + 1
    }

    /// What becomes of the run. An event that came before, or is of another judgement than the next, changes nothing.
    #[must_use]
    pub fn after(mut self, course: &Course, event: Event, now_ms: i64) -> (Self, Effect) {
        if self.status.is_complete() {
            return (self, Effect::End);
        }
        match event {
            Event::Tick => {}
            Event::Judged(judged) if judged.number == self.next() => self.take(course, judged),
            Event::Failed {
                number,
                message,
                again_ms,
            } if number == self.next() => {
                let Some(again) = again_ms else {
                    self.exception = Some(message);
                    return self.end(Status::Terminal, now_ms);
                };
                self.attempts += 1;
                self.trouble = Some(message);
                self.started_ms.get_or_insert(now_ms);
                self.status = Status::Running;
                let until_ms = now_ms.saturating_add(i64::try_from(again).unwrap_or(i64::MAX));
                return (self, Effect::Wait { until_ms });
            }
            Event::Judged(_) | Event::Failed { .. } => {}
            Event::Canceled { reason } => {
                self.exception = Some(reason);
                return self.end(Status::Canceled, now_ms);
            }
        }
        if self.is_decided(course) {
            return self.end(Status::Succeeded, now_ms);
        }
        let look = course.pace.look(self.next());
        if look.due_ms > now_ms {
            let until_ms = look.due_ms;
            return (self, Effect::Wait { until_ms });
        }
        (self, Effect::Judge(look))
    }

    fn take(&mut self, course: &Course, judged: Judged) {
        self.judged = judged.number;
        self.attempts = 0;
        self.trouble = None;
        self.status = Status::Running;
        self.started_ms.get_or_insert(judged.at_ms);
        let ends = judged.decision.is_some_and(|d| d != Decision::Continue);
        if ends || course.pace.look(judged.number).is_interval {
            if self.intervals.len() >= MOST_HISTORY {
                self.intervals.remove(MOST_HISTORY / 2);
            }
            let mut interval = judged.clone();
            let others = self.intervals.iter().map(Judged::warned);
            let room = MOST_WARNED.saturating_sub(others.sum());
            shorten(&mut interval.warnings, room);
            self.intervals.push(interval);
        }
        let mut last = judged;
        shorten(&mut last.warnings, MOST_WARNED);
        self.last = Some(last);
    }

    /// Whether what was judged says all.
    fn is_decided(&self, course: &Course) -> bool {
        let Some(last) = &self.last else { return false };
        if self.judged >= course.pace.count() {
            return true;
        }
        match (&course.pace, last.decision) {
            (Pace::Steps { .. }, Some(decision)) => decision != Decision::Continue,
            (Pace::Once | Pace::Steps { .. }, _) => false,
            // "Not above": at the threshold it ends too.
            (Pace::Intervals(plan), _) => {
                plan.stop_at_marginal && (last.score.is_nan() || last.score <= course.marginal)
            }
        }
    }

    fn end(mut self, status: Status, now_ms: i64) -> (Self, Effect) {
        self.status = status;
        self.ended_ms = Some(now_ms);
        (self, Effect::End)
    }
}
