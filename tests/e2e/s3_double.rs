//! What the S3 double refuses and keeps, each rule by bare requests. Expected values are those of AWS's documentation, and
//! checksums were worked out by other programs: those of "123456789", whole and as "12345" and "6789".

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;
use testkit::front::{Fault, Front};
use testkit::s3::{Bodies, Double, Options};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;

use crate::world::client;

const WHOLE: &str = "123456789";
const CRC64: &str = "rosUhgp5mIg=";
const SHA256: &str = "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=";
const MD5: &str = "25f9e794323b453885f5181f1b624d0b";
/// Of "12345" and of "6789".
const PART_CRC64: [&str; 2] = ["Fmrit/9iyvg=", "4NY2j0LQBzc="];
const PART_SHA256: [&str; 2] =
    ["WZRHGrsBESr8wYFZ9sx0tPURuZgG2lmzyvWpwXPKz8U=", "SZvH352Ic8HDjmiYF3w0Oyo00utDF4qetO/LmTNmyM0="];
const PART_MD5: [&str; 2] = ["827ccb0eea8a706c4c34a16891f84e7b", "46d045ff5190f6ea93739da6c0aa19bc"];
const PARTS_ETAG: &str = "324730582f20c3f18cbb66d63a6137d2-2";
/// SHA-256 of both parts' digests, one after the other.
const COMPOSITE: &str = "/wiQ+jHXUUcr18tTEaeru5H1cBgrYDQGvfxkGFLzgl4=-2";

type Headers<'a> = &'a [(&'a str, &'a str)];

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    /// The status, and of an error its code.
    fn is(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.element("Code").as_str()), (status, code), "{}", self.text);
        self
    }

    fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn etag(&self) -> &str {
        self.header("etag").trim_matches('"')
    }

    fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let found = self.text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next());
        found.map(|text| text.replace("&quot;", "\"")).collect()
    }

    fn element(&self, name: &str) -> String {
        self.elements(name).into_iter().next().unwrap_or_default()
    }

    fn says(self, text: &str) -> Self {
        assert!(self.text.contains(text), "`{text}` is not in {}", self.text);
        self
    }
}

struct Stage {
    double: Double,
    client: reqwest::Client,
}

impl Stage {
    async fn start() -> Self {
        Self::with(Options { smallest_part: 5, ..Options::default() }).await
    }

    async fn with(options: Options) -> Self {
        let double = Double::start(options).await.unwrap();
        double.create_bucket("old");
        double.create_bucket("new");
        Self { double, client: client() }
    }

    async fn send(&self, method: &str, path: &str, headers: Headers<'_>, body: impl Into<Vec<u8>>) -> Answer {
        let url = format!("{}/{path}", self.double.url());
        let mut request = self.client.request(method.parse().unwrap(), url).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.unwrap();
        Answer { status, headers, text: String::from_utf8_lossy(&body).into_owned() }
    }

    async fn get(&self, path: &str, headers: Headers<'_>) -> Answer {
        self.send("GET", path, headers, "").await
    }

    async fn head(&self, path: &str, headers: Headers<'_>) -> Answer {
        self.send("HEAD", path, headers, "").await
    }

    async fn put(&self, path: &str, headers: Headers<'_>, body: &str) -> Answer {
        self.send("PUT", path, headers, body).await
    }

    async fn copy(&self, from: &str, to: &str, headers: Headers<'_>) -> Answer {
        self.send("PUT", to, &[&[("x-amz-copy-source", from)], headers].concat(), "").await
    }

    /// Begins an upload of the key `new/whole`.
    async fn begin(&self, headers: Headers<'_>) -> Upload<'_> {
        let id = self.send("POST", "new/whole?uploads", headers, "").await.ok().element("UploadId");
        Upload { stage: self, id }
    }

    /// Nothing was asked for that the double does not know.
    fn end(self) {
        assert_eq!(self.double.refused(), Vec::<String>::new());
    }
}

struct Upload<'a> {
    stage: &'a Stage,
    id: String,
}

impl Upload<'_> {
    fn path(&self, number: u32) -> String {
        format!("new/whole?partNumber={number}&uploadId={}", self.id)
    }

    async fn part(&self, number: u32, headers: Headers<'_>, body: &str) -> Answer {
        self.stage.put(&self.path(number), headers, body).await
    }

    /// "12345" and "6789".
    async fn both(&self) {
        self.part(1, &[], "12345").await.ok();
        self.part(2, &[], "6789").await.ok();
    }

    async fn list(&self, query: &str) -> Answer {
        self.stage.get(&format!("new/whole?uploadId={}{query}", self.id), &[]).await
    }

    async fn complete(&self, headers: Headers<'_>, parts: &str) -> Answer {
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        self.stage.send("POST", &format!("new/whole?uploadId={}", self.id), headers, body).await
    }
}

/// A part of the list that completes an upload, with other elements beside its number and tag.
fn part(number: u32, etag: &str, more: &str) -> String {
    format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag>{more}</Part>")
}

