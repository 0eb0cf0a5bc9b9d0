//! `updateApplication`: as `upsertApplication`, under the name that clients use.

use super::upsert_application::{SaveApplication, SaveApplicationTask};

/// The type.
pub(super) static STAGE: SaveApplication = SaveApplication {
    kind: "updateApplication",
    label: "Update application",
    tasks: &[&SaveApplicationTask("updateApplication")],
};
