//! The windows of a run.

use serde::{Deserialize, Serialize};

/// A judge that decides by steps looks no more often during one run; with more steps it looks after several.
pub const MOST_LOOKS: u64 = 20_000;
/// A look waits for this many steps after its window, so that the store has what it judges.
pub const SETTLING_STEPS: u64 = 2;

/// Judgements one after the other; times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Plan {
    /// When the run began, Unix.
    pub start_ms: i64,
    /// Warm-up, which is judged by nobody.
    pub begin_after_ms: u64,
    /// What is judged lasts so long, from the end of the warm-up on.
    pub lifetime_ms: u64,
    /// Between judgements; 0, or more than the lifetime: one judgement at its end.
    pub interval_ms: u64,
    /// Length of a window; 0: from the end of the warm-up on.
    pub lookback_ms: u64,
    /// By how much control's window is earlier.
    pub baseline_offset_ms: u64,
    /// Whether a score that is not above the marginal threshold ends the run.
    pub stop_at_marginal: bool,
}

/// A time that is judged, Unix ms; the end is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// First moment.
    pub start_ms: i64,
    /// The moment behind the last.
    pub end_ms: i64,
}

impl Window {
    /// The same, so much earlier.
    #[must_use]
    pub fn earlier(self, by_ms: u64) -> Self {
        let by = signed(by_ms);
        Self {
            start_ms: self.start_ms.saturating_sub(by),
            end_ms: self.end_ms.saturating_sub(by),
        }
    }
}

/// How a run is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "pace")]
pub enum Pace {
    /// Once, now, over the times that its scopes name.
    Once,
    /// After each interval.
    Intervals(Plan),
    /// After each step, until the judge has decided.
    Steps {
        /// The plan; its intervals are what is kept of the way.
        plan: Plan,
        /// The step, in ms.
        step_ms: u64,
    },
}

/// One judgement of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Counts from 1.
    pub number: u64,
    /// What of the experiment is judged; none: the times that its scopes name.
    pub experiment: Option<Window>,
    /// What of control is.
    pub control: Option<Window>,
    /// Steps still to come after it; 0 for the last.
    pub remaining: u64,
    /// Steps that have passed since its newest value's.
    pub waited: u64,
    /// Not before this moment, Unix ms.
    pub due_ms: i64,
    /// Whether it ends an interval of the plan, and so is kept with its data.
    pub is_interval: bool,
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl Plan {
    /// The interval as it counts.
    fn interval(&self) -> u64 {
        match self.interval_ms {
            0 => self.lifetime_ms.max(1),
            some => some.min(self.lifetime_ms.max(1)),
        }
    }

    /// Where what is judged begins.
    fn begin(&self) -> i64 {
        self.start_ms.saturating_add(signed(self.begin_after_ms))
    }
}

impl Pace {
    /// How many judgements there are, if none ends the run: at least one.
    pub fn count(&self) -> u64 {
        match self {
            Self::Once => 1,
            Self::Intervals(plan) => (plan.lifetime_ms / plan.interval()).max(1),
            Self::Steps { plan, step_ms } => {
                let steps = Self::steps(plan, *step_ms);
                steps.div_ceil(Self::stride(steps))
            }
        }
    }

    /// Whether each window has all of the earlier ones in it.
    pub fn grows(&self) -> bool {
        match self {
            Self::Once | Self::Steps { .. } => true,
            Self::Intervals(plan) => plan.lookback_ms == 0,
        }
    }

    fn steps(plan: &Plan, step_ms: u64) -> u64 {
        (plan.lifetime_ms / step_ms.max(1)).max(1)
    }

    /// Steps from one look to the next.
    fn stride(steps: u64) -> u64 {
        steps.div_ceil(MOST_LOOKS).max(1)
    }

    /// The judgement of this number, from 1 to [`Pace::count`].
    pub fn look(&self, number: u64) -> Look {
        match self {
            Self::Once => Look {
                number,
                experiment: None,
                control: None,
                remaining: 0,
                waited: 0,
                due_ms: i64::MIN,
                is_interval: true,
            },
            Self::Intervals(plan) => {
                let judged = number.saturating_mul(plan.interval());
                let end_ms = plan.begin().saturating_add(signed(judged));
                let start_ms = match plan.lookback_ms {
                    0 => plan.begin(),
                    lookback => end_ms.saturating_sub(signed(lookback)),
                };
                let window = Window { start_ms, end_ms };
                Look {
                    number,
                    experiment: Some(window),
                    control: Some(window.earlier(plan.baseline_offset_ms)),
                    remaining: self.count().saturating_sub(number),
                    waited: 0,
                    due_ms: end_ms,
                    is_interval: true,
                }
            }
            Self::Steps { plan, step_ms } => {
                let steps = Self::steps(plan, *step_ms);
                let stride = Self::stride(steps);
                let done = number.saturating_mul(stride).min(steps);
                let judged = done.saturating_mul(*step_ms);
                let end_ms = plan.begin().saturating_add(signed(judged));
                let before = number.saturating_sub(1).saturating_mul(stride);
                let before = before.saturating_mul(*step_ms);
                // Evidence is of all that was seen: a look-back would forget some of it.
                let window = Window {
                    start_ms: plan.begin(),
                    end_ms,
                };
                let settled = signed(SETTLING_STEPS.saturating_mul(*step_ms));
                Look {
                    number,
                    experiment: Some(window),
                    control: Some(window.earlier(plan.baseline_offset_ms)),
                    remaining: steps - done,
                    waited: SETTLING_STEPS,
                    due_ms: end_ms.saturating_add(settled),
                    is_interval: done == steps
                        || judged / plan.interval() > before / plan.interval(),
                }
            }
        }
    }
}
