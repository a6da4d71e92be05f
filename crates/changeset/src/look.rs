//! A stack looked at: its change set read and judged, or what its deletion takes with it.

use std::collections::BTreeMap;

use kit::{Cx, Failure};

use crate::answer::{Action, Parameter, PolicyAction, ResourceChange};
use crate::judge::{Hint, Known, Rules, STACK, judge};
use crate::live::{Cfn, Described, Kind, Made, Node, ParameterValue, SetRef, Stack, StackNode};
use crate::prepare::Ready;
use crate::review::{Operation, Row, StackReview, State};
use crate::set::{Set, assemble};
use crate::template::{Policy, Pseudo, Resolved, Template};
use crate::{hints, kept};

/// What a change set turned out to be.
#[derive(Clone, Debug)]
pub enum Looked {
    Review(Box<StackReview>),
    /// AWS could not make it; its words.
    Failed {
        reason: String,
        details: Vec<String>,
    },
}

impl Ready {
    /// What is done to the stack.
    pub fn operation(&self) -> Operation {
        match self.want.kind {
            Kind::Create => Operation::Create,
            Kind::Update => Operation::Update,
        }
    }

    /// A review of this stack with nothing in it yet.
    pub fn review(&self, state: State, rows: Vec<Row>) -> StackReview {
        StackReview {
            label: self.arg.label.clone(),
            stack: self.arg.stack.clone(),
            stack_id: self.observed.as_ref().map(|stack| stack.id.clone()),
            change_set: None,
            operation: self.operation(),
            state,
            rows,
            warnings: self.notes.clone(),
        }
    }
}

/// Waits for a change set, reads it whole and judges it.
///
/// # Errors
/// It can't be read whole (exit 1), or the deadline passes.
pub async fn look(cx: &Cx, cfn: &Cfn, ready: &Ready, set: &SetRef, rules: &Rules) -> Result<Looked, Failure> {
    match cfn.await_set(cx, &set.arn).await? {
        Made::NoChanges => {
            return Ok(Looked::Review(Box::new(ready.review(State::NoChanges, Vec::new()))));
        }
        Made::Failed { reason, details } => return Ok(Looked::Failed { reason, details }),
        Made::Ready => {}
    }
    let Described { pages, nodes, warnings } = cfn.describe(cx, &set.arn).await?;
    let unreadable = |error: crate::set::Unreadable| {
        Failure::failed(format!("read the change set of stack {}", ready.arg.label))
            .because(error.why)
            .help(error.help)
    };
    let mut roots = assemble(pages).map_err(unreadable)?;
    let (Some(root), true) = (roots.pop(), roots.is_empty()) else {
        return Err(Failure::failed(format!("read the change set of stack {}", ready.arg.label))
            .because("AWS describes several change sets as one"));
    };
    let mut known = Known::default();
    let label = &ready.arg.label;
    for (node, templates) in nodes.iter().zip(cfn.templates_of(cx, &nodes).await?) {
        let Some(set) = at(&root, &node.path) else { continue };
        let path = node.path_beneath(label);
        let before = before(cx, cfn, ready, node, templates.before.as_deref()).await?;
        let after = templates.after.or_else(|| if node.path.is_empty() { ready.body.clone() } else { None });
        let after = after.and_then(|text| Template::parse(&text).ok());
        let hints = match (before, after) {
            (Some((before, values)), Some(after)) => {
                let values = after_values(&set.parameters, &values);
                let after = after.resolve(&values, &pseudo(cfn, node));
                known.compared.extend(hints::compared(&path, &before, &after));
                hints::of_templates(set, &before, &after)
            }
            _ => hints::of_contexts(set),
        };
        known.hints.insert(path, hints);
    }
    contents(cx, cfn, &root, label, &mut known).await?;
    let rows = judge(&root, label, rules, &known);
    let mut review = ready.review(State::Reviewed, rows);
    review.change_set = Some(set.arn.clone());
    review.warnings.extend(warnings);
    gather(&root, &mut review.warnings);
    for found in cfn.validations(cx, &set.arn).await? {
        review.warnings.push(format!("AWS warns of {found}"));
    }
    for foreign in cfn.foreign_sets(cx, &ready.arg.stack).await? {
        review.warnings.push(format!(
            "somebody else's change set {} of this stack could be executed too; the first one executed makes the others obsolete",
            foreign.name
        ));
    }
    Ok(Looked::Review(Box::new(review)))
}

fn at<'a>(set: &'a Set, path: &[String]) -> Option<&'a Set> {
    path.iter().try_fold(set, |set, logical_id| set.children.get(logical_id))
}

