//! A tag that the local git signs with the user's own key: GitHub's API signs nothing.

mod git;
mod look;
mod make;
pub(crate) mod object;
mod remote;

use std::path::PathBuf;

use clap::Args;
use kit::{Action, Failure, Note};
use serde::{Deserialize, Serialize};

pub(crate) use self::look::observe;
pub(crate) use self::make::{Left, apply, delete_local, left, prove};
pub(crate) use self::remote::Remote;

use self::git::in_folder;
use self::object::{Checked, Object};
use crate::observe::{Tag, Verification};
use crate::plan::Request;
use crate::release::same_text;

pub(crate) const SIGN: &str = "sign-tag";
pub(crate) const PUSH: &str = "push-tag";

/// How the tag is signed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Signing")]
pub(crate) struct SignArgs {
    /// Sign the tag with the local git and its key, and push it, instead of making it by the API
    #[arg(long)]
    pub(crate) sign: bool,

    /// The clone in which the tag is signed [default: the current folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) local_clone: Option<PathBuf>,

    /// The clone's remote to push to [default: the only one that leads to the repository]
    #[arg(long, value_name = "NAME")]
    pub(crate) remote: Option<String>,
}

/// `gpg.format` (<https://git-scm.com/docs/git-config#Documentation/git-config.txt-gpgformat>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    Openpgp,
    Ssh,
}

/// That the tag is to be signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signature {
    /// The branch that has the commit where the clone has not: a run of this step made it by the API.
    pub(crate) from_branch: Option<String>,
    /// The tag object that was pushed.
    pub(crate) pushed: Option<String>,
}

/// What the local clone has.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LocalClone {
    pub(crate) folder: PathBuf,
    pub(crate) git: String,
    pub(crate) remote: Remote,
    pub(crate) format: Format,
    /// The key as it is configured.
    pub(crate) key: String,
    pub(crate) tagger: String,
    /// Whether signatures can be held against the keys of known signers.
    pub(crate) knows_signers: bool,
    pub(crate) has_commit: bool,
    pub(crate) tag: Option<LocalTag>,
}

/// A tag of that name in the clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LocalTag {
    pub(crate) sha: String,
    /// Absent where it is a lightweight one.
    #[serde(skip)]
    pub(crate) object: Option<Object>,
    /// Absent where it has no signature.
    pub(crate) checked: Option<Checked>,
}

/// How the signed tag gets into the repository.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Signing {
    pub(crate) folder: PathBuf,
    pub(crate) remote: String,
    pub(crate) url: String,
    pub(crate) format: Format,
    key: String,
    tagger: String,
    pub(crate) knows_signers: bool,
    /// The branch to fetch first.
    pub(crate) fetch: Option<String>,
    pub(crate) message: String,
    /// The signed tag that an earlier run, or a person, has made already.
    pub(crate) object: Option<String>,
}

impl Signing {
    pub(crate) fn actions(&self, tag: &str, on: &str, repository: &str, detail: &str) -> Vec<Action> {
        let folder = self.folder.display();
        let mut actions = Vec::new();
        let format = match self.format {
            Format::Openpgp => "OpenPGP",
            Format::Ssh => "SSH",
        };
        if self.object.is_none() {
            let fetched = self
                .fetch
                .as_ref()
                .map_or_else(String::new, |branch| format!(", after fetching {branch} from {}", self.remote));
            actions.push(
                Action::new(
                    SIGN,
                    format!("sign the tag {tag} on {on} in {folder}{fetched}"),
                    "delete the tag there, if it still is the same",
                )
                .detail(format!(
                    "key:     {} ({format})\ntagger:  {}\n{detail}",
                    kit::clip(&self.key, 80),
                    self.tagger
                )),
            );
        }
        let which = self.object.as_ref().map_or_else(String::new, |object| format!(" ({object})"));
        actions.push(
            Action::new(
                PUSH,
                format!("push the signed tag {tag}{which} to {repository}"),
                "delete the tag in the repository, if it still is the same",
            )
            .detail(format!("remote:  {} ({})", self.remote, self.url)),
        );
        actions
    }

    pub(crate) fn notes(&self, tag: &str) -> Vec<Note> {
        let mut notes = Vec::new();
        if let Some(object) = &self.object {
            let folder = self.folder.display();
            notes.push(Note::Info(format!(
                "{tag} is in {folder} already, signed and on this commit ({object}), and is pushed as it is"
            )));
        }
        if !self.knows_signers {
            notes.push(Note::Info(
                "gpg.ssh.allowedSignersFile is not set: the signature is checked with its own key, and whose key that is can't be told here"
                    .to_owned(),
            ));
        }
        notes
    }
}

