//! Signing, pushing, and taking a local tag back.

use std::path::Path;

use github::Github;
use kit::{Cx, Failure};
use serde::Serialize;
use serde_json::{Value, json};

use super::git::{Git, in_folder};
use super::look::local_tag;
use super::object::Checked;
use super::{Format, PUSH, SIGN, Signing};
use crate::apply::Inverse;
use crate::observe::find_tag;
use crate::plan::Request;
use crate::release::same_text;

/// What git knows under this name everywhere, without having it.
const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

#[derive(Serialize)]
struct Signed {
    object: String,
    signature: Checked,
}

/// Proves that git may push there and, where the API is written to before the tag can be signed, that the key signs. Writes
/// nothing, neither here nor there.
pub(crate) async fn prove(
    cx: &Cx,
    github: &Github,
    request: &Request,
    signing: &Signing,
) -> Result<(), Failure> {
    let Request { tag, repository, .. } = request;
    let git = Git::new(&signing.folder);
    let attempt = format!("push {tag} to {repository}");
    let from = if signing.fetch.is_some() { "HEAD" } else { request.commit.as_str() };
    // Hooks run at the push itself.
    let said = push_of(cx, &git, &attempt, signing, from, tag, &["--dry-run", "--no-verify"]).await?;
    if !said.ok() {
        // The push of a run that was killed may have gone on by itself.
        if let Some(there) = find_tag(cx, github, tag).await? {
            return Err(Failure::waiting(attempt)
                .because(format!("it came there at the same moment ({})", there.object))
                .help("run the same command again: it goes on if the tag is signed and on the same commit")
                .untouched(true));
        }
        return Err(Failure::refused(attempt)
            .because(format!("git can't push to {} ({}):\n{}", signing.remote, signing.url, said.why()))
            .help(format!(
                "`{} push --dry-run {} HEAD:refs/tags/{tag}` has to work without a question: load the key into an agent, or set up a credential helper",
                in_folder(&signing.folder),
                signing.remote
            ))
            .untouched(true));
    }
    if signing.object.is_some() || request.pending.is_none() {
        return Ok(());
    }
    let attempt = format!("sign {tag} with the local git");
    let scratch = tempfile::tempdir()
        .map_err(|error| Failure::failed(&attempt).because(format!("no folder for a trial: {error}")))?;
    let trial = git.keeping_objects_in(scratch.path());
    let args = ["commit-tree", "-S", "-m", "A trial of the signing key", EMPTY_TREE];
    let said = trial.run(cx, &attempt, &args).await?;
    if said.ok() { Ok(()) } else { Err(no_signature(Failure::refused(attempt), signing.format, &said.why())) }
}

fn no_signature(failure: Failure, format: Format, why: &str) -> Failure {
    let unlock = match format {
        Format::Openpgp => "unlock it first, by signing anything with gpg: `gpg --clearsign FILE`",
        Format::Ssh => "load it into the agent first: `ssh-add FILE`",
    };
    failure
        .because(why.to_owned())
        .help(format!("no passphrase is asked for: if the key has one, {unlock}"))
        .help("`git config --get-regexp '^(user|gpg)'` shows what git signs with")
        .untouched(true)
}

/// Signs the tag, unless that is done, and pushes the object; answers it.
pub(crate) async fn apply(
    cx: &Cx,
    github: &Github,
    request: &Request,
    signing: &Signing,
) -> Result<String, Failure> {
    let Request { repository, tag, .. } = request;
    let object = if let Some(object) = &signing.object {
        object.clone()
    } else {
        let inverse = Inverse::LocalTag {
            repository: repository.clone(),
            tag: tag.clone(),
            folder: signing.folder.clone(),
            commit: request.commit.clone(),
            message: signing.message.clone(),
        };
        let signed = cx.act(SIGN, &inverse, sign(cx, request, signing)).await?;
        let (Checked::Good(told) | Checked::KeyOnly(told) | Checked::Bad(told)) = &signed.signature;
        cx.report().say(&format!("{tag} is signed in {}:", signing.folder.display()));
        cx.report().foreign(told);
        signed.object
    };
    let inverse = Inverse::Tag { repository: repository.clone(), tag: tag.clone(), object: object.clone() };
    cx.act(PUSH, &inverse, push(cx, github, request, signing, &object)).await?;
    Ok(object)
}

async fn sign(cx: &Cx, request: &Request, signing: &Signing) -> Result<Signed, Failure> {
    let Request { tag, commit, .. } = request;
    let git = Git::new(&signing.folder);
    let attempt = format!("sign {tag} with the local git");
    if let Some(branch) = &signing.fetch {
        fetch(cx, &git, signing, branch, commit).await?;
    }
    // Verbatim: a line of the message may begin with `#`. The signature begins a line of its own.
    let message = format!("{}\n", signing.message.trim_end_matches('\n'));
    let args = ["tag", "--sign", "--cleanup=verbatim", "-F", "-", tag, commit];
    let said = git.run_with(cx, &attempt, &args, &message).await?;
    if !said.ok() {
        return Err(no_signature(Failure::failed(attempt), signing.format, &said.why()));
    }
    let made = local_tag(cx, &git, tag, signing.knows_signers).await?;
    let made =
        made.ok_or_else(|| Failure::failed(&attempt).because("git made no tag, and said that it did"))?;
    let wrong = match (&made.object, made.checked) {
        (Some(object), Some(signature @ (Checked::Good(_) | Checked::KeyOnly(_))))
            if object.on == *commit =>
        {
            return Ok(Signed { object: made.sha, signature });
        }
        (_, Some(Checked::Bad(why))) => format!("git does not find its own signature good:\n{why}"),
        _ => format!("the object {} is not what was to be signed", made.sha),
    };
    let gone = delete_local(cx, &signing.folder, tag, &made.sha).await;
    let failure = Failure::failed(attempt).because(wrong).help(match signing.format {
        Format::Openpgp => "see `gpg --list-secret-keys`: is the key expired or revoked?",
        Format::Ssh => "add the key to gpg.ssh.allowedSignersFile, with the tagger's address",
    });
    Err(match gone {
        Ok(()) => failure.untouched(true),
        Err(_) => failure.help(format!("{} tag -d {tag}", in_folder(&signing.folder))),
    })
}