fn gather(set: &Set, warnings: &mut Vec<String>) {
    warnings.extend(set.warnings.iter().cloned());
    set.children.values().for_each(|child| gather(child, warnings));
}

fn pseudo(cfn: &Cfn, node: &Node) -> Pseudo {
    Pseudo {
        account: Some(cfn.account().to_owned()),
        region: Some(cfn.region().to_owned()),
        stack_name: node.stack_name().map(str::to_owned),
        stack_id: node.stack_id.clone(),
    }
}

/// The deployed template with the values that the stack has, and those values.
async fn before(
    cx: &Cx,
    cfn: &Cfn,
    ready: &Ready,
    node: &Node,
    template: Option<&str>,
) -> Result<Option<(Resolved, BTreeMap<String, String>)>, Failure> {
    let Some(template) = template.and_then(|text| Template::parse(text).ok()) else { return Ok(None) };
    let values = match (&ready.observed, &node.stack_id) {
        (Some(stack), _) if node.path.is_empty() => stack.parameters.clone(),
        (Some(_), Some(id)) => {
            cfn.observe_stack(cx, id).await?.map(|stack| stack.parameters).unwrap_or_default()
        }
        _ => return Ok(None),
    };
    Ok(Some((template.resolve(&values, &pseudo(cfn, node)), values)))
}

/// The values with which a change set was made: as it tells them, else as they are.
fn after_values(told: &[Parameter], before: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    told.iter()
        .filter_map(|parameter| {
            let value = match &parameter.parameter_value {
                Some(value) if parameter.use_previous_value != Some(true) || !value.is_empty() => {
                    value.clone()
                }
                _ => before.get(&parameter.parameter_key)?.clone(),
            };
            Some((parameter.parameter_key.clone(), value))
        })
        .collect()
}

/// What is in nested stacks that go or may be replaced.
async fn contents(cx: &Cx, cfn: &Cfn, set: &Set, path: &str, known: &mut Known) -> Result<(), Failure> {
    for change in &set.changes {
        let nested = format!("{path}/{}", change.logical_resource_id);
        if let Some(child) = set.children.get(&change.logical_resource_id) {
            Box::pin(contents(cx, cfn, child, &nested, known)).await?;
        }
        let stays = matches!(change.action, Some(Action::Add | Action::Import | Action::SyncWithActual));
        let (STACK, false, Some(id)) = (change.resource_type.as_str(), stays, &change.physical_resource_id)
        else {
            continue;
        };
        if id.is_empty() {
            continue;
        }
        let resources = cfn.family(cx, id).await?.into_iter().flat_map(|node| node.resources);
        let of = resources.map(|resource| (resource.logical_id, resource.resource_type)).collect();
        known.contents.insert(nested, of);
    }
    Ok(())
}

/// What the deletion of a stack takes with it, from its resources and the policies in its template: CloudFormation has no
/// change set for it. `again` is what it is made of again: what is kept must not be in the way of that.
pub async fn look_at_removal(
    cx: &Cx,
    cfn: &Cfn,
    label: &str,
    stack: &Stack,
    operation: Operation,
    rules: &Rules,
    again: Option<&Ready>,
) -> Result<StackReview, Failure> {
    let nodes = cfn.family(cx, &stack.id).await?;
    let next = again.map(|ready| next(cfn, ready));
    let mut known = Known::default();
    let mut warnings = Vec::new();
    let mut sets: BTreeMap<Vec<String>, Set> = BTreeMap::new();
    for node in &nodes {
        let template = cfn.template(cx, &node.stack_id).await?.and_then(|text| Template::parse(&text).ok());
        let parameters = if node.path.is_empty() {
            stack.parameters.clone()
        } else {
            cfn.observe_stack(cx, &node.stack_id).await?.map(|stack| stack.parameters).unwrap_or_default()
        };
        if template.is_none() {
            warnings.push(format!(
                "the template of {} can't be read: everything in it is taken to be deleted",
                std::iter::once(label)
                    .chain(node.path.iter().map(String::as_str))
                    .collect::<Vec<_>>()
                    .join("/")
            ));
        }
        let resolved = template.as_ref().map(|template| template.resolve(&parameters, &Pseudo::default()));
        let set = removed(node, resolved.as_ref());
        if let (Some(next), Some(template)) = (&next, &template) {
            let name = node.path.is_empty().then(|| stack.name.clone());
            let before = template.resolve(&parameters, &Pseudo { stack_name: name, ..here(cfn) });
            let path: Vec<&str> =
                std::iter::once(label).chain(node.path.iter().map(String::as_str)).collect();
            known.hints.insert(path.join("/"), in_the_way(&node.path, &set, &before, next.as_ref()));
        }
        sets.insert(node.path.clone(), set);
    }
    // The deepest first, so that each finds its parent still there.
    let mut paths: Vec<Vec<String>> = sets.keys().filter(|path| !path.is_empty()).cloned().collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
    for mut path in paths {
        let Some(child) = sets.remove(&path) else { continue };
        let Some(logical_id) = path.pop() else { continue };
        if let Some(parent) = sets.get_mut(&path) {
            parent.children.insert(logical_id, child);
        }
    }
    let root = sets.remove(&Vec::new()).unwrap_or_default();
    contents(cx, cfn, &root, label, &mut known).await?;
    Ok(StackReview {
        label: label.to_owned(),
        stack: stack.name.clone(),
        stack_id: Some(stack.id.clone()),
        change_set: None,
        operation,
        state: State::Reviewed,
        rows: judge(&root, label, rules, &known),
        warnings,
    })
}

