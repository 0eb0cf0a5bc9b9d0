//! One worker as it is tended: the role it was given, what it has been told and what it says.
//! No clock and no socket: a look goes in, a state comes out.

use rollout::router::{Drain, Probe};
use rollout::{Process, Role};

use super::hook::Report;
use crate::provider::local::observed::InstanceState;

/// Probes in a row until it is well.
const WELL: u32 = 2;

/// Failed probes in a row until it is not.
const UNWELL: u32 = 3;

/// What a worker is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Take no more work.
    Pause,
    /// Take work again.
    Resume,
    /// The same as `Pause`, by its signal.
    Signal,
}

/// What one look at a worker showed.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// When it began, ms since the epoch.
    pub(super) asked_ms: i64,
    /// Its process; none when nobody could say.
    pub(super) process: Option<Process>,
    /// What it was told in this look, before it was asked, and whether it agreed.
    pub(super) order: Option<(Order, Result<(), String>)>,
    /// It had been told all it was to be told before this look.
    pub(super) was_told: bool,
    /// What its hook says.
    pub(super) report: Option<Result<Report, String>>,
    /// Whether it is well.
    pub(super) probe: Option<Result<(), String>>,
}

/// A worker.
#[derive(Debug)]
pub(super) struct Tended {
    pub(super) group: String,
    pub(super) port: u16,
    pub(super) drain: Drain,
    pub(super) probe: Probe,
    pub(super) role: Role,
    /// Grows with each change of the role: looks that began before show nothing of it.
    pub(super) turn: u64,
    /// The last order that it agreed to.
    told: Option<Order>,
    /// It says itself that it takes no more.
    says_so: bool,
    jobs: u64,
    drained: bool,
    /// It was stopped with what it had.
    cut: bool,
    passed: u32,
    failed: u32,
    well: bool,
    has_served: bool,
    ended: Option<String>,
    reason: Option<String>,
    /// When the last look began, ms since the epoch.
    pub(super) asked_ms: i64,
}

impl Tended {
    pub(super) fn new(group: &str, port: u16, drain: Drain, probe: Probe, role: Role) -> Self {
        Self {
            group: group.to_owned(),
            port,
            drain,
            probe,
            role,
            turn: 0,
            told: None,
            says_so: false,
            jobs: 0,
            drained: false,
            cut: false,
            passed: 0,
            failed: 0,
            well: false,
            has_served: false,
            ended: None,
            reason: None,
            asked_ms: 0,
        }
    }

    /// Whether it can be told to take nothing and later to take work again.
    fn pauses(&self) -> bool {
        self.drain.path.is_some() && self.drain.signal.is_none() && self.drain.resume
    }

    pub(super) fn give(&mut self, role: Role) {
        if self.role == role {
            return;
        }
        if self.role == Role::Drain {
            (self.passed, self.failed, self.well) = (0, 0, false);
        }
        if role != Role::Drain {
            self.has_served = false;
        }
        self.role = role;
        self.turn += 1;
        (self.drained, self.cut) = (false, false);
        self.reason = None;
    }

    /// What it is still to be told.
    pub(super) fn wants(&self) -> Option<Order> {
        let order = match self.role {
            Role::Absent => return None,
            Role::Drain if self.drain.signal.is_some() => Order::Signal,
            Role::Drain => Order::Pause,
            Role::Warm if self.pauses() => Order::Pause,
            Role::Serve if self.pauses() => Order::Resume,
            Role::Warm | Role::Serve => return None,
        };
        (self.told != Some(order) && self.ended.is_none()).then_some(order)
    }

    /// Whether it is known to take no more work.
    fn is_closed(&self) -> bool {
        match (self.told, &self.drain.path) {
            (Some(Order::Pause), _) | (Some(Order::Signal), None) => true,
            // The signal was sent; only the worker knows whether it has heard it.
            (Some(Order::Signal), Some(_)) => self.says_so,
            (Some(Order::Resume) | None, _) => false,
        }
    }

    /// Takes a look into account.
    pub(super) fn note(&mut self, look: Look) {
        self.asked_ms = look.asked_ms;
        match look.process {
            Some(Process::Exited(how)) => {
                self.ended = Some(how);
                (self.well, self.passed) = (false, 0);
            }
            // Nothing can be in flight where nothing was ever started.
            Some(Process::Absent) => self.drained |= self.role == Role::Drain,
            Some(Process::Running | Process::Listening) | None => {}
        }
        if let Some(how) = &self.ended {
            self.reason = Some(format!("it has ended: {how}"));
            self.drained |= self.role == Role::Drain;
            return;
        }
        let mut complaint = None;
        let agreed = match look.order {
            None => look.was_told,
            Some((order, Ok(()))) => {
                self.told = Some(order);
                true
            }
            Some((_, Err(why))) => {
                complaint = Some(why);
                false
            }
        };
        match look.report {
            None => {}
            Some(Ok(report)) => {
                self.says_so = report.draining == Some(true);
                if self.told == Some(Order::Pause) && report.draining == Some(false) {
                    // It has forgotten, as after a start of its own: it is told again.
                    self.told = None;
                }
                self.jobs = report.jobs.unwrap_or_else(|| u64::from(!report.idle));
                let closed = agreed && self.is_closed();
                self.drained |= self.role == Role::Drain && closed && report.idle;
                if self.drain.signal.is_some() && report.draining.is_none() {
                    let why = "its report does not say \"draining\", which it must where a signal tells it";
                    complaint = complaint.or_else(|| Some(why.to_owned()));
                }
            }
            Some(Err(why)) => complaint = complaint.or(Some(why)),
        }
        match look.probe {
            None => {}
            Some(Ok(())) => {
                (self.passed, self.failed) = (self.passed.saturating_add(1), 0);
                self.well |= self.passed >= WELL;
            }
            Some(Err(why)) => {
                (self.passed, self.failed) = (0, self.failed.saturating_add(1));
                self.well &= self.failed < UNWELL;
                complaint = complaint.or(Some(why));
            }
        }
        self.reason = complaint;
        self.has_served |= self.state() == InstanceState::Serving;
    }

