//! Traffic guards: an operation that would leave a guarded cluster without
//! instances is refused before it is sent. Source: `orca: TrafficGuard`.
//!
//! Guards are the application's `trafficGuards`: `[{enabled, account, location,
//! stack, detail}]`, `*` standing for anything.

use orchestrator_core::TaskError;
use proto::moniker::Moniker;
use serde_json::Value;

use super::server_group::{self, Capacity};
use super::{TaskContext, failed};

/// The share of what is up now that must stay up; more must stay than this
/// (`traffic-guards.min-capacity-ratio`).
const MIN_CAPACITY_RATIO: f64 = 0.0;

/// Checks an operation on the stage's own group, if it takes all of it away.
pub(crate) async fn check_own(ctx: &TaskContext<'_>, what: &str) -> Result<(), TaskError> {
    let part = ctx.number("desiredPercentage").unwrap_or(100.0);
    if part < 100.0 {
        return Ok(());
    }
    let name = server_group::target_name(ctx)?;
    let region = server_group::region_of(ctx)?;
    check(ctx, what, &region, &[name]).await
}

/// Checks that the groups of one cluster in one region may go away.
pub(crate) async fn check(
    ctx: &TaskContext<'_>,
    what: &str,
    region: &str,
    going: &[String],
) -> Result<(), TaskError> {
    let Some(first) = going.first() else {
        return Ok(());
    };
    let moniker = Moniker::parse(first);
    let application = ctx.text("application").map(ToOwned::to_owned);
    let application = application
        .or_else(|| moniker.app.clone())
        .unwrap_or_else(|| ctx.execution.application.clone());
    let definitions = ctx.services.definitions();
    let found = definitions
        .application(&application)
        .await
        .map_err(failed)?;
    let guards = found.as_ref().and_then(guards_of).unwrap_or_default();
    let account = server_group::account(ctx)?;
    if !guards
        .iter()
        .any(|guard| applies(guard, &moniker, account, region))
    {
        return Ok(());
    }
    let cluster = moniker.cluster.clone().unwrap_or_else(|| first.clone());
    let driver = ctx.services.cloud_driver();
    let provider = server_group::provider(ctx);
    let found = driver
        .cluster(&application, account, &cluster, provider)
        .await
        .map_err(failed)?
        .unwrap_or_default();
    let groups: Vec<&Value> = server_group::of_cluster(&found, region).collect();
    verdict(&groups, going).map_err(|left| {
        TaskError::user(format!(
            "This cluster ('{cluster}' in {account}/{region}) has traffic guards enabled. {what} \
             {going:?} would leave the cluster with {left}."
        ))
    })
}

fn guards_of(application: &Value) -> Option<Vec<Value>> {
    let own = application.get("trafficGuards");
    let nested = || application.get("attributes")?.get("trafficGuards");
    Some(own.or_else(nested)?.as_array()?.clone())
}

fn applies(guard: &Value, moniker: &Moniker, account: &str, region: &str) -> bool {
    let is = |key: &str, actual: &str| {
        let wanted = guard.get(key).and_then(Value::as_str).unwrap_or_default();
        wanted == "*" || wanted == actual
    };
    guard.get("enabled") != Some(&Value::Bool(false))
        && is("account", account)
        && is("location", region)
        && is("stack", moniker.stack.as_deref().unwrap_or_default())
        && is("detail", moniker.detail.as_deref().unwrap_or_default())
}

/// Instances of a group that are up.
fn up(group: &Value) -> usize {
    let all = server_group::instances(group).iter();
    all.filter(|i| server_group::is_up(i, None)).count()
}

/// Whether enough stays up; else what would be left, in words.
fn verdict(groups: &[&Value], going: &[String]) -> Result<(), String> {
    let goes = |group: &Value| going.iter().any(|name| name == server_group::name(group));
    let current: usize = groups.iter().map(|g| up(g)).sum();
    if current == 0 {
        return Ok(());
    }
    let away: Vec<&&Value> = groups.iter().filter(|g| goes(g)).collect();
    let future = current - away.iter().map(|g| up(g)).sum::<usize>();
    let sizes: Vec<Capacity> = away.iter().map(|g| server_group::capacity(g)).collect();
    let alike = sizes
        .iter()
        .all(|c| c.is_pinned() && Some(c.desired) == sizes.first().map(|f| f.desired));
    if future > 0 && away.len() > 1 && alike {
        return Ok(());
    }
    let number = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let ratio = number(future) / number(current);
    if ratio > MIN_CAPACITY_RATIO {
        return Ok(());
    }
    Err(if future == 0 {
        "no instances up".to_owned()
    } else {
        format!(
            "{future} instances up ({:.1}% of {current} instances currently up). The configured \
             minimum is {:.1}%",
            ratio * 100.0,
            MIN_CAPACITY_RATIO * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn group(name: &str, size: usize, state: &str) -> Value {
        let instance = json!({"health": [{"type": "LoadBalancer", "state": state}]});
        json!({"name": name, "instances": vec![instance; size],
            "capacity": {"min": size, "max": size, "desired": size}})
    }

    #[test]
    fn what_would_leave_nothing_up_is_refused() {
        let (a, b) = (group("a-v000", 3, "Up"), group("a-v001", 2, "Up"));
        let down = group("a-v002", 2, "Down");
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (groups, going, allowed) in [
            (vec![&a, &b], names(&["a-v000"]), true),
            (vec![&a, &down], names(&["a-v000"]), false),
            (vec![&a, &down], names(&["a-v002"]), true),
            (vec![&a, &b], names(&["a-v000", "a-v001"]), false),
            (vec![&down], names(&["a-v002"]), true),
        ] {
            assert_eq!(verdict(&groups, &going).is_ok(), allowed, "{going:?}");
        }
    }

    #[test]
    fn a_guard_applies_by_account_location_stack_and_detail() {
        let guard = json!({"enabled": true, "account": "prod", "location": "*", "stack": "main",
            "detail": "*"});
        let named = |name: &str| Moniker::parse(name);
        assert!(applies(&guard, &named("a-main-v000"), "prod", "eu"));
        assert!(applies(&guard, &named("a-main-x-v000"), "prod", "eu"));
        assert!(!applies(&guard, &named("a-test-v000"), "prod", "eu"));
        assert!(!applies(&guard, &named("a-main-v000"), "test", "eu"));
        let off = json!({"enabled": false, "account": "*", "location": "*", "stack": "*",
            "detail": "*"});
        assert!(!applies(&off, &named("a-main-v000"), "prod", "eu"));
    }
}
