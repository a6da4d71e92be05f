//! What stands in for GitHub's own actions. Each says so in the log, and knows only the inputs listed here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use super::console::Console;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandIn {
    Checkout,
    Upload,
    Download,
    Credentials,
}

pub(crate) type Values = BTreeMap<String, String>;

/// The artefacts of this run; what an earlier run left in the folder is not seen.
pub(crate) struct Artifacts {
    pub(crate) folder: PathBuf,
    pub(crate) names: BTreeSet<String>,
}

impl StandIn {
    /// By the text of `uses:`, whatever the version.
    pub(crate) fn of(uses: &str) -> Option<Self> {
        match uses.split('@').next()? {
            "actions/checkout" => Some(Self::Checkout),
            "actions/upload-artifact" => Some(Self::Upload),
            "actions/download-artifact" => Some(Self::Download),
            "aws-actions/configure-aws-credentials" => Some(Self::Credentials),
            _ => None,
        }
    }

    pub(crate) fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::Checkout => &["ref", "fetch-depth", "persist-credentials"],
            Self::Upload => {
                &["name", "path", "if-no-files-found", "retention-days", "overwrite", "include-hidden-files"]
            }
            Self::Download => &["name", "path"],
            Self::Credentials => &[
                "aws-region", "role-to-assume", "role-session-name", "role-duration-seconds", "allowed-account-ids",
                "mask-aws-account-id",
            ],
        }
    }

    pub(crate) fn outputs(self) -> &'static [&'static str] {
        match self {
            Self::Download => &["download-path"],
            _ => &[],
        }
    }
}

/// The tracked files of `repo` as they are on disk, or every file where it is not a git work tree.
pub(crate) fn checkout(repo: &Path, workspace: &Path, console: &mut Console) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("checkout stand-in: {e}");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(repo).args(arguments).output().map_err(failed)?;
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("git: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(names.split_terminator('\0').map(PathBuf::from).collect::<Vec<_>>())
    };
    let mut files = Vec::new();
    if repo.join(".git").exists() {
        files = git(&["ls-files", "-z"])?;
        let strangers = git(&["ls-files", "-z", "--others", "--exclude-standard"])?.len();
        if strangers > 0 {
            console.line(&format!("  {strangers} untracked files are left behind, as in a real checkout"));
        }
    } else {
        walk(repo, true, &mut files).map_err(failed)?;
        files = files.iter().filter_map(|file| file.strip_prefix(repo).ok().map(Path::to_owned)).collect();
    }
    fs::remove_dir_all(workspace).and_then(|()| fs::create_dir_all(workspace)).map_err(failed)?;
    for file in files.iter().filter(|file| repo.join(file).is_file()) {
        copy(&repo.join(file), &workspace.join(file)).map_err(failed)?;
    }
    console.line(&format!("  stand-in: {} files of {}", files.len(), repo.display()));
    Ok(())
}

