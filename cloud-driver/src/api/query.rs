//! `QueryService`: live reads of what runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::cloud_driver::v1::query_service_server::QueryService;
use proto::cloud_driver::v1::{
    AccountName, ApplicationQuery, ClusterQuery, InstanceQuery, JobQuery, JsonList,
    ListAccountsRequest, ServerGroupQuery, TargetQuery, TrafficQuery,
};
use proto::common::v1::Json;
use proto::history::REMEMBERED_S;
use proto::status::Failure;
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use super::{internal, of_journal, of_ledger};
use crate::config::Config;
use crate::operation;
use crate::operation::ledger::Ledger;
use crate::provider::local::Local;
use crate::provider::local::journal::Everything;
use crate::provider::local::observed::Observed;
use crate::provider::local::shim::Facts;
use crate::view::{self, Sight};

/// Lines of an instance's output shown at the most.
const CONSOLE_LINES: usize = 1_000;
/// What canaries are promised is what the balancer keeps.
const _: () = assert!(REMEMBERED_S == balancer::HISTORY_S);

/// The service.
#[derive(Debug, Clone)]
pub struct Queries {
    config: Arc<Config>,
    local: Arc<Local>,
    ledger: Ledger,
}

/// The owned parts of a [`Sight`].
struct Look {
    everything: Everything,
    observed: Option<Arc<Observed>>,
    facts: BTreeMap<String, Facts>,
}

impl Queries {
    /// The service over the provider.
    pub fn new(config: Arc<Config>, local: Arc<Local>, ledger: Ledger) -> Self {
        Self {
            config,
            local,
            ledger,
        }
    }

    async fn look(&self) -> Result<Look, Status> {
        let everything = self.local.journal().everything().await;
        let everything = everything.map_err(|e| of_journal(&e))?;
        let asked = everything
            .instances
            .iter()
            .map(|i| async { (i.id.clone(), self.local.shims().facts(i).await) });
        let facts = futures_util::future::join_all(asked);
        let (facts, observed) = tokio::join!(facts, self.local.routers().look());
        Ok(Look {
            observed,
            facts: facts.into_iter().collect(),
            everything,
        })
    }

    fn sight<'a>(&'a self, look: &'a Look) -> Sight<'a> {
        Sight {
            config: &self.config,
            everything: &look.everything,
            observed: look.observed.as_deref(),
            facts: &look.facts,
        }
    }
}

fn one(value: &Value) -> Response<Json> {
    Response::new(Json::of(value))
}

fn list(values: &[Value]) -> Response<JsonList> {
    Response::new(JsonList {
        items: values.iter().map(Json::of).collect(),
    })
}

fn missing(text: String) -> Status {
    Failure::not_found(text).into()
}

#[tonic::async_trait]
impl QueryService for Queries {
    async fn list_accounts(
        &self,
        _: Request<ListAccountsRequest>,
    ) -> Result<Response<JsonList>, Status> {
        Ok(list(&view::accounts(&self.config)))
    }

    async fn get_account(&self, request: Request<AccountName>) -> Result<Response<Json>, Status> {
        let name = request.into_inner().name;
        match self.config.account(&name) {
            Some(account) => Ok(one(&view::account(account))),
            None => Err(missing(format!("account {name} is not configured"))),
        }
    }

    async fn list_applications(
        &self,
        _: Request<ListAccountsRequest>,
    ) -> Result<Response<JsonList>, Status> {
        let look = self.look().await?;
        Ok(list(&view::applications(&self.sight(&look))))
    }

    async fn list_clusters(
        &self,
        request: Request<ApplicationQuery>,
    ) -> Result<Response<Json>, Status> {
        let look = self.look().await?;
        let application = request.into_inner().application;
        Ok(one(&view::clusters(&self.sight(&look), &application)))
    }

    async fn get_cluster(&self, request: Request<ClusterQuery>) -> Result<Response<Json>, Status> {
        let query = request.into_inner();
        let look = self.look().await?;
        let sight = self.sight(&look);
        let known = query.cloud_provider.is_empty() || query.cloud_provider == "local";
        let found = view::cluster(&sight, &query.application, &query.account, &query.cluster);
        match found.filter(|_| known) {
            Some(cluster) => Ok(one(&cluster)),
            None => Err(missing(format!(
                "cluster {} of application {} is not in account {}",
                query.cluster, query.application, query.account
            ))),
        }
    }

    async fn list_server_groups(
        &self,
        request: Request<ApplicationQuery>,
    ) -> Result<Response<JsonList>, Status> {
        let look = self.look().await?;
        let application = request.into_inner().application;
        Ok(list(&view::server_groups(&self.sight(&look), &application)))
    }