/// Only the objects: no ref of the clone moves.
async fn fetch(cx: &Cx, git: &Git, signing: &Signing, branch: &str, commit: &str) -> Result<(), Failure> {
    let attempt = format!("fetch {branch} from {}", signing.remote);
    let from = format!("refs/heads/{branch}");
    let args = [
        "fetch",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--recurse-submodules=no",
        "--refmap=",
        &signing.remote,
        &from,
    ];
    let said = git.run(cx, &attempt, &args).await?;
    let failed = |why: String| {
        Err(Failure::failed(&attempt)
            .because(why)
            .help("the commit is in the repository; run the same command again, and it goes on from there")
            .untouched(true))
    };
    if !said.ok() {
        return failed(said.why());
    }
    let kind = git.run(cx, &attempt, &["cat-file", "-t", commit]).await?;
    if kind.line().as_deref() == Some("commit") {
        Ok(())
    } else {
        failed(format!("it does not have the commit {commit}: does the remote's fetch URL lead to a mirror?"))
    }
}

/// A push that asks for nothing but this one tag, and is refused where there is one.
async fn push_of(
    cx: &Cx,
    git: &Git,
    attempt: &str,
    signing: &Signing,
    object: &str,
    tag: &str,
    more: &[&str],
) -> Result<super::git::Said, Failure> {
    let to = format!("{object}:refs/tags/{tag}");
    let mut args = vec!["push", "--porcelain", "--no-follow-tags", "--recurse-submodules=no"];
    args.extend(more);
    args.extend(["--", &signing.remote, &to]);
    git.run(cx, attempt, &args).await
}

async fn push(
    cx: &Cx,
    github: &Github,
    request: &Request,
    signing: &Signing,
    object: &str,
) -> Result<Value, Failure> {
    let Request { tag, repository, .. } = request;
    let attempt = format!("push the signed tag {tag} to {repository}");
    let git = Git::new(&signing.folder);
    let said = push_of(cx, &git, &attempt, signing, object, tag, &[]).await?;
    if said.ok() {
        if !said.stderr.trim().is_empty() {
            cx.report().foreign(&said.stderr);
        }
        return Ok(json!({"object": object}));
    }
    match find_tag(cx, github, tag).await.ok().flatten() {
        // The answer was lost on the way.
        Some(there) if there.object == object => Ok(json!({"object": object})),
        Some(there) => Err(Failure::waiting(&attempt)
            .because(format!(
                "somebody else created it at the same moment, on {}",
                there.commit.unwrap_or(there.object)
            ))
            .help(format!(
                "decide with them; `{} tag -d {tag}` deletes the signed one, which is in the clone alone",
                in_folder(&signing.folder)
            ))
            .untouched(true)),
        // Also where GitHub does not answer: what git said is the reason.
        None => Err(Failure::failed(&attempt)
            .because(said.why())
            .help("the signed tag is in the clone; run the same command again, and that very tag is pushed")),
    }
}

/// What became of a local tag that a run made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Left {
    pub(crate) folder: String,
    /// The object, where it still is what the run made.
    pub(crate) object: Option<String>,
    /// Why it is left where it is.
    pub(crate) why: Option<String>,
}

/// Looks whether the local tag still is what the run left: the object of its receipt or, of a run that was killed before it
/// knew that, what it would have made.
pub(crate) async fn left(
    cx: &Cx,
    folder: &Path,
    tag: &str,
    object: Option<&str>,
    commit: &str,
    message: &str,
) -> Result<Left, Failure> {
    let git = Git::new(folder);
    let attempt = format!("look at the clone {}", folder.display());
    let of = |object, why| Left { folder: folder.display().to_string(), object, why };
    let found = match git.run(cx, &attempt, &["rev-parse", "--absolute-git-dir"]).await {
        Ok(found) if found.ok() => local_tag(cx, &git, tag, false).await?,
        Ok(_) => return Ok(of(None, Some("it is no clone here".to_owned()))),
        Err(failure) if failure.code() == kit::Code::Refused => {
            return Ok(of(None, Some("there is no git on this machine".to_owned())));
        }
        Err(failure) => return Err(failure),
    };
    let Some(found) = found else { return Ok(of(None, None)) };
    let own = match (object, &found.object) {
        (Some(object), _) => object == found.sha,
        (None, Some(it)) => {
            it.on == commit && it.signed.is_some() && same_text(it.message.trim_end(), message.trim_end())
        }
        (None, None) => false,
    };
    Ok(if own { of(Some(found.sha), None) } else { of(None, Some(format!("it is {} by now", found.sha))) })
}

/// Deletes the local tag if it still is this object.
pub(crate) async fn delete_local(cx: &Cx, folder: &Path, tag: &str, object: &str) -> Result<(), Failure> {
    let attempt = format!("delete the tag {tag} in {}", folder.display());
    let name = format!("refs/tags/{tag}");
    let said = Git::new(folder).run(cx, &attempt, &["update-ref", "-d", &name, object]).await?;
    if said.ok() { Ok(()) } else { Err(Failure::failed(attempt).because(said.why())) }
}
