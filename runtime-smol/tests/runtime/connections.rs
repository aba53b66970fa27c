//! Connections: every byte arrives, in order, once; every end is told once, and last.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use portcullis_core::machine::{CloseHow, DrainHow, GoneReason, Input, Output};
use portcullis_core::time::Now;
use portcullis_smol::{Host, Ready, serve};

use crate::script::{Outbox, Script, Served, host};

const MIB: usize = 1024 * 1024;

fn echo(tell: &Sender<String>, _now: Now, input: Input<'_>, out: &mut Outbox) {
    match input {
        Input::Received { conn, bytes } => out.transmit(conn, bytes),
        Input::ReadClosed { conn } => out.push(Output::Close {
            conn,
            how: CloseHow::Flush,
        }),
        Input::Gone { conn, why } => tell.send(format!("{conn} {why:?}")).unwrap(),
        _ => {}
    }
}

fn round_trip(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut back = vec![0; message.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, message);
}

#[test]
fn an_echo_comes_back_and_the_end_is_told_once() {
    let served = Served::start(echo);
    let mut stream = served.connect();
    for message in [&b"a"[..], b"some words", &[7; 50_000]] {
        round_trip(&mut stream, message);
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(served.event(), "c1 Closed");
    assert_eq!(served.quit(), [""; 0]);
}

#[test]
fn sixty_four_mebibytes_come_back_whole() {
    let served = Served::start(echo);
    let mut stream = served.connect();
    let mut sending = stream.try_clone().unwrap();
    let sent = std::thread::spawn(move || {
        for number in 0..64_u8 {
            sending.write_all(&vec![number; MIB]).unwrap();
        }
    });
    let mut back = vec![0; MIB];
    for number in 0..64_u8 {
        stream.read_exact(&mut back).unwrap();
        assert!(back.iter().all(|byte| *byte == number), "MiB {number}");
    }
    sent.join().unwrap();
    served.quit();
}

#[test]
fn many_connections_are_served_at_once() {
    let served = Served::start(echo);
    let mut streams: Vec<TcpStream> = (0..300).map(|_| served.connect()).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&number.to_be_bytes()).unwrap();
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut back = [0; 8];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, number.to_be_bytes());
    }
    drop(streams);
    for _ in 0..300 {
        assert!(served.event().ends_with(" Closed"));
    }
    served.quit();
}

/// Sends `size` bytes on `go` and counts what the sockets took; tells the sum on `how much`.
fn sender(size: usize) -> impl FnMut(&Sender<String>, Now, Input<'_>, &mut Outbox) {
    let mut taken = 0;
    move |tell, _, input, out| match input {
        Input::Received { conn, bytes } if &*bytes == b"go" => {
            out.push(Output::Transmit {
                conn,
                bytes: Bytes::from(vec![9; size]),
            });
        }
        Input::Received { .. } => tell.send(taken.to_string()).unwrap(),
        Input::Sent { bytes, .. } => taken += bytes,
        _ => {}
    }
}

#[test]
fn bytes_count_as_sent_when_the_socket_took_them() {
    let size = 32 * MIB;
    let served = Served::start(sender(size));
    let mut slow = served.connect();
    let mut other = served.connect();
    slow.write_all(b"go").unwrap();
    let mut first = [0; 1];
    slow.read_exact(&mut first).unwrap();
    // The slow peer holds up nobody else, and most of its bytes are not taken.
    other.write_all(b"how much").unwrap();
    assert!(served.event().parse::<usize>().unwrap() < size);
    let mut rest = vec![0; size - 1];
    slow.read_exact(&mut rest).unwrap();
    assert!(rest.iter().all(|byte| *byte == 9));
    // The last bytes are told right after the socket took them, which may be a little after they were read here.
    loop {
        other.write_all(b"how much").unwrap();
        if served.event() == size.to_string() {
            break;
        }
    }
    served.quit();
}

#[test]
fn a_paused_connection_is_not_read_until_it_resumes() {
    let mut paused = None;
    let served = Served::start(move |tell, _, input, out| {
        if let Input::Received { conn, bytes } = input {
            tell.send(format!("{conn} {}", String::from_utf8_lossy(bytes))).unwrap();
            match &*bytes {
                b"pause" => {
                    paused = Some(conn);
                    out.push(Output::PauseReading { conn });
                }
                b"resume" => out.push(Output::ResumeReading { conn: paused.unwrap() }),
                _ => {}
            }
            out.transmit(conn, b"!");
        }
    });
    let (mut one, mut other) = (served.connect(), served.connect());
    let say = |stream: &mut TcpStream, word: &[u8]| {
        stream.write_all(word).unwrap();
        stream.read_exact(&mut [0]).unwrap();
    };
    say(&mut one, b"pause");
    one.write_all(b"more").unwrap();
    for _ in 0..20 {
        say(&mut other, b"x");
    }
    let seen = served.pending_events();
    assert!(!seen.iter().any(|event| event.ends_with("more")), "{seen:?}");
    say(&mut other, b"resume");
    one.read_exact(&mut [0]).unwrap();
    assert!(served.pending_events().iter().any(|event| event.ends_with("more")));
    served.quit();
}

