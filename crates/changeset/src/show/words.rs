//! The words for what a review says, whatever they are shown in. Nothing is escaped yet.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::fate::{Fate, Old};
use crate::review::{Cause, Operation, Property, Review, Row, StackReview, State, Tier, Verdict};

/// How a row is shown; the first is the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// It stands in the way.
    Waits,
    /// It would, and was approved by name.
    Approved,
    Notice,
    Safe,
}

impl Class {
    pub(super) fn of(row: &Row) -> Self {
        if row.blocks() {
            Self::Waits
        } else if !row.needs.is_empty() {
            Self::Approved
        } else if row.verdict > Verdict::Safe {
            Self::Notice
        } else {
            Self::Safe
        }
    }
}

/// The rows of a stack that are shown so.
pub(super) fn rows_of(stack: &StackReview, class: Class) -> Vec<&Row> {
    stack.rows.iter().filter(|row| Class::of(row) == class).collect()
}

/// The verdict in one line: the worst of what waits for an approval, else that nothing does.
pub fn headline(review: &Review) -> String {
    let total = review.rows().count();
    let blockers = review.blockers();
    let provisional =
        review.stacks.iter().filter(|stack| matches!(stack.state, State::Provisional(_))).count();
    let mut line = if let Some(worst) = blockers.first() {
        let wait = if blockers.len() == 1 { "waits" } else { "wait" };
        format!(
            "{}: {} of {} {wait} for approval",
            worst.verdict.title(),
            blockers.len(),
            kit::counted(total, "change")
        )
    } else {
        let approved = review.rows().filter(|row| Class::of(row) == Class::Approved).count();
        let notices = review.rows().filter(|row| Class::of(row) == Class::Notice).count();
        match (total, approved, notices) {
            (0, ..) => "no changes".to_owned(),
            (_, 0, 0) => format!("safe: {}", kit::counted(total, "change")),
            (_, 0, _) => format!(
                "nothing waits for approval: {}, {}",
                kit::counted(total, "change"),
                kit::counted(notices, "notice")
            ),
            _ => format!("approved: {approved} of {} by name; nothing waits", kit::counted(total, "change")),
        }
    };
    if provisional > 0 {
        line.push_str(&format!("; {} can't be judged yet", kit::counted(provisional, "stack")));
    }
    line
}

/// The count of everything, as Terraform closes with.
pub fn plan_line(review: &Review) -> String {
    let counts = &review.counts;
    let other = if counts.other > 0 { format!(", {} other", counts.other) } else { String::new() };
    let wait = if counts.blocked == 1 { "waits" } else { "wait" };
    format!(
        "Plan: {} to add, {} to change, {} to replace, {} to remove{other}; {} {wait} for approval, {} approved.",
        counts.add, counts.modify, counts.replace, counts.remove, counts.blocked, counts.approved
    )
}

/// The sign in front of a row, Terraform's where it has one.
pub(super) fn sign(fate: &Fate) -> &'static str {
    match fate {
        Fate::Sync => "=",
        Fate::Add | Fate::Import => "+",
        Fate::Modify => "~",
        Fate::MayReplace(_) | Fate::Replace(_) => "-/+",
        Fate::Remove(_) => "-",
        Fate::Opaque | Fate::Dynamic | Fate::Unknown => "?",
    }
}

/// What becomes of a resource.
pub fn becomes(fate: &Fate) -> &'static str {
    match fate {
        Fate::Sync => "record brought in line",
        Fate::Add => "add",
        Fate::Import => "import",
        Fate::Modify => "change in place",
        Fate::MayReplace(Old::Retained) => "MAY BE REPLACED, the old one then stays outside the stack",
        Fate::MayReplace(Old::Snapshot) => {
            "MAY BE REPLACED, the old one then DELETED, a snapshot of it stays"
        }
        Fate::MayReplace(Old::Deleted) => "MAY BE REPLACED, the old one then DELETED",
        Fate::Replace(Old::Retained) => "REPLACE, the old one stays outside the stack",
        Fate::Replace(Old::Snapshot) => "REPLACE, the old one is DELETED, a snapshot of it stays",
        Fate::Replace(Old::Deleted) => "REPLACE, the old one is DELETED",
        Fate::Remove(Old::Retained) => "REMOVE from the stack, it stays outside",
        Fate::Remove(Old::Snapshot) => "REMOVE, it is DELETED, a snapshot of it stays",
        Fate::Remove(Old::Deleted) => "REMOVE, it is DELETED",
        Fate::Opaque => "UNSEEN CHANGES",
        Fate::Dynamic => "DECIDED ONLY WHEN IT RUNS",
        Fate::Unknown => "UNKNOWN CHANGE",
    }
}

