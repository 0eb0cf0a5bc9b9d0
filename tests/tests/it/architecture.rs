//! The drawing of `ARCHITECTURE.md`, held: who may depend on whom, what the pure crates may not reach,
//! and who alone may open the doors to the outside.

use std::collections::BTreeSet;

use crate::repository::{Dependency, closure, files, metadata, packages, root};

const SERVICES: [&str; 5] = [
    "gateway",
    "orchestrator",
    "trigger",
    "cloud-driver",
    "canary-judge",
];
const LEAVES: [&str; 5] = ["proto", "store", "authorization", "artifact", "runtime"];
const PURE: [&str; 6] = [
    "orchestrator-core",
    "expression",
    "rollout",
    "authorization",
    "artifact",
    "judge",
];
/// What is not a service, not `deploy`, and which of ours it may depend on.
const OTHERS: [(&str, &[&str]); 8] = [
    ("orchestrator-core", &["expression"]),
    ("expression", &[]),
    ("rollout", &[]),
    ("balancer", &[]),
    ("instance", &[]),
    ("demo", &[]),
    ("servers", &[]),
    ("tests", &["runtime", "proto", "servers"]),
];

fn allowed(package: &str) -> Option<BTreeSet<&'static str>> {
    let own: &[&str] = match package {
        "orchestrator" => &["orchestrator-core", "expression"],
        "cloud-driver" => &["rollout", "balancer", "instance"],
        "canary-judge" => &["judge"],
        _ => &[],
    };
    if SERVICES.contains(&package) {
        return Some(LEAVES.iter().chain(own).copied().collect());
    }
    if LEAVES.contains(&package) || package == "judge" {
        return Some(BTreeSet::new());
    }
    if package == "deploy" {
        return Some(
            SERVICES
                .iter()
                .chain(&LEAVES)
                .chain(&[
                    "orchestrator-core",
                    "expression",
                    "rollout",
                    "balancer",
                    "instance",
                    "judge",
                ])
                .copied()
                .collect(),
        );
    }
    let (_, others) = OTHERS.iter().find(|(name, _)| *name == package)?;
    Some(others.iter().copied().collect())
}

/// What every package may depend on for its own tests.
const FOR_TESTS: [&str; 2] = ["demo", "servers"];

/// A package may use itself with other features in its own tests, and what is there for them; nothing else is
/// excused.
fn forbidden<'a>(package: &str, dependencies: &'a [Dependency]) -> Vec<&'a str> {
    let allowed = allowed(package).unwrap_or_default();
    dependencies
        .iter()
        .filter(|dependency| dependency.ours && dependency.name != package)
        .filter(|dependency| !FOR_TESTS.contains(&&*dependency.name) || dependency.kind != "dev")
        .map(|dependency| dependency.name.as_str())
        .filter(|name| !allowed.contains(name))
        .collect()
}

#[test]
fn crates_depend_on_one_another_only_as_drawn() {
    for (package, (_, dependencies)) in packages(&metadata()) {
        assert!(
            allowed(&package).is_some(),
            "{package} has no place in the drawing: give it one"
        );
        let forbidden = forbidden(&package, &dependencies);
        assert!(
            forbidden.is_empty(),
            "{package} must not depend on {forbidden:?}"
        );
    }
}

#[test]
fn control_a_forbidden_edge_is_found() {
    let edge = |name: &str| Dependency {
        name: name.to_owned(),
        optional: false,
        kind: "normal".to_owned(),
        ours: true,
    };
    assert_eq!(
        forbidden("gateway", &[edge("store"), edge("orchestrator")]),
        ["orchestrator"]
    );
    assert_eq!(forbidden("demo", &[edge("runtime")]), ["runtime"]);
    assert_eq!(forbidden("store", &[edge("servers")]), ["servers"]);
    assert_eq!(allowed("something-new"), None);
}

