//! A strict reader of Prometheus' text: what it does not reject, a scraper takes.

use std::collections::{BTreeMap, BTreeSet};

/// Labels by name.
pub(crate) type Labels = BTreeMap<String, String>;

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) kinds: BTreeMap<String, String>,
    pub(crate) samples: Vec<Sample>,
}

impl Figures {
    /// The sum over the series of a name with these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|part| {
            name.strip_suffix(part)
                .filter(|n| self.kinds.contains_key(*n))
        });
        assert!(
            self.kinds.contains_key(base.unwrap_or(name)),
            "there is no {name}"
        );
        self.of(name, labels).map(|sample| sample.value).sum()
    }

    /// The series of a name with these labels.
    pub(crate) fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let has = |sample: &Sample| {
            let mut wanted = labels.iter();
            wanted.all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
        };
        let named = self.samples.iter().filter(move |s| s.name == name);
        named.filter(move |sample| has(sample))
    }
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    chars.next().is_some_and(begins) && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads the whole text.
pub(crate) fn read(text: &str) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let (mut helped, mut family) = (None::<String>, None::<String>);
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    for (number, line) in text.lines().enumerate() {
        let fault = |why: String| format!("line {}: {why}: {line}", number + 1);
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            if !is_name(name) || help.is_empty() || figures.kinds.contains_key(name) {
                return Err(fault("no help of a new family".to_owned()));
            }
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest
                .split_once(' ')
                .ok_or_else(|| fault("no type".into()))?;
            if helped.as_deref() != Some(name) {
                return Err(fault("no help before it".to_owned()));
            }
            let known = match kind {
                "counter" => name.ends_with("_total"),
                "gauge" | "histogram" => !name.ends_with("_total"),
                _ => false,
            };
            if !known {
                return Err(fault("no such type of such a name".to_owned()));
            }
            figures.kinds.insert(name.to_owned(), kind.to_owned());
            family = Some(name.to_owned());
        } else {
            let sample = sample(line).map_err(fault)?;
            let of = family.as_deref().unwrap_or_default();
            let kind = figures.kinds.get(of).map_or("", String::as_str);
            let fits = match (kind, sample.name.strip_prefix(of)) {
                ("counter", Some("")) => sample.value >= 0.0 && !sample.labels.contains_key("le"),
                ("gauge", Some("")) => !sample.labels.contains_key("le"),
                ("histogram", Some("_bucket")) => sample.labels.contains_key("le"),
                ("histogram", Some("_count" | "_sum")) => !sample.labels.contains_key("le"),
                _ => false,
            };
            if !fits {
                return Err(fault(format!("it does not belong to {of}, a {kind}")));
            }
            figures.samples.push(sample);
        }
    }
    let mut series = BTreeSet::new();
    for sample in &figures.samples {
        if !series.insert((&sample.name, &sample.labels)) {
            return Err(format!("twice: {sample:?}"));
        }
    }
    histograms(&figures)?;
    Ok(figures)
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name) {
        return Err("no name".to_owned());
    }
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("a label without a value")?;
            if !is_name(label) {
                return Err(format!("{label} is no label"));
            }
            let (value, after) = unescape(after)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return Err(format!("{label} stands twice"));
            }
            match after.split_at_checked(1) {
                Some((",", after)) => rest = after,
                Some(("}", after)) => {
                    rest = after;
                    break;
                }
                _ => return Err("labels without an end".to_owned()),
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    let plain = value
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.e".contains(&b));
    let value = value.parse().ok().filter(|_| plain);
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: value.ok_or("no value")?,
    })
}

fn unescape(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                _ => return Err("an unknown escape".to_owned()),
            }),
            c => value.push(c),
        }
    }
    Err("a value without an end".to_owned())
}

fn histograms(figures: &Figures) -> Result<(), String> {
    let kinds = figures.kinds.iter();
    for (name, _) in kinds.filter(|(_, kind)| *kind == "histogram") {
        let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in figures.of(&format!("{name}_bucket"), &[]) {
            let mut labels = sample.labels.clone();
            let le = labels.remove("le").unwrap_or_default();
            let bound = match le.as_str() {
                "+Inf" => f64::INFINITY,
                le => le.parse().map_err(|_| format!("{name}: le {le}"))?,
            };
            let of = buckets.entry(labels).or_default();
            of.push((bound, sample.value));
        }
        let counts: BTreeMap<_, _> = figures
            .of(&format!("{name}_count"), &[])
            .map(|s| (s.labels.clone(), s.value))
            .collect();
        let sums: BTreeSet<_> = figures
            .of(&format!("{name}_sum"), &[])
            .map(|s| s.labels.clone())
            .collect();
        let with_buckets: BTreeSet<_> = buckets.keys().cloned().collect();
        if with_buckets != sums || with_buckets != counts.keys().cloned().collect() {
            return Err(format!("{name}: buckets, counts and sums of other series"));
        }
        for (labels, of) in buckets {
            let grows = of.windows(2).all(|p| p[0].0 < p[1].0 && p[0].1 <= p[1].1);
            let last = of.last().copied().unwrap_or_default();
            let whole = last.0.is_infinite() && (last.1 - counts[&labels]).abs() < 0.5;
            if !grows || !whole {
                return Err(format!(
                    "{name}: buckets are not cumulative: {labels:?} {of:?}"
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn control_what_no_scraper_takes_is_rejected() {
    let family = "# HELP a_total A.\n# TYPE a_total counter\n";
    let histogram = "# HELP h H.\n# TYPE h histogram\n";
    let read_after = |begin: &str, rest: &str| read(&format!("{begin}{rest}"));
    assert!(read_after(family, "a_total{x=\"1\",y=\"\\\\\\\"\\n\"} 1\n").is_ok());
    let whole = "h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 3.5\n";
    assert!(read_after(histogram, whole).is_ok());
    for (begin, rest) in [
        ("", "a_total 1\n"),
        ("# TYPE a_total counter\n", "a_total 1\n"),
        ("# HELP a A.\n# TYPE a counter\n", "a 1\n"),
        (family, "a_total 1"),
        (family, "a_total 1\na_total 2\n"),
        (family, "a_total -1\n"),
        (family, "a_total one\n"),
        (family, "a_total  1\n"),
        (family, "b_total 1\n"),
        (family, "a_total{x=\"1} 1\n"),
        (family, "a_total{x=\"1\" 1\n"),
        (family, "a_total{x=\"\\t\"} 1\n"),
        (family, "a_total{x=\"1\",x=\"2\"} 1\n"),
        (family, "a_total{1x=\"1\"} 1\n"),
        (family, "# HELP a_total A.\n# TYPE a_total counter\n"),
        (histogram, "h_bucket{le=\"1\"} 1\nh_count 1\nh_sum 1\n"),
        (histogram, "h_bucket{le=\"+Inf\"} 1\nh_count 2\nh_sum 1\n"),
        (histogram, "h_bucket{le=\"+Inf\"} 1\nh_count 1\n"),
        (
            histogram,
            "h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 1\n",
        ),
        (
            histogram,
            "h_bucket{le=\"2\"} 1\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 1\n",
        ),
    ] {
        assert!(read_after(begin, rest).is_err(), "{begin}{rest}");
    }
}
