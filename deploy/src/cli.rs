//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::processes::{Kind, replica, restart};
use crate::{balancer, canary, doctor, down, execution, expression, restore, up, user};

/// Continuous delivery: pipelines that replace running services without a failed request.
#[derive(Debug, Parser)]
#[command(name = "gennaker", version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole control plane in this process.
    Up(Up),
    /// Replace every process of `up --processes`, one after the other, without an outage.
    Restart(Folder),
    /// Stop control plane, balancer and instances of a data folder.
    Down(Folder),
    /// Say what is missing or wrong, in one list.
    Doctor(Doctor),
    /// The load balancer of a data folder, which outlives control planes and their upgrades.
    #[command(subcommand)]
    Balancer(Balancer),
    /// Bring back from the archive what a store that was lost or emptied had: definitions with their versions, and
    /// finished executions. May be repeated; nothing is started.
    Restore(Restore),
    /// Users who log in with a password, in a file.
    #[command(subcommand)]
    User(User),
    /// The event log of an execution, written out, folded and checked.
    #[command(subcommand)]
    Execution(Execution),
    /// Expressions, tried on an execution in a file.
    #[command(subcommand)]
    Expression(Expression),
    /// Canary judgements, tried on metrics in a file.
    #[command(subcommand)]
    Canary(Canary),
    /// One replica, as `up --processes` starts it.
    #[command(hide = true)]
    Gateway(Replica),
    /// The same.
    #[command(hide = true)]
    Orchestrator(Replica),
    /// The same.
    #[command(hide = true)]
    CloudDriver(Replica),
    /// The same.
    #[command(hide = true)]
    Trigger(Replica),
    /// The same.
    #[command(hide = true)]
    CanaryJudge(Replica),
}

/// Options of one replica: those of its supervisor, and which one it is.
#[derive(Debug, Args, Clone)]
pub(crate) struct Replica {
    #[command(flatten)]
    pub(crate) up: Up,
    /// Which replica of its service.
    #[arg(long)]
    pub(crate) replica: u32,
    /// Process id of the supervisor.
    #[arg(long)]
    pub(crate) supervisor: u32,
}

/// Options of `gennaker up`.
#[derive(Debug, Args, Clone)]
pub(crate) struct Up {
    /// Configuration; by default gennaker.yml in the data folder, which may be absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything is kept. One control plane at a time.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data: PathBuf,
    /// Address of REST interface and page. Beyond loopback people must have to authenticate.
    #[arg(long, value_name = "ADDRESS", default_value_t = std::net::Ipv4Addr::LOCALHOST.into())]
    pub(crate) bind: std::net::IpAddr,
    /// Port of REST interface and page.
    #[arg(long, value_name = "N", default_value_t = 8084)]
    pub(crate) port: u16,
    /// Port of the load balancer, on loopback.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub(crate) balancer_port: u16,
    /// Keep state in this Redis instead of the embedded store, as in redis://127.0.0.1:6379; rediss:// with TLS,
    /// redis-sentinel://HOST:PORT,…/MASTER with Sentinel, options behind `?` (store/README.md).
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// Let pipelines reach this host although its address is loopback, link-local or this machine's.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) egress_allow: Vec<runtime::egress::Allowed>,
    /// Set up the demonstration: accounts, application and pipeline.
    #[arg(long)]
    pub(crate) demo: bool,
    /// Run each service in processes of its own, on one Redis.
    #[arg(long)]
    pub(crate) processes: bool,
    /// Processes of each service.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "processes",
        value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) replicas: u32,
    /// Begin anew although the store is empty and the archive is not. What the archive holds stays there.
    #[arg(long)]
    pub(crate) accept_empty: bool,
    /// What is logged, as in info,store=debug.
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info",
        env = "GENNAKER_LOG"
    )]
    pub(crate) log: String,
}

/// What to do to a load balancer.
#[derive(Debug, Subcommand)]
pub(crate) enum Balancer {
    /// Replace it by this installation's, without a failed request: the new one takes the sockets over, the
    /// old one ends when its last connection does. It gets the settings of the configuration that gennaker up
    /// uses and listens where the old one does.
    Upgrade(Upgrade),
}

/// Options of `gennaker balancer upgrade`.
#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The folder given to `gennaker up`.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data: PathBuf,
    /// Configuration; by default the one that `gennaker up` was given last, else gennaker.yml in the data folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What to do to a users file.
#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Add a user, or give one a new password and new roles. The password is read from standard input.
    Add(AddUser),
    /// Remove a user; what the user may do ends with the next request.
    Remove(RemoveUser),
}

/// Options of `gennaker user add`.
#[derive(Debug, Args)]
pub(crate) struct AddUser {
    /// Name to log in with.
    pub(crate) name: String,
    /// The users file, as in gateway.authentication.users-file.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Roles, separated by commas.
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    pub(crate) roles: Vec<String>,
}

/// Options of `gennaker user remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveUser {
    /// Name.
    pub(crate) name: String,
    /// The users file.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// What to do with the event log of an execution.
#[derive(Debug, Subcommand)]
pub(crate) enum Execution {
    /// Write it to standard output as JSON lines, for `replay --file`.
    Export(ExportExecution),
    /// Print the execution as it was after an entry, or check the whole log.
    Replay(ReplayExecution),
}

