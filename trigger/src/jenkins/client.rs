//! One Jenkins master over its JSON API. Source: `igor: JenkinsClient`, and the
//! documentation of Jenkins' remote access API.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use proto::status::{Failure, Kind};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Map, Value};

use super::build::Build;
use super::{job, properties};
use crate::config::Master;
use crate::intake::now_ms;

/// How long Jenkins may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const MAX: usize = 16 * 1024 * 1024;
/// Builds that a job lists under `builds`.
const NEWEST: usize = 100;
/// Builds of a job looked at when those are not enough.
const MOST_BUILDS: usize = 1_000;
/// What is asked of a build.
const BUILD: &str = "number,building,result,timestamp,duration,url,fullDisplayName,\
                     artifacts[displayPath,fileName,relativePath],\
                     actions[failCount,skipCount,totalCount,urlName,remoteUrls,\
                     lastBuiltRevision[branch[name,SHA1]],build[revision[branch[name,SHA1]]]]";
/// How deep folders are looked into.
const DEPTH: usize = 10;
/// Jobs of one master.
const MOST_JOBS: usize = 10_000;

/// A master's client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    master: Master,
    http: reqwest::Client,
    /// How far our clock is ahead of the master's, by the date of its last answer; ms.
    ahead_ms: Arc<AtomicI64>,
}

/// A job with the last build Jenkins tells of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Job {
    /// `folder/job/name`.
    pub(crate) name: String,
    pub(crate) last: Option<Build>,
}

/// How a start went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Queued {
    /// The id of the item in the queue.
    pub(crate) item: String,
}

