//! Whether an export is to be made, and what goes before it. Pure.

use std::time::Duration;

use kit::{Action, Failure, Note, Plan};
use serde::Serialize;

use super::document::Export;
use super::observe::World;

/// The ids of the actions.
pub(super) const EXPORT: &str = "export-secrets";
pub(super) const MANIFEST: &str = "write-manifest";

pub(super) struct Request {
    pub(super) id: String,
    pub(super) max_age: Duration,
    pub(super) recipients: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ExportPlan {
    pub(super) work: Work,
    /// What a killed run of the same id left: key and `ETag`.
    pub(super) remove: Vec<(String, String)>,
    secrets: usize,
    mount: String,
    bucket: String,
    #[serde(skip)]
    notes: Vec<Note>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Work {
    Keep(Box<Export>),
    Make { key: String },
}

pub(super) fn plan(request: &Request, world: &World) -> Result<ExportPlan, Failure> {
    let attempt = || format!("export the secrets of {}/ of {}", world.mount.path, world.address);
    if world.paths.is_empty() {
        return Err(Failure::refused(attempt())
            .because("there is none, or the token sees none")
            .help("correct --vault-mount or VAULT_NAMESPACE, or give the token's policy `list` on it"));
    }
    let mut notes: Vec<Note> = world.warnings.iter().cloned().map(Note::Warning).collect();
    if world.health.standby {
        notes.push(Note::Info("the server is a standby, and passes the requests on".to_owned()));
    }
    if world.health.cluster_id.is_none() {
        notes.push(Note::Warning("the server does not tell the id of its cluster".to_owned()));
    }
    notes.push(Note::Info(format!("encrypted to {}", request.recipients.join(", "))));
    let kept = world.same.iter().filter(|(export, object)| {
        let old = Duration::try_from(world.now - export.started).unwrap_or(Duration::MAX);
        let whole =
            object.as_ref().is_some_and(|object| object.etag == export.etag && object.bytes == export.bytes);
        let same = export.cluster_id == world.health.cluster_id
            && export.namespace == world.namespace
            && export.recipients == request.recipients;
        whole && same && old <= request.max_age
    });
    // By time: keys of one id begin with theirs, and manifests know it better.
    let newest = kept.max_by_key(|(export, _)| export.started).map(|(export, _)| export);
    let remove = world.orphans.iter().map(|(key, object)| (key.clone(), object.etag.clone())).collect();
    let work = match newest {
        Some(export) => Work::Keep(Box::new(export.clone())),
        // A run that was killed within this very second has left it, and it goes first.
        None if world.key_taken && !world.orphans.iter().any(|(key, _)| *key == world.key) => {
            return Err(Failure::refused(attempt())
                .because(format!("there is an object {} already", world.key))
                .help("run it again: the name has the second in it"));
        }
        None => Work::Make { key: world.key.clone() },
    };
    Ok(ExportPlan {
        work,
        remove,
        secrets: world.paths.len(),
        mount: world.mount.path.clone(),
        bucket: world.bucket.clone(),
        notes,
    })
}

impl ExportPlan {
    /// Each removal with the id of its action.
    pub(super) fn removals(&self) -> impl Iterator<Item = (String, &str, &str)> {
        self.remove.iter().enumerate().map(|(index, (key, etag))| {
            (format!("remove-leftover-{}", index + 1), key.as_str(), etag.as_str())
        })
    }
}

impl Plan for ExportPlan {
    fn actions(&self) -> Vec<Action> {
        let mut actions: Vec<Action> = self
            .removals()
            .map(|(id, key, _)| {
                Action::irreversible(
                    id,
                    format!(
                        "delete s3://{}/{key}, which a run of the same id left without a manifest",
                        self.bucket
                    ),
                    "it can't be told whether it is whole, and is made anew",
                )
            })
            .collect();
        if let Work::Make { key } = &self.work {
            actions.push(Action::new(
                EXPORT,
                format!(
                    "read {} paths of {}/, encrypt them and write s3://{}/{key}",
                    self.secrets, self.mount, self.bucket
                ),
                "delete the object",
            ));
            actions.push(Action::new(
                MANIFEST,
                "write its manifest, once it was read back and Vault is found unchanged",
                "delete the manifest",
            ));
        }
        actions
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        match &self.work {
            Work::Keep(export) => format!("{} was made for the same id", export.key),
            Work::Make { .. } => String::new(),
        }
    }
}
