//! Failures of images, instances and capacity.

use serde_json::json;

use super::{Row, below, exception, one, operation, stage, task, timed_out, with_context};

pub(super) fn images() -> Vec<Row> {
    vec![
        (
            "the image is not there",
            operation(
                "image of shop-v002 is not available: registry hub has no image shop:2",
                json!([]),
            ),
            "image of shop-v002 is not available: registry hub has no image shop:2",
            "monitorReplace",
        ),
        (
            "the registry wants credentials",
            operation(
                "registry hub answered 401 for image shop:2: authentication required",
                json!([]),
            ),
            "registry hub answered 401 for image shop:2",
            "replaceInPlace",
        ),
        (
            "the registry limits",
            operation("registry hub limits the rate of requests", json!([])),
            "registry hub limits the rate of requests",
            "",
        ),
        (
            "the registry is away",
            operation(
                "registry hub cannot be reached: connection refused",
                json!([]),
            ),
            "registry hub cannot be reached: connection refused",
            "",
        ),
        (
            "a damaged blob",
            operation(
                "blob sha256:ab is damaged: its digest is another; push the image again if this repeats",
                json!([]),
            ),
            "blob sha256:ab is damaged",
            "",
        ),
        (
            "a layer climbs out",
            operation(
                "layer sha256:cd holds an entry that is refused: ../etc/passwd",
                json!([]),
            ),
            "layer sha256:cd holds an entry that is refused",
            "",
        ),
        (
            "no image found",
            task(
                "findImage",
                "findImage",
                json!(["no image of cluster shop-prod in prod/r1"]),
            ),
            "no image of cluster shop-prod",
            "findImage",
        ),
        (
            "no image named",
            below(
                "createServerGroup",
                "createServerGroup",
                json!([
                    "imageId is missing, and no earlier stage found or baked an image; name an image"
                ]),
            ),
            "imageId is missing",
            "deploy 1 › createServerGroup 2",
        ),
        (
            "quarantine",
            below(
                "createServerGroup",
                "createServerGroup",
                json!([
                    "shop:2 is in quarantine for cluster shop of prod: execution X rolled it back"
                ]),
            ),
            "shop:2 is in quarantine",
            "",
        ),
        (
            "no such tag",
            task(
                "findImageFromTags",
                "findImage",
                json!(["no image of package shop has tags {\"a\":1}"]),
            ),
            "no image of package shop",
            "",
        ),
    ]
}

pub(super) fn health() -> Vec<Row> {
    vec![
        (
            "health never up, with the last log line",
            operation(
                "instance shop-v002-0 did not become healthy within 60000 ms: GET /health answered 503",
                json!(["last log line: cannot open database"]),
            ),
            "cannot open database: instance shop-v002-0 did not become healthy within 60000 ms: GET",
            "monitorReplace",
        ),
        (
            "it died",
            operation(
                "instance shop-v002-0 died: exit code 1",
                json!(["panicked at main.rs:1"]),
            ),
            "panicked at main.rs:1: instance shop-v002-0 died: exit code 1",
            "",
        ),
        (
            "the port is in use",
            operation(
                "instance shop-v002-0 died: exit code 98",
                json!(["Address already in use (os error 98)"]),
            ),
            "Address already in use (os error 98): instance shop-v002-0 died: exit code 98",
            "",
        ),
        (
            "no free port",
            operation(
                "no free port from 20000 to 20010; widen local.first-port and local.last-port",
                json!([]),
            ),
            "no free port from 20000 to 20010",
            "",
        ),
        (
            "waited in vain, some are up",
            timed_out(json!({"lastCapacityCheck": {"up": 1, "down": 2, "targetDesiredSize": 3}})),
            "1 of 3 instances came up, 2 are down: waitForUpInstances of stage Deploy timed out after 10 minutes",
            "",
        ),
        (
            "waited in vain, none is up",
            timed_out(json!({"lastCapacityCheck": {"up": 0, "down": 0, "targetDesiredSize": 2}})),
            "0 of 2 instances came up, 0 are down",
            "waitForUpInstances",
        ),
        (
            "waited in vain, nothing was seen",
            timed_out(json!({})),
            "waitForUpInstances of stage Deploy timed out after 10 minutes",
            "",
        ),
        (
            "still in flight",
            operation(
                "instance a still had 3 requests in flight after 30000 ms",
                json!([]),
            ),
            "instance a still had 3 requests in flight",
            "",
        ),
        (
            "did not exit",
            operation("instance a did not exit within 10000 ms", json!([])),
            "instance a did not exit within 10000 ms",
            "",
        ),
        (
            "weights",
            operation(
                "weight of shop-v002 is 0 of 1000 after 500 ms, asked were 500",
                json!([]),
            ),
            "weight of shop-v002 is 0 of 1000",
            "",
        ),
    ]
}

