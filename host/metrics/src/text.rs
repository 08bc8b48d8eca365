//! The two formats of a scrape: the text format 0.0.4 of Prometheus, and OpenMetrics 1.0.0.

use std::fmt::Write;

use crate::fan_out::Receivers;
use crate::histogram::Times;
use crate::table::{Kind, Metric};

/// A format of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4 of Prometheus.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Returns the format for a client that accepts these types; the one of Prometheus without a wish.
    pub fn accepted<'a>(types: impl Iterator<Item = &'a str>) -> Format {
        let mut best = (0.0, Format::Prometheus);
        for range in types.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let format = match name.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => Format::OpenMetrics,
                "text/plain" | "text/*" | "*/*" => Format::Prometheus,
                _ => continue,
            };
            let (mut weight, mut is_known) = (1.0, true);
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key.trim() {
                    "q" => weight = value.trim().parse().unwrap_or(0.0),
                    // Later versions may differ.
                    "version" if format == Format::OpenMetrics => {
                        is_known = matches!(value.trim().trim_matches('"'), "1.0.0" | "0.0.1");
                    }
                    _ => {}
                }
            }
            if is_known && weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }

    /// Returns the type of the content.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The text of a scrape, which grows one metric after the other.
#[derive(Debug)]
pub struct Text {
    format: Format,
    text: String,
    metric: Option<&'static Metric>,
}

impl Text {
    /// Makes an empty text.
    pub fn new(format: Format) -> Text {
        Text { format, text: String::new(), metric: None }
    }

    /// Begins a metric. The samples of it follow.
    pub fn metric(&mut self, metric: &'static Metric) {
        self.metric = Some(metric);
        let name = match (self.format, metric.kind) {
            // Here the family of a counter has no suffix, and its sample has.
            (Format::OpenMetrics, Kind::Counter) => {
                metric.name.strip_suffix("_total").unwrap_or(metric.name)
            }
            _ => metric.name,
        };
        // Writing to a string does not fail.
        let _ = write!(self.text, "# HELP {name} ");
        escape(&mut self.text, metric.help, self.format == Format::OpenMetrics);
        let _ = writeln!(self.text, "\n# TYPE {name} {}", metric.kind.name());
    }

    /// Adds a sample of a counter or a gauge, with the values of its labels in the order of the table.
    pub fn sample(&mut self, labels: &[&str], value: impl Into<Value>) {
        self.line("", labels, None, value.into());
    }

    /// Adds the samples of a histogram of seconds.
    pub fn times(&mut self, labels: &[&str], times: &Times) {
        for (nanoseconds, count) in times.shown() {
            self.line("_bucket", labels, Some(seconds(nanoseconds)), Value::Whole(count));
        }
        self.end_histogram(labels, Value::Real(seconds(times.nanoseconds())), times.count());
    }

    /// Adds the samples of a histogram of receivers.
    pub fn receivers(&mut self, labels: &[&str], receivers: &Receivers) {
        for (bound, count) in receivers.shown() {
            self.line("_bucket", labels, Some(bound as f64), Value::Whole(count));
        }
        self.end_histogram(labels, Value::Whole(receivers.receivers), receivers.broadcasts);
    }

    /// Returns the text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn end_histogram(&mut self, labels: &[&str], sum: Value, count: u64) {
        self.line("_bucket", labels, Some(f64::INFINITY), Value::Whole(count));
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, Value::Whole(count));
    }

    fn line(&mut self, suffix: &str, values: &[&str], bound: Option<f64>, value: Value) {
        let Some(metric) = self.metric else { return };
        debug_assert_eq!(values.len(), metric.labels.len(), "{}", metric.name);
        let text = &mut self.text;
        text.push_str(metric.name);
        text.push_str(suffix);
        let mut separator = '{';
        for (label, value) in metric.labels.iter().zip(values) {
            let _ = write!(text, "{separator}{label}=\"");
            escape(text, value, true);
            text.push('"');
            separator = ',';
        }
        if let Some(bound) = bound {
            let _ = write!(text, "{separator}le=\"");
            Value::Real(bound).write(text);
            text.push('"');
            separator = ',';
        }
        if separator == ',' {
            text.push('}');
        }
        text.push(' ');
        value.write(text);
        text.push('\n');
    }
}

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A count or a size.
    Whole(u64),
    /// Seconds.
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

impl Value {
    fn write(self, text: &mut String) {
        let _ = match self {
            Value::Whole(value) => write!(text, "{value}"),
            Value::Real(f64::INFINITY) => write!(text, "+Inf"),
            // With a point, as OpenMetrics wants bounds.
            Value::Real(value) => write!(text, "{value:?}"),
        };
    }
}

