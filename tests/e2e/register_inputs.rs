//! What comes into `register-task-def`: recorded definitions, of which nothing may be lost, and what a person gets wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Value, json};
use testkit::ecs::{Ecs, ScriptedLauncher, Settings};
use testkit::front::{Answer, Fault, Front, Request, Service};

use crate::world::{ACCOUNT, CONTAINER, FAMILY, REGION, Ran, World, own, run, scrubbed, shared_emulator};

/// A registry that has every image, under one digest.
struct Registry;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

impl Service for Registry {
    fn service(&self) -> &'static str {
        "ecr"
    }

    fn handle<'a>(&'a self, _: &'a Request) -> Pin<Box<dyn Future<Output = Option<Answer>> + Send + 'a>> {
        let answer =
            json!({"images": [{"imageId": {"imageDigest": DIGEST}, "imageManifest": "{}"}], "failures": []});
        Box::pin(async move { Some(Answer::json(&answer)) })
    }
}

/// The answers of `DescribeTaskDefinition` and `RegisterTaskDefinition` below a folder: each file's document.
fn recordings(folder: &Path) -> BTreeMap<PathBuf, Value> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(recordings(&entry));
        } else if let Ok(text) = std::fs::read_to_string(&entry)
            && text.contains("containerDefinitions")
            && let Ok(recorded) = serde_json::from_str::<Value>(&text)
            && recorded["data"]["taskDefinition"].is_object()
        {
            found.insert(entry, recorded["data"].clone());
        }
    }
    found
}

/// The request that makes a recorded definition again: without the fields that only ECS sets, with the tags.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html>
fn expected(recorded: &Value) -> Value {
    let mut document = recorded["taskDefinition"].clone();
    let fields = document.as_object_mut().unwrap();
    for field in [
        "taskDefinitionArn",
        "revision",
        "status",
        "requiresAttributes",
        "compatibilities",
        "registeredAt",
        "registeredBy",
        "deregisteredAt",
        "deleteRequestedAt",
    ] {
        fields.remove(field);
    }
    if recorded["tags"].as_array().is_some_and(|tags| !tags.is_empty()) {
        fields.insert("tags".to_owned(), recorded["tags"].clone());
    }
    document
}

#[tokio::test]
async fn nothing_of_a_recorded_definition_is_lost() {
    let Some(folder) = testkit::inputs::recorded("registering recorded task definitions") else { return };
    let recordings = recordings(&folder);
    assert!(recordings.len() >= 10, "{} recordings in {}", recordings.len(), folder.display());
    let dir = tempfile::tempdir().unwrap();
    for (path, recorded) in recordings {
        // The account that the definitions were recorded in, so that its roles and images are of this account.
        let arn = recorded["taskDefinition"]["taskDefinitionArn"].as_str().unwrap();
        let (region, account) = (arn.split(':').nth(3).unwrap(), arn.split(':').nth(4).unwrap());
        let settings = Settings { account: account.into(), region: region.into(), ..Settings::default() };
        let ecs = Ecs::new(ScriptedLauncher::default(), settings);
        let front = Front::builder()
            .upstream(shared_emulator().await.url())
            .service(Arc::new(ecs.clone()))
            .service(Arc::new(Registry))
            .start()
            .await
            .unwrap();
        let cutover = async |args: &[&str]| -> Ran {
            let mut command = scrubbed(env!("CARGO_BIN_EXE_cutover"), dir.path());
            command.args(args).env("AWS_ENDPOINT_URL", front.url()).env("AWS_REGION", region);
            command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "planted-secret-key");
            run(command).await
        };
        let sent = || {
            let calls = front.writes();
            let [call] = calls.as_slice() else { panic!("{}: {calls:?}", path.display()) };
            assert_eq!(call.name(), "ecs:RegisterTaskDefinition");
            call.request.clone()
        };

        // From AWS to AWS: as it is, whatever it has.
        ecs.call("RegisterTaskDefinition", expected(&recorded)).await.unwrap();
        let family = recorded["taskDefinition"]["family"].as_str().unwrap();
        let again = ["register-task-def", "--family", family, "--always", "--preflight=false"];
        cutover(&again).await.expect(0);
        let from_aws = sent();
        let include = json!({"taskDefinition": format!("{family}:1"), "include": ["TAGS"]});
        let described = ecs.call("DescribeTaskDefinition", include).await.unwrap();
        assert_eq!(from_aws, expected(&described), "{}", path.display());
        // What ECS filled in stays filled in; all that was recorded is there as it was.
        let recorded_document = expected(&recorded);
        for (key, value) in recorded_document.as_object().unwrap() {
            if key != "containerDefinitions" {
                assert_eq!(from_aws[key], *value, "{key} of {}", path.display());
            }
        }
        let containers = recorded_document["containerDefinitions"].as_array().unwrap();
        for (n, container) in containers.iter().enumerate() {
            for (key, value) in container.as_object().unwrap() {
                assert_eq!(from_aws["containerDefinitions"][n][key], *value, "{key} of {}", path.display());
            }
        }

        // From the recorded answer as a file: the very document, with images of ECR pinned.
        front.forget();
        std::fs::write(dir.path().join("recorded.json"), recorded.to_string()).unwrap();
        let file = ["register-task-def", "--file", "recorded.json", "--always", "--preflight=false"];
        cutover(&file).await.expect(0);
        let mut document = expected(&recorded);
        for container in document["containerDefinitions"].as_array_mut().unwrap() {
            let image = container["image"].as_str().unwrap().to_owned();
            if image.contains(".dkr.ecr.") {
                let name = image.rsplit_once(':').unwrap().0;
                container["image"] = json!(format!("{name}@{DIGEST}"));
            }
        }
        assert_eq!(sent(), document, "{}", path.display());

        // And again without --always: nothing is left to do.
        front.forget();
        let file = ["register-task-def", "--file", "recorded.json", "--preflight=false", "--format", "json"];
        let ran = cutover(&file).await.expect(0).json();
        assert_eq!(ran["outputs"]["changed"], "false", "{}: {ran}", path.display());
        assert!(front.writes().is_empty());
    }
}

