//! Expressions that somebody tries out against an execution. Nothing of it is stored.

use orchestrator_core::{Answers, Env, Execution, Lookup, RefId, Stage, StageId, context};
use proto::status::{Failure, FieldError};
use serde_json::{Map, Value, json};

use crate::engine::Engine;

/// How often an expression that is tried out may ask for something: what it fetches may
/// tell what to fetch next.
const ROUNDS: usize = 4;
/// Variables of one request at the most.
const MOST: usize = 500;

/// Variables to be evaluated one after the other.
pub(super) struct Variables<'a> {
    /// `{key, value, description}` each.
    pub(super) list: Vec<Value>,
    /// Reference ids of the stages that they are evaluated after.
    pub(super) after: Vec<&'a str>,
    /// `v3`, `v4`, or empty for what the execution says.
    pub(super) version: &'a str,
    /// Who asks.
    pub(super) user: &'a str,
}

/// One expression, at a stage if one is named: `{result, detail}`.
pub(super) async fn expression(
    engine: &Engine,
    execution: &Execution,
    stage: &str,
    text: &str,
    user: &str,
) -> Result<Value, Failure> {
    let stage = match stage {
        "" => None,
        id => Some(execution.stage(&StageId::new(id)).ok_or_else(|| {
            Failure::not_found(format!("execution {} has no stage {id}", execution.id))
        })?),
    };
    asking(engine, execution, user, |env| {
        let evaluated = context::try_out(execution, stage, text, user, env)?;
        let detail = expression::summary(&evaluated.failures, env.now);
        Ok(json!({"result": evaluated.value, "detail": detail}))
    })
    .await
}

/// Variables as a stage `evaluateVariables` after the named ones would evaluate them: `{result, detail}`.
///
/// Source: Orca's `POST /pipelines/{id}/evaluateVariables` (specification of the orchestrator, 7.3 and vector 65).
pub(super) async fn variables(
    engine: &Engine,
    mut execution: Execution,
    tried: Variables<'_>,
) -> Result<Value, Failure> {
    check(&execution, &tried)?;
    let list = Value::Array(tried.list);
    let stage = Stage {
        id: StageId::new("evaluateVariables"),
        kind: "evaluateVariables".to_owned(),
        name: "Evaluate Variables".to_owned(),
        requisite_stage_ref_ids: tried.after.into_iter().map(RefId::new).collect(),
        context: Map::from_iter([("variables".to_owned(), list.clone())]),
        ..Stage::default()
    };
    if !tried.version.is_empty() {
        execution.spel_evaluator = Some(tried.version.to_owned());
    }
    let evaluated = asking(engine, &execution, tried.user, |env| {
        context::evaluate_context(&execution, &stage, env)
    });
    let mut context = evaluated.await?.unwrap_or_default();
    let result = context.shift_remove("variables").unwrap_or(list);
    let detail = context.shift_remove(context::SUMMARY);
    Ok(json!({"result": result, "detail": detail.unwrap_or_else(|| json!({}))}))
}

fn check(execution: &Execution, tried: &Variables<'_>) -> Result<(), Failure> {
    let refused = |field: &str, reason: String| {
        let text = format!("{field} {reason}");
        Err(Failure::invalid(text, vec![FieldError::new(field, reason)]))
    };
    if tried.list.len() > MOST {
        let text = format!("has {} entries, {MOST} are allowed", tried.list.len());
        return refused("variables", text);
    }
    for (at, variable) in tried.list.iter().enumerate() {
        if !variable.get("key").is_some_and(Value::is_string) {
            let text = "is missing; write {\"key\": \"name\", \"value\": \"${…}\"}".to_owned();
            return refused(&format!("[{at}].key"), text);
        }
    }
    for id in &tried.after {
        if !execution
            .stages
            .iter()
            .any(|stage| stage.ref_id.as_str() == *id)
        {
            let all: Vec<&str> = execution.stages.iter().map(|s| s.ref_id.as_str()).collect();
            let text = format!("names stage \"{id}\"; there are {}", all.join(", "));
            return refused("requisiteStageRefIds", text);
        }
    }
    match tried.version {
        "" | "v2" | "v3" | "v4" => Ok(()),
        other => refused("spelVersion", format!("is \"{other}\"; use v3 or v4")),
    }
}

/// Evaluates, fetches what that asks for, and evaluates again.
async fn asking<T>(
    engine: &Engine,
    execution: &Execution,
    user: &str,
    evaluate: impl Fn(&Env<'_>) -> Result<T, Vec<Lookup>>,
) -> Result<T, Failure> {
    let mut answers = Answers::new();
    let (now, shard) = (
        engine.now(),
        engine.executions().shard(execution.id.as_str()),
    );
    for _ in 0..ROUNDS {
        // Before anything is waited for, the world is let go of.
        let found = {
            let env = Env {
                now,
                ids: &mut engine.ids(shard),
                answers: &answers,
                stages: engine.inner.ground.stages,
                settings: engine.settings(),
            };
            evaluate(&env)
        };
        match found {
            Ok(evaluated) => return Ok(evaluated),
            Err(lookups) => answers.extend(engine.look_up(lookups, user).await),
        }
    }
    let text = format!("the expression fetches something for the {ROUNDS}th time; split it");
    Err(Failure::invalid(text, Vec::new()))
}
