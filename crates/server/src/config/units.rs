//! Numbers with units.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A duration such as `500ms`, `10s`, `5m`, `2h`, `30d`.
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text)
        .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no duration such as 10s, 5m or 2h")))
}

/// A size in bytes such as `512B`, `64KiB`, `1MiB`, `8GiB`.
pub(super) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    parse_size(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no size such as 64KiB or 1MiB")))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 86_400 * 1000,
        _ => return None,
    };
    // Beyond some centuries, arithmetic with clocks would overflow.
    number.checked_mul(millis).filter(|millis| (1..1 << 43).contains(millis)).map(Duration::from_millis)
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_a_length() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("2 h"), Some(Duration::from_secs(7200)));
        for wrong in ["", "s", "5", "-5s", "1.5s", "0s", "5 parsecs", "99999999999999999999s", "99999999999999d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_binary_and_do_not_overflow() {
        assert_eq!(parse_size("1MiB"), Some(1_048_576));
        assert_eq!(parse_size("0B"), Some(0));
        for wrong in ["1", "1MB", "16777216TiB", "KiB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }
}
