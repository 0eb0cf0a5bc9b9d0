//! Failures of peers, by people, and of the engine.

use serde_json::{Value, json};

use super::{
    Row, below, canceled, exception, execution, judgment, one, operation, stage, task, webhook,
    with_context,
};

pub(super) fn outside() -> Vec<Row> {
    vec![
        (
            "a condition without a message",
            one(
                "checkPreconditions",
                json!({"context": {"expression": "1 == 2", "expressionResult": "false"}}),
            ),
            "the condition 1 == 2 does not hold: it is false",
            "",
        ),
        (
            "webhook 500",
            webhook(
                json!({"webhook": {"statusCode": "INTERNAL_SERVER_ERROR", "statusCodeValue": 500, "body": "database is down",
             "error": "Error submitting webhook for pipeline E to http://hook.test/start with status code 500."}}),
            ),
            "http://hook.test/start answered 500: database is down",
            "webhook 1",
        ),
        (
            "webhook 403 with JSON",
            webhook(json!({"webhook": {"statusCodeValue": 403, "body": {"message": "not yours"}}})),
            "http://hook.test/start answered 403: not yours",
            "",
        ),
        (
            "webhook 502 without body",
            webhook(json!({"webhook": {"statusCodeValue": 502}})),
            "http://hook.test/start answered 502",
            "",
        ),
        (
            "webhook unreachable",
            webhook(
                json!({"webhook": {"error": "An exception occurred for pipeline E performing a request to http://hook.test/start. request to hook.test failed: connection refused"}}),
            ),
            "request to hook.test failed: connection refused",
            "",
        ),
        (
            "webhook refused by the guard",
            webhook(
                json!({"webhook": {"error": "An exception occurred for pipeline E performing a request to http://127.0.0.1/. host 127.0.0.1 is refused: 127.0.0.1 is a loopback address"}}),
            ),
            "host 127.0.0.1 is refused",
            "",
        ),
        (
            "webhook without Location",
            webhook(
                json!({"webhook": {"statusCodeValue": 200, "error": "the answer has no Location header"}}),
            ),
            "the answer has no Location header",
            "",
        ),
        (
            "polled 500",
            webhook(
                json!({"statusEndpoint": "http://hook.test/state", "webhook": {"statusCodeValue": 200, "monitor": {"statusCodeValue": 500,
             "error": "an error occurred polling http://hook.test/state: status code 500"}}}),
            ),
            "http://hook.test/state answered 500",
            "",
        ),
        (
            "polled a failure",
            webhook(
                json!({"statusEndpoint": "http://hook.test/state", "webhook": {"statusCodeValue": 200,
             "monitor": {"statusCodeValue": 200, "resolvedValue": "BROKEN"}}}),
            ),
            "http://hook.test/state ended with BROKEN",
            "",
        ),
        (
            "polled nonsense",
            webhook(
                json!({"webhook": {"monitor": {"statusCodeValue": 200, "error": "The json path '$.a' did not resolve to a single value"}}}),
            ),
            "The json path '$.a' did not resolve",
            "",
        ),
        (
            "polled for too long",
            with_context(
                "webhook",
                "monitorWebhook",
                json!(["monitorWebhook of stage Hook timed out after 1 hour. pausedDuration: 0"]),
                json!({"webhook": {"monitor": {"statusCodeValue": 200, "resolvedValue": "PENDING"}}}),
            ),
            "it was still PENDING: monitorWebhook of stage Hook timed out after 1 hour",
            "",
        ),
        (
            "a build failed",
            one(
                "jenkins",
                json!({"buildInfo": {"name": "shop", "number": 7, "result": "FAILURE"}}),
            ),
            "build shop #7 ended with FAILURE",
            "jenkins 1",
        ),
        (
            "a build was aborted",
            one(
                "jenkins",
                json!({"job": "shop", "buildInfo": {"result": "ABORTED"}}),
            ),
            "build shop ended with ABORTED",
            "",
        ),
        (
            "the provider says 403",
            operation(
                "provider aws answered 403: not authorized to perform ec2:RunInstances",
                json!([]),
            ),
            "provider aws answered 403: not authorized",
            "",
        ),
        (
            "no account",
            task(
                "deploy",
                "createServerGroup",
                json!(["account \"prd\" does not exist; known are prod, test"]),
            ),
            "account \"prd\" does not exist",
            "",
        ),
        (
            "an imported history",
            task(
                "deploy",
                "createServerGroup",
                json!(["com.amazonaws.AmazonServiceException: Request limit exceeded"]),
            ),
            "Request limit exceeded",
            "",
        ),
    ]
}

