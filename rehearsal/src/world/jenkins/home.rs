//! `JENKINS_HOME` as the old service's cron job packs it.

use std::io;

use tar::{Archive, Builder, Header};

/// The jobs of the old service.
pub(super) const JOBS: [&str; 5] = ["build", "deploy", "nightly", "release", "security scan"];

/// A plugin, so that the archive has a size that a person believes; its bytes don't matter.
const PLUGIN: usize = 2 << 20;

/// An archive of these jobs.
pub(super) fn pack(jobs: &[&str]) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let mut add = |path: &str, content: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o640);
        tar.append_data(&mut header, path, content)
    };
    add("config.xml", b"<?xml version='1.1' encoding='UTF-8'?>\n<hudson/>\n")?;
    for job in jobs {
        add(&format!("jobs/{job}/config.xml"), b"<?xml version='1.1' encoding='UTF-8'?>\n<project/>\n")?;
    }
    let plugin: Vec<u8> = (0..PLUGIN).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    add("plugins/git.jpi", &plugin)?;
    tar.into_inner()
}

/// The jobs of an archive, in order; an error where it can't be read to its end, as `tar tf` finds.
pub(super) fn unpack(archive: &[u8]) -> io::Result<Vec<String>> {
    let mut jobs = Vec::new();
    let mut config = false;
    for entry in Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        config |= path == "config.xml";
        let job = path.strip_prefix("jobs/").and_then(|rest| rest.strip_suffix("/config.xml"));
        jobs.extend(job.map(str::to_owned));
        let read = io::copy(&mut entry, &mut io::sink())?;
        if read < entry.size() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends too early"));
        }
    }
    if !config {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the archive has no config.xml"));
    }
    jobs.sort();
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_is_not_restored() {
        let whole = pack(&JOBS).unwrap();
        assert_eq!(unpack(&whole).unwrap(), JOBS);
        assert!(unpack(&whole[..whole.len() / 2]).is_err());
        assert!(unpack(b"").is_err());
    }
}
