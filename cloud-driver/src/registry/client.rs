//! The questions of the registry API, version 2, for one account.
//!
//! Names are checked before they become part of a path, answers before they are
//! believed: a manifest's bytes must have its digest, a listing must end.
//! Nothing here retries.

use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderMap, Method};
use reqwest::Response;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

use super::manifest::{self, Blob, Document, Manifest};
use super::reference::{is_digest, is_repository, is_tag};
use super::transport::Transport;
use super::{Account, Error};

/// Names asked for per page.
const PAGE: usize = 100;
/// Names accepted in one listing.
const MAX_NAMES: usize = 100_000;

/// A client of one registry account.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
}

impl Client {
    /// A client of the account's registry over `http`, which must follow no redirects itself.
    ///
    /// # Errors
    /// When the account is faulty.
    pub fn new(account: &Account, http: reqwest::Client) -> Result<Self, Error> {
        Ok(Self {
            transport: Transport::new(account, http)?,
        })
    }

    /// How the registry is reached.
    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The names of all repositories, as far as the registry tells.
    ///
    /// # Errors
    /// When the registry has no catalogue, cannot be reached or denies it. A
    /// failed listing is never an empty one.
    pub async fn repositories(&self) -> Result<Vec<String>, Error> {
        let names = self.listing("/v2/_catalog", "", "repositories").await?;
        Ok(names
            .into_iter()
            .filter(|name| is_repository(name))
            .collect())
    }

    /// The tags of a repository, in the registry's order.
    ///
    /// # Errors
    /// As [`Client::repositories`], and when there is no such repository.
    pub async fn tags(&self, repository: &str) -> Result<Vec<String>, Error> {
        check_repository(repository)?;
        let path = format!("/v2/{repository}/tags/list");
        let names = self.listing(&path, repository, "tags").await?;
        Ok(names.into_iter().filter(|name| is_tag(name)).collect())
    }

    /// The digest of the manifest or index behind a tag.
    ///
    /// # Errors
    /// When there is none, or the registry does not answer it.
    pub async fn digest(&self, repository: &str, tag: &str) -> Result<String, Error> {
        let (url, what) = self.manifest_url(repository, tag)?;
        let response = self
            .transport
            .send(&Method::HEAD, url, repository, &what)
            .await?;
        let stated = response.headers().get("docker-content-digest");
        if let Some(digest) = stated
            .and_then(|v| v.to_str().ok())
            .filter(|d| is_digest(d))
        {
            return Ok(digest.to_owned());
        }
        // A registry that leaves the header out: the digest is the hash of the answer.
        Ok(self.manifest_document(repository, tag).await?.0)
    }

    /// The digest a tag or digest names, and the image manifest for this machine's platform.
    ///
    /// # Errors
    /// When there is none, it is for other platforms only, or its bytes are not
    /// those of its digest.
    pub async fn manifest(
        &self,
        repository: &str,
        target: &str,
    ) -> Result<(String, Manifest), Error> {
        let (digest, document) = self.manifest_document(repository, target).await?;
        match document {
            Document::Image(manifest) => Ok((digest, manifest)),
            Document::Pointer(pointer) => {
                match self.manifest_document(repository, &pointer).await?.1 {
                    Document::Image(manifest) => Ok((digest, manifest)),
                    Document::Pointer(_) => Err(Error::Malformed {
                        registry: self.transport.registry.clone(),
                        what: format!("image {repository}@{pointer}"),
                        reason: "an index inside an index".to_owned(),
                    }),
                }
            }
        }
    }

    /// Begins to read a blob. The caller verifies size and digest.
    ///
    /// # Errors
    /// When the registry does not have it or does not answer.
    pub async fn blob(&self, repository: &str, blob: &Blob) -> Result<Response, Error> {
        check_repository(repository)?;
        let url = self.url(&format!("/v2/{repository}/blobs/{}", blob.digest))?;
        let what = format!("blob {}", blob.digest);
        self.transport
            .send(&Method::GET, url, repository, &what)
            .await
    }

