//! Times, durations and long texts for people.

use time::{Duration, OffsetDateTime, UtcOffset};

/// The time of day where all is of one day, else with the date. UTC.
pub(crate) fn moment(time: OffsetDateTime, one_day: bool) -> String {
    let time = time.to_offset(UtcOffset::UTC);
    let clock = format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    if one_day { clock } else { format!("{} {clock}", time.date()) }
}

/// How long something took, as exactly as anybody wants to know.
pub(crate) fn duration(took: Duration) -> String {
    let seconds = took.whole_seconds();
    if seconds < 0 {
        return "unknown: the clock went back".to_owned();
    }
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}.{} s", took.subsec_milliseconds() / 100),
        (0, 0, _) => format!("{minutes} min {:02} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours:02} h {minutes:02} min"),
    }
}

/// Text of at most so many characters.
pub(crate) fn clip(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((at, _)) => format!("{} … (cut)", text.get(..at).unwrap_or_default().trim_end()),
    }
}
