//! What is in the world before the release: Rally 2.0.1.11 in production. Seeding twice changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::ecs::Ecs;
use testkit::emulator::Emulator;
use testkit::github::{GithubWorld, Workflow};
use testkit::postgres::Postgres;

use super::definition::Definition;
use crate::world::Fail;
use crate::world::traffic::Wanted;

/// A release of Rally in its spellings.
#[derive(Clone, Copy)]
pub(super) struct Version {
    /// As `version.properties` and `/version` have it.
    pub(super) version: &'static str,
    /// The image's tag.
    pub(super) tag: &'static str,
}

pub(super) const OLD: Version = Version { version: "2.0.1.11-RELEASE", tag: "RALLY-V2_0_1_11-RELEASE" };
pub(super) const NEW: Version = Version { version: "2.1.0.0-RELEASE", tag: "RALLY-V2_1_0_0-RELEASE" };
pub(super) const TAG: &str = "v2.1.0";
pub(super) const BUILD: &str = "build.yml";

/// AWS's account for documentation.
pub(super) const ACCOUNT: &str = "123456789012";
pub(super) const REGION: &str = "us-east-1";
pub(super) const CLUSTER: &str = "rally-prod";
pub(super) const SERVICE: &str = "rally-prod-service";
pub(super) const REPOSITORY: &str = "rally-prod";
pub(super) const BUCKET: &str = "rally-prod-backups";
/// Where Rally keeps its version (R3).
pub(super) const VERSION_FILE: &str = "src/main/resources/version.properties";
pub(super) const GITHUB_REPOSITORY: &str = "rallyforresearch/rally";
pub(super) const BRANCH: &str = "master";
pub(super) const DATABASE: &str = "rally";
pub(super) const USER: &str = "rally";
pub(super) const DATABASE_URL_PARAMETER: &str =
    "arn:aws:ssm:us-east-1:123456789012:parameter/rally-prod/database-url";

const SCHEMA: &str = include_str!("schema.sql");
const CONSENT: (&str, &str) = ("2.1.0.0_01_consent.sql", include_str!("migrations/2.1.0.0_01_consent.sql"));
const STUDY_REVIEW: (&str, &str) =
    ("2.1.0.0_02_study_review.sql", include_str!("migrations/2.1.0.0_02_study_review.sql"));
const FAILING_STUDY_REVIEW: (&str, &str) =
    ("2.1.0.0_02_study_review.sql", include_str!("failing/2.1.0.0_02_study_review.sql"));

/// The repository as task definitions name it.
pub(super) fn repository_uri() -> String {
    format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}")
}

/// The public name, which leads to the service's load balancer.
pub(super) fn traffic(port: u16) -> Wanted<'static> {
    Wanted {
        zone: "researchally.org",
        name: "rally-partners-prod.researchally.org",
        live: "rally-prod-application-1234567890.us-east-1.elb.amazonaws.com",
        page: "rally-2-1-0-elb-0987654321.us-east-1.elb.amazonaws.com",
        text: "Rally is down for maintenance",
        port,
    }
}

/// The database's owner, its tables and rows.
pub(super) async fn database(postgres: &Postgres, password: &str) -> io::Result<()> {
    if postgres.psql("SELECT to_regclass('public.study')").await?.is_empty() {
        // One transaction: a world that was killed while it seeded has either none of it or all.
        let sql = format!(
            "BEGIN; CREATE ROLE {USER} LOGIN PASSWORD '{password}'; ALTER DATABASE {DATABASE} OWNER TO {USER}; SET ROLE \
             {USER};\n{SCHEMA}\nCOMMIT;"
        );
        postgres.psql(&sql).await?;
    }
    Ok(())
}

/// The bucket, the images and the parameter; gives the digests by tag.
pub(super) async fn aws(emulator: &Emulator, database_url: &str) -> io::Result<BTreeMap<String, String>> {
    emulator.create_bucket(BUCKET).await?;
    // The address of the database may be another than last time.
    let parameter = json!({ "Name": "/rally-prod/database-url", "Type": "SecureString", "Value": database_url, "Overwrite": true });
    call(emulator, "ssm", "AmazonSSM.PutParameter", &parameter, &[]).await?;

    let target = |operation: &str| format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
    let repository = json!({ "repositoryName": REPOSITORY, "imageTagMutability": "IMMUTABLE" });
    call(emulator, "ecr", &target("CreateRepository"), &repository, &["RepositoryAlreadyExistsException"])
        .await?;
    let mut digests = BTreeMap::new();
    for release in [OLD, NEW] {
        let image = json!({
            "repositoryName": REPOSITORY,
            "imageManifest": manifest(release),
            "imageManifestMediaType": MANIFEST_TYPE,
            "imageTag": release.tag,
        });
        let present = ["ImageAlreadyExistsException", "ImageTagAlreadyExistsException"];
        call(emulator, "ecr", &target("PutImage"), &image, &present).await?;
        let wanted = json!({ "repositoryName": REPOSITORY, "imageIds": [{ "imageTag": release.tag }] });
        let found = call(emulator, "ecr", &target("BatchGetImage"), &wanted, &[]).await?;
        let digest = found.pointer("/images/0/imageId/imageDigest").and_then(Value::as_str);
        let digest = digest.ok_or_else(|| io::Error::other(format!("no image {}: {found}", release.tag)))?;
        digests.insert(release.tag.to_owned(), digest.to_owned());
    }
    Ok(digests)
}

