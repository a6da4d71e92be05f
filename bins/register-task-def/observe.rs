//! Reads what ECS runs and what ECR holds. Nothing here writes.

use aws::{Aws, RawAnswer, failure};
use aws_sdk_ecr::types::ImageIdentifier;
use aws_sdk_ecs::types::TaskDefinitionField;
use ecs::{ServiceRef, describe_service};
use kit::{ActionState, Cx, Failure, Receipt};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::document::{fingerprint, masked, registrable};
use crate::image::{ContainerImage, EcrRepository};

/// The SDK clients of this step.
pub(crate) struct Clients {
    pub(crate) ecs: aws_sdk_ecs::Client,
    ecr: aws_sdk_ecr::Config,
    aws: Aws,
}

impl Clients {
    pub(crate) fn new(aws: &Aws) -> Self {
        Self {
            ecs: aws_sdk_ecs::Client::new(&aws.config),
            ecr: aws_sdk_ecr::Config::new(&aws.config),
            aws: aws.clone(),
        }
    }
}

/// What the decision needs.
#[derive(Debug, Serialize)]
pub(crate) struct Observed {
    /// The revision that the service runs.
    pub(crate) running: Definition,
    /// The newest active revision of the same family.
    pub(crate) newest: Definition,
    /// What the registry says of each wanted image, in the order of the arguments.
    pub(crate) images: Vec<SeenImage>,
}

/// One revision.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Definition {
    pub(crate) arn: String,
    pub(crate) family: String,
    pub(crate) revision: i64,
    pub(crate) status: String,
    /// What `RegisterTaskDefinition` would take to make the same again.
    #[serde(serialize_with = "serialize_masked")]
    pub(crate) document: Value,
}

fn serialize_masked<S: Serializer>(document: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    masked(document).serialize(serializer)
}

/// What a registry says of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum SeenImage {
    /// In ECR, with the digest of its manifest and, for a manifest list, the platforms it holds (`linux/amd64`).
    Found { digest: String, platforms: Vec<String> },
    /// The repository has no such image.
    Absent,
    /// The repository does not exist in that registry and region.
    NoRepository,
    /// Not in ECR, so nobody was asked.
    NotAsked,
}

pub(crate) async fn observe(
    cx: &Cx,
    clients: &Clients,
    service: &ServiceRef,
    wanted: &[ContainerImage],
) -> Result<Observed, Failure> {
    let running = definition(cx, clients, &self::service(cx, clients, service).await?).await?;
    let newest = definition(cx, clients, &running.family).await?;
    let mut images = Vec::new();
    for ContainerImage { image, .. } in wanted {
        images.push(match &image.ecr {
            None => SeenImage::NotAsked,
            Some(repository) => {
                let id = ImageIdentifier::builder();
                let id = match (&image.tag, &image.digest) {
                    (Some(tag), _) => id.image_tag(tag),
                    (None, Some(digest)) => id.image_digest(digest),
                    (None, None) => id.image_tag("latest"),
                };
                self::image(cx, clients, repository, id.build()).await?
            }
        });
    }
    Ok(Observed { running, newest, images })
}

/// The ARN of the revision that a service runs.
pub(crate) async fn service(cx: &Cx, clients: &Clients, of: &ServiceRef) -> Result<String, Failure> {
    let service = describe_service(cx, &clients.aws, &clients.ecs, of).await?;
    service.task_definition().map(str::to_owned).ok_or_else(|| {
        Failure::refused(format!("start from what {of} runs"))
            .because("it names no task definition, as one with an external deployment controller")
    })
}

/// A revision, by ARN, or the newest active one, by family.
pub(crate) async fn definition(cx: &Cx, clients: &Clients, of: &str) -> Result<Definition, Failure> {
    let raw = RawAnswer::default();
    let call = clients
        .ecs
        .describe_task_definition()
        .task_definition(of)
        .include(TaskDefinitionField::Tags)
        .customize()
        .interceptor(raw.clone())
        .send();
    let attempt = format!("describe task definition {of}");
    cx.or_cancelled(call)
        .await?
        .map_err(|error| failure(&attempt, "ecs:DescribeTaskDefinition", "*", error))?;
    let answer = raw.json().map_err(|error| Failure::failed(&attempt).because(error))?;
    let described = &answer["taskDefinition"];
    let text = |key: &str| described[key].as_str().map(str::to_owned);
    match (text("taskDefinitionArn"), text("family"), described["revision"].as_i64()) {
        (Some(arn), Some(family), Some(revision)) => Ok(Definition {
            arn,
            family,
            revision,
            status: text("status").unwrap_or_default(),
            document: registrable(described, &answer["tags"]),
        }),
        _ => Err(Failure::failed(attempt).because("the answer has no ARN, family or revision")),
    }
}

