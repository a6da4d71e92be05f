//! What is taken back, decided from the receipt and from what is there now. Pure.

use kit::{Action, ActionRecord, Failure, Note, Plan};
use serde::Serialize;

use crate::apply::{Inverse, is_content};
use crate::commit::Kept;
use crate::observe::{Asset, Release, Tag};
use crate::sign::Left;

/// What is taken back, in one repository after the other.
#[derive(Debug, Serialize)]
pub(super) struct TakeBack {
    pub(super) parts: Vec<Part>,
}

/// What is taken back in one repository.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    pub(super) repository: String,
    /// Tells its actions from those of the other repositories; empty where there is one alone.
    pub(super) suffix: String,
    pub(super) steps: Vec<Back>,
    pub(super) notes: Vec<Note>,
}

/// One thing to take back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Back {
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
    /// In a clone of this machine.
    DeleteLocalTag {
        tag: String,
        folder: String,
        object: String,
    },
    MoveTag {
        name: String,
        before: Option<String>,
        after: String,
    },
    /// A commit on the branch's head, with the files as before.
    PutFiles {
        branch: String,
        head: String,
        tag: String,
        files: Vec<Kept>,
    },
}

impl Back {
    pub(super) fn id(&self, suffix: &str) -> String {
        let id = match self {
            Self::DeleteRelease { .. } => "delete-release".to_owned(),
            Self::MakeDraft { .. } => "make-draft".to_owned(),
            Self::DeleteAsset { id, .. } => format!("delete-asset-{id}"),
            Self::DeleteTag { .. } => "delete-tag".to_owned(),
            Self::DeleteLocalTag { folder, .. } => format!("delete-local-tag{}", crate::plan::suffix(folder)),
            Self::MoveTag { name, .. } => format!("move-back-{name}"),
            Self::PutFiles { branch, .. } => format!("put-files-back-on-{branch}"),
        };
        format!("{id}{suffix}")
    }
}

impl Plan for TakeBack {
    fn actions(&self) -> Vec<Action> {
        let again = "it can only be made anew, by running tag-release again";
        let action = |suffix: &str, back: &Back| match back {
            Back::DeleteRelease { id, name } => Action::irreversible(
                back.id(suffix),
                format!("delete the release {name} (number {id})"),
                again,
            ),
            Back::MakeDraft { id, name } => Action::irreversible(
                back.id(suffix),
                format!("make the release {name} (number {id}) a draft again"),
                again,
            ),
            Back::DeleteAsset { name, .. } => {
                Action::irreversible(back.id(suffix), format!("delete the file {name} of the draft"), again)
            }
            Back::DeleteTag { tag, object } => {
                Action::irreversible(back.id(suffix), format!("delete the tag {tag} ({object})"), again)
            }
            Back::DeleteLocalTag { tag, folder, object } => Action::irreversible(
                back.id(suffix),
                format!("delete the tag {tag} ({object}) in {folder}"),
                again,
            ),
            Back::MoveTag { name, before: Some(before), .. } => {
                Action::irreversible(back.id(suffix), format!("move the tag {name} back to {before}"), again)
            }
            Back::MoveTag { name, before: None, .. } => {
                Action::irreversible(back.id(suffix), format!("delete the tag {name}"), again)
            }
            Back::PutFiles { branch, head, files, .. } => {
                let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
                let does = format!("commit to {branch}, on {head}, the version's files as they were before");
                Action::irreversible(back.id(suffix), does, again).detail(paths.join("\n"))
            }
        };
        let several = self.parts.len() > 1;
        let of = |part: &Part| {
            let steps = part.steps.iter().map(|back| {
                let mut action = action(&part.suffix, back);
                if several {
                    action.does.push_str(&format!(", in {}", part.repository));
                }
                action
            });
            steps.collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(of).collect()
    }

    fn notes(&self) -> Vec<Note> {
        let deletes =
            self.parts.iter().flat_map(|part| &part.steps).any(|step| matches!(step, Back::DeleteTag { .. }));
        let kept = deletes.then(|| Note::Warning("whoever has fetched the tag keeps it".to_owned()));
        kept.into_iter().chain(self.parts.iter().flat_map(|part| part.notes.clone())).collect()
    }

    fn unchanged(&self) -> String {
        let names: Vec<&str> = self.parts.iter().map(|part| part.repository.as_str()).collect();
        format!("nothing of that run is left in {}", names.join(", "))
    }
}

/// What a branch has now of the files that a run changed in it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BranchNow {
    pub(super) name: String,
    pub(super) head: String,
    /// The run's commit; one that was killed before it moved the branch made one, and the next run another.
    pub(super) commit: String,
    /// Whether that is in its history.
    pub(super) has: bool,
    /// The SHA of each of the files.
    pub(super) files: Vec<Option<String>>,
}

/// Decides, from what is there now.
pub(super) fn plan(
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
        let left = |other: &Inverse| matches!(other, Inverse::Moved { name: it, after, .. } if it == name && now == Some(after));
        if now != Some(after) {
            if any(&inverses, left) {
                continue;
            }
            return Err(Failure::refused(format!("move the tag {name} back"))
                .because(format!(
                    "it points to {}, and the run left it pointing to {after}",
                    now.map_or("nothing", String::as_str)
                ))
                .help("somebody moved it since; decide with them"));
        }
        let (name, before, after) = (name.clone(), before.clone(), after.clone());
        steps.push(Back::MoveTag { name, before, after });
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
        let left = |other: &Inverse| matches!(other, Inverse::Tag { tag: it, object, .. } if it == name && *object == tag.object);
        if tag.object != *object {
            if any(&inverses, left) {
                continue;
            }
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
        steps.push(Back::DeleteTag { tag: name.clone(), object: object.clone() });
    }
    for (_, inverse) in &inverses {
        let Inverse::Branch { tag, branch, commit, files, .. } = inverse else { continue };
        let is_of = |now: &&BranchNow| now.name == *branch && now.commit == *commit && now.has;
        let Some(now) = branches.iter().find(is_of) else { continue };
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
        steps.push(Back::PutFiles { branch, head, tag, files: files.clone() });
    }
    // What one run began and the next has done is taken back once.
    let mut once: Vec<Back> = Vec::new();
    for step in steps {
        if !once.contains(&step) {
            once.push(step);
        }
    }
    Ok(once)
}

/// Whether another run of the receipt has left it so: one that was killed may have meant to, and made an object of its own.
fn any(inverses: &[(&ActionRecord, Inverse)], left: impl Fn(&Inverse) -> bool) -> bool {
    inverses.iter().any(|(_, inverse)| left(inverse))
}

/// Adds the local tags that still are what the run signed; tells of those that are not, which nobody else sees.
pub(super) fn local(tag: &str, all: &[Left], steps: &mut Vec<Back>) -> Vec<Note> {
    let mut notes = Vec::new();
    for Left { folder, object, why } in all {
        if let Some(object) = object {
            let (tag, folder, object) = (tag.to_owned(), folder.clone(), object.clone());
            steps.push(Back::DeleteLocalTag { tag, folder, object });
        } else if let Some(why) = why {
            notes.push(Note::Warning(format!(
                "the tag {tag} that the run signed in {folder} is left alone: {why}"
            )));
        }
    }
    notes
}

/// Whether the run uploaded the file, and it still is the same; or began to.
fn is_own(inverse: &Inverse, id: u64, asset: &Asset) -> bool {
    let Inverse::Asset { release, name, digest, .. } = inverse else { return false };
    let same = asset.digest.as_ref().is_none_or(|there| there == digest);
    *release == id && *name == asset.name && (same || asset.state != "uploaded")
}