    /// Notes that it is stopped with what it has; that, the first time.
    pub(super) fn cut(&mut self) -> u64 {
        if std::mem::replace(&mut self.cut, true) {
            0
        } else {
            self.requests()
        }
    }

    /// Where it stands.
    pub(super) fn state(&self) -> InstanceState {
        let agreed = self.wants().is_none();
        match self.role {
            Role::Drain if self.drained => InstanceState::Drained,
            Role::Drain if self.is_closed() => InstanceState::Draining,
            // It does take work as long as it has not agreed to take no more.
            Role::Drain if self.has_served => InstanceState::Serving,
            Role::Serve if self.well && agreed => InstanceState::Serving,
            Role::Serve if self.has_served => InstanceState::Suspended,
            Role::Warm if self.well && agreed => InstanceState::Ready,
            Role::Drain | Role::Serve | Role::Warm if self.passed + self.failed > 0 => {
                InstanceState::Warming
            }
            Role::Drain | Role::Serve | Role::Warm | Role::Absent => InstanceState::Unknown,
        }
    }

    /// What it has, at least: one that drains and does not say that it is idle has something.
    pub(super) fn requests(&self) -> u64 {
        match (self.ended.is_some() || self.drained, self.role) {
            (true, _) => 0,
            (false, Role::Drain) => self.jobs.max(1),
            (false, Role::Absent | Role::Warm | Role::Serve) => self.jobs,
        }
    }

    /// Why it is not as it should be.
    pub(super) fn reason(&self) -> Option<String> {
        self.reason.clone()
    }

