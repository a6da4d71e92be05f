//! What an unfinished upload to the same key is worth: pure.
//!
//! It does not say what it was a copy of. What makes taking it up safe is that S3 compares the CRC-64/NVME of the whole
//! object, as the source has it, when the upload is completed: a mixture is never committed.

use s3::{Object, Unfinished};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

/// An unfinished upload, looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Begun {
    pub(crate) upload: Unfinished,
    pub(crate) whose: Whose,
    /// It gets a CRC-64/NVME of the whole object when it is completed.
    pub(crate) full_crc64nvme: bool,
    pub(crate) storage_class: String,
    #[serde(serialize_with = "how_many")]
    pub(crate) parts: Vec<Part>,
}

/// A part that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) etag: String,
    pub(crate) crc64nvme: Option<String>,
}

/// Who began an upload, seen from the principal of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Whose {
    Ours,
    Others,
    /// S3 does not name them by an ARN.
    Unknown,
}

/// The upload that is taken up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Resume {
    pub(crate) id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) begun: OffsetDateTime,
    #[serde(serialize_with = "how_many")]
    pub(crate) parts: Vec<Part>,
}

fn how_many<S: Serializer>(parts: &[Part], to: S) -> Result<S::Ok, S::Error> {
    parts.len().serialize(to)
}

/// Compares two principals. The sessions of a role are one: each job has its own.
///
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns>
pub(crate) fn whose(initiator: Option<&str>, ours: &str) -> Whose {
    let principal = |arn: &str| {
        let mut fields = arn.split(':');
        let account = fields.nth(4).filter(|account| !account.is_empty())?.to_owned();
        let resource = fields.next()?;
        let (kind, rest) = resource.split_once('/').unwrap_or((resource, ""));
        let name = match kind {
            "assumed-role" => rest.split('/').next().unwrap_or(rest),
            _ => rest.rsplit('/').next().unwrap_or(rest),
        };
        Some((account, kind.to_owned(), name.to_owned()))
    };
    match (initiator.and_then(principal), principal(ours)) {
        (Some(theirs), Some(ours)) if theirs == ours => Whose::Ours,
        (Some(_), Some(_)) => Whose::Others,
        _ => Whose::Unknown,
    }
}

/// What a copy in parts is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) object: &'a Object,
    pub(crate) storage_class: &'a str,
    /// Bytes of a part.
    pub(crate) bytes: u64,
    pub(crate) count: u64,
    /// What is newest beside the copy. The copy will have the `LastModified` of the upload's beginning, and who takes the
    /// newest of a folder would not take it:
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html#SysMetadata>
    pub(crate) newest_beside: Option<OffsetDateTime>,
}