fn here(cfn: &Cfn) -> Pseudo {
    Pseudo {
        account: Some(cfn.account().to_owned()),
        region: Some(cfn.region().to_owned()),
        ..Pseudo::default()
    }
}

/// What a stack is made of again; none where the template lies elsewhere.
fn next(cfn: &Cfn, ready: &Ready) -> Option<Resolved> {
    let template = ready.body.as_deref().and_then(|text| Template::parse(text).ok())?;
    let values = ready.want.parameters.iter().filter_map(|(name, value)| match value {
        ParameterValue::Given(text) => Some((name.clone(), text.clone())),
        ParameterValue::Previous => None,
    });
    let pseudo = Pseudo { stack_name: Some(ready.want.stack.clone()), ..here(cfn) };
    Some(template.resolve(&values.collect(), &pseudo))
}

/// What is kept of one stack of the family and is in the way of the next.
fn in_the_way(path: &[String], set: &Set, before: &Resolved, next: Option<&Resolved>) -> Vec<Hint> {
    let Some(outermost) = path.first() else { return kept::of_stack(set, before, next) };
    let is_nested_again =
        next.is_none_or(|next| next.resource(outermost).is_some_and(|new| new.resource_type == STACK));
    if is_nested_again { kept::of_nested(set, before) } else { Vec::new() }
}

/// The resources of a stack, each as removed.
fn removed(node: &StackNode, template: Option<&Resolved>) -> Set {
    let change = |resource: &crate::live::Resource| {
        let policies = template.and_then(|template| template.policies(&resource.logical_id));
        ResourceChange {
            action: Some(Action::Remove),
            policy_action: policies.map(|policies| match policies.deletion {
                Policy::Retain | Policy::RetainExceptOnCreate => PolicyAction::Retain,
                Policy::Snapshot => PolicyAction::Snapshot,
                _ => PolicyAction::Delete,
            }),
            logical_resource_id: resource.logical_id.clone(),
            physical_resource_id: resource.physical_id.clone(),
            resource_type: resource.resource_type.clone(),
            ..ResourceChange::default()
        }
    };
    let gone = |resource: &&crate::live::Resource| resource.status != "DELETE_COMPLETE";
    Set { changes: node.resources.iter().filter(gone).map(change).collect(), ..Set::default() }
}

/// Refuses what CloudFormation would refuse, before anything is asked of it: a protected stack, and one whose exports are
/// imported. `ahead` are the names of stacks that are deleted before it.
pub async fn check_removable(
    cx: &Cx,
    cfn: &Cfn,
    label: &str,
    stack: &Stack,
    ahead: &[&str],
) -> Result<(), Failure> {
    let refused = || Failure::refused(format!("delete stack {label}"));
    if stack.termination_protection {
        return Err(refused().because("its termination protection is on").help(format!(
            "when it is to go all the same: aws cloudformation update-termination-protection --no-enable-termination-protection \
             --stack-name {}",
            stack.name
        )));
    }
    if let Some(parent) = &stack.parent_id {
        return Err(refused()
            .because(format!("it is nested in {parent}, which would not know of it"))
            .help("change the outer stack instead"));
    }
    let mut used = cfn.exports_in_use(cx, &stack.id).await?;
    for (_, importers) in &mut used {
        importers.retain(|importer| !ahead.contains(&importer.as_str()));
    }
    used.retain(|(_, importers)| !importers.is_empty());
    if used.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = used
        .iter()
        .map(|(export, importers)| format!("{export} is imported by {}", importers.join(", ")))
        .collect();
    Err(refused().because(lines.join("\n")).help("change or delete the stacks that import first"))
}
