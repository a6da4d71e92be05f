//! Reads what ECS runs and what ECR holds. Nothing here writes.

use std::io::Read as _;
use std::path::Path;

use aws::{Aws, RawAnswer, failure};
use aws_sdk_ecr::types::ImageIdentifier;
use aws_sdk_ecs::types::TaskDefinitionField;
use ecs::{ServiceRef, describe_service, short};
use kit::{ActionState, Cx, Failure, Receipt};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::RegisterArgs;
use crate::canonical::fingerprint;
use crate::difference::masked;
use crate::document::registrable;
use crate::image::{EcrRepository, WantedImage};

/// The SDK clients of this step.
pub(crate) struct Clients {
    pub(crate) ecs: aws_sdk_ecs::Client,
    pub(crate) aws: Aws,
    ecr: aws_sdk_ecr::Config,
}

impl Clients {
    pub(crate) fn new(aws: &Aws) -> Self {
        Self {
            ecs: aws_sdk_ecs::Client::new(&aws.config),
            aws: aws.clone(),
            ecr: aws_sdk_ecr::Config::new(&aws.config),
        }
    }
}

/// What the decision needs beside the edited document.
#[derive(Debug, Serialize)]
pub(crate) struct Observed {
    /// What the edits started from.
    pub(crate) base: Base,
    /// The revision that the service runs, where a service was named.
    pub(crate) running: Option<Definition>,
    /// The newest active revision of the family; none before the first.
    pub(crate) newest: Option<Definition>,
}

/// What the edits start from.
#[derive(Debug, Serialize)]
pub(crate) struct Base {
    /// `family:revision`, or the file's name.
    pub(crate) name: String,
    /// None for a file.
    pub(crate) definition: Option<Definition>,
    #[serde(serialize_with = "serialize_masked")]
    pub(crate) document: Value,
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

/// Reads the base, what the service runs, and the family's newest revision.
pub(crate) async fn observe(cx: &Cx, clients: &Clients, args: &RegisterArgs) -> Result<Observed, Failure> {
    let running = match &args.from_service {
        None => None,
        Some(service) => Some(definition(cx, clients, &self::service(cx, clients, service).await?).await?),
    };
    let base = match (&args.file, &args.family, &args.base) {
        (Some(file), _, _) => {
            let name =
                if file.as_os_str() == "-" { "standard input".into() } else { file.display().to_string() };
            let document = crate::file::parse(&name, &read(cx, file).await?, args.allow_unknown_fields)?;
            Base { name, definition: None, document }
        }
        (None, Some(name), _) | (None, None, Some(name)) => Base::of(definition(cx, clients, name).await?),
        (None, None, None) => match &running {
            Some(running) => Base::of(running.clone()),
            None => return Err(Failure::usage("start from nothing").because("no base is given")),
        },
    };
    let family = base.document["family"].as_str().unwrap_or_default().to_owned();
    if let Some(running) = &running
        && running.family != family
    {
        return Err(Failure::refused(format!("register {} for the service", base.name))
            .because(format!("its family is {family}, and the service runs {}", short(&running.arn)))
            .help("correct the family in the file, or leave --from-service out"));
    }
    // A base of that family that is given by its family is the newest.
    let newest = match &base.definition {
        Some(definition) if args.family.is_some() => Some(definition.clone()),
        _ => describe(cx, clients, &family).await?,
    };
    Ok(Observed { base, running, newest })
}

impl Base {
    fn of(definition: Definition) -> Self {
        Self {
            name: short(&definition.arn).to_owned(),
            document: definition.document.clone(),
            definition: Some(definition),
        }
    }
}

/// A file's bytes, or those of standard input for `-`.
async fn read(cx: &Cx, file: &Path) -> Result<Vec<u8>, Failure> {
    let path = file.to_owned();
    // In a thread of its own: standard input may never come, and a signal must still end the run.
    let read = tokio::task::spawn_blocking(move || {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            return std::io::stdin().read_to_end(&mut bytes).map(|_| bytes);
        }
        std::fs::read(path)
    });
    let read = cx.or_cancelled(read).await?.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    read.map_err(|error| {
        Failure::usage(format!("read the task definition in {}", file.display()))
            .because(error)
            .help("give the path of a JSON file, or - for standard input")
    })
}

