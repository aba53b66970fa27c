//! The threads of one connection: a reader that reads, hands over and answers; a writer that waits for a slow peer.

use std::sync::Arc;
use std::thread;

use portcullis_core::effect::{Completion, Dial};
use portcullis_core::id::{EffectId, ListenerId};
use portcullis_core::machine::{GoneReason, Input, Machine, Peer};

use super::hub::{Hub, Named, Turn};
use super::link::Link;
use super::socket::Socket;
use crate::effects::dial;
use crate::tls::ServerTls;

/// The machine runs on these stacks. Only what is touched is memory.
pub(super) const STACK: usize = 256 * 1024;
/// The most that one read brings.
const READ_BYTES: usize = 16 * 1024;

/// The life of an accepted connection.
pub(super) fn accepted<M: Machine + Send + 'static>(
    hub: &Arc<Hub<M>>,
    socket: Socket,
    listener: ListenerId,
    peer: Peer,
) {
    let mut turn = Turn::default();
    let session = hub.host.listener_tls.as_ref().map(ServerTls::session).transpose();
    let session = match session {
        Ok(session) => session,
        Err(fault) => return log::warn!("a connection from {peer} is closed at once: {fault}"),
    };
    let link = Arc::new(Link::new(socket, session));
    if let Some(named) = hub.opened(link, listener, peer, &mut turn) {
        read(hub, &named, &mut turn);
    }
}

/// Carries out a dial; the same thread then reads from the new connection.
pub(super) fn dialled<M: Machine + Send + 'static>(hub: &Arc<Hub<M>>, effect: EffectId, what: &Dial) {
    let mut turn = Turn::default();
    match dial::run(what, &hub.host.tls) {
        Err(fault) => hub.completed(effect, Err(fault)),
        Ok(dialled) => {
            let mut plain = dialled.plain;
            let link = Arc::new(Link::new(dialled.socket, dialled.session));
            let Some(named) = hub.dialled(link, effect, dialled.peer, &mut turn) else {
                return;
            };
            hand_over(hub, &named, &mut plain, &mut turn);
            read(hub, &named, &mut turn);
        }
    }
}

/// Makes the input that says how a dial ended.
pub(super) const fn dial_completed(effect: EffectId, named: &Named, peer: Peer) -> Input<'static> {
    Input::Completed {
        effect,
        outcome: Ok(Completion::Dialled { conn: named.conn, peer }),
    }
}

fn read<M: Machine + Send + 'static>(hub: &Arc<Hub<M>>, named: &Named, turn: &mut Turn) {
    let mut buffer = vec![0; READ_BYTES].into_boxed_slice();
    let mut plain = Vec::new();
    let has_tls = named.link.has_tls();
    while named.link.may_read() {
        let bytes = match named.link.socket.receive(&mut buffer) {
            Ok(count) if count > 0 => buffer.get_mut(..count).unwrap_or_default(),
            Ok(_) if named.link.ended_in_order() => return hub.read_ended(named, turn),
            _ => return hub.gone(named, GoneReason::Failed, turn),
        };
        if !has_tls {
            hub.received(named, bytes, turn);
            continue;
        }
        let decrypted = named.link.decrypt(bytes, &mut plain);
        hand_over(hub, named, &mut plain, turn);
        if let Err(fault) = decrypted {
            log::debug!("{}: {fault}", named.conn);
            hub.flush(named, turn);
            return hub.gone(named, GoneReason::Failed, turn);
        }
        hub.flush(named, turn);
        if named.link.ended_in_order() {
            return hub.read_ended(named, turn);
        }
    }
}

fn hand_over<M: Machine + Send + 'static>(hub: &Arc<Hub<M>>, named: &Named, plain: &mut Vec<u8>, turn: &mut Turn) {
    for bytes in plain.chunks_mut(READ_BYTES) {
        hub.received(named, bytes, turn);
    }
    plain.clear();
}

/// Starts the writer thread of a connection whose socket is full.
pub(super) fn start_writer<M: Machine + Send + 'static>(hub: &Arc<Hub<M>>, named: &Named) -> std::io::Result<()> {
    let (hub, named) = (Arc::clone(hub), named.clone());
    thread::Builder::new()
        .name(String::from("writer"))
        .stack_size(STACK)
        .spawn(move || {
            let mut turn = Turn::default();
            while named.link.wait_for_room() {
                hub.write(&named, &mut turn);
            }
        })?;
    Ok(())
}
