//! Which of a clone's remotes leads to the repository. Pure.

use kit::{Failure, Secret};
use serde::Serialize;
use url::Url;

/// A remote and where git would push to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Remote {
    pub(crate) name: String,
    pub(crate) urls: Vec<String>,
}

/// What the URLs are compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// `https://github.com`
    pub(crate) server: &'a str,
    /// `owner/name`
    pub(crate) repository: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Leads {
    Elsewhere,
    /// By a host that only `ssh_config(5)` can know, to a repository of that name.
    ByAlias,
    There,
}

/// The remote to push to: the named one, else the only one that leads there.
pub(crate) fn choose<'a>(
    attempt: &str,
    remotes: &'a [Remote],
    named: Option<&str>,
    target: Target<'_>,
) -> Result<&'a Remote, Failure> {
    let Target { server, repository } = target;
    let leads = |remote: &Remote| remote.urls.iter().map(|url| leads(url, target)).min();
    let known: Vec<String> =
        remotes.iter().map(|remote| format!("{}: {}", remote.name, shown(&remote.urls))).collect();
    let known = if known.is_empty() { "it has none".to_owned() } else { known.join("\n") };
    if let Some(name) = named {
        let Some(remote) = remotes.iter().find(|remote| remote.name == name) else {
            return Err(Failure::refused(attempt)
                .because(format!("the clone has no remote {name}:\n{known}"))
                .help("correct --remote"));
        };
        // A person who names it knows what the alias stands for; the tag is looked for in the repository afterwards.
        if leads(remote).is_some_and(|leads| leads >= Leads::ByAlias) {
            return Ok(remote);
        }
        return Err(Failure::refused(attempt)
            .because(format!(
                "{name} leads to {}, and not to {server}/{repository} alone",
                shown(&remote.urls)
            ))
            .help(
                "correct --remote or --repository; for a GitHub Enterprise Server, set GITHUB_SERVER_URL",
            ));
    }
    let found: Vec<&Remote> = remotes.iter().filter(|remote| leads(remote) == Some(Leads::There)).collect();
    match found.as_slice() {
        [remote] => Ok(remote),
        [] => {
            let refused = Failure::refused(attempt)
                .because(format!("no remote of the clone leads to {server}/{repository} alone:\n{known}"));
            Err(match remotes.iter().find(|remote| leads(remote) == Some(Leads::ByAlias)) {
                Some(alias) => refused.help(format!(
                    "if the host of {0} is a name of ssh's configuration for it: --remote {0}",
                    alias.name
                )),
                None => refused.help(format!(
                    "name another clone with --local-clone; or: git remote add github {server}/{repository}.git"
                )),
            })
        }
        several => {
            let names: Vec<&str> = several.iter().map(|remote| remote.name.as_str()).collect();
            Err(Failure::refused(attempt)
                .because(format!("several remotes of the clone lead to {repository}:\n{known}"))
                .help(format!("choose one with --remote: {}", names.join(" or "))))
        }
    }
}

