//! One file to one object.

use std::path::{Path, PathBuf};

use aws::Aws;
use kit::{Action, Cx, Failure, Go, Note, Outcome, Plan};
use s3::{Bucket, Object};
use serde::Serialize;

use crate::apply::{Inverse, Written};
use crate::args::Args;
use crate::plan::COPY;
use crate::reader::{Sums, sums, sums_of};
use crate::send::{self, Payload, Target, send};
use crate::types;
use crate::unfinished;
use crate::verify::{Wanted, attributes};

/// How the copy is known to be one.
const BY: &str = "size and CRC-64/NVME of the whole object";

/// What will be done.
#[derive(Debug, Serialize)]
struct FilePlan {
    from: String,
    to: String,
    bytes: u64,
    content_type: String,
    /// The `ETag` of what is replaced, and whether it comes back.
    replaces: Option<(String, Option<String>)>,
    keep: bool,
    #[serde(skip)]
    notes: Vec<Note>,
}

impl Plan for FilePlan {
    fn actions(&self) -> Vec<Action> {
        if self.keep {
            return Vec::new();
        }
        let does = format!("write {} ({}) to {}", self.from, kit::size(self.bytes), self.to);
        vec![match &self.replaces {
            None => Action::new(COPY, does, format!("delete {} if it is still this copy", self.to)),
            Some((_, Some(_))) => Action::new(
                COPY,
                format!("{does}, in the place of the object there"),
                "delete the version that this writes, so that the one before is current again",
            ),
            Some((_, None)) => Action::irreversible(
                COPY,
                format!("{does}, in the place of the object there"),
                "the bucket keeps no versions: the object that is replaced is lost",
            ),
        }]
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        format!("{} is a copy of {} already (same {BY})", self.to, self.from)
    }
}

/// Judges what is there: pure.
fn plan(
    (from, to): (String, String),
    ours: &Sums,
    there: Option<&(Object, String)>,
    wanted: &Wanted,
    replace: bool,
) -> Result<FilePlan, Failure> {
    let content_type = wanted.headers.get("Content-Type").cloned().unwrap_or_default();
    let mut plan = FilePlan {
        from,
        to,
        bytes: ours.bytes,
        content_type: content_type.clone(),
        replaces: None,
        keep: false,
        notes: vec![Note::Info(format!("Content-Type: {content_type}"))],
    };
    let Some((there, crc)) = there else { return Ok(plan) };
    let same = there.bytes == ours.bytes && *crc == ours.crc64nvme;
    let other = attributes(wanted, there);
    if same && other.is_empty() {
        plan.keep = true;
        return Ok(plan);
    }
    let why = if same { other.join(", ") } else { "another content".to_owned() };
    if !replace {
        return Err(Failure::refused(format!("copy {} to {}", plan.from, plan.to))
            .because(format!("there is another object at the destination ({}): {why}", there.in_words()))
            .help("look whose it is; --replace puts the file in its place"));
    }
    plan.notes.push(Note::Warning(format!(
        "replaces another object at the destination ({}): {why}",
        there.in_words()
    )));
    plan.replaces = Some((there.etag.clone(), there.version.clone()));
    Ok(plan)
}