/// The same as a part of a sentence whose subject is the resource.
fn happens(fate: &Fate) -> &'static str {
    match fate {
        Fate::Sync => "is brought in line",
        Fate::Add => "is new",
        Fate::Import => "is imported",
        Fate::Modify => "changes",
        Fate::MayReplace(_) => "may be replaced",
        Fate::Replace(_) => "is replaced",
        Fate::Remove(_) => "is removed",
        Fate::Opaque | Fate::Dynamic | Fate::Unknown => "may change",
    }
}

/// Safe rows by what becomes of them: `30 added, 12 changed`.
pub(super) fn tally(rows: &[&Row]) -> String {
    let mut kinds: [(usize, &str); 7] = [
        (0, "added"),
        (0, "changed"),
        (0, "replaced"),
        (0, "removed"),
        (0, "imported"),
        (0, "brought in line"),
        (0, "other"),
    ];
    for row in rows {
        let kind = match row.fate {
            Fate::Add => 0,
            Fate::Modify => 1,
            Fate::MayReplace(_) | Fate::Replace(_) => 2,
            Fate::Remove(_) => 3,
            Fate::Import => 4,
            Fate::Sync => 5,
            Fate::Opaque | Fate::Dynamic | Fate::Unknown => 6,
        };
        kinds[kind].0 += 1;
    }
    let said: Vec<String> = kinds
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, kind)| format!("{number} {kind}"))
        .collect();
    said.join(", ")
}

/// `42 more are safe: 30 added, 12 changed`.
pub(super) fn safe_line(rows: &[&Row], more: bool) -> String {
    let (more, are) = (if more { " more" } else { "" }, if rows.len() == 1 { "is" } else { "are" });
    format!("{}{more} {are} safe: {}", rows.len(), tally(rows))
}

pub(super) fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Data => "data",
        Tier::Identity => "identity",
        Tier::Container => "container",
    }
}

pub(super) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Recreate => "recreate",
    }
}

/// The name of a property, without what all paths begin with.
pub(super) fn property_name(property: &Property) -> &str {
    let path = property.path.strip_prefix("/Properties/").unwrap_or(&property.path);
    path.strip_prefix('/').unwrap_or(path)
}

/// The properties that make the change what it is: where a resource is replaced those that demand it, else all.
pub(super) fn deciding(row: &Row) -> Vec<&Property> {
    let demands = |property: &&Property| !matches!(property.recreation.as_deref(), None | Some("Never"));
    let deciding: Vec<&Property> = row.properties.iter().filter(demands).collect();
    if deciding.is_empty() { row.properties.iter().collect() } else { deciding }
}

/// What a property demands.
pub(super) fn forces(property: &Property) -> &'static str {
    match property.recreation.as_deref() {
        Some("Always") => " forces replacement",
        Some("Never") | None => "",
        Some(_) => " may force replacement",
    }
}

pub(super) fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Template => "template".to_owned(),
        Cause::Parameter(name) => format!("parameter {name}"),
        Cause::Resource(name) => format!("resource {name}"),
        Cause::Attribute(name) => format!("attribute {name}"),
        Cause::Automatic => "automatic".to_owned(),
        Cause::Other(text) => text.clone(),
    }
}

/// `template, parameter KeyPairName`.
pub(super) fn causes(property: &Property) -> String {
    property.causes.iter().map(cause).collect::<Vec<_>>().join(", ")
}

/// The rows of a review by stack and logical id.
pub(super) type ByName<'a> = BTreeMap<(&'a str, &'a str), &'a Row>;

pub(super) fn by_name(review: &Review) -> ByName<'_> {
    review.rows().map(|row| ((row.stack.as_str(), row.logical_id.as_str()), row)).collect()
}

/// The resource that a cause names.
pub(super) fn causing_resource(cause: &Cause) -> Option<&str> {
    match cause {
        Cause::Resource(name) => Some(name),
        Cause::Attribute(name) => Some(name.split_once('.').map_or(name.as_str(), |(resource, _)| resource)),
        _ => None,
    }
}

/// More ways to the same change than this tell a reader nothing.
const CHAINS: usize = 3;

/// Where the change comes from when another resource makes it: `TileIndex is replaced because TileTable is replaced,
/// because parameter KeySize changes`.
pub(super) fn chains(row: &Row, rows: &ByName<'_>) -> Vec<String> {
    let causes: BTreeSet<&Cause> = deciding(row).into_iter().flat_map(|property| &property.causes).collect();
    let mut begun = BTreeSet::from([row.logical_id.as_str()]);
    let mut chains = Vec::new();
    for cause in causes {
        if let Some(name) = causing_resource(cause)
            && begun.insert(name)
        {
            let mut seen = BTreeSet::from([row.logical_id.as_str()]);
            chains.push(format!(
                "{} {} because {}",
                row.logical_id,
                happens(&row.fate),
                origin(cause, &row.stack, rows, &mut seen)
            ));
        }
    }
    if chains.len() > CHAINS {
        let more = chains.len() - CHAINS;
        chains.truncate(CHAINS);
        chains.push(format!("and because of {}", kit::counted(more, "other resource")));
    }
    chains
}

