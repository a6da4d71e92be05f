//! What all receipts have in common: whose release it is, where it ran, and how they are fetched again.

use std::collections::BTreeSet;

use kit::{Receipt, shell_word};

use crate::mask::mask;
use crate::observe::Lying;
use crate::plan::{Asked, VALUE, github};
use crate::words::clip;

fn values<'a>(of: impl Iterator<Item = Option<&'a str>>) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for value in of.flatten() {
        let value = clip(&mask(value), 200);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

pub(crate) fn title(asked: &Asked, lying: &[Lying]) -> String {
    if let Some(title) = &asked.title {
        return clip(title, 200);
    }
    let repositories = values(lying.iter().map(|lying| github(&lying.receipt, "GITHUB_REPOSITORY")));
    match repositories.as_slice() {
        [] => "Release".to_owned(),
        some => format!("Release of {}", some.join(", ")),
    }
}

pub(crate) fn facts(lying: &[Lying]) -> Vec<(&'static str, String)> {
    let of = |name: &'static str| values(lying.iter().map(|lying| github(&lying.receipt, name)));
    let own = |read: fn(&Receipt) -> Option<&str>| values(lying.iter().map(|lying| read(&lying.receipt)));
    let rows = [
        ("Repository", of("GITHUB_REPOSITORY")),
        ("Workflow run", of("GITHUB_RUN_ID")),
        ("Commit", of("GITHUB_SHA")),
        ("Started by", of("GITHUB_ACTOR")),
        ("AWS account", own(|receipt| receipt.account.as_deref())),
        ("Region", own(|receipt| receipt.region.as_deref())),
        ("Version", own(|receipt| Some(&receipt.version))),
    ];
    let filled = rows.into_iter().filter(|(_, values)| !values.is_empty());
    filled.map(|(name, values)| (name, clip(&values.join(", "), VALUE))).collect()
}

/// The command that fetches the artefacts again into the same folders.
///
/// `gh run download` puts each artefact into a folder of its name, as `actions/download-artifact` does.
/// <https://cli.github.com/manual/gh_run_download>
pub(crate) fn fetch(asked: &Asked, lying: &[Lying]) -> Option<String> {
    let [place] = asked.places.as_slice() else { return None };
    let one = |name| match values(lying.iter().map(|lying| github(&lying.receipt, name))).as_slice() {
        [value] => Some(value.clone()),
        _ => None,
    };
    let (repository, run) = (one("GITHUB_REPOSITORY")?, one("GITHUB_RUN_ID")?);
    let artefact = |lying: &Lying| {
        let below = lying.path.strip_prefix(place).ok()?;
        let mut parts = below.components();
        let first = parts.next()?.as_os_str().to_str()?.to_owned();
        parts.next().map(|_| first)
    };
    let artefacts: Option<BTreeSet<String>> = lying.iter().map(artefact).collect();
    let artefacts = artefacts?;
    // Without a pattern, all that the workflow run left is fetched.
    let pattern = match artefacts.iter().all(|name| name.starts_with("receipts-")) {
        true => " --pattern 'receipts-*'",
        false => "",
    };
    Some(format!(
        "gh run download {} --repo {}{pattern} --dir {}",
        shell_word(&run),
        shell_word(&repository),
        shell_word(&place.display().to_string())
    ))
}