#[test]
fn a_flush_writes_everything_and_waits_for_the_peers_end() {
    let served = Served::start(|tell, _, input, out| match input {
        Input::Received { conn, bytes } if &*bytes == b"bye" => {
            out.push(Output::Transmit {
                conn,
                bytes: Bytes::from(vec![5; 8 * MIB]),
            });
            out.push(Output::Close {
                conn,
                how: CloseHow::Flush,
            });
            // After the goodbye there is nothing to say.
            out.transmit(conn, b"unheard");
        }
        Input::Received { bytes, .. } => tell.send(String::from_utf8_lossy(bytes).into_owned()).unwrap(),
        Input::ReadClosed { .. } => tell.send("read closed".into()).unwrap(),
        Input::Gone { why, .. } => tell.send(format!("{why:?}")).unwrap(),
        _ => {}
    });
    let mut stream = served.connect();
    stream.write_all(b"bye").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 8 * MIB);
    assert_eq!(served.pending_events(), [""; 0], "the peer has not ended its direction");
    stream.write_all(b"late").unwrap();
    assert_eq!(served.event(), "late");
    // Both directions have ended: that is all there is to tell.
    drop(stream);
    assert_eq!(served.event(), "Closed");
    assert_eq!(served.quit(), [""; 0]);
}

#[test]
fn an_abort_drops_the_connection_with_what_is_unsent() {
    let served = Served::start(|tell, _, input, out| match input {
        Input::Received { conn, .. } => {
            out.push(Output::Transmit {
                conn,
                bytes: Bytes::from(vec![5; 64 * MIB]),
            });
            out.push(Output::Close {
                conn,
                how: CloseHow::Abort,
            });
            out.push(Output::Close {
                conn,
                how: CloseHow::Abort,
            });
            out.transmit(conn, b"unheard");
        }
        Input::Gone { why, .. } => tell.send(format!("{why:?}")).unwrap(),
        _ => {}
    });
    let mut stream = served.connect();
    stream.write_all(b"x").unwrap();
    let mut all = Vec::new();
    let end = stream.read_to_end(&mut all);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(all.len() < 64 * MIB);
    assert_eq!(served.event(), format!("{:?}", GoneReason::Aborted));
    assert_eq!(served.quit(), [""; 0]);
}

#[test]
fn a_reset_by_the_peer_is_a_failure() {
    let served = Served::start(echo);
    let mut stream = served.connect();
    round_trip(&mut stream, b"x");
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert_eq!(served.event(), "c1 Failed");
    assert_eq!(served.quit(), [""; 0]);
}

#[test]
fn a_connection_may_be_closed_when_it_opens() {
    let served = Served::start(|tell, _, input, out| match input {
        Input::Opened { conn, .. } if conn.get() == 1 => out.push(Output::Close {
            conn,
            how: CloseHow::Abort,
        }),
        Input::Opened { conn, .. } if conn.get() == 2 => {
            out.transmit(conn, b"503");
            out.push(Output::Close {
                conn,
                how: CloseHow::Flush,
            });
        }
        Input::Gone { conn, why } => tell.send(format!("{conn} {why:?}")).unwrap(),
        _ => {}
    });
    let _first = served.connect();
    assert_eq!(served.event(), "c1 Aborted");
    let mut second = served.connect();
    let mut all = Vec::new();
    second.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"503");
    drop(second);
    assert_eq!(served.event(), "c2 Closed");
    served.quit();
}

#[test]
fn one_input_may_speak_to_many_connections() {
    let mut members = Vec::new();
    let served = Served::start(move |_, _, input, out| match input {
        Input::Opened { conn, .. } => members.push(conn),
        Input::Received { bytes, .. } => {
            // Turn by turn: each connection still gets its own pieces in their order.
            for byte in &*bytes {
                members.iter().for_each(|conn| out.transmit(*conn, &[*byte]));
            }
        }
        Input::Gone { conn, .. } => members.retain(|member| *member != conn),
        _ => {}
    });
    let mut streams: Vec<TcpStream> = (0..20).map(|_| served.connect()).collect();
    // All of them are members once the last one hears something.
    let text = b"in this order";
    loop {
        streams[0].write_all(text).unwrap();
        let last = streams.last_mut().unwrap();
        last.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        if last.read_exact(&mut [0; 13]).is_ok() {
            break;
        }
    }
    for stream in &mut streams[..19] {
        let mut heard = [0; 13];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, text);
    }
    served.quit();
}

#[test]
fn a_close_with_nothing_before_it_comes_also_after_a_turn_that_sent_much() {
    let mut first = None;
    let served = Served::start(move |tell, _, input, out| match input {
        Input::Opened { conn, .. } => {
            first.get_or_insert(conn);
            tell.send(format!("{conn} opened")).unwrap();
        }
        Input::Received { conn, .. } => {
            // More than one turn may send, all of which the sockets take; the close comes last.
            let many = Bytes::from(vec![1; 300_000]);
            first.iter().for_each(|first| {
                out.push(Output::Transmit {
                    conn: *first,
                    bytes: many.clone(),
                })
            });
            out.push(Output::Close {
                conn,
                how: CloseHow::Flush,
            });
        }
        _ => {}
    });
    let mut flooded = served.connect();
    assert_eq!(served.event(), "c1 opened");
    let mut closed = served.connect();
    assert_eq!(served.event(), "c2 opened");
    closed.write_all(b"x").unwrap();
    flooded.read_exact(&mut vec![0; 300_000]).unwrap();
    assert_eq!(closed.read(&mut [0; 1]).unwrap(), 0);
    served.quit();
}

