//! Functions that read the execution: its stages, judgments, server groups, manifests,
//! artifacts. They see the JSON in the root's `execution` and nothing else.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::convert::{null_pointer, text};
use crate::bean::{Bean, BeanKind, field, stages};
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine};
use crate::method::{Component, variable};
use crate::value::{MapVal, Val};

/// The execution, without which none of these functions has a meaning.
fn execution<'a>(m: &Machine<'a>) -> Result<&'a Map<String, Value>, Stop> {
    m.scope
        .root
        .get("execution")
        .and_then(Value::as_object)
        .ok_or_else(|| Fault::helper("An execution is required for this function").into())
}

fn id(execution: &Map<String, Value>) -> &str {
    field(execution, "id").unwrap_or_default()
}

/// The first stage that fits.
fn find<'a>(
    execution: &'a Map<String, Value>,
    fits: impl Fn(&Map<String, Value>) -> bool,
) -> Option<Bean<'a>> {
    stages(execution)
        .find(|stage| fits(stage))
        .map(|stage| Bean::stage(stage, execution))
}

fn is_called(stage: &Map<String, Value>, name_or_id: Option<&str>) -> bool {
    name_or_id.is_some() && (field(stage, "name") == name_or_id || field(stage, "id") == name_or_id)
}

fn is(stage: &Map<String, Value>, key: &str, value: &str) -> bool {
    field(stage, key) == Some(value)
}

/// A key of a stage's context, its ancestors' outputs included.
fn context<'a>(stage: &Bean<'a>, key: &str) -> Val<'a> {
    let Some(context) = stage.context() else {
        return Val::Null;
    };
    let inherited = || {
        context
            .heir
            .and_then(|heir| crate::bean::inherited(heir, key))
    };
    context.get(key).or_else(inherited).unwrap_or(Val::Null)
}

pub(super) fn current_user<'a>(m: &mut Machine<'a>, _: &[Val<'a>]) -> Eval<'a> {
    let of_execution = || {
        m.scope
            .root
            .get("execution")?
            .get("authentication")?
            .get("user")?
            .as_str()
    };
    let user = m.options.user.or_else(of_execution);
    Ok(Val::text(user.unwrap_or("anonymous")))
}

pub(super) fn current_stage<'a>(m: &mut Machine<'a>, _: &[Val<'a>]) -> Eval<'a> {
    let Some(current) = m.options.current_stage else {
        let text = "An execution context is required for this function";
        return Err(Fault::helper(text)
            .suggest("use it in a stage, not in the pipeline around it")
            .into());
    };
    let execution = execution(m)?;
    let found = find(execution, |stage| {
        field(stage, "id").is_some_and(|id| id.eq_ignore_ascii_case(current))
    });
    found
        .map(Val::Bean)
        .ok_or_else(|| Fault::helper(format!("No stage found with id '{current}'")).into())
}

pub(super) fn stage<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let wanted = text(m, args, 0)?;
    let execution = execution(m)?;
    let found = find(execution, |stage| is_called(stage, wanted.as_deref()));
    found.map(Val::Bean).ok_or_else(|| {
        let wanted = wanted.as_deref().unwrap_or("null");
        let text = format!(
            "Unable to locate [{wanted}] using #stage({wanted}) in execution {}",
            id(execution)
        );
        let by_ref = find(execution, |stage| is(stage, "refId", wanted));
        let fault = Fault::helper(text);
        if by_ref.is_some() {
            fault.suggest(format!(
                "write #stageByRefId('{wanted}') to find it by its number"
            ))
        } else {
            fault.suggest("write #stage with the name of a stage, exactly as in the pipeline")
        }
        .into()
    })
}

pub(super) fn stage_by_ref_id<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let execution = execution(m)?;
    let Some(wanted) = text(m, args, 0)? else {
        let text = format!(
            "Stage refId must be specified for function #stageByRefId in execution {}",
            id(execution)
        );
        return Err(Fault::helper(text).into());
    };
    let found = find(execution, |stage| is(stage, "refId", &wanted));
    found.map(Val::Bean).ok_or_else(|| {
        let text = format!(
            "Unable to locate [{wanted}] using #stageByRefId({wanted}) in execution {}",
            id(execution)
        );
        Fault::helper(text).into()
    })
}

pub(super) fn stage_exists<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let wanted = text(m, args, 0)?;
    let found = find(execution(m)?, |stage| is_called(stage, wanted.as_deref()));
    Ok(Val::Bool(found.is_some()))
}

