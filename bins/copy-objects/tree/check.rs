//! Lists both sides once more: what was listed, what was copied and what is there have to be the same.

use std::collections::HashMap;

use kit::Failure;

use super::apply::fingerprint;
use super::item::{Count, Item, Names, shown};
use super::list::List;
use super::manifest::Listed;
use super::observe::Slot;
use super::order::Order;
use super::{Origin, Tree};

/// A list that is read beside another.
struct Beside {
    list: List,
    next: Option<Item>,
}

impl Beside {
    fn new(list: List) -> Self {
        Self { list, next: None }
    }

    /// The item of that key, if it has one; `passed` gets those before it.
    async fn at(&mut self, key: Option<&str>, mut passed: impl FnMut(Item)) -> Result<Option<Item>, Failure> {
        loop {
            let item = match self.next.take() {
                Some(item) => item,
                None => match self.list.recv().await.transpose()? {
                    Some(item) => item,
                    None => return Ok(None),
                },
            };
            match key.map(|key| item.key.as_bytes().cmp(key.as_bytes())) {
                None | Some(std::cmp::Ordering::Less) => passed(item),
                Some(std::cmp::Ordering::Equal) => return Ok(Some(item)),
                Some(std::cmp::Ordering::Greater) => {
                    self.next = Some(item);
                    return Ok(None);
                }
            }
        }
    }
}

/// What is there of what was listed.
pub(crate) async fn check(tree: &Tree, listed: &Listed, mut slots: Vec<Slot>) -> Result<Count, Failure> {
    tree.cx.in_time("read both lists again", compare(tree, listed, &mut slots)).await?
}

async fn compare(tree: &Tree, listed: &Listed, slots: &mut [Slot]) -> Result<Count, Failure> {
    slots.sort_by_key(|slot| slot.place);
    let mut slots = slots.iter().peekable();
    let (mut source, mut there) = (Beside::new(tree.list_source()), Beside::new(tree.list_destination()));
    let (mut read, mut wrong, mut changed, mut new) =
        (Count::default(), Names::default(), Names::default(), Names::default());
    let mut newest = Newest::default();
    let mut lines = listed.lines()?;
    while let Some((place, line)) = lines.next()? {
        let slot = slots.next_if(|slot| slot.place == place);
        let item = &line.item;
        match source.at(Some(&item.key), |item| new.add(shown(&item.key))).await? {
            Some(now) if now == *item => {}
            Some(_) => changed.add(format!("{} (replaced)", shown(&item.key))),
            None => changed.add(format!("{} (deleted)", shown(&item.key))),
        }
        let Some(found) = there.at(Some(&item.key), |_| ()).await? else {
            wrong.add(format!("{} (not there)", shown(&item.key)));
            continue;
        };
        let as_written = match slot.and_then(|slot| slot.written) {
            Some((etag, bytes)) => etag == fingerprint(&found.etag) && bytes == found.bytes,
            None => line.there.as_ref() == Some(&found.etag) && item.bytes == found.bytes,
        };
        if as_written {
            read.add(found.bytes);
            newest.see(item, &found, slot.is_some());
        } else {
            wrong.add(format!("{} (another object is there)", shown(&item.key)));
        }
    }
    source.at(None, |item| new.add(shown(&item.key))).await?;
    let unverified = || Failure::unverified(format!("verify the copy of {} at {}", tree.from(), tree.to()));
    if wrong.count > 0 {
        let failure = unverified()
            .because(format!("{} of the destination are not as they were left", wrong.count))
            .help("somebody else writes there; look who, and run it again");
        return Err(wrong.tell(failure, "wrong"));
    }
    let late = newest.late();
    if tree.order != Order::Any && late.count > 0 {
        let failure = unverified()
            .because(
                "all are there, but the newest of the source is not the newest of its folder by LastModified",
            )
            .help(
                "who restores the newest of a folder would take another: delete that copy and run this again",
            );
        return Err(late.tell(failure, "not the newest"));
    }
    if changed.count > 0 && matches!(tree.origin, Origin::Folder(_)) {
        tree.cx.report().warn(&format!(
            "{} files changed after they were read (the first: {}); what was copied is what they were",
            changed.count,
            changed.first.first().map(String::as_str).unwrap_or_default()
        ));
    } else if changed.count > 0 {
        let failure = Failure::waiting(format!("copy {} to {}", tree.from(), tree.to()))
            .because(format!(
                "{} of the source changed meanwhile; the copies are whole, and of what was there before",
                changed.count
            ))
            .help("run it again, with --replace if what is there now is to be copied");
        return Err(changed.tell(failure, "changed"));
    }
    if new.count > 0 {
        tree.cx.report().warn(&format!(
            "the source has {} that came after it was listed, and were not copied (the first: {})",
            new.count,
            new.first.first().map(String::as_str).unwrap_or_default()
        ));
    }
    Ok(read)
}

/// One folder.
#[derive(Default)]
struct Folder {
    /// Of the newest at the source: its time there, its key, and when it was copied.
    newest: (i64, String, i64),
    /// When the last of the others was copied.
    others: Option<i64>,
    /// This run wrote in it.
    touched: bool,
}

/// Whether the newest of the source is the newest of its folder at the destination too.
#[derive(Default)]
struct Newest {
    of: HashMap<String, Folder>,
}

impl Newest {
    fn see(&mut self, source: &Item, there: &Item, written: bool) {
        if !self.of.contains_key(source.folder()) {
            let newest = (source.modified, source.key.clone(), there.modified);
            let folder = Folder { newest, others: None, touched: written };
            self.of.insert(source.folder().to_owned(), folder);
            return;
        }
        let Some(folder) = self.of.get_mut(source.folder()) else { return };
        folder.touched |= written;
        let (newest, key, copied) = &mut folder.newest;
        match source.modified.cmp(newest) {
            std::cmp::Ordering::Less => folder.others = folder.others.max(Some(there.modified)),
            std::cmp::Ordering::Equal => *copied = (*copied).min(there.modified),
            std::cmp::Ordering::Greater => {
                folder.others = folder.others.max(Some(*copied));
                (*newest, *key, *copied) = (source.modified, source.key.clone(), there.modified);
            }
        }
    }

    fn late(&self) -> Names {
        let mut late = Names::default();
        for folder in self.of.values() {
            let (_, key, copied) = &folder.newest;
            if folder.touched && folder.others.is_some_and(|others| *copied <= others) {
                late.add(shown(key));
            }
        }
        late
    }
}
