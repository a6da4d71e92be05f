//! Checksums as S3 has them: of an object, of its parts, and of the parts together.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// What the checksum of an object that was uploaded in parts is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of the object's bytes.
    FullObject,
    /// Of the checksums of its parts, one after the other.
    Composite,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The name in the header and in S3's messages: `crc64nvme`.
    pub(super) fn lower(self) -> String {
        self.name().to_ascii_lowercase()
    }

    /// The algorithm whose checksum a header or trailer of this name carries.
    pub(super) fn of_header(name: &str) -> Option<Self> {
        name.strip_prefix("x-amz-checksum-").and_then(Self::named)
    }

    /// The kind that an upload in parts has where it names none. A CRC64NVME is always of the whole, a SHA never.
    pub(super) fn usual_kind(self) -> Kind {
        if self == Self::Crc64Nvme { Kind::FullObject } else { Kind::Composite }
    }

    pub(super) fn can_be(self, kind: Kind) -> bool {
        match self {
            Self::Crc64Nvme => kind == Kind::FullObject,
            Self::Crc32 | Self::Crc32c => true,
            Self::Sha1 | Self::Sha256 => kind == Kind::Composite,
        }
    }

    /// The checksum of the whole from those of its parts, each with its length; `None` where only the bytes could tell.
    pub(super) fn combined<'a>(self, parts: impl IntoIterator<Item = (&'a [u8], u64)>) -> Option<Vec<u8>> {
        let (crc, width) = match self {
            Self::Crc32 => (CrcAlgorithm::Crc32IsoHdlc, 4),
            Self::Crc32c => (CrcAlgorithm::Crc32Iscsi, 4),
            Self::Crc64Nvme => (CrcAlgorithm::Crc64Nvme, 8),
            Self::Sha1 | Self::Sha256 => return None,
        };
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        let mut parts = parts.into_iter();
        let (first, _) = parts.next()?;
        let whole = parts.fold(number(first), |sum, (next, length)| {
            crc_fast::checksum_combine(crc, sum, number(next), length)
        });
        whole.to_be_bytes().get(8 - width..).map(<[u8]>::to_vec)
    }

    /// The checksum of checksums.
    pub(super) fn composite<'a>(self, parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut hasher = Hasher::new(self);
        for part in parts {
            hasher.update(part);
        }
        hasher.finish()
    }
}

pub(super) enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc32 => Self::Crc32(Crc32::new()),
            Algorithm::Crc32c => Self::Crc32c(Crc32c::new()),
            Algorithm::Crc64Nvme => Self::Crc64Nvme(Crc64Nvme::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Crc32(hasher) => hasher.update(data),
            Self::Crc32c(hasher) => hasher.update(data),
            Self::Crc64Nvme(hasher) => hasher.update(data),
            Self::Sha1(hasher) => hasher.update(data),
            Self::Sha256(hasher) => hasher.update(data),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc32(hasher) => hasher.finalize().to_vec(),
            Self::Crc32c(hasher) => hasher.finalize().to_vec(),
            Self::Crc64Nvme(hasher) => hasher.finalize().to_vec(),
            Self::Sha1(hasher) => hasher.finalize().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// The checksum that S3 keeps with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checksum {
    pub(super) algorithm: Algorithm,
    pub(super) kind: Kind,
    /// As the API writes it: Base64, and for a composite `-` and the number of parts.
    pub(super) value: String,
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The entity tag of an object made of parts: the MD5 of their MD5s, and how many they are.
pub(super) fn etag_of_parts<'a>(parts: impl ExactSizeIterator<Item = &'a [u8]>) -> String {
    let number = parts.len();
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part);
    }
    format!("{}-{number}", kit::hex(hasher.finalize().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: Algorithm, data: &[u8]) -> Vec<u8> {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }

    /// The check values of the catalogue, of "123456789".
    /// <https://reveng.sourceforge.io/crc-catalogue/all.htm>
    #[test]
    fn the_catalogues_check_values() {
        let check = |algorithm| kit::hex(&sum(algorithm, b"123456789"));
        assert_eq!(check(Algorithm::Crc32), "cbf43926");
        assert_eq!(check(Algorithm::Crc32c), "e3069283");
        assert_eq!(check(Algorithm::Crc64Nvme), "ae8b14860a799888");
    }

    #[test]
    fn parts_combine_to_the_whole() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let parts = [&b"1234"[..], b"", b"56789"].map(|part| (sum(algorithm, part), part.len() as u64));
            let combined = algorithm.combined(parts.iter().map(|(sum, length)| (sum.as_slice(), *length)));
            assert_eq!(combined, Some(sum(algorithm, b"123456789")), "{algorithm:?}");
        }
        assert_eq!(Algorithm::Sha256.combined([(&b""[..], 0)]), None);
    }
}
