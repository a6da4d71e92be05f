//! What a task needs beside its definition, and whether it is there. Judgement alone; [`crate::probe`] asks.

use aws::Arn;
use serde::Serialize;
use serde_json::Value;

use crate::canonical::in_units;

/// Something that a task of the document needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// An IAM role by name or ARN, and the field that names it.
    Role { field: &'static str, name: String },
    /// A log group, in a region or in this one; ECS makes it with `create`.
    LogGroup { name: String, region: Option<String>, create: bool },
    /// An SSM parameter by name or ARN.
    Parameter { name: String },
    /// A Secrets Manager secret by its name, or by ARN with the `:json-key:version-stage:version-id` that may follow.
    Secret { id: String },
    /// A file with variables in S3.
    EnvironmentFile { arn: String },
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Ok(String),
    Missing(String),
    /// It is there, and tasks can't start with it as it is.
    Wrong(String),
    /// Nobody could look, and why.
    Skipped(String),
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Checked {
    /// "execution role", "log group".
    pub(crate) kind: String,
    /// As the document names it.
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
}

impl Checked {
    pub(crate) fn new(kind: impl Into<String>, name: impl Into<String>, verdict: Verdict) -> Self {
        Self { kind: kind.into(), name: name.into(), verdict }
    }

    /// Whether tasks could not start.
    pub(crate) fn fails(&self) -> bool {
        matches!(self.verdict, Verdict::Missing(_) | Verdict::Wrong(_))
    }

    /// A line of the table.
    pub(crate) fn line(&self) -> String {
        let (mark, text) = match &self.verdict {
            Verdict::Ok(text) => ("OK", text),
            Verdict::Missing(text) => ("MISSING", text),
            Verdict::Wrong(text) => ("WRONG", text),
            Verdict::Skipped(text) => ("SKIPPED", text),
        };
        format!("{mark:<7} {} {}: {text}", self.kind, self.name)
    }

    /// For a refusal that names all that fails.
    pub(crate) fn complaint(&self) -> String {
        match &self.verdict {
            Verdict::Missing(text) | Verdict::Wrong(text) | Verdict::Ok(text) | Verdict::Skipped(text) => {
                format!("{} {}: {text}", self.kind, self.name)
            }
        }
    }
}

/// "3 OK, 1 SKIPPED"; a skipped check never counts as OK.
pub(crate) fn counted(checks: &[Checked]) -> String {
    let count = |test: &dyn Fn(&Verdict) -> bool| checks.iter().filter(|check| test(&check.verdict)).count();
    let counts = [
        (count(&|verdict| matches!(verdict, Verdict::Ok(_))), "OK"),
        (count(&|verdict| matches!(verdict, Verdict::Missing(_))), "MISSING"),
        (count(&|verdict| matches!(verdict, Verdict::Wrong(_))), "WRONG"),
        (count(&|verdict| matches!(verdict, Verdict::Skipped(_))), "SKIPPED"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, mark)| *count > 0 || *mark == "OK")
        .map(|(count, mark)| format!("{count} {mark}"))
        .collect();
    counts.join(", ")
}

/// Everything that the document needs, each once, in the document's order.
pub(crate) fn needs(document: &Value) -> Vec<Need> {
    let mut needs = Vec::new();
    for field in ["executionRoleArn", "taskRoleArn"] {
        if let Some(name) = document[field].as_str().filter(|name| !name.is_empty()) {
            needs.push(Need::Role { field, name: name.to_owned() });
        }
    }
    for container in document["containerDefinitions"].as_array().into_iter().flatten() {
        let log = &container["logConfiguration"];
        if log["logDriver"] == "awslogs"
            && let Some(name) = log["options"]["awslogs-group"].as_str()
        {
            needs.push(Need::LogGroup {
                name: name.to_owned(),
                region: log["options"]["awslogs-region"].as_str().map(str::to_owned),
                create: log["options"]["awslogs-create-group"]
                    .as_str()
                    .is_some_and(|text| text.eq_ignore_ascii_case("true")),
            });
        }
        let lists = [&container["secrets"], &log["secretOptions"]];
        let secrets = lists.into_iter().filter_map(Value::as_array).flatten().map(|item| &item["valueFrom"]);
        needs.extend(secrets.filter_map(Value::as_str).map(|name| match name.parse::<Arn>() {
            Ok(arn) if arn.service == "secretsmanager" => Need::Secret { id: name.to_owned() },
            _ => Need::Parameter { name: name.to_owned() },
        }));
        // Called a parameter, and never one: "the full ARN or the name of the secret".
        // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RepositoryCredentials.html
        let credentials = container["repositoryCredentials"]["credentialsParameter"].as_str();
        needs.extend(credentials.map(|id| Need::Secret { id: id.to_owned() }));
        for file in container["environmentFiles"].as_array().into_iter().flatten() {
            if let Some(arn) = file["value"].as_str() {
                needs.push(Need::EnvironmentFile { arn: arn.to_owned() });
            }
        }
    }
    let mut seen = Vec::new();
    needs.retain(|need| {
        let new = !seen.contains(need);
        seen.push(need.clone());
        new
    });
    needs
}

/// What the document alone tells.
pub(crate) fn of_document(document: &Value) -> Vec<Checked> {
    let mut checks = Vec::new();
    let mode = document["networkMode"].as_str();
    let fargate = document["requiresCompatibilities"]
        .as_array()
        .is_some_and(|list| list.iter().any(|item| item == "FARGATE"));
    if fargate {
        let text = |field: &str, unit| {
            let text = document[field].as_str().unwrap_or("none");
            in_units(text, unit).unwrap_or_else(|| text.to_owned())
        };
        let (cpu, memory) = (text("cpu", "vcpu"), text("memory", "gb"));
        let verdict = fargate_size(&cpu, &memory);
        checks.push(Checked::new("Fargate size", format!("cpu {cpu}, memory {memory}"), verdict));
        if mode != Some("awsvpc") {
            let name = mode.unwrap_or("not set");
            checks.push(Checked::new(
                "network mode",
                name,
                Verdict::Wrong("Fargate needs awsvpc".to_owned()),
            ));
        }
    }
    if matches!(mode, Some("awsvpc" | "host")) {
        for container in document["containerDefinitions"].as_array().into_iter().flatten() {
            for port in container["portMappings"].as_array().into_iter().flatten() {
                let (inside, outside) = (port["containerPort"].as_i64(), port["hostPort"].as_i64());
                if let (Some(inside), Some(outside)) = (inside, outside)
                    && outside != 0
                    && inside != outside
                {
                    let name = container["name"].as_str().unwrap_or_default();
                    checks.push(Checked::new(
                        "port mapping of",
                        name,
                        Verdict::Wrong(format!(
                            "hostPort {outside} is not containerPort {inside}, and with network mode {} they are one",
                            mode.unwrap_or_default()
                        )),
                    ));
                }
            }
        }
    }
    checks
}

/// The pairs of <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html>, in CPU units and
/// MiB.
fn fargate_size(cpu: &str, memory: &str) -> Verdict {
    let (Ok(units), Ok(mib)) = (cpu.parse::<u32>(), memory.parse::<u32>()) else {
        return Verdict::Wrong("a Fargate task needs cpu and memory of the task".to_owned());
    };
    let (from, to, step) = match units {
        256 if mib == 512 => (512, 512, 512),
        256 => (1024, 2048, 1024),
        512 => (1024, 4096, 1024),
        1024 => (2048, 8192, 1024),
        2048 => (4096, 16384, 1024),
        4096 => (8192, 30720, 1024),
        8192 => (16384, 61440, 4096),
        16384 => (32768, 122_880, 8192),
        larger if larger > 16384 => {
            return Verdict::Skipped("this version knows no Fargate size above 16 vCPU".to_owned());
        }
        _ => {
            return Verdict::Wrong(
                "no Fargate size: cpu is 256, 512, 1024, 2048, 4096, 8192 or 16384".to_owned(),
            );
        }
    };
    if (from..=to).contains(&mib) && (mib - from) % step == 0 {
        return Verdict::Ok("is a Fargate size".to_owned());
    }
    let low = if units == 256 { "512 or ".to_owned() } else { String::new() };
    Verdict::Wrong(format!(
        "no Fargate size: with cpu {units}, memory is {low}{from} to {to} in steps of {step}"
    ))
}

/// The statement of an assume-role policy that lets ECS start tasks with the role.
///
/// `Statement`, `Action` and `Principal.Service` may each be one value or a list
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html>). Conditions are not judged.
pub(crate) fn trust(policy: &Value) -> Verdict {
    let listed = |value: &Value| match value {
        Value::Array(items) => items.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let has = |value: &Value, any_of: &[&str]| {
        listed(value)
            .iter()
            .filter_map(Value::as_str)
            .any(|text| any_of.iter().any(|one| text.eq_ignore_ascii_case(one)))
    };
    let trusting = listed(&policy["Statement"]).into_iter().filter(|statement| {
        statement["Effect"] == "Allow"
            && has(&statement["Action"], &["sts:AssumeRole", "sts:*", "*"])
            && (has(&statement["Principal"]["Service"], &["ecs-tasks.amazonaws.com"])
                || statement["Principal"] == "*")
    });
    let mut conditional = false;
    for statement in trusting {
        if statement["Condition"].is_null() {
            return Verdict::Ok("trusts ecs-tasks.amazonaws.com".to_owned());
        }
        conditional = true;
    }
    if conditional {
        return Verdict::Ok(
            "trusts ecs-tasks.amazonaws.com under conditions, which are not judged here".to_owned(),
        );
    }
    Verdict::Wrong("its trust policy does not let ecs-tasks.amazonaws.com assume it".to_owned())
}

/// The ARN of a secret, and the JSON key, version stage and version id that may follow it
/// (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html>).
pub(crate) struct SecretRef {
    pub(crate) id: String,
    pub(crate) json_key: Option<String>,
    pub(crate) stage: Option<String>,
    pub(crate) version: Option<String>,
}

impl SecretRef {
    /// Of a name, which has no such parts, or of an ARN.
    pub(crate) fn of(text: &str, arn: Option<&Arn>) -> Self {
        let Some(arn) = arn else {
            return Self { id: text.to_owned(), json_key: None, stage: None, version: None };
        };
        let mut parts = arn.resource.split(':');
        let (kind, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mut part = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        let id = Arn { resource: format!("{kind}:{name}"), ..arn.clone() }.to_string();
        Self { id, json_key: part(), stage: part(), version: part() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_thing_that_a_task_needs_is_found_once() {
        let document = json!({"executionRoleArn": "arn:aws:iam::123456789012:role/path/exec", "containerDefinitions": [
            {"name": "a", "secrets": [{"name": "A", "valueFrom": "/a"}, {"name": "B", "valueFrom": "/a"}],
             "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-region": "us-east-1"},
                "secretOptions": [{"name": "t", "valueFrom": "arn:aws:secretsmanager:us-east-1:123456789012:secret:t-AbCdEf:key::"}]}},
            {"name": "b", "logConfiguration": {"logDriver": "awsfirelens", "options": {}},
             "repositoryCredentials": {"credentialsParameter": "arn:aws:secretsmanager:us-east-1:123456789012:secret:r-AbCdEf"},
             "environmentFiles": [{"value": "arn:aws:s3:::b/x.env", "type": "s3"}]},
        ]});
        let found = needs(&document);
        assert_eq!(found.len(), 6, "{found:?}");
        assert!(found.contains(&Need::LogGroup {
            name: "g".into(),
            region: Some("us-east-1".into()),
            create: false
        }));
    }

    #[test]
    fn credentials_of_a_registry_are_a_secret_by_name_too() {
        let document = json!({"containerDefinitions": [{"name": "a",
            "secrets": [{"name": "A", "valueFrom": "registry"}],
            "repositoryCredentials": {"credentialsParameter": "registry"}}]});
        assert_eq!(
            needs(&document),
            [Need::Parameter { name: "registry".into() }, Need::Secret { id: "registry".into() }]
        );
        assert_eq!(SecretRef::of("team/registry", None).id, "team/registry");
    }

    #[test]
    fn the_parts_of_a_secret_reference() {
        let parts = |text: &str| SecretRef::of(text, text.parse().ok().as_ref());
        let base = "arn:aws:secretsmanager:us-east-1:123456789012:secret:appauthexample-AbCdEf";
        let whole = parts(&format!("{base}:username1:AWSPREVIOUS:9d4cb84b-ad69-40c0-a0ab-cead36b967e8"));
        assert_eq!(whole.id, base);
        assert_eq!(
            (whole.json_key.as_deref(), whole.stage.as_deref()),
            (Some("username1"), Some("AWSPREVIOUS"))
        );
        assert!(whole.version.is_some());
        let only_version = parts(&format!("{base}:::v"));
        assert_eq!(
            (only_version.json_key, only_version.stage, only_version.version.as_deref()),
            (None, None, Some("v"))
        );
        assert_eq!(parts(base).id, base);
    }

    #[test]
    fn trust_is_read_in_each_of_its_forms() {
        let ecs = "ecs-tasks.amazonaws.com";
        let statement = |service: Value, action: Value| json!({"Effect": "Allow", "Principal": {"Service": service}, "Action": action});
        for trusting in [
            json!({"Statement": [statement(json!(ecs), json!("sts:AssumeRole"))]}),
            json!({"Statement": statement(json!(["ec2.amazonaws.com", ecs]), json!(["sts:TagSession", "sts:AssumeRole"]))}),
        ] {
            assert_eq!(trust(&trusting), Verdict::Ok("trusts ecs-tasks.amazonaws.com".into()), "{trusting}");
        }
        let mut conditional = statement(json!(ecs), json!("sts:AssumeRole"));
        conditional["Condition"] = json!({"StringEquals": {"aws:SourceAccount": "123456789012"}});
        assert!(
            matches!(trust(&json!({"Statement": [conditional]})), Verdict::Ok(text) if text.contains("conditions"))
        );
        for not in [
            json!({"Statement": [statement(json!("ec2.amazonaws.com"), json!("sts:AssumeRole"))]}),
            json!({"Statement": [statement(json!(ecs), json!("sts:TagSession"))]}),
            json!({"Statement": [{"Effect": "Deny", "Principal": {"Service": ecs}, "Action": "sts:AssumeRole"}]}),
            json!({}),
        ] {
            assert!(matches!(trust(&not), Verdict::Wrong(_)), "{not}");
        }
    }

    #[test]
    fn sizes_of_fargate() {
        // Rows of the table in the developer guide.
        for (cpu, memory) in [
            ("256", "512"),
            ("256", "2048"),
            ("512", "1024"),
            ("1024", "3072"),
            ("4096", "30720"),
            ("8192", "20480"),
            ("16384", "122880"),
        ] {
            assert!(matches!(fargate_size(cpu, memory), Verdict::Ok(_)), "{cpu}/{memory}");
        }
        for (cpu, memory) in [
            ("256", "4096"),
            ("256", "768"),
            ("512", "512"),
            ("768", "2048"),
            ("8192", "17408"),
            ("none", "512"),
        ] {
            assert!(matches!(fargate_size(cpu, memory), Verdict::Wrong(_)), "{cpu}/{memory}");
        }
        let text = format!("{:?}", fargate_size("256", "4096"));
        assert!(text.contains("with cpu 256, memory is 512 or 1024 to 2048 in steps of 1024"), "{text}");
    }

    #[test]
    fn one_port_for_a_container_with_an_address_of_its_own() {
        let document = |mode: &str, host: i64| json!({"networkMode": mode, "containerDefinitions": [{"name": "a", "portMappings": [{"containerPort": 80, "hostPort": host}]}]});
        assert_eq!(of_document(&document("awsvpc", 8080)).len(), 1);
        assert!(of_document(&document("awsvpc", 80)).is_empty());
        assert!(of_document(&document("bridge", 8080)).is_empty());
    }

    #[test]
    fn a_skipped_check_is_not_counted_as_ok() {
        let check = |verdict| Checked::new("role", "x", verdict);
        let checks = [check(Verdict::Ok(String::new())), check(Verdict::Skipped(String::new()))];
        assert_eq!(counted(&checks), "1 OK, 1 SKIPPED");
        assert_eq!(counted(&checks[1..]), "0 OK, 1 SKIPPED");
    }
}
