//! What was approved: the review and the fingerprint that vouches for it. Pure but for reading the file.

use std::fmt::Display;
use std::path::Path;

use changeset::approve::{Approval, approve};
use changeset::compare::{Beyond, approve_as_reviewed};
use changeset::fate::Need;
use changeset::request::StackArg;
use changeset::review::{Operation, Review, Row, SCHEMA, StackReview, State};
use kit::{Failure, StrictJson};
use serde_json::Value;

/// The approvals of this run.
#[derive(Debug)]
pub(crate) struct Reviewed {
    pub(crate) review: Option<Review>,
    pub(crate) allow: Vec<Approval>,
}

/// Reads a review, and believes it only when it is what the fingerprint names.
pub(crate) fn read(file: &Path, fingerprint: &str) -> Result<Review, Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("read the review {name}"))
            .because(error)
            .help("give the file that changeset-review wrote with --report")
    })?;
    parse(&name, &text, fingerprint)
}

/// Reads the text of a review that lies at `name`.
pub(crate) fn parse(name: &impl Display, text: &str, fingerprint: &str) -> Result<Review, Failure> {
    let unread = |error: serde_json::Error| {
        Failure::usage(format!("read the review {name}"))
            .because(error)
            .help("give the file that changeset-review wrote with --report, with the same version")
    };
    // Before its form, which another version may have changed. Of a name that stands twice other readers take either.
    let StrictJson(value) = serde_json::from_str(text).map_err(unread)?;
    let schema = value.get("schema").and_then(Value::as_str).unwrap_or("none");
    if schema != SCHEMA {
        return Err(Failure::usage(format!("read the review {name}"))
            .because(format!("it is of the schema {schema}, and this version reads {SCHEMA}"))
            .help("review again with this version"));
    }
    let review: Review = serde_json::from_value(value).map_err(unread)?;
    if review.own_fingerprint() != fingerprint {
        return Err(Failure::refused(format!("believe the review {name}"))
            .because(format!(
                "its content has the fingerprint {}, and {fingerprint} was approved",
                review.own_fingerprint()
            ))
            .help("give the review whose fingerprint was approved; a file that was edited is no review"));
    }
    Ok(review)
}

/// Refuses a review that was made elsewhere.
pub(crate) fn check_place(review: &Review, account: &str, region: &str) -> Result<(), Failure> {
    let other = |was: &Option<String>, is: &str| was.as_deref().is_some_and(|was| was != is);
    if other(&review.account, account) || other(&review.region, region) {
        return Err(Failure::refused("run what was reviewed")
            .because(format!(
                "it was reviewed on account {} in {}, and this is account {account} in {region}",
                review.account.as_deref().unwrap_or("unknown"),
                review.region.as_deref().unwrap_or("unknown")
            ))
            .help("use the credentials and the region of the review"));
    }
    Ok(())
}

impl Reviewed {
    /// Why a stack could not be planned when it was reviewed, where that is so.
    pub(crate) fn provisional(&self, label: &str) -> Option<&str> {
        let stack = self.review.as_ref()?.stacks.iter().find(|stack| stack.label == label)?;
        match &stack.state {
            State::Provisional(why) => Some(why),
            State::Reviewed | State::NoChanges => None,
        }
    }

    /// The ARN of a stack whose recreation was reviewed.
    pub(crate) fn recreated(&self, label: &str) -> Option<&String> {
        let stack = self.review.as_ref()?.stacks.iter().find(|stack| stack.label == label)?;
        stack.stack_id.as_ref().filter(|_| stack.operation == Operation::Recreate)
    }

    /// Refuses before the first stack is touched what the review says of any of them: one that it does not know, and changes in it
    /// that nobody approved.
    pub(crate) fn check(&self, stacks: &[StackArg], review_command: &str) -> Result<(), Failure> {
        let Some(review) = &self.review else { return Ok(()) };
        let mut lines = Vec::new();
        for arg in stacks {
            let Some(stack) = review.stacks.iter().find(|stack| stack.label == arg.label) else {
                lines.push(format!("{}: the stack was not reviewed", arg.label));
                continue;
            };
            if stack.stack != arg.stack {
                lines.push(format!("{}: {} was reviewed, and this is {}", arg.label, stack.stack, arg.stack));
                continue;
            }
            let mut rows = stack.rows.clone();
            approve(&mut rows, &self.allowed(&arg.label));
            lines.extend(rows.iter().filter(|row| row.blocks()).map(unapproved));
        }
        if lines.is_empty() {
            return Ok(());
        }
        Err(Failure::refused("run what was reviewed")
            .because(lines.join("\n"))
            .help("approve what is wanted by name with --allow, here or in a new review")
            .help(format!("review again: {review_command}")))
    }

    fn allowed(&self, label: &str) -> Vec<Approval> {
        let of = |approval: &&Approval| approval.name.split('/').next() == Some(label);
        self.allow.iter().filter(of).cloned().collect()
    }

    /// Marks what is approved; what is not is a refusal that lists it.
    pub(crate) fn admit(&self, now: &mut StackReview) -> Result<Vec<String>, Failure> {
        let beyond = match &self.review {
            Some(review) => approve_as_reviewed(review, now),
            None => Vec::new(),
        };
        let idle = approve(&mut now.rows, &self.allowed(&now.label));
        // What the review does not know of the stack itself no --allow of a resource mends.
        let whole: Vec<&Beyond> = beyond.iter().filter(|beyond| beyond.name == now.label).collect();
        let open: Vec<&Row> = now.rows.iter().filter(|row| row.blocks()).collect();
        if whole.is_empty() && open.is_empty() {
            return Ok(idle);
        }
        let mut lines: Vec<String> =
            whole.iter().map(|beyond| format!("{}: {}", beyond.name, beyond.why)).collect();
        lines.extend(open.iter().map(|row| {
            let why = beyond.iter().find(|beyond| beyond.name == row.name());
            match why {
                Some(beyond) => format!("{}: {}", beyond.name, beyond.why),
                None => unapproved(row),
            }
        }));
        lines.extend(idle);
        let verb = match now.operation {
            Operation::Delete => "delete",
            Operation::Recreate => "delete and make again",
            Operation::Create | Operation::Update => "run",
        };
        Err(Failure::refused(format!("{verb} stack {}", now.label)).because(lines.join("\n")))
    }
}

fn unapproved(row: &Row) -> String {
    let needs: Vec<&str> = row.open().map(Need::word).collect();
    format!("{}: {} ({}) is not approved", row.name(), row.verdict.title(), needs.join(", "))
}
