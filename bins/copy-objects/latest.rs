//! Which object is the newest: pure.

use std::time::Duration;

use kit::Failure;
use s3::{Listed, Unfinished};
use time::OffsetDateTime;

/// What the newest object has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    pub(crate) max_age: Option<Duration>,
    pub(crate) min_size: u64,
}

/// How many candidates a refusal lists.
const SHOWN: usize = 10;

/// The newest object by `LastModified`, if there is exactly one and it is what it has to be.
///
/// An older one is never taken in its place: that the newest is not as wanted is what its reader has to know.
pub(crate) fn latest<'a>(
    place: &str,
    listed: &'a [Listed],
    unfinished: &[Unfinished],
    now: OffsetDateTime,
    conditions: Conditions,
) -> Result<&'a Listed, Failure> {
    let refused = || Failure::refused(format!("find the newest object below {place}"));
    // A console's folder is an empty object whose key ends in a slash.
    let mut objects: Vec<&Listed> =
        listed.iter().filter(|object| !(object.bytes == 0 && object.key.ends_with('/'))).collect();
    objects.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.key.cmp(&b.key)));
    let Some(newest) = objects.first().copied() else {
        return Err(refused().because("there is no object").help("correct --from, or make the backup first"));
    };
    let ties: Vec<&Listed> =
        objects.iter().copied().take_while(|object| object.modified == newest.modified).collect();
    if ties.len() > 1 {
        let mut failure = refused()
            .because(format!("{} objects are equally new, of {}", ties.len(), kit::minute(newest.modified)))
            .help("name one of them with --from, without --latest");
        for object in ties.iter().take(SHOWN) {
            failure = failure.state(format!("candidate: {} ({})", object.key, kit::size(object.bytes)));
        }
        return Err(failure);
    }
    let coming = unfinished.iter().find(|upload| upload.key == newest.key || upload.begun > newest.modified);
    if let Some(upload) = coming {
        return Err(refused()
            .because(format!(
                "{} is being uploaded since {} (by {}): what is newest is about to change",
                upload.key,
                kit::minute(upload.begun),
                upload.by
            ))
            .help("wait for that upload, or abort it if it is dead (aws s3api abort-multipart-upload), and run this again"));
    }
    let describe = format!("{} ({}, {})", newest.key, kit::size(newest.bytes), kit::minute(newest.modified));
    if newest.bytes == 0 {
        return Err(refused()
            .because(format!("it is empty: {describe}"))
            .help("look at the job that wrote it"));
    }
    if newest.bytes < conditions.min_size {
        return Err(refused()
            .because(format!("it has less than --min-size {}: {describe}", conditions.min_size))
            .help("look at the job that wrote it"));
    }
    let old = Duration::try_from(now - newest.modified).unwrap_or_default();
    if let Some(most) = conditions.max_age
        && old > most
    {
        return Err(refused()
            .because(format!("it is {} old, --max-age allows {}: {describe}", kit::age(old), kit::age(most)))
            .help("find out why there is no newer one, or allow a greater age"));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    const NOW: i64 = 1_795_262_400;

    fn at(ago: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(NOW - ago).unwrap()
    }

    fn object(key: &str, ago: i64, bytes: u64) -> Listed {
        Listed { key: key.into(), bytes, etag: "\"e\"".into(), modified: at(ago) }
    }

    fn upload(key: &str, ago: i64) -> Unfinished {
        Unfinished { key: key.into(), id: "u".into(), begun: at(ago), by: "backup".into() }
    }

    fn pick(
        listed: &[Listed],
        unfinished: &[Unfinished],
        max_age: u64,
        min_size: u64,
    ) -> Result<String, (Code, String)> {
        let conditions = Conditions { max_age: Some(Duration::from_secs(max_age)), min_size };
        latest("s3://b/sync/", listed, unfinished, at(0), conditions)
            .map(|newest| newest.key.clone())
            .map_err(|failure| (failure.code(), format!("{failure:?}")))
    }

    #[test]
    fn the_newest_is_taken_whatever_the_keys_say() {
        let listed = [
            object("sync/c", 900, 5),
            object("sync/a", 60, 5),
            object("sync/", 1, 0),
            object("sync/b", 61, 5),
        ];
        assert_eq!(pick(&listed, &[], 60, 5), Ok("sync/a".into()));
        // An upload that somebody left before the newest was written does not concern it.
        assert_eq!(pick(&listed, &[upload("sync/z", 61)], 60, 5), Ok("sync/a".into()));
    }

    #[test]
    fn what_is_not_surely_the_newest_backup_is_refused_with_its_name() {
        let one = [object("sync/a", 60, 5), object("sync/b", 600, 50)];
        let cases: [(&[Listed], &[Unfinished], u64, u64, &[&str]); 8] = [
            (&[], &[], 60, 0, &["there is no object"]),
            (&[object("sync/", 1, 0)], &[], 60, 0, &["there is no object"]),
            (
                &[object("sync/a", 60, 5), object("sync/b", 60, 6)],
                &[],
                60,
                0,
                &["2 objects are equally new", "sync/a", "sync/b"],
            ),
            (&[object("sync/a", 60, 0), object("sync/b", 600, 50)], &[], 60, 0, &["it is empty: sync/a"]),
            (&one, &[], 60, 6, &["--min-size 6: sync/a"]),
            (&one, &[], 59, 0, &["1 min old", "--max-age allows 59 s", "sync/a"]),
            (&one, &[upload("sync/a", 5000)], 60, 0, &["sync/a is being uploaded"]),
            (&one, &[upload("sync/c", 10)], 60, 0, &["sync/c is being uploaded"]),
        ];
        for (listed, unfinished, max_age, min_size, says) in cases {
            let (code, text) = pick(listed, unfinished, max_age, min_size).unwrap_err();
            assert_eq!(code, Code::Refused, "{text}");
            for part in says {
                assert!(text.contains(part), "`{part}` is not in {text}");
            }
        }
    }
}
