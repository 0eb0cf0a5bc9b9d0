//! A Jenkins as its remote access API shows one: jobs in folders, builds with their
//! files, the queue, crumbs. For trying triggers and stages out without a Jenkins;
//! builds are ended by whoever holds it, or after a while of their own.
//!
//! Follows Jenkins' documentation of `api/json` (with `tree` ignored: more fields
//! than asked for are sent), `build`, `buildWithParameters`, `queue/item`,
//! `crumbIssuer`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The crumb that changes must carry, when crumbs are asked for.
const CRUMB: (&str, &str) = ("Jenkins-Crumb", "a1b2");

/// How long each build took, in ms.
const DURATION_MS: i64 = 1_000;

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// Builds that a job lists under `builds`.
const NEWEST: usize = 100;

/// One build.
#[derive(Debug, Clone, Default)]
struct Build {
    result: Option<String>,
    timestamp: i64,
    commit: Option<(String, String)>,
    parameters: BTreeMap<String, String>,
    /// Names and contents of what it keeps.
    files: BTreeMap<String, String>,
}

/// One job.
#[derive(Debug, Clone, Default)]
struct Job {
    builds: BTreeMap<u64, Build>,
    /// Names of its parameters, with their choices.
    parameters: Vec<(String, Vec<String>)>,
    disabled: bool,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<String, Job>,
    /// Queue item → job and number, once it has one.
    queue: Vec<(String, u64)>,
    csrf: bool,
    address: String,
    /// Requests that changed something: method and path.
    changes: Vec<String>,
    /// How often it was asked for its jobs.
    polls: usize,
}

/// A running Jenkins on loopback; it ends when this is dropped.
#[derive(Debug)]
pub struct Jenkins {
    state: Arc<Mutex<State>>,
    address: String,
    server: JoinHandle<()>,
}

impl Drop for Jenkins {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Jenkins {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State {
            address: address.clone(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let service = service_fn(move |request: Request<Incoming>| {
                    let response = answer(&state, &request);
                    async move { Ok::<_, Infallible>(response) }
                });
                tokio::spawn(async move {
                    // A client that goes away is its own business.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self {
            state,
            address,
            server,
        })
    }

    /// Its address, `http://127.0.0.1:…`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on changes need a crumb.
    pub fn ask_for_crumbs(&self) {
        lock(&self.state).csrf = true;
    }

    /// A job, `folder/job/name` for one in a folder, that takes these parameters.
    pub fn job(&self, name: &str, parameters: &[(&str, &[&str])]) {
        let owned = parameters.iter().map(|(name, choices)| {
            let choices = choices.iter().map(ToString::to_string).collect();
            ((*name).to_owned(), choices)
        });
        let job = Job {
            parameters: owned.collect(),
            ..Job::default()
        };
        lock(&self.state).jobs.insert(name.to_owned(), job);
    }

    /// Nobody may build a job any more.
    pub fn disable(&self, name: &str) {
        if let Some(job) = lock(&self.state).jobs.get_mut(name) {
            job.disabled = true;
        }
    }

    /// A build begins; its number is answered.
    pub fn begin(&self, job: &str) -> u64 {
        begin(&mut lock(&self.state), job, BTreeMap::new())
    }

    /// A build ends, keeping these files.
    pub fn end(&self, job: &str, number: u64, result: &str, files: &[(&str, &str)]) {
        let mut state = lock(&self.state);
        let build = state
            .jobs
            .get_mut(job)
            .and_then(|j| j.builds.get_mut(&number));
        if let Some(build) = build {
            build.result = Some(result.to_owned());
            let owned = files
                .iter()
                .map(|(n, c)| ((*n).to_owned(), (*c).to_owned()));
            build.files = owned.collect();
        }
    }

    /// A whole build at once.
    pub fn build(&self, job: &str, result: &str, files: &[(&str, &str)]) -> u64 {
        let number = self.begin(job);
        self.end(job, number, result, files);
        number
    }

    /// The parameters a build was started with.
    pub fn parameters(&self, job: &str, number: u64) -> BTreeMap<String, String> {
        let state = lock(&self.state);
        let build = state.jobs.get(job).and_then(|j| j.builds.get(&number));
        build.map(|b| b.parameters.clone()).unwrap_or_default()
    }

