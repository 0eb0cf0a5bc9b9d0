//! The classes of the objects of an execution, and which properties each has.

use serde_json::{Map, Value};

/// Which object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BeanKind {
    Execution,
    Stage,
    Task,
    Trigger(TriggerKind),
    Authentication,
    Artifact,
    ExpectedArtifact,
    BuildInfo,
    BuildArtifact,
    SourceControl,
}

/// Which class of triggers, told by what a trigger has (`orca: TriggerDeserializer`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TriggerKind {
    Default,
    Jenkins,
    Concourse,
    Docker,
    Git,
    Pipeline,
    Artifactory,
    Nexus,
    Helm,
    Plugin,
}

impl TriggerKind {
    pub(super) fn of(fields: &Map<String, Value>) -> Self {
        let has = |keys: &[&str]| {
            keys.iter()
                .all(|key| fields.get(*key).is_some_and(|v| !v.is_null()))
        };
        let kind = fields.get("type").and_then(Value::as_str);
        if has(&["account", "repository", "tag"]) {
            Self::Docker
        } else if has(&["source", "project", "branch", "slug"]) {
            Self::Git
        } else if has(&["master", "job", "buildNumber"]) {
            Self::Jenkins
        } else if has(&["parentExecution"]) {
            Self::Pipeline
        } else {
            match kind {
                Some("concourse") => Self::Concourse,
                Some("artifactory") => Self::Artifactory,
                Some("nexus") => Self::Nexus,
                Some("helm") => Self::Helm,
                Some("plugin") => Self::Plugin,
                Some(_) | None => Self::Default,
            }
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Default => "com.netflix.spinnaker.orca.pipeline.model.DefaultTrigger",
            Self::Jenkins => "com.netflix.spinnaker.orca.pipeline.model.JenkinsTrigger",
            Self::Concourse => "com.netflix.spinnaker.orca.pipeline.model.ConcourseTrigger",
            Self::Docker => "com.netflix.spinnaker.orca.pipeline.model.DockerTrigger",
            Self::Git => "com.netflix.spinnaker.orca.pipeline.model.GitTrigger",
            Self::Pipeline => "com.netflix.spinnaker.orca.pipeline.model.PipelineTrigger",
            Self::Artifactory => "com.netflix.spinnaker.orca.pipeline.model.ArtifactoryTrigger",
            Self::Nexus => "com.netflix.spinnaker.orca.pipeline.model.NexusTrigger",
            Self::Helm => "com.netflix.spinnaker.orca.pipeline.model.HelmTrigger",
            Self::Plugin => "com.netflix.spinnaker.orca.pipeline.model.PluginTrigger",
        }
    }

    /// Beyond what every trigger has.
    fn properties(self) -> &'static [&'static str] {
        match self {
            Self::Default => &[],
            Self::Jenkins => &[
                "master",
                "job",
                "buildNumber",
                "propertyFile",
                "buildInfo",
                "properties",
            ],
            Self::Concourse => &["buildInfo", "properties"],
            Self::Docker => &["account", "repository", "tag"],
            Self::Git => &["hash", "source", "project", "branch", "slug", "action"],
            Self::Pipeline => &["parentExecution", "parentPipelineStageId"],
            Self::Artifactory => &["artifactorySearchName"],
            Self::Nexus => &["nexusSearchName"],
            Self::Helm => &["account", "chart", "version", "digest"],
            Self::Plugin => &[
                "pluginEventType",
                "pluginId",
                "description",
                "provider",
                "version",
                "releaseDate",
                "requires",
                "binaryUrl",
                "preferred",
            ],
        }
    }
}

