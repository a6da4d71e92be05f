//! Takes a run back, where what it left is still there. Pure.

use kit::{Failure, Note};

use super::TAG;
use super::plan::{Change, GONE, Observed, Scale};

/// What the receipt's runs did to one thing.
struct Was<T> {
    /// Every value that it had meanwhile.
    seen: Vec<T>,
    /// The first of them.
    first: Option<T>,
}

impl<T: PartialEq + Clone> Was<T> {
    fn new() -> Self {
        Self { seen: Vec::new(), first: None }
    }

    /// Takes in an inverse. They come last first, so the last that comes says what was there before all of them.
    fn add(&mut self, from: T, to: T) {
        self.first = Some(to.clone());
        self.seen.extend([from, to]);
    }

    /// What it has to become, unless it is that already.
    fn wanted(&self, now: &T) -> Option<T> {
        self.first.clone().filter(|first| first != now)
    }
}

/// What puts back what was there before the first run of a receipt, from its inverses (last first) and the tag that it `found`.
pub(super) fn plan(
    inverses: Vec<Change>,
    found: Option<&str>,
    service: &str,
    observed: &Observed,
) -> Result<Scale, Failure> {
    let (mut count, mut scaling, mut tag) = (Was::new(), Was::new(), Was::new());
    for change in inverses {
        match change {
            Change::Count { from, to } => count.add(from, to),
            Change::Scaling { from, to } => scaling.add(from, to),
            Change::Save { value, over } => tag.add(over, Some(value)),
            Change::Forget { value } => tag.add(Some(value), None),
        }
    }
    let refused = |what: &str, because: String| {
        Failure::refused(format!("put {what} of {service} back")).because(because)
    };
    let desired = observed.desired;
    let to_count = count.wanted(&desired);
    if let Some(to) = to_count
        && !count.seen.contains(&desired)
    {
        let left = count.seen.first().copied().unwrap_or_default();
        return Err(refused(
            "the number of tasks",
            format!("it is {desired}, which is neither what that run left ({left}) nor what it found ({to})"),
        )
        .help("somebody changed it since; set the number you want with --scale N"));
    }
    let mut notes = Vec::new();
    let to_scaling = match observed.suspended {
        Some(now) if !scaling.seen.is_empty() && !scaling.seen.contains(&now) => {
            return Err(refused(
                "Application Auto Scaling",
                format!("it has {}, which is neither what that run left nor what it found", now.words()),
            )
            .help("somebody changed it since: see its suspended state, and put it right by hand"));
        }
        Some(now) => scaling.wanted(&now).map(|to| (now, to)),
        None => {
            if !scaling.seen.is_empty() {
                notes.push(Note::Warning(GONE.to_owned()));
            }
            None
        }
    };
    let to_tag = tag.wanted(&observed.saved);
    // Without a change of the tag, that run found it as it left it.
    let known = if tag.seen.is_empty() {
        observed.saved.as_deref() == found
    } else {
        tag.seen.contains(&observed.saved)
    };
    let works = to_count.is_some() || to_scaling.is_some();
    let kept = tag.seen.first().is_some_and(Option::is_some) && tag.first == Some(None);
    if !known && (works || to_tag.is_some()) || kept && observed.saved.is_none() && works {
        return Err(refused(
            "the number of tasks",
            match &observed.saved {
                Some(value) => format!("its tag {TAG} is not what that run left: `{value}`"),
                None => format!("its tag {TAG} is gone: what that run kept was restored or dropped since"),
            },
        )
        .help("somebody changed the number since, or another release is at work; it is left as it is")
        .help(
            "--scale restore --release NAME puts back what the tag keeps; --scale N sets the number you want",
        ));
    }
    let mut changes: Vec<Change> = Vec::new();
    changes.extend(to_count.map(|to| Change::Count { from: desired, to }));
    changes.extend(to_scaling.map(|(from, to)| Change::Scaling { from, to }));
    match (to_tag, &observed.saved) {
        (Some(None), Some(value)) => changes.push(Change::Forget { value: value.clone() }),
        // The tag goes first and goes away last, and auto scaling is suspended before the number is changed.
        (Some(Some(value)), over) => {
            changes.push(Change::Save { value, over: over.clone() });
            changes.reverse();
        }
        _ => {}
    }
    let count = to_count.unwrap_or(desired);
    let unchanged = format!("{service} wants {count} tasks");
    Ok(Scale { changes, count, before: desired, service: service.to_owned(), notes, unchanged })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::plan::ALL;
    use crate::scale::plan::tests::{MARCH, NONE, observed};
    use kit::Code;

    /// What the receipt of March's `--scale 0` has.
    fn march() -> Vec<Change> {
        vec![
            Change::Count { from: 0, to: 2 },
            Change::Scaling { from: ALL, to: NONE },
            Change::Forget { value: MARCH.to_owned() },
        ]
    }

    fn ids(changes: Vec<Change>, seen: &Observed) -> Vec<&'static str> {
        plan(changes, None, "web", seen).unwrap().changes.iter().map(Change::id).collect()
    }

    #[test]
    fn what_a_run_left_is_put_back_and_the_tag_last() {
        assert_eq!(
            ids(march(), &observed(0, Some(ALL), Some(MARCH))),
            ["set-count", "auto-scaling", "forget"]
        );
        // Killed on the way.
        assert_eq!(ids(march(), &observed(2, Some(ALL), Some(MARCH))), ["auto-scaling", "forget"]);
        assert_eq!(ids(march(), &observed(2, Some(NONE), Some(MARCH))), ["forget"]);
        assert!(ids(march(), &observed(2, Some(NONE), None)).is_empty());
        // Of a restore, back to what it found.
        let restored: Vec<Change> = march().iter().rev().map(Change::inverse).collect();
        let seen = observed(2, Some(NONE), None);
        assert_eq!(ids(restored, &seen), ["save", "auto-scaling", "set-count"]);
    }

    #[test]
    fn several_runs_of_a_receipt_are_taken_back_at_once() {
        let second = MARCH.replace("left=0", "left=3 over=0");
        let mut all = vec![
            Change::Count { from: 3, to: 0 },
            Change::Save { value: MARCH.to_owned(), over: Some(second.clone()) },
        ];
        all.extend(march());
        let back = plan(all, None, "web", &observed(3, Some(ALL), Some(&second))).unwrap();
        assert_eq!(
            back.changes,
            [
                Change::Count { from: 3, to: 2 },
                Change::Scaling { from: ALL, to: NONE },
                Change::Forget { value: second },
            ]
        );
    }

    #[test]
    fn what_another_release_or_a_person_did_since_is_left_alone() {
        let other = MARCH.replace("v1.0.0", "v2.0.0");
        let partly = super::super::saved::Suspended { scale_in: true, ..NONE };
        for (seen, why) in [
            (observed(0, Some(ALL), Some(&other)), "is not what that run left"),
            (observed(2, Some(NONE), Some(&other)), "is not what that run left"),
            (observed(0, Some(ALL), None), "was restored or dropped since"),
            (observed(8, Some(ALL), Some(MARCH)), "neither what that run left (0) nor what it found (2)"),
            (observed(0, Some(partly), Some(MARCH)), "scaling in suspended, which is neither"),
        ] {
            let refused = plan(march(), None, "web", &seen).unwrap_err();
            assert_eq!(refused.code(), Code::Refused);
            assert!(refused.chain().join(": ").contains(why), "{:?}", refused.chain());
        }
        // A run that found the tag of its release, and one of another release since.
        let count = || vec![Change::Count { from: 0, to: 2 }];
        assert!(plan(count(), Some(MARCH), "web", &observed(0, None, Some(MARCH))).is_ok());
        assert!(plan(count(), Some(MARCH), "web", &observed(0, None, Some(&other))).is_err());
    }
}
