use serde_json::json;
use testkit::front::{Effect, Fault, When};

use crate::world::{ACCOUNT, CONTAINER, FAMILY, REGION, Ran, World, own, repository};

pub(crate) const FROM: &str = "rally-prod/rally-prod-service";

/// Pushes an image with a manifest of its own into a repository of its own; returns the repository and the digest.
pub(crate) async fn push(world: &World, tag: &str) -> (String, String) {
    let name = own("rally");
    world.ecr("CreateRepository", json!({"repositoryName": name})).await;
    let config = json!({"digest": format!("sha256:{}", "ab".repeat(32))});
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [], "annotations": {"name": name}})
        .to_string();
    let image = json!({"repositoryName": name, "imageManifest": manifest, "imageTag": tag});
    let put = world.ecr("PutImage", image).await;
    let digest =
        put["image"]["imageId"]["imageDigest"].as_str().unwrap_or_else(|| panic!("{put}")).to_owned();
    (name, digest)
}

async fn register(world: &World, image: &str, more: &[&str]) -> Ran {
    let image = format!("{CONTAINER}={image}");
    let mut args = vec!["register-task-def", "--from-service", FROM, "--image", &image];
    args.extend(more);
    world.cutover(&args).await
}

#[tokio::test]
async fn the_new_revision_differs_in_the_pinned_image_alone() {
    let world = World::start().await;
    let (name, digest) = push(&world, "RALLY-V2_1_0_0-RELEASE").await;
    world.front.forget();
    let ran = register(
        &world,
        &repository(&name, ":RALLY-V2_1_0_0-RELEASE"),
        &["--format", "json", "--receipt", "r.json"],
    )
    .await
    .expect(0);
    let out = ran.json();
    let new = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{FAMILY}:2");
    assert_eq!(out["outputs"]["task-definition-arn"], new.as_str());
    assert_eq!(out["outputs"]["changed"], "true");
    assert_eq!(out["outputs"]["previous-task-definition-arn"], new.replace(":2", ":1").as_str());
    assert_eq!(world.writes(), ["ecs:RegisterTaskDefinition"]);
    assert!(
        ran.stderr.contains(&format!("+  \"image\": \"{}\"", repository(&name, &format!("@{digest}")))),
        "{}",
        ran.stderr
    );
    let described =
        world.call("DescribeTaskDefinition", json!({"taskDefinition": new, "include": ["TAGS"]})).await;
    let definition = &described["taskDefinition"];
    assert_eq!(
        definition["containerDefinitions"][0]["image"],
        repository(&name, &format!("@{digest}")).as_str()
    );
    assert_eq!(definition["containerDefinitions"][0]["environment"], json!([{"name": "EMPTY", "value": ""}]));
    assert_eq!(definition["containerDefinitions"][1]["image"], "fluent-bit@sha256:1");
    assert_eq!(definition["aFieldOfTomorrow"], json!({"kept": ["as", "it", "is", ""]}));
    assert_eq!(described["tags"], json!([{"key": "team", "value": "rally"}]));

    // Run again, as after a crash: the newest revision is as wanted, so nothing is registered.
    world.front.forget();
    let again = register(&world, &repository(&name, ":RALLY-V2_1_0_0-RELEASE"), &["--format", "json"])
        .await
        .expect(0)
        .json();
    assert_eq!(again["outputs"]["task-definition-arn"], new.as_str());
    assert_eq!(again["outputs"]["changed"], "false");
    assert!(world.writes().is_empty());

    // Undone: the revision is gone, and undoing again finds nothing to do.
    world
        .cutover(&["register-task-def", "--undo", "r.json"])
        .await
        .expect(0)
        .says(&["deregister rally-prod:2"]);
    let described = world.call("DescribeTaskDefinition", json!({"taskDefinition": new})).await;
    assert_eq!(described["taskDefinition"]["status"], "INACTIVE");
    world.front.forget();
    world.cutover(&["register-task-def", "--undo", "r.json"]).await.expect(0).says(&["nothing to do"]);
    assert!(world.writes().is_empty());
    assert!(world.front.unmatched().is_empty(), "{:?}", world.front.unmatched());
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_shows_a_plan_before_the_image_is_built() {
    let world = World::start().await;
    world.front.forget();
    let image = repository("rally-not-built", ":V2");
    let ran = register(&world, &image, &["--dry-run", "--allow-absent-image"])
        .await
        .expect(0)
        .says(&["plan (dry run)", "there is no such repository"]);
    assert!(ran.stdout.contains("dry run: 1 change would be made"), "{}", ran.stdout);
    assert!(world.writes().is_empty());
    assert!(!world.path("cutover-receipts").exists());
    register(&world, &image, &["--allow-absent-image"]).await.expect(2).says(&["add --dry-run"]);
}

#[tokio::test]
async fn an_answer_that_never_came_makes_no_second_revision() {
    let world = World::start().await;
    let (name, _) = push(&world, "V2").await;
    world.front.forget();
    world.front.add_fault(Fault {
        when: When::AfterEffect,
        times: Some(1),
        ..Fault::new("ecs:RegisterTaskDefinition", Effect::Reset)
    });
    register(&world, &repository(&name, ":V2"), &[])
        .await
        .expect(0)
        .says(&["looking whether it took effect"]);
    assert_eq!(world.writes(), ["ecs:RegisterTaskDefinition"]);
    let list = world.call("ListTaskDefinitions", json!({"familyPrefix": FAMILY})).await;
    assert_eq!(list["taskDefinitionArns"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_refusal_after_a_try_in_doubt_is_not_nothing() {
    let world = World::start().await;
    let (name, _) = push(&world, "V2").await;
    world
        .front
        .add_fault(Fault { times: Some(1), ..Fault::new("ecs:RegisterTaskDefinition", Effect::Reset) });
    let expired = "The security token included in the request is expired";
    world.front.add_fault(Fault::error("ecs:RegisterTaskDefinition", 400, "ExpiredTokenException", expired));
    register(&world, &repository(&name, ":V2"), &[])
        .await
        .expect(4)
        .says(&["the credentials have expired", "in doubt"]);
}

#[tokio::test]
async fn throttling_is_not_a_failure() {
    let world = World::start().await;
    let (name, _) = push(&world, "V2").await;
    world.front.forget();
    world.front.add_fault(Fault::throttle("ecs:DescribeServices").times(2));
    world.front.add_fault(Fault::throttle("ecs:RegisterTaskDefinition").times(1));
    register(&world, &repository(&name, ":V2"), &[]).await.expect(0);
    let list = world.call("ListTaskDefinitions", json!({"familyPrefix": FAMILY})).await;
    assert_eq!(list["taskDefinitionArns"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_user_gets_wrong_is_said_and_nothing_is_written() {
    let world = World::start().await;
    let (name, _) = push(&world, "V2").await;
    world.front.forget();
    let image = repository(&name, ":V2");
    let with = |container: &str, from: &str, image: &str| {
        vec![
            "register-task-def".to_owned(),
            "--from-service".into(),
            from.into(),
            "--image".into(),
            format!("{container}={image}"),
        ]
    };
    let cases: [(Vec<String>, i32, &[&str]); 6] = [
        (
            with("webapp", FROM, &image),
            3,
            &["has the containers rally-prod-webapp, log-router", "nothing was changed"],
        ),
        (
            with(CONTAINER, FROM, &repository(&name, ":V3")),
            3,
            &["the repository has no such image", "build and push it first"],
        ),
        (with(CONTAINER, FROM, &repository("nowhere-at-all", ":V2")), 3, &["there is no such repository"]),
        (
            with(CONTAINER, "rally-prod/web", &image),
            3,
            &["find service web in cluster rally-prod", "aws ecs list-services"],
        ),
        (with(CONTAINER, "rally/rally-prod-service", &image), 3, &["there is no cluster rally"]),
        (with(CONTAINER, "rally-prod-service", &image), 2, &["CLUSTER/SERVICE"]),
    ];
    for (args, code, says) in cases {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        world.cutover(&args).await.expect(code).says(says);
    }
    assert!(world.writes().is_empty());
}

/// The metadata service of an instance, which answers a question for a token, too.
///
/// Source: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>
async fn instance_in(region: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = async move || ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], region);
    let service = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, service).await });
    format!("http://{address}")
}

#[tokio::test]
async fn a_wrong_place_is_refused_before_anything() {
    let world = World::start().await;
    world.front.forget();
    let args = [
        "register-task-def",
        "--from-service",
        FROM,
        "--image",
        "rally-prod-webapp=x@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ];
    let ran = |change: fn(&mut tokio::process::Command), more: &[&str]| {
        let mut command = world.command(&[&args[..], more].concat());
        change(&mut command);
        crate::world::run(command)
    };
    ran(
        |c| {
            c.env_remove("AWS_REGION");
        },
        &[],
    )
    .await
    .expect(3)
    .says(&["choose an AWS region", "--region"]);
    // A self-hosted runner on EC2, whose own region says nothing of what it releases.
    let metadata = instance_in("eu-west-3").await;
    let mut command = world.command(&args);
    command
        .env_remove("AWS_REGION")
        .env_remove("AWS_EC2_METADATA_DISABLED")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata);
    crate::world::run(command).await.expect(3).says(&["choose an AWS region"]);
    ran(|_| (), &["--expect-account", "999999999999"])
        .await
        .expect(3)
        .says(&["the credentials belong to account 123456789012"]);
    ran(
        |c| {
            c.env("AWS_ENDPOINT_URL", "127.0.0.1:80");
        },
        &[],
    )
    .await
    .expect(3)
    .says(&["AWS_ENDPOINT_URL", "the real AWS"]);
    ran(
        |c| {
            c.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        },
        &[],
    )
    .await
    .expect(1)
    .says(&["AWS can't be reached", "nothing was changed"]);
    ran(
        |c| {
            c.env_remove("AWS_ACCESS_KEY_ID");
        },
        &[],
    )
    .await
    .expect(1)
    .says(&["give credentials"]);
    world.front.add_fault(Fault::error(
        "sts:GetCallerIdentity",
        403,
        "ExpiredToken",
        "The security token included in the request is expired",
    ));
    ran(|_| (), &[]).await.expect(1).says(&["the credentials have expired"]);
    world.front.set_faults([Fault::access_denied("ecs:DescribeServices")]);
    ran(|_| (), &[]).await.expect(1).says(&["allow `ecs:DescribeServices` on arn:aws:ecs:us-east-1:123456789012:service/rally-prod/rally-prod-service"]);
    assert!(world.writes().is_empty());
}

#[tokio::test]
async fn a_receipt_that_cannot_be_written_means_no_call() {
    let world = World::start().await;
    let (name, _) = push(&world, "V2").await;
    std::fs::write(world.path("file"), "in the way").unwrap();
    world.front.forget();
    let ran =
        register(&world, &repository(&name, ":V2"), &["--receipt", "file/receipt.json"]).await.expect(1);
    ran.says(&["write the receipt file/receipt.json", "nothing was changed"]);
    assert!(world.writes().is_empty());
}

#[tokio::test]
async fn in_a_github_job_outputs_summary_and_annotations_are_written() {
    let world = World::start().await;
    let (name, digest) = push(&world, "V2").await;
    let mut command = world.command(&["register-task-def"]);
    command
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_OUTPUT", world.path("out"))
        .env("GITHUB_STEP_SUMMARY", world.path("summary"))
        .env("INPUT_FROM-SERVICE", FROM)
        .env("INPUT_IMAGE", format!("{CONTAINER}={}\n", repository(&name, ":V2")))
        .env("INPUT_DRY-RUN", "false")
        .env("INPUT_REGION", "");
    crate::world::run(command).await.expect(0).says(&["::group::register-task-def: plan", "::endgroup::"]);
    let outputs = std::fs::read_to_string(world.path("out")).unwrap();
    assert!(outputs.contains("task-definition-arn<<cutover-"), "{outputs}");
    assert!(
        outputs.contains(&format!("{{\"{CONTAINER}\":\"{}\"}}", repository(&name, &format!("@{digest}")))),
        "{outputs}"
    );
    let summary = std::fs::read_to_string(world.path("summary")).unwrap();
    assert!(summary.contains("### register-task-def") && summary.contains("+  \"image\""), "{summary}");
    let mut refused =
        world.command(&["register-task-def", "--from-service", "rally-prod/web", "--image", "x=y"]);
    refused.env("GITHUB_ACTIONS", "true");
    crate::world::run(refused)
        .await
        .expect(3)
        .says(&["::error title=register-task-def::error: find service web"]);
}

#[tokio::test]
async fn a_lost_answer_is_found_again_though_somebody_registered_in_between() {
    let world = World::start().await;
    let (name, _) = push(&world, "V2").await;
    world.front.forget();
    let hold = world.front.hold("ecs:RegisterTaskDefinition", When::AfterEffect);
    let image = repository(&name, ":V2");
    let ran = register(&world, &image, &["--format", "json"]);
    let meanwhile = async {
        hold.arrived().await;
        world.register("half-done").await;
        drop(hold);
    };
    let (ran, ()) = tokio::join!(ran, meanwhile);
    let out = ran.expect(0).json();
    assert!(out["outputs"]["task-definition-arn"].as_str().unwrap().ends_with("rally-prod:2"), "{out}");
    assert_eq!(world.writes(), ["ecs:RegisterTaskDefinition"]);
}

/// A run that was killed has registered its revision: the one after it names the revision that was current before both.
#[tokio::test]
async fn run_again_it_names_the_same_previous_revision() {
    let world = World::start().await;
    let set = format!("{CONTAINER}:STAGE=two");
    let args = ["register-task-def", "--family", FAMILY, "--env", &set, "--format", "json"];
    let previous = |ran: &Ran| ran.json()["outputs"]["previous-task-definition-arn"].clone();
    let first = world.cutover(&args).await.expect(0);
    let old = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{FAMILY}:1");
    assert_eq!(previous(&first), old.as_str());
    let again = world.cutover(&args).await.expect(0);
    assert_eq!(again.json()["outputs"]["changed"], "false");
    assert_eq!(previous(&again), old.as_str());
    // What was deregistered meanwhile is nothing to go back to.
    world.call("DeregisterTaskDefinition", json!({"taskDefinition": old})).await;
    assert_eq!(previous(&world.cutover(&args).await.expect(0)), json!(null));
}

#[tokio::test]
async fn a_registration_that_took_no_effect_is_tried_again_after_a_look() {
    let world = World::start().await;
    let (name, _) = push(&world, "V2").await;
    world.front.forget();
    world.front.add_fault(Fault {
        when: When::BeforeForward,
        times: Some(1),
        ..Fault::new("ecs:RegisterTaskDefinition", Effect::Reset)
    });
    let ran = register(&world, &repository(&name, ":V2"), &[]).await.expect(0);
    assert!(ran.stdout.contains("registered rally-prod:2"), "{ran:?}");
    let list = world.call("ListTaskDefinitions", json!({"familyPrefix": FAMILY})).await;
    assert_eq!(list["taskDefinitionArns"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_in_doubt_is_said_and_both_ways_on_are_open() {
    let world = World::start().await;
    let (name, _) = push(&world, "V2").await;
    let image = repository(&name, ":V2");
    world.front.forget();
    let hold = world.front.hold("ecs:RegisterTaskDefinition", When::AfterEffect);
    let ran = register(&world, &image, &["--receipt", "r.json"]);
    let meanwhile = async {
        hold.arrived().await;
        world.front.add_fault(Fault::access_denied("ecs:DescribeTaskDefinition"));
        drop(hold);
    };
    let (ran, ()) = tokio::join!(ran, meanwhile);
    ran.expect(4).says(&[
        "allow `ecs:DescribeTaskDefinition`",
        "whether a revision of rally-prod after 1 was registered is not known",
    ]);
    // Run again, it finds the revision; undone, the receipt of the first run finds it too.
    world.front.set_faults([]);
    world.front.forget();
    let again = register(&world, &image, &["--format", "json"]).await.expect(0).json();
    assert_eq!(again["outputs"]["changed"], "false");
    assert!(world.writes().is_empty());
    world
        .cutover(&["register-task-def", "--undo", "r.json"])
        .await
        .expect(0)
        .says(&["deregister rally-prod:2"]);
}
