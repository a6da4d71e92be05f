//! `tag-release --sign`: a real git, real keys and a real bare repository behind GitHub's API. Whether a tag is signed is what
//! `git verify-tag` says.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::github::{GithubWorld, Options, TOKEN};
use tokio::process::Command;

use crate::rehearsal::until;
use crate::world::{Ran, run, scrubbed};

const REPO: &str = "acme/rally";
const TAG: &str = "refs/tags/v2.1.0";

/// GitHub's SSH server, as far as git knows of it: the last argument is what is to be run there. The second push of a run is
/// the one that is no trial: `hold-before` lets it wait at a pipe and then fail, as one that was killed too, `hold-after` lets it
/// wait when all is done. `deny` lets nobody in.
const SSH: &str = r#"#!/bin/sh
for last; do :; done
cd "$(dirname "$0")/remote" || exit 255
echo "$last" >> ../ssh.log
[ ! -e ../deny ] || { echo "git@github.com: Permission denied (publickey)." >&2; exit 255; }
pushes=$(grep -c receive-pack ../ssh.log)
waits() { [ -e "../$1" ] && [ "$pushes" = 2 ] && : > ../reached && cat ../pipe && : > ../released; }
waits hold-before && exit 1
git shell -c "$last"
ended=$?
waits hold-after
exit "$ended"
"#;

/// ssh-keygen, which waits at the pipe with `hold-verify` before it looks at a signature, and with `hold-sign` before it makes
/// the one of the number in there, as with a key that is to be touched; and then fails.
const KEYGEN: &str = r#"#!/bin/sh
here=$(dirname "$0")
waits() { [ -e "$here/$1" ] && : > "$here/reached" && cat "$here/pipe" && : > "$here/released"; }
case "$*" in
    *"-Y sign"*)
        echo >> "$here/signs"
        [ "$(wc -l < "$here/signs")" != "$(cat "$here/hold-sign" 2> /dev/null)" ] || { waits hold-sign && exit 1; } ;;
    *"-Y find-principals"*) waits hold-verify && exit 1 ;;
esac
exec ssh-keygen "$@"
"#;

/// A clone of Rally, of whose two commits the last is to be released, and somebody who signs with an SSH key.
struct Stage {
    github: GithubWorld,
    dir: TempDir,
    sha: String,
}

