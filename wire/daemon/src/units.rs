//! Durations and sizes as people write them: `15s`, `1m 30s`, `64MiB`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// A duration such as `15s`, `500ms` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

/// A number of bytes such as `64MiB`, `16KiB`, `1MB` or `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A text that is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error("`{0}` is not a duration; write a number with a unit, such as 500ms, 15s, 10m or 1h")]
    Duration(String),
    /// Not a size.
    #[error("`{0}` is not a size; write a number of bytes or one with a unit, such as 16KiB, 64MiB or 1GiB")]
    Size(String),
}

/// A value that is too small or too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be between {least} and {most}, not {value}")]
pub struct OutOfBounds {
    /// What was given.
    pub value: String,
    /// The least that is allowed.
    pub least: String,
    /// The most that is allowed.
    pub most: String,
}

/// The value, where it is in bounds.
pub fn within<V: PartialOrd + fmt::Display>(value: V, bounds: RangeInclusive<V>) -> Result<V, OutOfBounds> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    let (least, most) = bounds.into_inner();
    Err(OutOfBounds {
        value: value.to_string(),
        least: least.to_string(),
        most: most.to_string(),
    })
}

impl HumanDuration {
    /// So many seconds; for bounds.
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds; for bounds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl ByteSize {
    /// So many times 1024 bytes; for bounds.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many times 1024 KiB; for bounds.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The size as a `usize`; the largest one where it does not fit.
    pub fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for HumanDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        // `0` alone is a duration to the library; here a number has a unit.
        // `S` and `M` are meant as seconds and minutes, as long as no bound is months.
        let trimmed = text.trim().to_ascii_lowercase();
        let parsed = match trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
            true => None,
            false => humantime::parse_duration(&trimmed).ok(),
        };
        parsed.map(Self).ok_or_else(|| UnitError::Duration(text.into()))
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Size(text.into());
        let trimmed = text.trim();
        let digits = trimmed
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
            .count();
        let (number, unit) = trimmed.split_at_checked(digits).ok_or_else(error)?;
        let unit = unit.trim();
        let (_, unit) = UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .ok_or_else(error)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        // Six places are a byte in a megabyte.
        let places = u32::try_from(part.len())
            .ok()
            .filter(|places| (1..=6).contains(places));
        let places = 10_u64.pow(places.ok_or_else(error)?);
        let whole: u64 = whole.parse().map_err(|_| error())?;
        let part: u64 = part.parse().map_err(|_| error())?;
        whole
            .checked_mul(*unit)
            .zip(part.checked_mul(*unit))
            .and_then(|(whole, part)| whole.checked_add(part / places))
            .map(Self)
            .ok_or_else(error)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS
            .iter()
            .rev()
            .filter(|(name, size)| *size == 1 || name.ends_with("iB"));
        for (name, size) in binary {
            if self.0 >= *size && self.0.is_multiple_of(*size) {
                return write!(f, "{}{name}", self.0 / size);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text("a duration such as 15s", PhantomData))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text("a size such as 64MiB", PhantomData))
    }
}

/// Parses a text, or a whole number as the text it was written with.
struct Text<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err = UnitError>> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    // As docker, systemd and nginx mean a letter alone.
    ("K", 1 << 10),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("M", 1 << 20),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("G", 1 << 30),
    ("GiB", 1 << 30),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_as_people_write_them() {
        for (text, size, shown) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("16 kib", 16 << 10, "16KiB"),
            ("4096", 4096, "4KiB"),
            ("1MB", 1_000_000, "1000000B"),
            ("64 MiB", 64 << 20, "64MiB"),
            ("64M", 64 << 20, "64MiB"),
            ("16k", 16 << 10, "16KiB"),
            ("1.5MiB", 3 << 19, "1536KiB"),
            ("0.5 GB", 500_000_000, "500000000B"),
        ] {
            let parsed: ByteSize = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (size, shown));
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1.MiB",
            "1,5MiB",
            "1.5.5MiB",
            "10 apples",
            "99999999999GiB",
        ] {
            assert_eq!(text.parse::<ByteSize>(), Err(UnitError::Size(text.into())));
        }
    }

    #[test]
    fn a_bare_number_is_no_duration() {
        assert_eq!("15s".parse(), Ok(HumanDuration(Duration::from_secs(15))));
        assert_eq!("1m 30s".parse(), Ok(HumanDuration(Duration::from_secs(90))));
        for (text, seconds) in [
            ("30 s", 30),
            ("1m30s", 90),
            ("1.5h", 5400),
            ("2 minutes", 120),
            ("10M", 600),
        ] {
            assert_eq!(text.parse(), Ok(HumanDuration::secs(seconds)), "{text}");
        }
        for text in [
            "15",
            "0",
            "",
            "soon",
            "-1s",
            "99999999999999999999s",
            "18446744073709551615y",
        ] {
            assert_eq!(
                text.parse::<HumanDuration>(),
                Err(UnitError::Duration(text.into()))
            );
        }
    }

    #[test]
    fn a_value_out_of_bounds_is_told_the_bounds() {
        let (second, minute) = (HumanDuration::secs(1), HumanDuration::secs(60));
        assert_eq!(within(second, second..=minute), Ok(second));
        assert_eq!(within(minute, second..=minute), Ok(minute));
        let error = within(HumanDuration::millis(999), second..=minute).unwrap_err();
        assert_eq!(error.to_string(), "must be between 1s and 1m, not 999ms");
        let error = within(ByteSize::mib(2), ByteSize::kib(16)..=ByteSize::mib(1)).unwrap_err();
        assert_eq!(error.to_string(), "must be between 16KiB and 1MiB, not 2MiB");
    }

    #[test]
    fn units_survive_being_written_and_read() {
        for text in ["\"1m 30s\"", "\"0s\"", "\"250ms\""] {
            let parsed: HumanDuration = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&parsed).unwrap(), text);
        }
        let parsed: ByteSize = serde_json::from_str("65536").unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), "\"64KiB\"");
    }
}
