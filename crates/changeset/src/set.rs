//! A change set as a whole: the pages of both descriptions put together, and the sets of nested stacks beneath it.

use std::collections::{BTreeMap, BTreeSet};

use crate::answer::{Answer, Parameter, ResourceChange};

/// One answer and what to call it in messages: a file's name, or the call that it answers.
#[derive(Clone, Debug)]
pub struct Page {
    pub from: String,
    pub answer: Answer,
    /// Whether it was asked for with the values of properties; where nobody knows, its content tells.
    pub values: Option<bool>,
}

impl Page {
    fn has_values(&self) -> bool {
        self.values.unwrap_or_else(|| self.answer.has_values())
    }
}

/// A change set.
#[derive(Clone, Debug, Default)]
pub struct Set {
    pub arn: Option<String>,
    pub name: Option<String>,
    pub stack_name: Option<String>,
    pub stack_id: Option<String>,
    pub status: Option<String>,
    pub execution_status: Option<String>,
    pub reason: Option<String>,
    pub deployment_mode: Option<String>,
    pub parameters: Vec<Parameter>,
    /// Every change of the plain description, with what the one with property values adds; and those that only the
    /// latter has.
    pub changes: Vec<ResourceChange>,
    /// The sets of the nested stacks, by the logical id of the stack in this one.
    pub children: BTreeMap<String, Set>,
    /// What the reader must know of how it was read.
    pub warnings: Vec<String>,
}

/// Why answers can't be put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What is wrong.
    pub why: String,
    /// What to do about it.
    pub help: String,
}

impl Set {
    /// Whether it failed for the reason that nothing changes.
    pub fn is_empty_set(&self) -> bool {
        Answer { status: self.status.clone(), status_reason: self.reason.clone(), ..Answer::default() }
            .is_empty_set()
    }
}

/// Puts pages together: those of one set by its ARN, nested sets beneath the change that names theirs. The roots come in
/// the order in which they were given.
///
/// # Errors
/// A page is missing, a set failed for another reason than that nothing changes, or AWS left changes out and there is no
/// description that has them.
pub fn assemble(pages: Vec<Page>) -> Result<Vec<Set>, Unreadable> {
    let mut order: Vec<String> = Vec::new();
    let mut grouped: BTreeMap<String, Vec<Page>> = BTreeMap::new();
    for (n, page) in pages.into_iter().enumerate() {
        let key = page.answer.change_set_id.clone().unwrap_or_else(|| format!("\0{n}"));
        if !grouped.contains_key(&key) {
            order.push(key.clone());
        }
        grouped.entry(key).or_default().push(page);
    }
    let mut sets: BTreeMap<String, Set> = BTreeMap::new();
    for (key, pages) in grouped {
        sets.insert(key, whole(pages)?);
    }
    let nested: BTreeSet<String> = sets
        .values()
        .flat_map(|set| &set.changes)
        .filter_map(|change| change.change_set_id.clone())
        .collect();
    let mut roots: Vec<Set> = Vec::new();
    for key in order.into_iter().filter(|key| !nested.contains(key)) {
        if let Some(mut set) = sets.remove(&key) {
            adopt(&mut set, &mut sets);
            roots.push(set);
        }
    }
    if roots.is_empty() || !sets.is_empty() {
        return Err(Unreadable {
            why: "the change sets name one another as nested in a circle".to_owned(),
            help: "give the answers as AWS gave them".to_owned(),
        });
    }
    Ok(roots)
}

fn adopt(set: &mut Set, sets: &mut BTreeMap<String, Set>) {
    let children: Vec<(String, String)> = set
        .changes
        .iter()
        .filter_map(|change| Some((change.logical_resource_id.clone(), change.change_set_id.clone()?)))
        .collect();
    for (logical_id, arn) in children {
        if let Some(mut child) = sets.remove(&arn) {
            adopt(&mut child, sets);
            set.children.insert(logical_id, child);
        }
    }
}

