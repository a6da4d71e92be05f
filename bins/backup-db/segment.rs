//! Positions in the write-ahead log, and the names of its segments: pure.
//!
//! <https://www.postgresql.org/docs/current/wal-internals.html>,
//! <https://www.postgresql.org/docs/current/datatype-pg-lsn.html>

/// `16/B374D848`: the upper and the lower half of a position.
pub(crate) fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let half = |digits: &str| u32::from_str_radix(digits, 16).ok().map(u64::from);
    Some(half(high)? << 32 | half(low)?)
}

/// The name of the segment with this number, counted from the beginning of the log, where segments have `size` bytes.
pub(crate) fn name(timeline: u32, number: u64, size: u64) -> String {
    let per_log = per_log(size);
    format!("{timeline:08X}{:08X}{:08X}", number / per_log, number % per_log)
}

/// The timeline and the number of a segment of this name.
pub(crate) fn parse(name: &str, size: u64) -> Option<(u32, u64)> {
    let part = |from: usize| u32::from_str_radix(name.get(from..from + 8)?, 16).ok();
    let plain =
        name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    let (timeline, log, within) = (part(0)?, u64::from(part(8)?), u64::from(part(16)?));
    (plain && within < per_log(size)).then(|| (timeline, log * per_log(size) + within))
}

fn per_log(size: u64) -> u64 {
    (1_u64 << 32) / size.clamp(1 << 20, 1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn segments_are_named_as_the_server_does() {
        assert_eq!(name(1, 2, 16 * MIB), "000000010000000000000002");
        assert_eq!(name(3, 0x1_02, 16 * MIB), "000000030000000100000002");
        // The position is the example of the documentation of pg_lsn.
        assert_eq!(name(1, lsn("16/B374D848").unwrap() / (16 * MIB), 16 * MIB), "0000000100000016000000B3");
        assert_eq!(lsn("0/2000028"), Some(0x200_0028));
        assert_eq!((lsn("2000028"), lsn("x/1")), (None, None));
    }

    #[test]
    fn a_name_is_read_back_and_what_is_none_is_not() {
        for size in [MIB, 16 * MIB, 1 << 30] {
            for number in [0, 1, 255, 256, 70_000] {
                assert_eq!(parse(&name(7, number, size), size), Some((7, number)));
            }
        }
        for wrong in [
            "00000001000000000000000",
            "00000001000000000000000g",
            "000000010000000000000100",
            "00000002.history",
        ] {
            assert_eq!(parse(wrong, 16 * MIB), None, "{wrong}");
        }
    }
}
