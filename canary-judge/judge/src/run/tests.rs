//! Every way in which messages can come late, twice or after a crash ends in the same windows and the same verdict.

use proptest::prelude::*;

use super::*;
use crate::result::Decision;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

fn plan(lifetime: u64, interval: u64) -> Plan {
    Plan {
        start_ms: 1_000_000,
        lifetime_ms: lifetime,
        interval_ms: interval,
        ..Plan::default()
    }
}

fn course(pace: Pace) -> Course {
    Course {
        pace,
        marginal: 50.0,
    }
}

/// What a judgement over this window says: it follows from the window alone.
fn judged(look: &Look, bad_from: i64, at_ms: i64) -> Judged {
    let end = look.experiment.map_or(0, |w| w.end_ms);
    let bad = end > bad_from;
    let decision = match (bad, look.remaining) {
        (true, _) => Decision::Fail,
        (false, 0) => Decision::Inconclusive,
        (false, _) => Decision::Continue,
    };
    Judged {
        number: look.number,
        window: look.experiment,
        control: look.control,
        score: if bad { 0.0 } else { 100.0 },
        classification: String::new(),
        decision: Some(decision),
        digest: format!("{:?}{:?}", look.experiment, look.control),
        at_ms,
        warnings: Vec::new(),
        kept: false,
    }
}

/// What of a run does not depend on when it was looked after.
fn verdict(state: &State) -> (Status, u64, Vec<(u64, String)>) {
    let all = state.intervals.iter();
    let all = all.map(|j| (j.number, j.digest.clone()));
    (state.status, state.judged, all.collect())
}

fn undisturbed(course: &Course, bad_from: i64) -> State {
    let (mut state, mut now, mut event) = (State::default(), 0, Event::Tick);
    loop {
        let (next, effect) = state.after(course, event, now);
        state = next;
        event = match effect {
            Effect::End => return state,
            Effect::Wait { until_ms } => {
                now = until_ms;
                Event::Tick
            }
            Effect::Judge(look) => Event::Judged(judged(&look, bad_from, now)),
        };
    }
}

#[test]
fn windows_grow_from_the_end_of_the_warm_up_or_slide() {
    let grow = Plan {
        begin_after_ms: 2 * MINUTE,
        baseline_offset_ms: MINUTE,
        ..plan(10 * MINUTE, 3 * MINUTE)
    };
    let pace = Pace::Intervals(grow);
    assert_eq!(pace.count(), 3);
    let begin = 1_000_000 + 120_000;
    let look = pace.look(2);
    let window = look.experiment.unwrap();
    assert_eq!((window.start_ms, window.end_ms), (begin, begin + 360_000));
    assert_eq!(look.due_ms, begin + 360_000);
    let control = look.control.unwrap();
    assert_eq!(
        (control.start_ms, control.end_ms),
        (begin - 60_000, begin + 300_000)
    );
    let slide = Pace::Intervals(Plan {
        lookback_ms: MINUTE,
        ..grow
    });
    let window = slide.look(3).experiment.unwrap();
    assert_eq!(
        (window.start_ms, window.end_ms),
        (begin + 480_000, begin + 540_000)
    );
}

#[test]
fn without_an_interval_or_with_too_long_a_one_there_is_one_judgement_at_the_end() {
    for interval in [0, 5 * MINUTE, 6 * MINUTE] {
        let pace = Pace::Intervals(plan(5 * MINUTE, interval));
        assert_eq!(pace.count(), 1);
        assert_eq!(pace.look(1).due_ms, 1_000_000 + 300_000);
    }
    // Nothing to judge is judged once, and the metric store says that there is nothing.
    assert_eq!(Pace::Intervals(plan(0, 0)).count(), 1);
}

#[test]
fn a_judge_by_steps_looks_after_each_step_once_its_data_have_settled() {
    let steps = Pace::Steps {
        plan: plan(10 * SECOND, 4 * SECOND),
        step_ms: SECOND,
    };
    assert_eq!(steps.count(), 10);
    let look = steps.look(3);
    assert_eq!(look.due_ms, 1_000_000 + 3_000 + 2_000);
    assert_eq!(look.remaining, 7);
    let kept: Vec<u64> = (1..=10).filter(|n| steps.look(*n).is_interval).collect();
    assert_eq!(kept, [4, 8, 10]);
    let long = Pace::Steps {
        plan: plan(30_000 * SECOND, 0),
        step_ms: SECOND,
    };
    assert_eq!(long.count(), 15_000);
    assert_eq!(long.look(15_000).remaining, 0);
    assert_eq!(long.look(1).remaining, 29_998);
}

#[test]
fn a_score_at_the_marginal_threshold_ends_a_run_that_stops_there() {
    let stop = |stop_at_marginal| Plan {
        stop_at_marginal,
        ..plan(3 * MINUTE, MINUTE)
    };
    for (stops, score, expected) in [
        (true, 50.0, Effect::End),
        (true, f64::NAN, Effect::End),
        (
            true,
            50.1,
            Effect::Wait {
                until_ms: 1_120_000,
            },
        ),
        (
            false,
            0.0,
            Effect::Wait {
                until_ms: 1_120_000,
            },
        ),
    ] {
        let course = course(Pace::Intervals(stop(stops)));
        let look = course.pace.look(1);
        let event = Event::Judged(Judged {
            score,
            decision: None,
            ..judged(&look, i64::MAX, 1_060_000)
        });
        let (state, effect) = State::default().after(&course, event, 1_060_000);
        assert_eq!(effect, expected, "{stops} {score}");
        let status = if expected == Effect::End {
            Status::Succeeded
        } else {
            Status::Running
        };
        assert_eq!(state.status, status);
    }
}

