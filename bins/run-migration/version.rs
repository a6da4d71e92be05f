//! Versions of migrations: which part of a file's name they are, and their order.

use std::cmp::Ordering;

use clap::ValueEnum;
use serde::Serialize;

/// How migrations are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// By file name, byte by byte, as `LC_ALL=C ls` lists them: `10_b.sql` is before `2_a.sql`.
    Name,
    /// By the numbers of the version, part by part: `2_a.sql` is before `10_b.sql`, and 1.2 is 01.02.
    Numeric,
}

/// The version of a file by its name without `.sql`: the numbers that the name begins with, separated by dots and underscores; for a name that begins
/// otherwise the whole stem.
///
/// A leading `V` of a number (Flyway) does not count. `03.01.00_01_pre_add_heartbeat.sql` has the version `03.01.00_01`, and
/// `0002_2fa_tokens.sql` the version `0002`.
pub(crate) fn of(stem: &str) -> &str {
    let digits = match stem.strip_prefix(['V', 'v']) {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => stem,
    };
    let mut end = 0;
    let mut at = 0;
    for part in digits.split_inclusive(['.', '_']) {
        let number = part.trim_end_matches(['.', '_']);
        at += part.len();
        // A part counts when all of it is digits up to a separator; a hyphen or a space ends the version too.
        let own = number.split(['-', ' ']).next().unwrap_or_default();
        if own.is_empty() || !own.bytes().all(|byte| byte.is_ascii_digit()) {
            break;
        }
        end = at - part.len() + own.len();
        if own.len() < number.len() || part.len() > number.len() + 1 {
            break;
        }
    }
    if end == 0 { stem } else { digits.get(..end).unwrap_or(stem) }
}

/// The numbers of a version, or `None` when it has other parts.
pub(crate) fn numbers(version: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = version.split(['.', '_']).collect();
    parts
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        .then_some(parts)
}

/// Compares two versions number by number; a version that goes on after the other ended is the later one.
pub(crate) fn compare(a: &[&str], b: &[&str]) -> Ordering {
    // Numbers of any length, such as time stamps: without leading zeros the longer one is the greater.
    let value = |part: &str| {
        let digits = part.trim_start_matches('0').to_owned();
        (digits.len(), digits)
    };
    a.iter().map(|part| value(part)).cmp(b.iter().map(|part| value(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_numbers_that_a_name_begins_with() {
        for (file, version) in [
            ("03.01.00_01_pre_add_heartbeat.sql", "03.01.00_01"),
            ("00.00.00_01_initial.sql", "00.00.00_01"),
            ("V1__init.sql", "1"),
            ("V1.1_2__more.sql", "1.1_2"),
            ("20240101120000_create_users.sql", "20240101120000"),
            ("0002_2fa_tokens.sql", "0002"),
            ("0002-add-x.sql", "0002"),
            ("7 seven.sql", "7"),
            ("7.sql", "7"),
            ("init.sql", "init"),
            ("views.sql", "views"),
            ("a_1.sql", "a_1"),
        ] {
            assert_eq!(of(file.trim_end_matches(".sql")), version, "{file}");
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        for (a, b, order) in [
            ("2", "10", Ordering::Less),
            ("1.2", "1.10", Ordering::Less),
            ("1.2", "1.2.1", Ordering::Less),
            ("01.0", "1.0", Ordering::Equal),
            ("1_2", "1.2", Ordering::Equal),
            ("03.00.00_50", "03.01.00_01", Ordering::Less),
            ("20240101120000123456789", "20240101120000123456790", Ordering::Less),
            ("0", "00", Ordering::Equal),
        ] {
            assert_eq!(compare(&numbers(a).unwrap(), &numbers(b).unwrap()), order, "{a} {b}");
        }
        assert_eq!(numbers("init"), None);
        assert_eq!(numbers("1.a"), None);
    }
}
