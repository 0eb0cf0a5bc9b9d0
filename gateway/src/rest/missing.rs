//! Routes of Gate that we know and do not serve: each answers 501 and names
//! what is missing, so that nobody takes an empty answer for a true one.

use axum::Router;
use axum::routing::{self, MethodRouter};

use crate::Gateway;
use crate::error::Error;

/// Methods, path, and what is missing.
pub(crate) const ROUTES: &[(&str, &str, &str)] = &[
    (
        "GET",
        "/pipelineConfigs/{id}/convertToTemplate",
        "turning a pipeline into a template",
    ),
    ("GET", "/admin", "administration"),
    (
        "GET",
        "/applications/{application}/clusters/{account}/{cluster}/serverGroups/{serverGroup}/scalingActivities",
        "scaling activities",
    ),
    (
        "GET",
        "/applications/{application}/clusters/{account}/{cluster}/{type}/loadBalancers",
        "the load balancers of a cluster",
    ),
    (
        "GET",
        "/applications/{application}/serverGroups/{account}/{serverGroup}/events",
        "the events of a server group",
    ),
    (
        "GET",
        "/applications/{application}/rawResources",
        "raw Kubernetes resources",
    ),
    ("GET", "/applications/{application}/functions", "functions"),
    (
        "GET",
        "/applications/{application}/snapshots/{account}",
        "snapshots",
    ),
    (
        "GET",
        "/applications/{application}/snapshots/{account}/history",
        "snapshots",
    ),
    ("GET", "/functions", "functions"),
    (
        "GET",
        "/securityGroups/{account}",
        "firewalls of one account",
    ),
    ("GET", "/firewalls/{account}", "firewalls of one account"),
    (
        "GET",
        "/firewalls/{account}/{region}",
        "firewalls of one region",
    ),
    (
        "GET",
        "/manifests/{account}/{location}/{name}",
        "Kubernetes manifests",
    ),
    (
        "GET",
        "/images/{account}/{region}/{id}",
        "looking up one image",
    ),
    ("GET", "/charts/find", "Helm charts"),
    ("GET", "/charts/tags", "Helm charts"),
    ("GET", "/charts/{account}/{region}/{id}", "Helm charts"),
    ("GET", "/networks", "networks"),
    ("GET", "/networks/{provider}", "networks"),
    ("GET", "/subnets", "subnets"),
    ("GET", "/subnets/{provider}", "subnets"),
    ("GET", "/vpcs", "networks"),
    ("GET", "/keyPairs", "key pairs"),
    ("GET", "/instanceTypes", "instance types"),
    ("GET", "/certificates", "certificates"),
    ("GET", "/certificates/{provider}", "certificates"),
    ("GET", "/roles/{provider}", "roles of a cloud"),
    ("GET", "/storage", "storage accounts"),
    ("GET", "/cloudMetrics/{*rest}", "metrics of a cloud"),
    ("GET", "/ecs/{*rest}", "Amazon ECS"),
    ("ANY", "/servicebroker/{*rest}", "service brokers"),
    ("ANY", "/tags", "entity tags"),
    ("ANY", "/tags/{*rest}", "entity tags"),
    ("POST", "/batch/tags", "entity tags"),
    ("GET", "/v1/data/{*rest}", "stored data"),
    ("ANY", "/cleanup/{*rest}", "cleaning up resources"),
    ("GET", "/bakery/options", "baking images"),
    ("GET", "/bakery/options/{provider}", "baking images"),
    ("GET", "/bakery/logs/{region}/{id}", "baking images"),
    ("POST", "/webhooks/{type}", "webhooks without a source"),
    ("POST", "/webhooks/cdevents/{source}", "CloudEvents"),
    ("GET", "/ci/builds", "build servers"),
    ("GET", "/ci/builds/{id}/output", "build servers"),
    ("ANY", "/gcb/{*rest}", "Google Cloud Build"),
    ("ANY", "/codebuild/{*rest}", "AWS CodeBuild"),
    ("ANY", "/concourse/{*rest}", "Concourse"),
    ("GET", "/artifactory/names", "Artifactory"),
    ("GET", "/nexus/names", "Nexus"),
    ("PUT", "/artifacts/fetch", "fetching artifacts"),
    (
        "GET",
        "/artifacts/account/{name}/names",
        "artifact accounts",
    ),
    (
        "GET",
        "/artifacts/account/{name}/versions",
        "artifact accounts",
    ),
    (
        "GET",
        "/artifacts/{provider}/{package}",
        "artifacts of build servers",
    ),
    (
        "GET",
        "/artifacts/{provider}/{package}/{version}",
        "artifacts of build servers",
    ),
    (
        "GET",
        "/artifacts/content-address/{application}/{hash}",
        "stored artifacts",
    ),
    ("GET", "/pubsub/subscriptions", "pub/sub"),
    ("POST", "/notifications/callbacks/{source}", "notifications"),
    ("ANY", "/pagerDuty/{*rest}", "PagerDuty"),
    ("GET", "/slack/channels", "Slack"),
    (
        "GET",
        "/capabilities/expressions",
        "the list of expression functions",
    ),
    ("GET", "/capabilities/quietPeriod", "quiet periods"),
    ("GET", "/history/{name}", "managed delivery"),
    ("ANY", "/managed/{*rest}", "managed delivery"),
    (
        "ANY",
        "/canaries/{*rest}",
        "the canary analysis before Kayenta",
    ),
    (
        "GET",
        "/canaryConfig/names",
        "the canary analysis before Kayenta",
    ),
    (
        "GET",
        "/canaryConfigs/{application}",
        "the canary analysis before Kayenta",
    ),
    (
        "GET",
        "/canaryDeployments/{*rest}",
        "the canary analysis before Kayenta",
    ),
    (
        "ANY",
        "/pipelineTemplates",
        "pipeline templates of version 1",
    ),
    (
        "ANY",
        "/pipelineTemplates/{*rest}",
        "pipeline templates of version 1",
    ),
    ("GET", "/credentials/type/{type}", "managing accounts"),
    ("POST,PUT", "/credentials", "managing accounts"),
    ("DELETE", "/credentials/{account}", "managing accounts"),
    ("GET", "/auth/rawUser", "authentication"),
    ("GET", "/auth/redirect", "authentication"),
    ("POST", "/auth/roles/sync", "authorization"),
    ("POST", "/auth/deleteSessionCache", "authentication"),
    ("ANY", "/auth/apiTokens", "API tokens"),
    ("ANY", "/auth/apiTokens/{*rest}", "API tokens"),
    ("ANY", "/banners", "banners"),
    ("ANY", "/banners/{*rest}", "banners"),
    ("ANY", "/plugins/{*rest}", "plugins"),
    ("ANY", "/extensions/{*rest}", "plugins"),
    ("ANY", "/proxies/{*rest}", "proxies"),
    ("ANY", "/integrations/{*rest}", "integrations"),
];

fn route(methods: &str, what: &'static str) -> MethodRouter<Gateway> {
    let answer = move || async move { Error::missing(what) };
    let mut route = MethodRouter::new();
    for method in methods.split(',') {
        route = match method {
            "GET" => route.get(answer),
            "POST" => route.post(answer),
            "PUT" => route.put(answer),
            "DELETE" => route.delete(answer),
            _ => return routing::any(answer),
        };
    }
    route
}

/// All of them.
pub(super) fn routes() -> Router<Gateway> {
    ROUTES
        .iter()
        .fold(Router::new(), |router, (methods, path, what)| {
            router.route(path, route(methods, what))
        })
}
