//! The task definition that the service has before the release: Rally's, or a recorded one of somebody's, put into this world.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};
use testkit::emulator::Emulator;

use super::seed;

const RALLY: &str = include_str!("task-definition.json");
const SERVICE: &str = include_str!("service.json");

/// A task definition that this world can run.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    /// What is registered.
    pub(super) document: Value,
    pub(super) family: String,
    /// The container whose image is released.
    pub(super) container: String,
    port: Value,
}

impl Definition {
    pub(super) fn rally() -> io::Result<Self> {
        Self::of(serde_json::from_str(RALLY)?)
    }

    /// A recorded answer of `DescribeTaskDefinition`, with or without what the recorder put around it, or the bare document.
    ///
    /// Its account and region become this world's; the first essential container with a port gets the image of the old release
    /// and, if it has none, the database's URL.
    ///
    /// # Errors
    /// The file can't be read, is no task definition, or has no container that could serve.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let named = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
        let recorded: Value =
            serde_json::from_str(&fs::read_to_string(path).map_err(|e| named(&e))?).map_err(|e| named(&e))?;
        let answer = recorded.get("data").unwrap_or(&recorded);
        let mut document = answer.get("taskDefinition").unwrap_or(answer).clone();
        if let Some(tags) = answer.get("tags").filter(|tags| **tags != json!([])) {
            document["tags"] = tags.clone();
        }
        if let Some(arn) = document["taskDefinitionArn"].as_str()
            && let [_, _, _, region, account, ..] = arn.split(':').collect::<Vec<_>>().as_slice()
        {
            let text = document.to_string().replace(region, seed::REGION).replace(account, seed::ACCOUNT);
            document = serde_json::from_str(&text)?;
        }
        let serves = |container: &&mut Value| {
            container["essential"] != json!(false)
                && container.pointer("/portMappings/0/containerPort").is_some()
        };
        let containers = document["containerDefinitions"].as_array_mut();
        let main = containers.into_iter().flatten().find(serves).ok_or_else(|| {
            named(&"no essential container has a port, so none could be the service that is released")
        })?;
        main["image"] = json!(format!("{}:{}", seed::repository_uri(), seed::OLD.tag));
        let mut secrets = main["secrets"].as_array().cloned().unwrap_or_default();
        if !secrets.iter().any(|secret| secret["name"] == "DATABASE_URL") {
            secrets.push(json!({ "name": "DATABASE_URL", "valueFrom": seed::DATABASE_URL_PARAMETER }));
            main["secrets"] = json!(secrets);
        }
        Self::of(document).map_err(|error| named(&error))
    }

    fn of(document: Value) -> io::Result<Self> {
        let image = format!("{}:", seed::repository_uri());
        let containers = document["containerDefinitions"].as_array().into_iter().flatten();
        let main = containers
            .into_iter()
            .find(|container| container["image"].as_str().is_some_and(|name| name.starts_with(&image)));
        let found = main.and_then(|main| {
            let port = main.pointer("/portMappings/0/containerPort")?.clone();
            Some((document["family"].as_str()?.to_owned(), main["name"].as_str()?.to_owned(), port))
        });
        let (family, container, port) =
            found.ok_or_else(|| io::Error::other("it lacks a family or a container with a name"))?;
        Ok(Self { document, family, container, port })
    }

    /// The service that runs it, behind the load balancer's target group of that ARN.
    pub(super) fn service(&self, target_group: &str) -> io::Result<Value> {
        let mut service: Value = serde_json::from_str(SERVICE)?;
        service["taskDefinition"] = json!(self.family);
        let balancer = &mut service["loadBalancers"][0];
        balancer["targetGroupArn"] = json!(target_group);
        balancer["containerName"] = json!(self.container);
        balancer["containerPort"] = self.port.clone();
        let fargate = json!("FARGATE");
        let compatible = self.document["requiresCompatibilities"].as_array();
        if !compatible.is_some_and(|compatible| compatible.contains(&fargate)) {
            service["launchType"] = json!("EC2");
            service.as_object_mut().map(|service| service.shift_remove("platformVersion"));
        }
        if self.document["networkMode"] != "awsvpc" {
            service.as_object_mut().map(|service| service.shift_remove("networkConfiguration"));
        }
        Ok(service)
    }

    /// The images of the containers beside the released one.
    pub(super) fn sidecars(&self) -> BTreeSet<String> {
        let others = self.containers().filter(|container| container["name"] != self.container.as_str());
        others.filter_map(|container| container["image"].as_str()).map(str::to_owned).collect()
    }

    /// Where the values of secrets come from.
    pub(super) fn secrets(&self) -> BTreeSet<String> {
        let secrets = self.containers().filter_map(|container| container["secrets"].as_array()).flatten();
        secrets.filter_map(|secret| secret["valueFrom"].as_str()).map(str::to_owned).collect()
    }

    fn containers(&self) -> impl Iterator<Item = &Value> {
        self.document["containerDefinitions"].as_array().into_iter().flatten()
    }

    /// Makes what it refers to: roles, log groups, parameters and secrets.
    pub(super) async fn references(&self, emulator: &Emulator) -> io::Result<()> {
        for field in ["taskRoleArn", "executionRoleArn"] {
            let role = self.document[field].as_str().and_then(|arn| arn.rsplit('/').next());
            if let Some(role) = role {
                make_role(emulator, role).await?;
            }
        }
        for container in self.containers() {
            let group = container.pointer("/logConfiguration/options/awslogs-group").and_then(Value::as_str);
            if let Some(group) = group {
                let document = json!({ "logGroupName": group });
                let present = ["ResourceAlreadyExistsException"];
                seed::call(emulator, "logs", "Logs_20140328.CreateLogGroup", &document, &present).await?;
            }
        }
        for from in self.secrets() {
            if from == seed::DATABASE_URL_PARAMETER {
                continue;
            }
            if let Some((_, secret)) = from.split_once(":secret:") {
                // The name alone: AWS adds six characters of its own, and `:json-key:stage:version` may follow.
                let name = secret.split(':').next().unwrap_or(secret);
                let document = json!({ "Name": name, "SecretString": "of this world alone" });
                let present = ["ResourceExistsException"];
                seed::call(emulator, "secretsmanager", "secretsmanager.CreateSecret", &document, &present)
                    .await?;
            } else {
                let name = from.split_once(":parameter").map_or(from.as_str(), |(_, name)| name);
                let document =
                    json!({ "Name": name, "Type": "SecureString", "Value": "of this world alone" });
                let present = ["ParameterAlreadyExists"];
                seed::call(emulator, "ssm", "AmazonSSM.PutParameter", &document, &present).await?;
            }
        }
        Ok(())
    }
}

