//! Image references, and where in ECR they are.

use serde::Serialize;

/// `CONTAINER=IMAGE` as given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ContainerImage {
    pub(crate) container: String,
    pub(crate) image: ImageRef,
}

/// An image reference, by its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ImageRef {
    /// Registry and repository, without tag and digest.
    pub(crate) name: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<String>,
    /// Set when the registry is ECR.
    pub(crate) ecr: Option<EcrRepository>,
}

/// An image that the new revision will name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedImage {
    pub(crate) container: String,
    pub(crate) image: ImageRef,
    /// Asked for by `--image`, and not merely written in a file.
    pub(crate) asked: bool,
}

/// A repository of a private ECR registry
/// (<https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html>).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EcrRepository {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) repository: String,
}

impl std::fmt::Display for ImageRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

pub(crate) fn parse_container_image(text: &str) -> Result<ContainerImage, String> {
    let (container, image) = text.split_once('=').ok_or("write it as CONTAINER=IMAGE")?;
    if container.is_empty() {
        return Err("the container's name is missing before the =".to_owned());
    }
    Ok(ContainerImage { container: container.to_owned(), image: parse_image(image)? })
}

/// `CONTAINER=sha256:...` as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpectedDigest {
    pub(crate) container: String,
    pub(crate) digest: String,
}

pub(crate) fn parse_expected_digest(text: &str) -> Result<ExpectedDigest, String> {
    let (container, digest) = text.split_once('=').ok_or("write it as CONTAINER=sha256:...")?;
    if container.is_empty() {
        return Err("the container's name is missing before the =".to_owned());
    }
    check_digest(digest)?;
    Ok(ExpectedDigest { container: container.to_owned(), digest: digest.to_owned() })
}

fn check_digest(digest: &str) -> Result<(), String> {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        return Ok(());
    }
    Err(format!("`{digest}` is not a digest (sha256: and 64 hexadecimal digits)"))
}

/// The parts of an image reference; an error says what is wrong with it.
pub(crate) fn parse_image(text: &str) -> Result<ImageRef, String> {
    if text.is_empty() || text.chars().any(char::is_whitespace) {
        return Err(format!("`{text}` is not an image reference"));
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if let Some(digest) = digest {
        check_digest(digest)?;
    }
    // A colon before the last slash is a registry's port.
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[slash..].split_once(':') {
        Some((last, tag)) => (&rest[..slash + last.len()], Some(tag)),
        None => (rest, None),
    };
    if name.is_empty() || tag.is_some_and(str::is_empty) {
        return Err(format!("`{text}` is not an image reference"));
    }
    Ok(ImageRef {
        name: name.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
        ecr: parse_ecr(name),
    })
}

fn parse_ecr(name: &str) -> Option<EcrRepository> {
    let (host, repository) = name.split_once('/')?;
    let (account, rest) = host.split_at_checked(12)?;
    if !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let region = if let Some(rest) = rest.strip_prefix(".dkr.ecr") {
        let rest = rest.strip_prefix("-fips").unwrap_or(rest).strip_prefix('.')?;
        rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn"))?
    } else {
        // The dual-stack names: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-requests.html
        let rest = rest.strip_prefix(".dkr-ecr")?;
        rest.strip_prefix("-fips").unwrap_or(rest).strip_prefix('.')?.strip_suffix(".on.aws")?
    };
    Some(EcrRepository {
        account: account.to_owned(),
        region: region.to_owned(),
        repository: repository.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_of_the_rally_runbook_is_read_by_its_parts() {
        // Runbook R7.
        let given = parse_container_image(
            "rally-prod-webapp=676917001797.dkr.ecr.us-east-1.amazonaws.com/rally-prod:RALLY-V2_1_0_0-RELEASE",
        )
        .unwrap();
        assert_eq!(given.container, "rally-prod-webapp");
        assert_eq!(given.image.tag.as_deref(), Some("RALLY-V2_1_0_0-RELEASE"));
        let ecr = given.image.ecr.unwrap();
        assert_eq!(
            (ecr.account.as_str(), ecr.region.as_str(), ecr.repository.as_str()),
            ("676917001797", "us-east-1", "rally-prod")
        );
    }

    #[test]
    fn references_of_every_form() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let both = parse_image(&format!("localhost:5000/a/b:v1@{digest}")).unwrap();
        assert_eq!(
            (both.name.as_str(), both.tag.as_deref(), both.digest.as_deref()),
            ("localhost:5000/a/b", Some("v1"), Some(digest.as_str()))
        );
        assert_eq!(both.ecr, None);
        assert_eq!(both.to_string(), format!("localhost:5000/a/b:v1@{digest}"));
        assert_eq!(parse_image("nginx").unwrap().tag, None);
        assert_eq!(
            parse_image("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/x").unwrap().ecr.unwrap().region,
            "cn-north-1"
        );
        let dual = parse_image("123456789012.dkr-ecr.eu-central-1.on.aws/x:1").unwrap().ecr.unwrap();
        assert_eq!((dual.region.as_str(), dual.repository.as_str()), ("eu-central-1", "x"));
        let expected = parse_expected_digest(&format!("app={digest}")).unwrap();
        assert_eq!((expected.container.as_str(), expected.digest), ("app", digest));
        assert!(parse_expected_digest("app=v1").is_err() && parse_expected_digest("=x").is_err());
        for bad in ["", "a b", "app:", "app@sha256:12", "app@md5:x"] {
            assert!(parse_image(bad).is_err(), "{bad}");
        }
        assert!(parse_container_image("=x").is_err());
        assert!(parse_container_image("app").is_err());
    }
}
