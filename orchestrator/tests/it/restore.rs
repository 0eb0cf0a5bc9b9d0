//! Definitions and archived executions in a store that lost them: every version is in the archive before
//! its save is answered, whatever crashes, and comes back as it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use orchestrator::archive::{Given, catalogue};
use orchestrator::definition::{Definitions, Object, restore};
use orchestrator::executions::Listing;
use orchestrator::services::fake::Fake;
use proto::status::Kind;
use serde_json::{Value, json};
use store::archive::{Folder, Objects, Shared as Archive};
use store::embedded::{Clock, Embedded};
use store::{Batch, DocumentKey, Error, Shards, Shared};

use crate::archive::dying::{Death, DyingObjects, DyingStore};
use crate::archive::{listed, look, moving, reader, staying};
use crate::rig::{Rig, eventually, make, memory, pipeline, quick, stage, webhook};

const KINDS: [Object; 8] = [
    Object::PipelineTemplate,
    Object::Project,
    Object::Environment,
    Object::Quarantine,
    Object::Notification,
    Object::User,
    Object::ServiceAccount,
    Object::ApiToken,
];
const KEEP: Duration = Duration::from_secs(90 * 24 * 3600);

fn folder(path: &Path) -> Archive {
    Arc::new(Folder::new(path))
}

fn definitions(store: &Shared, archive: &Archive) -> Definitions {
    let cloud_driver = Arc::new(Fake::new());
    Definitions::new(store.clone(), cloud_driver).kept_in(Some(Arc::clone(archive)))
}

/// Everything that people made, with the former versions of applications and pipelines.
async fn all(definitions: &Definitions) -> BTreeMap<String, Vec<Value>> {
    let mut all = BTreeMap::new();
    let applications = definitions.list_applications().await.unwrap();
    for application in &applications {
        let name = application["name"].as_str().unwrap();
        let history = definitions.application_history(name, 500).await.unwrap();
        all.insert(format!("application {name}"), history);
        let of_it = definitions.list_pipelines(name, "").await.unwrap();
        all.insert(format!("pipelines of {name}"), of_it);
    }
    let pipelines = definitions.list_pipelines("", "").await.unwrap();
    for pipeline in &pipelines {
        let id = pipeline["id"].as_str().unwrap();
        let history = definitions.pipeline_history(id, 500).await.unwrap();
        all.insert(format!("pipeline {id}"), history);
    }
    all.insert("applications".to_owned(), applications);
    all.insert("pipelines".to_owned(), pipelines);
    for trigger in ["cron", "webhook"] {
        let waiting = definitions.list_pipelines("", trigger).await.unwrap();
        all.insert(format!("waiting for {trigger}"), waiting);
    }
    for kind in KINDS {
        let objects = definitions.list_objects(kind).await.unwrap();
        all.insert(format!("{kind:?}"), objects);
    }
    all
}

fn app(name: &str, description: &str) -> Value {
    json!({"name": name, "email": "a@b.c", "description": description})
}

