//! Keeping the balancer there and listening to it.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use runtime::Shutdown;

use super::Router;
use crate::provider::local::Error;
use crate::provider::local::journal::Journal;

/// The store's lease that makes this process the one writer.
const LEASE: &str = "balancer/local";

/// How long it lasts without being renewed.
const LEASE_MS: u64 = 30_000;

/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(10);

/// Changes that come within this time are looked at together.
const GATHER: Duration = Duration::from_millis(3);

/// How long a balancer that was just started may take to answer.
const START_LIMIT: Duration = Duration::from_secs(10);

impl Router {
    /// Makes sure that a balancer runs, that this process may write its
    /// configuration, and that it runs what the journal says; ready then.
    ///
    /// # Errors
    /// When the balancer cannot be started or does not take the configuration.
    pub async fn begin(&self, journal: &Journal) -> Result<(), Error> {
        self.start_if_absent().await?;
        self.shims.clear_former_balancers(&self.folder).await;
        while !self.renew(journal).await? {
            tracing::warn!("another control plane writes the load balancer's configuration");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.refresh().await?;
        self.apply(journal).await?;
        Ok(())
    }

    /// Lets operations begin.
    pub fn open(&self) {
        self.ready.send_replace(true);
    }

    /// Follows the balancer until the shutdown begins; starts it again should it
    /// be gone with its supervisor.
    ///
    /// # Errors
    /// When the balancer cannot be started.
    pub async fn follow(&self, journal: &Journal, shutdown: &Shutdown) -> Result<(), Error> {
        loop {
            let Some(ended) = shutdown.or(self.listen_and_renew(journal)).await else {
                return Ok(());
            };
            let Err(error) = ended else { continue };
            tracing::warn!(%error, "load balancer is not heard");
            self.state.send_replace(None);
            if !shutdown.sleep(Self::PAUSE).await {
                return Ok(());
            }
            self.start_if_absent().await?;
            // It may have started without its journal.
            if let Err(error) = self.apply(journal).await {
                tracing::warn!(%error, "load balancer was not told its configuration");
            }
        }
    }

    async fn listen_and_renew(&self, journal: &Journal) -> Result<(), Error> {
        let listening = self.listen();
        tokio::pin!(listening);
        loop {
            match tokio::time::timeout(RENEW, &mut listening).await {
                Ok(ended) => return ended,
                Err(_) => match self.renew(journal).await {
                    Ok(true) => {}
                    Ok(false) => tracing::error!("the lease on the load balancer was lost"),
                    Err(error) => tracing::warn!(%error, "the lease was not renewed"),
                },
            }
        }
    }

    /// Reads the watch stream to its end; each piece of news refreshes the state.
    async fn listen(&self) -> Result<(), Error> {
        let observed = self.refresh().await?;
        let path = format!(
            "/v1/watch?epoch={}&after={}",
            observed.epoch_text, observed.last_event
        );
        let answer = self.admin.stream(&path).await?;
        if answer.status() == StatusCode::GONE {
            // Too much happened meanwhile: the next look begins anew.
            return Ok(());
        }
        if answer.status() != StatusCode::OK {
            return Err(Error::Balancer(format!("its watch is {}", answer.status())));
        }
        let mut body = answer.into_body();
        loop {
            match body.frame().await {
                Some(Ok(_)) => {
                    tokio::time::sleep(GATHER).await;
                    self.refresh().await?;
                }
                Some(Err(error)) => return Err(Error::Balancer(error.to_string())),
                None => return Err(Error::Balancer("it closed its watch".to_owned())),
            }
        }
    }

    async fn renew(&self, journal: &Journal) -> Result<bool, Error> {
        // The folder is this process's alone while it runs, so whoever comes
        // next on it is the same holder and need not wait for the lease to end.
        let holder = format!("cloud-driver@{}", self.config.data.display());
        let lease = journal
            .store()
            .take(journal.shard(), LEASE, &holder, LEASE_MS)
            .await?;
        if let Some(lease) = &lease {
            self.fence
                .store(lease.token, std::sync::atomic::Ordering::SeqCst);
        }
        Ok(lease.is_some())
    }

    async fn answers(&self) -> bool {
        let asked = self.admin.ask(Method::GET, "/health", &[], Vec::new());
        matches!(
            tokio::time::timeout(Duration::from_millis(500), asked).await,
            Ok(Ok(answer)) if answer.status == StatusCode::OK
        )
    }

    /// Starts the balancer under a shim that restarts it, unless one answers or
    /// its shim lives.
    async fn start_if_absent(&self) -> Result<(), Error> {
        if self.answers().await {
            return Ok(());
        }
        if !self.shims.balancer_is_supervised().await {
            tracing::info!(port = self.config.balancer_port, "load balancer is started");
            self.shims
                .start_balancer(&self.config, &self.folder)
                .await?;
        }
        let begun = tokio::time::Instant::now();
        while !self.answers().await {
            if begun.elapsed() > START_LIMIT {
                let lines = self.shims.balancer_tail().await.join("\n");
                return Err(Error::Balancer(format!(
                    "does not answer on {} within 10 s; its last lines:\n{lines}",
                    self.folder.join(balancer::ADMIN_SOCKET).display()
                )));
            }
            tokio::time::sleep(Self::PAUSE / 4).await;
        }
        Ok(())
    }
}