/// The media types of image manifests, for an answer in the manifest's own format.
const MANIFESTS: [&str; 4] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
];

async fn image(
    cx: &Cx,
    clients: &Clients,
    of: &EcrRepository,
    id: ImageIdentifier,
) -> Result<SeenImage, Failure> {
    let EcrRepository { account, region, repository } = of;
    let config = clients.ecr.to_builder().region(aws_sdk_ecr::config::Region::new(region.clone())).build();
    let call = aws_sdk_ecr::Client::from_conf(config)
        .batch_get_image()
        .registry_id(account)
        .repository_name(repository)
        .image_ids(id)
        .set_accepted_media_types(Some(MANIFESTS.map(str::to_owned).to_vec()))
        .send();
    let answer = match cx.or_cancelled(call).await? {
        Ok(answer) => answer,
        Err(error) if error.as_service_error().is_some_and(aws_sdk_ecr::operation::batch_get_image::BatchGetImageError::is_repository_not_found_exception) => {
            return Ok(SeenImage::NoRepository);
        }
        Err(error) => {
            let arn = format!("arn:aws:ecr:{region}:{account}:repository/{repository}");
            let attempt =
                format!("look the image up in ECR repository {repository} of {account} in {region}");
            return Err(failure(attempt, "ecr:BatchGetImage", &arn, error));
        }
    };
    let Some(found) = answer.images().first() else {
        return match answer.failures().first() {
            None => Ok(SeenImage::Absent),
            Some(failed) if failed.failure_code().is_some_and(|code| code.as_str() == "ImageNotFound") => {
                Ok(SeenImage::Absent)
            }
            Some(failed) => Err(Failure::failed(format!("look the image up in ECR repository {repository}"))
                .because(failed.failure_reason().unwrap_or("ECR gives no reason").to_owned())),
        };
    };
    let digest = found.image_id().and_then(|id| id.image_digest()).ok_or_else(|| {
        Failure::failed(format!("look the image up in ECR repository {repository}"))
            .because("the answer has no digest")
    })?;
    let platforms = platforms(found.image_manifest().unwrap_or_default());
    Ok(SeenImage::Found { digest: digest.to_owned(), platforms })
}

/// The platforms of a manifest list, attestations ("unknown/unknown") left out; none for a single manifest.
fn platforms(manifest: &str) -> Vec<String> {
    let manifest: Value = serde_json::from_str(manifest).unwrap_or(Value::Null);
    let list = manifest["manifests"].as_array().map_or(&[][..], Vec::as_slice);
    list.iter()
        .filter_map(|item| {
            let platform = &item["platform"];
            Some(format!("{}/{}", platform["os"].as_str()?, platform["architecture"].as_str()?))
        })
        .filter(|platform| platform != "unknown/unknown")
        .collect()
}

/// What the receipt's run registered and is still active.
pub(crate) async fn registered(
    cx: &Cx,
    clients: &Clients,
    receipt: &Receipt,
) -> Result<Vec<Definition>, Failure> {
    let mut found = Vec::new();
    for action in receipt.undoable() {
        let inverse = &action.inverse;
        if let (ActionState::Done, Some(arn)) = (action.state, action.result.as_str()) {
            found.push(definition(cx, clients, arn).await?);
        } else {
            // The answer never came: revisions newer than those seen before, with what was sent.
            let family = inverse["family"].as_str().unwrap_or_default();
            let after = inverse["after-revision"].as_i64().unwrap_or(i64::MAX);
            let newest = definition(cx, clients, family).await?;
            for revision in (after + 1)..=newest.revision {
                let seen = definition(cx, clients, &format!("{family}:{revision}")).await?;
                if json!(fingerprint(&seen.document)) == inverse["fingerprint"] {
                    found.push(seen);
                }
            }
        }
    }
    found.retain(|definition| definition.status == "ACTIVE");
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_list_tells_its_platforms_and_attestations_are_none() {
        // The shape of the OCI image index specification's example, with a buildx attestation beside the images.
        let index = r#"{"schemaVersion":2,"manifests":[
            {"digest":"sha256:a","platform":{"architecture":"amd64","os":"linux"}},
            {"digest":"sha256:b","platform":{"architecture":"arm64","os":"linux","variant":"v8"}},
            {"digest":"sha256:c","platform":{"architecture":"unknown","os":"unknown"}}]}"#;
        assert_eq!(platforms(index), ["linux/amd64", "linux/arm64"]);
        assert!(platforms(r#"{"schemaVersion":2,"config":{}}"#).is_empty());
    }
}
