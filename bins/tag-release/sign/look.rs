//! What the local git and the clone have, before anything is written.

use std::path::Path;

use kit::{Cx, Failure};

use super::git::{Git, INSTALL, INSTEAD};
use super::object::{self, Checked};
use super::remote::{self, Remote, Target};
use super::{Format, LocalClone, LocalTag, SignArgs};
use crate::plan::Request;

/// The first git that signs with SSH keys (<https://github.com/git/git/blob/master/Documentation/RelNotes/2.34.0.adoc>).
const OLDEST: (u32, u32) = (2, 34);

pub(crate) async fn observe(cx: &Cx, args: &SignArgs, request: &Request) -> Result<LocalClone, Failure> {
    let Request { repository, tag, commit, .. } = request;
    let folder = args.local_clone.as_deref().unwrap_or(Path::new("."));
    let attempt = format!("sign {tag} with the local git");
    let refused = |why: String| Failure::refused(&attempt).because(why);
    let version = version(cx, &attempt).await?;
    let server = cx.env().get("GITHUB_SERVER_URL").unwrap_or("https://github.com").trim_end_matches('/');
    let target = Target { server, repository };
    let no_clone = |folder: &Path, why: String| {
        Failure::refused(&attempt)
            .because(format!("{} is no clone that git can use:\n{why}", folder.display()))
            .help(format!("name a clone of {server}/{repository} with --local-clone, or run this in one"))
    };
    let absolute = std::fs::canonicalize(folder).map_err(|error| no_clone(folder, error.to_string()))?;
    let git = Git::new(&absolute);
    let found = git.run(cx, &attempt, &["rev-parse", "--absolute-git-dir"]).await?;
    if !found.ok() {
        return Err(no_clone(&absolute, found.why()));
    }
    let remotes = remotes(cx, &git, &attempt).await?;
    let chosen = remote::choose(&attempt, &remotes, args.remote.as_deref(), target)?;
    // As receipts may keep it.
    let remote = Remote { name: chosen.name.clone(), urls: vec![remote::shown(&chosen.urls)] };
    let ident = git.run(cx, &attempt, &["var", "GIT_COMMITTER_IDENT"]).await?;
    // The time stands behind the address.
    let tagger = ident.line().and_then(|line| Some(format!("{}>", line.split_once('>')?.0)));
    let Some(tagger) = tagger.filter(|tagger| !tagger.ends_with("<>")) else {
        let why = if ident.ok() { "user.email is empty".to_owned() } else { ident.why() };
        return Err(refused(format!("git does not know who the tagger is:\n{why}"))
            .help("git config --global user.name NAME, and user.email ADDRESS"));
    };
    let format = match config(cx, &git, &["gpg.format"]).await?.as_deref() {
        None | Some("openpgp") => Format::Openpgp,
        Some("ssh") => Format::Ssh,
        Some(other) => {
            return Err(refused(format!(
                "gpg.format is {other}, of which this step can't tell whether a signature is good"
            ))
            .help("set gpg.format to openpgp or ssh"));
        }
    };
    let key = key(cx, &git, &attempt, format, &tagger).await?;
    let knows_signers = knows_signers(cx, &git, &attempt, &absolute, format).await?;
    let kind = git.run(cx, &attempt, &["cat-file", "-t", commit]).await?;
    let tag = local_tag(cx, &git, tag, knows_signers).await?;
    Ok(LocalClone {
        folder: absolute,
        git: version,
        remote,
        format,
        key,
        tagger,
        knows_signers,
        has_commit: kind.line().as_deref() == Some("commit"),
        tag,
    })
}

async fn version(cx: &Cx, attempt: &str) -> Result<String, Failure> {
    let said = Git::new(Path::new("/")).run(cx, attempt, &["--version"]).await?;
    let version = said.line().and_then(|line| line.split_whitespace().nth(2).map(str::to_owned));
    let numbers: Vec<u32> =
        version.iter().flat_map(|version| version.split('.')).map_while(|part| part.parse().ok()).collect();
    match (version, numbers.as_slice()) {
        (Some(version), [major, minor, ..]) if (*major, *minor) >= OLDEST => Ok(version),
        (Some(version), [_, _, ..]) => Err(Failure::refused(attempt)
            .because(format!("git is version {version}, and older than {}.{}", OLDEST.0, OLDEST.1))
            .help(INSTALL)
            .help(INSTEAD)),
        _ => Err(Failure::refused(attempt)
            .because(format!("git does not tell its version:\n{}", said.why()))
            .help(INSTALL)
            .help(INSTEAD)),
    }
}

