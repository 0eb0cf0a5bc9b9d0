//! The router: every route of Gate, one line each. A route that is not served
//! is in [`missing`] and answers 501 by name; none is absent by accident.
//!
//! To add one: a handler in the controller's file and a line here. Names that
//! may hold `/` are the last part of a path, as `{*name}`; those below
//! `/pipelines` would hide other routes and are looked up after them.

mod admin;
mod applications;
mod artifacts;
mod audit;
mod auth;
mod builds;
mod canaries;
mod canary_configs;
mod clusters;
mod configured;
mod credentials;
mod environments;
mod execution_log;
mod executions;
mod failed_stages;
mod images;
mod instances;
mod jobs;
mod load_balancers;
mod login;
pub(crate) mod missing;
mod notifications;
mod pipeline_configs;
mod pipeline_sets;
mod pipeline_templates;
mod pipelines;
mod projects;
mod quarantine;
mod search;
mod security_groups;
mod server_groups;
mod service_accounts;
mod strategies;
mod tasks;
mod tokens;
mod traffic;
mod triggers;
mod version;
mod webhooks;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use http::{Method, StatusCode, Uri};
use tower::ServiceExt;

use crate::error::Error;
use crate::request::Caller;
use crate::routes::{Operation, Routes, delete, get, patch, post, put};
use crate::{Gateway, access, live, openapi, ui};

/// The whole interface.
pub(crate) fn router(gate: &Gateway) -> Router {
    let enforced = || middleware::from_fn_with_state(gate.clone(), access::enforce);
    let by_name = by_name()
        .router
        .route_layer(enforced())
        .method_not_allowed_fallback(wrong_method)
        .with_state(gate.clone());
    let (absent, refused) = (by_name.clone(), by_name);
    routes()
        .router
        .route_layer(enforced())
        .merge(missing::routes())
        .with_state(gate.clone())
        .fallback_service(absent.fallback(unknown))
        .method_not_allowed_fallback(move |request: Request| {
            let next = refused.clone().fallback(wrong_method);
            async move { next.oneshot(anew(request)).await }
        })
}

/// Every route that is served.
pub(crate) fn operations() -> Vec<Operation> {
    let mut all = routes().operations;
    all.extend(by_name().operations);
    all
}

/// The request as it came: what the first look-up noted about its path is left behind.
fn anew(request: Request) -> Request {
    let (parts, body) = request.into_parts();
    let mut fresh = Request::new(body);
    *fresh.method_mut() = parts.method;
    *fresh.uri_mut() = parts.uri;
    *fresh.headers_mut() = parts.headers;
    if let Some(caller) = parts.extensions.get::<Caller>() {
        fresh.extensions_mut().insert(caller.clone());
    }
    fresh
}

/// Pipelines by name, which may hold anything.
#[rustfmt::skip] // one line a route
fn by_name() -> Routes {
    Routes::new()
        .route("/pipelines/v2/{application}/{*nameOrId}", post(pipelines::start_v2))
        .route("/pipelines/{application}/{*nameOrId}", post(pipelines::start).delete(pipeline_configs::delete))
}

