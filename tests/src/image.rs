//! Images of the demonstration server, written and pushed by the tools a user has.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::program;

/// An image to be written. Equal values give equal digests.
#[derive(Debug, Clone)]
pub struct Image {
    /// The tag in the registry.
    pub tag: String,
    /// What `/content` serves.
    pub content: String,
    /// The server's environment; `VERSION` is the tag unless it is given here.
    pub environment: Vec<(String, String)>,
}

impl Image {
    /// A well-behaved server of this version.
    pub fn version(version: &str) -> Self {
        Self {
            tag: version.to_owned(),
            content: format!("content of {version}\n"),
            environment: Vec::new(),
        }
    }

    /// The same with one more variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes the image below `folder` as an OCI layout and returns its digest and where it is.
    ///
    /// # Errors
    /// A program is missing, or fails.
    pub async fn write(&self, folder: &Path) -> Result<Written> {
        let layout = folder.join(format!("image-{}", self.tag));
        let server = program::static_server()?;
        let mut arguments = vec![
            "--program".to_owned(),
            server.display().to_string(),
            "--tag".to_owned(),
            self.tag.clone(),
            "--content".to_owned(),
            self.content.clone(),
            "--out".to_owned(),
            layout.display().to_string(),
        ];
        for (name, value) in &self.environment {
            arguments.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        let output = program::run(&program::path("demo-image")?, &arguments).await?;
        let digest = output.trim().to_owned();
        ensure!(
            digest.starts_with("sha256:"),
            "demo-image printed {digest:?} instead of a digest"
        );
        Ok(Written {
            tag: self.tag.clone(),
            layout,
            digest,
        })
    }
}

/// An image on disk.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its tag.
    pub tag: String,
    /// Its folder.
    pub layout: PathBuf,
    /// Its manifest's digest.
    pub digest: String,
}

impl Written {
    /// Pushes the image with `skopeo`.
    ///
    /// # Errors
    /// `skopeo` is missing or fails.
    pub async fn push(&self, registry: &str, repository: &str) -> Result<()> {
        let source = format!("oci:{}:{}", self.layout.display(), self.tag);
        let target = format!("docker://{registry}/{repository}:{}", self.tag);
        let arguments = [
            "copy",
            "--quiet",
            "--insecure-policy",
            "--dest-tls-verify=false",
            &source,
            &target,
        ];
        program::run(Path::new("skopeo"), arguments)
            .await
            .with_context(|| format!("cannot push {target}"))?;
        Ok(())
    }
}
