//! Against Debian's `docker-registry`, with images pushed by `skopeo`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cloud_driver::registry::Error;

use super::layout::{digest, image};
use super::{images, registries};

/// A registry on a free port; ends with the value.
struct Registry {
    address: String,
    folder: tempfile::TempDir,
    child: Child,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok()
}

impl Registry {
    async fn start() -> Option<Self> {
        for program in ["docker-registry", "skopeo"] {
            if !installed(program) {
                println!("skipped: {program} is not installed");
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", servers::port::free());
        let config = folder.path().join("config.yml");
        let storage = folder.path().join("storage");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                 http: {{addr: \"{address}\"}}\n",
                storage.display()
            ),
        )
        .unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self {
            address,
            folder,
            child,
        };
        let up = async {
            while tokio::net::TcpStream::connect(&registry.address)
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), up)
            .await
            .unwrap();
        Some(registry)
    }

    fn push(&self, content: &str, tag: &str) -> String {
        let built = image(content);
        let layout = self.folder.path().join(format!("layout-{tag}"));
        built.write(&layout, tag);
        let output = Command::new("skopeo")
            .args([
                "copy",
                "--quiet",
                "--insecure-policy",
                "--dest-tls-verify=false",
            ])
            .arg(format!("oci:{}:{tag}", layout.display()))
            .arg(format!("docker://{}/team/demo:{tag}", self.address))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        digest(&built.manifest)
    }
}

fn content(root: &Path) -> String {
    std::fs::read_to_string(root.join("srv/content")).unwrap()
}

#[tokio::test]
async fn pushed_images_are_listed_resolved_and_unpacked_by_digest() {
    let Some(registry) = Registry::start().await else {
        return;
    };
    let first = registry.push("first", "1");
    let second = registry.push("second", "2");
    assert_ne!(first, second);
    let registries = registries(&registry.address);
    let (_, client) = registries.named("r").unwrap();
    assert_eq!(client.repositories().await.unwrap(), ["team/demo"]);
    let mut tags = client.tags("team/demo").await.unwrap();
    tags.sort();
    assert_eq!(tags, ["1", "2"]);
    assert_eq!(client.digest("team/demo", "1").await.unwrap(), first);
    for (tag, content) in [("1", "first"), ("2", "second")] {
        let labels = client.labels("team/demo", tag).await.unwrap();
        assert_eq!(labels["content"], content);
    }
    let missing = client.labels("team/demo", "9").await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    let missing = client.digest("team/demo", "9").await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");

    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path(), &registry.address);
    let one = images
        .pull(&format!("{}/team/demo:1", registry.address))
        .await
        .unwrap();
    let two = images
        .pull(&format!("{}/team/demo@{second}", registry.address))
        .await
        .unwrap();
    assert_eq!(
        (one.digest.as_str(), two.digest.as_str()),
        (&*first, &*second)
    );
    assert_eq!(
        (content(&one.rootfs), content(&two.rootfs)),
        ("first".into(), "second".into())
    );
    assert_eq!(one.config.workdir, "/srv");
    assert_eq!(one.user().unwrap(), (0, 0));
    assert!(!one.rootfs.join("srv/old").exists());
}

#[tokio::test]
async fn a_tag_that_moved_gives_the_new_image_and_its_digest_the_old_one() {
    let Some(registry) = Registry::start().await else {
        return;
    };
    let old = registry.push("old", "latest");
    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path(), &registry.address);
    let name = format!("{}/team/demo", registry.address);
    assert_eq!(content(&images.pull(&name).await.unwrap().rootfs), "old");
    registry.push("new", "latest");
    assert_eq!(content(&images.pull(&name).await.unwrap().rootfs), "new");
    let pinned = images.pull(&format!("{name}@{old}")).await.unwrap();
    assert_eq!(content(&pinned.rootfs), "old");
}
