//! An archive in a bucket of an S3-compatible object store.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig};

use super::{Objects, checked};
use crate::error::Error;

/// A call that fails is repeated so often, for so long.
const RETRIES: usize = 3;
const RETRY_FOR: Duration = Duration::from_secs(30);

/// Where a bucket is, and who asks.
#[derive(Clone, Default)]
pub struct S3Settings {
    /// The bucket; it must be there.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// Address of the object store; none: Amazon's.
    pub endpoint: Option<String>,
    /// What begins the name of every object; empty: nothing.
    pub prefix: String,
    /// The key and its secret; none: what the machine is given (instance or pod identity).
    pub key: Option<(String, String)>,
}

impl std::fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&place(self))
    }
}

/// A bucket.
#[derive(Debug)]
pub struct S3 {
    client: Result<AmazonS3, String>,
    prefix: String,
    place: String,
}

fn place(settings: &S3Settings) -> String {
    let S3Settings {
        bucket, endpoint, ..
    } = settings;
    let endpoint = endpoint.as_deref().unwrap_or("s3");
    format!("{endpoint}/{bucket}/{}", settings.prefix)
}

impl S3 {
    /// The archive in this bucket.
    ///
    /// # Errors
    /// When the settings name no bucket or no address.
    pub fn new(settings: &S3Settings) -> Result<Self, Error> {
        let place = place(settings);
        let fault = |reason: String| Error::Open {
            place: place.clone(),
            reason,
        };
        if settings.bucket.is_empty() {
            return Err(fault("no bucket is named".to_owned()));
        }
        if !settings.prefix.is_empty() {
            checked(&settings.prefix)?;
        }
        // Installing the provider twice is an error that means it is there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoint = settings.endpoint.clone();
        let plain = endpoint.as_ref().is_some_and(|e| e.starts_with("http://"));
        let options = ClientOptions::new()
            .with_allow_http(plain)
            .with_connect_timeout(Duration::from_secs(5))
            .with_timeout(Duration::from_secs(60));
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_FOR,
            ..RetryConfig::default()
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_client_options(options)
            .with_retry(retry);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some((key, secret)) = &settings.key {
            builder = builder
                .with_access_key_id(key)
                .with_secret_access_key(secret);
        }
        let client = builder.build().map_err(|e| fault(e.to_string()))?;
        Ok(Self {
            client: Ok(client),
            prefix: settings.prefix.clone(),
            place,
        })
    }

    /// An archive that cannot be opened: every call says why, and nothing is moved to it.
    pub fn refused(settings: &S3Settings, reason: String) -> Self {
        Self {
            client: Err(reason),
            prefix: String::new(),
            place: place(settings),
        }
    }

    fn client(&self) -> Result<&AmazonS3, Error> {
        self.client
            .as_ref()
            .map_err(|reason| Error::Unavailable(format!("archive {}: {reason}", self.place)))
    }

    fn path(&self, name: &str) -> Result<Path, Error> {
        let name = checked(name)?;
        Ok(Path::from(if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.prefix)
        }))
    }

    fn fault(&self, name: &str, error: &object_store::Error) -> Error {
        Error::Unavailable(format!("archive object {}{name}: {error}", self.place))
    }
}

/// None for what is not there.
fn there<T>(found: Result<T, object_store::Error>) -> Result<Option<T>, object_store::Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Objects for S3 {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        let put = self.client()?.put(&self.path(name)?, content.into()).await;
        put.map(|_| ()).map_err(|e| self.fault(name, &e))
    }

    async fn read(&self, name: &str, from: u64, length: u64) -> Result<Option<Bytes>, Error> {
        let path = self.path(name)?;
        if length == 0 {
            // No server takes a range that is empty.
            return Ok(self.size(name).await?.map(|_| Bytes::new()));
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(from..from.saturating_add(length))),
            ..GetOptions::default()
        };
        match there(self.client()?.get_opts(&path, options).await) {
            Ok(Some(found)) => {
                let content = found.bytes().await;
                content.map(Some).map_err(|e| self.fault(name, &e))
            }
            Ok(None) => Ok(None),
            // Nor one that begins beyond the end.
            Err(error) => match self.size(name).await? {
                Some(size) if size <= from => Ok(Some(Bytes::new())),
                Some(_) => Err(self.fault(name, &error)),
                None => Ok(None),
            },
        }
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        let found = there(self.client()?.head(&self.path(name)?).await);
        let found = found.map_err(|e| self.fault(name, &e))?;
        Ok(found.map(|found| found.size))
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let deleted = there(self.client()?.delete(&self.path(name)?).await);
        deleted.map(|_| ()).map_err(|e| self.fault(name, &e))
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let path = self.path(folder)?;
        let listed = self.client()?.list(Some(&path));
        let listed: Result<Vec<_>, _> = listed.try_collect().await;
        let listed = listed.map_err(|e| self.fault(folder, &e))?;
        let before = match self.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let mut names: Vec<String> = listed
            .into_iter()
            .filter_map(|found| {
                let name = found.location.as_ref().strip_prefix(&before)?;
                Some(name.to_owned())
            })
            .collect();
        names.sort();
        Ok(names)
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}
