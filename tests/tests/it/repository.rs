//! The repository as data: the workspace's packages and the tracked files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// What `cargo metadata` says, with everything that is depended on.
pub(crate) fn metadata() -> Value {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--all-features",
            // What only other systems link need not be there.
            "--filter-platform",
            &format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A dependency as a manifest lists it.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) optional: bool,
    /// `normal`, `build` or `dev`.
    pub(crate) kind: String,
    /// Whether it is a package of this repository.
    pub(crate) ours: bool,
}

/// The packages of the workspace by name: their folder and what their manifests list.
pub(crate) fn packages(metadata: &Value) -> BTreeMap<String, (PathBuf, Vec<Dependency>)> {
    let members: Vec<&Value> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| members.contains(&&package["id"]))
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap());
            let listed = package["dependencies"].as_array().unwrap().iter();
            let dependencies = listed.map(|dependency| Dependency {
                name: dependency["name"].as_str().unwrap().to_owned(),
                optional: dependency["optional"].as_bool().unwrap(),
                kind: dependency["kind"].as_str().unwrap_or("normal").to_owned(),
                ours: dependency["path"].is_string(),
            });
            let name = package["name"].as_str().unwrap().to_owned();
            (
                name,
                (
                    manifest.parent().unwrap().to_owned(),
                    dependencies.collect(),
                ),
            )
        })
        .collect()
}

/// The names of everything a package links in the end, itself left out; development dependencies
/// count for nobody.
pub(crate) fn closure(metadata: &Value, package: &str) -> Vec<String> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let name_of: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            (
                package["id"].as_str().unwrap(),
                package["name"].as_str().unwrap(),
            )
        })
        .collect();
    let edges: BTreeMap<&str, Vec<&str>> = nodes
        .iter()
        .map(|node| {
            let linked = node["deps"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| {
                    let kinds = dependency["dep_kinds"].as_array().unwrap();
                    kinds.iter().any(|kind| kind["kind"].is_null())
                });
            let targets = linked
                .map(|dependency| dependency["pkg"].as_str().unwrap())
                .collect();
            (node["id"].as_str().unwrap(), targets)
        })
        .collect();
    let start = name_of
        .iter()
        .find(|(id, name)| **name == package && id.contains("path+"))
        .unwrap()
        .0;
    let (mut seen, mut open) = (vec![*start], vec![*start]);
    while let Some(id) = open.pop() {
        for next in &edges[id] {
            if !seen.contains(next) {
                seen.push(next);
                open.push(next);
            }
        }
    }
    seen.iter()
        .skip(1)
        .map(|id| name_of[id].to_owned())
        .collect()
}

/// The tracked files and those about to be, relative to the root.
pub(crate) fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(root())
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)
            .unwrap()
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .filter(|path| root().join(path).is_file())
            .collect(),
        _ => walk(&root()),
    }
}

/// Every file, for a copy of the sources without their history.
fn walk(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let skipped = ["target", "data", ".git", "node_modules"];
            if path.is_file() {
                files.push(path.strip_prefix(root).unwrap().to_owned());
            } else if path.is_dir() && !skipped.iter().any(|skipped| name == *skipped) {
                folders.push(path);
            }
        }
    }
    files
}
