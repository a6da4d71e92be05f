//! The names of S3's operations, which are told by method, path, query and one header.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>

use percent_encoding::percent_decode_str;

use super::request::Request;

/// Subresources of a bucket: query parameter, and the operation's name without its verb.
const BUCKET: [(&str, &str); 20] = [
    ("accelerate", "BucketAccelerateConfiguration"),
    ("acl", "BucketAcl"),
    ("analytics", "BucketAnalyticsConfiguration"),
    ("cors", "BucketCors"),
    ("encryption", "BucketEncryption"),
    ("intelligent-tiering", "BucketIntelligentTieringConfiguration"),
    ("inventory", "BucketInventoryConfiguration"),
    ("lifecycle", "BucketLifecycleConfiguration"),
    ("logging", "BucketLogging"),
    ("metrics", "BucketMetricsConfiguration"),
    ("notification", "BucketNotificationConfiguration"),
    ("object-lock", "ObjectLockConfiguration"),
    ("ownershipControls", "BucketOwnershipControls"),
    ("policy", "BucketPolicy"),
    ("publicAccessBlock", "PublicAccessBlock"),
    ("replication", "BucketReplication"),
    ("requestPayment", "BucketRequestPayment"),
    ("tagging", "BucketTagging"),
    ("versioning", "BucketVersioning"),
    ("website", "BucketWebsite"),
];

/// Subresources of an object.
const OBJECT: [(&str, &str); 5] = [
    ("acl", "ObjectAcl"),
    ("attributes", "ObjectAttributes"),
    ("legal-hold", "ObjectLegalHold"),
    ("retention", "ObjectRetention"),
    ("tagging", "ObjectTagging"),
];

/// Bucket and key. The front is addressed by IP, so requests are path-style.
pub(super) fn object(request: &Request) -> (String, String) {
    let path = request.uri.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    (decoded(bucket), decoded(key))
}

pub(super) fn operation(request: &Request) -> String {
    let (bucket, key) = object(request);
    let method = request.method.as_str();
    if bucket.is_empty() {
        return "ListBuckets".to_owned();
    }
    if key.is_empty() { of_bucket(method, request) } else { of_object(method, request) }
}

fn of_bucket(method: &str, request: &Request) -> String {
    let has = |name: &str| request.query(name).is_some();
    let name = match method {
        "HEAD" => "HeadBucket",
        "GET" if has("location") => "GetBucketLocation",
        "GET" if has("list-type") => "ListObjectsV2",
        "GET" if has("uploads") => "ListMultipartUploads",
        "GET" if has("versions") => "ListObjectVersions",
        "GET" if has("policyStatus") => "GetBucketPolicyStatus",
        "GET" if has("session") => "CreateSession",
        "DELETE" if has("lifecycle") => "DeleteBucketLifecycle",
        "POST" if has("delete") => "DeleteObjects",
        "POST" => "PostObject",
        _ => return named(method, &BUCKET, has, ["ListObjects", "CreateBucket", "DeleteBucket"]),
    };
    name.to_owned()
}

fn of_object(method: &str, request: &Request) -> String {
    let has = |name: &str| request.query(name).is_some();
    let is_copy = request.headers.contains_key("x-amz-copy-source");
    let name = match method {
        "HEAD" => "HeadObject",
        "GET" if has("uploadId") => "ListParts",
        "PUT" if has("partNumber") && is_copy => "UploadPartCopy",
        "PUT" if has("partNumber") => "UploadPart",
        "PUT" if is_copy => "CopyObject",
        "POST" if has("uploads") => "CreateMultipartUpload",
        "POST" if has("uploadId") => "CompleteMultipartUpload",
        "POST" if has("restore") => "RestoreObject",
        "POST" if has("select") => "SelectObjectContent",
        "DELETE" if has("uploadId") => "AbortMultipartUpload",
        _ => return named(method, &OBJECT, has, ["GetObject", "PutObject", "DeleteObject"]),
    };
    name.to_owned()
}

/// Verb and subresource, or the plain operation (of GET, PUT and DELETE) where the query names none.
fn named(method: &str, table: &[(&str, &str)], has: impl Fn(&str) -> bool, plain: [&str; 3]) -> String {
    let [get, put, delete] = plain;
    let (verb, plain) = match method {
        "GET" => ("Get", get),
        "PUT" => ("Put", put),
        "DELETE" => ("Delete", delete),
        other => return other.to_owned(),
    };
    match table.iter().find(|(query, _)| has(query)) {
        Some((_, noun)) => format!("{verb}{noun}"),
        None => plain.to_owned(),
    }
}
