//! The `br` coding (RFC 7932), with windows of 16 MiB at most.

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::{Corrupt, Step};

/// A stream of the `br` coding.
pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Reading,
    /// What follows the end is ignored.
    Done,
}

impl Default for Brotli {
    fn default() -> Self {
        let alloc = StandardAlloc::default;
        Self {
            state: BrotliState::new_strict(alloc(), alloc(), alloc()),
            stage: Stage::New,
        }
    }
}

impl Brotli {
    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Corrupt> {
        if self.stage == Stage::Done {
            let used = input.len();
            return Ok(Step { used, made: 0 });
        }
        if input.is_empty() && self.stage == Stage::New {
            return Ok(Step { used: 0, made: 0 });
        }
        self.stage = Stage::Reading;
        let mut step = Step { used: 0, made: 0 };
        let (mut available_in, mut available_out) = (input.len(), out.len());
        let mut total = 0;
        let result = BrotliDecompressStream(
            &mut available_in,
            &mut step.used,
            input,
            &mut available_out,
            &mut step.made,
            out,
            &mut total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => return Err(Corrupt),
            BrotliResult::ResultSuccess => self.stage = Stage::Done,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        }
        Ok(step)
    }

    /// Whether the body may end here; an empty one may.
    pub(super) fn is_complete(&self) -> bool {
        self.stage != Stage::Reading
    }
}

impl fmt::Debug for Brotli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brotli")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
