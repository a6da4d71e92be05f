//! A real bare repository beneath one of the world: what the API makes is there for `git fetch`, and the tags that are pushed
//! into it are what the API shows.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::state::{Commit, Repo, Sha, TagObject};

/// Runs git in the bare repository; answers its standard output.
#[expect(clippy::panic, reason = "a world without its repository shows nothing that is true")]
fn git(bare: &Path, args: &[&str], input: &[u8]) -> String {
    let spawned = Command::new("git")
        .arg("--git-dir")
        .arg(bare)
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs([("GIT_AUTHOR_NAME", "Ada Release"), ("GIT_AUTHOR_EMAIL", "ada@example.com")])
        .envs([("GIT_COMMITTER_NAME", "Ada Release"), ("GIT_COMMITTER_EMAIL", "ada@example.com")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let output = spawned.and_then(|mut child| {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input)?;
        }
        child.wait_with_output()
    });
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
        }
        other => panic!("git {args:?} in {}: {other:?}", bare.display()),
    }
}

impl Repo {
    /// The object's name in the bare repository, where there is one.
    pub(super) fn real(&self, kind: &str, content: &[u8]) -> Option<Sha> {
        let bare = self.bare.as_deref()?;
        Some(git(bare, &["hash-object", "-w", "-t", kind, "--stdin"], content))
    }

    pub(super) fn real_tree(&self, entries: &str) -> Option<Sha> {
        Some(git(self.bare.as_deref()?, &["mktree", "--missing"], entries.as_bytes()))
    }

    pub(super) fn real_commit(&self, commit: &Commit) -> Option<Sha> {
        let mut args = vec!["commit-tree", commit.tree.as_str()];
        for parent in &commit.parents {
            args.extend(["-p", parent]);
        }
        args.extend(["-F", "-"]);
        Some(git(self.bare.as_deref()?, &args, commit.message.as_bytes()))
    }

    pub(super) fn put_ref(&mut self, name: &str, sha: &str) {
        if let Some(bare) = &self.bare {
            git(bare, &["update-ref", name, sha], b"");
        }
        self.refs.insert(name.to_owned(), sha.to_owned());
    }

    /// Whether there was one.
    pub(super) fn drop_ref(&mut self, name: &str) -> bool {
        if let Some(bare) = self.bare.as_ref().filter(|_| self.refs.contains_key(name)) {
            git(bare, &["update-ref", "-d", name], b"");
        }
        self.refs.remove(name).is_some()
    }

    /// Takes in what was pushed.
    pub(super) fn look(&mut self) {
        let Some(bare) = self.bare.clone() else { return };
        let format = "--format=%(objecttype) %(objectname) %(refname)";
        let listed = git(&bare, &["for-each-ref", format, "refs/tags"], b"");
        self.refs.retain(|name, _| !name.starts_with("refs/tags/"));
        for line in listed.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(kind), Some(sha), Some(name)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if kind == "tag" && !self.tags.contains_key(sha) {
                let text = git(&bare, &["cat-file", "tag", sha], b"");
                self.tags.insert(sha.to_owned(), TagObject::read(&text));
            }
            self.refs.insert(name.to_owned(), sha.to_owned());
        }
    }
}

impl TagObject {
    /// Source: <https://git-scm.com/docs/gitformat-signature>
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let header = |name: &str| {
            let found = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            found.unwrap_or_default().to_owned()
        };
        let at = ["-----BEGIN SSH", "-----BEGIN PGP"].iter().find_map(|mark| body.find(mark));
        let (message, signature) = at.map_or((body, None), |at| {
            let (message, signature) = body.split_at(at);
            (message, Some(signature.to_owned()))
        });
        Self {
            tag: header("tag"),
            message: message.to_owned(),
            object: header("object"),
            kind: header("type"),
            tagger: json!({"name": header("tagger").split(" <").next()}),
            signature,
        }
    }
}
