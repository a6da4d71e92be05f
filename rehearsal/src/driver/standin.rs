//! What stands in for GitHub's own actions does.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Trouble, Values};

/// The artefacts of this run; what an earlier run left in the folder is not seen.
pub(crate) struct Artifacts {
    pub(crate) folder: PathBuf,
    pub(crate) names: BTreeSet<String>,
}

/// The tracked files of `repo` as they are on disk, or every file where it is not a git work tree.
pub(crate) fn checkout(repo: &Path, workspace: &Path) -> Result<String, Trouble> {
    let mut files = Vec::new();
    if repo.join(".git").exists() {
        let git = Command::new("git").arg("-C").arg(repo).args(["ls-files", "-z"]).output();
        let git = git?;
        if !git.status.success() {
            return Err(format!("git: {}", String::from_utf8_lossy(&git.stderr).trim()).into());
        }
        let names = String::from_utf8_lossy(&git.stdout).into_owned();
        files.extend(names.split_terminator('\0').map(|name| repo.join(name)).filter(|file| file.is_file()));
    } else {
        walk(repo, true, &mut files)?;
    }
    // The real action empties the workspace too.
    fs::remove_dir_all(workspace).and_then(|()| fs::create_dir_all(workspace))?;
    copy(&files, repo, workspace)?;
    Ok(format!("  {} tracked files of {}", files.len(), repo.display()))
}

impl Artifacts {
    /// With the folder layout of the real action: below the only path, or below what several have in common.
    /// Returns what to say, and whether it is a warning.
    pub(crate) fn upload(&mut self, with: &Values, workspace: &Path) -> Result<(bool, String), Trouble> {
        let get = |key: &str| with.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let name = get("name").unwrap_or("artifact");
        let path = get("path").ok_or("Input required and not supplied: path")?;
        if path.contains(['*', '?', '[', '!', '~'])
            || name.contains(['/', '\\', ':', '*', '?'])
            || name.starts_with('.')
        {
            return Err(format!(
                "not rehearsable: artifact `{name}` of `{path}`: name files and folders, no patterns"
            )
            .into());
        }
        let lines = path.lines().map(str::trim).filter(|line| !line.is_empty());
        let paths = lines.map(|line| workspace.join(line).components().collect()).collect::<Vec<PathBuf>>();
        let mut files = Vec::new();
        for path in paths.iter().filter(|path| path.exists()) {
            walk(path, get("include-hidden-files") == Some("true"), &mut files)?;
        }
        if files.is_empty() {
            let message =
                format!("No files were found with the provided path: {path}. No artifacts will be uploaded.");
            return match get("if-no-files-found") {
                Some("error") => Err(message.into()),
                what => Ok((what != Some("ignore"), message)),
            };
        }
        let root = match paths.as_slice() {
            [file] if file.is_file() => file.parent().map(Path::to_owned),
            paths => paths.iter().cloned().reduce(|a, b| {
                a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
            }),
        };
        if !self.names.insert(name.to_owned()) && get("overwrite") != Some("true") {
            return Err(format!(
                "(409) Conflict: an artifact with this name already exists on the workflow run: {name}"
            )
            .into());
        }
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        copy(&files, &root.unwrap_or_default(), &folder)?;
        Ok((false, format!("  {} files to {}", files.len(), folder.display())))
    }

    pub(crate) fn download(&self, with: &Values, workspace: &Path) -> Result<PathBuf, Trouble> {
        let get = |key: &str| with.get(key).filter(|value| !value.is_empty());
        let target = workspace.join(get("path").map_or("", String::as_str));
        if let Some(name) = get("name").filter(|name| !self.names.contains(*name)) {
            return Err(format!("Unable to download artifact(s): Artifact not found for name: {name}").into());
        }
        // Of a pattern's characters only a star at the end is known here.
        let fits = |name: &str, pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        let wanted = |name: &&String| {
            get("name").is_none_or(|wanted| wanted == *name)
                && get("pattern").is_none_or(|pattern| fits(name, pattern))
        };
        for name in self.names.iter().filter(wanted) {
            let (mut files, from) = (Vec::new(), self.folder.join(name));
            walk(&from, true, &mut files)?;
            copy(&files, &from, &if get("name").is_some() { target.clone() } else { target.join(name) })?;
        }
        Ok(target)
    }
}

/// The variables that the real action exports, with credentials that no real account knows.
pub(crate) fn credentials(with: &Values, key: &str) -> Result<Values, Trouble> {
    let region = with.get("aws-region").filter(|region| !region.is_empty());
    let region = region.ok_or("Input required and not supplied: aws-region")?;
    let (id, secret) = key.split_once(':').ok_or("--aws-credentials is not ID:SECRET")?;
    let pairs = [
        ("AWS_ACCESS_KEY_ID", id),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_SESSION_TOKEN", "rehearsal-session-token"),
        ("AWS_REGION", region),
        ("AWS_DEFAULT_REGION", region),
    ];
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

/// Every file at or below `path`; unless `hidden`, nothing whose name starts with a dot, `path` itself included.
pub(crate) fn walk(path: &Path, hidden: bool, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name == ".git" || !hidden && name.starts_with('.') {
        return Ok(());
    }
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    fs::read_dir(path)?.try_for_each(|entry| walk(&entry?.path(), hidden, files))
}

fn copy(files: &[PathBuf], root: &Path, target: &Path) -> Result<(), Trouble> {
    for from in files {
        let to = target.join(from.strip_prefix(root).unwrap_or(from));
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::copy(from, &to).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    Ok(())
}
