//! Taking back: only what the receipt's run made, and only while it still is what that run left.

use github::Github;
use kit::{Action, ActionRecord, ActionState, Cx, Failure, Go, Note, Outcome, Plan, Receipt};
use serde::Serialize;

use crate::apply::{Inverse, delete_asset, delete_release, delete_tag, is_content, set_draft};
use crate::commit::{self, Kept};
use crate::moving;
use crate::observe::{Asset, Release, Tag, find_tag, releases, repository as look_at};
use crate::plan::RELEASE;
use crate::tree::{Entry, Trees};

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
    DeleteRelease {
        id: u64,
        name: String,
    },
    MakeDraft {
        id: u64,
        name: String,
    },
    DeleteAsset {
        id: u64,
        name: String,
    },
    DeleteTag {
        tag: String,
        object: String,
    },
    MoveBack {
        name: String,
        before: Option<String>,
        after: String,
    },
    /// A commit on the branch's head, with the files as before.
    PutFilesBack {
        branch: String,
        head: String,
        tag: String,
        files: Vec<Kept>,
    },
}

impl Back {
    fn id(&self) -> String {
        match self {
            Self::DeleteRelease { .. } => "delete-release".to_owned(),
            Self::MakeDraft { .. } => "make-draft".to_owned(),
            Self::DeleteAsset { id, .. } => format!("delete-asset-{id}"),
            Self::DeleteTag { .. } => "delete-tag".to_owned(),
            Self::MoveBack { name, .. } => format!("move-back-{name}"),
            Self::PutFilesBack { branch, .. } => format!("put-files-back-on-{branch}"),
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
            Back::DeleteAsset { name, .. } => {
                Action::irreversible(back.id(), format!("delete the file {name} of the draft"), again)
            }
            Back::DeleteTag { tag, object } => {
                Action::irreversible(back.id(), format!("delete the tag {tag} ({object})"), again)
            }
            Back::MoveBack { name, before: Some(before), .. } => {
                Action::irreversible(back.id(), format!("move the tag {name} back to {before}"), again)
            }
            Back::MoveBack { name, before: None, .. } => {
                Action::irreversible(back.id(), format!("delete the tag {name}"), again)
            }
            Back::PutFilesBack { branch, head, files, .. } => {
                let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
                let does = format!("commit to {branch}, on {head}, the version's files as they were before");
                Action::irreversible(back.id(), does, again).detail(paths.join("\n"))
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

/// What a branch has now of the files that a run changed in it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BranchNow {
    name: String,
    head: String,
    /// Whether the run's commit is in its history.
    has: bool,
    /// The SHA of each of the files.
    files: Vec<Option<String>>,
}

/// Decides, from what is there now.
pub(crate) fn plan(
    receipt: &[&ActionRecord],
    tag: Option<&Tag>,
    releases: &[Release],
    branches: &[BranchNow],
    moved: &[(String, Option<String>)],
) -> Result<Vec<Back>, Failure> {
    let inverses: Vec<(&ActionRecord, Inverse)> = receipt
        .iter()
        .filter_map(|action| Some((*action, serde_json::from_value(action.inverse.clone()).ok()?)))
        .collect();
    let mut steps = Vec::new();
    let mut deleted = Vec::new();
    for (_, inverse) in &inverses {
        let Inverse::Moved { name, before, after, .. } = inverse else { continue };
        let now = moved.iter().find(|(it, _)| it == name).and_then(|(_, now)| now.as_ref());
        if now == before.as_ref() {
            continue;
        }
        if now != Some(after) {
            return Err(Failure::refused(format!("move the tag {name} back"))
                .because(format!(
                    "it points to {}, and the run left it pointing to {after}",
                    now.map_or("nothing", String::as_str)
                ))
                .help("somebody moved it since; decide with them"));
        }
        let (name, before, after) = (name.clone(), before.clone(), after.clone());
        steps.push(Back::MoveBack { name, before, after });
    }
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
        let others: Vec<&str> = release
            .assets
            .iter()
            .filter(|asset| !inverses.iter().any(|(_, inverse)| is_own(inverse, release.id, asset)))
            .map(|asset| asset.name.as_str())
            .collect();
        if !others.is_empty() {
            let names = others.join(", ");
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
    for release in releases.iter().filter(|release| !deleted.contains(&release.id) && !release.immutable) {
        let drafted =
            steps.iter().any(|step| matches!(step, Back::MakeDraft { id, .. } if *id == release.id));
        for asset in &release.assets {
            if inverses.iter().any(|(_, inverse)| is_own(inverse, release.id, asset)) {
                if !release.draft && !drafted {
                    return Err(Failure::refused(format!(
                        "delete the file {} of {}",
                        asset.name, release.tag_name
                    ))
                    .because("its release was published since by somebody else")
                    .help(format!("look at {} and decide there", release.html_url)));
                }
                steps.push(Back::DeleteAsset { id: asset.id, name: asset.name.clone() });
            }
        }
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
    for (_, inverse) in &inverses {
        let Inverse::Branch { tag, branch, commit, files, .. } = inverse else { continue };
        let Some(now) = branches.iter().find(|now| now.name == *branch).filter(|now| now.has) else {
            continue;
        };
        let as_it = |of: fn(&Kept) -> &String| {
            files.iter().zip(&now.files).all(|(file, now)| now.as_ref() == Some(of(file)))
        };
        if as_it(|file| &file.before) {
            continue;
        }
        if !as_it(|file| &file.after) {
            let paths = files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Failure::refused(format!("put the version's files on {branch} back"))
                .because(format!("they were changed again since {commit}: {paths}"))
                .help(format!("decide with whoever did; git revert {commit} begins it by hand")));
        }
        let (branch, head, tag) = (branch.clone(), now.head.clone(), tag.clone());
        steps.push(Back::PutFilesBack { branch, head, tag, files: files.clone() });
    }
    Ok(steps)
}

/// Looks at the branches that the run moved.
async fn branches(cx: &Cx, github: &Github, receipt: &[&ActionRecord]) -> Result<Vec<BranchNow>, Failure> {
    let mut found = Vec::new();
    for action in receipt {
        let Ok(Inverse::Branch { branch, commit, files, .. }) =
            serde_json::from_value(action.inverse.clone())
        else {
            continue;
        };
        let mut trees = Trees::new(cx, github);
        let head = trees.head(&branch).await?;
        let has = trees.has(&head, &commit).await?;
        let tree = trees.commit(&head).await?.tree;
        let mut now = Vec::new();
        for file in &files {
            now.push(trees.entry(&tree, &file.path).await?.map(|entry| entry.sha));
        }
        found.push(BranchNow { name: branch, head, has, files: now });
    }
    Ok(found)
}

/// Where the tags are that the run moved.
async fn moving_tags(
    cx: &Cx,
    github: &Github,
    receipt: &[&ActionRecord],
) -> Result<Vec<(String, Option<String>)>, Failure> {
    let mut found = Vec::new();
    for action in receipt {
        if let Ok(Inverse::Moved { name, .. }) = serde_json::from_value(action.inverse.clone()) {
            let now = find_tag(cx, github, &name).await?.map(|tag| tag.object);
            found.push((name, now));
        }
    }
    Ok(found)
}

/// Makes the commit in which the files are as before, on what the branch has now.
async fn put_back(
    cx: &Cx,
    github: &Github,
    branch: &str,
    head: &str,
    tag: &str,
    files: &[Kept],
) -> Result<serde_json::Value, Failure> {
    let base = Trees::new(cx, github).commit(head).await?;
    let entry =
        |file: &Kept| Entry { path: file.path.clone(), mode: file.mode.clone(), sha: file.before.clone() };
    let entries: Vec<Entry> = files.iter().map(entry).collect();
    let message = format!("Take back the version files of {tag}");
    let made = commit::child(cx, github, &base, &entries, &message).await?;
    commit::move_branch(cx, github, branch, head, &made.sha).await
}

/// Whether the run uploaded the file, and it still is the same; or began to.
fn is_own(inverse: &Inverse, id: u64, asset: &Asset) -> bool {
    let Inverse::Asset { release, name, digest, .. } = inverse else { return false };
    let same = asset.digest.as_ref().is_none_or(|there| there == digest);
    *release == id && *name == asset.name && (same || asset.state != "uploaded")
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
    let moved = branches(cx, github, &undoable).await?;
    cx.observed(&serde_json::json!({"tag": present, "releases": found, "branches": moved}));
    let moving = moving_tags(cx, github, &undoable).await?;
    let steps = plan(&undoable, present.as_ref(), &found, &moved, &moving)?;
    let plan = TakeBack { repository: github.repository().to_string(), steps };
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    for step in &plan.steps {
        let none = serde_json::Value::Null;
        match step {
            Back::DeleteRelease { id, .. } => {
                cx.act(&step.id(), &none, delete_release(cx, github, *id)).await?;
                mark(cx, &undoable, |action| action.id == RELEASE || action.id == crate::plan::PUBLISH)?;
            }
            Back::MakeDraft { id, name } => {
                let attempt = format!("make the release {name} a draft again");
                cx.act(&step.id(), &none, set_draft(cx, github, &attempt, *id, true)).await?;
                mark(cx, &undoable, |action| action.id == crate::plan::PUBLISH)?;
            }
            Back::MoveBack { name, before, after } => {
                cx.act(&step.id(), &none, moving::put_back(cx, github, name, before.as_deref(), after))
                    .await?;
            }
            Back::PutFilesBack { branch, head, tag, files } => {
                cx.act(&step.id(), &none, put_back(cx, github, branch, head, tag, files)).await?;
            }
            Back::DeleteAsset { id, .. } => cx.act(&step.id(), &none, delete_asset(cx, github, *id)).await?,
            Back::DeleteTag { tag, .. } => {
                cx.act(&step.id(), &none, delete_tag(cx, github, tag)).await?;
            }
        }
    }
    verify(cx, github, &undoable, tag, &plan.steps).await?;
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

async fn verify(
    cx: &Cx,
    github: &Github,
    undoable: &[&ActionRecord],
    tag: &str,
    steps: &[Back],
) -> Result<(), Failure> {
    let present = find_tag(cx, github, tag).await?;
    let found = releases(cx, github, tag).await?;
    let now = branches(cx, github, undoable).await?;
    let moving = moving_tags(cx, github, undoable).await?;
    let left = steps.iter().find(|step| match step {
        Back::DeleteRelease { id, .. } => found.iter().any(|release| release.id == *id),
        Back::MakeDraft { id, .. } => found.iter().any(|release| release.id == *id && !release.draft),
        Back::DeleteAsset { id, .. } => {
            found.iter().any(|release| release.assets.iter().any(|asset| asset.id == *id))
        }
        Back::DeleteTag { .. } => present.is_some(),
        Back::MoveBack { name, before, .. } => moving.iter().any(|(it, now)| it == name && now != before),
        Back::PutFilesBack { branch, files, .. } => now.iter().any(|now| {
            let before = files.iter().map(|file| Some(&file.before));
            now.name == *branch && !now.files.iter().map(Option::as_ref).eq(before)
        }),
    });
    match left {
        None => Ok(()),
        Some(step) => Err(Failure::unverified(format!("see that {tag} is taken back"))
            .because(format!("GitHub accepted {}, and it is not seen", step.id()))
            .help("run the same command again in a moment")),
    }
}
