//! Checksums of a stream that is seen once.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use crc_fast::CrcAlgorithm::Crc64Nvme;
use serde::Serialize;

/// What identifies a stream of bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// How many.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// CRC-64/NVME as S3 writes it: base64 of the eight bytes, most significant first.
    pub crc64nvme: String,
}

/// SHA-256 of a stream, as fast as the processor can.
#[derive(Clone)]
pub struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256 {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Adds what comes next.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum of all that went by.
    pub fn finish(self) -> [u8; 32] {
        let mut sum = [0; 32];
        sum.copy_from_slice(self.0.finish().as_ref());
        sum
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256")
    }
}

/// Sums a stream up while it goes by.
#[derive(Clone, Debug)]
pub struct Hasher {
    bytes: u64,
    sha256: Sha256,
    crc: crc_fast::Digest,
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl Hasher {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self { bytes: 0, sha256: Sha256::new(), crc: crc_fast::Digest::new(Crc64Nvme) }
    }

    /// Adds what comes next.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        self.crc.update(bytes);
    }

    /// How many bytes went by.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The sums of all that went by.
    pub fn finish(self) -> Sum {
        Sum {
            bytes: self.bytes,
            sha256: kit::hex(&self.sha256.finish()),
            crc64nvme: base64(self.crc.finalize()),
        }
    }
}

/// A CRC-64 as S3's headers carry it.
pub fn base64(crc: u64) -> String {
    base64::engine::general_purpose::STANDARD.encode(crc.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of FIPS 180-2, appendix B.1; CRC-64/NVME's check value
    /// (<https://reveng.sourceforge.io/crc-catalogue/all.htm#crc.cat.crc-64-nvme>).
    #[test]
    fn sums_are_the_published_ones() {
        let mut hasher = Hasher::new();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(
            hasher.finish().sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let mut hasher = Hasher::new();
        hasher.update(b"123456789");
        let sum = hasher.finish();
        assert_eq!((sum.bytes, sum.crc64nvme), (9, base64(0xae8b_1486_0a79_9888)));
    }
}
