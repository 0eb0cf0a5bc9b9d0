//! A throwaway Prometheus that collects figures once a second.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use servers::port;

use crate::eventually;
use crate::gate::escape;
use crate::http::Client;
use crate::program::Program;

/// The program, as the package of the same name installs it.
pub const PROGRAM: &str = "prometheus";

/// A running server. It ends when this is dropped.
pub struct Prometheus {
    /// Its port at 127.0.0.1.
    pub port: u16,
    program: Program,
}

impl Prometheus {
    /// Starts a server with its files below `folder` that collects from `127.0.0.1:target`.
    ///
    /// # Errors
    /// The package is not installed, or it is not ready within 30 s.
    pub async fn start(folder: &Path, target: u16) -> Result<Self> {
        let folder = folder.join(PROGRAM);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let file = folder.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n\
             - job_name: balancer\n  static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
        );
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let port = port::free();
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", folder.join("files").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let log = folder.join("log");
        let program = Program::start(Path::new(PROGRAM), arguments, &[], &log)
            .context("the package prometheus is needed")?;
        let server = Self { port, program };
        let client = Client::port(port);
        eventually(
            "prometheus is ready",
            Duration::from_secs(30),
            async || match client.get("/-/ready").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}\n{}", server.program.tail())),
            },
        )
        .await?;
        Ok(server)
    }

    /// What a query says now: its `data.result`.
    ///
    /// # Errors
    /// There is no answer, or it is an error.
    pub async fn ask(&self, query: &str) -> Result<Value> {
        let path = format!("/api/v1/query?query={}", escape(query));
        let answer = Client::port(self.port).get(&path).await?.expect(200)?;
        Ok(answer.json()?["data"]["result"].clone())
    }
}
