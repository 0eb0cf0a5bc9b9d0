//! Images of registries as the provider takes them.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::image::{self, Images};
use super::{Error, ImageSource, UnpackedImage};

#[async_trait]
impl ImageSource for Images {
    async fn ensure(&self, reference: &str) -> Result<UnpackedImage, Error> {
        let failed = |error: &image::Error| Error::Image {
            reference: reference.to_owned(),
            reason: error.to_string(),
            may_pass: error.is_transient(),
        };
        let image = self.pull(reference).await.map_err(|e| failed(&e))?;
        let user = image.user().map_err(|e| failed(&e))?;
        Ok(UnpackedImage {
            reference: image.reference,
            digest: image.digest,
            rootfs: Some(image.rootfs),
            entrypoint: image.config.entrypoint,
            cmd: image.config.cmd,
            env: image.config.env,
            workdir: image.config.workdir,
            user,
        })
    }

    fn prune(&self, in_use: &BTreeSet<String>) {
        match Self::prune(self, in_use) {
            Ok(0) => {}
            Ok(images) => tracing::info!(images, "images that nobody uses were removed"),
            Err(error) => tracing::warn!(%error, "images could not be removed"),
        }
    }
}
