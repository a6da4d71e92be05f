//! Rally's release: what it is started with, and who serves before and after.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Given, pair};
use crate::world::World;

/// What the workflow is started with.
pub(super) fn given(world: &World) -> Given {
    Given {
        workflow: ".github/workflows/release-rally.yml",
        inputs: inputs(world),
        env: environment(world),
        github: github(world),
        secrets: secrets(world),
    }
}

/// What a merge to main starts: no tag and no version are given, and the image is the commit's.
pub(super) fn merged(world: &World) -> Given {
    let World { registry, release, .. } = world;
    let mut given = given(world);
    given.workflow = ".github/workflows/deploy-on-merge.yml";
    given.inputs.retain(|(name, _)| {
        !["tag", "version", "version-file", "version-spelling", "image", "build-workflow"]
            .contains(&name.as_str())
    });
    // The image is in the registry from the beginning.
    let build = format!("echo image={}:{} >> \"$GITHUB_OUTPUT\"", registry.uri, release.image_tag);
    given.inputs.push(pair("build-command", build));
    given
}

/// The last line of the rehearsal, and whether the service answers as the workflow's result says it should.
pub(super) async fn verdict(world: &World, succeeded: bool) -> (String, bool) {
    let wanted = if succeeded { &world.release.to } else { &world.release.from };
    let served = serves(world).await;
    let mut as_it_should = served.iter().all(|version| version == wanted);
    if let Some(entry) = &world.maintenance {
        let seen = entry.seen("/version").await;
        let closed = seen.contains(&entry.text);
        if closed && !succeeded && served.iter().all(|version| version != &world.release.to) {
            let line = format!(
                "CLOSED: the release failed half-way, and {} shows {seen} until a person has seen to it",
                entry.name
            );
            return (line, true);
        }
        as_it_should &= !closed && seen.contains(wanted.as_str());
        if !as_it_should {
            return (format!("WRONG: {} should serve {wanted} and shows {seen}", entry.name), false);
        }
    }
    let line = match (succeeded, as_it_should) {
        (true, true) => {
            format!("LIVE: {} serves {} at every one of {} requests", world.service.url, wanted, served.len())
        }
        (false, true) => {
            format!("NOT LIVE: the release failed, and {} serves {wanted} as before", world.service.url)
        }
        (_, false) => {
            format!("WRONG: {} should serve {wanted} and answered {}", world.service.url, served.join(", "))
        }
    };
    (line, as_it_should)
}

fn inputs(world: &World) -> Vec<(String, String)> {
    let World { aws, service, registry, database, backups, release, .. } = world;
    let mut inputs = vec![
        pair("tag", &release.tag),
        pair("version", &release.to),
        pair("version-file", format!("{}=properties:version={{file}}", release.version_file)),
        pair("version-spelling", "file={major}.{minor}.{patch}.{build}-RELEASE"),
        pair("image", format!("{}:{}", registry.uri, release.image_tag)),
        pair("service", format!("{}/{}", service.cluster, service.name)),
        pair("container", &service.container),
        pair("build-workflow", &release.build_workflow),
        pair("migrations", release.migrations.display().to_string()),
        pair(
            "database-url",
            format!("postgresql://{}@{}:{}/{}", database.user, database.host, database.port, database.name),
        ),
        pair("backups", format!("s3://{}/rally", backups.bucket)),
        pair("url", &service.url),
        pair("account", &aws.account),
        pair("region", &aws.region),
        pair("role", format!("arn:aws:iam::{}:role/release", aws.account)),
    ];
    if let Some(entry) = &world.maintenance {
        inputs.retain(|(name, _)| name != "url");
        inputs.extend([
            pair("url", &entry.url),
            pair("maintenance-name", &entry.name),
            pair("maintenance-zone", &entry.zone),
            pair("maintenance-page", &entry.page),
            pair("maintenance-text", &entry.text),
            pair("live", &entry.live),
            pair("name-servers", &entry.dns),
            pair("resolvers", &entry.dns),
        ]);
    }
    inputs
}

fn environment(world: &World) -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap_or_default();
    vec![
        pair("AWS_ENDPOINT_URL", &world.aws.endpoint),
        pair("GITHUB_API_URL", &world.github.api),
        pair("PATH", format!("{}:{path}", world.database.bin_dir.display())),
    ]
}

fn github(world: &World) -> Vec<(String, String)> {
    let github = &world.github;
    vec![
        pair("repository", &github.repository),
        pair("sha", &github.commit),
        pair("ref", format!("refs/heads/{}", github.branch)),
        pair("ref_name", &github.branch),
        pair("api_url", &github.api),
    ]
}

fn secrets(world: &World) -> Vec<(String, String)> {
    vec![pair("DATABASE_PASSWORD", &world.database.password), pair("GITHUB_TOKEN", &world.github.token)]
}

/// What the service and the database say of themselves.
pub(super) async fn look(world: &World) -> String {
    let mut served = serves(world).await;
    served.dedup();
    let tables = "SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' \
                  AND nspname NOT IN ('pg_catalog', 'information_schema', 'cutover')";
    let applied = "SELECT count(*) || ', the last is ' || max(version) FROM cutover.migrations";
    let entry = match &world.maintenance {
        Some(entry) => format!("  {} shows {}\n", entry.name, entry.seen("/version").await.trim()),
        None => String::new(),
    };
    format!(
        "{entry}  {} serves {}\n  database {}: {} tables; migrations: {}",
        world.service.url,
        served.join(" and "),
        world.database.name,
        psql(world, tables).unwrap_or_else(|| "unknown".to_owned()),
        psql(world, applied).unwrap_or_else(|| "none".to_owned()),
    )
}

/// `None` when the query fails, as when its table is not there yet.
fn psql(world: &World, query: &str) -> Option<String> {
    let database = &world.database;
    let output = Command::new(database.bin_dir.join("psql"))
        .args(["-X", "-A", "-t", "-w", "-c", query])
        .env("PGHOST", &database.host)
        .env("PGPORT", database.port.to_string())
        .env("PGUSER", &database.user)
        .env("PGDATABASE", &database.name)
        .env("PGPASSWORD", &database.password)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The version that each of several requests through the load balancer was answered with: enough of them that each task
/// answers at least one.
async fn serves(world: &World) -> Vec<String> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
    let mut versions = Vec::new();
    for _ in 0..4 {
        versions.push(match &client {
            Ok(client) => ask(client, &world.service.url).await,
            Err(error) => error.to_string(),
        });
    }
    versions
}

async fn ask(client: &reqwest::Client, url: &str) -> String {
    match client.get(format!("{url}/version")).send().await {
        Ok(answer) => {
            let status = answer.status();
            let body = answer.json::<Value>().await.unwrap_or(Value::Null);
            body["version"].as_str().map_or_else(|| format!("HTTP {status}"), str::to_owned)
        }
        Err(error) => error.to_string(),
    }
}
