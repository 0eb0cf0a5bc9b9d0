//! What is fuzzed; the gate plays the corpus through the same functions.

pub mod targets;
