//! Who a call is made for, on its way between services.

use tonic::metadata::{MetadataMap, MetadataValue};

/// Name of the user; absent means [`AuthContext::ANONYMOUS`].
pub const USER_HEADER: &str = "x-gennaker-user";
/// Roles, separated by commas.
pub const ROLES_HEADER: &str = "x-gennaker-roles";
/// Id of the request that caused the call.
pub const REQUEST_HEADER: &str = "x-gennaker-request-id";

/// The caller as the edge established it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthContext {
    /// User name.
    pub user: String,
    /// The user's roles.
    pub roles: Vec<String>,
    /// The request this belongs to, for logs and answers.
    pub request_id: Option<String>,
}

impl Default for AuthContext {
    fn default() -> Self {
        Self {
            user: Self::ANONYMOUS.to_owned(),
            roles: Vec::new(),
            request_id: None,
        }
    }
}

impl AuthContext {
    /// The user of a call nobody signed.
    pub const ANONYMOUS: &'static str = "anonymous";

    /// Reads the context of a received call.
    pub fn from_metadata(metadata: &MetadataMap) -> Self {
        let text = |name| {
            metadata
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(ToOwned::to_owned)
        };
        let roles = text(ROLES_HEADER).unwrap_or_default();
        Self {
            user: text(USER_HEADER).unwrap_or_else(|| Self::ANONYMOUS.to_owned()),
            roles: roles
                .split(',')
                .filter(|r| !r.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
            request_id: text(REQUEST_HEADER),
        }
    }

    /// A request that carries this context. What does not fit a header (a name
    /// with control characters) is left out, which means anonymous.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let metadata = request.metadata_mut();
        if let Ok(user) = MetadataValue::try_from(&self.user) {
            metadata.insert(USER_HEADER, user);
        }
        if let Ok(roles) = MetadataValue::try_from(self.roles.join(",")) {
            metadata.insert(ROLES_HEADER, roles);
        }
        if let Some(Ok(id)) = self.request_id.as_ref().map(MetadataValue::try_from) {
            metadata.insert(REQUEST_HEADER, id);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_arrives_as_it_was_sent() {
        let context = AuthContext {
            user: "ann".into(),
            roles: vec!["dev".into(), "ops".into()],
            request_id: Some("r1".into()),
        };
        assert_eq!(
            AuthContext::from_metadata(context.request(()).metadata()),
            context
        );
        assert_eq!(
            AuthContext::from_metadata(&MetadataMap::new()),
            AuthContext::default()
        );
    }
}
