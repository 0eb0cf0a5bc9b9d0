//! One service on a folder of its own, as a client sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cloud_driver::config::Config;
use cloud_driver::provider::local::{Error, ImageSource, UnpackedImage};
use proto::cloud_driver::v1::operation_service_client::OperationServiceClient;
use proto::cloud_driver::v1::query_service_client::QueryServiceClient;
use proto::cloud_driver::v1::{
    ApplicationQuery, ClusterQuery, GetOperationRequest, InstanceQuery, JobQuery, Operation,
    OperationState, ServerGroupQuery, SubmitRequest, TargetQuery, TrafficQuery, Waiter,
};
use proto::common::v1::Json;
use runtime::Shutdown;
use runtime::client::Peer;
use serde_json::{Value, json};
use store::embedded::{Embedded, FileSettings};

use crate::programs;

/// The host that reaches the load balancer of the tests.
pub(crate) const HOST: &str = "shop.test";

/// A program of the demo with some variables.
type Program = (&'static str, Vec<(String, String)>);

/// Images that are programs of the demo.
#[derive(Debug, Default)]
pub(crate) struct FakeImages {
    known: Mutex<BTreeMap<String, Program>>,
}

#[async_trait]
impl ImageSource for FakeImages {
    async fn ensure(&self, reference: &str) -> Result<UnpackedImage, Error> {
        let name = reference.split('@').next().unwrap();
        let env = self.known.lock().unwrap().get(name).cloned();
        let Some((program, env)) = env else {
            return Err(Error::Image {
                reference: reference.into(),
                reason: "it does not exist".into(),
                may_pass: false,
            });
        };
        let digest = format!("sha256:{:064}", name.len());
        Ok(UnpackedImage {
            reference: format!("{name}@{digest}"),
            digest,
            rootfs: None,
            entrypoint: vec![programs::folder().join(program).display().to_string()],
            cmd: Vec::new(),
            env,
            workdir: "/".into(),
            user: (0, 0),
        })
    }
}

/// The running service.
struct Process {
    runtime: Option<tokio::runtime::Runtime>,
    channel: Peer,
    shutdown: Shutdown,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) store: store::Shared,
    images: Arc<FakeImages>,
    process: Option<Process>,
    pub(crate) port: u16,
    slots: u32,
    /// Only the role `team` may write account `prod`.
    guarded: bool,
    /// What the test configures otherwise.
    change: Change,
}

/// Changes a configuration.
type Change = Box<dyn Fn(&mut Config) + Send + Sync>;

impl World {
    /// A service with three hosts of one slot each.
    pub(crate) fn up() -> Self {
        Self::with_slots(1)
    }

    pub(crate) fn with_slots(slots: u32) -> Self {
        Self::made(slots, false, |_| {})
    }

    /// With two slots each, configured otherwise.
    pub(crate) fn configured(change: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        Self::made(2, false, change)
    }

    /// People have to authenticate, and account `prod` is the team's.
    pub(crate) fn guarded() -> Self {
        Self::made(1, true, |_| {})
    }

    fn made(
        slots: u32,
        guarded: bool,
        change: impl Fn(&mut Config) + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("gnk-").tempdir().unwrap();
        let file = FileSettings::new(folder.path().join("store.redb"));
        let store = Embedded::open(file, store::Shards::default()).unwrap();
        let mut world = Self {
            folder,
            store: Arc::new(store),
            images: Arc::new(FakeImages::default()),
            process: None,
            port: servers::port::free(),
            slots,
            guarded,
            change: Box::new(change),
        };
        for version in ["1", "2", "3"] {
            world.image(version, &[]);
        }
        world.start();
        world
    }

    /// Makes an image `demo:TAG` whose server has these variables.
    pub(crate) fn image(&self, tag: &str, variables: &[(&str, &str)]) -> String {
        self.image_of("demo-server", tag, variables)
    }