impl Stage {
    async fn new() -> Self {
        let github = GithubWorld::start(Options::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        github.repository(REPO, "main");
        let bare = dir.path().join("remote/acme/rally.git");
        let mut stage = Self { github, dir, sha: String::new() };
        stage.git(&["init", "--quiet", "--bare", "-b", "main", text(&bare)]).await;
        stage.github.bare(REPO, &bare);
        let files = [("version.properties", "version=2.0.0\n"), ("App.java", "class App {}\n")];
        stage.github.commit_files(REPO, "main", "Hotfix", &files);
        stage.sha = stage.github.commit(REPO, "main", "feat(polls): vote twice (#12)");
        stage.github.check_run(REPO, &stage.sha, &json!({}));
        stage.write("ssh", SSH);
        stage.write("keygen", KEYGEN);
        executable(&stage.path("ssh"));
        executable(&stage.path("keygen"));
        for name in ["key", "other"] {
            stage.keygen(name, "").await;
        }
        let public = std::fs::read_to_string(stage.path("key.pub")).unwrap();
        stage.write("signers", &format!("ada@example.com {public}"));
        let home = stage.dir.path().display();
        stage.write(
            ".gitconfig",
            &format!(
                "[user]\nname = Ada\nemail = ada@example.com\nsigningkey = {home}/key.pub\n[gpg]\nformat = ssh\n\
                 [gpg \"ssh\"]\nallowedSignersFile = {home}/signers\nprogram = {home}/keygen\n[core]\nsshCommand = {home}/ssh\n"
            ),
        );
        stage.git(&["clone", "--quiet", "git@github.com:acme/rally.git", "clone"]).await;
        std::fs::remove_file(stage.path("ssh.log")).unwrap();
        let pipe = Command::new("mkfifo").arg(stage.path("pipe")).status().await.unwrap();
        assert!(pipe.success());
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    async fn keygen(&self, name: &str, passphrase: &str) {
        let args = ["-q", "-t", "ed25519", "-C", "test", "-N", passphrase, "-f"];
        let made = scrubbed("ssh-keygen", self.dir.path()).args(args).arg(self.path(name)).output().await;
        assert!(made.unwrap().status.success());
    }

    async fn try_git(&self, args: &[&str]) -> Output {
        scrubbed("git", self.dir.path()).args(args).output().await.unwrap()
    }

    async fn git(&self, args: &[&str]) -> String {
        let output = self.try_git(args).await;
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What the tag is in the clone and in the bare repository.
    async fn objects(&self) -> (Option<String>, Option<String>) {
        let mut found = Vec::new();
        for place in ["clone", "remote/acme/rally.git"] {
            let output = self.try_git(&["-C", place, "rev-parse", "--verify", "--quiet", TAG]).await;
            let text = String::from_utf8(output.stdout).unwrap().trim().to_owned();
            found.push((!text.is_empty()).then_some(text));
        }
        let there = found.pop().unwrap();
        (found.pop().unwrap(), there)
    }

    /// The one tag object of both; git finds its signature good where it was pushed to.
    async fn signed(&self) -> String {
        let (here, there) = self.objects().await;
        assert!(here.is_some() && here == there, "{here:?} in the clone, {there:?} in the repository");
        let object = there.unwrap();
        self.git(&["-C", "remote/acme/rally.git", "verify-tag", &object]).await;
        assert_eq!(self.git(&["-C", "remote/acme/rally.git", "cat-file", "-t", &object]).await, "tag");
        object
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), self.dir.path());
        command
            .env("GITHUB_API_URL", self.github.url())
            .env("GITHUB_REPOSITORY", REPO)
            .env("GITHUB_SHA", &self.sha)
            .env("GITHUB_TOKEN", TOKEN)
            // As in a hook of another repository.
            .env("GIT_DIR", "/nonexistent")
            .env("GIT_INDEX_FILE", "/nonexistent/index")
            .arg("tag-release")
            .args(args);
        command
    }

    async fn run(&self, args: &[&str]) -> Ran {
        run(self.command(args)).await
    }

    /// The writes that the API was asked for, without the numbers that GitHub gives.
    fn writes(&self) -> Vec<String> {
        let path = |path: &str| {
            path.trim_start_matches("/repos/acme/rally").trim_end_matches(char::is_numeric).to_owned()
        };
        self.github.writes().iter().map(|call| format!("{} {}", call.method, path(&call.path))).collect()
    }

    fn published(&self) -> Vec<Value> {
        let all = self.github.releases(REPO);
        all.iter().map(|release| json!([release["tag_name"], release["draft"]])).collect()
    }

    fn pushes(&self) -> usize {
        let log = std::fs::read_to_string(self.path("ssh.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("receive-pack")).count()
    }

    /// Lets what waits at the pipe go on, and to its end.
    fn release(&self) {
        std::fs::OpenOptions::new().write(true).open(self.path("pipe")).unwrap();
        for hold in ["hold-sign", "hold-verify", "hold-before", "hold-after"] {
            let _ = std::fs::remove_file(self.path(hold));
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn executable(path: &Path) {
    mode(path, 0o755);
}

fn mode(path: &Path, bits: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
}

const SIGN: [&str; 8] =
    ["--tag", "v2.1.0", "--sign", "--local-clone", "clone", "--receipt", "receipt.json", "--no-checks"];

#[tokio::test]
async fn a_signed_tag_is_made_pushed_released_and_taken_back() {
    let stage = Stage::new().await;
    let sign = [&SIGN[..7], &["--message", "#12: twice\n\n# Polls\n"]].concat();
    let dry = stage.run(&[&sign[..], &["--dry-run"]].concat()).await.expect(0);
    for told in
        ["sign the tag v2.1.0 on", "key.pub (SSH)", "Ada <ada@example.com>", "git@github.com:acme/rally.git"]
    {
        assert!(dry.stderr.contains(told) || dry.stdout.contains(told), "{told:?} is not in {dry:?}");
    }
    assert_eq!((stage.objects().await, stage.writes()), ((None, None), vec![]));
    let ran = stage.run(&[&sign[..], &["--format", "json"]].concat()).await.expect(0);
    let ran = ran.says(&["Good \"git\" signature for ada@example.com", "unknown_key"]).json();
    let object = stage.signed().await;
    assert_eq!((&ran["outputs"]["tag-sha"], &ran["outputs"]["sha"]), (&json!(object), &json!(stage.sha)));
    assert_eq!(stage.published(), [json!(["v2.1.0", false])]);
    assert_eq!(stage.writes(), ["POST /releases", "PATCH /releases/"]);
    let written = stage.git(&["-C", "clone", "cat-file", "tag", &object]).await;
    assert!(written.contains("\n\n#12: twice\n\n# Polls\n-----BEGIN SSH SIGNATURE-----"), "{written}");
    // A trial in the dry run, another, and the push.
    assert_eq!(stage.pushes(), 3);
    stage.github.forget_calls();
    stage.github.knows_keys(REPO);
    let again = stage.run(&[&sign[..], &["--format", "json"]].concat()).await.expect(0);
    let again = again.says(&["signed and verified by GitHub"]).json();
    assert_eq!((&again["changed"], stage.writes(), stage.pushes()), (&json!(false), vec![], 3));
    let undo = ["--undo", "receipt.json", "--receipt", "undo.json"];
    stage.run(&undo).await.expect(0);
    assert_eq!((stage.objects().await, stage.published()), ((None, None), vec![]));
    stage.run(&undo).await.expect(0).says(&["nothing to do"]);
}

#[tokio::test]
async fn the_commit_with_the_versions_files_is_fetched_and_signed() {
    let stage = Stage::new().await;
    let before = stage.git(&["-C", "clone", "for-each-ref"]).await;
    let files = ["--version-file", "version.properties=properties:version", "--move-tag", "v2"];
    let sign = [&SIGN[..7], &files].concat();
    let ran = stage.run(&[&sign[..], &["--format", "json"]].concat()).await.expect(0).json();
    let object = stage.signed().await;
    let (message, parents, changed) = stage.github.commit_of(REPO, "v2.1.0").unwrap();
    assert_eq!((message.as_str(), &parents[..]), ("Release v2.1.0", &[stage.sha.clone()][..]));
    assert_eq!(changed, ["version.properties"]);
    let on = stage.git(&["-C", "clone", "rev-parse", "v2.1.0^{commit}"]).await;
    assert_eq!((&ran["outputs"]["sha"], &ran["outputs"]["tag-sha"]), (&json!(on), &json!(object)));
    assert_eq!(
        stage.git(&["-C", "clone", "show", &format!("{on}:version.properties")]).await,
        "version=2.1.0"
    );
    stage.run(&["--undo", "receipt.json", "--receipt", "undo.json"]).await.expect(0);
    assert_eq!(stage.github.file(REPO, "main", "version.properties").unwrap(), "version=2.0.0\n");
    // Nothing else of the clone has moved.
    assert_eq!(stage.git(&["-C", "clone", "for-each-ref"]).await, before);
}

/// Killed while it signs, right after the local tag was made, between that and the push, and between the push and its answer.
#[tokio::test]
async fn killed_around_signature_and_push_and_run_again_the_same_tag_is_pushed() {
    let holds = ["hold-sign", "hold-verify", "hold-before", "hold-after"];
    // The version's commit is made before, and has to be fetched, then or by the next run.
    let files = [&SIGN[..], &["--version-file", "version.properties=properties:version"]].concat();
    let cases = holds.iter().flat_map(|hold| [(*hold, &SIGN[..], false), (hold, &SIGN, true)]);
    for (hold, args, back) in cases.chain(holds.iter().map(|hold| (*hold, &files[..], false))) {
        let stage = Stage::new().await;
        // The first signature is a trial where a commit is made before the tag.
        stage.write(hold, if args.len() > SIGN.len() { "2" } else { "1" });
        let mut killed = stage.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("the place", async || stage.path("reached").exists()).await;
        killed.kill().await.unwrap();
        stage.release();
        until("the end of what was begun", async || stage.path("released").exists()).await;
        let (here, there) = stage.objects().await;
        assert_eq!((here.is_some(), there.is_some()), (hold != "hold-sign", hold == "hold-after"), "{hold}");
        if back {
            stage.run(&["--undo", "receipt.json", "--receipt", "undo.json"]).await.expect(0);
            assert_eq!((stage.objects().await, stage.published()), ((None, None), vec![]), "{hold}");
            continue;
        }
        std::fs::remove_file(stage.path("receipt.json")).unwrap();
        stage.run(args).await.expect(0);
        let object = Some(stage.signed().await);
        assert!(here.is_none() || object == here, "{hold}");
        assert_eq!(stage.published(), [json!(["v2.1.0", false])], "{hold}");
    }
}

/// Ended by a signal, it ends the git that it has begun, and what that has begun.
#[tokio::test]
async fn cancelled_while_it_signs_or_pushes_it_leaves_no_git_behind() {
    for hold in ["hold-sign", "hold-before"] {
        let stage = Stage::new().await;
        stage.write(hold, "1");
        let child = stage.command(&SIGN).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        until("the place", async || stage.path("reached").exists()).await;
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(143), "{}", String::from_utf8_lossy(&output.stderr));
        // Nobody reads the pipe any more (ENXIO, fifo(7)).
        let pipe = || rustix::fs::open(stage.path("pipe"), OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
        until("the end of the group", async || pipe().is_err()).await;
        std::fs::remove_file(stage.path(hold)).unwrap();
        let (here, there) = stage.objects().await;
        assert_eq!((here.is_some(), there), (hold == "hold-before", None));
        stage.run(&SIGN).await.expect(0);
        let object = Some(stage.signed().await);
        assert!(here.is_none() || object == here);
    }
}

#[tokio::test]
async fn what_cannot_be_signed_is_refused_before_anything_is_written() {
    let mut stage = Stage::new().await;
    let bin = stage.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let git_at = |path: &Path| {
        let mut command = stage.command(&SIGN);
        command.env("PATH", path);
        command
    };
    run(git_at(&bin)).await.expect(3).says(&["there is no git", "install git 2.34", "nothing was changed"]);
    stage.write("bin/git", "#!/bin/sh\necho git version 2.30.2\n");
    executable(&bin.join("git"));
    run(git_at(&bin)).await.expect(3).says(&["version 2.30.2", "older than 2.34", "install git 2.34"]);
    stage.keygen("locked", "a passphrase").await;
    let set: &[(&[&str], i32, &[&str])] = &[
        (&["user.signingkey", "locked.pub"], 1, &["incorrect passphrase", "ssh-add", "nothing was changed"]),
        (&["user.signingkey", "none.pub"], 1, &["none.pub", "nothing was changed"]),
        (
            &["user.signingkey", "other.pub"],
            1,
            &["No principal matched", "allowedSignersFile", "nothing was changed"],
        ),
        (&["gpg.format", "x509"], 3, &["x509", "openpgp or ssh"]),
        (&["gpg.ssh.allowedSignersFile", "none"], 3, &["none, which is no file"]),
        (
            &["remote.origin.url", "git@github.com:acme/other.git"],
            3,
            &["origin: git@github.com:acme/other.git", "--local-clone"],
        ),
        (
            &["remote.origin.pushurl", "git@example.com:acme/rally.git"],
            3,
            &["git@example.com:acme/rally.git"],
        ),
        (
            &["remote.too.url", "https://github.com/acme/rally"],
            3,
            &["several remotes", "--remote: origin or too"],
        ),
        (
            &["remote.origin.url", "https://ada:hunter2secret@example.com/acme/rally.git"],
            3,
            &["origin: https://example.com/acme/rally.git"],
        ),
        (&["remote.origin.url", "git@work:acme/rally.git"], 3, &["--remote origin"]),
        (&["user.email", ""], 3, &["who the tagger is", "git config --global user.name"]),
    ];
    for (config, code, says) in set {
        let mut args = vec!["-C", "clone", "config"];
        args.extend(*config);
        let key = stage.path(config[1]).display().to_string();
        if config[1].ends_with(".pub") {
            args[4] = &key;
        }
        let saved = std::fs::read(stage.path("clone/.git/config")).unwrap();
        stage.git(&args).await;
        let ran = stage.run(&SIGN).await.expect(*code).says(says);
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
        std::fs::write(stage.path("clone/.git/config"), saved).unwrap();
        assert_eq!(stage.objects().await, (None, None), "{config:?}");
    }
    let alias = [&SIGN[..], &["--remote", "none"]].concat();
    stage.run(&alias).await.expect(3).says(&["no remote none", "origin: git@github.com:acme/rally.git"]);
    let elsewhere = ["--tag", "v2.1.0", "--sign", "--no-checks", "--local-clone"];
    for (folder, says) in [("remote", "no clone that git can use"), ("nowhere", "No such file")] {
        stage.run(&[&elsewhere[..], &[folder]].concat()).await.expect(3).says(&[says, "--local-clone"]);
    }
    stage.write("deny", "");
    stage.run(&SIGN).await.expect(3).says(&["Permission denied (publickey)", "push --dry-run origin"]);
    std::fs::remove_file(stage.path("deny")).unwrap();
    let with = format!("acme/ui@{}", stage.sha);
    let usage: [(&[&str], &str); 2] =
        [(&["--sign", "--with", &with], "--with"), (&["--local-clone", "clone"], "add --sign")];
    for (flags, says) in usage {
        stage.run(&[&["--tag", "v2.1.0", "--no-checks"], flags].concat()).await.expect(2).says(&[says]);
    }
    stage.sha = stage.github.commit(REPO, "main", "fix: once");
    stage.run(&SIGN).await.expect(3).says(&["has no commit", "fetch origin"]);
    assert_eq!((stage.objects().await, stage.writes()), ((None, None), vec![]));
}

/// The version's commit would be made by the API before the tag can be signed.
#[tokio::test]
async fn a_key_that_does_not_sign_is_found_before_the_versions_commit() {
    let stage = Stage::new().await;
    stage.keygen("locked", "a passphrase").await;
    stage.git(&["-C", "clone", "config", "user.signingkey", text(&stage.path("locked.pub"))]).await;
    let before = stage.git(&["-C", "clone", "count-objects", "-v"]).await;
    let sign = [&SIGN[..], &["--version-file", "version.properties=properties:version"]].concat();
    stage.run(&sign).await.expect(3).says(&["incorrect passphrase", "nothing was changed"]);
    assert_eq!((stage.writes(), stage.github.refs(REPO).len()), (vec![], 1));
    assert_eq!(stage.git(&["-C", "clone", "count-objects", "-v"]).await, before);
}

#[tokio::test]
async fn a_tag_that_is_there_is_taken_if_it_is_signed_and_else_refused() {
    let stage = Stage::new().await;
    let ours: &[(&[&str], &str)] = &[
        (&["v2.1.0"], "lightweight"),
        (&["-a", "-m", "v2.1.0", "v2.1.0"], "it is not signed"),
        (&["-s", "-m", "Another", "v2.1.0"], "another message: Another"),
        (&["-s", "-m", "v2.1.0", "v2.1.0", "HEAD~1"], "and not on"),
    ];
    for (args, says) in ours {
        stage.git(&[&["-C", "clone", "tag"], *args].concat()).await;
        stage.run(&SIGN).await.expect(3).says(&[says, "tag -d v2.1.0", "nothing was changed"]);
        stage.git(&["-C", "clone", "tag", "-d", "v2.1.0"]).await;
    }
    for args in [&["v2.1.0"][..], &["-a", "-m", "v2.1.0", "v2.1.0"]] {
        stage.git(&[&["-C", "clone", "tag"], args].concat()).await;
        stage.git(&["-C", "clone", "push", "--quiet", "origin", TAG]).await;
        stage.run(&SIGN).await.expect(3).says(&[
            "on this very commit",
            "without --sign",
            "nothing was changed",
        ]);
        stage.git(&["-C", "clone", "push", "--quiet", "origin", &format!(":{TAG}")]).await;
        stage.git(&["-C", "clone", "tag", "-d", "v2.1.0"]).await;
    }
    assert_eq!(stage.writes(), Vec::<String>::new());
    // A person's own, which is pushed as it is, and is none of the receipt's.
    stage.git(&["-C", "clone", "tag", "-s", "-m", "v2.1.0", "v2.1.0"]).await;
    let (here, _) = stage.objects().await;
    stage.run(&SIGN).await.expect(0).says(&["is pushed as it is"]);
    assert_eq!(Some(stage.signed().await), here);
    stage.run(&["--undo", "receipt.json", "--receipt", "undo.json"]).await.expect(0);
    assert_eq!(stage.objects().await, (here, None));
}

/// Somebody else's tag of that name comes while git runs the clone's `pre-push` hook.
#[tokio::test]
async fn a_tag_that_comes_at_the_same_moment_is_never_overwritten() {
    let stage = Stage::new().await;
    let bare = stage.path("remote/acme/rally.git");
    let mut hook = String::from("#!/bin/sh\n");
    writeln!(hook, "exec git --git-dir '{}' update-ref {TAG} {}", bare.display(), stage.sha).unwrap();
    stage.write("clone/.git/hooks/pre-push", &hook);
    executable(&stage.path("clone/.git/hooks/pre-push"));
    stage.run(&SIGN).await.expect(7).says(&["at the same moment", "tag -d v2.1.0"]);
    let (here, there) = stage.objects().await;
    assert_eq!((here.is_some(), there.as_ref()), (true, Some(&stage.sha)));
    assert_eq!(stage.published(), Vec::<Value>::new());
}

/// Without a list of signers, nobody can say whose key it is; and the tag that was moved since is left alone.
#[tokio::test]
async fn what_is_not_known_is_said_and_what_is_somebody_elses_is_left() {
    let stage = Stage::new().await;
    stage.git(&["config", "--global", "--unset", "gpg.ssh.allowedSignersFile"]).await;
    stage
        .run(&SIGN)
        .await
        .expect(0)
        .says(&["whose key that is can't be told", "Good \"git\" signature with"]);
    let config = format!("gpg.ssh.allowedSignersFile={}", stage.path("signers").display());
    stage.git(&["-C", "clone", "-c", &config, "verify-tag", "v2.1.0"]).await;
    stage.git(&["-C", "clone", "tag", "-f", "-a", "-m", "mine", "v2.1.0"]).await;
    stage
        .run(&["--undo", "receipt.json", "--receipt", "undo.json"])
        .await
        .expect(0)
        .says(&["is left alone", "by now"]);
    let (here, there) = stage.objects().await;
    assert_eq!((here.is_some(), there), (true, None));
}

/// With a real gpg, its agent and a passphrase that nobody enters.
#[tokio::test]
async fn openpgp_signs_as_well_and_asks_for_no_passphrase() {
    let stage = Stage::new().await;
    let gpg = |args: &[&str]| {
        let mut command = scrubbed("gpg", stage.dir.path());
        command.args(["--batch", "--quiet"]).args(args);
        command
    };
    if Command::new("gpg").arg("--version").output().await.is_err() {
        testkit::inputs::skipped("signing with OpenPGP: there is no gpg");
        return;
    }
    std::fs::create_dir(stage.path(".gnupg")).unwrap();
    mode(&stage.path(".gnupg"), 0o700);
    for config in [&["gpg.format", "openpgp"][..], &["--unset", "user.signingkey"]] {
        stage.git(&[&["config", "--global"], config].concat()).await;
    }
    stage
        .run(&SIGN)
        .await
        .expect(3)
        .says(&["no signing key is configured", "git config --global user.signingkey"]);
    for (name, passphrase) in [("Ada <ada@example.com>", ""), ("Locked <locked@example.com>", "a passphrase")]
    {
        let args = ["--pinentry-mode", "loopback", "--passphrase", passphrase, "--quick-gen-key", name];
        let made = gpg(&args).args(["ed25519", "sign", "never"]).output().await.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    // The agent has seen the passphrase when the key was made.
    let agent = scrubbed("gpgconf", stage.dir.path()).args(["--kill", "gpg-agent"]).status().await.unwrap();
    assert!(agent.success());
    stage.git(&["-C", "clone", "config", "user.signingkey", "locked@example.com"]).await;
    stage.run(&SIGN).await.expect(1).says(&["gpg --clearsign", "nothing was changed"]);
    stage.git(&["-C", "clone", "config", "--unset", "user.signingkey"]).await;
    stage.run(&SIGN).await.expect(0).says(&["Ada <ada@example.com>"]);
    let object = stage.signed().await;
    let written = stage.git(&["-C", "clone", "cat-file", "tag", &object]).await;
    assert!(written.contains("\n-----BEGIN PGP SIGNATURE-----\n"), "{written}");
    scrubbed("gpgconf", stage.dir.path()).args(["--kill", "gpg-agent"]).status().await.unwrap();
}
