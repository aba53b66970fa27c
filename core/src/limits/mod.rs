//! Limits: a state and the time in, a verdict out. They count; they never act.

pub mod admission;
pub mod lockout;
pub mod repeats;
pub mod throttle;
pub mod window;
