//! Settings of the archive.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runtime::config::{SecretRef, Span};
use serde::Deserialize;
use store::archive::{self, Folder, S3, S3Settings};

/// Section `orchestrator.archive` of the configuration.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Whether finished executions are moved to the archive. Those that were moved are read
    /// in any case. Default: true.
    pub enabled: bool,
    /// A folder that every orchestrator sees. Default: `archive` in the data folder.
    pub folder: Option<PathBuf>,
    /// A bucket, in place of a folder. Default: none.
    pub s3: Option<Bucket>,
    /// How long a finished execution stays in the store at least. Default: 10m.
    pub after: Span,
    /// How long it waits at the most for so many others that a segment is full. Default: 1d.
    pub within: Span,
    /// The archive itself, given by whoever assembles the process and not by a key.
    #[serde(skip)]
    pub objects: Given,
}

/// Section `orchestrator.archive.s3`: a bucket of an S3-compatible object store.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bucket {
    /// The bucket; it must be there.
    pub bucket: String,
    /// Its region. Default: `us-east-1`.
    pub region: Option<String>,
    /// Address of the object store, such as `https://minio.example`. Default: Amazon's.
    pub endpoint: Option<String>,
    /// What begins the name of every object, such as `team/gennaker`. Default: nothing.
    pub prefix: String,
    /// The access key, by reference. Default: what the machine is given.
    pub access_key: Option<SecretRef>,
    /// Its secret, by reference.
    pub secret_key: Option<SecretRef>,
}

impl Bucket {
    fn settings(&self) -> S3Settings {
        S3Settings {
            bucket: self.bucket.clone(),
            region: self
                .region
                .clone()
                .unwrap_or_else(|| "us-east-1".to_owned()),
            endpoint: self.endpoint.clone(),
            prefix: self.prefix.trim_matches('/').to_owned(),
            key: None,
        }
    }

    fn open(&self) -> Result<S3, String> {
        let mut settings = self.settings();
        settings.key = match (&self.access_key, &self.secret_key) {
            (Some(key), Some(secret)) => Some((
                key.read().map_err(|e| e.to_string())?,
                secret.read().map_err(|e| e.to_string())?,
            )),
            (None, None) => None,
            _ => return Err("access-key and secret-key belong together: set both".to_owned()),
        };
        S3::new(&settings).map_err(|e| e.to_string())
    }
}

/// An archive that is there already, or none.
#[derive(Debug, Clone, Default)]
pub struct Given(pub Option<archive::Shared>);

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Eq for Given {}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            folder: None,
            s3: None,
            after: Span(Duration::from_secs(600)),
            within: Span(Duration::from_secs(24 * 3600)),
            objects: Given::default(),
        }
    }
}

impl Config {
    /// The archive it names; none if it names none.
    pub fn open(&self) -> Option<archive::Shared> {
        if let Some(given) = &self.objects.0 {
            return Some(Arc::clone(given));
        }
        if let Some(bucket) = &self.s3 {
            // One that cannot be opened refuses every call: nothing is moved, nothing is ended.
            let opened = bucket.open();
            let opened = opened.unwrap_or_else(|reason| S3::refused(&bucket.settings(), reason));
            return Some(Arc::new(opened));
        }
        let folder = self.folder.as_ref()?;
        Some(Arc::new(Folder::new(folder)))
    }

    /// Finds what an operator has to correct, before anything runs.
    ///
    /// # Errors
    /// What is wrong, with the setting.
    pub fn check(&self) -> Result<(), String> {
        match (&self.s3, &self.folder) {
            (Some(_), Some(_)) => {
                Err("orchestrator.archive: set folder or s3, not both".to_owned())
            }
            (Some(bucket), None) => {
                let opened = bucket.open();
                opened.map_err(|e| format!("orchestrator.archive.s3: {e}"))?;
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    /// Whether executions are moved.
    pub(crate) fn moves(&self) -> bool {
        self.enabled && (self.folder.is_some() || self.s3.is_some() || self.objects.0.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn faults_name_the_setting() {
        assert_eq!(Config::default().check(), Ok(()));
        let both = read(r#"{"folder": "/a", "s3": {"bucket": "b"}}"#);
        assert!(both.check().unwrap_err().contains("not both"));
        let half = read(r#"{"s3": {"bucket": "b", "access-key": "env:GENNAKER_NONE"}}"#);
        assert!(half.check().unwrap_err().contains("belong together"));
        let nameless = read(r#"{"s3": {}}"#);
        assert!(nameless.check().unwrap_err().contains("no bucket"));
        let text = r#"{"s3": {"bucket": "b", "access-key": "env:GENNAKER_NONE", "secret-key": "env:GENNAKER_NONE"}}"#;
        assert!(read(text).check().unwrap_err().contains("GENNAKER_NONE"));
        assert!(
            read(r#"{"s3": {"bucket": "b", "prefix": "a"}}"#)
                .check()
                .is_ok()
        );
    }

    #[tokio::test]
    async fn one_that_cannot_be_opened_refuses_every_call() {
        let half = read(r#"{"s3": {"bucket": "b", "access-key": "env:GENNAKER_NONE"}}"#);
        assert!(half.moves());
        let archive = half.open().unwrap();
        let error = archive.put("a", "x".into()).await.unwrap_err().to_string();
        assert!(error.contains("belong together"), "{error}");
    }
}