pub(super) fn capacity() -> Vec<Row> {
    vec![
        (
            "no successor slot",
            operation(
                "slot r1/0 of shop has no successor; old and new must take the same slots",
                json!([]),
            ),
            "slot r1/0 of shop has no successor",
            "",
        ),
        (
            "floor too high",
            operation(
                "floor 3 leaves no instance of shop to replace: it has 3; set floor to at most 2",
                json!([]),
            ),
            "floor 3 leaves no instance of shop to replace",
            "",
        ),
        (
            "capacity of nothing",
            below(
                "createServerGroup",
                "determineSourceServerGroup",
                json!([
                    "Cluster is configured to copy capacity from the current server group, but shop has none in r1; set capacity"
                ]),
            ),
            "Cluster is configured to copy capacity from the current server group",
            "determineSourceServerGroup",
        ),
        (
            "capacity never matched",
            with_context(
                "resizeServerGroup",
                "waitForCapacityMatch",
                json!([
                    "waitForCapacityMatch of stage Resize timed out after 30 minutes. pausedDuration: 0"
                ]),
                json!({"lastCapacityCheck": {"up": 2, "targetDesiredSize": 5}}),
            ),
            "2 of 5 instances came up, 0 are down",
            "",
        ),
        (
            "the percentage is none",
            task(
                "createServerGroup",
                "waitForUpInstances",
                json!(["targetHealthyDeployPercentage 120 is not 0 to 100; correct it"]),
            ),
            "targetHealthyDeployPercentage 120 is not 0 to 100",
            "",
        ),
        (
            "guard",
            task(
                "destroyServerGroup",
                "destroyServerGroup",
                json!([
                    "This cluster ('shop' in prod/r1) has traffic guards enabled. Destroying [shop-v001] would leave the cluster with no instances up."
                ]),
            ),
            "This cluster ('shop' in prod/r1) has traffic guards enabled",
            "",
        ),
        (
            "no target",
            task(
                "destroyServerGroup",
                "determineTarget",
                json!(["cluster shop has no ancestor_asg_dynamic server group in prod/r1"]),
            ),
            "cluster shop has no ancestor_asg_dynamic server group",
            "",
        ),
        (
            "no host slot left",
            operation(
                "region r1 has no free slot: 4 of 4 are taken; add slots to the account",
                json!([]),
            ),
            "region r1 has no free slot",
            "",
        ),
        (
            "only in the operation's record",
            one(
                "createServerGroup",
                json!({"kato.tasks": [{"exception": {"message": "quota of prod is used up"}}]}),
            ),
            "quota of prod is used up",
            "",
        ),
        (
            "rolling back failed too",
            {
                let mut e = operation("instance a died: exit code 1", json!([]));
                let mut back = stage(
                    "3",
                    "rollbackCluster",
                    30,
                    json!({"exception": exception(json!(["no server group to restore"]))}),
                );
                back["parentStageId"] = json!("1");
                back["syntheticStageOwner"] = json!("STAGE_AFTER");
                e["stages"].as_array_mut().unwrap().push(back);
                e
            },
            "instance a died: exit code 1",
            "replaceInPlace",
        ),
    ]
}
