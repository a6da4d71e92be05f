use kit::{Code, Cx, Env, Failure, testing};
use octocrab::models::repos::{GitTag, Ref, Release};
use octocrab::params::repos::Reference;
use serde_json::{Value, json};
use testkit::github::{Fault, GithubWorld, Options, READ_TOKEN, TOKEN};

use super::*;

const REPO: &str = "acme/rally";

async fn world() -> (GithubWorld, String) {
    let world = GithubWorld::start(Options::default()).await.unwrap();
    world.repository(REPO, "main");
    world.commit(REPO, "main", "First");
    let sha = world.commit(REPO, "main", "Vote twice\n\nAt most.");
    (world, sha)
}

fn cx(url: &str, token: &str) -> Cx {
    testing::cx_in(
        [("GITHUB_API_URL", url), ("GITHUB_TOKEN", token), ("GITHUB_REPOSITORY", REPO)]
            .into_iter()
            .collect::<Env>(),
    )
}

fn client(cx: &Cx) -> Github {
    Github::new(cx, &GithubArgs::default()).unwrap()
}

fn at<'a>(attempt: &'a str, path: &'a str) -> Call<'a> {
    Call { attempt, permission: "contents: write", path }
}

/// All that a person is told.
fn told(failure: &Failure) -> String {
    format!("{failure}: {}; {failure:?}", failure.chain().join("; "))
}

#[test]
fn names_are_encoded_and_the_slashes_of_a_ref_stay() {
    assert_eq!(encode("release/2.1 #1?"), "release/2.1%20%231%3F");
}

#[test]
fn what_is_no_repository_or_address_is_refused_by_name() {
    assert!("acme/rally".parse::<Repository>().is_ok());
    for bad in ["rally", "https://github.com/acme/rally", "acme/rally/x", "acme/", "acme/..", "ac me/x"] {
        assert!(bad.parse::<Repository>().is_err(), "{bad}");
    }
    let with = |url: &str| Github::new(&cx(url, TOKEN), &GithubArgs::default()).unwrap_err();
    for url in ["127.0.0.1:80", "ftp://x", "https://u:p@h", "https://h?x=1"] {
        assert_eq!(with(url).code(), Code::Refused, "{url}");
        assert!(with(url).to_string().contains("GITHUB_API_URL"));
    }
    assert!(told(&with("http://ghes.example.com/api/v3")).contains("readable on the network"));
}

#[test]
fn a_token_and_a_repository_are_asked_for() {
    let missing = |env: Env| Github::new(&testing::cx_in(env), &GithubArgs::default()).unwrap_err();
    let no_token = missing([("GITHUB_REPOSITORY", REPO)].into_iter().collect());
    assert_eq!(no_token.code(), Code::Usage);
    assert!(told(&no_token).contains("GITHUB_TOKEN"));
    let no_repository = missing([("GITHUB_TOKEN", TOKEN)].into_iter().collect());
    assert_eq!(no_repository.code(), Code::Usage);
    assert!(told(&no_repository).contains("--repository"));
}