/// The target group of the load balancer; gives its ARN, which AWS makes.
pub(super) async fn target_group(emulator: &Emulator) -> io::Result<String> {
    let create = [
        ("Action", "CreateTargetGroup"),
        ("Version", "2015-12-01"),
        ("Name", seed::SERVICE),
        ("Protocol", "HTTP"),
        ("Port", "8080"),
        ("TargetType", "ip"),
        ("VpcId", "vpc-0a1b2c3d4e5f60718"),
    ];
    let find =
        [("Action", "DescribeTargetGroups"), ("Version", "2015-12-01"), ("Names.member.1", seed::SERVICE)];
    let mut said = String::new();
    for parameters in [&find[..], &create] {
        let (status, answer) = emulator.query("elasticloadbalancing", parameters).await?;
        let arn =
            answer.split_once("<TargetGroupArn>").and_then(|(_, rest)| rest.split_once("</TargetGroupArn>"));
        if let Some((arn, _)) = arn {
            return Ok(arn.to_owned());
        }
        said = format!("{status}: {answer}");
    }
    Err(io::Error::other(format!("the emulator refused the target group with {said}")))
}

async fn make_role(emulator: &Emulator, name: &str) -> io::Result<()> {
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "Service": "ecs-tasks.amazonaws.com" }, "Action": "sts:AssumeRole",
    }] });
    let parameters = [
        ("Action", "CreateRole"),
        ("Version", "2010-05-08"),
        ("RoleName", name),
        ("AssumeRolePolicyDocument", &trust.to_string()),
    ];
    let (status, answer) = emulator.query("iam", &parameters).await?;
    if status == 200 || answer.contains("<Code>EntityAlreadyExists</Code>") {
        return Ok(());
    }
    Err(io::Error::other(format!("the emulator refused the role {name} with {status}: {answer}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &Value) -> io::Result<Definition> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), document.to_string())?;
        Definition::read(file.path())
    }

    fn recorded() -> Value {
        json!({"status_code": 200, "data": {
            "taskDefinition": {
                "taskDefinitionArn": "arn:aws:ecs:us-east-2:644160558196:task-definition/web:75",
                "family": "web",
                "networkMode": "bridge",
                "executionRoleArn": "arn:aws:iam::644160558196:role/web",
                "aFieldOfTomorrow": [""],
                "containerDefinitions": [
                    {"name": "agent", "image": "agent:1", "essential": false, "portMappings": [{"containerPort": 1}]},
                    {"name": "server", "image": "644160558196.dkr.ecr.us-east-2.amazonaws.com/web:1",
                     "portMappings": [{"containerPort": 5000}],
                     "secrets": [{"name": "KEY", "valueFrom": "arn:aws:ssm:us-east-2:644160558196:parameter/web/key"}]},
                ],
            },
            "tags": [{"key": "App", "value": "Web"}],
        }})
    }

    #[test]
    fn a_recorded_definition_is_put_into_this_world() {
        let definition = read(&recorded()).unwrap();
        assert_eq!((definition.family.as_str(), definition.container.as_str()), ("web", "server"));
        let document = &definition.document;
        assert_eq!(document["executionRoleArn"], "arn:aws:iam::123456789012:role/web");
        assert_eq!(document["aFieldOfTomorrow"], json!([""]));
        assert_eq!(document["tags"][0]["value"], "Web");
        let server = &document["containerDefinitions"][1];
        assert_eq!(
            server["image"],
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/rally-prod:RALLY-V2_0_1_11-RELEASE"
        );
        assert_eq!(server["secrets"][0]["valueFrom"], "arn:aws:ssm:us-east-1:123456789012:parameter/web/key");
        assert_eq!(server["secrets"][1]["name"], "DATABASE_URL");
        assert_eq!(definition.sidecars().into_iter().collect::<Vec<_>>(), ["agent:1"]);
        let service = definition.service("arn:of-the-group").unwrap();
        assert_eq!(service["loadBalancers"][0]["targetGroupArn"], "arn:of-the-group");
        assert_eq!((&service["taskDefinition"], &service["launchType"]), (&json!("web"), &json!("EC2")));
        assert_eq!(service["loadBalancers"][0]["containerName"], "server");
        assert_eq!(service["loadBalancers"][0]["containerPort"], 5000);
        assert!(service.get("networkConfiguration").is_none() && service.get("platformVersion").is_none());
    }

    #[test]
    fn one_that_could_not_serve_is_refused() {
        let mut document = recorded();
        document["data"]["taskDefinition"]["containerDefinitions"][1]["portMappings"] = json!([]);
        let error = read(&document).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "no essential container has a port, so none could be the service that is released"
            ),
            "{error}"
        );
        assert!(read(&json!({"family": "web"})).is_err());
    }

    #[test]
    fn rallys_own_is_as_its_service_has_it() {
        let definition = Definition::rally().unwrap();
        let service: Value = serde_json::from_str(SERVICE).unwrap();
        let group = service["loadBalancers"][0]["targetGroupArn"].as_str().unwrap();
        assert_eq!(definition.service(group).unwrap(), service);
        assert_eq!(definition.container, "rally-prod-webapp");
    }
}
