//! A canary does what the one it acts for may do: also when it is cancelled.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use authorization::Permission;
use orchestrator::services::fake::Fake;
use orchestrator::services::{
    Access, Builds, CanaryJudge, CloudDriver, Definitions, Executions, Http, NewRun, OnBehalf,
    Services,
};
use orchestrator_core::{ExecutionType, Settings, Status, command};
use proto::status::{Failure, Kind};
use serde_json::{Value, json};

use super::{canary, deployments, serving, settings};
use crate::bench::{Act, Bench, Moved};
use crate::rig::make;

/// The fake, with applications that nobody may use in some way.
#[derive(Clone)]
struct Guarded {
    fake: Fake,
    denied: Arc<Mutex<BTreeSet<(String, Permission)>>>,
}

impl Guarded {
    fn new() -> Self {
        let fake = Fake::new();
        serving(&fake);
        Self {
            fake,
            denied: Arc::default(),
        }
    }

    fn deny(&self, application: &str, permission: Permission) {
        let mut denied = self.denied.lock().unwrap();
        denied.insert((application.to_owned(), permission));
    }

    fn bench(&self, stage: Value) -> Bench<Self> {
        let body = json!({"application": "app", "name": "p", "stages": [stage]});
        Bench::of(self.clone(), ExecutionType::Pipeline, &body)
    }
}

#[async_trait]
impl Access for Guarded {
    async fn application(
        &self,
        user: &str,
        application: &str,
        permission: Permission,
    ) -> Result<(), Failure> {
        let asked = (application.to_owned(), permission);
        if self.denied.lock().unwrap().contains(&asked) {
            let text = format!("Access denied to application {application} for {user}");
            return Err(Failure::new(Kind::Denied, text));
        }
        Ok(())
    }

    async fn run_as(&self, _: &str, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn act_with(&self, _: &str, _: &[String]) -> Result<(), Failure> {
        Ok(())
    }

    async fn roles(&self, _: &str) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }

    async fn permitted(&self, _: &str, _: &str, _: &Value, _: Permission) -> Result<(), Failure> {
        Ok(())
    }
}

impl Services for Guarded {
    fn cloud_driver(&self) -> &dyn CloudDriver {
        &self.fake
    }

    fn http(&self) -> &dyn Http {
        &self.fake
    }

    fn definitions(&self) -> &dyn Definitions {
        &self.fake
    }

    fn executions(&self) -> &dyn Executions {
        &self.fake
    }

    fn builds(&self) -> &dyn Builds {
        &self.fake
    }

    fn canary_judge(&self) -> &dyn CanaryJudge {
        &self.fake
    }

    fn access(&self) -> &dyn Access {
        self
    }

    fn settings(&self) -> &Settings {
        self.fake.settings()
    }
}

#[tokio::test]
async fn a_cancelled_canary_takes_nothing_away_that_its_user_may_not_write() {
    let world = Guarded::new();
    world
        .fake
        .canary_run(json!({"status": "running", "complete": false}));
    let stage = canary(json!({"deployments": deployments()}), settings(json!({})));
    let mut bench = world.bench(stage);
    let until = bench.now + 2_400_000;
    while bench.step(Some(until), &mut |_, _| Act::Run).await != Moved::To {}
    let before = world.fake.operations().len();
    world.deny("app", Permission::Write);
    bench.command(command::cancel(bench.execution(), "bob", None).unwrap());
    bench.drive(|_, _| Act::Run).await;
    assert_eq!(bench.status(), Status::Canceled);
    assert_eq!(world.fake.operations().len(), before);
    let top = bench
        .execution()
        .stages
        .iter()
        .find(|s| s.kind == "kayentaCanary");
    assert_eq!(
        top.unwrap().context["cancelFailure"],
        "Access denied to application app for ann"
    );
}

#[tokio::test]
async fn a_canary_config_is_used_by_who_may_read_one_of_its_applications() {
    let whole = canary(json!({}), settings(json!({"canaryConfigId": "t"})));
    let scopes = json!({"default": {"controlScope": {}, "experimentScope": {}}});
    let fields = json!({"canaryConfigId": "t", "scopes": scopes});
    let alone = make("runCanary", "1", &[], fields);
    for (stage, unreadable, ends) in [
        (&whole, vec!["theirs"], Status::Terminal),
        (&alone, vec!["theirs"], Status::Terminal),
        (&whole, vec!["theirs", "shared"], Status::Terminal),
        (&whole, vec![], Status::Succeeded),
        (&alone, vec![], Status::Succeeded),
    ] {
        let world = Guarded::new();
        let shared = unreadable.len() != 1;
        let applications = if shared {
            json!(["theirs", "shared"])
        } else {
            json!(["theirs"])
        };
        world.fake.canary_config(
            json!({"id": "t", "name": "t", "applications": applications, "judge": {"name": "j"}}),
        );
        world.deny("theirs", Permission::Read);
        for application in &unreadable {
            world.deny(application, Permission::Read);
        }
        let mut bench = world.bench(stage.clone());
        bench.drive(|_, _| Act::Run).await;
        assert_eq!(bench.status(), ends, "{unreadable:?}");
        if ends == Status::Terminal {
            assert!(world.fake.canary_runs().is_empty());
            let text = bench.execution().to_json().to_string();
            assert!(text.contains("Access denied to application"), "{text}");
        }
    }
}

#[tokio::test]
async fn the_run_of_another_execution_is_not_cancelled() {
    let world = Guarded::new();
    let by = OnBehalf {
        user: "eve".to_owned(),
        roles: Vec::new(),
    };
    world
        .fake
        .canary_run(json!({"status": "running", "complete": false}));
    let theirs = NewRun {
        effect_id: "F/1/0/1/0".to_owned(),
        application: "theirs".to_owned(),
        execution_id: "F".to_owned(),
        config_id: "c".to_owned(),
        request: json!({}),
        metrics_account: String::new(),
        configuration_account: String::new(),
        storage_account: String::new(),
        plan: None,
        waiter: None,
    };
    let id = CanaryJudge::start(&world.fake, &by, theirs).await.unwrap();
    let scopes = json!({"default": {"controlScope": {}, "experimentScope": {}}});
    for (config, act) in [
        ("c", Act::Cancel),
        ("c", Act::CancelLosing),
        ("nothing", Act::Run),
    ] {
        world
            .fake
            .canary_run(json!({"status": "running", "complete": false}));
        let fields =
            json!({"canaryConfigId": config, "scopes": scopes, "canaryPipelineExecutionId": id});
        let mut bench = world.bench(make("runCanary", "1", &[], fields));
        bench.drive(|_, _| act).await;
        assert!(bench.status().is_complete());
        let canceled = world.fake.canceled();
        assert!(!canceled.contains(&format!("canary {id}")), "{act:?}");
        if act != Act::Run {
            assert_eq!(
                canceled.len(),
                world.fake.canary_runs().len() - 1,
                "{act:?}"
            );
        }
    }
}
