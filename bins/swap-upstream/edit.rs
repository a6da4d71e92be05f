//! One server of an upstream replaced in the text of a configuration, with every other byte kept. Pure.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use crate::token::Malformed;
use crate::tree;

/// `UPSTREAM=OLD..NEW`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Swap {
    pub(crate) upstream: String,
    pub(crate) old: String,
    pub(crate) new: String,
}

impl FromStr for Swap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = "write UPSTREAM=OLD..NEW, as in production=v31.example.org..v37.example.org";
        let (upstream, servers) = text.split_once('=').ok_or(wrong)?;
        let (old, new) = servers.split_once("..").ok_or(wrong)?;
        let plain = |char: char| char.is_ascii_graphic() && !"{};\"'\\$#".contains(char);
        if upstream.is_empty() || !upstream.chars().all(plain) {
            return Err(format!("{upstream:?} is no name of an upstream; {wrong}"));
        }
        for server in [old, new] {
            address(server).map_err(|why| format!("{server:?} is no server: {why}"))?;
        }
        if old == new {
            return Err("the old and the new server are the same".to_owned());
        }
        Ok(Self { upstream: upstream.to_owned(), old: old.to_owned(), new: new.to_owned() })
    }
}

/// What may stand after `server`: HOST, HOST:PORT or unix:PATH, without parameters.
///
/// Source: <https://nginx.org/en/docs/http/ngx_http_upstream_module.html#server>
fn address(text: &str) -> Result<(), &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        let plain = path.chars().all(|char| char.is_ascii_alphanumeric() || "/._-".contains(char));
        return if path.starts_with('/') && plain {
            Ok(())
        } else {
            Err("write unix:/PATH, letters, digits and ._- alone")
        };
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("what stands in the brackets is no IPv6 address");
            }
            (
                None,
                if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':').ok_or("write [ADDRESS]:PORT")?)
                },
            )
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0) || port.starts_with('+')) {
        return Err("its port is no number from 1 to 65535");
    }
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    match host {
        Some(host) if host.starts_with('-') || !host.trim_end_matches('.').split('.').all(label) => {
            Err("write HOST, HOST:PORT or unix:/PATH, without parameters")
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}..{}", self.upstream, self.old, self.new)
    }
}

impl Serialize for Swap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One replaced server, by its place in the text that came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replaced {
    /// Its first byte, in the new text.
    pub(crate) at: usize,
    pub(crate) old: String,
    pub(crate) new: String,
}

/// A text with its servers replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edited {
    pub(crate) text: Vec<u8>,
    /// In the order of the text; none at all when it was so already.
    pub(crate) replaced: Vec<Replaced>,
}

/// Why a text can't be edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    Malformed(Malformed),
    /// No upstream of that name; those that there are, and the line of a `proxy_pass` that leads to the server directly.
    NoUpstream {
        swap: Swap,
        there: Vec<String>,
        direct: Option<usize>,
    },
    /// Several, in these lines.
    Upstreams {
        swap: Swap,
        lines: Vec<usize>,
    },
    /// The server is not among these.
    NoServer {
        swap: Swap,
        there: Vec<String>,
    },
    /// It is more than once among these, or old and new both are.
    Servers {
        swap: Swap,
        there: Vec<String>,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |there: &[String]| if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        match self {
            Self::Malformed(Malformed { line, why }) => write!(f, "line {line} can't be read: {why}"),
            Self::NoUpstream { swap, there, direct } => {
                write!(f, "it has no upstream {}; its upstreams: {}", swap.upstream, list(there))?;
                match direct {
                    Some(line) => write!(f, "; in line {line}, proxy_pass leads to {} directly", swap.old),
                    None => Ok(()),
                }
            }
            Self::Upstreams { swap, lines } => {
                let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
                write!(f, "it has several upstreams {}, in the lines {}", swap.upstream, lines.join(", "))
            }
            Self::NoServer { swap, there } => write!(
                f,
                "the upstream {} has neither {} nor {}; its servers: {}",
                swap.upstream,
                swap.old,
                swap.new,
                list(there)
            ),
            Self::Servers { swap, there } => write!(
                f,
                "which server of the upstream {} is meant can't be told; its servers: {}",
                swap.upstream,
                list(there)
            ),
        }
    }
}

