//! What a step is about to do, as plain data that is printed and then applied.

use serde::Serialize;
use serde_json::Value;

/// A plan of one step: what is shown is the value that is applied.
pub trait Plan: Serialize {
    /// What will be done, in order. None at all means that the world is as wanted.
    fn actions(&self) -> Vec<Action>;

    /// What the reader should know beside the actions: context, warnings, checks that could not be made.
    fn notes(&self) -> Vec<Note> {
        Vec::new()
    }

    /// One line for the case that there is nothing to do ("rally-prod:42 already has this image").
    fn unchanged(&self) -> String;
}

/// One change that a plan makes.
#[derive(Clone, Debug, Serialize)]
pub struct Action {
    /// Names the action in the receipt: kebab-case, unique in the plan, the same in every run.
    pub id: String,
    /// What it does, as an imperative sentence without a full stop.
    pub does: String,
    /// How it is taken back.
    pub undo: Undo,
    /// Shown verbatim beneath it: a difference, a list of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How an action is taken back.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// `--undo RECEIPT` does this.
    By(String),
    /// It can't be taken back; says why, and what to do instead.
    Impossible(String),
}

impl Action {
    /// An action that `--undo` takes back by doing what `undo` says.
    pub fn new(id: impl Into<String>, does: impl Into<String>, undo: impl Into<String>) -> Self {
        Self { id: id.into(), does: does.into(), undo: Undo::By(undo.into()), detail: None }
    }

    /// An action that can't be taken back, and why.
    pub fn irreversible(id: impl Into<String>, does: impl Into<String>, why: impl Into<String>) -> Self {
        Self { id: id.into(), does: does.into(), undo: Undo::Impossible(why.into()), detail: None }
    }

    /// Text shown verbatim beneath the action.
    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = Some(text.into());
        self
    }
}

/// A remark beside the actions of a plan.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "text")]
pub enum Note {
    /// Context.
    Info(String),
    /// Something to think about before going on; an annotation in a GitHub job.
    Warning(String),
}

/// A plan and everything shown of it, as receipts and JSON reports carry it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) actions: Vec<Action>,
    pub(crate) notes: Vec<Note>,
    pub(crate) unchanged: String,
    pub(crate) plan: Value,
}

impl Shown {
    pub(crate) fn of(plan: &impl Plan) -> Result<Self, serde_json::Error> {
        Ok(Self {
            actions: plan.actions(),
            notes: plan.notes(),
            unchanged: plan.unchanged(),
            plan: serde_json::to_value(plan)?,
        })
    }

    /// The plan as plain text, a line each.
    pub(crate) fn text(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.actions.is_empty() {
            lines.push(format!("nothing to do: {}", self.unchanged));
        }
        for (n, action) in self.actions.iter().enumerate() {
            lines.push(format!("{}. {}", n + 1, action.does));
            if let Some(detail) = &action.detail {
                lines.extend(detail.lines().map(|line| format!("     {line}")));
            }
            lines.push(match &action.undo {
                Undo::By(undo) => format!("   undo: {undo}"),
                Undo::Impossible(why) => format!("   cannot be undone: {why}"),
            });
        }
        lines.extend(self.notes.iter().map(|note| match note {
            Note::Info(text) => format!("note: {text}"),
            Note::Warning(text) => format!("warning: {text}"),
        }));
        lines
    }
}
