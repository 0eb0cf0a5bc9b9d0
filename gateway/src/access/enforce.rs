//! The one place that lets a request through to its handler, or does not, and
//! writes down what it changed.

use std::collections::HashMap;
use std::sync::LazyLock;

use authorization::Permission;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use proto::cloud_driver::v1::InstanceQuery;
use proto::moniker::Moniker;
use serde_json::Value;

use super::needs::{Need, needs};
use super::target::{Said, Target};
use super::{Access, canary, cut, filter, text};
use crate::answer::value;
use crate::audit::{self, Change};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{Caller, Definition, Query, Raw};
use crate::{Gateway, identity, rest};

/// What is served at a path: method in lower case, and handler.
type Served = Vec<(&'static str, String)>;

static HANDLERS: LazyLock<HashMap<&'static str, Served>> = LazyLock::new(|| {
    let mut by_path: HashMap<&'static str, Served> = HashMap::new();
    for operation in rest::operations() {
        let served = by_path.entry(operation.path).or_default();
        served.push((operation.method, operation.handler));
    }
    by_path
});

/// Handlers of changing methods that change nothing, or write down what they take themselves.
const UNAUDITED: [&str; 8] = [
    "canaries.dry_run",
    "login.form",
    "pipeline_templates.plan",
    "login.logout",
    "pipelines.evaluate_body",
    "pipelines.evaluate_variables",
    "triggers.test",
    "webhooks.receive",
];

fn handler(method: &Method, path: &str) -> Option<&'static str> {
    let method = match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => return None,
    };
    let served = HANDLERS.get(path)?.iter();
    let mut found = served.filter(|(known, _)| *known == method);
    found.next().map(|(_, handler)| handler.as_str())
}

/// Lets a request through if its handler's need is met.
pub(crate) async fn enforce(State(gate): State<Gateway>, request: Request, next: Next) -> Response {
    match allowed(&gate, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn allowed(gate: &Gateway, request: Request, next: Next) -> Result<Response, Error> {
    let (mut parts, body) = request.into_parts();
    let path = parts
        .extensions
        .get::<MatchedPath>()
        .map(|p| p.as_str().to_owned());
    let handler = handler(&parts.method, &path.unwrap_or_default()).unwrap_or_default();
    let (need, lose) = needs(handler);
    let caller = parts
        .extensions
        .get::<Caller>()
        .cloned()
        .unwrap_or_default();
    let audited = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS)
        && !UNAUDITED.contains(&handler);
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let params = params.map_err(|e| Error::new(StatusCode::BAD_REQUEST, e.body_text()))?;
    let params: Vec<(String, String)> = params
        .iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    let asks_body = audited || matches!(need, Need::Body(_) | Need::CanaryStart);
    let (body, document) = if asks_body && handler != "webhooks.receive" {
        let whole = Request::from_parts(parts.clone(), body);
        let Raw(bytes) = Definition::from_request(whole, &()).await?;
        // What is no JSON is the handler's to refuse; it names nothing here.
        let document = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        (Body::from(bytes), document)
    } else {
        (body, Value::Null)
    };
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let said = Said {
        params: &params,
        body: &document,
    };
    let asks = Asks {
        access: Access::of(gate, &caller),
        said: &said,
        query: &query,
    };
    let permitted = asks.permitted(need).await;
    let method = parts.method.clone();
    let request = Request::from_parts(parts, body);
    if !audited {
        permitted?;
        let response = next.run(request).await;
        return filter::without_unreadable(asks.access, response, lose).await;
    }
    let target = Target::of(handler, &said);
    let change = Change {
        action: handler,
        method: method.as_str(),
        target: target.name(),
    };
    if let Err(error) = permitted {
        audit::refused(gate, &caller, &change, &error).await;
        return Err(error);
    }
    let before = target.hash(gate, &caller).await;
    // What cannot be written down does not happen.
    audit::begun(gate, &caller, &change, before.as_deref()).await?;
    let response = next.run(request).await;
    let after = target.hash(gate, &caller).await;
    audit::ended(gate, &caller, &change, response.status(), after.as_deref()).await;
    filter::without_unreadable(asks.access, response, lose).await
}

struct Asks<'a> {
    access: Access<'a>,
    said: &'a Said<'a>,
    query: &'a Query,
}

