//! What is written of a request in the access log, and how a worker hands it to the thread that
//! writes: without waiting, and without a line when there is no room.
//!
//! Headers, cookies and bodies are never written; what follows the `?` of a path only when it was asked
//! for. Nothing here is done while the log is off.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{SystemTime, UNIX_EPOCH};

use balancer::AccessLog;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Version};
use serde::{Serialize, Serializer};

use super::meter::Totals;
use super::target::Target;

/// The header of a request's id, both ways.
pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Most characters of an id that a client gives.
const MOST_ID: usize = 128;

/// Most bytes written of a host, a path, a query.
const MOST_TEXT: usize = 2_048;

/// What goes to the thread that writes.
#[derive(Debug)]
pub(crate) enum Message {
    /// A line.
    Line(Box<Entry>),
    /// Say when all lines before this one are written.
    Flush(SyncSender<()>),
}

/// What workers are told to write, and to whom.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// What is asked for.
    pub(crate) settings: Arc<AccessLog>,
    /// To the thread that writes.
    pub(crate) lines: SyncSender<Message>,
}

/// The log as one worker has it.
#[derive(Debug)]
pub(crate) struct Log {
    order: Order,
    turn: Cell<u32>,
}

impl Log {
    /// With nothing written yet.
    pub(crate) fn new(order: Order) -> Self {
        Self {
            order,
            turn: Cell::new(0),
        }
    }

    /// Whether requests to a load balancer are written; none: those that no route fits.
    pub(crate) fn wants(&self, balancer: Option<&str>) -> bool {
        let wanted = &self.order.settings.load_balancers;
        wanted.is_empty() || balancer.is_some_and(|name| wanted.iter().any(|w| w == name))
    }

    /// Whether the next request is among those that are written.
    pub(crate) fn is_next(&self) -> bool {
        let turn = self.turn.get();
        let after = turn + 1;
        self.turn.set(if after >= self.order.settings.sample {
            0
        } else {
            after
        });
        turn == 0
    }

    /// What is known of a request when it comes.
    pub(crate) fn entry<B>(&self, request: &Request<B>, id: &HeaderValue, client: &str) -> Entry {
        let settings = &self.order.settings;
        let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
        let query = request.uri().query().filter(|_| settings.query);
        Entry {
            time: Time::now(),
            request_id: clean(id.as_bytes()),
            client: client.to_owned(),
            method: clean(request.method().as_str().as_bytes()),
            host: clean(without_user(host.unwrap_or_default())),
            path: clean(request.uri().path().as_bytes()),
            query: query.map(|query| clean(query.as_bytes())),
            protocol: protocol(request.version()),
            sample: (settings.sample > 1).then_some(settings.sample),
            ..Entry::default()
        }
    }

    /// Hands a line on; without room it is dropped and counted.
    pub(crate) fn write(&self, entry: Box<Entry>, totals: &Totals) {
        if self.order.lines.try_send(Message::Line(entry)).is_err() {
            totals.lines_dropped.add(1);
        }
    }
}

/// One line.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// When the request's head had come.
    time: Time,
    request_id: String,
    client: String,
    method: String,
    host: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    protocol: &'static str,
    /// Absent when no answer began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// Of the request's body.
    pub(crate) bytes_in: u64,
    /// Of the answer's body.
    pub(crate) bytes_out: u64,
    /// To the end of the answer, or of the tunnel.
    pub(crate) duration_us: u64,
    /// To the head of the instance's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_byte_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load_balancer: Option<Arc<str>>,
    /// The group and the instance that it was sent to last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_group: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "id_of")]
    pub(crate) instance: Option<Arc<Target>>,
    pub(crate) retries: u32,
    /// Whether it became a tunnel.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) tunnel: bool,
    /// The name of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'static str>,
    /// One of so many requests is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<u32>,
}

fn id_of<S: Serializer>(target: &Option<Arc<Target>>, to: S) -> Result<S::Ok, S::Error> {
    target.as_ref().map(|target| &target.id).serialize(to)
}

