//! Whether a run came to the same as the undisturbed one. Pure: what was seen in, what is wrong out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tests::effects::Ledger;
use tests::gate;

use super::watch::{Left, Shown};
use super::work::{LIMIT, number, variant};

/// Who asks for something outside: number, pipeline, stage.
pub(crate) type Place = (usize, String, String);

/// What a start came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Of the execution.
    status: String,
    /// Of each stage, by name.
    stages: BTreeMap<String, String>,
    /// The same of what it started.
    children: Vec<Outcome>,
    /// How often each was done outside, by pipeline and stage.
    effects: BTreeMap<(String, String), usize>,
}

impl Outcome {
    fn of(execution: &Value, all: &BTreeMap<String, Value>) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let listed = execution["stages"].as_array().into_iter().flatten();
        let stages = listed.map(|stage| (text(&stage["name"]), text(&stage["status"])));
        let of_it = |child: &&Value| child["trigger"]["parentExecution"]["id"] == execution["id"];
        let children = all.values().filter(of_it);
        Self {
            status: text(&execution["status"]),
            stages: stages.collect(),
            children: children.map(|child| Self::of(child, all)).collect(),
            effects: BTreeMap::new(),
        }
    }

    /// Every status in it.
    pub(crate) fn statuses(&self) -> BTreeSet<&str> {
        let own = self.stages.values().chain([&self.status]);
        let children = self.children.iter().flat_map(Self::statuses);
        own.map(String::as_str).chain(children).collect()
    }
}

/// What every start came to, several if it was begun several times.
pub(crate) fn outcomes(
    executions: &BTreeMap<String, Value>,
    ledger: &Ledger<Place>,
) -> BTreeMap<usize, Vec<Outcome>> {
    let mut found: BTreeMap<usize, Vec<Outcome>> = BTreeMap::new();
    for execution in executions.values() {
        let Some(number) = number(execution) else {
            continue;
        };
        let mut outcome = Outcome::of(execution, executions);
        let from = (number, String::new(), String::new());
        let to = (number + 1, String::new(), String::new());
        for ((_, pipeline, stage), asked) in ledger.places.range(from..to) {
            let place = (pipeline.clone(), stage.clone());
            outcome.effects.insert(place, asked.done);
        }
        found.entry(number).or_default().push(outcome);
    }
    found
}

/// What the undisturbed run came to, by kind of start.
pub(crate) type Expected = BTreeMap<(&'static str, bool), Outcome>;

/// The undisturbed run's outcomes, of which no two of one kind may differ.
pub(crate) fn expected(outcomes: BTreeMap<usize, Vec<Outcome>>) -> Expected {
    let mut expected = Expected::new();
    for (number, several) in outcomes {
        for outcome in several {
            let known = expected
                .entry(variant(number))
                .or_insert_with(|| outcome.clone());
            assert_eq!(*known, outcome, "start {number} without any disturbance");
        }
    }
    expected
}

/// What is wrong with what these starts came to.
pub(crate) fn faults(
    expected: &Expected,
    numbers: impl Iterator<Item = usize>,
    outcomes: &BTreeMap<usize, Vec<Outcome>>,
    ledger: &Ledger<Place>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for number in numbers {
        let kind = variant(number);
        match outcomes.get(&number).map(Vec::as_slice) {
            None => faults.push(format!("start {number} {kind:?} has no execution")),
            Some([one]) if expected.get(&kind) == Some(one) => {}
            Some([one]) => faults.push(format!(
                "start {number} {kind:?} came to {one:?}\n  instead of {:?}",
                expected.get(&kind)
            )),
            Some(several) => faults.push(format!(
                "start {number} {kind:?} has {} executions",
                several.len()
            )),
        }
        let from = (number, String::new(), String::new());
        let to = (number + 1, String::new(), String::new());
        for (place, asked) in ledger.places.range(from..to) {
            if asked.keys.len() != 1 || asked.keys.contains("") {
                faults.push(format!("{place:?} asked under the keys {:?}", asked.keys));
            }
        }
    }
    faults
}

/// The terminal statuses that were left, and those that were shown and are not what they were shown as.
pub(crate) fn left(shown: &[Shown], executions: &BTreeMap<String, Value>) -> Vec<Left> {
    let mut all: Vec<Left> = shown.iter().flat_map(|shown| shown.left.clone()).collect();
    for (execution, stage, status) in shown.iter().flat_map(Shown::terminal) {
        let Some(found) = executions.get(execution) else {
            continue;
        };
        let stages = found["stages"].as_array().into_iter().flatten();
        let now = match stage {
            "" => Some(found),
            id => stages.into_iter().find(|stage| stage["id"] == id),
        };
        let now = now.and_then(|now| now["status"].as_str()).unwrap_or("gone");
        if now != status {
            all.push(Left {
                execution: execution.to_owned(),
                stage: stage.to_owned(),
                from: status.to_owned(),
                to: now.to_owned(),
            });
        }
    }
    all
}

/// The most executions of `limited` that ran at the same time, by the times they carry.
pub(crate) fn most_at_once<'a>(executions: impl Iterator<Item = &'a Value>) -> usize {
    let mut moments = Vec::new();
    for execution in executions.filter(|execution| execution["name"] == "limited") {
        let time = |key: &str| execution[key].as_i64();
        if let (Some(begun), Some(ended)) = (time("startTime"), time("endTime")) {
            // Who ends makes place for who begins in the same millisecond.
            moments.extend([(begun, 1), (ended, -1)]);
        }
    }
    moments.sort_unstable();
    let (mut now, mut most) = (0_i32, 0);
    for (_, change) in moments {
        now += change;
        most = most.max(now);
    }
    usize::try_from(most).unwrap_or_default()
}

