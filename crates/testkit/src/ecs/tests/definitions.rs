use super::*;

async fn ecs() -> Ecs {
    let ecs = Ecs::new(ScriptedLauncher::default(), settings());
    ecs.call("CreateCluster", json!({})).await.unwrap();
    ecs
}

async fn describe(ecs: &Ecs, name: &str) -> Value {
    ecs.call("DescribeTaskDefinition", json!({"taskDefinition": name})).await.unwrap()["taskDefinition"]
        .take()
}

fn smallest(family: &str) -> Value {
    json!({"family": family, "containerDefinitions": [{"name": "web", "image": "nginx", "memory": 64}]})
}

/// The shape of the recorded `RegisterTaskDefinition`, and the defaults of
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html>.
#[tokio::test]
async fn register_fills_what_ecs_fills() {
    let ecs = ecs().await;
    let answer = ecs
        .call(
            "RegisterTaskDefinition",
            json!({
                "family": "rally-prod",
                "networkMode": "awsvpc",
                "requiresCompatibilities": ["FARGATE"],
                "cpu": "1 vCPU",
                "memory": "2 GB",
                "executionRoleArn": "arn:aws:iam::123456789012:role/exec",
                "containerDefinitions": [{
                    "name": "web",
                    "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/rally:1",
                    "portMappings": [{"containerPort": 8080}],
                    "healthCheck": {"command": ["CMD", "true"]},
                    "environment": [{"name": "EMPTY", "value": ""}],
                    "logConfiguration": {"logDriver": "awslogs"},
                }],
                "tags": [{"key": "App", "value": "Rally"}],
            }),
        )
        .await
        .unwrap();
    let definition = &answer["taskDefinition"];
    assert_eq!(
        definition["containerDefinitions"],
        json!([{
            "name": "web",
            "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/rally:1",
            "portMappings": [{"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}],
            "healthCheck": {"command": ["CMD", "true"], "interval": 30, "timeout": 5, "retries": 3},
            "environment": [{"name": "EMPTY", "value": ""}],
            "logConfiguration": {"logDriver": "awslogs"},
            "cpu": 0,
            "essential": true,
            "mountPoints": [],
            "volumesFrom": [],
            "systemControls": [],
        }])
    );
    assert_eq!(
        definition["taskDefinitionArn"],
        "arn:aws:ecs:us-east-1:123456789012:task-definition/rally-prod:1"
    );
    assert_eq!(definition["revision"], 1);
    assert_eq!(definition["status"], "ACTIVE");
    assert_eq!(definition["cpu"], "1024");
    assert_eq!(definition["memory"], "2048");
    assert_eq!(definition["volumes"], json!([]));
    assert_eq!(definition["placementConstraints"], json!([]));
    assert_eq!(definition["compatibilities"], json!(["EC2", "FARGATE"]));
    let attributes = definition["requiresAttributes"].as_array().unwrap();
    for name in [
        "com.amazonaws.ecs.capability.ecr-auth",
        "ecs.capability.task-eni",
        "ecs.capability.execution-role-awslogs",
    ] {
        assert!(attributes.contains(&json!({"name": name})), "{name}");
    }
    assert!(definition["registeredAt"].is_f64());
    assert!(definition["registeredBy"].as_str().unwrap().starts_with("arn:aws:"));
    // Tags come beside the definition, and DescribeTaskDefinition shows them only when asked.
    assert_eq!(definition.get("tags"), None);
    assert_eq!(answer["tags"], json!([{"key": "App", "value": "Rally"}]));
    let plain = ecs.call("DescribeTaskDefinition", json!({"taskDefinition": "rally-prod"})).await.unwrap();
    assert_eq!(plain.get("tags"), None);
    let tagged = json!({"taskDefinition": "rally-prod", "include": ["TAGS"]});
    let tagged = ecs.call("DescribeTaskDefinition", tagged).await.unwrap();
    assert_eq!(tagged, answer);
}

/// "For containers in a task with the bridge network mode ... your container automatically receives a port":
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html>
#[tokio::test]
async fn bridge_mode_takes_a_free_host_port() {
    let ecs = ecs().await;
    let mut request = smallest("web");
    request["containerDefinitions"][0]["portMappings"] = json!([{"containerPort": 80, "protocol": "udp"}]);
    ecs.call("RegisterTaskDefinition", request).await.unwrap();
    let definition = describe(&ecs, "web").await;
    assert_eq!(
        definition["containerDefinitions"][0]["portMappings"],
        json!([{"containerPort": 80, "protocol": "udp", "hostPort": 0}])
    );
    assert_eq!(definition["compatibilities"], json!(["EXTERNAL", "EC2"]));
}

#[tokio::test]
async fn unknown_fields_survive_and_read_only_ones_do_not() {
    let ecs = ecs().await;
    let mut request = smallest("web");
    request["futureField"] = json!({"nested": [1, {"deep": ""}]});
    request["containerDefinitions"][0]["versionConsistency"] = json!("disabled");
    request["containerDefinitions"][0]["futureField"] = json!(null);
    request["revision"] = json!(99);
    request["deregisteredAt"] = json!(1.0);
    ecs.call("RegisterTaskDefinition", request).await.unwrap();
    let definition = describe(&ecs, "web").await;
    assert_eq!(definition["futureField"], json!({"nested": [1, {"deep": ""}]}));
    assert_eq!(definition["containerDefinitions"][0]["versionConsistency"], "disabled");
    assert_eq!(definition["revision"], 1);
    assert_eq!(definition.get("deregisteredAt"), None);
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTaskDefinition.html>: "simply specify the family to
/// find the latest ACTIVE revision"; the message is the one that ECS gives.
#[tokio::test]
async fn revisions_count_per_family_and_the_newest_active_one_is_the_family() {
    let ecs = ecs().await;
    for _ in 0..3 {
        ecs.call("RegisterTaskDefinition", smallest("web")).await.unwrap();
    }
    let other = ecs.call("RegisterTaskDefinition", smallest("web-admin")).await.unwrap();
    assert_eq!(other["taskDefinition"]["revision"], 1);
    assert_eq!(describe(&ecs, "web").await["revision"], 3);
    let gone = ecs.call("DeregisterTaskDefinition", json!({"taskDefinition": "web:3"})).await.unwrap();
    assert_eq!(gone["taskDefinition"]["status"], "INACTIVE");
    assert!(gone["taskDefinition"]["deregisteredAt"].is_f64());
    assert_eq!(describe(&ecs, "web").await["revision"], 2);
    assert_eq!(describe(&ecs, "web:3").await["status"], "INACTIVE");
    let arn = "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1";
    assert_eq!(describe(&ecs, arn).await["taskDefinitionArn"], arn);
    // A number is never given twice.
    let next = ecs.call("RegisterTaskDefinition", smallest("web")).await.unwrap();
    assert_eq!(next["taskDefinition"]["revision"], 4);
    for missing in
        ["nope", "web:5", "web:0", "web:x", "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:1"]
    {
        let error = ecs.call("DescribeTaskDefinition", json!({"taskDefinition": missing})).await.unwrap_err();
        let body = json!({"__type": "ClientException", "message": "Unable to describe task definition."});
        assert_eq!(error.body(), body, "{missing}");
    }
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTaskDefinitions.html>: "the full family name", "ascending
/// numerical order by revision".
#[tokio::test]
async fn list_is_by_exact_family_in_numerical_order_and_in_pages() {
    let ecs = ecs().await;
    for _ in 0..11 {
        ecs.call("RegisterTaskDefinition", smallest("web")).await.unwrap();
    }
    ecs.call("RegisterTaskDefinition", smallest("web-admin")).await.unwrap();
    ecs.call("DeregisterTaskDefinition", json!({"taskDefinition": "web:7"})).await.unwrap();

    let mut found = Vec::new();
    let mut request = json!({"familyPrefix": "web", "sort": "DESC", "maxResults": 4});
    let mut pages = 0;
    loop {
        let page = ecs.call("ListTaskDefinitions", request.clone()).await.unwrap();
        pages += 1;
        let arns = page["taskDefinitionArns"].as_array().unwrap().clone();
        found.extend(arns.iter().map(|a| a.as_str().unwrap().rsplit(':').next().unwrap().to_owned()));
        match page.get("nextToken") {
            Some(token) => request["nextToken"] = token.clone(),
            None => break,
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(found, ["11", "10", "9", "8", "6", "5", "4", "3", "2", "1"]);
    let inactive = ecs.call("ListTaskDefinitions", json!({"status": "INACTIVE"})).await.unwrap();
    assert_eq!(
        inactive,
        json!({"taskDefinitionArns": ["arn:aws:ecs:us-east-1:123456789012:task-definition/web:7"]})
    );
    let all = ecs.call("ListTaskDefinitions", json!({})).await.unwrap();
    assert_eq!(all["taskDefinitionArns"].as_array().unwrap().len(), 11);
    for bad in [json!({"maxResults": 0}), json!({"maxResults": 101}), json!({"nextToken": "made up"})] {
        assert_eq!(code(ecs.call("ListTaskDefinitions", bad).await), "InvalidParameterException");
    }
}

#[tokio::test]
async fn bad_definitions_are_refused_and_take_no_revision_number() {
    let ecs = ecs().await;
    let mut twice = smallest("web");
    let container = twice["containerDefinitions"][0].clone();
    twice["containerDefinitions"].as_array_mut().unwrap().push(container);
    let mut unsized_ = smallest("web");
    unsized_["containerDefinitions"][0].as_object_mut().unwrap().remove("memory");
    let mut untagged = smallest("web");
    untagged["tags"] = json!([]);
    for (request, code, text) in [
        (smallest("no spaces"), "ClientException", "Family"),
        (json!({"family": "web"}), "ClientException", "Container list"),
        (
            json!({"family": "web", "containerDefinitions": [{"name": "web"}]}),
            "ClientException",
            "Container.image",
        ),
        (twice, "ClientException", "unique"),
        (unsized_, "ClientException", "At least one of 'memory' or 'memoryReservation' must be specified."),
        (untagged, "InvalidParameterException", "Tags can not be empty."),
    ] {
        let error = ecs.call("RegisterTaskDefinition", request).await.unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.message().contains(text), "{error}");
    }
    let first = ecs.call("RegisterTaskDefinition", smallest("web")).await.unwrap();
    assert_eq!(first["taskDefinition"]["revision"], 1);
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TagResource.html>
#[tokio::test]
async fn tags_can_be_changed() {
    let ecs = ecs().await;
    let answer = ecs.call("RegisterTaskDefinition", smallest("web")).await.unwrap();
    let arn = answer["taskDefinition"]["taskDefinitionArn"].clone();
    let tag = |key: &str, value: &str| json!({"key": key, "value": value});
    for tags in [json!([tag("a", "1"), tag("b", "1")]), json!([tag("a", "2")])] {
        ecs.call("TagResource", json!({"resourceArn": arn, "tags": tags})).await.unwrap();
    }
    ecs.call("UntagResource", json!({"resourceArn": arn, "tagKeys": ["b"]})).await.unwrap();
    let tags = ecs.call("ListTagsForResource", json!({"resourceArn": arn})).await.unwrap();
    assert_eq!(tags, json!({"tags": [tag("a", "2")]}));
    let unknown = json!({"resourceArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/web:2"});
    assert_eq!(code(ecs.call("ListTagsForResource", unknown).await), "ResourceNotFoundException");
}