impl Asks<'_> {
    async fn permitted(&self, need: Need) -> Result<(), Error> {
        if self.access.caller.is_nobody() && need != Need::Anybody {
            return Err(identity::unauthorized(
                "nobody is logged in; send a credential",
            ));
        }
        let account = self.said.param("account");
        if !account.is_empty() {
            self.access.account(account, Permission::Read).await?;
        }
        let application = self.said.param("application");
        let id = self.said.param("id");
        match need {
            Need::Anybody => Ok(()),
            Need::BuildServer => self.access.build_server(),
            Need::Admin => self.access.admin(),
            Need::Application(permission) => self.access.application(application, permission).await,
            Need::Query(permission) => match self.query.get("application") {
                Some(name) => self.access.application(name, permission).await,
                None => self.access.admin(),
            },
            Need::Search if application == "*" => Ok(()),
            Need::Search => self.access.application(application, Permission::Read).await,
            Need::Execution(permission) => self.access.execution(id, permission).await,
            Need::Executions(permission) => {
                for id in self.query.list("ids") {
                    self.access.execution(&id, permission).await?;
                }
                Ok(())
            }
            Need::Pipeline(permission) => self.access.pipeline(id, permission).await,
            Need::Definition(permission) => self.definition(self.said.body, permission).await,
            Need::Definitions => {
                for definition in self.said.body.as_array().into_iter().flatten() {
                    self.definition(definition, Permission::Write).await?;
                }
                Ok(())
            }
            Need::Body(permission) => {
                // A pipeline may be given by its id or whole: both say whose it is.
                let pipeline = self.said.body.get("pipeline");
                if let Some(id) = pipeline.and_then(Value::as_str) {
                    self.access.pipeline(id, permission).await?;
                }
                let of = [Some(self.said.body), pipeline];
                let names = of
                    .into_iter()
                    .flatten()
                    .map(|body| text(body, "application"));
                let mut any = false;
                for name in names.filter(|name| !name.is_empty()) {
                    any = true;
                    self.access.application(name, permission).await?;
                }
                // Without one, every pipeline is looked at.
                if any || pipeline.is_some() {
                    Ok(())
                } else {
                    self.access.admin()
                }
            }
            Need::Task => self.task().await,
            Need::Template => self.template().await,
            Need::Environment => self.environment().await,
            Need::Cluster => {
                let cluster = self.said.param("id").split('/').nth(1).unwrap_or_default();
                let application = Moniker::parse(cluster).app;
                let application = application.as_deref().unwrap_or(cluster);
                self.access
                    .application(application, Permission::Write)
                    .await
            }
            Need::CanaryConfig(permission) => {
                canary::config(self.access, id, self.said.body, permission).await
            }
            Need::CanaryStart => {
                canary::start(
                    self.access,
                    id,
                    self.said.body,
                    self.query.get("application"),
                )
                .await
            }
            Need::CanaryRun(permission) => canary::run(self.access, id, permission).await,
            Need::Instance => self.instance().await,
        }
    }

    async fn definition(&self, body: &Value, permission: Permission) -> Result<(), Error> {
        let application = text(body, "application");
        // Without an application there is nothing to save; the handler says so.
        if !application.is_empty() {
            self.access.application(application, permission).await?;
        }
        for id in [text(body, "id"), self.said.param("id")] {
            if !id.is_empty() {
                self.access.pipeline(id, permission).await?;
            }
        }
        let roles = identity::roles_of(body, "roles");
        if !roles.is_empty() {
            self.access.act_with(&roles)?;
        }
        let triggers = body.get("triggers").and_then(Value::as_array);
        for (at, trigger) in triggers.into_iter().flatten().enumerate() {
            let account = text(trigger, "runAsUser").trim();
            if !account.is_empty() {
                let field = format!("triggers[{at}].runAsUser");
                self.access.run_as(application, account, &field).await?;
            }
        }
        Ok(())
    }

    /// An application that a job creates needs CREATE as long as it is not stored.
    async fn task(&self) -> Result<(), Error> {
        if self.access.limited().is_none() {
            return Ok(());
        }
        let mut names = vec![
            self.said.param("application").to_owned(),
            text(self.said.body, "application").to_owned(),
        ];
        let mut creates = Vec::new();
        let jobs = self.said.body.get("job").and_then(Value::as_array);
        for job in jobs.into_iter().flatten() {
            match job.get("application") {
                Some(Value::String(name)) => names.push(name.clone()),
                Some(application @ Value::Object(_)) => {
                    let name = text(application, "name").to_owned();
                    if text(job, "type") == "createApplication" {
                        creates.push(name.to_lowercase());
                    }
                    names.push(name);
                }
                _ => {}
            }
            // A project's tasks and a template's name no application of their own.
            let account = ["account", "credentials"].map(|key| text(job, key));
            for account in account.into_iter().filter(|name| !name.is_empty()) {
                self.access.account(account, Permission::Write).await?;
            }
        }
        names.retain(|name| !name.trim().is_empty());
        names.sort_unstable();
        names.dedup();
        for name in names {
            let new = creates.contains(&name.to_lowercase())
                && self.access.permissions(&name).await?.is_none();
            let permission = if new {
                Permission::Create
            } else {
                Permission::Write
            };
            self.access.application(&name, permission).await?;
        }
        Ok(())
    }

    async fn object(&self, kind: &str, id: &str) -> Result<Option<Value>, Error> {
        identity::object(&self.access.gate.clients, kind, id).await
    }

    /// Scopes that are no stored application, such as `global`, are everybody's.
    async fn template(&self) -> Result<(), Error> {
        if self.access.limited().is_none() {
            return Ok(());
        }
        let body = self.said.body;
        let id = [self.said.param("id"), text(body, "id")];
        let id = id.into_iter().find(|id| !id.is_empty()).unwrap_or_default();
        let stored = self.object("pipelineTemplate", id).await?;
        for template in [Some(body), stored.as_ref()].into_iter().flatten() {
            let scopes = template
                .pointer("/metadata/scopes")
                .and_then(Value::as_array);
            for scope in scopes.into_iter().flatten().filter_map(Value::as_str) {
                if self.access.permissions(scope).await?.is_some() {
                    self.access.application(scope, Permission::Write).await?;
                }
            }
        }
        Ok(())
    }

    async fn environment(&self) -> Result<(), Error> {
        let Some(subject) = self.access.limited() else {
            return Ok(());
        };
        let stored = self.object("environment", self.said.param("name")).await?;
        let owner = stored
            .as_ref()
            .map_or("", |e| text(e, "owner"))
            .to_lowercase();
        let is_owner = !owner.is_empty()
            && subject.scope.is_none()
            && (subject
                .name
                .as_ref()
                .is_some_and(|name| name.to_lowercase() == owner)
                || subject.roles.iter().any(|role| role == owner));
        if is_owner {
            Ok(())
        } else {
            self.access.admin()
        }
    }

    async fn instance(&self) -> Result<(), Error> {
        if self.access.limited().is_none() {
            return Ok(());
        }
        let call = self.access.caller.request(InstanceQuery {
            account: self.said.param("account").to_owned(),
            region: self.said.param("region").to_owned(),
            id: self.said.param("id").to_owned(),
        });
        match answer(self.access.gate.clients.query.clone().get_instance(call)).await {
            Ok(found) => {
                let found = value(&found)?;
                let application = text(&found, "application");
                self.access
                    .application(&cut(application), Permission::Read)
                    .await
            }
            Err(error) if error.status() == StatusCode::NOT_FOUND => Ok(()),
            Err(error) => Err(error),
        }
    }
}
