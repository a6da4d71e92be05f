//! What is to be done about a tree, or why not: pure.

use kit::{Action, Cx, Failure, Note, Outcome, Plan};
use serde::Serialize;

use super::archive::{SUMS, WRITE_SUMS};
use super::item::Count;
use super::list::Skipped;
use super::observe::Seen;
use super::order::Order;

/// The one action of a tree.
pub(crate) const COPY_TREE: &str = "copy-tree";
/// How each is known to be a copy.
pub(crate) const VERIFIED_BY: &str =
    "size and MD5 or CRC-64/NVME of each object, and the list of the destination";

#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub(crate) struct Request {
    pub(crate) replace: bool,
    pub(crate) order: Order,
    pub(crate) archive: bool,
    pub(crate) allow_empty: bool,
    /// The list of sums is there, and is that of these very files.
    pub(crate) same_sums: bool,
}

/// One change to many objects. Which they are stands in the manifest beside the receipt.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TreePlan {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) order: Order,
    pub(crate) listed: Count,
    pub(crate) copy: Count,
    pub(crate) replace: Count,
    pub(crate) again: Count,
    /// The list of sums is written last.
    pub(crate) sums: bool,
    #[serde(skip)]
    seen: Seen,
}

pub(crate) fn plan(request: Request, seen: &Seen) -> Result<TreePlan, Failure> {
    let refused = || Failure::refused(format!("copy {} to {}", seen.from, seen.to));
    if seen.skipped.unnameable.count > 0 {
        let failure = refused()
            .because(format!("{} names are not UTF-8, which every key is", seen.skipped.unnameable.count))
            .help("rename them");
        return Err(seen.skipped.unnameable.tell(failure, "no key"));
    }
    if seen.listed.objects == 0 && !request.allow_empty {
        return Err(refused()
            .because("there is nothing to copy")
            .help("correct --from: nothing at all was found there"));
    }
    if seen.archived.count > 0 {
        let failure = refused()
            .because(format!("{} of the source are archived", seen.archived.count))
            .help("restore them first (aws s3api restore-object) and wait for its end");
        return Err(seen.archived.tell(failure, "archived"));
    }
    if seen.too_long.count > 0 {
        let failure = refused()
            .because(format!("{} keys would be longer than 1024 bytes", seen.too_long.count))
            .help("choose a shorter --to");
        return Err(seen.too_long.tell(failure, "too long"));
    }
    if request.archive {
        archive(request, seen)?;
    }
    if seen.different.objects > 0 && !request.replace {
        let failure = refused()
            .because(format!(
                "at the destination, {} other than the source's",
                if seen.different.objects == 1 {
                    "1 object is".to_owned()
                } else {
                    format!("{} objects are", seen.different.objects)
                }
            ))
            .help("look whose they are; --replace puts the source's in their place");
        return Err(seen.different_names.tell(failure, "different"));
    }
    Ok(TreePlan {
        from: seen.from.clone(),
        to: seen.to.clone(),
        order: request.order,
        listed: seen.listed,
        copy: seen.missing,
        replace: seen.different,
        again: seen.again,
        sums: request.archive && !seen.has_sums && seen.listed.objects > 0,
        seen: seen.clone(),
    })
}

/// An archive is made once: nothing is added to one, and nothing replaced.
fn archive(request: Request, seen: &Seen) -> Result<(), Failure> {
    let refused = || Failure::refused(format!("archive {} at {}", seen.from, seen.to));
    if seen.own_sums {
        return Err(refused()
            .because(format!("it has a file {SUMS}, which is what the list of its sums is called"))
            .help("rename that file, or archive the folder above it"));
    }
    if seen.has_sums && !request.same_sums {
        return Err(refused()
            .because(format!("there is a whole archive of other files already (it has {SUMS})"))
            .help("choose another --to"));
    }
    if seen.extra.objects > 0 {
        let failure = refused()
            .because(format!("the prefix is not empty: {} are there", seen.extra.in_words()))
            .help("choose an empty prefix");
        return Err(seen.extra_names.tell(failure, "there"));
    }
    if seen.different.objects > 0 {
        let failure = refused()
            .because("files have changed since an earlier run archived them, or the prefix is not empty")
            .help("choose an empty prefix, and archive what is written to no more");
        return Err(seen.different_names.tell(failure, "different"));
    }
    Ok(())
}

impl TreePlan {
    /// When the latest of the destination was written, in seconds since 1970.
    pub(crate) fn latest_there(&self) -> i64 {
        self.seen.latest_there
    }

    /// All that is written.
    pub(crate) fn written(&self) -> Count {
        Count {
            objects: self.copy.objects + self.replace.objects + self.again.objects,
            bytes: self.copy.bytes + self.replace.bytes + self.again.bytes,
        }
    }

