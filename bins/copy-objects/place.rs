//! `s3://BUCKET/KEY`, `s3://BUCKET/PREFIX/` and `STACK.OUTPUT`, and where a copy goes.

use std::path::PathBuf;

use serde::Serialize;

/// A bucket and what stands behind it: a key, or a prefix that is empty or ends in a slash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    pub(crate) bucket: String,
    pub(crate) path: String,
}

/// What is copied: in S3, or on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    S3(Place),
    Path(PathBuf),
}

impl std::str::FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        if text.contains("://") { text.parse().map(Self::S3) } else { Ok(Self::Path(PathBuf::from(text))) }
    }
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text} is not of the form s3://BUCKET/KEY or s3://BUCKET/PREFIX/");
        let rest = text.strip_prefix("s3://").ok_or_else(form)?;
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(form());
        }
        if !is_bucket(bucket) {
            return Err(format!(
                "{bucket} can't be the name of a bucket: it has 3 to 63 lower-case letters, digits, dots and hyphens, and begins and ends with a letter or digit"
            ));
        }
        Ok(Self { bucket: bucket.to_owned(), path: path.to_owned() })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.path)
    }
}

/// Whether it can be the name of a bucket.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
pub(crate) fn is_bucket(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    (3..=63).contains(&name.len())
        && name.chars().all(inner)
        && !name.starts_with(['.', '-'])
        && !name.ends_with(['.', '-'])
}

/// An output of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StackOutput {
    pub(crate) stack: String,
    pub(crate) output: String,
}

impl std::str::FromStr for StackOutput {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('.') {
            Some((stack, output)) if !stack.is_empty() && !output.is_empty() => {
                Ok(Self { stack: stack.to_owned(), output: output.to_owned() })
            }
            _ => Err(format!("{text} is not of the form STACK.OUTPUT")),
        }
    }
}

/// The key of the copy of `source` when `to` is asked for: `to` itself, or the source's name below it if it is a prefix.
///
/// The name is what follows the last slash of `below`, which the source's key begins with.
pub(crate) fn key_of_copy(source: &str, below: &str, to: &str) -> String {
    if !to.is_empty() && !to.ends_with('/') {
        return to.to_owned();
    }
    let folder = below.rfind('/').map_or(0, |slash| slash + 1);
    format!("{to}{}", source.get(folder..).unwrap_or(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_a_path() {
        let place = |text: &str| text.parse::<Place>().map(|place| (place.bucket, place.path));
        assert_eq!(place("s3://old-jenkins/a/b.tar"), Ok(("old-jenkins".into(), "a/b.tar".into())));
        assert_eq!(place("s3://old-jenkins/a//"), Ok(("old-jenkins".into(), "a//".into())));
        assert_eq!(place("s3://old-jenkins"), Ok(("old-jenkins".into(), String::new())));
        for wrong in ["old-jenkins/a", "s3://", "s3:///a", "s3://Old/a", "https://old/a", "s3://-ab/a"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_copy_keeps_the_name_below_a_prefix() {
        let cases = [
            ("Backups/sync/a.tar", "Backups/sync/a.tar", "x/y.tar", "x/y.tar"),
            ("Backups/sync/a.tar", "Backups/sync/a.tar", "x/", "x/a.tar"),
            ("Backups/sync/a.tar", "Backups/sync/a.tar", "", "a.tar"),
            ("Backups/sync/a.tar", "Backups/sync/", "x/", "x/a.tar"),
            ("Backups/sync/2026/a.tar", "Backups/sync/", "x/", "x/2026/a.tar"),
            ("Backups/sync/jenkins-a.tar", "Backups/sync/jenkins-", "x/", "x/jenkins-a.tar"),
            ("a.tar", "", "x/", "x/a.tar"),
        ];
        for (source, below, to, expected) in cases {
            assert_eq!(key_of_copy(source, below, to), expected, "{source} below {below} to {to}");
        }
    }

    #[test]
    fn an_output_is_named_by_its_stack() {
        let read = |text: &str| text.parse::<StackOutput>().map(|it| (it.stack, it.output));
        assert_eq!(read("jenkins-s3.BucketName"), Ok(("jenkins-s3".into(), "BucketName".into())));
        for wrong in ["jenkins", "jenkins.", ".BucketName"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
