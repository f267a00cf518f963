//! A strict reader of metrics pages: OpenMetrics 1.0, and the text format 0.0.4 of Prometheus.

use std::collections::{BTreeMap, BTreeSet};

/// Which rules a page is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The older text format.
    Text,
}

/// A page that keeps the rules.
#[derive(Debug)]
pub struct Exposition {
    /// The types of families, by name.
    pub families: BTreeMap<String, String>,
    /// Samples: name and labels as they stand, and the value.
    pub samples: BTreeMap<String, f64>,
}

impl Exposition {
    /// Reads a page.
    ///
    /// # Panics
    /// At the first line that breaks a rule.
    pub fn read(page: &str, rules: Rules) -> Self {
        let mut reader = Reader::default();
        let body = match rules {
            Rules::OpenMetrics => page.strip_suffix("# EOF\n").expect("OpenMetrics ends in # EOF"),
            Rules::Text => page,
        };
        assert!(body.ends_with('\n'), "the last line is not whole");
        for line in body.lines() {
            reader
                .line(line, rules)
                .unwrap_or_else(|why| panic!("{why}: {line}"));
        }
        reader.end(rules);
        Self {
            families: reader.types,
            samples: reader.samples,
        }
    }

    /// A sample, such as `up{job="x"}`.
    ///
    /// # Panics
    /// When it is not there.
    pub fn value(&self, sample: &str) -> f64 {
        let value = self.samples.get(sample).copied();
        value.unwrap_or_else(|| panic!("no {sample} among {:#?}", self.samples))
    }

    /// The names that queries can use.
    pub fn names(&self) -> BTreeSet<&str> {
        self.samples
            .keys()
            .map(|sample| sample.split('{').next().unwrap_or_default())
            .collect()
    }
}

#[derive(Default)]
struct Reader {
    helps: BTreeSet<String>,
    types: BTreeMap<String, String>,
    units: BTreeMap<String, String>,
    /// The family of the lines before, and all that were over by then.
    family: String,
    over: BTreeSet<String>,
    samples: BTreeMap<String, f64>,
}

impl Reader {
    fn line(&mut self, line: &str, rules: Rules) -> Result<(), String> {
        if let Some(told) = line.strip_prefix("# ") {
            let mut words = told.splitn(3, ' ');
            let (Some(keyword), Some(name), Some(text)) = (words.next(), words.next(), words.next()) else {
                return Err("neither HELP nor TYPE nor UNIT".into());
            };
            self.enter(name)?;
            if self.samples.keys().any(|sample| self.is_of(sample, name)) {
                return Err("told after its samples".into());
            }
            let new = match keyword {
                "HELP" => self.helps.insert(name.into()),
                "TYPE" => self.types.insert(name.into(), text.into()).is_none(),
                "UNIT" if rules == Rules::OpenMetrics => {
                    self.units.insert(name.into(), text.into()).is_none()
                }
                other => return Err(format!("{other} is no word of this format")),
            };
            return if new { Ok(()) } else { Err("told twice".into()) };
        }
        let (sample, value) = line.rsplit_once(' ').ok_or("no value")?;
        let value: f64 = match value {
            "+Inf" => f64::INFINITY,
            other => other.parse().map_err(|_| "no number")?,
        };
        let name = labels(sample)?;
        let family = self.family.clone();
        let kind = self.types.get(&family).ok_or("a sample without TYPE")?.as_str();
        let suffix = name.strip_prefix(&family).ok_or("a sample of another family")?;
        let allowed: &[&str] = match (kind, rules) {
            ("counter", Rules::OpenMetrics) => &["_total"],
            ("info", Rules::OpenMetrics) => &["_info"],
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            ("counter" | "gauge", _) => &[""],
            (other, _) => return Err(format!("{other} is no type of this format")),
        };
        if !allowed.contains(&suffix) {
            return Err(format!("a {kind} has no sample of that name"));
        }
        if kind == "counter" && !name.ends_with("_total") {
            return Err("a counter that does not end in _total".into());
        }
        if kind != "gauge" && !(value >= 0.0 && value.is_finite()) {
            return Err("no count".into());
        }
        match self.samples.insert(sample.into(), value) {
            None => Ok(()),
            Some(_) => Err("the same sample twice".into()),
        }
    }

    /// Families stand together.
    fn enter(&mut self, name: &str) -> Result<(), String> {
        if self.family != name {
            let before = std::mem::replace(&mut self.family, name.into());
            self.over.insert(before);
        }
        match self.over.contains(name) {
            true => Err("its family is in two places".into()),
            false => Ok(()),
        }
    }

    fn is_of(&self, sample: &str, family: &str) -> bool {
        let name = sample.split('{').next().unwrap_or_default();
        let suffix = name.strip_prefix(family);
        suffix.is_some_and(|suffix| ["", "_total", "_info", "_bucket", "_sum", "_count"].contains(&suffix))
    }

    fn end(&self, rules: Rules) {
        for (family, kind) in &self.types {
            assert!(self.helps.contains(family), "no HELP of {family}");
            let has = self.samples.keys().any(|sample| self.is_of(sample, family));
            assert!(has, "no sample of {family}");
            let base = ["seconds", "bytes"]
                .into_iter()
                .find(|unit| family.ends_with(&format!("_{unit}")));
            if rules == Rules::OpenMetrics {
                assert_eq!(
                    self.units.get(family).map(String::as_str),
                    base,
                    "UNIT of {family}"
                );
            }
            if kind == "histogram" {
                self.check_histogram(family);
            }
        }
    }

    /// Without labels: buckets grow, and the last one is the count.
    fn check_histogram(&self, family: &str) {
        let bucket = format!("{family}_bucket{{le=\"");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (sample, count) in &self.samples {
            if let Some(le) = sample
                .strip_prefix(&bucket)
                .and_then(|rest| rest.strip_suffix("\"}"))
            {
                buckets.push((le.replace("+Inf", "inf").parse().expect("a bound"), *count));
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{family}: {buckets:?}");
        let last = buckets.last().expect("buckets");
        let count = self.samples.get(&format!("{family}_count")).copied();
        assert_eq!((last.0, Some(last.1)), (f64::INFINITY, count), "{family}");
    }
}

/// Checks a sample's labels and returns its name.
fn labels(sample: &str) -> Result<&str, String> {
    let letters = |name: &str| {
        let first = name
            .chars()
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
        first
            && name
                .chars()
                .all(|char| char.is_ascii_alphanumeric() || char == '_')
    };
    let Some((name, labels)) = sample.split_once('{') else {
        return if letters(sample) {
            Ok(sample)
        } else {
            Err("no name".into())
        };
    };
    let mut rest = labels.strip_suffix('}').ok_or("labels without an end")?;
    let mut seen = BTreeSet::new();
    loop {
        let (label, value) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !letters(label) || !seen.insert(label) {
            return Err(format!("a bad label {label}"));
        }
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next() {
                Some((_, '\\')) => match chars.next() {
                    Some((_, '\\' | '"' | 'n')) => {}
                    _ => return Err("a bad escape".into()),
                },
                Some((end, '"')) => break end,
                Some(_) => {}
                None => return Err("a value without an end".into()),
            }
        };
        match value[end + 1..].strip_prefix(',') {
            Some(next) => rest = next,
            None if value.len() == end + 1 => break,
            None => return Err("something behind a value".into()),
        }
    }
    if letters(name) {
        Ok(name)
    } else {
        Err("no name".into())
    }
}