/// The pages of one set's descriptions.
fn whole(pages: Vec<Page>) -> Result<Set, Unreadable> {
    let (valued, plain): (Vec<Page>, Vec<Page>) = pages.into_iter().partition(Page::has_values);
    for description in [&plain, &valued] {
        complete(description)?;
    }
    let Some(first) = plain.first().or(valued.first()).map(|page| page.answer.clone()) else {
        return Ok(Set::default());
    };
    let mut set = Set {
        arn: first.change_set_id.clone(),
        name: first.change_set_name.clone(),
        stack_name: first.stack_name.clone(),
        stack_id: first.stack_id.clone(),
        status: first.status.clone(),
        execution_status: first.execution_status.clone(),
        reason: first.status_reason.clone(),
        deployment_mode: first.deployment_mode.clone(),
        parameters: first.parameters.clone(),
        ..Set::default()
    };
    if set.status.as_deref() == Some("FAILED") && !set.is_empty_set() {
        return Err(Unreadable {
            why: format!(
                "the change set {} of stack {} failed: {}",
                first.change_set_name.as_deref().unwrap_or("without a name"),
                first.stack_name.as_deref().unwrap_or("without a name"),
                first.status_reason.as_deref().unwrap_or("AWS gives no reason"),
            ),
            help: "correct what it names, and review again".to_owned(),
        });
    }
    let left_out = valued.iter().find(|page| page.answer.is_incomplete());
    if let Some(page) = left_out {
        let reason = page.answer.status_reason.clone().unwrap_or_default();
        if plain.is_empty() {
            return Err(Unreadable {
                why: format!("AWS says that {} leaves changes out: {reason}", page.from),
                help: "describe the change set without property values too, and give both answers".to_owned(),
            });
        }
        set.warnings.push(format!("AWS could not tell all values of properties: {reason}"));
    } else if plain.is_empty() {
        set.warnings.push(
            "there is only the description with property values, in which AWS can leave changes out without saying so"
                .to_owned(),
        );
    }
    let has_plain = !plain.is_empty();
    let changes_of = |pages: Vec<Page>, unknown: &mut usize| {
        let mut changes: Vec<ResourceChange> = Vec::new();
        for change in pages.into_iter().flat_map(|page| page.answer.changes) {
            match change.resource_change {
                Some(change) => {
                    if !changes.iter().any(|seen| same(seen, &change)) {
                        changes.push(change);
                    }
                }
                None => *unknown += 1,
            }
        }
        changes
    };
    let mut unknown = 0;
    let mut decoration = changes_of(valued, &mut unknown);
    set.changes = changes_of(plain, &mut unknown);
    if unknown > 0 {
        return Err(Unreadable {
            why: "it has a change that is of no resource, a kind that this version does not know".to_owned(),
            help: "use a newer version, or look the change set over in the console".to_owned(),
        });
    }
    for change in &mut set.changes {
        let Some(n) = decoration.iter().position(|valued| same(valued, change)) else { continue };
        let valued = decoration.swap_remove(n);
        change.before_context = valued.before_context;
        change.after_context = valued.after_context;
        if !valued.details.is_empty() {
            change.details = valued.details;
        }
        change.policy_action = change.policy_action.take().or(valued.policy_action);
        change.resource_drift_status = change.resource_drift_status.take().or(valued.resource_drift_status);
        change.change_set_id = change.change_set_id.take().or(valued.change_set_id);
    }
    if has_plain {
        set.warnings.extend(decoration.iter().map(|change| {
            format!("{} is only in the description with property values", change.logical_resource_id)
        }));
    }
    set.changes.extend(decoration);
    Ok(set)
}

/// Whether both tell the same thing of the same resource.
fn same(one: &ResourceChange, other: &ResourceChange) -> bool {
    one.logical_resource_id == other.logical_resource_id
        && one.resource_type == other.resource_type
        && one.action == other.action
}

