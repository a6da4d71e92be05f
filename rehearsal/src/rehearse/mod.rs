//! A whole rehearsal: the world, the production workflow driven against it, and what a person asks afterwards.

mod rally;
mod review;
mod stacks;

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::driver;
use crate::workflow::Workflow;
use crate::world::{self, Description, ReleaseOptions, Variant};

/// Rehearse a release: start its world, drive the workflow file against it, and look from outside at what came of it.
///
/// Ends as the driver does, with 2 when what was asked for can't be rehearsed, and with 1 when the world does not look as the
/// workflow's result says it should.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The folder of the world's state
    #[arg(long)]
    pub state: PathBuf,
    /// The project: the workflow file and the local actions are read from here
    #[arg(long, default_value = ".")]
    pub repo: PathBuf,
    /// The workflow file; the runbook's own unless another is given. One of another repository is run in that repository's tree, and
    /// calls this project's steps as OWNER/cutover/actions/STEP@COMMIT. The world's names are its variables: `service` is
    /// `vars.SERVICE`
    #[arg(long)]
    pub workflow: Option<PathBuf>,
    /// An input of the workflow, which goes before the rehearsal's own
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = driver::pair)]
    pub workflow_inputs: Vec<(String, String)>,
    /// Approve this environment and no other; without it every gate opens, and says so
    #[arg(long, value_name = "ENVIRONMENT")]
    pub approve: Vec<String>,
    #[command(flatten)]
    pub release: ReleaseOptions,
}

/// What a world gives to the driver.
struct Given {
    workflow: &'static str,
    inputs: Vec<(String, String)>,
    env: Vec<(String, String)>,
    github: Vec<(String, String)>,
    secrets: Vec<(String, String)>,
}

