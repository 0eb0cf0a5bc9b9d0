//! Large values of documents.

use bytes::Bytes;

use super::Suite;
use crate::{Batch, DocumentKey, Refused};

impl Suite<'_> {
    pub(super) async fn blobs(&self) {
        self.a_large_value_is_found_by_content_at_its_document()
            .await;
        self.large_values_go_with_their_document().await;
        self.a_commit_that_keeps_what_is_not_there_is_refused()
            .await;
    }

    async fn put(&self, owner: &DocumentKey, content: &Bytes) -> String {
        let put = self
            .store
            .put_blob(self.shard("a"), owner, content.clone())
            .await;
        put.unwrap()
    }

    async fn found(&self, owner: &DocumentKey, hash: &str) -> Option<Bytes> {
        let found = self.store.get_blob(self.shard("a"), owner, hash).await;
        found.unwrap()
    }

    async fn a_large_value_is_found_by_content_at_its_document(&self) {
        let (one, other) = (self.key("blob-1"), self.key("blob-2"));
        let content = Bytes::from(vec![7; 100_000]);
        let hash = self.put(&one, &content).await;
        assert_eq!(hash, self.put(&one, &content).await);
        assert_eq!(self.found(&one, &hash).await, Some(content));
        assert_eq!(self.found(&other, &hash).await, None);
        assert_eq!(self.found(&one, "sha256:0").await, None);
    }

    async fn large_values_go_with_their_document(&self) {
        let (shard, key, beside) = (
            self.shard("a"),
            self.key("blob-owner"),
            self.key("blob-owner-2"),
        );
        let (first, second) = (Bytes::from("first"), Bytes::from("second"));
        let mut hashes = Vec::new();
        for (version, content) in (0..).zip([&first, &second]) {
            let hash = self.put(&key, content).await;
            let batch = Batch::new(shard, self.name(&format!("bo{version}")))
                .document(&key, version)
                .set("h", hash.clone())
                .blob(&hash);
            self.apply(batch).await;
            hashes.push(hash);
        }
        self.put(&beside, &first).await;
        // What an earlier version kept is there until the document goes.
        assert_eq!(self.found(&key, &hashes[0]).await, Some(first.clone()));
        assert_eq!(self.found(&key, &hashes[1]).await, Some(second));
        let end = Batch::new(shard, self.name("bo-end"))
            .document(&key, 2)
            .delete();
        self.apply(end).await;
        for hash in &hashes {
            assert_eq!(self.found(&key, hash).await, None);
        }
        assert_eq!(self.found(&beside, &hashes[0]).await, Some(first));
    }

    async fn a_commit_that_keeps_what_is_not_there_is_refused(&self) {
        let (shard, key) = (self.shard("a"), self.key("blob-missing"));
        let there = self.put(&key, &Bytes::from("there")).await;
        let batch = |id: &str, hash: &str| {
            Batch::new(shard, self.name(id))
                .document(&key, 0)
                .set("h", "1")
                .blob(&there)
                .blob(hash)
        };
        let refused = self.commit(batch("bm1", "sha256:0")).await.unwrap_err();
        let (missing, hash) = (key.clone(), "sha256:0".to_owned());
        assert_eq!(refused, Refused::Missing { key: missing, hash });
        assert_eq!(self.version(shard, &key).await, 0);
        self.apply(batch("bm2", &there)).await;
    }
}
