//! The gRPC service over registries: translation and limits only.

use proto::cloud_driver::v1::registry_service_server::{RegistryService, RegistryServiceServer};
use proto::cloud_driver::v1::{
    FindImagesRequest, ImageList, ImageQuery, ImageReply, ListRegistriesReply,
    ListRegistriesRequest, NameList, Registry, RepositoryQuery,
};
use proto::common::v1::Json;
use proto::status::Failure;
use serde_json::json;
use tonic::{Request, Response, Status};

use super::{Account, Client, Error, Registries};

/// Images one answer lists at most, and by default.
const MAX_IMAGES: usize = 1_000;

/// Serves [`RegistryService`] over the accounts.
#[derive(Debug, Clone)]
pub struct Api {
    registries: Registries,
}

impl Api {
    /// The service over these accounts.
    pub fn new(registries: Registries) -> Self {
        Self { registries }
    }

    /// The service, ready for a router.
    pub fn into_server(self) -> RegistryServiceServer<Self> {
        RegistryServiceServer::new(self).max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
    }

    async fn find(&self, request: &FindImagesRequest) -> Result<Vec<Json>, Error> {
        let limit = match request.count as usize {
            0 => MAX_IMAGES,
            count => count.min(MAX_IMAGES),
        };
        let accounts: Vec<(&Account, &Client)> = if request.account.is_empty() {
            self.registries
                .entries
                .iter()
                .map(|(a, c)| (a, c))
                .collect()
        } else {
            vec![self.registries.named(&request.account)?]
        };
        let mut found = Vec::new();
        for (account, client) in accounts {
            for repository in repositories(account, client).await? {
                let whole = format!("{}/{repository}", account.registry());
                let of_repository = whole.contains(&request.query);
                for tag in client.tags(&repository).await? {
                    let reference = format!("{whole}:{tag}");
                    if !of_repository && !reference.contains(&request.query) {
                        continue;
                    }
                    if found.len() == limit {
                        return Ok(found);
                    }
                    found.push(Json::of(&json!({
                        "account": account.name,
                        "artifact": {
                            "name": whole,
                            "reference": reference,
                            "type": "docker",
                            "version": tag,
                            "metadata": {"registry": account.registry()},
                        },
                        "registry": account.registry(),
                        "repository": repository,
                        "tag": tag,
                    })));
                }
            }
        }
        Ok(found)
    }
}

/// The configured repositories, else those of the catalogue.
async fn repositories(account: &Account, client: &Client) -> Result<Vec<String>, Error> {
    if account.repositories.is_empty() {
        client.repositories().await
    } else {
        Ok(account.repositories.clone())
    }
}

fn status(error: Error) -> Status {
    Failure::from(error).into()
}

#[tonic::async_trait]
impl RegistryService for Api {
    async fn list_registries(
        &self,
        _: Request<ListRegistriesRequest>,
    ) -> Result<Response<ListRegistriesReply>, Status> {
        let registries = self.registries.accounts().map(|account| Registry {
            account: account.name.clone(),
            address: account.registry().to_owned(),
            repositories: account.repositories.clone(),
            notifications_authenticated: false,
        });
        Ok(Response::new(ListRegistriesReply {
            registries: registries.collect(),
        }))
    }

    async fn list_repositories(
        &self,
        request: Request<RepositoryQuery>,
    ) -> Result<Response<NameList>, Status> {
        let query = request.into_inner();
        let (account, client) = self.registries.named(&query.account).map_err(status)?;
        let names = repositories(account, client).await.map_err(status)?;
        Ok(Response::new(NameList { names }))
    }

    async fn list_tags(
        &self,
        request: Request<RepositoryQuery>,
    ) -> Result<Response<NameList>, Status> {
        let query = request.into_inner();
        let (_, client) = self.registries.named(&query.account).map_err(status)?;
        let names = client.tags(&query.repository).await.map_err(status)?;
        Ok(Response::new(NameList { names }))
    }

    async fn get_digest(
        &self,
        request: Request<ImageQuery>,
    ) -> Result<Response<ImageReply>, Status> {
        let query = request.into_inner();
        let (_, client) = self.registries.named(&query.account).map_err(status)?;
        let digest = client
            .digest(&query.repository, &query.tag)
            .await
            .map_err(status)?;
        Ok(Response::new(ImageReply { digest }))
    }

    async fn get_labels(&self, request: Request<ImageQuery>) -> Result<Response<Json>, Status> {
        let query = request.into_inner();
        let (_, client) = self.registries.named(&query.account).map_err(status)?;
        let labels = client.labels(&query.repository, &query.tag).await;
        Ok(Response::new(Json::of(&json!(labels.map_err(status)?))))
    }

    async fn find_images(
        &self,
        request: Request<FindImagesRequest>,
    ) -> Result<Response<ImageList>, Status> {
        let items = self.find(&request.into_inner()).await.map_err(status)?;
        Ok(Response::new(ImageList { items }))
    }
}
