//! canary-judge.