#[rustfmt::skip] // one line a route
fn routes() -> Routes {
    Routes::new()
        .route("/", get(version::root))
        .route("/health", get(version::health))
        .route("/metrics", get(version::metrics))
        .route("/version", get(version::version))
        .route("/actions/pipelines/reorder", post(pipeline_sets::reorder))
        .route("/actions/strategies/reorder", post(pipeline_sets::reorder))
        .route("/admin/executions/forceCancel", put(admin::force_cancel))
        .route("/admin/executions/hydrate", post(admin::hydrate))
        .route("/applications", get(applications::list))
        .route("/applications/{application}", get(applications::get))
        .route("/applications/{application}/clusters", get(clusters::names))
        .route("/applications/{application}/clusters/{account}", get(clusters::of_account))
        .route("/applications/{application}/clusters/{account}/{cluster}", get(clusters::get))
        .route("/applications/{application}/clusters/{account}/{cluster}/serverGroups", get(clusters::server_groups))
        .route("/applications/{application}/clusters/{account}/{cluster}/serverGroups/{serverGroup}", get(clusters::server_group))
        .route("/applications/{application}/clusters/{account}/{cluster}/{cloudProvider}/{scope}/serverGroups/target/{target}", get(clusters::target))
        .route("/applications/{application}/environments", get(environments::of_application))
        .route("/applications/{application}/executions/search", get(executions::search))
        .route("/applications/{application}/history", get(applications::history))
        .route("/applications/{application}/jobs/{account}/{region}/{name}", get(jobs::get))
        .route("/applications/{application}/loadBalancers", get(load_balancers::of_application))
        .route("/applications/{application}/pipelineConfigs", get(pipeline_configs::of_application))
        .route("/applications/{application}/pipelineConfigs/{*nameOrId}", get(pipeline_configs::get).post(pipelines::start))
        .route("/applications/{application}/pipelines", get(executions::of_application))
        .route("/applications/{application}/pipelines/{id}/cancel", put(pipelines::cancel_of_application))
        .route("/applications/{application}/serverGroupManagers", get(server_groups::managers))
        .route("/applications/{application}/serverGroups", get(server_groups::of_application))
        .route("/applications/{application}/serverGroups/{account}/{region}/{name}", get(server_groups::get))
        .route("/applications/{application}/strategyConfigs", get(pipeline_configs::strategies))
        .route("/applications/{application}/strategyConfigs/{*name}", get(strategies::get))
        .route("/applications/{application}/tasks", get(tasks::of_application).post(tasks::start_of_application))
        .route("/applications/{application}/tasks/{id}", get(tasks::get_of_application))
        .route("/applications/{application}/tasks/{id}/cancel", put(tasks::cancel_of_application))
        .route("/applications/{application}/tasks/{id}/details/{details}", get(tasks::details_of_application))
        .route("/artifacts/credentials", get(artifacts::credentials))
        .route("/audit", get(audit::list))
        .route("/auth/explain", get(auth::explain))
        .route("/auth/loggedOut", get(auth::logged_out))
        .route("/auth/logout", get(login::logout).post(login::logout))
        .route("/auth/user", get(auth::user))
        .route("/auth/user/serviceAccounts", get(auth::service_accounts))
        .route("/canary/{id}", get(canaries::get).post(canaries::start))
        .route("/canaryConfig", get(canary_configs::list))
        .route("/credentials", get(credentials::list))
        .route("/credentials/{account}", get(credentials::get))
        .route("/environments", get(environments::list).post(environments::create))
        .route("/environments/{name}", get(environments::get).put(environments::update).delete(environments::delete))
        .route("/executions", get(executions::list))
        .route("/executions/failedStages", get(failed_stages::list))
        .route("/executions/{id}/log", get(execution_log::get))
        .route("/firewalls", get(security_groups::all))
        .route("/firewalls/{account}/{region}/{name}", get(security_groups::get))
        .route("/images/find", get(images::find))
        .route("/images/tags", get(images::tags))
        .route("/instances/{account}/{region}/{id}", get(instances::get))
        .route("/instances/{account}/{region}/{id}/console", get(instances::console))
        .route("/live", get(live::stream))
        .route("/loadBalancers", get(load_balancers::list))
        .route("/loadBalancers/{name}", get(load_balancers::named))
        .route("/loadBalancers/{account}/{region}/{name}", get(load_balancers::get))
        .route("/login", get(login::begin).post(login::form))
        .route("/login/oauth2/code/{id}", get(login::callback))
        .route("/openapi.json", get(openapi::document))
        .route("/pipelineConfigs", get(pipeline_configs::all))
        .route("/pipelineConfigs/{id}/history", get(pipeline_configs::history))
        .route("/pipelines", post(pipeline_configs::save))
        .route("/pipelines/bulksave", post(pipeline_sets::bulk_save))
        .route("/pipelines/fail", post(pipelines::fail))
        .route("/pipelines/move", post(pipeline_sets::rename))
        .route("/pipelines/start", post(pipelines::start_ad_hoc))
        .route("/pipelines/{id}", get(pipelines::get).put(pipeline_configs::update).delete(pipelines::delete))
        .route("/pipelines/{id}/cancel", put(pipelines::cancel))
        .route("/pipelines/{id}/evaluateExpression", get(pipelines::evaluate).post(pipelines::evaluate_body))
        .route("/pipelines/{id}/evaluateVariables", post(pipelines::evaluate_variables))
        .route("/pipelines/{id}/pause", put(pipelines::pause))
        .route("/pipelines/{id}/resume", put(pipelines::resume))
        .route("/pipelines/{id}/stages/{stage}", patch(pipelines::update_stage))
        .route("/pipelines/{id}/stages/{stage}/restart", put(pipelines::restart_stage))
        .route("/pipelines/{id}/triggerEvents", get(pipelines::decisions))
        .route("/pipelines/{id}/triggers/{trigger}/hold", delete(triggers::release))
        .route("/pipelines/{id}/{stage}/evaluateExpression", get(pipelines::evaluate_at_stage))
        .route("/notifications/metadata", get(notifications::metadata))
        .route("/notifications/{type}/{application}", get(notifications::get).post(notifications::save).delete(notifications::delete))
        .route("/projects", get(projects::list))
        .route("/projects/{project}", get(projects::get))
        .route("/projects/{project}/clusters", get(projects::clusters))
        .route("/projects/{project}/pipelines", get(projects::pipelines))
        .route("/quarantine", get(quarantine::list))
        .route("/quarantine/{*id}", delete(quarantine::release))
        .route("/search", get(search::search))
        .route("/securityGroups", get(security_groups::all))
        .route("/securityGroups/{account}/{region}/{name}", get(security_groups::get))
        .route("/serverGroups", get(server_groups::list))
        .route("/serviceAccounts", get(service_accounts::list).post(service_accounts::save))
        .route("/serviceAccounts/{name}", delete(service_accounts::delete))
        .route("/strategies", post(strategies::save))
        .route("/strategies/move", post(pipeline_sets::rename))
        .route("/strategies/{id}", put(strategies::update))
        .route("/strategies/{application}/{*name}", delete(strategies::delete))
        .route("/strategyConfigs", get(strategies::all))
        .route("/strategyConfigs/{id}/history", get(pipeline_configs::history))
        .route("/tasks", post(tasks::start))
        .route("/tasks/cancel", put(tasks::cancel_many))
        .route("/tasks/{id}", get(tasks::get).delete(tasks::delete))
        .route("/tasks/{id}/cancel", put(tasks::cancel))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}", delete(tokens::delete))
        .route("/tasks/{id}/details/{details}", get(tasks::details))
        .route("/traffic", get(traffic::get))
        .route("/triggers/events", get(pipelines::decisions_by_name))
        .route("/triggers/test", post(triggers::test))
        .route("/ui", get(ui::redirect))
        .route("/ui/", get(ui::page))
        .route("/ui/{file}", get(ui::file))
        .route("/v2/builds", get(builds::masters))
        .route("/v2/builds/{master}/build/{number}/{*job}", get(builds::get_by_path))
        .route("/v2/builds/{master}/builds/{*job}", get(builds::list_by_path))
        .route("/v2/builds/{master}/jobs", get(builds::jobs))
        .route("/v2/builds/{master}/jobs/{*job}", get(builds::job_by_path))
        .route("/v2/canaries/canary", post(canaries::start_ad_hoc))
        .route("/v2/canaries/canary/{id}", get(canaries::get).post(canaries::start))
        .route("/v2/canaries/canary/{configId}/{id}", get(canaries::get_of_config))
        .route("/v2/canaries/credentials", get(canaries::credentials))
        .route("/v2/canaries/dryRun", post(canaries::dry_run))
        .route("/v2/canaries/judges", get(canaries::judges))
        .route("/v2/canaries/metadata/metricsService", get(canaries::metrics))
        .route("/v2/canaries/metricSetPairList/{id}", get(canaries::pairs))
        .route("/v2/canaries/{application}/executions", get(canaries::executions))
        .route("/v2/canaries/{application}/executions/{id}/cancel", put(canaries::cancel))
        .route("/v2/canaryConfig", get(canary_configs::list).post(canary_configs::create))
        .route("/v2/canaryConfig/{id}", get(canary_configs::get).put(canary_configs::update).delete(canary_configs::delete))
        .route("/v2/canaryConfig/{id}/versions", get(canary_configs::versions))
        .route("/v2/pipelineTemplates", get(pipeline_templates::list))
        .route("/v2/pipelineTemplates/create", post(pipeline_templates::create))
        .route("/v2/pipelineTemplates/plan", post(pipeline_templates::plan))
        .route("/v2/pipelineTemplates/versions", get(pipeline_templates::versions))
        .route("/v2/pipelineTemplates/update/{id}", post(pipeline_templates::update))
        .route("/v2/pipelineTemplates/{id}", get(pipeline_templates::get).delete(pipeline_templates::delete))
        .route("/v2/pipelineTemplates/{id}/dependents", get(pipeline_templates::dependents))
        .route("/v3/api-docs", get(openapi::document))
        .route("/v3/builds", get(builds::masters))
        .route("/v3/builds/{master}/build/{number}", get(builds::get_by_query))
        .route("/v3/builds/{master}/builds", get(builds::list_by_query))
        .route("/v3/builds/{master}/job", get(builds::job_by_query))
        .route("/v3/builds/{master}/jobs", get(builds::jobs))
        .route("/cron/validate", get(triggers::validate_cron))
        .route("/validateCronExpression", get(triggers::validate_cron))
        .route("/webhooks/preconfigured", get(configured::webhooks))
        .route("/jobs/preconfigured", get(configured::jobs))
        .route("/capabilities/deploymentMonitors", get(configured::deployment_monitors))
        .route("/webhooks/{type}/{source}", post(webhooks::receive))
}

async fn unknown(uri: Uri) -> Error {
    let path: String = uri.path().chars().take(200).collect();
    Error::not_found(format!("there is no route {path}"))
}

async fn wrong_method(method: Method, uri: Uri) -> Error {
    let path: String = uri.path().chars().take(200).collect();
    Error::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("Request method '{method}' is not supported for {path}"),
    )
}
