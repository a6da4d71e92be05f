//! Recorded answers of `DescribeChangeSet`.

use std::path::{Path, PathBuf};

use changeset::answer::Answer;
use changeset::hints;
use changeset::judge::{Known, Rules, judge};
use changeset::review::{Operation, StackReview, State};
use changeset::set::{Page, Set, assemble};
use kit::Failure;

/// Reads the files and judges the change sets in them; nothing else is asked.
pub(crate) fn review(files: &[PathBuf], rules: &Rules) -> Result<Vec<StackReview>, Failure> {
    let pages = files.iter().map(|file| read(file)).collect::<Result<Vec<Page>, Failure>>()?;
    let sets = assemble(pages)
        .map_err(|error| Failure::failed("read the change sets").because(error.why).help(error.help))?;
    let mut stacks: Vec<StackReview> = Vec::new();
    for (n, set) in sets.iter().enumerate() {
        let mut stack = one(set, n, rules);
        if stacks.iter().any(|other| other.label == stack.label) {
            // Approvals name a stack: two under one name could not be told apart.
            return Err(Failure::usage("review the change sets")
                .because(format!("two of them are of the stack {}", stack.label))
                .help("review one change set of a stack at a time"));
        }
        stack.warnings.extend(set.warnings.iter().cloned());
        stacks.push(stack);
    }
    Ok(stacks)
}

fn read(file: &Path) -> Result<Page, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("read {name}"))
            .because(error)
            .help("name a file that DescribeChangeSet's answer is in")
    })?;
    let answer: Answer = serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("read {name}"))
            .because(error)
            .help("give the JSON that `aws cloudformation describe-change-set` prints")
    })?;
    if answer.change_set_id.is_none() && answer.status.is_none() && answer.changes.is_empty() {
        return Err(Failure::usage(format!("read {name}"))
            .because("it is JSON, and no answer of DescribeChangeSet: it has neither ChangeSetId nor Changes")
            .help("give the JSON that `aws cloudformation describe-change-set` prints"));
    }
    Ok(Page { from: name, answer, values: None })
}

/// What the values of properties tell, of nested sets too.
fn hints_of(set: &Set, path: &str, known: &mut Known) {
    known.hints.insert(path.to_owned(), hints::of_contexts(set));
    for (logical_id, child) in &set.children {
        hints_of(child, &format!("{path}/{logical_id}"), known);
    }
}

fn one(set: &Set, n: usize, rules: &Rules) -> StackReview {
    let name = set.stack_name.clone().unwrap_or_else(|| format!("stack-{}", n + 1));
    let mut warnings = Vec::new();
    match set.execution_status.as_deref() {
        Some("AVAILABLE" | "UNAVAILABLE") | None => {}
        Some(other) => warnings.push(format!("the change set is {other}: it can't be executed any more")),
    }
    let mut known = Known::default();
    hints_of(set, &name, &mut known);
    let rows = judge(set, &name, rules, &known);
    StackReview {
        label: name.clone(),
        stack: name,
        stack_id: set.stack_id.clone(),
        change_set: set.arn.clone(),
        // A recorded answer does not say whether the stack existed; a set that only adds may be of a new one.
        operation: Operation::Update,
        state: if set.is_empty_set() { State::NoChanges } else { State::Reviewed },
        rows,
        warnings,
    }
}