    /// Whether something is still expected of it.
    pub(super) fn is_settled(&self) -> bool {
        matches!(
            self.state(),
            InstanceState::Ready | InstanceState::Serving | InstanceState::Drained
        ) && self.wants().is_none()
            && self.failed == 0
            || self.ended.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(path: bool, signal: bool, resume: bool) -> Drain {
        Drain {
            path: path.then(|| "/drain".to_owned()),
            signal: signal.then(|| "SIGUSR1".to_owned()),
            resume,
        }
    }

    fn worker(drain: Drain, role: Role) -> Tended {
        let mut worker = Tended::new("w-v000", 1, drain, Probe::Process, Role::Absent);
        worker.give(role);
        worker
    }

    /// A look at a worker that is well, agrees to what it is told and says this.
    fn look(worker: &mut Tended, idle: bool, jobs: Option<u64>, draining: Option<bool>) {
        let order = worker.wants();
        worker.note(Look {
            asked_ms: 0,
            process: Some(Process::Listening),
            order: order.map(|order| (order, Ok(()))),
            was_told: order.is_none(),
            report: worker.drain.path.is_some().then_some(Ok(Report {
                idle,
                jobs,
                draining,
            })),
            probe: Some(Ok(())),
        });
    }

    fn twice(worker: &mut Tended, idle: bool) {
        look(worker, idle, None, None);
        look(worker, idle, None, None);
    }

    #[test]
    fn a_worker_with_a_hook_is_told_by_its_role() {
        let mut worker = worker(drain(true, false, true), Role::Warm);
        assert_eq!(worker.wants(), Some(Order::Pause));
        assert_eq!(worker.state(), InstanceState::Unknown);
        look(&mut worker, true, None, None);
        assert_eq!(
            worker.state(),
            InstanceState::Warming,
            "one probe is not enough"
        );
        look(&mut worker, false, None, None);
        assert_eq!(worker.state(), InstanceState::Ready);
        worker.give(Role::Serve);
        assert_eq!(worker.wants(), Some(Order::Resume));
        look(&mut worker, false, Some(2), None);
        assert_eq!(
            (worker.state(), worker.requests()),
            (InstanceState::Serving, 2)
        );
        assert_eq!(worker.wants(), None);
    }

    #[test]
    fn a_drain_begins_when_the_worker_agrees_and_ends_when_it_is_idle_then() {
        let mut worker = worker(drain(true, false, true), Role::Serve);
        twice(&mut worker, true);
        worker.give(Role::Drain);
        // What was said before counts for nothing, nor does what a worker says that does not agree.
        assert_eq!(worker.state(), InstanceState::Serving);
        worker.note(Look {
            process: Some(Process::Listening),
            order: Some((Order::Pause, Err("POST /drain answers 500".to_owned()))),
            report: Some(Ok(Report {
                idle: true,
                ..Report::default()
            })),
            ..Look::default()
        });
        assert_eq!(worker.state(), InstanceState::Serving);
        assert_eq!(worker.reason().unwrap(), "POST /drain answers 500");
        assert_eq!(worker.requests(), 1, "nobody knows that it has nothing");
        look(&mut worker, false, Some(3), None);
        assert_eq!(
            (worker.state(), worker.requests()),
            (InstanceState::Draining, 3)
        );
        look(&mut worker, true, Some(0), None);
        assert_eq!(worker.state(), InstanceState::Drained);
        // Latched, and given back by another role only.
        look(&mut worker, false, Some(1), None);
        assert_eq!(worker.state(), InstanceState::Drained);
        worker.give(Role::Warm);
        assert_ne!(worker.state(), InstanceState::Drained);
        twice(&mut worker, true);
        assert_eq!(worker.state(), InstanceState::Ready);
    }

    #[test]
    fn a_worker_that_forgets_what_it_was_told_is_told_again() {
        let mut worker = worker(drain(true, false, true), Role::Drain);
        look(&mut worker, false, None, Some(true));
        assert_eq!(
            (worker.wants(), worker.state()),
            (None, InstanceState::Draining)
        );
        look(&mut worker, true, None, Some(false));
        assert_eq!(worker.wants(), Some(Order::Pause));
        assert_ne!(worker.state(), InstanceState::Drained, "idle by chance");
    }

    #[test]
    fn a_signal_alone_ends_with_the_process_and_with_a_path_when_the_worker_says_so() {
        let mut alone = worker(drain(false, true, false), Role::Serve);
        twice(&mut alone, true);
        assert_eq!(alone.state(), InstanceState::Serving);
        alone.give(Role::Drain);
        assert_eq!(alone.wants(), Some(Order::Signal));
        look(&mut alone, true, None, None);
        assert_eq!(
            (alone.state(), alone.requests()),
            (InstanceState::Draining, 1)
        );
        alone.note(Look {
            process: Some(Process::Exited("exit code 0".to_owned())),
            ..Look::default()
        });
        assert_eq!(
            (alone.state(), alone.requests()),
            (InstanceState::Drained, 0)
        );

        let mut asked = worker(drain(true, true, false), Role::Serve);
        twice(&mut asked, true);
        asked.give(Role::Drain);
        // Idle between two jobs, the signal not heard yet.
        look(&mut asked, true, None, Some(false));
        assert_eq!(asked.state(), InstanceState::Serving);
        look(&mut asked, false, None, Some(true));
        assert_eq!(asked.state(), InstanceState::Draining);
        look(&mut asked, true, None, None);
        assert!(asked.reason().unwrap().contains("draining"));
        assert_ne!(asked.state(), InstanceState::Drained);
        look(&mut asked, true, None, Some(true));
        assert_eq!(asked.state(), InstanceState::Drained);
    }

    #[test]
    fn a_worker_that_ends_by_itself_is_unwell_and_has_nothing() {
        let mut worker = worker(drain(true, false, true), Role::Serve);
        twice(&mut worker, true);
        worker.note(Look {
            process: Some(Process::Exited("signal 9".to_owned())),
            ..Look::default()
        });
        assert_eq!(worker.state(), InstanceState::Suspended);
        assert_eq!(worker.reason().unwrap(), "it has ended: signal 9");
        worker.give(Role::Drain);
        assert_eq!(worker.wants(), None);
        worker.note(Look::default());
        assert_eq!(worker.state(), InstanceState::Drained);
    }

    #[test]
    fn a_cut_tells_once_what_it_ended() {
        let mut worker = worker(drain(true, false, true), Role::Drain);
        look(&mut worker, false, Some(4), None);
        assert_eq!((worker.cut(), worker.cut()), (4, 0));
    }

    #[test]
    fn probes_decide_by_several_in_a_row() {
        let mut worker = worker(drain(false, true, false), Role::Serve);
        let mut probe = |well: bool| {
            let result = if well { Ok(()) } else { Err("no".to_owned()) };
            worker.note(Look {
                process: Some(Process::Running),
                was_told: true,
                probe: Some(result),
                ..Look::default()
            });
            worker.state()
        };
        assert_eq!(probe(true), InstanceState::Warming);
        assert_eq!(probe(true), InstanceState::Serving);
        assert_eq!(probe(false), InstanceState::Serving);
        assert_eq!(probe(false), InstanceState::Serving);
        assert_eq!(probe(false), InstanceState::Suspended);
        assert_eq!(probe(true), InstanceState::Suspended);
        assert_eq!(probe(true), InstanceState::Serving);
    }
}
