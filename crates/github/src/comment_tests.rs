use kit::{Cx, Env, Failure, testing};
use testkit::github::{Fault, GithubWorld, Options, READ_TOKEN, TOKEN};

use super::*;

const REPO: &str = "acme/rally";
const MARKER: &str = "<!-- cutover:changeset-review:prod -->";

async fn world() -> GithubWorld {
    let world = GithubWorld::start(Options::default()).await.unwrap();
    world.repository(REPO, "main");
    world.pull_request(REPO, 7);
    world
}

async fn post_to(url: &str, token: &str, body: &str) -> Result<Posted, Failure> {
    let cx: Cx = testing::cx_in(
        [("GITHUB_API_URL", url), ("GITHUB_TOKEN", token), ("GITHUB_REPOSITORY", REPO)]
            .into_iter()
            .collect::<Env>(),
    );
    let github = Github::new(&cx, &GithubArgs::default())?;
    sticky_comment(&cx, &github, 7, MARKER, &format!("{MARKER}\n{body}")).await
}

async fn post(world: &GithubWorld, body: &str) -> Result<Posted, Failure> {
    post_to(world.url(), TOKEN, body).await
}

fn bodies(world: &GithubWorld) -> Vec<String> {
    world.comments(REPO, 7).iter().map(|comment| comment["body"].as_str().unwrap().to_owned()).collect()
}

/// The requests that change something; a question to GraphQL is a POST too.
fn writes(world: &GithubWorld) -> Vec<String> {
    let writes = world.writes().into_iter().filter(|call| !call.path.ends_with("graphql"));
    writes.map(|call| format!("{} {}", call.method, call.path)).collect()
}

fn told(failure: &Failure) -> String {
    format!("{failure}: {}; {failure:?}", failure.chain().join("; "))
}

#[tokio::test]
async fn it_is_made_once_and_then_kept_up_to_date() {
    let world = world().await;
    let created = post(&world, "one").await.unwrap();
    let Posted::Created(url) = &created else { panic!("{created:?}") };
    assert!(url.starts_with("https://github.com/acme/rally/pull/7#issuecomment-"), "{url}");
    assert_eq!(post(&world, "one").await.unwrap(), Posted::Unchanged(url.clone()));
    assert_eq!(post(&world, "two").await.unwrap(), Posted::Updated(url.clone()));
    assert_eq!(bodies(&world), [format!("{MARKER}\ntwo")]);
    let id = url.rsplit('-').next().unwrap();
    assert_eq!(
        writes(&world),
        [
            "POST /repos/acme/rally/issues/7/comments".to_owned(),
            format!("PATCH /repos/acme/rally/issues/comments/{id}")
        ]
    );
}

#[tokio::test]
async fn somebody_elses_comment_is_never_edited() {
    let world = world().await;
    let theirs = format!("{MARKER}\nmine!");
    world.comment(REPO, 7, "mallory", &theirs);
    world.comment(REPO, 7, "octocat", &format!("> {MARKER}\n> quoted"));
    assert!(matches!(post(&world, "one").await.unwrap(), Posted::Created(_)));
    assert!(matches!(post(&world, "two").await.unwrap(), Posted::Updated(_)));
    let bodies = bodies(&world);
    assert_eq!(
        (bodies.len(), &bodies[0], bodies[2].as_str()),
        (3, &theirs, format!("{MARKER}\ntwo").as_str())
    );
}

#[tokio::test]
async fn it_is_found_on_a_later_page_and_by_its_target() {
    let world = world().await;
    world.comment(REPO, 7, "release-bot", "<!-- cutover:changeset-review:prod-2 -->\nanother target");
    for n in 0..230 {
        world.comment(REPO, 7, "octocat", &format!("comment {n}"));
    }
    let id = world.comment(REPO, 7, "release-bot", &format!("{MARKER}\r\none"));
    world.comment(REPO, 7, "release-bot", &format!("{MARKER}\nof a race"));
    let Posted::Unchanged(url) = post(&world, "one").await.unwrap() else { panic!() };
    assert!(url.ends_with(&id.to_string()), "the oldest, whatever its line ends: {url}");
    assert_eq!(writes(&world), Vec::<String>::new());
}

#[tokio::test]
async fn a_try_that_took_effect_is_not_made_again() {
    let world = world().await;
    world.fault(Fault::reset("POST", "/comments").after().nth(1));
    assert!(matches!(post(&world, "one").await.unwrap(), Posted::Created(_)));
    assert_eq!(bodies(&world).len(), 1);
    world.clear_faults();
    let id = world.comments(REPO, 7)[0]["id"].to_string();
    world.fault(Fault::status("PATCH", &format!("/comments/{id}"), 502, "Server Error").nth(1));
    assert!(matches!(post(&world, "two").await.unwrap(), Posted::Updated(_)));
    assert_eq!(bodies(&world), [format!("{MARKER}\ntwo")]);
}

#[tokio::test]
async fn a_token_that_only_reads_is_told_the_permission() {
    let world = world().await;
    let denied = post_to(world.url(), READ_TOKEN, "one").await.unwrap_err();
    let text = told(&denied);
    for part in [
        "comment on #7 in acme/rally",
        "issues=write; pull_requests=write",
        "`permissions: pull-requests: write`",
        "from a fork",
        "untouched: true",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let missing = sticky_to_unknown(&world).await;
    assert!(told(&missing).contains("HTTP 404"), "{}", told(&missing));
}

async fn sticky_to_unknown(world: &GithubWorld) -> Failure {
    let cx = testing::cx_in(
        [("GITHUB_API_URL", world.url()), ("GITHUB_TOKEN", TOKEN), ("GITHUB_REPOSITORY", REPO)]
            .into_iter()
            .collect::<Env>(),
    );
    let github = Github::new(&cx, &GithubArgs::default()).unwrap();
    sticky_comment(&cx, &github, 8, MARKER, &format!("{MARKER}\none")).await.unwrap_err()
}

#[tokio::test]
async fn an_enterprise_server_is_asked_at_its_own_address() {
    let world = world().await;
    let url = format!("{}/api/v3", world.url());
    post_to(&url, TOKEN, "one").await.unwrap();
    assert!(matches!(post_to(&url, TOKEN, "two").await.unwrap(), Posted::Updated(_)));
    assert!(world.calls().iter().any(|call| call.path == "/api/graphql"), "{:?}", world.calls());
}

#[tokio::test]
async fn what_is_not_known_to_be_ours_is_left_alone() {
    let world = world().await;
    post(&world, "one").await.unwrap();
    world.fault(Fault::status("POST", "/graphql", 403, "Resource not accessible by integration"));
    let failure = post(&world, "two").await.unwrap_err();
    assert!(told(&failure).contains("ask whose comments acme/rally has"), "{}", told(&failure));
    assert_eq!(bodies(&world), [format!("{MARKER}\none")]);
}
