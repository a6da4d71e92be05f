//! The action files and the steps' pages are what the steps' arguments say.

use std::path::Path;

use crate::world::{run, run_bare, scrubbed};

#[tokio::test]
async fn the_action_files_are_generated_from_the_arguments() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let cutover = |args: Vec<String>| {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), dir.path());
        command.args(args);
        run(command)
    };
    let list = cutover(vec!["--list".into()]).await.expect(0).stdout;
    for step in list.lines() {
        let generated = cutover(vec!["--action".into(), step.into()]).await.expect(0).stdout;
        let path = root.join("actions").join(step).join("action.yml");
        let present = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(generated == present, "{} is not up to date: run `make generate`", path.display());
    }
    let generated = cutover(vec!["--action".into()]).await.expect(0).stdout;
    let present = std::fs::read_to_string(root.join("action.yml")).unwrap_or_default();
    assert!(generated == present, "action.yml is not up to date: run `make generate`");
    let folders = std::fs::read_dir(root.join("actions")).unwrap().count();
    assert_eq!(folders, list.lines().count(), "actions/ has a folder of a step that does not exist");
}

#[tokio::test]
async fn the_pages_of_the_steps_are_generated_from_their_help() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("docs/steps");
    let dir = tempfile::tempdir().unwrap();
    let cutover = |args: &[&str]| {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), dir.path());
        command.args(args);
        run(command)
    };
    let list = cutover(&["--list"]).await.expect(0).stdout;
    let mut pages = vec![("README.md".to_owned(), cutover(&["--page"]).await.expect(0).stdout)];
    for step in list.lines() {
        let transcript = root.join(format!("docs/transcripts/{step}.txt")).display().to_string();
        let page = cutover(&["--page", step, "--transcript", &transcript]).await.expect(0).stdout;
        pages.push((format!("{step}.md"), page));
    }
    for (name, generated) in &pages {
        let present = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(*generated == present, "docs/steps/{name} is not up to date: run `make generate`");
        assert_eq!(generated.matches("```").count() % 2, 0, "a fence of docs/steps/{name} is not closed");
    }
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, pages.len(), "docs/steps has a page of a step that does not exist");
}

#[tokio::test]
async fn nothing_in_a_transcript_ends_its_block() {
    let dir = tempfile::tempdir().unwrap();
    let cutover = |args: &[&str]| {
        let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), dir.path());
        command.args(args);
        run(command)
    };
    let plain = cutover(&["--page", "wait-healthy"]).await.expect(0).stdout;
    for (text, fence) in [("$ a\n`b`\n", "```"), ("$ a\n```\n````sh\n```\n", "`````")] {
        std::fs::write(dir.path().join("t.txt"), text).unwrap();
        let page = cutover(&["--page", "wait-healthy", "--transcript", "t.txt"]).await.expect(0).stdout;
        let block = format!("\n{fence}console\n{text}{fence}\n\n");
        assert!(page.contains(&block), "{page}");
        let (before, after) = page.split_once(&block).unwrap();
        assert!(plain.contains(after) && plain.starts_with(before.split("Real runs").next().unwrap()));
    }
    for (args, said) in [
        (&["--page", "wait-healthy", "--transcript", "absent.txt"][..], "read the transcript absent.txt"),
        (&["--page", "wait-healthy", "--transcript"], "print a page"),
        (&["--page", "wait-heathy"], "there is no step wait-heathy"),
    ] {
        cutover(args).await.expect(2).says(&[said]);
    }
}

/// `docs/iam` has the policy of each step that calls AWS, and no other.
#[tokio::test]
async fn the_policies_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/iam");
    let steps = run_bare(&["--list".to_owned()]).await.expect(0).stdout;
    let mut policies = 0;
    for step in steps.lines() {
        let policy = run_bare(&["--policy".to_owned(), step.to_owned()]).await.expect(0).stdout;
        let file = std::fs::read_to_string(folder.join(format!("{step}.json")));
        if policy.contains("Action") {
            policies += 1;
            assert_eq!(file.ok().as_ref(), Some(&policy), "docs/iam/{step}.json: run `make generate`");
            let document: serde_json::Value = serde_json::from_str(&policy).unwrap();
            let sids: Vec<&str> = document["Statement"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["Sid"].as_str().unwrap())
                .collect();
            // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html
            assert!(sids.iter().all(|sid| sid.bytes().all(|byte| byte.is_ascii_alphanumeric())), "{sids:?}");
            let once: std::collections::BTreeSet<&&str> = sids.iter().collect();
            assert_eq!(once.len(), sids.len(), "{step}: {sids:?}");
        } else {
            assert!(file.is_err(), "docs/iam/{step}.json is of a step that does not call AWS");
        }
    }
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), policies);
}
