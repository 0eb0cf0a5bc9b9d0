//! Who is logged in: nobody, since this version has no authentication.
//! Source: `gate: AuthController`.

use serde_json::json;

use crate::answer::{Answer, Reply};

/// `GET /auth/user`: an empty 200 is how Gate says "nobody".
pub(super) async fn user() -> Reply {
    Ok(Answer::Empty)
}

/// `GET /auth/loggedOut`, `GET /auth/logout`
pub(super) async fn logged_out() -> Reply {
    Ok(Answer::Empty)
}

/// `GET /auth/user/serviceAccounts`
pub(super) async fn service_accounts() -> Reply {
    Ok(Answer::Ok(json!([])))
}
