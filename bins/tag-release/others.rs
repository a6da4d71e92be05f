//! Other repositories that get the same tag, and submodules that point to what was tagged there.

use github::{Github, Repository};
use kit::{Action, Cx, Failure, Note, Plan};
use serde::Serialize;

use crate::bump::Pointer;
use crate::gates::{self, GateArgs};
use crate::observe::{is_full_sha, observe, place};
use crate::plan::{self, Request, TagRelease};
use crate::{apply, see, verify};

/// A commit of another repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct With {
    repository: Repository,
    commit: String,
}

/// Where a submodule points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Submodule {
    path: String,
    to: To,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    Commit(String),
    Repository(Repository),
}

pub(crate) fn parse(text: &str) -> Result<With, String> {
    let (repository, commit) = text
        .split_once('@')
        .ok_or("write it as OWNER/NAME@SHA: a branch may lead elsewhere a moment later")?;
    let commit = commit.to_ascii_lowercase();
    if !is_full_sha(&commit) {
        return Err(
            "the SHA is a full one, of 40 hexadecimal digits: a branch may lead elsewhere a moment later"
                .to_owned(),
        );
    }
    Ok(With { repository: repository.parse()?, commit })
}

pub(crate) fn parse_submodule(text: &str) -> Result<Submodule, String> {
    let (path, to) = text.split_once('=').ok_or("write it as PATH=OWNER/NAME or PATH=SHA")?;
    if path.is_empty() || path.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return Err("the path is that of the submodule in the repository, as in .gitmodules".to_owned());
    }
    let lower = to.to_ascii_lowercase();
    let to = if is_full_sha(&lower) { To::Commit(lower) } else { To::Repository(to.parse()?) };
    Ok(Submodule { path: path.to_owned(), to })
}

/// The pointers that are wanted. A usage error: one to a repository that gets no tag here, a path or repository twice.
pub(crate) fn pointers(submodules: &[Submodule], with: &[With], own: &str) -> Result<Vec<Pointer>, Failure> {
    let mut seen = vec![own.to_owned()];
    for it in with {
        let name = it.repository.to_string();
        if seen.contains(&name) {
            return Err(Failure::usage(format!("tag {name}"))
                .because("it is given twice; --with names the repositories beside --repository"));
        }
        seen.push(name);
    }
    let mut pointers: Vec<Pointer> = Vec::new();
    for Submodule { path, to } in submodules {
        if pointers.iter().any(|other| other.path == *path) {
            return Err(Failure::usage(format!("set the submodule {path}")).because("it is given twice"));
        }
        let commit = match to {
            To::Commit(commit) => commit.clone(),
            To::Repository(repository) => {
                let found = with.iter().find(|it| it.repository == *repository);
                let found = found.ok_or_else(|| {
                    Failure::usage(format!("set the submodule {path} to what is tagged in {repository}"))
                        .because("--with does not name that repository")
                        .help(format!(
                            "add --with {repository}@SHA, or give the SHA itself: --submodule {path}=SHA"
                        ))
                })?;
                found.commit.clone()
            }
        };
        pointers.push(Pointer { path: path.clone(), commit });
    }
    Ok(pointers)
}

/// Another repository, and what is to be done in it.
pub(crate) struct Other {
    github: Github,
    request: Request,
    plan: TagRelease,
}

/// Looks at all of them, their gates too. The milestone and the labels are those of the repository that is released.
pub(crate) async fn observe_all(
    cx: &Cx,
    github: &Github,
    with: &[With],
    tag: &str,
    message: &str,
    gates: &GateArgs,
) -> Result<Vec<Other>, Failure> {
    let gates = GateArgs { milestone: None, blocking_label: Vec::new(), ..gates.clone() };
    let mut all = Vec::new();
    for With { repository, commit } in with {
        let github = github.at(repository.clone());
        let place = place(cx, &github, commit).await?;
        let request = Request {
            repository: repository.to_string(),
            suffix: plan::suffix(&repository.to_string()),
            tag: tag.to_owned(),
            commit: commit.clone(),
            message: message.to_owned(),
            why: Vec::new(),
            pending: None,
            signature: None,
            release: None,
        };
        let observed = observe(cx, &github, place, tag).await?;
        let mut plan = plan::plan(&request, &observed)?;
        if !plan.actions().is_empty() {
            let seen = gates::observe(cx, &github, &gates, &observed.default_branch, commit).await?;
            let attempt = format!("tag {commit} as {tag} in {repository}");
            let told = gates::judge(&attempt, &seen)?;
            plan.notes.extend(told.into_iter().map(|note| named(note, repository)));
        }
        all.push(Other { github, request, plan });
    }
    Ok(all)
}

fn named(note: Note, repository: &Repository) -> Note {
    match note {
        Note::Info(text) => Note::Info(format!("{repository}: {text}")),
        Note::Warning(text) => Note::Warning(format!("{repository}: {text}")),
    }
}

/// The tags of the others, each seen before the next is made.
pub(crate) async fn apply_all(cx: &Cx, others: &mut [Other]) -> Result<(), Failure> {
    for Other { github, request, plan } in others {
        if plan.actions().is_empty() {
            continue;
        }
        apply::apply(cx, github, request, plan).await?;
        let seen = see(cx, github, request, &[]).await?;
        verify::verify(request, &seen)?;
    }
    Ok(())
}

/// All of them, as one plan.
#[derive(Serialize)]
pub(crate) struct Together<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<&'a TagRelease>,
    #[serde(flatten)]
    release: &'a TagRelease,
}

impl<'a> Together<'a> {
    pub(crate) fn new(others: &'a [Other], release: &'a TagRelease) -> Self {
        Self { others: others.iter().map(|other| &other.plan).collect(), release }
    }

    fn all(&self) -> impl Iterator<Item = &&'a TagRelease> {
        self.others.iter().chain([&self.release])
    }
}

impl Plan for Together<'_> {
    fn actions(&self) -> Vec<Action> {
        self.all().flat_map(|plan| plan.actions()).collect()
    }

    fn notes(&self) -> Vec<Note> {
        self.all().flat_map(|plan| plan.notes()).collect()
    }

    fn unchanged(&self) -> String {
        self.all().map(|plan| plan.unchanged()).collect::<Vec<_>>().join("; ")
    }
}
