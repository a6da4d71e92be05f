//! All judgement: what was observed, and what is to be done or why not. Pure.

use kit::{Action, Failure, Note, Plan};
use s3::{Object, Unfinished};
use serde::Serialize;
use time::OffsetDateTime;

use crate::resume::{self, Begun, Resume, Whose, best, unfit};
use crate::verify::{Contents, Wanted, attributes};

/// The one action that makes the copy.
pub(crate) const COPY: &str = "copy";

const MIB: u64 = 1 << 20;
/// What one call can copy, in bytes.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
pub(crate) const COPY_LIMIT: u64 = 5 << 30;
/// The smallest and the largest part but the last, and the number of parts, that S3 allows.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub(crate) const SMALLEST_PART: u64 = 5 * MIB;
const LARGEST_PART: u64 = 5 << 30;
/// Fewer than the 10,000 that are allowed, so that rounding can't reach them.
const PARTS: u64 = 9_500;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) replace: bool,
    /// Put away what another principal has begun.
    pub(crate) abort_others: bool,
    /// Objects larger than this are copied in parts.
    pub(crate) multipart_above: u64,
    /// Parts are at least this large.
    pub(crate) part_size: u64,
    /// The key of KMS for the copy, in the place of the source's.
    pub(crate) kms_key: Option<String>,
    /// Through this process.
    pub(crate) through: bool,
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct World {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) now: OffsetDateTime,
    pub(crate) source: Side,
    pub(crate) object: Object,
    pub(crate) destination: Side,
    /// What lies at the destination.
    pub(crate) there: Option<There>,
    /// Uploads to exactly the destination's key that were begun and not ended.
    pub(crate) unfinished: Vec<Begun>,
    /// The newest object in the folder of the copy, beside it; looked for only where an upload may be taken up.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) newest_beside: Option<OffsetDateTime>,
    /// Why this object, when it was not named.
    pub(crate) chosen: Option<String>,
}

/// A place of one object.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Side {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) region: String,
}

impl Side {
    pub(crate) fn uri(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}

/// An object at the destination, compared with the source.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct There {
    pub(crate) facts: Object,
    /// Never unknown: where S3's figures do not tell, both were read.
    pub(crate) contents: Contents,
}

/// What will be done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CopyPlan {
    /// Names the copy among several: the id of its action.
    pub(crate) id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) work: Work,
    /// Remains of earlier runs, put away first.
    pub(crate) abort: Vec<Unfinished>,
    #[serde(skip)]
    notes: Vec<Note>,
    #[serde(skip)]
    object: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// The copy is there; by what it is known.
    Keep(String),
    Copy(Box<Copy>),
}

/// One copy, with nothing left to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Copy {
    pub(crate) how: How,
    pub(crate) wanted: Wanted,
    /// The object that is replaced.
    pub(crate) replaces: Option<Replaced>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Replaced {
    pub(crate) etag: String,
    pub(crate) version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    /// One `CopyObject`, which is atomic.
    One,
    /// Read and written by this process.
    Through,
    /// `UploadPartCopy` of so many bytes each, some of which may be there already.
    Parts { bytes: u64, count: u64, resume: Option<Resume> },
}

/// How many bytes the parts of an object have.
pub(crate) fn part_size(bytes: u64, at_least: u64) -> u64 {
    let needed = bytes.div_ceil(PARTS).next_multiple_of(MIB);
    needed.max(at_least).clamp(SMALLEST_PART, LARGEST_PART)
}

