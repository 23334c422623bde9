//! The only place of the shell that reads the wall clock.
//!
//! Everything that decides takes the time as an argument; the drivers around it ask here.

use chrono::{DateTime, Days, Local, NaiveTime, TimeZone, Utc};

/// Microseconds since the Unix epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub(crate) struct Micros(pub(crate) i64);

impl Micros {
    pub(crate) const fn plus_secs(self, seconds: i64) -> Micros {
        Micros(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// How long from `earlier` to here; nothing when that lies in the future.
    pub(crate) fn since(self, earlier: Micros) -> std::time::Duration {
        std::time::Duration::from_micros(
            u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0),
        )
    }
}

/// The time now.
#[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
fn utc_now() -> DateTime<Utc> {
    Utc::now()
}

pub(crate) fn now() -> Micros {
    Micros(utc_now().timestamp_micros())
}

/// Tomorrow at six in the morning, on this machine's clock: when a pause "until tomorrow" ends.
pub(crate) fn tomorrow_morning() -> Micros {
    tomorrow_after(&utc_now().with_timezone(&Local))
}

fn tomorrow_after<Zone: TimeZone>(now: &DateTime<Zone>) -> Micros {
    let six = NaiveTime::from_hms_opt(6, 0, 0).unwrap_or_default();
    let morning = now.date_naive().checked_add_days(Days::new(1)).map(|day| day.and_time(six));
    // A daylight-saving change may make six o'clock ambiguous or skip it; the earliest reading, else a plain day.
    let at = morning.and_then(|morning| morning.and_local_timezone(now.timezone()).earliest());
    Micros(at.map_or_else(|| now.timestamp_micros() + 86_400_000_000, |at| at.timestamp_micros()))
}

/// `14:05`, local time.
pub(crate) fn hour_and_minute(at: Micros) -> String {
    match DateTime::<Utc>::from_timestamp_micros(at.0) {
        Some(at) => at.with_timezone(&Local).format("%H:%M").to_string(),
        None => String::new(),
    }
}

/// `2026-11-23T09-44-05Z`: for names of files.
pub(crate) fn file_stamp() -> String {
    utc_now().format("%Y-%m-%dT%H-%M-%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tomorrow_is_the_next_day_at_six() {
        let now = Utc.with_ymd_and_hms(2026, 11, 23, 23, 59, 0).unwrap();
        let morning = DateTime::<Utc>::from_timestamp_micros(tomorrow_after(&now).0).unwrap();
        assert_eq!(morning, Utc.with_ymd_and_hms(2026, 11, 24, 6, 0, 0).unwrap());
        let early = Utc.with_ymd_and_hms(2026, 11, 23, 0, 1, 0).unwrap();
        let morning = DateTime::<Utc>::from_timestamp_micros(tomorrow_after(&early).0).unwrap();
        assert_eq!(morning, Utc.with_ymd_and_hms(2026, 11, 24, 6, 0, 0).unwrap());
    }
}
