//! What a change set does to data, row by row. Pure: the whole judgement of both steps is here.

mod properties;
#[cfg(test)]
mod tests;
mod word;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::properties::properties;
use self::word::fate;
use crate::answer::{Action, Attribute, Replacement, ResourceChange};
use crate::fate::{Fate, Need, Old};
use crate::review::{Row, Tier, Verdict, Wishes};
use crate::set::Set;
use crate::template::{Policies, Policy, PolicyAttribute};
use crate::types::{Types, Unknown};

/// The type of a nested stack.
pub const STACK: &str = "AWS::CloudFormation::Stack";

/// What the caller wishes judged how.
#[derive(Clone, Debug)]
pub struct Rules {
    pub types: Types,
    /// Types that hold an identity are judged as those that hold data.
    pub strict: bool,
}

impl Rules {
    /// The project's table with the caller's changes.
    pub fn new(wishes: &Wishes) -> Self {
        let mut types = Types::own();
        for resource_type in &wishes.stateful {
            types.add(resource_type);
        }
        for resource_type in &wishes.stateless {
            types.remove(resource_type);
        }
        Self { types, strict: wishes.strict }
    }
}

/// What is known of one resource beside the change set: from the templates before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    pub logical_id: String,
    /// Its type, for a resource that the change set does not name.
    pub resource_type: String,
    /// What it makes necessary; a remark when none.
    pub need: Option<Need>,
    /// A sentence without a full stop.
    pub text: String,
}

/// What is known of each stack beside its change set, by its path (`infra`, `infra/S3Res`).
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub hints: BTreeMap<String, Vec<Hint>>,
    /// The resources, as `STACK/LogicalId`, whose policies are known before and after: the hints tell what they lose.
    pub compared: BTreeSet<String>,
    /// The resources of nested stacks that go, as path of the stack to (logical id, type).
    pub contents: BTreeMap<String, Vec<(String, String)>>,
}

/// The rows of a change set and of those nested in it. `path` is the label of the stack.
pub fn judge(set: &Set, path: &str, rules: &Rules, known: &Known) -> Vec<Row> {
    let mut rows = Vec::new();
    let no_hints = Vec::new();
    let hints = known.hints.get(path).unwrap_or(&no_hints);
    for change in &set.changes {
        let row = judge_change(change, set, path, rules, known, hints);
        let nested = format!("{path}/{}", change.logical_resource_id);
        // What a nested stack holds stays with it.
        let stays = row.fate == Fate::Remove(Old::Retained);
        rows.push(row);
        if stays {
            continue;
        }
        if let Some(child) = set.children.get(&change.logical_resource_id) {
            rows.extend(judge(child, &nested, rules, known));
        }
    }
    rows.extend(unnamed(set, path, rules, hints));
    rows
}

/// What the templates tell of resources that the change set does not name.
fn unnamed(set: &Set, path: &str, rules: &Rules, hints: &[Hint]) -> Vec<Row> {
    let named = |id: &str| set.changes.iter().any(|change| change.logical_resource_id == id);
    let ids: BTreeSet<(&str, &str)> = hints
        .iter()
        .filter(|hint| hint.need.is_some() && !named(&hint.logical_id))
        .map(|hint| (hint.logical_id.as_str(), hint.resource_type.as_str()))
        .collect();
    ids.into_iter()
        .map(|(logical_id, resource_type)| {
            let change = ResourceChange {
                action: Some(Action::Modify),
                replacement: Some(Replacement::False),
                logical_resource_id: logical_id.to_owned(),
                resource_type: resource_type.to_owned(),
                ..ResourceChange::default()
            };
            let mut row = judge_change(&change, set, path, rules, &Known::default(), hints);
            row.reasons.insert(0, "the change set does not name it; the templates differ".to_owned());
            row
        })
        .collect()
}

