//! Durations and sizes as the file writes them.

use std::time::Duration;

const DURATION_UNITS: &[(&str, u64)] = &[("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// Reads `"90s"`.
///
/// # Errors
/// What to do about it.
pub(super) fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let (digits, unit) = split_unit(text).ok_or("write a whole number and a unit: \"90s\"")?;
    let (_, seconds) = DURATION_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or("the units are s, m, h and d, right behind the number")?;
    let number: u64 = digits.parse().map_err(|_| "the number is too large")?;
    number
        .checked_mul(*seconds)
        .map(Duration::from_secs)
        .ok_or("the number is too large")
}

/// A duration as the file says it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fits = |size: &u64| seconds > 0 && seconds.is_multiple_of(*size);
    DURATION_UNITS
        .iter()
        .find(|(_, size)| fits(size))
        .map_or("0s".to_owned(), |(unit, size)| {
            format!("{}{unit}", seconds / size)
        })
}

const SIZE_UNITS: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Reads `"32 KiB"`, in bytes.
///
/// # Errors
/// What to do about it.
pub(super) fn parse_size(text: &str) -> Result<u64, &'static str> {
    let (digits, unit) = split_unit(text).ok_or("write a whole number and a unit: \"32 KiB\"")?;
    let (_, bytes) = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim_start())
        .ok_or("the units are B, KiB, MiB and GiB")?;
    let number: u64 = digits.parse().map_err(|_| "the number is too large")?;
    number.checked_mul(*bytes).ok_or("the number is too large")
}

/// A size as the file says it.
pub(super) fn show_size(size: u64) -> String {
    SIZE_UNITS
        .iter()
        .find(|(_, unit)| size >= *unit && size.is_multiple_of(*unit))
        .map_or("0 B".to_owned(), |(name, unit)| {
            format!("{} {name}", size / unit)
        })
}

/// Digits and what follows them; `None` without digits.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}
