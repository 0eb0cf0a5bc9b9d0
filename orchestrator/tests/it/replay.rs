//! What a log is good for: every state again, damage told by name, and every decision taken again.

use orchestrator::executions::Executions;
use orchestrator::record::ENGINE;
use orchestrator::replay::{Export, Fault, digest_of, verify};
use orchestrator::services::Services;
use orchestrator::services::fake::{Fake, ok};
use orchestrator::stage::Catalog;
use orchestrator_core::{Settings, Status, command};
use proto::orchestrator::v1::GetLogRequest;
use proto::status::{Failure, Kind};
use serde_json::{Value, json};

use crate::bench::{Act, Bench};
use crate::commit::backends;
use crate::rig::{Rig, make, quick, stage, webhook};
use crate::samples::{Sample, samples};

/// An export of an execution that was looked up, judged, paused, cancelled and restarted.
async fn lived(rig: &Rig) -> Export {
    rig.fake
        .answer("http://facts.test/a", Ok(ok(&json!({"answer": 42}))));
    let stages = json!([
        webhook("1", &[]),
        make(
            "evaluateVariables",
            "2",
            &["1"],
            json!({"variables": [
                {"key": "answer", "value": "${#fromUrl('http://facts.test/a')}"},
            ]})
        ),
        make("manualJudgment", "3", &["2"], json!({})),
        make("wait", "4", &["3"], json!({"waitTime": 3600})),
    ]);
    let id = rig.start_stages(stages).await;
    let ask = rig.stage_is(&id, "3", "RUNNING").await;
    let pause = rig.executions.clone().pause(Rig::action(&id)).await;
    pause.unwrap();
    rig.wait(&id, "paused", |e| e["status"] == "PAUSED").await;
    let resume = rig.executions.clone().resume(Rig::action(&id)).await;
    resume.unwrap();
    rig.update_stage(&id, &ask, json!({"judgmentStatus": "continue"}))
        .await
        .unwrap();
    rig.stage_is(&id, "4", "RUNNING").await;
    rig.cancel(&id).await.unwrap();
    let execution = rig.ends(&id, "CANCELED").await;
    rig.restart(&id, stage(&execution, "1")).await.unwrap();
    let ask = rig.stage_is(&id, "3", "RUNNING").await;
    rig.update_stage(&id, &ask, json!({"judgmentStatus": "stop"}))
        .await
        .unwrap();
    rig.ends(&id, "TERMINAL").await;
    let (head, entries) = Executions::new(rig.store.clone())
        .export(&id)
        .await
        .unwrap();
    Export::read(&lines(&head, &entries)).unwrap()
}

fn lines(head: &Value, entries: &[String]) -> String {
    let entries = entries.iter().map(|entry| format!("{entry}\n"));
    format!("{head}\n{}", entries.collect::<String>())
}

/// What an engine of these tests goes by.
fn own() -> Settings {
    orchestrator::settings(&orchestrator::Config::default())
}

#[tokio::test]
async fn a_whole_log_is_verified_and_decided_again_by_the_same_engine() {
    for (backend, store, _server) in backends().await {
        let rig = Rig::over(store.clone(), Fake::new(), quick()).await;
        let export = lived(&rig).await;
        let entries = u64::try_from(export.entries.len()).unwrap();
        let found = export.verify(&Catalog, &own()).unwrap();
        assert_eq!(
            (found.entries, found.hashed, found.again),
            (entries, entries, entries),
            "{backend}"
        );
        assert!(found.others.is_empty(), "{found:?}");
        // What was recorded is what the log leads to, at its end and in between.
        let stored = Executions::new(store).load(&export.execution).await;
        let stored = stored.unwrap().unwrap();
        assert_eq!(export.at(entries).as_ref(), Ok(stored.execution().unwrap()));
        assert_eq!(
            digest_of(&stored),
            stored.digest,
            "carried from commit to commit"
        );
        assert!(stored.digest.is_some() && stored.digest == export.stored);
        assert_eq!(export.at(1).unwrap().status, Status::Running);
        let paused = (1..entries).filter(|n| export.at(*n).unwrap().status == Status::Paused);
        assert!(paused.count() > 0);
        let of_all = |key: &str| export.entries.iter().filter(|e| !e[key].is_null()).count();
        assert!(of_all("answers") > 0 && of_all("begun") == 1);
        assert!(export.at(0).is_err() && export.at(entries + 1).is_err());
    }
}

