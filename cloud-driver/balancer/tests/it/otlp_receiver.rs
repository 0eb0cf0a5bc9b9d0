//! An OTLP receiver of the tests, and a strict reader of what it gets.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::find;
use crate::stand::eventually;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

/// A receiver that answers what it is told to, and 200 afterwards.
pub(crate) struct Receiver {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answers: VecDeque<_> = answers.iter().map(|&answer| answer.to_owned()).collect();
        let answers = Arc::new(Mutex::new(answers));
        let accepting = tokio::spawn({
            let requests = requests.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (requests, answers) = (requests.clone(), answers.clone());
                    tokio::spawn(receive(stream, requests, answers));
                }
            }
        });
        Self {
            address,
            requests,
            accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) async fn wait(&self, count: usize) -> Vec<Request> {
        eventually("requests come", async || {
            let requests = self.requests();
            if requests.len() >= count {
                Ok(requests)
            } else {
                Err(requests.len())
            }
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn receive(
    mut stream: TcpStream,
    requests: Arc<Mutex<Vec<Request>>>,
    answers: Arc<Mutex<VecDeque<String>>>,
) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = find(&buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap();
        while buffer.len() < length {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body: Vec<u8> = buffer.drain(..length).collect();
        requests.lock().unwrap().push(Request {
            head,
            body: serde_json::from_slice(&body).unwrap(),
            at: Instant::now(),
        });
        let answer = answers.lock().unwrap().pop_front();
        let answer = answer.unwrap_or_else(|| "200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned());
        let text = format!("HTTP/1.1 {answer}");
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// One series of a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) attributes: BTreeMap<String, String>,
    /// Nanoseconds; none for a gauge.
    pub(crate) since: Option<u64>,
    pub(crate) at: u64,
    /// Its number; of a histogram how many.
    pub(crate) value: i64,
}

pub(crate) type Series = BTreeMap<String, Vec<Point>>;

fn object<'a>(
    value: &'a Value,
    keys: &[&str],
    may: &[&str],
) -> Result<&'a Map<String, Value>, String> {
    let object = value
        .as_object()
        .ok_or_else(|| format!("no object: {value}"))?;
    for key in keys {
        if !object.contains_key(*key) {
            return Err(format!("{key} is missing: {value}"));
        }
    }
    let known = |key: &String| keys.contains(&key.as_str()) || may.contains(&key.as_str());
    match object.keys().find(|key| !known(key)) {
        Some(key) => Err(format!("{key} is not of the protocol: {value}")),
        None => Ok(object),
    }
}

fn list(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("no list: {value}"))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("no string: {value}"))
}

/// A 64-bit number: written as a string of digits.
fn long(value: &Value) -> Result<i64, String> {
    let text = text(value)?;
    let number: i64 = text.parse().map_err(|_| format!("no number: {text}"))?;
    if number.to_string() == text {
        Ok(number)
    } else {
        Err(format!("no plain number: {text}"))
    }
}

fn nanos(value: &Value) -> Result<u64, String> {
    let nanos = u64::try_from(long(value)?).map_err(|e| e.to_string())?;
    // Between 2020 and 2100, or the unit is another.
    if (1_577_836_800_000_000_000..4_102_444_800_000_000_000).contains(&nanos) {
        Ok(nanos)
    } else {
        Err(format!("no nanoseconds of this century: {nanos}"))
    }
}

fn attributes(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let mut attributes = BTreeMap::new();
    for one in list(value)? {
        let one = object(one, &["key", "value"], &[])?;
        let inner = object(&one["value"], &["stringValue"], &[])?;
        let (key, value) = (text(&one["key"])?, text(&inner["stringValue"])?);
        if key.is_empty() || attributes.insert(key.into(), value.into()).is_some() {
            return Err(format!("empty or twice: {key}"));
        }
    }
    Ok(attributes)
}

fn cumulative(value: &Value) -> Result<(), String> {
    // A number, not the enumeration's name.
    if value.as_u64() == Some(2) {
        Ok(())
    } else {
        Err(format!("not cumulative: {value}"))
    }
}

fn number_point(value: &Value, counts: bool) -> Result<Point, String> {
    let since: &[&str] = if counts { &["startTimeUnixNano"] } else { &[] };
    let keys = [since, &["attributes", "timeUnixNano", "asInt"]].concat();
    let point = object(value, &keys, &[])?;
    Ok(Point {
        attributes: attributes(&point["attributes"])?,
        since: point.get("startTimeUnixNano").map(nanos).transpose()?,
        at: nanos(&point["timeUnixNano"])?,
        value: long(&point["asInt"])?,
    })
}

fn histogram_point(value: &Value) -> Result<Point, String> {
    let keys = [
        "attributes",
        "startTimeUnixNano",
        "timeUnixNano",
        "count",
        "sum",
        "bucketCounts",
        "explicitBounds",
    ];
    let point = object(value, &keys, &[])?;
    let buckets = list(&point["bucketCounts"])?.iter().map(long);
    let buckets: Vec<i64> = buckets.collect::<Result<_, _>>()?;
    let bounds = list(&point["explicitBounds"])?.iter();
    let bounds: Option<Vec<f64>> = bounds.map(Value::as_f64).collect();
    let bounds = bounds.ok_or("bounds are no numbers")?;
    let count = long(&point["count"])?;
    if buckets.len() != bounds.len() + 1
        || !bounds.windows(2).all(|pair| pair[0] < pair[1])
        || buckets.iter().any(|bucket| *bucket < 0)
        || buckets.iter().sum::<i64>() != count
    {
        return Err(format!("buckets do not add up: {value}"));
    }
    let sum = point["sum"].as_f64().ok_or("sum is no number")?;
    if sum < 0.0 || (count == 0 && sum > 0.0) {
        return Err(format!("sum does not fit: {value}"));
    }
    Ok(Point {
        attributes: attributes(&point["attributes"])?,
        since: Some(nanos(&point["startTimeUnixNano"])?),
        at: nanos(&point["timeUnixNano"])?,
        value: count,
    })
}

/// Reads a request by the protocol; the resource's attributes and all series.
pub(crate) fn read(body: &Value) -> Result<(BTreeMap<String, String>, Series), String> {
    let request = object(body, &["resourceMetrics"], &[])?;
    let [resource_metrics] = &list(&request["resourceMetrics"])?[..] else {
        return Err("not one resource".to_owned());
    };
    let whole = object(resource_metrics, &["resource", "scopeMetrics"], &[])?;
    let resource = object(&whole["resource"], &["attributes"], &[])?;
    let resource = attributes(&resource["attributes"])?;
    let mut series = Series::new();
    for scope in list(&whole["scopeMetrics"])? {
        let scope = object(scope, &["scope", "metrics"], &[])?;
        let named = object(&scope["scope"], &["name", "version"], &[])?;
        text(&named["name"])?;
        for metric in list(&scope["metrics"])? {
            let kinds = ["sum", "gauge", "histogram"];
            let metric = object(
                metric,
                &["name", "description"],
                &["unit", "sum", "gauge", "histogram"],
            )?;
            let mut of = kinds
                .iter()
                .filter_map(|kind| Some((*kind, metric.get(*kind)?)));
            let (Some((kind, data)), None) = (of.next(), of.next()) else {
                return Err(format!("not one kind of data: {metric:?}"));
            };
            let points: Result<Vec<Point>, String> = match kind {
                "sum" => {
                    let keys = ["dataPoints", "aggregationTemporality", "isMonotonic"];
                    let data = object(data, &keys, &[])?;
                    cumulative(&data["aggregationTemporality"])?;
                    if data["isMonotonic"] != json!(true) {
                        return Err("a counter that may fall".to_owned());
                    }
                    let points = list(&data["dataPoints"])?.iter();
                    points.map(|point| number_point(point, true)).collect()
                }
                "gauge" => {
                    let data = object(data, &["dataPoints"], &[])?;
                    let points = list(&data["dataPoints"])?.iter();
                    points.map(|point| number_point(point, false)).collect()
                }
                _ => {
                    let data = object(data, &["dataPoints", "aggregationTemporality"], &[])?;
                    cumulative(&data["aggregationTemporality"])?;
                    if metric.get("unit") != Some(&json!("s")) {
                        return Err("times without a unit".to_owned());
                    }
                    list(&data["dataPoints"])?
                        .iter()
                        .map(histogram_point)
                        .collect()
                }
            };
            let points = points?;
            if points.is_empty() {
                return Err(format!("no series: {metric:?}"));
            }
            for point in &points {
                if point.since.is_some_and(|since| since > point.at) {
                    return Err(format!("it began after it ended: {point:?}"));
                }
            }
            let name = text(&metric["name"])?.to_owned();
            if series.insert(name.clone(), points).is_some() {
                return Err(format!("twice: {name}"));
            }
        }
    }
    Ok((resource, series))
}

#[test]
fn control_what_is_not_of_the_protocol_is_rejected() {
    let nanos = "1764187882000000000";
    let metric = |data: Value| {
        let mut metric = json!({"name": "n", "description": "d"});
        metric
            .as_object_mut()
            .unwrap()
            .extend(data.as_object().unwrap().clone());
        json!({"resourceMetrics": [{
            "resource": {"attributes": []},
            "scopeMetrics": [{"scope": {"name": "s", "version": "1"}, "metrics": [metric]}],
        }]})
    };
    let sum = json!({"sum": {
        "dataPoints": [{
            "attributes": [{"key": "k", "value": {"stringValue": "v"}}],
            "startTimeUnixNano": nanos, "timeUnixNano": nanos, "asInt": "1",
        }],
        "aggregationTemporality": 2, "isMonotonic": true,
    }});
    let histogram = json!({"unit": "s", "histogram": {
        "dataPoints": [{
            "attributes": [], "startTimeUnixNano": nanos, "timeUnixNano": nanos, "count": "2",
            "sum": 1.5, "bucketCounts": ["1", "1"], "explicitBounds": [1.0],
        }],
        "aggregationTemporality": 2,
    }});
    read(&metric(sum.clone())).unwrap();
    read(&metric(histogram.clone())).unwrap();
    let sums = [
        ("/sum/dataPoints/0/asInt", json!(1)),
        ("/sum/dataPoints/0/asInt", json!("1.0")),
        (
            "/sum/dataPoints/0/timeUnixNano",
            json!(1_764_187_882_000_000_000_u64),
        ),
        ("/sum/dataPoints/0/timeUnixNano", json!("1764187882000")),
        ("/sum/dataPoints/0/attributes", json!({"k": "v"})),
        ("/sum/dataPoints", json!([])),
        (
            "/sum/aggregationTemporality",
            json!("AGGREGATION_TEMPORALITY_CUMULATIVE"),
        ),
        ("/sum/isMonotonic", json!(false)),
    ];
    for (at, wrong) in sums {
        let mut sum = sum.clone();
        *sum.pointer_mut(at).unwrap() = wrong;
        assert!(read(&metric(sum.clone())).is_err(), "{at}: {sum}");
    }
    let histograms = [
        ("/histogram/dataPoints/0/count", json!("3")),
        ("/histogram/dataPoints/0/bucketCounts", json!([1, 1])),
        ("/histogram/dataPoints/0/explicitBounds", json!([1.0, 2.0])),
        ("/histogram/dataPoints/0/sum", json!("1.5")),
        ("/unit", json!("ms")),
    ];
    for (at, wrong) in histograms {
        let mut histogram = histogram.clone();
        *histogram.pointer_mut(at).unwrap() = wrong;
        assert!(
            read(&metric(histogram.clone())).is_err(),
            "{at}: {histogram}"
        );
    }
    let mut unknown = sum;
    unknown["sum"]["surprise"] = json!(1);
    assert!(read(&metric(unknown)).is_err());
    assert!(read(&metric(json!({"gauge": {"dataPoints": []}}))).is_err());
}
