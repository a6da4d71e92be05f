//! Where a task runs: what flags say, else what the service has.

use ecs::short;
use kit::Failure;
use serde_json::{Value, json};

use super::args::TaskArgs;
use super::observe::{Definition, Like};

/// `networkConfiguration` is required with `awsvpc`, and refused by ECS with every other network mode.
pub(super) fn network(
    args: &TaskArgs,
    definition: &Definition,
    like: Option<&Like>,
) -> Result<Option<Value>, Failure> {
    let given = !args.subnet.is_empty() || !args.security_group.is_empty() || args.public_ip.is_some();
    if definition.network_mode != "awsvpc" {
        if given {
            let mode =
                if definition.network_mode.is_empty() { "the default" } else { &definition.network_mode };
            return Err(Failure::refused(format!("run {} in a subnet", short(&definition.arn)))
                .because(format!(
                    "its network mode is {mode}, and only awsvpc has subnets and security groups"
                ))
                .help("leave --subnet, --security-group and --public-ip out"));
        }
        return Ok(None);
    }
    let or = |given: &[String], from: Option<&Vec<String>>| {
        if given.is_empty() { from.cloned().unwrap_or_default() } else { given.to_vec() }
    };
    let subnets = or(&args.subnet, like.map(|like| &like.subnets));
    if subnets.is_empty() {
        return Err(Failure::refused(format!("run {} in a subnet", short(&definition.arn)))
            .because("its network mode is awsvpc, and no subnet is given")
            .help("name a service whose network it is to share with --like-service, or give --subnet and --security-group"));
    }
    let mut network = json!({"subnets": subnets});
    let groups = or(&args.security_group, like.map(|like| &like.security_groups));
    if !groups.is_empty() {
        network["securityGroups"] = json!(groups);
    }
    let public_ip = args.public_ip.map(|public_ip| public_ip.word().to_owned());
    if let Some(public_ip) = public_ip.or_else(|| like.and_then(|like| like.public_ip.clone())) {
        network["assignPublicIp"] = json!(public_ip);
    }
    Ok(Some(json!({"awsvpcConfiguration": network})))
}

/// "A task can use either a launch type or a capacity provider strategy."
pub(super) enum Launch {
    Type(String),
    Providers(Vec<Value>),
    ClusterDefault,
}

impl Launch {
    fn provider(&self, fits: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Providers(all) => all.iter().any(|one| one["capacityProvider"].as_str().is_some_and(&fits)),
            Self::Type(_) | Self::ClusterDefault => false,
        }
    }

    pub(super) fn spot(&self) -> bool {
        self.provider(|name| name == "FARGATE_SPOT")
    }

    pub(super) fn fargate(&self) -> bool {
        matches!(self, Self::Type(name) if name == "FARGATE")
            || self.provider(|name| name.starts_with("FARGATE"))
    }
}

pub(super) fn launch(args: &TaskArgs, like: Option<&Like>) -> Launch {
    if let Some(launch_type) = &args.launch_type {
        return Launch::Type(launch_type.clone());
    }
    if !args.capacity_provider.is_empty() {
        let one = |name: &String| json!({"capacityProvider": name, "weight": 1});
        return Launch::Providers(args.capacity_provider.iter().map(one).collect());
    }
    match like {
        Some(like) if !like.capacity_providers.is_empty() => {
            Launch::Providers(like.capacity_providers.clone())
        }
        Some(Like { launch_type: Some(launch_type), .. }) => Launch::Type(launch_type.clone()),
        _ => Launch::ClusterDefault,
    }
}