#[tokio::test]
async fn a_changed_log_is_told_by_entry_and_hashes() {
    let rig = Rig::up().await;
    let export = lived(&rig).await;
    let entries = &export.entries;
    // One byte of a value anywhere, in what was written or what was only handled.
    for number in 1..=entries.len() {
        for pointer in [
            "/at",
            "/inputs/0/kind",
            "/hash",
            "/engine",
            "/writes/h/set/status",
            "/check",
        ] {
            let mut changed = entries.clone();
            let Some(value) = changed[number - 1].pointer_mut(pointer) else {
                continue;
            };
            *value = match value {
                Value::String(text) => {
                    let first = if text.starts_with('a') { "b" } else { "a" };
                    text.replace_range(..1, first);
                    Value::from(text.clone())
                }
                Value::Number(n) => (n.as_i64().unwrap() + 1).into(),
                other => panic!("{other}"),
            };
            let fault = verify(&changed, &Catalog, &own()).unwrap_err();
            let entry = u64::try_from(number).unwrap();
            assert!(
                matches!(&fault, Fault::Changed { entry: at, .. } if *at == entry),
                "{pointer}: {fault}"
            );
            assert!(
                fault.to_string().starts_with(&format!("entry {number} ")),
                "{fault}"
            );
        }
    }
    // Whole entries that are gone, or come twice.
    for number in 1..entries.len() {
        let mut shorter = entries.clone();
        shorter.remove(number - 1);
        let fault = verify(&shorter, &Catalog, &own()).unwrap_err();
        assert_eq!(
            fault.to_string(),
            format!("entry {} follows entry {}", number + 1, number - 1)
        );
    }
    let cut = Export {
        entries: entries[..entries.len() - 1].to_vec(),
        ..export.clone()
    };
    let fault = cut.verify(&Catalog, &own()).unwrap_err();
    assert!(matches!(fault, Fault::Stored { .. }), "{fault}");
    // Somebody who also makes the checks fit: the hash, and then what is decided, tell it.
    let forged = |number: usize, change: &dyn Fn(&mut Value)| {
        let mut entries = entries.clone();
        change(&mut entries[number]);
        seal(&mut entries[number]);
        verify(&entries, &Catalog, &own()).unwrap_err()
    };
    let fault = forged(0, &|e| {
        e["writes"]["h"]["set"]["origin"] = json!("somebody")
    });
    let Fault::Hash { entry, kept, found } = fault else {
        panic!("{fault}")
    };
    assert!(entry == 1 && kept != found);
    let answered = |e: &Value| {
        let inputs = e["inputs"].as_array().unwrap();
        inputs
            .iter()
            .position(|i| i["kind"] == "taskFinished" && i["run"]["taskType"] == "createWebhook")
    };
    let number = entries.iter().position(|e| answered(e).is_some()).unwrap();
    let fault = forged(number, &|e| {
        let at = answered(e).unwrap();
        e["inputs"][at]["context"]["forged"] = json!(1);
    });
    let Fault::Decided { entry, parts, .. } = &fault else {
        panic!("{fault}")
    };
    assert!(
        usize::try_from(*entry).unwrap() == number + 1 && parts.starts_with("s:"),
        "{fault}"
    );
    // What another engine decided is compared and not decided again.
    let mut others = entries.clone();
    for entry in &mut others {
        entry["engine"] = json!("0.0.1-other");
        seal(entry);
    }
    let found = verify(&others, &Catalog, &own()).unwrap();
    assert_eq!(
        (found.again, found.others["0.0.1-other"]),
        (0, found.entries)
    );
    assert_ne!(ENGINE, "0.0.1-other");
}

/// Gives an entry the check of its content, as who wrote it did.
fn seal(entry: &mut Value) {
    let fields = entry.as_object_mut().unwrap();
    fields.shift_remove("check");
    let mut probe = fields.clone();
    probe.insert("check".to_owned(), json!("00000000"));
    let Err(Fault::Changed { found, .. }) = verify(&[Value::Object(probe)], &Catalog, &own())
    else {
        panic!("a check of zeros")
    };
    fields.insert("check".to_owned(), found.into());
}

#[tokio::test]
async fn what_every_type_of_stage_does_is_decided_again_the_same() {
    let bench = |sample: &Sample| {
        let fake = Fake::new();
        (sample.world)(&fake);
        let mut bench = Bench::new(fake, json!([sample.stage]));
        bench.log = Some(Vec::new());
        bench
    };
    for sample in samples() {
        let mut ran = bench(&sample);
        ran.drive(|_, _| Act::Run).await;
        let mut ended = bench(&sample);
        ended
            .drive(|nth, _| if nth == 1 { Act::Cancel } else { Act::Run })
            .await;
        if ended.status().is_complete() {
            let top = ended.execution().stages.iter().find(|s| !s.is_synthetic());
            let top = top.unwrap().id.clone();
            let restart = command::restart_stage(ended.execution(), &top, "bob").unwrap();
            ended.command(restart);
            ended.drive(|_, _| Act::Fail).await;
        }
        for bench in [ran, ended] {
            let entries = bench.log.as_deref().unwrap();
            let found = verify(entries, &Catalog, bench.fake.settings());
            let found = found.unwrap_or_else(|fault| panic!("{}: {fault}", sample.stage));
            assert_eq!(found.again, u64::try_from(entries.len()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_log_is_read_page_by_page() {
    let rig = Rig::up().await;
    let export = lived(&rig).await;
    let id = export.execution.clone();
    let page = async |after: u64| {
        let request = GetLogRequest {
            id: id.clone(),
            after,
        };
        let reply = rig.executions.clone().get_log(request).await;
        reply.unwrap().into_inner()
    };
    let whole = page(0).await;
    assert_eq!(whole.entries.len(), export.entries.len());
    assert!(!whole.more);
    let head = whole.head.unwrap().value("head").unwrap();
    assert_eq!(head["version"], json!(export.entries.len()));
    let rest = page(3).await;
    assert_eq!(rest.entries[..], whole.entries[3..]);
    let mut client = rig.executions.clone();
    let missing = client.get_log(GetLogRequest {
        id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
        after: 0,
    });
    let failure = Failure::from(missing.await.unwrap_err());
    assert_eq!(failure.kind, Kind::NotFound);
}

#[test]
fn an_export_says_what_is_wrong_with_it() {
    let head = json!({"execution": "E", "format": 1, "version": 2, "hash": null}).to_string();
    let entry = json!({"writes": {}}).to_string();
    let good = format!("{head}\n{entry}\n{entry}\n");
    assert_eq!(Export::read(&good).unwrap().entries.len(), 2);
    for (text, says) in [
        (String::new(), "first line"),
        (entry.clone(), "first line"),
        (head.replace("\"format\":1", "\"format\":2"), "format 2"),
        (format!("{head}\n{entry}\n"), "entry 1 of 2"),
        (format!("{head}\n{entry}\n{{"), "entry 2 is damaged"),
    ] {
        let fault = Export::read(&text).unwrap_err().to_string();
        assert!(fault.contains(says), "{text}: {fault}");
    }
}
