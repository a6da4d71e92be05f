//! Small pieces of text that every step writes the same way: numbers, sizes, times and ages as a person reads them.

use time::OffsetDateTime;

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `1 change`, `2 changes`: for nouns whose plural ends in `s` alone.
pub fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// At most so many characters, and `…` where some are left out.
pub fn clip(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
    }
}

/// `2026-11-21 17:05:09 UTC`
pub fn minute(at: OffsetDateTime) -> String {
    let (hour, minute, second) = at.to_hms();
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", at.date())
}

/// Bytes as a person reads them, in binary units.
pub fn size(bytes: u64) -> String {
    let mut unit = "B";
    let mut tenths = u128::from(bytes) * 10;
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

/// An age, without the parts that nobody wants to read.
pub fn age(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600, seconds / 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_written_one_way() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
        assert_eq!(
            [counted(0, "file"), counted(1, "file"), counted(2, "file")],
            ["0 files", "1 file", "2 files"]
        );
        assert_eq!([clip("äöü", 3), clip("äöü", 2), clip("", 0)], ["äöü", "äö…", ""]);
    }
}
