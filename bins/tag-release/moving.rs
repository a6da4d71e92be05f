//! Tags that move with each release, such as v1: where they are, whether they may move, moving them, and back.

use github::{Call, Github, Method, encode};
use kit::{Action, Cx, Failure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::apply::{Inverse, WRITE, delete_tag};
use crate::history;
use crate::observe::{READ, find_tag, releases};
use crate::plan::Request;

/// Where such a tag is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Moving {
    pub(crate) name: String,
    /// What the ref points to; absent where there is none.
    pub(crate) object: Option<String>,
    /// The commit that it leads to.
    pub(crate) commit: Option<String>,
    /// How the released commit stands to it: `ahead`, `identical`, `behind`, `diverged`; absent where nothing joins them.
    pub(crate) relation: Option<String>,
    /// The other tags on that commit, asked for where the released commit does not come after it.
    pub(crate) beside: Vec<String>,
    /// Whether an immutable release holds it.
    pub(crate) frozen: bool,
}

/// A tag that will be moved, or made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Move {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) before: Option<String>,
    from: Option<String>,
    /// The version that it leaves, where the released commit does not come after that one's.
    leaves: Option<String>,
}

pub(crate) async fn observe(
    cx: &Cx,
    github: &Github,
    names: &[String],
    commit: &str,
) -> Result<Vec<Moving>, Failure> {
    #[derive(Deserialize)]
    struct Comparison {
        status: String,
    }
    let mut all = Vec::new();
    for name in names {
        let found = find_tag(cx, github, name).await?;
        let frozen = releases(cx, github, name).await?.iter().any(|release| release.immutable);
        let (object, at) = found.map_or((None, None), |tag| (Some(tag.object), tag.commit));
        let (mut relation, mut beside) = (None, Vec::new());
        if let Some(at) = &at {
            let attempt = format!("compare {name} with {commit} in {}", github.repository());
            let path = format!("/compare/{at}...{commit}?per_page=1");
            let call = Call { attempt: &attempt, permission: READ, path: &path };
            relation = github.find::<Comparison>(cx, call).await?.map(|found| found.status);
            if !comes_after(relation.as_deref()) {
                let tags = history::tags(cx, github).await?.into_iter();
                beside =
                    tags.filter(|tag| tag.commit == *at && tag.tag != *name).map(|tag| tag.tag).collect();
            }
        }
        all.push(Moving { name: name.clone(), object, commit: at, relation, beside, frozen });
    }
    Ok(all)
}

/// Which of them move. Pure.
pub(crate) fn judge(request: &Request, all: &[Moving]) -> Result<Vec<Move>, Failure> {
    let mut moves = Vec::new();
    for (place, it) in all.iter().enumerate() {
        let Moving { name, object, commit, relation, beside, frozen } = it;
        // The commit that is still to be made is a child of the one compared.
        let there = relation.as_deref() == Some("identical") && request.pending.is_none();
        if there {
            continue;
        }
        let refused = |why: String| {
            Err(Failure::refused(format!("move {name} to {} in {}", request.tag, request.repository))
                .because(why))
        };
        if let Some(why) = of_another_line(name, &request.tag) {
            return refused(why).map_err(|failure| {
                failure.help("whoever follows it would get what they did not ask for: name the line of this version, or leave --move-tag out")
            });
        }
        if *frozen {
            let refused = refused("it has an immutable release, which holds it in its place".to_owned());
            return refused
                .map_err(|failure| failure.help("a tag that moves must have no release of its own"));
        }
        let leaves = lower(beside, &request.tag).filter(|_| !comes_after(relation.as_deref()));
        if object.is_some() && !comes_after(relation.as_deref()) && leaves.is_none() {
            let at = commit.as_ref().or(object.as_ref()).cloned().unwrap_or_default();
            let refused = refused(format!(
                "it is on {at}, which {} does not come after, and which no lower version has",
                request.commit
            ));
            return refused.map_err(|failure| {
                failure.help("a tag moves forward only: is this the release of an older line? then leave --move-tag out")
            });
        }
        let id = format!("move-tag-{}", place + 1);
        moves.push(Move { id, name: name.clone(), before: object.clone(), from: commit.clone(), leaves });
    }
    Ok(moves)
}