/// A request's id: the client's own when it is well formed, a new one otherwise; written into the
/// request.
pub(crate) fn settle_id(headers: &mut HeaderMap) -> HeaderValue {
    let mut given = headers.get_all(&REQUEST_ID).iter();
    if let (Some(only), None) = (given.next(), given.next()) {
        let visible = only.as_bytes().iter().all(u8::is_ascii_graphic);
        if visible && (1..=MOST_ID).contains(&only.len()) {
            return only.clone();
        }
    }
    let made = hex::encode(rand::random::<[u8; 16]>());
    // Digits only, which every header may have.
    let made = HeaderValue::from_str(&made).unwrap_or(HeaderValue::from_static("-"));
    headers.insert(&REQUEST_ID, made.clone());
    made
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// A host without a name and a password before it.
fn without_user(host: &[u8]) -> &[u8] {
    let at = host.iter().rposition(|byte| *byte == b'@');
    at.map_or(host, |at| &host[at + 1..])
}

/// A client's text as it may be written: what is no text or could steer a terminal is replaced, what
/// is too long is cut.
fn clean(bytes: &[u8]) -> String {
    let cut = bytes.len() > MOST_TEXT;
    let bytes = &bytes[..bytes.len().min(MOST_TEXT)];
    let text = String::from_utf8_lossy(bytes);
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut text: String = text.chars().map(shown).collect();
    if cut {
        text.push('…');
    }
    text
}

/// A moment, ms since the epoch; written as `2025-11-26T20:11:22.123Z`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Time(i64);

impl Time {
    fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = since.unwrap_or_default().as_millis();
        Self(i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = date(days);
        let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
        let (second, ms) = (ms / 1_000 % 60, ms % 1_000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
        )
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Year, month and day of a number of days since 1970-01-01. Years begin in March here, so that the
/// leap day is a year's last and months follow a rule: 153 days in every five.
fn date(days: i64) -> (i64, i64, i64) {
    // Days in 400 years, and from 0000-03-01 to 1970-01-01.
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn log(settings: AccessLog) -> (Log, std::sync::mpsc::Receiver<Message>) {
        let (lines, receiver) = sync_channel(2);
        let order = Order {
            settings: Arc::new(settings),
            lines,
        };
        (Log::new(order), receiver)
    }

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_764_187_882_123, "2025-11-26T20:11:22.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Time(ms).to_string(), text);
        }
    }

    #[test]
    fn an_id_is_the_clients_when_it_is_well_formed_and_new_otherwise() {
        let long = "x".repeat(MOST_ID);
        for given in ["a", "7f.x/+=|~\"\\", long.as_str()] {
            let mut headers = HeaderMap::new();
            headers.insert(&REQUEST_ID, given.parse().unwrap());
            assert_eq!(settle_id(&mut headers), given);
            assert_eq!(headers[&REQUEST_ID], given);
        }
        let too_long = "x".repeat(MOST_ID + 1);
        for given in [&[][..], &[""], &["a b"], &["a", "b"], &["ä"], &[&too_long]] {
            let mut headers = HeaderMap::new();
            for value in given {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                headers.append(&REQUEST_ID, value);
            }
            let id = settle_id(&mut headers);
            assert_eq!(
                headers.get_all(&REQUEST_ID).iter().collect::<Vec<_>>(),
                [&id]
            );
            let id = id.to_str().unwrap();
            assert!(
                id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
                "{id}"
            );
        }
    }

    #[test]
    fn a_line_is_one_line_whatever_a_client_sends() {
        let (log, _) = log(AccessLog {
            query: true,
            ..AccessLog::default()
        });
        let mut request = Request::get("/a?q=%0a&x").body(()).unwrap();
        let host = HeaderValue::from_bytes(b"user:secret@h\xff\"\t\xc2\x9b\\{}").unwrap();
        request.headers_mut().insert(HOST, host);
        let id = HeaderValue::from_static("\"},{\"");
        let mut entry = log.entry(&request, &id, "127.0.0.1");
        entry.path = clean(b"/x\n{\"time\":0}\r\x1b[31m\0");
        let text = serde_json::to_string(&entry).unwrap();
        assert!(text.bytes().all(|byte| byte >= b' '), "{text}");
        assert!(!text.contains("secret"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["host"], "h\u{fffd}\"\u{fffd}\u{fffd}\\{}");
        assert_eq!(
            value["path"],
            "/x\u{fffd}{\"time\":0}\u{fffd}\u{fffd}[31m\u{fffd}"
        );
        assert_eq!(
            (&value["requestId"], &value["query"]),
            (&"\"},{\"".into(), &"q=%0a&x".into())
        );
        assert_eq!(
            clean(&vec![b'x'; MOST_TEXT + 1]).chars().count(),
            MOST_TEXT + 1
        );
    }

    #[test]
    fn what_is_written_is_what_was_asked_for() {
        let (only, _) = log(AccessLog {
            load_balancers: vec!["a".into()],
            sample: 3,
            ..AccessLog::default()
        });
        assert_eq!(
            [Some("a"), Some("b"), None].map(|name| only.wants(name)),
            [true, false, false]
        );
        let written: Vec<_> = (0..6).map(|_| only.is_next()).collect();
        assert_eq!(written, [true, false, false, true, false, false]);
        let request = Request::get("/a?token=1").body(()).unwrap();
        let entry = only.entry(&request, &HeaderValue::from_static("i"), "c");
        assert_eq!((entry.query.as_deref(), entry.sample), (None, Some(3)));
        let (all, lines) = log(AccessLog::default());
        assert!([Some("a"), None].into_iter().all(|name| all.wants(name)));
        assert!((0..3).all(|_| all.is_next()));
        let totals = Totals::default();
        for _ in 0..5 {
            all.write(Box::default(), &totals);
        }
        assert_eq!(totals.lines_dropped.get(), 3, "two have room");
        drop(lines);
        all.write(Box::default(), &totals);
        assert_eq!(totals.lines_dropped.get(), 4);
    }
}
