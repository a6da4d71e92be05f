use super::*;

/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html>
#[tokio::test]
async fn missing_resources() {
    let ecs = Ecs::new(ScriptedLauncher::new(&[("v1", Behaviour::Healthy(0))]), settings());
    steady(&ecs, json!({})).await;
    let prefix = "arn:aws:ecs:us-east-1:123456789012";

    let answer = ecs
        .call("DescribeServices", json!({"cluster": "prod", "services": ["rally", "gone"]}))
        .await
        .unwrap();
    assert_eq!(answer["services"].as_array().unwrap().len(), 1);
    assert_eq!(
        answer["failures"],
        json!([{"arn": format!("{prefix}:service/prod/gone"), "reason": "MISSING"}])
    );

    let answer = ecs.call("DescribeTasks", json!({"cluster": "prod", "tasks": ["0123"]})).await.unwrap();
    assert_eq!(answer["tasks"], json!([]));
    assert_eq!(answer["failures"], json!([{"arn": format!("{prefix}:task/prod/0123"), "reason": "MISSING"}]));

    let answer = ecs.call("DescribeClusters", json!({"clusters": ["prod", "gone"]})).await.unwrap();
    assert_eq!(answer["clusters"][0]["runningTasksCount"], 2);
    assert_eq!(answer["failures"], json!([{"arn": format!("{prefix}:cluster/gone"), "reason": "MISSING"}]));

    for (operation, request, expected) in [
        ("DescribeServices", json!({"cluster": "gone", "services": ["rally"]}), "ClusterNotFoundException"),
        ("DescribeServices", json!({"services": ["rally"]}), "ClusterNotFoundException"),
        ("ListTasks", json!({"cluster": "prod", "serviceName": "gone"}), "ServiceNotFoundException"),
        ("UpdateService", json!({"cluster": "prod", "service": "gone"}), "ServiceNotFoundException"),
        ("ListServiceDeployments", json!({"cluster": "prod", "service": "gone"}), "ServiceNotFoundException"),
        (
            "DescribeServices",
            json!({"cluster": "prod", "services": vec!["s"; 11]}),
            "InvalidParameterException",
        ),
        ("DescribeTasks", json!({"cluster": "prod", "tasks": vec!["t"; 101]}), "InvalidParameterException"),
        (
            "DescribeServiceDeployments",
            json!({"serviceDeploymentArns": vec!["d"; 21]}),
            "InvalidParameterException",
        ),
    ] {
        assert_eq!(code(ecs.call(operation, request).await), expected, "{operation}");
    }
    let again = json!({"cluster": "prod", "serviceName": "rally", "taskDefinition": "rally-prod"});
    let error = ecs.call("CreateService", again).await.unwrap_err();
    assert_eq!(error.message(), "Creation of service was not idempotent.");
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html>
#[tokio::test]
async fn tasks_are_listed_by_service_starter_and_family_and_in_pages() {
    let ecs = Ecs::new(ScriptedLauncher::new(&[("v1", Behaviour::Healthy(0))]), settings());
    steady(&ecs, json!({})).await;
    let other = json!({"cluster": "prod", "serviceName": "other", "taskDefinition": "rally-prod", "desiredCount": 120});
    ecs.call("CreateService", other).await.unwrap();
    for _ in 0..2 {
        ecs.call("DescribeServices", json!({"cluster": "prod", "services": ["other"]})).await.unwrap();
    }
    let list = async |request: Value| ecs.call("ListTasks", request).await.unwrap();
    let first = list(json!({"cluster": "prod", "serviceName": "other"})).await;
    assert_eq!(first["taskArns"].as_array().unwrap().len(), 100);
    let second =
        list(json!({"cluster": "prod", "serviceName": "other", "nextToken": first["nextToken"]})).await;
    assert_eq!(second["taskArns"].as_array().unwrap().len(), 20);
    assert_eq!(second.get("nextToken"), None);

    let id = service(&ecs).await["deployments"][0]["id"].clone();
    let started = list(json!({"cluster": "prod", "startedBy": id})).await;
    let of_service = list(json!({"cluster": "prod", "serviceName": "rally"})).await;
    assert_eq!(started, of_service);
    assert_eq!(started["taskArns"].as_array().unwrap().len(), 2);
    let family = list(json!({"cluster": "prod", "family": "rally-prod", "maxResults": 1})).await;
    assert_eq!(family["taskArns"].as_array().unwrap().len(), 1);
    for none in [
        json!({"cluster": "prod", "family": "rally"}),
        json!({"cluster": "prod", "desiredStatus": "STOPPED"}),
        json!({"cluster": "prod", "desiredStatus": "PENDING"}),
    ] {
        assert_eq!(list(none).await, json!({"taskArns": []}));
    }
    // "When you specify startedBy as the filter, it must be the only filter that you use."
    let both = json!({"cluster": "prod", "startedBy": id, "desiredStatus": "STOPPED"});
    assert_eq!(code(ecs.call("ListTasks", both).await), "InvalidParameterException");
}

/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html>
#[tokio::test]
async fn service_deployments_are_listed_by_time_and_state_and_in_pages() {
    let ecs = Ecs::new(ScriptedLauncher::new(&[("v1", Behaviour::Healthy(0))]), settings());
    steady(&ecs, json!({})).await;
    let arn = service(&ecs).await["serviceArn"].clone();
    for _ in 0..3 {
        let force = json!({"cluster": "prod", "service": "rally", "forceNewDeployment": true});
        ecs.call("UpdateService", force).await.unwrap();
        until(&ecs, |s| s["deployments"].as_array().unwrap().len() == 1).await;
    }
    // An ARN needs no cluster.
    let all = ecs.call("ListServiceDeployments", json!({"service": arn})).await.unwrap();
    let all = all["serviceDeployments"].as_array().unwrap().clone();
    assert_eq!(all.len(), 4);
    let times: Vec<_> = all.iter().map(|d| d["createdAt"].as_f64().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a > b), "newest first");
    let page = json!({"service": arn, "maxResults": 3});
    let first = ecs.call("ListServiceDeployments", page).await.unwrap();
    let page = json!({"service": arn, "maxResults": 3, "nextToken": first["nextToken"]});
    let second = ecs.call("ListServiceDeployments", page).await.unwrap();
    assert_eq!(second, json!({"serviceDeployments": [all[3]]}));
    let after = json!({"service": arn, "createdAt": {"after": times[1]}, "status": ["SUCCESSFUL"]});
    let after = ecs.call("ListServiceDeployments", after).await.unwrap();
    assert_eq!(after["serviceDeployments"].as_array().unwrap()[..], all[..2]);
    let unknown = json!({"serviceDeploymentArns": ["arn:none"]});
    let unknown = ecs.call("DescribeServiceDeployments", unknown).await.unwrap();
    assert_eq!(unknown["failures"], json!([{"arn": "arn:none", "reason": "MISSING"}]));
}

