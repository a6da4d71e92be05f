//! What more than one step needs of Amazon ECS: naming a service, finding exactly that one, and reading a container's log.

mod logs;
mod tail;

use aws::{Arn, Aws, failure};
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::Service;
use kit::{Cx, Failure};

pub use logs::{LogSource, clean, last_lines};
pub use tail::Tail;

/// `CLUSTER/SERVICE` as given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRef {
    /// The cluster's name.
    pub cluster: String,
    /// The service's name.
    pub service: String,
}

/// For clap's `value_parser`.
pub fn parse_service(text: &str) -> Result<ServiceRef, String> {
    match text.split_once('/') {
        Some((cluster, service)) if !cluster.is_empty() && !service.is_empty() && !service.contains('/') => {
            Ok(ServiceRef { cluster: cluster.to_owned(), service: service.to_owned() })
        }
        _ => Err("write it as CLUSTER/SERVICE".to_owned()),
    }
}

/// For clap's `value_parser`: a revision of a task definition, by its full ARN.
///
/// Only that says what will run: a family alone means whatever is newest by then.
pub fn parse_revision(text: &str) -> Result<String, String> {
    let arn = text.parse::<Arn>().ok().filter(|arn| arn.service == "ecs");
    let revision =
        arn.as_ref().and_then(|arn| arn.resource.strip_prefix("task-definition/")?.rsplit_once(':'));
    match revision {
        Some((family, number)) if !family.is_empty() && number.parse::<u32>().is_ok() => Ok(text.to_owned()),
        _ => Err("write the full ARN with the revision, as register-task-def gives it: \
                  arn:aws:ecs:REGION:ACCOUNT:task-definition/FAMILY:7"
            .to_owned()),
    }
}

impl std::fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "service {} in cluster {}", self.service, self.cluster)
    }
}

impl ServiceRef {
    /// The service's ARN, for the help of a denied call.
    pub fn arn(&self, aws: &Aws) -> String {
        let Self { cluster, service } = self;
        format!("arn:aws:ecs:{}:{}:service/{cluster}/{service}", aws.region, aws.account)
    }
}

/// The service of exactly that name, which is active.
///
/// Refused (exit 3): no such cluster or service, one that is draining or inactive. A `failures` list beside HTTP 200 is
/// an error, and so is an empty answer.
/// Source: <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html>
pub async fn describe_service(
    cx: &Cx,
    aws: &Aws,
    client: &Client,
    of: &ServiceRef,
) -> Result<Service, Failure> {
    look_for_service(cx, aws, client, of).await?.map_err(|reasons| {
        Failure::refused(format!("find {of}"))
            .because(reasons)
            .help(format!("list the services with: aws ecs list-services --cluster {}", of.cluster))
    })
}

/// As [`describe_service`], but for a service that ECS does not know the answer is why: for a minute after a change its reads
/// may be older than the change.
pub async fn look_for_service(
    cx: &Cx,
    aws: &Aws,
    client: &Client,
    of: &ServiceRef,
) -> Result<Result<Service, String>, Failure> {
    let ServiceRef { cluster, service } = of;
    let call = client.describe_services().cluster(cluster).services(service).send();
    let answer = cx.or_cancelled(call).await?.map_err(|error| {
        if error.as_service_error().is_some_and(
            aws_sdk_ecs::operation::describe_services::DescribeServicesError::is_cluster_not_found_exception,
        ) {
            return Failure::refused(format!("find {of}"))
                .because(format!(
                    "there is no cluster {cluster} in account {} in {}",
                    aws.account, aws.region
                ))
                .help("check the cluster's name, --region and the credentials' account");
        }
        failure(format!("describe {of}"), "ecs:DescribeServices", &of.arn(aws), error)
    })?;
    let found: Vec<&Service> =
        answer.services().iter().filter(|seen| seen.service_name() == Some(service)).collect();
    let [found] = found.as_slice() else {
        // "MISSING" is all that ECS says of a service that it does not know.
        let reasons: Vec<&str> = answer
            .failures()
            .iter()
            .filter_map(|failure| failure.reason())
            .filter(|reason| *reason != "MISSING")
            .collect();
        return Ok(Err(if reasons.is_empty() {
            format!("cluster {cluster} of account {} in {} has no such service", aws.account, aws.region)
        } else {
            reasons.join(", ")
        }));
    };
    match found.status() {
        Some("ACTIVE") => Ok(Ok((*found).clone())),
        status => Err(Failure::refused(format!("use {of}"))
            .because(format!("it is {}", status.unwrap_or("in an unknown state")))
            .help("name a service that is active")),
    }
}

/// `family:revision` of a task definition's ARN.
pub fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_with_its_cluster() {
        let named = parse_service("rally-prod/rally-prod-service").unwrap();
        assert_eq!(named.to_string(), "service rally-prod-service in cluster rally-prod");
        for bad in ["rally", "/x", "x/", "a/b/c", ""] {
            assert!(parse_service(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_full_arn_says_what_will_run() {
        assert!(parse_revision("arn:aws:ecs:us-east-1:676917001797:task-definition/rally-prod:42").is_ok());
        for bad in [
            "rally-prod",
            "rally-prod:42",
            "arn:aws:ecs:us-east-1:1:task-definition/rally-prod",
            "arn:aws:ecs:us-east-1:1:service/a:1",
        ] {
            assert!(parse_revision(bad).is_err(), "{bad}");
        }
    }
}
