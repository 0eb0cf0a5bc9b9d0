//! What a process that hands over still counts goes to its successor, second by second and once more at
//! its end, so that no request is missing in the history.

use balancer::{ADMIN_SOCKET, Rest};
use http::{Method, StatusCode};

use super::peer::{PeerError, ask};
use super::plane::Plane;
use crate::fault::Fault;

impl Plane {
    /// Tells the successor what it was not told yet; false when it has to be told again.
    ///
    /// It may be told twice: it knows seconds by their epoch.
    pub(crate) async fn bequeath(&self) -> bool {
        if Fault::KeepRest.is_on() {
            return true;
        }
        let after_s = self.inner.borrow().bequeathed_s;
        let seconds = self.inner.borrow().records.own_after(after_s);
        let Some(last_s) = seconds.iter().map(|counted| counted.at_s).max() else {
            return true;
        };
        let rest = Rest {
            epoch: self.epoch.clone(),
            seconds,
        };
        let Ok(body) = serde_json::to_vec(&rest) else {
            return true;
        };
        let socket = self.folder.join(ADMIN_SOCKET);
        match ask(&socket, Method::POST, "/v1/seconds", body).await {
            Ok((StatusCode::OK, _)) => {
                self.inner.borrow_mut().bequeathed_s = last_s;
                true
            }
            // Still this process's own socket, or the successor is about to hand over itself.
            Ok((StatusCode::CONFLICT, _)) | Err(PeerError::Gone | PeerError::Silent(_)) => false,
            // An older version, which does not know of it.
            Ok(_) => true,
        }
    }
}