const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A manifest of its own for each release; the registry names the image by the digest of this text.
fn manifest(release: Version) -> String {
    let layer = |number: u64, size: u64| {
        let digest = format!("sha256:{number:064x}");
        json!({ "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": size, "digest": digest })
    };
    let build =
        release.version.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let config = json!({
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "size": 7023,
        "digest": format!("sha256:{build:064x}"),
    });
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config,
        "layers": [layer(0x00ba_5e1a, 49_587_912), layer(build.wrapping_add(1), 61_204_480)],
    })
    .to_string()
}

/// The cluster, the task definition and the service with the old release.
pub(super) async fn service(ecs: &Ecs, definition: &Definition, target_group: &str) -> io::Result<()> {
    let call = async |operation: &str, request: Value| {
        ecs.call(operation, request).await.map_err(|error| io::Error::other(format!("{operation}: {error}")))
    };
    let clusters = call("DescribeClusters", json!({ "clusters": [CLUSTER] })).await?;
    if clusters.pointer("/clusters/0").is_none() {
        call("CreateCluster", json!({ "clusterName": CLUSTER })).await?;
    }
    let services = call("DescribeServices", json!({ "cluster": CLUSTER, "services": [SERVICE] })).await?;
    if services.pointer("/services/0").is_none() {
        call("RegisterTaskDefinition", definition.document.clone()).await?;
        call("CreateService", definition.service(target_group)?).await?;
    }
    Ok(())
}

/// The repository with the release before, which is tagged, and the commit of this one; gives the commit.
pub(super) fn repository(github: &GithubWorld) -> io::Result<String> {
    github.repository(GITHUB_REPOSITORY, BRANCH);
    if github.refs(GITHUB_REPOSITORY).is_empty() {
        let version = [(VERSION_FILE, "# The version that /version answers\nversion=2.0.1.11-RELEASE\n")];
        let old = github.commit_files(GITHUB_REPOSITORY, BRANCH, "Release 2.0.1.11", &version);
        github.set_ref(GITHUB_REPOSITORY, "refs/tags/v2.0.1.11", &old);
        let new = github.commit(GITHUB_REPOSITORY, BRANCH, "Merge branch 'v2.1.0'");
        // The images are in the registry from the beginning: its runs end at once.
        github.workflow(
            GITHUB_REPOSITORY,
            Workflow {
                file: BUILD.to_owned(),
                inputs: vec!["image".to_owned(), "release-run".to_owned()],
                run_name: Some("Build ${{ inputs.image }} (${{ inputs.release-run }})".to_owned()),
                looks: 0,
                ..Workflow::default()
            },
        );
        github.check_run(GITHUB_REPOSITORY, &new, &json!({ "name": "test" }));
    }
    let head = format!("refs/heads/{BRANCH}");
    let refs = github.refs(GITHUB_REPOSITORY);
    let found = refs.into_iter().find(|(name, _)| *name == head);
    found
        .map(|(_, commit)| commit)
        .ok_or_else(|| io::Error::other(format!("{GITHUB_REPOSITORY} has no {head}")))
}

/// Whether no deployment of the service is under way, and how many tasks it wants.
pub(super) async fn steady(ecs: &Ecs) -> io::Result<(bool, usize)> {
    let request = json!({ "cluster": CLUSTER, "services": [SERVICE] });
    let answer = ecs.call("DescribeServices", request).await.map_err(io::Error::other)?;
    let service = answer.pointer("/services/0").unwrap_or(&Value::Null);
    let wanted = service.get("desiredCount").and_then(Value::as_u64).unwrap_or_default();
    let running = service.get("runningCount").and_then(Value::as_u64).unwrap_or_default();
    Ok((running >= wanted, usize::try_from(wanted).unwrap_or(usize::MAX)))
}

/// Writes the migrations of the release, anew each time: they depend on what is to go wrong.
pub(super) fn migrations(dir: &Path, fail: Option<Fail>) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let second = if fail == Some(Fail::Migration) { FAILING_STUDY_REVIEW } else { STUDY_REVIEW };
    for (name, sql) in [CONSENT, second] {
        fs::write(dir.join(name), sql)?;
    }
    Ok(dir.to_owned())
}

/// Calls the emulator; `accepted` are the errors which mean that it is there already.
pub(super) async fn call(
    emulator: &Emulator,
    service: &str,
    target: &str,
    document: &Value,
    accepted: &[&str],
) -> io::Result<Value> {
    let (status, answer) = emulator.call(service, target, document).await?;
    let code = answer.get("__type").and_then(Value::as_str).unwrap_or_default();
    let is_accepted = accepted.iter().any(|name| code.rsplit('#').next() == Some(name));
    if status == 200 || is_accepted {
        return Ok(answer);
    }
    Err(io::Error::other(format!("the emulator refused {target} with {status}: {answer}")))
}
