//! Whether a stack is still what was looked at, right before it is deleted: `DeleteStack` takes no condition, and an update leaves the
//! stack's ARN as it is. Pure.

use std::collections::{BTreeMap, BTreeSet};

use changeset::live::{Phase, Stack};
use changeset::review::{Row, StackReview};
use changeset::show::becomes;

use crate::saved::Saved;

/// What was read of a stack at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) review: &'a StackReview,
    pub(crate) saved: &'a Saved,
}

/// Why there is no use in looking closer: the stack is gone, or something is at work on it.
pub(crate) fn moved(then: &Stack, now: Option<&Stack>) -> Option<String> {
    match now.map(|now| (now, now.phase())) {
        None | Some((_, Phase::Deleted)) => Some("it is gone".to_owned()),
        Some((now, Phase::InProgress)) => Some(status(then, now)),
        Some(_) => None,
    }
}

fn status(then: &Stack, now: &Stack) -> String {
    format!("it is {} now, and was {}", now.status, then.status)
}

/// What differs, a sentence each; nothing where it is as it was.
pub(crate) fn differences(then: Sight<'_>, now: Sight<'_>) -> Vec<String> {
    let mut lines = rows(&then.review.rows, &now.review.rows);
    if now.stack.status != then.stack.status {
        lines.insert(0, status(then.stack, now.stack));
    }
    if now.stack.termination_protection && !then.stack.termination_protection {
        lines.push("its termination protection was turned on".to_owned());
    }
    lines.extend(now.saved.differs_in(then.saved).into_iter().map(|what| format!("{what} changed")));
    lines
}

fn rows(then: &[Row], now: &[Row]) -> Vec<String> {
    let by_name = |rows: &[Row]| -> BTreeMap<String, Row> {
        // What of it was approved is no part of what it is.
        rows.iter().map(|row| (row.name(), Row { approved: BTreeSet::new(), ..row.clone() })).collect()
    };
    let (then, now) = (by_name(then), by_name(now));
    let shown = |row: &Row| format!("{} ({})", row.name(), row.resource_type);
    let id = |row: &Row| row.physical_id.clone().unwrap_or_else(|| "nothing yet".to_owned());
    let mut lines: Vec<String> = Vec::new();
    for (name, new) in &now {
        match then.get(name) {
            None => lines.push(format!("{} was not there", shown(new))),
            Some(old) if old == new => {}
            Some(old) if id(old) != id(new) => {
                lines.push(format!("{} is {} now, and was {}", shown(new), id(new), id(old)));
            }
            Some(old) if old.fate != new.fate => lines.push(format!(
                "{}: {} now, and not {}",
                shown(new),
                becomes(&new.fate),
                becomes(&old.fate)
            )),
            Some(_) => lines.push(format!("{} is judged otherwise now", shown(new))),
        }
    }
    let gone = then.iter().filter(|(name, _)| !now.contains_key(*name));
    lines.extend(gone.map(|(_, old)| format!("{} is there no more", shown(old))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use changeset::fate::{Fate, Need, Old};
    use changeset::review::Verdict;

    fn row(id: &str, physical_id: &str, old: Old) -> Row {
        Row {
            stack: "api".into(),
            logical_id: id.into(),
            physical_id: Some(physical_id.into()),
            resource_type: "AWS::DynamoDB::Table".into(),
            fate: Fate::Remove(old),
            tier: None,
            verdict: Verdict::Loss,
            needs: [Need::Fate(Fate::Remove(old))].into(),
            approved: BTreeSet::new(),
            risks: BTreeSet::new(),
            reasons: Vec::new(),
            properties: Vec::new(),
        }
    }

    #[test]
    fn resources_that_came_went_or_are_others_are_told() {
        let then = [row("A", "a", Old::Deleted), row("B", "b", Old::Retained), row("C", "c", Old::Deleted)];
        let mut approved = then.clone();
        approved[0].approved = approved[0].needs.clone();
        assert_eq!(rows(&approved, &then), Vec::<String>::new());
        let now = [row("A", "a-2", Old::Deleted), row("B", "b", Old::Deleted), row("D", "d", Old::Deleted)];
        assert_eq!(
            rows(&then, &now),
            [
                "api/A (AWS::DynamoDB::Table) is a-2 now, and was a",
                "api/B (AWS::DynamoDB::Table): REMOVE, it is DELETED now, and not REMOVE from the stack, it stays outside",
                "api/D (AWS::DynamoDB::Table) was not there",
                "api/C (AWS::DynamoDB::Table) is there no more",
            ]
        );
    }

    #[test]
    fn a_stack_that_is_gone_or_at_work_is_not_the_one_that_was_looked_at() {
        let of = |status: &str| Stack { status: status.into(), ..Stack::default() };
        let then = of("UPDATE_COMPLETE");
        assert_eq!(moved(&then, Some(&then)), None);
        assert_eq!(
            moved(&then, Some(&of("UPDATE_ROLLBACK_COMPLETE"))),
            None,
            "what it is by then is looked at"
        );
        assert_eq!(moved(&then, None).as_deref(), Some("it is gone"));
        assert_eq!(moved(&then, Some(&of("DELETE_COMPLETE"))).as_deref(), Some("it is gone"));
        assert_eq!(
            moved(&then, Some(&of("UPDATE_IN_PROGRESS"))).as_deref(),
            Some("it is UPDATE_IN_PROGRESS now, and was UPDATE_COMPLETE")
        );
    }
}