    /// Makes an image `demo:TAG` of another program.
    pub(crate) fn image_of(
        &self,
        program: &'static str,
        tag: &str,
        variables: &[(&str, &str)],
    ) -> String {
        let name = format!("test/demo:{tag}");
        let mut env = vec![("VERSION".to_owned(), tag.to_owned())];
        env.extend(
            variables
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        );
        self.images
            .known
            .lock()
            .unwrap()
            .insert(name.clone(), (program, env));
        name
    }

    pub(crate) fn data(&self) -> &Path {
        self.folder.path()
    }

    /// What the service is built from; a service that runs has read it already.
    pub(crate) fn configure(&mut self, change: impl Fn(&mut Config) + Send + Sync + 'static) {
        self.change = Box::new(change);
    }

    pub(crate) fn config(&self) -> Config {
        let account = format!(
            "{{name: prod, regions: {{local: {{hosts: 3, slots-per-host: {}}}}}, \
             secrets: {{token: 'file:{}/token'}}, \
             load-balancers: [{{name: shop, host: {HOST}}}], \
             environment: {{LATENCY_MS: '2', FOLDER: '{}'}}{}}}",
            self.slots,
            self.data().display(),
            self.data().display(),
            if self.guarded {
                ", permissions: {WRITE: [team]}"
            } else {
                ""
            }
        );
        let mut config = Config {
            accounts: vec![serde_yaml_ng::from_str(&account).unwrap()],
            data: self.data().to_owned(),
            balancer_port: self.port,
            programs: Some(programs::folder().clone()),
            // In a build with the feature `controls` the suite can be seen to fail.
            control: cloud_driver::config::Control::from_environment(),
            ..Config::default()
        };
        let ms = |ms| runtime::config::Span(Duration::from_millis(ms));
        config.local.settle = ms(100);
        config.local.start_timeout = ms(20_000);
        config.local.grace = ms(1_000);
        (self.change)(&mut config);
        config
    }

