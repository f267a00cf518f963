//! `/metrics` in the format that its reader asks for: OpenMetrics 1.0, or the older text format of Prometheus.
//!
//! Daemons write OpenMetrics. For everybody whose `Accept` does not name it, that is rewritten: the older format has the
//! samples' own names in HELP and TYPE (`…_total`, `…_info`), and neither units nor an end.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format 0.0.4 of Prometheus.
    Text,
}

impl Exposition {
    /// What these headers ask for. OpenMetrics is for those who name it, and do not prefer the other.
    pub fn asked(headers: &HeaderMap<HeaderValue>) -> Self {
        let accepted = headers.get_all(ACCEPT).iter();
        let ranges = accepted.filter_map(|accept| accept.to_str().ok());
        let ranges = ranges
            .flat_map(|accept| accept.split(','))
            .filter_map(Range::read);
        let (mut open, mut text) = (0, 0);
        for range in ranges {
            match (range.kind.as_str(), range.version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => open = range.quality.max(open),
                ("text/plain", None | Some("0.0.4")) => text = range.quality.max(text),
                _ => {}
            }
        }
        match open > 0 && open >= text {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// A page of OpenMetrics and `more` families of it, in this format.
    pub fn page(self, metrics: &str, more: &str) -> String {
        let metrics = metrics.strip_suffix(END).unwrap_or(metrics);
        match self {
            Self::OpenMetrics => [metrics, more, END].concat(),
            Self::Text => text(&[metrics, more].concat()),
        }
    }
}

/// One of the media ranges that a reader takes (RFC 9110 section 12.5.1).
struct Range<'header> {
    kind: String,
    version: Option<&'header str>,
    /// In thousandths.
    quality: u16,
}

impl<'header> Range<'header> {
    /// `None` where its quality is none.
    fn read(text: &'header str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self {
            kind: parts.next()?.to_ascii_lowercase(),
            version: None,
            quality: 1000,
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => range.quality = thousandths(value)?,
                "version" => range.version = Some(value.trim_matches('"')),
                _ => {}
            }
        }
        Some(range)
    }
}

fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.bytes().all(|byte| byte.is_ascii_digit()) && part.len() <= 3;
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    match whole {
        "0" if digits => Some(part),
        "1" if digits && part == 0 => Some(1000),
        _ => None,
    }
}

/// Rewrites a page that a daemon made: families one after the other, HELP with its quotes escaped.
fn text(metrics: &str) -> String {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let types: BTreeMap<&str, &str> = types.filter_map(|line| line.split_once(' ')).collect();
    let mut page = String::with_capacity(metrics.len());
    for line in metrics.lines() {
        let Some(told) = line.strip_prefix("# ") else {
            page.push_str(line);
            page.push('\n');
            continue;
        };
        let mut words = told.splitn(3, ' ');
        let (keyword, name, rest) = (words.next(), words.next(), words.next());
        let (Some(name), Some(rest)) = (name, rest) else {
            continue;
        };
        let (suffix, kind) = match types.get(name) {
            Some(&"counter") => ("_total", "counter"),
            Some(&"info") => ("_info", "gauge"),
            Some(&"unknown") | None => ("", "untyped"),
            Some(kind) => ("", *kind),
        };
        // Writing to a string cannot fail.
        let _ = match keyword {
            Some("HELP") => writeln!(page, "# HELP {name}{suffix} {}", rest.replace("\\\"", "\"")),
            Some("TYPE") => writeln!(page, "# TYPE {name}{suffix} {kind}"),
            _ => Ok(()),
        };
    }
    page
}

const END: &str = "# EOF\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &[&'static str]) -> Exposition {
        let mut headers = HeaderMap::new();
        for accept in accept {
            headers.append(ACCEPT, HeaderValue::from_static(accept));
        }
        Exposition::asked(&headers)
    }

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        use Exposition::{OpenMetrics, Text};
        for (accept, format) in [
            // Prometheus 2.42 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            // One that is told to prefer the older format, and one that knows no other.
            (
                "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5",
                Text,
            ),
            ("text/plain;version=0.0.4", Text),
            ("Application/OpenMetrics-Text", OpenMetrics),
            (
                "application/openmetrics-text; version=\"1.0.0\"; q=0.001",
                OpenMetrics,
            ),
            ("application/openmetrics-text;version=0.0.1", Text),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=0.000", Text),
            ("application/openmetrics-text;q=lots", Text),
            ("application/openmetrics-text-and-more", Text),
            // A browser, and curl.
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Text,
            ),
            ("*/*", Text),
            ("", Text),
            (";;,=;q", Text),
        ] {
            assert_eq!(asked(&[accept]), format, "{accept}");
        }
        assert_eq!(asked(&[]), Text);
        assert_eq!(
            asked(&["text/plain;q=0.1", "application/openmetrics-text"]),
            OpenMetrics
        );
    }

    const PAGE: &str = "# HELP a_bytes Bytes \\\"moved\\\" \\\\.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n\
        a_bytes_total{name=\"# TYPE x\\n\"} 1\n# HELP b Program.\n# TYPE b info\nb_info{version=\"1\"} 1\n\
        # HELP c_seconds How long.\n# TYPE c_seconds histogram\n# UNIT c_seconds seconds\nc_seconds_sum 0.5\n\
        c_seconds_count 1\nc_seconds_bucket{le=\"+Inf\"} 1\n# EOF\n";
    const MORE: &str = "# HELP p Files.\n# TYPE p gauge\np 7\n";

    #[test]
    fn more_families_come_before_the_end() {
        let page = Exposition::OpenMetrics.page(PAGE, MORE);
        assert!(
            page.ends_with("# HELP p Files.\n# TYPE p gauge\np 7\n# EOF\n"),
            "{page}"
        );
        assert_eq!(page.matches("# EOF").count(), 1);
    }

    #[test]
    fn the_older_format_names_samples_and_has_no_units_and_no_end() {
        assert_eq!(
            Exposition::Text.page(PAGE, MORE),
            "# HELP a_bytes_total Bytes \"moved\" \\\\.\n# TYPE a_bytes_total counter\n\
             a_bytes_total{name=\"# TYPE x\\n\"} 1\n# HELP b_info Program.\n# TYPE b_info gauge\nb_info{version=\"1\"} 1\n\
             # HELP c_seconds How long.\n# TYPE c_seconds histogram\nc_seconds_sum 0.5\n\
             c_seconds_count 1\nc_seconds_bucket{le=\"+Inf\"} 1\n# HELP p Files.\n# TYPE p gauge\np 7\n"
        );
    }
}
