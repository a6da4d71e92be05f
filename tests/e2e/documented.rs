//! The commands in the runbooks' pages are commands: each is understood by its step, which comes as far as asking the world.

use std::path::Path;
use std::process::Stdio;

use futures::future::join_all;

use crate::world::scrubbed;

/// The commands of a page: lines of indented code that begin with a step, with the lines that they are continued on.
fn commands(page: &str, steps: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        let Some(code) = line.strip_prefix("    ") else {
            open = false;
            continue;
        };
        let (text, goes_on) = match code.trim().strip_suffix('\\') {
            Some(text) => (text, true),
            None => (code.trim(), false),
        };
        let command = text.strip_prefix("cutover ").unwrap_or(text);
        let begins = command.split(' ').next().is_some_and(|word| steps.iter().any(|step| step == word));
        if open && let Some(last) = found.last_mut() {
            last.push_str(text);
        } else if begins {
            found.push(command.to_owned());
        }
        open = goes_on && (open || begins);
    }
    found
}

#[tokio::test]
async fn every_command_of_a_runbook_s_page_is_understood() {
    let home = tempfile::tempdir().unwrap();
    let listed = scrubbed(env!("CARGO_BIN_EXE_cutover"), home.path()).arg("--list").output().await.unwrap();
    let steps: Vec<String> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
    let mut all = Vec::new();
    for page in std::fs::read_dir(pages).unwrap().map(|entry| entry.unwrap().path()) {
        let commands = commands(&std::fs::read_to_string(&page).unwrap(), &steps);
        all.extend(commands.into_iter().map(|command| (page.display().to_string(), command)));
    }
    assert!(all.len() > 15, "{all:?}");
    std::fs::create_dir(home.path().join("upgrade")).unwrap();
    std::fs::write(home.path().join("upgrade/38-39_batchupgrade.sh"), "#!/bin/sh\n").unwrap();
    let ran = all.iter().map(async |(page, command)| {
        // The shell reads it as it reads what a person types; nothing is found on the way, so that no address is asked.
        let mut shell = scrubbed("/bin/sh", home.path());
        let line = format!("exec \"$CUTOVER\" {command} --dry-run");
        shell
            .args(["-c", &line])
            .env("CUTOVER", env!("CARGO_BIN_EXE_cutover"))
            .env("PATH", "/nonexistent")
            .env("COMMIT", "9205acc8d0".repeat(4))
            .env("GITHUB_TOKEN", "none")
            .env("GITHUB_API_URL", "http://127.0.0.1:9")
            .env("GITHUB_REPOSITORY", "acme/rally")
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", "9")
            .env("PGUSER", "check")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = shell.output().await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        // 2: the command line is wrong.
        let is_wrong = output.status.code().is_none_or(|code| code == 2);
        is_wrong.then(|| format!("{page}: {command}\n{told}"))
    });
    let wrong: Vec<String> = join_all(ran).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