/// Why an upload can't be taken up, or nothing.
pub(crate) fn unfit(begun: &Begun, wanted: &Wanted<'_>) -> Option<&'static str> {
    let size_of = |number: u64| {
        let first = number.checked_sub(1)?.checked_mul(wanted.bytes)?;
        (number <= wanted.count).then(|| wanted.bytes.min(wanted.object.bytes.saturating_sub(first)))
    };
    if begun.whose == Whose::Others {
        Some("another principal began it")
    } else if wanted.object.crc64nvme.is_none() {
        Some("the source has no CRC-64/NVME of the whole object, by which S3 would refuse a mixture")
    } else if !begun.full_crc64nvme {
        Some("it was begun without a CRC-64/NVME of the whole object")
    } else if begun.upload.begun <= wanted.object.modified {
        Some("the source is newer")
    } else if begun.storage_class != wanted.storage_class {
        Some("it is of another storage class")
    } else if begun.parts.is_empty() {
        Some("no part of it is there")
    } else if begun.parts.iter().any(|part| size_of(part.number) != Some(part.bytes)) {
        Some("its parts have other sizes")
    } else if begun.parts.iter().any(|part| part.crc64nvme.is_none()) {
        Some("its parts have no CRC-64/NVME")
    } else if wanted.newest_beside.is_some_and(|newest| newest >= begun.upload.begun) {
        Some("an object beside it is newer than its beginning, which will be the copy's LastModified")
    } else {
        None
    }
}

/// The upload to take up: of those that fit, the one that is furthest.
pub(crate) fn best<'a>(begun: &'a [Begun], wanted: &Wanted<'_>) -> Option<&'a Begun> {
    let fit = begun.iter().filter(|begun| unfit(begun, wanted).is_none());
    fit.max_by_key(|begun| (begun.parts.len(), begun.upload.begun))
}

impl Begun {
    pub(crate) fn taken_up(&self) -> Resume {
        Resume { id: self.upload.id.clone(), begun: self.upload.begun, parts: self.parts.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_795_262_400 + second).unwrap()
    }

    fn object() -> Object {
        Object {
            bytes: 25,
            etag: "\"e\"".into(),
            version: None,
            modified: at(0),
            crc64nvme: Some("crc".into()),
            headers: BTreeMap::new(),
            metadata: BTreeMap::new(),
            tags: None,
            storage_class: "STANDARD".into(),
            encryption: None,
            kms_key: None,
            bucket_key: None,
            archived: None,
        }
    }

    fn part(number: u64, bytes: u64) -> Part {
        Part { number, bytes, etag: format!("\"{number}\""), crc64nvme: Some("c".into()) }
    }

    fn begun() -> Begun {
        Begun {
            upload: Unfinished { key: "k".into(), id: "u".into(), begun: at(1), by: "b".into() },
            whose: Whose::Ours,
            full_crc64nvme: true,
            storage_class: "STANDARD".into(),
            parts: vec![part(1, 10), part(3, 5)],
        }
    }

    fn judge(begun: &Begun, object: &Object, newest_beside: Option<OffsetDateTime>) -> Option<&'static str> {
        unfit(begun, &Wanted { object, storage_class: "STANDARD", bytes: 10, count: 3, newest_beside })
    }

    #[test]
    fn only_an_upload_that_s3_can_check_is_taken_up() {
        assert_eq!(judge(&begun(), &object(), None), None);
        assert_eq!(judge(&begun(), &object(), Some(at(0))), None);
        let says = |why: Option<&'static str>, part: &str| {
            assert!(why.is_some_and(|why| why.contains(part)), "{why:?} says nothing of {part}");
        };
        says(judge(&begun(), &Object { crc64nvme: None, ..object() }, None), "no CRC-64/NVME");
        says(judge(&begun(), &Object { modified: at(1), ..object() }, None), "source is newer");
        says(judge(&begun(), &object(), Some(at(1))), "LastModified");
        says(judge(&Begun { full_crc64nvme: false, ..begun() }, &object(), None), "without a CRC");
        says(judge(&Begun { whose: Whose::Others, ..begun() }, &object(), None), "another principal");
        says(judge(&Begun { storage_class: "GLACIER".into(), ..begun() }, &object(), None), "storage class");
        for parts in [vec![part(1, 9)], vec![part(3, 10)], vec![part(4, 10)], vec![part(0, 10)]] {
            says(judge(&Begun { parts, ..begun() }, &object(), None), "other sizes");
        }
        says(judge(&Begun { parts: Vec::new(), ..begun() }, &object(), None), "no part");
        let parts = vec![Part { crc64nvme: None, ..part(1, 10) }];
        says(judge(&Begun { parts, ..begun() }, &object(), None), "parts have no CRC");
    }

    #[test]
    fn the_sessions_of_a_role_are_one_principal() {
        let ours = "arn:aws:sts::111122223333:assumed-role/release/GitHubActions-7";
        let cases = [
            (Some("arn:aws:sts::111122223333:assumed-role/release/GitHubActions-6"), Whose::Ours),
            (Some("arn:aws:sts::111122223333:assumed-role/backup/GitHubActions-7"), Whose::Others),
            (Some("arn:aws:sts::444455556666:assumed-role/release/GitHubActions-7"), Whose::Others),
            (Some("arn:aws:iam::111122223333:user/release"), Whose::Others),
            (Some("75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a"), Whose::Unknown),
            (None, Whose::Unknown),
        ];
        for (initiator, expected) in cases {
            assert_eq!(whose(initiator, ours), expected, "{initiator:?}");
        }
        assert_eq!(
            whose(Some("arn:aws:iam::111122223333:user/team/ann"), "arn:aws:iam::111122223333:user/team/ann"),
            Whose::Ours
        );
    }
}
