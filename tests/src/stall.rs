//! How long executions stood still, read from the times they carry when they have ended.

use serde_json::Value;

/// The longest times without progress, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stall {
    /// No stage of any execution ended, although one was open.
    pub of_all: i64,
    /// In one open execution nothing began, ended or was waited for.
    pub of_one: i64,
}

/// The longest stalls of executions that have ended. An execution is open from the moment given with it (its
/// request was answered) or from its own first one, whichever is earlier, until its end.
pub fn longest(executions: &[(Value, Option<i64>)]) -> Stall {
    let (mut stall, mut open, mut ends) = (Stall::default(), Vec::new(), Vec::new());
    for (execution, asked) in executions {
        let mut moments = moments(execution);
        moments.extend(asked);
        moments.sort_unstable();
        let (Some(first), Some(last)) = (moments.first(), moments.last()) else {
            continue;
        };
        open.push((*first, *last));
        ends.extend(stages(execution).filter_map(|stage| stage["endTime"].as_i64()));
        let gaps = moments.windows(2).map(|pair| pair[1] - pair[0]);
        stall.of_one = gaps.fold(stall.of_one, i64::max);
    }
    open.sort_unstable();
    ends.sort_unstable();
    let mut spans: Vec<(i64, i64)> = Vec::new();
    for (begin, end) in open {
        match spans.last_mut() {
            Some(last) if begin <= last.1 => last.1 = last.1.max(end),
            _ => spans.push((begin, end)),
        }
    }
    for (begin, end) in spans {
        let within = ends.iter().filter(|at| (begin..=end).contains(*at));
        let mut last = begin;
        for at in within.chain([&end]) {
            stall.of_all = stall.of_all.max(at - last);
            last = *at;
        }
    }
    stall
}

fn stages(execution: &Value) -> impl Iterator<Item = &Value> {
    execution["stages"].as_array().into_iter().flatten()
}

/// When something happened in an execution, or was to happen: a wait is over when it was to be.
fn moments(execution: &Value) -> Vec<i64> {
    let mut found = Vec::new();
    let mut both = |of: &Value| {
        let times = ["buildTime", "startTime", "endTime"].map(|name| of[name].as_i64());
        found.extend(times.into_iter().flatten().filter(|at| *at > 0));
    };
    both(execution);
    for stage in stages(execution) {
        both(stage);
        stage["tasks"]
            .as_array()
            .into_iter()
            .flatten()
            .for_each(&mut both);
    }
    for stage in stages(execution).filter(|stage| stage["type"] == "wait") {
        let (begun, ended) = (stage["startTime"].as_i64(), stage["endTime"].as_i64());
        let seconds = stage["context"]["waitTime"].as_i64();
        if let (Some(begun), Some(ended), Some(seconds)) = (begun, ended, seconds) {
            found.push((begun + seconds * 1_000).min(ended));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn execution(begin: i64, stages: &[(i64, i64, i64)]) -> Value {
        let end = stages.iter().map(|(_, end, _)| *end).max();
        let stages: Vec<Value> = stages
            .iter()
            .map(|(begin, end, wait)| {
                let kind = if *wait > 0 { "wait" } else { "webhook" };
                json!({"type": kind, "startTime": begin, "endTime": end,
                    "context": {"waitTime": wait}, "tasks": []})
            })
            .collect();
        json!({"buildTime": begin, "startTime": begin, "endTime": end, "stages": stages})
    }

    #[test]
    fn a_wait_is_no_stall_until_it_is_over() {
        let one = execution(1_000, &[(1_000, 4_100, 3), (4_100, 4_200, 0)]);
        let expected = Stall {
            of_all: 3_100,
            of_one: 3_000,
        };
        assert_eq!(longest(&[(one, None)]), expected);
        let late = execution(1_000, &[(1_000, 9_000, 3)]);
        assert_eq!(longest(&[(late, None)]).of_one, 5_000);
    }

    #[test]
    fn another_executions_progress_counts_for_all_and_not_for_one() {
        let slow = execution(1_000, &[(1_000, 10_000, 0)]);
        let quick = execution(4_000, &[(4_000, 5_000, 0)]);
        let found = longest(&[(slow, None), (quick, None)]);
        assert_eq!((found.of_all, found.of_one), (5_000, 9_000));
    }

    #[test]
    fn the_time_from_the_answer_to_the_start_counts_and_idle_time_does_not() {
        let first = execution(9_000, &[(9_000, 9_100, 0)]);
        let later = execution(60_000, &[(60_000, 60_100, 0)]);
        let found = longest(&[(first, Some(2_000)), (later, None)]);
        assert_eq!((found.of_all, found.of_one), (7_100, 7_000));
    }
}
