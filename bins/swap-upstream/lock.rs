//! The lock beside a configuration: whose unfinished edit it is. Pure.

use std::collections::BTreeMap;

/// The lock as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// The release that holds it.
    pub(crate) release: String,
    /// Its run.
    pub(crate) run: String,
    /// Sums of the file before the edit and after it.
    pub(crate) before: String,
    pub(crate) after: String,
    /// Seconds since 1970, by the proxy's own clock.
    pub(crate) expires: i64,
    /// Whether that run has ended well, on all proxies: what it edited is not put back any more.
    pub(crate) done: bool,
}

/// What was found in the place of the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// None when it can't be read.
    pub(crate) lock: Option<Lock>,
    /// Of the lock's own bytes.
    pub(crate) sum: String,
    /// For how many seconds it still is; at most none when it is over.
    pub(crate) left: i64,
}

const FIRST: &str = "cutover-lock/1";

impl Lock {
    /// All but its last line, which the proxy adds, as it does the line `done: yes` at the end.
    pub(crate) fn lines(&self) -> String {
        let Self { release, run, before, after, .. } = self;
        format!("{FIRST}\nrelease: {release}\nrun: {run}\nbefore: {before}\nafter: {after}\n")
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        // The time is its last line: a part of it would be a time that is over.
        let mut lines = text.strip_suffix('\n')?.lines();
        if lines.next() != Some(FIRST) {
            return None;
        }
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            if fields.insert(name, value).is_some() {
                return None;
            }
        }
        let field = |name: &str| fields.get(name).map(|value| (*value).to_owned());
        Some(Self {
            release: field("release")?,
            run: field("run")?,
            before: field("before")?,
            after: field("after")?,
            expires: field("expires")?.parse().ok()?,
            done: fields.get("done").is_some_and(|done| *done == "yes"),
        })
    }
}

impl Found {
    pub(crate) fn of(text: &str, sum: String, now: i64) -> Self {
        let lock = Lock::read(text);
        let left = lock.as_ref().map_or(i64::MAX, |lock| lock.expires.saturating_sub(now));
        Self { lock, sum, left }
    }

    /// Whether a run of this release may go on in its place.
    pub(crate) fn may_take(&self, release: &str) -> bool {
        self.left <= 0 || self.lock.as_ref().is_some_and(|lock| lock.release == release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> Lock {
        Lock {
            release: "v37".into(),
            run: "r".into(),
            before: "b".into(),
            after: "a".into(),
            expires: 100,
            done: false,
        }
    }

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let text = format!("{}expires: 100\n", lock().lines());
        assert_eq!(Lock::read(&text), Some(lock()));
        let done = text.replacen("release", "done: yes\nrelease", 1);
        assert_eq!(Lock::read(&done), Some(Lock { done: true, ..lock() }));
        assert_eq!(Lock::read(&lock().lines()), None);
        assert_eq!(Lock::read("something else\n"), None);
    }

    #[test]
    fn it_is_taken_by_its_own_release_or_when_it_is_over() {
        let text = format!("{}expires: 100\n", lock().lines());
        let at = |now: i64| Found::of(&text, "s".into(), now);
        assert!(at(50).may_take("v37"));
        assert!(!at(50).may_take("v38"));
        assert!(at(100).may_take("v38"));
        // Nobody knows whose it is, nor for how long.
        assert!(!Found::of("?", "s".into(), i64::MAX).may_take("v37"));
    }
}
