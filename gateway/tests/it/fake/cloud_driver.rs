//! cloud-driver of the fake.

use proto::cloud_driver::v1 as cloud;
use proto::cloud_driver::v1::query_service_server::QueryService;
use proto::cloud_driver::v1::registry_service_server::RegistryService;
use proto::common::v1::Json;
use serde_json::{Value, json};
use tonic::{Request as Call, Response, Status};

use super::{Peers, json_reply, missing};

fn list(items: &[Value]) -> Result<Response<cloud::JsonList>, Status> {
    Ok(Response::new(cloud::JsonList {
        items: items.iter().map(Json::of).collect(),
    }))
}

fn group() -> Value {
    json!({"name": "a-v000", "account": "k8s", "region": "local", "cluster": "a",
           "application": "a", "cloudProvider": "local", "createdTime": 7,
           "instances": [{"id": "i-1", "healthState": "Up"}],
           "capacity": {"desired": 1}, "instanceCounts": {"up": 1, "total": 1},
           "buildInfo": {"version": "1", "images": ["r/a:1"]}})
}

#[tonic::async_trait]
impl QueryService for Peers {
    async fn list_accounts(
        &self,
        call: Call<cloud::ListAccountsRequest>,
    ) -> Result<Response<cloud::JsonList>, Status> {
        self.note("list_accounts", call.get_ref())?;
        let permissions = self.kept(|kept| kept.account.clone());
        list(&[json!({"name": "k8s", "type": "local", "permissions": permissions})])
    }

    async fn get_account(&self, call: Call<cloud::AccountName>) -> Result<Response<Json>, Status> {
        self.note("get_account", call.get_ref())?;
        match call.get_ref().name.as_str() {
            "k8s" => json_reply(&json!({"name": "k8s", "type": "local"})),
            _ => Err(missing("account")),
        }
    }

    async fn list_applications(
        &self,
        call: Call<cloud::ListAccountsRequest>,
    ) -> Result<Response<cloud::JsonList>, Status> {
        self.note("cloud_applications", call.get_ref())?;
        list(&[
            json!({"name": "a", "clusterNames": {"k8s": ["a"]}}),
            json!({"name": "wild", "clusterNames": {"k8s": ["wild"]}}),
        ])
    }

    async fn list_clusters(
        &self,
        call: Call<cloud::ApplicationQuery>,
    ) -> Result<Response<Json>, Status> {
        self.note("list_clusters", call.get_ref())?;
        json_reply(&json!({"k8s": [{"name": "a", "serverGroups": []}]}))
    }

    async fn get_cluster(&self, call: Call<cloud::ClusterQuery>) -> Result<Response<Json>, Status> {
        self.note("get_cluster", call.get_ref())?;
        match call.get_ref().cluster.as_str() {
            "a" => json_reply(&json!({"name": "a", "serverGroups": [group()]})),
            _ => Err(missing("cluster")),
        }
    }

    async fn list_server_groups(
        &self,
        call: Call<cloud::ApplicationQuery>,
    ) -> Result<Response<cloud::JsonList>, Status> {
        self.note("list_server_groups", call.get_ref())?;
        let deployed = self.0.lock().unwrap().deployed.clone();
        list(&deployed.map_or_else(|| vec![group()], |(groups, _)| groups))
    }

    async fn get_server_group(
        &self,
        call: Call<cloud::ServerGroupQuery>,
    ) -> Result<Response<Json>, Status> {
        self.note("get_server_group", call.get_ref())?;
        match call.get_ref().name.as_str() {
            "a-v000" => json_reply(&group()),
            _ => Err(missing("server group")),
        }
    }

    async fn resolve_target(
        &self,
        call: Call<cloud::TargetQuery>,
    ) -> Result<Response<Json>, Status> {
        self.note("resolve_target", call.get_ref())?;
        json_reply(&group())
    }

    async fn get_instance(
        &self,
        call: Call<cloud::InstanceQuery>,
    ) -> Result<Response<Json>, Status> {
        self.note("get_instance", call.get_ref())?;
        json_reply(&json!({"name": "i-1", "healthState": "Up", "application": "a"}))
    }

    async fn get_console_output(
        &self,
        call: Call<cloud::InstanceQuery>,
    ) -> Result<Response<Json>, Status> {
        self.note("get_console_output", call.get_ref())?;
        json_reply(&json!({"output": ["line"]}))
    }

    async fn get_job(&self, call: Call<cloud::JobQuery>) -> Result<Response<Json>, Status> {
        self.note("get_job", call.get_ref())?;
        match call.get_ref().name.as_str() {
            "j1" => json_reply(&json!({"name": "j1", "jobState": "Running", "logs": "so far"})),
            _ => Err(missing("job")),
        }
    }

    async fn list_load_balancers(
        &self,
        call: Call<cloud::ApplicationQuery>,
    ) -> Result<Response<cloud::JsonList>, Status> {
        self.note("list_load_balancers", call.get_ref())?;
        list(&[json!({"name": "lb", "account": "k8s", "region": "local"})])
    }

    async fn get_traffic(&self, call: Call<cloud::TrafficQuery>) -> Result<Response<Json>, Status> {
        self.note("get_traffic", call.get_ref())?;
        let deployed = self.0.lock().unwrap().deployed.clone();
        json_reply(&deployed.map_or_else(|| json!({"seconds": []}), |(_, traffic)| traffic))
    }
}

#[tonic::async_trait]
impl RegistryService for Peers {
    async fn list_registries(
        &self,
        call: Call<cloud::ListRegistriesRequest>,
    ) -> Result<Response<cloud::ListRegistriesReply>, Status> {
        self.note("list_registries", call.get_ref())?;
        Ok(Response::new(cloud::ListRegistriesReply {
            registries: vec![cloud::Registry {
                account: "hub".into(),
                ..cloud::Registry::default()
            }],
        }))
    }

    async fn list_repositories(
        &self,
        call: Call<cloud::RepositoryQuery>,
    ) -> Result<Response<cloud::NameList>, Status> {
        self.note("list_repositories", call.get_ref())?;
        Ok(Response::new(cloud::NameList::default()))
    }

    async fn list_tags(
        &self,
        call: Call<cloud::RepositoryQuery>,
    ) -> Result<Response<cloud::NameList>, Status> {
        self.note("list_tags", call.get_ref())?;
        Ok(Response::new(cloud::NameList {
            names: vec!["1".into()],
        }))
    }

    async fn get_digest(
        &self,
        call: Call<cloud::ImageQuery>,
    ) -> Result<Response<cloud::ImageReply>, Status> {
        self.note("get_digest", call.get_ref())?;
        Ok(Response::new(cloud::ImageReply::default()))
    }

    async fn get_labels(&self, _: Call<cloud::ImageQuery>) -> Result<Response<Json>, Status> {
        Err(missing("labels"))
    }

    async fn find_images(
        &self,
        call: Call<cloud::FindImagesRequest>,
    ) -> Result<Response<cloud::ImageList>, Status> {
        self.note("find_images", call.get_ref())?;
        Ok(Response::new(cloud::ImageList {
            items: vec![Json::of(&json!({"repository": "demo", "tag": "1"}))],
        }))
    }
}
