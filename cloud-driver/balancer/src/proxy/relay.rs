//! A waker for what one task drives by hand and listens to at the same time.
//!
//! A connection to an instance and the answer that comes on it wake each other as if they ran in two
//! tasks. They run in one, which looks at both each time: to be woken by itself would only make it look
//! at everything once more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Wakes the task that drove last, unless that task is at it.
#[derive(Debug)]
pub(crate) struct Relay {
    task: Mutex<Waker>,
    /// Whether what wakes is to be noted only. One thread does all this, so that nobody else is unheard.
    noting: AtomicBool,
    noted: AtomicBool,
    stirred: AtomicBool,
}

impl Relay {
    /// One that wakes nobody yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            task: Mutex::new(Waker::noop().clone()),
            noting: AtomicBool::new(false),
            noted: AtomicBool::new(false),
            stirred: AtomicBool::new(false),
        })
    }

    /// Whether anybody was to be woken since a task was followed last.
    pub(crate) fn is_stirred(&self) -> bool {
        self.stirred.load(Ordering::Relaxed)
    }

    /// Wakes this task from now on.
    pub(crate) fn follow(&self, task: &Waker) {
        self.stirred.store(false, Ordering::Relaxed);
        let mut followed = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !followed.will_wake(task) {
            followed.clone_from(task);
        }
    }

    /// Polls what is filled by what this relay wakes, after that was driven. Nobody is woken for what
    /// is then taken out; when there is nothing, and more is asked for, the task is.
    pub(crate) fn hear<T>(
        &self,
        cx: &Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.noted.store(false, Ordering::Relaxed);
        self.noting.store(true, Ordering::Relaxed);
        let polled = poll(&mut Context::from_waker(Waker::noop()));
        self.noting.store(false, Ordering::Relaxed);
        if polled.is_pending() && self.noted.load(Ordering::Relaxed) {
            cx.waker().wake_by_ref();
        }
        polled
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.noting.load(Ordering::Relaxed) {
            self.noted.store(true, Ordering::Relaxed);
            return;
        }
        self.stirred.store(true, Ordering::Relaxed);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.wake_by_ref();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    pub(crate) struct Count(pub(crate) AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_last_task_is_woken_but_not_by_what_it_takes_out_itself() {
        let relay = Relay::new();
        let waker = Waker::from(relay.clone());
        assert!(!relay.is_stirred());
        waker.wake_by_ref();
        assert!(relay.is_stirred());
        let (first, task) = (Arc::new(Count::default()), Arc::new(Count::default()));
        relay.follow(&Waker::from(first.clone()));
        relay.follow(&Waker::from(task.clone()));
        assert!(!relay.is_stirred());
        waker.wake_by_ref();
        let woken = || task.0.load(Ordering::Relaxed);
        assert_eq!((first.0.load(Ordering::Relaxed), woken()), (0, 1));

        let own = Waker::from(task.clone());
        let cx = Context::from_waker(&own);
        let taken = relay.hear(&cx, |_| {
            waker.wake_by_ref();
            Poll::Ready(7)
        });
        assert_eq!((taken, woken()), (Poll::Ready(7), 1));
        let nothing: Poll<()> = relay.hear(&cx, |_| Poll::Pending);
        assert_eq!((nothing, woken()), (Poll::Pending, 1));
        let wanted: Poll<()> = relay.hear(&cx, |_| {
            waker.wake_by_ref();
            Poll::Pending
        });
        assert_eq!((wanted, woken()), (Poll::Pending, 2), "it must drive on");
        waker.wake_by_ref();
        assert_eq!(woken(), 3, "and hears of what comes later");
    }
}