fn comes_after(relation: Option<&str>) -> bool {
    matches!(relation, Some("ahead" | "identical"))
}

/// The version on a commit, if all that are there are lower than that of the tag. A release whose commit is beside the branch, as that
/// of an action with what was built for it, never comes after the one before.
fn lower(there: &[String], tag: &str) -> Option<String> {
    let number = |version: &Numbered| -> Option<Vec<u64>> {
        version.numbers.iter().map(|number| number.parse().ok()).collect()
    };
    let new = Numbered::of(tag)?;
    let mut highest: Option<(Vec<u64>, &String)> = None;
    for name in there {
        let Some(version) = Numbered::of(name).filter(|version| version.prefix == new.prefix) else {
            continue;
        };
        // `v1` itself has a number, too, and is no version where versions have three.
        if version.numbers.len() != new.numbers.len() || !version.rest.is_empty() {
            continue;
        }
        highest = highest.max(Some((number(&version)?, name)));
    }
    let (there, name) = highest?;
    (there < number(&new)?).then(|| name.clone())
}

/// A name with a number in it: `v1.4.0-rc.1` is `v`, 1, 4, 0 and `-rc.1`.
struct Numbered {
    prefix: String,
    numbers: Vec<String>,
    rest: String,
}

impl Numbered {
    fn of(text: &str) -> Option<Self> {
        let (prefix, rest) = text.split_at(text.find(|c: char| c.is_ascii_digit())?);
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (numbers, rest) = rest.split_at(end);
        let numbers = numbers.split('.').map(str::to_owned).collect();
        Some(Self { prefix: prefix.to_owned(), numbers, rest: rest.to_owned() })
    }
}

/// Why a tag such as `v1` or `v1.4` does not follow a version: it is of another line, or a pre-release. One without a number,
/// such as `latest`, follows what it is told to.
fn of_another_line(name: &str, tag: &str) -> Option<String> {
    let (line, version) = (Numbered::of(name)?, Numbered::of(tag)?);
    if line.prefix != version.prefix || !line.rest.is_empty() {
        return None;
    }
    if !version.numbers.starts_with(&line.numbers) {
        return Some(format!("{tag} is no version of {name}"));
    }
    version.rest.starts_with('-').then(|| format!("{tag} is a pre-release"))
}

impl Move {
    pub(crate) fn action(&self, tag: &str) -> Action {
        match &self.from {
            Some(from) => Action::new(
                &self.id,
                match &self.leaves {
                    None => format!("move the tag {} from {from} to the commit of {tag}", self.name),
                    Some(leaves) => format!(
                        "move the tag {} from {from} ({leaves}) to the commit of {tag}, which does not come after it",
                        self.name
                    ),
                },
                "move it back, if it still is where it was left",
            ),
            None => Action::new(
                &self.id,
                format!("create the tag {} on the commit of {tag}", self.name),
                "delete it, if it still is where it was left",
            ),
        }
    }

    pub(crate) async fn apply(&self, cx: &Cx, github: &Github, request: &Request) -> Result<(), Failure> {
        let inverse = Inverse::Moved {
            repository: request.repository.clone(),
            tag: request.tag.clone(),
            name: self.name.clone(),
            before: self.before.clone(),
            after: request.commit.clone(),
        };
        let call = set(cx, github, &self.name, self.before.as_deref(), &request.commit);
        cx.act(&self.id, &inverse, call).await.map(drop)
    }
}

