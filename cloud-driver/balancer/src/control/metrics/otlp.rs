//! Figures as OTLP's JSON (opentelemetry-proto 1.x, `ExportMetricsServiceRequest`): 64-bit numbers are
//! strings, enumerations are numbers.
//!
//! Names are the same as in Prometheus' text. Sums are cumulative; each series says since when, so that
//! one that began anew is not taken for a smaller one.

use serde::Serialize;

use super::figures::{BUCKETS_US, Family, Kind, Sample, Value};
use crate::proxy::meter::Times;

/// Series of one request at the most, so that collectors' limits hold.
const MOST_POINTS: usize = 1_000;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u32 = 2;

/// Who says it.
pub(crate) struct Resource<'a> {
    /// Random, new with each process.
    pub(crate) epoch: &'a str,
    pub(crate) version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    resource_metrics: [ResourceMetrics; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceMetrics {
    resource: Attributes,
    scope_metrics: [ScopeMetrics; 1],
}

#[derive(Serialize)]
struct Attributes {
    attributes: Vec<Attribute>,
}

#[derive(Serialize)]
struct Attribute {
    key: String,
    value: Text,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    string_value: String,
}

#[derive(Serialize)]
struct ScopeMetrics {
    scope: Scope,
    metrics: Vec<Metric>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: String,
}

#[derive(Serialize)]
struct Metric {
    name: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'static str,
    #[serde(flatten)]
    of: Of,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Of {
    Sum(Sum),
    Gauge(Gauge),
    Histogram(Histogram),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sum {
    data_points: Vec<Point>,
    aggregation_temporality: u32,
    is_monotonic: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Gauge {
    data_points: Vec<Point>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Histogram {
    data_points: Vec<HistogramPoint>,
    aggregation_temporality: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Point {
    attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time_unix_nano: Option<String>,
    time_unix_nano: String,
    as_int: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistogramPoint {
    attributes: Vec<Attribute>,
    start_time_unix_nano: String,
    time_unix_nano: String,
    count: String,
    sum: f64,
    bucket_counts: Vec<String>,
    explicit_bounds: Vec<f64>,
}

/// The bodies of the requests that tell all of it.
pub(crate) fn bodies(families: &[Family], resource: &Resource<'_>, now_ms: i64) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let (mut metrics, mut room) = (Vec::new(), MOST_POINTS);
    for family in families {
        let mut samples = &family.samples[..];
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(room));
            metrics.push(metric(family, now, now_ms));
            room -= now.len();
            samples = later;
            if room == 0 {
                bodies.push(body(std::mem::take(&mut metrics), resource));
                room = MOST_POINTS;
            }
        }
    }
    if !metrics.is_empty() {
        bodies.push(body(metrics, resource));
    }
    bodies
}

fn body(metrics: Vec<Metric>, resource: &Resource<'_>) -> Vec<u8> {
    let request = Request {
        resource_metrics: [ResourceMetrics {
            resource: Attributes {
                attributes: vec![
                    attribute("service.name", "balancer"),
                    attribute("service.instance.id", resource.epoch),
                    attribute("service.version", resource.version),
                ],
            },
            scope_metrics: [ScopeMetrics {
                scope: Scope {
                    name: "balancer",
                    version: resource.version.to_owned(),
                },
                metrics,
            }],
        }],
    };
    // Made of text and finite numbers; all of them can be written.
    serde_json::to_vec(&request).unwrap_or_default()
}

fn attribute(key: &str, value: &str) -> Attribute {
    Attribute {
        key: key.to_owned(),
        value: Text {
            string_value: value.to_owned(),
        },
    }
}

fn metric(family: &Family, samples: &[Sample], now_ms: i64) -> Metric {
    let points = |counts: bool| -> Vec<Point> {
        let points = samples.iter().filter_map(|sample| {
            let Value::Number(number) = sample.value else {
                return None;
            };
            Some(Point {
                attributes: attributes(sample),
                start_time_unix_nano: counts.then(|| nanos(sample.since_ms)),
                time_unix_nano: nanos(now_ms),
                as_int: number.to_string(),
            })
        });
        points.collect()
    };
    let (unit, of) = match family.kind {
        Kind::Counter => (
            "",
            Of::Sum(Sum {
                data_points: points(true),
                aggregation_temporality: CUMULATIVE,
                is_monotonic: true,
            }),
        ),
        Kind::Gauge => (
            "",
            Of::Gauge(Gauge {
                data_points: points(false),
            }),
        ),
        Kind::Histogram => {
            let points = samples.iter().filter_map(|sample| match &sample.value {
                Value::Times(times) => Some(histogram(sample, times, now_ms)),
                Value::Number(_) => None,
            });
            let histogram = Histogram {
                data_points: points.collect(),
                aggregation_temporality: CUMULATIVE,
            };
            ("s", Of::Histogram(histogram))
        }
    };
    Metric {
        name: family.name,
        description: family.help,
        unit,
        of,
    }
}

/// Buckets are not cumulative here: each has what is above the bound before it, the last one what is
/// above all.
fn histogram(sample: &Sample, times: &Times, now_ms: i64) -> HistogramPoint {
    let within = BUCKETS_US.iter().map(|us| times.within(*us));
    let mut before = 0;
    let buckets = within.chain([times.count()]).map(|within| {
        let in_it = within.saturating_sub(before);
        before = within;
        in_it.to_string()
    });
    HistogramPoint {
        attributes: attributes(sample),
        start_time_unix_nano: nanos(sample.since_ms),
        time_unix_nano: nanos(now_ms),
        count: times.count().to_string(),
        sum: seconds(times.sum_us),
        bucket_counts: buckets.collect(),
        explicit_bounds: BUCKETS_US.iter().map(|us| seconds(*us)).collect(),
    }
}

fn attributes(sample: &Sample) -> Vec<Attribute> {
    let labels = sample.labels.iter();
    labels.map(|(key, value)| attribute(key, value)).collect()
}

fn nanos(ms: i64) -> String {
    (i128::from(ms.max(0)) * 1_000_000).to_string()
}

#[expect(clippy::cast_precision_loss, reason = "285 years are exact")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value as Json, json};

    use super::super::figures::Figures;
    use super::*;

    const RESOURCE: Resource<'_> = Resource {
        epoch: "e",
        version: "1",
    };

    fn parsed(body: &[u8]) -> Json {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn each_kind_is_written_as_the_protocol_has_it() {
        let mut figures = Figures::new(1_000);
        figures.family("a_total", Kind::Counter, "A.");
        figures.sample_since(&[("g", "x")], 2_000, 7_u64);
        figures.family("b", Kind::Gauge, "B.");
        figures.sample(&[], -1_i64);
        figures.family("c_seconds", Kind::Histogram, "C.");
        let histogram = crate::proxy::meter::Histogram::default();
        for us in [100, 300, 60_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let mut times = Times::default();
        histogram.add_to(&mut times);
        figures.times(&[], 1_000, times);
        figures.family("nothing", Kind::Counter, "Has no series.");
        let bodies = bodies(&figures.families(), &RESOURCE, 3_000);
        assert_eq!(bodies.len(), 1);
        let request = parsed(&bodies[0]);
        let scope = &request["resourceMetrics"][0]["scopeMetrics"][0];
        assert_eq!(scope["scope"], json!({"name": "balancer", "version": "1"}));
        let metrics = scope["metrics"].as_array().unwrap();
        assert_eq!(
            metrics[0],
            json!({"name": "a_total", "description": "A.", "sum": {
                "dataPoints": [{
                    "attributes": [{"key": "g", "value": {"stringValue": "x"}}],
                    "startTimeUnixNano": "2000000000", "timeUnixNano": "3000000000", "asInt": "7",
                }],
                "aggregationTemporality": 2, "isMonotonic": true,
            }})
        );
        assert_eq!(
            metrics[1]["gauge"],
            json!({"dataPoints": [{
                "attributes": [], "timeUnixNano": "3000000000", "asInt": "-1",
            }]})
        );
        let point = &metrics[2]["histogram"]["dataPoints"][0];
        assert_eq!(
            (&metrics[2]["unit"], &point["count"]),
            (&json!("s"), &json!("3"))
        );
        let zeros = ["0"; 10];
        let buckets = [&["1", "1"][..], &zeros, &["1"]].concat();
        assert_eq!(point["bucketCounts"], json!(buckets));
        assert_eq!(point["explicitBounds"].as_array().unwrap().len(), 12);
        assert_eq!(metrics.len(), 3, "a family without series is left out");
    }

    #[test]
    fn many_series_are_told_in_several_requests_and_each_of_them_once() {
        let mut figures = Figures::new(0);
        for name in ["a", "b"] {
            figures.family(name, Kind::Gauge, "");
            for number in 0..MOST_POINTS * 3 / 4 {
                figures.sample(&[("n", &number.to_string())], 1_u64);
            }
        }
        let bodies = bodies(&figures.families(), &RESOURCE, 0);
        assert_eq!(bodies.len(), 2);
        let mut seen = std::collections::BTreeSet::new();
        for body in &bodies {
            let request = parsed(body);
            let metrics = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
            let mut points = 0;
            for metric in metrics.as_array().unwrap() {
                for point in metric["gauge"]["dataPoints"].as_array().unwrap() {
                    points += 1;
                    assert!(seen.insert(format!("{}{}", metric["name"], point["attributes"])));
                }
            }
            assert!(points <= MOST_POINTS);
        }
        assert_eq!(seen.len(), MOST_POINTS * 3 / 2);
    }
}
