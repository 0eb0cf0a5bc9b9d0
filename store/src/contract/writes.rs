//! Documents, indexes, guards, events, leases by name.

use super::Suite;
use crate::{Batch, Guard, IndexChange, IndexEntry, MAX_PART, Order, Refused};

impl Suite<'_> {
    pub(super) async fn writes(&self) {
        self.a_document_is_written_only_over_the_version_that_was_read()
            .await;
        self.a_document_that_is_put_back_has_the_version_it_had()
            .await;
        self.a_refused_batch_writes_nothing().await;
        self.a_repeat_under_the_same_id_is_a_duplicate().await;
        self.a_duplicate_gives_no_lease_that_was_taken_over().await;
        self.unique_keys_belong_to_the_first().await;
        self.guards_refuse().await;
        self.indexes_page_by_position().await;
        self.feeds_resume().await;
        self.named_leases_have_growing_tokens().await;
        self.what_is_too_large_is_refused_by_name().await;
    }

    async fn a_document_is_written_only_over_the_version_that_was_read(&self) {
        let (shard, key) = (self.shard("a"), self.key("versions"));
        let first = Batch::new(shard, self.name("v1"))
            .document(&key, 0)
            .set("h", "1")
            .set("s", "x");
        assert_eq!(self.apply(first).await.versions, [1]);
        let again = Batch::new(shard, self.name("v1b"))
            .document(&key, 0)
            .set("h", "2");
        let refused = self.commit(again).await.unwrap_err();
        assert_eq!(
            refused,
            Refused::Conflict {
                key: key.clone(),
                actual: 1
            }
        );
        let second = Batch::new(shard, self.name("v2"))
            .document(&key, 1)
            .set("h", "2")
            .unset("s");
        assert_eq!(self.apply(second).await.versions, [2]);
        let document = self.store.load(shard, &key).await.unwrap().unwrap();
        assert_eq!(
            (document.version, document.text("h"), document.parts.len()),
            (2, Some("2"), 1)
        );
        let parts = self
            .store
            .load_part(shard, &[key.clone(), self.key("none")], "h")
            .await
            .unwrap();
        assert_eq!(parts, [Some((2, "2".into())), None]);
        self.apply(
            Batch::new(shard, self.name("v3"))
                .document(&key, 2)
                .delete(),
        )
        .await;
        assert_eq!(self.version(shard, &key).await, 0);
    }

    async fn a_document_that_is_put_back_has_the_version_it_had(&self) {
        let (shard, key) = (self.shard("a"), self.key("put-back"));
        let back = Batch::new(shard, self.name("b1"))
            .document(&key, 0)
            .put_back(17)
            .set("h", "1");
        assert_eq!(self.apply(back.clone()).await.versions, [17]);
        let repeated = self.apply(back).await;
        assert_eq!((repeated.duplicate, repeated.versions), (true, vec![17]));
        let next = Batch::new(shard, self.name("b2"))
            .document(&key, 17)
            .set("h", "2");
        assert_eq!(self.apply(next).await.versions, [18]);
        // A version never goes down.
        let low = Batch::new(shard, self.name("b3"))
            .document(&key, 18)
            .put_back(3);
        assert_eq!(self.apply(low).await.versions, [19]);
    }

    async fn a_refused_batch_writes_nothing(&self) {
        let (shard, one, two) = (self.shard("a"), self.key("whole-1"), self.key("whole-2"));
        let to = self.address("whole", "s", "g");
        let batch = Batch::new(shard, self.name("w"))
            .document(&one, 0)
            .set("h", "1")
            .document(&two, 7)
            .set("h", "1")
            .index(IndexChange::Put {
                index: self.name("w"),
                member: "m".into(),
                score: 1,
            })
            .message(super::push(to, "m", "b"))
            .event(&one, "e");
        assert!(self.commit(batch).await.is_err());
        assert_eq!(self.version(shard, &one).await, 0);
        assert_eq!(
            self.store
                .cardinality(shard, &self.name("w"))
                .await
                .unwrap(),
            0
        );
        assert!(self.reserve(shard, "whole", 1, 1000).await.is_empty());
        assert!(self.events(shard, &one).await.is_empty());
    }

    async fn a_repeat_under_the_same_id_is_a_duplicate(&self) {
        let (shard, key) = (self.shard("a"), self.key("twice"));
        let to = self.address("twice", "s", "g");
        let mut leased = super::push(to, "m", "b");
        leased.mode = crate::Mode::Leased(60_000);
        let batch = Batch::new(shard, self.name("t"))
            .document(&key, 0)
            .set("h", "1")
            .message(leased)
            .event(&key, "e");
        let first = self.apply(batch.clone()).await;
        let second = self.apply(batch).await;
        assert!(!first.duplicate && second.duplicate);
        assert_eq!(first.leased, second.leased);
        assert_eq!(self.version(shard, &key).await, 1);
        assert_eq!(self.events(shard, &key).await.len(), 1);
    }

    async fn a_duplicate_gives_no_lease_that_was_taken_over(&self) {
        let (shard, key) = (self.shard("a"), self.key("overtaken"));
        let mut leased = super::push(self.address("overtaken", "s", "g"), "m", "b");
        leased.mode = crate::Mode::Leased(0);
        let batch = Batch::new(shard, self.name("o1"))
            .document(&key, 0)
            .set("h", "1")
            .message(leased);
        let first = self.apply(batch.clone()).await.leased.remove(0);
        let taken = self.reserve(shard, "overtaken", 1, 60_000).await.remove(0);
        assert!(taken.lease.token > first.lease.token);
        let again = self.apply(batch).await;
        assert!(again.duplicate);
        assert_eq!(again.leased, [], "it belongs to somebody else");
    }

    async fn unique_keys_belong_to_the_first(&self) {
        let shard = self.shard("a");
        let claim = |id: &str, value: &str| {
            Batch::new(shard, self.name(id)).index(IndexChange::Claim {
                key: self.name("event"),
                value: value.into(),
            })
        };
        self.apply(claim("u1", "x1")).await;
        self.apply(claim("u2", "x1")).await;
        let refused = self.commit(claim("u3", "x2")).await.unwrap_err();
        assert_eq!(
            refused,
            Refused::Taken {
                key: self.name("event"),
                value: "x1".into()
            }
        );
        let found = self.store.unique(shard, &self.name("event")).await.unwrap();
        assert_eq!(found.as_deref(), Some("x1"));
        let free = IndexChange::Free {
            key: self.name("event"),
        };
        self.apply(Batch::new(shard, self.name("u4")).index(free))
            .await;
        self.apply(claim("u5", "x2")).await;
    }

    async fn guards_refuse(&self) {
        let (shard, key) = (self.shard("a"), self.key("guarded"));
        let index = self.name("running");
        let start = |id: &str| {
            Batch::new(shard, self.name(id))
                .guard(Guard::FewerThan {
                    index: index.clone(),
                    limit: 1,
                })
                .index(IndexChange::Put {
                    index: index.clone(),
                    member: id.into(),
                    score: 1,
                })
        };
        self.apply(start("g1")).await;
        assert!(matches!(
            self.commit(start("g2")).await,
            Err(Refused::Guard(_))
        ));
        let gone = IndexChange::Drop {
            index: index.clone(),
            member: "g1".into(),
        };
        self.apply(Batch::new(shard, self.name("g3")).index(gone))
            .await;
        self.apply(start("g4")).await;
        let other = Guard::Version {
            key: key.clone(),
            expected: 3,
        };
        let refused = self
            .commit(Batch::new(shard, self.name("g5")).guard(other))
            .await;
        assert!(matches!(refused, Err(Refused::Guard(_))));
    }

    async fn indexes_page_by_position(&self) {
        let (shard, index) = (self.shard("a"), self.name("pages"));
        for (member, score) in [("b", 5), ("a", 5), ("c", 7), ("d", 2), ("c", 1)] {
            let put = IndexChange::Put {
                index: index.clone(),
                member: member.into(),
                score,
            };
            self.apply(Batch::new(shard, self.name(&format!("p{member}{score}"))).index(put))
                .await;
        }
        assert_eq!(self.store.cardinality(shard, &index).await.unwrap(), 4);
        let mut order = Vec::new();
        let mut after: Option<IndexEntry> = None;
        loop {
            let page = self
                .store
                .page(shard, &index, after.as_ref(), Order::Descending, 3)
                .await
                .unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            order.extend(page.into_iter().map(|e| e.member));
        }
        assert_eq!(order, ["b", "a", "d", "c"]);
        let up = self
            .store
            .page(shard, &index, None, Order::Ascending, 2)
            .await
            .unwrap();
        assert_eq!(
            up[0],
            IndexEntry {
                score: 1,
                member: "c".into()
            }
        );
        let rest = self
            .store
            .page(shard, &index, Some(&up[1]), Order::Ascending, 9)
            .await
            .unwrap();
        assert_eq!(
            rest.iter().map(|e| e.member.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    async fn feeds_resume(&self) {
        let (shard, key) = (self.shard("feed"), self.key("logged"));
        let start = self.store.feed(shard, 0, 1).await.unwrap().last;
        for n in 0..3u64 {
            let batch = Batch::new(shard, self.name(&format!("l{n}")))
                .document(&key, n)
                .event(&key, format!("{n}a"))
                .event(&key, format!("{n}b"));
            self.apply(batch).await;
        }
        let page = self.store.feed(shard, start, 500).await.unwrap();
        let ours: Vec<_> = page.entries.iter().filter(|e| e.document == key).collect();
        assert!(!page.reset);
        assert_eq!(ours.len(), 6);
        let seen: Vec<_> = ours.iter().map(|e| (e.version, &e.body[..])).collect();
        let all = [
            (1, &b"0a"[..]),
            (1, b"0b"),
            (2, b"1a"),
            (2, b"1b"),
            (3, b"2a"),
            (3, b"2b"),
        ];
        assert_eq!(seen, all);
        let rest = self.store.feed(shard, ours[4].position, 500).await.unwrap();
        assert_eq!(rest.entries.len(), 1);
        assert!(
            self.store
                .feed(shard, page.last + 1000, 1)
                .await
                .unwrap()
                .reset
        );
    }

    async fn named_leases_have_growing_tokens(&self) {
        let (shard, name) = (self.shard("a"), self.name("writer"));
        let take = |holder: &'static str, ms| self.store.take(shard, &name, holder, ms);
        let first = take("one", 60_000).await.unwrap().unwrap();
        assert_eq!(
            take("one", 60_000).await.unwrap().unwrap().token,
            first.token
        );
        assert!(take("two", 60_000).await.unwrap().is_none());
        let holds = Guard::Holds {
            name: name.clone(),
            token: first.token,
        };
        self.apply(Batch::new(shard, self.name("n1")).guard(holds.clone()))
            .await;
        take("one", 0).await.unwrap().unwrap();
        let second = loop {
            if let Some(taken) = take("two", 60_000).await.unwrap() {
                break taken;
            }
        };
        assert!(second.token > first.token);
        let late = self
            .commit(Batch::new(shard, self.name("n2")).guard(holds))
            .await;
        assert!(matches!(late, Err(Refused::Guard(_))));
    }

    async fn what_is_too_large_is_refused_by_name(&self) {
        let (shard, key) = (self.shard("a"), self.key("large"));
        let batch = Batch::new(shard, self.name("large"))
            .document(&key, 0)
            .set("s:1", vec![b'x'; MAX_PART + 1]);
        let error = self.store.commit(batch).await.unwrap_err().to_string();
        assert!(
            error.contains("part s:1") && error.contains(&MAX_PART.to_string()),
            "{error}"
        );
        let mut batch = Batch::new(shard, self.name("many")).document(&key, 0);
        for n in 0..501 {
            batch = batch.event(&key, format!("{n}"));
        }
        let error = self.store.commit(batch).await.unwrap_err().to_string();
        assert!(error.starts_with("events of the batch has 501"), "{error}");
    }
}