fn complete(pages: &[Page]) -> Result<(), Unreadable> {
    let Some(last) = pages.last() else { return Ok(()) };
    if pages.iter().all(|page| page.answer.next_token.is_some()) {
        return Err(Unreadable {
            why: format!("{} is not the last page of its change set", last.from),
            help: "give every page, in any order; the last one has no NextToken".to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pages(answers: &[serde_json::Value]) -> Vec<Page> {
        answers
            .iter()
            .enumerate()
            .map(|(n, answer)| Page {
                from: format!("{n}.json"),
                answer: serde_json::from_value(answer.clone()).unwrap(),
                values: None,
            })
            .collect()
    }

    fn change(id: &str, values: bool) -> serde_json::Value {
        let mut change = json!({"Type": "Resource", "ResourceChange": {
            "Action": "Modify", "LogicalResourceId": id, "ResourceType": "AWS::SNS::Topic", "Replacement": "False"}});
        if values {
            change["ResourceChange"]["BeforeContext"] = json!("{}");
        }
        change
    }

    fn answer(arn: &str, changes: &[serde_json::Value]) -> serde_json::Value {
        json!({"ChangeSetId": arn, "Status": "CREATE_COMPLETE", "Changes": changes})
    }

    #[test]
    fn what_the_values_leave_out_is_still_there() {
        let mut valued = answer("a", &[change("One", true)]);
        valued["StatusReason"] = json!(
            "[WARN] --include-property-values option can return incomplete ChangeSet data because: No export named x found."
        );
        let sets =
            assemble(pages(&[answer("a", &[change("One", false), change("Two", false)]), valued.clone()]))
                .unwrap();
        let set = &sets[0];
        assert_eq!(set.changes.len(), 2);
        assert_eq!(set.changes[0].before_context.as_deref(), Some("{}"), "decorated");
        assert!(set.warnings[0].contains("No export named x"), "{:?}", set.warnings);
        let alone = assemble(pages(&[valued])).unwrap_err();
        assert!(alone.why.contains("leaves changes out"), "{alone:?}");
    }

    #[test]
    fn what_only_the_values_have_is_kept_and_told() {
        let both =
            [answer("a", &[change("One", false)]), answer("a", &[change("One", true), change("Two", true)])];
        let set = assemble(pages(&both)).unwrap().remove(0);
        assert_eq!(set.changes.len(), 2);
        assert!(set.warnings[0].starts_with("Two is only"), "{:?}", set.warnings);
    }

    #[test]
    fn a_missing_page_is_told_by_its_token() {
        let mut first = answer("a", &[change("One", false)]);
        first["NextToken"] = json!("2");
        let error = assemble(pages(&[first.clone()])).unwrap_err();
        assert!(error.why.contains("0.json is not the last page"), "{error:?}");
        let set = assemble(pages(&[first, answer("a", &[change("Two", false)])])).unwrap().remove(0);
        assert_eq!(set.changes.len(), 2);
    }

    #[test]
    fn nested_sets_go_beneath_the_change_that_names_them() {
        let mut stack = change("Child", false);
        stack["ResourceChange"]["ResourceType"] = json!("AWS::CloudFormation::Stack");
        stack["ResourceChange"]["ChangeSetId"] = json!("b");
        // The nested one comes first, as a folder's order may have it.
        let sets =
            assemble(pages(&[answer("b", &[change("In", false)]), answer("a", &[stack.clone()])])).unwrap();
        assert_eq!(sets.len(), 1);
        assert_eq!(sets[0].children["Child"].changes[0].logical_resource_id, "In");
        let mut circle = change("Parent", false);
        circle["ResourceChange"]["ChangeSetId"] = json!("a");
        let error = assemble(pages(&[answer("b", &[circle]), answer("a", &[stack])])).unwrap_err();
        assert!(error.why.contains("circle"), "{error:?}");
    }

    #[test]
    fn a_failed_set_says_its_reason() {
        let failed = json!({"ChangeSetId": "a", "ChangeSetName": "n", "StackName": "s", "Status": "FAILED",
            "StatusReason": "Transform AWS::Include failed", "Changes": []});
        let error = assemble(pages(&[failed])).unwrap_err();
        assert_eq!(error.why, "the change set n of stack s failed: Transform AWS::Include failed");
    }

    #[test]
    fn a_change_of_an_unknown_kind_can_not_be_read() {
        let hook = json!({"Type": "Hook", "HookInvocationCount": 1});
        let error = assemble(pages(&[answer("a", &[hook])])).unwrap_err();
        assert!(error.why.contains("a kind that this version does not know"), "{error:?}");
    }
}
