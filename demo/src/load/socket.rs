//! A conversation on a WebSocket: numbered messages, each answered before the next. When the other side
//! leaves with 1001 it goes on, on a new connection, with the message that has no answer yet; any other
//! end is a failure.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use hyper::StatusCode;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::connection::Answer;

/// Between two messages.
const PAUSE: Duration = Duration::from_millis(100);
/// A conversation that is sent away so often is not served.
const MOST_FAREWELLS: u32 = 10;

type Socket = WebSocketStream<TcpStream>;

/// What came.
enum Came {
    /// A text.
    Text(String),
    /// Nothing, for as long as was waited.
    Nothing,
    /// The other side leaves.
    Farewell,
}

/// One conversation to its end.
pub(super) async fn converse(
    address: &str,
    host: &str,
    path: &str,
    total: Duration,
) -> Result<Answer> {
    let mut socket = open(address, host, path).await?;
    let (mut farewells, mut version) = (0, String::new());
    let messages = (total.as_millis() / PAUSE.as_millis()).max(1);
    let (mut number, mut is_said) = (1, false);
    while number <= messages {
        // One that cannot be said any more has its reason in what comes next.
        if !is_said {
            is_said = socket.send(Message::text(number.to_string())).await.is_ok();
        }
        let patience = if is_said { Duration::MAX } else { PAUSE };
        match next(&mut socket, patience).await? {
            Came::Text(text) => {
                let (by, answered) = text.split_once(' ').context("an answer of one word")?;
                ensure!(
                    answered == number.to_string(),
                    "message {number} was answered with {text:?}"
                );
                version = by.to_owned();
                (number, is_said) = (number + 1, false);
                match next(&mut socket, PAUSE).await? {
                    Came::Nothing => continue,
                    Came::Text(text) => bail!("{text:?} came without a question"),
                    Came::Farewell => {}
                }
            }
            Came::Nothing => bail!("message {number} could not be sent, and nobody said why"),
            Came::Farewell => {}
        }
        farewells += 1;
        ensure!(
            farewells <= MOST_FAREWELLS,
            "sent away {farewells} times within one conversation"
        );
        // Agreed to before anything else; the other side may have gone already.
        let _gone = socket.close(None).await;
        drop(socket);
        socket = open(address, host, path).await?;
        is_said = false;
    }
    socket.close(None).await.context("cannot say goodbye")?;
    Ok(Answer {
        status: StatusCode::SWITCHING_PROTOCOLS,
        version: Some(version),
        start: Vec::new(),
        trailers: None,
        farewells: farewells.into(),
    })
}

async fn open(address: &str, host: &str, path: &str) -> Result<Socket> {
    let stream = TcpStream::connect(address)
        .await
        .context("cannot connect")?;
    stream
        .set_nodelay(true)
        .context("cannot set up the connection")?;
    let uri = format!("ws://{host}{path}").parse().context("no address")?;
    let (socket, _) = client_async(ClientRequestBuilder::new(uri), stream)
        .await
        .context("no WebSocket")?;
    Ok(socket)
}

/// What comes next within a time; any end but a farewell is a failure.
async fn next(socket: &mut Socket, patience: Duration) -> Result<Came> {
    loop {
        let message = match tokio::time::timeout(patience, socket.next()).await {
            Err(_) => return Ok(Came::Nothing),
            Ok(None) => bail!("the connection ended without a farewell"),
            Ok(Some(message)) => message.context("the connection broke off")?,
        };
        match message {
            Message::Text(text) => return Ok(Came::Text(text.to_string())),
            Message::Close(Some(close)) if close.code == CloseCode::Away => {
                return Ok(Came::Farewell);
            }
            Message::Close(close) => bail!("it was closed with {close:?}"),
            _ => {}
        }
    }
}