fn judge_change(
    change: &ResourceChange,
    set: &Set,
    path: &str,
    rules: &Rules,
    known: &Known,
    hints: &[Hint],
) -> Row {
    let mut judged = Judged::new(change, path, rules);
    if change.resource_type == STACK {
        judged.nested(change, set, known, rules);
    } else {
        judged.by_fate();
    }
    judged.renamed(change, set);
    judged.attributes(change, known.compared.contains(&judged.row.name()));
    for hint in hints.iter().filter(|hint| hint.logical_id == change.logical_resource_id) {
        judged.hint(hint);
    }
    judged.row
}

struct Judged {
    row: Row,
    holds: bool,
    unknown: Option<Unknown>,
}

impl Judged {
    fn new(change: &ResourceChange, path: &str, rules: &Rules) -> Self {
        let (fate, why) = fate(change);
        let listed = rules.types.of(&change.resource_type);
        let unknown = rules.types.unknown(&change.resource_type);
        let tier = listed.map(|holds| holds.tier);
        let holds = match tier {
            Some(Tier::Data) => true,
            Some(Tier::Identity) => rules.strict,
            // A nested stack is judged by what is in it.
            Some(Tier::Container) => false,
            None => unknown.is_some() || change.resource_type.is_empty(),
        };
        let mut reasons = Vec::new();
        if let Some(holds) = listed
            && fate.ends_the_old()
            && change.resource_type != STACK
        {
            reasons.push(format!("it holds {}", holds.what));
        }
        reasons.extend(why);
        let row = Row {
            stack: path.to_owned(),
            logical_id: change.logical_resource_id.clone(),
            physical_id: change.physical_resource_id.clone().filter(|id| !id.is_empty()),
            resource_type: change.resource_type.clone(),
            fate,
            tier,
            verdict: Verdict::Safe,
            needs: BTreeSet::new(),
            approved: BTreeSet::new(),
            risks: BTreeSet::new(),
            reasons,
            properties: properties(&change.details),
        };
        Self { row, holds, unknown }
    }

    fn worse(&mut self, verdict: Verdict) {
        self.row.verdict = self.row.verdict.max(verdict);
    }

    fn need(&mut self, verdict: Verdict, need: Need) {
        self.worse(verdict);
        self.row.needs.insert(need);
    }

    fn because(&mut self, reason: impl Into<String>) {
        self.row.reasons.push(reason.into());
    }

    /// A reason that an approval is of.
    fn risk(&mut self, reason: String) {
        self.row.risks.insert(reason.clone());
        self.because(reason);
    }

    fn need_fate(&mut self, verdict: Verdict) {
        let fate = self.row.fate.clone();
        self.need(verdict, Need::Fate(fate));
    }

    /// The table of verdicts.
    fn by_fate(&mut self) {
        let fate = self.row.fate.clone();
        match &fate {
            Fate::Add | Fate::Import | Fate::Modify | Fate::Sync => return,
            _ if self.unknown == Some(Unknown::Custom) => {
                self.because("its provider is told to delete what it made, and may do anything");
                return self.need_fate(Verdict::PossibleLoss);
            }
            _ if !self.holds => return self.worse(Verdict::Notice),
            Fate::Remove(Old::Deleted) | Fate::Replace(Old::Deleted) if self.unknown.is_some() => {
                self.because("its type is not one of AWS's own: what it holds is not known");
                return self.need_fate(Verdict::PossibleLoss);
            }
            _ => {}
        }
        match &fate {
            Fate::Remove(Old::Deleted) => self.need_fate(Verdict::Loss),
            Fate::Replace(Old::Deleted) => {
                self.because("the new one begins empty");
                self.need_fate(Verdict::Loss);
            }
            Fate::Remove(kept) => {
                self.because(match kept {
                    Old::Snapshot => "a snapshot stays; the stack no longer knows of it",
                    _ => "it stays outside the stack, where a later one of the same name collides with it",
                });
                self.need_fate(Verdict::Detach);
            }
            Fate::Replace(kept) => {
                self.because(match kept {
                    Old::Snapshot => "a snapshot of the old one stays; the new one begins empty",
                    _ => "the old one stays outside the stack; the new one begins empty",
                });
                self.need_fate(Verdict::Detach);
            }
            _ => self.need_fate(Verdict::PossibleLoss),
        }
    }

