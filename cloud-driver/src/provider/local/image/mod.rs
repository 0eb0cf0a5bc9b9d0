//! Images as folders: fetched by digest, verified, unpacked once, never run in:
//! an instance gets a copy.
//!
//! Owns `<folder>/{blobs/sha256,rootfs,images,scratch}`. It must never write
//! outside of that, follow a link an image brings, or give out a folder that is
//! not whole: blobs and folders get their final name only when they are
//! verified and on disk. The truth of a tag is the registry; the truth of a
//! digest is the bytes.

mod archive;
mod blob;
mod config;
mod error;
mod prune;
mod tree;
mod unpack;
mod user;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

pub use archive::Limits;
pub use config::Config;
pub use error::Error;

use crate::registry::{Manifest, Reference, Registries};
use unpack::Layer;

/// Largest image configuration, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// An image that is ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As it was asked for, with the digest it had then: `registry/repository:tag@sha256:…`.
    pub reference: String,
    /// Digest of its manifest or index, `sha256:…`.
    pub digest: String,
    /// The unpacked files, from which instances get their copies.
    pub rootfs: PathBuf,
    /// What it says about running it.
    pub config: Config,
}

impl Image {
    /// Where a path of the image lies on this machine, links followed inside
    /// the image only; none when there is no such thing.
    pub fn path(&self, inside: &str) -> Option<PathBuf> {
        config::inside(&self.rootfs, inside)
    }

    /// Where a program of the image lies: an absolute path, one relative to the
    /// working folder, or a name looked up in the image's `PATH`.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let file = |path: &str| self.path(path).filter(|p| p.is_file());
        if name.starts_with('/') {
            return file(name);
        }
        if name.contains('/') {
            return file(&format!("{}/{name}", self.config.workdir));
        }
        let default = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let path = self.config.variable("PATH").unwrap_or(default);
        path.split(':')
            .find_map(|folder| file(&format!("{folder}/{name}")))
    }

    /// Numeric user and group the image wants to run as.
    ///
    /// # Errors
    /// When it names a user or group that it does not hold.
    pub fn user(&self) -> Result<(u32, u32), Error> {
        user::ids(&self.rootfs, &self.config.user).ok_or_else(|| Error::Config {
            digest: self.digest.clone(),
            reason: format!(
                "config.User \"{}\" is not in the image's /etc/passwd; use a number or add it",
                self.config.user
            ),
        })
    }
}

