//! How large the parts of a multipart upload are.
//!
//! Memory is a few parts, so parts should be small; an upload has at most 10,000 of them and nobody knows how long a
//! dump will be, so they must grow. The first half of the parts is sized after the database, which a compressed dump
//! rarely exceeds; should it do so, sizes double every 500 parts.
//!
//! Limits: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.

const MIB: u64 = 1 << 20;
/// Where a small database starts; S3's own minimum is 5 MiB.
const SMALLEST: u64 = 8 * MIB;
/// S3's maximum.
const LARGEST: u64 = 5 << 30;
/// S3's maximum number of parts.
pub const MOST_PARTS: u32 = 10_000;
/// Parts of the first size, sized so that the estimate fits into them.
const EVEN: u32 = 5_000;
/// After [`EVEN`] parts the size doubles every so many.
const STRIDE: u32 = 500;

/// The sizes of the parts of one upload.
#[derive(Clone, Copy, Debug)]
pub struct PartSizes {
    first: u64,
}

impl PartSizes {
    /// For a stream of about `bytes`.
    pub fn for_about(bytes: u64) -> Self {
        let even = bytes.div_ceil(u64::from(EVEN)).next_multiple_of(MIB);
        Self { first: even.clamp(SMALLEST, LARGEST) }
    }

    /// The first parts have `first` bytes, whatever S3 thinks of it.
    pub fn starting_with(first: u64) -> Self {
        Self { first }
    }

    /// The size in bytes of the part `number`, counted from 1; only the last part may be smaller.
    pub fn of(self, number: u32) -> u64 {
        let doublings = number.saturating_sub(EVEN).div_ceil(STRIDE);
        self.first.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX)).min(LARGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;

    fn capacity(sizes: PartSizes) -> u64 {
        (1..=MOST_PARTS).map(|number| sizes.of(number)).sum()
    }

    #[test]
    fn ten_thousand_parts_hold_five_tebibytes_whatever_the_estimate_said() {
        for estimate in [0, GIB, 100 * GIB, TIB, 5 * TIB] {
            let sizes = PartSizes::for_about(estimate);
            assert!(capacity(sizes) >= 5 * TIB, "{estimate}: {}", capacity(sizes));
        }
    }

    #[test]
    fn a_dump_as_large_as_its_database_never_sees_parts_grow() {
        for (estimate, part) in
            [(0, 8 * MIB), (39 * GIB, 8 * MIB), (100 * GIB, 21 * MIB), (5 * TIB, 1049 * MIB)]
        {
            let sizes = PartSizes::for_about(estimate);
            assert_eq!((sizes.of(1), sizes.of(EVEN)), (part, part));
            assert!(u64::from(EVEN) * part >= estimate);
        }
    }

    #[test]
    fn sizes_never_shrink_and_stay_within_the_limits_of_s3() {
        let sizes = PartSizes::for_about(0);
        let all: Vec<u64> = (1..=MOST_PARTS).map(|number| sizes.of(number)).collect();
        assert!(all.is_sorted());
        assert!(all.iter().all(|size| (5 * MIB..=5 * GIB).contains(size)));
        assert_eq!((sizes.of(EVEN + 1), sizes.of(EVEN + 501)), (16 * MIB, 32 * MIB));
    }
}
