//! Bytes in memory, for tests and the simulator.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Work;
use crate::error::Error;
use crate::kv::{Kv, KvRead, Rows};

/// Whose time counts for a store in memory.
pub trait Clock: Send + Sync {
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> i64;
}

/// A clock that stands until it is set.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `ms`.
    pub fn at(ms: i64) -> Self {
        Self(AtomicI64::new(ms))
    }

    /// Sets it, forward or back.
    pub fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::SeqCst);
    }

    /// Moves it on, and answers the new time.
    pub fn advance(&self, ms: i64) -> i64 {
        self.0.fetch_add(ms, Ordering::SeqCst) + ms
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Everything a store in memory holds.
#[derive(Debug, Clone, Default)]
pub struct Map(BTreeMap<Vec<u8>, Vec<u8>>);

pub(super) struct MemoryBackend {
    clock: Arc<dyn Clock>,
    map: Mutex<Map>,
}

impl MemoryBackend {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            map: Mutex::default(),
        }
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    #[cfg(any(test, feature = "controls"))]
    pub(super) fn copy(&self) -> Map {
        self.map().clone()
    }

    #[cfg(any(test, feature = "controls"))]
    pub(super) fn put_back(&self, map: Map) {
        *self.map() = map;
    }

    pub(super) fn write<R>(&self, work: Work<R>) -> Result<R, Error> {
        work(&mut *self.map(), self.now())
    }

    pub(super) fn read<R>(
        &self,
        read: impl FnOnce(&dyn KvRead) -> Result<R, Error>,
    ) -> Result<R, Error> {
        read(&*self.map())
    }
}

impl KvRead for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, most: usize) -> Result<Rows, Error> {
        if from >= to {
            return Ok(Vec::new());
        }
        let range = self
            .0
            .range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        let own = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(if reverse {
            range.rev().take(most).map(own).collect()
        } else {
            range.take(most).map(own).collect()
        })
    }
}

impl Kv for Map {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.0.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn del(&mut self, key: &[u8]) -> Result<(), Error> {
        self.0.remove(key);
        Ok(())
    }
}
