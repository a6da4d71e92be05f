//! The list of sums that an archive gets last: without it, the archive is not whole.
//!
//! It is in the form of `sha256sum`, so that `sha256sum -c SHA256SUMS` checks what is fetched back.
//! Source: <https://www.gnu.org/software/coreutils/manual/html_node/md5sum-invocation.html>

use std::collections::HashMap;
use std::io::{BufWriter, Write as _};

use kit::Failure;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::Tree;
use super::manifest::{Files, Listed};
use crate::apply::{Inverse, Written};
use crate::send::{Payload, Target, send};
use crate::verify::Wanted;

/// The name of the list.
pub(crate) const SUMS: &str = "SHA256SUMS";
/// The action that writes it.
pub(crate) const WRITE_SUMS: &str = "write-sums";

/// One line. A name with a line break or a backslash is escaped, and the line says so.
pub(crate) fn line(sha256: &str, name: &str) -> String {
    if name.contains(['\n', '\r', '\\']) {
        let name = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        format!("\\{sha256}  {name}\n")
    } else {
        format!("{sha256}  {name}\n")
    }
}

/// The list, in the order of keys.
fn list(tree: &Tree, listed: &Listed) -> Result<(NamedTempFile, [u8; 32]), Failure> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!("write the list {SUMS}")).because(error).help("make room, or set TMPDIR")
    };
    let mut sums: HashMap<String, String> = HashMap::new();
    let (files, _) = Files::of_run(&tree.cx);
    if files.written.exists() {
        let mut written = files.read_written()?;
        while let Some((_, done)) = written.next()? {
            sums.extend(done.sha256.map(|sha256| (done.key, sha256)));
        }
    }
    let file = tempfile::Builder::new().prefix("copy-objects-").tempfile().map_err(failed)?;
    let mut out = BufWriter::new(file);
    let mut hasher = Sha256::new();
    let mut lines = listed.lines()?;
    while let Some((_, of)) = lines.next()? {
        let Some(sha256) = of.sha256.as_ref().or_else(|| sums.get(&of.item.key)) else {
            return Err(Failure::failed(format!("write the list {SUMS}"))
                .because(format!("nothing is known of {}", super::item::shown(&of.item.key))));
        };
        let text = line(sha256, &of.item.key);
        hasher.update(&text);
        out.write_all(text.as_bytes()).map_err(failed)?;
    }
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    Ok((file, hasher.finalize().into()))
}

/// Whether the list that is there is that of exactly these files.
pub(crate) async fn is_there(tree: &Tree, listed: &Listed) -> Result<bool, Failure> {
    let (_, ours) = list(tree, listed)?;
    let key = format!("{}{SUMS}", tree.to);
    let text = tree.cx.or_cancelled(tree.destination.text(&key)).await??;
    let there: [u8; 32] = Sha256::digest(&text).into();
    Ok(there == ours)
}

/// Writes the list.
pub(crate) async fn write(tree: &Tree, listed: &Listed) -> Result<(), Failure> {
    let (file, _) = list(tree, listed)?;
    let key = format!("{}{SUMS}", tree.to);
    let target = Target {
        bucket: tree.destination.clone(),
        key: key.clone(),
        replaces: None,
        wanted: Wanted::of_file("text/plain".to_owned(), tree.kms_key.as_ref()),
        bucket_key: None,
        ours: tree.ours.clone(),
        sha256: false,
    };
    let bytes = file.as_file().metadata().map_or(0, |facts| facts.len());
    let sums =
        crate::reader::sums(&tree.cx, file.path(), false).await.map_err(|problem| problem.alone(SUMS))?;
    let inverse = Inverse {
        bucket: tree.destination.name.clone(),
        key: key.clone(),
        owner: tree.destination.owner.clone(),
        replaced: None,
        bytes,
        crc64nvme: Some(sums.crc64nvme),
        etag: String::new(),
    };
    let call = async {
        let payload = Payload::File(file.path().to_owned());
        let sent = send(&tree.cx, &payload, &target, &tree.memory).await;
        let sent = sent.map_err(|problem| problem.alone(&format!("write {}", tree.destination.uri(&key))))?;
        Ok(Written { etag: sent.etag, version: sent.version, bytes: sent.bytes })
    };
    tree.cx.act(WRITE_SUMS, &inverse, call).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `sha256sum` of coreutils 9.1 prints them for `printf hello` in files of these names.
    #[test]
    fn a_line_is_as_sha256sum_writes_it() {
        let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(line(hello, "a b"), format!("{hello}  a b\n"));
        assert_eq!(line(hello, "a\\b\nc"), format!("\\{hello}  a\\\\b\\nc\n"));
    }
}
