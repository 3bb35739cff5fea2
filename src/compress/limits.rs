//! Limits of compression: each with its unit and its reason.

/// 16 KiB: input of one step, at most 0.3 ms of a core with the slowest encoder.
pub const STEP_BYTES: usize = 16 * 1024;
/// 17: logarithm of the window, 128 KiB; more gains little on responses and costs memory on both sides.
pub const WINDOW_BITS: u8 = 17;
/// 64: encoder states of one core, in use and idle; further responses are sent as they are.
pub const STATES_PER_CORE_MAX: usize = 64;
/// 32 MiB: memory of the encoder states of one core.
pub const STATE_BYTES_PER_CORE_MAX: usize = 32 * 1024 * 1024;
/// 8: idle states that one core keeps for the next responses.
pub const IDLE_STATES_MAX: usize = 8;