/// The URLs without who logs in; a password in one becomes a secret of the report.
pub(crate) fn shown(urls: &[String]) -> String {
    let one = |url: &String| {
        let Ok(mut parsed) = Url::parse(url) else { return url.clone() };
        if let Some(password) = parsed.password() {
            drop(Secret::new(password));
        }
        // A token alone stands where the user does.
        if parsed.scheme().starts_with("http") && parsed.username().len() >= 20 {
            drop(Secret::new(parsed.username()));
        }
        let bare = parsed.scheme().starts_with("http") && parsed.set_username("").is_ok();
        if parsed.set_password(None).is_ok() || bare { parsed.to_string() } else { url.clone() }
    };
    urls.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Source: <https://git-scm.com/docs/git-push#_git_urls>
fn leads(url: &str, target: Target<'_>) -> Leads {
    let Ok(server) = Url::parse(target.server) else { return Leads::Elsewhere };
    let prefix = server.path().trim_matches('/');
    let is_path = |path: &str| {
        let path = path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        path.eq_ignore_ascii_case(target.repository)
    };
    if !url.contains("://") {
        // [user@]host:path; with a slash before the colon it is a path.
        let Some((at, path)) = url.split_once(':').filter(|(at, _)| !at.contains('/')) else {
            return Leads::Elsewhere;
        };
        let host = at.rsplit_once('@').map_or(at, |(_, host)| host);
        return if is_path(path) { by_ssh(host, &server) } else { Leads::Elsewhere };
    }
    let Ok(parsed) = Url::parse(url) else { return Leads::Elsewhere };
    let host = parsed.host_str().unwrap_or_default();
    match parsed.scheme() {
        "ssh" | "git+ssh" | "ssh+git" if is_path(parsed.path()) => by_ssh(host, &server),
        scheme @ ("https" | "http") => {
            let same = scheme == server.scheme()
                && server.host_str().is_some_and(|own| own.eq_ignore_ascii_case(host))
                && parsed.port_or_known_default() == server.port_or_known_default();
            let path = parsed.path().trim_start_matches('/').strip_prefix(prefix);
            if same && path.is_some_and(is_path) { Leads::There } else { Leads::Elsewhere }
        }
        _ => Leads::Elsewhere,
    }
}

fn by_ssh(host: &str, server: &Url) -> Leads {
    let own = server.host_str().unwrap_or_default();
    // https://docs.github.com/en/authentication/troubleshooting-ssh/using-ssh-over-the-https-port
    let by_443 = own == "github.com" && host.eq_ignore_ascii_case("ssh.github.com");
    if host.eq_ignore_ascii_case(own) || by_443 {
        Leads::There
    } else if !host.is_empty() && !host.contains(['.', ':']) {
        Leads::ByAlias
    } else {
        Leads::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GITHUB: Target<'_> = Target { server: "https://github.com", repository: "acme/rally" };

    #[test]
    fn every_spelling_that_git_knows_leads_to_the_repository() {
        for there in [
            "https://github.com/acme/rally",
            "https://github.com/acme/rally.git",
            "https://github.com/acme/rally.git/",
            "https://GitHub.com/Acme/Rally.git",
            "https://ada:ghp_000000000000@github.com/acme/rally.git",
            "https://github.com:443/acme/rally.git",
            "ssh://git@github.com/acme/rally.git",
            "ssh://git@github.com:22/acme/rally",
            "ssh://git@ssh.github.com:443/acme/rally.git",
            "git+ssh://git@github.com/acme/rally.git",
            "git@github.com:acme/rally.git",
            "git@github.com:/acme/rally",
            "github.com:acme/rally.git",
        ] {
            assert_eq!(leads(there, GITHUB), Leads::There, "{there}");
        }
        for elsewhere in [
            "https://github.com/acme/rally-ui.git",
            "https://github.com/other/rally.git",
            "https://github.com.example/acme/rally.git",
            "https://example.com/acme/rally.git",
            "http://github.com/acme/rally.git",
            "https://github.com:8443/acme/rally.git",
            "https://github.com/x/acme/rally.git",
            "git@gitlab.com:acme/rally.git",
            "git@github.com:acme/rally.git.git",
            "/srv/github.com:acme/rally.git",
            "file:///acme/rally.git",
            "acme/rally",
            "",
        ] {
            assert_eq!(leads(elsewhere, GITHUB), Leads::Elsewhere, "{elsewhere}");
        }
        for alias in ["git@work:acme/rally.git", "ssh://git@work/acme/rally"] {
            assert_eq!(leads(alias, GITHUB), Leads::ByAlias, "{alias}");
        }
    }

    #[test]
    fn an_enterprise_server_is_another_one() {
        let server = Target { server: "https://git.example.com:8443", repository: "acme/rally" };
        for there in ["https://git.example.com:8443/acme/rally.git", "git@git.example.com:acme/rally.git"] {
            assert_eq!(leads(there, server), Leads::There, "{there}");
        }
        for elsewhere in ["https://git.example.com/acme/rally.git", "git@github.com:acme/rally.git"] {
            assert_eq!(leads(elsewhere, server), Leads::Elsewhere, "{elsewhere}");
        }
    }

    fn remotes(all: &[(&str, &[&str])]) -> Vec<Remote> {
        let one = |(name, urls): &(&str, &[&str])| Remote {
            name: (*name).to_owned(),
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        };
        all.iter().map(one).collect()
    }

    fn chosen(all: &[(&str, &[&str])], named: Option<&str>) -> Result<String, String> {
        let told = |failure: Failure| format!("{failure:?}");
        choose("sign", &remotes(all), named, GITHUB).map(|remote| remote.name.clone()).map_err(told)
    }

    #[test]
    fn none_and_several_are_refused() {
        let (ours, fork) = ("git@github.com:acme/rally.git", "git@github.com:ada/rally.git");
        let both: &[(&str, &[&str])] = &[("origin", &[fork]), ("upstream", &[ours])];
        assert_eq!(chosen(both, None).as_deref(), Ok("upstream"));
        assert!(chosen(both, Some("origin")).unwrap_err().contains("ada/rally"));
        assert!(chosen(both, Some("else")).unwrap_err().contains("no remote else"));
        assert!(chosen(&[], None).unwrap_err().contains("it has none"));
        let twice: &[(&str, &[&str])] = &[("a", &[ours]), ("b", &["https://github.com/acme/rally"])];
        assert!(chosen(twice, None).unwrap_err().contains("--remote: a or b"));
        assert_eq!(chosen(twice, Some("b")).as_deref(), Ok("b"));
        // A push to it would go to the mirror too.
        let mirrored: &[(&str, &[&str])] = &[("origin", &[ours, "git@mirror.example:acme/rally.git"])];
        assert!(chosen(mirrored, None).is_err() && chosen(mirrored, Some("origin")).is_err());
        let alias: &[(&str, &[&str])] = &[("origin", &["git@work:acme/rally.git"])];
        assert!(chosen(alias, None).unwrap_err().contains("--remote origin"));
        assert_eq!(chosen(alias, Some("origin")).as_deref(), Ok("origin"));
    }

    #[test]
    fn who_logs_in_is_not_shown() {
        let urls = ["https://ada:hunter22@github.com/acme/rally.git".to_owned()];
        assert_eq!(shown(&urls), "https://github.com/acme/rally.git");
        let urls = ["https://ghp_0123456789012345678901234567890123456@github.com/acme/rally.git".to_owned()];
        assert_eq!(shown(&urls), "https://github.com/acme/rally.git");
        let urls = ["git@github.com:acme/rally.git".to_owned()];
        assert_eq!(shown(&urls), "git@github.com:acme/rally.git");
    }
}
