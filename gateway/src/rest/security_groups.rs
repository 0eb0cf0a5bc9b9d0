//! Firewalls (`securityGroup` in JSON): no provider of this version has any, so
//! the lists are empty. Source: `gate: SecurityGroupController`.

use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::error::Error;
use crate::request::At;

/// `GET /securityGroups`, `GET /firewalls`: by account, provider and region.
pub(super) async fn all() -> Reply {
    Ok(Answer::Ok(json!({})))
}

/// `GET /securityGroups/{account}/{region}/{name}`
pub(super) async fn get(At((account, region, name)): At<(String, String, String)>) -> Reply {
    Err(Error::not_found(format!(
        "Security group not found (account: {account}, region: {region}, name: {name})"
    )))
}
