//! What is found where a store is to be opened, and what opening may do about it.
//!
//! A store that was emptied looks like one that never was: only who opens it knows which of
//! the two is meant, so nothing is made that was not asked for.

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// No store, or one of which shards were emptied.
    Absent,
    /// A store.
    Whole,
    /// A store that is being filled from an archive: who began that must end it.
    Unfinished,
}

/// What opening may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Opening {
    /// Opens what is there.
    Find,
    /// Makes a store where there is none.
    #[default]
    Make,
    /// The same, and until it is told that it is whole, nobody else opens it.
    Restore,
}

impl Opening {
    /// Why what was found must not be opened so; nothing if it may.
    pub(crate) fn refuses(self, found: Presence) -> Option<&'static str> {
        match (self, found) {
            (Self::Find, Presence::Absent) => {
                Some("there is no store, or it was emptied since it was made")
            }
            (Self::Find | Self::Make, Presence::Unfinished) => {
                Some("it is being filled from the archive, and that has not ended")
            }
            _ => None,
        }
    }
}