/// Sets a tag to an object, if it still is where it was seen. The update is forced, since a tag object is no commit that
/// another could come after: the look right before stands for what GitHub would refuse.
///
/// Source: <https://docs.github.com/en/rest/git/refs#update-a-reference>
pub(crate) async fn set(
    cx: &Cx,
    github: &Github,
    name: &str,
    before: Option<&str>,
    after: &str,
) -> Result<Value, Failure> {
    let attempt = format!("move the tag {name} to {after} in {}", github.repository());
    let look = async || {
        let found = find_tag(cx, github, name).await?.map(|tag| tag.object);
        if found.as_deref() == Some(after) {
            Ok(Some(json!({})))
        } else if found.as_deref() == before {
            Ok(None)
        } else {
            Err(Failure::waiting(&attempt)
                .because(format!(
                    "somebody else moved it meanwhile, to {}",
                    found.as_deref().unwrap_or("nothing")
                ))
                .help("decide with them, then run the same command again")
                .untouched(true))
        }
    };
    if look().await?.is_some() {
        return Ok(json!({"sha": after}));
    }
    let path = format!("/git/refs/tags/{}", encode(name));
    let (method, path, body) = match before {
        Some(_) => (Method::Patch, path.as_str(), json!({"sha": after, "force": true})),
        None => (Method::Post, "/git/refs", json!({"ref": format!("refs/tags/{name}"), "sha": after})),
    };
    let call = Call { attempt: &attempt, permission: WRITE, path };
    github.write::<Value>(cx, method, call, &body, look).await.map_err(|failure| {
        failure.help("if a rule protects the tag: let it cover v*.*.* rather than v*, or let the token's app bypass it")
    })?;
    Ok(json!({"sha": after}))
}

/// Puts a tag back to where it was before, or takes away one that was not there.
pub(crate) async fn put_back(
    cx: &Cx,
    github: &Github,
    name: &str,
    before: Option<&str>,
    after: &str,
) -> Result<Value, Failure> {
    match before {
        Some(before) => set(cx, github, name, Some(after), before).await,
        None => delete_tag(cx, github, name).await.map(|()| json!({})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::Code;

    fn judged(relation: Option<&str>, frozen: bool) -> Result<usize, Code> {
        let request = Request {
            repository: "acme/rally".into(),
            suffix: String::new(),
            tag: "v1.4.0".into(),
            commit: "new".into(),
            message: String::new(),
            why: Vec::new(),
            pending: None,
            signature: None,
            release: None,
        };
        let moving = Moving {
            name: "v1".into(),
            object: Some("old".into()),
            commit: Some("old".into()),
            relation: relation.map(str::to_owned),
            beside: Vec::new(),
            frozen,
        };
        judge(&request, &[moving]).map(|moves| moves.len()).map_err(|failure| failure.code())
    }

    #[test]
    fn a_line_is_followed_by_its_own_versions() {
        for (name, tag) in
            [("v1", "v1.4.0"), ("v1.4", "v1.4.0"), ("latest", "v2.0.0-rc.1"), ("v1", "rally-2.0.0")]
        {
            assert_eq!(of_another_line(name, tag), None, "{name} {tag}");
        }
        for (name, tag) in [("v1", "v2.0.0"), ("v1.4", "v1.5.0"), ("v1", "v10.0.0"), ("v2", "v2.0.0-rc.1")] {
            assert!(of_another_line(name, tag).is_some(), "{name} {tag}");
        }
    }

    #[test]
    fn a_version_beside_the_branch_is_left_for_a_higher_one() {
        let left = |there: &[&str], tag: &str| {
            lower(&there.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), tag)
        };
        assert_eq!(left(&["v1.3.9"], "v1.4.0").as_deref(), Some("v1.3.9"));
        assert_eq!(left(&["v1.9.0", "v1", "nightly"], "v1.10.0").as_deref(), Some("v1.9.0"), "by number");
        assert_eq!(left(&["v1.3.0", "v1.3.1"], "v1.4.0").as_deref(), Some("v1.3.1"));
        for (there, tag) in [
            (&["v1.4.1"][..], "v1.4.0"),
            (&["v1.3.0", "v1.4.1"], "v1.4.0"),
            (&["v1.4.0"], "v1.4.0"),
            (&["v1"], "v1.4.0"),
            (&["other-1.3.0"], "v1.4.0"),
            (&["v1.4.0-rc.1"], "v1.4.0"),
            (&[], "v1.4.0"),
        ] {
            assert_eq!(left(there, tag), None, "{there:?} {tag}");
        }
    }

    #[test]
    fn a_tag_moves_forward_only() {
        assert_eq!(judged(Some("ahead"), false), Ok(1));
        assert_eq!(judged(Some("identical"), false), Ok(0));
        for wrong in [Some("behind"), Some("diverged"), None] {
            assert_eq!(judged(wrong, false), Err(Code::Refused));
        }
        assert_eq!(judged(Some("ahead"), true), Err(Code::Refused));
    }
}