/// With the folder layout of `actions/upload-artifact`: below the only path, or below what several have in common.
pub(crate) fn upload(
    with: &Values,
    workspace: &Path,
    artifacts: &mut Artifacts,
    console: &mut Console,
) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("upload-artifact stand-in: {e}");
    let get = |key: &str| with.get(key).map(String::as_str).unwrap_or_default();
    let name = Some(get("name")).filter(|name| !name.is_empty()).unwrap_or("artifact");
    if name.contains(['"', ':', '<', '>', '|', '*', '?', '\r', '\n', '\\', '/']) || name.starts_with('.') {
        return Err(format!("the artifact name `{name}` is not valid"));
    }
    let lines = get("path").lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>();
    if let Some(pattern) = lines.iter().find(|line| line.contains(['*', '?', '[', '!', '~'])) {
        return Err(format!("not rehearsable: the pattern `{pattern}`; name files and folders"));
    }
    let paths = lines.iter().map(|line| workspace.join(line).components().collect()).collect::<Vec<PathBuf>>();
    let mut files = Vec::new();
    for path in paths.iter().filter(|path| path.exists()) {
        walk(path, get("include-hidden-files") == "true", &mut files).map_err(failed)?;
    }
    if files.is_empty() {
        let message = format!("No files were found with the provided path: {}.", lines.join(" "));
        match get("if-no-files-found") {
            "error" => return Err(message),
            "ignore" => console.line(&format!("  {message}")),
            _ => console.annotate("warning", "", &message),
        }
        return Ok(());
    }
    let root = match paths.as_slice() {
        [only] if only.is_file() => only.parent().unwrap_or(only).to_owned(),
        [only] => only.clone(),
        several => several.iter().skip(1).fold(several[0].clone(), |common, path| {
            common.components().zip(path.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
        }),
    };
    if !artifacts.names.insert(name.to_owned()) && get("overwrite") != "true" {
        return Err(format!("(409) Conflict: an artifact with the name `{name}` already exists on this run"));
    }
    let folder = artifacts.folder.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(failed)?;
    }
    for file in &files {
        copy(file, &folder.join(file.strip_prefix(&root).unwrap_or(file))).map_err(failed)?;
    }
    console.line(&format!("  stand-in: {} files to {}", files.len(), folder.display()));
    Ok(())
}

pub(crate) fn download(
    with: &Values,
    workspace: &Path,
    artifacts: &Artifacts,
    console: &mut Console,
) -> Result<Vec<(String, String)>, String> {
    let failed = |e: std::io::Error| format!("download-artifact stand-in: {e}");
    let get = |key: &str| with.get(key).filter(|value| !value.is_empty());
    let target = workspace.join(get("path").map_or("", String::as_str));
    let wanted = get("name");
    if let Some(name) = wanted.filter(|name| !artifacts.names.contains(*name)) {
        return Err(format!("Unable to download artifact(s): Artifact not found for name: {name}"));
    }
    for name in artifacts.names.iter().filter(|name| wanted.is_none_or(|wanted| wanted == *name)) {
        let (mut files, from) = (Vec::new(), artifacts.folder.join(name));
        walk(&from, true, &mut files).map_err(failed)?;
        let to = if wanted.is_some() { target.clone() } else { target.join(name) };
        for file in &files {
            copy(file, &to.join(file.strip_prefix(&from).unwrap_or(file))).map_err(failed)?;
        }
        console.line(&format!("  stand-in: {} files of artifact {name}", files.len()));
    }
    Ok(vec![("download-path".to_owned(), target.display().to_string())])
}

/// The variables that the real action exports, with credentials that no real account knows.
pub(crate) fn credentials(with: &Values, key: &str, console: &mut Console) -> Result<Vec<(String, String)>, String> {
    let region = with.get("aws-region").filter(|region| !region.is_empty());
    let region = region.ok_or("Input required and not supplied: aws-region")?;
    let (id, secret) = key.split_once(':').ok_or("the credentials are not ID:SECRET")?;
    let token = "rehearsal-session-token";
    console.mask(secret);
    console.mask(token);
    let role = with.get("role-to-assume").map_or("none", String::as_str);
    console.line(&format!("  stand-in: test credentials for loopback, no role is assumed (asked for: {role})"));
    let pairs = [
        ("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret), ("AWS_SESSION_TOKEN", token),
        ("AWS_REGION", region), ("AWS_DEFAULT_REGION", region),
    ];
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}

/// Every file at or below `path`; unless `hidden`, nothing whose name starts with a dot, `path` itself included.
fn walk(path: &Path, hidden: bool, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let name = path.components().next_back().map(Component::as_os_str).unwrap_or_default();
    let name = name.to_string_lossy();
    if name == ".git" || !hidden && name.starts_with('.') {
        return Ok(());
    }
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::path);
        return entries.iter().try_for_each(|entry| walk(&entry.path(), hidden, files));
    }
    files.push(path.to_owned());
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::copy(from, to).map(drop)
}