pub(crate) async fn run(
    cx: &Cx,
    aws: &Aws,
    args: &Args,
    path: &Path,
    (bucket, to): (Bucket, String),
) -> Result<Outcome, Failure> {
    let from = path.display().to_string();
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(Failure::usage(format!("copy {from}"))
            .because("its name is not UTF-8, which every key is")
            .help("name the copy's key with --to"));
    };
    let key = if to.is_empty() || to.ends_with('/') { format!("{to}{name}") } else { to };
    let uri = bucket.uri(&key);
    let attempt = format!("copy {from} to {uri}");
    let content_type = args.content_type.clone().unwrap_or_else(|| types::of(name).to_owned());
    let wanted = Wanted::of_file(content_type, args.kms_key.as_ref());
    // Read ahead also where there is nothing to compare with: the receipt of a run that is killed while it writes has to tell its copy
    // from another one.
    let ours = sums(cx, path, false).await.map_err(|problem| problem.alone(&attempt))?;
    let there = match cx.or_cancelled(bucket.head(&key, None)).await?? {
        None => None,
        Some(there) => {
            let crc = match there.crc64nvme.clone() {
                Some(crc) => crc,
                None if there.bytes != ours.bytes => String::new(),
                None => sums_of(cx, &bucket, &key, &there).await?.crc64nvme,
            };
            Some((there, crc))
        }
    };
    let unfinished = unfinished::of(cx, &bucket, &key).await?;
    let principal = cx.or_cancelled(unfinished::principal(aws)).await??;
    let bytes = ours.bytes;
    let mut plan = plan((from.clone(), uri.clone()), &ours, there.as_ref(), &wanted, args.replace)?;
    plan.notes.extend(unfinished.iter().map(|upload| {
        Note::Info(format!(
            "an upload of it is unfinished (begun {} by {}): if it is this principal's, and the file is written in parts, it is put away",
            kit::minute(upload.begun),
            upload.by
        ))
    }));
    cx.observed(&there.as_ref().map(|(there, _)| there));
    if let Go::Stop(outcome) = cx.show(&plan)? {
        return Ok(outcome);
    }
    let target = Target {
        bucket: bucket.clone(),
        key: key.clone(),
        replaces: plan.replaces.as_ref().map(|(etag, _)| etag.clone()),
        wanted: wanted.clone(),
        bucket_key: None,
        ours: principal,
        sha256: false,
    };
    let written = if plan.keep {
        there.as_ref().map(|(there, _)| Written::of(there))
    } else {
        let inverse = Inverse {
            bucket: bucket.name.clone(),
            key: key.clone(),
            owner: bucket.owner.clone(),
            replaced: target.replaces.clone(),
            bytes,
            crc64nvme: Some(ours.crc64nvme),
            etag: String::new(),
        };
        let payload = Payload::File(PathBuf::from(path));
        let noted = cx
            .act(COPY, &inverse, async {
                let sent = send(cx, &payload, &target, &send::memory()).await;
                let sent = sent.map_err(|problem| problem.alone(&attempt))?;
                let written = Written { etag: sent.etag, version: sent.version, bytes: sent.bytes };
                Ok(Noted { crc: sent.crc64nvme, written })
            })
            .await?;
        prove(cx, &bucket, &key, (&noted.written, &noted.crc), &wanted).await?;
        Some(noted.written)
    };
    cx.output("source-uri", &*from);
    cx.output("copy-uri", &*uri);
    cx.output("verified-by", BY);
    let bytes = written.as_ref().map_or(bytes, |written| written.bytes);
    cx.output("bytes", bytes.to_string());
    if let Some(written) = written {
        cx.output("etag", written.etag);
        if let Some(version) = written.version {
            cx.output("version-id", version);
        }
    }
    let what = format!("{uri} is a copy of {from}");
    Ok(if plan.keep {
        Outcome::unchanged(format!("{what} already ({}, same {BY})", kit::size(bytes)))
    } else {
        Outcome::changed(format!("{what} ({}, verified: same {BY})", kit::size(bytes)))
    })
}

/// What the receipt keeps of what was written.
#[derive(Debug, Serialize)]
struct Noted {
    #[serde(rename = "crc64nvme")]
    crc: String,
    #[serde(flatten)]
    written: Written,
}

/// Looks at what is there.
async fn prove(
    cx: &Cx,
    bucket: &Bucket,
    key: &str,
    (written, crc): (&Written, &str),
    wanted: &Wanted,
) -> Result<(), Failure> {
    let unverified = |why: String| {
        Failure::unverified(format!("verify {}", bucket.uri(key)))
            .because(why)
            .help("do not rely on it; --undo RECEIPT deletes it")
    };
    let Some(there) = cx.or_cancelled(bucket.head(key, None)).await?? else {
        return Err(unverified("S3 accepted the file, and there is no such object".to_owned()));
    };
    if there.etag != written.etag || there.bytes != written.bytes {
        return Err(unverified(format!("another object is there by now ({})", there.in_words())));
    }
    let theirs = match there.crc64nvme.clone() {
        Some(theirs) => theirs,
        None => sums_of(cx, bucket, key, &there).await?.crc64nvme,
    };
    if theirs != crc {
        return Err(unverified(format!("its CRC-64/NVME is {theirs}, that of the file {crc}")));
    }
    let other = attributes(wanted, &there);
    if other.is_empty() { Ok(()) } else { Err(unverified(other.join(", "))) }
}