pub(super) fn people() -> Vec<Row> {
    vec![
        (
            "canceled with a reason",
            canceled(json!("ann"), json!("wrong version")),
            "canceled by ann: wrong version",
            "",
        ),
        (
            "canceled without a reason",
            canceled(json!("ann"), Value::Null),
            "canceled by ann",
            "",
        ),
        (
            "canceled by nobody known",
            canceled(Value::Null, json!("")),
            "canceled by somebody",
            "",
        ),
        (
            "canceled while something had failed",
            {
                let mut e = one("wait", json!({"exception": exception(json!(["boom"]))}));
                e["status"] = json!("CANCELED");
                e["canceledBy"] = json!("bob");
                e
            },
            "canceled by bob",
            "",
        ),
        (
            "judged to stop",
            judgment(json!({"judgmentStatus": "stop"}), json!({"user": "ann"})),
            "stopped by ann",
            "manualJudgment 1",
        ),
        (
            "judged with a choice",
            judgment(
                json!({"judgmentStatus": "STOP", "judgmentInput": "not today"}),
                json!({"user": "ann"}),
            ),
            "stopped by ann: not today",
            "",
        ),
        (
            "judged by an unknown",
            judgment(json!({"judgmentStatus": "stop"}), Value::Null),
            "stopped by somebody",
            "",
        ),
        (
            "nobody judged",
            with_context(
                "manualJudgment",
                "waitForJudgment",
                json!(["waitForJudgment of stage Ok? timed out after 3 days. pausedDuration: 0"]),
                json!({}),
            ),
            "waitForJudgment of stage Ok? timed out after 3 days",
            "",
        ),
        (
            "precondition in own words",
            {
                let context = json!({"exception": {"details": {"error": "Precondition failed", "errors": ["it is Friday"]}}});
                one("checkPreconditions", context)
            },
            "it is Friday",
            "checkPreconditions 1",
        ),
        (
            "precondition on a stage",
            task(
                "checkPreconditions",
                "checkPrecondition",
                json!(["The status of stage Bake was not SUCCEEDED, but TERMINAL"]),
            ),
            "The status of stage Bake was not SUCCEEDED",
            "",
        ),
    ]
}

