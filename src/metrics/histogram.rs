//! Histograms that one thread writes, classic and native at once.
//!
//! A classic histogram has a few ends of buckets that a person chose; a native one has eight for
//! each doubling (schema 3), so that a quantile is right to 9 %. Both are kept by one addition: the
//! cells lie between the ends of both, and what is asked for is added up when somebody looks.

use std::{sync::LazyLock, time::Duration};

use super::count::Count;

/// Native buckets for each doubling are 2 to the power of this.
pub const SCHEMA: i32 = 3;

const PER_OCTAVE: usize = 1 << SCHEMA;

/// Where mantissas between ½ and 1 are divided: 2 to the power of `k`/8 − 1.
const FRACTIONS: [f64; PER_OCTAVE] = [
    0.5,
    0.545_253_866_332_628_8,
    0.594_603_557_501_360_5,
    0.648_419_777_325_504_8,
    std::f64::consts::FRAC_1_SQRT_2,
    0.771_105_412_703_970_4,
    0.840_896_415_253_714_5,
    0.917_004_043_204_671_2,
];

/// From 100 µs, what a loopback upstream takes, to a minute, in steps that a person thinks in.
pub(super) static DURATIONS: LazyLock<Layout> = LazyLock::new(|| {
    const MICRO: u64 = 1000;
    const MILLI: u64 = 1000 * MICRO;
    const SECOND: u64 = 1000 * MILLI;
    Layout::new(
        &[
            100 * MICRO,
            250 * MICRO,
            500 * MICRO,
            MILLI,
            2 * MILLI + 500 * MICRO,
            5 * MILLI,
            10 * MILLI,
            25 * MILLI,
            50 * MILLI,
            100 * MILLI,
            250 * MILLI,
            500 * MILLI,
            SECOND,
            2 * SECOND + 500 * MILLI,
            5 * SECOND,
            10 * SECOND,
            30 * SECOND,
            60 * SECOND,
        ],
        -17..10,
    )
});

/// What is left of tokens: from the last seconds to a day.
pub(super) static LIVES: LazyLock<Layout> = LazyLock::new(|| {
    let seconds = [
        5, 15, 30, 60, 120, 300, 600, 900, 1800, 2700, 3600, 7200, 14_400, 43_200, 86_400,
    ];
    Layout::new(&seconds.map(|s| s * 1_000_000_000), 0..20)
});

/// Where the ends of a histogram's buckets are.
#[derive(Debug)]
pub(super) struct Layout {
    /// In nanoseconds.
    classic: Vec<u64>,
    /// The native bucket for what is next to nothing ends at two to the power of this, in seconds.
    low: i32,
    /// For each native bucket: how many classic ends lie before it, and the one inside, if any.
    inside: Vec<(usize, u64)>,
    /// For the first four bits of a mantissa: how many ends lie below all that begin with them, and
    /// the one among these, if any.
    steps: [(usize, u64); 16],
}

/// Of a number's bits.
const MANTISSA: u64 = (1 << 52) - 1;

impl Layout {
    /// At most one classic end may lie in a native bucket.
    fn new(classic: &[u64], octaves: std::ops::Range<i32>) -> Self {
        let natives = 1 + octaves.len() * PER_OCTAVE;
        let mut layout = Self {
            classic: classic.to_vec(),
            low: octaves.start,
            inside: vec![(0, u64::MAX); natives],
            steps: std::array::from_fn(|bits| {
                let ends = FRACTIONS.map(|end| end.to_bits() & MANTISSA);
                let of = |end: &u64| usize::try_from(*end >> 48).unwrap_or_default();
                let below = ends.iter().filter(|end| of(end) < bits).count();
                let among = ends.iter().find(|end| of(end) == bits);
                (below, among.copied().unwrap_or(u64::MAX))
            }),
        };
        let at: Vec<_> = classic.iter().map(|end| layout.native(*end)).collect();
        for (bucket, inside) in layout.inside.iter_mut().enumerate() {
            inside.0 = at.iter().filter(|at| **at < bucket).count();
            if let Some(n) = at.iter().position(|at| *at == bucket) {
                inside.1 = classic[n];
            }
        }
        layout
    }