fn origin<'a>(cause: &'a Cause, stack: &str, rows: &ByName<'a>, seen: &mut BTreeSet<&'a str>) -> String {
    let Some(name) = causing_resource(cause) else {
        return match cause {
            Cause::Template => "the template says otherwise".to_owned(),
            Cause::Parameter(name) => format!("parameter {name} changes"),
            Cause::Automatic => "CloudFormation does so by itself".to_owned(),
            other => format!("of {}", self::cause(other)),
        };
    };
    let what = match cause {
        Cause::Attribute(attribute) => match attribute.split_once('.') {
            Some((_, attribute)) => format!("{name} (its {attribute})"),
            None => name.to_owned(),
        },
        _ => name.to_owned(),
    };
    let Some(row) = rows.get(&(stack, name)) else { return format!("of {}", self::cause(cause)) };
    let told = format!("{what} {}", happens(&row.fate));
    if !seen.insert(name) {
        return told;
    }
    let causes: BTreeSet<&Cause> = deciding(row).into_iter().flat_map(|property| &property.causes).collect();
    // A parameter or the template is where it began; what comes through another resource is followed.
    let next = causes
        .iter()
        .find(|cause| causing_resource(cause).is_some_and(|name| !seen.contains(name)))
        .or_else(|| causes.iter().find(|cause| causing_resource(cause).is_none()));
    match next {
        Some(next) => format!("{told}, because {}", origin(next, stack, rows, seen)),
        None => told,
    }
}

/// The arguments that would approve what is open of a row, for a shell.
pub fn allow(row: &Row) -> String {
    let argument = row.allow_argument();
    match argument.split_once(' ') {
        Some((flag, value)) => format!("{flag} {}", kit::shell_word(value)),
        None => argument,
    }
}

/// Everything but what is plain in the query that the console puts behind its `#`.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The page of AWS's console that shows the change set, else the one that shows the stack; none where neither is there.
pub fn console_url(stack: &StackReview) -> Option<String> {
    let id = |text: &str| utf8_percent_encode(text, COMPONENT).to_string();
    let stack_id = stack.stack_id.as_deref();
    let change_set = stack.change_set.as_deref();
    let page = match (change_set, stack_id) {
        (Some(change_set), Some(stack)) => {
            format!("changesets/changes?stackId={}&changeSetId={}", id(stack), id(change_set))
        }
        (Some(change_set), None) => format!("changesets/changes?changeSetId={}", id(change_set)),
        (None, Some(stack)) => format!("stackinfo?stackId={}", id(stack)),
        (None, None) => return None,
    };
    let arn: aws::Arn = change_set.or(stack_id)?.parse().ok()?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if arn.region.is_empty() || !plain(&arn.region) {
        return None;
    }
    let host = match arn.partition.as_str() {
        "aws-cn" => "console.amazonaws.cn",
        "aws-us-gov" => "console.amazonaws-us-gov.com",
        _ => "console.aws.amazon.com",
    };
    let region = arn.region;
    Some(format!("https://{region}.{host}/cloudformation/home?region={region}#/stacks/{page}"))
}

/// A value that AWS does not know before the change set runs.
const LATER: &str = "{{changeSet:KNOWN_AFTER_APPLY}}";

/// Whether AWS counts with a change of a value that it does not know yet, and that may turn out to be as it was.
/// <https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/2113>
pub(super) fn may_stay(row: &Row) -> bool {
    row.fate.ends_the_old() && {
        let deciding = deciding(row);
        !deciding.is_empty() && deciding.iter().all(|property| property.after.as_deref() == Some(LATER))
    }
}

/// What is said of such a row.
pub(super) const MAY_STAY: &str =
    "it may not happen: what decides it is known only when the change set runs, and may be as it was";

/// How much of a value is shown.
const VALUE: usize = 160;

/// A value before and after, of long ones the part around where they begin to differ.
pub(super) fn values(property: &Property) -> Option<(String, String)> {
    let (before, after) = (property.before.as_deref(), property.after.as_deref());
    if before.is_none() && after.is_none() {
        return None;
    }
    let same = match (before, after) {
        (Some(before), Some(after)) => before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    let part = |value: Option<&str>| match value {
        None => "(none)".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(LATER) => "(known after apply)".to_owned(),
        Some(value) => {
            let length = value.chars().count();
            if length <= VALUE {
                return value.to_owned();
            }
            let skip = same.saturating_sub(VALUE / 4).min(length - VALUE);
            let shown: String = value.chars().skip(skip).take(VALUE).collect();
            let (front, back) =
                (if skip > 0 { "…" } else { "" }, if skip + VALUE < length { "…" } else { "" });
            format!("{front}{shown}{back} ({length} characters)")
        }
    };
    Some((part(before), part(after)))
}
