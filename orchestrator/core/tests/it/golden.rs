//! What the real Orca made of pipelines, and what we make of them: the statuses, the
//! stages with their order, tasks, outputs and contexts, and the JSON that is served.
//! The tasks are toys that answer as Orca's did; the engine is ours.

use orchestrator_core::{
    Answers, Effects, Env, Execution, ExecutionId, ExecutionType, Settings, StageId, Status,
    Subject, Target, TaskError, TaskResult, TaskRun, command, context, dry_run_result,
    new_execution, testing::CountedIds,
};
use serde_json::{Map, Value, json};

pub(crate) use self::catalog::OrcaCatalog;
use crate::runner::Runner;

mod catalog;

/// Where we differ on purpose, by case: what is compared then is the execution's status.
const DIFFERENT: [(&str, &str); 3] = [
    // Orca, as configured by default, waited the whole time in a dry run.
    ("dryrun-trigger", "SUCCEEDED"),
    // Orca waits for ever for a stage that does not exist: it was RUNNING when the
    // recording ended.
    ("dag-missing-requisite", "TERMINAL"),
    // Orca refuses nothing and does nothing when a stage that runs is restarted; we
    // refuse. It ends the same.
    ("restart-running", "SUCCEEDED"),
];

/// Keys of contexts that hold texts of our own.
fn own_text(case: &str, key: &str) -> bool {
    match case {
        // Orca's text lists all stage types it knows.
        "dag-unknown-type" | "waitforcondition-group" => key == "exception",
        // It was recorded without a user at its door; ours always has one.
        "mj-propagate-auth" => matches!(
            key,
            "exception" | "expressionEvaluationSummary" | "variables" | "lastModifiedBy" | "u"
        ),
        _ => false,
    }
}

fn cases() -> Vec<Value> {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/orca-executions.jsonl"
    );
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The execution of a post.
fn name(number: usize) -> ExecutionId {
    ExecutionId::new(format!("<exec{}>", number + 1))
}

fn started(case: &Value) -> Runner {
    let posts = match &case["post"] {
        Value::Array(posts) => posts.clone(),
        one => vec![one.clone()],
    };
    let mut ids = CountedIds::default();
    let mut all = posts.iter().enumerate().map(|(number, post)| {
        let kind = ExecutionType::Pipeline;
        new_execution(kind, post, name(number), "tester", 1_000, &mut ids).unwrap()
    });
    let mut runner = Runner::new(all.next().unwrap())
        .of(&OrcaCatalog)
        .answering(answer);
    all.for_each(|start| runner.add(start));
    runner
}

fn execution(runner: &Runner, number: usize) -> Execution {
    match &runner.subjects[&Target::Execution(name(number))] {
        Subject::Execution(execution) => (**execution).clone(),
        Subject::PipelineGate(_) => unreachable!(),
    }
}

/// What Orca's tasks answered.
fn answer(run: &TaskRun, execution: &Execution) -> Result<TaskResult, TaskError> {
    if let Some(result) = dry_run_result(&run.task_type) {
        return Ok(result);
    }
    let stage = execution.stage(&run.stage_id).unwrap();
    let own = &stage.context;
    Ok(match run.task_type.as_str() {
        // One second between two runs.
        "wait" => {
            let seconds = own["waitTime"].as_u64().unwrap();
            let over = u64::from(run.number) > seconds || own.contains_key("skipRemainingWait");
            if over {
                TaskResult::succeeded()
            } else {
                TaskResult::running()
            }
        }
        // One minute of a week, or any time.
        "suspendExecutionDuringTimeWindow"
            if own["restrictedExecutionWindow"]["days"].is_array() =>
        {
            TaskResult::running()
        }
        "suspendExecutionDuringTimeWindow" => TaskResult::succeeded(),
        "waitForJudgment" => match own.get("judgmentStatus").and_then(Value::as_str) {
            Some("continue") => TaskResult::succeeded(),
            Some("stop") => TaskResult::status(Status::Terminal),
            _ => TaskResult::running(),
        },
        "evaluateVariables" => {
            let variables = own["variables"].as_array().unwrap().iter();
            let found = variables.map(|v| (text(v, "key").to_owned(), v["value"].clone()));
            TaskResult {
                outputs: found.collect(),
                ..TaskResult::succeeded()
            }
        }
        "checkPrecondition" => precondition(execution, &run.stage_id),
        other => return Err(TaskError::permanent(format!("no toy for {other}"))),
    })
}

