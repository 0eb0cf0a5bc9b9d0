//! The helper functions (`#toJson(…)`, `#stage(…)`): one list, and no other way to add
//! one. A new function is a row here and a function in one of the three files.
//!
//! Truth: `orca: pipeline/expressions/functions`, `kork: ExpressionsSupport`.

mod convert;
mod execution;
mod lookup;
mod yaml;

pub(crate) use execution::scm_info;

use crate::ast::{Access, Expr, Kind};
use crate::error::{Fault, Stop, Syntax};
use crate::eval::{Eval, Machine};
use crate::value::Val;

/// What a function does with its arguments; the execution it takes from the machine.
type Call = for<'a> fn(&mut Machine<'a>, &[Val<'a>]) -> Eval<'a>;

struct Function {
    name: &'static str,
    /// Whether Orca passes the execution as first argument, which shows in messages.
    execution: bool,
    least: usize,
    most: usize,
    call: Call,
}

const fn plain(name: &'static str, arity: usize, call: Call) -> Function {
    Function {
        name,
        execution: false,
        least: arity,
        most: arity,
        call,
    }
}

const fn of_execution(name: &'static str, arity: usize, call: Call) -> Function {
    Function {
        name,
        execution: true,
        least: arity,
        most: arity,
        call,
    }
}

const MANY: usize = usize::MAX;

/// Every function.
const FUNCTIONS: &[Function] = &[
    plain("alphanumerical", 1, convert::alphanumerical),
    plain("toInt", 1, convert::to_int),
    plain("toFloat", 1, convert::to_float),
    plain("toBoolean", 1, convert::to_boolean),
    plain("toBase64", 1, convert::to_base64),
    plain("fromBase64", 1, convert::from_base64),
    plain("toJson", 1, convert::to_json),
    plain("doNotEval", 1, convert::do_not_eval),
    plain("readJson", 1, convert::read_json),
    plain("readYaml", 1, yaml::read_yaml),
    plain("readAllYaml", 1, yaml::read_all_yaml),
    plain("fromUrl", 1, lookup::from_url),
    plain("jsonFromUrl", 1, lookup::json_from_url),
    plain("yamlFromUrl", 1, lookup::yaml_from_url),
    plain("propertiesFromUrl", 1, lookup::properties_from_url),
    plain("fetchReference", 1, lookup::fetch_reference),
    plain("applicationMetadata", 1, lookup::application_metadata),
    plain("canaryConfigNameToId", 2, lookup::canary_config_id),
    of_execution("pipelineId", 1, lookup::pipeline_id),
    of_execution("pipelineIdOrNull", 1, lookup::pipeline_id_or_null),
    of_execution(
        "pipelineIdInApplication",
        2,
        lookup::pipeline_id_in_application,
    ),
    plain("currentUser", 0, execution::current_user),
    of_execution("currentStage", 0, execution::current_stage),
    of_execution("stage", 1, execution::stage),
    of_execution("stageByRefId", 1, execution::stage_by_ref_id),
    of_execution("stageExists", 1, execution::stage_exists),
    of_execution("judgment", 1, execution::judgment),
    of_execution("judgement", 1, execution::judgment),
    Function {
        name: "deployedServerGroups",
        execution: true,
        least: 0,
        most: MANY,
        call: execution::deployed_server_groups,
    },
    of_execution("manifestLabelValue", 3, execution::manifest_label_value),
    of_execution("triggerResolvedArtifact", 1, execution::trigger_artifact),
    of_execution(
        "triggerResolvedArtifactByType",
        1,
        execution::trigger_artifact_by_type,
    ),
    of_execution("resolvedArtifacts", 0, execution::resolved_artifacts),
    of_execution("cfServiceKey", 1, execution::service_key),
];

fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Calls a function by its name.
pub(crate) fn call<'a>(machine: &mut Machine<'a>, name: &str, args: &[Val<'a>]) -> Eval<'a> {
    let Some(function) = find(name) else {
        let mut fault = Fault::spel("EL1006E", format!("Function '{name}' could not be found"));
        if let Some(near) = nearest(name) {
            fault = fault.suggest(format!("did you mean #{near}(…)?"));
        }
        return Err(fault.into());
    };
    if !(function.least..=function.most).contains(&args.len()) {
        let implied = usize::from(function.execution);
        let text = format!(
            "Incorrect number of arguments for function, {} supplied but function takes {}",
            args.len() + implied,
            function.least + implied
        );
        return Err(Fault::spel("EL1014E", text).into());
    }
    machine.charge(1)?;
    (function.call)(machine, args).map_err(|stop| match stop {
        Stop::Fault(fault) => {
            let text = format!(
                "A problem occurred whilst attempting to invoke the function '{name}': 'null'"
            );
            fault.around("EL1023E", text).into()
        }
        Stop::Mismatch => {
            let text = format!("Type conversion problem, cannot convert the arguments of #{name}");
            Fault::spel("EL1001E", text).into()
        }
        Stop::Need => stop,
    })
}

/// The text as Orca shows it: the execution written out as first argument.
pub(crate) fn with_execution(text: &str) -> String {
    let mut written = text.to_owned();
    for function in FUNCTIONS.iter().filter(|function| function.execution) {
        let call = format!("#{}(", function.name);
        if written.contains(&call) {
            written = written.replace(&call, &format!("{call} #root.execution, "));
        }
    }
    let called = "#deployedServerGroups( #root.execution, ";
    if !written.contains(called) {
        written = written.replace(
            "deployedServerGroups",
            "#deployedServerGroups( #root.execution)",
        );
    }
    written
}

/// The function with the name most like this one, if it is like it at all.
fn nearest(name: &str) -> Option<&'static str> {
    FUNCTIONS
        .iter()
        .map(|function| (distance(name, function.name), function.name))
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4)
        .map(|(_, near)| near)
}

