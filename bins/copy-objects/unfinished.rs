//! Reads what unfinished uploads to one key hold, and who began them.

use aws::Aws;
use aws_sdk_s3::operation::list_parts::ListPartsError;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};
use kit::{Cx, Failure};

use crate::resume::{Begun, Part, whose};
use s3::{Bucket, Unfinished};

/// The unfinished uploads to exactly `key`.
pub(crate) async fn begun(cx: &Cx, aws: &Aws, bucket: &Bucket, key: &str) -> Result<Vec<Begun>, Failure> {
    let uploads = of(cx, bucket, key).await?;
    if uploads.is_empty() {
        return Ok(Vec::new());
    }
    let ours = cx.or_cancelled(principal(aws)).await??;
    looked_at(cx, bucket, uploads, &ours).await
}

/// [`begun`], where the principal of this run is known.
pub(crate) async fn begun_by(cx: &Cx, bucket: &Bucket, key: &str, ours: &str) -> Result<Vec<Begun>, Failure> {
    let uploads = of(cx, bucket, key).await?;
    looked_at(cx, bucket, uploads, ours).await
}

/// Every unfinished upload to exactly `key`.
pub(crate) async fn of(cx: &Cx, bucket: &Bucket, key: &str) -> Result<Vec<Unfinished>, Failure> {
    let mut uploads = cx.or_cancelled(bucket.unfinished(key)).await??;
    uploads.retain(|upload| upload.key == key);
    Ok(uploads)
}

async fn looked_at(
    cx: &Cx,
    bucket: &Bucket,
    uploads: Vec<Unfinished>,
    ours: &str,
) -> Result<Vec<Begun>, Failure> {
    let mut found = Vec::new();
    for upload in uploads {
        found.extend(cx.or_cancelled(parts(bucket, upload, ours)).await??);
    }
    Ok(found)
}

/// The ARN of the principal that this run has.
pub(crate) async fn principal(aws: &Aws) -> Result<String, Failure> {
    let answer = aws_sdk_sts::Client::new(&aws.config)
        .get_caller_identity()
        .send()
        .await
        .map_err(|error| aws::failure("ask AWS who we are", "sts:GetCallerIdentity", "*", error))?;
    Ok(answer.arn().unwrap_or_default().to_owned())
}

/// What an upload holds, through every page; nothing if it has ended meanwhile.
///
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html>
async fn parts(bucket: &Bucket, upload: Unfinished, ours: &str) -> Result<Option<Begun>, Failure> {
    let mut marker: Option<String> = None;
    let mut begun: Option<Begun> = None;
    loop {
        let sent = bucket
            .client
            .list_parts()
            .bucket(&bucket.name)
            .key(&upload.key)
            .upload_id(&upload.id)
            .set_part_number_marker(marker)
            .set_expected_bucket_owner(bucket.owner.clone())
            .send()
            .await;
        let page = match sent {
            Ok(page) => page,
            // The operation has no errors of its own in the model.
            Err(error) if error.as_service_error().is_some_and(no_such_upload) => return Ok(None),
            Err(error) => {
                return Err(aws::failure(
                    format!("list the parts of an unfinished upload of {}", bucket.uri(&upload.key)),
                    "s3:ListMultipartUploadParts",
                    &bucket.arn(&upload.key),
                    error,
                ));
            }
        };
        let begun = begun.get_or_insert_with(|| Begun {
            upload: upload.clone(),
            whose: whose(page.initiator().and_then(|who| who.id()), ours),
            full_crc64nvme: page.checksum_algorithm() == Some(&ChecksumAlgorithm::Crc64Nvme)
                && page.checksum_type() == Some(&ChecksumType::FullObject),
            storage_class: page.storage_class().map_or("STANDARD", |class| class.as_str()).to_owned(),
            parts: Vec::new(),
        });
        begun.parts.extend(page.parts().iter().map(|part| Part {
            number: part.part_number().and_then(|number| u64::try_from(number).ok()).unwrap_or(0),
            bytes: part.size().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
            etag: part.e_tag().unwrap_or_default().to_owned(),
            crc64nvme: part.checksum_crc64_nvme().map(str::to_owned),
        }));
        if page.is_truncated() != Some(true) || page.next_part_number_marker().is_none() {
            return Ok(Some(begun.clone()));
        }
        marker = page.next_part_number_marker().map(str::to_owned);
    }
}

fn no_such_upload(error: &ListPartsError) -> bool {
    error.meta().code() == Some("NoSuchUpload")
}