/// Makes some of everything; changes, deletes and creates anew.
async fn fill(definitions: &Definitions) {
    let put_app = async |application| {
        definitions
            .put_application(application, "ann")
            .await
            .unwrap()
    };
    for n in 0..3 {
        put_app(app("app", &format!("{n}"))).await;
    }
    put_app(app("gone", "")).await;
    put_app(app("Grüße~2", "")).await;
    let mut first = pipeline("first", json!([webhook("1", &[])]));
    first["triggers"] = json!([{"type": "cron", "enabled": true, "cronExpression": "0 0 2 * * ?"},
                               {"type": "webhook", "enabled": true, "source": "s"}]);
    let saved = definitions.put_pipeline(first, "ann", false).await.unwrap();
    let mut changed = saved.clone();
    changed["description"] = json!("changed");
    changed["large"] = serde_json::from_str("1180591620717411303424.50").unwrap();
    definitions
        .put_pipeline(changed, "ann", false)
        .await
        .unwrap();
    let mut second = pipeline("second", json!([]));
    second["application"] = json!("gone");
    let second = definitions
        .put_pipeline(second, "ann", false)
        .await
        .unwrap();
    // Deleted with its pipeline, created anew, its pipeline not.
    definitions.remove_application("gone").await.unwrap();
    put_app(app("gone", "anew")).await;
    let id = second["id"].as_str().unwrap();
    assert!(definitions.get_pipeline(id, "").await.unwrap().is_none());
    let metadata = json!({"name": "n", "scopes": ["global"]});
    for (kind, object) in [
        (
            Object::PipelineTemplate,
            json!({"id": "t", "tag": "v1", "schema": "v2", "metadata": metadata}),
        ),
        (
            Object::Project,
            json!({"name": "P", "config": {"applications": ["app"]}}),
        ),
        (Object::Quarantine, json!({"id": "q", "image": "i:1"})),
        (
            Object::CanaryConfig,
            json!({"id": "c", "name": "canary", "applications": ["app"], "unknown": {"kept": 1}}),
        ),
        (Object::User, json!({"id": "ann", "roles": ["team"]})),
        (
            Object::ServiceAccount,
            json!({"name": "robot@x.y", "memberOf": ["team"]}),
        ),
        (
            Object::ApiToken,
            json!({"id": "k", "user": "ann", "hash": "00"}),
        ),
        (
            Object::Session,
            json!({"id": "s", "user": "ann", "expiresAt": 1}),
        ),
    ] {
        definitions
            .put_object(kind, object, "ann", false)
            .await
            .unwrap();
    }
    let token = json!({"id": "revoked", "user": "ann", "hash": "00"});
    let kind = Object::ApiToken;
    definitions
        .put_object(kind, token, "ann", false)
        .await
        .unwrap();
    definitions.delete_object(kind, "revoked").await.unwrap();
}

#[tokio::test]
async fn everything_comes_back_as_it_was_and_goes_on_from_there() {
    let home = tempfile::tempdir().unwrap();
    let (archive, store, lost) = (folder(home.path()), memory(), memory());
    let before = definitions(&lost, &archive);
    fill(&before).await;
    let had = all(&before).await;

    let found = restore(&store, &archive).await.unwrap();
    assert_eq!(found.refused, Vec::<String>::new());
    let after = definitions(&store, &archive);
    assert_eq!(all(&after).await, had);
    let sessions = after.list_objects(Object::Session).await.unwrap();
    assert!(sessions.is_empty(), "{sessions:?}");
    assert_eq!(found.definitions["application"], 3, "{found:?}");
    assert_eq!(found.definitions["pipeline"], 1, "{found:?}");
    assert_eq!(found.definitions["apiToken"], 1, "{found:?}");

    // A second time nothing is done.
    let again = restore(&store, &archive).await.unwrap();
    let restored: usize = found.definitions.values().sum();
    assert_eq!((again.there, again.definitions.len()), (restored, 0));
    assert_eq!(all(&after).await, had);

    // Names are taken, versions go on.
    let kind = Object::CanaryConfig;
    let double = json!({"id": "d", "name": "canary", "applications": ["App", "other"]});
    let refused = after.put_object(kind, double, "ann", true).await;
    assert_eq!(refused.unwrap_err().kind, Kind::Invalid);
    let versions = after.object_versions(kind, "c", 0).await.unwrap();
    assert_eq!((versions.len(), &versions[0]["version"]), (1, &json!(1)));
    let double = pipeline("FIRST", json!([]));
    let refused = after.put_pipeline(double, "ann", false).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Invalid, "{refused}");
    after
        .put_application(app("app", "later"), "ann")
        .await
        .unwrap();
    let history = after.application_history("app", 500).await.unwrap();
    assert_eq!(
        (history.len(), &history[0]["description"]),
        (4, &json!("later"))
    );
    after.delete_object(Object::Project, "P").await.unwrap();
    let third = memory();
    restore(&third, &archive).await.unwrap();
    assert_eq!(all(&definitions(&third, &archive)).await, all(&after).await);
}

