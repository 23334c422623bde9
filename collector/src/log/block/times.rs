//! When the output came, as exactly as a histogram asks: what a search counts by, without unpacking the records.
//!
//! ```text
//! varint n, then unless n is 0: varint grain, in seconds; then n × (varint output bytes against the one before; signed varint grains
//! since 1970 against the one before)
//! ```
//!
//! A mark stands where output begins to be of another grain than what is before it. The grain is the finest of which there are few
//! enough marks; with none there are no marks, and records are asked. Blocks of former versions have none.

use super::BlockError;
use deckport_protocol::varint;

/// Seconds. Each divides the next, and every width of a histogram is a multiple of some.
const GRAINS: [i64; 4] = [1, 60, 3_600, 86_400];
const SECOND_US: i64 = 1_000_000;
/// So many marks are few in any block, and one in so many records in a large one.
const FEW: usize = 64;
const SPARSE: usize = 16;

/// Marks while a block is built.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Where it begins, and the second.
    seconds: Vec<(usize, i64)>,
    records: usize,
}

impl Writer {
    /// Output of at least one byte that begins here, and when it came.
    pub(super) fn push(&mut self, begin: usize, at_us: i64) {
        let second = at_us.div_euclid(SECOND_US);
        self.records += 1;
        if self.seconds.last().is_none_or(|(_, before)| *before != second) {
            self.seconds.push((begin, second));
        }
    }

    pub(super) fn finish(self, out: &mut Vec<u8>) {
        let Self { mut seconds, records } = self;
        let few = FEW.max(records / SPARSE);
        for grain in GRAINS {
            if grain > 1 {
                // Marks of one grain are marks of every coarser one, but for those between equals.
                seconds.dedup_by_key(|(_, second)| second.div_euclid(grain));
            }
            if seconds.len() > few {
                continue;
            }
            varint::put(out, seconds.len() as u64);
            if !seconds.is_empty() {
                varint::put(out, grain.cast_unsigned());
            }
            let mut before = (0, 0);
            for (begin, second) in seconds {
                let now = (begin, second.div_euclid(grain));
                varint::put(out, (now.0 - before.0) as u64);
                varint::put_signed(out, now.1 - before.1);
                before = now;
            }
            return;
        }
        varint::put(out, 0);
    }
}

/// The marks of a block.
#[derive(Debug, Default)]
pub(super) struct Times {
    grain_us: i64,
    /// Where output of a grain begins, and when the grain does.
    marks: Vec<(usize, i64)>,
}

impl Times {
    /// `input` is empty behind them, or was before.
    pub(super) fn decode(input: &mut &[u8], output: usize) -> Result<Self, BlockError> {
        if input.is_empty() {
            return Ok(Self::default());
        }
        Self::read(input, output).ok_or(BlockError::Malformed { part: "rows" })
    }

    fn read(input: &mut &[u8], output: usize) -> Option<Self> {
        let count = varint::take(input)?;
        let mut times = Self::default();
        if count > 0 {
            let grain = i64::try_from(varint::take(input)?).ok()?;
            times.grain_us = grain.checked_mul(SECOND_US).filter(|&grain| grain > 0)?;
        }
        let (mut begin, mut grains) = (0usize, 0i64);
        for _ in 0..count {
            begin = begin.checked_add(usize::try_from(varint::take(input)?).ok()?)?;
            grains = grains.checked_add(varint::take_signed(input)?)?;
            if begin >= output {
                return None;
            }
            // A clock may say anything: what is before all that can be said is as good as that.
            times.marks.push((begin, grains.saturating_mul(times.grain_us)));
        }
        Some(times)
    }

    /// Whether it can tell on which side of each of these times output came: `from`, and then one every `width`, in µs.
    pub(super) fn tell(&self, from_us: i64, width_us: i64) -> bool {
        let grain = self.grain_us;
        grain > 0 && from_us % grain == 0 && width_us % grain == 0
    }