pub(crate) fn plan(request: &Request, world: &World) -> Result<CopyPlan, Failure> {
    let (source, object) = (&world.source, &world.object);
    let (from, to) = (source.uri(), world.destination.uri());
    let refused = || Failure::refused(format!("copy {from} to {to}"));
    if source.bucket == world.destination.bucket && source.key == world.destination.key {
        return Err(refused().because("it is the same object").help("correct --to"));
    }
    if let Some(archived) = &object.archived {
        return Err(refused()
            .because(format!("the source is archived: {archived}"))
            .help("restore it first (aws s3api restore-object) and wait for its end"));
    }
    let wanted = wanted(request, world)?;
    let mut notes = vec![Note::Info(format!("source: {}", object.in_words()))];
    notes.extend(world.chosen.clone().map(Note::Info));
    if object.tags.is_none() {
        notes.push(Note::Warning("tags are not carried over (--no-tags)".to_owned()));
    }
    if request.through && object.is_kms() && request.kms_key.is_none() {
        notes.push(Note::Warning(
            "the source is encrypted under a KMS key; the copy is encrypted as its bucket does by default (--kms-key)"
                .to_owned(),
        ));
    }
    if source.region != world.destination.region {
        notes.push(Note::Info(format!(
            "from the region {} to {}; S3 bills the transfer",
            source.region, world.destination.region
        )));
    }
    let mut replaces = None;
    if let Some(there) = &world.there {
        let different = match &there.contents {
            Contents::Same(by) => {
                let other = attributes(&wanted, &there.facts);
                if other.is_empty() {
                    let ours = world.unfinished.iter().filter(|begun| begun.whose == Whose::Ours);
                    return Ok(CopyPlan {
                        id: COPY.to_owned(),
                        from,
                        to,
                        work: Work::Keep(by.clone()),
                        abort: ours.map(|begun| begun.upload.clone()).collect(),
                        notes,
                        object: object.in_words(),
                    });
                }
                format!("its content is the same, and {}", other.join(", "))
            }
            Contents::Different(why) => why.clone(),
            Contents::Unknown => "its content can't be compared".to_owned(),
        };
        if !request.replace {
            return Err(refused()
                .because(format!(
                    "there is another object at the destination ({}): {different}",
                    there.facts.in_words()
                ))
                .help("look whose it is; --replace puts the copy in its place"));
        }
        notes.push(Note::Warning(format!(
            "replaces another object at the destination ({}): {different}",
            there.facts.in_words()
        )));
        replaces = Some(Replaced { etag: there.facts.etag.clone(), version: there.facts.version.clone() });
    }
    let others: Vec<&Begun> = world.unfinished.iter().filter(|begun| begun.whose == Whose::Others).collect();
    if let (Some(begun), false) = (others.first(), request.abort_others) {
        return Err(refused()
            .because(format!(
                "{} began an upload to the same key at {} and has not ended it",
                begun.upload.by,
                kit::minute(begun.upload.begun)
            ))
            .help("ask them, and wait for its end; if it is dead, --abort-others puts it away"));
    }
    let (how, abort) = how(request, world, &wanted.storage_class, &mut notes);
    Ok(CopyPlan {
        id: COPY.to_owned(),
        from,
        to,
        work: Work::Copy(Box::new(Copy { how, wanted, replaces })),
        abort,
        notes,
        object: object.in_words(),
    })
}

/// In one call or in parts, taking up what is there, and the uploads that are put away.
fn how(
    request: &Request,
    world: &World,
    storage_class: &str,
    notes: &mut Vec<Note>,
) -> (How, Vec<Unfinished>) {
    let object = &world.object;
    let all = || world.unfinished.iter().map(|begun| begun.upload.clone());
    if request.through {
        return (How::Through, all().collect());
    }
    if object.bytes <= request.multipart_above.min(COPY_LIMIT) {
        return (How::One, all().collect());
    }
    let bytes = part_size(object.bytes, request.part_size);
    let count = object.bytes.div_ceil(bytes);
    let wanted = resume::Wanted { object, storage_class, bytes, count, newest_beside: world.newest_beside };
    let resume = best(&world.unfinished, &wanted).map(Begun::taken_up);
    for begun in &world.unfinished {
        if let Some(why) = unfit(begun, &wanted) {
            let since = kit::minute(begun.upload.begun);
            notes.push(Note::Info(format!("the upload that was begun {since} is not taken up: {why}")));
        }
    }
    if let Some(resume) = &resume {
        notes.push(Note::Info(format!(
            "what the upload was begun with (metadata, tags, encryption) is seen, and compared, when it is complete; \
             the copy's LastModified will be {}",
            kit::minute(resume.begun)
        )));
    }
    let taken = resume.as_ref().map(|resume| resume.id.clone());
    (How::Parts { bytes, count, resume }, all().filter(|upload| Some(&upload.id) != taken.as_ref()).collect())
}