#[tokio::test]
async fn what_is_damaged_is_named_and_the_rest_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let (archive, store, lost) = (folder(home.path()), memory(), memory());
    fill(&definitions(&lost, &archive)).await;
    let names = archive.list("definitions").await.unwrap();
    let begin = |start: &str, end: &str| {
        let found = names
            .iter()
            .find(|name| name.starts_with(start) && name.ends_with(end));
        found.unwrap().clone()
    };
    let damaged = [
        begin("definitions/application/app/", "01.json"),
        begin("definitions/project/", "01.json"),
    ];
    for name in &damaged {
        archive.put(name, "{".into()).await.unwrap();
    }
    let found = restore(&store, &archive).await.unwrap();
    assert_eq!(found.refused.len(), 2, "{found:?}");
    for name in &damaged {
        assert!(found.refused.iter().any(|r| r.contains(name.as_str())));
    }
    let after = definitions(&store, &archive);
    let history = after.application_history("app", 500).await.unwrap();
    assert_eq!(history.len(), 2, "{history:?}");
    assert!(
        after
            .list_objects(Object::Project)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(found.definitions["pipeline"], 1, "{found:?}");
}

#[tokio::test]
async fn of_many_versions_those_that_are_kept_come_back() {
    let home = tempfile::tempdir().unwrap();
    let (archive, store, lost) = (folder(home.path()), memory(), memory());
    let before = definitions(&lost, &archive);
    for n in 0..103 {
        let application = app("app", &format!("{n}"));
        before.put_application(application, "ann").await.unwrap();
    }
    let found = restore(&store, &archive).await.unwrap();
    assert_eq!(found.versions, 100);
    let after = definitions(&store, &archive);
    let had = before.application_history("app", 500).await.unwrap();
    assert_eq!(after.application_history("app", 500).await.unwrap(), had);
    assert_eq!(archive.list("definitions").await.unwrap().len(), 103);
}

/// The system's clock, which can be put forward.
struct Late(AtomicI64);

impl Clock for Late {
    fn now_ms(&self) -> i64 {
        orchestrator::system_clock()() + self.0.load(Ordering::SeqCst)
    }
}

/// The archive has everything that was saved so far, so that only the queue may bring what comes.
async fn is_known(store: &Shared, archive: &Archive) {
    let name = "definitions-archive";
    let shard = store.shards().of_name(name);
    let key = DocumentKey::new(name, "known");
    let batch = Batch::new(shard, "known").document(&key, 0);
    let batch = batch.set("archive", archive.place());
    store.commit(batch).await.unwrap().unwrap();
}

async fn kept(archive: &Archive) -> BTreeMap<String, Vec<Value>> {
    let copy = memory();
    restore(&copy, archive).await.unwrap();
    all(&definitions(&copy, archive)).await
}

/// A process that saves and deletes dies at a write: what it answered is in the archive, and what it did not
/// answer gets there by the next process, if the store has it. Whether it died.
async fn dies(at: usize, after: bool) -> bool {
    let what = format!("write {at}, after it: {after}");
    let home = tempfile::tempdir().unwrap();
    let clock = Arc::new(Late(AtomicI64::new(0)));
    let store: Shared = Arc::new(Embedded::in_memory(clock.clone(), Shards::default()));
    let archive = folder(home.path());
    is_known(&store, &archive).await;
    let whole = definitions(&store, &archive);
    for name in ["app", "other"] {
        let application = app(name, "before");
        whole.put_application(application, "ann").await.unwrap();
    }
    let death = Death::new(at, after);
    let dying: Shared = Arc::new(DyingStore(store.clone(), death.clone()));
    let objects: Archive = Arc::new(DyingObjects(archive.clone(), death.clone()));
    let dying = definitions(&dying, &objects);
    let saved = dying.put_application(app("app", "changed"), "ann").await;
    let answered = match &saved {
        Ok(_) => {
            let deleted = dying.remove_application("other").await;
            if deleted.is_ok() {
                assert!(
                    !kept(&archive).await.contains_key("application other"),
                    "{what}"
                );
            }
            deleted.is_ok()
        }
        Err(_) => false,
    };
    if saved.is_ok() {
        let history = &kept(&archive).await["application app"];
        assert_eq!(history[0]["description"], "changed", "{what}");
    }
    assert_eq!(answered, !death.came(), "{what}");
    // The next process, when the lease of the dead one is over.
    clock.0.store(60_000, Ordering::SeqCst);
    let mut config = quick();
    config.archive.objects = Given(Some(archive.clone()));
    let mut rig = Rig::over(store.clone(), Fake::new(), config).await;
    eventually(&what, async || kept(&archive).await == all(&whole).await).await;
    rig.stop().await;
    death.came()
}

