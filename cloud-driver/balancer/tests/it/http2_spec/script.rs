//! Cases as data: what is sent, and what a server that keeps to the RFC may do then.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::fields::{block, status};
use super::frames::{ACK, Code, DATA, Frame, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS};
use super::wire::{Event, Wire};

/// The server as a case sees it.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) scheme: &'static str,
    /// As it told them in its greeting.
    pub(super) settings: Vec<(u16, u32)>,
}

impl Peer {
    /// A setting, or what holds when it was not told.
    pub(super) fn setting(&self, identifier: u16, default: u32) -> u32 {
        let mut told = self.settings.iter().rev();
        let found = told.find(|(i, _)| *i == identifier);
        found.map_or(default, |(_, value)| *value)
    }

    /// The fields that every request has, with these behind them.
    pub(super) fn fields<'a>(
        &self,
        method: &'a str,
        more: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let mut fields = vec![
            (":method", method),
            (":scheme", self.scheme),
            (":path", "/"),
            (":authority", "spec.test"),
        ];
        fields.extend(more);
        fields
    }

    /// A request's head.
    pub(super) fn head(&self, method: &str, more: &[(&str, &str)]) -> Vec<u8> {
        block(&self.fields(method, more))
    }

    pub(super) fn get(&self) -> Vec<u8> {
        self.head("GET", &[])
    }

    pub(super) fn post(&self) -> Vec<u8> {
        self.head("POST", &[])
    }
}

/// What must be seen; other frames may come before it.
#[derive(Debug, Clone)]
pub(super) enum Expect {
    /// GOAWAY with one of these codes, or the connection's end (RFC 9113, section 5.4.1).
    ConnectionError(&'static [Code]),
    /// The same, or RST_STREAM of this stream with one of these codes (section 5.4.2).
    StreamError(u32, &'static [Code]),
    /// A stream error, or an answer that says so first (section 8.1.1): 400.
    Malformed(u32),
    /// The connection's end, in good order.
    Closed,
    /// GOAWAY with this code and nothing else.
    Goaway(Code),
    /// RST_STREAM with this code and nothing else.
    Reset(u32, Code),
    /// The first frame of all is SETTINGS.
    SettingsFirst,
    /// Settings that were sent are acknowledged.
    SettingsAck,
    /// The next PING is the answer to this one.
    Ping([u8; 8]),
    /// The same, or the connection's end.
    PingOrClosed([u8; 8]),
    /// The next head of an answer is this stream's, with 200.
    Answer(u32),
    /// A stream that the server has said all on.
    Ended(u32),
    /// The next DATA is this stream's and has so many bytes.
    Data(u32, usize),
}

/// What a case shows that the server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// It objects.
    Refusal,
    /// It goes on.
    Acceptance,
    /// Either.
    Either,
}

impl Expect {
    pub(super) fn shows(&self) -> Shows {
        match self {
            Self::ConnectionError(_)
            | Self::StreamError(..)
            | Self::Malformed(_)
            | Self::Closed
            | Self::Goaway(_)
            | Self::Reset(..) => Shows::Refusal,
            Self::SettingsFirst
            | Self::SettingsAck
            | Self::Ping(_)
            | Self::Answer(_)
            | Self::Ended(_)
            | Self::Data(..) => Shows::Acceptance,
            Self::PingOrClosed(_) => Shows::Either,
        }
    }

