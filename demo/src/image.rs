//! Writes an OCI image layout: one layer with one static program and one content file.
//!
//! Owns the bytes of the image. They depend on nothing but the arguments (no clock, no user, no
//! order of a folder), so equal arguments give equal digests and one changed byte of the content
//! changes the digest. It must never run a tool or reach a network: pushing is `skopeo`'s job.
//! Format: OCI image specification 1.0 (image layout, manifest, configuration).

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What the image is made of.
#[derive(Debug, Clone)]
pub struct Image<'a> {
    /// The static program, placed at `/bin/demo-server`.
    pub program: &'a [u8],
    /// What `/content` serves, placed at `/srv/content`.
    pub content: &'a [u8],
    /// The name of the image in the layout, and `VERSION` unless the environment sets that.
    pub tag: &'a str,
    /// More of the environment, `NAME=value`, in this order.
    pub environment: &'a [String],
}

/// Writes the image into `folder` as an OCI layout and returns its manifest's digest
/// (`sha256:<hex>`). The folder is created; blobs that are there already are written again.
///
/// # Errors
/// The tag or a line of the environment is malformed, or the folder cannot be written.
pub fn write(image: &Image<'_>, folder: &Path) -> Result<String> {
    ensure!(
        is_tag(image.tag),
        "tag {:?} is malformed: use letters, digits, '.', '_', '-'",
        image.tag
    );
    for line in image.environment {
        ensure!(
            line.split_once('=')
                .is_some_and(|(name, _)| !name.is_empty()),
            "environment {line:?} is malformed: use NAME=value"
        );
    }
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("cannot create {}", blobs.display()))?;

    let layer = layer(image).context("cannot write the layer")?;
    let diff_id = digest(&layer);
    let layer = compressed(&layer).context("cannot compress the layer")?;
    let layer = store(&blobs, LAYER, &layer)?;
    let config = store(&blobs, CONFIG, &text(&configuration(image, &diff_id))?)?;
    let mut manifest = store(
        &blobs,
        MANIFEST,
        &text(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
        }))?,
    )?;
    let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();

    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": image.tag });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    save(&folder.join("index.json"), &text(&index)?)?;
    save(
        &folder.join("oci-layout"),
        &text(&json!({ "imageLayoutVersion": "1.0.0" }))?,
    )?;
    Ok(digest)
}

fn configuration(image: &Image<'_>, diff_id: &str) -> Value {
    let mut environment = image.environment.to_vec();
    if !environment.iter().any(|line| line.starts_with("VERSION=")) {
        environment.insert(0, format!("VERSION={}", image.tag));
    }
    json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/bin/demo-server"],
            "Env": environment,
            "ExposedPorts": { "8080/tcp": {} },
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "demo-image" }],
    })
}

fn layer(image: &Image<'_>) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut entry = |path: &str, kind: tar::EntryType, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content)
    };
    entry("bin/", tar::EntryType::Directory, 0o755, &[])?;
    entry(
        "bin/demo-server",
        tar::EntryType::Regular,
        0o755,
        image.program,
    )?;
    entry("srv/", tar::EntryType::Directory, 0o755, &[])?;
    entry("srv/content", tar::EntryType::Regular, 0o644, image.content)?;
    archive.into_inner()
}

fn compressed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    // The header's time stays 0 and its name empty: the same bytes on every machine.
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Writes a blob and returns its descriptor.
fn store(blobs: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = digest(bytes);
    let name = digest.trim_start_matches("sha256:");
    save(&blobs.join(name), bytes)?;
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn text(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("cannot write JSON")
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !text.starts_with(['.', '-'])
}
