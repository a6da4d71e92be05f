//! `--mode vault-export`: the secrets of a Vault key/value engine (runbook B8) as an encrypted object; never on the disk, and
//! nowhere in clear.

mod document;
mod export;
#[cfg(test)]
mod foreign_tests;
mod observe;
mod plan;

use std::time::Duration;

use ::vault::Vault;
use kit::{Cx, Failure, Go, Outcome};
use s3::Bucket;

use crate::args::Args;
use crate::globals::recipients;
use crate::key::Destination;

use self::document::Export;
use self::observe::Wanted;
use self::plan::{Request, Work};

/// How old an export of the same id may be to count as made.
const MAX_AGE: Duration = Duration::from_hours(1);

pub(crate) async fn run(cx: &Cx, args: &Args, bucket: &Bucket, to: &Destination) -> Result<Outcome, Failure> {
    let vault = Vault::new(cx.env(), args.vault_addr.as_deref())?;
    let recipients = recipients(&args.age_recipient)?;
    let request = Request {
        id: args.backup_id.clone().or_else(|| cx.env().job_id()).unwrap_or_else(|| cx.run_id()),
        max_age: args.max_age.unwrap_or(MAX_AGE),
        recipients: recipients.iter().map(ToString::to_string).collect(),
    };
    let mount = args.vault_mount.as_deref().unwrap_or("secret");
    let wanted = Wanted { mount, prefix: &to.prefix, id: &request.id };
    let world = observe::observe(cx, &vault, bucket, wanted).await?;
    cx.observed(&world);
    let plan = plan::plan(&request, &world)?;
    cx.report().summarize(&world.listing());
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let (export, made) = match &plan.work {
        Work::Keep(export) => {
            export::remove(cx, bucket, &plan).await?;
            (Export::clone(export), plan.removals().next().is_some())
        }
        Work::Make { key } => {
            (export::make(cx, (&vault, bucket), &world, &recipients, (&request.id, key), &plan).await?, true)
        }
    };
    outputs(cx, &export);
    let headline = format!(
        "s3://{}/{} ({}) holds the {} secrets of {}/, encrypted to {} and read back",
        export.bucket,
        export.key,
        kit::size(export.bytes),
        export.secrets,
        export.mount,
        if export.recipients.len() == 1 {
            "1 key".to_owned()
        } else {
            format!("{} keys", export.recipients.len())
        }
    );
    Ok(if made { Outcome::changed(headline) } else { Outcome::unchanged(headline) })
}

/// Whether it is the key of an export's manifest.
pub(crate) fn is_manifest(key: &str) -> bool {
    key.ends_with(&document::manifest_of(document::SUFFIX))
}

fn outputs(cx: &Cx, export: &Export) {
    let uri = format!("s3://{}/{}", export.bucket, export.key);
    cx.output("manifest-uri", format!("s3://{}/{}", export.bucket, document::manifest_of(&export.key)));
    cx.output("sha256", &*export.sha256);
    cx.output("bytes", export.bytes.to_string());
    cx.output("duration", (export.ended - export.started).whole_seconds().to_string());
    cx.output("rung", "read-back");
    cx.output("restore-command", restore_command(&uri, &export.mount));
    cx.output("backup-uri", uri);
}

/// Puts each secret back; `KEY_FILE` is the file of the secret key.
fn restore_command(uri: &str, mount: &str) -> String {
    format!(
        "aws s3 cp {} - | age --decrypt --identity KEY_FILE | jq --compact-output 'select(.path)' | while IFS= read -r secret; do \
         jq .data <<<\"$secret\" | vault kv put -mount={} \"$(jq --raw-output .path <<<\"$secret\")\" -; done",
        kit::shell_word(uri),
        kit::shell_word(mount)
    )
}
