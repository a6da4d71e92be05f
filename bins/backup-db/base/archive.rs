//! Reads the archive of a base backup as it streams by: what is in it, and each file's size and SHA-256. Unpacks it too,
//! where that is asked for.
//!
//! Memory is what the names and sums of the files take, some hundred bytes each; never a file's content but that of
//! PostgreSQL's own manifest.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, PipeReader, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use s3::Sha256;
use tar::EntryType;

/// What the archive holds.
#[derive(Debug, Default)]
pub(super) struct Archive {
    /// The files, by their path, but for segments of the write-ahead log and the manifest.
    pub(super) files: HashMap<Vec<u8>, Member>,
    /// The segments of the write-ahead log, by their name, and the size of each.
    pub(super) wal: BTreeMap<String, u64>,
    /// `backup_manifest`.
    pub(super) manifest: Option<Vec<u8>>,
}

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

/// Why an archive was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is no archive of a base backup.
    Archive(String),
    /// It can't be unpacked here.
    Disk(String),
}

/// The name of PostgreSQL's own manifest in the archive.
const MANIFEST: &[u8] = b"backup_manifest";
/// Where the write-ahead log is.
const WAL: &[u8] = b"pg_wal/";
/// What is read at once.
const CHUNK: usize = 256 << 10;

/// A reader on a thread of its own.
#[derive(Debug)]
pub(super) struct Reader(std::thread::JoinHandle<Result<Archive, Trouble>>);

impl Reader {
    /// Reads what comes out of the pipe to its end, and unpacks it into the folder.
    pub(super) fn of(pipe: PipeReader, into: Option<PathBuf>) -> Self {
        Self(std::thread::spawn(move || read(pipe, into.as_deref())))
    }

    /// What was read, once the other end of the pipe is closed.
    pub(super) async fn end(self) -> Result<Archive, Trouble> {
        let joined = tokio::task::spawn_blocking(|| self.0.join()).await;
        match joined {
            Ok(Ok(read)) => read,
            Ok(Err(_)) | Err(_) => Err(Trouble::Archive("it can't be read".to_owned())),
        }
    }
}

/// Reads an archive to its end. The folder that it is unpacked into must be there: one that somebody removes meanwhile is not made
/// anew, with half of the files.
pub(super) fn read(source: impl Read, into: Option<&Path>) -> Result<Archive, Trouble> {
    let broken = |error: io::Error| Trouble::Archive(format!("the archive can't be read: {error}"));
    let mut tar = tar::Archive::new(source);
    let mut found = Archive::default();
    let mut buffer = vec![0; CHUNK];
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = path(&entry.path_bytes()).map_err(Trouble::Archive)?;
        let shown = String::from_utf8_lossy(&path).into_owned();
        let unwritten = |error: io::Error| Trouble::Disk(format!("{shown} can't be unpacked: {error}"));
        let inner = Path::new(std::ffi::OsStr::from_bytes(&path));
        match entry.header().entry_type() {
            EntryType::Directory => {
                if let Some(into) = into {
                    folder(into, inner).map_err(unwritten)?;
                }
                continue;
            }
            EntryType::Regular | EntryType::Continuous => {}
            other => {
                return Err(Trouble::Archive(format!("{shown} in the archive is no file but {other:?}")));
            }
        }
        let mut file = into.map(|into| make(into, inner)).transpose().map_err(unwritten)?;
        let mut content = Content::of(&path);
        loop {
            let length = entry.read(&mut buffer).map_err(broken)?;
            let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
            content.add(bytes);
            if let Some(file) = &mut file {
                file.write_all(bytes).map_err(unwritten)?;
            }
        }
        if let Some(file) = file {
            file.sync_data().map_err(unwritten)?;
        }
        if !content.keep(path, &mut found) {
            return Err(Trouble::Archive(format!("{shown} is in the archive twice")));
        }
    }
    let mut rest = tar.into_inner();
    loop {
        let length = rest.read(&mut buffer).map_err(broken)?;
        match buffer.get(..length) {
            None | Some([]) => return Ok(found),
            Some(bytes) if bytes.iter().all(|byte| *byte == 0) => {}
            Some(_) => {
                return Err(Trouble::Archive("something comes after the end of the archive".to_owned()));
            }
        }
    }
}

/// A member's path as PostgreSQL's manifest has it. One that leads out of the folder is refused.
fn path(written: &[u8]) -> Result<Vec<u8>, String> {
    let path = Path::new(std::ffi::OsStr::from_bytes(written));
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(format!("{} in the archive leads out of it", path.display()));
            }
        }
    }
    Ok(plain.into_os_string().into_encoded_bytes())
}

/// Makes a folder that only its owner may enter, as PostgreSQL asks for.
pub(super) fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// The same for each part of a path below a folder that is there.
fn folder(into: &Path, inner: &Path) -> io::Result<()> {
    let mut path = into.to_path_buf();
    for part in inner.components() {
        path.push(part);
        match private(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made?,
        }
    }
    Ok(())
}

