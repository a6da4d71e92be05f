//! Pages of a listing: keys in the order of their UTF-8 bytes, rolled up at the delimiter.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    Key(&'a str),
    /// A common prefix, the delimiter included.
    Prefix(&'a str),
}

/// Where a page begins: behind this entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum After {
    Key(String),
    Prefix(String),
}

impl After {
    /// The continuation token, which only its maker can read.
    pub(super) fn token(&self) -> String {
        let (mark, text) = match self {
            Self::Key(text) => ('k', text),
            Self::Prefix(text) => ('p', text),
        };
        URL_SAFE_NO_PAD.encode(format!("{mark}{text}"))
    }

    pub(super) fn of_token(token: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        match text.split_at_checked(1)? {
            ("k", key) => Some(Self::Key(key.to_owned())),
            ("p", prefix) => Some(Self::Prefix(prefix.to_owned())),
            _ => None,
        }
    }

    fn passes(&self, key: &str) -> bool {
        match self {
            Self::Key(last) => key > last.as_str(),
            Self::Prefix(last) => key > last.as_str() && !key.starts_with(last.as_str()),
        }
    }
}

/// Up to `limit` entries behind `after`, and where the next page begins if there is more. The keys are in order.
pub(super) fn page<'a>(
    keys: impl Iterator<Item = &'a str>,
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<&After>,
    limit: usize,
) -> (Vec<Entry<'a>>, Option<After>) {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for key in keys.filter(|key| key.starts_with(prefix)) {
        if after.is_some_and(|after| !after.passes(key)) {
            continue;
        }
        let rest = key.get(prefix.len()..).unwrap_or_default();
        let end =
            delimiter.filter(|text| !text.is_empty()).and_then(|text| Some(rest.find(text)? + text.len()));
        let entry = match end.and_then(|end| key.get(..prefix.len() + end)) {
            Some(common) => Entry::Prefix(common),
            None => Entry::Key(key),
        };
        if entries.last() == Some(&entry) {
            continue;
        }
        if entries.len() == limit {
            let next = entries.last().map(|last| match last {
                Entry::Key(key) => After::Key((*key).to_owned()),
                Entry::Prefix(prefix) => After::Prefix((*prefix).to_owned()),
            });
            return (entries, next);
        }
        entries.push(entry);
    }
    (entries, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 7] = ["a", "b/1", "b/2", "b/c/3", "c", "d/1", "\u{e9}"];

    /// Every page after the other, each as `key` or `prefix/`.
    fn all(prefix: &str, delimiter: Option<&str>, limit: usize) -> Vec<Vec<String>> {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let (entries, next) = page(KEYS.into_iter(), prefix, delimiter, after.as_ref(), limit);
            pages.push(
                entries
                    .iter()
                    .map(|entry| match entry {
                        Entry::Key(key) => (*key).to_owned(),
                        Entry::Prefix(prefix) => format!("({prefix})"),
                    })
                    .collect(),
            );
            let Some(next) = next else { return pages };
            after = After::of_token(&next.token());
            assert_eq!(after, Some(next));
        }
    }

    #[test]
    fn every_key_once_whatever_the_page_size() {
        for limit in 1..=8 {
            assert_eq!(all("", None, limit).concat(), KEYS);
            assert_eq!(all("", Some("/"), limit).concat(), ["a", "(b/)", "c", "(d/)", "\u{e9}"]);
            assert_eq!(all("b/", Some("/"), limit).concat(), ["b/1", "b/2", "(b/c/)"]);
        }
        assert_eq!(all("", None, 3).len(), 3);
        assert_eq!(all("nothing", None, 3), [Vec::<String>::new()]);
    }

    #[test]
    fn start_after_names_a_key_that_need_not_exist() {
        let after = After::Key("b/10".to_owned());
        let (entries, _) = page(KEYS.into_iter(), "", Some("/"), Some(&after), 9);
        assert_eq!(entries.first(), Some(&Entry::Prefix("b/")));
        assert_eq!(After::of_token("no token"), None);
    }
}