/// What octocrab's models of GitHub's documents read is of the documented shape.
#[tokio::test]
async fn the_world_answers_in_githubs_shapes() {
    let (world, sha) = world().await;
    let cx = cx(world.url(), TOKEN);
    let octocrab = client(&cx).octocrab;
    let (repos, git) = (octocrab.repos("acme", "rally"), octocrab.git("acme", "rally"));
    assert_eq!(repos.get().await.unwrap().default_branch.as_deref(), Some("main"));
    let branch = repos.list_branches().send().await.unwrap();
    assert_eq!(branch.items[0].commit.sha, sha);
    assert_eq!(repos.list_commits().send().await.unwrap().items.len(), 2);
    let tag: GitTag = octocrab
        .post(
            "/repos/acme/rally/git/tags",
            Some(&json!({"tag": "v1", "message": "One", "object": sha, "type": "commit"})),
        )
        .await
        .unwrap();
    let made: Ref = octocrab
        .post("/repos/acme/rally/git/refs", Some(&json!({"ref": "refs/tags/v1", "sha": tag.sha})))
        .await
        .unwrap();
    assert_eq!(made.ref_field, "refs/tags/v1");
    repos.get_ref(&Reference::Tag("v1".to_owned())).await.unwrap();
    // The list of tags has the commit, not the tag object.
    assert_eq!(repos.list_tags().send().await.unwrap().items[0].commit.sha, sha);
    let draft = repos.releases().create("v1").draft(true).send().await.unwrap();
    assert!(repos.releases().get_by_tag("v1").await.is_err(), "a draft is not found by its tag");
    let listed: Vec<Release> = repos.releases().list().send().await.unwrap().items;
    assert_eq!((listed[0].id, listed[0].draft), (draft.id, true));
    repos.releases().update(draft.id.0).draft(false).send().await.unwrap();
    assert_eq!(repos.releases().get_latest().await.unwrap().id, draft.id);
    let compared = octocrab.commits("acme", "rally").compare("main~0", "main").send().await;
    assert!(compared.is_err(), "an unknown ref is not compared");
    let again = octocrab.commits("acme", "rally").compare("v1", "main").send().await.unwrap();
    assert_eq!((again.ahead_by, again.behind_by), (0, 0));
    let status = repos.combined_status_for_ref(&Reference::Branch("main".to_owned())).await;
    assert!(status.is_ok(), "{status:?}");
    let runs = octocrab
        .checks("acme", "rally")
        .create_check_run("test", sha)
        .status(octocrab::params::checks::CheckRunStatus::Completed)
        .conclusion(octocrab::params::checks::CheckRunConclusion::Success)
        .send()
        .await;
    assert!(runs.is_ok(), "{runs:?}");
    let git_ref: octocrab::Result<Value> =
        octocrab.get("/repos/acme/rally/git/ref/tags/v", None::<&()>).await;
    assert!(git_ref.is_err(), "a ref is found by its whole name only");
    drop(git);
}

#[tokio::test]
async fn what_git_refuses_the_world_refuses() {
    let (world, sha) = world().await;
    let cx = cx(world.url(), TOKEN);
    let github = client(&cx);
    let post = async |path: &str, body: Value| {
        github.write::<Value>(&cx, Method::Post, at("write", path), &body, async || Ok(None)).await
    };
    let unknown = "f".repeat(40);
    let refused = post("/git/refs", json!({"ref": "refs/tags/v1", "sha": unknown})).await.unwrap_err();
    assert!(told(&refused).contains("Object does not exist (HTTP 422)"), "{}", told(&refused));
    world.set_ref(REPO, "refs/tags/v1", &sha);
    post("/releases", json!({"tag_name": "v1"})).await.unwrap();
    let taken = post("/releases", json!({"tag_name": "v1"})).await.unwrap_err();
    assert!(told(&taken).contains("Release.tag_name is taken already"), "{}", told(&taken));
}

#[tokio::test]
async fn lists_are_read_through_every_page_and_beneath_an_enterprise_path() {
    let (world, sha) = world().await;
    for n in 0..230 {
        world.set_ref(REPO, &format!("refs/tags/v{n}"), &sha);
    }
    let cx = cx(&format!("{}/api/v3/", world.url()), TOKEN);
    let tags: Vec<Value> = client(&cx).list(&cx, at("list tags", "/tags")).await.unwrap();
    assert_eq!(tags.len(), 230);
    assert!(
        world
            .calls()
            .iter()
            .all(|call| call.path.starts_with("/api/v3/repos/") || call.path.contains("page="))
    );
}