    /// A nested stack: what is in it decides.
    fn nested(&mut self, change: &ResourceChange, set: &Set, known: &Known, rules: &Rules) {
        let path = self.row.name();
        match self.row.fate.clone() {
            Fate::Sync => {}
            Fate::Add | Fate::Import | Fate::Modify
                if set.children.contains_key(&change.logical_resource_id) => {}
            Fate::Add | Fate::Import if change.change_set_id.is_none() => {
                self.because("its change set is not among those that were read; there is nothing in it yet");
                self.worse(Verdict::Notice);
            }
            Fate::Add | Fate::Import | Fate::Modify => {
                self.because(match &change.change_set_id {
                    Some(arn) => {
                        format!("its own change set {arn} was not read, so what it does is not known")
                    }
                    None => "it has no change set of its own, so what it does is not known".to_owned(),
                });
                self.row.fate = Fate::Opaque;
                self.need_fate(Verdict::PossibleLoss);
            }
            Fate::Remove(Old::Deleted | Old::Snapshot)
                if set.children.contains_key(&change.logical_resource_id) =>
            {
                self.because("each of its resources goes with it, as is said of each");
                self.worse(Verdict::Notice);
            }
            fate => self.nested_goes(&fate, known.contents.get(&path), rules),
        }
    }

    fn nested_goes(&mut self, fate: &Fate, contents: Option<&Vec<(String, String)>>, rules: &Rules) {
        let kept = matches!(fate, Fate::Remove(Old::Retained) | Fate::Replace(Old::Retained));
        let certain = matches!(fate, Fate::Remove(_) | Fate::Replace(_));
        let Some(contents) = contents else {
            self.because("everything in it goes too, and what that is could not be seen");
            return self.need_fate(if kept { Verdict::Detach } else { Verdict::PossibleLoss });
        };
        let held: Vec<String> = contents
            .iter()
            .filter(|(_, resource_type)| {
                rules.types.unknown(resource_type).is_some()
                    || match rules.types.of(resource_type).map(|holds| holds.tier) {
                        Some(Tier::Data | Tier::Container) => true,
                        Some(Tier::Identity) => rules.strict,
                        None => false,
                    }
            })
            .map(|(logical_id, resource_type)| format!("{logical_id} ({resource_type})"))
            .collect();
        if held.is_empty() {
            self.because(format!("its {} resources go with it; none of them holds data", contents.len()));
            return self.worse(Verdict::Notice);
        }
        self.because(format!("with it goes what holds something: {}", held.join(", ")));
        self.need_fate(match (kept, certain) {
            (true, _) => Verdict::Detach,
            (false, true) => Verdict::Loss,
            (false, false) => Verdict::PossibleLoss,
        });
    }

    /// A removed resource and a new one of its type: most likely a new logical id for the same thing.
    fn renamed(&mut self, change: &ResourceChange, set: &Set) {
        if !self.row.verdict_is_above_notice() || change.action != Some(Action::Remove) {
            return;
        }
        let twins: Vec<&str> = set
            .changes
            .iter()
            .filter(|other| other.action == Some(Action::Add) && other.resource_type == change.resource_type)
            .map(|other| other.logical_resource_id.as_str())
            .collect();
        if !twins.is_empty() {
            self.because(format!(
                "a new {} comes: {}. If that is the same thing under another logical id, keep the id, or import it",
                change.resource_type,
                twins.join(", ")
            ));
        }
    }

