//! The files of a release: those on disk, and which of them GitHub does not have yet.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kit::Failure;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::observe::{Asset, Release};

/// GitHub takes files under 2 GiB.
///
/// Source: <https://docs.github.com/en/repositories/releasing-projects-on-github/about-releases#storage-and-bandwidth-quotas>
const LARGEST: u64 = 2 * 1024 * 1024 * 1024;

/// A file to be added to the release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Local {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) size: u64,
    /// `sha256:...`, as GitHub writes it.
    pub(crate) digest: String,
}

/// A file that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Upload {
    /// Its action's id: the same in every run.
    pub(crate) id: String,
    pub(crate) file: Local,
    /// What an earlier upload that broke off left in its place.
    pub(crate) replaces: Option<u64>,
}

/// Reads the files. A usage error: one that is none, is empty, too large, or whose name GitHub would change.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Local>, Failure> {
    let mut files: Vec<Local> = Vec::new();
    for path in paths {
        let file = one(path)?;
        if let Some(other) = files.iter().find(|other| other.name.eq_ignore_ascii_case(&file.name)) {
            return Err(Failure::usage(format!("add {} to the release", path.display()))
                .because(format!("{} has the same name", other.path.display()))
                .help("the files of a release need different names: rename one"));
        }
        files.push(file);
    }
    Ok(files)
}

fn one(path: &Path) -> Result<Local, Failure> {
    let unusable =
        |why: String| Failure::usage(format!("add {} to the release", path.display())).because(why);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') || name.ends_with('.') {
        return Err(unusable("GitHub would change its name".to_owned())
            .help("use letters, digits, and . _ - + inside"));
    }
    let kind = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?;
    if !kind.is_file() {
        return Err(unusable("it is not a file".to_owned()));
    }
    match kind.len() {
        0 => return Err(unusable("it is empty, which GitHub refuses".to_owned())),
        LARGEST.. => return Err(unusable("GitHub takes files under 2 GiB".to_owned())),
        _ => {}
    }
    let (mut file, mut hash, mut size) =
        (File::open(path).map_err(|error| unusable(error.to_string()))?, Sha256::new(), 0);
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(|error| unusable(error.to_string()))?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        size += read as u64;
    }
    let digest = format!("sha256:{}", kit::hex(&hash.finalize()));
    Ok(Local { path: path.to_owned(), name, size, digest })
}

/// Whether the release's file is this one, whole. A server that tells no digest is believed by the size.
pub(crate) fn is_it(asset: &Asset, file: &Local) -> bool {
    asset.state == "uploaded"
        && asset.size == file.size
        && asset.digest.as_ref().is_none_or(|digest| *digest == file.digest)
}

/// What is left to upload to the release that is there, or to the one that will be made.
pub(crate) fn missing(files: &[Local], release: Option<&Release>) -> Result<Vec<Upload>, Failure> {
    let mut uploads = Vec::new();
    for (place, file) in files.iter().enumerate() {
        let there = release.and_then(|release| release.assets.iter().find(|asset| asset.name == file.name));
        let replaces = match (there, release) {
            (Some(asset), _) if is_it(asset, file) => continue,
            (_, Some(release)) if !release.draft => return Err(published(file, release, there)),
            // Source: https://docs.github.com/en/rest/releases/assets#upload-a-release-asset
            (Some(asset), _) if asset.state != "uploaded" => Some(asset.id),
            (Some(asset), release) => return Err(other(file, asset, release)),
            (None, _) => None,
        };
        uploads.push(Upload { id: format!("upload-asset-{}", place + 1), file: file.clone(), replaces });
    }
    Ok(uploads)
}

fn published(file: &Local, release: &Release, there: Option<&Asset>) -> Failure {
    let what = if there.is_some() { "has another file of that name" } else { "does not have it" };
    let frozen = if release.immutable { ", and immutable" } else { "" };
    Failure::refused(format!("add {} to the release of {}", file.name, release.tag_name))
        .because(format!("the release is published{frozen}, and {what}"))
        .help("files are added to drafts alone, so that nobody sees a release without them: release a new version")
}

fn other(file: &Local, asset: &Asset, release: Option<&Release>) -> Failure {
    let page = release.map(|release| release.html_url.clone()).unwrap_or_default();
    let told = |size: u64, digest: Option<&str>| {
        digest.map_or_else(|| format!("{size} bytes"), |digest| format!("{size} bytes, {digest}"))
    };
    Failure::refused(format!("add {} to the release", file.name))
        .because(format!(
            "the draft has another file of that name ({}; the one here has {})",
            told(asset.size, asset.digest.as_deref()),
            told(file.size, Some(&file.digest))
        ))
        .help(format!(
            "delete the wrong one; a build that is not the same twice has to keep its files: {page}"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    fn local(name: &str) -> Local {
        Local { path: name.into(), name: name.into(), size: 3, digest: "sha256:aaa".into() }
    }

    fn asset(state: &str, size: u64, digest: Option<&str>) -> Asset {
        Asset { id: 9, name: "a.zip".into(), state: state.into(), size, digest: digest.map(str::to_owned) }
    }

    fn release(draft: bool, asset: Asset) -> Release {
        Release { draft, assets: vec![asset], ..Release::default() }
    }

    #[test]
    fn only_what_is_missing_or_half_there_is_uploaded() {
        let of = |state: &str, size, digest| {
            missing(&[local("b.zip"), local("a.zip")], Some(&release(true, asset(state, size, digest))))
                .map(|all| all.into_iter().map(|it| (it.id, it.replaces)).collect::<Vec<_>>())
        };
        let (first, second) = ("upload-asset-1".to_owned(), "upload-asset-2".to_owned());
        assert_eq!(of("uploaded", 3, Some("sha256:aaa")).unwrap(), [(first.clone(), None)]);
        assert_eq!(of("uploaded", 3, None).unwrap(), [(first.clone(), None)]);
        assert_eq!(of("starter", 0, None).unwrap(), [(first.clone(), None), (second, Some(9))]);
        for (size, digest) in [(3, Some("sha256:bbb")), (4, None)] {
            assert_eq!(of("uploaded", size, digest).unwrap_err().code(), Code::Refused);
        }
        assert_eq!(missing(&[local("a.zip")], None).unwrap().len(), 1);
    }

    #[test]
    fn a_published_release_gets_no_files() {
        let files = [local("a.zip")];
        assert!(
            missing(&files, Some(&release(false, asset("uploaded", 3, Some("sha256:aaa")))))
                .unwrap()
                .is_empty()
        );
        for there in [asset("uploaded", 4, None), asset("starter", 0, None)] {
            let refused = missing(&files, Some(&release(false, there))).unwrap_err();
            assert!(refused.chain().join("").contains("is published"), "{:?}", refused.chain());
        }
    }

    #[test]
    fn files_that_can_not_be_added_are_refused_before_anything() {
        let folder = std::env::temp_dir().join(format!("cutover-assets-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("x")).unwrap();
        for (name, content) in
            [("a.zip", "abc"), ("empty", ""), ("a b", "abc"), (".hidden", "abc"), ("x/A.zip", "abc")]
        {
            std::fs::write(folder.join(name), content).unwrap();
        }
        let read = |names: &[&str]| read(&names.iter().map(|name| folder.join(name)).collect::<Vec<_>>());
        let good = read(&["a.zip"]).unwrap();
        // `printf abc | sha256sum`
        assert_eq!(good[0].digest, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        for names in [&["empty"][..], &["a b"], &[".hidden"], &["x"], &["none"], &["a.zip", "x/A.zip"]] {
            assert_eq!(read(names).unwrap_err().code(), Code::Usage, "{names:?}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
