//! The seconds as they pass: each is recorded and kept on disk; who asks is told the last ones, or
//! follows them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use balancer::{Counted, History, Rest};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::archive::{self, Archive, Loaded};
use super::plane::{GroupKey, Plane, now_ms};
use super::record::{HOUR_S, Row};
use crate::fault::Fault;

/// Followers of the history at a time.
const MOST_FOLLOWERS: usize = 16;

/// How long a process that ends waits for its last second to be written.
const LAST: Duration = Duration::from_secs(2);

fn now_s() -> i64 {
    now_ms().div_euclid(1_000)
}

impl Plane {
    /// Takes up what was kept on disk.
    pub(crate) async fn load_records(&self) {
        let folder = self.folder.clone();
        let now_s = now_s();
        let loaded = tokio::task::spawn_blocking(move || archive::load(&folder, now_s)).await;
        let mut loaded = loaded.unwrap_or_else(|error| Loaded {
            faults: vec![error.to_string()],
            ..Loaded::default()
        });
        if Fault::ForgetHistory.is_on() {
            loaded.seconds.clear();
        }
        for fault in &loaded.faults {
            eprintln!("history: {fault}");
        }
        let mut inner = self.inner.borrow_mut();
        inner.damaged += loaded.damaged;
        for past in &loaded.seconds {
            inner.records.add(&past.epoch, past.at_s, &past.rows);
        }
        inner.records.begin(now_s);
        match Archive::start(&self.folder) {
            Ok(archive) => inner.archive = Some(archive),
            Err(error) => eprintln!("history is not kept: {error}"),
        }
    }

    /// Ends each second when it is over.
    pub(crate) async fn keep_records(self: Rc<Self>) {
        let mut last_s = None;
        loop {
            let now = now_ms();
            let mut end = now + 1_000 - now.rem_euclid(1_000);
            // The clock goes a little slower than the timer: this second was ended just now.
            if last_s == Some(end / 1_000 - 1) {
                end += 1_000;
            }
            tokio::time::sleep(Duration::from_millis((end - now).unsigned_abs())).await;
            let at_s = end / 1_000 - 1;
            last_s = Some(at_s);
            self.end_second(at_s);
            if self.leaving.get() {
                // Should the successor not take it now, it is told with the next second.
                let _later = self.bequeath().await;
            }
        }
    }

    fn end_second(&self, at_s: i64) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let in_flight = |key: &GroupKey| {
            let tracked = inner.tracked.values();
            let own = tracked.filter(|t| t.balancer == key.0 && t.group == key.1);
            own.map(|t| t.target.in_flight()).sum()
        };
        let groups = inner.meters.iter();
        let groups = groups.map(|(key, meters)| (key, &meters.each[..], in_flight(key)));
        let rows = inner.records.tick(at_s, groups);
        inner.records.retain(|key| inner.meters.contains_key(key));
        // Once it hands over, the successor writes.
        if let Some(archive) = inner.archive.as_ref().filter(|_| !self.leaving.get()) {
            archive.keep(at_s, &self.epoch, &rows);
        }
    }

    /// Records the part of a second that there is, and sees to it that somebody keeps it.
    pub(crate) async fn end_records(&self) {
        self.end_second(now_s());
        let end = tokio::time::Instant::now() + LAST;
        let within = || tokio::time::Instant::now() < end;
        let pause = || tokio::time::sleep(Duration::from_millis(20));
        while self.leaving.get() && !self.bequeath().await && within() {
            pause().await;
        }
        let writer = self
            .inner
            .borrow_mut()
            .archive
            .as_mut()
            .map(Archive::finish);
        let Some(writer) = writer.flatten() else {
            return;
        };
        while !writer.is_finished() && within() {
            pause().await;
        }
    }

    /// Takes what a predecessor still counted; false when this process hands over itself.
    pub(crate) fn inherit(&self, rest: Rest) -> bool {
        if self.leaving.get() {
            return false;
        }
        let mut seconds: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
        for Counted {
            at_s,
            load_balancer,
            group,
            second,
        } in rest.seconds
        {
            let rows = seconds.entry(at_s).or_default();
            rows.push(((load_balancer, group), second));
        }
        let mut inner = self.inner.borrow_mut();
        let latest = now_s();
        for (at_s, rows) in seconds.range(latest - HOUR_S..=latest) {
            if inner.records.add(&rest.epoch, *at_s, rows)
                && let Some(archive) = &inner.archive
            {
                archive.keep(*at_s, &rest.epoch, rows);
            }
        }
        true
    }

    /// The last seconds.
    pub(crate) fn history(&self, seconds: i64) -> History {
        self.inner.borrow().records.history(seconds)
    }

    /// The last seconds as a line, and a line for those that follow; none when too many follow.
    ///
    /// A reader that is too slow for one gets several seconds in a line, so that none is missing.
    pub(crate) fn follow_history(self: &Rc<Self>, seconds: i64) -> Option<mpsc::Receiver<Bytes>> {
        let mut ticked = self.inner.borrow().records.watch();
        // The process has no other receivers.
        if self.inner.borrow().records.followers() > MOST_FOLLOWERS {
            return None;
        }
        let (sender, lines) = mpsc::channel(1);
        let plane = self.clone();
        tokio::task::spawn_local(async move {
            let mut seconds = seconds;
            loop {
                ticked.mark_unchanged();
                let history = plane.history(seconds);
                let until_s = history.until_s;
                let Ok(mut line) = serde_json::to_vec(&history) else {
                    return;
                };
                line.push(b'\n');
                if sender.send(line.into()).await.is_err() {
                    return;
                }
                seconds = 0;
                while seconds < 1 {
                    tokio::select! {
                        changed = ticked.changed() => if changed.is_err() { return },
                        () = sender.closed() => return,
                    }
                    // The clock may have been set back: then there is nothing new yet.
                    seconds = plane.inner.borrow().records.until_s() - until_s;
                }
            }
        });
        Some(lines)
    }
}
