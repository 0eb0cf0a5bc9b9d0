//! Figures as Prometheus' text (exposition format 0.0.4).

use std::fmt::Write;

use super::figures::{BUCKETS_US, Family, Kind, Value};
use crate::proxy::meter::Times;

/// The text. Writing to a string cannot fail.
pub(crate) fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let (name, help) = (family.name, family.help);
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for sample in &family.samples {
            match &sample.value {
                Value::Number(number) => line(&mut text, name, "", &sample.labels, None, number),
                Value::Times(times) => histogram(&mut text, name, &sample.labels, times),
            }
        }
    }
    text
}

fn histogram(text: &mut String, name: &str, labels: &[(&str, String)], times: &Times) {
    for us in BUCKETS_US {
        let le = seconds(us);
        line(text, name, "_bucket", labels, Some(&le), times.within(us));
    }
    let count = times.count();
    line(text, name, "_bucket", labels, Some("+Inf"), count);
    line(text, name, "_count", labels, None, count);
    line(text, name, "_sum", labels, None, seconds(times.sum_us));
}

fn line(
    text: &mut String,
    name: &str,
    part: &str,
    labels: &[(&str, String)],
    le: Option<&str>,
    value: impl std::fmt::Display,
) {
    text.push_str(name);
    text.push_str(part);
    let mut open = '{';
    let labels = labels.iter().map(|(label, value)| (*label, value.as_str()));
    for (label, value) in labels.chain(le.map(|le| ("le", le))) {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _ = write!(text, "{open}{label}=\"{value}\"");
        open = ',';
    }
    if open == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::figures::Figures;
    use super::*;
    use crate::proxy::meter::Histogram;

    #[test]
    fn times_are_written_in_seconds() {
        for (us, text) in [
            (0, "0"),
            (250, "0.00025"),
            (1_000_000, "1"),
            (2_500_000, "2.5"),
        ] {
            assert_eq!(seconds(us), text);
        }
    }

    #[test]
    fn families_are_written_with_their_labels_escaped() {
        let mut figures = Figures::new(0);
        figures.family("requests_total", Kind::Counter, "Requests.");
        figures.sample(&[("group", "a\"b\\c\nd"), ("code", "2xx")], 3_u64);
        figures.sample(&[], u64::MAX);
        figures.family("seconds", Kind::Histogram, "Times.");
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(300));
        histogram.record(Duration::from_secs(60));
        let mut times = Times::default();
        histogram.add_to(&mut times);
        figures.times(&[("group", "g")], 0, times);
        let text = text(&figures.families());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "# HELP requests_total Requests.",
                "# TYPE requests_total counter",
                r#"requests_total{group="a\"b\\c\nd",code="2xx"} 3"#,
                "requests_total 9223372036854775807",
            ]
        );
        assert_eq!(lines[6], r#"seconds_bucket{group="g",le="0.00025"} 0"#);
        assert_eq!(lines[7], r#"seconds_bucket{group="g",le="0.0005"} 1"#);
        assert_eq!(
            lines[18..],
            [
                r#"seconds_bucket{group="g",le="+Inf"} 2"#,
                r#"seconds_count{group="g"} 2"#,
                r#"seconds_sum{group="g"} 60.0003"#,
            ]
        );
    }
}
