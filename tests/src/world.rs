//! A Gennaker with a registry, a witness and one application that runs on three hosts in each of two
//! accounts: what the stories about deployments start from.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::fixture::{pipeline, stage};
use crate::gate::outline;
use crate::http::{Client, Response};
use crate::image::{Image, Written};
use crate::registry::{Notifications, Registry};
use crate::sink::Sink;
use crate::stack::{Setup, Stack};
use crate::{balancer, eventually, program};

/// The application of the stories.
pub const APPLICATION: &str = "shop";
/// The registry's account.
pub const REGISTRY: &str = "test-registry";
/// The repository images are pushed to.
pub const REPOSITORY: &str = "shop";
/// The accounts, three hosts each.
pub const ACCOUNTS: [&str; 2] = ["staging", "prod"];
/// The region of both.
pub const REGION: &str = "local";
/// Hosts of an account.
pub const HOSTS: usize = 3;
/// Instances of one cluster that a host of an account has room for: in staging new groups fit beside
/// the old one, in prod it must replace it in place.
pub const SLOTS: [usize; 2] = [3, 1];
/// A deployment of three hosts takes no longer.
pub const DEPLOYMENT: Duration = Duration::from_secs(180);

/// The build server, where there is one.
pub const JENKINS: &str = "ci";

/// How fast a world goes and what it listens to, times as `gennaker.yml` writes times.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Between two polls of the registry; by default so long that none comes in between.
    pub poll_interval: &'static str,
    /// How long new instances must stay ready; by default shorter than the product's.
    pub settle: &'static str,
    /// The address of a Jenkins, which is polled every second; by default there is none.
    pub jenkins: Option<String>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll_interval: "1h",
            settle: "500ms",
            jenkins: None,
        }
    }
}

impl Pace {
    /// With polls every second.
    pub fn polling() -> Self {
        Self {
            poll_interval: "1s",
            ..Self::default()
        }
    }

    /// What the product does unless it is told otherwise.
    pub fn product() -> Self {
        Self {
            poll_interval: "30s",
            settle: "2s",
            jenkins: None,
        }
    }
}

/// Everything around one stack. It ends when this is dropped.
pub struct World {
    /// Gennaker.
    pub stack: Stack,
    /// The image registry, which notifies Gennaker.
    pub registry: Registry,
    /// Gets the announcements of started processes at `/started`, and webhooks.
    pub sink: Sink,
}

