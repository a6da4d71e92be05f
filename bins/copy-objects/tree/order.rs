//! In which order a tree is written. A copy's `LastModified` is the time of copying, and there are those who take the newest
//! of a folder: pure.

use std::collections::HashMap;

use clap::ValueEnum;
use serde::Serialize;

use super::item::{Item, Line, Work};

/// The order of copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// The newest of each folder after all others of it, the newest of all last.
    NewestLast,
    /// Strictly by `LastModified`, a second each.
    OldestFirst,
    /// As it comes.
    Any,
}

/// What has to be known of the folders before the order can be told.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    /// By name: the newest of it, and the oldest of it that is written.
    of: HashMap<String, (i64, Option<i64>)>,
    /// The newest of all.
    newest: i64,
}

/// Where an object comes in the order; those of one rank are written at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(i64);

impl Rank {
    /// Whether it has to be newer than others that are written.
    pub(crate) fn is_late(self) -> bool {
        self != Self(0)
    }
}

impl Folders {
    pub(crate) fn see(&mut self, line: &Line) {
        let (folder, modified) = (line.item.folder(), line.item.modified);
        let written = (line.work != Work::Keep).then_some(modified);
        self.newest = self.newest.max(modified);
        match self.of.get_mut(folder) {
            Some((newest, oldest_written)) => {
                *newest = (*newest).max(modified);
                *oldest_written = match (*oldest_written, written) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
            }
            None => {
                self.of.insert(folder.to_owned(), (modified, written));
            }
        }
    }

    /// Whether it is the newest of its folder.
    pub(crate) fn is_newest(&self, item: &Item) -> bool {
        self.of.get(item.folder()).is_none_or(|(newest, _)| *newest == item.modified)
    }

    /// When it is written, if it is: what is there already is written again if it would be older than what it is newer than.
    pub(crate) fn rank(&self, order: Order, line: &Line) -> Option<Rank> {
        let modified = line.item.modified;
        if line.work == Work::Keep {
            let oldest_written = self.of.get(line.item.folder()).and_then(|(_, oldest)| *oldest)?;
            let counts = match order {
                Order::Any => false,
                Order::NewestLast => self.is_newest(&line.item),
                Order::OldestFirst => true,
            };
            if !counts || modified <= oldest_written {
                return None;
            }
        }
        Some(Rank(match order {
            Order::Any => 0,
            Order::OldestFirst => modified,
            Order::NewestLast if !self.is_newest(&line.item) => 0,
            Order::NewestLast if modified == self.newest => 2,
            Order::NewestLast => 1,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &str, modified: i64, work: Work) -> Line {
        let item = Item { key: key.to_owned(), modified, ..Item::default() };
        Line { item, work, there: None, sha256: None }
    }

    fn ordered(order: Order, lines: &[Line]) -> Vec<(i64, &str)> {
        let mut folders = Folders::default();
        for line in lines {
            folders.see(line);
        }
        let mut ranked: Vec<(i64, &str)> = lines
            .iter()
            .filter_map(|line| Some((folders.rank(order, line)?.0, line.item.key.as_str())))
            .collect();
        ranked.sort_unstable();
        ranked
    }

    #[test]
    fn the_newest_of_each_folder_comes_after_the_others() {
        let lines = [
            line("daily/1", 100, Work::Copy),
            line("sync/00", 300, Work::Copy),
            line("sync/20", 320, Work::Copy),
            line("sync/40", 280, Work::Copy),
            line("top", 310, Work::Copy),
        ];
        let expected = [(0, "sync/00"), (0, "sync/40"), (1, "daily/1"), (1, "top"), (2, "sync/20")];
        assert_eq!(ordered(Order::NewestLast, &lines), expected);
        let expected = [(100, "daily/1"), (280, "sync/40"), (300, "sync/00"), (310, "top"), (320, "sync/20")];
        assert_eq!(ordered(Order::OldestFirst, &lines), expected);
        assert!(ordered(Order::Any, &lines).iter().all(|(rank, _)| *rank == 0));
    }

    #[test]
    fn what_is_there_already_stays_the_newest() {
        let lines = [
            line("sync/00", 300, Work::Copy),
            line("sync/20", 320, Work::Keep),
            line("sync/40", 280, Work::Keep),
            line("weekly/1", 200, Work::Keep),
        ];
        assert_eq!(ordered(Order::NewestLast, &lines), [(0, "sync/00"), (2, "sync/20")]);
        assert_eq!(ordered(Order::OldestFirst, &lines), [(300, "sync/00"), (320, "sync/20")]);
        assert_eq!(ordered(Order::Any, &lines), [(0, "sync/00")]);
        // What is copied is the newest itself, or as new: nothing has to be copied again.
        let lines = [line("sync/00", 300, Work::Keep), line("sync/20", 320, Work::Copy)];
        assert_eq!(ordered(Order::NewestLast, &lines).len(), 1);
        let lines = [line("sync/00", 320, Work::Keep), line("sync/20", 320, Work::Copy)];
        assert_eq!(ordered(Order::NewestLast, &lines).len(), 1);
    }
}