pub(super) fn engine() -> Vec<Row> {
    let child =
        |error: &str| format!("Exception in child pipeline stage (Build: Compile): {error}");
    vec![
        (
            "a child failed",
            task(
                "pipeline",
                "monitorPipeline",
                json!([child("no space left on device")]),
            ),
            "no space left on device",
            "child pipeline Build: Compile",
        ),
        (
            "a child's child failed",
            task(
                "pipeline",
                "monitorPipeline",
                json!([child(
                    "Exception in child pipeline stage (Inner: Push): denied"
                )]),
            ),
            "denied",
            "child pipeline Inner: Push",
        ),
        (
            "a child says nothing",
            one(
                "pipeline",
                json!({"executionName": "Build", "status": "CANCELED"}),
            ),
            "child pipeline Build ended with CANCELED",
            "",
        ),
        (
            "a child is disabled",
            task(
                "pipeline",
                "startPipeline",
                json!(["Pipeline abc is disabled."]),
            ),
            "Pipeline abc is disabled.",
            "startPipeline",
        ),
        (
            "an expression",
            one(
                "wait",
                json!({"expressionEvaluationSummary": {"${ foo.bar }": [
             {"description": "Failed to evaluate [foo.bar]: property foo is not known", "level": "ERROR"}]}}),
            ),
            "Failed to evaluate [foo.bar]",
            "wait 1",
        ),
        (
            "an expression, recorded",
            one(
                "wait",
                json!({"exception": {"details": {"error": "Failed Expression Evaluation",
             "errors": ["Failed to evaluate [x]: not a number"]}}}),
            ),
            "Failed to evaluate [x]: not a number",
            "",
        ),
        (
            "planning",
            one(
                "deploy",
                json!({"exception": {"exceptionType": "StagePlanningException",
             "details": {"error": "Unexpected Task Failure", "errors": ["strategy \"blue\" is unknown"]}}}),
            ),
            "strategy \"blue\" is unknown",
            "deploy 1",
        ),
        (
            "an unknown task",
            task(
                "wait",
                "old",
                json!(["there is no task of type \"old\"; it may come from a newer version"]),
            ),
            "there is no task of type \"old\"",
            "",
        ),
        (
            "the worker died",
            task(
                "wait",
                "wait",
                json!(["its worker fell silent again and again; the task was given up"]),
            ),
            "its worker fell silent again and again",
            "",
        ),
        (
            "it could not begin",
            {
                let mut e = execution("TERMINAL", json!([]));
                e["failure"] = json!("stages[0].refId: is missing");
                e
            },
            "stages[0].refId: is missing",
            "start",
        ),
        (
            "no reason at all",
            one("wait", json!({})),
            "wait 1 ended TERMINAL without a reason",
            "wait 1",
        ),
        (
            "a task without a reason",
            {
                let mut e = one("wait", json!({}));
                e["stages"][0]["tasks"] =
                    json!([{"id": "1", "name": "t", "status": "TERMINAL", "endTime": 3}]);
                e
            },
            "task t ended TERMINAL without a reason",
            "task t",
        ),
        (
            "no stage says why",
            execution("TERMINAL", json!([])),
            "it ended TERMINAL and no stage says why",
            "",
        ),
        (
            "a failure of one branch, the other canceled",
            {
                let mut e = one("wait", json!({"exception": exception(json!(["boom"]))}));
                let mut other = stage("2", "wait", 9, json!({}));
                other["status"] = json!("CANCELED");
                e["stages"].as_array_mut().unwrap().push(other);
                e
            },
            "boom",
            "wait 1",
        ),
        (
            "two branches, the earlier one first",
            {
                let late = stage(
                    "1",
                    "wait",
                    20,
                    json!({"exception": exception(json!(["late"]))}),
                );
                let early = stage(
                    "2",
                    "wait",
                    10,
                    json!({"exception": exception(json!(["early"]))}),
                );
                execution("TERMINAL", json!([late, early]))
            },
            "early",
            "wait 2",
        ),
        (
            "an accepted failure is not the cause",
            {
                let mut accepted = stage(
                    "1",
                    "wait",
                    1,
                    json!({"exception": exception(json!(["accepted"]))}),
                );
                accepted["status"] = json!("FAILED_CONTINUE");
                let fatal = stage(
                    "2",
                    "wait",
                    5,
                    json!({"exception": exception(json!(["fatal"]))}),
                );
                execution("TERMINAL", json!([accepted, fatal]))
            },
            "fatal",
            "wait 2",
        ),
        (
            "a stopped branch that fails the rest",
            {
                let mut stopped = stage(
                    "1",
                    "wait",
                    5,
                    json!({"exception": exception(json!(["stopped here"]))}),
                );
                stopped["status"] = json!("STOPPED");
                execution("TERMINAL", json!([stopped]))
            },
            "stopped here",
            "",
        ),
        (
            "saving pipelines",
            one(
                "savePipelinesFromArtifact",
                json!({"bulksave": {"pipelines_failed": [{"errorMsg": "stages[0].type: it is missing"}]}}),
            ),
            "stages[0].type: it is missing",
            "",
        ),
        (
            "a quiet parent of a telling child",
            below(
                "resizeServerGroup",
                "resize",
                json!(["group shop-v001 does not exist"]),
            ),
            "group shop-v001 does not exist",
            "deploy 1 › resizeServerGroup 2, task resize",
        ),
        (
            "lines of a log",
            task(
                "runJob",
                "waitOnJob",
                json!(["job migrate exited with 3\nERROR: relation \"a\" does not exist"]),
            ),
            "job migrate exited with 3",
            "",
        ),
    ]
}