impl World {
    /// Starts sink, registry and Gennaker, and creates the application.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn up(setup: Setup) -> Result<Self> {
        Self::up_at(setup, &Pace::default()).await
    }

    /// The same at another pace.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn up_at(mut setup: Setup, pace: &Pace) -> Result<Self> {
        for (name, package) in [("docker-registry", "docker-registry"), ("skopeo", "skopeo")] {
            ensure!(program::installed(name), "the package {package} is needed");
        }
        let sink = Sink::start().await?;
        setup
            .arguments
            .extend(["--egress-allow".to_owned(), sink.address()]);
        let mut stack = Stack::prepare(setup).await?;
        let notifications = Notifications {
            url: format!("http://127.0.0.1:{}/webhooks/docker/{REGISTRY}", stack.port),
            authorization: None,
        };
        let registry = Registry::start(stack.folder()?, Some(&notifications)).await?;
        stack.configure(&configuration(&registry.address(), pace));
        stack.start().await?;
        stack.gate.save_application(APPLICATION).await?;
        Ok(Self {
            stack,
            registry,
            sink,
        })
    }

    /// A world at the default pace in which an account serves version 1.
    ///
    /// # Errors
    /// Something does not start, or the deployment fails.
    pub async fn serving_one(setup: Setup, account: &str) -> Result<Self> {
        let world = Self::up(setup).await?;
        let image = world.push(&world.image("1")).await?;
        let image = world.reference(&image);
        world.deploy(account, &image, "none", "SUCCEEDED").await?;
        world.require_version(account, "1").await?;
        Ok(world)
    }

    /// The folder for a test's own files.
    ///
    /// # Errors
    /// Never, while the stack lives.
    pub fn folder(&self) -> Result<PathBuf> {
        Ok(self.stack.folder()?.to_owned())
    }

    /// A well-behaved image that announces its starts to the sink and answers in about 20 ms, so that
    /// short requests too are in flight at any moment.
    pub fn image(&self, version: &str) -> Image {
        Image::version(version)
            .with("ANNOUNCE", &self.sink.address())
            .with("LATENCY_MS", "20")
    }

    /// Writes and pushes an image.
    ///
    /// # Errors
    /// A program is missing or fails.
    pub async fn push(&self, image: &Image) -> Result<Written> {
        let written = image.write(&self.folder()?).await?;
        written.push(&self.registry.address(), REPOSITORY).await?;
        Ok(written)
    }

    /// An image as stages refer to it.
    pub fn reference(&self, image: &Written) -> String {
        format!("{}/{REPOSITORY}:{}", self.registry.address(), image.tag)
    }

    /// The cluster of a deploy stage: three instances in an account.
    pub fn cluster(&self, account: &str, image: &str, strategy: &str) -> Value {
        json!({
            "application": APPLICATION,
            "stack": account,
            "account": account,
            "cloudProvider": "local",
            "region": REGION,
            "strategy": strategy,
            "capacity": {"min": HOSTS, "max": HOSTS, "desired": HOSTS},
            "loadBalancers": [load_balancer(account)],
            "imageId": image,
            "healthCheck": {"path": "/health"},
            "rollback": {"onFailure": true},
        })
    }

    /// A deploy stage of one cluster.
    pub fn deploy_stage(&self, ref_id: &str, after: &[&str], cluster: &Value) -> Value {
        stage(
            "deploy",
            "Deploy",
            ref_id,
            after,
            json!({ "clusters": [cluster] }),
        )
    }

    /// Starts a deployment and returns the execution's id.
    ///
    /// # Errors
    /// It is refused.
    pub async fn start_deployment(
        &self,
        account: &str,
        image: &str,
        strategy: &str,
    ) -> Result<String> {
        let cluster = self.cluster(account, image, strategy);
        let stages = [self.deploy_stage("1", &[], &cluster)];
        self.stack
            .gate
            .start_ad_hoc(&pipeline(APPLICATION, "Deploy", &stages))
            .await
    }

    /// Deploys and waits for the end.
    ///
    /// # Errors
    /// It does not end with this status; the error carries its stages.
    pub async fn deploy(
        &self,
        account: &str,
        image: &str,
        strategy: &str,
        status: &str,
    ) -> Result<Value> {
        let id = self.start_deployment(account, image, strategy).await?;
        self.ended(&id, status).await
    }

    /// Waits for the end of an execution.
    ///
    /// # Errors
    /// It does not end with this status; the error carries its stages.
    pub async fn ended(&self, id: &str, status: &str) -> Result<Value> {
        let execution = self.stack.gate.wait_for_execution(id, DEPLOYMENT).await?;
        ensure!(
            execution["status"] == status,
            "ended as {} instead of {status}:\n{}",
            execution["status"],
            outline(&execution)
        );
        Ok(execution)
    }

    /// A request as a user of an account sends it, through the balancer.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn visit(&self, account: &str, path: &str) -> Result<Response> {
        Client::port(self.stack.balancer_port)
            .host(&host(account))
            .get(path)
            .await
    }

    /// Requires that every one of many requests is answered by this version, within a few seconds.
    ///
    /// # Errors
    /// Another version, or none, answered.
    pub async fn require_version(&self, account: &str, version: &str) -> Result<()> {
        let what = format!("{account} is served by version {version} alone");
        eventually(&what, Duration::from_secs(10), async || {
            for _ in 0..2 * HOSTS {
                match self.visit(account, "/version").await {
                    Ok(answer) if answer.status == 200 && answer.text() == version => {}
                    Ok(answer) => return Err(format!("{} {}", answer.status, answer.text())),
                    Err(error) => return Err(format!("{error:#}")),
                }
            }
            Ok(())
        })
        .await
    }

    /// How many serving instances the balancer sees of an account's cluster.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn serving(&self, account: &str) -> Result<usize> {
        let state = balancer::state(&self.stack.data).await?;
        let instances = state["instances"]
            .as_array()
            .context("the state has no instances")?;
        let ours = |instance: &&Value| {
            let group = instance["group"].as_str().unwrap_or_default();
            balancer::cluster(group) == cluster(account) && instance["state"] == "serving"
        };
        Ok(instances.iter().filter(ours).count())
    }

    /// The versions of the processes that announced their start, oldest first.
    pub fn started(&self) -> Vec<String> {
        let version = |query: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix("version=").map(str::to_owned))
        };
        self.sink
            .deliveries("/started")
            .iter()
            .filter_map(|delivery| version(&delivery.query))
            .collect()
    }
}

/// The name of an account's cluster.
pub fn cluster(account: &str) -> String {
    format!("{APPLICATION}-{account}")
}

/// The load balancer of an account.
pub fn load_balancer(account: &str) -> String {
    format!("{APPLICATION}-{account}")
}

/// The `Host` that reaches an account's load balancer.
pub fn host(account: &str) -> String {
    format!("{account}.{APPLICATION}.test")
}

/// The text of `gennaker.yml`: short times where a test would only wait.
fn configuration(registry: &str, pace: &Pace) -> String {
    let Pace {
        poll_interval,
        settle,
        jenkins,
    } = pace;
    let jenkins = jenkins.as_ref().map_or_else(String::new, |address| {
        format!("  jenkins-poll-interval: 1s\n  jenkins: [{{name: {JENKINS}, address: \"{address}\"}}]\n")
    });
    let mut text = format!(
        "registries:\n  - name: {REGISTRY}\n    address: {registry}\n    repositories: [{REPOSITORY}]\n\
         trigger:\n  poll-interval: {poll_interval}\n  burst-limit: 0\n{jenkins}\
         local:\n  settle: {settle}\n  start-timeout: 15s\n  grace: 5s\n\
         accounts:\n"
    );
    for (account, slots) in ACCOUNTS.into_iter().zip(SLOTS) {
        text.push_str(&format!(
            "  - name: {account}\n    provider: local\n    regions:\n      {REGION}: \
             {{hosts: {HOSTS}, slots-per-host: {slots}}}\n    \
             load-balancers:\n      - name: {}\n        host: {}\n",
            load_balancer(account),
            host(account)
        ));
    }
    text
}