/// <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>
#[tokio::test]
async fn protocol_over_http() {
    let ecs = Ecs::new(ScriptedLauncher::default(), settings());
    let server = ecs.serve().await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |target: &str, body: &str| {
        let request = client.post(server.url()).header("x-amz-target", target).body(body.to_owned());
        let answer = request.header("content-type", "application/x-amz-json-1.1").send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/x-amz-json-1.1");
        (answer.status().as_u16(), serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
    };
    let prefix = "AmazonEC2ContainerServiceV20141113";
    let (status, body) = post(&format!("{prefix}.CreateCluster"), r#"{"clusterName":"prod"}"#).await;
    assert_eq!((status, &body["cluster"]["status"]), (200, &json!("ACTIVE")));
    let (status, body) =
        post(&format!("{prefix}.DescribeTaskDefinition"), r#"{"taskDefinition":"web"}"#).await;
    let expected = json!({"__type": "ClientException", "message": "Unable to describe task definition."});
    assert_eq!((status, body), (400, expected));
    for (target, body, code) in [
        (format!("{prefix}.DeleteService"), "{}", "UnknownOperationException"),
        ("Other.CreateCluster".to_owned(), "{}", "UnknownOperationException"),
        (format!("{prefix}.CreateCluster"), "{", "SerializationException"),
    ] {
        let (status, answer) = post(&target, body).await;
        assert_eq!((status, &answer["__type"]), (400, &json!(code)));
    }
    assert_eq!(
        ecs.call("DeleteService", json!({})).await,
        Err(EcsError::UnknownOperation("DeleteService".to_owned()))
    );
}

#[tokio::test]
async fn the_front_mounts_it() {
    let ecs = Ecs::new(ScriptedLauncher::default(), settings());
    let front = crate::front::Front::builder().service(Arc::new(ecs)).start().await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |operation: &str, body: Value| {
        let scope =
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/ecs/aws4_request, Signature=0";
        let request = client.post(front.url()).header("authorization", scope).body(body.to_string());
        let request =
            request.header("x-amz-target", format!("AmazonEC2ContainerServiceV20141113.{operation}"));
        let answer = request.header("content-type", "application/x-amz-json-1.1").send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
    };
    let (status, body) = post("CreateCluster", json!({"clusterName": "prod"})).await;
    assert_eq!((status, &body["cluster"]["clusterName"]), (200, &json!("prod")));
    let (status, body) = post("DescribeServices", json!({"cluster": "gone", "services": ["web"]})).await;
    assert_eq!(
        (status, body),
        (400, json!({"__type": "ClusterNotFoundException", "message": "Cluster not found."}))
    );
    let (status, body) = post("DeleteService", json!({})).await;
    assert_eq!((status, &body["__type"]), (400, &json!("UnknownOperationException")));
}
