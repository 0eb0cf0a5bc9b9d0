//! Whether the metric stores can serve what a run will ask them for. Told when it is started: hours later nobody could
//! do anything about it, and a healthy canary would end for it.

use judge::run::{Look, Pace};
use proto::history::LATE_MS;
use proto::status::Failure;

use super::judgement::Matter;
use super::status::iso_duration;
use crate::query::{Question, Scope};
use crate::request::Side;

/// Values that one judgement reads at the most: some 500 MB with all that is made of them.
pub(super) const MOST_VALUES: u64 = 10_000_000;

/// Checks the last and the first look of a run: windows are longest, and begin longest ago, in one of them.
///
/// # Errors
/// `Invalid`, with the field, how much there may be, and the remedies.
pub(super) fn check(matter: &Matter, pace: &Pace, now_ms: i64) -> Result<(), Failure> {
    for look in [pace.look(pace.count()), pace.look(1)] {
        let mut values = 0_u64;
        for (position, side, question) in matter.questions(&look) {
            let source = matter.source(position);
            let source = source.map_err(|trouble| Failure::internal(trouble.message))?;
            let scope = &question.scope;
            let (window_ms, step_ms) = (window_ms(scope), step_ms(scope));
            let fault = |message| {
                let field = field(matter, pace, (position, side));
                Err(Failure::field(field, message))
            };
            let longest_ms = source.longest_ms(step_ms);
            if window_ms > longest_ms {
                return fault(format!(
                    "{} would be asked for {} at once, and serves at most {} with a step of {} s: {}",
                    named(source.kind(), &question),
                    duration(window_ms),
                    duration(longest_ms),
                    scope.step_s,
                    remedy(pace)
                ));
            }
            if let Some(remembered_ms) = source.remembered_ms() {
                let age_ms = age(&look, &question, now_ms);
                if age_ms > remembered_ms {
                    return fault(format!(
                        "{} would be asked for what was {} ago, and remembers {}: take {} off, or use a metric \
                         store that keeps its values",
                        named(source.kind(), &question),
                        duration(age_ms),
                        duration(remembered_ms),
                        duration(age_ms - remembered_ms)
                    ));
                }
            }
            values = values.saturating_add(values_of(scope));
            if values > MOST_VALUES {
                return fault(format!(
                    "one judgement would read more than {MOST_VALUES} values: {}, or judge fewer metrics",
                    remedy(pace)
                ));
            }
        }
    }
    Ok(())
}

fn window_ms(scope: &Scope) -> u64 {
    let window_ms = scope.end_ms.saturating_sub(scope.start_ms);
    u64::try_from(window_ms).unwrap_or(0)
}

fn step_ms(scope: &Scope) -> u64 {
    scope.step_s.saturating_mul(1_000).max(1)
}

/// Values that a store answers of one series.
pub(super) fn values_of(scope: &Scope) -> u64 {
    window_ms(scope).div_ceil(step_ms(scope))
}

/// How old the first value of a window is when it is judged, at the latest, ms.
fn age(look: &Look, question: &Question, now_ms: i64) -> u64 {
    let asked_ms = look.due_ms.max(now_ms).saturating_add(LATE_MS.into());
    let age_ms = asked_ms.saturating_sub(question.scope.start_ms);
    u64::try_from(age_ms).unwrap_or(0)
}

fn named(kind: &str, question: &Question) -> String {
    format!("{kind}, for metric '{}',", question.metric)
}

fn duration(ms: u64) -> String {
    iso_duration(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// What decides how long a window is.
fn field(matter: &Matter, pace: &Pace, (position, side): (usize, Side)) -> String {
    match pace {
        Pace::Once => {
            let name = matter.scope_name(position);
            format!("scopes.{name}.{}Scope.start", side.name())
        }
        Pace::Intervals(plan) if plan.lookback_ms > 0 => "plan.lookbackMs".to_owned(),
        Pace::Intervals(_) | Pace::Steps { .. } => "plan.lifetimeMs".to_owned(),
    }
}

fn remedy(pace: &Pace) -> &'static str {
    match pace {
        Pace::Once => "give a longer step or a later start",
        Pace::Intervals(plan) if plan.lookback_ms > 0 => {
            "give a longer step or a shorter look-back"
        }
        Pace::Intervals(_) => "give a longer step, a shorter lifetime or a look-back",
        Pace::Steps { .. } => "give a longer step or a shorter lifetime",
    }
}