    /// The native bucket: 0 for next to nothing; the last also for what is beyond all.
    #[expect(clippy::cast_precision_loss, reason = "a bucket is 9 % wide")]
    fn native(&self, nanos: u64) -> usize {
        let seconds = nanos as f64 * 1e-9;
        // seconds = fraction × 2^exponent, the fraction between ½ and 1; 0 has the least exponent
        let bits = seconds.to_bits();
        let exponent = (bits >> 52) as i32 - 1022;
        let mantissa = bits & MANTISSA;
        let (below, end) = self.steps[(mantissa >> 48) as usize];
        let step = below + usize::from(mantissa > end);
        let octave = exponent - 1 - self.low;
        match usize::try_from(octave) {
            Ok(octave) => (octave * PER_OCTAVE + step).min(self.inside.len() - 1),
            Err(_) => 0,
        }
    }

    fn cell(&self, nanos: u64) -> usize {
        let native = self.native(nanos);
        let (before, inside) = self.inside[native];
        native + before + usize::from(nanos > inside)
    }

    fn cells(&self) -> usize {
        self.inside.len() + self.classic.len()
    }

    /// Of each cell: its native bucket, and its classic one.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.inside.iter().enumerate().flat_map(|(native, inside)| {
            let first = (native, inside.0);
            let second = (inside.1 < u64::MAX).then_some((native, inside.0 + 1));
            [Some(first), second].into_iter().flatten()
        })
    }
}

/// One thread writes it, as for [`Count`].
#[derive(Debug)]
pub(super) struct Histogram {
    layout: &'static Layout,
    cells: Box<[Count]>,
    /// In microseconds: nanoseconds would wrap around after 584 years, which ten thousand waiting
    /// requests live through in three weeks. A whole number, because sums of fractions are noisy.
    micros: Count,
}

impl Histogram {
    pub(super) fn new(layout: &'static Layout) -> Self {
        Self {
            layout,
            cells: (0..layout.cells()).map(|_| Count::default()).collect(),
            micros: Count::default(),
        }
    }

    pub(super) fn observe(&self, what: Duration) {
        let nanos = u64::try_from(what.as_nanos()).unwrap_or(u64::MAX);
        self.cells[self.layout.cell(nanos)].add(1);
        self.micros.add(nanos.saturating_add(500) / 1000);
    }
}

/// A histogram of seconds that has been added up.
#[derive(Debug, Clone)]
pub struct HistogramTotal {
    layout: &'static Layout,
    cells: Vec<u64>,
    micros: u64,
}

impl HistogramTotal {
    pub(super) fn new(layout: &'static Layout) -> Self {
        Self {
            layout,
            cells: vec![0; layout.cells()],
            micros: 0,
        }
    }

    pub(super) fn add(&mut self, more: &Histogram) {
        for (total, cell) in self.cells.iter_mut().zip(&more.cells) {
            *total += cell.get();
        }
        self.micros = self.micros.wrapping_add(more.micros.get());
    }

    /// In seconds.
    pub fn sum(&self) -> f64 {
        Duration::from_micros(self.micros).as_secs_f64()
    }

