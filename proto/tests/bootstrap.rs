//! The generated code is checked in; this regenerates it and fails if it differs.
//! `UPDATE_GENERATED=1 cargo test -p proto` writes it anew.

#![allow(clippy::unwrap_used)]
use std::fs;
use std::path::{Path, PathBuf};

fn proto_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            proto_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
}

#[test]
fn generated_code_is_what_the_proto_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    proto_files(&root.join("gennaker"), &mut files);
    let descriptors = protox::compile(&files, [root]).unwrap();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .out_dir(out.path())
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .unwrap();
    let target = root.join("src/gen");
    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    let mut names = Vec::new();
    for entry in fs::read_dir(out.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        let fresh = fs::read_to_string(&path).unwrap();
        let kept = target.join(&name);
        if update {
            fs::write(&kept, &fresh).unwrap();
        }
        let present = fs::read_to_string(&kept).unwrap_or_default();
        assert!(
            present == fresh,
            "{} differs; run UPDATE_GENERATED=1 cargo test -p proto",
            kept.display()
        );
        names.push(name);
    }
    for entry in fs::read_dir(&target).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(
            names.contains(&name),
            "{name:?} in src/gen comes from no proto file"
        );
    }
}