/// The attributes of the copy: those of the source. A key of KMS serves one region.
fn wanted(request: &Request, world: &World) -> Result<Wanted, Failure> {
    let object = &world.object;
    let kms = match (&request.kms_key, &object.encryption) {
        (Some(key), algorithm) => {
            let kms = algorithm.as_deref().filter(|_| object.is_kms()).unwrap_or("aws:kms");
            Some((kms.to_owned(), Some(key.clone())))
        }
        // Whoever may not read the source can't use its key.
        (None, Some(_)) if request.through => None,
        (None, Some(algorithm)) if object.is_kms() => {
            if world.source.region != world.destination.region {
                return Err(Failure::refused(format!("copy {}", world.source.uri()))
                    .because(format!(
                        "it is encrypted under a KMS key of the region {}, which {} can't use",
                        world.source.region, world.destination.region
                    ))
                    .help("name a key of the destination's region with --kms-key"));
            }
            Some((algorithm.clone(), object.kms_key.clone()))
        }
        _ => None,
    };
    Ok(Wanted {
        headers: object.headers.clone(),
        metadata: object.metadata.clone(),
        tags: object.tags.clone(),
        storage_class: object.storage_class.clone(),
        kms,
    })
}

impl CopyPlan {
    /// The uploads to put away, each with the id of its action.
    pub(crate) fn aborts(&self) -> impl Iterator<Item = (String, &Unfinished)> {
        let of = self.id.strip_prefix(COPY).unwrap_or_default();
        self.abort.iter().enumerate().map(move |(n, upload)| (format!("abort-upload{of}-{}", n + 1), upload))
    }
}

impl Plan for CopyPlan {
    fn actions(&self) -> Vec<Action> {
        let mut actions: Vec<Action> = self
            .aborts()
            .map(|(id, upload)| {
                Action::irreversible(
                    id,
                    format!(
                        "abort an unfinished upload of {} (begun {} by {})",
                        self.to,
                        kit::minute(upload.begun),
                        upload.by
                    ),
                    "its parts never became an object",
                )
            })
            .collect();
        let Work::Copy(copy) = &self.work else { return actions };
        let how = match &copy.how {
            How::One => "server-side, with one CopyObject".to_owned(),
            How::Through => "through this process".to_owned(),
            How::Parts { bytes, count, resume } => format!(
                "server-side, in {count} parts of {} (UploadPartCopy: it is larger than --multipart-above allows one CopyObject){}",
                kit::size(*bytes),
                resume.as_ref().map_or_else(String::new, |resume| format!(
                    ", taking up the upload that was begun {}: {} parts are there",
                    kit::minute(resume.begun),
                    resume.parts.len()
                ))
            ),
        };
        let does = format!("copy {} to {}, {how}", self.from, self.to);
        let detail = format!("{} ({})", self.from, self.object);
        let action = match &copy.replaces {
            None => Action::new(&*self.id, does, format!("delete {} if it is still this copy", self.to)),
            Some(Replaced { version: Some(_), .. }) => Action::new(
                &*self.id,
                format!("{does}, in the place of the object there"),
                "delete the version that this writes, so that the one before is current again",
            ),
            Some(_) => Action::irreversible(
                &*self.id,
                format!("{does}, in the place of the object there"),
                "the bucket keeps no versions: the object that is replaced is lost",
            ),
        };
        actions.push(action.detail(detail));
        actions
    }

    fn notes(&self) -> Vec<Note> {
        self.notes.clone()
    }

    fn unchanged(&self) -> String {
        match &self.work {
            Work::Keep(by) => format!("{} is a copy of {} already (same {by})", self.to, self.from),
            Work::Copy(_) => String::new(),
        }
    }
}

/// How old an object is, for the plan.
pub(crate) fn how_old(now: OffsetDateTime, modified: OffsetDateTime) -> String {
    kit::age(std::time::Duration::try_from(now - modified).unwrap_or_default())
}
