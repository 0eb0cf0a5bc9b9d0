//! What a server lost while it was away is known only to those who saw how far it had been. Whoever else came first would
//! take the lost steps again, and nobody would have said that they were lost. So after a server was started again, or a
//! replica took its place, all calls wait until everybody has been back for a moment.

use std::time::Duration;

use tokio::sync::watch;

/// Whether calls may be made.
#[derive(Debug)]
pub(super) struct Settling(watch::Sender<bool>);

impl Settling {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(true))
    }

    /// The server is away: nobody knows what it will hold when it is back.
    pub(super) fn away(&self) {
        self.0.send_replace(false);
    }

    /// It is back, and others have had time to look.
    pub(super) fn settled(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_settled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until calls may be made, at the most so long: then the call itself says what is wrong.
    pub(super) async fn wait(&self, most: Duration) {
        if self.is_settled() {
            return;
        }
        let mut settled = self.0.subscribe();
        // Who would say it has gone, or it takes too long.
        let _ = tokio::time::timeout(most, settled.wait_for(|settled| *settled)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn calls_wait_while_the_server_is_away_and_not_for_ever() {
        let settling = Settling::new();
        settling.wait(Duration::MAX).await;
        settling.away();
        let begun = Instant::now();
        settling.wait(Duration::from_millis(20)).await;
        assert!(begun.elapsed() >= Duration::from_millis(20));
        tokio::join!(settling.wait(Duration::MAX), async {
            tokio::task::yield_now().await;
            settling.settled();
        });
        assert!(settling.is_settled());
    }
}
