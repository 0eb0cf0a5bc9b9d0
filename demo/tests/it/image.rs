//! The image's bytes: equal arguments give equal digests, and `skopeo` accepts the layout.

use std::path::Path;
use std::process::Command;

use demo::image::{Image, write};
use serde_json::Value;

fn image<'a>(content: &'a [u8], tag: &'a str, environment: &'a [String]) -> Image<'a> {
    Image {
        program: b"not really a program",
        content,
        tag,
        environment,
    }
}

#[test]
fn the_digest_depends_on_the_arguments_alone() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let environment = vec!["VERSION=x".to_owned()];
    let first = write(&image(b"a", "1", &environment), one.path()).unwrap();
    assert_eq!(
        first,
        write(&image(b"a", "1", &environment), two.path()).unwrap()
    );
    let other = write(&image(b"b", "1", &environment), two.path()).unwrap();
    assert_ne!(first, other, "one changed byte must change the digest");
    let renamed = write(&image(b"a", "2", &environment), two.path()).unwrap();
    assert_eq!(first, renamed, "the tag alone is no part of the image");
}

#[test]
fn every_blob_is_what_its_descriptor_says() {
    let folder = tempfile::tempdir().unwrap();
    let digest = write(&image(b"hello", "1", &[]), folder.path()).unwrap();
    let manifest = blob(folder.path(), &digest);
    for descriptor in [&manifest["config"]]
        .into_iter()
        .chain(manifest["layers"].as_array().unwrap())
    {
        let path = blob_path(folder.path(), descriptor["digest"].as_str().unwrap());
        let length = std::fs::metadata(path).unwrap().len();
        assert_eq!(descriptor["size"].as_u64(), Some(length));
    }
    let config = blob(
        folder.path(),
        manifest["config"]["digest"].as_str().unwrap(),
    );
    assert_eq!(config["config"]["Env"][0], "VERSION=1");
    assert_eq!(config["config"]["Entrypoint"][0], "/bin/demo-server");
}

#[test]
fn a_malformed_tag_or_environment_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for tag in ["", "a/b", "-1", "ä"] {
        assert!(
            write(&image(b"", tag, &[]), folder.path()).is_err(),
            "{tag:?}"
        );
    }
    assert!(write(&image(b"", "1", &["=x".to_owned()]), folder.path()).is_err());
}

#[test]
fn skopeo_copies_the_layout() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, copy) = (folder.path().join("layout"), folder.path().join("copy"));
    let digest = write(&image(b"hello", "1", &[]), &layout).unwrap();
    let copied = Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy"])
        .arg(format!("oci:{}:1", layout.display()))
        .arg(format!("dir:{}", copy.display()))
        .output();
    match copied {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: skopeo is not installed");
        }
        copied => {
            let copied = copied.unwrap();
            assert!(
                copied.status.success(),
                "{}",
                String::from_utf8_lossy(&copied.stderr)
            );
            let manifest = std::fs::read(copy.join("manifest.json")).unwrap();
            assert_eq!(
                serde_json::from_slice::<Value>(&manifest).unwrap(),
                blob(&layout, &digest)
            );
        }
    }
}

fn blob_path(folder: &Path, digest: &str) -> std::path::PathBuf {
    folder
        .join("blobs/sha256")
        .join(digest.trim_start_matches("sha256:"))
}

fn blob(folder: &Path, digest: &str) -> Value {
    serde_json::from_slice(&std::fs::read(blob_path(folder, digest)).unwrap()).unwrap()
}
