//! A throwaway image registry: Debian's `docker-registry` with a generated configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use servers::port;

use crate::eventually;
use crate::http::Client;
use crate::program::Program;

/// The program, as the package `docker-registry` installs it.
pub const PROGRAM: &str = "docker-registry";

/// Whom the registry tells of pushes.
#[derive(Debug, Clone)]
pub struct Notifications {
    /// The URL that gets the events.
    pub url: String,
    /// The `Authorization` header to send, if any.
    pub authorization: Option<String>,
}

/// A running registry. It ends when this is dropped.
pub struct Registry {
    /// Its port at 127.0.0.1.
    pub port: u16,
    folder: PathBuf,
    program: Program,
}

impl Registry {
    /// Starts a registry on a free port with its files below `folder`, and waits until it answers.
    ///
    /// # Errors
    /// The package is not installed, or the registry does not answer within 20 s.
    pub async fn start(folder: &Path, notifications: Option<&Notifications>) -> Result<Self> {
        Self::start_at(port::free(), folder, notifications).await
    }

    /// The same on a given port.
    ///
    /// # Errors
    /// The package is not installed, or the registry does not answer within 20 s.
    pub async fn start_at(
        port: u16,
        folder: &Path,
        notifications: Option<&Notifications>,
    ) -> Result<Self> {
        let folder = folder.join("registry");
        std::fs::create_dir_all(folder.join("blobs"))
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let file = folder.join("config.yml");
        std::fs::write(&file, configuration(port, &folder, notifications))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let program = Program::start(
            Path::new(PROGRAM),
            ["serve".as_ref(), file.as_os_str()],
            // Without it the registry would send traces to nowhere and say so on each line.
            &[("OTEL_TRACES_EXPORTER".to_owned(), "none".to_owned())],
            &folder.join("log"),
        )
        .context("the package docker-registry is needed")?;
        let registry = Self {
            port,
            folder,
            program,
        };
        let client = Client::port(port);
        eventually(
            "the registry answers",
            Duration::from_secs(20),
            async || match client.get("/v2/").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.text()),
                Err(error) => Err(format!("{error:#}\n{}", registry.program.tail())),
            },
        )
        .await?;
        Ok(registry)
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many requests it has answered whose first line holds this text.
    pub fn requests(&self, text: &str) -> usize {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        log.lines()
            .filter(|line| line.contains("\"GET ") && line.contains(text))
            .count()
    }

    /// Its last lines of log.
    pub fn tail(&self) -> String {
        self.program.tail()
    }

    /// Kills it and starts it again on the same port and folder, with other notifications.
    ///
    /// # Errors
    /// It does not answer within 20 s.
    pub async fn restart(mut self, notifications: Option<&Notifications>) -> Result<Self> {
        self.program.kill().await?;
        let parent = self
            .folder
            .parent()
            .context("the registry's folder has no parent")?
            .to_owned();
        Self::start_at(self.port, &parent, notifications).await
    }
}

fn configuration(port: u16, folder: &Path, notifications: Option<&Notifications>) -> String {
    let folder = folder.join("blobs");
    let mut text = format!(
        "version: 0.1\n\
         log:\n  level: warn\n\
         storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
         http:\n  addr: 127.0.0.1:{port}\n",
        folder.display()
    );
    if let Some(notifications) = notifications {
        text.push_str(&format!(
            "notifications:\n  endpoints:\n    - name: gennaker\n      url: {}\n      \
             timeout: 5s\n      threshold: 3\n      backoff: 1s\n",
            notifications.url
        ));
        if let Some(authorization) = &notifications.authorization {
            text.push_str(&format!(
                "      headers:\n        Authorization: [{authorization:?}]\n"
            ));
        }
    }
    text
}
