//! Named checks that together say whether a process can do its work.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Check = Arc<dyn Fn() -> Answer + Send + Sync>;

/// How long one check may take before it counts as failed.
const LIMIT: Duration = Duration::from_secs(2);

/// The checks of a process; cheap to clone.
#[derive(Clone, Default)]
pub struct Health {
    checks: Vec<(&'static str, Check)>,
}

/// One check's answer.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Part {
    /// The check's name.
    pub name: &'static str,
    /// `UP` or `DOWN`.
    pub status: &'static str,
    /// Why it is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// All answers together.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Report {
    /// `UP` when every part is.
    pub status: &'static str,
    /// Part by part, in order of registration.
    pub parts: Vec<Part>,
}

impl Report {
    /// Whether every part is up.
    pub fn is_up(&self) -> bool {
        self.status == "UP"
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.checks.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Health {
    /// No checks: always up.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check; its error says in one sentence what is missing.
    pub fn add<F, A>(&mut self, name: &'static str, check: F)
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.checks
            .push((name, Arc::new(move || Box::pin(check()))));
    }

    /// Takes over another's checks.
    pub fn extend(&mut self, other: &Self) {
        self.checks.extend(other.checks.iter().cloned());
    }

    /// Asks every check, at the same time.
    pub async fn report(&self) -> Report {
        let asked = self.checks.iter().map(|(name, check)| {
            let answer = check();
            async move {
                match tokio::time::timeout(LIMIT, answer).await {
                    Ok(Ok(())) => Part {
                        name,
                        status: "UP",
                        reason: None,
                    },
                    Ok(Err(reason)) => Part {
                        name,
                        status: "DOWN",
                        reason: Some(reason),
                    },
                    Err(_) => Part {
                        name,
                        status: "DOWN",
                        reason: Some(format!("no answer within {} s", LIMIT.as_secs())),
                    },
                }
            }
        });
        let parts = futures_util::future::join_all(asked).await;
        let up = parts.iter().all(|part| part.status == "UP");
        Report {
            status: if up { "UP" } else { "DOWN" },
            parts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_part_down_is_down_and_says_why() {
        let mut health = Health::new();
        health.add("store", || async { Ok(()) });
        assert!(health.report().await.is_up());
        health.add("peer", || async { Err("refused".to_owned()) });
        let report = health.report().await;
        assert!(!report.is_up());
        assert_eq!(report.parts[1].reason.as_deref(), Some("refused"));
    }
}
