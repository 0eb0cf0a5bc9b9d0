//! A small image as an OCI layout, as a build tool would write it.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The parts of one image.
pub(super) struct Built {
    pub(super) manifest: Vec<u8>,
    /// Config and layers by digest.
    pub(super) blobs: Vec<(String, Vec<u8>)>,
}

/// An image of two layers: the second replaces `srv/content` with `content`
/// and hides `srv/old`.
pub(super) fn image(content: &str) -> Built {
    let mut lower = tar::Builder::new(Vec::new());
    entry(&mut lower, "srv/content", "lower");
    entry(&mut lower, "srv/old", "old");
    entry(&mut lower, "bin/run", "#!/bin/sh\n");
    let mut upper = tar::Builder::new(Vec::new());
    entry(&mut upper, "srv/content", content);
    entry(&mut upper, "srv/.wh.old", "");
    let layers = [lower.into_inner().unwrap(), upper.into_inner().unwrap()];
    let diff_ids: Vec<_> = layers.iter().map(|l| digest(l)).collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "os": "linux",
        "config": {"Entrypoint": ["run"], "Env": ["PATH=/bin", "A=b"], "WorkingDir": "/srv",
            "Labels": {"content": content}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let mut blobs = vec![(String::new(), config.to_string().into_bytes())];
    for layer in layers {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&layer).unwrap();
        blobs.push((String::new(), encoder.finish().unwrap()));
    }
    for (name, bytes) in &mut blobs {
        *name = digest(bytes);
    }
    let descriptor = |at: usize, kind: &str| {
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"),
               "digest": blobs[at].0, "size": blobs[at].1.len()})
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(0, "config.v1+json"),
        "layers": [descriptor(1, "layer.v1.tar+gzip"), descriptor(2, "layer.v1.tar+gzip")],
    });
    Built {
        manifest: manifest.to_string().into_bytes(),
        blobs,
    }
}

fn entry(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &str) {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.set_mtime(0);
    archive
        .append_data(&mut header, path, content.as_bytes())
        .unwrap();
}

impl Built {
    /// Writes it as a layout with one tag.
    pub(super) fn write(&self, folder: &Path, tag: &str) {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let save = |digest: &str, bytes: &[u8]| {
            fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).unwrap();
        };
        for (digest, bytes) in &self.blobs {
            save(digest, bytes);
        }
        let name = digest(&self.manifest);
        save(&name, &self.manifest);
        let entry: Value = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": name,
            "size": self.manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": tag},
        });
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        fs::write(folder.join("index.json"), index.to_string()).unwrap();
        fs::write(
            folder.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
    }
}