#[test]
fn a_judgement_that_failed_is_tried_again_and_then_ends_the_run_with_its_reason() {
    let course = course(Pace::Once);
    let failed = |again_ms| Event::Failed {
        number: 1,
        message: "store down".to_owned(),
        again_ms,
    };
    let (state, effect) = State::default().after(&course, failed(Some(500)), 10);
    assert_eq!(effect, Effect::Wait { until_ms: 510 });
    assert_eq!((state.status, state.attempts), (Status::Running, 1));
    let (state, effect) = state.after(&course, failed(None), 520);
    assert_eq!(effect, Effect::End);
    assert_eq!(state.status, Status::Terminal);
    assert_eq!(state.exception.as_deref(), Some("store down"));
    // Whatever still comes changes nothing.
    let late = Event::Canceled {
        reason: "late".to_owned(),
    };
    assert_eq!(
        state.clone().after(&course, late, 530),
        (state, Effect::End)
    );
}

#[test]
fn the_history_of_a_long_run_is_bounded() {
    let course = course(Pace::Intervals(plan(2_000 * SECOND, SECOND)));
    let state = undisturbed(&course, i64::MAX);
    assert_eq!(state.judged, 2_000);
    assert_eq!(state.intervals.len(), 500);
    assert_eq!(state.intervals.first().map(|j| j.number), Some(1));
    assert_eq!(state.intervals.last().map(|j| j.number), Some(2_000));
}

#[test]
fn warnings_do_not_let_a_state_grow_beyond_what_can_be_stored() {
    let course = course(Pace::Intervals(plan(600 * SECOND, SECOND)));
    let (mut state, mut now) = (State::default(), 0);
    let warnings: Vec<String> = (0..1_000)
        .map(|n| format!("metric {n}: {}", "w".repeat(200)))
        .collect();
    for number in 1..=600 {
        let look = course.pace.look(number);
        now = now.max(look.due_ms);
        let event = Event::Judged(Judged {
            warnings: warnings.clone(),
            ..judged(&look, i64::MAX, now)
        });
        (state, _) = state.after(&course, event, now);
    }
    assert_eq!((state.judged, state.intervals.len()), (600, 500));
    let size = serde_json::to_string(&state).unwrap().len();
    assert!(size < 400 * 1024, "{size}");
    let last = &state.last.unwrap().warnings;
    assert!(last.len() > 200, "{}", last.len());
    let rest = last.last().unwrap();
    let lost = 1_001 - last.len();
    assert_eq!(
        *rest,
        format!("{lost} more warnings are not kept with the run")
    );
}

fn paces() -> impl Strategy<Value = Pace> {
    let plans = (0..5_u64, 1..40_u64, 0..12_u64, 0..9_u64, any::<bool>()).prop_map(
        |(warm, life, interval, look, stop)| Plan {
            begin_after_ms: warm * SECOND,
            lookback_ms: look * SECOND,
            stop_at_marginal: stop,
            ..plan(life * SECOND, interval * SECOND)
        },
    );
    (plans, any::<bool>()).prop_map(|(plan, steps)| match steps {
        true => Pace::Steps {
            plan,
            step_ms: SECOND,
        },
        false => Pace::Intervals(plan),
    })
}

proptest! {
    /// A crash forgets what was not committed: here, the outcome of an event. A duplicate delivers one again.
    #[test]
    fn late_messages_duplicates_and_crashes_end_in_the_undisturbed_verdict(
        pace in paces(),
        bad_from in prop_oneof![Just(i64::MAX), 1_000_000..1_040_000_i64],
        faults in prop::collection::vec((0..4_u8, 0..30_000_i64), 0..200),
    ) {
        let course = course(pace);
        let expected = verdict(&undisturbed(&course, bad_from));
        let (mut state, mut now, mut event) = (State::default(), 0, Event::Tick);
        let mut faults = faults.into_iter();
        for _ in 0..2_000 {
            let (next, effect) = state.clone().after(&course, event.clone(), now);
            let (fault, late) = faults.next().unwrap_or((0, 0));
            now += late;
            match fault {
                // The outcome is lost with the process; somebody looks after the run again.
                1 => {
                    event = Event::Tick;
                    continue;
                }
                // It was committed, the answer was lost: the same comes again.
                2 => {
                    state = next;
                    continue;
                }
                // A judgement of an earlier time comes now.
                3 if next.judged > 0 => {
                    state = next.clone();
                    event = Event::Judged(judged(&course.pace.look(1), bad_from, now));
                    continue;
                }
                _ => state = next,
            }
            event = match effect {
                Effect::End => break,
                Effect::Wait { until_ms } => {
                    now = now.max(until_ms);
                    Event::Tick
                }
                Effect::Judge(look) => {
                    prop_assert!(look.due_ms <= now);
                    Event::Judged(judged(&look, bad_from, now))
                }
            };
        }
        prop_assert!(state.status.is_complete());
        prop_assert_eq!(verdict(&state), expected);
    }

    /// The state survives being written.
    #[test]
    fn a_state_is_read_as_it_was_written(pace in paces(), bad_from in 1_000_000..1_040_000_i64) {
        let course = course(pace);
        let state = undisturbed(&course, bad_from);
        let text = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        let text = serde_json::to_string(&course).unwrap();
        prop_assert_eq!(serde_json::from_str::<Course>(&text).unwrap(), course);
    }
}
