//! `AuditService`.

use proto::common::v1::{Empty, Json};
use proto::json::required;
use proto::orchestrator::v1::audit_service_server::AuditService;
use proto::orchestrator::v1::{AppendAuditRequest, ListAuditReply, ListAuditRequest};
use serde_json::Value;
use tonic::{Request, Response, Status};

use crate::audit::Audit;

/// Entries of a page that names no size.
const USUAL: u32 = 100;

#[tonic::async_trait]
impl AuditService for Audit {
    async fn append(
        &self,
        request: Request<AppendAuditRequest>,
    ) -> Result<Response<Empty>, Status> {
        let entry = required(request.get_ref().entry.as_ref(), "entry")?;
        Self::append(self, entry).await?;
        Ok(Response::new(Empty {}))
    }

    async fn list_entries(
        &self,
        request: Request<ListAuditRequest>,
    ) -> Result<Response<ListAuditReply>, Status> {
        let page = request.into_inner().page.unwrap_or_default();
        let size = if page.size == 0 { USUAL } else { page.size };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let (entries, next_cursor) = self.list(&page.cursor, size).await?;
        let entries = entries.into_iter().map(|e| Json::of(&Value::Object(e)));
        Ok(Response::new(ListAuditReply {
            entries: entries.collect(),
            next_cursor,
        }))
    }
}
