//! Bytes, pauses and ends of connections.

use std::io::{Read, Write};
use std::net::Shutdown;

use portcullis_core::machine::{CloseHow, GoneReason};
use portcullis_core::settings::GatewaySettings;

use super::*;

#[test]
fn an_exchange_from_its_opening_to_its_end() {
    let served = serve_script(|seen, _| echo(seen));
    let mut client = served.connect();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut answer).unwrap(), 0);
    let conn = ConnId::FIRST;
    assert_eq!(served.next(), Seen::Opened(conn, ListenerId(0)));
    assert_eq!(served.next(), Seen::Received(conn, b"hello".to_vec()));
    assert_eq!(served.next(), Seen::Sent(conn, 5));
    assert_eq!(served.next(), Seen::ReadClosed(conn));
    assert_eq!(served.next(), Seen::Gone(conn, GoneReason::Closed));
    served.finish();
}

#[test]
fn sixty_four_mebibytes_go_through_in_order() {
    const TOTAL: usize = 64 * 1024 * 1024;
    let served = serve_script(|seen, _| echo(seen));
    let mut client = served.connect();
    let mut sender = client.try_clone().unwrap();
    let writer = thread::spawn(move || {
        let block: Vec<u8> = (0..65_536_u32).map(|at| (at % 251) as u8).collect();
        for _ in 0..TOTAL / block.len() {
            sender.write_all(&block).unwrap();
        }
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut block = vec![0; 65_536];
    for _ in 0..TOTAL / block.len() {
        client.read_exact(&mut block).unwrap();
        assert!(block.iter().zip(0_u32..).all(|(byte, at)| u32::from(*byte) == at % 251));
    }
    assert_eq!(client.read(&mut block).unwrap(), 0);
    writer.join().unwrap();
    let mut sent = 0;
    let why = served.find(|seen| match seen {
        Seen::Sent(_, bytes) => {
            sent += bytes;
            None
        }
        Seen::Gone(_, why) => Some(why),
        _ => None,
    });
    assert_eq!(why, GoneReason::Closed);
    assert_eq!(sent, TOTAL, "every byte is reported as sent, once");
    served.finish();
}

#[test]
fn a_peer_that_does_not_read_holds_nobody_up_and_gets_everything_later() {
    const TOTAL: usize = 16 * 1024 * 1024;
    let served = serve_script(|seen, _| match seen {
        Seen::Received(conn, bytes) if bytes == b"flood" => {
            (0..TOTAL / 65_536).map(|_| transmit(*conn, vec![7; 65_536])).collect()
        }
        other => echo(other),
    });
    let mut slow = served.connect();
    slow.write_all(b"flood").unwrap();
    served.find(|seen| matches!(seen, Seen::Sent(..)).then_some(()));
    let mut quick = served.connect();
    quick.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    quick.read_exact(&mut answer).unwrap();
    let mut all = vec![0; TOTAL];
    slow.read_exact(&mut all).unwrap();
    assert!(all.iter().all(|byte| *byte == 7));
    served.finish();
}

#[test]
fn a_paused_connection_is_not_read_until_it_is_resumed() {
    let mut paused = None;
    let served = serve_script(move |seen, _| match seen {
        Seen::Received(conn, bytes) if bytes.starts_with(b"pause") => {
            paused = Some(*conn);
            vec![Output::PauseReading { conn: *conn }]
        }
        Seen::Received(conn, bytes) if bytes.starts_with(b"resume") => {
            let other = paused.expect("somebody is paused");
            vec![Output::ResumeReading { conn: other }, transmit(*conn, "ok")]
        }
        other => echo(other),
    });
    let mut client = served.connect();
    client.write_all(b"pause").unwrap();
    served.find(|seen| matches!(seen, Seen::Received(..)).then_some(()));
    // Far more than one read and the system's buffers: the writer must get stuck.
    let mut sender = client.try_clone().unwrap();
    let writer = thread::spawn(move || sender.write_all(&vec![1; 32 * 1024 * 1024]).map(drop));
    let mut steering = served.connect();
    let mut while_paused = 0;
    thread::sleep(Duration::from_millis(100));
    while let Ok(seen) = served.seen.try_recv() {
        while_paused += usize::from(matches!(seen, Seen::Received(..)));
    }
    assert!(while_paused <= 1, "{while_paused} reads while paused");
    assert!(!writer.is_finished());
    steering.write_all(b"resume").unwrap();
    let mut all = vec![0; 32 * 1024 * 1024];
    client.read_exact(&mut all).unwrap();
    writer.join().unwrap().unwrap();
    served.finish();
}

#[test]
fn flush_sends_everything_then_waits_for_the_peers_end() {
    const TOTAL: usize = 4 * 1024 * 1024;
    let served = serve_script(|seen, _| match seen {
        Seen::Received(conn, bytes) if bytes == b"last" => {
            let conn = *conn;
            vec![
                transmit(conn, vec![3; TOTAL]),
                Output::Close {
                    conn,
                    how: CloseHow::Flush,
                },
                transmit(conn, "late"),
            ]
        }
        _ => Vec::new(),
    });
    let mut client = served.connect();
    client.write_all(b"last").unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(
        all.len(),
        TOTAL,
        "everything handed over before the close, nothing after it"
    );
    client.write_all(b"still talking").unwrap();
    served.find(|seen| matches!(seen, Seen::Received(_, bytes) if bytes == b"still talking").then_some(()));
    assert!(
        !served.seen.try_iter().any(|seen| matches!(seen, Seen::Gone(..))),
        "the peer has not ended yet"
    );
    drop(client);
    let why = served.find(|seen| if let Seen::Gone(_, why) = seen { Some(why) } else { None });
    assert_eq!(why, GoneReason::Closed);
    served.finish();
}

#[test]
fn abort_drops_what_is_unsent_and_is_told_once_and_last() {
    let served = serve_script(|seen, _| match seen {
        Seen::Received(conn, bytes) if bytes == b"die" => {
            let conn = *conn;
            vec![
                transmit(conn, vec![3; 32 * 1024 * 1024]),
                Output::Close {
                    conn,
                    how: CloseHow::Abort,
                },
                Output::Close {
                    conn,
                    how: CloseHow::Abort,
                },
                Output::Close {
                    conn,
                    how: CloseHow::Flush,
                },
            ]
        }
        _ => Vec::new(),
    });
    let mut client = served.connect();
    client.write_all(b"die").unwrap();
    let mut all = Vec::new();
    // A reset or an end: either way the connection is over.
    let _ = client.read_to_end(&mut all);
    assert!(all.len() < 32 * 1024 * 1024);
    let gone = served.find(|seen| matches!(seen, Seen::Gone(..)).then_some(seen));
    assert_eq!(gone, Seen::Gone(ConnId::FIRST, GoneReason::Aborted));
    let mut other = served.connect();
    other.write_all(b"x").unwrap();
    served.find(|seen| {
        assert!(!matches!(seen, Seen::Gone(..)), "told twice");
        matches!(seen, Seen::Received(..)).then_some(())
    });
    served.finish();
}

#[test]
fn a_reset_is_told_as_a_failure() {
    let served = serve_script(|_, _| Vec::new());
    let client = served.connect();
    assert_eq!(served.next(), Seen::Opened(ConnId::FIRST, ListenerId(0)));
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(served.next(), Seen::Gone(ConnId::FIRST, GoneReason::Failed));
    served.finish();
}

#[test]
fn bytes_for_other_connections_reach_them() {
    let mut all = Vec::new();
    let served = serve_script(move |seen, _| match seen {
        Seen::Opened(conn, _) => {
            all.push(*conn);
            Vec::new()
        }
        Seen::Received(_, bytes) => all.iter().map(|conn| transmit(*conn, bytes.clone())).collect(),
        _ => Vec::new(),
    });
    let mut clients: Vec<_> = (0..8).map(|_| served.connect()).collect();
    for _ in 0..8 {
        served.find(|seen| matches!(seen, Seen::Opened(..)).then_some(()));
    }
    clients[3].write_all(b"news").unwrap();
    for client in &mut clients {
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"news");
    }
    served.finish();
}

#[test]
fn ticks_come_at_their_deadline_and_not_before() {
    let mut due: Option<Instant> = None;
    let served = serve_script(move |seen, now| match seen {
        Seen::Received(..) => {
            let at = now.monotonic.plus(Duration::from_millis(30));
            due = Some(at);
            vec![Output::Idle { wake_at: Some(at) }]
        }
        Seen::Tick if due.is_some_and(|at| at <= now.monotonic) => {
            vec![transmit(ConnId::FIRST, "due"), Output::Idle { wake_at: None }]
        }
        _ => Vec::new(),
    });
    let mut client = served.connect();
    client.write_all(b"set").unwrap();
    let mut answer = [0; 3];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"due");
    served.finish();
}