    /// The labels of an image, as its configuration lists them.
    ///
    /// # Errors
    /// As [`Client::manifest`], and when its configuration is not what its manifest says.
    pub async fn labels(&self, repository: &str, tag: &str) -> Result<Map<String, Value>, Error> {
        let (_, manifest) = self.manifest(repository, tag).await?;
        let config = self.blob(repository, &manifest.config).await?;
        let what = format!("configuration of {repository}:{tag}");
        let body = self.transport.read(config, &what).await?;
        let malformed = |reason: String| Error::Malformed {
            registry: self.transport.registry.clone(),
            what: what.clone(),
            reason,
        };
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&body)));
        if digest != manifest.config.digest {
            return Err(malformed(format!("its bytes have digest {digest}")));
        }
        let config: Value = serde_json::from_slice(&body).map_err(|e| malformed(e.to_string()))?;
        let labels = config.pointer("/config/Labels").and_then(Value::as_object);
        Ok(labels.cloned().unwrap_or_default())
    }

    fn url(&self, path: &str) -> Result<Url, Error> {
        self.transport.base.join(path).map_err(|_| Error::Name {
            what: "path",
            value: path.to_owned(),
            reason: "it is no part of a URL",
        })
    }

    fn manifest_url(&self, repository: &str, target: &str) -> Result<(Url, String), Error> {
        check_repository(repository)?;
        if !is_tag(target) && !is_digest(target) {
            return Err(Error::Name {
                what: "tag",
                value: target.to_owned(),
                reason: "a tag has letters, digits, '.', '_', '-', at most 128",
            });
        }
        let separator = if is_digest(target) { '@' } else { ':' };
        Ok((
            self.url(&format!("/v2/{repository}/manifests/{target}"))?,
            format!("image {repository}{separator}{target}"),
        ))
    }

    async fn manifest_document(
        &self,
        repository: &str,
        target: &str,
    ) -> Result<(String, Document), Error> {
        let (url, what) = self.manifest_url(repository, target)?;
        let response = self
            .transport
            .send(&Method::GET, url, repository, &what)
            .await?;
        let header = |name: &str| {
            let value = response.headers().get(name);
            value.and_then(|v| v.to_str().ok()).map(ToOwned::to_owned)
        };
        let media_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let stated = header("docker-content-digest");
        let body = self.transport.read(response, &what).await?;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&body)));
        let malformed = |reason: String| Error::Malformed {
            registry: self.transport.registry.clone(),
            what: what.clone(),
            reason,
        };
        let expected = if is_digest(target) {
            Some(target)
        } else {
            stated.as_deref()
        };
        if let Some(expected) = expected.filter(|e| *e != digest) {
            return Err(malformed(format!(
                "its bytes have digest {digest}, not {expected}"
            )));
        }
        let document =
            manifest::read(&body, &media_type, manifest::architecture()).map_err(malformed)?;
        Ok((digest, document))
    }

    /// Reads all pages of a listing; `field` holds the names.
    async fn listing(
        &self,
        path: &str,
        repository: &str,
        field: &'static str,
    ) -> Result<Vec<String>, Error> {
        let what = match field {
            "tags" => format!("repository {repository}"),
            _ => "catalogue".to_owned(),
        };
        let malformed = |reason: String| Error::Malformed {
            registry: self.transport.registry.clone(),
            what: what.clone(),
            reason,
        };
        let mut names = Vec::new();
        let mut next = Some(self.url(&format!("{path}?n={PAGE}"))?);
        while let Some(url) = next {
            let response = self
                .transport
                .send(&Method::GET, url.clone(), repository, &what)
                .await?;
            next = self
                .next_page(&url, response.headers())
                .map_err(malformed)?;
            let body = self.transport.read(response, &what).await?;
            let page: Value =
                serde_json::from_slice(&body).map_err(|e| malformed(e.to_string()))?;
            let listed = match page.get(field) {
                // A repository whose last tag was deleted has `null`.
                Some(Value::Null) => &[][..],
                Some(Value::Array(items)) => items,
                _ => return Err(malformed(format!("{field} is missing"))),
            };
            names.extend(
                listed
                    .iter()
                    .filter_map(Value::as_str)
                    .map(ToOwned::to_owned),
            );
            if names.len() > MAX_NAMES || (next.is_some() && listed.is_empty()) {
                return Err(Error::TooLarge {
                    registry: self.transport.registry.clone(),
                    what,
                    limit: MAX_NAMES as u64,
                    unit: field,
                });
            }
        }
        Ok(names)
    }

    /// The page a `Link: <…>; rel="next"` header names, on the same registry only.
    fn next_page(&self, url: &Url, headers: &HeaderMap) -> Result<Option<Url>, String> {
        let Some(link) = headers.get(LINK).and_then(|v| v.to_str().ok()) else {
            return Ok(None);
        };
        let target = link
            .split(',')
            .find(|part| part.contains("rel=\"next\"") || part.contains("rel=next"))
            .and_then(|part| part.split_once('<')?.1.split_once('>'))
            .map(|(target, _)| target);
        let Some(target) = target else {
            return Ok(None);
        };
        let next = url
            .join(target)
            .map_err(|e| format!("its next page \"{target}\" is no URL: {e}"))?;
        if next.origin() != self.transport.base.origin() {
            return Err(format!("its next page is on another host: {next}"));
        }
        Ok(Some(next))
    }
}

fn check_repository(repository: &str) -> Result<(), Error> {
    if is_repository(repository) {
        return Ok(());
    }
    Err(Error::Name {
        what: "repository",
        value: repository.chars().take(300).collect(),
        reason: "write team/app in lower case",
    })
}