/// A definition that is registered as it stands.
fn web() -> Value {
    json!({
        "family": "web", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "containerDefinitions": [{"name": "app", "image": format!("nginx@{DIGEST}"), "portMappings": [{"containerPort": 80}]}],
    })
}

async fn from_file(world: &World, text: &str, more: &[&str]) -> Ran {
    std::fs::write(world.path("web.json"), text).unwrap();
    world.cutover(&[&["register-task-def", "--file", "web.json"], more].concat()).await
}

#[tokio::test]
async fn a_file_makes_the_first_revision_and_is_then_as_wanted() {
    let world = World::start().await;
    world.front.forget();
    let first = from_file(&world, &web().to_string(), &["--format", "json"]).await.expect(0).json();
    let arn = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/web:1");
    assert_eq!(first["outputs"]["task-definition-arn"], arn.as_str());
    assert_eq!(first["outputs"]["previous-task-definition-arn"], Value::Null);
    assert_eq!(world.front.writes()[0].request, web());
    world.front.forget();
    // Written another way, it is the same: ECS's own defaults, other units, another order of keys.
    let mut same = web();
    same["cpu"] = json!(".25 vCPU");
    same["containerDefinitions"][0]["essential"] = json!(true);
    same["containerDefinitions"][0]["portMappings"][0]["hostPort"] = json!(80);
    let again = from_file(&world, &same.to_string(), &["--format", "json"]).await.expect(0).json();
    assert_eq!(again["outputs"]["changed"], "false");
    assert_eq!(again["outputs"]["task-definition-arn"], arn.as_str());
    assert!(world.writes().is_empty());
    // A change is one, and --dry-run shows the very request.
    same["containerDefinitions"][0]["environment"] =
        json!([{"name": "MODE", "value": "a=b:c"}, {"name": "DB_PASSWORD", "value": "hunter2"}]);
    let dry = from_file(&world, &same.to_string(), &["--dry-run", "--format", "json"]).await.expect(0);
    let request = &dry.json()["plan"]["request"];
    assert_eq!(
        request["containerDefinitions"][0]["environment"],
        json!([{"name": "MODE", "value": "a=b:c"}, {"name": "DB_PASSWORD", "value": "***"}])
    );
    assert!(!format!("{dry:?}").contains("hunter2"));
    assert!(world.writes().is_empty());
}