    pub(crate) fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let guard = runtime.enter();
        let deps = cloud_driver::Deps {
            store: self.store.clone(),
            images: Some(self.images.clone()),
            policy: self.guarded.then(Arc::default),
        };
        let mut service = cloud_driver::build(self.config(), deps).unwrap();
        let key = runtime::auth::Key::from([7; 32]);
        let (link, acceptor) = runtime::client::in_process(&key);
        let channel = link.of("test");
        let shutdown = Shutdown::new();
        let routes = service.take_grpc().unwrap();
        runtime.spawn(acceptor.serve(routes, shutdown.clone()));
        service.start(&shutdown);
        drop(guard);
        self.process = Some(Process {
            runtime: Some(runtime),
            channel,
            shutdown,
        });
    }

    /// Drops the service wherever it is: nothing of it runs on.
    pub(crate) fn crash(&mut self) {
        self.process = None;
    }

    /// Ends the service in order.
    pub(crate) async fn stop(&mut self) {
        let process = self.process.take().unwrap();
        process.shutdown.begin();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    fn channel(&self) -> Peer {
        self.process.as_ref().unwrap().channel.clone()
    }

    fn query(&self) -> QueryServiceClient<Peer> {
        QueryServiceClient::new(self.channel())
    }

    fn operations(&self) -> OperationServiceClient<Peer> {
        OperationServiceClient::new(self.channel())
    }

    pub(crate) async fn submit(
        &self,
        effect: &str,
        kind: &str,
        input: &Value,
    ) -> Result<Operation, tonic::Status> {
        let mut whole = json!({"account": "prod", "region": "local"});
        whole
            .as_object_mut()
            .unwrap()
            .extend(input.as_object().unwrap().clone());
        let request = SubmitRequest {
            effect_id: effect.into(),
            kind: kind.into(),
            input: Some(Json::of(&whole)),
            user: "tester".into(),
            applications: Vec::new(),
            waiter: Some(Waiter {
                execution_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".into(),
                stage_id: "s".into(),
                task_id: "t".into(),
            }),
        };
        Ok(self.operations().submit(request).await?.into_inner())
    }

    /// A submission for somebody with these roles, who may write these applications.
    pub(crate) async fn submit_as(
        &self,
        roles: &[&str],
        applications: &[&str],
        kind: &str,
        input: &Value,
    ) -> Result<Operation, tonic::Status> {
        let context = runtime::auth::AuthContext {
            user: "ann".into(),
            roles: roles.iter().map(|r| (*r).to_owned()).collect(),
            request_id: None,
        };
        let request = SubmitRequest {
            effect_id: format!("{kind}/{input}/{roles:?}/{applications:?}"),
            kind: kind.into(),
            input: Some(Json::of(input)),
            user: "ann".into(),
            applications: applications.iter().map(|a| (*a).to_owned()).collect(),
            ..SubmitRequest::default()
        };
        let sent = self.operations().submit(context.request(request)).await;
        Ok(sent?.into_inner())
    }

    pub(crate) async fn operation(&self, id: &str) -> Operation {
        let request = GetOperationRequest { id: id.into() };
        self.operations().get(request).await.unwrap().into_inner()
    }

    pub(crate) async fn cancel(&self, id: &str) -> Operation {
        let request = GetOperationRequest { id: id.into() };
        self.operations()
            .cancel(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// Waits for the end of an operation.
    pub(crate) async fn ended(&self, id: &str) -> Operation {
        eventually("the operation ends", Duration::from_secs(240), async || {
            let operation = self.operation(id).await;
            if operation.state() == OperationState::Running {
                Err(format!("{:?}", operation.history.last()))
            } else {
                Ok(operation)
            }
        })
        .await
    }

    /// Submits and waits; the effect id is made from kind and input.
    pub(crate) async fn perform(&self, kind: &str, input: Value) -> Operation {
        let effect = format!("{kind}/{input}/{:?}", Instant::now());
        let accepted = self.submit(&effect, kind, &input).await.unwrap();
        self.ended(&accepted.id).await
    }

    /// Performs, and requires success.
    pub(crate) async fn succeed(&self, kind: &str, input: Value) -> Value {
        let operation = self.perform(kind, input).await;
        assert_eq!(
            operation.state(),
            OperationState::Succeeded,
            "{}: {:?}",
            operation.error,
            operation.history
        );
        operation.result.unwrap().value("result").unwrap()
    }

    pub(crate) fn create(image: &str) -> Value {
        json!({
            "application": "shop", "imageId": image, "capacity": {"desired": 3},
            "loadBalancers": ["shop"],
        })
    }

    pub(crate) async fn server_groups(&self) -> Vec<Value> {
        let request = ApplicationQuery {
            application: "shop".into(),
        };
        let list = self.query().list_server_groups(request).await.unwrap();
        let items = list.into_inner().items;
        items.iter().map(|j| j.value("item").unwrap()).collect()
    }

    pub(crate) async fn load_balancers(&self) -> Vec<Value> {
        let request = ApplicationQuery {
            application: "shop".into(),
        };
        let list = self.query().list_load_balancers(request).await.unwrap();
        let items = list.into_inner().items;
        items.iter().map(|j| j.value("item").unwrap()).collect()
    }

    pub(crate) async fn server_group(&self, name: &str) -> Option<Value> {
        let request = ServerGroupQuery {
            account: "prod".into(),
            region: "local".into(),
            name: name.into(),
        };
        let answer = self.query().get_server_group(request).await.ok()?;
        Some(answer.into_inner().value("group").unwrap())
    }

    pub(crate) async fn cluster(&self) -> Option<Value> {
        let request = ClusterQuery {
            application: "shop".into(),
            account: "prod".into(),
            cluster: "shop".into(),
            cloud_provider: String::new(),
        };
        let answer = self.query().get_cluster(request).await.ok()?;
        Some(answer.into_inner().value("cluster").unwrap())
    }

    pub(crate) async fn target(&self, target: &str) -> Result<Value, tonic::Status> {
        let request = TargetQuery {
            account: "prod".into(),
            region: "local".into(),
            cluster: "shop".into(),
            target: target.into(),
            cloud_provider: "local".into(),
        };
        let answer = self.query().resolve_target(request).await?;
        Ok(answer.into_inner().value("group").unwrap())
    }

    pub(crate) async fn instance(&self, id: &str) -> Value {
        let request = instance_query(id);
        let answer = self.query().get_instance(request).await.unwrap();
        answer.into_inner().value("instance").unwrap()
    }

    pub(crate) async fn console(&self, id: &str) -> String {
        let request = instance_query(id);
        let answer = self.query().get_console_output(request).await.unwrap();
        let value = answer.into_inner().value("console").unwrap();
        value["output"][0]["output"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn job(&self, name: &str) -> Result<Value, tonic::Status> {
        let request = JobQuery {
            application: "Shop".into(),
            account: "prod".into(),
            region: "local".into(),
            name: name.into(),
        };
        let answer = self.query().get_job(request).await?;
        Ok(answer.into_inner().value("job").unwrap())
    }

    pub(crate) async fn traffic(&self) -> Value {
        let request = TrafficQuery {
            application: "shop".into(),
            seconds: 60,
        };
        let answer = self.query().get_traffic(request).await.unwrap();
        answer.into_inner().value("traffic").unwrap()
    }

    /// Ids of a group's instances that are up.
    pub(crate) async fn up_instances(&self, group: &str) -> BTreeSet<String> {
        let Some(group) = self.server_group(group).await else {
            return BTreeSet::new();
        };
        let list = group["instances"].as_array().unwrap().clone();
        list.iter()
            .filter(|i| i["healthState"] == "Up")
            .map(|i| i["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Process ids of the folder's served programs, by `/proc`.
    pub(crate) fn served(&self) -> BTreeSet<u32> {
        self.processes("demo-server")
    }

    /// Process ids of the folder's programs of this name.
    pub(crate) fn processes(&self, name: &str) -> BTreeSet<u32> {
        let folder = self.data().display().to_string();
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let path = entry.path();
            let exe = std::fs::read_link(path.join("exe")).unwrap_or_default();
            let named = exe
                .file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with(name));
            let text = |file: &str| {
                let bytes = std::fs::read(path.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            let ours = text("cmdline").contains(&folder)
                || text("environ").contains(&folder)
                || std::fs::read_link(path.join("cwd")).is_ok_and(|c| c.starts_with(&folder));
            if named && ours {
                found.insert(pid);
            }
        }
        found
    }
}

fn instance_query(id: &str) -> InstanceQuery {
    InstanceQuery {
        account: "prod".into(),
        region: "local".into(),
        id: id.into(),
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let data = self.data().to_owned();
        let service = self.process.take();
        // A test's own runtime may not be blocked on: end everything on another thread.
        let ended = std::thread::spawn(move || {
            // The service first, or it would start again what is stopped.
            if let Some(runtime) = service.and_then(|mut s| s.runtime.take()) {
                runtime.shutdown_timeout(Duration::from_secs(5));
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let stop = cloud_driver::provider::local::stop::stop_all;
            runtime
                .block_on(stop(&data, Duration::from_millis(500)))
                .left
        });
        let left = ended.join().unwrap_or_default();
        if !std::thread::panicking() {
            assert_eq!(left, Vec::<String>::new(), "processes outlive the test");
        }
    }
}

/// Repeats until it is well, or panics with the last complaint.
pub(crate) async fn eventually<T, E: std::fmt::Debug>(
    what: &str,
    most: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + most;
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(error) if Instant::now() > end => panic!("not within {most:?}: {what}: {error:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
