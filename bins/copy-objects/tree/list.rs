//! The lists of both sides, one page at a time and in the order of keys.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use aws_sdk_s3::types::EncodingType;
use kit::Failure;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::item::{Item, Names, shown};
use s3::Bucket;

/// What is listed ahead of what is looked at.
const AHEAD: usize = 1000;

pub(crate) type List = Receiver<Result<Item, Failure>>;

/// Every object below `prefix`, its key without it.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>; general purpose buckets are listed in
/// the order of the UTF-8 bytes of keys, others are not.
pub(crate) fn bucket(bucket: &Bucket, prefix: &str) -> List {
    let (to, list) = channel(AHEAD);
    let (bucket, prefix) = (bucket.clone(), prefix.to_owned());
    tokio::spawn(async move {
        if let Err(failure) = pages(&bucket, &prefix, &to).await {
            let _ = to.send(Err(failure)).await;
        }
    });
    list
}

async fn pages(bucket: &Bucket, prefix: &str, to: &Sender<Result<Item, Failure>>) -> Result<(), Failure> {
    let attempt = || format!("list {}", bucket.uri(prefix));
    // A key can hold characters that XML can't.
    let mut pages = bucket
        .client
        .list_objects_v2()
        .bucket(&bucket.name)
        .prefix(prefix)
        .encoding_type(EncodingType::Url)
        .set_expected_bucket_owner(bucket.owner.clone())
        .into_paginator()
        .send();
    let mut before: Option<String> = None;
    while let Some(page) = pages.next().await {
        let page =
            page.map_err(|error| aws::failure(attempt(), "s3:ListBucket", &bucket.bucket_arn(), error))?;
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        for object in page.contents() {
            let key = object.key().unwrap_or_default();
            let key = if encoded { decoded(key) } else { key.to_owned() };
            let Some(below) = key.strip_prefix(prefix) else {
                return Err(Failure::failed(attempt())
                    .because(format!("the list has a key that is not below it: {}", shown(&key))));
            };
            if before.as_deref().is_some_and(|before| before.as_bytes() >= below.as_bytes()) {
                return Err(Failure::failed(attempt())
                    .because(format!("the list is not in the order of keys: {}", shown(&key)))
                    .help("directory buckets are not listed in order, and are not copied as a tree"));
            }
            before = Some(below.to_owned());
            let item = Item {
                key: below.to_owned(),
                bytes: object.size().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
                etag: object.e_tag().unwrap_or_default().to_owned(),
                modified: object.last_modified().map_or(0, aws_sdk_s3::primitives::DateTime::secs),
                class: object.storage_class().map_or("STANDARD", |class| class.as_str()).to_owned(),
            };
            if to.send(Ok(item)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A key as `encoding-type=url` writes it.
fn decoded(key: &str) -> String {
    percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// What a folder holds beside regular files, none of which is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Skipped {
    pub(crate) symlinks: u64,
    /// Sockets, pipes and devices.
    pub(crate) others: u64,
    /// Names that are not UTF-8, which no key can be.
    pub(crate) unnameable: Names,
}

/// Every regular file below `folder`, in the order of the keys that they would have. Links are not followed.
pub(crate) fn folder(folder: &Path) -> (List, Arc<Mutex<Skipped>>) {
    let (to, list) = channel(AHEAD);
    let skipped = Arc::new(Mutex::new(Skipped::default()));
    let (folder, counted) = (folder.to_owned(), Arc::clone(&skipped));
    tokio::task::spawn_blocking(move || {
        if let Err(failure) = walk(&folder, "", &to, &counted) {
            let _ = to.blocking_send(Err(failure));
        }
    });
    (list, skipped)
}

fn walk(
    folder: &Path,
    below: &str,
    to: &Sender<Result<Item, Failure>>,
    skipped: &Mutex<Skipped>,
) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::failed(format!("list the folder {}", folder.display())).because(error);
    // Sorted as the keys will be: what is in a folder has a slash behind the folder's name.
    let mut found: Vec<(Vec<u8>, PathBuf, bool)> = Vec::new();
    let count = || skipped.lock().unwrap_or_else(PoisonError::into_inner);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let mut name = entry.file_name().as_bytes().to_vec();
        if kind.is_symlink() {
            count().symlinks += 1;
        } else if !kind.is_dir() && !kind.is_file() {
            count().others += 1;
        } else {
            if kind.is_dir() {
                name.push(b'/');
            }
            found.push((name, entry.path(), kind.is_dir()));
        }
    }
    found.sort();
    for (name, path, is_folder) in found {
        let Ok(name) = String::from_utf8(name) else {
            count().unnameable.add(path.display().to_string().escape_debug().to_string());
            continue;
        };
        let key = format!("{below}{name}");
        if is_folder {
            walk(&path, &key, to, skipped)?;
            continue;
        }
        let Some(facts) = facts(&path)? else { continue };
        let item = Item { key, bytes: facts.len(), modified: facts.mtime(), ..Item::default() };
        if to.blocking_send(Ok(item)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A file's facts; none of one that went away since its folder was read. What can't be told is no reason to leave a file out: the copy
/// would count as whole without it.
fn facts(path: &Path) -> Result<Option<fs::Metadata>, Failure> {
    match fs::symlink_metadata(path) {
        Ok(facts) => Ok(Some(facts)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::failed(format!("look at {}", path.display()))
            .because(error)
            .help("let this account read every folder and file below, or copy what it may read by itself")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_left_out_only_where_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.log");
        fs::write(&file, "a").unwrap();
        assert!(facts(&file).unwrap().is_some());
        assert!(facts(&dir.path().join("gone.log")).unwrap().is_none());
        // What root, as who tests often run, is refused too: a file is no folder.
        let refused = facts(&file.join("b.log")).unwrap_err();
        assert!(refused.to_string().contains("b.log"), "{refused}");
    }

    #[tokio::test]
    async fn a_folder_is_listed_in_the_order_of_keys_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/z", "a/b/c", "a-b", "a.txt", "b", "ü/x"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
        let (mut list, skipped) = folder(dir.path());
        let mut keys = Vec::new();
        while let Some(item) = list.recv().await {
            keys.push(item.unwrap().key);
        }
        // `printf '%s\n' a/z a/b/c a-b a.txt b ü/x | LC_ALL=C sort`
        assert_eq!(keys, ["a-b", "a.txt", "a/b/c", "a/z", "b", "ü/x"]);
        let skipped = skipped.lock().unwrap().clone();
        assert_eq!((skipped.symlinks, skipped.others, skipped.unnameable.count), (1, 0, 1));
    }

    #[test]
    fn a_key_is_decoded_as_it_was_encoded() {
        // As S3 encodes `a b+c%/ü` and a control character.
        assert_eq!(decoded("a+b%2Bc%25/%C3%BC%01"), "a b+c%/ü\u{1}");
    }
}
