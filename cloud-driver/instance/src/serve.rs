//! The shim's socket: one request and one answer, a JSON line each.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use instance::{Answer, Exit, Ids, Launch, Request, VERSION};
use rustix::process::{Pid, Signal, kill_process};

use crate::log::Log;
use crate::process;
use crate::sockets::listens;
use crate::supervise::Wake;

/// Longest request, in bytes.
const MAX_REQUEST: u64 = 64 * 1024;

struct Facts {
    ids: Ids,
    stopping: bool,
    exit: Option<Exit>,
    restarts: u32,
    signals: BTreeSet<i32>,
}

/// What the socket and the supervision both know.
#[derive(Clone)]
pub(crate) struct Shared {
    token: Arc<str>,
    grace: Duration,
    facts: Arc<Mutex<Facts>>,
    log: Log,
    wake: Sender<Wake>,
}

impl Shared {
    pub(crate) fn new(launch: &Launch, ids: Ids, log: Log, wake: Sender<Wake>) -> Self {
        let facts = Facts {
            ids,
            stopping: false,
            exit: None,
            restarts: 0,
            signals: BTreeSet::new(),
        };
        Self {
            token: launch.token.as_str().into(),
            grace: Duration::from_millis(launch.grace_ms),
            facts: Arc::new(Mutex::new(facts)),
            log,
            wake,
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From SIGTERM to SIGKILL when nobody says otherwise.
    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }

    pub(crate) fn stopping(&self) {
        self.facts().stopping = true;
    }

    pub(crate) fn ended(&self, exit: Exit) {
        self.facts().exit = Some(exit);
    }

    pub(crate) fn restarted(&self, ids: Ids) {
        let mut facts = self.facts();
        facts.ids = ids;
        facts.restarts += 1;
        facts.signals.clear();
    }

    fn answer(&self, request: &Request) -> Answer {
        let (Request::State { token, .. }
        | Request::Stop { token, .. }
        | Request::Signal { token, .. }) = request;
        if **token != *self.token {
            let error = Some("the token is not this instance's".to_owned());
            return Answer {
                version: VERSION,
                error,
                ..Answer::default()
            };
        }
        let mut listening = None;
        match request {
            Request::State { port, .. } => {
                let group = self.facts().ids.pid;
                listening = port.map(|port| listens(group, port));
            }
            Request::Stop { grace_ms, .. } => {
                self.facts().stopping = true;
                let grace = grace_ms.map_or(self.grace, Duration::from_millis);
                // It fails only when the instance has ended already.
                let _ended = self.wake.send(Wake::Stop(grace));
            }
            Request::Signal { signal, once, .. } => self.signal(*signal, *once),
        }
        let facts = self.facts();
        Answer {
            version: VERSION,
            error: None,
            alive: facts.exit.is_none() && process::is_running(facts.ids.pid, facts.ids.start),
            ids: facts.ids.clone(),
            stopping: facts.stopping,
            exit: facts.exit.clone(),
            listens: listening,
            restarts: facts.restarts,
            signals: facts.signals.iter().copied().collect(),
            dropped_bytes: self.log.dropped(),
        }
    }
}

impl Shared {
    /// Sends a signal to the instance. The facts are held meanwhile, so that of two who ask
    /// for it once one does nothing.
    fn signal(&self, number: i32, once: bool) {
        let mut facts = self.facts();
        let pid = i32::try_from(facts.ids.pid).ok().and_then(Pid::from_raw);
        let signal = Signal::from_named_raw(number);
        if let (Some(pid), Some(signal)) = (pid, signal)
            && facts.exit.is_none()
            && (facts.signals.insert(number) || !once)
        {
            let _gone = kill_process(pid, signal);
        }
    }
}

/// Answers one connection after another; each is short.
pub(crate) fn serve(listener: &UnixListener, shared: &Shared) {
    for stream in listener.incoming().flatten() {
        // Somebody who sends nothing holds the socket for a second only.
        let _unset = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _unset = stream.set_write_timeout(Some(Duration::from_secs(1)));
        let _gone = exchange(&stream, shared);
    }
}

fn exchange(stream: &UnixStream, shared: &Shared) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_REQUEST)).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => shared.answer(&request),
        Err(error) => Answer {
            version: VERSION,
            error: Some(format!("the request is not understood: {error}")),
            ..Answer::default()
        },
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    let mut stream = stream;
    stream.write_all(&text)
}