#[tokio::test]
async fn what_is_wrong_in_a_file_is_said_with_its_place_and_nothing_is_written() {
    let world = World::start().await;
    world.front.forget();
    let container = |fields: &str| {
        format!(r#"{{"family":"web","containerDefinitions":[{{"name":"app","image":"x",{fields}}}]}}"#)
    };
    let cases: [(String, &[&str]); 12] = [
        (String::new(), &["read the task definition in web.json", "it is empty"]),
        ("family: web\n".into(), &["it is not JSON", "line 1 column 3"]),
        ("{\n\"family\": \"web\",\n\"cpu\": }".into(), &["line 3 column 8"]),
        (r#"["family"]"#.into(), &["it is not a JSON object"]),
        (r#"{"family":"a","family":"b"}"#.into(), &["the key `family` stands twice"]),
        (
            container(r#""enviroment":[]"#),
            &[
                "container app has the field enviroment",
                "did you mean environment?",
                "--allow-unknown-fields",
            ],
        ),
        (
            container(r#""environment":[{"name":"A","value":"1"},{"name":"A","value":"2"}]"#),
            &["A is twice in environment of container app"],
        ),
        (
            container(r#""environment":[{"name":"PORT","value":8080}]"#),
            &["value of PORT in environment of container app is a number"],
        ),
        (
            container(r#""environment":[{"name":"A","value":"x\u0000"}]"#),
            &["containerDefinitions[0].environment[0].value holds a NUL"],
        ),
        (
            container(
                r#""environment":[{"name":"DB","value":"x"}],"secrets":[{"name":"DB","valueFrom":"/db"}]"#,
            ),
            &["DB of container app is in both environment and secrets"],
        ),
        (
            r#"{"family":"web","containerDefinitions":[{"name":"a","image":"x"},{"name":"a","image":"y"}]}"#
                .into(),
            &["two containers have the name a"],
        ),
        (container(r#""command":["a b"],"image":"again""#), &["the key `image` stands twice"]),
    ];
    for (text, says) in cases {
        from_file(&world, &text, &[]).await.expect(2).says(says).says(&["nothing was changed"]);
    }
    world.cutover(&["register-task-def", "--file", "nowhere.json"]).await.expect(2).says(&[
        "nowhere.json",
        "No such file",
        "give the path of a JSON file",
    ]);
    assert!(world.writes().is_empty());
}

#[tokio::test]
async fn a_field_of_tomorrow_passes_from_a_file_only_on_purpose() {
    let world = World::start().await;
    let mut document = web();
    document["newField"] = json!({"a": ""});
    from_file(&world, &document.to_string(), &[]).await.expect(2).says(&["has the field newField"]);
    world.front.forget();
    from_file(&world, &document.to_string(), &["--allow-unknown-fields"])
        .await
        .expect(0)
        .says(&["has the field newField, which this version does not know: it is carried over as it is"]);
    assert_eq!(world.front.writes()[0].request, document);
}

const FROM: &str = "rally-prod/rally-prod-service";

#[tokio::test]
async fn edits_change_the_named_container_and_come_from_inputs_too() {
    let world = World::start().await;
    world.front.forget();
    let mut command = world.command(&["register-task-def"]);
    command
        .env("INPUT_FROM-SERVICE", FROM)
        .env("INPUT_ENV", format!("{CONTAINER}:MODE=a=b:c\n\n{CONTAINER}:EMPTY=now not\n"))
        .env("INPUT_COMMAND", format!(r#"{CONTAINER}=["java","-jar","a b.jar"]"#))
        .env("INPUT_MEMORY", "log-router=128")
        .env("INPUT_LABEL", "log-router:team=rally")
        .env("INPUT_PREFLIGHT", "false");
    run(command).await.expect(0).says(&["the preflight checks were left out"]);
    let sent = world.front.writes()[0].request.clone();
    let [app, router] = sent["containerDefinitions"].as_array().unwrap().as_slice() else { panic!("{sent}") };
    assert_eq!(
        app["environment"],
        json!([{"name": "EMPTY", "value": "now not"}, {"name": "MODE", "value": "a=b:c"}])
    );
    assert_eq!(app["command"], json!(["java", "-jar", "a b.jar"]));
    assert_eq!((&router["memory"], &router["dockerLabels"]), (&json!(128), &json!({"team": "rally"})));
    assert_eq!(router.get("command"), None);
    assert_eq!(sent["aFieldOfTomorrow"], json!({"kept": ["as", "it", "is", ""]}));
    // The service runs the older one; the same edits of it are there already.
    world.front.forget();
    let again = ["register-task-def", "--family", FAMILY, "--unset-env", &format!("{CONTAINER}:NOT_THERE")];
    world.cutover(&again).await.expect(0).says(&["has no NOT_THERE in environment", "nothing to do"]);
    assert!(world.writes().is_empty());
}

#[tokio::test]
async fn edits_that_cannot_be_meant_are_refused() {
    let world = World::start().await;
    world.front.forget();
    let secret = format!("{CONTAINER}:EMPTY=arn:aws:ssm:us-east-1:123456789012:parameter/x");
    let password = format!("{CONTAINER}:DB_PASSWORD=planted-correct horse");
    let command = format!("{CONTAINER}=run this");
    let cases: [(&[&str], i32, &[&str]); 9] = [
        (&[], 2, &["no base is given", "--from-service CLUSTER/SERVICE"]),
        (&["--from-service", FROM], 2, &["no edit is given"]),
        (&["--from-service", FROM, "--family", FAMILY], 2, &["a revision has one base"]),
        (&["--from-service", FROM, "--secret", &secret], 3, &["a variable can't be in both", "--unset-env"]),
        (
            &["--from-service", FROM, "--env", &password],
            3,
            &["in plain text", "--secret rally-prod-webapp:DB_PASSWORD=ARN"],
        ),
        (
            &["--from-service", FROM, "--env", "web:A=1"],
            3,
            &["has the containers rally-prod-webapp, log-router"],
        ),
        (&["--from-service", FROM, "--command", &command], 2, &["CONTAINER=[\"word\",\"word\"]"]),
        (&["--family", "nothing", "--env", "a:A=1"], 3, &["no such family with an active revision"]),
        (&["--base", "rally-prod:99"], 3, &["no such revision in us-east-1"]),
    ];
    for (args, code, says) in cases {
        let ran = world.cutover(&[&["register-task-def"], args].concat()).await.expect(code).says(says);
        assert!(!format!("{ran:?}").contains("planted-correct horse"));
    }
    assert!(world.writes().is_empty());
}

async fn call(service: &str, target: &str, document: Value) -> Value {
    let (status, answer) = shared_emulator().await.call(service, target, &document).await.unwrap();
    assert_eq!(status, 200, "{target}: {answer}");
    answer
}

#[tokio::test]
async fn what_a_task_needs_is_looked_for_and_all_that_is_missing_named_at_once() {
    let world = World::start().await;
    let this = own("this");
    let own = |name: &str| format!("{name}-{this}");
    for (role, service) in [("exec", "ecs-tasks.amazonaws.com"), ("lambda", "lambda.amazonaws.com")] {
        let trust = json!({"Statement": {"Effect": "Allow", "Principal": {"Service": [service]}, "Action": "sts:AssumeRole"}});
        let name = own(role);
        let parameters = [
            ("Action", "CreateRole"),
            ("Version", "2010-05-08"),
            ("RoleName", name.as_str()),
            ("AssumeRolePolicyDocument", &trust.to_string()),
        ];
        assert_eq!(shared_emulator().await.query("iam", &parameters).await.unwrap().0, 200);
    }
    // The group that is searched for is the prefix of another one.
    call("logs", "Logs_20140328.CreateLogGroup", json!({"logGroupName": own("group")})).await;
    call("logs", "Logs_20140328.CreateLogGroup", json!({"logGroupName": own("other/group-2")})).await;
    let parameter = format!("/{}", own("p"));
    call("ssm", "AmazonSSM.PutParameter", json!({"Name": parameter, "Type": "String", "Value": "v"})).await;
    let secret = json!({"Name": own("secret"), "SecretString": "s3cr3t-value"});
    let secret = call("secretsmanager", "secretsmanager.CreateSecret", secret).await["ARN"].clone();
    let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/team/{}", own(name));
    let mut good = web();
    good["executionRoleArn"] = json!(role("exec"));
    good["containerDefinitions"][0]["logConfiguration"] =
        json!({"logDriver": "awslogs", "options": {"awslogs-group": own("group"), "awslogs-region": REGION}});
    good["containerDefinitions"][0]["secrets"] = json!([
        {"name": "A", "valueFrom": parameter},
        {"name": "B", "valueFrom": format!("arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{parameter}")},
        {"name": "C", "valueFrom": format!("{}:key::", secret.as_str().unwrap())},
    ]);
    // By its name, which is no parameter's.
    good["containerDefinitions"][0]["repositoryCredentials"] = json!({"credentialsParameter": own("secret")});
    world.front.forget();
    from_file(&world, &good.to_string(), &[]).await.expect(0).says(&[
        "preflight: 7 OK\n",
        &format!("OK      secret {}: is there\n", own("secret")),
        "OK      execution role arn:aws:iam::123456789012:role/team/exec",
        "trusts ecs-tasks.amazonaws.com",
        "whether it holds the key key is not looked at",
    ]);
    assert_eq!(world.writes(), ["ecs:RegisterTaskDefinition"]);

    let mut bad = good.clone();
    bad["taskRoleArn"] = json!(role("lambda"));
    bad["executionRoleArn"] = json!(role("nobody"));
    bad["memory"] = json!("4096");
    let app = &mut bad["containerDefinitions"][0];
    app["portMappings"][0]["hostPort"] = json!(8080);
    app["logConfiguration"]["options"]["awslogs-group"] = json!(own("other/group"));
    app["secrets"][0]["valueFrom"] = json!("/nowhere/at-all");
    app["secrets"][2]["valueFrom"] =
        json!(format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:nowhere-AbCdEf"));
    world.front.forget();
    from_file(&world, &bad.to_string(), &[]).await.expect(3).says(&[
        "register a revision of web (1 container) that could not start",
        "Fargate size cpu 256, memory 4096: no Fargate size: with cpu 256, memory is 512 or 1024 to 2048",
        "hostPort 8080 is not containerPort 80",
        &format!("execution role {}: does not exist in account 123456789012", role("nobody")),
        &format!(
            "task role {}: its trust policy does not let ecs-tasks.amazonaws.com assume it",
            role("lambda")
        ),
        &format!("log group {}: does not exist in us-east-1", own("other/group")),
        "parameter /nowhere/at-all: does not exist",
        "secret:nowhere-AbCdEf: does not exist",
        "nothing was changed",
    ]);
    assert!(world.writes().is_empty());

    // What will be created later can be allowed, by its name.
    let mut later = good.clone();
    later["containerDefinitions"][0]["logConfiguration"]["options"]["awslogs-group"] = json!("made-later");
    from_file(&world, &later.to_string(), &["--allow-missing", "made-later"]).await.expect(0).says(&[
        "6 OK, 1 MISSING",
        "warning: log group made-later: does not exist in us-east-1; allowed by --allow-missing",
    ]);
}

#[tokio::test]
async fn a_check_that_is_not_permitted_is_skipped_and_never_ok() {
    let world = World::start().await;
    let mut document = web();
    document["executionRoleArn"] = json!(format!("arn:aws:iam::{ACCOUNT}:role/exec"));
    document["taskRoleArn"] = json!("arn:aws:iam::999999999999:role/theirs");
    document["containerDefinitions"][0]["logConfiguration"] =
        json!({"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": "eu-west-1"}});
    document["containerDefinitions"][0]["secrets"] = json!([
        {"name": "A", "valueFrom": "/a"},
        {"name": "B", "valueFrom": format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:b-AbCdEf")},
    ]);
    world.front.set_faults([
        Fault::access_denied("iam:GetRole"),
        Fault::access_denied("ssm:GetParameters"),
        Fault::access_denied("secretsmanager:DescribeSecret"),
    ]);
    from_file(&world, &document.to_string(), &[]).await.expect(0).says(&[
        "preflight: 1 OK, 5 SKIPPED",
        "SKIPPED execution role arn:aws:iam::123456789012:role/exec: no permission: allow iam:GetRole",
        "SKIPPED task role arn:aws:iam::999999999999:role/theirs: it is in account 999999999999",
        "SKIPPED log group g: it is in eu-west-1, not in us-east-1",
        "SKIPPED parameter /a: no permission: allow ssm:GetParameters",
        "no permission: allow secretsmanager:DescribeSecret",
    ]);
}

#[tokio::test]
async fn a_denied_registration_names_what_is_missing() {
    let world = World::start().await;
    let message = |action: &str, resource: &str| {
        format!(
            "User: arn:aws:sts::123456789012:assumed-role/ci/x is not authorized to perform: {action} on resource: {resource} because no identity-based policy allows the {action} action"
        )
    };
    for (action, resource) in [
        ("iam:PassRole", "arn:aws:iam::123456789012:role/exec"),
        ("ecs:TagResource", "arn:aws:ecs:us-east-1:123456789012:task-definition/web:*"),
    ] {
        world.front.set_faults([Fault::error(
            "ecs:RegisterTaskDefinition",
            400,
            "AccessDeniedException",
            &message(action, resource),
        )]);
        from_file(&world, &web().to_string(), &[])
            .await
            .expect(1)
            .says(&[&format!("allow `{action}` on {resource} for this principal"), "nothing was changed"]);
    }
}