fn both() -> String {
    part(1, PART_MD5[0], "") + &part(2, PART_MD5[1], "")
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
#[tokio::test]
async fn a_body_that_is_not_what_its_checksums_say_is_refused_and_nothing_stored() {
    let stage = Stage::start().await;
    let sums = [
        ("x-amz-checksum-crc64nvme", CRC64),
        ("x-amz-checksum-crc32", "y/Q5Jg=="),
        ("x-amz-checksum-crc32c", "4waSgw=="),
        ("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
        ("x-amz-checksum-sha256", SHA256),
        ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw=="),
    ];
    for sum in sums {
        stage.put("new/k", &[sum], "12345678X").await.is(400, "BadDigest");
        assert!(stage.double.keys("new").is_empty(), "{sum:?}");
    }
    let content =
        ("x-amz-content-sha256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
    stage.put("new/k", &[content], "12345678X").await.is(400, "XAmzContentSHA256Mismatch");
    stage.put("new/k", &[("content-md5", "short")], WHOLE).await.is(400, "InvalidDigest");
    stage.put("new/k", &[("x-amz-checksum-crc32", "short")], WHOLE).await.is(400, "InvalidRequest");
    stage
        .put("new/k", &[sums[0], sums[1]], WHOLE)
        .await
        .is(400, "InvalidRequest")
        .says("single x-amz-checksum-");
    assert!(stage.double.keys("new").is_empty());
    for sum in sums {
        let put = stage.put("new/k", &[sum, content], WHOLE).await.ok();
        assert_eq!(put.etag(), MD5);
        if sum.0.starts_with("x-amz") {
            assert_eq!((put.header(sum.0), put.header("x-amz-checksum-type")), (sum.1, "FULL_OBJECT"));
            let head = stage.head("new/k", &[("x-amz-checksum-mode", "ENABLED")]).await;
            assert_eq!(head.header(sum.0), sum.1);
        }
    }
    // Without one S3 adds its own, and shows it to those who ask.
    stage.put("new/k", &[], WHOLE).await.ok();
    assert_eq!(
        stage.head("new/k", &[("x-amz-checksum-mode", "ENABLED")]).await.header("x-amz-checksum-crc64nvme"),
        CRC64
    );
    assert_eq!(stage.head("new/k", &[]).await.header("x-amz-checksum-crc64nvme"), "");
    stage.end();
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>
#[tokio::test]
async fn a_checksum_in_a_trailer_is_looked_at_too() {
    let stage = Stage::start().await;
    let headers = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", "9"),
        ("x-amz-trailer", "x-amz-checksum-crc64nvme"),
        ("content-encoding", "gzip,aws-chunked"),
    ];
    let body = |data: &str, sum: &str| {
        let (a, b) = data.split_at(4);
        format!("{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\nx-amz-checksum-crc64nvme:{sum}\r\n\r\n", a.len(), b.len())
    };
    stage.put("new/k", &headers, &body("12345678X", CRC64)).await.is(400, "BadDigest");
    stage.put("new/k", &headers, &body("12345678", CRC64)).await.is(400, "IncompleteBody");
    stage.put("new/k", &headers, "9\r\n123456789\r\n0\r\n\r\n").await.is(400, "MalformedTrailerError");
    stage.put("new/k", &headers, "9\r\n12345").await.is(400, "IncompleteBody");
    assert!(stage.double.keys("new").is_empty());
    stage.put("new/k", &headers, &body(WHOLE, CRC64)).await.ok();
    let stored = stage.get("new/k", &[]).await;
    assert_eq!((stored.text.as_str(), stored.header("content-encoding")), (WHOLE, "gzip"));
    stage.end();
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
#[tokio::test]
async fn put_complete_and_copy_heed_what_is_there() {
    let stage = Stage::start().await;
    stage.double.put("old", "k", WHOLE);
    let (new, same) = (("if-none-match", "*"), ("if-match", "\"25f9e794323b453885f5181f1b624d0b\""));
    let other = ("if-match", "\"827ccb0eea8a706c4c34a16891f84e7b\"");
    for way in ["put", "copy", "complete"] {
        let write = async |condition: (&str, &str)| match way {
            "put" => stage.put("new/whole", &[condition], WHOLE).await,
            "copy" => stage.copy("old/k", "new/whole", &[condition]).await,
            _ => {
                let upload = stage.begin(&[]).await;
                upload.part(1, &[], WHOLE).await.ok();
                let answer = upload.complete(&[condition], &part(1, MD5, "")).await;
                // What is refused can be tried again or aborted.
                assert_eq!(stage.double.unfinished("new").len(), usize::from(answer.status != 200));
                stage.send("DELETE", &format!("new/whole?uploadId={}", upload.id), &[], "").await;
                answer
            }
        };
        write(same).await.is(404, "NoSuchKey");
        write(new).await.is(200, "");
        write(new).await.is(412, "PreconditionFailed");
        write(other).await.is(412, "PreconditionFailed");
        let etag = stage.head("new/whole", &[]).await.header("etag").to_owned();
        write(("if-match", &etag)).await.is(200, "");
        stage.send("DELETE", "new/whole", &[], "").await.is(204, "");
    }
    assert_eq!(stage.double.refused(), Vec::<String>::new());
    stage.put("new/whole", &[("if-none-match", "\"abc\"")], WHOLE).await.is(501, "NotImplemented");
}

/// "If a conflicting operation occurs during the upload S3 returns a 409 `ConditionalRequestConflict` response."
#[tokio::test]
async fn a_deletion_during_a_conditional_put_is_a_conflict() {
    let stage = Stage::start().await;
    stage.double.put("new", "k", WHOLE);
    let address = stage.double.url().replace("http://", "");
    let mut put = BufStream::new(TcpStream::connect(&address).await.unwrap());
    let head = "PUT /new/k HTTP/1.1\r\nhost: s3\r\nif-none-match: *\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    put.write_all(head.as_bytes()).await.unwrap();
    put.flush().await.unwrap();
    let mut line = String::new();
    // The double asks for the body: the request is being carried out.
    put.read_line(&mut line).await.unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    stage.send("DELETE", "new/k", &[], "").await.is(204, "");
    put.write_all(WHOLE.as_bytes()).await.unwrap();
    put.flush().await.unwrap();
    line.clear();
    put.read_line(&mut line).await.unwrap();
    line.clear();
    put.read_line(&mut line).await.unwrap();
    assert_eq!(line, "HTTP/1.1 409 Conflict\r\n");
    assert!(stage.double.keys("new").is_empty());
    stage.end();
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
#[tokio::test]
async fn every_copy_heeds_the_conditions_on_its_source() {
    let stage = Stage::start().await;
    stage.double.put("old", "k", WHOLE);
    let upload = stage.begin(&[]).await;
    let (now, later) = ("Sat, 21 Nov 2026 18:00:00 GMT", "Sat, 21 Nov 2026 18:00:01 GMT");
    stage.double.set_modified("old", "k", SystemTime::UNIX_EPOCH + Duration::from_hours(498_690));
    let good = format!("\"{MD5}\"");
    let cases = [
        ("x-amz-copy-source-if-match", good.as_str(), 200),
        ("x-amz-copy-source-if-match", "\"other\"", 412),
        ("x-amz-copy-source-if-none-match", "\"other\"", 200),
        ("x-amz-copy-source-if-none-match", good.as_str(), 412),
        ("x-amz-copy-source-if-unmodified-since", now, 200),
        ("x-amz-copy-source-if-unmodified-since", "Sat, 21 Nov 2026 17:59:59 GMT", 412),
        ("x-amz-copy-source-if-modified-since", "Sat, 21 Nov 2026 17:59:59 GMT", 200),
        ("x-amz-copy-source-if-modified-since", later, 412),
    ];
    for (name, value, status) in cases {
        let code = if status == 200 { "" } else { "PreconditionFailed" };
        stage.copy("old/k", "new/k", &[(name, value)]).await.is(status, code);
        stage.copy("old/k", &upload.path(1), &[(name, value)]).await.is(status, code);
        stage
            .copy("old/k", &upload.path(2), &[(name, value), ("x-amz-copy-source-range", "bytes=0-4")])
            .await
            .is(status, code);
    }
    stage.copy("old/missing", "new/k", &[]).await.is(404, "NoSuchKey");
    stage.copy("old/missing", &upload.path(1), &[]).await.is(404, "NoSuchKey");
    stage
        .copy("old/k", &upload.path(1), &[("x-amz-copy-source-range", "bytes=5-9")])
        .await
        .is(400, "InvalidArgument");
    stage
        .copy("old/k", &upload.path(1), &[("x-amz-copy-source-range", "5-8")])
        .await
        .is(400, "InvalidArgument");
    stage.end();
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>
#[tokio::test]
async fn the_checksum_of_the_whole_is_compared_with_that_of_the_parts_together() {
    let stage = Stage::start().await;
    let upload = stage.begin(&[("x-amz-checksum-algorithm", "CRC64NVME")]).await;
    let first = upload.part(1, &[("x-amz-checksum-crc64nvme", PART_CRC64[0])], "12345").await.ok();
    assert_eq!(first.header("x-amz-checksum-crc64nvme"), PART_CRC64[0]);
    upload.part(2, &[("x-amz-checksum-crc64nvme", PART_CRC64[0])], "6789").await.is(400, "BadDigest");
    upload
        .part(2, &[("x-amz-checksum-sha256", PART_SHA256[1])], "6789")
        .await
        .is(400, "InvalidRequest")
        .says("expected checksum Type: crc64nvme, actual checksum Type: sha256");
    // A part without one: S3 works it out, and tells.
    let second = upload.part(2, &[], "6789").await.ok();
    assert_eq!(second.header("x-amz-checksum-crc64nvme"), PART_CRC64[1]);
    assert_eq!(upload.list("").await.elements("ChecksumCRC64NVME"), PART_CRC64);
    let full = ("x-amz-checksum-type", "FULL_OBJECT");
    upload.complete(&[("x-amz-checksum-crc64nvme", PART_CRC64[0]), full], &both()).await.is(400, "BadDigest");
    upload.complete(&[("x-amz-checksum-type", "COMPOSITE")], &both()).await.is(400, "InvalidRequest");
    upload.complete(&[("x-amz-checksum-crc32", "y/Q5Jg==")], &both()).await.is(400, "InvalidRequest");
    let wrong = part(1, PART_MD5[0], "<ChecksumCRC64NVME>4NY2j0LQBzc=</ChecksumCRC64NVME>")
        + &part(2, PART_MD5[1], "");
    upload.complete(&[], &wrong).await.is(400, "InvalidPart");
    let done = upload.complete(&[("x-amz-checksum-crc64nvme", CRC64), full], &both()).await.is(200, "");
    assert_eq!(
        (done.element("ChecksumCRC64NVME").as_str(), done.element("ChecksumType").as_str()),
        (CRC64, "FULL_OBJECT")
    );
    assert_eq!(done.element("ETag").trim_matches('"'), PARTS_ETAG);
    let head = stage.head("new/whole", &[("x-amz-checksum-mode", "ENABLED")]).await;
    assert_eq!((head.header("x-amz-checksum-crc64nvme"), head.etag()), (CRC64, PARTS_ETAG));
    // The same without an algorithm: the object has one, its parts show none.
    let upload = stage.begin(&[]).await;
    upload.both().await;
    assert!(upload.list("").await.elements("ChecksumCRC64NVME").is_empty());
    let done = upload.complete(&[], &both()).await.is(200, "");
    assert_eq!(done.element("ChecksumCRC64NVME"), CRC64);
    stage.end();
}

#[tokio::test]
async fn a_composite_needs_the_checksum_of_each_part() {
    let stage = Stage::start().await;
    let upload = stage.begin(&[("x-amz-checksum-algorithm", "SHA256")]).await;
    upload.part(1, &[], "12345").await.is(400, "InvalidRequest").says("actual checksum Type: null");
    for (number, body) in [(1, "12345"), (2, "6789")] {
        let sum = PART_SHA256[number as usize - 1];
        let uploaded = upload.part(number, &[("x-amz-checksum-sha256", sum)], body).await.ok();
        assert_eq!(uploaded.header("x-amz-checksum-sha256"), sum);
    }
    let listed = upload.list("").await;
    assert_eq!(
        (listed.elements("ChecksumSHA256"), listed.element("ChecksumType")),
        (PART_SHA256.map(str::to_owned).to_vec(), "COMPOSITE".to_owned())
    );
    upload
        .complete(&[], &both())
        .await
        .is(400, "InvalidRequest")
        .says("It was missing for part 1 in the request.");
    let with = |sums: [&str; 2]| {
        let sum = |at: usize| format!("<ChecksumSHA256>{}</ChecksumSHA256>", sums[at]);
        part(1, PART_MD5[0], &sum(0)) + &part(2, PART_MD5[1], &sum(1))
    };
    upload.complete(&[], &with([PART_SHA256[0], PART_SHA256[0]])).await.is(400, "InvalidPart");
    upload.complete(&[("x-amz-checksum-sha256", SHA256)], &with(PART_SHA256)).await.is(400, "BadDigest");
    let done = upload.complete(&[("x-amz-checksum-sha256", COMPOSITE)], &with(PART_SHA256)).await.is(200, "");
    assert_eq!(
        (done.element("ChecksumSHA256").as_str(), done.element("ChecksumType").as_str()),
        (COMPOSITE, "COMPOSITE")
    );
    let refused = [
        (
            "SHA256",
            "FULL_OBJECT",
            "The FULL_OBJECT checksum type cannot be used with the sha256 checksum algorithm.",
        ),
        (
            "CRC64NVME",
            "COMPOSITE",
            "The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm.",
        ),
    ];
    for (algorithm, kind, says) in refused {
        let headers = [("x-amz-checksum-algorithm", algorithm), ("x-amz-checksum-type", kind)];
        stage.send("POST", "new/whole?uploads", &headers, "").await.is(400, "InvalidRequest").says(says);
    }
    stage
        .send("POST", "new/whole?uploads", &[("x-amz-checksum-type", "FULL_OBJECT")], "")
        .await
        .is(400, "InvalidRequest");
    stage.end();
}

#[tokio::test]
async fn parts_that_are_copied_have_checksums_that_are_compared_too() {
    let stage = Stage::start().await;
    stage.double.put("old", "k", WHOLE);
    let upload = stage.begin(&[("x-amz-checksum-algorithm", "SHA256")]).await;
    for (number, range) in [(1, "bytes=0-4"), (2, "bytes=5-8")] {
        let copied =
            stage.copy("old/k", &upload.path(number), &[("x-amz-copy-source-range", range)]).await.ok();
        let at = number as usize - 1;
        assert_eq!(copied.element("ChecksumSHA256"), PART_SHA256[at]);
        assert_eq!(copied.element("ETag").trim_matches('"'), PART_MD5[at]);
    }
    upload.complete(&[], &both()).await.is(400, "InvalidRequest").says("missing for part 1");
    let sum = |at: usize| format!("<ChecksumSHA256>{}</ChecksumSHA256>", PART_SHA256[at]);
    let parts = part(1, PART_MD5[0], &sum(0)) + &part(2, PART_MD5[1], &sum(1));
    assert_eq!(upload.complete(&[], &parts).await.is(200, "").element("ChecksumSHA256"), COMPOSITE);
    assert_eq!(stage.get("new/whole", &[]).await.text, WHOLE);
    stage.end();
}

/// "If there's a mismatch between the specified object size value in your request and the actual object size, it returns an
/// HTTP 400 `InvalidRequest` error." <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>
#[tokio::test]
async fn an_upload_of_another_size_or_with_small_missing_or_unordered_parts_is_not_completed() {
    let stage = Stage::start().await;
    let upload = stage.begin(&[]).await;
    upload.both().await;
    upload.part(3, &[], "0").await.ok();
    upload.complete(&[("x-amz-mp-object-size", "10")], &both()).await.is(400, "InvalidRequest");
    upload.complete(&[], "").await.is(400, "MalformedXML");
    let (one, two) = (part(1, PART_MD5[0], ""), part(2, PART_MD5[1], ""));
    upload.complete(&[], &format!("{two}{one}")).await.is(400, "InvalidPartOrder");
    upload.complete(&[], &format!("{one}{}", part(2, MD5, ""))).await.is(400, "InvalidPart");
    upload.complete(&[], &format!("{one}{}", part(4, MD5, ""))).await.is(400, "InvalidPart");
    let three = part(3, "cfcd208495d565ef66e7dff9f98764da", "");
    upload.complete(&[], &format!("{two}{three}")).await.is(400, "EntityTooSmall");
    stage
        .send(
            "POST",
            "new/whole?uploadId=nothing",
            &[],
            format!("<CompleteMultipartUpload>{one}</CompleteMultipartUpload>"),
        )
        .await
        .is(404, "NoSuchUpload");
    assert!(stage.double.keys("new").is_empty());
    // However much the client still had to send, it is told why.
    let large = "0".repeat(8 << 20);
    stage.put("new/whole?partNumber=1&uploadId=nothing", &[], &large).await.is(404, "NoSuchUpload");
    stage.put("nothing/whole", &[], &large).await.is(404, "NoSuchBucket");
    upload.complete(&[("x-amz-mp-object-size", "9")], &both()).await.is(200, "");
    upload.complete(&[], &both()).await.is(404, "NoSuchUpload");
    let crc32 = stage.begin(&[("x-amz-checksum-algorithm", "CRC32")]).await;
    crc32.part(2, &[("x-amz-checksum-crc32", "nbq/hw==")], "6789").await.ok();
    let gap = part(2, PART_MD5[1], "<ChecksumCRC32>nbq/hw==</ChecksumCRC32>");
    crc32.complete(&[], &gap).await.is(400, "InvalidPartOrder");
    stage.end();
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
#[tokio::test]
async fn sizes_and_numbers_have_limits() {
    let stage =
        Stage::with(Options { most_parts: 3, largest_copy: 5, largest_put: 9, ..Options::default() }).await;
    stage.put("new/k", &[], "1234567890").await.is(400, "EntityTooLarge");
    stage.double.put("old", "k", WHOLE);
    stage
        .copy("old/k", "new/k", &[])
        .await
        .is(400, "InvalidRequest")
        .says("The specified copy source is larger than the maximum allowable size for a copy source: 5");
    let upload = stage.begin(&[]).await;
    stage.copy("old/k", &upload.path(1), &[]).await.is(400, "InvalidRequest");
    stage.copy("old/k", &upload.path(1), &[("x-amz-copy-source-range", "bytes=0-4")]).await.ok();
    upload.part(4, &[], WHOLE).await.is(400, "InvalidArgument");
    upload.part(1, &[], "1234567890").await.is(400, "EntityTooLarge");
    upload.both().await;
    // 5 MiB by default.
    upload.complete(&[], &both()).await.is(400, "EntityTooSmall");
    stage.end();
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
#[tokio::test]
async fn a_copy_carries_what_its_directives_say() {
    let stage = Stage::start().await;
    let facts = [
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
        ("content-language", "de"),
        ("content-disposition", "attachment"),
        ("cache-control", "no-cache"),
        ("x-amz-meta-release", "7"),
        ("x-amz-tagging", "team=a%20b&x=y"),
        ("x-amz-storage-class", "STANDARD_IA"),
    ];
    stage.put("old/k", &facts, WHOLE).await.ok();
    let kept = [
        "content-type",
        "content-encoding",
        "content-language",
        "content-disposition",
        "cache-control",
        "x-amz-meta-release",
    ];
    let of = async |key: &str| {
        let head = stage.head(key, &[]).await;
        kept.map(|name| head.header(name).to_owned())
    };
    let tags = async |key: &str| stage.get(&format!("{key}?tagging"), &[]).await.elements("Value");
    let original = of("old/k").await;
    assert_eq!(original, ["text/plain", "gzip", "de", "attachment", "no-cache", "7"]);
    assert_eq!(stage.head("old/k", &[]).await.header("x-amz-storage-class"), "STANDARD_IA");
    assert_eq!(stage.get("old/k", &[]).await.header("x-amz-tagging-count"), "2");

    let copied = stage.copy("old/k", "new/k", &[("x-amz-meta-release", "8")]).await.ok();
    assert_eq!(
        (copied.element("ChecksumCRC64NVME").as_str(), copied.element("ETag").trim_matches('"')),
        (CRC64, MD5)
    );
    assert_eq!((of("new/k").await, tags("new/k").await), (original, vec!["a b".to_owned(), "y".to_owned()]));
    // Never taken over.
    assert_eq!(stage.head("new/k", &[]).await.header("x-amz-storage-class"), "");

    stage.copy("new/k", "new/k", &[]).await.is(400, "InvalidRequest").says("copy an object to itself");

    let replaced = [
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-meta-release", "8"),
        ("x-amz-tagging-directive", "REPLACE"),
        ("x-amz-tagging", "team=b"),
        ("x-amz-storage-class", "GLACIER_IR"),
        ("x-amz-checksum-algorithm", "SHA256"),
    ];
    let copied = stage.copy("old/k", "new/k", &replaced).await.ok();
    assert_eq!(copied.element("ChecksumSHA256"), SHA256);
    assert_eq!(of("new/k").await, ["binary/octet-stream", "", "", "", "", "8"]);
    assert_eq!(tags("new/k").await, ["b"]);
    assert_eq!(stage.head("new/k", &[]).await.header("x-amz-storage-class"), "GLACIER_IR");
    stage.end();
}

#[tokio::test]
async fn what_an_upload_says_at_its_beginning_the_object_has_and_a_copy_in_one_piece_is_summed_anew() {
    let stage = Stage::start().await;
    let facts = [
        ("content-type", "text/plain"),
        ("x-amz-meta-release", "7"),
        ("x-amz-tagging", "team=a"),
        ("x-amz-storage-class", "STANDARD_IA"),
    ];
    let upload = stage.begin(&facts).await;
    upload.both().await;
    upload.complete(&[], &both()).await.is(200, "");
    let stored = stage.double.object("new", "whole").unwrap();
    assert_eq!(stored.content_type.as_deref(), Some("text/plain"));
    assert_eq!(
        (stored.metadata["release"].as_str(), stored.tags),
        ("7", vec![("team".to_owned(), "a".to_owned())])
    );
    assert_eq!((stored.storage_class.as_deref(), stored.parts), (Some("STANDARD_IA"), vec![5, 4]));
    let copied = stage.copy("new/whole", "old/whole", &[]).await.ok();
    assert_eq!(
        (copied.element("ETag").trim_matches('"'), copied.element("ChecksumCRC64NVME").as_str()),
        (MD5, CRC64)
    );
    stage.end();
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html>
#[tokio::test]
async fn versions_are_kept_read_copied_and_deleted_one_by_one() {
    let stage = Stage::start().await;
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    stage.put("new?versioning", &[], enable).await.ok();
    assert_eq!(stage.get("new?versioning", &[]).await.element("Status"), "Enabled");
    let first = stage.put("new/k", &[], "first").await.ok().header("x-amz-version-id").to_owned();
    let second = stage.put("new/k", &[], "second").await.ok().header("x-amz-version-id").to_owned();
    let deleted = stage.send("DELETE", "new/k", &[], "").await.is(204, "");
    let marker = deleted.header("x-amz-version-id").to_owned();
    assert_eq!(deleted.header("x-amz-delete-marker"), "true");
    let gone = stage.get("new/k", &[]).await.is(404, "NoSuchKey");
    assert_eq!(
        (gone.header("x-amz-delete-marker"), gone.header("x-amz-version-id")),
        ("true", marker.as_str())
    );
    stage.get(&format!("new/k?versionId={marker}"), &[]).await.is(405, "MethodNotAllowed");
    stage.get("new/k?versionId=nothing", &[]).await.is(404, "NoSuchVersion");
    assert_eq!(stage.get(&format!("new/k?versionId={first}"), &[]).await.text, "first");
    assert_eq!(stage.head(&format!("new/k?versionId={second}"), &[]).await.header("content-length"), "6");
    let copied = stage.copy(&format!("new/k?versionId={first}"), "new/copy", &[]).await.ok();
    assert_eq!(copied.header("x-amz-copy-source-version-id"), first);
    stage.copy(&format!("new/k?versionId={marker}"), "new/copy", &[]).await.is(400, "InvalidRequest");
    let listed = stage.get("new?versions&prefix=k", &[]).await;
    assert_eq!(listed.elements("VersionId").len(), 3);
    assert!(listed.elements("VersionId").contains(&marker) && listed.text.contains("<DeleteMarker>"));
    // A conditional write takes a marker for nothing.
    let third = stage
        .put("new/k", &[("if-none-match", "*")], "third")
        .await
        .ok()
        .header("x-amz-version-id")
        .to_owned();
    stage.send("DELETE", &format!("new/k?versionId={third}"), &[], "").await.is(204, "");
    stage.get("new/k", &[]).await.is(404, "NoSuchKey");
    stage.send("DELETE", &format!("new/k?versionId={marker}"), &[], "").await.is(204, "");
    assert_eq!(stage.get("new/k", &[]).await.text, "second");
    stage.end();
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
#[tokio::test]
async fn lists_come_in_pages_in_the_order_of_their_bytes() {
    let stage = Stage::with(Options { page: 2, ..Options::default() }).await;
    for key in ["b/2", "B", "\u{e9}", "a", "b/1", "b/c/3", "z z"] {
        stage.double.put("new", key, WHOLE);
    }
    let all = async |query: &str| {
        let (mut keys, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let more = if token.is_empty() { String::new() } else { format!("&continuation-token={token}") };
            let page = stage.get(&format!("new?list-type=2{query}{more}"), &[]).await.ok();
            assert!(page.element("KeyCount").parse::<usize>().unwrap() <= 2);
            // The first `Prefix` is that of the request.
            keys.extend(page.elements("Key").into_iter().chain(page.elements("Prefix").into_iter().skip(1)));
            pages += 1;
            token = page.element("NextContinuationToken");
            assert_eq!(page.element("IsTruncated"), (!token.is_empty()).to_string());
            if token.is_empty() {
                return (keys, pages);
            }
        }
    };
    assert_eq!(
        all("").await,
        (["B", "a", "b/1", "b/2", "b/c/3", "z z", "\u{e9}"].map(str::to_owned).to_vec(), 4)
    );
    assert_eq!(all("&encoding-type=url&prefix=z").await.0, ["z%20z"]);
    assert_eq!(
        all("&delimiter=/&max-keys=1").await,
        (["B", "a", "b/", "z z", "\u{e9}"].map(str::to_owned).to_vec(), 5)
    );
    assert_eq!(all("&start-after=b/1&prefix=b/").await.0, ["b/2", "b/c/3"]);
    let old = stage.get("new?marker=b/2&delimiter=", &[]).await.ok();
    assert_eq!(
        (old.elements("Key"), old.element("IsTruncated")),
        (vec!["b/c/3".to_owned(), "z z".to_owned()], "true".to_owned())
    );
    stage.get("nothing?list-type=2", &[]).await.is(404, "NoSuchBucket");
    stage.end();
}

#[tokio::test]
async fn uploads_and_parts_are_listed_in_pages_and_aborted() {
    let stage = Stage::with(Options { page: 2, smallest_part: 1, ..Options::default() }).await;
    let mut uploads = Vec::new();
    for _ in 0..3 {
        uploads.push(stage.begin(&[]).await);
    }
    let page = stage.get("new?uploads&prefix=who", &[]).await.ok();
    assert_eq!((page.elements("UploadId").len(), page.element("IsTruncated").as_str()), (2, "true"));
    let next = format!(
        "new?uploads&key-marker={}&upload-id-marker={}",
        page.element("NextKeyMarker"),
        page.element("NextUploadIdMarker")
    );
    assert_eq!(stage.get(&next, &[]).await.elements("UploadId"), [uploads[2].id.clone()]);
    assert!(stage.get("new?uploads&prefix=other", &[]).await.elements("UploadId").is_empty());
    for number in [1, 2, 7] {
        uploads[0].part(number, &[], "1").await.ok();
    }
    let parts = uploads[0].list("").await;
    assert_eq!(
        (parts.elements("PartNumber"), parts.element("NextPartNumberMarker")),
        (vec!["1".to_owned(), "2".to_owned()], "2".to_owned())
    );
    let parts = uploads[0].list("&part-number-marker=2").await;
    assert_eq!(
        (parts.elements("PartNumber"), parts.element("IsTruncated")),
        (vec!["7".to_owned()], "false".to_owned())
    );
    for upload in &uploads {
        let path = format!("new/whole?uploadId={}", upload.id);
        stage.send("DELETE", &path, &[], "").await.is(204, "");
        stage.send("DELETE", &path, &[], "").await.is(404, "NoSuchUpload");
        upload.part(1, &[], "1").await.is(404, "NoSuchUpload");
        upload.list("").await.is(404, "NoSuchUpload");
    }
    assert!(stage.double.unfinished("new").is_empty());
    stage.end();
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html>
#[tokio::test]
async fn the_attributes_list_parts_that_have_checksums() {
    let stage = Stage::start().await;
    let wanted = [("x-amz-object-attributes", "ETag,Checksum,ObjectParts,StorageClass,ObjectSize")];
    stage.double.put("new", "k", WHOLE);
    let plain = stage.get("new/k?attributes", &wanted).await.ok();
    assert_eq!((plain.element("ETag").as_str(), plain.element("ChecksumCRC64NVME").as_str()), (MD5, CRC64));
    assert_eq!(
        (plain.element("ObjectSize").as_str(), plain.element("StorageClass").as_str()),
        ("9", "STANDARD")
    );
    assert!(!plain.text.contains("ObjectParts"));
    let upload = stage.begin(&[("x-amz-checksum-algorithm", "SHA256")]).await;
    let sum = |at: usize| format!("<ChecksumSHA256>{}</ChecksumSHA256>", PART_SHA256[at]);
    for (number, body) in [(1, "12345"), (2, "6789")] {
        upload.part(number, &[("x-amz-checksum-sha256", PART_SHA256[number as usize - 1])], body).await.ok();
    }
    upload.complete(&[], &(part(1, PART_MD5[0], &sum(0)) + &part(2, PART_MD5[1], &sum(1)))).await.is(200, "");
    let parts = stage.get("new/whole?attributes", &wanted).await.ok();
    assert_eq!(
        (parts.element("PartsCount").as_str(), parts.elements("Size")),
        ("2", vec!["5".to_owned(), "4".to_owned()])
    );
    assert_eq!(parts.elements("ChecksumSHA256")[1..], PART_SHA256);
    let second = stage.get("new/whole?partNumber=2", &[]).await.is(206, "");
    assert_eq!(
        (second.text.as_str(), second.header("x-amz-mp-parts-count"), second.header("content-range")),
        ("6789", "2", "bytes 5-8/9")
    );
    stage.end();
}

#[tokio::test]
async fn reading_heeds_ranges_and_conditions() {
    let stage = Stage::start().await;
    stage.double.put("new", "k", WHOLE);
    for (range, expected, shown) in [
        ("bytes=2-4", "345", "bytes 2-4/9"),
        ("bytes=7-", "89", "bytes 7-8/9"),
        ("bytes=-2", "89", "bytes 7-8/9"),
        ("bytes=5-99", "6789", "bytes 5-8/9"),
    ] {
        let answer =
            stage.get("new/k", &[("range", range), ("x-amz-checksum-mode", "ENABLED")]).await.is(206, "");
        assert_eq!((answer.text.as_str(), answer.header("content-range")), (expected, shown));
        // The checksum is of the whole.
        assert_eq!(answer.header("x-amz-checksum-crc64nvme"), "");
    }
    let head = stage.head("new/k", &[("range", "bytes=2-4")]).await.is(206, "");
    assert_eq!((head.header("content-length"), head.header("content-range")), ("3", "bytes 2-4/9"));
    stage.get("new/k", &[("range", "bytes=9-")]).await.is(416, "InvalidRange");
    let etag = format!("\"{MD5}\"");
    assert_eq!(stage.get("new/k", &[("if-match", &etag)]).await.text, WHOLE);
    stage.get("new/k", &[("if-match", "\"other\"")]).await.is(412, "PreconditionFailed");
    assert_eq!(stage.get("new/k", &[("if-none-match", &etag)]).await.status, 304);
    assert_eq!(stage.head("new/k", &[("if-match", "\"other\"")]).await.status, 412);
    assert_eq!(stage.head("new/missing", &[]).await.status, 404);
    stage.end();
}

/// "If the `ETag` matches or if the object doesn't exist, the operation will return a 204 Success (No Content) response."
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html>
#[tokio::test]
async fn deletions_heed_the_tag_and_need_no_object() {
    let stage = Stage::start().await;
    for key in ["a", "b", "c"] {
        stage.double.put("new", key, WHOLE);
    }
    stage.send("DELETE", "new/a", &[("if-match", "\"other\"")], "").await.is(412, "PreconditionFailed");
    stage.send("DELETE", "new/a", &[("if-match", &format!("\"{MD5}\""))], "").await.is(204, "");
    stage.send("DELETE", "new/a", &[("if-match", "\"other\"")], "").await.is(204, "");
    stage.send("DELETE", "new/a", &[], "").await.is(204, "");
    let body = "<Delete><Object><Key>b</Key><ETag>\"other\"</ETag></Object><Object><Key>c</Key></Object><Object><Key>d</Key></Object></Delete>";
    let answer = stage.send("POST", "new?delete", &[], body).await.ok();
    assert_eq!(answer.element("Code"), "PreconditionFailed");
    assert_eq!(answer.elements("Deleted").len(), 2);
    assert_eq!(stage.double.keys("new"), ["b"]);
    stage.end();
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html>
#[tokio::test]
async fn owners_regions_and_those_who_are_let_in() {
    let stage = Stage::start().await;
    stage.double.put("old", "k", WHOLE);
    stage.double.set_owner("old", "999999999999");
    stage.double.set_region("old", "eu-central-1");
    let (mine, theirs) = ("123456789012", "999999999999");
    let owner = |account| [("x-amz-expected-bucket-owner", account)];
    stage.put("new/k", &owner(theirs), WHOLE).await.is(403, "AccessDenied");
    stage.put("new/k", &owner(mine), WHOLE).await.ok();
    stage.get("old/k", &owner(mine)).await.is(403, "AccessDenied");
    stage.get("old/k", &owner(theirs)).await.ok();
    let source = |account| [("x-amz-source-expected-bucket-owner", account)];
    stage.copy("old/k", "new/k", &source(mine)).await.is(403, "AccessDenied");
    stage.copy("old/k", "new/k", &source(theirs)).await.ok();
    let upload = stage.begin(&owner(mine)).await;
    stage.copy("old/k", &upload.path(1), &source(mine)).await.is(403, "AccessDenied");
    assert_eq!(stage.head("old", &[]).await.header("x-amz-bucket-region"), "eu-central-1");
    assert_eq!(stage.head("nothing", &[]).await.status, 404);
    stage.double.only_for("old", &["THEIRS"]);
    let key = |key: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential={key}/20261121/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        )
    };
    stage.get("old/k", &[("authorization", &key("OURS"))]).await.is(403, "AccessDenied");
    stage.copy("old/k", "new/k", &[("authorization", &key("OURS"))]).await.is(403, "AccessDenied");
    stage.get("old/k", &[("authorization", &key("THEIRS"))]).await.ok();
    let in_ireland = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    stage.put("other", &[], in_ireland).await.ok();
    stage.get("other?location", &[]).await.ok().says(">eu-west-1</LocationConstraint>");
    stage.put("other", &[], "").await.is(409, "BucketAlreadyOwnedByYou");
    stage.put("new", &[], "").await.is(200, "");
    stage.send("DELETE", "new", &[], "").await.is(409, "BucketNotEmpty");
    stage.send("DELETE", "other", &[], "").await.is(204, "");
    stage.end();
}

#[tokio::test]
async fn what_the_double_does_not_play_it_refuses_and_remembers() {
    let stage = Stage::start().await;
    stage.get("new?lifecycle", &[]).await.is(501, "NotImplemented");
    stage.put("new/k", &[("x-amz-object-lock-mode", "GOVERNANCE")], WHOLE).await.is(501, "NotImplemented");
    stage.put("new/k", &[("x-amz-acl", "public-read")], WHOLE).await.is(400, "AccessControlListNotSupported");
    assert_eq!(stage.double.refused(), ["GET /new?lifecycle", "PUT /new/k"]);
}

#[tokio::test]
async fn large_bodies_lie_in_files_and_a_server_for_measurements_forgets_them() {
    let large = "0123456789abcdef".repeat(200_000);
    let stage = Stage::start().await;
    stage.put("old/k", &[], &large).await.ok();
    stage.copy("old/k", "new/k", &[]).await.ok();
    let answer = stage.get("new/k", &[("range", "bytes=1600000-1600017")]).await;
    assert_eq!(answer.text, "0123456789abcdef01");
    assert_eq!(stage.get("new/k", &[]).await.text, large);
    stage.double.corrupt("new", "k", 17);
    assert_eq!(stage.get("new/k", &[("range", "bytes=16-19")]).await.text, "0023");
    stage.double.forget_checksum("new", "k");
    assert_eq!(
        stage.head("new/k", &[("x-amz-checksum-mode", "ENABLED")]).await.header("x-amz-checksum-crc64nvme"),
        ""
    );
    stage.end();

    let stage =
        Stage::with(Options { bodies: Bodies::DiscardAbove(10), md5: false, ..Options::default() }).await;
    stage.put("new/k", &[("x-amz-checksum-crc64nvme", CRC64)], WHOLE).await.ok();
    assert_eq!(stage.get("new/k", &[]).await.text, WHOLE);
    stage.put("new/large", &[("x-amz-checksum-crc64nvme", CRC64)], &large).await.is(400, "BadDigest");
    stage.put("new/large", &[], &large).await.ok();
    assert_eq!(stage.head("new/large", &[]).await.header("content-length"), "3200000");
    stage.get("new/large", &[]).await.is(501, "NotImplemented");
}

#[tokio::test]
async fn behind_the_front_its_calls_are_recorded_and_struck_by_faults() {
    let stage = Stage::start().await;
    let front = Front::builder().upstream_for("s3", stage.double.url()).start().await.unwrap();
    let url = format!("{}/new/k", front.url());
    let signed = "AWS4-HMAC-SHA256 Credential=AKIA/20261121/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    let put = async || {
        let request =
            stage.client.put(&url).header("authorization", signed).header("x-amz-checksum-crc64nvme", CRC64);
        request.body(WHOLE).send().await.map(|answer| answer.status().as_u16())
    };
    front.set_faults([Fault::error("s3:PutObject#2", 503, "SlowDown", "Please reduce your request rate.")]);
    assert_eq!((put().await.unwrap(), put().await.unwrap()), (200, 503));
    let recorded: Vec<_> = front.calls().iter().map(|call| (call.name(), call.status)).collect();
    assert_eq!(recorded, [("s3:PutObject".to_owned(), Some(200)), ("s3:PutObject".to_owned(), Some(503))]);
    assert_eq!(stage.double.object("new", "k").unwrap().body, WHOLE.as_bytes());
    stage.end();
}
