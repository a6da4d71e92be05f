//! Changes as plain data: what is shown, kept in the receipt and applied.

use std::collections::BTreeMap;

use kit::{Action, Note, Plan};
use serde::{Deserialize, Serialize};

use super::saved::{NAME, Saved};

/// An index by its name, and which one of that name it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) uuid: String,
}

/// One change: each is one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(super) enum Change {
    /// The number of copies of these indexes.
    Replicas { indexes: Vec<Named>, before: String, after: String },
    /// What is saved in the cluster.
    Saved { before: Option<Saved>, after: Option<Saved> },
}

/// A change as the receipt keeps it: with the cluster that it was made in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) cluster: Cluster,
    #[serde(flatten)]
    pub(super) change: Change,
}

/// Which cluster it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cluster {
    pub(super) name: String,
    /// Empty where the server shows none: Elasticsearch before 2.
    pub(super) uuid: String,
}

impl Change {
    /// The change back.
    pub(super) fn back(&self) -> Self {
        match self.clone() {
            Self::Replicas { indexes, before, after } => {
                Self::Replicas { indexes, before: after, after: before }
            }
            Self::Saved { before, after } => Self::Saved { before: after, after: before },
        }
    }

    fn action(&self, id: &str, last: bool) -> Action {
        let (does, undo, detail) = match self {
            Self::Replicas { indexes, before, after } => {
                let names: Vec<&str> = indexes.iter().map(|index| index.name.as_str()).collect();
                let many = names.len();
                (
                    format!("set number_of_replicas of {many} index{} from {before} to {after}", es(many)),
                    format!("set it to {before} again"),
                    Some(names.join("\n")),
                )
            }
            Self::Saved { before, after: None } => {
                let many = before.as_ref().map_or(0, |saved| saved.indexes.len());
                (
                    format!("drop the saved numbers of copies of {many} index{} (template {NAME})", es(many)),
                    "save them again".to_owned(),
                    None,
                )
            }
            Self::Saved { before, after: Some(after) } => {
                let many = after.indexes.len();
                (
                    format!(
                        "save the numbers of copies of {many} index{} in the cluster (template {NAME})",
                        es(many)
                    ),
                    match before {
                        Some(_) => "save what was saved before".to_owned(),
                        None => "drop them".to_owned(),
                    },
                    None,
                )
            }
        };
        let action = if last {
            Action::irreversible(id, does, "run the step again instead")
        } else {
            Action::new(id, does, undo)
        };
        match detail {
            Some(detail) => action.detail(detail),
            None => action,
        }
    }
}

fn es(count: usize) -> &'static str {
    if count == 1 { "" } else { "es" }
}

/// The changes in their order, each with the name that it has in the receipt.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Changes {
    pub(super) cluster: String,
    #[serde(serialize_with = "with_ids")]
    pub(super) changes: Vec<(String, Change)>,
    #[serde(skip)]
    pub(super) notes: Vec<Note>,
    #[serde(skip)]
    pub(super) unchanged: String,
    /// They take a run back, and are not taken back themselves.
    #[serde(skip)]
    pub(super) last: bool,
}

fn with_ids<S: serde::Serializer>(changes: &[(String, Change)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown<'a> {
        id: &'a str,
        #[serde(flatten)]
        change: &'a Change,
    }
    serializer.collect_seq(changes.iter().map(|(id, change)| Shown { id, change }))
}

impl Plan for Changes {
    fn actions(&self) -> Vec<Action> {
        self.changes.iter().map(|(id, change)| change.action(id, self.last)).collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        self.unchanged.clone()
    }
}

impl Changes {
    /// The number of copies that each index has in the end.
    pub(super) fn outcome(&self) -> Vec<(Named, String)> {
        let mut last: BTreeMap<&str, (&Named, &String)> = BTreeMap::new();
        for (_, change) in &self.changes {
            if let Change::Replicas { indexes, after, .. } = change {
                last.extend(indexes.iter().map(|index| (index.name.as_str(), (index, after))));
            }
        }
        last.into_values().map(|(index, after)| (index.clone(), after.clone())).collect()
    }

    /// How many indexes are changed.
    pub(super) fn indexes(&self) -> usize {
        let many = |(_, change): &(String, Change)| match change {
            Change::Replicas { indexes, .. } => indexes.len(),
            Change::Saved { .. } => 0,
        };
        self.changes.iter().map(many).sum()
    }
}
