//! Which traces are kept: decided where a trace begins, by its id, so that everybody who follows the
//! same rule keeps the same traces.

use std::fmt;

use super::{Context, Sampled, TraceId};

/// Which traces are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Of the traces that are decided about here.
    pub share: Share,
    pub parents: Parents,
}

/// A part of all traces, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u32);

const MILLION: u32 = 1_000_000;

/// Whether a caller's decision counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parents {
    /// It is ours, too; only where there is none do we decide.
    Followed,
    /// We decide about every trace.
    Ignored,
}

impl Sampling {
    /// What the caller decided, and everything where nobody has.
    pub const PARENT: Self = Self {
        share: Share::ALL,
        parents: Parents::Followed,
    };

    /// About the trace of a request, or of work of our own.
    pub(super) fn decide(self, parent: Option<Context>, trace: TraceId) -> Sampled {
        match (self.parents, parent) {
            (Parents::Followed, Some(parent)) => parent.sampled,
            _ if self.takes(trace) => Sampled::Yes,
            _ => Sampled::No,
        }
    }

    /// By the last seven bytes, which are random (section 3.2.2.3 of Trace Context level 2): the
    /// upper part of their range is kept, as OpenTelemetry's samplers do.
    fn takes(self, trace: TraceId) -> bool {
        const RANGE: u64 = 1 << 56;
        let mut random = [0; 8];
        random[1..].copy_from_slice(&trace.0[9..]);
        let refused = RANGE / u64::from(MILLION) * u64::from(MILLION - self.share.0);
        self.share != Share::NONE && u64::from_be_bytes(random) >= refused
    }
}

impl Share {
    pub const ALL: Self = Self(MILLION);
    pub const NONE: Self = Self(0);

    /// A number from 0 to 1.
    pub fn parse(text: &str) -> Option<Self> {
        let share: f64 = text.parse().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most a million"
        )]
        let millionths = || (share * f64::from(MILLION)).round() as u32;
        (0.0..=1.0).contains(&share).then(|| Self(millionths()))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / f64::from(MILLION))
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::{
        super::SpanId,
        Parents::{Followed, Ignored},
        *,
    };

    fn kept(share: &str) -> usize {
        let share = Share::parse(share).unwrap();
        let mut rng = StdRng::seed_from_u64(7);
        let sampling = Sampling {
            share,
            parents: Parents::Followed,
        };
        let traces = (0..10_000).map(|_| TraceId::new(&mut rng));
        let kept = traces.filter(|trace| sampling.decide(None, *trace) == Sampled::Yes);
        kept.count()
    }

    #[test]
    fn about_the_share_of_traces_is_kept() {
        assert_eq!((kept("0"), kept("1")), (0, 10_000));
        assert!((900..1100).contains(&kept("0.1")), "{}", kept("0.1"));
        assert!((4800..5200).contains(&kept("0.5")), "{}", kept("0.5"));
        assert_eq!(["-0.1", "1.1", "NaN", ""].map(Share::parse), [None; 4]);
        assert_eq!(Share::parse("0.10").unwrap().to_string(), "0.1");
    }

    #[test]
    fn a_callers_decision_counts_if_it_is_to() {
        let trace = TraceId([1; 16]);
        let decided = |sampled, share, parents| {
            let parent = Context::root(trace, SpanId([1; 8]), sampled);
            Sampling { share, parents }.decide(Some(parent), trace)
        };
        assert_eq!(decided(Sampled::Yes, Share::NONE, Followed), Sampled::Yes);
        assert_eq!(decided(Sampled::No, Share::ALL, Followed), Sampled::No);
        assert_eq!(decided(Sampled::Yes, Share::NONE, Ignored), Sampled::No);
        assert_eq!(decided(Sampled::No, Share::ALL, Ignored), Sampled::Yes);
    }
}
