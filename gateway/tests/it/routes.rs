//! Every documented route answers, and answers as documented.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::details;
use crate::fake::Gate;

/// Method, path, body, status, and what the answer holds (`null`: an empty body).
#[rustfmt::skip] // one line a request
pub(crate) fn served() -> Vec<(&'static str, &'static str, &'static str, u16, Value)> {
    let execution = json!({"id": "E1", "name": "n"});
    let pipeline = json!({"id": "p1", "name": "n"});
    let group = json!({"name": "a-v000", "cluster": "a"});
    let attributes = json!({"name": "a", "email": "e@x", "accounts": "k8s"});
    let mut all = vec![
        ("GET", "/version", "", 200, json!({"version": env!("CARGO_PKG_VERSION")})),
        ("GET", "/health", "", 200, json!({"status": "UP"})),
        // Nobody logs in here.
        ("POST", "/login", "username=a&password=b", 404, json!({})),
        ("POST", "/login", "username=a", 400, json!({})),
        ("PUT", "/admin/executions/forceCancel?executionId=E1&executionType=PIPELINE&canceledBy=ann", "", 200, json!(null)),
        ("PUT", "/admin/executions/forceCancel?executionId=E1&executionType=job", "", 400, json!({})),
        ("POST", "/admin/executions/hydrate?executionId=E1&dryRun=true", "", 200, json!({"dryRun": true, "executions": {"E1": {"canApply": false}}})),
        ("POST", "/admin/executions/hydrate?executionId=E1", "", 200, json!({"dryRun": false})),
        ("POST", "/admin/executions/hydrate?executionId=none", "", 404, json!({"message": "Execution not found (id: none)"})),
        ("POST", "/admin/executions/hydrate?executionId=E1&dryRun=perhaps", "", 400, json!({})),
        ("POST", "/admin/executions/hydrate", "", 400, json!({"errors": [{"path": "executionId"}]})),
        ("GET", "/audit", "", 200, json!({"nextCursor": ""})),
        ("GET", "/auth/explain?application=a&permission=read", "", 200, json!({"allowed": true, "rule": "notEnforced"})),
        ("GET", "/auth/explain?buildService=m&permission=read", "", 200, json!({"allowed": true, "rule": "notEnforced", "buildService": "m"})),
        ("GET", "/auth/explain?buildService=m&account=k8s&permission=read", "", 400, json!({})),
        ("POST", "/v2/pipelineTemplates/plan", "{\"application\": \"a\", \"schema\": \"v2\"}", 200, json!({"application": "a"})),
        ("GET", "/v2/canaryConfig", "", 200, json!([{"id": "c1"}])),
        ("GET", "/canaryConfig?application=a&configurationAccountName=x", "", 200, json!([{"id": "c1", "name": "cc"}])),
        ("GET", "/v2/canaryConfig/c1", "", 200, json!({"id": "c1"})),
        ("GET", "/v2/canaryConfig/c1?version=x", "", 400, json!({"errors": [{"path": "version"}]})),
        ("GET", "/v2/canaryConfig/none", "", 404, json!({})),
        ("GET", "/v2/canaryConfig/c1/versions", "", 200, json!([{"version": 1}])),
        ("POST", "/v2/canaryConfig", "{\"name\": \"cc\", \"applications\": [\"a\"]}", 200, json!({"canaryConfigId": "c1"})),
        ("POST", "/v2/canaryConfig", "[]", 400, json!({})),
        ("PUT", "/v2/canaryConfig/c1", "{\"name\": \"cc\", \"applications\": [\"a\"]}", 200, json!({"canaryConfigId": "c1"})),
        ("DELETE", "/v2/canaryConfig/c1", "", 200, Value::Null),
        ("POST", "/v2/canaries/canary/c1?application=a", "{\"scopes\": {}}", 200, json!({"canaryExecutionId": "X1"})),
        ("POST", "/canary/c1?application=a", "{\"scopes\": {}}", 200, json!({"canaryExecutionId": "X1"})),
        ("POST", "/v2/canaries/canary", "{\"canaryConfig\": {\"applications\": [\"a\"]}, \"executionRequest\": {}}", 200, json!({"canaryExecutionId": "X1"})),
        ("POST", "/v2/canaries/canary", "{\"canaryConfig\": {}}", 400, json!({"errors": [{"path": "executionRequest"}]})),
        ("POST", "/v2/canaries/dryRun?application=a", "{\"query\": \"up\", \"control\": \"x\", \"experiment\": \"y\"}", 200, json!({"result": {"judgeResult": {}}})),
        ("GET", "/v2/canaries/canary/X1", "", 200, json!({"pipelineId": "X1", "complete": true})),
        ("GET", "/canary/X1", "", 200, json!({"pipelineId": "X1", "complete": true})),
        ("GET", "/v2/canaries/canary/c1/X1", "", 200, json!({"pipelineId": "X1"})),
        ("GET", "/v2/canaries/canary/none", "", 404, json!({})),
        ("GET", "/v2/canaries/a/executions?limit=20", "", 200, json!([{"pipelineId": "X1"}])),
        ("PUT", "/v2/canaries/a/executions/X1/cancel?reason=enough", "", 200, Value::Null),
        ("GET", "/v2/canaries/metricSetPairList/X1", "", 200, json!([{"name": "m"}])),
        ("GET", "/v2/canaries/judges", "", 200, json!([{"name": "NetflixACAJudge-v1.0", "visible": true}])),
        ("GET", "/v2/canaries/credentials", "", 200, json!([{"name": "prometheus"}])),
        ("GET", "/v2/canaries/metadata/metricsService?filter=e", "", 200, json!([{"name": "errors"}])),
        ("GET", "/serviceAccounts", "", 200, json!([])),
        ("POST", "/serviceAccounts", "{\"name\": \"bot\", \"memberOf\": [\"dev\"]}", 200, json!({"name": "bot"})),
        ("DELETE", "/serviceAccounts/bot", "", 200, Value::Null),
        ("GET", "/tokens", "", 200, json!([])),
        // Nobody has to authenticate here.
        ("POST", "/tokens", "{\"name\": \"ci\"}", 400, json!({})),
        ("DELETE", "/tokens/none", "", 404, json!({})),
        ("GET", "/notifications/application/a", "", 200, json!({"id": "a"})),
        ("GET", "/notifications/application/none", "", 200, json!({"application": "none"})),
        ("GET", "/notifications/global/a", "", 400, json!({})),
        ("POST", "/notifications/application/a", "{\"slack\": []}", 200, Value::Null),
        ("DELETE", "/notifications/application/a", "", 200, Value::Null),
        ("GET", "/notifications/metadata", "", 200, json!([{"notificationType": "webhook"}])),
        ("GET", "/applications", "", 200, json!([attributes, {"name": "wild", "accounts": "k8s"}])),
        ("GET", "/applications?owner=E@X", "", 200, json!([attributes])),
        ("GET", "/applications?owner=x", "", 200, json!([])),
        ("GET", "/applications?account=other", "", 200, json!([])),
        ("GET", "/applications/a?expand=false", "", 200, json!({"name": "a", "attributes": {"email": "e@x"}, "clusters": {}})),
        ("GET", "/applications/A", "", 200, json!({"name": "a", "attributes": attributes, "clusters": {"k8s": [{"name": "a"}]}})),
        ("GET", "/applications/wild", "", 200, json!({"name": "wild"})),
        ("GET", "/applications/none", "", 404, json!({"message": "Application not found (id: none)"})),
        ("GET", "/applications/a/clusters", "", 200, json!({"k8s": ["a"]})),
        ("GET", "/applications/a/clusters/k8s", "", 200, json!([{"name": "a"}])),
        ("GET", "/applications/a/clusters/none", "", 404, json!({})),
        ("GET", "/applications/a/clusters/k8s/a", "", 200, json!([{"name": "a"}])),
        ("GET", "/applications/a/clusters/k8s/none", "", 404, json!({"message": "Cluster not found (account: k8s, name: none)"})),
        ("GET", "/applications/a/clusters/k8s/a/serverGroups", "", 200, json!([group])),
        ("GET", "/applications/a/clusters/k8s/a/serverGroups/a-v000", "", 200, json!([group])),
        ("GET", "/applications/a/clusters/k8s/a/serverGroups/none", "", 404, json!({})),
        ("GET", "/applications/a/clusters/k8s/a/local/local/serverGroups/target/current_asg", "", 200, group.clone()),
        // {"type":"man.*","user":"U"}
        ("GET", "/applications/a/executions/search?size=1&trigger=eyJ0eXBlIjoibWFuLioiLCJ1c2VyIjoiVSJ9", "", 200, json!([{"id": "E1"}])),
        // {"type":"cron"}
        ("GET", "/applications/a/executions/search?trigger=eyJ0eXBlIjoiY3JvbiJ9", "", 200, json!([])),
        ("GET", "/applications/a/executions/search?trigger=x", "", 400, json!({})),
        ("POST", "/pipelines/bulksave", r#"[{"application": "a", "name": "n"}]"#, 200, json!({"successful_pipelines_count": 1, "successful_pipelines": ["n"], "failed_pipelines_count": 0, "failed_pipelines": []})),
        ("POST", "/pipelines/bulksave", "{}", 400, json!({})),
        ("POST", "/pipelines/move", r#"{"application": "a", "from": "n", "to": "m"}"#, 200, Value::Null),
        ("POST", "/pipelines/move", r#"{"application": "a", "from": "none", "to": "m"}"#, 404, json!({})),
        ("POST", "/actions/pipelines/reorder", r#"{"application": "a", "idsToIndices": {"p1": 3}}"#, 200, Value::Null),
        ("POST", "/actions/pipelines/reorder", r#"{"application": "a", "idsToIndices": {"none": 3}}"#, 404, json!({})),
        ("POST", "/actions/pipelines/reorder", r#"{"application": "a", "idsToIndices": {"p1": "3"}}"#, 400, json!({})),
        ("GET", "/artifacts/credentials", "", 200, json!([{"name": "hub", "types": ["docker/image"]}])),
        ("GET", "/search?q=p&type=projects&allowShortQuery=true", "", 200, json!([{"results": [{"type": "projects", "id": "o1", "name": "p"}]}])),
        ("GET", "/search?q=lb&type=loadBalancers&allowShortQuery=true", "", 200, json!([{"results": [{"type": "loadBalancers", "loadBalancer": "lb"}]}])),
        ("GET", "/search?q=i-1&type=instances,serverGroups", "", 200, json!([{"totalMatches": 1, "results": [ {"type": "instances", "instanceId": "i-1", "serverGroup": "a-v000"}]}])),
        ("GET", "/projects/p/clusters", "", 200, json!([])),
        ("GET", "/projects/none/clusters", "", 404, json!({})),
        ("GET", "/v2/pipelineTemplates/versions", "", 200, json!({"o1": [{"id": "o1"}]})),
        ("GET", "/applications/a/environments", "", 200, json!([{"name": "prod", "version": "1", "health": "healthy", "mixedVersions": false, "clusters": [{"account": "k8s", "cluster": "a", "versions": [{"image": "r/a:1", "since": 7}]}]}])),
        ("GET", "/environments", "", 200, json!([{"name": "prod"}])),
        ("POST", "/environments", r#"{"name": "dev", "accounts": ["x"]}"#, 200, json!({"name": "dev"})),
        ("POST", "/environments", "[]", 400, json!({})),
        ("GET", "/environments/prod", "", 200, json!({"name": "prod"})),
        ("GET", "/environments/none", "", 404, json!({"message": "Environment not found (name: none)"})),
        ("PUT", "/environments/prod", r#"{"accounts": ["x"]}"#, 200, json!({"name": "prod"})),
        ("PUT", "/environments/prod", r#"{"name": "dev", "accounts": ["x"]}"#, 400, json!({})),
        ("PUT", "/environments/none", "{}", 404, json!({})),
        ("DELETE", "/environments/prod", "", 200, Value::Null),
        ("DELETE", "/environments/none", "", 404, json!({})),
        ("GET", "/applications/a/executions/search?size=1&startIndex=1", "", 200, json!([{"id": "E2"}])),
        ("GET", "/applications/*/executions/search?reverse=true&size=1", "", 200, json!([{"id": "E3"}])),
        ("GET", "/applications/a/executions/search?triggerTypes=docker", "", 200, json!([])),
        ("GET", "/applications/a/loadBalancers", "", 200, json!([{"name": "lb"}])),
        ("GET", "/applications/a/pipelineConfigs", "", 200, json!([pipeline])),
        ("GET", "/applications/a/strategyConfigs", "", 200, json!([{"id": "s1"}])),
        ("GET", "/applications/a/pipelineConfigs?pipelineNameFilter=zz", "", 200, json!([])),
        ("GET", "/applications/a/pipelineConfigs/n", "", 200, pipeline.clone()),
        ("GET", "/applications/a/pipelineConfigs/p1", "", 200, pipeline.clone()),
        ("GET", "/applications/a/pipelineConfigs/x/y", "", 200, pipeline.clone()),
        ("GET", "/applications/a/pipelineConfigs/x%2Fy", "", 200, pipeline.clone()),
        ("GET", "/applications/b/pipelineConfigs/p1", "", 404, json!({})),
        ("GET", "/applications/a/pipelineConfigs/none", "", 404, json!({"message": "Pipeline configuration not found (nameOrId: none in application a)"})),
        ("POST", "/applications/a/pipelineConfigs/n", "{}", 202, json!({"ref": "/pipelines/01ABC"})),
        // Of those that are old two are shown, in order of their start, then of their ids backwards.
        ("GET", "/applications/a/pipelines", "", 200, json!([{"id": "E2"}, execution])),
        ("GET", "/applications/a/pipelines?pipelineNameFilter=zz", "", 200, json!([])),
        ("PUT", "/applications/%7Bapplication%7D/pipelines/E1/cancel?reason=r", "", 200, Value::Null),
        ("GET", "/applications/a/serverGroupManagers", "", 200, json!([])),
        ("GET", "/applications/a/serverGroups", "", 200, json!([group])),
        ("GET", "/applications/a/serverGroups?clusters=k8s:a", "", 200, json!([group])),
        ("GET", "/applications/a/serverGroups?clusters=k8s:b", "", 200, json!([])),
        ("GET", "/applications/a/serverGroups?cloudProvider=aws", "", 200, json!([])),
        ("GET", "/applications/a/serverGroups/k8s/local/a-v000", "", 200, group.clone()),
        ("GET", "/applications/a/serverGroups/k8s/local/none", "", 404, json!({})),
        ("GET", "/applications/a/tasks", "", 200, json!([{"id": "E1", "steps": []}, {"id": "E2"}, {"id": "E3"}])),
        ("GET", "/applications/a/tasks?limit=1&page=2", "", 200, json!([{"id": "E2"}])),
        ("POST", "/applications/a/tasks", r#"{"job":[{"type":"x"}]}"#, 200, json!({"ref": "/tasks/01ABC"})),
        ("GET", "/applications/a/tasks/01ABC", "", 200, json!({"id": "01ABC"})),
        ("GET", "/auth/user", "", 200, Value::Null),
        ("GET", "/auth/loggedOut", "", 200, Value::Null),
        ("POST", "/auth/logout", "", 200, Value::Null),
        ("GET", "/auth/user/serviceAccounts", "", 200, json!([])),
        ("GET", "/credentials?expand=false", "", 200, json!([{"name": "k8s", "authorized": true}])),
        ("GET", "/credentials/k8s", "", 200, json!({"name": "k8s", "authorized": true})),
        ("GET", "/credentials/none", "", 404, json!({"message": "Account not found (name: none)"})),
        ("GET", "/executions", "", 200, json!([])),
        ("GET", "/executions/01ABC/log", "", 200, json!({"execution": "01ABC", "format": 1})),
        ("GET", "/executions/none/log", "", 404, json!({"status": 404})),
        ("GET", "/executions?executionIds=E1&limit=1", "", 200, json!([execution, {}, {}])),
        ("GET", "/executions?pipelineConfigIds=p1", "", 200, json!([execution, {}, {}])),
        ("GET", "/executions?pipelineConfigIds=p1&executionIds=E1", "", 400, json!({"status": 400})),
        ("GET", "/executions?executionIds=E1&expand=maybe", "", 400, json!({"errors": [{"path": "expand"}]})),
        ("GET", "/firewalls", "", 200, json!({})),
        ("GET", "/firewalls/k8s/local/x", "", 404, json!({})),
        ("GET", "/securityGroups", "", 200, json!({})),
        ("GET", "/securityGroups/k8s/local/x", "", 404, json!({})),
        ("GET", "/images/find?q=demo", "", 200, json!([{"repository": "demo"}])),
        ("GET", "/images/tags?account=r&repository=demo", "", 200, json!(["1"])),
        ("GET", "/images/tags?account=r", "", 400, json!({"errors": [{"path": "repository"}]})),
        ("GET", "/instances/k8s/local/i-1", "", 200, json!({"name": "i-1"})),
        ("GET", "/instances/k8s/local/i-1/console?provider=local", "", 200, json!({"output": ["line"]})),
        ("GET", "/loadBalancers?provider=local", "", 200, json!([{"name": "lb", "accounts": [{"name": "k8s"}]}])),
        ("GET", "/loadBalancers/lb", "", 200, json!({"name": "lb"})),
        ("GET", "/loadBalancers/none", "", 404, json!({})),
        ("GET", "/loadBalancers/k8s/local/lb", "", 200, json!([{"name": "lb"}])),
        ("GET", "/loadBalancers/k8s/local/none", "", 404, json!({})),
        ("GET", "/pipelineConfigs", "", 200, json!([pipeline])),
        ("GET", "/pipelineConfigs/p1/history?limit=2", "", 200, json!([pipeline])),
        ("POST", "/pipelines", r#"{"application":"a","name":"n"}"#, 200, Value::Null),
        ("POST", "/pipelines?staleCheck=true", r#"{"application":"a"}"#, 400, json!({"errors": [{"path": "name"}]})),
        ("POST", "/pipelines", "", 400, json!({})),
        ("POST", "/pipelines/start", r#"{"application":"a","stages":[]}"#, 200, json!({"ref": "/pipelines/01ABC"})),
        ("POST", "/pipelines/fail", r#"{"application":"a","stages":[],"errorMessage":"no image came"}"#, 200, json!({"ref": "/pipelines/01ABC"})),
        ("POST", "/pipelines/fail", r#"{"application":"a","stages":[]}"#, 400, json!({"errors": [{"path": "errorMessage"}]})),
        ("POST", "/pipelines/fail", r#"{"application":"a","errorMessage":7}"#, 400, json!({"errors": [{"path": "errorMessage"}]})),
        ("POST", "/pipelines/start", r#"{"application":"a","stages":[],"plan":true}"#, 200, json!({"name": "planned"})),
        ("POST", "/pipelines/v2/a/n", "{}", 202, json!({"ref": "/pipelines/01ABC", "eventId": "ev1"})),
        ("POST", "/pipelines/a/n", "", 202, json!({"ref": "/pipelines/01ABC"})),
        ("POST", "/pipelines/a/x/y", "{}", 202, json!({"ref": "/pipelines/01ABC"})),
        ("POST", "/pipelines/a/none", "{}", 404, json!({"message": "Pipeline configuration not found (nameOrId: none in application a)"})),
        ("POST", "/pipelines/a/n", "[]", 400, json!({})),
        ("DELETE", "/pipelines/a/n", "", 200, Value::Null),
        ("DELETE", "/pipelines/a/none", "", 404, json!({})),
        ("GET", "/pipelines/E1", "", 200, execution.clone()),
        ("GET", "/pipelines/none", "", 404, json!({"message": "Pipeline not found (id: none)"})),
        ("PUT", "/pipelines/p1", r#"{"application":"a","name":"n"}"#, 200, pipeline),
        ("PUT", "/pipelines/p1", r#"{"id":"p2","application":"a","name":"n"}"#, 400, json!({"errors": [{"path": "id"}]})),
        ("PUT", "/pipelines/none", r#"{"application":"a","name":"n"}"#, 404, json!({})),
        ("DELETE", "/pipelines/E1", "", 200, Value::Null),
        ("PUT", "/pipelines/E1/cancel?reason=r&force=true", "", 200, Value::Null),
        ("PUT", "/pipelines/none/cancel", "", 404, json!({"message": "Pipeline not found (id: none)"})),
        ("PUT", "/pipelines/E1/pause", "", 200, Value::Null),
        ("PUT", "/pipelines/E1/resume", "", 200, Value::Null),
        ("PATCH", "/pipelines/E1/stages/s1", r#"{"judgmentStatus":"continue"}"#, 200, execution.clone()),
        ("PUT", "/pipelines/E1/stages/s1/restart", r#"{"skip":false}"#, 200, execution),
        ("GET", "/pipelines/E1/evaluateExpression?expression=1%2B1", "", 200, json!({"result": "1+1"})),
        ("GET", "/pipelines/E1/evaluateExpression", "", 400, json!({})),
        ("GET", "/pipelines/E1/s1/evaluateExpression?expression=x", "", 200, json!({"result": "x"})),
        ("POST", "/pipelines/E1/evaluateExpression", "${1 + 1}", 200, json!({"result": "${1 + 1}"})),
        ("POST", "/pipelines/E1/evaluateExpression", r#"{"expression":"x"}"#, 200, json!({"result": "x"})),
        ("POST", "/pipelines/E1/evaluateVariables?requisiteStageRefIds=1,2&spelVersion=v4", r#"[{"key":"a"}]"#, 200, json!({"result": [{"key": "a"}]})),
        ("GET", "/pipelines/p1/triggerEvents", "", 200, json!([{"outcome": "started"}])),
        ("GET", "/triggers/events?application=a&pipeline=n", "", 200, json!([{"outcome": "started"}])),
        ("GET", "/search?q=wil&type=applications", "", 200, json!([{"totalMatches": 1, "results": [{"application": "wild"}]}])),
        ("GET", "/search?q=a-v&type=serverGroups", "", 200, json!([{"results": [{"serverGroup": "a-v000"}]}])),
        ("GET", "/search?q=a&type=clusters&allowShortQuery=true", "", 200, json!([{"results": [{"cluster": "a", "account": "k8s"}]}])),
        ("GET", "/search?q=a&type=clusters", "", 200, json!([])),
        ("GET", "/search?q=abc", "", 400, json!({"errors": [{"path": "type"}]})),
        ("GET", "/serverGroups?applications=a", "", 200, json!([group])),
        ("GET", "/serverGroups?ids=k8s:local:a-v000,k8s:local:none", "", 200, json!([group])),
        ("GET", "/serverGroups", "", 400, json!({})),
        ("GET", "/serverGroups?ids=x", "", 400, json!({})),
        ("POST", "/tasks", r#"{"application":"a","job":[{"type":"createApplication"}]}"#, 200, json!({"ref": "/tasks/01ABC"})),
        ("POST", "/tasks", r#"{"application":"a","job":[]}"#, 400, json!({"errors": [{"path": "job"}]})),
        ("POST", "/tasks", r#"{"application":"a","job":[{}]}"#, 400, json!({"errors": [{"path": "job[0].type"}]})),
        ("GET", "/tasks/01ABC", "", 200, json!({"id": "01ABC", "status": "SUCCEEDED", "variables": [{}, {}]})),
        ("GET", "/tasks/none", "", 404, json!({"message": "Task not found (id: none)"})),
        ("DELETE", "/tasks/01ABC", "", 200, Value::Null),
        ("PUT", "/applications/a/tasks/01ABC/cancel", "", 200, Value::Null),
        ("GET", "/cron/validate", "", 400, json!({})),
        ("PUT", "/tasks/01ABC/cancel", "", 200, Value::Null),
        ("PUT", "/tasks/cancel?ids=E1,01ABC", "", 200, Value::Null),
        ("GET", "/traffic?seconds=5", "", 200, json!({"seconds": []})),
        ("GET", "/webhooks/preconfigured", "", 200, json!([{"type": "preconfiguredWebhook"}])),
        ("GET", "/jobs/preconfigured", "", 200, json!([{"type": "preconfiguredJob"}])),
        ("GET", "/capabilities/deploymentMonitors", "", 200, json!([{"type": "deploymentMonitor"}])),
        ("POST", "/webhooks/docker/r", "{}", 200, json!({"eventProcessed": true, "eventId": "ev1"})),
    ];
    all.extend(details::served());
    all
}

/// Whether `found` has all of `wanted`; lists must be equally long.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|f| holds(f, value))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| holds(f, w))
        }
        _ => found == wanted,
    }
}

#[tokio::test]
async fn served_routes_answer_as_documented() {
    let gate = Gate::up();
    for (method, path, body, status, wanted) in served() {
        let answer = gate.send(method, path, body).await;
        let what = format!(
            "{method} {path} {body}: {} {}",
            answer.status,
            answer.text()
        );
        assert_eq!(answer.status.as_u16(), status, "{what}");
        assert!(
            answer.headers.contains_key("x-spinnaker-request-id"),
            "{what}"
        );
        if wanted.is_null() {
            assert!(answer.body.is_empty(), "{what}");
            assert!(!answer.headers.contains_key("content-type"), "{what}");
        } else {
            assert!(holds(&answer.json(), &wanted), "{what} is not {wanted}");
        }
    }
}

#[tokio::test]
async fn a_log_is_lines_in_the_order_and_form_they_are_stored_in() {
    let gate = Gate::up();
    let answer = gate.get("/executions/E1/log").await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let text = answer.text();
    let (head, entries) = text.split_once('\n').unwrap();
    let head: Value = serde_json::from_str(head).unwrap();
    assert_eq!(head["version"], 3);
    assert_eq!(entries, "{\"b\": 1, \"a\": 1}\n{\"b\": 2}\n{\"b\": 3}\n");
}

#[tokio::test]
async fn slashes_in_front_and_behind_and_head_are_accepted() {
    let gate = Gate::up();
    for path in ["//version", "/version/", "/applications/", "/pipelines/E1/"] {
        assert_eq!(gate.get(path).await.status, 200, "{path}");
    }
    let head = gate.send("HEAD", "/applications", "").await;
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
    let root = gate.get("/").await;
    assert_eq!(
        (root.status.as_u16(), &root.headers["location"]),
        (303, &"/ui/".parse().unwrap())
    );
}

#[tokio::test]
async fn keys_are_sorted_and_numbers_kept_as_written() {
    let gate = Gate::up();
    let text = gate.get("/pipelines/E1").await.text();
    assert!(
        text.contains(r#""context":{"b":{"a":2,"y":1},"z":1.0}"#),
        "{text}"
    );
}

#[tokio::test]
async fn the_page_and_its_files_are_served() {
    let gate = Gate::up();
    for (path, kind) in [
        ("/ui/", "text/html; charset=utf-8"),
        ("/ui/app.css", "text/css; charset=utf-8"),
        ("/ui/app.js", "text/javascript; charset=utf-8"),
        ("/ui/view.js", "text/javascript; charset=utf-8"),
        ("/ui/icon.svg", "image/svg+xml"),
    ] {
        let answer = gate.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["content-type"]),
            (200, &kind.parse().unwrap())
        );
        assert!(answer.headers.contains_key("content-security-policy"));
        assert!(!answer.body.is_empty(), "{path}");
    }
    assert_eq!(gate.get("/ui/none").await.status, 404);
    assert_eq!(gate.get("/ui").await.status, 303);
}

/// The documented routes of Gate, as `METHOD path`, tiers E, U and L.
const DOCUMENTED: &str = include_str!("../fixtures/gate-routes.txt");

fn example(path: &str) -> String {
    let mut example = String::new();
    for part in path.split('/').skip(1) {
        example.push('/');
        example.push_str(match part {
            "**" => "x/y",
            _ if part.starts_with('{') => "x",
            _ => part,
        });
    }
    example
}

#[tokio::test]
async fn every_documented_route_is_served_or_answers_501_by_name() {
    let gate = Gate::up();
    let mut served = 0;
    let mut missing = BTreeSet::new();
    for line in DOCUMENTED
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
    {
        let (method, path) = line.split_once(' ').unwrap();
        let answer = gate.send(method, &example(path), "").await;
        match answer.status.as_u16() {
            405 => panic!("{line} is not routed"),
            404 if answer.text().contains("there is no route") => panic!("{line} is not routed"),
            501 => {
                let text = answer.json()["message"].as_str().unwrap().to_owned();
                assert!(
                    text.ends_with("is not part of this version"),
                    "{line}: {text}"
                );
                missing.insert(path);
            }
            _ => served += 1,
        }
    }
    assert!(served >= 85, "{served} served");
    assert!(
        missing.contains("/pipelineConfigs/{id}/convertToTemplate")
            && missing.contains("/canaries/{id}")
    );
}

#[tokio::test]
async fn what_is_no_route_of_gate_is_404_and_a_wrong_method_405() {
    let gate = Gate::up();
    let answer = gate.get("/none/of/gates").await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["message"].clone()),
        (404, json!("there is no route /none/of/gates"))
    );
    let answer = gate.send("DELETE", "/version", "").await;
    assert_eq!(answer.status, 405);
    let error = answer.json();
    assert_eq!(
        (&error["status"], &error["error"]),
        (&json!(405), &json!("Method Not Allowed"))
    );
}