/// Returns nanoseconds as seconds.
pub fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// Writes a text in one line.
fn escape(to: &mut String, text: &str, quotes: bool) {
    for character in text.chars() {
        match character {
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '"' if quotes => to.push_str("\\\""),
            other => to.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;
    use proptest::prelude::*;

    const GAUGE: &Metric = &Metric {
        name: "a_gauge",
        kind: Kind::Gauge,
        labels: &["one", "two"],
        help: "A \"gauge\".",
    };
    const COUNTER: &Metric =
        &Metric { name: "a_total", kind: Kind::Counter, labels: &[], help: "A counter." };
    const HISTOGRAM: &Metric =
        &Metric { name: "a_seconds", kind: Kind::Histogram, labels: &["one"], help: "Times." };

    fn format_of(accept: &str) -> Format {
        Format::accepted([accept].into_iter())
    }

    #[test]
    fn openmetrics_is_for_clients_that_like_it_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(format_of(prometheus), Format::OpenMetrics);
        assert_eq!(format_of("application/openmetrics-text; version=1.0.0"), Format::OpenMetrics);
        for other in [
            "",
            "*/*",
            "text/html",
            "text/plain;q=0.6, application/openmetrics-text;q=0.5",
            "application/openmetrics-text; version=2.0.0",
            "application/openmetrics-text; q=0",
            "application/openmetrics-text; q=nonsense",
        ] {
            assert_eq!(format_of(other), Format::Prometheus, "{other}");
        }
    }

    #[test]
    fn both_formats_are_as_their_specifications_want_them() {
        let histogram = Histogram::default();
        [500, 3_000, 30_000_000_000].iter().for_each(|time| histogram.record(*time));
        let times = Times::of([&histogram].into_iter());
        let text = |format| {
            let mut text = Text::new(format);
            text.metric(COUNTER);
            text.sample(&[], 7_u64);
            text.metric(GAUGE);
            text.sample(&["a\"b", "c\\d\ne"], 0.25);
            text.metric(HISTOGRAM);
            text.times(&["x"], &times);
            text.finish()
        };
        let prometheus = text(Format::Prometheus);
        let begin = "# HELP a_total A counter.\n# TYPE a_total counter\na_total 7\n\
                     # HELP a_gauge A \"gauge\".\n# TYPE a_gauge gauge\n\
                     a_gauge{one=\"a\\\"b\",two=\"c\\\\d\\ne\"} 0.25\n\
                     # HELP a_seconds Times.\n# TYPE a_seconds histogram\n\
                     a_seconds_bucket{one=\"x\",le=\"1e-6\"} 1\n\
                     a_seconds_bucket{one=\"x\",le=\"4e-6\"} 2\n";
        assert!(prometheus.starts_with(begin), "{prometheus}");
        let end = "a_seconds_bucket{one=\"x\",le=\"16.777216\"} 2\n\
                   a_seconds_bucket{one=\"x\",le=\"+Inf\"} 3\n\
                   a_seconds_sum{one=\"x\"} 30.0000035\na_seconds_count{one=\"x\"} 3\n";
        assert!(prometheus.ends_with(end), "{prometheus}");
        let open = text(Format::OpenMetrics);
        assert!(open.starts_with("# HELP a A counter.\n# TYPE a counter\na_total 7\n"), "{open}");
        assert!(open.contains("# HELP a_gauge A \\\"gauge\\\".\n"), "{open}");
        assert!(open.ends_with("a_seconds_count{one=\"x\"} 3\n# EOF\n"), "{open}");
    }

    /// Reads the value of a label back, as a scraper does. Returns it with the rest of the line.
    fn unescaped(text: &str) -> Option<(String, &str)> {
        let mut value = String::new();
        let mut characters = text.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => return Some((value, text.get(at + 1..)?)),
                '\n' => return None,
                '\\' => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other @ ('"' | '\\') => value.push(other),
                    _ => return None,
                },
                other => value.push(other),
            }
        }
        None
    }

    proptest! {
        #[test]
        fn any_label_is_read_back_as_it_was(one in ".*|[\"\\\\\n{}=,]*", two in any::<String>()) {
            let mut text = Text::new(Format::OpenMetrics);
            text.metric(GAUGE);
            text.sample(&[&one, &two], 1_u64);
            let text = text.finish();
            let (_, line) = text.split_once("a_gauge{one=\"").expect("a sample");
            let (first, rest) = unescaped(line).expect("the first label");
            let rest = rest.strip_prefix(",two=\"").expect("the second");
            let (second, rest) = unescaped(rest).expect("it ends");
            prop_assert_eq!((first, second, rest), (one, two, "} 1\n# EOF\n"));
        }
    }
}
