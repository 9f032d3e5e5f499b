//! Times as flags write them.

use std::time::Duration;

/// Reads a whole number with a unit, `s`, `m` or `h`: `30s`, `5m`, `1h`. `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.chars().last()?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let number = text.strip_suffix(unit)?;
    // Without a sign, which `parse` would take.
    let whole = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| whole)?;
    number.checked_mul(factor).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_with_a_unit() {
        for (text, seconds) in [("30s", 30), (" 5m ", 300), ("1h", 3600), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)));
        }
        for text in [
            "",
            "s",
            "5",
            "5 m",
            "1.5h",
            "-1s",
            "+1s",
            "1d",
            "5é",
            "99999999999999999999h",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }
}