/// The first of these that is set.
async fn config(cx: &Cx, git: &Git, names: &[&str]) -> Result<Option<String>, Failure> {
    for name in names {
        let said = git.run(cx, &format!("read git's {name}"), &["config", "--get", name]).await?;
        if let Some(value) = said.line() {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

async fn remotes(cx: &Cx, git: &Git, attempt: &str) -> Result<Vec<Remote>, Failure> {
    let names = git.run(cx, attempt, &["remote"]).await?;
    let mut all = Vec::new();
    for name in names.stdout.lines() {
        // As git resolves them: `url.BASE.insteadOf` and `pushurl` count.
        let urls = git.run(cx, attempt, &["remote", "get-url", "--push", "--all", name]).await?;
        all.push(Remote { name: name.to_owned(), urls: urls.stdout.lines().map(str::to_owned).collect() });
    }
    Ok(all)
}

/// The key as it is configured. git may leave the choice to gpg, which goes by the tagger's name and address.
async fn key(cx: &Cx, git: &Git, attempt: &str, format: Format, tagger: &str) -> Result<String, Failure> {
    if let Some(key) = config(cx, git, &["user.signingkey"]).await? {
        return Ok(key);
    }
    let refused = |why: String| {
        Err(Failure::refused(attempt)
            .because(why)
            .help("git config --global user.signingkey KEY; with an SSH key, gpg.format ssh too")
            .help(INSTEAD))
    };
    match format {
        Format::Ssh => match config(cx, git, &["gpg.ssh.defaultKeyCommand"]).await? {
            Some(command) => Ok(format!("the first of {command}")),
            None => refused("no signing key is configured".to_owned()),
        },
        Format::Openpgp => {
            let program = config(cx, git, &["gpg.openpgp.program", "gpg.program"]).await?;
            let program = program.unwrap_or_else(|| "gpg".to_owned());
            let args = ["--batch", "--with-colons", "--list-secret-keys", "--", tagger];
            match git.program(cx, attempt, &program, &args).await? {
                Some(said) if said.ok() => Ok(format!("{program}'s for {tagger}")),
                Some(said) => refused(format!(
                    "no signing key is configured, and {program} has none for {tagger}:\n{}",
                    said.why()
                )),
                None => refused(format!("no signing key is configured, and there is no {program}")),
            }
        }
    }
}

/// gpg knows the keys of its ring; for SSH, git has a list of signers or none.
async fn knows_signers(
    cx: &Cx,
    git: &Git,
    attempt: &str,
    folder: &Path,
    format: Format,
) -> Result<bool, Failure> {
    if format == Format::Openpgp {
        return Ok(true);
    }
    let args = ["config", "--type=path", "--get", "gpg.ssh.allowedSignersFile"];
    let Some(file) = git.run(cx, attempt, &args).await?.line() else { return Ok(false) };
    if folder.join(&file).is_file() {
        return Ok(true);
    }
    Err(Failure::refused(attempt)
        .because(format!("gpg.ssh.allowedSignersFile names {file}, which is no file"))
        .help("write it, with a line `ADDRESS PUBLIC-KEY` for each signer, or unset it"))
}

/// The tag of that name in the clone.
pub(super) async fn local_tag(
    cx: &Cx,
    git: &Git,
    tag: &str,
    knows_signers: bool,
) -> Result<Option<LocalTag>, Failure> {
    let attempt = format!("look up the tag {tag} in the clone");
    let name = format!("refs/tags/{tag}");
    let said = git.run(cx, &attempt, &["rev-parse", "--verify", "--quiet", &name]).await?;
    let Some(sha) = said.line() else { return Ok(None) };
    let kind = git.run(cx, &attempt, &["cat-file", "-t", &sha]).await?;
    if kind.line().as_deref() != Some("tag") {
        return Ok(Some(LocalTag { sha, object: None, checked: None }));
    }
    let text = git.run(cx, &attempt, &["cat-file", "tag", &sha]).await?;
    let object = object::parse(&text.stdout)
        .filter(|_| text.ok())
        .ok_or_else(|| Failure::failed(&attempt).because(format!("{sha} can't be read:\n{}", text.why())))?;
    let checked = match object.signed {
        None => None,
        Some(format) => Some(check(cx, git, &sha, format, knows_signers).await?),
    };
    Ok(Some(LocalTag { sha, object: Some(object), checked }))
}

/// Whether the signature is good, by git itself.
async fn check(
    cx: &Cx,
    git: &Git,
    sha: &str,
    format: Format,
    knows_signers: bool,
) -> Result<Checked, Failure> {
    let strangers = format == Format::Ssh && !knows_signers;
    let mut args = Vec::new();
    if strangers {
        // Without a list of signers git looks at no SSH signature; with an empty one it checks it by the key inside.
        args.extend(["-c", "gpg.ssh.allowedSignersFile=/dev/null"]);
    }
    args.extend(["verify-tag", "--raw", sha]);
    let said = git.run(cx, &format!("verify the tag object {sha}"), &args).await?;
    // Which of the two has ssh-keygen's words is not documented.
    Ok(object::checked(said.ok(), &format!("{}{}", said.stdout, said.stderr), strangers))
}