#[test]
fn pure_crates_reach_no_runtime_clock_socket_or_randomness() {
    let banned = [
        "tokio", "tonic", "prost", "redis", "reqwest", "hyper", "rand", "uuid", "redb", "axum",
    ];
    let metadata = metadata();
    for package in PURE {
        let linked = closure(&metadata, package);
        let found: Vec<_> = linked
            .iter()
            .filter(|name| banned.contains(&name.as_str()))
            .collect();
        assert!(found.is_empty(), "{package} links {found:?}");
    }
}

#[test]
fn control_what_a_crate_links_through_others_is_found() {
    let linked = closure(&metadata(), "runtime");
    assert!(
        linked.iter().any(|name| name == "mio"),
        "mio comes with tokio: {linked:?}"
    );
}

#[test]
fn each_door_to_the_outside_has_one_keeper() {
    // (dependency, who may list it, whether it must be optional)
    let keepers: [(&str, &[&str], bool); 8] = [
        ("redis", &["store"], false),
        ("redb", &["store"], false),
        ("object_store", &["store"], false),
        (
            "reqwest",
            &["runtime", "cloud-driver", "trigger", "store"],
            false,
        ),
        ("lettre", &["orchestrator"], false),
        ("kube", &["cloud-driver", "deploy"], true),
        ("k8s-openapi", &["cloud-driver", "deploy"], true),
        ("aws-sdk-", &["cloud-driver"], true),
    ];
    for (package, (_, dependencies)) in packages(&metadata()) {
        for dependency in &dependencies {
            let door = keepers.iter().find(|(name, _, _)| {
                dependency.name == *name
                    || (name.ends_with('-') && dependency.name.starts_with(name))
            });
            if let Some((_, holders, optional)) = door {
                let name = &dependency.name;
                assert!(
                    holders.contains(&package.as_str()),
                    "{package} must not list {name}"
                );
                assert!(
                    dependency.optional || !optional || dependency.kind == "dev",
                    "{name} of {package} must be optional"
                );
            }
        }
    }
}

/// The files that may ask for a client without the egress guard, because the operator configured the
/// address: one a crate.
const OPERATOR_CLIENTS: [&str; 4] = [
    "cloud-driver/src/registry/mod.rs",
    "deploy/src/execution.rs",
    "gateway/src/identity/oidc.rs",
    "trigger/src/jenkins/mod.rs",
];

#[test]
fn http_clients_are_made_in_one_place_and_the_unguarded_one_is_used_in_listed_files() {
    for file in files().iter().filter(|file| {
        file.extension().is_some_and(|extension| extension == "rs")
            && !file.starts_with("runtime/src/egress")
            && !file.starts_with("tests")
    }) {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let made = [
            "reqwest::Client::builder",
            "reqwest::Client::new",
            "reqwest::ClientBuilder",
        ];
        for call in made {
            assert!(
                !text.contains(call),
                "{} makes a client of its own",
                file.display()
            );
        }
        let unguarded = text.contains("operator_client()");
        let listed = OPERATOR_CLIENTS
            .iter()
            .any(|name| std::path::Path::new(name) == file);
        let component = file.components().any(|part| part.as_os_str() == "tests");
        assert!(
            !unguarded || listed || component,
            "{} uses the unguarded client",
            file.display()
        );
    }
}

#[test]
fn nothing_links_openssl_or_aws_lc() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        assert!(
            !["openssl-sys", "aws-lc-sys", "native-tls"].contains(&name),
            "{name} is linked"
        );
    }
}

#[test]
fn the_runtime_knows_no_word_of_the_domain() {
    let words = [
        "pipeline",
        "canary",
        "rollout",
        "server group",
        "servergroup",
        "spinnaker",
        "manifest",
    ];
    for file in files()
        .iter()
        .filter(|file| file.starts_with("runtime/src"))
    {
        let text = std::fs::read_to_string(root().join(file))
            .unwrap()
            .to_lowercase();
        for word in words {
            assert!(!text.contains(word), "{} says {word:?}", file.display());
        }
    }
}
