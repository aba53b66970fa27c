//! Looks at the machine for the audit and the monitor: the firewall, permission bits, the audit journal. It reads and
//! changes nothing; what is found good or bad is decided in the core.

pub mod firewall;
pub mod journal;
pub mod permissions;
