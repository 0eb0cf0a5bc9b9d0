//! Images on their way to the disk, while the rollout goes on observing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::document::ServerGroup;
use super::journal::Stored;
use super::{Error, ImageSource, UnpackedImage};

/// Registries that do not answer are asked this often.
const TRIES: u32 = 3;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// How one image is doing.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// Being fetched.
    Coming(JoinHandle<Result<UnpackedImage, Error>>),
    /// On disk, verified.
    Ready(UnpackedImage),
    /// Cannot be had.
    Failed(String),
}

/// The images of one run, by server group.
#[derive(Debug, Default)]
pub(crate) struct Preparations {
    groups: BTreeMap<String, Prepared>,
    news: Arc<Notify>,
}

impl Drop for Preparations {
    fn drop(&mut self) {
        for prepared in self.groups.values() {
            if let Prepared::Coming(task) = prepared {
                task.abort();
            }
        }
    }
}

impl Preparations {
    /// Begins to fetch a group's image, once.
    pub(crate) fn begin(&mut self, images: &Arc<dyn ImageSource>, group: &Stored<ServerGroup>) {
        if self.groups.contains_key(&group.name) {
            return;
        }
        let (images, reference) = (images.clone(), group.image.to_pull().to_owned());
        let news = self.news.clone();
        let task = tokio::spawn(async move {
            let fetched = fetch(&*images, &reference).await;
            news.notify_one();
            fetched
        });
        self.groups
            .insert(group.name.clone(), Prepared::Coming(task));
    }

    /// A group's instances cannot be started, whatever its image is.
    pub(crate) fn refuse(&mut self, group: &str, reason: String) {
        self.groups
            .insert(group.to_owned(), Prepared::Failed(reason));
        self.news.notify_one();
    }

    /// Resolves when a fetch has ended.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Takes over what has ended.
    pub(crate) async fn collect(&mut self) {
        for prepared in self.groups.values_mut() {
            let Prepared::Coming(task) = prepared else {
                continue;
            };
            if !task.is_finished() {
                continue;
            }
            *prepared = match task.await {
                Ok(Ok(image)) => Prepared::Ready(image),
                Ok(Err(error)) => Prepared::Failed(error.to_string()),
                Err(error) => Prepared::Failed(error.to_string()),
            };
        }
    }

    /// Who is ready, and who cannot be.
    pub(crate) fn outcomes(&self) -> (BTreeSet<String>, BTreeMap<String, String>) {
        let (mut ready, mut failed) = (BTreeSet::new(), BTreeMap::new());
        for (group, prepared) in &self.groups {
            match prepared {
                Prepared::Coming(_) => {}
                Prepared::Ready(_) => {
                    ready.insert(group.clone());
                }
                Prepared::Failed(reason) => {
                    failed.insert(group.clone(), reason.clone());
                }
            }
        }
        (ready, failed)
    }

    /// The image of a group, if it is on disk.
    pub(crate) fn image(&self, group: &str) -> Option<UnpackedImage> {
        match self.groups.get(group) {
            Some(Prepared::Ready(image)) => Some(image.clone()),
            Some(Prepared::Coming(_) | Prepared::Failed(_)) | None => None,
        }
    }

    /// Everything, by group.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &Prepared)> {
        self.groups.iter()
    }
}

/// Fetches an image; registries that do not answer are asked again.
pub(super) async fn fetch(
    images: &dyn ImageSource,
    reference: &str,
) -> Result<UnpackedImage, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        match images.ensure(reference).await {
            Err(error) if error.may_pass() && tries < TRIES => tokio::time::sleep(PAUSE).await,
            // One that cannot be started is found out before traffic is touched.
            outcome => return outcome.and_then(|image| image.command().map(|_| image)),
        }
    }
}
