//! `CONTRIBUTING.md`, held: sizes, documents, lints, lists that equal their folders, words.

use std::path::{Path, PathBuf};

use crate::repository::{files, metadata, packages, root};

/// The most lines a source file may have, a module of tests at its end not counted.
const LONGEST: usize = 600;
/// Files that may be longer, each with its reason.
const LONGER: [(&str, &str); 0] = [];

fn sources() -> Vec<(PathBuf, String)> {
    files()
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .map(|file| {
            let text = std::fs::read_to_string(root().join(&file)).unwrap();
            (file, text)
        })
        .collect()
}

/// Lines up to the module of tests at the end.
fn length(text: &str) -> usize {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .count()
}

#[test]
fn no_source_file_is_longer_than_600_lines() {
    let written = |file: &Path| !file.starts_with("proto/src/gen");
    for (file, text) in sources().iter().filter(|(file, _)| written(file)) {
        let excused = LONGER.iter().any(|(name, _)| Path::new(name) == file);
        let length = length(text);
        assert!(
            excused || length <= LONGEST,
            "{} has {length} lines",
            file.display()
        );
    }
}

#[test]
fn every_source_file_begins_with_what_it_is() {
    let missing: Vec<_> = sources()
        .iter()
        .filter(|(file, text)| {
            let exempt = file.starts_with("proto/src/gen") || file.ends_with("tests.rs");
            !exempt && !text.starts_with("//!")
        })
        .map(|(file, _)| file.display().to_string())
        .collect();
    assert!(missing.is_empty(), "without a module doc: {missing:?}");
}

#[test]
fn every_crate_has_a_readme_of_about_a_page() {
    for (package, (folder, _)) in packages(&metadata()) {
        let text = std::fs::read_to_string(folder.join("README.md"))
            .unwrap_or_else(|error| panic!("{package} has no README.md: {error}"));
        let lines = text.lines().count();
        assert!(
            (5..=120).contains(&lines),
            "the README of {package} has {lines} lines"
        );
    }
}

#[test]
fn every_crate_takes_the_workspace_lints_and_versions() {
    for (package, (folder, _)) in packages(&metadata()) {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{package} has its own lints"
        );
        for line in manifest
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
        {
            let versioned = line.contains(" = \"")
                && line.split(" = \"").nth(1).is_some_and(|rest| {
                    rest.starts_with(|first: char| first.is_ascii_digit() || "^~=".contains(first))
                });
            assert!(
                !versioned && !line.contains("version = \""),
                "{package} writes a version: {line}"
            );
        }
    }
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"forbid\""));
}

#[test]
fn pure_crates_deny_what_makes_a_decision_uncertain() {
    let common = [
        "wildcard_enum_match_arm",
        "float_cmp",
        "cast_possible_truncation",
    ];
    let strict = ["indexing_slicing"];
    for (file, lints) in [
        (
            "orchestrator/core/src/lib.rs",
            &[&common[..], &strict].concat(),
        ),
        (
            "orchestrator/expression/src/lib.rs",
            &[&common[..], &strict].concat(),
        ),
        ("cloud-driver/rollout/src/lib.rs", &common.to_vec()),
        ("authorization/src/lib.rs", &common.to_vec()),
        ("artifact/src/lib.rs", &common.to_vec()),
        ("canary-judge/judge/src/lib.rs", &common.to_vec()),
    ] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        for lint in lints {
            assert!(
                text.contains(&format!("clippy::{lint}")),
                "{file} does not deny {lint}"
            );
        }
    }
}

/// (the folder, the file with its list, files in it that are no entries)
const LISTS: [(&str, &str, &[&str]); 8] = [
    (
        "orchestrator/src/stage",
        "orchestrator/src/stage/mod.rs",
        &[
            "targeted",
            "cluster_wide",
            "strategy",
            "configured",
            "deployment_monitor",
        ],
    ),
    (
        "orchestrator/src/stage/strategy",
        "orchestrator/src/stage/strategy/mod.rs",
        &["steps"],
    ),
    (
        "orchestrator/src/notification/sender",
        "orchestrator/src/notification/sender/mod.rs",
        &[],
    ),
    ("trigger/src/source", "trigger/src/source/mod.rs", &[]),
    ("gateway/src/rest", "gateway/src/rest/mod.rs", &[]),
    (
        "cloud-driver/src/operation",
        "cloud-driver/src/operation/mod.rs",
        &["ledger", "worker"],
    ),
    (
        "canary-judge/src/source",
        "canary-judge/src/source/mod.rs",
        &["error", "grid", "http", "retry", "scan", "sigv4"],
    ),
    (
        "canary-judge/judge/src/judges",
        "canary-judge/judge/src/judges/mod.rs",
        &[],
    ),
];

#[test]
fn a_list_names_every_file_of_its_folder() {
    for (folder, list, exempt) in LISTS {
        if !root().join(list).is_file() {
            println!("skipped: {list} does not exist yet");
            continue;
        }
        let text = std::fs::read_to_string(root().join(list)).unwrap();
        for entry in std::fs::read_dir(root().join(folder)).unwrap().flatten() {
            let path = entry.path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let is_entry = path.extension().is_some_and(|extension| extension == "rs")
                || path.join("mod.rs").is_file();
            let skipped = ["mod", "tests", "contract"].contains(&name.as_str())
                || exempt.contains(&name.as_str());
            if is_entry && !skipped && path.join("mod.rs") != root().join(list) {
                let used = text.contains(&format!("{name}::"));
                assert!(used, "{list} does not list {name}");
            }
        }
    }
}

#[test]
fn the_project_speaks_of_itself_alone() {
    // Written in pieces, or this file would find itself.
    let words = [
        concat!("/wo", "rk/"),
        concat!("clau", "de"),
        concat!("anthro", "pic"),
        concat!("open", "ai"),
        concat!("chat", "gpt"),
        concat!("copi", "lot"),
        concat!("language ", "model"),
        concat!("sub", "agent"),
        concat!("/tmp/", "brief"),
        concat!("to", "do:"),
        concat!("fix", "me"),
        concat!("xx", "x:"),
    ];
    let mut found = Vec::new();
    for file in files() {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else {
            continue;
        };
        let text = text.to_lowercase();
        for word in words.iter().filter(|word| text.contains(**word)) {
            found.push(format!("{}: {word:?}", file.display()));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_example_of_a_stage_is_its_file() {
    let guide = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let section = guide.split("## The smallest real stage").nth(1).unwrap();
    let name = section.split('`').nth(1).unwrap();
    let file = std::fs::read_to_string(root().join(name)).unwrap();
    let shown = section.split("```rust\n").nth(1).unwrap();
    assert_eq!(shown.split("```").next().unwrap(), file, "{name}");
}
