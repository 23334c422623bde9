//! Times in a query: dates, times of day, and how long ago.

use chrono::{DateTime, Days, NaiveDate, NaiveTime};

const MINUTE_US: i64 = 60_000_000;
/// The first and the last instant that a query can name: the years 1 to 9999, which a date writes in four digits.
const FIRST_US: i64 = -62_135_596_800_000_000;
const LAST_US: i64 = 253_402_300_799_999_999;

/// What a query's times count from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Microseconds since the Unix epoch.
    pub(super) now_us: i64,
    /// Minutes east of UTC.
    pub(super) tz_minutes: i32,
}

impl Clock {
    /// The instant that `text` names, microseconds since the Unix epoch; or what to write instead.
    pub(super) fn time(self, text: &str) -> Result<i64, String> {
        self.named_day(text).or_else(|| self.date_time(text)).ok_or_else(|| {
            format!(
                "`{text}` is no time; write 2026-11-01, 2026-11-01T14:30, \"2026-11-01 14:30:05\", with Z or +02:00 \
                 behind it if it is not your time zone's, or today or yesterday"
            )
        })
    }

    /// The instant that lies `text` back, as in `1h30m`.
    pub(super) fn ago(self, text: &str) -> Result<i64, String> {
        let back = duration_us(text).ok_or_else(|| {
            format!("`{text}` is no length of time; write a number and s, m, h, d or w, as in 90s, 2h or 1h30m")
        })?;
        Ok(within_years(self.now_us.saturating_sub(back)))
    }

    fn zone_us(self) -> i64 {
        i64::from(self.tz_minutes) * MINUTE_US
    }

    fn named_day(self, text: &str) -> Option<i64> {
        let local_now = self.now_us.saturating_add(self.zone_us());
        let today = DateTime::from_timestamp_micros(local_now)?.date_naive();
        let day = if text.eq_ignore_ascii_case("today") {
            today
        } else if text.eq_ignore_ascii_case("yesterday") {
            today.checked_sub_days(Days::new(1))?
        } else {
            return None;
        };
        Some(instant(day, NaiveTime::MIN, self.zone_us()))
    }

    fn date_time(self, text: &str) -> Option<i64> {
        let text = text.trim();
        let (date, rest) = match text.find(['T', 't', ' ']) {
            Some(at) => (&text[..at], Some(text[at + 1..].trim_start())),
            None => (text, None),
        };
        // The library also takes signs and white space here.
        if !date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            return None;
        }
        let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
        let Some(rest) = rest else {
            return Some(instant(date, NaiveTime::MIN, self.zone_us()));
        };
        let (time, zone_us) = match rest.find(['Z', 'z', '+', '-']) {
            Some(at) => (rest[..at].trim_end(), zone_us(&rest[at..])?),
            None => (rest, self.zone_us()),
        };
        let time = NaiveTime::parse_from_str(time, "%H:%M")
            .or_else(|_| NaiveTime::parse_from_str(time, "%H:%M:%S%.f"))
            .ok()?;
        Some(instant(date, time, zone_us))
    }
}

fn instant(date: NaiveDate, time: NaiveTime, zone_us: i64) -> i64 {
    within_years(date.and_time(time).and_utc().timestamp_micros().saturating_sub(zone_us))
}

/// No row is older or younger than that, so moving a bound there changes nothing.
fn within_years(at_us: i64) -> i64 {
    at_us.clamp(FIRST_US, LAST_US)
}

/// `Z`, `+02:00`, `+0200` or `+02`.
fn zone_us(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replacen(':', "", 1);
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hours: i64 = digits[..2].parse().ok()?;
    let minutes: i64 = if digits.len() == 4 { digits[2..].parse().ok()? } else { 0 };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * MINUTE_US)
}

fn duration_us(text: &str) -> Option<i64> {
    let mut total: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes()[digits].to_ascii_lowercase() {
            b's' => MINUTE_US / 60,
            b'm' => MINUTE_US,
            b'h' => 60 * MINUTE_US,
            b'd' => 24 * 60 * MINUTE_US,
            b'w' => 7 * 24 * 60 * MINUTE_US,
            _ => return None,
        };
        total = total.saturating_add(number.saturating_mul(unit));
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(total)
}

/// An instant as [`Clock::time`] reads it, in whatever zone: `2026-11-01T14:30:00Z`.
pub(super) fn shown(at_us: i64) -> String {
    // Inside these years the library has an answer.
    let at = DateTime::from_timestamp_micros(within_years(at_us)).unwrap_or_default();
    let format =
        if at_us % 1_000_000 == 0 { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%.6fZ" };
    at.format(format).to_string()
}
