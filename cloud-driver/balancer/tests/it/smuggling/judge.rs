//! Many cases on two proxies at once: what is explained, what is not, and the least that shows it.

use std::sync::Arc;
use std::time::Duration;

use super::allowed::{ALLOWED, allowed};
use super::compare::{Difference, difference};
use super::nginx::Nginx;
use super::recorder::Recorder;
use super::trial::{Outcome, Pace, Side, tries};

/// The pace of a first try. Who is slower than this is asked again.
const QUICK: Pace = Pace {
    quiet: Duration::from_millis(50),
    rounds: 2,
    at_a_time: 32,
};

/// The pace at which nobody can say that he had no time.
const PATIENT: Pace = Pace {
    quiet: Duration::from_millis(500),
    rounds: 3,
    at_a_time: 8,
};

/// The pace at which one case is made smaller.
const ALONE: Pace = Pace {
    quiet: Duration::from_millis(100),
    rounds: 2,
    at_a_time: 1,
};

/// Tries for making one case smaller, at the most.
const SMALLER: usize = 200;

/// The proxy under trial and nginx, each with an instance of its own.
pub(crate) struct Both {
    ours: Side,
    nginx: Option<(Nginx, Side)>,
}

/// What came of a batch.
#[derive(Default)]
pub(crate) struct Judged {
    /// How often each of [`ALLOWED`] was met.
    pub(crate) explained: Vec<usize>,
    /// What nothing explains.
    pub(crate) found: Vec<Difference>,
    /// Cases of which the same arrived on both sides, and something did.
    pub(crate) agreed: usize,
}

impl Both {
    /// With nginx, if it is installed.
    pub(crate) async fn start(ours: Side) -> Self {
        let recorder = Recorder::start().await;
        let nginx = Nginx::start(recorder.address).map(|nginx| {
            let proxy = nginx.address;
            (nginx, Side { proxy, recorder })
        });
        if nginx.is_none() {
            println!("skipped: nginx is not installed; only what arrives is judged");
        }
        Self { ours, nginx }
    }

    pub(crate) fn has_nginx(&self) -> bool {
        self.nginx.is_some()
    }

    async fn outcomes(
        &self,
        all: &[Arc<[u8]>],
        pace: Pace,
    ) -> (Vec<Outcome>, Option<Vec<Outcome>>) {
        let theirs = async {
            match &self.nginx {
                Some((_, side)) => Some(tries(side, all, pace).await),
                None => None,
            }
        };
        tokio::join!(tries(&self.ours, all, pace), theirs)
    }

    async fn differences(&self, all: &[Arc<[u8]>], pace: Pace) -> (Vec<Difference>, usize) {
        let (ours, theirs) = self.outcomes(all, pace).await;
        let nginx = |at: usize| theirs.as_ref().map(|all| &all[at]);
        let of = |at: usize| difference(&all[at], &ours[at], nginx(at));
        let differences: Vec<_> = (0..all.len()).filter_map(of).collect();
        let agreed = (0..all.len()).filter(|&at| {
            let seen = |o: &Outcome| {
                o.arrived
                    .iter()
                    .map(|m| m.target.clone())
                    .collect::<Vec<_>>()
            };
            nginx(at).is_none_or(|nginx| seen(nginx) == seen(&ours[at]))
                && !ours[at].arrived.is_empty()
        });
        (differences, agreed.count())
    }

    /// Tries all of these once.
    pub(crate) async fn judge_quickly(&self, all: &[Arc<[u8]>]) -> Judged {
        let mut judged = Judged {
            explained: vec![0; ALLOWED.len()],
            ..Judged::default()
        };
        let (differences, agreed) = self.differences(all, QUICK).await;
        judged.agreed = agreed;
        for difference in differences {
            match allowed(&difference) {
                Some(entry) => judged.explained[entry] += 1,
                None => judged.found.push(difference),
            }
        }
        judged
    }

    /// Tries all of these; what is found must show again at leisure.
    pub(crate) async fn judge(&self, all: &[Arc<[u8]>]) -> Judged {
        let mut judged = self.judge_quickly(all).await;
        let again: Vec<_> = judged.found.drain(..).map(|found| found.raw).collect();
        let (again, _) = self.differences(&again, PATIENT).await;
        judged.found = again.into_iter().filter(|d| allowed(d).is_none()).collect();
        judged
    }

    /// Makes what was found smaller as long as it shows.
    pub(crate) async fn least(&self, found: Difference) -> Difference {
        let mut least = found;
        let mut left = SMALLER;
        for size in [200, 64, 20, 6, 2, 1] {
            let mut at = 0;
            while at < least.raw.len() && left > 0 {
                left -= 1;
                let end = (at + size).min(least.raw.len());
                let smaller: Arc<[u8]> = [&least.raw[..at], &least.raw[end..]].concat().into();
                let (shown, _) = self.differences(&[smaller], ALONE).await;
                match shown.into_iter().find(|d| allowed(d).is_none()) {
                    Some(shown) => least = shown,
                    None => at += size,
                }
            }
        }
        least
    }
}
