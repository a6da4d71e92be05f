//! Two lists side by side.

use futures::Stream;
use futures::stream::try_unfold;
use kit::Failure;

use super::item::Item;
use super::list::List;

/// A key of either list, with what each has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) source: Option<Item>,
    pub(crate) there: Option<Item>,
}

struct Both {
    source: List,
    there: List,
    next: (Option<Item>, Option<Item>),
}

/// Every key of either list, in order; both must be.
pub(crate) fn join(source: List, there: List) -> impl Stream<Item = Result<Pair, Failure>> {
    let both = Both { source, there, next: (None, None) };
    try_unfold(both, async |mut both| {
        if both.next.0.is_none() {
            both.next.0 = both.source.recv().await.transpose()?;
        }
        if both.next.1.is_none() {
            both.next.1 = both.there.recv().await.transpose()?;
        }
        let order = match &both.next {
            (None, None) => return Ok(None),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(source), Some(there)) => source.key.as_bytes().cmp(there.key.as_bytes()),
        };
        let pair = Pair {
            source: if order.is_le() { both.next.0.take() } else { None },
            there: if order.is_ge() { both.next.1.take() } else { None },
        };
        Ok(Some((pair, both)))
    })
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    fn list(keys: &[&str]) -> List {
        let (to, list) = tokio::sync::mpsc::channel(10);
        for key in keys {
            to.try_send(Ok(Item { key: (*key).to_owned(), ..Item::default() })).unwrap();
        }
        list
    }

    #[tokio::test]
    async fn keys_meet_by_their_bytes() {
        let pairs: Vec<Pair> = join(list(&["a", "a/b", "c", "é"]), list(&["a-", "a/b", "z", "é", "🦀"]))
            .try_collect()
            .await
            .unwrap();
        let seen: Vec<(String, bool, bool)> = pairs
            .iter()
            .map(|pair| {
                let key = pair.source.as_ref().or(pair.there.as_ref()).unwrap().key.clone();
                (key, pair.source.is_some(), pair.there.is_some())
            })
            .collect();
        let expected = [
            ("a", true, false),
            ("a-", false, true),
            ("a/b", true, true),
            ("c", true, false),
            ("z", false, true),
            ("é", true, true),
            ("🦀", false, true),
        ];
        assert_eq!(seen, expected.map(|(key, source, there)| (key.to_owned(), source, there)));
    }
}
