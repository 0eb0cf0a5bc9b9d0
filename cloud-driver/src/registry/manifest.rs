//! Manifests: which kinds are accepted, and what is taken out of them.

use serde_json::Value;

use super::reference::is_digest;

/// Media types of one image's manifest.
pub(super) const IMAGE: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Media types of a list of manifests by platform.
pub(super) const INDEX: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// The `Accept` header that names all four.
///
/// Differs from Spinnaker: Clouddriver asks for the v2 manifest only, so OCI
/// images and multi-platform images have no digest there.
pub(super) fn accept() -> String {
    [INDEX, IMAGE].concat().join(", ")
}

/// A blob that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:…`, checked.
    pub digest: String,
    /// Its size in bytes, as the manifest says.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

/// One image's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The image's configuration.
    pub config: Blob,
    /// Its layers, lowest first.
    pub layers: Vec<Blob>,
}

/// Either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Document {
    /// One image.
    Image(Manifest),
    /// The digest that an index names for our platform.
    Pointer(String),
}

/// Reads a manifest or index; `media_type` is the answer's content type.
pub(super) fn read(body: &[u8], media_type: &str, architecture: &str) -> Result<Document, String> {
    let value: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let stated = value.get("mediaType").and_then(Value::as_str);
    let media_type = stated.unwrap_or_else(|| media_type.split(';').next().unwrap_or("").trim());
    if INDEX.contains(&media_type) || value.get("manifests").is_some() {
        return pointer(&value, architecture);
    }
    if IMAGE.contains(&media_type)
        || (value.get("layers").is_some() && value.get("config").is_some())
    {
        return image(&value);
    }
    Err(format!(
        "media type \"{media_type}\" is no image; push it in OCI or Docker v2 format"
    ))
}

fn pointer(value: &Value, architecture: &str) -> Result<Document, String> {
    let entries = value
        .get("manifests")
        .and_then(Value::as_array)
        .ok_or("its manifests are missing")?;
    let platform = |entry: &Value, key| {
        entry
            .pointer(&format!("/platform/{key}"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let fits = |entry: &&Value| {
        platform(entry, "os") == "linux" && platform(entry, "architecture") == architecture
    };
    // An index of one entry without a platform is how `oci:` layouts are pushed.
    let only = || {
        entries
            .first()
            .filter(|e| entries.len() == 1 && e.get("platform").is_none())
    };
    let entry = entries.iter().find(fits).or_else(only).ok_or_else(|| {
        let offered: Vec<_> = entries
            .iter()
            .map(|e| format!("{}/{}", platform(e, "os"), platform(e, "architecture")))
            .collect();
        format!(
            "it has no manifest for linux/{architecture}, only for {}",
            offered.join(", ")
        )
    })?;
    let digest = entry
        .get("digest")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if is_digest(digest) {
        Ok(Document::Pointer(digest.to_owned()))
    } else {
        Err(format!("digest \"{digest}\" is not a sha256 digest"))
    }
}

fn image(value: &Value) -> Result<Document, String> {
    let config = blob(value.get("config").ok_or("its config is missing")?)?;
    let layers = value
        .get("layers")
        .and_then(Value::as_array)
        .ok_or("its layers are missing")?
        .iter()
        .map(blob)
        .collect::<Result<_, _>>()?;
    Ok(Document::Image(Manifest { config, layers }))
}

fn blob(value: &Value) -> Result<Blob, String> {
    let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let digest = text("digest");
    if !is_digest(digest) {
        return Err(format!("digest \"{digest}\" is not a sha256 digest"));
    }
    Ok(Blob {
        digest: digest.to_owned(),
        size: value
            .get("size")
            .and_then(Value::as_u64)
            .ok_or_else(|| format!("blob {digest} has no size"))?,
        media_type: text("mediaType").to_owned(),
    })
}

/// The name image indexes use for this machine's processor.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest(c: char) -> String {
        format!("sha256:{}", c.to_string().repeat(64))
    }

    fn parse(value: &Value, media_type: &str) -> Result<Document, String> {
        read(value.to_string().as_bytes(), media_type, "amd64")
    }

    #[test]
    fn an_index_leads_to_the_manifest_of_the_platform() {
        let entry = |c, os: &str, arch: &str| {
            json!({"digest": digest(c), "size": 1,
                   "platform": {"os": os, "architecture": arch}})
        };
        let index =
            json!({"manifests": [entry('a', "linux", "arm64"), entry('b', "linux", "amd64")]});
        assert_eq!(
            parse(&index, INDEX[0]).unwrap(),
            Document::Pointer(digest('b'))
        );
        let other = json!({"manifests": [entry('a', "windows", "amd64")]});
        assert_eq!(
            parse(&other, INDEX[1]).unwrap_err(),
            "it has no manifest for linux/amd64, only for windows/amd64"
        );
        let single = json!({"manifests": [{"digest": digest('c')}]});
        assert_eq!(
            parse(&single, INDEX[0]).unwrap(),
            Document::Pointer(digest('c'))
        );
    }

    #[test]
    fn a_manifest_names_its_blobs() {
        let blob = |c| json!({"digest": digest(c), "size": 7, "mediaType": "m"});
        let manifest = json!({"config": blob('a'), "layers": [blob('b'), blob('c')]});
        for media_type in IMAGE {
            let Document::Image(read) = parse(&manifest, media_type).unwrap() else {
                panic!("not an image");
            };
            assert_eq!(read.layers[1].digest, digest('c'));
            assert_eq!(read.config.size, 7);
        }
    }

    #[test]
    fn faulty_manifests_say_what_is_wrong() {
        for (value, fragment) in [
            (json!({"mediaType": "text/plain"}), "is no image"),
            (json!({"schemaVersion": 1, "fsLayers": []}), "is no image"),
            (
                json!({"config": {"digest": "sha256:../../x", "size": 1}, "layers": []}),
                "is not a sha256 digest",
            ),
            (
                json!({"config": {"digest": digest('a')}, "layers": []}),
                "has no size",
            ),
        ] {
            let text = parse(&value, "application/json").unwrap_err();
            assert!(text.contains(fragment), "{text}");
        }
    }
}
