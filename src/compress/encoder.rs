//! Encoders of the codings behind one interface.

use std::error::Error;
use std::fmt;

use flate2::{Compress as Deflate, Compression, FlushCompress, Status};
use ringway_model::Coding;
use zstd_safe::zstd_sys::ZSTD_EndDirective as End;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use crate::brotli::Brotli;
use crate::limits::WINDOW_BITS;

/// Level of zstd: a third of the time of gzip at 5, for about the same size.
const ZSTD_LEVEL: i32 = 3;
/// Logarithms of its tables, in place of 17 and 16, which its level has for windows of any size: half of the
/// memory, for 1 % of the size.
const ZSTD_TABLES: [u32; 2] = [16, 15];
/// Spare bytes that an encoder finds in the output.
const OUTPUT_BYTES_MIN: usize = 1024;

/// Encoder of one body at a time. Appends to the output; bytes that it was given may come out later.
pub struct Encoder(Kind);

enum Kind {
    Zstd(CCtx<'static>),
    Brotli(Box<Brotli>),
    Gzip { deflate: Deflate, level: Compression, has_ended: bool },
}

/// Failure of an encoder: its library refuses, for example because there is no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError;

impl Encoder {
    /// Returns an encoder; the level is that of gzip, from 1 to 9.
    ///
    /// # Errors
    /// There is no memory for its state.
    pub fn new(coding: Coding, gzip_level: u8) -> Result<Self, EncodeError> {
        Ok(Self(match coding {
            Coding::Zstd => Kind::Zstd(zstd()?),
            Coding::Br => Kind::Brotli(Box::default()),
            Coding::Gzip => {
                let level = Compression::new(u32::from(gzip_level.clamp(1, 9)));
                Kind::Gzip { deflate: gzip(level), level, has_ended: false }
            }
        }))
    }

    /// Memory of the state of a coding in bytes, rounded up.
    pub const fn memory_bytes(coding: Coding) -> usize {
        match coding {
            Coding::Zstd => 1280 * 1024,
            Coding::Br => 1024 * 1024,
            Coding::Gzip => 384 * 1024,
        }
    }

    /// Encodes data. Takes at most 0.3 ms for [`STEP_BYTES`](crate::STEP_BYTES).
    ///
    /// # Errors
    /// The body cannot be encoded.
    pub fn write(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match &mut self.0 {
            Kind::Zstd(context) => run_zstd(context, data, out, End::ZSTD_e_continue),
            Kind::Brotli(brotli) => {
                brotli.write(data, out);
                Ok(())
            }
            Kind::Gzip { deflate, .. } => run_deflate(deflate, data, out, FlushCompress::None),
        }
    }

    /// Appends all that is still held, so that the receiver can decode what was written.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match &mut self.0 {
            Kind::Zstd(context) => run_zstd(context, &[], out, End::ZSTD_e_flush),
            Kind::Brotli(brotli) => {
                brotli.flush(out);
                Ok(())
            }
            Kind::Gzip { deflate, .. } => run_deflate(deflate, &[], out, FlushCompress::Sync),
        }
    }

    /// Ends the body. The encoder takes another one after [`reset`](Self::reset).
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match &mut self.0 {
            Kind::Zstd(context) => run_zstd(context, &[], out, End::ZSTD_e_end),
            Kind::Brotli(brotli) => {
                brotli.finish(out);
                Ok(())
            }
            Kind::Gzip { deflate, has_ended, .. } => {
                *has_ended = true;
                run_deflate(deflate, &[], out, FlushCompress::Finish)
            }
        }
    }

    /// Forgets the body, however far it is.
    ///
    /// # Errors
    /// The encoder cannot be used again.
    pub fn reset(&mut self) -> Result<(), EncodeError> {
        match &mut self.0 {
            Kind::Zstd(context) => {
                context.reset(ResetDirective::SessionOnly).map(|_| ()).map_err(|_| EncodeError)
            }
            Kind::Brotli(brotli) => {
                brotli.reset();
                Ok(())
            }
            Kind::Gzip { deflate, level, has_ended } => {
                // In the middle of a body, a reset of zlib-rs 0.6 at level 1 forgets that a block is open,
                // and the next body is corrupt.
                match std::mem::take(has_ended) {
                    true => deflate.reset(),
                    false => *deflate = gzip(*level),
                }
                Ok(())
            }
        }
    }
}

fn gzip(level: Compression) -> Deflate {
    // A window of 32 KiB, the largest that the format has.
    Deflate::new_gzip(level, 15)
}

fn zstd() -> Result<CCtx<'static>, EncodeError> {
    let mut context = CCtx::try_create().ok_or(EncodeError)?;
    let [hash, chain] = ZSTD_TABLES;
    for parameter in [
        CParameter::CompressionLevel(ZSTD_LEVEL),
        CParameter::WindowLog(WINDOW_BITS.into()),
        CParameter::HashLog(hash),
        CParameter::ChainLog(chain),
    ] {
        context.set_parameter(parameter).map_err(|_| EncodeError)?;
    }
    Ok(context)
}

fn run_zstd(context: &mut CCtx<'_>, data: &[u8], out: &mut Vec<u8>, end: End) -> Result<(), EncodeError> {
    let mut input = InBuffer::around(data);
    loop {
        out.reserve(OUTPUT_BYTES_MIN.max(data.len() / 4));
        let at = out.len();
        let mut output = OutBuffer::around_pos(out, at);
        let left = context.compress_stream2(&mut output, &mut input, end).map_err(|_| EncodeError)?;
        let is_done = match end {
            End::ZSTD_e_continue => input.pos == data.len(),
            End::ZSTD_e_flush | End::ZSTD_e_end => left == 0,
        };
        if is_done {
            return Ok(());
        }
    }
}

fn run_deflate(
    deflate: &mut Deflate,
    mut data: &[u8],
    out: &mut Vec<u8>,
    flush: FlushCompress,
) -> Result<(), EncodeError> {
    loop {
        out.reserve(OUTPUT_BYTES_MIN.max(data.len() / 4));
        let before = deflate.total_in();
        let status = deflate.compress_vec(data, out, flush).map_err(|_| EncodeError)?;
        data = &data[(deflate.total_in() - before) as usize..];
        let has_room = out.len() < out.capacity();
        let is_done = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            // Output that did not fit follows with the next call.
            _ => data.is_empty() && has_room,
        };
        if is_done {
            return Ok(());
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Zstd(_) => "Encoder(zstd)",
            Kind::Brotli(_) => "Encoder(br)",
            Kind::Gzip { .. } => "Encoder(gzip)",
        })
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the encoder refused the body; there may be no memory")
    }
}

impl Error for EncodeError {}

#[cfg(test)]
#[path = "encoder_tests.rs"]
pub(crate) mod tests;
