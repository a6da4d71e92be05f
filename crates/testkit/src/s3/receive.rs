//! Taking a body in, and judging it by what the request says of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use s3s::crypto::{Checksum as _, Md5, Sha256};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::body::{Body, Sink};
use super::sums::{Algorithm, Hasher, base64};
use super::{Arrival, Options, invalid_request};

/// What a request says of its body.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    pub(super) length: Option<i64>,
    /// Base64.
    pub(super) md5: Option<String>,
    /// From the headers, in Base64.
    pub(super) checksums: Vec<(Algorithm, String)>,
    pub(super) arrival: Arrival,
}

/// A checksum that the request has, in a header or in a trailer to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    Header(Algorithm, String),
    Trailer(Algorithm),
}

impl Claimed {
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Header(algorithm, _) | Self::Trailer(algorithm) => *algorithm,
        }
    }
}

impl Claims {
    /// The one checksum of the request.
    pub(super) fn checksum(&self) -> S3Result<Option<Claimed>> {
        let headers =
            self.checksums.iter().map(|(algorithm, value)| Claimed::Header(*algorithm, value.clone()));
        let trailers = self.arrival.announced.iter().filter_map(|name| Algorithm::of_header(name));
        let mut all = headers.chain(trailers.map(Claimed::Trailer));
        let first = all.next();
        if all.next().is_some() {
            return Err(invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        Ok(first)
    }
}

pub(super) struct Received {
    pub(super) body: Body,
    /// Of the data, or made up where the double is not to take MD5s.
    pub(super) md5: Vec<u8>,
    pub(super) checksum: Vec<u8>,
}

/// Reads the body to its end and refuses it where it is not what the request says it is.
///
/// `algorithm` is that of the checksum kept. An error leaves nothing behind.
pub(super) async fn receive(
    options: &Options,
    body: &mut Option<StreamingBlob>,
    claims: &Claims,
    claimed: Option<&Claimed>,
    algorithm: Algorithm,
    unique: &str,
) -> S3Result<Received> {
    let mut sink = Sink::new(options.bodies);
    let mut hasher = Hasher::new(algorithm);
    let mut md5 = (options.md5 || claims.md5.is_some()).then(Md5::new);
    let mut sha256 = claims.arrival.content_sha256.is_some().then(Sha256::new);
    if let Some(stream) = body {
        while let Some(data) = stream.next().await {
            let data = data.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
            if sink.length() + data.len() as u64 > options.largest_put {
                return Err(s3_error!(
                    EntityTooLarge,
                    "Your proposed upload exceeds the maximum allowed size"
                ));
            }
            hasher.update(&data);
            if let Some(md5) = &mut md5 {
                md5.update(&data);
            }
            if let Some(sha256) = &mut sha256 {
                sha256.update(&data);
            }
            sink.write(&data).map_err(super::internal)?;
        }
    }
    if claims.length.is_some_and(|length| u64::try_from(length) != Ok(sink.length())) {
        return Err(s3_error!(
            IncompleteBody,
            "You did not provide the number of bytes specified by the Content-Length HTTP header"
        ));
    }
    let checksum = hasher.finish();
    if let Some(claimed) = claimed {
        compare(claimed, &claims.arrival, &checksum)?;
    }
    if let (Some(expected), Some(found)) = (&claims.arrival.content_sha256, sha256)
        && !kit::hex(found.finalize().as_ref()).eq_ignore_ascii_case(expected)
    {
        let mut error = S3Error::with_message(
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        );
        error.set_status_code(http::StatusCode::BAD_REQUEST);
        return Err(error);
    }
    let md5 = md5.map(|md5| md5.finalize().to_vec());
    if let (Some(expected), Some(found)) = (&claims.md5, &md5) {
        if STANDARD.decode(expected).map_or(0, |digest| digest.len()) != found.len() {
            return Err(s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid."));
        }
        if *expected != base64(found) {
            return Err(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            ));
        }
    }
    let md5 = md5.unwrap_or_else(|| {
        let mut made_up = Md5::new();
        made_up.update(unique.as_bytes());
        made_up.finalize().to_vec()
    });
    Ok(Received { body: sink.finish(), md5, checksum })
}

/// Reads what is left of a body that was refused: a connection closed in the middle of it would be a reset to the client, which
/// would not see the refusal.
pub(super) async fn drain(body: &mut Option<StreamingBlob>) {
    if let Some(stream) = body {
        while let Some(Ok(_)) = stream.next().await {}
    }
}

fn compare(claimed: &Claimed, arrival: &Arrival, found: &[u8]) -> S3Result {
    let algorithm = claimed.algorithm();
    let expected = match claimed {
        Claimed::Header(_, value) => value.clone(),
        Claimed::Trailer(_) => {
            let name = format!("x-amz-checksum-{}", algorithm.lower());
            arrival.trailers.get(&name).ok_or_else(|| {
                let mut error = S3Error::with_message(
                    S3ErrorCode::Custom("MalformedTrailerError".into()),
                    "The request contained trailing data that was not well-formed or did not conform to our published schema.",
                );
                error.set_status_code(http::StatusCode::BAD_REQUEST);
                error
            })?
        }
    };
    is_checksum(algorithm, &expected, found.len())?;
    if expected == base64(found) { Ok(()) } else { Err(bad_digest(algorithm)) }
}

fn is_checksum(algorithm: Algorithm, value: &str, length: usize) -> S3Result {
    if STANDARD.decode(value).is_ok_and(|bytes| bytes.len() == length) {
        return Ok(());
    }
    Err(invalid_request(format!("Value for x-amz-checksum-{} header is invalid.", algorithm.lower())))
}

pub(super) fn bad_digest(algorithm: Algorithm) -> S3Error {
    let message = format!("The {} you specified did not match the calculated checksum.", algorithm.name());
    S3Error::with_message(S3ErrorCode::BadDigest, message)
}
