//! A pull request that changes templates: the workflow reviews it, and the review is the one comment there.

use std::io;
use std::path::Path;

use testkit::github::{self, GithubWorld};

use super::{Given, pair};
use crate::world::Stacks;

const REPOSITORY: &str = "jhuapl-boss/boss-manage";
const NUMBER: u64 = 7;
/// The repository with its pull request, kept in the world's folder; it answers while the workflow is driven.
pub(super) async fn repository(state: &Path) -> io::Result<GithubWorld> {
    let options = github::Options { port: 0, state: Some(state.join("github.json")) };
    let github = GithubWorld::start(options).await?;
    github.repository(REPOSITORY, "main");
    github.pull_request(REPOSITORY, NUMBER);
    Ok(github)
}

/// What the workflow is started with.
pub(super) fn given(world: &Stacks, github: &GithubWorld) -> Given {
    let templates = world.inputs.get("templates").map(String::as_str).unwrap_or_default();
    // `api:ApiProductionBoss=...`, in the order of BossDB's update.
    let line = |stack: &str| {
        let label = stack.trim_end_matches("ProductionBoss").to_lowercase();
        format!("{label}:{stack}={templates}/{stack}.template,{templates}/{stack}.arguments")
    };
    let stacks: Vec<String> = world.stacks.iter().map(|deployed| line(&deployed.name)).collect();
    let path = std::env::var("PATH").unwrap_or_default();
    Given {
        workflow: ".github/workflows/review-stacks.yml",
        inputs: vec![
            pair("pull-request", NUMBER.to_string()),
            pair("stacks", stacks.join("\n")),
            // The nodes' sizes are what the update is for.
            pair("approved", "redis/Cache:in-place-risk\nredis/CacheState:in-place-risk"),
            pair("account", &world.aws.account),
            pair("region", &world.aws.region),
            pair("role", format!("arn:aws:iam::{}:role/review", world.aws.account)),
        ],
        env: vec![
            pair("AWS_ENDPOINT_URL", &world.aws.endpoint),
            pair("GITHUB_API_URL", github.url()),
            pair("PATH", path),
        ],
        github: vec![pair("repository", REPOSITORY), pair("api_url", github.url())],
        secrets: vec![pair("GITHUB_TOKEN", github::TOKEN)],
    }
}

/// The comment as people find it, the last line of the rehearsal, and whether there is one comment and `untouched` is so.
pub(super) fn verdict(github: &GithubWorld, untouched: bool, succeeded: bool) -> (String, String, bool) {
    let comments = github.comments(REPOSITORY, NUMBER);
    let text = comments.iter().filter_map(|comment| comment["body"].as_str()).collect::<Vec<_>>().join("\n");
    let line = match (comments.len(), untouched, succeeded) {
        (_, false, _) => "WRONG: a review has changed a stack".to_owned(),
        (1, true, true) => {
            format!("REVIEWED: pull request {NUMBER} of {REPOSITORY} has the review as its one comment")
        }
        (1, true, false) => {
            format!("REFUSED: the one comment of pull request {NUMBER} of {REPOSITORY} says why")
        }
        (count, true, _) => {
            format!("WRONG: pull request {NUMBER} of {REPOSITORY} has {count} comments, not one")
        }
    };
    (text, line, untouched && comments.len() == 1)
}
