//! Where CloudFormation takes a template from.

use std::fmt;

use aws::failure;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use kit::{Cx, Failure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::Cfn;

/// The most bytes of a template within a request.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>
pub const BODY_LIMIT: usize = 51_200;

/// The most bytes of a template in S3: the page says 1 MB, and the service's refusal 1,000,000 bytes.
pub const OBJECT_LIMIT: usize = 1_000_000;

/// RFC 3986's unreserved characters, and the slash between a key's parts, stay as they are.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A template as a change set takes it. Its text does not show in debugging output: passwords stand in templates of the world.
#[derive(Clone, PartialEq, Eq)]
pub enum TemplateSource {
    /// Within the request, at most [`BODY_LIMIT`] bytes.
    Body(String),
    /// `https://` of an object in S3.
    Url(String),
    /// The one that the stack has.
    Previous,
}

impl fmt::Debug for TemplateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(text) => write!(f, "Body({} bytes)", text.len()),
            Self::Url(url) => write!(f, "Url({url})"),
            Self::Previous => f.write_str("Previous"),
        }
    }
}

/// The bucket for templates that do not fit into a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// In the stack's region and account.
    pub name: String,
    /// Empty, or what keys begin with; a slash between the two is added.
    pub prefix: String,
}

impl Bucket {
    /// `s3://BUCKET[/PREFIX]`.
    ///
    /// # Errors
    /// It is anything else (exit 2).
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let rest = text.strip_prefix("s3://").unwrap_or_default();
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err(Failure::usage(format!("use --template-bucket {text}"))
                .because("it does not name a bucket")
                .help("write it as s3://BUCKET or s3://BUCKET/PREFIX"));
        }
        Ok(Self { name: name.to_owned(), prefix: prefix.to_owned() })
    }

    fn key(&self, text: &str) -> String {
        let prefix = self.prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{prefix}{slash}{:x}.template", Sha256::digest(text))
    }
}

impl Cfn {
    /// How a template's text gets to CloudFormation: within the request, or above [`BODY_LIMIT`] bytes through the bucket, under
    /// its SHA-256, where it is put unless it is there.
    ///
    /// Refused (exit 3): more than [`OBJECT_LIMIT`] bytes, and no bucket for a large one. CloudFormation reads the object as the
    /// caller: `s3:GetObject` is needed beside `s3:PutObject`.
    pub async fn template_source(
        &self,
        cx: &Cx,
        text: &str,
        bucket: Option<&Bucket>,
    ) -> Result<TemplateSource, Failure> {
        self.check_size(text, bucket)?;
        let Some(bucket) = bucket.filter(|_| text.len() > BODY_LIMIT) else {
            return Ok(TemplateSource::Body(text.to_owned()));
        };
        Ok(TemplateSource::Url(self.put_template(cx, text, bucket).await?))
    }

    /// Whether a template's text can get to CloudFormation at all: see [`Cfn::template_source`]. Asks nothing of AWS.
    pub fn check_size(&self, text: &str, bucket: Option<&Bucket>) -> Result<(), Failure> {
        let bytes = text.len();
        if bytes <= BODY_LIMIT {
            return Ok(());
        }
        let refused = Failure::refused("give the template to CloudFormation");
        if bytes > OBJECT_LIMIT {
            return Err(refused
                .because(format!("it has {bytes} bytes, and CloudFormation takes {OBJECT_LIMIT} at most"))
                .help("split it into nested stacks"));
        }
        if bucket.is_none() {
            return Err(refused
                .because(format!(
                    "it has {bytes} bytes, and a request takes {BODY_LIMIT} at most: larger ones are read from S3"
                ))
                .help("name a bucket with --template-bucket"));
        }
        Ok(())
    }

    /// A template that lies in S3 already, as `s3://BUCKET/KEY` (in the stack's region) or as the `https://` URL that
    /// CloudFormation takes.
    ///
    /// Refused (exit 2): any other form.
    pub fn template_at(&self, url: &str) -> Result<TemplateSource, Failure> {
        if let Some((bucket, key)) = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/'))
            && !bucket.is_empty()
            && !key.is_empty()
        {
            return Ok(TemplateSource::Url(self.object_url(bucket, key)));
        }
        if url.starts_with("https://") {
            return Ok(TemplateSource::Url(url.to_owned()));
        }
        Err(Failure::usage(format!("use the template {url}"))
            .because("it is neither s3://BUCKET/KEY nor an https:// URL of an object in S3"))
    }

    /// Puts a template into the bucket under its SHA-256, unless it is there, and gives the URL that CloudFormation takes.
    ///
    /// Refused (exit 3): something else is there under that name.
    pub async fn put_template(&self, cx: &Cx, text: &str, bucket: &Bucket) -> Result<String, Failure> {
        let key = bucket.key(text);
        self.put_unless_there(cx, &bucket.name, &key, text).await?;
        Ok(self.object_url(&bucket.name, &key))
    }

