//! A whole rehearsal: the world, the production workflow driven against it, and what a person asks afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::driver;
use crate::world::{self, Fail, World};

/// Rehearse a release: start its world, drive the workflow file against it, and look from outside at what came of it.
///
/// Ends as the driver does, and with 1 when the service does not answer as the workflow's result says it should.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The folder of the world's state
    #[arg(long)]
    pub state: PathBuf,
    /// The project: the workflow file and the local actions are read from here
    #[arg(long, default_value = ".")]
    pub repo: PathBuf,
    /// The workflow file
    #[arg(long, default_value = ".github/workflows/release-rally.yml")]
    pub workflow: PathBuf,
    /// What goes wrong with the release
    #[arg(long)]
    pub fail: Option<Fail>,
    /// Your own SQL migrations in place of Rally's
    #[arg(long, value_name = "DIR", conflicts_with = "fail")]
    pub migrations: Option<PathBuf>,
    /// A recorded task definition (an answer of `DescribeTaskDefinition`) in place of Rally's
    #[arg(long, value_name = "FILE")]
    pub task_definition: Option<PathBuf>,
}

/// Runs it and returns the exit code.
///
/// # Errors
/// The world can't be started, or the multi-call executable is not beside this one.
pub async fn rehearse(options: &Options) -> io::Result<u8> {
    world::world(&world::Options {
        state: options.state.clone(),
        fail: options.fail,
        migrations: options.migrations.clone(),
        task_definition: options.task_definition.clone(),
        background: true,
    })
    .await?;
    let world = world::running(&options.state)?.ok_or_else(|| io::Error::other("the world has stopped"))?;
    let bins = links(&options.state.join("bin"))?;
    let artifacts = options.state.join("artifacts");
    let summary = options.state.join("summary.md");
    let _ = fs::remove_file(&summary);
    let before = look(&world).await;
    say(&format!("\n== Before\n\n{before}\n\n== The release, as {} has it\n\n", options.workflow.display()));
    let code = driver::drive(
        &driver::Options {
            workflow: options.repo.join(&options.workflow),
            repo: options.repo.clone(),
            bin_dir: bins,
            artifacts: artifacts.clone(),
            summary: Some(summary.clone()),
            inputs: inputs(&world),
            env: environment(&world),
            github: github(&world),
            secrets: secrets(&world),
            vars: Vec::new(),
            approve: Vec::new(),
            aws_credentials: "ASIAREHEARSALONLY000:rehearsal-secret-key".to_owned(),
        },
        Box::new(io::stdout()),
    )
    .await?;
    let after = look(&world).await;
    say(&format!(
        "\n== Before\n\n{before}\n\n== After\n\n{after}\n\n== Time line, from the receipts\n\n{}",
        time_line(&artifacts)?
    ));
    say(&format!(
        "\nThe job summary is in {}, the receipts are below {}.\n",
        summary.display(),
        artifacts.display()
    ));
    say(&format!(
        "The world still runs: {} serves; `make rehearse` again continues, `make rehearse-reset` forgets it.\n\n",
        world.service.url
    ));
    let wanted = if code == 0 { &world.release.to } else { &world.release.from };
    let served = serves(&world).await;
    let as_it_should = served.iter().all(|version| version == wanted);
    let line = match (code == 0, as_it_should) {
        (true, true) => format!(
            "LIVE: {} serves {} at every one of {} requests\n",
            world.service.url,
            wanted,
            served.len()
        ),
        (false, true) => {
            format!("NOT LIVE: the release failed, and {} serves {wanted} as before\n", world.service.url)
        }
        (_, false) => {
            format!("WRONG: {} should serve {wanted} and answered {}\n", world.service.url, served.join(", "))
        }
    };
    say(&line);
    Ok(if as_it_should { code } else { code.max(1) })
}

/// A link for each step to the multi-call executable, as in the container image.
fn links(folder: &Path) -> io::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("cutover");
    if !beside.is_file() {
        return Err(io::Error::other(format!("{} is absent: build the project first", beside.display())));
    }
    let list = Command::new(&beside).arg("--list").output()?;
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    for step in String::from_utf8_lossy(&list.stdout).lines() {
        symlink(&beside, folder.join(step))?;
    }
    folder.canonicalize()
}

fn pair(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn inputs(world: &World) -> Vec<(String, String)> {
    let World { aws, service, registry, database, backups, release, .. } = world;
    vec![
        pair("tag", &release.tag),
        pair("version", &release.to),
        pair("image", format!("{}:{}", registry.uri, release.image_tag)),
        pair("service", format!("{}/{}", service.cluster, service.name)),
        pair("container", &service.container),
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
    ]
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
async fn look(world: &World) -> String {
    let mut served = serves(world).await;
    served.dedup();
    let tables = "SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' \
                  AND nspname NOT IN ('pg_catalog', 'information_schema', 'cutover')";
    let applied = "SELECT count(*) || ', the last is ' || max(version) FROM cutover.migrations";
    format!(
        "  {} serves {}\n  database {}: {} tables; migrations: {}",
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

/// The receipts of the artefacts in the order in which their runs began.
fn time_line(artifacts: &Path) -> io::Result<String> {
    let mut runs: BTreeMap<String, String> = BTreeMap::new();
    let mut folders = vec![artifacts.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(receipt) = serde_json::from_slice::<Value>(&fs::read(&path)?) else { continue };
            let (Some(started), Some(step)) = (receipt["started"].as_str(), receipt["step"].as_str()) else {
                continue;
            };
            let mut lines = format!(
                "  {}  {step}: {}\n",
                started.get(11..19).unwrap_or(started),
                receipt["verdict"]["message"].as_str().unwrap_or("was killed")
            );
            for action in receipt["actions"].as_array().into_iter().flatten() {
                let text = |key: &str| action[key].as_str().unwrap_or_default().to_owned();
                lines.push_str(&format!("            {}: {}\n", text("state"), text("does")));
            }
            let outputs = receipt["outputs"].as_object().into_iter().flatten();
            for (name, value) in outputs.filter(|(name, _)| !matches!(name.as_str(), "changed" | "receipt")) {
                let value = value.as_str().unwrap_or_default().lines().next().unwrap_or_default();
                lines.push_str(&format!("            {name} = {value}\n"));
            }
            runs.insert(format!("{started} {step}"), lines);
        }
    }
    Ok(if runs.is_empty() { "  none\n".to_owned() } else { runs.into_values().collect() })
}

fn say(text: &str) {
    // A reader that has gone away must not stop the release that is being rehearsed.
    let _ = io::stdout().write_all(text.as_bytes());
}