    /// What a change of something else than a property means.
    fn attributes(&mut self, change: &ResourceChange, compared: bool) {
        if change.resource_drift_status.as_deref() == Some("DELETED") && self.holds {
            self.because("it was deleted outside the stack; what is made in its place begins empty");
            self.need_fate(Verdict::Detach);
        }
        for attribute in &change.scope {
            match attribute {
                Attribute::Unknown(word) if self.holds => {
                    self.because(format!(
                        "AWS says that its {word} changes, which this version does not know"
                    ));
                    self.need_fate(Verdict::PossibleLoss);
                }
                Attribute::DeletionPolicy | Attribute::UpdateReplacePolicy if compared => {
                    self.worse(Verdict::Notice);
                }
                Attribute::DeletionPolicy | Attribute::UpdateReplacePolicy => self.policy(attribute, change),
                _ => {}
            }
        }
    }

    /// A changed policy guards less unless it is seen to guard more.
    fn policy(&mut self, attribute: &Attribute, change: &ResourceChange) {
        let which = match attribute {
            Attribute::UpdateReplacePolicy => PolicyAttribute::UpdateReplacePolicy,
            _ => PolicyAttribute::DeletionPolicy,
        };
        let of = |context: &Option<String>| {
            let value: Value = serde_json::from_str(context.as_deref()?).ok()?;
            let given = |attribute: PolicyAttribute| value.get(attribute.to_string());
            // Absent in a context that is there: the type's default.
            let policies = Policies::of(
                &change.resource_type,
                value.get("Properties").unwrap_or(&Value::Null),
                given(PolicyAttribute::DeletionPolicy),
                given(PolicyAttribute::UpdateReplacePolicy),
            );
            Some(policies.get(which))
                .filter(|policy| *policy != Policy::Unknown)
                .map(|policy| policy.to_string())
        };
        let of_detail = |before: bool| {
            change.details.iter().filter_map(|detail| detail.target.as_ref()).find_map(|target| {
                let value = if before { &target.before_value } else { &target.after_value };
                (target.attribute.as_ref() == Some(attribute)).then(|| value.clone()).flatten()
            })
        };
        let before = of_detail(true).or_else(|| of(&change.before_context));
        let after = of_detail(false).or_else(|| of(&change.after_context));
        let name = attribute.as_str();
        let (Some(before), Some(after)) = (before, after) else {
            if self.holds {
                self.risk(format!("its {name} changes, and to what is not told"));
                self.need(Verdict::GuardRemoved, Need::WeakenGuard);
            } else {
                self.worse(Verdict::Notice);
            }
            return;
        };
        let strength = |policy: &str| match policy {
            "Retain" => 3,
            "RetainExceptOnCreate" => 2,
            "Snapshot" => 1,
            _ => 0,
        };
        let text = format!("its {name} goes from {before} to {after}");
        if self.holds && strength(&after) < strength(&before) {
            self.risk(text);
            self.need(Verdict::GuardRemoved, Need::WeakenGuard);
        } else {
            self.because(text);
            self.worse(Verdict::Notice);
        }
    }

    fn hint(&mut self, hint: &Hint) {
        match &hint.need {
            None => self.because(hint.text.clone()),
            Some(need) => {
                let verdict = match need {
                    Need::WillFail => Verdict::WillFail,
                    Need::WeakenGuard => Verdict::GuardRemoved,
                    Need::InPlaceRisk => Verdict::InPlaceRisk,
                    Need::Fate(_) => Verdict::PossibleLoss,
                };
                // What holds nothing has nothing to guard.
                if self.holds || *need == Need::WillFail {
                    self.risk(hint.text.clone());
                    self.need(verdict, need.clone());
                } else {
                    self.because(hint.text.clone());
                    self.worse(Verdict::Notice);
                }
            }
        }
    }
}

impl Row {
    fn verdict_is_above_notice(&self) -> bool {
        self.verdict > Verdict::Notice
    }
}
