//! Build servers of the fake: every build ends as it was told.

use async_trait::async_trait;
use proto::status::{Failure, Kind};
use serde_json::{Map, Value, json};

use super::Fake;
use crate::services::{BuildOf, Builds};

impl Fake {
    /// How every build ends; without it all succeed.
    pub fn builds_are(&self, result: &str) {
        self.lock().build_result = Some(result.to_owned());
    }

    /// What builds were started with, in order.
    pub fn build_parameters(&self) -> Vec<Map<String, Value>> {
        self.lock().build_parameters.clone()
    }

    /// So many reads of properties go wrong first.
    pub fn properties_fail(&self, times: u32) {
        self.lock().property_failures = times;
    }

    /// Builds that were started, by their effects.
    pub fn builds_started(&self) -> Vec<String> {
        self.lock().builds.clone()
    }
}

#[async_trait]
impl Builds for Fake {
    async fn start(
        &self,
        _build: &BuildOf,
        parameters: &Map<String, Value>,
        effect_id: &str,
    ) -> Result<String, Failure> {
        self.faulty(|world| {
            if !world.builds.iter().any(|known| known == effect_id) {
                world.builds.push(effect_id.to_owned());
                world.build_parameters.push(parameters.clone());
            }
            let at = world.builds.iter().position(|known| known == effect_id);
            Ok(format!("{}", at.unwrap_or(0) + 1))
        })
    }

    async fn queued(&self, build: &BuildOf) -> Result<Option<u64>, Failure> {
        self.faulty(|_| Ok(build.item.parse().ok()))
    }

    async fn build(&self, build: &BuildOf) -> Result<Option<Value>, Failure> {
        self.faulty(|world| {
            let result = world.build_result.as_deref().unwrap_or("SUCCESS");
            Ok(Some(
                json!({"number": build.number, "result": result, "url": "http://ci/1/",
                "artifacts": [{"type": "jenkins/file", "reference": "a.txt"}]}),
            ))
        })
    }

    async fn properties(&self, _build: &BuildOf, file: &str) -> Result<Option<Value>, Failure> {
        self.faulty(|world| {
            if world.property_failures > 0 {
                world.property_failures -= 1;
                return Err(Failure::new(
                    Kind::Unavailable,
                    "the build server does not answer",
                ));
            }
            Ok((file != "missing").then(|| json!({"image": "h/a:1"})))
        })
    }

    async fn stop(&self, build: &BuildOf) -> Result<(), Failure> {
        self.faulty(|world| {
            world.canceled.push(format!("build {}", build.item));
            Ok(())
        })
    }
}
