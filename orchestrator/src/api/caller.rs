//! Who calls, as the rules of authorization know people: the one place that reads it
//! from a call.

use authorization::{Policy, Roles, Subject};
use runtime::auth::AuthContext;

/// The caller of a request; without a name when nobody is logged in.
pub(super) fn subject<T>(request: &tonic::Request<T>, policy: &Policy) -> Subject {
    let auth = AuthContext::from_metadata(request.metadata());
    if auth.user == AuthContext::ANONYMOUS {
        return Subject::default();
    }
    let roles: Roles = auth.roles.iter().collect();
    Subject::user(policy, &auth.user, roles)
}