/// Two swaps that are about the same server of one upstream.
pub(crate) fn contradiction(swaps: &[Swap]) -> Option<(&Swap, &Swap)> {
    swaps.iter().enumerate().find_map(|(n, one)| {
        let other = swaps.iter().skip(n + 1).find(|other| {
            let shared = [&other.old, &other.new].iter().any(|server| [&one.old, &one.new].contains(server));
            other.upstream == one.upstream && shared
        })?;
        Some((one, other))
    })
}

/// The place of what a swap replaces; none where the new server stands there already.
fn place(tree: &[tree::Directive], swap: &Swap) -> Result<Option<Range<usize>>, Unfit> {
    let upstreams = tree::upstreams(tree);
    let named: Vec<_> = upstreams.iter().filter(|(_, name)| *name == swap.upstream).collect();
    let upstream = match named.as_slice() {
        [(upstream, _)] => *upstream,
        [] => {
            let passes = tree::all(tree);
            let direct = passes.iter().find(|directive| {
                directive.is("proxy_pass")
                    && directive.arguments().first().is_some_and(|to| leads_to(&to.text(), &swap.old))
            });
            return Err(Unfit::NoUpstream {
                swap: swap.clone(),
                there: upstreams.iter().map(|(_, name)| name.clone()).collect(),
                direct: direct.map(|directive| directive.line),
            });
        }
        several => {
            let lines = several.iter().map(|(upstream, _)| upstream.line).collect();
            return Err(Unfit::Upstreams { swap: swap.clone(), lines });
        }
    };
    let servers = tree::servers(upstream);
    let there = || servers.iter().map(|server| server.text()).collect();
    let old: Vec<_> = servers.iter().filter(|server| server.is(&swap.old)).collect();
    let new = servers.iter().filter(|server| server.is(&swap.new)).count();
    match (old.as_slice(), new) {
        ([server], 0) => Ok(Some(server.span.clone())),
        ([], 1) => Ok(None),
        ([], 0) => Err(Unfit::NoServer { swap: swap.clone(), there: there() }),
        _ => Err(Unfit::Servers { swap: swap.clone(), there: there() }),
    }
}

fn leads_to(url: &str, server: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next() == Some(server)
}

/// Makes all the swaps, or says why one can't be made.
pub(crate) fn edit(text: &[u8], swaps: &[Swap]) -> Result<Edited, Unfit> {
    let tree = tree::read(text).map_err(Unfit::Malformed)?;
    let mut places = Vec::new();
    for swap in swaps {
        if let Some(span) = place(&tree, swap)? {
            places.push((span, swap));
        }
    }
    places.sort_by_key(|(span, _)| span.start);
    let mut edited = Edited { text: Vec::with_capacity(text.len()), replaced: Vec::new() };
    let mut kept = 0;
    for (span, swap) in places {
        edited.text.extend_from_slice(text.get(kept..span.start).unwrap_or_default());
        // As it was written, with whatever escapes: it goes back so.
        let old = String::from_utf8_lossy(text.get(span.clone()).unwrap_or_default()).into_owned();
        edited.replaced.push(Replaced { at: edited.text.len(), old, new: swap.new.clone() });
        edited.text.extend_from_slice(swap.new.as_bytes());
        kept = span.end;
    }
    edited.text.extend_from_slice(text.get(kept..).unwrap_or_default());
    Ok(edited)
}

/// The text as it was before; none where it does not have what was put there.
pub(crate) fn revert(text: &[u8], replaced: &[Replaced]) -> Option<Vec<u8>> {
    let mut before = Vec::with_capacity(text.len());
    let mut kept = 0;
    for one in replaced {
        let end = one.at.checked_add(one.new.len())?;
        if text.get(one.at..end)? != one.new.as_bytes() {
            return None;
        }
        before.extend_from_slice(text.get(kept..one.at)?);
        before.extend_from_slice(one.old.as_bytes());
        kept = end;
    }
    before.extend_from_slice(text.get(kept..)?);
    Some(before)
}

/// The server that each upstream of the swaps has now, as `UPSTREAM=SERVER`.
pub(crate) fn servers(text: &[u8], swaps: &[Swap]) -> Vec<String> {
    let tree = tree::read(text).unwrap_or_default();
    let upstreams = tree::upstreams(&tree);
    let of = |swap: &Swap| {
        let (upstream, _) = upstreams.iter().find(|(_, name)| *name == swap.upstream)?;
        let servers = tree::servers(upstream);
        let at = servers.iter().find(|server| server.is(&swap.new) || server.is(&swap.old))?;
        Some(format!("{}={}", swap.upstream, at.text()))
    };
    swaps.iter().filter_map(of).collect()
}
