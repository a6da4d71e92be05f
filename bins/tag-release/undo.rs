//! Taking back: only what the receipt's run made, and only while it still is what that run left.

use github::Github;
use kit::{Action, ActionRecord, ActionState, Cx, Failure, Go, Note, Outcome, Plan, Receipt};
use serde::Serialize;

use crate::apply::{Inverse, delete_release, delete_tag, is_content, set_draft};
use crate::observe::{Release, Tag, find_tag, releases, repository as look_at};
use crate::plan::RELEASE;

/// The repository that the receipt's run worked on.
pub(crate) fn repository(receipt: &Receipt) -> Option<String> {
    let named = |action: &ActionRecord| action.inverse.get("repository")?.as_str().map(str::to_owned);
    receipt.actions.iter().find_map(named)
}

#[derive(Debug, Serialize)]
struct TakeBack {
    repository: String,
    steps: Vec<Back>,
}

/// One thing to take back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Back {
    DeleteRelease { id: u64, name: String },
    MakeDraft { id: u64, name: String },
    DeleteTag { tag: String, object: String },
}

impl Back {
    fn id(&self) -> &'static str {
        match self {
            Self::DeleteRelease { .. } => "delete-release",
            Self::MakeDraft { .. } => "make-draft",
            Self::DeleteTag { .. } => "delete-tag",
        }
    }
}

impl Plan for TakeBack {
    fn actions(&self) -> Vec<Action> {
        let again = "it can only be made anew, by running tag-release again";
        let action = |back: &Back| match back {
            Back::DeleteRelease { id, name } => {
                Action::irreversible(back.id(), format!("delete the release {name} (number {id})"), again)
            }
            Back::MakeDraft { id, name } => Action::irreversible(
                back.id(),
                format!("make the release {name} (number {id}) a draft again"),
                again,
            ),
            Back::DeleteTag { tag, object } => {
                Action::irreversible(back.id(), format!("delete the tag {tag} ({object})"), again)
            }
        };
        self.steps.iter().map(action).collect()
    }

    fn notes(&self) -> Vec<Note> {
        let deletes = self.steps.iter().any(|step| matches!(step, Back::DeleteTag { .. }));
        deletes
            .then(|| Note::Warning("whoever has fetched the tag keeps it".to_owned()))
            .into_iter()
            .collect()
    }

    fn unchanged(&self) -> String {
        format!("nothing of that run is left in {}", self.repository)
    }
}