/// Nothing that was to be terminal is open, and nobody passed the limit.
pub(crate) fn unfinished(executions: &BTreeMap<String, Value>) -> Vec<String> {
    let open = executions.values().filter(|e| !gate::is_complete(e));
    let mut faults: Vec<String> = open.map(gate::outline).collect();
    let most = most_at_once(executions.values());
    if most > LIMIT {
        faults.push(format!("{most} of limited ran at the same time"));
    }
    faults
}

#[cfg(test)]
mod controls {
    use serde_json::json;
    use tests::effects::Asked;

    use super::*;

    fn ledger(key: &str, done: usize) -> Ledger<Place> {
        let asked = Asked {
            keys: [key.to_owned()].into(),
            done,
        };
        let places = [((0, "chain".to_owned(), "First".to_owned()), asked)];
        Ledger {
            places: places.into(),
            repeats: 0,
        }
    }

    fn executions(status: &str) -> BTreeMap<String, Value> {
        let execution = json!({"id": "e", "name": "chain", "status": status,
            "trigger": {"payload": {"number": 0}},
            "stages": [{"id": "s", "name": "First", "status": status}]});
        [("e".to_owned(), execution)].into()
    }

    fn found(executions: &BTreeMap<String, Value>, ledger: &Ledger<Place>) -> usize {
        let calm = (self::executions("SUCCEEDED"), self::ledger("k", 1));
        let expected = expected(outcomes(&calm.0, &calm.1));
        faults(&expected, 0..1, &outcomes(executions, ledger), ledger).len()
    }

    #[test]
    fn another_status_a_repeat_a_second_key_and_a_lost_or_doubled_start_are_each_found() {
        assert_eq!(found(&executions("SUCCEEDED"), &ledger("k", 1)), 0);
        assert_eq!(found(&executions("TERMINAL"), &ledger("k", 1)), 1);
        assert_eq!(found(&executions("SUCCEEDED"), &ledger("k", 2)), 1);
        assert_eq!(found(&executions("SUCCEEDED"), &ledger("", 1)), 1);
        assert_eq!(found(&BTreeMap::new(), &ledger("k", 1)), 1);
        let mut two = executions("SUCCEEDED");
        two.insert("f".to_owned(), two["e"].clone());
        assert_eq!(found(&two, &ledger("k", 1)), 1);
        let mut second = ledger("k", 1);
        let asked = second.places.values_mut().next().unwrap();
        asked.keys.insert("another".to_owned());
        assert_eq!(found(&executions("SUCCEEDED"), &second), 1);
    }

    #[test]
    fn what_was_shown_as_ended_must_be_what_it_was_shown_as() {
        let mut shown = Shown::default();
        shown.note("e", "s", "SUCCEEDED");
        let shown = [shown];
        assert_eq!(left(&shown, &executions("SUCCEEDED")), []);
        assert_eq!(left(&shown, &executions("TERMINAL")).len(), 1);
    }

    #[test]
    fn a_place_is_free_the_moment_its_holder_ends() {
        let run = |from: i64, to: i64| json!({"name": "limited", "startTime": from, "endTime": to});
        assert_eq!(most_at_once([run(1, 5), run(5, 9), run(2, 6)].iter()), 2);
    }
}