pub(super) fn judgment<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let wanted = text(m, args, 0)?;
    let execution = execution(m)?;
    let input = stages(execution)
        .filter(|stage| is(stage, "type", "manualJudgment"))
        .filter(|stage| field(stage, "name").is_some() && field(stage, "name") == wanted.as_deref())
        .map(|stage| context(&Bean::stage(stage, execution), "judgmentInput"))
        .find(|input| !input.is_null());
    input.ok_or_else(|| {
        let wanted = wanted.as_deref().unwrap_or("null");
        let text = format!(
            "Unable to locate manual Judgment stage [{wanted}] using #judgment({wanted}) in execution {}. Stage doesn't exist or doesn't contain judgmentInput in its context ",
            id(execution)
        );
        Fault::helper(text).into()
    })
}

const DEPLOYING: &[&str] = &[
    "deploy",
    "createServerGroup",
    "cloneServerGroup",
    "rollingPush",
];

pub(super) fn deployed_server_groups<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let mut wanted = Vec::new();
    let names = variable(m, args, Component::Text)?;
    for i in 0..names.len() {
        wanted.extend(text(m, &names, i)?);
    }
    let execution = execution(m)?;
    let mut groups = Vec::new();
    for stage in stages(execution) {
        let deployed = is(stage, "status", "SUCCEEDED")
            && field(stage, "type").is_some_and(|kind| DEPLOYING.contains(&kind))
            && stage
                .get("context")
                .and_then(|c| c.get("deploy.server.groups"))
                .is_some();
        let named = wanted.is_empty() || wanted.iter().any(|name| is_called(stage, Some(name)));
        if deployed && named {
            groups.extend(deployed_group(&Bean::stage(stage, execution)));
        }
    }
    Ok(Val::list(groups))
}

fn deployed_group<'a>(stage: &Bean<'a>) -> Option<Val<'a>> {
    let mut region = context(stage, "region");
    if region.is_null() {
        let zones = context(stage, "availabilityZones");
        let (first, _) = zones.as_map()?.iter().next()?;
        region = first.value();
    }
    let name = region.as_text()?.to_owned();
    let mut group: IndexMap<String, Val<'a>> = IndexMap::new();
    for key in ["account", "capacity", "parentStage"] {
        group.insert(key.to_owned(), context(stage, key));
    }
    group.insert("region".to_owned(), region);
    if let Val::Seq(details) = context(stage, "deploymentDetails") {
        for detail in details.iter() {
            let fields = detail.as_map().filter(|d| {
                d.get("region")
                    .is_some_and(|region| region.as_text() == Some(&name))
            });
            for (key, value) in fields.into_iter().flat_map(MapVal::iter) {
                group.insert(key.printed(), value);
            }
        }
    }
    let servers = context(stage, "deploy.server.groups");
    if let Some(Val::Seq(servers)) = servers.as_map().and_then(|servers| servers.get(&name))
        && let Some(first) = servers.get(0)
    {
        group.insert("serverGroup".to_owned(), first);
    }
    group.insert("deployments".to_owned(), Val::list(deployments(stage)));
    group.retain(|_, value| !value.is_null());
    Some(Val::Map(MapVal::own(group)))
}

/// What the operations of a stage say they deployed.
fn deployments<'a>(stage: &Bean<'a>) -> Vec<Val<'a>> {
    let list = |value: Option<Val<'a>>| match value {
        Some(Val::Seq(seq)) => seq.iter().collect::<Vec<_>>(),
        Some(_) | None => Vec::new(),
    };
    let under = |value: &Val<'a>, key: &str| list(value.as_map().and_then(|map| map.get(key)));
    list(Some(context(stage, "kato.tasks")))
        .iter()
        .flat_map(|task| under(task, "resultObjects"))
        .flat_map(|result| under(&result, "deployments"))
        .collect()
}

