//! The types that are known and not built, and what each of them must have.

use super::Rule::{Among, Either, If, Need, One};
use super::{Rule, Unbuilt};

const ACCOUNT: Rule = Need(&["account", "credentials"], "name the account to act in");
const LOCATION: Rule = Need(&["location"], "name the namespace");
const NAME: Rule = Need(
    &["manifestName"],
    "name the object, as in \"deployment web\"",
);
const REGION: Rule = Need(&["region", "regions"], "name a region of the account");
const GROUP: Rule = Need(&["serverGroupName", "asgName"], "name the server group");
const INSTANCES: Rule = Need(&["instanceIds"], "name the instances");
const STACK: Rule = Need(&["stackName"], "name the stack");
const EXPECTED: Rule = Need(&["expectedArtifacts"], "say which artifacts to find");
const TO_BALANCERS: &[Rule] = &[
    INSTANCES,
    Need(&["loadBalancerNames"], "name the load balancers"),
    REGION,
    ACCOUNT,
];
const ON_OBJECT: &[Rule] = &[ACCOUNT, LOCATION, NAME];
const FROM_TEXT: &[&str] = &["", "text"];
const CRITERIA: &[&str] = &["oldest", "smallest", "newest", "second_newest", "largest"];

/// An object by its name, or by the rule that picks it when the stage begins.
const TARGET: Rule = Either(
    &[NAME],
    &[
        Need(&["kind"], ""),
        Need(&["cluster"], ""),
        Need(&["app"], ""),
        Need(&["criteria"], ""),
    ],
);
const PICKED: Rule = Among("criteria", CRITERIA);
/// The objects that labels pick.
const LABELLED: &[Rule] = &[
    Need(&["kinds"], ""),
    Need(&["labelSelectors.selectors"], ""),
];

const FROM_ARTIFACT: Rule = Need(
    &["manifestArtifactId", "manifestArtifact"],
    "name the artifact that holds the manifest",
);

const KUBERNETES: &str = "the provider kubernetes";
const BAKERY: &str = "a bakery";
const AWS: &str = "the provider aws";
const FIREWALLS: &str = "a provider with firewalls";
const SCALING: &str = "a provider with scaling policies";
const FORMATION: &str = "the provider aws with CloudFormation";

/// A type without another name.
const fn unbuilt(
    kind: &'static str,
    label: &'static str,
    needs: &'static str,
    rules: &'static [Rule],
) -> Unbuilt {
    Unbuilt {
        kind,
        aliases: &[],
        label,
        needs,
        rules,
    }
}

