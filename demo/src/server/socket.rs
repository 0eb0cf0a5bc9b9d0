//! WebSockets: each message is answered with the version and the message. A server that drains says
//! so with 1001, and goes once its clients have agreed.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::answer::Body;

/// How long a client has to agree to the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// What one conversation needs.
pub(super) struct Conversation {
    pub(super) version: String,
    pub(super) draining: watch::Receiver<bool>,
    /// Held until it ends.
    pub(super) _talking: mpsc::Sender<()>,
}

impl Conversation {
    /// Begins; none when the request is no WebSocket's.
    pub(super) fn accept(self, mut request: Request<Incoming>) -> Option<Response<Body>> {
        let upgrade = request.headers().get(UPGRADE)?;
        if !upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") {
            return None;
        }
        let key = request.headers().get(SEC_WEBSOCKET_KEY)?;
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?;
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            // A client that went away before the first byte has nothing to say.
            if let Ok(upgraded) = upgraded.await {
                self.talk(upgraded).await;
            }
        });
        let mut response = Response::new(Empty::<Bytes>::new().boxed_unsync());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        Some(response)
    }

    async fn talk(mut self, upgraded: Upgraded) {
        let io = TokioIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        loop {
            let message = tokio::select! {
                message = socket.next() => Some(message),
                _ = self.draining.wait_for(|draining| *draining) => None,
            };
            let Some(message) = message else {
                return leave(socket).await;
            };
            let answer = match message {
                Some(Ok(Message::Text(text))) => format!("{} {text}", self.version),
                // Pings are answered underneath; a close is agreed to there too.
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            };
            if socket.send(Message::text(answer)).await.is_err() {
                return;
            }
        }
    }
}

async fn leave(mut socket: WebSocketStream<TokioIo<Upgraded>>) {
    let away = CloseFrame {
        code: CloseCode::Away,
        reason: "this instance leaves".into(),
    };
    // Whoever does not agree in time is left.
    let _agreed = tokio::time::timeout(FAREWELL, async {
        socket.close(Some(away)).await?;
        while let Some(message) = socket.next().await {
            message?;
        }
        Ok::<_, tokio_tungstenite::tungstenite::Error>(())
    })
    .await;
}
