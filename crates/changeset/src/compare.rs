//! What was reviewed against what would be run now.

use sha2::{Digest as _, Sha256};

use crate::fate::{Fate, Need};
use crate::review::{Counts, Operation, Review, Row, SCHEMA, StackReview, Verdict, Wishes};

impl Review {
    /// A review of these stacks in an account and region, with what is counted and named of them.
    pub fn new(
        version: &str,
        place: Option<(String, String)>,
        rules: Wishes,
        stacks: Vec<StackReview>,
    ) -> Self {
        let mut counts = Counts::default();
        let mut verdict = Verdict::Safe;
        for row in stacks.iter().flat_map(|stack| &stack.rows) {
            verdict = verdict.max(row.verdict);
            *match row.fate {
                Fate::Add => &mut counts.add,
                Fate::Modify => &mut counts.modify,
                Fate::Replace(_) | Fate::MayReplace(_) => &mut counts.replace,
                Fate::Remove(_) => &mut counts.remove,
                Fate::Sync | Fate::Import | Fate::Opaque | Fate::Dynamic | Fate::Unknown => &mut counts.other,
            } += 1;
            if row.blocks() {
                counts.blocked += 1;
            } else if !row.needs.is_empty() {
                counts.approved += 1;
            }
        }
        let (account, region) = place.unzip();
        let fingerprint = fingerprint([account.as_deref(), region.as_deref()], &rules, &stacks);
        Self {
            schema: SCHEMA.to_owned(),
            version: version.to_owned(),
            account,
            region,
            rules,
            stacks,
            fingerprint,
            counts,
            verdict,
        }
    }

    /// The fingerprint that its content has; another than it carries when it was edited.
    pub fn own_fingerprint(&self) -> String {
        fingerprint([self.account.as_deref(), self.region.as_deref()], &self.rules, &self.stacks)
    }
}

/// A hash over everything that a comparison looks at.
fn fingerprint(place: [Option<&str>; 2], rules: &Wishes, stacks: &[StackReview]) -> String {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&(place, rules)).unwrap_or_default());
    for stack in stacks {
        let mut rows: Vec<&Row> = stack.rows.iter().collect();
        rows.sort_by_key(|row| (row.name(), row.fate.clone()));
        let content: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.name(),
                    &row.physical_id,
                    &row.resource_type,
                    row.fate.word(),
                    row.verdict,
                    &row.needs,
                    &row.approved,
                    &row.risks,
                )
            })
            .collect();
        // Tuples of strings are always serializable.
        let line = serde_json::to_vec(&(
            &stack.label,
            &stack.stack,
            &stack.stack_id,
            &stack.operation,
            &stack.state,
            content,
        ));
        hash.update(line.unwrap_or_default());
        hash.update(b"\n");
    }
    format!("sha256:{}", kit::hex(&hash.finalize()))
}

/// A change that goes beyond what was reviewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// `STACK/LogicalId`.
    pub name: String,
    /// A sentence without a full stop.
    pub why: String,
}

/// Marks what the review approved, and tells the rows that it does not cover: each row must be reviewed and equal or
/// milder, and one that was not reviewed no worse than a notice.
pub fn approve_as_reviewed(reviewed: &Review, now: &mut StackReview) -> Vec<Beyond> {
    let Some(stack) = reviewed.stacks.iter().find(|stack| stack.label == now.label) else {
        return vec![Beyond { name: now.label.clone(), why: "the stack was not reviewed".to_owned() }];
    };
    if stack.stack != now.stack {
        let why = format!("{} was reviewed, and this is {}", stack.stack, now.stack);
        return vec![Beyond { name: now.label.clone(), why }];
    }
    if matches!(now.operation, Operation::Delete | Operation::Recreate)
        && stack.operation != now.operation
        && !now.rows.is_empty()
    {
        let why = "that it is deleted was not reviewed".to_owned();
        return vec![Beyond { name: now.label.clone(), why }];
    }
    now.rows.iter_mut().filter_map(|row| beyond(stack, row)).collect()
}