fn encoded(segment: &str) -> String {
    url::form_urlencoded::byte_serialize(segment.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// A job's path: each name encoded, folders joined by `job`.
fn job_path(job: &str) -> String {
    job.split('/').map(encoded).collect::<Vec<_>>().join("/")
}

impl Client {
    pub(crate) fn new(master: Master, http: reqwest::Client) -> Self {
        Self {
            master,
            http,
            ahead_ms: Arc::default(),
        }
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Failure> {
        let base = self.master.address.trim_end_matches('/');
        let request = self
            .http
            .request(method, format!("{base}/{path}"))
            .timeout(TIMEOUT)
            .header("user-agent", "gennaker-trigger");
        let Some(user) = &self.master.username else {
            return Ok(request);
        };
        let password = match &self.master.password {
            Some(secret) => secret
                .read()
                .map_err(|e| Failure::internal(e.to_string()))?,
            None => String::new(),
        };
        Ok(request.basic_auth(user, Some(password)))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let why = if error.is_timeout() {
            "does not answer in time"
        } else {
            "cannot be reached"
        };
        let text = format!("Jenkins {} {why}", self.master.name);
        Failure::new(Kind::Unavailable, text)
    }

    /// When a build ended by our clock, milliseconds since the epoch; 0 where Jenkins does not tell.
    pub(crate) fn ended_ms(&self, build: &Build) -> i64 {
        match build.timestamp {
            0 => 0,
            begun => begun + build.duration + self.ahead_ms.load(Ordering::Relaxed),
        }
    }

    /// Sends and reads; 404 is none.
    async fn text(
        &self,
        request: RequestBuilder,
    ) -> Result<Option<(StatusCode, String, String)>, Failure> {
        let mut response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let date = response.headers().get("date").and_then(|d| d.to_str().ok());
        let date = date.and_then(|d| DateTimeParser::new().parse_timestamp(d).ok());
        if let Some(date) = date {
            let ahead = now_ms() - date.as_millisecond();
            self.ahead_ms.store(ahead, Ordering::Relaxed);
        }
        let location = response.headers().get("location");
        let location = location
            .and_then(|l| l.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            if body.len() + chunk.len() > MAX {
                let text = format!("Jenkins {} answers more than {MAX} bytes", self.master.name);
                return Err(Failure::new(Kind::Exhausted, text));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_client_error() || status.is_server_error() {
            let kind = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Denied,
                s if s.is_server_error() => Kind::Unavailable,
                _ => Kind::Invalid,
            };
            let text = format!("Jenkins {} answers {status}", self.master.name);
            return Err(Failure::new(kind, text));
        }
        Ok(Some((
            status,
            location,
            String::from_utf8_lossy(&body).into_owned(),
        )))
    }

    async fn get(&self, path: &str) -> Result<Option<Value>, Failure> {
        let found = self.text(self.request(Method::GET, path)?).await?;
        let Some((_, _, body)) = found else {
            return Ok(None);
        };
        let fault =
            |e| Failure::internal(format!("Jenkins {} sends no JSON: {e}", self.master.name));
        serde_json::from_str(&body).map(Some).map_err(fault)
    }

    async fn post(&self, path: &str) -> Result<Option<(StatusCode, String, String)>, Failure> {
        let mut request = self
            .request(Method::POST, path)?
            .header("content-length", "0");
        if self.master.csrf {
            let crumb = self.get("crumbIssuer/api/json").await?.unwrap_or_default();
            let text = |key: &str| crumb.get(key).and_then(Value::as_str);
            if let (Some(field), Some(value)) = (text("crumbRequestField"), text("crumb")) {
                request = request.header(field, value);
            }
        }
        self.text(request).await
    }

    /// All jobs, folders looked into.
    pub(crate) async fn jobs(&self) -> Result<Vec<Job>, Failure> {
        let fields =
            "name,lastBuild[number,building,result,timestamp,duration,url,fullDisplayName]";
        let tree = (0..DEPTH).fold(String::new(), |inner, _| {
            let deeper = if inner.is_empty() {
                String::new()
            } else {
                format!(",{inner}")
            };
            format!("jobs[{fields}{deeper}]")
        });
        let found = self
            .get(&format!("api/json?tree={tree}"))
            .await?
            .unwrap_or_default();
        let mut jobs = Vec::new();
        collect(&found, "", &mut jobs);
        Ok(jobs)
    }

    /// The builds of a job, newest first: the last hundred, which Jenkins lists without reading the rest.
    pub(crate) async fn builds(&self, job: &str) -> Result<Vec<Build>, Failure> {
        self.listed(job, "builds", "").await
    }

    /// The builds of a job, newest first, back to number `low`, as far as Jenkins keeps them.
    pub(crate) async fn builds_since(&self, job: &str, low: u64) -> Result<Vec<Build>, Failure> {
        let newest = self.builds(job).await?;
        let reaches = newest.last().is_none_or(|oldest| oldest.number <= low + 1);
        if reaches || newest.len() < NEWEST {
            return Ok(newest);
        }
        self.listed(job, "allBuilds", &format!("{{0,{MOST_BUILDS}}}"))
            .await
    }

    async fn listed(&self, job: &str, list: &str, range: &str) -> Result<Vec<Build>, Failure> {
        let path = format!("job/{}/api/json?tree={list}[{BUILD}]{range}", job_path(job));
        let found = self.get(&path).await?.unwrap_or_default();
        let listed = found.get(list).and_then(Value::as_array);
        let builds = listed.into_iter().flatten();
        Ok(builds
            .filter_map(|b| serde_json::from_value(b.clone()).ok())
            .collect())
    }

    /// What a job is made of; none if there is none.
    pub(crate) async fn job(&self, job: &str) -> Result<Option<Value>, Failure> {
        let path = format!("job/{}/api/json?tree={}", job_path(job), job::FIELDS);
        let found = self.get(&path).await?;
        Ok(found.map(|found| job::to_json(&found, job)))
    }

    /// One build; none if there is none.
    pub(crate) async fn build(&self, job: &str, number: u64) -> Result<Option<Build>, Failure> {
        let path = format!("job/{}/{number}/api/json?tree={BUILD}", job_path(job));
        let found = self.get(&path).await?;
        Ok(found.and_then(|b| serde_json::from_value(b).ok()))
    }

    /// The properties in a file that a build keeps; none without such a file.
    pub(crate) async fn properties(
        &self,
        job: &str,
        build: &Build,
        name: &str,
    ) -> Result<Option<Map<String, Value>>, Failure> {
        let file = build.artifacts.iter().find(|f| f.file_name == name);
        let Some(file) = file else { return Ok(None) };
        let path = format!(
            "job/{}/{}/artifact/{}",
            job_path(job),
            build.number,
            job_path(&file.relative_path)
        );
        let Some((_, _, text)) = self.text(self.request(Method::GET, &path)?).await? else {
            return Ok(None);
        };
        if text.len() > properties::MAX {
            let message = format!(
                "{name} has {} bytes, more than the {} allowed",
                text.len(),
                properties::MAX
            );
            return Err(Failure::new(Kind::Invalid, message));
        }
        let parsed = properties::parse(name, &text);
        parsed
            .map(Some)
            .map_err(|reason| Failure::new(Kind::Invalid, reason))
    }

    /// Starts a build.
    pub(crate) async fn start(
        &self,
        job: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Queued, Failure> {
        let path = job_path(job);
        let about = "buildable,property[parameterDefinitions[name,type,choices]]";
        let found = self
            .get(&format!("job/{path}/api/json?tree={about}"))
            .await?;
        let found = found.ok_or_else(|| {
            Failure::not_found(format!("Jenkins {} has no job {job}", self.master.name))
        })?;
        if found.get("buildable") == Some(&Value::Bool(false)) {
            let text = format!("Job '{job}' is not buildable. It may be disabled.");
            return Err(Failure::new(Kind::Invalid, text));
        }
        let defined = definitions(&found);
        check(job, &defined, parameters)?;
        let what = if defined.is_empty() {
            "build".to_owned()
        } else if parameters.is_empty() {
            "buildWithParameters?startedBy=gennaker".to_owned()
        } else {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in parameters {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), ToOwned::to_owned);
                query.append_pair(name, &value);
            }
            format!("buildWithParameters?{}", query.finish())
        };
        let answer = self.post(&format!("job/{path}/{what}")).await?;
        let location = answer.map(|(_, location, _)| location).unwrap_or_default();
        let item = location
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        if item.is_empty() || item.bytes().any(|b| !b.is_ascii_digit()) {
            let text = format!(
                "Jenkins {} does not say where {job} is queued",
                self.master.name
            );
            return Err(Failure::internal(text));
        }
        Ok(Queued {
            item: item.to_owned(),
        })
    }

    /// The number of the build that a queued item became; none while it waits.
    pub(crate) async fn queued(&self, item: &str) -> Result<Option<u64>, Failure> {
        let path = format!("queue/item/{}/api/json", encoded(item));
        let found = self.get(&path).await?.unwrap_or_default();
        Ok(found.pointer("/executable/number").and_then(Value::as_u64))
    }

    /// Stops a build, or takes it out of the queue.
    pub(crate) async fn stop(&self, job: &str, item: &str, number: u64) -> Result<(), Failure> {
        let path = if number == 0 {
            format!("queue/cancelItem?id={}", encoded(item))
        } else {
            format!("job/{}/{number}/stop", job_path(job))
        };
        self.post(&path).await.map(|_| ())
    }
}

fn collect(folder: &Value, prefix: &str, jobs: &mut Vec<Job>) {
    let listed = folder.get("jobs").and_then(Value::as_array);
    for one in listed.into_iter().flatten() {
        let name = one.get("name").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() || jobs.len() >= MOST_JOBS {
            continue;
        }
        let name = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/job/{name}")
        };
        if one
            .get("jobs")
            .and_then(Value::as_array)
            .is_some_and(|j| !j.is_empty())
        {
            collect(one, &name, jobs);
            continue;
        }
        let last = one.get("lastBuild").filter(|b| b.is_object());
        let last = last.and_then(|b| serde_json::from_value(b.clone()).ok());
        jobs.push(Job { name, last });
    }
}

/// The parameters a job defines: name and choices.
fn definitions(job: &Value) -> Vec<(String, Vec<String>)> {
    let listed = job.get("property").and_then(Value::as_array);
    let all = listed
        .into_iter()
        .flatten()
        .filter_map(|p| p.get("parameterDefinitions")?.as_array())
        .flatten();
    all.filter_map(|d| {
        let choices = d.get("choices").and_then(Value::as_array);
        let choices = choices.into_iter().flatten().filter_map(Value::as_str);
        let choices = choices.map(ToOwned::to_owned).collect();
        Some((d.get("name")?.as_str()?.to_owned(), choices))
    })
    .collect()
}

fn check(
    job: &str,
    defined: &[(String, Vec<String>)],
    given: &Map<String, Value>,
) -> Result<(), Failure> {
    if defined.is_empty() && !given.is_empty() {
        let text = format!("job {job} takes no parameters; remove them from the stage");
        return Err(Failure::new(Kind::Invalid, text));
    }
    for (name, choices) in defined.iter().filter(|(_, choices)| !choices.is_empty()) {
        let Some(value) = given.get(name).and_then(Value::as_str) else {
            continue;
        };
        if !choices.iter().any(|c| c == value) {
            let text = format!(
                "`{value}` is not a valid choice for `{name}`. Valid choices are: {}",
                choices.join(", ")
            );
            return Err(Failure::new(Kind::Invalid, text));
        }
    }
    Ok(())
}