/// How many letters must be changed, added or removed, in either case of letters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().take(64).enumerate() {
        let mut before = std::mem::replace(row.first_mut().unwrap_or(&mut 0), i + 1);
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let cost = before + usize::from(x != *y);
            before = *cell;
            left = cost.min(left + 1).min(*cell + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Refuses calls of functions that do not exist, for checking a text before it runs.
pub(crate) fn check(expr: &Expr) -> Result<(), Syntax> {
    let all = |exprs: &[Expr]| exprs.iter().try_for_each(check);
    let access = |access: &Access| match access {
        Access::Property(_) => Ok(()),
        Access::Method(_, args) => all(args),
        Access::Index(inner) | Access::Project(inner) | Access::Select(_, inner) => check(inner),
    };
    match &expr.kind {
        Kind::Function(name, args) => {
            if find(name).is_none() {
                let problem = format!("Function '{name}' could not be found");
                let error = Syntax::at(expr.at, "EL1006E", problem);
                return Err(match nearest(name) {
                    Some(near) => error.suggest(format!("did you mean #{near}(…)?")),
                    None => error,
                });
            }
            all(args)
        }
        Kind::List(items) | Kind::New(_, items) | Kind::NewArray(_, items) => all(items),
        Kind::Map(entries) => entries
            .iter()
            .try_for_each(|(key, value)| check(key).and_then(|()| check(value))),
        Kind::Start(start) => access(start),
        Kind::Chain(start, links) => {
            check(start)?;
            links.iter().try_for_each(|link| access(&link.access))
        }
        Kind::Unary(_, inner) | Kind::Step(_, _, inner) | Kind::NewSized(_, inner) => check(inner),
        Kind::Infix(first, rest) => {
            check(first)?;
            rest.iter().try_for_each(|(_, operand)| check(operand))
        }
        Kind::Power(a, b) | Kind::Compare(_, a, b) | Kind::Elvis(a, b) | Kind::Assign(a, b) => {
            check(a)?;
            check(b)
        }
        Kind::Ternary(a, b, c) => {
            check(a)?;
            check(b)?;
            check(c)
        }
        Kind::Null
        | Kind::Bool(_)
        | Kind::Int(_)
        | Kind::Long(_)
        | Kind::Real(_)
        | Kind::Float(_)
        | Kind::Text(_)
        | Kind::Variable(_)
        | Kind::Bean(_)
        | Kind::Type(_) => Ok(()),
    }
}
