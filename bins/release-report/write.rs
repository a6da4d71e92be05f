//! The only file that writes.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kit::Failure;

use crate::observe::Found;

/// Refuses a place at which a report would take the place of something else.
pub(crate) fn check(file: &Path, found: &Found) -> Result<(), Failure> {
    let refused = || Failure::usage(format!("write {}", file.display()));
    let place = file.canonicalize();
    if let Ok(place) = &place {
        if !place.is_file() {
            return Err(refused().because("it is no file").help("name a file"));
        }
        if found.receipts.iter().any(|lying| lying.path.canonicalize().is_ok_and(|path| path == *place)) {
            return Err(refused().because("it is one of the receipts").help("name another file"));
        }
    }
    Ok(())
}

/// Writes each file whole or not at all, and says how many are not what they were.
pub(crate) fn all(files: &[(&Path, String)]) -> Result<usize, Failure> {
    let mut ready = Vec::new();
    for (file, text) in files {
        let failed = |error: io::Error| {
            Failure::failed(format!("write {}", file.display()))
                .because(error)
                .help("make room, or name a file that can be written; the report itself stands above")
        };
        if fs::read(file).is_ok_and(|present| present == text.as_bytes()) {
            continue;
        }
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        kit::create_folder(folder).map_err(failed)?;
        // A link stays one, and what it leads to is replaced.
        let target = file.canonicalize().unwrap_or_else(|_| file.to_path_buf());
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(folder);
        let mut temporary = tempfile::Builder::new()
            .prefix(".report-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(failed)?;
        temporary.write_all(text.as_bytes()).map_err(failed)?;
        kit::hand_over(temporary.path()).map_err(failed)?;
        temporary.as_file().sync_all().map_err(failed)?;
        ready.push((temporary, target, *file));
    }
    let changed = ready.len();
    for (temporary, target, file) in ready {
        temporary
            .persist(&target)
            .map_err(|error| Failure::failed(format!("write {}", file.display())).because(error.error))?;
    }
    Ok(changed)
}