/// The images of this machine.
#[derive(Debug)]
pub struct Images {
    folder: PathBuf,
    registries: Registries,
    limits: Limits,
    scratch: AtomicU64,
    /// One pull of a digest at a time; the others find its result.
    pulls: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    /// Opens the folder and removes what an interrupted pull left behind. The
    /// folder must belong to this process alone.
    ///
    /// # Errors
    /// When the folder cannot be made or cleaned.
    pub fn open(folder: &Path, registries: Registries, limits: Limits) -> Result<Self, Error> {
        let scratch = folder.join("scratch");
        match std::fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("clean", &scratch)(error));
            }
            _ => {}
        }
        for name in ["blobs/sha256", "rootfs", "images", "scratch"] {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            registries,
            limits,
            scratch: AtomicU64::new(0),
            pulls: Mutex::default(),
        })
    }

    /// The digest an image reference means now: its own, else what the registry answers.
    ///
    /// # Errors
    /// When the reference is malformed or the registry does not answer.
    pub async fn resolve(&self, reference: &str) -> Result<Reference, Error> {
        let mut reference = Reference::parse(reference)?;
        if reference.digest.is_none() {
            let (_, client) = self.registries.covering(&reference)?;
            let digest = client
                .digest(&reference.repository, reference.target())
                .await?;
            reference.digest = Some(digest);
        }
        Ok(reference)
    }

    /// Makes sure an image is here and returns it. One that was pulled before
    /// and is named by digest needs no registry.
    ///
    /// # Errors
    /// Every way it can be refused or not arrive whole.
    pub async fn pull(&self, reference: &str) -> Result<Image, Error> {
        let reference = self.resolve(reference).await?;
        let digest = reference.digest.clone().unwrap_or_default();
        let turn = self.turn(&digest);
        let held = turn.lock().await;
        let outcome = match self.local(&reference, &digest) {
            Some(image) => Ok(image),
            None => self.fetch(&reference, &digest).await,
        };
        drop(held);
        drop(turn);
        if let Ok(mut pulls) = self.pulls.lock() {
            pulls.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        outcome
    }

    fn turn(&self, digest: &str) -> Arc<tokio::sync::Mutex<()>> {
        match self.pulls.lock() {
            Ok(mut pulls) => pulls.entry(digest.to_owned()).or_default().clone(),
            // Only a panic inside the lines above can poison it.
            Err(_) => Arc::default(),
        }
    }

    /// An image that was unpacked before.
    fn local(&self, reference: &Reference, digest: &str) -> Option<Image> {
        let record = std::fs::read(self.record(digest)).ok()?;
        let record: Value = serde_json::from_slice(&record).ok()?;
        let body = std::fs::read(blob::path(&self.folder, record.get("config")?.as_str()?)).ok()?;
        let config = Config::parse(&body).ok()?;
        let rootfs = self.rootfs(&config);
        rootfs.is_dir().then(|| Image {
            reference: reference.to_string(),
            digest: digest.to_owned(),
            rootfs,
            config,
        })
    }

    async fn fetch(&self, reference: &Reference, digest: &str) -> Result<Image, Error> {
        let (_, client) = self.registries.covering(reference)?;
        let (_, manifest) = client.manifest(&reference.repository, digest).await?;
        self.check_size(digest, &manifest)?;
        let repository = &reference.repository;
        let one = async |blob| {
            let scratch = self.scratch();
            let fetched = blob::fetch(&self.folder, &scratch, client, repository, blob).await;
            if fetched.is_err() {
                // Nothing to remove when it was never begun.
                let _ = tokio::fs::remove_file(&scratch).await;
            }
            fetched
        };
        let path = one(&manifest.config).await?;
        let body = tokio::fs::read(&path)
            .await
            .map_err(Error::io("read", &path))?;
        let wrong = |reason| Error::Config {
            digest: digest.to_owned(),
            reason,
        };
        let config = Config::parse(&body).map_err(wrong)?;
        if config.layers.len() != manifest.layers.len() {
            return Err(wrong(format!(
                "it names {} layers, the manifest {}",
                config.layers.len(),
                manifest.layers.len()
            )));
        }
        let rootfs = self.rootfs(&config);
        if !rootfs.is_dir() {
            let mut layers = Vec::new();
            for (blob, content) in manifest.layers.iter().zip(&config.layers) {
                layers.push(Layer {
                    blob: blob.digest.clone(),
                    path: one(blob).await?,
                    content: content.clone(),
                });
            }
            self.unpack(digest, layers, &rootfs).await?;
        }
        self.remember(digest, &manifest).await?;
        Ok(Image {
            reference: reference.to_string(),
            digest: digest.to_owned(),
            rootfs,
            config,
        })
    }

    fn check_size(&self, digest: &str, manifest: &Manifest) -> Result<(), Error> {
        let too_large = |limit, what| Error::TooLarge {
            digest: digest.to_owned(),
            limit,
            what,
        };
        if manifest.config.size > MAX_CONFIG {
            return Err(too_large(MAX_CONFIG, "bytes of configuration"));
        }
        if manifest.layers.len() as u64 > self.limits.layers {
            return Err(too_large(self.limits.layers, "layers"));
        }
        let total = manifest
            .layers
            .iter()
            .try_fold(0_u64, |sum, layer| sum.checked_add(layer.size));
        if total.is_none_or(|total| total > self.limits.blob_bytes) {
            return Err(too_large(self.limits.blob_bytes, "bytes"));
        }
        Ok(())
    }

    async fn unpack(&self, digest: &str, layers: Vec<Layer>, rootfs: &Path) -> Result<(), Error> {
        let (scratch, limits, image) = (self.scratch(), self.limits, digest.to_owned());
        let target = rootfs.to_owned();
        let work = move || {
            std::fs::create_dir(&scratch).map_err(Error::io("create", &scratch))?;
            let unpacked = unpack::unpack(&image, &layers, &scratch, limits);
            if let Err(Error::Blob { .. } | Error::Layer { .. }) = &unpacked {
                // Damaged here or damaged there: fetch them again next time.
                for layer in &layers {
                    let _ = std::fs::remove_file(&layer.path);
                }
            }
            let placed = unpacked.and_then(|()| {
                std::fs::rename(&scratch, &target).or_else(|error| {
                    // Another pull with the same layers was faster.
                    if target.is_dir() {
                        Ok(())
                    } else {
                        Err(Error::io("create", &target)(error))
                    }
                })
            });
            if scratch.exists() {
                let _ = std::fs::remove_dir_all(&scratch);
            }
            placed
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
            Err(Error::Interrupted {
                digest: digest.to_owned(),
            })
        })
    }

    /// Notes which configuration the digest leads to, so that it is found without the registry.
    async fn remember(&self, digest: &str, manifest: &Manifest) -> Result<(), Error> {
        let (scratch, path) = (self.scratch(), self.record(digest));
        let layers: Vec<&str> = manifest.layers.iter().map(|l| l.digest.as_str()).collect();
        let record = json!({"config": manifest.config.digest, "layers": layers}).to_string();
        tokio::fs::write(&scratch, record)
            .await
            .map_err(Error::io("write", &scratch))?;
        tokio::fs::rename(&scratch, &path)
            .await
            .map_err(Error::io("write", &path))
    }

    fn record(&self, digest: &str) -> PathBuf {
        let name = digest.trim_start_matches("sha256:");
        self.folder.join("images").join(format!("{name}.json"))
    }

    fn rootfs(&self, config: &Config) -> PathBuf {
        let chain = config.chain();
        self.folder
            .join("rootfs")
            .join(chain.trim_start_matches("sha256:"))
    }

    fn scratch(&self) -> PathBuf {
        let number = self.scratch.fetch_add(1, Ordering::Relaxed);
        self.folder.join("scratch").join(number.to_string())
    }
}
