//! The protocols, one folder each. A surface knows messages, never sockets; and no surface names another. In a build without
//! one of them (features `operator`, `control`, `relay`, `tools`) an empty one stands in its place, so that the gateway is the same.

#[cfg(feature = "control")]
pub mod control;
#[cfg(not(feature = "control"))]
#[path = "absent/control.rs"]
pub mod control;
#[cfg(feature = "operator")]
pub mod operator;
#[cfg(not(feature = "operator"))]
#[path = "absent/operator.rs"]
pub mod operator;
#[cfg(feature = "relay")]
pub mod relay;
#[cfg(not(feature = "relay"))]
#[path = "absent/relay.rs"]
pub mod relay;
#[cfg(feature = "tools")]
pub mod tools;
#[cfg(not(feature = "tools"))]
#[path = "absent/tools.rs"]
pub mod tools;