fn precondition(execution: &Execution, stage: &StageId) -> TaskResult {
    let stage = execution.stage(stage).unwrap();
    let mut asked = stage.context["context"].clone();
    let written = match &asked["expression"] {
        Value::String(text) if text.contains("${") => text.clone(),
        Value::String(text) => format!("${{{text}}}"),
        other => other.to_string(),
    };
    let (answers, settings, mut ids) = (Answers::new(), Settings::default(), CountedIds::default());
    let env = Env {
        now: 1_000,
        ids: &mut ids,
        answers: &answers,
        stages: &OrcaCatalog,
        settings: &settings,
    };
    let value = context::evaluate(execution, Some(stage), &written.into(), &env)
        .unwrap()
        .value;
    let result = value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned);
    let status = if result == "true" {
        Status::Succeeded
    } else {
        Status::Terminal
    };
    asked["expressionResult"] = result.into();
    TaskResult::status(status).with_context("context", asked)
}

/// Does what was done while it was recorded.
fn act(runner: &mut Runner, action: &Value) {
    if let Some(when) = action["when"].as_array() {
        let (what, status) = (when[0].as_str().unwrap(), when[1].as_str().unwrap());
        runner.until(|runner| {
            let execution = execution(runner, 0);
            let stage = execution.stages.iter().find(|s| s.ref_id.as_str() == what);
            let stands = if what == "EXEC" {
                Some(execution.status)
            } else {
                stage.map(|s| s.status)
            };
            stands.is_some_and(|s| s.as_str() == status)
        });
    }
    // Tenths, since one delay is a second and a half.
    let tenths = (action["delay"].as_f64().unwrap_or(0.0) * 10.0)
        .to_string()
        .parse::<i64>();
    let at = runner.now + tenths.unwrap() * 100;
    runner.until(|runner| runner.next_at().is_none_or(|next| next > at));
    runner.now = at;
    let execution = execution(runner, 0);
    let stage = execution
        .stages
        .iter()
        .find(|s| Some(s.ref_id.as_str()) == action["stage"].as_str());
    let now = runner.now;
    let effects = match text(action, "op") {
        "cancel" => command::cancel(&execution, "anonymous", action["reason"].as_str()),
        "restart" => command::restart_stage(&execution, &stage.unwrap().id, "anonymous"),
        "patch" => {
            let mut body: Map<String, Value> = action["body"].as_object().unwrap().clone();
            body.insert("lastModifiedBy".into(), "anonymous".into());
            let id = &stage.unwrap().id;
            command::update_stage(&execution, id, body, "anonymous", now, &OrcaCatalog)
        }
        other => panic!("no action {other}"),
    };
    // What Orca accepts without doing anything is refused here.
    let effects: Effects = effects.unwrap_or_default();
    runner.apply(&Target::Execution(name(0)), effects);
}

/// A stage's own part of what is compared.
fn shape(stage: &Value) -> Value {
    let tasks: Vec<Value> = stage["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| {
            json!([
                t["name"],
                t["status"],
                t["stageStart"],
                t["stageEnd"],
                t["loopStart"],
                t["loopEnd"]
            ])
        })
        .collect();
    json!({
        "refId": stage["refId"], "type": stage["type"], "name": stage["name"],
        "status": stage["status"], "requisites": stage["requisiteStageRefIds"],
        "owner": stage["syntheticStageOwner"], "tasks": tasks,
    })
}

