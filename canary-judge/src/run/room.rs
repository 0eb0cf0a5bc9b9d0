//! Room in memory for the values of all judgements that are made at the same time.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::reach::MOST_VALUES;

/// For two of the largest; one more waits for another's end.
pub(super) const PLACES: usize = 2 * MOST_VALUES as usize;
pub(super) static ROOM: Room = Room(Semaphore::const_new(PLACES));

/// Places, one for a value.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

/// The places of a judgement, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Places<'a> {
    room: &'a Room,
    held: Option<SemaphorePermit<'a>>,
}

impl Room {
    /// Places that nobody holds.
    pub(super) fn free(&self) -> usize {
        self.0.available_permits()
    }

    /// Waits until there is room for what a judgement expects to read: no more than the room has.
    pub(super) async fn enter(&self, expected: u64) -> Places<'_> {
        let places = u32::try_from(expected).unwrap_or(u32::MAX);
        Places {
            room: self,
            // Nobody closes the room.
            held: self.0.acquire_many(places).await.ok(),
        }
    }
}

impl Places<'_> {
    /// So many values are there by now. More than were expected, as of more than one series for a question, take places
    /// from those who come later, as far as there are any: this judgement has them already and waits for nobody.
    pub(super) fn hold(&mut self, values: u64) {
        let held = self.held.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = usize::try_from(values).unwrap_or(usize::MAX);
        let more =
            u32::try_from(more.saturating_sub(held).min(self.room.free())).unwrap_or(u32::MAX);
        // Taken by another meanwhile: the next values ask again.
        if let Ok(permit) = self.room.0.try_acquire_many(more) {
            match &mut self.held {
                Some(held) => held.merge(permit),
                none => *none = Some(permit),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_nobody_expected_takes_places_and_others_wait_for_them() {
        let room = Room(Semaphore::new(100));
        let mut first = room.enter(60).await;
        first.hold(50);
        assert_eq!(room.free(), 40);
        first.hold(90);
        assert_eq!(room.free(), 10);
        let second = room.enter(10).await;
        // There is no room for these, and they are there.
        first.hold(500);
        drop(second);
        first.hold(501);
        assert_eq!(room.free(), 0);
        let soon = Duration::from_millis(20);
        let waits = tokio::time::timeout(soon, room.enter(1)).await;
        assert!(waits.is_err(), "there is no place left");
        drop(first);
        assert_eq!(room.free(), 100);
    }
}
