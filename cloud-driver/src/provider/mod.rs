//! Providers: the clouds instances run in. There is one so far, this machine.

pub mod local;
pub mod router;
