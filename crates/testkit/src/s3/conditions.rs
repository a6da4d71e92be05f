//! Conditions on reading, copying and writing, as S3 judges them.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html>

use s3s::dto::ETagCondition;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use time::OffsetDateTime;

/// The conditions of `GetObject`, `HeadObject` and, under other names, of the source of a copy.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<OffsetDateTime>,
    pub(super) if_unmodified_since: Option<OffsetDateTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    NotModified,
    Failed,
}

impl Reading {
    /// The entity tag decides where a time is given beside it: a matching tag reads what was modified since, and a tag that is
    /// not to match but does is an unmodified object. <https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2>
    pub(super) fn judge(&self, etag: &str, modified: OffsetDateTime) -> Verdict {
        match (&self.if_match, self.if_unmodified_since) {
            (Some(condition), _) if !is_met(condition, Some(etag)) => return Verdict::Failed,
            (None, Some(since)) if modified > since => return Verdict::Failed,
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(condition), _) if is_met(condition, Some(etag)) => Verdict::NotModified,
            (None, Some(since)) if modified <= since => Verdict::NotModified,
            _ => Verdict::Holds,
        }
    }

    /// Of a copy's source: what a reader would be told is unmodified fails too.
    pub(super) fn judge_source(&self, etag: &str, modified: OffsetDateTime) -> S3Result {
        match self.judge(etag, modified) {
            Verdict::Holds => Ok(()),
            Verdict::NotModified | Verdict::Failed => Err(precondition_failed()),
        }
    }
}

/// The conditions of `PutObject`, `CompleteMultipartUpload` and `CopyObject` on what is there already.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
#[derive(Clone, Debug, Default)]
pub(super) struct Writing {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
}

impl Writing {
    pub(super) fn is_given(&self) -> bool {
        self.if_match.is_some() || self.if_none_match.is_some()
    }

    /// `current` is the entity tag of the current version; a delete marker is none.
    pub(super) fn judge(&self, current: Option<&str>) -> S3Result {
        if self.if_none_match.as_ref().is_some_and(|condition| !condition.is_any()) {
            return Err(s3_error!(
                NotImplemented,
                "A header you provided implies functionality that is not implemented"
            ));
        }
        if self.if_none_match.is_some() && current.is_some() {
            return Err(precondition_failed());
        }
        match (&self.if_match, current) {
            (Some(_), None) => Err(no_such_key()),
            (Some(condition), current) if !is_met(condition, current) => Err(precondition_failed()),
            _ => Ok(()),
        }
    }
}

pub(super) fn is_met(condition: &ETagCondition, current: Option<&str>) -> bool {
    match (condition.as_etag(), current) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(etag), Some(current)) => etag.value() == current,
    }
}

pub(super) fn precondition_failed() -> S3Error {
    s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
}

pub(super) fn no_such_key() -> S3Error {
    s3_error!(NoSuchKey, "The specified key does not exist.")
}

/// A key was deleted while a conditional write to it was on its way.
pub(super) fn conflict() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::ConditionalRequestConflict,
        "The conditional request cannot succeed due to a conflicting operation against this resource.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(text: &str) -> Option<ETagCondition> {
        text.parse().ok()
    }

    #[test]
    fn a_reader_is_refused_or_told_that_nothing_changed() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).ok();
        let (etag, modified) = ("abc", OffsetDateTime::from_unix_timestamp(100).unwrap());
        let none = Reading::default;
        let cases = [
            (none(), Verdict::Holds),
            (Reading { if_match: condition("\"abc\""), ..none() }, Verdict::Holds),
            (Reading { if_match: condition("\"abd\""), ..none() }, Verdict::Failed),
            (Reading { if_none_match: condition("\"abc\""), ..none() }, Verdict::NotModified),
            (Reading { if_none_match: condition("\"abd\""), ..none() }, Verdict::Holds),
            (Reading { if_modified_since: at(100), ..none() }, Verdict::NotModified),
            (Reading { if_modified_since: at(99), ..none() }, Verdict::Holds),
            (Reading { if_unmodified_since: at(99), ..none() }, Verdict::Failed),
            (Reading { if_unmodified_since: at(100), ..none() }, Verdict::Holds),
            // AWS names these two: "returns 200 OK", "returns 304 Not Modified".
            (
                Reading { if_match: condition("\"abc\""), if_unmodified_since: at(99), ..none() },
                Verdict::Holds,
            ),
            (
                Reading { if_none_match: condition("\"abc\""), if_modified_since: at(99), ..none() },
                Verdict::NotModified,
            ),
        ];
        for (reading, expected) in cases {
            assert_eq!(reading.judge(etag, modified), expected, "{reading:?}");
            assert_eq!(
                reading.judge_source(etag, modified).is_ok(),
                expected == Verdict::Holds,
                "{reading:?}"
            );
        }
    }

    #[test]
    fn a_writer_is_refused_by_what_is_there() {
        let code =
            |writing: &Writing, current| writing.judge(current).err().map(|error| error.code().clone());
        let new = Writing { if_none_match: condition("*"), ..Writing::default() };
        assert_eq!(code(&new, None), None);
        assert_eq!(code(&new, Some("abc")), Some(S3ErrorCode::PreconditionFailed));
        let same = Writing { if_match: condition("\"abc\""), ..Writing::default() };
        assert_eq!(code(&same, Some("abc")), None);
        assert_eq!(code(&same, Some("abd")), Some(S3ErrorCode::PreconditionFailed));
        assert_eq!(code(&same, None), Some(S3ErrorCode::NoSuchKey));
        let other = Writing { if_none_match: condition("\"abc\""), ..Writing::default() };
        assert_eq!(code(&other, None), Some(S3ErrorCode::NotImplemented));
    }
}
