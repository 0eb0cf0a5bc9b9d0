//! What Redis does to us: forgotten scripts, lost connections and answers, kill -9,
//! lost commits, a full memory.

use std::sync::Arc;
use std::time::Duration;

use store::redis::{Redis, RedisSettings};
use store::{
    Address, Batch, Consumer, ConsumerSettings, DocumentKey, Mode, Order, Outgoing, Refused,
    Reserve, Shards, Shared, Then, contract,
};

use crate::redis::open;
use crate::server::{Server, installed};
use crate::writers::{Writers, applied_once, key, notices, pause, slow, write};

const ALWAYS: [&str; 2] = ["--appendfsync", "always"];
const EVERY_SECOND: [&str; 2] = ["--appendfsync", "everysec"];

/// Leaves so many bytes of the log of a server that does not run.
fn cut(server: &Server, left: impl Fn(u64) -> u64) {
    let mut file = std::fs::OpenOptions::new();
    let file = file.write(true).open(server.append_file()).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(left(length)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_the_server_forgot_is_sent_again() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EVERY_SECOND).await;
    let store = open(&server, "gn", 16).await;
    let mut flushes = 0;
    let suite = contract::all(&store, "forgetful");
    tokio::pin!(suite);
    loop {
        tokio::select! {
            () = &mut suite => break,
            _ = server.command(&["SCRIPT", "FLUSH"]) => flushes += 1,
        }
    }
    assert!(flushes > 10, "{flushes} flushes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_neither_loses_a_commit_nor_applies_it_twice() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EVERY_SECOND).await;
    let store = open(&server, "gn", 16).await;
    let writers = Writers::start(&store, 8);
    for _ in 0..40 {
        writers.advance(25).await;
        let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
        server.command(&kill).await;
    }
    for (number, version) in writers.finish().await.into_iter().enumerate() {
        applied_once(&store, number, version).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_too_late_is_asked_for_again() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EVERY_SECOND).await;
    let mut settings = RedisSettings::new(server.url());
    settings.timeout = Duration::from_millis(100);
    let store: Shared = Arc::new(Redis::open(settings, Shards::default()).await.unwrap());
    let shard = store.shards().numbered(0);
    let document = key(0);
    store
        .commit(write(shard, &document, 0))
        .await
        .unwrap()
        .unwrap();
    let sleep = server.command(&["DEBUG", "SLEEP", "0.5"]);
    let commit = async {
        // The server sleeps by now or will before it answers; either way once.
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.commit(write(shard, &document, 1)).await
    };
    let (_, committed) = tokio::join!(sleep, commit);
    let committed = committed.unwrap().unwrap();
    assert!(
        committed.duplicate,
        "the first try was applied after its time limit"
    );
    assert_eq!(committed.versions, [2]);
    applied_once(&store, 0, 2).await;

    // The same for leases: what was given out to nobody is not lost until it ends.
    let message = Outgoing {
        to: Address::new("work", "s", "g"),
        fingerprint: "m".to_owned(),
        mode: Mode::Push,
        delay_ms: 0,
        body: "b".into(),
    };
    let push = Batch::new(shard, "push").message(message);
    store.commit(push).await.unwrap().unwrap();
    let what = Reserve {
        queue: "work",
        most: 9,
        lease_ms: 3_600_000,
        max_tries: 9,
    };
    let sleep = server.command(&["DEBUG", "SLEEP", "0.5"]);
    let reserve = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.reserve(shard, what).await
    };
    let (_, reserved) = tokio::join!(sleep, reserve);
    let reserved = reserved.unwrap().deliveries;
    assert_eq!(reserved.len(), 1);
    assert_eq!(reserved[0].tries, 1, "it was delivered once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_always_what_was_acknowledged_survives_kill_9_of_redis() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &ALWAYS).await;
    let store = open(&server, "gn", 16).await;
    let writers = Writers::start(&store, 8);
    for _ in 0..4 {
        writers.advance(100).await;
        let before = writers.counts();
        server.restart().await;
        for (number, acknowledged) in before.into_iter().enumerate() {
            let shard = store.shards().numbered(u16::try_from(number).unwrap());
            let found = store.load(shard, &key(number)).await.unwrap();
            assert!(found.map_or(0, |document| document.version) >= acknowledged);
        }
    }
    for (number, version) in writers.finish().await.into_iter().enumerate() {
        applied_once(&store, number, version).await;
    }
    assert_eq!(store.epoch().borrow().rollbacks, 0);
    assert!(store.info().await.unwrap().durability.contains("always"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_everysec_what_is_lost_is_the_last_and_it_is_noticed() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &EVERY_SECOND).await;
    let store = open(&server, "gn", 16).await;
    let mut epoch = store.epoch();
    let shard = store.shards().numbered(0);
    let document = key(0);
    let push = Outgoing {
        to: Address::new("work", "s", "g"),
        fingerprint: "m".to_owned(),
        mode: Mode::Push,
        delay_ms: 0,
        body: "b".into(),
    };
    for version in 0..200 {
        let batch = write(shard, &document, version).message(push.clone());
        store.commit(batch).await.unwrap().unwrap();
    }
    let what = Reserve {
        queue: "work",
        most: 1,
        lease_ms: 60_000,
        max_tries: 9,
    };
    let lost = store
        .reserve(shard, what)
        .await
        .unwrap()
        .deliveries
        .remove(0);
    let position = store.feed(shard, 0, 0).await.unwrap().last;

    // Kill -9 while the last writes are still on their way to the disk: which of
    // them arrive is up to the disk, so the file is cut in the middle of a commit.
    server.kill();
    cut(&server, |length| length * 3 / 5 + 7);
    server.restart().await;

    tokio::time::timeout(Duration::from_secs(20), epoch.changed())
        .await
        .expect("the loss is noticed without anybody asking")
        .unwrap();
    let (at, now) = (
        store.lost_at(shard).await.unwrap(),
        store.now_ms().await.unwrap(),
    );
    assert!(
        at.is_some_and(|at| (now - 60_000..=now).contains(&at)),
        "{at:?}"
    );
    let kept = store.load(shard, &document).await.unwrap().unwrap().version;
    assert!((20..200).contains(&kept), "{kept} of 200 are left");
    applied_once(&store, 0, kept).await;
    let refused = store.commit(write(shard, &document, 200)).await.unwrap();
    assert_eq!(
        refused,
        Err(Refused::Conflict {
            key: document.clone(),
            actual: kept
        })
    );
    assert!(
        store.feed(shard, position, 500).await.unwrap().reset,
        "readers of the feed start anew"
    );
    // The lease that was lost is worthless, and its token is not given out again.
    let late = Batch::new(shard, "late").acknowledge(&lost, Then::Release);
    assert!(matches!(
        store.commit(late).await.unwrap(),
        Err(Refused::Fenced(_))
    ));
    let again = store
        .reserve(shard, what)
        .await
        .unwrap()
        .deliveries
        .remove(0);
    assert!(again.lease.token > lost.lease.token);
    let rollbacks = store.epoch().borrow().rollbacks;
    let next = write(shard, &document, kept).acknowledge(&again, Then::Release);
    store.commit(next).await.unwrap().unwrap();
    assert_eq!(store.epoch().borrow().rollbacks, rollbacks, "told once");
}

/// Who did not see what is lost takes it again as soon as the server is back. Those who saw it look first, or nobody would
/// ever know: it is where it was.
#[test]
fn a_lost_step_is_taken_again_only_after_those_who_saw_it_have_looked() {
    if !installed() {
        return;
    }
    let slow = slow();
    let others = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut server = others.block_on(Server::start(folder.path(), &EVERY_SECOND));
    let there = others.block_on(open(&server, "gn", 16));
    let here = slow.block_on(open(&server, "gn", 16));
    let before = here.epoch().borrow().rollbacks;
    let (shard, document) = (here.shards().numbered(0), key(0));
    for version in 0..3 {
        let committed = slow.block_on(here.commit(write(shard, &document, version)));
        committed.unwrap().unwrap();
    }

    server.kill();
    cut(&server, |length| length - 7);
    others.block_on(server.restart());
    // The server may have had more of them in its memory than the one that was cut.
    let again = others.spawn(async move {
        let left = there.load(shard, &key(0)).await.unwrap();
        let left = left.map_or(0, |document| document.version);
        for version in left..3 {
            let committed = there.commit(write(shard, &key(0), version)).await;
            committed.unwrap().unwrap();
        }
        left
    });
    others.block_on(pause(150));
    let early = again.is_finished();
    assert!(
        notices(&slow, &here, before),
        "lost and unknown; taken again early: {early}"
    );
    let left = others.block_on(again).unwrap();
    assert!(left < 3, "{left}");
    slow.block_on(applied_once(&here, 0, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_new_work_and_lets_running_work_end() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EVERY_SECOND).await;
    let store = open(&server, "gn", 16).await;
    let shard = store.shards().numbered(3);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let begin = write(shard, &key(0), 0).new_work();
    let refused = store.commit(begin.clone()).await.unwrap().unwrap_err();
    assert!(matches!(refused, Refused::Full(_)), "{refused}");
    store
        .commit(write(shard, &key(1), 0))
        .await
        .unwrap()
        .unwrap();
    let owner = key(1);
    let blob = store.put_blob(shard, &owner, "large".into()).await.unwrap();
    let found = store.get_blob(shard, &owner, &blob).await.unwrap();
    assert!(found.is_some());
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    store.commit(begin).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_evicts_or_holds_another_store_is_refused() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EVERY_SECOND).await;
    drop(open(&server, "gn", 16).await);
    let again = async |shards| {
        Redis::open(RedisSettings::new(server.url()), Shards::new(shards))
            .await
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let error = again(1).await;
    assert!(error.contains("made with shards 16, not 1"), "{error}");
    let policy = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];
    server.command(&policy).await;
    let error = again(16).await;
    assert!(error.contains("set it to noeviction"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_costs_one_command_and_a_push_wakes_another_process() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EVERY_SECOND).await;
    let (here, there) = (open(&server, "gn", 16).await, open(&server, "gn", 16).await);
    let shard = here.shards().numbered(5);
    let settings = ConsumerSettings {
        queue: store::MAILBOX.to_owned(),
        lease_ms: 60_000,
        max_tries: 3,
    };
    let mut consumer = Consumer::new(there.clone(), settings);
    let push = |fingerprint: &str| Outgoing {
        to: Address::new(store::MAILBOX, "x", "shop"),
        fingerprint: fingerprint.to_owned(),
        mode: Mode::Push,
        delay_ms: 0,
        body: "b".into(),
    };
    let first = Batch::new(shard, "start").message(push("0"));
    let (_, delivered) = tokio::join!(here.commit(first), async {
        tokio::time::timeout(Duration::from_secs(10), consumer.next(1)).await
    });
    let mut delivery = delivered.unwrap().unwrap().remove(0);

    // What both processes ask for when they start is over, and the consumer sleeps.
    let waiting = tokio::spawn(async move { consumer.next(1).await.map(|_| ()) });
    quiet(&server).await;
    let before = calls(&server).await;
    let document = key(5);
    for version in 0..50 {
        let batch = write(shard, &document, version)
            .message(push(&version.to_string()))
            .acknowledge(&delivery, Then::Continue(60_000));
        let mut committed = there.commit(batch).await.unwrap().unwrap();
        delivery = committed.next.remove(0);
    }
    assert_eq!(calls(&server).await - before, 50);
    waiting.abort();
    let empty = there.page(shard, "none", None, Order::Ascending, 9).await;
    assert!(empty.unwrap().is_empty());
}

/// A stage of one task: its document and log, the end of its run, the next run leased, four events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_executes_few_commands_in_the_server() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EVERY_SECOND).await;
    let store = open(&server, "gn", 16).await;
    let shard = store.shards().numbered(5);
    let (document, log) = (key(5), DocumentKey::new("log", "5"));
    let stage = |number: u64| {
        let run = Outgoing {
            to: Address::new("tasks", &format!("run-{number}"), "shop"),
            fingerprint: "run".to_owned(),
            mode: Mode::Leased(60_000),
            delay_ms: 0,
            body: "b".into(),
        };
        let batch = write(shard, &document, number)
            .document(&log, number)
            .set(&number.to_string(), "entry")
            .message(run);
        (0..3).fold(batch, |batch, _| batch.event(&document, "e"))
    };
    let mut committed = store.commit(stage(0)).await.unwrap().unwrap();
    quiet(&server).await;
    let before = executed(&server).await;
    for number in 1..=50 {
        let ended = committed.leased.remove(0);
        let batch = stage(number).acknowledge(&ended, Then::Release);
        committed = store.commit(batch).await.unwrap().unwrap();
    }
    let each = (executed(&server).await - before) as f64 / 50.0;
    println!("{each} commands a stage");
    assert!(each <= 24.5, "{each} commands a stage");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_did_not_know_a_server_before_it_began_leaves_it_to_those_who_did() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &EVERY_SECOND).await;
    let uptime = async |server: &Server| -> u64 {
        let told = server.command(&["INFO", "server"]).await;
        let told: String = ::redis::from_redis_value(told).unwrap();
        let line = told
            .lines()
            .find_map(|line| line.strip_prefix("uptime_in_seconds:"));
        line.unwrap().trim().parse().unwrap()
    };
    let store = open(&server, "gn", 16).await;
    let shard = store.shards().numbered(0);
    store
        .commit(write(shard, &key(0), 0))
        .await
        .unwrap()
        .unwrap();
    server.restart().await;
    open(&server, "gn", 16).await;
    assert!(uptime(&server).await >= 3, "it came before the others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeping_consumer_hears_again_after_a_restart() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &ALWAYS).await;
    let store = open(&server, "gn", 16).await;
    let settings = ConsumerSettings {
        queue: "work".to_owned(),
        lease_ms: 60_000,
        max_tries: 3,
    };
    let mut consumer = Consumer::new(store.clone(), settings);
    let sleeping = tokio::spawn(async move { consumer.next(1).await });
    quiet(&server).await;
    server.restart().await;
    let message = Outgoing {
        to: Address::new("work", "s", "g"),
        fingerprint: "m".to_owned(),
        mode: Mode::Push,
        delay_ms: 0,
        body: "b".into(),
    };
    let shard = store.shards().numbered(9);
    let batch = Batch::new(shard, "push").message(message);
    store.commit(batch).await.unwrap().unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(10), sleeping).await;
    assert_eq!(heard.unwrap().unwrap().unwrap().len(), 1);
}

/// Waits until no client has called a script for a while.
async fn quiet(server: &Server) {
    let (mut last, mut still) = (calls(server).await, 0);
    while still < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = calls(server).await;
        still = if now == last { still + 1 } else { 0 };
        last = now;
    }
}

/// Scripts that clients have called since the server started.
async fn calls(server: &Server) -> u64 {
    commands(server, |name| name == "evalsha").await
}

/// Commands that were executed since the server started, by clients and scripts, but not those of the tests.
async fn executed(server: &Server) -> u64 {
    commands(server, |name| !matches!(name, "evalsha" | "info")).await
}

async fn commands(server: &Server, counts: impl Fn(&str) -> bool) -> u64 {
    let told = server.command(&["INFO", "commandstats"]).await;
    let told: String = ::redis::from_redis_value(told).unwrap();
    told.lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="))
        .filter(|(name, _)| counts(name))
        .filter_map(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok())
        .sum()
}
