//! Until when a certificate is valid. Pure.

use time::{Date, Month, OffsetDateTime, Time};

/// The tags that are walked through: <https://www.itu.int/rec/T-REC-X.690>.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of the validity (`notAfter`) of a certificate in DER; none where it is no certificate.
///
/// Source: <https://www.rfc-editor.org/rfc/rfc5280#section-4.1>
pub(crate) fn not_after(der: &[u8]) -> Option<OffsetDateTime> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (mut fields, _) = expect(certificate, SEQUENCE)?;
    // Version, which may be absent, serial number, signature and issuer stand before the validity.
    if *fields.first()? == VERSION {
        fields = element(fields)?.2;
    }
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (validity, _) = expect(fields, SEQUENCE)?;
    let (_, _, after) = element(validity)?;
    let (tag, text, _) = element(after)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// Tag, content, and what comes after.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let bytes;
        (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        length = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn expect(input: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    element(input).filter(|(tag, ..)| *tag == wanted).map(|(_, content, rest)| (content, rest))
}

/// Source: <https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5>
fn time(tag: u8, text: &str) -> Option<OffsetDateTime> {
    let text = text.strip_suffix('Z').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i32 = text.get(..2)?.parse().ok()?;
            (year + if year >= 50 { 1900 } else { 2000 }, text.get(2..)?)
        }
        (GENERALIZED_TIME, 14) => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(two(0)?).ok()?, two(2)?).ok()?;
    Some(date.with_time(Time::from_hms(two(4)?, two(6)?, two(8)?).ok()?).assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate as short as the walk needs it, with this end of its validity.
    fn certificate(version: &[u8], end: &[u8]) -> Vec<u8> {
        let wrap = |content: &[u8]| {
            // The long form of a length, as every certificate of some size has it.
            let mut out = vec![SEQUENCE, 0x82, 0, u8::try_from(content.len()).unwrap()];
            out.extend_from_slice(content);
            out
        };
        let start = b"\x17\x0d200101000000Z";
        let validity = wrap(&[start, end].concat());
        wrap(&wrap(&[version, b"\x02\x01\x07", b"\x30\x00", b"\x30\x00", &validity, b"\x30\x00"].concat()))
    }

    #[test]
    fn both_spellings_of_a_time_are_read() {
        let version = b"\xa0\x03\x02\x01\x02";
        for (end, seconds) in [
            (&b"\x17\x0d170714024000Z"[..], 1_500_000_000),
            (b"\x17\x0d500101000000Z", -631_152_000),
            (b"\x18\x0f20961002070640Z", 4_000_000_000),
        ] {
            for version in [&version[..], b""] {
                let ends = not_after(&certificate(version, end)).unwrap();
                assert_eq!(ends.unix_timestamp(), seconds);
            }
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = certificate(b"", b"\x17\x0d170714024000Z");
        for cut in 0..whole.len() - 2 {
            assert_eq!(not_after(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(not_after(&certificate(b"", b"\x17\x0d171314024000Z")), None, "there is no month 13");
        assert_eq!(not_after(&certificate(b"", b"\x17\x0b1707140240Z")), None);
        assert_eq!(not_after(b"\x30\x84\xff\xff\xff\xff"), None);
    }
}