    /// Ends of stretches of the output, each with what `of` makes of a time that is as good as those at which all of it came.
    pub(super) fn stretches<T: Copy + PartialEq>(
        &self,
        output: usize,
        of: impl Fn(i64) -> T,
    ) -> Vec<(usize, T)> {
        let mut stretches: Vec<(usize, T)> = Vec::new();
        let ends = self.marks.iter().skip(1).map(|(begin, _)| *begin).chain([output]);
        for ((_, at_us), end) in self.marks.iter().zip(ends) {
            let what = of(*at_us);
            match stretches.last_mut() {
                Some(last) if last.1 == what => last.0 = end,
                _ => stretches.push((end, what)),
            }
        }
        stretches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(times: &[i64]) -> (Vec<u8>, usize) {
        let mut writer = Writer::default();
        for (at, time) in times.iter().enumerate() {
            writer.push(at * 10, *time);
        }
        let mut bytes = Vec::new();
        writer.finish(&mut bytes);
        (bytes, times.len() * 10)
    }

    proptest! {
        #[test]
        fn stretches_are_those_of_the_times(
            steps in prop::collection::vec((prop_oneof![Just(0i64), -5..5i64, 0..5_000i64], 0..SECOND_US), 1..300),
            from in -2..3i64,
            width in prop_oneof![Just(1i64), Just(2), Just(60), Just(120), Just(3_600), Just(86_400)],
        ) {
            let mut second = 100_000;
            let times: Vec<i64> = steps.into_iter().map(|(step, us)| {
                second += step;
                second * SECOND_US + us
            }).collect();
            let (bytes, output) = written(&times);
            let read = Times::decode(&mut bytes.as_slice(), output).unwrap();
            let (from_us, width_us) = (from * width * SECOND_US, width * SECOND_US);
            if read.tell(from_us, width_us) {
                let of = |at_us: i64| (at_us - from_us).div_euclid(width_us);
                let stretches = read.stretches(output, of);
                for (at, time) in times.iter().enumerate() {
                    let found = stretches.partition_point(|(end, _)| *end <= at * 10);
                    prop_assert_eq!(stretches[found].1, of(*time));
                }
            }
        }
    }

    #[test]
    fn a_line_a_second_is_told_to_the_minute_and_a_mad_clock_not_at_all() {
        let slow: Vec<i64> = (0..2_000).map(|line| line * SECOND_US).collect();
        let (bytes, output) = written(&slow);
        let times = Times::decode(&mut bytes.as_slice(), output).unwrap();
        assert!(!times.tell(0, SECOND_US) && times.tell(0, 60 * SECOND_US));
        assert_eq!(times.stretches(output, |at_us| at_us).len(), 34);
        assert!(bytes.len() < 200);

        let mad: Vec<i64> = (0..2_000).map(|line| line % 2 * 100_000 * SECOND_US).collect();
        let (bytes, output) = written(&mad);
        assert_eq!(bytes, [0]);
        assert!(!Times::decode(&mut bytes.as_slice(), output).unwrap().tell(0, SECOND_US));

        let (bytes, output) = written(&[i64::MIN, i64::MAX, 0, i64::MIN + 1]);
        let times = Times::decode(&mut bytes.as_slice(), output).unwrap();
        assert_eq!(times.stretches(output, i64::signum).len(), 4);
    }

    #[test]
    fn what_ends_early_or_stands_behind_the_output_is_not_taken() {
        let (bytes, output) = written(&[0, 5 * SECOND_US, 9 * SECOND_US]);
        for end in 1..bytes.len() {
            assert!(Times::decode(&mut &bytes[..end], output).is_err());
        }
        assert!(Times::decode(&mut bytes.as_slice(), 20).is_err());
        // A block of a former version.
        assert!(!Times::decode(&mut [].as_slice(), 20).unwrap().tell(0, SECOND_US));
    }
}
