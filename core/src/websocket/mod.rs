//! WebSocket (RFC 6455), server side: frames and messages, ping and pong, the close handshake. A machine over bytes:
//! it never sees a socket, holds nothing while a connection is idle, and never reserves memory for bytes that have not
//! arrived. Extensions are declined. Spec: `spec/websocket.md`.

mod close;
mod fault;
mod frame;
pub mod handshake;
mod mask;
mod receiver;
pub mod send;
mod session;
mod utf8;

pub use close::CloseCode;
pub use fault::PeerFault;
pub use frame::Opcode;
pub use receiver::{Frame, Receiver};
pub use session::{Event, WebSocket};
