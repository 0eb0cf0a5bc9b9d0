//! What fake peers keep of identities: permissions, users, tokens, the audit.

use std::collections::BTreeMap;

use authorization::Policy;
use proto::common::v1::{Empty, Json};
use proto::orchestrator::v1 as orca;
use proto::orchestrator::v1::audit_service_server::AuditService;
use serde_json::{Value, json};
use tonic::{Request as Call, Response, Status};

use crate::fake::Peers;

/// Kinds of object that are kept; all others are made up.
const KINDS: [&str; 4] = ["user", "serviceAccount", "apiToken", "session"];

#[derive(Default)]
pub(crate) struct Kept {
    /// Permissions of application `a`.
    pub(crate) application: Value,
    /// Permissions of account `k8s`.
    pub(crate) account: Value,
    objects: BTreeMap<(String, String), Value>,
    pub(crate) audit: Vec<Value>,
}

impl Kept {
    pub(crate) fn list(&self, kind: &str) -> Option<Vec<Json>> {
        KINDS.contains(&kind).then(|| {
            let of = self.objects.iter().filter(|((k, _), _)| k == kind);
            of.map(|(_, object)| Json::of(object)).collect()
        })
    }

    pub(crate) fn get(&self, kind: &str, id: &str) -> Option<Option<Json>> {
        KINDS.contains(&kind).then(|| {
            let found = self.objects.get(&(kind.to_owned(), id.to_owned()));
            found.map(Json::of)
        })
    }

    /// Key and value of an object as sent.
    fn place(kind: &str, object: &Json) -> ((String, String), Value) {
        let object: Value = serde_json::from_str(&object.text).unwrap_or_default();
        let id = object.get("id").or_else(|| object.get("name"));
        let id = id.and_then(Value::as_str).unwrap_or_default().to_owned();
        ((kind.to_owned(), id), object)
    }

    pub(crate) fn has(&self, kind: &str, object: &Json) -> bool {
        KINDS.contains(&kind) && self.objects.contains_key(&Self::place(kind, object).0)
    }

    pub(crate) fn save(&mut self, kind: &str, object: &Json) {
        let (key, object) = Self::place(kind, object);
        self.objects.insert(key, object);
    }

    pub(crate) fn delete(&mut self, kind: &str, id: &str) {
        self.objects.remove(&(kind.to_owned(), id.to_owned()));
    }
}

/// Administrators are those of role `admin`.
pub(crate) fn policy() -> Policy {
    serde_json::from_value(json!({"admin-roles": ["admin"]})).unwrap()
}

#[tonic::async_trait]
impl AuditService for Peers {
    async fn append(
        &self,
        call: Call<orca::AppendAuditRequest>,
    ) -> Result<Response<Empty>, Status> {
        self.note("append", call.get_ref())?;
        let entry = call.into_inner().entry.unwrap_or_default();
        let entry = serde_json::from_str(&entry.text).unwrap();
        self.kept(|kept| kept.audit.push(entry));
        Ok(Response::new(Empty {}))
    }

    async fn list_entries(
        &self,
        call: Call<orca::ListAuditRequest>,
    ) -> Result<Response<orca::ListAuditReply>, Status> {
        self.note("list_entries", call.get_ref())?;
        let entries = self.kept(|kept| kept.audit.iter().rev().map(Json::of).collect());
        Ok(Response::new(orca::ListAuditReply {
            entries,
            next_cursor: String::new(),
        }))
    }
}
