//! What becomes of a resource, in one word: the word that an approval repeats.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What becomes of the resource that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Old {
    /// It stays where it is, outside the stack.
    Retained,
    /// It is deleted, and a snapshot stays.
    Snapshot,
    /// It is deleted.
    Deleted,
}

/// What becomes of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// Nothing: CloudFormation brings its own record in line with the resource.
    Sync,
    /// It comes into being.
    Add,
    /// It exists, and comes into the stack.
    Import,
    /// It is changed in place.
    Modify,
    /// Perhaps there is a new one in its place.
    MayReplace(Old),
    /// There is a new one in its place, which begins empty.
    Replace(Old),
    /// It leaves the stack.
    Remove(Old),
    /// Its change set can't be seen: a nested stack without one.
    Opaque,
    /// CloudFormation itself decides when the change set runs.
    Dynamic,
    /// A word of AWS's that this version does not know.
    Unknown,
}

/// Every word, for messages and for the help.
pub const WORDS: [&str; 16] = [
    "sync",
    "add",
    "import",
    "modify",
    "may-replace-retain",
    "may-replace-snapshot",
    "may-replace-delete",
    "replace-retain",
    "replace-snapshot",
    "replace-delete",
    "remove-retain",
    "remove-snapshot",
    "remove-delete",
    "opaque",
    "dynamic",
    "unknown",
];

impl Fate {
    /// The word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Add => "add",
            Self::Import => "import",
            Self::Modify => "modify",
            Self::MayReplace(Old::Retained) => "may-replace-retain",
            Self::MayReplace(Old::Snapshot) => "may-replace-snapshot",
            Self::MayReplace(Old::Deleted) => "may-replace-delete",
            Self::Replace(Old::Retained) => "replace-retain",
            Self::Replace(Old::Snapshot) => "replace-snapshot",
            Self::Replace(Old::Deleted) => "replace-delete",
            Self::Remove(Old::Retained) => "remove-retain",
            Self::Remove(Old::Snapshot) => "remove-snapshot",
            Self::Remove(Old::Deleted) => "remove-delete",
            Self::Opaque => "opaque",
            Self::Dynamic => "dynamic",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the resource that was there is gone, or may be, from the stack at the least.
    pub fn ends_the_old(&self) -> bool {
        !matches!(self, Self::Sync | Self::Add | Self::Import | Self::Modify)
    }

    /// Whether this is no worse than `reviewed`: the same, the same with less of the old lost, or a replacement that
    /// was certain and now is not.
    pub fn is_no_worse_than(&self, reviewed: &Self) -> bool {
        match (self, reviewed) {
            (Self::Replace(now), Self::Replace(then))
            | (Self::MayReplace(now), Self::MayReplace(then) | Self::Replace(then))
            | (Self::Remove(now), Self::Remove(then)) => now <= then,
            // A change in place needs an approval only where it can't be known what it does.
            (
                Self::Modify,
                Self::MayReplace(Old::Deleted) | Self::Replace(Old::Deleted) | Self::Remove(Old::Deleted),
            ) => true,
            (now, then) => now == then,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Fate {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "sync" => Self::Sync,
            "add" => Self::Add,
            "import" => Self::Import,
            "modify" => Self::Modify,
            "may-replace-retain" => Self::MayReplace(Old::Retained),
            "may-replace-snapshot" => Self::MayReplace(Old::Snapshot),
            "may-replace-delete" => Self::MayReplace(Old::Deleted),
            "replace-retain" => Self::Replace(Old::Retained),
            "replace-snapshot" => Self::Replace(Old::Snapshot),
            "replace-delete" => Self::Replace(Old::Deleted),
            "remove-retain" => Self::Remove(Old::Retained),
            "remove-snapshot" => Self::Remove(Old::Snapshot),
            "remove-delete" => Self::Remove(Old::Deleted),
            "opaque" => Self::Opaque,
            "dynamic" => Self::Dynamic,
            "unknown" => Self::Unknown,
            other => return Err(format!("{other} is none of {}", WORDS.join(", "))),
        })
    }
}

impl Serialize for Fate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Fate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What must be approved by name before a change may be made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// What becomes of the resource.
    Fate(Fate),
    /// A guard against losing it goes: a deletion policy, a deletion protection.
    WeakenGuard,
    /// It is changed in place, in a way that drops data or takes it out of service.
    InPlaceRisk,
    /// CloudFormation or the service is known to refuse the change, half-way through the update.
    WillFail,
}

impl Need {
    /// The word that approves it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fate(fate) => fate.word(),
            Self::WeakenGuard => "weaken-guard",
            Self::InPlaceRisk => "in-place-risk",
            Self::WillFail => "will-fail",
        }
    }

    /// Whether an approval of `reviewed` covers this.
    pub fn is_covered_by(&self, reviewed: &Self) -> bool {
        match (self, reviewed) {
            (Self::Fate(now), Self::Fate(then)) => now.is_no_worse_than(then),
            (now, then) => now == then,
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Need {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "weaken-guard" => Self::WeakenGuard,
            "in-place-risk" => Self::InPlaceRisk,
            "will-fail" => Self::WillFail,
            fate => Self::Fate(fate.parse().map_err(|_| {
                format!("{fate} is none of {}, weaken-guard, in-place-risk, will-fail", WORDS.join(", "))
            })?),
        })
    }
}

impl Serialize for Need {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Need {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for word in WORDS {
            assert_eq!(word.parse::<Fate>().unwrap().word(), word);
            assert_eq!(word.parse::<Need>().unwrap().word(), word);
        }
        for word in ["weaken-guard", "in-place-risk", "will-fail"] {
            assert_eq!(word.parse::<Need>().unwrap().word(), word);
        }
        assert!(
            "replace".parse::<Need>().unwrap_err().contains("replace-delete"),
            "the message lists the words"
        );
    }

    #[test]
    fn only_the_same_or_less_is_covered() {
        let covers = |reviewed: &str, now: &str| {
            now.parse::<Need>().unwrap().is_covered_by(&reviewed.parse::<Need>().unwrap())
        };
        assert!(covers("replace-delete", "replace-delete"));
        assert!(covers("replace-delete", "replace-snapshot"));
        assert!(covers("replace-delete", "may-replace-delete"));
        assert!(covers("remove-delete", "remove-retain"));
        assert!(covers("may-replace-delete", "modify"));
        assert!(!covers("replace-retain", "replace-delete"));
        assert!(!covers("replace-snapshot", "replace-delete"));
        assert!(!covers("may-replace-delete", "replace-delete"));
        assert!(!covers("replace-delete", "remove-delete"), "it was not said that it goes for good");
        assert!(!covers("remove-retain", "replace-retain"));
        assert!(!covers("dynamic", "remove-delete"));
        assert!(!covers("modify", "dynamic"));
        assert!(
            !covers("replace-retain", "modify"),
            "it needs an approval where it is not known what it does"
        );
        assert!(!covers("add", "modify"));
        assert!(!covers("weaken-guard", "in-place-risk"));
        assert!(!covers("will-fail", "replace-delete"));
    }
}