    /// A job that comes back with so many builds that ended well, so many ms ago.
    pub fn restore(&self, job: &str, builds: u64, ago_ms: i64) {
        let build = |number| {
            let build = Build {
                timestamp: now_ms() - ago_ms,
                result: Some("SUCCESS".to_owned()),
                ..Build::default()
            };
            (number, build)
        };
        let restored = Job {
            builds: (1..=builds).map(build).collect(),
            ..Job::default()
        };
        lock(&self.state).jobs.insert(job.to_owned(), restored);
    }

    /// What a build was made of: a commit of a branch.
    pub fn commit(&self, job: &str, number: u64, sha: &str, branch: &str) {
        let mut state = lock(&self.state);
        let build = state
            .jobs
            .get_mut(job)
            .and_then(|job| job.builds.get_mut(&number));
        if let Some(build) = build {
            build.commit = Some((sha.to_owned(), branch.to_owned()));
        }
    }

    /// Numbers of a job's builds that run.
    pub fn running(&self, job: &str) -> Vec<u64> {
        let state = lock(&self.state);
        let builds = state.jobs.get(job).into_iter().flat_map(|j| &j.builds);
        builds
            .filter(|(_, b)| b.result.is_none())
            .map(|(n, _)| *n)
            .collect()
    }

    /// How often it was asked for its jobs.
    pub fn polls(&self) -> usize {
        lock(&self.state).polls
    }