    pub fn count(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// Of a classic histogram: the ends in seconds, infinity the last, and how many were in each
    /// bucket alone.
    pub fn classic(&self) -> Vec<(f64, u64)> {
        let ends = self.layout.classic.iter();
        let ends = ends.map(|end| Duration::from_nanos(*end).as_secs_f64());
        let mut buckets: Vec<_> = ends.chain([f64::INFINITY]).map(|end| (end, 0)).collect();
        for (number, (_, classic)) in self.cells.iter().zip(self.layout.places()) {
            buckets[classic].1 += number;
        }
        buckets
    }

    /// Of a native one: the buckets that are not empty, by index. That of index `i` ends at two to
    /// the power of `i`/8 seconds.
    pub fn native(&self) -> Vec<(i32, u64)> {
        let mut buckets = vec![0; self.layout.inside.len()];
        for (number, (native, _)) in self.cells.iter().zip(self.layout.places()) {
            buckets[native] += number;
        }
        let first = self.layout.low * (1 << SCHEMA);
        let indices = (first..).zip(buckets).skip(1);
        indices.filter(|(_, number)| *number > 0).collect()
    }

    /// Of a native one: how much was next to nothing.
    pub fn zeros(&self) -> u64 {
        self.cells[0]
    }

    /// What is next to nothing, in seconds.
    pub fn zero_threshold(&self) -> f64 {
        f64::from(self.layout.low).exp2()
    }
}

impl PartialEq for HistogramTotal {
    fn eq(&self, other: &Self) -> bool {
        (self.micros, &self.cells) == (other.micros, &other.cells)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(layout: &'static Layout, all: &[Duration]) -> HistogramTotal {
        let histogram = Histogram::new(layout);
        for one in all {
            histogram.observe(*one);
        }
        let mut total = HistogramTotal::new(layout);
        total.add(&histogram);
        total
    }

    #[test]
    fn a_duration_is_in_the_bucket_whose_end_it_does_not_pass() {
        let total = seen(
            &DURATIONS,
            &[
                Duration::ZERO,
                Duration::from_micros(100),
                Duration::from_nanos(100_001),
                Duration::from_secs(60),
                Duration::from_nanos(60_000_000_001),
                Duration::MAX,
            ],
        );
        let filled: Vec<_> = total.classic().into_iter().filter(|b| b.1 > 0).collect();
        assert_eq!(
            filled,
            [(0.0001, 2), (0.00025, 1), (60.0, 1), (f64::INFINITY, 2)]
        );
        assert_eq!(total.count(), 6);
    }

    #[test]
    fn native_buckets_end_at_eighths_of_a_doubling() {
        let second = Duration::from_secs(1);
        let total = seen(
            &DURATIONS,
            &[
                second,
                second + Duration::from_nanos(1),
                second.mul_f64(1.09),
                second.mul_f64(1.0906),
                2 * second,
                Duration::from_micros(1),
                Duration::from_secs(1_000_000),
            ],
        );
        assert_eq!(total.native(), [(0, 1), (1, 2), (2, 1), (8, 1), (80, 1)]);
        assert_eq!(total.zeros(), 1);
    }

    #[test]
    fn an_end_belongs_to_the_bucket_below_it() {
        for layout in [&*DURATIONS, &*LIVES] {
            for (eighth, fraction) in FRACTIONS.iter().enumerate().skip(1) {
                // what is nearest to the end on either side, in nanoseconds
                let end = Duration::from_secs_f64(fraction * 2048.0);
                let near = |end: Duration| seen(layout, &[end]).native()[0].0;
                let index = i32::try_from(eighth).unwrap() + 80;
                let nano = Duration::from_nanos(1);
                assert_eq!(
                    near(end.saturating_sub(nano)),
                    index.min(near(Duration::MAX))
                );
                assert_eq!(near(end + nano), (index + 1).min(near(Duration::MAX)));
            }
        }
    }

    #[test]
    fn no_native_bucket_has_two_classic_ends_in_it() {
        for layout in [&*DURATIONS, &*LIVES] {
            let inside = layout.inside.iter().filter(|(_, end)| *end < u64::MAX);
            assert_eq!(inside.count(), layout.classic.len());
            assert_eq!(layout.places().count(), layout.cells());
            assert_eq!(layout.inside[0].1, u64::MAX);
        }
    }

    proptest! {
        #[test]
        fn every_value_is_where_both_kinds_of_histogram_say(nanos in prop_oneof![
            any::<u64>(), 0..4_000_000_000_u64, 0..200_000_u64,
        ]) {
            let total = seen(&DURATIONS, &[Duration::from_nanos(nanos)]);
            let seconds = Duration::from_nanos(nanos).as_secs_f64();
            let classic = total.classic();
            let at = classic.iter().position(|b| b.1 == 1).unwrap();
            prop_assert!(seconds <= classic[at].0);
            prop_assert!(at == 0 || seconds > classic[at - 1].0);
            match total.native()[..] {
                [] => prop_assert!(seconds <= total.zero_threshold()),
                [(index, 1)] => {
                    let end = |index: i32| (f64::from(index) / 8.0).exp2();
                    prop_assert!(index == 80 || seconds <= end(index) * (1.0 + 1e-12));
                    prop_assert!(seconds >= end(index - 1) * (1.0 - 1e-12));
                }
                ref more => prop_assert!(false, "{more:?}"),
            }
        }
    }
}
