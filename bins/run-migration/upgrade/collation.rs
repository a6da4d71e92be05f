//! Whether an order of text is still the one that indexes were built in: pure.

use serde::Serialize;

/// A collation that an index or a partition key depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Collation {
    pub(super) oid: u32,
    /// As SQL names it; `default` is the database's own.
    pub(super) name: String,
    /// `c` is the C library, `i` ICU, `b` the server itself.
    pub(super) provider: char,
    /// The locale, as its provider names it.
    pub(super) locale: String,
    /// The version when it was made or last refreshed, where the server keeps one.
    pub(super) recorded: Option<String>,
    /// The version that the server's library has now, where it tells one.
    pub(super) actual: Option<String>,
    /// Whether the role may refresh the recorded version.
    pub(super) owned: bool,
}

/// What is known of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// Bytes or code points, which no library changes.
    Fixed,
    /// The library has the version that is recorded.
    Same,
    /// It has another one.
    Changed,
    /// The server records no version, or the library tells none: a change can't be seen.
    Unknown,
}

/// The oid of `default` in every server.
pub(super) const DEFAULT: u32 = 100;

impl Collation {
    /// <https://www.postgresql.org/docs/current/collation.html#COLLATION-MANAGING-STANDARD>: the server keeps no version of
    /// `C`, `POSIX` and `C.UTF-8` of the C library, and its own provider's order is that of code points.
    pub(super) fn state(&self) -> State {
        let locale = self.locale.to_ascii_uppercase();
        let fixed = match self.provider {
            'c' => locale.is_empty() || locale == "C" || locale == "POSIX" || locale.starts_with("C."),
            _ => self.provider == 'b',
        };
        match (&self.recorded, &self.actual) {
            (Some(recorded), Some(actual)) if recorded != actual => State::Changed,
            _ if fixed => State::Fixed,
            (Some(_), Some(_)) => State::Same,
            _ => State::Unknown,
        }
    }

    /// `default (ICU en-US, 153.14 recorded, 153.120 now)`.
    pub(super) fn text(&self) -> String {
        let provider = match self.provider {
            'i' => "ICU",
            'b' => "builtin",
            _ => "libc",
        };
        let none = || "none".to_owned();
        format!(
            "{} ({provider} {}, version {} recorded, {} now)",
            self.name,
            self.locale,
            self.recorded.clone().unwrap_or_else(none),
            self.actual.clone().unwrap_or_else(none)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_library_orders_can_change() {
        let state = |provider, locale: &str, recorded: &str, actual: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Collation {
                oid: DEFAULT,
                name: "default".into(),
                provider,
                locale: locale.into(),
                recorded: some(recorded),
                actual: some(actual),
                owned: true,
            }
            .state()
        };
        // https://wiki.postgresql.org/wiki/Locale_data_changes: C and POSIX are not affected.
        for locale in ["C", "POSIX", "C.UTF-8", "c.utf8"] {
            assert_eq!(state('c', locale, "", ""), State::Fixed, "{locale}");
        }
        assert_eq!(state('c', "en_US.UTF-8", "2.28", "2.28"), State::Same);
        assert_eq!(state('c', "en_US.UTF-8", "2.17", "2.28"), State::Changed);
        // PostgreSQL 14 keeps no version for a database, 12 none at all for the C library.
        assert_eq!(state('c', "en_US.UTF-8", "", "2.28"), State::Unknown);
        assert_eq!(state('c', "cs_CZ.UTF-8", "", ""), State::Unknown);
        assert_eq!(state('i', "C", "153.14", "153.120"), State::Changed);
        assert_eq!(state('i', "en-US", "", ""), State::Unknown);
        assert_eq!(state('b', "C.UTF-8", "1", "1"), State::Fixed);
    }
}
