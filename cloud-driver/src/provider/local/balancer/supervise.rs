//! Keeping the balancer there and listening to it.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt;

use super::Control;
use crate::provider::local::{Error, upgrade};

/// Changes that come within this time are looked at together.
const GATHER: Duration = Duration::from_millis(3);

/// How long a balancer that was just started may take to answer.
const START_LIMIT: Duration = Duration::from_secs(10);

impl Control {
    /// Makes sure that a balancer runs and answers: starts it under a shim that
    /// restarts it, unless one answers or its shim lives.
    ///
    /// # Errors
    /// When it cannot be started or does not answer.
    pub async fn start(&self) -> Result<(), Error> {
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

    /// Tells the operator in what the balancer that runs was started otherwise than is configured.
    pub(crate) async fn tell_pending(&self) {
        for change in upgrade::pending(&self.config).await {
            tracing::warn!(
                setting = change.setting,
                configured = change.now,
                runs = change.before,
                "load balancer keeps a setting until it is replaced: gennaker balancer upgrade"
            );
        }
    }

    /// Clears away what balancers that were replaced have left.
    pub(crate) async fn clear_former(&self) {
        self.shims.clear_former_balancers(&self.folder).await;
    }

    /// Reads the watch stream to its end; each piece of news refreshes the state.
    /// It ends well only when too much happened meanwhile: begin anew then.
    ///
    /// # Errors
    /// When the balancer does not answer any more.
    pub async fn listen(&self) -> Result<(), Error> {
        let observed = self.refresh().await?;
        let path = format!(
            "/v1/watch?epoch={}&after={}",
            observed.epoch_text, observed.last_event
        );
        let answer = self.admin.stream(&path).await?;
        if answer.status() == StatusCode::GONE {
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

    /// Notes that it is not heard: there is no latest answer then.
    pub fn silence(&self) {
        self.note(|latest| latest.observed.take().is_some());
    }

    async fn answers(&self) -> bool {
        let asked = self.admin.ask(Method::GET, "/health", &[], Vec::new());
        matches!(
            tokio::time::timeout(Duration::from_millis(500), asked).await,
            Ok(Ok(answer)) if answer.status == StatusCode::OK
        )
    }
}
