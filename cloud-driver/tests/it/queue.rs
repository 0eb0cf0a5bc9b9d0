//! A queue of jobs that knows who took what, what was done, and what was lost: it gives nothing out
//! twice by itself, so whatever a worker drops stays undone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a taker waits for a job.
const WAIT: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct State {
    next: u64,
    waiting: VecDeque<(u64, String)>,
    /// Who took it, each time it was taken.
    taken: BTreeMap<u64, Vec<String>>,
    done: BTreeMap<u64, Vec<String>>,
    released: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    news: watch::Sender<u64>,
}

/// A running queue; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What became of all jobs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Taken and never done.
    pub(crate) lost: Vec<u64>,
    /// Taken or done more than once.
    pub(crate) twice: Vec<u64>,
    /// Jobs by who did them.
    pub(crate) by: BTreeMap<String, u64>,
}

impl Queue {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let shared = shared.clone();
                    tokio::spawn(async move {
                        // A worker that went away asks again or is dead.
                        let _ended = shared.converse(stream).await;
                    });
                }
            }
        });
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Adds a job that takes so long; its number.
    pub(crate) fn push(&self, ms: u64) -> u64 {
        self.shared.push(ms.to_string())
    }

    /// Adds a job that lasts until it is released.
    pub(crate) fn push_held(&self) -> u64 {
        self.shared.push("held".to_owned())
    }

    /// Lets a held job end.
    pub(crate) fn release(&self, job: u64) {
        self.shared.change(|state| {
            state.released.insert(job);
        });
    }

    /// Whether somebody took a job.
    pub(crate) fn is_taken(&self, job: u64) -> bool {
        self.shared.state().taken.contains_key(&job)
    }

    /// Waits until a job is taken; by whom.
    pub(crate) async fn taken(&self, job: u64) -> String {
        self.until(|state| state.taken.get(&job)?.first().cloned())
            .await
    }

    /// Waits until a job is done; by whom.
    pub(crate) async fn done(&self, job: u64) -> String {
        self.until(|state| state.done.get(&job)?.first().cloned())
            .await
    }

    /// Jobs that a worker took so far, and those of them that it has not done.
    pub(crate) fn of(&self, worker: &str) -> (u64, u64) {
        let state = self.shared.state();
        let mine = |who: &Vec<String>| who.iter().any(|w| w == worker);
        let taken = state.taken.iter().filter(|(_, who)| mine(who));
        let (mut all, mut left) = (0, 0);
        for (job, _) in taken {
            all += 1;
            left += u64::from(!state.done.contains_key(job));
        }
        (all, left)
    }

    /// Waits until every job is taken and done, or nothing happens any more for this long.
    pub(crate) async fn settle(&self, quiet: Duration) -> Tally {
        let mut news = self.shared.news.subscribe();
        let mut last = Instant::now();
        loop {
            {
                let state = self.shared.state();
                let all = state.done.len() == state.taken.len() && state.waiting.is_empty();
                if all || last.elapsed() > quiet {
                    return tally(&state);
                }
            }
            if tokio::time::timeout(Duration::from_millis(50), news.changed())
                .await
                .is_ok()
            {
                last = Instant::now();
            }
        }
    }

    async fn until<T>(&self, found: impl Fn(&State) -> Option<T>) -> T {
        let mut news = self.shared.news.subscribe();
        loop {
            news.mark_unchanged();
            if let Some(value) = found(&self.shared.state()) {
                return value;
            }
            news.changed().await.unwrap();
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn tally(state: &State) -> Tally {
    let mut tally = Tally::default();
    for (job, who) in &state.taken {
        let done = state.done.get(job).map_or(0, Vec::len);
        if done == 0 {
            tally.lost.push(*job);
        }
        if done > 1 || who.len() > 1 {
            tally.twice.push(*job);
        }
    }
    for who in state.done.values().flatten() {
        *tally.by.entry(who.clone()).or_default() += 1;
    }
    tally
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.news.send_modify(|n| *n += 1);
        result
    }

    fn push(&self, takes: String) -> u64 {
        self.change(|state| {
            state.next += 1;
            let job = state.next;
            state.waiting.push_back((job, takes));
            job
        })
    }

    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.windows(4).any(|w| w == b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let field = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let job: u64 = field("job").parse().unwrap_or_default();
        let body = match path {
            "/take" => self.take(&field("worker")).await,
            "/done" => {
                self.change(|state| state.done.entry(job).or_default().push(field("worker")));
                None
            }
            "/held" if self.state().released.contains(&job) => None,
            _ => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Some("not yet".to_owned())
            }
        };
        let answer = match body {
            Some(body) => format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
            None => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await
    }

    async fn take(&self, worker: &str) -> Option<String> {
        let mut news = self.news.subscribe();
        let end = tokio::time::Instant::now() + WAIT;
        loop {
            news.mark_unchanged();
            let job = self.state().waiting.pop_front();
            if let Some((job, takes)) = job {
                self.change(|state| {
                    let who = state.taken.entry(job).or_default();
                    who.push(worker.to_owned());
                });
                return Some(format!("{job} {takes}"));
            }
            if tokio::time::timeout_at(end, news.changed()).await.is_err() {
                return None;
            }
        }
    }
}