    /// Whether this is it; none: something that may come before.
    fn judge(&self, event: &Event) -> Option<bool> {
        let frame = match event {
            Event::Frame(frame) => frame,
            Event::Closed => {
                let may = matches!(
                    self,
                    Self::ConnectionError(_)
                        | Self::StreamError(..)
                        | Self::Malformed(_)
                        | Self::Closed
                        | Self::PingOrClosed(_)
                );
                return Some(may);
            }
            Event::Broken(_) | Event::Silence => return Some(false),
        };
        let is_code = |kind: u8, codes: &[Code]| {
            frame.kind == kind && frame.code().is_some_and(|code| codes.contains(&code))
        };
        let is_reset =
            |stream: u32, codes: &[Code]| frame.stream == stream && is_code(RST_STREAM, codes);
        let is = match self {
            Self::ConnectionError(codes) => is_code(GOAWAY, codes),
            Self::StreamError(stream, codes) => is_code(GOAWAY, codes) || is_reset(*stream, codes),
            Self::Malformed(stream) => {
                let codes = &[Code::PROTOCOL_ERROR];
                is_code(GOAWAY, codes) || is_reset(*stream, codes) || is_status(frame, *stream, 400)
            }
            Self::Goaway(code) => is_code(GOAWAY, &[*code]),
            Self::Reset(stream, code) => is_reset(*stream, &[*code]),
            Self::Closed => false,
            Self::SettingsFirst => return Some(frame.kind == SETTINGS && !frame.has(ACK)),
            Self::SettingsAck => frame.kind == SETTINGS && frame.has(ACK),
            Self::Ping(word) if frame.kind == PING => return Some(is_answer_to(frame, *word)),
            Self::Ping(_) => false,
            Self::PingOrClosed(word) => is_answer_to(frame, *word),
            Self::Answer(stream) if frame.kind == HEADERS => {
                return Some(is_status(frame, *stream, 200));
            }
            Self::Answer(_) => false,
            Self::Ended(stream) => {
                let is_end = frame.ends_stream() || is_code(RST_STREAM, &[Code::NO_ERROR]);
                is_end && frame.stream == *stream
            }
            Self::Data(stream, length) if frame.kind == DATA => {
                return Some((frame.stream, frame.payload.len()) == (*stream, *length));
            }
            Self::Data(..) => false,
        };
        is.then_some(true)
    }
}

fn is_answer_to(frame: &Frame, word: [u8; 8]) -> bool {
    frame.kind == PING && frame.has(ACK) && frame.payload == word
}

fn is_status(frame: &Frame, stream: u32, code: u16) -> bool {
    frame.kind == HEADERS && frame.stream == stream && status(&frame.payload) == Some(code)
}

/// A step of a case.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    Expect(Expect),
}

/// Sends these, and expects that.
pub(super) fn after(sent: impl IntoIterator<Item = Vec<u8>>, expect: Expect) -> Vec<Step> {
    let mut steps: Vec<_> = sent.into_iter().map(Step::Send).collect();
    steps.push(Step::Expect(expect));
    steps
}

/// One case.
pub(super) struct Case {
    /// Of RFC 9113 or, for fields, RFC 7541. Where RFC 7540 had another number, that of RFC 7540,
    /// as its tests are known by it.
    pub(super) section: &'static str,
    /// What it does.
    pub(super) name: &'static str,
    /// Whether greetings go before it.
    greets: bool,
    steps: fn(&Peer) -> Vec<Step>,
}

/// A case that begins after the greetings.
pub(super) const fn case(
    section: &'static str,
    name: &'static str,
    steps: fn(&Peer) -> Vec<Step>,
) -> Case {
    Case {
        section,
        name,
        greets: true,
        steps,
    }
}

/// A case that begins with the first byte of a connection.
pub(super) const fn ungreeted(
    section: &'static str,
    name: &'static str,
    steps: fn(&Peer) -> Vec<Step>,
) -> Case {
    Case {
        section,
        name,
        greets: false,
        steps,
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.section, self.name)
    }
}

/// How frames are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// All of a step's frames in one piece: the server meets the second while the first is new.
    AtOnce,
    /// With time between them, in which the server may answer.
    Apart,
}

/// Between two frames that are sent apart.
const PAUSE: Duration = Duration::from_millis(2);

impl Case {
    /// What it shows in the end.
    pub(super) fn shows(&self) -> Shows {
        let peer = Peer {
            scheme: "http",
            settings: Vec::new(),
        };
        match (self.steps)(&peer).last() {
            Some(Step::Expect(expect)) => expect.shows(),
            _ => panic!("{self} expects nothing"),
        }
    }

    /// Runs it on a new connection.
    ///
    /// # Errors
    /// What was expected, and what was seen.
    pub(super) async fn run(
        &self,
        mut wire: Wire,
        scheme: &'static str,
        pace: Pace,
    ) -> Result<(), String> {
        let settings = if self.greets {
            wire.greet().await?
        } else {
            Vec::new()
        };
        let mut waiting = Vec::new();
        for step in (self.steps)(&Peer { scheme, settings }) {
            match step {
                Step::Send(bytes) if pace == Pace::AtOnce => waiting.extend(bytes),
                Step::Send(bytes) => {
                    wire.write(&bytes).await;
                    tokio::time::sleep(PAUSE).await;
                }
                Step::Expect(expect) => {
                    wire.write(&std::mem::take(&mut waiting)).await;
                    meet(&mut wire, &expect).await?;
                }
            }
        }
        Ok(())
    }
}

/// Reads until it is clear whether something expected has come.
async fn meet(wire: &mut Wire, expect: &Expect) -> Result<(), String> {
    let mut seen = Vec::new();
    loop {
        let event = wire.next().await;
        seen.push(event.to_string());
        match expect.judge(&event) {
            Some(true) => return Ok(()),
            Some(false) => {
                return Err(format!("expected {expect:?}, saw {}", seen.join("; ")));
            }
            None => {}
        }
    }
}
