//! `updateV2PipelineTemplate`: stores a new version of a template, under the name
//! that clients use. Source: `orca: UpdateV2PipelineTemplateStage`.

use super::create_v2_pipeline_template::{SaveTemplate, SaveTemplateTask};

/// The type.
pub(super) static STAGE: SaveTemplate = SaveTemplate {
    kind: "updateV2PipelineTemplate",
    label: "Update pipeline template",
    tasks: &[&SaveTemplateTask("updateV2PipelineTemplate")],
};