/// Whether the clone can give the signed tag. Pure.
pub(crate) fn judge(
    request: &Request,
    signature: &Signature,
    clone: &LocalClone,
) -> Result<Signing, Failure> {
    let Request { tag, commit, message, .. } = request;
    let (folder, git) = (clone.folder.display(), in_folder(&clone.folder));
    let refused = |why: String| Failure::refused(format!("sign {tag} in {folder}")).because(why);
    let fetch = (request.pending.is_some() || !clone.has_commit).then(|| signature.from_branch.clone());
    if fetch == Some(None) {
        return Err(refused(format!("the clone has no commit {commit}"))
            .help(format!("{git} fetch {}", clone.remote.name)));
    }
    let object = match &clone.tag {
        None => None,
        Some(there) => {
            if let Some(why) = wrong(request, there) {
                return Err(refused(format!("the clone has a tag {tag} already, {why}")).help(format!(
                    "if nobody needs it, {git} tag -d {tag}; then run the same command again"
                )));
            }
            Some(there.sha.clone())
        }
    };
    Ok(Signing {
        folder: clone.folder.clone(),
        remote: clone.remote.name.clone(),
        url: clone.remote.urls.join(", "),
        format: clone.format,
        key: clone.key.clone(),
        tagger: clone.tagger.clone(),
        knows_signers: clone.knows_signers,
        fetch: fetch.flatten(),
        message: message.clone(),
        object,
    })
}

/// Why a local tag is not the one that is wanted.
fn wrong(request: &Request, there: &LocalTag) -> Option<String> {
    let LocalTag { sha, object, checked } = there;
    let Some(object) = object else {
        let here = if *sha == request.commit { "on this commit, " } else { "" };
        return Some(format!("{here}a lightweight one, which can't be signed: it points to {sha}"));
    };
    if request.pending.is_some() {
        return Some(format!(
            "on {}, and the commit with the version's files is still to be made",
            object.on
        ));
    }
    if object.on_kind != "commit" || object.on != request.commit {
        return Some(format!("on the {} {} and not on {}", object.on_kind, object.on, request.commit));
    }
    if object.name != request.tag {
        return Some(format!("on this commit, whose object calls itself {}", object.name));
    }
    match checked {
        None => return Some("on this commit, and it is not signed".to_owned()),
        Some(Checked::Bad(why)) => {
            return Some(format!("on this commit, and its signature is not good:\n{why}"));
        }
        Some(Checked::Good(_) | Checked::KeyOnly(_)) => {}
    }
    let same = same_text(object.message.trim_end(), request.message.trim_end());
    (!same).then(|| {
        format!("on this commit, with another message: {}", kit::one_line(object.message.trim_end()))
    })
}

/// What is to be said of a tag that the repository has on this commit already. Refused where it is not signed: a tag is
/// never replaced.
pub(crate) fn there(request: &Request, there: &Tag) -> Result<Note, Failure> {
    let Request { tag, repository, .. } = request;
    let what = match &there.verification {
        Some(it) if it.signed() => {
            return Ok(Note::Info(match it.verdict() {
                None => format!("{tag} is there, signed and verified by GitHub, and is left so"),
                Some(verdict) => format!("{tag} is there, signed, and is left so; {verdict}"),
            }));
        }
        Some(_) => "annotated and without a signature",
        None => "a lightweight one, which can't be signed",
    };
    Err(Failure::refused(format!("sign {tag} in {repository}"))
        .because(format!("it is there already, on this very commit, {what} ({})", there.object))
        .help(
            "tags are never replaced: choose another version, or go on with the tag as it is, without --sign",
        ))
}

impl Verification {
    pub(crate) fn signed(&self) -> bool {
        self.verified || self.reason != "unsigned"
    }

    /// Why GitHub does not call the signature verified.
    ///
    /// Source: <https://docs.github.com/en/rest/git/tags>
    pub(crate) fn verdict(&self) -> Option<String> {
        if self.verified {
            return None;
        }
        let next = match self.reason.as_str() {
            "unknown_key" => ": add the public key to the tagger's account there, as a signing key",
            "no_user" | "unverified_email" | "bad_email" => {
                ": the tagger's e-mail address has to be a verified one of the account that has the key"
            }
            _ => "",
        };
        Some(format!("GitHub does not call the signature verified ({}){next}", self.reason))
    }
}

#[cfg(test)]
mod tests;
