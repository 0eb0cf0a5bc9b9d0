//! What every archive promises about objects.

use bytes::Bytes;
use store::archive::{Folder, Objects};

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
