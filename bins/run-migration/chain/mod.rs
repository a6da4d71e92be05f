//! `--chain`: commands that go from one version to the next, each once.
//!
//! What has been done stands in S3, as objects under a prefix that are only ever created: a stack's version is a tag that only
//! an update of the stack changes, and not every system has a database of its own to write to. A link that begins creates
//! `FROM-TO/N.started.json`, which no second run can, and ends with `N.done.json` or `N.failed.json`.

mod plan;
mod run;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws::Aws;
use clap::Args;
use kit::{Cx, Failure, Go, Outcome};
use s3::Bucket;

use self::plan::{ChainPlan, Link, Request, World};
use crate::args::MigrateArgs;
use crate::observe::{S3Uri, parse_s3_uri};

/// The flags of the chain form.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of the chain form")]
pub(crate) struct ChainArgs {
    /// Run the commands of this folder that lead from --from to --to, in place of --migrations
    #[arg(
        long,
        value_name = "DIR",
        requires_all = ["from", "to", "progress"],
        conflicts_with_all = [
            "migrations", "task", "action", "order", "ledger", "baseline", "allow", "require_backup", "without_backup",
            "dry_run_into", "lock_timeout", "concurrent_lock_timeout", "retry_for", "statement_timeout", "database_url",
            "service", "host", "port", "dbname", "user", "sslmode", "ssl_root_cert",
        ],
    )]
    pub(crate) chain: Option<PathBuf>,

    /// The version that the system has
    #[arg(long, value_name = "VERSION", requires = "chain")]
    pub(crate) from: Option<u64>,

    /// Where it stands which commands have run: a prefix of its own for each system and each chain
    #[arg(long, value_name = "S3-URI", requires = "chain", value_parser = parse_progress)]
    pub(crate) progress: Option<S3Uri>,
}

fn parse_progress(text: &str) -> Result<S3Uri, String> {
    parse_s3_uri(text.trim_end_matches('/')).map_err(|_| "write it as s3://bucket/prefix".to_owned())
}

/// Runs what of the chain has not run.
pub(crate) async fn run(cx: &Cx, args: &MigrateArgs, folder: &Path) -> Result<Outcome, Failure> {
    let (Some(from), Some(to), Some(at)) = (args.chain.from, args.to.as_deref(), &args.chain.progress) else {
        return Err(Failure::usage("run a chain").because("--from, --to and --progress are needed"));
    };
    let to = to.parse().map_err(|_| {
        Failure::usage("run a chain")
            .because(format!("--to {to:?} is no version: versions of a chain are whole numbers"))
    })?;
    let (links, ignored) = read(folder)?;
    let aws = Aws::connect(cx, &args.aws).await?;
    let bucket = Bucket::find(&aws, &at.bucket, Some(aws.account.clone()), "--progress").await?;
    let listed = bucket.list(&format!("{}/", at.key)).await?;
    let keys = listed.into_iter().map(|object| object.key).collect();
    let world = World { folder: folder.display().to_string(), links, ignored, keys };
    cx.observed(&world);
    let request = Request { from, to, progress: at };
    let plan = plan::plan(&request, &world)?;
    cx.output("from-version", from.to_string());
    cx.output("to-version", plan.reached().to_string());
    cx.output("pending", plan.links.len().to_string());
    cx.output("applied", "0");
    match cx.show(&plan)? {
        Go::Stop(outcome) => return Ok(outcome),
        Go::Apply => {}
    }
    if plan.links.is_empty() {
        return Ok(Outcome::unchanged(kit::Plan::unchanged(&plan)));
    }
    run::run(cx, &bucket, folder, &plan).await?;
    Ok(Outcome::changed(done(&plan)))
}

fn done(plan: &ChainPlan) -> String {
    format!("{} commands have run: the chain from {} to {} is complete", plan.links.len(), plan.from, plan.to)
}

/// Reads the folder: the links, and what is none.
fn read(folder: &Path) -> Result<(Vec<Link>, Vec<String>), Failure> {
    let attempt = format!("read the commands in {}", folder.display());
    let failed = |error: std::io::Error| {
        Failure::usage(&attempt)
            .because(error)
            .help("--chain names a folder of executables such as 00010002_dns.sh")
    };
    let (mut links, mut ignored) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let meta = entry.path().metadata().map_err(failed)?;
        match plan::versions(&name).filter(|_| meta.is_file()) {
            Some((from, to)) => {
                let executable = meta.permissions().mode() & 0o111 != 0;
                links.push(Link { name, from, to, executable });
            }
            None => ignored.push(name),
        }
    }
    links.sort_by(|a, b| (a.from, &a.name).cmp(&(b.from, &b.name)));
    ignored.sort();
    Ok((links, ignored))
}