/// Times and identities as the recording has them.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                let time = matches!(key.as_str(), "timestamp" | "restartTime");
                (
                    key.clone(),
                    if time { json!("<ts>") } else { normal(value) },
                )
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.iter().map(normal).collect(),
        other => other.clone(),
    }
}

fn compare(case: &str, number: usize, ours: &Execution, theirs: &Value) {
    let at = format!("{case}, execution {number}");
    let ours = ours.to_json();
    if let Some((_, status)) = DIFFERENT.iter().find(|(name, _)| *name == case) {
        assert_eq!(ours["status"], *status, "{at}");
        return;
    }
    let stages = |execution: &Value| execution["stages"].as_array().unwrap().clone();
    let shapes = |execution: &Value| stages(execution).iter().map(shape).collect::<Vec<_>>();
    assert_eq!(shapes(&ours), shapes(theirs), "{at}");
    for (own, recorded) in stages(&ours).iter().zip(stages(theirs)) {
        let at = format!("{at}, stage {}", own["refId"]);
        for part in ["context", "outputs"] {
            let (own, recorded) = (normal(&own[part]), normal(&recorded[part]));
            let keys = |value: &Value| {
                value
                    .as_object()
                    .unwrap()
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
            };
            for key in keys(&own).iter().chain(&keys(&recorded)) {
                if !own_text(case, key) {
                    assert_eq!(own[key], recorded[key], "{at}, {part}, {key}");
                }
            }
        }
    }
    served(&at, case, &ours, theirs);
}

/// Every field that Orca serves is served, with the same value unless it is a time,
/// an id or the name of a class.
fn served(at: &str, case: &str, ours: &Value, theirs: &Value) {
    for (key, recorded) in theirs.as_object().unwrap() {
        let differs = match key.as_str() {
            "stages" | "buildTime" | "startTime" | "endTime" => true,
            // The text of the request that failed it is served besides.
            "systemNotifications" => case == "dag-empty",
            // Recorded without a user at its door.
            "authentication" => true,
            _ => false,
        };
        if differs {
            assert!(ours.get(key).is_some(), "{at}: {key} is missing");
        } else {
            assert_eq!(ours[key], *recorded, "{at}, {key}");
        }
    }
    let fields = |stage: &Value| {
        stage
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    for (own, recorded) in ours["stages"]
        .as_array()
        .unwrap()
        .iter()
        .zip(theirs["stages"].as_array().unwrap())
    {
        for key in fields(recorded) {
            assert!(
                own.get(&key).is_some(),
                "{at}, stage {}: {key} is missing",
                own["refId"]
            );
        }
        // A stage that cannot be planned has begun here, but not in Orca.
        for key in fields(own).into_iter().filter(|key| key != "startTime") {
            assert!(
                recorded.get(&key).is_some(),
                "{at}, stage {}: {key} is not Orca's",
                own["refId"]
            );
        }
        for (own, recorded) in own["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .zip(recorded["tasks"].as_array().unwrap())
        {
            let (mut own, mut recorded) = (fields(own), fields(recorded));
            own.sort();
            recorded.sort();
            assert_eq!(own, recorded, "{at}: fields of a task");
        }
    }
}

#[test]
fn executions_are_what_the_real_orca_made_of_them() {
    let cases = cases();
    assert!(cases.len() >= 30, "the fixture is not whole");
    for case in cases {
        let id = text(&case, "id");
        let mut runner = started(&case);
        for action in case["actions"].as_array().unwrap() {
            act(&mut runner, action);
        }
        let unended = case["executions"][0]["status"] == "RUNNING" && id != "dag-missing-requisite";
        let runner = if unended {
            // It had not ended when the recording did.
            runner.until(|runner| runner.now > 200_000);
            runner
        } else {
            runner.end()
        };
        for (number, theirs) in case["executions"].as_array().unwrap().iter().enumerate() {
            compare(id, number, &execution(&runner, number), theirs);
        }
    }
}