    fn detail(&self) -> String {
        let mut lines = vec![format!(
            "{} listed, {} there already",
            self.listed.in_words(),
            Count {
                objects: self.seen.same.objects.saturating_sub(self.again.objects),
                bytes: self.seen.same.bytes.saturating_sub(self.again.bytes),
            }
            .in_words()
        )];
        let mut list = |what: &str, names: &super::item::Names| {
            lines.extend(names.first.iter().take(5).map(|name| format!("{what}: {name}")));
            let more = names.count.saturating_sub(5);
            if more > 0 {
                lines.push(format!("{what}: and {more} more"));
            }
        };
        list("copy", &self.seen.missing_names);
        list("replace", &self.seen.different_names);
        list("copy again, to stay the newest", &self.seen.again_names);
        lines.join("\n")
    }
}

impl Plan for TreePlan {
    fn actions(&self) -> Vec<Action> {
        let sums = self.sums.then(|| {
            Action::new(
                WRITE_SUMS,
                format!("write the SHA-256 sums of all to {}{SUMS}", self.to),
                "delete it if it is still this one",
            )
        });
        if self.written().objects == 0 {
            return sums.into_iter().collect();
        }
        let order = match self.order {
            Order::NewestLast => ", the newest of each folder after the others",
            Order::OldestFirst => ", one after the other from the oldest on",
            Order::Any => "",
        };
        let does = format!("copy {} from {} to {}{order}", self.written().in_words(), self.from, self.to);
        let undo = if self.replace.objects == 0 {
            "delete each that was not there and is still the copy that this writes"
        } else {
            "delete each that was not there, or of which a version was, and is still the copy that this writes; where the bucket keeps versions, what was replaced \
             is current again, elsewhere it is lost"
        };
        let copy = Action::new(COPY_TREE, does, undo).detail(self.detail());
        [copy].into_iter().chain(sums).collect()
    }

    fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        let seen = &self.seen;
        if self.replace.objects > 0 {
            notes.push(Note::Warning(format!(
                "replaces {} at the destination; in a bucket without versions they are lost",
                self.replace.in_words()
            )));
        }
        if let Some((from, to)) = &seen.regions {
            notes.push(Note::Info(format!("from the region {from} to {to}; S3 bills the transfer")));
        }
        if seen.large.objects > 0 {
            notes.push(Note::Info(format!(
                "{} are written in parts; what an earlier run of this principal has begun of them is taken up or put away",
                seen.large.in_words()
            )));
        }
        if seen.extra.objects > 0 {
            notes.push(Note::Info(format!(
                "the destination has {} that the source has not; they stay as they are (the first: {})",
                seen.extra.in_words(),
                seen.extra_names.first.first().map(String::as_str).unwrap_or_default()
            )));
        }
        let Skipped { symlinks, others, .. } = seen.skipped;
        if symlinks + others > 0 {
            notes.push(Note::Warning(format!(
                "not copied: {symlinks} symbolic links, {others} sockets, pipes and devices"
            )));
        }
        if seen.nameless > 0 {
            notes.push(Note::Info(
                "the empty object that stands for the folder itself is not copied: it would have no name"
                    .to_owned(),
            ));
        }
        notes.extend(
            seen.unfinished.first.iter().take(5).map(|upload| {
                Note::Warning(format!("an upload below the destination is unfinished: {upload}"))
            }),
        );
        notes
    }

    fn unchanged(&self) -> String {
        format!("all {} of {} are at {} already", self.listed.in_words(), self.from, self.to)
    }
}

/// The difference of two sides as a result: refused when there is one.
pub(crate) fn report(cx: &Cx, seen: &Seen) -> Result<Outcome, Failure> {
    cx.output("objects", seen.listed.objects.to_string());
    cx.output("bytes", seen.listed.bytes.to_string());
    cx.output("missing", seen.missing.objects.to_string());
    cx.output("different", seen.different.objects.to_string());
    cx.output("extra", seen.extra.objects.to_string());
    let refused = || Failure::refused(format!("compare {} with {}", seen.from, seen.to));
    if seen.listed.objects == 0 {
        return Err(refused().because("there is nothing to compare").help("correct --from"));
    }
    let differing = seen.missing.objects + seen.different.objects + seen.extra.objects + seen.archived.count;
    if differing == 0 {
        return Ok(Outcome::unchanged(format!(
            "{} and {} are the same: {}, each of the same size and checksum",
            seen.from,
            seen.to,
            seen.listed.in_words()
        )));
    }
    let failure = refused().because(format!(
        "of {}, {} missing, {} different; {} at the destination alone",
        seen.listed.in_words(),
        seen.missing.objects,
        seen.different.objects,
        seen.extra.objects
    ));
    let failure = seen.missing_names.tell(failure, "missing");
    let failure = seen.different_names.tell(failure, "different");
    let failure = seen.archived.tell(failure, "archived, and missing");
    Err(seen.extra_names.tell(failure, "at the destination alone"))
}