pub(super) fn manifest_label_value<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let name = text(m, args, 0)?;
    let kind = text(m, args, 1)?.ok_or_else(null_pointer)?;
    let label = text(m, args, 2)?.ok_or_else(null_pointer)?;
    let supported = ["Deployment", "ReplicaSet"];
    if !supported.contains(&kind.as_str()) {
        let text = format!(
            "Kind {kind} is not supported by #manifestLabelValue, only Deployment and ReplicaSet are"
        );
        return Err(Fault::helper(text).into());
    }
    let found = find(execution(m)?, |stage| {
        is(stage, "type", "deployManifest")
            && is(stage, "status", "SUCCEEDED")
            && field(stage, "name") == name.as_deref()
    });
    let stage = found.ok_or_else(|| {
        Fault::helper("A valid Deploy Manifest stage name is required for this function")
    })?;
    let Val::Seq(manifests) = context(&stage, "outputs.manifests") else {
        let text = "No manifest could be found in the context of the specified stage";
        return Err(Fault::helper(text).into());
    };
    let get = |value: &Val<'a>, key: &str| value.as_map().and_then(|map| map.get(key));
    let manifest = manifests
        .iter()
        .find(|manifest| get(manifest, "kind").is_some_and(|k| k.as_text() == Some(&kind)))
        .ok_or_else(|| {
            let text = format!(
                "No manifest of kind {kind} could be found on the context of the specified stage"
            );
            Fault::helper(text)
        })?;
    let labels = ["spec", "template", "metadata", "labels"]
        .iter()
        .try_fold(manifest, |value, key| get(&value, key));
    let value = labels.and_then(|labels| get(&labels, &label)).ok_or_else(|| {
        let text =
            "No label of specified key found on matching manifest spec.template.metadata.labels";
        Fault::helper(text)
    })?;
    if value.as_text().is_none() {
        let text = format!(
            "class {} cannot be cast to class java.lang.String",
            value.class()
        );
        return Err(Fault::java("java.lang.ClassCastException", text)
            .suggest("a label is a text: quote it in the manifest")
            .into());
    }
    Ok(value)
}

pub(super) fn trigger_artifact<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    resolved(m, args, "name", "triggerResolvedArtifact")
}

pub(super) fn trigger_artifact_by_type<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    resolved(m, args, "type", "triggerResolvedArtifactByType")
}

fn resolved<'a>(m: &mut Machine<'a>, args: &[Val<'a>], key: &str, function: &str) -> Eval<'a> {
    let wanted = text(m, args, 0)?;
    let execution = execution(m)?;
    let expected = execution
        .get("trigger")
        .and_then(|t| t.get("resolvedExpectedArtifacts"));
    let bound = expected
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|artifact| artifact.get("boundArtifact")?.as_object())
        .find(|bound| field(bound, key).is_some() && field(bound, key) == wanted.as_deref());
    match bound {
        Some(bound) => Ok(Val::Bean(Bean::new(BeanKind::Artifact, bound))),
        None => {
            let wanted = wanted.as_deref().unwrap_or("null");
            let text = format!(
                "Unable to locate resolved artifact with {key} {wanted} in trigger execution using #{function}({wanted})."
            );
            Err(Fault::helper(text).into())
        }
    }
}

pub(super) fn resolved_artifacts<'a>(m: &mut Machine<'a>, _: &[Val<'a>]) -> Eval<'a> {
    let artifacts = stages(execution(m)?)
        .filter_map(|stage| stage.get("outputs")?.get("artifacts")?.as_array())
        .flatten()
        .filter(|artifact| artifact.is_object())
        .map(Val::from_json);
    Ok(Val::list(artifacts.collect()))
}

pub(super) fn service_key<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let name = text(m, args, 0)?;
    let key = stages(execution(m)?)
        .filter(|stage| is(stage, "type", "createServiceKey") && is(stage, "status", "SUCCEEDED"))
        .filter(|stage| field(stage, "name") == name.as_deref())
        .find_map(|stage| stage.get("context")?.get("serviceKey")?.as_object());
    Ok(match key {
        Some(key) => Val::Map(MapVal::json(key)),
        None => Val::Map(MapVal::own(IndexMap::<String, Val<'a>>::new())),
    })
}

/// What the build that triggered says about its sources: the first branch that is neither `master` nor
/// `develop`, else the first.
pub(crate) fn scm_info(root: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let trigger = root.get("trigger").and_then(Value::as_object)?;
    // A build in a stage's context is plain JSON, which Orca does not take for one.
    if !BeanKind::knows_builds(trigger) {
        return None;
    }
    let entries = trigger.get("buildInfo")?.get("scm")?.as_array()?;
    let mut sources = entries.iter().filter_map(Value::as_object);
    let first = entries.iter().find_map(Value::as_object);
    let special =
        sources.find(|source| !matches!(field(source, "branch"), Some("master" | "develop")));
    special.or(first)
}