/// Where an event log is read: the installation that runs on the data folder, its store if none runs, or:
#[derive(Debug, Args)]
pub(crate) struct LogSource {
    /// The folder given to `gennaker up`.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data: PathBuf,
    /// The REST interface of a running installation, as in https://deploy.example.com. An API token is taken
    /// from GENNAKER_TOKEN.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The Redis of an installation, as given to `gennaker up`.
    #[arg(long, value_name = "URL", conflicts_with = "url")]
    pub(crate) redis: Option<String>,
}

/// Options of `gennaker execution export`.
#[derive(Debug, Args)]
pub(crate) struct ExportExecution {
    /// The execution.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) source: LogSource,
}

/// Options of `gennaker execution replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayExecution {
    /// The execution.
    #[arg(value_name = "ID", required_unless_present = "file")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) source: LogSource,
    /// Read what `export` wrote.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "redis"])]
    pub(crate) file: Option<PathBuf>,
    /// After this entry, counted from 1; by default after the last.
    #[arg(long, value_name = "SEQ")]
    pub(crate) to: Option<u64>,
    /// Compare the hash of every entry with what the log leads to and, where this build's engine decided,
    /// with what it decides again. The first that differs is named, with both hashes.
    #[arg(long)]
    pub(crate) verify: bool,
}

/// What to do with expressions.
#[derive(Debug, Subcommand)]
pub(crate) enum Expression {
    /// Evaluate one expression, or with --jsonl a line {"id", "expression"} each of standard input. Nothing is
    /// looked up.
    Eval(EvalExpression),
}

/// Options of `gennaker expression eval`.
#[derive(Debug, Args)]
pub(crate) struct EvalExpression {
    /// The text, such as '${trigger.buildNumber}'.
    #[arg(required_unless_present = "jsonl", conflicts_with = "jsonl")]
    pub(crate) expression: Option<String>,
    /// Answer lines {"id", "result"}, with "detail" where something failed.
    #[arg(long)]
    pub(crate) jsonl: bool,
    /// An execution, as GET /pipelines/ID serves it.
    #[arg(long, value_name = "FILE")]
    pub(crate) execution: PathBuf,
    /// The stage whose context is seen, by id or reference id.
    #[arg(long, value_name = "ID")]
    pub(crate) stage: String,
}

/// What to do with canaries.
#[derive(Debug, Subcommand)]
pub(crate) enum Canary {
    /// Judge {"id", "canaryConfig", "scoreThresholds", "metricSetPairList", "rngSeed"?} of standard input by
    /// NetflixACAJudge-v1.0. Nothing is fetched.
    Judge(JudgeCanary),
    /// Find the block length for SequentialJudge-v1.0 from {"id", "canaryConfig", "metricSetPairList"} of standard input,
    /// values of two sides that ran the same version: {"id", "calibration"}.
    Calibrate(CalibrateCanary),
}

/// Options of `gennaker canary calibrate`.
#[derive(Debug, Args)]
pub(crate) struct CalibrateCanary {
    /// Read a question a line, and answer lines {"id", "calibration"} or {"id", "error"}.
    #[arg(long)]
    pub(crate) jsonl: bool,
}

/// Options of `gennaker canary judge`.
#[derive(Debug, Args)]
pub(crate) struct JudgeCanary {
    /// Read a judgement a line, and answer lines {"id", "result"} or {"id", "error"}.
    #[arg(long)]
    pub(crate) jsonl: bool,
    /// Add "trace": interval, estimate and effect of each test.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Judge as the service does: by the judge that the config names, with "remaining" steps to come, warnings, and what
    /// the other judge says.
    #[arg(long, conflicts_with = "trace")]
    pub(crate) review: bool,
}

/// A data folder.
#[derive(Debug, Args, Clone)]
pub(crate) struct Folder {
    /// The folder given to `gennaker up`.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data: PathBuf,
}

/// Options of `gennaker doctor`: those of `gennaker up`, and it looks whether they would do.
#[derive(Debug, Args, Clone)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) up: Up,
}

/// Options of `gennaker restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Configuration, as given to `gennaker up`; it says where the archive is.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The folder given to `gennaker up`; no control plane may run on it.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data: PathBuf,
    /// The Redis given to `gennaker up`; by default the embedded store in the data folder.
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// Bring back what is missing in a store that is not empty; what is there stays as it is.
    #[arg(long)]
    pub(crate) merge: bool,
}

impl Arguments {
    /// Runs the command to its end.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Up(options) => up::run(options),
            Command::Down(options) => down::run(&options.data),
            Command::Restart(options) => restart::run(&options.data),
            Command::User(order) => user::run(&order),
            Command::Execution(order) => execution::run(&order),
            Command::Expression(order) => expression::run(&order),
            Command::Canary(order) => canary::run(&order),
            Command::Gateway(options) => replica::run(Kind::Gateway, &options),
            Command::Orchestrator(options) => replica::run(Kind::Orchestrator, &options),
            Command::CloudDriver(options) => replica::run(Kind::CloudDriver, &options),
            Command::Trigger(options) => replica::run(Kind::Trigger, &options),
            Command::CanaryJudge(options) => replica::run(Kind::CanaryJudge, &options),
            Command::Balancer(Balancer::Upgrade(options)) => balancer::upgrade(&options),
            Command::Doctor(options) => doctor::run(&options.up),
            Command::Restore(options) => restore::run(&options),
        }
    }
}
