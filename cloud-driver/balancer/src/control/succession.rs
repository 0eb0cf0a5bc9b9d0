//! Replacing this process by another without a failed request: sockets are passed on, never closed
//! while somebody waits in their queue, and what is left here ends by itself.

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use balancer::ADMIN_SOCKET;
use balancer::handover::{Answer, Offer, PATIENCE_MS, PROTOCOL, leaving_socket};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::listeners::MOST_SOCKETS;
use super::plane::Plane;
use crate::proxy::worker::Command;

/// Most bytes of a line.
const MOST_LINE: u64 = 16 * 1024 * 1024;

/// Why a handover failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SuccessionError {
    /// The connection could not be taken out of HTTP.
    #[error("upgrade failed: {0}")]
    Upgrade(#[source] hyper::Error),
    /// The connection is no unix socket of ours.
    #[error("connection is not a plain one")]
    Foreign,
    /// The other side is gone or too slow.
    #[error("talk with the other process failed: {0}")]
    Talk(#[from] io::Error),
    /// The other side does not speak as it should.
    #[error("other process is not understood: {0}")]
    Words(String),
    /// The other side gave up.
    #[error("other process gave up")]
    GivenUp,
}

fn say(stream: &mut UnixStream, value: &impl Serialize) -> Result<(), SuccessionError> {
    let mut line = serde_json::to_vec(value).map_err(|e| SuccessionError::Words(e.to_string()))?;
    line.push(b'\n');
    Ok(stream.write_all(&line)?)
}

fn hear<T: DeserializeOwned>(reader: &mut impl BufRead) -> Result<T, SuccessionError> {
    let mut line = Vec::new();
    reader.take(MOST_LINE).read_until(b'\n', &mut line)?;
    serde_json::from_slice(&line).map_err(|e| SuccessionError::Words(e.to_string()))
}

/// Hands this process's sockets over, and stops accepting once the successor accepts.
pub(crate) async fn give(plane: &Rc<Plane>, upgraded: Upgraded) -> Result<(), SuccessionError> {
    // A configuration that is being applied is finished first; no other one begins.
    let _one = plane.writing.lock().await;
    let parts = upgraded.downcast::<TokioIo<tokio::net::UnixStream>>();
    let parts = parts.map_err(|_| SuccessionError::Foreign)?;
    let stream = parts.io.into_inner().into_std()?;
    stream.set_nonblocking(false)?;
    let patience = Duration::from_millis(PATIENCE_MS);
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let (sockets, configured) = plane.listeners.borrow().hand_over()?;
    let offer = Offer {
        sockets: u32::try_from(sockets.len()).unwrap_or(u32::MAX),
        configured,
        state: plane.state(),
    };
    let talked = tokio::task::spawn_blocking(move || offer_and_wait(stream, &sockets, &offer));
    let mut stream = talked
        .await
        .map_err(|e| SuccessionError::Words(e.to_string()))??;

    let admin = plane.folder.join(ADMIN_SOCKET);
    let leaving = plane.folder.join(leaving_socket(std::process::id()));
    // One of a process that had this number before.
    let _absent = std::fs::remove_file(&leaving);
    std::fs::hard_link(&admin, &leaving)?;
    plane.leaving.set(true);
    let mut waiting = Vec::new();
    for worker in &plane.workers {
        let (confirm, confirmed) = oneshot::channel();
        if worker.commands.send(Command::Deafen(confirm)).is_ok() {
            waiting.push(confirmed);
        }
    }
    for confirmed in waiting {
        // A worker that is gone accepts nothing.
        let _gone = confirmed.await;
    }
    plane.listeners.borrow_mut().clear();
    plane.replaced.notify_one();
    // From here on the successor serves, whether it hears this or not.
    if let Err(error) = say(&mut stream, &Answer { done: true }) {
        eprintln!("successor did not hear the last word: {error}");
    }
    Ok(())
}

fn offer_and_wait(
    mut stream: UnixStream,
    sockets: &[TcpListener],
    offer: &Offer,
) -> Result<UnixStream, SuccessionError> {
    let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(SuccessionError::Words(format!(
            "more than {MOST_SOCKETS} sockets"
        )));
    }
    let sent = sendmsg(
        &stream,
        &[IoSlice::new(b"\n")],
        &mut control,
        SendFlags::NOSIGNAL,
    );
    sent.map_err(io::Error::from)?;
    say(&mut stream, offer)?;
    let answer: Answer = hear(&mut BufReader::new(&stream))?;
    if answer.done {
        Ok(stream)
    } else {
        Err(SuccessionError::GivenUp)
    }
}

/// What was taken over from a running balancer; it goes on until [`Self::confirm`].
pub(crate) struct Taken {
    stream: BufReader<UnixStream>,
    /// Its sockets.
    pub(crate) listeners: Vec<TcpListener>,
    /// What it said.
    pub(crate) offer: Offer,
}

/// Asks a running balancer for its sockets; none when there is none.
///
/// # Errors
/// When there is one and it does not hand over.
pub(crate) fn take(folder: &Path) -> Result<Option<Taken>, SuccessionError> {
    let mut stream = match UnixStream::connect(folder.join(ADMIN_SOCKET)) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    stream.set_read_timeout(Some(Duration::from_millis(PATIENCE_MS)))?;
    let request = format!(
        "POST /v1/handover HTTP/1.1\r\nhost: balancer\r\nconnection: upgrade\r\nupgrade: {PROTOCOL}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head comes with descriptors and must not be read along.
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head.len() > 64 * 1024 {
            return Err(SuccessionError::Words(
                "its answer's head has no end".to_owned(),
            ));
        }
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        let line = String::from_utf8_lossy(&head);
        let line = line.lines().next().unwrap_or_default().to_owned();
        return Err(SuccessionError::Words(line));
    }
    let listeners = receive(&stream)?
        .into_iter()
        .map(TcpListener::from)
        .collect::<Vec<_>>();
    let mut stream = BufReader::new(stream);
    let offer: Offer = hear(&mut stream)?;
    if usize::try_from(offer.sockets) != Ok(listeners.len()) {
        let why = format!("{} sockets came of {}", listeners.len(), offer.sockets);
        return Err(SuccessionError::Words(why));
    }
    Ok(Some(Taken {
        stream,
        listeners,
        offer,
    }))
}

fn receive(stream: &UnixStream) -> Result<Vec<OwnedFd>, SuccessionError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        flags,
    );
    received.map_err(io::Error::from)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    Ok(sockets)
}

impl Taken {
    /// Says that this process accepts connections, and waits until the other one does not any more.
    ///
    /// # Errors
    /// When the other one does not confirm: it keeps everything, and this process should end.
    pub(crate) fn confirm(&mut self) -> Result<(), SuccessionError> {
        say(self.stream.get_mut(), &Answer { done: true })?;
        let answer: Answer = hear(&mut self.stream)?;
        if answer.done {
            Ok(())
        } else {
            Err(SuccessionError::GivenUp)
        }
    }
}
