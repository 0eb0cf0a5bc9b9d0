//! Which build this is.

/// The version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The git revision, when the build was told (`GENNAKER_REVISION`), else `unknown`.
pub const REVISION: &str = match option_env!("GENNAKER_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