#[tokio::test]
async fn what_was_answered_is_in_the_archive_wherever_the_process_dies() {
    let mut at = 0;
    while dies(at, false).await | dies(at, true).await {
        at += 1;
    }
    // Commit, object and acknowledgement, of the save and of the deletion.
    assert!(at >= 6, "there are more steps to die at: {at}");
}

/// An archive whose disk is full, until it is not.
#[derive(Debug)]
struct Full(Archive, AtomicBool);

#[async_trait]
impl Objects for Full {
    async fn put(&self, name: &str, content: Bytes) -> Result<(), Error> {
        if self.1.load(Ordering::SeqCst) {
            return Err(Error::Unavailable("no space left".to_owned()));
        }
        self.0.put(name, content).await
    }
    async fn read(&self, name: &str, from: u64, length: u64) -> Result<Option<Bytes>, Error> {
        self.0.read(name, from, length).await
    }
    async fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        self.0.size(name).await
    }
    async fn delete(&self, name: &str) -> Result<(), Error> {
        self.0.delete(name).await
    }
    async fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        self.0.list(folder).await
    }
    fn place(&self) -> String {
        self.0.place()
    }
}

#[tokio::test]
async fn while_the_archive_cannot_be_written_a_save_says_so_and_is_not_forgotten() {
    let home = tempfile::tempdir().unwrap();
    let (archive, store) = (folder(home.path()), memory());
    let full = Arc::new(Full(archive.clone(), AtomicBool::new(true)));
    let objects: Archive = full.clone();
    is_known(&store, &archive).await;
    let mut config = quick();
    config.archive.objects = Given(Some(objects.clone()));
    let mut rig = Rig::over(store.clone(), Fake::new(), config).await;
    let definitions = definitions(&store, &objects);
    for round in ["first", "repeated"] {
        let failed = definitions.put_application(app("app", ""), "ann").await;
        let failed = failed.unwrap_err();
        assert_eq!(failed.kind, Kind::Unavailable, "{round}: {failed}");
        for told in [
            "in force",
            "not yet in the archive",
            "no space left",
            "repeat",
        ] {
            assert!(failed.message.contains(told), "{round}: {failed}");
        }
        assert!(definitions.get_application("app").await.unwrap().is_some());
    }
    full.1.store(false, Ordering::SeqCst);
    definitions
        .put_application(app("app", ""), "ann")
        .await
        .unwrap();
    assert_eq!(kept(&archive).await, all(&definitions).await);
    // A deletion is remembered too, by the queue.
    full.1.store(true, Ordering::SeqCst);
    let failed = definitions.remove_application("app").await.unwrap_err();
    assert!(
        failed.message.contains("not yet in the archive"),
        "{failed}"
    );
    full.1.store(false, Ordering::SeqCst);
    eventually("the deletion is archived", async || {
        kept(&archive).await == all(&definitions).await
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn what_was_saved_before_there_was_an_archive_gets_there_too() {
    let home = tempfile::tempdir().unwrap();
    let (archive, store) = (folder(home.path()), memory());
    let before = Definitions::new(store.clone(), Arc::new(Fake::new()));
    fill(&before).await;
    assert!(archive.list("definitions").await.unwrap().is_empty());
    let mut config = quick();
    config.archive.objects = Given(Some(archive.clone()));
    let mut rig = Rig::over(store.clone(), Fake::new(), config).await;
    eventually("all is archived", async || {
        kept(&archive).await == all(&before).await
    })
    .await;
    rig.stop().await;
}

/// Executions that ended, in the archive; one of them was restarted meanwhile and is there twice.
async fn archived(path: &Path) -> BTreeMap<String, Value> {
    let (store, config) = (memory(), moving(path));
    let executions = reader(&store, &config);
    let mut rig = Rig::over(store.clone(), Fake::new(), config).await;
    let mut ids = Vec::new();
    for number in 0..4 {
        let stages = json!([
            webhook("1", &[]),
            make("wait", "2", &["1"], json!({"waitTime": 0}))
        ]);
        let definition = pipeline(&format!("p{number}"), stages);
        let id = rig
            .try_start(&definition, &format!("event-{number}"))
            .await
            .unwrap();
        rig.ends(&id, "SUCCEEDED").await;
        ids.push(id);
    }
    let out = async || {
        eventually("all are archived", async || {
            look(&store).await;
            staying(&store).await == 0
        })
        .await;
    };
    out().await;
    let first = rig.get(&ids[0]).await;
    rig.restart(&ids[0], stage(&first, "2")).await.unwrap();
    rig.ends(&ids[0], "SUCCEEDED").await;
    out().await;
    let mut all = BTreeMap::new();
    for id in ids {
        all.insert(
            id.clone(),
            executions.get(&id, None).await.unwrap().to_json(),
        );
    }
    rig.stop().await;
    all
}

#[tokio::test]
async fn archived_executions_are_found_again_and_each_counts_once() {
    let home = tempfile::tempdir().unwrap();
    let before = archived(home.path()).await;
    let (store, archive) = (memory(), folder(home.path()));
    let found = catalogue(&store, &archive, KEEP).await.unwrap();
    assert_eq!((found.executions, found.there), (4, 0), "{found:?}");
    assert_eq!(found.refused, Vec::<String>::new());
    let executions = reader(&store, &moving(home.path()));
    let ids: Vec<String> = before.keys().rev().cloned().collect();
    assert_eq!(listed(&executions, Listing::default()).await, ids);
    for (id, execution) in &before {
        let got = executions.get(id, None).await.unwrap().to_json();
        assert_eq!(got, *execution);
    }
    let again = catalogue(&store, &archive, KEEP).await.unwrap();
    assert_eq!((again.segments, again.there), (0, found.segments));
    // One that is in the store counts nowhere else: it is deleted once and for all.
    executions.delete(&ids[0]).await.unwrap();
    assert_eq!(listed(&executions, Listing::default()).await, ids[1..]);
}

#[tokio::test]
async fn a_restore_that_is_cut_off_anywhere_is_ended_by_the_next() {
    let home = tempfile::tempdir().unwrap();
    let (archive, lost) = (folder(home.path()), memory());
    let executions = archived(home.path()).await;
    let before = definitions(&lost, &archive);
    fill(&before).await;
    let had = all(&before).await;
    let both = async |store: &Shared| {
        restore(store, &archive).await?;
        catalogue(store, &archive, KEEP).await.map(|_| ())
    };
    let mut at = 0;
    loop {
        let mut came = false;
        for after in [false, true] {
            let store = memory();
            let death = Death::new(at, after);
            let dying: Shared = Arc::new(DyingStore(store.clone(), death.clone()));
            let cut = both(&dying).await;
            assert_eq!(cut.is_err(), death.came());
            came |= death.came();
            both(&store).await.unwrap();
            let what = format!("write {at}, after it: {after}");
            assert_eq!(all(&definitions(&store, &archive)).await, had, "{what}");
            let reader = reader(&store, &moving(home.path()));
            let ids: Vec<String> = executions.keys().rev().cloned().collect();
            assert_eq!(listed(&reader, Listing::default()).await, ids, "{what}");
        }
        if !came {
            assert!(at > 10, "there are more steps to die at: {at}");
            return;
        }
        at += 1;
    }
}
