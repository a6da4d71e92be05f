//! What an update does that its change set leaves out.

use serde::Serialize;

use super::indexes::{GsiChange, gsi_change};
use super::lossy::in_place_risks;
use super::policy::{Policy, PolicyAttribute};
use super::protection::protections_off;
use super::resolve::{Resolved, Resource};

/// Something that an update does to one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    pub logical_id: String,
    #[serde(flatten)]
    pub kind: FindingKind,
    /// In words, with the names.
    pub text: String,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum FindingKind {
    /// More than one index of a table is made or deleted: the update fails.
    SeveralIndexChanges {
        created: Vec<String>,
        deleted: Vec<String>,
        /// Updates that work one after the other, in words.
        split: Vec<String>,
    },
    /// How many indexes are made or deleted can't be known: a warning.
    IndexesUnverifiable,
    /// Less stays of the resource than before, when it goes or is replaced.
    PolicyWeakened { which: PolicyAttribute, before: Policy, after: Policy },
    /// A protection against deletion goes off.
    ProtectionOff { property: String },
    /// A change in place drops data or takes them out of reach.
    InPlaceRisk { property: String, why: String },
}

/// Compares the template that is deployed with the one that is to be. What only one of them has, and what changes its type,
/// is the change set's to tell.
pub fn compare(before: &Resolved, after: &Resolved) -> Vec<Finding> {
    let mut findings = Vec::new();
    for old in &before.resources {
        if let Some(new) = after.resource(&old.logical_id)
            && new.resource_type == old.resource_type
        {
            findings.extend(of_resource(old, new));
        }
    }
    for (name, body) in &after.loops {
        let tables = body.to_string().contains("\"AWS::DynamoDB::");
        if tables && !before.loops.iter().any(|(other, same)| other == name && same == body) {
            findings.push(Finding {
                logical_id: name.clone(),
                kind: FindingKind::IndexesUnverifiable,
                text:
                    "the tables that this loop makes are not seen here, nor how many of their indexes change"
                        .into(),
            });
        }
    }
    findings
}

fn of_resource(old: &Resource, new: &Resource) -> Vec<Finding> {
    let mut kinds: Vec<(FindingKind, String)> = Vec::new();
    let kind = old.resource_type.as_str();
    match gsi_change(kind, &old.properties, &new.properties) {
        Some(GsiChange::Several { created, deleted, split }) => {
            let text = several(&created, &deleted, &split);
            kinds.push((FindingKind::SeveralIndexChanges { created, deleted, split }, text));
        }
        Some(GsiChange::Unverifiable { why }) => kinds.push((
            FindingKind::IndexesUnverifiable,
            format!("{why}; DynamoDB makes or deletes only one index of a table in an update"),
        )),
        Some(GsiChange::Single { .. }) | None => {}
    }
    for which in [PolicyAttribute::DeletionPolicy, PolicyAttribute::UpdateReplacePolicy] {
        let (before, after) = (old.policies.get(which), new.policies.get(which));
        if after.is_weaker_than(before) {
            let text = format!("{which} is weakened from {before} to {after}");
            kinds.push((FindingKind::PolicyWeakened { which, before, after }, text));
        }
    }
    for off in protections_off(kind, &old.properties, &new.properties) {
        kinds.push((FindingKind::ProtectionOff { property: off.property }, off.text));
    }
    for risk in in_place_risks(kind, &old.properties, &new.properties) {
        let text = format!("{}: {}", risk.property, risk.why);
        kinds.push((FindingKind::InPlaceRisk { property: risk.property, why: risk.why }, text));
    }
    kinds.into_iter().map(|(kind, text)| Finding { logical_id: old.logical_id.clone(), kind, text }).collect()
}

fn several(created: &[String], deleted: &[String], split: &[String]) -> String {
    let part =
        |verb: &str, names: &[String]| (!names.is_empty()).then(|| format!("{verb} {}", names.join(", ")));
    let parts: Vec<String> =
        [part("deletes", deleted), part("creates", created)].into_iter().flatten().collect();
    let steps: Vec<String> =
        split.iter().enumerate().map(|(index, step)| format!("({}) {step}", index + 1)).collect();
    format!(
        "the update {} among the table's indexes; DynamoDB refuses more than one creation or deletion in an update. What works: {}",
        parts.join(" and "),
        steps.join("; ")
    )
}