fn make(into: &Path, inner: &Path) -> io::Result<File> {
    if let Some(parent) = inner.parent() {
        folder(into, parent)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(into.join(inner))
}

/// Makes the names of what was unpacked durable too.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

/// A file's content as it comes.
enum Content {
    Wal { name: String, bytes: u64 },
    Manifest(Vec<u8>),
    File { bytes: u64, sum: Sha256 },
}

impl Content {
    fn of(path: &[u8]) -> Self {
        if path == MANIFEST {
            return Self::Manifest(Vec::new());
        }
        match path.strip_prefix(WAL).and_then(segment) {
            Some(name) => Self::Wal { name, bytes: 0 },
            None => Self::File { bytes: 0, sum: Sha256::new() },
        }
    }

    fn add(&mut self, chunk: &[u8]) {
        match self {
            Self::Wal { bytes, .. } => *bytes += chunk.len() as u64,
            Self::Manifest(text) => text.extend_from_slice(chunk),
            Self::File { bytes, sum } => {
                *bytes += chunk.len() as u64;
                sum.update(chunk);
            }
        }
    }

    /// Whether it is the first of this name.
    fn keep(self, path: Vec<u8>, found: &mut Archive) -> bool {
        match self {
            Self::Wal { name, bytes } => found.wal.insert(name, bytes).is_none(),
            Self::Manifest(text) => found.manifest.replace(text).is_none(),
            Self::File { bytes, sum } => {
                found.files.insert(path, Member { bytes, sha256: sum.finish() }).is_none()
            }
        }
    }
}

/// The name of a segment: 24 hexadecimal digits.
fn segment(name: &[u8]) -> Option<String> {
    let is =
        name.len() == 24 && name.iter().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte));
    is.then(|| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// An archive with these members, in their order.
    pub(in crate::base) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in members {
            let mut header = tar::Header::new_ustar();
            // As `pg_basebackup` writes them; the crate's own setter refuses what leads out of the folder.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(if path.ends_with('/') {
                EntryType::Directory
            } else {
                EntryType::Regular
            });
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::archive;
    use super::*;

    #[test]
    fn files_are_summed_and_the_log_and_the_manifest_are_told_from_them() {
        let tar = archive(&[
            ("PG_VERSION", b"15\n"),
            ("./pg_wal/", b""),
            ("./pg_wal/archive_status/x.done", b""),
            ("pg_wal/000000010000000000000002", &[7; 1000]),
            ("pg_wal/00000002.history", b"1"),
            ("base/1/2662", b"abc"),
            ("backup_manifest", b"{}\n"),
        ]);
        let found = read(&*tar, None).unwrap();
        assert_eq!(found.wal, BTreeMap::from([("000000010000000000000002".to_owned(), 1000)]));
        assert_eq!(found.manifest.as_deref(), Some(&b"{}\n"[..]));
        assert_eq!(found.files.len(), 4);
        assert!(found.files.contains_key(&b"pg_wal/archive_status/x.done"[..]));
        let member = &found.files[&b"base/1/2662"[..]];
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            (member.bytes, kit::hex(&member.sha256).as_str()),
            (3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
    }

    fn refused(tar: &[u8]) -> String {
        match read(tar, None).unwrap_err() {
            Trouble::Archive(why) => why,
            Trouble::Disk(why) => panic!("{why}"),
        }
    }

    #[test]
    fn what_is_cut_doubled_or_leads_elsewhere_is_refused() {
        let tar = archive(&[("base/1/2662", &[1; 5000]), ("backup_manifest", b"{}\n")]);
        assert!(refused(&tar[..3000]).contains("can't be read"));
        assert!(read(&tar[..100], None).is_err());
        let twice = archive(&[("a", b"1"), ("./a", b"2")]);
        assert_eq!(refused(&twice), "a is in the archive twice");
        for out in ["../etc/passwd", "/etc/passwd", "base/../../x"] {
            assert!(refused(&archive(&[(out, b"x")])).contains("leads out of it"), "{out}");
        }
        let mut more = tar.clone();
        more.extend(archive(&[("b", b"1")]));
        assert_eq!(refused(&more), "something comes after the end of the archive");
        let mut padded = tar;
        padded.extend([0; 9000]);
        assert!(read(&*padded, None).is_ok());
    }

    #[test]
    fn it_is_unpacked_for_the_owner_alone_and_over_nothing() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let tar = archive(&[("pg_wal/", b""), ("base/1/2662", b"abc")]);
        read(&*tar, Some(folder.path())).unwrap();
        sync(folder.path()).unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("base"), mode("pg_wal"), mode("base/1/2662")), (0o700, 0o700, 0o600));
        assert_eq!(fs::read(folder.path().join("base/1/2662")).unwrap(), b"abc");
        let again = read(&*tar, Some(folder.path())).unwrap_err();
        assert!(matches!(again, Trouble::Disk(why) if why.contains("base/1/2662 can't be unpacked")));
        let gone = folder.path().join("gone");
        let trouble = read(&*tar, Some(&gone)).unwrap_err();
        assert!(matches!(trouble, Trouble::Disk(_)) && !gone.exists(), "what was removed is not made anew");
    }
}
