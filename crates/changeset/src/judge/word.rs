//! What becomes of a resource, read from AWS's answer.

use crate::answer::{Action, Detail, PolicyAction, Replacement, RequiresRecreation, ResourceChange};
use crate::fate::{Fate, Old};

/// What becomes of the old resource. A policy that is not told is taken for the worst: answers from before July 2022 have none.
fn old(policy: Option<&PolicyAction>) -> Old {
    match policy {
        Some(PolicyAction::Retain | PolicyAction::ReplaceAndRetain) => Old::Retained,
        Some(PolicyAction::Snapshot | PolicyAction::ReplaceAndSnapshot) => Old::Snapshot,
        _ => Old::Deleted,
    }
}

/// What becomes of the resource, and why it is so judged where AWS's answer does not say it plainly.
pub(super) fn fate(change: &ResourceChange) -> (Fate, Option<String>) {
    let policy = change.policy_action.as_ref();
    let replaces = matches!(
        policy,
        Some(
            PolicyAction::ReplaceAndDelete
                | PolicyAction::ReplaceAndRetain
                | PolicyAction::ReplaceAndSnapshot
        )
    );
    let removes =
        matches!(policy, Some(PolicyAction::Delete | PolicyAction::Retain | PolicyAction::Snapshot));
    let unknown_policy = match policy {
        Some(PolicyAction::Unknown(word)) => {
            Some(format!("AWS says {word} of the old one, which this version does not know"))
        }
        _ => None,
    };
    match &change.action {
        // AWS has sent Replacement True with Add, where there is nothing to replace.
        Some(Action::Add) => (Fate::Add, None),
        Some(Action::Import) => (Fate::Import, None),
        Some(Action::SyncWithActual) => (Fate::Sync, None),
        Some(Action::Dynamic) => (
            Fate::Dynamic,
            Some("CloudFormation decides what to do with it only when the change set runs".to_owned()),
        ),
        Some(Action::Remove) => (Fate::Remove(old(policy)), unknown_policy),
        Some(Action::Unknown(word)) => {
            (Fate::Unknown, Some(format!("AWS calls the change {word}, which this version does not know")))
        }
        Some(Action::Modify) => {
            if replaces || removes {
                return (Fate::Replace(old(policy)), None);
            }
            match &change.replacement {
                _ if unknown_policy.is_some() => (Fate::Replace(Old::Deleted), unknown_policy),
                Some(Replacement::True) => (Fate::Replace(Old::Deleted), None),
                Some(Replacement::Conditional) => (Fate::MayReplace(Old::Deleted), None),
                Some(Replacement::Unknown(word)) => (
                    Fate::Replace(Old::Deleted),
                    Some(format!("AWS says {word} of a replacement, which this version does not know")),
                ),
                Some(Replacement::False) => (Fate::Modify, None),
                None => from_details(&change.details),
            }
        }
        None if replaces || change.replacement == Some(Replacement::True) => {
            (Fate::Replace(old(policy)), None)
        }
        None if removes => (Fate::Remove(old(policy)), None),
        None => (Fate::Unknown, Some("the answer does not say what is done to it".to_owned())),
    }
}

/// A change without the field Replacement, judged by its parts.
fn from_details(details: &[Detail]) -> (Fate, Option<String>) {
    let targets = || details.iter().filter_map(|detail| detail.target.as_ref());
    let recreation = |wanted: RequiresRecreation| {
        targets().any(|target| target.requires_recreation.as_ref() == Some(&wanted))
    };
    if recreation(RequiresRecreation::Always) {
        return (Fate::Replace(Old::Deleted), None);
    }
    let unknown = targets().find_map(|target| match &target.requires_recreation {
        Some(RequiresRecreation::Unknown(word)) => Some((target.name.as_deref().unwrap_or("a change"), word)),
        _ => None,
    });
    if let Some((name, word)) = unknown {
        let why =
            format!("AWS says {word} of whether {name} makes a new one, which this version does not know");
        return (Fate::MayReplace(Old::Deleted), Some(why));
    }
    if recreation(RequiresRecreation::Conditionally) {
        (Fate::MayReplace(Old::Deleted), None)
    } else {
        (Fate::Modify, None)
    }
}