#[test]
fn connections_above_the_cap_are_closed_and_the_others_live_on() {
    let host = Host {
        max_connections: 2,
        ..host()
    };
    let served = serve_script_on(host, |seen, _| echo(seen));
    let mut kept: Vec<_> = (0..2).map(|_| served.connect()).collect();
    for _ in 0..2 {
        served.find(|seen| matches!(seen, Seen::Opened(..)).then_some(()));
    }
    let mut refused = served.connect();
    assert_eq!(refused.read(&mut [0; 1]).unwrap_or(0), 0);
    kept[1].write_all(b"ping").unwrap();
    kept[1].read_exact(&mut [0; 4]).unwrap();
    served.finish();
}

#[test]
fn draining_ends_the_service_its_listeners_and_its_connections() {
    let served = serve_script(|seen, _| echo(seen));
    let mut client = served.connect();
    served.find(|seen| matches!(seen, Seen::Opened(..)).then_some(()));
    let address = served.address;
    served.finish();
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn settings_reach_the_machine() {
    let served = serve_script(|_, _| Vec::new());
    served
        .remote
        .reconfigure(Arc::new(portcullis_core::settings::Settings::default()));
    assert_eq!(served.next(), Seen::Reconfigured);
    served.finish();
}

#[test]
fn a_gateway_is_let_answer_those_it_has_no_room_for() {
    let settings = GatewaySettings {
        max_connections: 10_000,
        ..GatewaySettings::default()
    };
    let mut host = host();
    host.make_room_for(&settings);
    assert!(host.max_connections > 10_000);
}

#[test]
fn readiness_is_told_when_connections_are_taken() {
    let (tell, ready) = mpsc::channel();
    let host = Host {
        ready: Ready::new(move || tell.send(()).map_err(io::Error::other)),
        ..host()
    };
    let served = serve_script_on(host, |seen, _| echo(seen));
    ready.recv_timeout(PATIENCE).unwrap();
    let mut client = served.connect();
    client.write_all(b"ping").unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    served.finish();
}

#[test]
fn a_service_whose_readiness_cannot_be_told_ends() {
    let host = Host {
        ready: Ready::new(|| Err(io::ErrorKind::BrokenPipe.into())),
        ..host()
    };
    let mut served = serve_script_on(host, |seen, _| echo(seen));
    let end = served.server.take().unwrap().join().unwrap();
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
