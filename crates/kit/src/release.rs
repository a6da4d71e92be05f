//! Whose a change is that stays until it is put back, in the words that are kept beside it.

use time::OffsetDateTime;

use crate::Env;

impl Env {
    /// The release: as it was named, else the workflow run, the same in every job and attempt, else `a terminal`. A run is
    /// given by numbers alone: where this is kept, the world may read it, and a repository's name can be a person's.
    ///
    /// Source: <https://docs.github.com/en/actions/reference/workflows-and-actions/variables>
    pub fn release(&self, named: Option<&str>) -> String {
        let run = || {
            let run = self.get("GITHUB_RUN_ID").filter(|_| self.in_github_job())?;
            Some(match self.get("GITHUB_REPOSITORY_ID") {
                Some(repository) => format!("run {run} of repository {repository}"),
                None => format!("run {run}"),
            })
        };
        named.map(str::to_owned).or_else(run).unwrap_or_else(|| "a terminal".to_owned())
    }
}

/// Reads the name of a release that is kept in a tag or a TXT record.
///
/// Source: <https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html>
///
/// # Errors
/// What can't stand in both, in a line for whoever wrote it.
pub fn parse_release(text: &str) -> Result<String, String> {
    let plain = |char: char| char.is_ascii_alphanumeric() || " ._:/+-".contains(char);
    if text.is_empty() || text.len() > 100 || !text.chars().all(plain) || text.trim() != text {
        return Err("write up to 100 letters, digits, blanks and ._:/+-, as in v2.1.0".to_owned());
    }
    Ok(text.to_owned())
}

/// A time for people, to the second.
pub fn clock(time: OffsetDateTime) -> String {
    let time = time.to_offset(time::UtcOffset::UTC);
    format!("{} {:02}:{:02}:{:02} UTC", time.date(), time.hour(), time.minute(), time.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_or_its_run_or_a_terminal() {
        let job = [("GITHUB_ACTIONS", "true"), ("GITHUB_RUN_ID", "7"), ("GITHUB_REPOSITORY_ID", "42")];
        let env: Env = job.into_iter().collect();
        assert_eq!(env.release(None), "run 7 of repository 42");
        assert_eq!(env.release(Some("v2.1.0")), "v2.1.0");
        assert_eq!(job[..2].iter().copied().collect::<Env>().release(None), "run 7");
        assert_eq!(job[1..].iter().copied().collect::<Env>().release(None), "a terminal");
        assert!(parse_release(&env.release(None)).is_ok());
    }

    #[test]
    fn what_no_tag_can_hold_is_no_name() {
        for wrong in ["", " v1", "v1#2", "é", &"x".repeat(101)] {
            assert!(parse_release(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_told_in_utc() {
        let offset = time::UtcOffset::from_hms(2, 0, 0).unwrap();
        let time = OffsetDateTime::from_unix_timestamp(1_795_298_400).unwrap().to_offset(offset);
        assert_eq!(clock(time), "2026-11-21 22:00:00 UTC");
    }
}