#[tokio::test]
async fn each_refusal_says_what_to_do_and_is_not_tried_again() {
    let (world, _) = world().await;
    let get = async |token: &str, path: &str| {
        let cx = cx(world.url(), token);
        client(&cx).get::<Value>(&cx, at("look", path)).await.unwrap_err()
    };
    let bad = told(&get("ghp_expired", "").await);
    assert!(bad.contains("Bad credentials (HTTP 401)") && bad.contains("expired or revoked"), "{bad}");
    let absent = told(&get(TOKEN, "/releases/1").await);
    assert!(absent.contains("does not exist, or the token can't see it"), "{absent}");
    assert_eq!(world.calls().len(), 2);

    let cx = cx(world.url(), READ_TOKEN);
    let body = json!({"ref": "refs/tags/v1"});
    let denied = client(&cx)
        .write::<Value>(&cx, Method::Post, at("tag", "/git/refs"), &body, async || Ok(None))
        .await
        .unwrap_err();
    let denied = told(&denied);
    assert!(denied.contains("contents=write") && denied.contains("untouched: true"), "{denied}");
}

#[tokio::test]
async fn rate_limits_and_broken_servers_pass_and_html_is_not_shown() {
    let (world, _) = world().await;
    let cx = cx(world.url(), TOKEN);
    let github = client(&cx);
    let limited = Fault::status("GET", "/acme/rally", 403, "You have exceeded a secondary rate limit");
    world.fault(limited.header("retry-after", "1").times(1));
    github.get::<Value>(&cx, at("look", "")).await.unwrap();
    assert_eq!(world.calls().len(), 2);

    world.clear_faults();
    world.fault(
        Fault::status("GET", "/acme/rally", 429, "API rate limit exceeded").header("retry-after", "3600"),
    );
    let failure = github.get::<Value>(&cx, at("look", "")).await.unwrap_err();
    assert!(failure.is_transient() && told(&failure).contains("in 3600 seconds"), "{}", told(&failure));

    world.clear_faults();
    let effect = testkit::github::Effect::Answer {
        status: 502,
        headers: Vec::new(),
        body: "<html><body>Unicorn!</body></html>".to_owned(),
    };
    world.fault(Fault::new("GET", "/acme/rally", effect));
    let failure = github.get::<Value>(&cx, at("look", "")).await.unwrap_err();
    let text = told(&failure);
    assert!(
        text.contains("HTTP 502") && text.contains("githubstatus") && !text.contains("Unicorn"),
        "{text}"
    );
}

#[tokio::test]
async fn a_dead_endpoint_is_told_as_one() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cx = cx(&format!("http://127.0.0.1:{port}"), TOKEN);
    let failure = client(&cx)
        .write::<Value>(&cx, Method::Post, at("tag", "/git/refs"), &json!({}), async || Ok(None))
        .await
        .unwrap_err();
    let text = told(&failure);
    assert!(text.contains("GitHub can't be reached") && text.contains("--github-api-url"), "{text}");
    // Nobody was there to do it.
    assert!(text.contains("untouched: true"), "{text}");
}

#[tokio::test]
async fn a_write_in_doubt_is_looked_up_before_it_is_made_again() {
    let (world, sha) = world().await;
    let cx = cx(world.url(), TOKEN);
    let github = client(&cx);
    world.fault(Fault::reset("POST", "/git/refs").after().nth(1));
    let body = json!({"ref": "refs/tags/v1", "sha": sha});
    let found: Value = github
        .write(&cx, Method::Post, at("tag", "/git/refs"), &body, async || {
            github.find(&cx, at("look", "/git/ref/tags/v1")).await
        })
        .await
        .unwrap();
    assert_eq!(found["object"]["sha"], sha);
    assert_eq!(world.writes().len(), 1);
}

#[tokio::test]
async fn a_write_in_doubt_to_the_end_is_told_as_in_doubt() {
    let (world, _) = world().await;
    let cx = cx(world.url(), TOKEN);
    world.fault(Fault::status("POST", "/releases", 502, "Server Error"));
    let failure = client(&cx)
        .write::<Value>(&cx, Method::Post, at("release", "/releases"), &json!({}), async || Ok(None))
        .await
        .unwrap_err();
    assert!(told(&failure).contains("untouched: false"), "{}", told(&failure));
    assert_eq!(world.writes().len(), 4);
}

