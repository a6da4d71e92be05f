//! Steps whose world is AWS alone.

use serde_json::json;

use super::Terminal;
use crate::world::{ACCOUNT, CLUSTER, CONTAINER, FAMILY, REGION, SERVICE, World, repository, scrubbed};
use crate::{alerts, copy_objects, maintenance};

#[tokio::test]
async fn copy_objects() {
    let stage = copy_objects::stage::Stage::on_double(testkit::s3::Options::default()).await;
    let headers = [("x-amz-meta-made-by", "backup.sh")];
    stage.put("Backups/jenkins-monday.tar", &headers, "Jenkins on Monday").await;
    // S3 keeps seconds, and of two that are equally new none is the newest.
    let when = async |name: &str| {
        let there = stage.send("HEAD", &format!("{}/Backups/{name}", stage.old), &[], Vec::new()).await;
        there.headers().get("last-modified").map(|time| time.to_str().unwrap().to_owned())
    };
    let monday = when("jenkins-monday.tar").await;
    loop {
        stage.put("Backups/jenkins-tuesday.tar", &headers, "Jenkins on Tuesday").await;
        if when("jenkins-tuesday.tar").await != monday {
            break;
        }
    }
    let mut command = scrubbed("cutover", stage.dir.path());
    command
        .env("AWS_ENDPOINT_URL", stage.front.url())
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "planted-secret-key");
    Terminal::new("copy-objects", &command).figure("s3://old-jenkins/Backups/: ", "9").plays().await;
    stage.is_played();
}

#[tokio::test]
async fn deploy_service() {
    let world = World::start().await;
    let digest = "@sha256:4b1f0c2be35a49860c1d7b7f2e9a3c5d8f60b4127d1f0c2be35a49860c1d7b7f";
    world.register(&repository("rally", digest)).await;
    // It ends at once.
    world.register("broken@sha256:2").await;
    Terminal::new("deploy-service", &world.command(&[]))
        .flag("interval", "10ms")
        .id("ecs-svc/", "6115012271165415860")
        .id("task ", "0c47ec51261e44588c4b6802276c90c0")
        .id("rally-prod/rally-prod-service/", "2156910c9e114fe09e320")
        .plays()
        .await;
    assert!(world.front.unmatched().is_empty(), "{:?}", world.front.unmatched());
}

#[tokio::test]
async fn maintenance_toggle() {
    let stage = maintenance::stage::Stage::start().await;
    Terminal::new("maintenance-toggle", &stage.world.command(&[]))
        .flag("name-server", stage.server())
        .flag("resolver", stage.server())
        .shown(stage.server(), "192.0.2.53:53")
        .shown(stage.url(), "http://api.theboss.test/")
        .shown(&stage.zone, "theboss.test")
        .shown(&stage.zone_id, "Z0123456789ABCDEFGHIJ")
        .figure("waited=", "75")
        .plays()
        .await;
}

#[tokio::test]
async fn mute_alerts() {
    let name = "ProductionAlerts";
    let topic = format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}");
    let stage = alerts::stage::Stage { world: World::start().await, name: name.to_owned(), topic };
    stage.sns(&[("Action", "CreateTopic"), ("Name", name)]).await;
    for address in ["anna@example.org", "operator@example.org"] {
        stage.subscribe("email", address).await;
    }
    let alarm = json!({
        "AlarmName": "production-api-errors", "AlarmActions": [stage.topic], "MetricName": "5XXError",
        "Namespace": "AWS/ApiGateway", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 5.0,
        "ComparisonOperator": "GreaterThanThreshold",
    });
    stage.monitoring("PutMetricAlarm", alarm).await;
    Terminal::new("mute-alerts", &stage.world.command(&[])).plays().await;
}

#[tokio::test]
async fn register_task_def() {
    let world = World::start().await;
    let name = "rally";
    world.ecr("CreateRepository", json!({"repositoryName": name})).await;
    let config = json!({"digest": format!("sha256:{}", "ab".repeat(32))});
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": []}).to_string();
    let image =
        json!({"repositoryName": name, "imageManifest": manifest, "imageTag": "RALLY-V2_1_0_0-RELEASE"});
    world.ecr("PutImage", image).await;
    // The world's own revision has a field that nobody knows.
    let container = json!({
        "name": CONTAINER, "image": repository(name, &format!("@sha256:{}", "4b1f0c2be35a4986".repeat(4))), "memory": 512,
    });
    let definition = json!({"family": FAMILY, "containerDefinitions": [container]});
    let now = world.call("RegisterTaskDefinition", definition).await;
    let arn = &now["taskDefinition"]["taskDefinitionArn"];
    world.call("UpdateService", json!({"cluster": CLUSTER, "service": SERVICE, "taskDefinition": arn})).await;
    world.settle().await;
    world.front.forget();
    Terminal::new("register-task-def", &world.command(&[])).plays().await;
    assert!(world.front.unmatched().is_empty(), "{:?}", world.front.unmatched());
}

#[tokio::test]
async fn toggle_schedule() {
    let stage = alerts::stage::Stage::start().await;
    let rule = stage.rule("ENABLED").await;
    Terminal::new("toggle-schedule", &stage.world.command(&[]))
        .shown(rule, "deleteEventRule.production.boss")
        .plays()
        .await;
}
