//! Dates and times of day, in the forms that installers, loggers and kernels write.
//!
//! A date takes its time and zone with it, so that one moment is one placeholder however precise it is.

const MONTHS: &[&str] =
    &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const ZONES: &[&str] =
    &["UTC", "GMT", "Z", "CET", "CEST", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT"];

/// The end of the moment that starts at `from`, the first letter or digit of a token.
pub(super) fn end(text: &str, from: usize) -> Option<usize> {
    let reader = Reader { text, bytes: text.as_bytes() };
    if text.as_bytes()[from].is_ascii_digit() { reader.numeric(from) } else { reader.named(from) }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn byte(self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    /// The value and end of `least` to `most` digits at `at` that no further digit follows.
    fn digits(self, at: usize, least: usize, most: usize) -> Option<(u32, usize)> {
        let rest = self.bytes.get(at..)?;
        let length = rest.iter().take(most + 1).take_while(|byte| byte.is_ascii_digit()).count();
        if !(least..=most).contains(&length) {
            return None;
        }
        Some((self.text[at..at + length].parse().ok()?, at + length))
    }

    fn range(
        self,
        at: usize,
        digits: (usize, usize),
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<usize> {
        let (value, end) = self.digits(at, digits.0, digits.1)?;
        range.contains(&value).then_some(end)
    }

    fn one_of(self, at: usize, bytes: &[u8]) -> Option<usize> {
        self.byte(at).filter(|byte| bytes.contains(byte)).map(|_| at + 1)
    }

    /// Behind blanks at `at`, of which there must be one.
    fn blanks(self, at: usize) -> Option<usize> {
        let rest = self.bytes.get(at..)?;
        let length = rest.iter().take(4).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        (length > 0).then_some(at + length)
    }

    fn ends_word(self, at: usize) -> bool {
        !self.byte(at).is_some_and(|byte| byte.is_ascii_alphanumeric())
    }

    /// A name of three letters, or the whole word it abbreviates.
    fn name(self, at: usize, names: &[&str]) -> Option<usize> {
        let start = self.text.get(at..at + 3)?;
        if !names.iter().any(|name| name.eq_ignore_ascii_case(start)) {
            return None;
        }
        let rest = &self.bytes[at + 3..];
        let end = at + 3 + rest.iter().take(8).take_while(|byte| byte.is_ascii_lowercase()).count();
        const WHOLE: &[&str] = &[
            "january",
            "february",
            "march",
            "april",
            "june",
            "july",
            "august",
            "september",
            "sept",
            "october",
            "november",
            "december",
            "monday",
            "tuesday",
            "wednesday",
            "thursday",
            "friday",
            "saturday",
            "sunday",
        ];
        let word = &self.text[at..end];
        (word.len() == 3 || WHOLE.iter().any(|whole| whole.eq_ignore_ascii_case(word)))
            .then_some(end)
            .filter(|end| !self.byte(*end).is_some_and(|byte| byte.is_ascii_alphabetic()))
    }

    /// A moment that starts with a digit.
    fn numeric(self, from: usize) -> Option<usize> {
        // Most numbers are none: a date's or time's first number is short and something joins it to the next.
        let (_, first) = self.digits(from, 1, 4).or_else(|| self.digits(from, 8, 8))?;
        let next = self.byte(first)?;
        if first - from == 8 {
            return self.compact(from, first);
        }
        match next {
            b':' => self.time(from),
            b'-' | b'/' | b'.' => self.date(from).map(|end| self.with_time(end)),
            b' ' => {
                // "26 Nov 2026" and "26 Nov 18:00:42"
                let day = self.range(from, (1, 2), 1..=31)?;
                let month = self.name(self.blanks(day)?, MONTHS)?;
                let after = self.blanks(month)?;
                let year =
                    self.range(after, (4, 4), 1900..=2199).filter(|end| self.ends_word(*end));
                year.map(|end| self.with_time(end)).or_else(|| self.time(after))
            }
            _ => None,
        }
    }

    /// `20261126T180042Z`, `20261126-180042` and `20261126-18:00:42`.
    fn compact(self, from: usize, end: usize) -> Option<usize> {
        let in_time = |digits: &str, range: std::ops::RangeInclusive<u32>| {
            digits.parse::<u32>().is_ok_and(|value| range.contains(&value))
        };
        let (year, month, day) =
            (&self.text[from..from + 4], &self.text[from + 4..from + 6], &self.text[from + 6..end]);
        if !in_time(year, 1900..=2199) || !in_time(month, 1..=12) || !in_time(day, 1..=31) {
            return None;
        }
        let after = self.one_of(end, b"T-_")?;
        if let Some(end) = self.time(after) {
            return Some(end);
        }
        let (_, end) = self.digits(after, 6, 6).or_else(|| self.digits(after, 9, 9))?;
        let end = self.fraction(end);
        self.zone(end).filter(|end| self.ends_word(*end))
    }

    /// The end of a date of numbers.
    fn date(self, from: usize) -> Option<usize> {
        let year_first = || {
            let year = self.range(from, (4, 4), 1900..=2199)?;
            let separator = self.byte(year)?;
            let month = self.range(self.one_of(year, b"-/.")?, (1, 2), 1..=12)?;
            let day = self.range(self.one_of(month, &[separator])?, (1, 2), 1..=31)?;
            Some((separator, day))
        };
        let year_last = || {
            let first = self.range(from, (1, 2), 1..=31)?;
            let separator = self.byte(first)?;
            let second = self.one_of(first, b"-/.")?;
            if let Some(month) = self.name(second, MONTHS) {
                let year = self.range(self.one_of(month, &[separator])?, (4, 4), 1900..=2199)?;
                return Some((separator, year));
            }
            let second = self.range(second, (1, 2), 1..=31)?;
            let year = self.range(self.one_of(second, &[separator])?, (4, 4), 1900..=2199)?;
            Some((separator, year))
        };
        let short = || {
            let first = self.range(from, (2, 2), 0..=99)?;
            let second = self.range(self.one_of(first, b"/")?, (2, 2), 1..=31)?;
            let third = self.range(self.one_of(second, b"/")?, (2, 2), 1..=99)?;
            Some((b'/', third))
        };
        let (separator, end) = year_first().or_else(year_last).or_else(short)?;
        // 2026.11.26.1 is a version.
        let goes_on = self.byte(end) == Some(separator)
            && self.byte(end + 1).is_some_and(|byte| byte.is_ascii_digit());
        let time_follows = self.one_of(end, b"T").is_some_and(|at| self.time(at).is_some());
        ((!goes_on || self.time(end + 1).is_some()) && (self.ends_word(end) || time_follows))
            .then_some(end)
    }

    /// Behind the time that may follow a date which ends at `end`.
    fn with_time(self, end: usize) -> usize {
        let after = self.one_of(end, b"T_:-.").or_else(|| {
            let after = self.one_of(end, b",").unwrap_or(end);
            self.blanks(after)
        });
        after.and_then(|after| self.time(after)).unwrap_or(end)
    }

    /// The end of a time of day: `18:00`, `18:00:42.123`, with `AM` and zone. Behind a date also `18_00_42` and `18-00-42`.
    fn time(self, from: usize) -> Option<usize> {
        let hour = self.range(from, (1, 2), 0..=24)?;
        let separator = self.byte(hour)?;
        let minute = self.range(self.one_of(hour, b":_-.")?, (2, 2), 0..=59)?;
        let second =
            self.one_of(minute, &[separator]).and_then(|at| self.range(at, (2, 2), 0..=60));
        if separator != b':' && second.is_none() {
            return None;
        }
        let end = second.map_or(minute, |second| self.fraction(second));
        let half = self.blanks(end).unwrap_or(end);
        let half = ["AM", "PM", "am", "pm"]
            .iter()
            .find(|half_name| {
                self.text[half..].starts_with(**half_name) && self.ends_word(half + 2)
            })
            .map_or(end, |_| half + 2);
        let end = self.zone(half)?;
        self.ends_word(end).then_some(end)
    }

    /// Behind a fraction of a second at `at`, if there is one.
    fn fraction(self, at: usize) -> usize {
        let digits = |at| self.digits(at, 1, 9).map(|(_, end)| end);
        // `_` stands for the point in names of files.
        self.one_of(at, b".,_").and_then(digits).unwrap_or(at)
    }

    /// Behind a time zone at `at`, if there is one.
    fn zone(self, at: usize) -> Option<usize> {
        let after = self.blanks(at).unwrap_or(at);
        if let Some(hours) = self.one_of(after, b"+-") {
            let (whole, colon) = (self.digits(hours, 4, 4), self.digits(hours, 2, 2));
            if let Some((_, end)) = whole {
                return Some(end);
            }
            if let Some((_, end)) =
                colon.and_then(|(_, end)| self.digits(self.one_of(end, b":")?, 2, 2))
            {
                return Some(end);
            }
            return Some(at);
        }
        let zone = ZONES.iter().find(|zone| {
            self.text[after..].starts_with(**zone) && self.ends_word(after + zone.len())
        });
        Some(zone.map_or(at, |zone| after + zone.len()))
    }

    /// A moment that starts with a weekday or month.
    fn named(self, from: usize) -> Option<usize> {
        if !matches!(self.bytes[from].to_ascii_lowercase(), b'a' | b'd' | b'f' | b'j' | b'm'..=b'o' | b's'..=b't' | b'w')
        {
            return None;
        }
        if let Some(weekday) = self.name(from, WEEKDAYS) {
            let after = self.blanks(self.one_of(weekday, b",").unwrap_or(weekday))?;
            return match self.byte(after)? {
                byte if byte.is_ascii_digit() => self.numeric(after).filter(|end| end - after > 5),
                _ => self.named_month(after),
            };
        }
        self.named_month(from)
    }

    /// `Nov 26 18:00:42`, `Nov 26, 2026`, `Nov 26 18:00:42 UTC 2026`.
    fn named_month(self, from: usize) -> Option<usize> {
        let month = self.name(from, MONTHS)?;
        let day = self.range(self.blanks(month)?, (1, 2), 1..=31)?;
        let after = self.blanks(self.one_of(day, b",").unwrap_or(day))?;
        if let Some(time) = self.time(after) {
            let year = self.blanks(time).and_then(|at| self.range(at, (4, 4), 1900..=2199));
            return Some(year.filter(|year| self.ends_word(*year)).unwrap_or(time));
        }
        let year = self.range(after, (4, 4), 1900..=2199).filter(|end| self.ends_word(*end))?;
        Some(self.with_time(year))
    }
}