#[tokio::test]
async fn a_write_stays_in_doubt_when_looking_fails() {
    let (world, _) = world().await;
    let cx = cx(world.url(), TOKEN);
    world.fault(Fault::reset("POST", "/releases").after());
    let failure = client(&cx)
        .write::<Value>(
            &cx,
            Method::Post,
            at("release", "/releases"),
            &json!({"tag_name": "v1"}),
            async || Err(Failure::failed("list the releases").because("connection refused").untouched(true)),
        )
        .await
        .unwrap_err();
    let text = told(&failure);
    assert!(text.contains("untouched: false") && text.contains("could not list the releases"), "{text}");
    assert_eq!(world.writes().len(), 1);
}

#[tokio::test]
async fn the_world_outlives_its_process() {
    let dir = std::env::temp_dir().join(format!("cutover-world-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let options = Options { state: Some(dir.join("github.json")), ..Options::default() };
    let first = GithubWorld::start(options.clone()).await.unwrap();
    first.repository(REPO, "main");
    let sha = first.commit(REPO, "main", "First");
    drop(first);
    let second = GithubWorld::start(options).await.unwrap();
    assert_eq!(second.refs(REPO), [("refs/heads/main".to_owned(), sha)]);
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn a_file_is_uploaded_whole_and_to_no_other_server() {
    let (world, _) = world().await;
    let cx = cx(world.url(), TOKEN);
    let github = client(&cx);
    let folder = std::env::temp_dir().join(format!("cutover-upload-{}", cx.run_id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("rally 2.jar");
    std::fs::write(&file, vec![7_u8; 700_000]).unwrap();
    let draft = json!({"tag_name": "v1", "draft": true});
    let release: Value =
        github.write(&cx, Method::Post, at("draft", "/releases"), &draft, async || Ok(None)).await.unwrap();
    let url = release["upload_url"].as_str().unwrap();
    let call = at("upload rally.jar", "");
    let asset: Value = github.upload(&cx, call, url, "rally.jar", &file).await.unwrap();
    assert_eq!((&asset["state"], &asset["size"]), (&json!("uploaded"), &json!(700_000)));
    let taken = github.upload::<Value>(&cx, call, url, "rally.jar", &file).await.unwrap_err();
    assert!(told(&taken).contains("ReleaseAsset.name is taken already"), "{}", told(&taken));
    let before = world.calls().len();
    let other = github.upload::<Value>(&cx, call, "https://example.com/x{?name}", "x", &file).await;
    assert!(told(&other.unwrap_err()).contains("another server's"));
    assert_eq!(world.calls().len(), before);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn an_enterprise_server_takes_files_beneath_another_path_than_its_api() {
    let (world, _) = world().await;
    let cx = cx(&format!("{}/api/v3", world.url()), TOKEN);
    let github = client(&cx);
    let folder = std::env::temp_dir().join(format!("cutover-upload-{}", cx.run_id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("rally.jar");
    std::fs::write(&file, b"jar").unwrap();
    let body = json!({"tag_name": "v1", "target_commitish": "main", "draft": true});
    let release: Value =
        github.write(&cx, Method::Post, at("draft v1", "/releases"), &body, async || Ok(None)).await.unwrap();
    // As such a server writes it: https://HOST/api/uploads/repos/OWNER/NAME/releases/1/assets{?name,label}
    let url =
        format!("{}/api/uploads/repos/{REPO}/releases/{}/assets{{?name,label}}", world.url(), release["id"]);
    let call = at("upload rally.jar", "");
    let asset: Value = github.upload(&cx, call, &url, "rally.jar", &file).await.unwrap();
    assert_eq!((&asset["state"], &asset["size"]), (&json!("uploaded"), &json!(3)));
    let asked = world.calls().last().unwrap().path.clone();
    assert!(asked.starts_with("/api/uploads/repos/"), "{asked}");
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn files_go_to_the_upload_host_of_the_api() {
    for (api, uploads) in [
        ("https://api.github.com", "https://uploads.github.com/"),
        ("https://api.acme.ghe.com", "https://uploads.acme.ghe.com/"),
        ("https://ghes.example.com/api/v3", "https://ghes.example.com/api/v3"),
    ] {
        assert_eq!(client::upload_address(&api.parse().unwrap()).to_string(), uploads);
    }
}
