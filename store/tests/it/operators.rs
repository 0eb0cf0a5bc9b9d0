//! Redis as operators run it: encrypted, with a user of its own rights, watched by sentinels.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use store::redis::{Redis, RedisSettings};
use store::{Shards, Shared, contract};

use crate::server::{Server, Watched, installed};
use crate::writers::{Writers, applied_once, key, notices, pause, slow, write};

/// What a user of ours needs and no more; `README.md` names the same.
const RIGHTS: &str = "resetkeys ~gn:* resetchannels &gn:news -@all +@read +@write +@scripting +@connection \
                      +subscribe +unsubscribe +publish +time +wait -@dangerous +info +role";

async fn try_open(url: String) -> Result<Shared, String> {
    let opened = Redis::open(RedisSettings::new(url), Shards::default()).await;
    opened
        .map(|redis| Arc::new(redis) as Shared)
        .map_err(|error| error.to_string())
}

/// An authority and what it signed, as files: `ca`, `server`, `client`.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(
        folder.join("ca.pem"),
        params.self_signed(&key).unwrap().pem(),
    )
    .unwrap();
    let issuer = Issuer::new(params, key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let signed = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), signed.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_server_keeps_the_contract_for_a_user_with_only_the_rights_we_name() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let port = servers::port::free().to_string();
    let (ca, certificate, secret) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let more = [
        "--appendfsync",
        "everysec",
        "--tls-port",
        &port,
        "--tls-ca-cert-file",
        &ca,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &secret,
        "--tls-auth-clients",
        "yes",
    ];
    let server = Server::start(&folder.path().join("redis"), &more).await;
    let user = format!("ACL SETUSER gennaker reset on >s3cret {RIGHTS}");
    server
        .command(&user.split_whitespace().collect::<Vec<_>>())
        .await;
    std::fs::write(folder.path().join("password"), "s3cret\n").unwrap();
    let (certificate, secret) = (file("client.pem"), file("client.key"));
    let own = format!("ca={ca}&certificate={certificate}&key={secret}");
    let password = file("password");
    let url = format!("rediss://gennaker@127.0.0.1:{port}?{own}&password-file={password}");
    let store = try_open(url.clone()).await.unwrap();
    contract::all(&store, "encrypted").await;
    let info = store.info().await.unwrap();
    assert!(
        info.warnings
            .iter()
            .any(|warning| warning.contains("CONFIG is forbidden")),
        "{info:?}"
    );

    // Controls: what is missing is named, and no error shows the password.
    for (url, word) in [
        (
            format!("rediss://gennaker:wrong@127.0.0.1:{port}?{own}"),
            "Password authentication failed",
        ),
        (
            format!("rediss://gennaker:s3cret@127.0.0.1:{port}?ca={ca}"),
            "",
        ),
        (format!("rediss://gennaker:s3cret@127.0.0.1:{port}"), ""),
        (format!("redis://gennaker:s3cret@127.0.0.1:{port}"), ""),
    ] {
        let refused = try_open(url).await.unwrap_err();
        assert!(
            refused.contains(word) && !refused.contains("s3cret"),
            "{refused}"
        );
    }
    server
        .command(&["ACL", "SETUSER", "gennaker", "-evalsha", "-eval"])
        .await;
    let refused = try_open(url).await;
    let refused = match refused {
        Err(refused) => refused,
        Ok(store) => {
            let shard = store.shards().numbered(0);
            store
                .commit(crate::writers::write(shard, &key(0), 0))
                .await
                .unwrap_err()
                .to_string()
        }
    };
    assert!(refused.contains("no permissions"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_wait_the_loss_of_the_master_loses_nothing_acknowledged() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut servers = Watched::start(folder.path()).await;
    let store = try_open(format!("{}?wait=1&wait-ms=500", servers.url()))
        .await
        .unwrap();
    let info = store.info().await.unwrap();
    assert_eq!(info.backend, "redis-sentinel");
    assert!(info.durability.contains("WAIT 1"), "{}", info.durability);
    let writers = Writers::start(&store, 8);
    writers.advance(400).await;
    // What no replica hears of is not acknowledged; then the master is gone.
    servers.deafen(true).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = writers.counts();
    servers.master.kill();
    servers.deafen(false).await;
    writers.advance(400).await;
    for (number, acknowledged) in before.into_iter().enumerate() {
        let shard = store.shards().numbered(u16::try_from(number).unwrap());
        let found = store.load(shard, &key(number)).await.unwrap().unwrap();
        assert!(
            found.version >= acknowledged,
            "{} of {acknowledged}",
            found.version
        );
    }
    for (number, version) in writers.finish().await.into_iter().enumerate() {
        applied_once(&store, number, version).await;
    }
}

/// As `redis_faults::a_lost_step_is_taken_again_only_after_those_who_saw_it_have_looked`, of a replica that became the
/// master: it runs for long and has lost something all the same.
#[test]
fn what_a_failover_lost_is_taken_again_only_after_those_who_saw_it_have_looked() {
    if !installed() {
        return;
    }
    let slow = slow();
    let others = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut servers = others.block_on(Watched::start(folder.path()));
    let there = others.block_on(try_open(servers.url())).unwrap();
    let here = slow.block_on(try_open(servers.url())).unwrap();
    let before = here.epoch().borrow().rollbacks;
    let (shard, seen) = (here.shards().numbered(0), key(0));
    let commit = |version| slow.block_on(here.commit(write(shard, &seen, version)));
    commit(0).unwrap().unwrap();
    others.block_on(pause(200));
    others.block_on(servers.deafen(true));
    commit(1).unwrap().unwrap();

    servers.master.kill();
    others.block_on(servers.deafen(false));
    // Somebody asks at every moment, and takes the one step that is lost.
    let eager = others.spawn(async move {
        let mut asking = tokio::task::JoinSet::new();
        loop {
            let there = there.clone();
            asking.spawn(async move { there.commit(write(shard, &key(0), 1)).await });
            let pause = tokio::time::sleep(Duration::from_millis(10));
            tokio::select! {
                done = asking.join_next() => return done.unwrap().unwrap(),
                () = pause => {}
            }
        }
    });
    others.block_on(servers.has_failed_over());
    others.block_on(pause(100));
    let early = eager.is_finished();
    assert!(
        notices(&slow, &here, before),
        "lost and unknown; taken again early: {early}"
    );
    let committed = others.block_on(eager).unwrap().unwrap().unwrap();
    assert_eq!(committed.versions, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_without_wait_a_failover_undoes_the_last_commits_and_it_is_noticed() {
    if !installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut servers = Watched::start(folder.path()).await;
    let store = try_open(servers.url()).await.unwrap();
    let mut epoch = store.epoch();
    let shard = store.shards().numbered(0);
    let commit = async |version| {
        let batch = write(shard, &key(0), version);
        store.commit(batch).await.unwrap().unwrap();
    };
    for version in 0..50 {
        commit(version).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    servers.deafen(true).await;
    for version in 50..80 {
        commit(version).await;
    }
    servers.master.kill();
    servers.deafen(false).await;
    tokio::time::timeout(Duration::from_secs(40), epoch.changed())
        .await
        .expect("the loss is noticed without anybody asking")
        .unwrap();
    let kept = store.load(shard, &key(0)).await.unwrap().unwrap().version;
    assert!((50..80).contains(&kept), "{kept}");
    applied_once(&store, 0, kept).await;
}
