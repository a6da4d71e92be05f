//! A review: what was found, as plain data. It is what is shown, what an approval speaks of, and what `deploy-stack`
//! compares with.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::fate::{Fate, Need};

/// The version of the JSON form; docs/changeset-review.md describes it.
pub const SCHEMA: &str = "cutover/changeset-review/1";

/// How bad a change is; the greater the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing that was there is at stake.
    Safe,
    /// Worth a look, no more.
    Notice,
    /// Changed in place in a way that drops data or takes it out of service.
    InPlaceRisk,
    /// A guard against loss goes.
    GuardRemoved,
    /// The change is known to fail half-way, and the stack to roll back.
    WillFail,
    /// The data stay, outside the stack; what takes their place begins empty.
    Detach,
    /// Data may be lost; it is not known before the change set runs.
    PossibleLoss,
    /// Data are lost.
    Loss,
}

impl Verdict {
    /// As it is shown.
    pub fn title(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Notice => "notice",
            Self::InPlaceRisk => "IN-PLACE RISK",
            Self::GuardRemoved => "GUARD REMOVED",
            Self::WillFail => "WILL FAIL",
            Self::Detach => "DETACH",
            Self::PossibleLoss => "POSSIBLE LOSS",
            Self::Loss => "LOSS",
        }
    }
}

/// What a type of resource holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Data that can't be made again.
    Data,
    /// A name, an address, a configuration that others rely on.
    Identity,
    /// Other resources.
    Container,
}

/// A change of one property, as far as AWS tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Property {
    /// A JSON pointer (`/Properties/KeySchema`) or the name alone.
    pub path: String,
    /// `Never`, `Conditionally` or `Always`, or what AWS says else.
    pub recreation: Option<String>,
    /// As it is; a value that may be a secret has been replaced before it came here.
    pub before: Option<String>,
    /// As it will be; `{{changeSet:KNOWN_AFTER_APPLY}}` where AWS does not know it yet.
    pub after: Option<String>,
    /// What makes the change: `parameter KeyPairName`, `resource Topic1`, `attribute Topic1.DisplayName`, `template`; several are
    /// joined.
    pub causes: Vec<Cause>,
}

/// What makes a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "name")]
pub enum Cause {
    /// The template says something else.
    Template,
    /// A parameter has another value.
    Parameter(String),
    /// A `Ref` to another resource of the stack.
    Resource(String),
    /// A `GetAtt` of another resource of the stack, as `LogicalId.Attribute`.
    Attribute(String),
    /// CloudFormation does it by itself, as to nested stacks.
    Automatic,
    /// What AWS says else.
    Other(String),
}

/// One resource of one change set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// The stack's label; of a nested one the logical ids that lead to it too: `infra/S3Res`.
    pub stack: String,
    /// Its name in the template.
    pub logical_id: String,
    /// Its name in AWS; none before it exists.
    pub physical_id: Option<String>,
    /// `AWS::DynamoDB::Table`.
    #[serde(rename = "type")]
    pub resource_type: String,
    /// What becomes of it.
    pub fate: Fate,
    /// What its type holds, where that is known to matter.
    pub tier: Option<Tier>,
    /// How bad that is.
    pub verdict: Verdict,
    /// What must be approved; empty for `safe` and `notice`.
    pub needs: BTreeSet<Need>,
    /// What of `needs` was approved by name.
    pub approved: BTreeSet<Need>,
    /// What `weaken-guard`, `in-place-risk` and `will-fail` are about, a sentence each: an approval is of these and no others.
    #[serde(default)]
    pub risks: BTreeSet<String>,
    /// Why the verdict is what it is, a sentence each; the risks are among them.
    pub reasons: Vec<String>,
    /// Of what the change consists.
    pub properties: Vec<Property>,
}

impl Row {
    /// `STACK/LogicalId`: how an approval names it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.stack, self.logical_id)
    }

    /// What is still to be approved.
    pub fn open(&self) -> impl Iterator<Item = &Need> {
        self.needs.difference(&self.approved)
    }

    /// Whether it stands in the way.
    pub fn blocks(&self) -> bool {
        self.open().next().is_some()
    }

    /// The argument that would approve what is open.
    pub fn allow_argument(&self) -> String {
        let words: Vec<&str> = self.open().map(Need::word).collect();
        format!("--allow {}:{}", self.name(), words.join(","))
    }
}

/// What is done to a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// It does not exist yet.
    Create,
    /// It exists.
    Update,
    /// It goes.
    Delete,
    /// It goes, and is made again.
    Recreate,
}

/// Whether there is something to judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "because")]
pub enum State {
    /// Its rows tell what it does.
    Reviewed,
    /// The stack is as the template and the parameters say.
    NoChanges,
    /// It can't be planned before a stack ahead of it has been run; says why.
    Provisional(String),
}

/// The review of one stack, those nested in it included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StackReview {
    /// What the caller calls it: `core` of `core=template,params`.
    pub label: String,
    /// Its name in AWS.
    pub stack: String,
    /// Its ARN; none before it exists.
    pub stack_id: Option<String>,
    /// ARN of the change set that was read; none for a deletion, and when nothing changes.
    pub change_set: Option<String>,
    pub operation: Operation,
    #[serde(flatten)]
    pub state: State,
    /// In the order of the stacks and of the change set.
    pub rows: Vec<Row>,
    /// What the reader must know beside the rows.
    pub warnings: Vec<String>,
}

/// How many rows have which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    pub add: usize,
    pub modify: usize,
    /// Certain and possible ones.
    pub replace: usize,
    pub remove: usize,
    /// Imports, records brought in line, and what is not known.
    pub other: usize,
    /// Rows that wait for an approval.
    pub blocked: usize,
    /// Rows that needed one and have it.
    pub approved: usize,
}

/// What the caller wished judged otherwise than by default. deploy-stack judges by the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Wishes {
    /// Types that hold an identity were judged as those that hold data.
    pub strict: bool,
    /// Types that were counted as holding data.
    pub stateful: Vec<String>,
    /// Types that were counted as holding nothing.
    pub stateless: Vec<String>,
}

/// A whole review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Review {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of `changeset-review` that made it.
    pub version: String,
    pub account: Option<String>,
    pub region: Option<String>,
    pub rules: Wishes,
    /// In the order in which they are to be run.
    pub stacks: Vec<StackReview>,
    /// Names the content of the rows: what a later run compares. `sha256:` and 64 digits.
    pub fingerprint: String,
    pub counts: Counts,
    /// The worst verdict.
    pub verdict: Verdict,
}

impl Review {
    /// Every row of every stack.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.stacks.iter().flat_map(|stack| &stack.rows)
    }

    /// The rows that wait for an approval, the worst first.
    pub fn blockers(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows().filter(|row| row.blocks()).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.verdict));
        rows
    }
}
