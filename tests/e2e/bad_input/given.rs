//! For each step the shortest command line that is right, so that the bad value is what a run ends of. Nothing that it names is
//! there, so that a value that happens to be right changes nothing either.

use std::path::Path;

const COMMIT: &str = "1111111111111111111111111111111111111111";
const NOWHERE: [&str; 8] = ["--host", "127.0.0.1", "--port", "1", "--dbname", "app", "--user", "app"];

/// The flags of the step and their values; `fixtures` is a folder with what a command line must name. None where the step is not known.
pub(super) fn given(step: &str, fixtures: &Path) -> Option<Vec<String>> {
    let file = |name: &str| fixtures.join(name).display().to_string();
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let github = ["--repository", "o/absent"];
    let given = match step {
        "backup-db" => [words(&["--to", "s3://bad-input/backups"]), words(&NOWHERE)].concat(),
        "changeset-review" => words(&["--stack", "core:Absent"]),
        "copy-objects" => words(&["--from", "s3://bad-input/a", "--to", "s3://bad-input/b"]),
        "deploy-service" => words(&[
            "--service",
            "absent/web",
            "--task-definition",
            "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1",
        ]),
        "deploy-stack" => words(&["--action", "update", "--stack", "core:Absent"]),
        "dispatch-workflow" => {
            [words(&["--workflow", "release.yml", "--ref", "main"]), words(&github)].concat()
        }
        "maintenance-toggle" => words(&[
            "--action",
            "on",
            "--name",
            "www.example.org",
            "--zone",
            "example.org",
            "--to-name",
            "page.example.org",
            "--page-contains",
            "Down",
        ]),
        "mute-alerts" => words(&["--action", "off", "--topic", "absent"]),
        "register-task-def" => words(&["--family", "absent", "--image", "web=nginx:1"]),
        "release-report" => vec!["--receipts".to_owned(), file("receipts"), "--allow-none".to_owned()],
        "run-migration" => {
            let folder = ["--migrations".to_owned(), file("migrations")];
            [folder.to_vec(), words(&["--without-backup", "app"]), words(&NOWHERE)].concat()
        }
        "swap-upstream" => {
            let proxy = format!("local={}", file("absent.conf"));
            [words(&["--proxy"]), vec![proxy], words(&["--swap", "app=old:80..new:80", "--no-fetch"])]
                .concat()
        }
        "tag-release" => [words(&["--tag", "v1.0.0", "--commit", COMMIT]), words(&github)].concat(),
        "toggle-schedule" => words(&["--action", "disable", "--rule", "absent"]),
        "wait-healthy" => words(&["--url", "http://127.0.0.1:1/", "--once"]),
        _ => return None,
    };
    Some(given)
}

/// Makes what [`given`] names.
pub(super) fn make(fixtures: &Path) {
    std::fs::create_dir(fixtures.join("receipts")).unwrap();
    std::fs::create_dir(fixtures.join("migrations")).unwrap();
    std::fs::write(fixtures.join("migrations/0001_votes.sql"), "CREATE TABLE votes (id bigint);\n").unwrap();
}

/// The command line without a flag, which may stand in it with its value or alone.
pub(super) fn without(given: &[String], flag: &str) -> Vec<String> {
    let flag = format!("--{flag}");
    let mut out = Vec::new();
    let mut words = given.iter().peekable();
    while let Some(word) = words.next() {
        let value = words.next_if(|next| !next.starts_with("--"));
        if *word != flag {
            out.push(word.clone());
            out.extend(value.cloned());
        }
    }
    out
}
