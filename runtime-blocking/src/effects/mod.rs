//! Effects, carried out with the standard library. Each function does what one effect says and answers with its outcome;
//! what the outcome means is decided in the core.

pub(crate) mod control;
pub(crate) mod dial;
pub mod fault;
pub mod files;
pub mod groups;
pub(crate) mod pool;
pub mod resolve;
pub mod signature;
pub(crate) mod spawn;