/// What the registries say of images, in their order.
pub(crate) async fn images(
    cx: &Cx,
    clients: &Clients,
    wanted: &[WantedImage],
) -> Result<Vec<SeenImage>, Failure> {
    let mut seen = Vec::new();
    for WantedImage { image, .. } in wanted {
        seen.push(match &image.ecr {
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
    Ok(seen)
}

/// The ARN of the revision that a service runs.
pub(crate) async fn service(cx: &Cx, clients: &Clients, of: &ServiceRef) -> Result<String, Failure> {
    let service = describe_service(cx, &clients.aws, &clients.ecs, of).await?;
    service.task_definition().map(str::to_owned).ok_or_else(|| {
        Failure::refused(format!("start from what {of} runs"))
            .because("it names no task definition, as one with an external deployment controller")
    })
}

/// A revision, by ARN or `family:revision`, or the newest active one, by family; none when there is no such.
pub(crate) async fn describe(cx: &Cx, clients: &Clients, of: &str) -> Result<Option<Definition>, Failure> {
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
    match cx.or_cancelled(call).await? {
        Ok(_) => {}
        // ECS has no code of its own for "there is no such": a ClientException with this text.
        Err(error)
            if error.as_service_error().is_some_and(|error| {
                error.is_client_exception()
                    && error
                        .meta()
                        .message()
                        .is_some_and(|text| text.contains("Unable to describe task definition"))
            }) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failure(&attempt, "ecs:DescribeTaskDefinition", "*", error)),
    }
    let answer = raw.json().map_err(|error| Failure::failed(&attempt).because(error))?;
    let described = &answer["taskDefinition"];
    let text = |key: &str| described[key].as_str().map(str::to_owned);
    match (text("taskDefinitionArn"), text("family"), described["revision"].as_i64()) {
        (Some(arn), Some(family), Some(revision)) => Ok(Some(Definition {
            arn,
            family,
            revision,
            status: text("status").unwrap_or_default(),
            document: registrable(described, &answer["tags"]),
        })),
        _ => Err(Failure::failed(attempt).because("the answer has no ARN, family or revision")),
    }
}

/// As [`describe`]; what is not there is a refusal.
pub(crate) async fn definition(cx: &Cx, clients: &Clients, of: &str) -> Result<Definition, Failure> {
    describe(cx, clients, of).await?.ok_or_else(|| {
        let Aws { account, region, .. } = &clients.aws;
        let what = if short(of).contains(':') { "revision" } else { "family with an active revision" };
        Failure::refused(format!("start from task definition {of}"))
            .because(format!("account {account} has no such {what} in {region}"))
            .help("check the name, --region and the credentials' account; aws ecs list-task-definition-families lists them")
    })
}

/// The most revisions that are looked at to find one whose registration was not answered.
const LOOKS: i64 = 20;

/// The revisions of a family after that number, newest first. Each is asked for by its number: `ListTaskDefinitions` would
/// be one permission more.
pub(crate) async fn after(
    cx: &Cx,
    clients: &Clients,
    family: &str,
    revision: i64,
) -> Result<Vec<Definition>, Failure> {
    let Some(newest) = describe(cx, clients, family).await? else { return Ok(Vec::new()) };
    let oldest = (revision + 1).max(newest.revision - LOOKS + 1);
    let mut found = Vec::new();
    for number in (oldest..newest.revision).rev() {
        found.extend(describe(cx, clients, &format!("{family}:{number}")).await?);
    }
    if newest.revision > revision {
        found.insert(0, newest);
    }
    Ok(found)
}

/// The newest active revision of the family before that one, of as many as are looked at.
pub(crate) async fn before(
    cx: &Cx,
    clients: &Clients,
    definition: &Definition,
) -> Result<Option<Definition>, Failure> {
    let Definition { family, revision, .. } = definition;
    for number in (1.max(revision - LOOKS)..*revision).rev() {
        let seen = describe(cx, clients, &format!("{family}:{number}")).await?;
        if let Some(seen) = seen.filter(|seen| seen.status == "ACTIVE") {
            return Ok(Some(seen));
        }
    }
    Ok(None)
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
            found.extend(describe(cx, clients, arn).await?);
        } else {
            // The answer never came: revisions newer than those seen before, with what was sent.
            let family = inverse["family"].as_str().unwrap_or_default();
            let after = inverse["after-revision"].as_i64().unwrap_or(i64::MAX);
            let newer = self::after(cx, clients, family, after).await?;
            found.extend(
                newer.into_iter().filter(|seen| json!(fingerprint(&seen.document)) == inverse["fingerprint"]),
            );
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