impl BeanKind {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Execution => "com.netflix.spinnaker.orca.pipeline.model.PipelineExecutionImpl",
            Self::Stage => "com.netflix.spinnaker.orca.pipeline.model.StageExecutionImpl",
            Self::Task => "com.netflix.spinnaker.orca.pipeline.model.TaskExecutionImpl",
            Self::Trigger(kind) => kind.class(),
            Self::Authentication => {
                "com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution$AuthenticationDetails"
            }
            Self::Artifact => "com.netflix.spinnaker.kork.artifacts.model.Artifact",
            Self::ExpectedArtifact => "com.netflix.spinnaker.kork.artifacts.model.ExpectedArtifact",
            Self::BuildInfo => "com.netflix.spinnaker.orca.pipeline.model.JenkinsBuildInfo",
            Self::BuildArtifact => "com.netflix.spinnaker.orca.pipeline.model.JenkinsArtifact",
            Self::SourceControl => "com.netflix.spinnaker.orca.pipeline.model.SourceControl",
        }
    }

    /// Whether a trigger is of a class that has a build.
    pub(crate) fn knows_builds(trigger: &Map<String, Value>) -> bool {
        let kind = TriggerKind::of(trigger);
        matches!(kind, TriggerKind::Jenkins | TriggerKind::Concourse)
    }

    /// Properties of a class that expressions may not have, with the class.
    pub(crate) fn rejects(self, property: &str) -> Option<&'static str> {
        match (self, property) {
            (Self::Execution, "type") => {
                Some("com.netflix.spinnaker.orca.api.pipeline.models.ExecutionType")
            }
            (Self::Execution, "source") => Some(
                "com.netflix.spinnaker.orca.api.pipeline.models.PipelineExecution$PipelineSource",
            ),
            (Self::Stage, "syntheticStageOwner") => {
                Some("com.netflix.spinnaker.orca.api.pipeline.SyntheticStageOwner")
            }
            (Self::Stage, "lastModified") => Some(
                "com.netflix.spinnaker.orca.api.pipeline.models.StageExecution$LastModifiedDetails",
            ),
            _ => None,
        }
    }

    /// Whether it has a property of this name, set or not.
    pub(super) fn has(self, property: &str) -> bool {
        let own = if let Self::Trigger(kind) = self {
            kind.properties()
        } else {
            &[]
        };
        own.contains(&property) || self.properties().contains(&property)
    }

    /// Properties that exist even where the JSON has none, in the order they are
    /// written; of a trigger those that every trigger has.
    pub(super) fn properties(self) -> &'static [&'static str] {
        match self {
            Self::Execution => &[
                "type",
                "id",
                "application",
                "name",
                "buildTime",
                "canceled",
                "canceledBy",
                "cancellationReason",
                "limitConcurrent",
                "maxConcurrentExecutions",
                "keepWaitingPipelines",
                "context",
                "stages",
                "startTime",
                "endTime",
                "startTimeExpiry",
                "status",
                "authentication",
                "paused",
                "origin",
                "trigger",
                "description",
                "pipelineConfigId",
                "source",
                "notifications",
                "initialConfig",
                "systemNotifications",
                "spelEvaluator",
                "templateVariables",
                "partition",
            ],
            Self::Stage => &[
                "id",
                "refId",
                "type",
                "name",
                "startTime",
                "endTime",
                "startTimeExpiry",
                "status",
                "context",
                "outputs",
                "tasks",
                "syntheticStageOwner",
                "parentStageId",
                "requisiteStageRefIds",
                "scheduledTime",
                "lastModified",
                "execution",
                "hasSucceeded",
                "hasFailed",
                "additionalMetricTags",
            ],
            Self::Task => &[
                "id",
                "implementingClass",
                "name",
                "startTime",
                "endTime",
                "status",
                "stageStart",
                "stageEnd",
                "loopStart",
                "loopEnd",
                "taskExceptionDetails",
            ],
            Self::Trigger(_) => &[
                "type",
                "correlationId",
                "user",
                "parameters",
                "artifacts",
                "notifications",
                "rebake",
                "dryRun",
                "strategy",
                "resolvedExpectedArtifacts",
                "other",
            ],
            Self::Authentication => &["user", "allowedAccounts"],
            Self::Artifact => &[
                "type",
                "customKind",
                "name",
                "version",
                "location",
                "reference",
                "metadata",
                "artifactAccount",
                "provenance",
                "uuid",
            ],
            Self::ExpectedArtifact => &[
                "matchArtifact",
                "usePriorArtifact",
                "useDefaultArtifact",
                "defaultArtifact",
                "id",
                "boundArtifact",
            ],
            Self::BuildInfo => &[
                "name",
                "number",
                "url",
                "result",
                "artifacts",
                "scm",
                "building",
                "fullDisplayName",
            ],
            Self::BuildArtifact => &["fileName", "relativePath"],
            Self::SourceControl => &["name", "branch", "sha1"],
        }
    }
}
