//! Notifications: who is told of what, in which words, over which sender.
//!
//! A turn that changes a status plans its notifications in the same commit ([`plan`]),
//! each a message of its own under an id that follows from execution, stage, status
//! and position: a repeated delivery carries the same id, and none is lost. The worker
//! ([`deliver`]) renders and sends, tries again with back-off, and gives up after a day
//! with an entry in the execution's `systemNotifications`.
//!
//! Never decides anything about an execution; a failed notification fails nothing.
//! The truth is the store's queue.

pub mod address;
pub mod cause;
mod config;
mod deliver;
pub mod plan;
pub mod render;
pub mod sender;

pub use config::{Config, Email, GithubStatus, Slack, Tls, Webhook};

/// The queue of planned notifications; each is a subject of its own.
pub const QUEUE: &str = "notifications";
