//! Mailboxes: order, delay, de-duplication, leases, fencing, fairness, dead
//! letters, the outbox.

use super::{Suite, prints, push};
use crate::{Batch, Crossing, Delivery, Mode, Outgoing, Refused, Then, outbox};

impl Suite<'_> {
    pub(super) async fn queues(&self) {
        self.a_mailbox_is_delivered_in_order_and_once().await;
        self.delayed_messages_wake_their_consumer().await;
        self.fingerprints_and_modes().await;
        self.continuing_a_lease_hands_over_what_came_in().await;
        self.takeover_fences_expiry_does_not().await;
        self.a_message_pushed_again_while_it_is_handled_stays()
            .await;
        self.applications_are_served_in_turn().await;
        self.dead_letters_leave_a_notice().await;
        self.releasing_does_not_count_as_a_try().await;
        self.the_outbox_reaches_other_shards_once().await;
        self.what_crosses_to_its_own_shard_is_there_with_the_commit()
            .await;
        self.many_messages_come_in_portions().await;
    }

    async fn push_all(&self, shard: crate::Shard, id: &str, messages: Vec<Outgoing>) {
        let batch = messages
            .into_iter()
            .fold(Batch::new(shard, self.name(id)), Batch::message);
        self.apply(batch).await;
    }

    async fn done(&self, delivery: &Delivery, id: &str, then: Then) -> Vec<Delivery> {
        let batch = Batch::new(delivery.lease.shard, self.name(id)).acknowledge(delivery, then);
        self.apply(batch).await.next
    }

    async fn a_mailbox_is_delivered_in_order_and_once(&self) {
        let shard = self.shard("q");
        let to = self.address("order", "s", "g");
        let messages = ["b", "a", "c"]
            .map(|print| push(to.clone(), print, print))
            .to_vec();
        self.push_all(shard, "o", messages).await;
        let got = self.reserve(shard, "order", 9, 60_000).await;
        assert_eq!(got.len(), 1);
        assert_eq!(prints(&got[0]), ["b", "a", "c"]);
        assert!(
            self.reserve(shard, "order", 9, 60_000).await.is_empty(),
            "leased as a whole"
        );
        assert!(self.done(&got[0], "o1", Then::Release).await.is_empty());
        assert!(
            self.reserve(shard, "order", 9, 60_000).await.is_empty(),
            "handled"
        );
    }

    async fn delayed_messages_wake_their_consumer(&self) {
        let shard = self.shard("q");
        let to = self.address("delay", "s", "g");
        let mut consumer = self.consumer("delay", 60_000, 3);
        let mut late = push(to.clone(), "late", "");
        late.delay_ms = 80;
        let before = self.store.now_ms().await.unwrap();
        let (_, got) = tokio::join!(
            self.push_all(shard, "d", vec![late]),
            self.next(&mut consumer)
        );
        let waited = self.store.now_ms().await.unwrap() - before;
        assert!(waited >= 80, "not before it is due, but after {waited} ms");
        assert_eq!(prints(&got), ["late"]);
        self.done(&got, "d1", Then::Release).await;
        let (_, got) = tokio::join!(
            self.push_all(shard, "d2", vec![push(to, "now", "")]),
            self.next(&mut consumer)
        );
        assert_eq!(prints(&got), ["now"]);
    }

    async fn fingerprints_and_modes(&self) {
        let shard = self.shard("q");
        let to = self.address("modes", "s", "g");
        let with = |print: &str, body: &str, mode, delay_ms| Outgoing {
            mode,
            delay_ms,
            ..push(to.clone(), print, body)
        };
        let hour = 3_600_000;
        let messages = vec![
            with("pushed", "old", Mode::Push, hour),
            with("pushed", "new", Mode::Push, 0),
            with("ensured", "old", Mode::Ensure, 0),
            with("ensured", "new", Mode::Ensure, hour),
            with("moved", "old", Mode::Push, hour),
            with("moved", "new", Mode::Reschedule, 0),
            with("absent", "new", Mode::Reschedule, 0),
            with("removed", "old", Mode::Push, 0),
            with("removed", "", Mode::Remove, 0),
        ];
        self.push_all(shard, "m", messages).await;
        let got = self.reserve(shard, "modes", 1, 60_000).await.remove(0);
        let mut seen: Vec<_> = got
            .messages
            .iter()
            .map(|m| (m.fingerprint.as_str(), &m.body[..]))
            .collect();
        seen.sort_unstable();
        let expected = [
            ("ensured", &b"old"[..]),
            ("moved", &b"old"[..]),
            ("pushed", &b"new"[..]),
        ];
        assert_eq!(seen, expected);
        let busy = self.name("m2");
        let leased = with("x", "", Mode::Leased(1000), 0);
        let refused = self.commit(Batch::new(shard, busy).message(leased)).await;
        assert!(matches!(refused, Err(Refused::Busy(_))));
    }

    async fn continuing_a_lease_hands_over_what_came_in(&self) {
        let shard = self.shard("q");
        let to = self.address("continue", "s", "g");
        self.push_all(shard, "c", vec![push(to.clone(), "1", "")])
            .await;
        let first = self.reserve(shard, "continue", 1, 60_000).await.remove(0);
        self.push_all(shard, "c1", vec![push(to.clone(), "2", "")])
            .await;
        let next = self.done(&first, "c2", Then::Continue(60_000)).await;
        assert_eq!(prints(&next[0]), ["2"]);
        assert_eq!(next[0].lease, first.lease);
        assert!(
            self.done(&next[0], "c3", Then::Continue(60_000))
                .await
                .is_empty()
        );
        self.push_all(shard, "c4", vec![push(to, "3", "")]).await;
        assert_eq!(
            self.reserve(shard, "continue", 1, 60_000).await.len(),
            1,
            "the lease ended"
        );
    }

    async fn takeover_fences_expiry_does_not(&self) {
        let shard = self.shard("q");
        let (to, key) = (self.address("fence", "s", "g"), self.key("fenced"));
        self.push_all(shard, "f", vec![push(to, "1", "")]).await;
        let mut consumer = self.consumer("fence", 1, 9);
        let slow = self.next(&mut consumer).await;
        // The lease has run out or will within a millisecond; nobody took it over yet.
        assert_eq!(
            self.store
                .extend(std::slice::from_ref(&slow.lease), 1)
                .await
                .unwrap(),
            [true]
        );
        let other = self.next(&mut consumer).await;
        assert!(other.lease.token > slow.lease.token);
        let late = Batch::new(shard, self.name("f1"))
            .acknowledge(&slow, Then::Release)
            .document(&key, 0)
            .set("h", "resurrected");
        assert!(matches!(self.commit(late).await, Err(Refused::Fenced(_))));
        assert_eq!(self.version(shard, &key).await, 0);
        let only = Batch::new(shard, self.name("f2")).acknowledge(&slow, Then::Release);
        assert!(matches!(self.commit(only).await, Err(Refused::Fenced(_))));
        assert_eq!(self.store.extend(&[slow.lease], 1).await.unwrap(), [false]);
        let ours = Batch::new(shard, self.name("f3"))
            .acknowledge(&other, Then::Release)
            .document(&key, 0)
            .set("h", "1");
        self.apply(ours).await;
    }

    async fn a_message_pushed_again_while_it_is_handled_stays(&self) {
        let shard = self.shard("q");
        let to = self.address("again", "s", "g");
        self.push_all(shard, "a", vec![push(to.clone(), "1", "old")])
            .await;
        let got = self.reserve(shard, "again", 1, 60_000).await.remove(0);
        self.push_all(shard, "a1", vec![push(to, "1", "new")]).await;
        self.done(&got, "a2", Then::Release).await;
        let again = self.reserve(shard, "again", 1, 60_000).await.remove(0);
        assert_eq!(&again.messages[0].body[..], b"new");
    }

    async fn applications_are_served_in_turn(&self) {
        let shard = self.shard("q");
        let flood = (0..40)
            .map(|n| push(self.address("fair", &format!("f{n}"), "flood"), "m", ""))
            .chain([push(self.address("fair", "quiet", "quiet"), "m", "")])
            .collect();
        self.push_all(shard, "fair", flood).await;
        let got = self.reserve(shard, "fair", 4, 60_000).await;
        assert_eq!(got.len(), 4);
        assert!(
            got.iter().any(|d| d.lease.address.subject == "quiet"),
            "the application with one subject waits for none of the other's forty"
        );
    }

    async fn dead_letters_leave_a_notice(&self) {
        let shard = self.shard("q");
        let to = self.address("dead", "s", "g");
        self.push_all(
            shard,
            "dl",
            vec![push(to.clone(), "bad", "x"), push(to, "good", "y")],
        )
        .await;
        let mut consumer = self.consumer("dead", 1, 3);
        for try_number in 1..=3 {
            let got = self.next(&mut consumer).await;
            assert_eq!((got.tries, prints(&got)), (try_number, vec!["bad", "good"]));
        }
        let got = self.next(&mut consumer).await;
        assert_eq!(prints(&got), ["good", "dead:bad"]);
        let notice = &got.messages[1];
        assert_eq!(
            (notice.gives_up(), &notice.body[..]),
            (Some("bad"), &b"x"[..])
        );
        let dead = self.store.dead(shard, &self.name("dead")).await.unwrap();
        assert_eq!(dead, [("s".to_owned(), "bad".to_owned())]);
    }

    async fn releasing_does_not_count_as_a_try(&self) {
        let shard = self.shard("q");
        let to = self.address("release", "s", "g");
        self.push_all(shard, "r", vec![push(to, "m", "")]).await;
        let mut consumer = self.consumer("release", 60_000, 3);
        for _ in 0..5 {
            let got = self.next(&mut consumer).await;
            assert_eq!(got.tries, 1);
            assert!(self.store.release(&got.lease, 5).await.unwrap());
        }
    }

    async fn the_outbox_reaches_other_shards_once(&self) {
        let (here, there) = (self.shard("q"), self.store.shards().numbered(7));
        if here == there {
            // A store of one shard has no others.
            return;
        }
        let to = self.address("target", "s", "g");
        let key = self.key("sender");
        let crossing = Crossing {
            shard: there,
            to: to.clone(),
            fingerprint: "effect".to_owned(),
            delay_ms: 0,
            body: "hello".into(),
        };
        let batch = Batch::new(here, self.name("x"))
            .document(&key, 0)
            .crossing(crossing);
        self.apply(batch.clone()).await;
        assert!(self.apply(batch).await.duplicate);
        let settings = crate::ConsumerSettings {
            queue: outbox::QUEUE.to_owned(),
            lease_ms: 60_000,
            max_tries: 99,
        };
        let mut consumer = crate::Consumer::new(self.store.clone(), settings);
        let out = self.next(&mut consumer).await;
        outbox::relay(self.store, &out).await.unwrap();
        // A second delivery of the same message, as after a crash.
        outbox::relay(self.store, &out).await.unwrap();
        let got = self.reserve(there, "target", 9, 60_000).await;
        assert_eq!(got.len(), 1);
        assert_eq!(&got[0].messages[0].body[..], b"hello");
    }

    async fn what_crosses_to_its_own_shard_is_there_with_the_commit(&self) {
        let here = self.shard("q");
        let to = self.address("own", "s", "g");
        for body in ["hello", "again"] {
            let crossing = Crossing {
                shard: here,
                to: to.clone(),
                fingerprint: "effect".to_owned(),
                delay_ms: 0,
                body: body.into(),
            };
            let batch = Batch::new(here, self.name(body));
            self.apply(batch.crossing(crossing)).await;
        }
        let got = self.reserve(here, "own", 9, 60_000).await;
        let bodies: Vec<_> = got[0].messages.iter().map(|m| &m.body[..]).collect();
        assert_eq!(bodies, [b"hello"]);
    }

    async fn many_messages_come_in_portions(&self) {
        let shard = self.shard("q");
        let to = self.address("many", "s", "g");
        let messages: Vec<_> = (0..150)
            .map(|n| push(to.clone(), &format!("{n:03}"), ""))
            .collect();
        self.push_all(shard, "many", messages).await;
        let mut got = self.reserve(shard, "many", 1, 60_000).await.remove(0);
        let mut seen = Vec::new();
        for step in 0.. {
            assert!(got.messages.len() <= crate::MOST_MESSAGES);
            seen.extend(got.messages.iter().map(|m| m.fingerprint.clone()));
            match self
                .done(&got, &format!("many{step}"), Then::Continue(60_000))
                .await
                .pop()
            {
                Some(next) => got = next,
                None => break,
            }
        }
        assert!(seen.is_sorted());
        assert_eq!(seen.len(), 150);
    }
}
