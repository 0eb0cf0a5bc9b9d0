//! orchestrator-core.
