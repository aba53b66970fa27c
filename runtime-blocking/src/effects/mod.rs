//! Effects, carried out with the standard library. Each function does what one effect says and answers with its outcome;
//! what the outcome means is decided in the core.

pub mod fault;
pub mod files;
pub mod resolve;
