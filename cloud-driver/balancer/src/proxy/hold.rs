//! Requests that wait while no instance may be chosen.
//!
//! Each worker has a queue for each load balancer that holds requests, and only the first in it looks;
//! who leaves, with an instance or without, makes the next one the first. A worker is told when an
//! instance came in, but only while something waits: a request counts itself as waiting and then looks
//! once more, and the control side lets an instance in and then looks whether something waits, so one
//! of the two sees the other.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::task::{Poll, Waker};
use std::time::Duration;

use http::Response;

use super::answer::Own;
use super::ask::Ask;
use super::body::{Guard, ResponseBody};
use super::table::{Group, Upstream};
use super::worker::Worker;

/// What all workers share of the requests that a load balancer holds; it outlives configurations.
#[derive(Debug, Default)]
pub(crate) struct Held {
    waiting: AtomicU64,
    /// Held so far.
    pub(crate) total: AtomicU64,
    /// Of these, answered with 503 because their time was over.
    pub(crate) timeouts: AtomicU64,
    /// Not held because too many were.
    pub(crate) full: AtomicU64,
}

impl Held {
    /// How many wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }

    fn enter(&self, most: u64) -> bool {
        let place = |waiting: u64| (waiting < most).then(|| waiting + 1);
        let order = Ordering::SeqCst;
        let entered = self.waiting.fetch_update(order, order, place).is_ok();
        let count = if entered { &self.total } else { &self.full };
        count.fetch_add(1, Ordering::Relaxed);
        // What follows, the look for an instance, must not come before this.
        fence(Ordering::SeqCst);
        entered
    }
}

/// How a load balancer holds requests.
#[derive(Debug, Clone)]
pub(crate) struct Holding {
    /// How long.
    pub(crate) time: Duration,
    /// How many.
    pub(crate) most: u64,
    pub(crate) held: Arc<Held>,
}

/// Those of one worker that wait for one load balancer, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    next: Cell<u64>,
    /// Grows when it is worth looking again.
    news: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Waker>>,
}

impl Queue {
    /// It is worth looking again.
    pub(crate) fn tell(&self) {
        self.news.set(self.news.get().wrapping_add(1));
        self.wake_first();
    }

    fn wake_first(&self) {
        if let Some((_, first)) = self.waiting.borrow().first_key_value() {
            first.wake_by_ref();
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }
}

/// A place in a queue, until it is dropped.
struct Ticket {
    queue: Rc<Queue>,
    held: Arc<Held>,
    number: u64,
}

impl Ticket {
    /// The last place; none when too many wait.
    fn take(queue: &Rc<Queue>, holding: &Holding) -> Option<Self> {
        if !holding.held.enter(holding.most) {
            return None;
        }
        let number = queue.next.get();
        queue.next.set(number + 1);
        let waker = Waker::noop().clone();
        queue.waiting.borrow_mut().insert(number, waker);
        Some(Self {
            queue: queue.clone(),
            held: holding.held.clone(),
            number,
        })
    }

    /// Resolves when it is the first and there is news that it has not `seen`.
    async fn turn(&self, seen: Option<u64>) -> u64 {
        poll_fn(|cx| {
            let mut waiting = self.queue.waiting.borrow_mut();
            let news = self.queue.news.get();
            let first = waiting.first_key_value().map(|(number, _)| *number);
            if first == Some(self.number) && seen != Some(news) {
                return Poll::Ready(news);
            }
            waiting.insert(self.number, cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.waiting.borrow_mut().remove(&self.number);
        self.held.waiting.fetch_sub(1, Ordering::SeqCst);
        self.queue.wake_first();
    }
}

/// Chooses an instance that is not among `tried`, waiting for one where the load balancer holds
/// requests.
///
/// # Errors
/// With the answer, when there is none.
pub(crate) async fn choose(
    worker: &Worker,
    ask: &Ask,
    tried: &[Rc<Upstream>],
) -> Result<(Rc<Group>, Guard), Box<Response<ResponseBody>>> {
    let balancer = &ask.route.balancer;
    let none = || {
        let why = "no instance serves; try again";
        Box::new(ask.own(worker, Own::NoInstance, why))
    };
    let Some((queue, holding)) = &balancer.hold else {
        return worker.choose(balancer, tried, ask.mark).ok_or_else(none);
    };
    // Whoever has been somewhere already has come before those that wait.
    if (queue.is_empty() || !tried.is_empty())
        && let Some(chosen) = worker.choose(balancer, tried, ask.mark)
    {
        return Ok(chosen);
    }
    let Some(ticket) = Ticket::take(queue, holding) else {
        let why = format!("no instance serves, and {} requests wait", holding.most);
        return Err(Box::new(ask.own(worker, Own::HoldFull, why)));
    };
    let found = Box::pin(find(worker, ask, tried, &ticket));
    match tokio::time::timeout(holding.time, found).await {
        Ok(found) => found.ok_or_else(none),
        Err(_) => {
            holding.held.timeouts.fetch_add(1, Ordering::Relaxed);
            let why = format!("no instance came in {:?}; try again", holding.time);
            Err(Box::new(ask.own(worker, Own::HoldTimeout, why)))
        }
    }
}

/// Waits for an instance; none when the load balancer is gone or holds nothing any more.
async fn find(
    worker: &Worker,
    ask: &Ask,
    tried: &[Rc<Upstream>],
    ticket: &Ticket,
) -> Option<(Rc<Group>, Guard)> {
    let mut seen = None;
    loop {
        seen = Some(ticket.turn(seen).await);
        // Of the configuration that is in force now: its instances may not have been there before.
        let balancer = worker.table().balancer(&ask.route.balancer.name)?.clone();
        if let Some(chosen) = worker.choose(&balancer, tried, ask.mark) {
            return Some(chosen);
        }
        balancer.hold.as_ref()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(most: u64) -> Holding {
        Holding {
            time: Duration::from_secs(1),
            most,
            held: Arc::default(),
        }
    }

    fn is_turn(ticket: &Ticket, seen: Option<u64>) -> Option<u64> {
        let mut cx = std::task::Context::from_waker(Waker::noop());
        match std::pin::pin!(ticket.turn(seen)).poll(&mut cx) {
            Poll::Ready(news) => Some(news),
            Poll::Pending => None,
        }
    }

    #[test]
    fn only_the_first_looks_and_each_looks_once_for_each_piece_of_news() {
        let (queue, holding) = (Rc::new(Queue::default()), holding(3));
        let first = Ticket::take(&queue, &holding).unwrap();
        let second = Ticket::take(&queue, &holding).unwrap();
        let third = Ticket::take(&queue, &holding).unwrap();
        assert!(Ticket::take(&queue, &holding).is_none(), "full");
        let seen = is_turn(&first, None);
        assert!(seen.is_some(), "once in any case");
        assert_eq!(is_turn(&first, seen), None);
        assert_eq!(is_turn(&second, None), None);
        queue.tell();
        let seen = is_turn(&first, seen);
        assert!(seen.is_some());
        assert_eq!(is_turn(&second, None), None, "it is not the first");
        drop(second);
        assert_eq!(
            holding.held.waiting(),
            2,
            "who goes away gives its place back"
        );
        drop(first);
        assert!(
            is_turn(&third, None).is_some(),
            "the next one is the first now"
        );
        drop(third);
        assert_eq!(holding.held.waiting(), 0);
        assert!(queue.is_empty());
        assert_eq!(holding.held.total.load(Ordering::Relaxed), 3);
        assert_eq!(holding.held.full.load(Ordering::Relaxed), 1);
    }
}
