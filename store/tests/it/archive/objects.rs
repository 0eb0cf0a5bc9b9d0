//! What every archive promises about objects.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::archive::{Folder, Objects, S3, S3Settings, Segment, write};

use super::folder;

/// The promises.
pub(crate) async fn keeps_objects(objects: &dyn Objects) {
    assert_eq!(objects.size("a/one").await.unwrap(), None);
    assert_eq!(objects.read("a/one", 0, 4).await.unwrap(), None);
    assert_eq!(objects.list("a").await.unwrap(), Vec::<String>::new());
    objects.delete("a/one").await.unwrap();

    let content = Bytes::from_static(b"0123456789");
    objects.put("a/one", content.clone()).await.unwrap();
    objects.put("a/b/two", Bytes::new()).await.unwrap();
    objects.put("ab/three", content).await.unwrap();
    assert_eq!(objects.size("a/one").await.unwrap(), Some(10));
    assert_eq!(objects.size("a/b/two").await.unwrap(), Some(0));
    let read = |from, length| async move { objects.read("a/one", from, length).await.unwrap() };
    assert_eq!(read(0, 10).await.as_deref(), Some(&b"0123456789"[..]));
    assert_eq!(read(3, 2).await.as_deref(), Some(&b"34"[..]));
    assert_eq!(read(8, 9).await.as_deref(), Some(&b"89"[..]));
    assert_eq!(read(3, 0).await.as_deref(), Some(&b""[..]));
    assert_eq!(read(12, 3).await.as_deref(), Some(&b""[..]));
    assert_eq!(objects.list("a").await.unwrap(), ["a/b/two", "a/one"]);

    objects
        .put("a/one", Bytes::from_static(b"x"))
        .await
        .unwrap();
    assert_eq!(read(0, 10).await.as_deref(), Some(&b"x"[..]));
    objects.delete("a/one").await.unwrap();
    objects.delete("a/one").await.unwrap();
    assert_eq!(objects.size("a/one").await.unwrap(), None);

    for name in ["", "/a", "a/../b", "a//b", "a/.b", "a b", "ä", "a/"] {
        let refused = objects.put(name, Bytes::new()).await.unwrap_err();
        assert!(refused.to_string().contains("is no name"), "{refused}");
    }
}

#[tokio::test]
async fn a_folder_keeps_objects() {
    let (objects, _root) = folder();
    keeps_objects(objects.as_ref()).await;
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_no_object() {
    let root = tempfile::tempdir().unwrap();
    let objects = Folder::new(root.path());
    objects
        .put("a/one", Bytes::from_static(b"1"))
        .await
        .unwrap();
    std::fs::write(root.path().join("a/.writing-1-1"), b"half").unwrap();
    assert_eq!(objects.list("a").await.unwrap(), ["a/one"]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), b"").unwrap();
    let objects = Folder::new(root.path().join("file"));
    let error = objects.put("a/one", Bytes::new()).await.unwrap_err();
    assert!(error.to_string().contains("file/a/one"), "{error}");
}

/// An S3 server that keeps everything in its memory; it ends when this is dropped.
struct Server {
    child: Child,
    endpoint: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts one with a bucket; none, and says so, where it is not installed.
    async fn start() -> Option<Self> {
        let port = servers::port::free();
        let spawned = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) => {
                println!("skipped: moto_server cannot be started: {error}");
                return None;
            }
        };
        let mut server = Self {
            child,
            endpoint: format!("http://127.0.0.1:{port}"),
        };
        let begun = Instant::now();
        while !make_bucket(port).await {
            if let Ok(Some(status)) = server.child.try_wait() {
                println!("skipped: moto_server ended with {status}");
                return None;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "moto_server does not answer"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(server)
    }

    fn archive(&self, prefix: &str) -> S3 {
        S3::new(&S3Settings {
            bucket: "archive".to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: Some(self.endpoint.clone()),
            prefix: prefix.to_owned(),
            key: Some(("key".to_owned(), "secret".to_owned())),
        })
        .unwrap()
    }
}

/// `PUT /archive`: false while nobody answers.
async fn make_bucket(port: u16) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else {
        return false;
    };
    let request = "PUT /archive HTTP/1.1\r\nhost: s3.amazonaws.com\r\n\
        authorization: AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request\r\n\
        content-length: 0\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).await.is_ok()
        && stream.read_to_string(&mut answer).await.is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

#[tokio::test]
async fn a_bucket_keeps_objects_and_segments() {
    let Some(server) = Server::start().await else {
        return;
    };
    keeps_objects(&server.archive("")).await;
    let archive = server.archive("team/gennaker");
    keeps_objects(&archive).await;
    let entries: Vec<_> = (0..100)
        .map(|n| {
            (
                super::row(&n.to_string(), n, &[]),
                Bytes::from(vec![7; 10_000]),
            )
        })
        .collect();
    let (object, layout) = write(&entries).unwrap();
    archive
        .put("executions/00/one.segment", object)
        .await
        .unwrap();
    for layout in [None, Some(layout)] {
        let segment = Segment::open(&archive, "executions/00/one.segment", layout).await;
        let segment = segment.unwrap();
        assert_eq!(segment.len(), 100);
        assert_eq!(segment.content(&archive, 99).await.unwrap(), entries[99].1);
    }
    let other = server.archive("").list("team").await.unwrap();
    assert_eq!(
        other.last().unwrap(),
        "team/gennaker/executions/00/one.segment"
    );
}

#[tokio::test]
async fn a_bucket_that_cannot_be_reached_is_named_without_its_secret() {
    let settings = S3Settings {
        bucket: "archive".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        prefix: String::new(),
        key: Some(("key".to_owned(), "hush-hush".to_owned())),
    };
    let error = S3::new(&settings)
        .unwrap()
        .size("a/one")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("127.0.0.1:1/archive") && !error.contains("hush"),
        "{error}"
    );
    assert!(!format!("{settings:?}").contains("hush"));
    let refused = S3::refused(&settings, "its secret cannot be read".to_owned());
    let error = refused.size("a/one").await.unwrap_err().to_string();
    assert!(error.contains("its secret cannot be read"), "{error}");
    let nameless = S3Settings::default();
    assert!(
        S3::new(&nameless)
            .unwrap_err()
            .to_string()
            .contains("no bucket")
    );
}