/// Decides, from what is there now.
pub(crate) fn plan(
    receipt: &[&ActionRecord],
    tag: Option<&Tag>,
    releases: &[Release],
) -> Result<Vec<Back>, Failure> {
    let inverses: Vec<(&ActionRecord, Inverse)> = receipt
        .iter()
        .filter_map(|action| Some((*action, serde_json::from_value(action.inverse.clone()).ok()?)))
        .collect();
    let mut steps = Vec::new();
    let mut deleted = Vec::new();
    for (action, inverse) in &inverses {
        let Inverse::Release { tag, name, body, .. } = inverse else { continue };
        let id = action.result.get("id").and_then(serde_json::Value::as_u64);
        // Killed before the answer came: the release is known by what was written into it.
        let found = releases.iter().find(|release| match id {
            Some(id) => release.id == id,
            None => is_content(release, name, body),
        });
        let Some(release) = found else { continue };
        let refuse = |why: String| {
            Err(Failure::refused(format!("delete the release {} of {tag}", release.id))
                .because(why)
                .help(format!("look at {} and decide there", release.html_url)))
        };
        if release.immutable {
            return refuse(
                "it is immutable: it can't be taken back, and its tag's name is used up".to_owned(),
            );
        }
        if !release.assets.is_empty() {
            let names = release.assets.iter().map(|asset| asset.name.as_str()).collect::<Vec<_>>().join(", ");
            return refuse(format!("it has files that the run did not upload: {names}"));
        }
        if !is_content(release, name, body) {
            return refuse("its title or notes were edited since".to_owned());
        }
        deleted.push(release.id);
        steps.push(Back::DeleteRelease { id: release.id, name: name.clone() });
    }
    for (_, inverse) in &inverses {
        let Inverse::Draft { tag, id, .. } = inverse else { continue };
        let Some(release) = releases.iter().find(|release| release.id == *id && !release.draft) else {
            continue;
        };
        if deleted.contains(id) {
            continue;
        }
        if release.immutable {
            return Err(Failure::refused(format!("make the release {id} of {tag} a draft again"))
                .because("it is immutable: it can't be taken back"));
        }
        steps.push(Back::MakeDraft { id: *id, name: release.name.clone().unwrap_or_else(|| tag.clone()) });
    }
    for (_, inverse) in &inverses {
        let Inverse::Tag { tag: name, object, .. } = inverse else { continue };
        let Some(tag) = tag else { continue };
        if tag.object != *object {
            return Err(Failure::refused(format!("delete the tag {name}"))
                .because(format!("it points to {}, and the run left it pointing to {object}", tag.object))
                .help("somebody moved it since; decide with them"));
        }
        // GitHub makes a draft of a release whose tag is deleted.
        let others = |release: &&Release| !deleted.contains(&release.id) && !release.draft;
        if let Some(other) = releases.iter().find(others)
            && !steps.iter().any(|step| matches!(step, Back::MakeDraft { id, .. } if *id == other.id))
        {
            return Err(Failure::refused(format!("delete the tag {name}"))
                .because(format!("the release {} of somebody else stands on it", other.id))
                .help(format!("look at {} and decide there", other.html_url)));
        }
        let step = Back::DeleteTag { tag: name.clone(), object: object.clone() };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    Ok(steps)
}

pub(crate) async fn undo(cx: &Cx, github: &Github, receipt: &Receipt) -> Result<Outcome, Failure> {
    let undoable = receipt.undoable();
    let named = |action: &ActionRecord| action.inverse.get("tag")?.as_str().map(str::to_owned);
    let Some(tag) = receipt.actions.iter().rev().find_map(named) else {
        return Ok(Outcome::unchanged(format!("that run has written nothing into {}", github.repository())));
    };
    let tag = tag.as_str();
    look_at(cx, github).await?;
    let present = find_tag(cx, github, tag).await?;
    let found = releases(cx, github, tag).await?;
    cx.observed(&serde_json::json!({"tag": present, "releases": found}));
    let steps = plan(&undoable, present.as_ref(), &found)?;
    let plan = TakeBack { repository: github.repository().to_string(), steps };
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    for step in &plan.steps {
        let none = serde_json::Value::Null;
        match step {
            Back::DeleteRelease { id, .. } => {
                cx.act(step.id(), &none, delete_release(cx, github, *id)).await?;
                mark(cx, &undoable, |action| action.id == RELEASE || action.id == crate::plan::PUBLISH)?;
            }
            Back::MakeDraft { id, name } => {
                let attempt = format!("make the release {name} a draft again");
                cx.act(step.id(), &none, set_draft(cx, github, &attempt, *id, true)).await?;
                mark(cx, &undoable, |action| action.id == crate::plan::PUBLISH)?;
            }
            Back::DeleteTag { tag, .. } => {
                cx.act(step.id(), &none, delete_tag(cx, github, tag)).await?;
            }
        }
    }
    verify(cx, github, tag, &plan.steps).await?;
    mark(cx, &undoable, |_| true)?;
    Ok(if plan.steps.is_empty() {
        Outcome::unchanged(plan.unchanged())
    } else {
        Outcome::changed(format!("what that run made of {tag} in {} is taken back", plan.repository))
    })
}

fn mark(cx: &Cx, undoable: &[&ActionRecord], which: impl Fn(&ActionRecord) -> bool) -> Result<(), Failure> {
    let open = |action: &&&ActionRecord| action.state != ActionState::Undone && which(action);
    undoable.iter().filter(open).try_for_each(|action| cx.mark_undone(action))
}

async fn verify(cx: &Cx, github: &Github, tag: &str, steps: &[Back]) -> Result<(), Failure> {
    let present = find_tag(cx, github, tag).await?;
    let found = releases(cx, github, tag).await?;
    let left = steps.iter().find(|step| match step {
        Back::DeleteRelease { id, .. } => found.iter().any(|release| release.id == *id),
        Back::MakeDraft { id, .. } => found.iter().any(|release| release.id == *id && !release.draft),
        Back::DeleteTag { .. } => present.is_some(),
    });
    match left {
        None => Ok(()),
        Some(step) => Err(Failure::unverified(format!("see that {tag} is taken back"))
            .because(format!("GitHub accepted {}, and it is not seen", step.id()))
            .help("run the same command again in a moment")),
    }
}
