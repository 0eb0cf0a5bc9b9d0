//! `createApplication`: as `upsertApplication`, under the name that clients use.

use super::upsert_application::{SaveApplication, SaveApplicationTask};

/// The type.
pub(super) static STAGE: SaveApplication = SaveApplication {
    kind: "createApplication",
    label: "Create application",
    tasks: &[&SaveApplicationTask("createApplication")],
};
