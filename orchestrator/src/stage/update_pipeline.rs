//! `updatePipeline`: as `savePipeline`, without the wait.

use super::save_pipeline::{SavePipeline, SavePipelineTask};

/// The type.
pub(super) static STAGE: SavePipeline = SavePipeline {
    kind: "updatePipeline",
    label: "Update pipeline",
    tasks: &[&SavePipelineTask("updatePipeline")],
    waits: false,
};
