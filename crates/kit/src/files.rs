//! Files of a run, for whoever comes after it.
//!
//! GitHub runs a container action as root over a workspace of the runner's user. What root leaves there for itself alone, that user can
//! neither upload nor, on a runner of one's own, delete:
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/dockerfile-support#user>.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

/// Makes a folder with those above it, each given to the owner of the one that it lies in.
///
/// # Errors
/// It can't be made.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    fs::create_dir_all(folder)?;
    missing.into_iter().rev().try_for_each(hand_over)
}

/// Gives what root has made to the owner of the folder that it lies in. Nobody else could, and it does nothing then; nor can a root that
/// is none outside its user namespace, for whom a receipt of root's is still better than none.
///
/// # Errors
/// It is not there.
pub fn hand_over(path: &Path) -> io::Result<()> {
    let made = fs::symlink_metadata(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = fs::metadata(folder)?;
    if made.uid() == 0 && folder.uid() != 0 {
        let _ = chown(path, Some(folder.uid()), Some(folder.gid()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run by root, the workspace is somebody else's, as a runner's is; run by anybody else, it is their own.
    #[test]
    fn what_is_made_in_a_workspace_is_of_its_owner() {
        let workspace = tempfile::tempdir().unwrap();
        let root = fs::metadata(workspace.path()).unwrap().uid() == 0;
        if root {
            chown(workspace.path(), Some(1001), Some(1001)).unwrap();
        }
        let owner = fs::metadata(workspace.path()).unwrap().uid();
        let folder = workspace.path().join("receipts/of/a/step");
        create_folder(&folder).unwrap();
        create_folder(&folder).unwrap();
        let file = folder.join("receipt.json");
        fs::write(&file, "{}").unwrap();
        hand_over(&file).unwrap();
        for path in file.ancestors().take_while(|path| path.starts_with(workspace.path())) {
            assert_eq!(fs::metadata(path).unwrap().uid(), owner, "{}", path.display());
        }
        assert!(hand_over(&folder.join("absent")).is_err());
    }
}
