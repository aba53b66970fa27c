//! Pure decisions without a state of their own: who counts as local, which networks, hosts and browser origins are meant,
//! where the gateway may listen, which tokens are strong, and which URLs may be fetched.

pub mod address;
pub mod bind;
pub mod forwarded;
pub mod host;
pub mod hosts;
pub mod identity;
pub mod network;
pub mod origin;
pub mod ssrf;
pub mod token;
pub mod tools;
