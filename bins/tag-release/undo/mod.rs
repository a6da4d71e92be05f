//! Taking back: only what the receipt's run made, and only while it still is what that run left.

mod plan;

use std::path::Path;

use github::Github;
use kit::{ActionRecord, ActionState, Cx, Failure, Go, Outcome, Plan as _, Receipt};
use serde::Deserialize as _;

use crate::apply::{Inverse, delete_asset, delete_release, delete_tag, set_draft};
use crate::commit::{self, Kept};
use crate::moving;
use crate::observe::{find_tag, releases, repository as look_at};
use crate::sign::{self, Left};
use crate::tree::{Entry, Trees};
use plan::{Back, BranchNow, Part, TakeBack};

/// The repositories that the receipt's run worked on.
pub(crate) fn repositories(receipt: &Receipt) -> Vec<String> {
    let named = |action: &ActionRecord| action.inverse.get("repository")?.as_str().map(str::to_owned);
    receipt.actions.iter().filter_map(named).collect()
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
        // A branch that is gone has nothing to put back.
        let Some(head) = trees.find_head(&branch).await? else { continue };
        let has = trees.has(&head, &commit).await?;
        let tree = trees.commit(&head).await?.tree;
        let mut now = Vec::new();
        for file in &files {
            now.push(trees.entry(&tree, &file.path).await?.map(|entry| entry.sha));
        }
        found.push(BranchNow { name: branch, head, commit, has, files: now });
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

/// What became of the tags that the run signed in clones of this machine.
async fn local_tags(cx: &Cx, receipt: &[&ActionRecord]) -> Result<Vec<Left>, Failure> {
    let mut found: Vec<Left> = Vec::new();
    for action in receipt {
        let Ok(Inverse::LocalTag { tag, folder, commit, message, .. }) =
            serde_json::from_value(action.inverse.clone())
        else {
            continue;
        };
        let object = action.result.get("object").and_then(serde_json::Value::as_str);
        let left = sign::left(cx, &folder, &tag, object, &commit, &message).await?;
        // Of a run that was continued, the one that made what is there.
        match found.iter_mut().find(|it| it.folder == left.folder) {
            None => found.push(left),
            Some(known) if known.object.is_none() => *known = left,
            Some(_) => {}
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

/// One repository that the run worked in.
struct Worked<'a> {
    github: Github,
    tag: String,
    actions: Vec<&'a ActionRecord>,
}

/// The repositories that the run wrote into, the last one first.
fn worked<'a>(github: &Github, receipt: &'a Receipt) -> Result<Vec<Worked<'a>>, Failure> {
    receipt.understood(|action| Inverse::deserialize(&action.inverse).is_ok())?;
    let text = |action: &ActionRecord, name: &str| action.inverse.get(name)?.as_str().map(str::to_owned);
    let mut all: Vec<Worked<'a>> = Vec::new();
    for action in receipt.undoable() {
        let Some(repository) = text(action, "repository") else { continue };
        let tag = text(action, "tag");
        if let Some(known) = all.iter_mut().find(|it| it.github.repository().to_string() == repository) {
            known.actions.push(action);
            if let (true, Some(tag)) = (known.tag.is_empty(), tag) {
                known.tag = tag;
            }
            continue;
        }
        let at = repository.parse().map_err(|why: String| {
            Failure::usage("read the receipt").because(format!("{repository}: {why}"))
        })?;
        all.push(Worked { github: github.at(at), tag: tag.unwrap_or_default(), actions: vec![action] });
    }
    // A repository into which nothing but objects without a name was written.
    all.retain(|it| !it.tag.is_empty());
    Ok(all)
}

pub(crate) async fn undo(cx: &Cx, github: &Github, receipt: &Receipt) -> Result<Outcome, Failure> {
    let worked = worked(github, receipt)?;
    let mut parts = Vec::new();
    let mut seen = Vec::new();
    for Worked { github, tag, actions } in &worked {
        look_at(cx, github).await?;
        let repository = github.repository().to_string();
        let present = find_tag(cx, github, tag).await?;
        let found = releases(cx, github, tag).await?;
        let branches = branches(cx, github, actions).await?;
        let moving = moving_tags(cx, github, actions).await?;
        let mut steps = plan::plan(actions, present.as_ref(), &found, &branches, &moving)?;
        let local = local_tags(cx, actions).await?;
        let notes = plan::local(tag, &local, &mut steps);
        seen.push(serde_json::json!({
            "repository": repository, "tag": present, "releases": found, "branches": branches, "moving": moving, "local": local,
        }));
        let suffix = if worked.len() > 1 { crate::plan::suffix(&repository) } else { String::new() };
        parts.push(Part { repository, suffix, steps, notes });
    }
    if parts.is_empty() {
        parts.push(Part {
            repository: github.repository().to_string(),
            suffix: String::new(),
            steps: Vec::new(),
            notes: Vec::new(),
        });
    }
    cx.observed(&seen);
    let plan = TakeBack { parts };
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    for (it, part) in worked.iter().zip(&plan.parts) {
        for step in &part.steps {
            apply(cx, &it.github, &part.suffix, step).await?;
        }
        verify(cx, &it.github, &it.actions, &it.tag, &part.steps).await?;
        mark(cx, &it.actions)?;
    }
    if plan.parts.iter().all(|part| part.steps.is_empty()) {
        mark(cx, &receipt.undoable())?;
        return Ok(Outcome::unchanged(plan.unchanged()));
    }
    let told: Vec<String> =
        worked.iter().map(|it| format!("{} in {}", it.tag, it.github.repository())).collect();
    Ok(Outcome::changed(format!("what that run made of {} is taken back", told.join(", "))))
}

async fn apply(cx: &Cx, github: &Github, suffix: &str, step: &Back) -> Result<(), Failure> {
    let none = serde_json::Value::Null;
    let id = step.id(suffix);
    match step {
        Back::DeleteRelease { id: number, .. } => {
            cx.act(&id, &none, delete_release(cx, github, *number)).await
        }
        Back::MakeDraft { id: number, name } => {
            let attempt = format!("make the release {name} a draft again");
            cx.act(&id, &none, set_draft(cx, github, &attempt, *number, true)).await.map(drop)
        }
        Back::MoveTag { name, before, after } => {
            let call = moving::put_back(cx, github, name, before.as_deref(), after);
            cx.act(&id, &none, call).await.map(drop)
        }
        Back::PutFiles { branch, head, tag, files } => {
            cx.act(&id, &none, put_back(cx, github, branch, head, tag, files)).await.map(drop)
        }
        Back::DeleteAsset { id: number, .. } => cx.act(&id, &none, delete_asset(cx, github, *number)).await,
        Back::DeleteLocalTag { tag, folder, object } => {
            cx.act(&id, &none, sign::delete_local(cx, Path::new(folder), tag, object)).await
        }
        Back::DeleteTag { tag, .. } => cx.act(&id, &none, delete_tag(cx, github, tag)).await,
    }
}

fn mark(cx: &Cx, undoable: &[&ActionRecord]) -> Result<(), Failure> {
    let open = |action: &&&ActionRecord| action.state != ActionState::Undone;
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
    let local = local_tags(cx, undoable).await?;
    let left = steps.iter().find(|step| match step {
        Back::DeleteRelease { id, .. } => found.iter().any(|release| release.id == *id),
        Back::MakeDraft { id, .. } => found.iter().any(|release| release.id == *id && !release.draft),
        Back::DeleteAsset { id, .. } => {
            found.iter().any(|release| release.assets.iter().any(|asset| asset.id == *id))
        }
        Back::DeleteTag { .. } => present.is_some(),
        Back::DeleteLocalTag { folder, .. } => {
            local.iter().any(|it| it.folder == *folder && it.object.is_some())
        }
        Back::MoveTag { name, before, .. } => moving.iter().any(|(it, now)| it == name && now != before),
        Back::PutFiles { branch, files, .. } => now.iter().any(|now| {
            let before = files.iter().map(|file| Some(&file.before));
            now.name == *branch && !now.files.iter().map(Option::as_ref).eq(before)
        }),
    });
    match left {
        None => Ok(()),
        Some(step) => Err(Failure::unverified(format!("see that {tag} is taken back"))
            .because(format!("GitHub accepted {}, and it is not seen", step.id("")))
            .help("run the same command again in a moment")),
    }
}