    /// What was changed from outside, in order: method and path.
    pub fn changes(&self) -> Vec<String> {
        lock(&self.state).changes.clone()
    }
}

fn begin(state: &mut State, job: &str, parameters: BTreeMap<String, String>) -> u64 {
    let Some(job) = state.jobs.get_mut(job) else {
        return 0;
    };
    let number = job.builds.keys().last().map_or(1, |last| last + 1);
    let build = Build {
        timestamp: now_ms() - DURATION_MS,
        parameters,
        ..Build::default()
    };
    job.builds.insert(number, build);
    number
}

fn respond(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

fn json_of(body: &Value) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, body.to_string())
}

fn not_found() -> Response<Full<Bytes>> {
    respond(StatusCode::NOT_FOUND, "not found")
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let code = hex.and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|p| !p.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn answer(state: &Mutex<State>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut state = lock(state);
    let path = request.uri().path().trim_matches('/').to_owned();
    let parameters = query(request.uri().query().unwrap_or_default());
    if request.method() == http::Method::POST {
        let crumb = request.headers().get(CRUMB.0).and_then(|v| v.to_str().ok());
        if state.csrf && crumb != Some(CRUMB.1) {
            return respond(StatusCode::FORBIDDEN, "No valid crumb was included");
        }
        let line = format!("POST /{path}");
        state.changes.push(line);
        return change(&mut state, &path, parameters);
    }
    if path == "crumbIssuer/api/json" {
        return json_of(&json!({"crumbRequestField": CRUMB.0, "crumb": CRUMB.1}));
    }
    if path == "api/json" {
        state.polls += 1;
        return json_of(&json!({"jobs": folder(&state, "")}));
    }
    if let Some(item) = path
        .strip_prefix("queue/item/")
        .and_then(|p| p.strip_suffix("/api/json"))
    {
        let found = item
            .parse::<usize>()
            .ok()
            .and_then(|n| state.queue.get(n.checked_sub(1)?));
        return match found {
            Some((_, 0)) => json_of(&json!({"id": item, "why": "waiting"})),
            Some((_, number)) => json_of(&json!({"id": item, "executable": {"number": number}})),
            None => not_found(),
        };
    }
    read(&state, &path)
}

/// Jobs and folders below a prefix.
fn folder(state: &State, prefix: &str) -> Vec<Value> {
    let mut listed: BTreeMap<String, Value> = BTreeMap::new();
    for (name, job) in &state.jobs {
        let Some(rest) = name.strip_prefix(prefix) else {
            continue;
        };
        match rest.split_once("/job/") {
            Some((folder_name, _)) => {
                let inner = format!("{prefix}{folder_name}/job/");
                listed
                    .entry(folder_name.to_owned())
                    .or_insert_with(|| json!({"name": folder_name, "jobs": folder(state, &inner)}));
            }
            None => {
                let last = job.builds.iter().next_back();
                let last = last.map(|(n, b)| build_json(state, name, *n, b));
                listed.insert(rest.to_owned(), json!({"name": rest, "lastBuild": last}));
            }
        }
    }
    listed.into_values().collect()
}

fn build_json(state: &State, job: &str, number: u64, build: &Build) -> Value {
    let actions = build.commit.as_ref().map_or_else(|| json!([]), |(sha, branch)| {
        let branch = json!([{"SHA1": sha, "name": format!("refs/remotes/origin/{branch}")}]);
        json!([{"remoteUrls": ["https://git.example.com/a/b"], "lastBuiltRevision": {"branch": branch}}])
    });
    let artifacts: Vec<Value> = build
        .files
        .keys()
        .map(|name| json!({"fileName": name, "displayPath": name, "relativePath": format!("out/{name}")}))
        .collect();
    json!({
        "number": number, "building": build.result.is_none(), "result": build.result,
        "timestamp": build.timestamp, "duration": DURATION_MS, "artifacts": artifacts,
        "actions": actions,
        "url": format!("{}/job/{job}/{number}/", state.address),
        "fullDisplayName": format!("{job} #{number}"),
    })
}

/// The job a path names, and what is behind it.
fn job_of<'a>(state: &'a State, path: &str) -> Option<(String, &'a Job, String)> {
    let path = decoded(path.strip_prefix("job/")?);
    let name = state
        .jobs
        .keys()
        .filter(|name| path == **name || path.starts_with(&format!("{name}/")))
        .max_by_key(|name| name.len())?;
    let rest = path[name.len()..].trim_matches('/').to_owned();
    Some((name.clone(), state.jobs.get(name)?, rest))
}

fn read(state: &State, path: &str) -> Response<Full<Bytes>> {
    let Some((name, job, rest)) = job_of(state, path) else {
        return not_found();
    };
    if rest == "api/json" {
        let builds = job.builds.iter().rev();
        let all: Vec<Value> = builds
            .map(|(n, b)| build_json(state, &name, *n, b))
            .collect();
        // Whatever there is, `builds` holds the newest hundred.
        let newest = all.get(..NEWEST).unwrap_or(&all).to_vec();
        let defined = job.parameters.iter().map(|(name, choices)| {
            json!({"name": name, "type": "StringParameterDefinition", "choices": choices})
        });
        let property = if job.parameters.is_empty() {
            json!([])
        } else {
            json!([{"parameterDefinitions": defined.collect::<Vec<_>>()}])
        };
        return json_of(&json!({
            "name": name, "buildable": !job.disabled, "property": property, "builds": newest,
            "allBuilds": all,
        }));
    }
    let (number, what) = rest.split_once('/').unwrap_or((&rest, ""));
    let build = number
        .parse::<u64>()
        .ok()
        .and_then(|n| Some((n, job.builds.get(&n)?)));
    let Some((number, build)) = build else {
        return not_found();
    };
    if what == "api/json" {
        return json_of(&build_json(state, &name, number, build));
    }
    match what
        .strip_prefix("artifact/out/")
        .and_then(|file| build.files.get(file))
    {
        Some(content) => respond(StatusCode::OK, content.clone()),
        None => not_found(),
    }
}

fn change(
    state: &mut State,
    path: &str,
    parameters: BTreeMap<String, String>,
) -> Response<Full<Bytes>> {
    if path == "queue/cancelItem" {
        return respond(StatusCode::NO_CONTENT, "");
    }
    let Some((name, _, rest)) = job_of(state, path) else {
        return not_found();
    };
    if rest == "build" || rest == "buildWithParameters" {
        let number = begin(state, &name, parameters);
        state.queue.push((name, number));
        let location = format!("{}/queue/item/{}/", state.address, state.queue.len());
        let mut response = respond(StatusCode::CREATED, "");
        if let Ok(value) = location.parse() {
            response.headers_mut().insert("location", value);
        }
        return response;
    }
    let number = rest
        .strip_suffix("/stop")
        .and_then(|n| n.parse::<u64>().ok());
    let build = number.and_then(|n| state.jobs.get_mut(&name)?.builds.get_mut(&n));
    match build {
        Some(build) => {
            build.result.get_or_insert_with(|| "ABORTED".to_owned());
            respond(StatusCode::FOUND, "")
        }
        None => not_found(),
    }
}