/// Every type that is known and not built.
pub static UNBUILT: &[Unbuilt] = &[
    unbuilt(
        "deployManifest",
        "Deploy (Manifest)",
        KUBERNETES,
        &[
            ACCOUNT,
            Among("source", &["text", "artifact"]),
            If(
                "source",
                FROM_TEXT,
                &[Need(&["manifests", "manifest"], "give the manifests")],
            ),
            If("source", &["artifact"], &[FROM_ARTIFACT]),
            If(
                "trafficManagement.enabled",
                &["true"],
                &[Among(
                    "trafficManagement.options.strategy",
                    &["none", "redblack", "bluegreen", "highlander"],
                )],
            ),
        ],
    ),
    unbuilt(
        "patchManifest",
        "Patch (Manifest)",
        KUBERNETES,
        &[
            ACCOUNT,
            LOCATION,
            TARGET,
            PICKED,
            Among("source", &["text", "artifact"]),
            If(
                "source",
                FROM_TEXT,
                &[Need(&["patchBody"], "give the patch")],
            ),
            If("source", &["artifact"], &[FROM_ARTIFACT]),
            Among("options.mergeStrategy", &["strategic", "json", "merge"]),
        ],
    ),
    unbuilt(
        "scaleManifest",
        "Scale (Manifest)",
        KUBERNETES,
        &[
            ACCOUNT,
            LOCATION,
            TARGET,
            PICKED,
            Need(&["replicas"], "say how many are to run"),
        ],
    ),
    unbuilt(
        "undoRolloutManifest",
        "Undo rollout (Manifest)",
        KUBERNETES,
        &[
            ACCOUNT,
            LOCATION,
            NAME,
            Need(
                &["numRevisionsBack", "revision"],
                "say how many revisions to go back, or to which",
            ),
        ],
    ),
    unbuilt(
        "deleteManifest",
        "Delete (Manifest)",
        KUBERNETES,
        &[ACCOUNT, LOCATION, Either(&[TARGET], LABELLED), PICKED],
    ),
    unbuilt("enableManifest", "Enable (Manifest)", KUBERNETES, ON_OBJECT),
    unbuilt(
        "disableManifest",
        "Disable (Manifest)",
        KUBERNETES,
        ON_OBJECT,
    ),
    unbuilt(
        "pauseRolloutManifest",
        "Pause rollout (Manifest)",
        KUBERNETES,
        ON_OBJECT,
    ),
    unbuilt(
        "resumeRolloutManifest",
        "Resume rollout (Manifest)",
        KUBERNETES,
        ON_OBJECT,
    ),
    unbuilt(
        "rollingRestartManifest",
        "Rolling restart (Manifest)",
        KUBERNETES,
        ON_OBJECT,
    ),
    Unbuilt {
        kind: "findArtifactFromResource",
        aliases: &["findArtifactsFromResource"],
        label: "Find artifacts from resource (Manifest)",
        needs: KUBERNETES,
        rules: &[ACCOUNT, LOCATION, TARGET, PICKED, EXPECTED],
    },
    // Forms send it with the alias runJob, which refuses it in the same words.
    unbuilt(
        "runJobManifest",
        "Run job (Manifest)",
        KUBERNETES,
        &[
            ACCOUNT,
            Among("source", &["text", "artifact"]),
            If(
                "source",
                FROM_TEXT,
                &[Need(&["manifest", "manifests"], "give the manifest")],
            ),
            If("source", &["artifact"], &[FROM_ARTIFACT]),
        ],
    ),
    unbuilt(
        "bakeManifest",
        "Bake (Manifest)",
        BAKERY,
        &[
            Need(&["templateRenderer"], "name the renderer, such as HELM3"),
            Among("templateRenderer", RENDERERS),
            Need(&["inputArtifacts", "inputArtifact"], "name the template"),
            One("expectedArtifacts", "it must have exactly one"),
            If(
                "templateRenderer",
                &["HELM2", "HELM3"],
                &[Need(&["outputName"], "name the release")],
            ),
        ],
    ),
    unbuilt(
        "bake",
        "Bake",
        BAKERY,
        &[
            Need(
                &["package", "packageArtifactIds"],
                "name the package to install",
            ),
            REGION,
            Need(&["baseOs", "baseAmi"], "name the image to begin with"),
        ],
    ),
    unbuilt(
        "travis",
        "Travis",
        "Travis CI",
        &[
            Need(&["master"], "name the build server"),
            Need(&["job"], "name the job"),
        ],
    ),
    unbuilt(
        "googleCloudBuild",
        "Google Cloud Build",
        "Google Cloud Build",
        &[
            Need(&["account"], "name the account of the builds"),
            Need(
                &["buildDefinition", "buildDefinitionArtifact", "triggerId"],
                "say what to build",
            ),
        ],
    ),
    unbuilt(
        "awsCodeBuild",
        "AWS CodeBuild",
        "AWS CodeBuild",
        &[
            Need(&["account"], "name the account of the builds"),
            Need(&["projectName"], "name the project"),
        ],
    ),
    unbuilt(
        "upsertImageTags",
        "Tag image",
        "a provider that tags images",
        &[
            Need(&["imageNames", "imageName"], "name the image"),
            Need(&["tags"], "give the tags"),
            REGION,
        ],
    ),
    unbuilt(
        "deleteImage",
        "Delete image",
        AWS,
        &[Need(&["imageIds"], "name the images"), REGION, ACCOUNT],
    ),
    unbuilt(
        "deleteLoadBalancer",
        "Delete load balancer",
        "a provider that deletes load balancers",
        &[
            Need(&["loadBalancerName"], "name the load balancer"),
            REGION,
            ACCOUNT,
        ],
    ),
    unbuilt(
        "upsertSecurityGroup",
        "Upsert firewall",
        FIREWALLS,
        &[Need(&["name"], "name the firewall"), REGION, ACCOUNT],
    ),
    unbuilt(
        "deleteSecurityGroup",
        "Delete firewall",
        FIREWALLS,
        &[
            Need(&["securityGroupName"], "name the firewall"),
            REGION,
            ACCOUNT,
        ],
    ),
    unbuilt(
        "registerInstancesWithLoadBalancer",
        "Register instances with load balancer",
        "a provider that registers instances by hand",
        TO_BALANCERS,
    ),
    unbuilt(
        "deregisterInstancesFromLoadBalancer",
        "Deregister instances from load balancer",
        "a provider that registers instances by hand",
        TO_BALANCERS,
    ),
    unbuilt(
        "rebootInstances",
        "Reboot instances",
        "a provider that reboots instances",
        &[INSTANCES, REGION, ACCOUNT],
    ),
    unbuilt(
        "upsertScalingPolicy",
        "Upsert scaling policy",
        SCALING,
        &[GROUP, REGION, ACCOUNT],
    ),
    unbuilt(
        "deleteScalingPolicy",
        "Delete scaling policy",
        SCALING,
        &[
            GROUP,
            REGION,
            ACCOUNT,
            Need(&["policyName"], "name the policy"),
        ],
    ),
    unbuilt(
        "updateLaunchTemplate",
        "Update launch template",
        AWS,
        &[GROUP, REGION, ACCOUNT],
    ),
    unbuilt(
        "updateSecurityGroupsForServerGroup",
        "Update firewalls of server group",
        AWS,
        &[
            GROUP,
            REGION,
            ACCOUNT,
            Need(&["securityGroups"], "name the firewalls"),
        ],
    ),
    unbuilt(
        "deployCloudFormation",
        "Deploy CloudFormation stack",
        FORMATION,
        &[
            ACCOUNT,
            REGION,
            STACK,
            Among("source", &["text", "artifact"]),
            If(
                "source",
                FROM_TEXT,
                &[Need(&["templateBody"], "give the template")],
            ),
            If(
                "source",
                &["artifact"],
                &[Need(
                    &["stackArtifactId", "stackArtifact"],
                    "name the artifact that holds the template",
                )],
            ),
            If(
                "isChangeSet",
                &["true"],
                &[Need(&["changeSetName"], "name the change set")],
            ),
        ],
    ),
    unbuilt(
        "deleteCloudFormation",
        "Delete CloudFormation stack",
        FORMATION,
        &[ACCOUNT, REGION, STACK],
    ),
];

const RENDERERS: &[&str] = &[
    "HELM2",
    "HELM3",
    "HELMFILE",
    "KUSTOMIZE",
    "KUSTOMIZE4",
    "CF",
];