#[test]
fn nobody_can_connect_after_stop_accepting() {
    let served = Served::start(|_, _, input, out| {
        if let Input::Received { conn, .. } = input {
            out.push(Output::StopAccepting);
            out.transmit(conn, b"!");
        }
    });
    let mut stream = served.connect();
    let mut last = served.connect();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    // The listening socket is closed in the same round of the reactor, which the next answer shows to be over.
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    assert_eq!(
        TcpStream::connect(served.address).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    last.write_all(b"quit").unwrap();
    served.join();
}

#[test]
fn the_earliest_deadline_counts() {
    let served = Served::start(|tell, now, input, out| match input {
        // An hour first; then at once; then none.
        Input::Opened { .. } => out.wake_at = Some(now.monotonic.plus(Duration::from_secs(3_600))),
        Input::Received { .. } => out.wake_at = Some(now.monotonic.plus(Duration::from_millis(20))),
        Input::Tick if out.wake_at.is_some_and(|wanted| wanted <= now.monotonic) => {
            out.wake_at = None;
            tell.send("tick".into()).unwrap();
        }
        _ => {}
    });
    let mut stream = served.connect();
    for _ in 0..3 {
        stream.write_all(b"x").unwrap();
        assert_eq!(served.event(), "tick");
    }
    served.quit();
}

#[test]
fn a_reset_while_paused_is_told_when_reading_resumes() {
    let mut paused = None;
    let served = Served::start(move |tell, _, input, out| match input {
        Input::Received { conn, bytes } if *bytes == *b"pause" => {
            paused = Some(conn);
            out.push(Output::PauseReading { conn });
            out.transmit(conn, b"!");
        }
        Input::Received { .. } => out.push(Output::ResumeReading { conn: paused.unwrap() }),
        Input::Gone { conn, why } => tell.send(format!("{conn} {why:?}")).unwrap(),
        _ => {}
    });
    let (mut one, mut other) = (served.connect(), served.connect());
    one.write_all(b"pause").unwrap();
    one.read_exact(&mut [0]).unwrap();
    rustix::net::sockopt::set_socket_linger(&one, Some(Duration::ZERO)).unwrap();
    drop(one);
    other.write_all(b"resume").unwrap();
    assert_eq!(served.event(), "c1 Failed");
    served.quit();
}

#[test]
fn a_peer_that_floods_leaves_the_others_their_turn() {
    let served = Served::start(|_, _, input, out| match input {
        Input::Received { conn, bytes } if *bytes == *b"ping" => out.transmit(conn, b"pong"),
        _ => {}
    });
    let mut flooding = served.connect();
    let mut other = served.connect();
    let flood = std::thread::spawn(move || while flooding.write_all(&[0; 64 * 1024]).is_ok() {});
    for _ in 0..200 {
        other.write_all(b"ping").unwrap();
        other.read_exact(&mut [0; 4]).unwrap();
    }
    served.quit();
    flood.join().unwrap();
}

#[test]
fn other_threads_may_ask_the_machine_to_drain_and_hand_it_settings() {
    let served = Served::start(|tell, _, input, out| match input {
        Input::Reconfigured { settings } => tell.send(settings.gateway.path.clone()).unwrap(),
        Input::Drain { .. } => out.push(Output::Drained { clean: true }),
        _ => {}
    });
    served.remote.reconfigure(std::sync::Arc::default());
    assert_eq!(served.event(), "/gateway");
    served.remote.drain(DrainHow::Stop);
    served.join();
}

#[test]
fn a_machine_that_has_drained_hears_nothing_more_and_its_last_words_are_sent() {
    let mut drained = false;
    let served = Served::start(move |tell, _, input, out| {
        assert!(!drained, "{input:?} after the end");
        if let Input::Received { conn, .. } = input {
            drained = true;
            out.transmit(conn, b"bye");
            out.push(Output::Drained { clean: true });
            tell.send("drained".into()).unwrap();
        }
    });
    let mut stream = served.connect();
    stream.write_all(b"x").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye");
    assert_eq!(served.join(), ["drained"]);
}

#[test]
fn readiness_is_told_when_connections_are_taken_and_its_failure_ends_the_service() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The queue of the listener takes the connection; what matters is that the service asks, and heeds the answer.
    let host = Host {
        ready: Ready::new(move || {
            TcpStream::connect(address)?;
            Err(ErrorKind::BrokenPipe.into())
        }),
        ..host()
    };
    let end = serve(Script::new(|_, _, _: &mut Outbox| ()), vec![listener], host);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::BrokenPipe);
}
