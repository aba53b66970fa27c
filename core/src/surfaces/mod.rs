//! The protocols, one folder each. A surface knows messages, never sockets; and no surface names another.

#[cfg(feature = "control")]
pub mod control;
#[cfg(feature = "operator")]
pub mod operator;
#[cfg(feature = "tools")]
pub mod tools;
