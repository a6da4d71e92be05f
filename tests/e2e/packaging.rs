//! Completions in real shells, and man pages in a real formatter.

use std::path::Path;

use crate::world::{Ran, run, scrubbed};

const CUTOVER: &str = env!("CARGO_BIN_EXE_cutover");

async fn cutover(dir: &Path, args: &[&str]) -> Ran {
    let mut command = scrubbed(CUTOVER, dir);
    command.args(args);
    run(command).await
}

/// Where the program is not, the test says so and ends.
fn is_there(program: &str, what: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&paths).any(|folder| folder.join(program).is_file());
    if !there {
        testkit::inputs::skipped(&format!("{what}: there is no {program}"));
    }
    there
}

async fn script(dir: &Path, args: &[&str], name: &str) {
    let ran = cutover(dir, &[&["--completions"], args].concat()).await.expect(0);
    std::fs::write(dir.join(name), ran.stdout).unwrap();
}

#[tokio::test]
async fn bash_completes_steps_flags_and_values() {
    if !is_there("bash", "completions are not loaded into bash") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    script(dir.path(), &["bash"], "cutover").await;
    script(dir.path(), &["bash", "backup-db"], "backup-db").await;
    for (words, wanted) in [
        ("cutover regis", "register-task-def"),
        ("cutover deploy-service --task-def", "--task-definition"),
        ("cutover toggle-schedule --action dis", "disable"),
        ("cutover release-report --expe", "--expect"),
        ("backup-db --dry", "--dry-run"),
    ] {
        let first = words.split(' ').next().unwrap();
        let ask = format!(
            "set -eu; . ./cutover; . ./backup-db; function=$(complete -p {first} | sed 's/.* -F \\([^ ]*\\) .*/\\1/'); \
             COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); last=${{COMP_WORDS[COMP_CWORD]}}; \
             set +eu; $function {first} \"$last\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let mut bash = scrubbed("bash", dir.path());
        bash.args(["--norc", "--noprofile", "-c", &ask]);
        let ran = run(bash).await.expect(0);
        assert!(ran.stdout.lines().any(|line| line == wanted), "{words}: {ran:?}");
    }
}

#[tokio::test]
async fn zsh_and_fish_read_the_scripts() {
    let dir = tempfile::tempdir().unwrap();
    if is_there("zsh", "completions are not loaded into zsh") {
        script(dir.path(), &["zsh"], "_cutover").await;
        script(dir.path(), &["zsh", "backup-db"], "_backup-db").await;
        let ask = "fpath=($PWD $fpath); autoload -U compinit; compinit -u -D; \
                   print $_comps[cutover] $_comps[backup-db]; autoload +X _cutover && autoload +X _backup-db";
        let mut zsh = scrubbed("zsh", dir.path());
        zsh.args(["-f", "-c", ask]);
        let ran = run(zsh).await.expect(0);
        assert_eq!(ran.stdout.trim(), "_cutover _backup-db", "{ran:?}");
    }
    if is_there("fish", "completions are not loaded into fish") {
        script(dir.path(), &["fish"], "cutover.fish").await;
        script(dir.path(), &["fish", "backup-db"], "backup-db.fish").await;
        for (words, wanted) in [("cutover regis", "register-task-def"), ("backup-db --dry", "--dry-run")] {
            let ask = format!("source cutover.fish; source backup-db.fish; complete -C '{words}'");
            let mut fish = scrubbed("fish", dir.path());
            fish.args(["--no-config", "-c", &ask]);
            let ran = run(fish).await.expect(0);
            assert!(ran.stdout.lines().any(|line| line.starts_with(wanted)), "{words}: {ran:?}");
        }
    }
}

#[tokio::test]
async fn the_man_pages_are_whole_and_a_formatter_warns_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    cutover(dir.path(), &["--man", "share/man/man1"]).await.expect(0);
    let folder = dir.path().join("share/man/man1");
    let list = cutover(dir.path(), &["--list"]).await.expect(0).stdout;
    let mut pages = vec!["cutover.1".to_owned()];
    for step in list.lines() {
        assert_eq!(
            std::fs::read_to_string(folder.join(format!("{step}.1"))).unwrap(),
            format!(".so man1/cutover-{step}.1\n")
        );
        pages.push(format!("cutover-{step}.1"));
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2 * pages.len() - 1);
    let before = std::fs::read(folder.join("cutover-backup-db.1")).unwrap();
    cutover(dir.path(), &["--man", "share/man/man1"]).await.expect(0);
    assert_eq!(std::fs::read(folder.join("cutover-backup-db.1")).unwrap(), before, "the same bytes again");
    if is_there("groff", "man pages are not formatted with groff") {
        for page in &pages {
            let mut groff = scrubbed("groff", &folder);
            // Lines that are too long to be filled (`break`) are those of addresses.
            groff.args(["-k", "-man", "-ww", "-Wbreak", "-Tutf8", "-P-c", "-P-b", "-P-u", page]);
            let ran = run(groff).await.expect(0);
            assert_eq!(ran.stderr, "", "{page}");
            assert!(ran.stdout.contains("SYNOPSIS") && ran.stdout.contains("OPTIONS"), "{page}");
        }
    }
    if is_there("mandoc", "man pages are not checked by mandoc") {
        for page in &pages {
            let mut mandoc = scrubbed("mandoc", &folder);
            mandoc.args(["-T", "lint", "-W", "error", page]);
            run(mandoc).await.expect(0);
        }
    }
    if is_there("man", "a step's own page is not opened by man") {
        let mut man = scrubbed("man", dir.path());
        man.args(["-M", "share/man", "1", "backup-db"]).env("MANPAGER", "cat").env("LC_ALL", "C.UTF-8");
        let ran = run(man).await;
        if ran.code == 0 {
            assert!(ran.stdout.contains("cutover-backup-db"), "{ran:?}");
        } else {
            // Minimal images of Debian put a stub in its place.
            testkit::inputs::skipped(&format!("man can't show a page here: {}", ran.stderr.trim()));
        }
    }
}

#[tokio::test]
async fn what_there_is_not_is_said() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let cases: [(&[&str], i32, &[&str]); 5] = [
        (&["--completions"], 2, &["no shell is named", "bash"]),
        (&["--completions", "tcsh"], 2, &["there are none for tcsh", "zsh"]),
        (&["--completions", "bash", "backup"], 2, &["there is no step backup"]),
        (&["--man"], 2, &["no folder is named"]),
        (&["--man", "file"], 1, &["write the man pages to file"]),
    ];
    for (args, code, said) in cases {
        cutover(dir.path(), args).await.expect(code).says(said);
    }
}

/// Completions and man pages are for packagers: no step of its own carries what makes them.
#[test]
fn only_the_multi_call_executable_makes_them() {
    let tree = |package: &str| {
        let output = std::process::Command::new(env!("CARGO"))
            .args([
                "tree",
                "--locked",
                "--offline",
                "--edges",
                "normal",
                "--prefix",
                "none",
                "--package",
                package,
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(tree("cutover").contains("clap_mangen "));
    for package in ["kit", "release-report", "wait-healthy", "backup-db"] {
        let built = tree(package);
        assert!(!built.contains("clap_mangen ") && !built.contains("clap_complete "), "{package}");
    }
}
