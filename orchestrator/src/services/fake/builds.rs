//! Build servers of the fake: every build ends as it was told.

use async_trait::async_trait;
use proto::status::Failure;
use serde_json::{Map, Value, json};

use super::Fake;
use crate::services::{BuildOf, Builds};

#[async_trait]
impl Builds for Fake {
    async fn start(
        &self,
        _build: &BuildOf,
        _parameters: &Map<String, Value>,
        effect_id: &str,
    ) -> Result<String, Failure> {
        self.faulty(|world| {
            if !world.builds.iter().any(|known| known == effect_id) {
                world.builds.push(effect_id.to_owned());
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
        self.faulty(|_| Ok((file != "missing").then(|| json!({"image": "h/a:1"}))))
    }

    async fn stop(&self, build: &BuildOf) -> Result<(), Failure> {
        self.faulty(|world| {
            world.canceled.push(format!("build {}", build.item));
            Ok(())
        })
    }
}