fn beyond(stack: &StackReview, row: &mut Row) -> Option<Beyond> {
    if row.verdict <= Verdict::Notice {
        return None;
    }
    let name = row.name();
    let told = |why: String| Some(Beyond { name: name.clone(), why });
    let title = row.verdict.title();
    let same_name = || stack.rows.iter().filter(|then| then.name() == name);
    if same_name().next().is_none() {
        return told(format!("{title} ({}): it was not among the changes that were reviewed", row.fate));
    }
    let Some(then) = same_name().find(|then| then.resource_type == row.resource_type) else {
        return told(format!("it is a {} now, which was not reviewed", row.resource_type));
    };
    if then.physical_id != row.physical_id {
        let shown = |id: &Option<String>| id.clone().unwrap_or_else(|| "nothing yet".to_owned());
        return told(format!(
            "behind the name is {} now; {} was reviewed",
            shown(&row.physical_id),
            shown(&then.physical_id)
        ));
    }
    row.approved = row
        .needs
        .iter()
        .filter(|need| then.approved.iter().any(|approved| need.is_covered_by(approved)))
        .cloned()
        .collect();
    let new: Vec<String> = row.risks.difference(&then.risks).cloned().collect();
    if !new.is_empty() {
        row.approved.retain(|need| matches!(need, Need::Fate(_)));
    }
    let open: Vec<&str> = row.open().map(Need::word).collect();
    if open.is_empty() {
        return None;
    }
    if let (Some(new), true) =
        (new.first(), open.iter().all(|word| then.approved.iter().any(|need| need.word() == *word)))
    {
        return told(format!("{title}: {} was approved, and not of this: {new}", open.join(", ")));
    }
    let before: Vec<&str> = then.approved.iter().map(Need::word).collect();
    told(format!(
        "{title}: {} was not approved; {}",
        open.join(", "),
        if before.is_empty() { "nothing was".to_owned() } else { format!("{} was", before.join(", ")) }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::review::State;
    use crate::testing::row;

    fn stack(rows: Vec<Row>) -> StackReview {
        StackReview {
            label: "api".to_owned(),
            stack: "ApiProductionBoss".to_owned(),
            stack_id: None,
            change_set: None,
            operation: Operation::Update,
            state: State::Reviewed,
            rows,
            warnings: Vec::new(),
        }
    }

    fn reviewed(mut rows: Vec<Row>) -> Review {
        for row in &mut rows {
            row.approved = row.needs.clone();
        }
        Review::new("1", None, Wishes::default(), vec![stack(rows)])
    }

    fn against(then: Vec<Row>, now: Row) -> Vec<String> {
        let mut now = stack(vec![now]);
        approve_as_reviewed(&reviewed(then), &mut now).into_iter().map(|beyond| beyond.why).collect()
    }

    #[test]
    fn equal_or_milder_goes() {
        let then = || vec![row("api/Tiles", &["replace-delete"])];
        assert!(against(then(), row("api/Tiles", &["replace-delete"])).is_empty());
        assert!(against(then(), row("api/Tiles", &["may-replace-delete"])).is_empty());
        assert!(against(then(), row("api/Tiles", &["replace-snapshot"])).is_empty());
        assert!(against(then(), row("api/Other", &[])).is_empty(), "a new row that is safe");
    }

    #[test]
    fn worse_or_new_does_not() {
        let then = || vec![row("api/Tiles", &["may-replace-delete"])];
        assert_eq!(
            against(then(), row("api/Tiles", &["replace-delete"])),
            ["LOSS: replace-delete was not approved; may-replace-delete was"]
        );
        assert_eq!(
            against(then(), row("api/Other", &["remove-delete"])),
            ["LOSS (remove-delete): it was not among the changes that were reviewed"]
        );
        let mut other = row("api/Tiles", &["may-replace-delete"]);
        other.physical_id = Some("tiles-2".to_owned());
        assert_eq!(against(then(), other), ["behind the name is tiles-2 now; tiles-1 was reviewed"]);
        let mut other = row("api/Tiles", &["may-replace-delete"]);
        other.resource_type = "AWS::RDS::DBInstance".to_owned();
        assert_eq!(against(then(), other), ["it is a AWS::RDS::DBInstance now, which was not reviewed"]);
        let mut not_approved = reviewed(then());
        not_approved.stacks[0].rows[0].approved.clear();
        let mut now = stack(then());
        assert_eq!(
            approve_as_reviewed(&not_approved, &mut now)[0].why,
            "LOSS: may-replace-delete was not approved; nothing was"
        );
        let mut elsewhere = stack(Vec::new());
        elsewhere.stack = "ApiIntegrationBoss".to_owned();
        assert_eq!(
            approve_as_reviewed(&reviewed(then()), &mut elsewhere)[0].why,
            "ApiProductionBoss was reviewed, and this is ApiIntegrationBoss"
        );
    }

    #[test]
    fn a_deletion_is_reviewed_as_one() {
        let mut now = stack(vec![row("api/Roles", &[])]);
        now.operation = Operation::Delete;
        assert_eq!(
            approve_as_reviewed(&reviewed(vec![row("api/Roles", &[])]), &mut now)[0].why,
            "that it is deleted was not reviewed"
        );
        let mut then = reviewed(vec![row("api/Roles", &[])]);
        then.stacks[0].operation = Operation::Delete;
        assert_eq!(approve_as_reviewed(&then, &mut now), []);
    }

    #[test]
    fn an_approved_risk_is_that_very_risk() {
        let with = |risk: &str| {
            let mut row = row("api/Tiles", &["in-place-risk"]);
            row.risks.insert(risk.to_owned());
            row
        };
        assert!(against(vec![with("TTL is turned on")], with("TTL is turned on")).is_empty());
        assert_eq!(
            against(vec![with("TTL is turned on")], with("backups are turned off")),
            ["LOSS: in-place-risk was approved, and not of this: backups are turned off"]
        );
        let (one, other) = (reviewed(vec![with("a")]), reviewed(vec![with("b")]));
        assert_ne!(one.fingerprint, other.fingerprint);
    }

    #[test]
    fn the_fingerprint_is_of_what_is_compared() {
        let one = reviewed(vec![row("api/A", &["replace-delete"]), row("api/B", &[])]);
        let two = reviewed(vec![row("api/B", &[]), row("api/A", &["replace-delete"])]);
        assert_eq!(one.fingerprint, two.fingerprint, "whatever the order of the rows");
        assert!(one.fingerprint.starts_with("sha256:") && one.fingerprint.len() == 71);
        let mut edited = one.clone();
        edited.stacks[0].rows[1].approved.insert(Need::WillFail);
        assert_ne!(edited.own_fingerprint(), edited.fingerprint);
        let mut edited = one.clone();
        edited.stacks[0].rows[0].physical_id = None;
        assert_ne!(edited.own_fingerprint(), edited.fingerprint);
        let mut elsewhere = one.clone();
        elsewhere.account = Some("111111111111".to_owned());
        assert_ne!(elsewhere.own_fingerprint(), elsewhere.fingerprint, "another account is another review");
        let mut another = one.clone();
        another.stacks[0].stack_id = Some("arn:aws:cloudformation:another".to_owned());
        assert_ne!(another.own_fingerprint(), another.fingerprint, "so is another stack of the same name");
        let mut noted = one.clone();
        noted.stacks[0].rows[0].reasons.push("a remark".to_owned());
        assert_eq!(noted.own_fingerprint(), one.fingerprint);
    }

    #[test]
    fn everything_is_counted_once() {
        let review = Review::new(
            "1",
            None,
            Wishes::default(),
            vec![stack(vec![
                row("api/A", &["replace-delete"]),
                row("api/B", &["may-replace-retain"]),
                row("api/C", &["remove-delete", "will-fail"]),
                row("api/D", &[]),
                row("api/E", &["dynamic"]),
            ])],
        );
        let counts = review.counts;
        assert_eq!((counts.replace, counts.remove, counts.modify, counts.other, counts.add), (2, 1, 1, 1, 0));
        assert_eq!((counts.blocked, counts.approved), (4, 0));
        assert_eq!(review.verdict, Verdict::Loss);
    }
}