    async fn put_unless_there(&self, cx: &Cx, bucket: &str, key: &str, text: &str) -> Result<(), Failure> {
        let attempt = || format!("put the template at s3://{bucket}/{key}");
        let arn = format!("arn:aws:s3:::{bucket}/{key}");
        // Sent twice it has the same effect, and an object that is there is not written again.
        let sent = self
            .s3
            .put_object()
            .bucket(bucket)
            .key(key)
            .expected_bucket_owner(&self.account)
            .if_none_match("*")
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .body(ByteStream::from(text.as_bytes().to_vec()))
            .send()
            .await;
        match sent {
            Ok(_) => return Ok(()),
            Err(error)
                if matches!(error.code(), Some("PreconditionFailed" | "ConditionalRequestConflict")) => {}
            Err(error) => {
                let elsewhere = error.code() == Some("PermanentRedirect");
                let failed = failure(attempt(), "s3:PutObject", &arn, error);
                return Err(if elsewhere {
                    failed.help(format!("name a bucket in {}", self.region))
                } else {
                    failed
                });
            }
        }
        let call = self.s3.get_object().bucket(bucket).key(key).expected_bucket_owner(&self.account);
        let read = |error| failure(format!("read s3://{bucket}/{key}"), "s3:GetObject", &arn, error);
        let there = cx.or_cancelled(call.send()).await?.map_err(read)?;
        let there = cx.or_cancelled(there.body.collect()).await?.map_err(|error| {
            Failure::failed(format!("read s3://{bucket}/{key}")).because(error).transient(true)
        })?;
        if there.into_bytes() == text.as_bytes() {
            return Ok(());
        }
        Err(Failure::refused(attempt())
            .because("another object is there under the name of this template's hash")
            .help("look at who wrote it, and delete it"))
    }

    /// The form that the CDK gives to CloudFormation: the bucket in the path, since no certificate covers
    /// `BUCKET.s3.REGION` for a bucket with a dot in its name.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html#path-style-access>
    fn object_url(&self, bucket: &str, key: &str) -> String {
        let suffix = dns_suffix(&self.region);
        format!("https://s3.{}.{suffix}/{bucket}/{}", self.region, utf8_percent_encode(key, KEPT))
    }
}

/// The domain of AWS's endpoints in a region's partition.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html>,
/// <https://docs.amazonaws.cn/en_us/aws/latest/userguide/endpoints-Beijing.html>
fn dns_suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cfn(region: &str) -> Cfn {
        let config = aws_sdk_cloudformation::Config::builder()
            .behavior_version(aws_sdk_cloudformation::config::BehaviorVersion::latest())
            .region(aws_sdk_cloudformation::config::Region::new(region.to_owned()))
            .build();
        let s3 = aws_sdk_s3::Config::builder()
            .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
            .region(aws_sdk_s3::config::Region::new(region.to_owned()))
            .build();
        Cfn {
            client: aws_sdk_cloudformation::Client::from_conf(config),
            s3: aws_sdk_s3::Client::from_conf(s3),
            account: "123456789012".into(),
            region: region.into(),
            every: std::time::Duration::from_secs(3),
            recent: crate::live::recent::Recent::default(),
        }
    }

    #[tokio::test]
    async fn bytes_count_and_not_characters() {
        let cx = kit::testing::cx();
        let cfn = cfn("us-east-1");
        let fits = "x".repeat(BODY_LIMIT);
        assert!(matches!(cfn.template_source(&cx, &fits, None).await, Ok(TemplateSource::Body(_))));
        // 25,601 characters of two bytes each.
        let large = "é".repeat(BODY_LIMIT / 2 + 1);
        let refused = cfn.template_source(&cx, &large, None).await.unwrap_err();
        assert_eq!(refused.code(), kit::Code::Refused);
        assert!(format!("{refused:?}").contains("--template-bucket"), "{refused:?}");
        let huge = "x".repeat(OBJECT_LIMIT + 1);
        let bucket = Bucket { name: "templates".into(), prefix: String::new() };
        let refused = cfn.template_source(&cx, &huge, Some(&bucket)).await.unwrap_err();
        assert!(refused.chain()[0].contains("1000001 bytes"), "{refused:?}");
    }

    #[test]
    fn an_object_has_the_url_that_cloudformation_takes() {
        let at = |region: &str, url: &str| match cfn(region).template_at(url).unwrap() {
            TemplateSource::Url(url) => url,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            at("eu-west-1", "s3://my.bucket/a b/c+d.json"),
            "https://s3.eu-west-1.amazonaws.com/my.bucket/a%20b/c%2Bd.json"
        );
        assert_eq!(
            at("cn-north-1", "s3://bucket/t.json"),
            "https://s3.cn-north-1.amazonaws.com.cn/bucket/t.json"
        );
        assert_eq!(
            at("eu-west-1", "https://b.s3.eu-west-1.amazonaws.com/k"),
            "https://b.s3.eu-west-1.amazonaws.com/k"
        );
        for bad in ["http://bucket/key", "s3://bucket", "s3:///key", "template.json"] {
            assert_eq!(cfn("eu-west-1").template_at(bad).unwrap_err().code(), kit::Code::Usage, "{bad}");
        }
    }

    #[test]
    fn a_key_names_the_content() {
        // The digest of "abc" is in FIPS 180-2, appendix B.1.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let key = |prefix: &str| Bucket { name: "b".into(), prefix: prefix.into() }.key("abc");
        assert_eq!(key(""), format!("{digest}.template"));
        assert_eq!(key("/jenkins/templates/"), format!("jenkins/templates/{digest}.template"));
    }
}