    async fn get_server_group(
        &self,
        request: Request<ServerGroupQuery>,
    ) -> Result<Response<Json>, Status> {
        let query = request.into_inner();
        let look = self.look().await?;
        let group = look
            .everything
            .group(&query.account, &query.region, &query.name);
        match group {
            Some(group) => Ok(one(&view::server_group(&self.sight(&look), group))),
            None => Err(missing(format!(
                "server group {} is not in {}/{}",
                query.name, query.account, query.region
            ))),
        }
    }

    async fn resolve_target(
        &self,
        request: Request<TargetQuery>,
    ) -> Result<Response<Json>, Status> {
        let query = request.into_inner();
        let look = self.look().await?;
        let sight = self.sight(&look);
        let found = view::resolve(
            &sight,
            &query.account,
            &query.region,
            &query.cluster,
            &query.target,
        );
        match found {
            Ok(group) => Ok(one(&view::server_group(&sight, group))),
            Err(error @ view::TargetError::Unknown(_)) => {
                Err(Failure::invalid(error.to_string(), Vec::new()).into())
            }
            Err(error) => Err(missing(error.to_string())),
        }
    }

    async fn get_instance(
        &self,
        request: Request<InstanceQuery>,
    ) -> Result<Response<Json>, Status> {
        let query = request.into_inner();
        let look = self.look().await?;
        let found =
            look.everything.instances.iter().find(|i| {
                i.id == query.id && i.account == query.account && i.region == query.region
            });
        match found {
            Some(instance) => Ok(one(&view::instance(&self.sight(&look), instance))),
            None => Err(missing(format!(
                "instance {} is not in {}/{}",
                query.id, query.account, query.region
            ))),
        }
    }

    async fn get_console_output(
        &self,
        request: Request<InstanceQuery>,
    ) -> Result<Response<Json>, Status> {
        let query = request.into_inner();
        let found = self.local.journal().instance(&query.id).await;
        let found = found.map_err(|e| of_journal(&e))?;
        let here = |i: &crate::provider::local::document::Instance| {
            i.account == query.account && i.region == query.region
        };
        let Some(instance) = found.filter(|i| here(i)) else {
            return Err(missing(format!(
                "instance {} is not in {}/{}",
                query.id, query.account, query.region
            )));
        };
        let lines = self.local.shims().tail(&instance.id, CONSOLE_LINES).await;
        // One entry for each process that writes, as Clouddriver shows containers.
        Ok(one(&json!({
            "output": [{"name": instance.id, "output": lines.join("\n")}],
        })))
    }

    async fn get_job(&self, request: Request<JobQuery>) -> Result<Response<Json>, Status> {
        let query = request.into_inner();
        let found = match self.ledger.load(&query.name).await {
            Err(operation::ledger::Error::Unknown(_)) => None,
            found => Some(found.map_err(|e| of_ledger(&e))?),
        };
        let job = found.and_then(|found| {
            let order = operation::kind(&found.head.kind)?.job(&found.input)?.ok()?;
            let here = order.account == query.account
                && order.region == query.region
                && order.application.eq_ignore_ascii_case(&query.application);
            here.then_some((found, order))
        });
        let Some((found, order)) = job else {
            return Err(missing(format!(
                "job {} of {} is not in {}/{}",
                query.name, query.application, query.account, query.region
            )));
        };
        Ok(one(&self.local.job_status(&found, &order).await))
    }

    async fn list_load_balancers(
        &self,
        request: Request<ApplicationQuery>,
    ) -> Result<Response<JsonList>, Status> {
        let look = self.look().await?;
        let application = request.into_inner().application;
        Ok(list(&view::load_balancers(
            &self.sight(&look),
            &application,
        )))
    }

    async fn get_traffic(&self, request: Request<TrafficQuery>) -> Result<Response<Json>, Status> {
        let query = request.into_inner();
        let everything = self.local.journal().everything().await;
        let everything = everything.map_err(|e| of_journal(&e))?;
        let balancer = self.local.routers().balancer();
        let history = balancer.history(query.seconds.min(REMEMBERED_S));
        let (history, live) = tokio::join!(history, balancer.look());
        let history = history.map_err(|e| internal(&e))?;
        let groups: Vec<_> = everything
            .groups
            .iter()
            .filter(|g| g.application.eq_ignore_ascii_case(&query.application))
            .map(|g| &g.value)
            .collect();
        let wanted = match query.application.as_str() {
            "" => view::Wanted::All,
            _ => view::Wanted::Of(&groups),
        };
        Ok(one(&view::traffic(history, live.as_deref(), wanted)))
    }
}