/// Runs it and returns the exit code.
///
/// # Errors
/// The world can't be started, or the multi-call executable is not beside this one.
pub async fn rehearse(options: &Options) -> io::Result<u8> {
    if let Err(what) = options.release.check() {
        writeln!(io::stderr(), "error: {what}")?;
        return Ok(2);
    }
    let state = options.state.clone();
    world::world(&world::Options { state, release: options.release.clone(), background: true }).await?;
    let world = world::running(&options.state)?.ok_or_else(|| io::Error::other("the world has stopped"))?;
    let links = links(&options.state.join("bin"))?;
    let artifacts = options.state.join("artifacts");
    let summary = options.state.join("summary.md");
    let _ = fs::remove_file(&summary);

    let repository = match options.release.variant {
        Some(Variant::Review) => Some(review::repository(&options.state).await?),
        _ => None,
    };
    let given = match (&world, &repository) {
        (Description::Rally(world), _) if options.release.variant == Some(Variant::Merge) => {
            rally::merged(world)
        }
        (Description::Rally(world), _) => rally::given(world),
        (Description::Boss(world), Some(github)) => review::given(world, github),
        (Description::Boss(world), None) => stacks::given(world, ".github/workflows/update-boss-stack.yml"),
        (Description::Jenkins(world), _) => {
            stacks::given(world, ".github/workflows/upgrade-jenkins-parallel.yml")
        }
    };
    let workflow = options.workflow.clone().unwrap_or_else(|| given.workflow.into());
    let calls = options.state.join("calls.jsonl");
    let called = stacks::operations(&calls)?.len();
    let before = Look::at(&world).await?;
    if let Description::Boss(world) | Description::Jenkins(world) = &world {
        say(&format!(
            "\n== Copies, for what the emulator has not: a resource became a handle without effect, a condition constant\n\n{}",
            stacks::copies(world)
        ));
    }
    let title = format!("== The release, as {} has it", workflow.display());
    say(&format!("\n== Before\n\n{before}\n\n{title}\n\n"));
    let variable = |(name, value): &(String, String)| pair(&name.to_uppercase().replace('-', "_"), value);
    let vars = given.inputs.iter().map(variable).collect();
    let file = options.repo.join(&workflow);
    let own = options.workflow.is_some().then(|| tree(&file)).flatten();
    let repo = own.clone().unwrap_or_else(|| options.repo.clone());
    let mut inputs = given.inputs;
    if own.is_some()
        && let Ok(workflow) = Workflow::load(&file, &repo, &options.repo)
    {
        inputs.retain(|(name, _)| workflow.takes(name));
    }
    inputs.extend(options.workflow_inputs.clone());
    let code = driver::drive(
        &driver::Options {
            workflow: file,
            repo,
            project: options.repo.clone(),
            bin_dir: links.clone(),
            artifacts: artifacts.clone(),
            summary: Some(summary.clone()),
            inputs,
            env: given.env,
            github: given.github,
            secrets: given.secrets,
            vars,
            approve: options.approve.clone(),
            aws_credentials: "ASIAREHEARSALONLY000:rehearsal-secret-key".to_owned(),
        },
        Box::new(io::stdout()),
    )
    .await?;
    if matches!(code, 2 | 3) {
        // Not one step has run.
        return Ok(code);
    }
    let after = Look::at(&world).await?;
    say(&format!(
        "\n== Before\n\n{before}\n\n== After\n\n{after}\n\n== The report, from the receipts\n\n{}",
        report(&links, &artifacts)?
    ));
    say(&format!(
        "\nThe job summary is in {}, the receipts are below {}.\n",
        summary.display(),
        artifacts.display()
    ));
    let (stays, (line, as_it_should)) = match (&world, &before, &after) {
        (
            Description::Boss(world) | Description::Jenkins(world),
            Look::Stacks(before),
            Look::Stacks(after),
        ) => {
            let ran = stacks::operations(&calls)?.split_off(called);
            let stays = format!("AWS is at {}", world.aws.endpoint);
            let verdict = match &repository {
                None => stacks::verdict(before, after, &ran, code == 0),
                Some(github) => {
                    let untouched = stacks::untouched(before, after, &ran);
                    let (comment, line, as_it_should) = review::verdict(github, untouched, code == 0);
                    say(&format!("\n== The comment\n\n{comment}\n\n"));
                    (line, as_it_should)
                }
            };
            (stays, verdict)
        }
        (Description::Rally(world), ..) => {
            (format!("{} serves", world.service.url), rally::verdict(world, code == 0).await)
        }
        _ => return Err(io::Error::other("the world has become another")),
    };
    say(&format!(
        "The world still runs: {stays}; `make rehearse` again continues, `make rehearse-reset` forgets it.\n\n{line}\n"
    ));
    Ok(if as_it_should { code } else { code.max(1) })
}

/// What is seen of a world from outside.
enum Look {
    Rally(String),
    Stacks(stacks::Look),
}

impl Look {
    async fn at(world: &Description) -> io::Result<Self> {
        Ok(match world {
            Description::Rally(world) => Self::Rally(rally::look(world).await),
            Description::Boss(world) | Description::Jenkins(world) => {
                Self::Stacks(stacks::Look::at(world).await?)
            }
        })
    }
}

impl fmt::Display for Look {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rally(text) => formatter.write_str(text),
            Self::Stacks(look) => look.fmt(formatter),
        }
    }
}

/// The tree of the repository that a workflow file lies in, below `.github/workflows`.
fn tree(workflow: &Path) -> Option<PathBuf> {
    let folder = workflow.parent().filter(|folder| folder.ends_with(".github/workflows"))?;
    Some(folder.parent()?.parent()?.to_owned())
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

/// The release as its receipts have it, by the step that draws it.
fn report(bins: &Path, artifacts: &Path) -> io::Result<String> {
    let mut command = Command::new(bins.join("release-report"));
    command.arg("--receipts").arg(artifacts).args(["--allow-none", "--title", "The release"]);
    let output = command.env_clear().output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn say(text: &str) {
    // A reader that has gone away must not stop the release that is being rehearsed.
    let _ = io::stdout().write_all(text.as_bytes());
}
