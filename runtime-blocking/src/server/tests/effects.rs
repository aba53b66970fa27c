//! Effects through the whole path: started by a machine, completed to it.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use portcullis_core::effect::{
    Completion, Dial, DialTo, ExitStatus, FaultKind, OutputStream, SignatureCheck, SignatureScheme, Spawn, TlsClient,
};
use portcullis_core::machine::{CloseHow, GoneReason, Peer};
use portcullis_core::store::{Batch, Durability, Expect, Key, Op, Reply, StoreReply};

use super::*;

/// Starts one effect with the first tick; progress is dealt with at once.
fn run_one(what: Effect) -> Served {
    run_one_on(host(), what)
}

fn run_one_on(host: Host, what: Effect) -> Served {
    let mut what = Some(what);
    serve_script_on(host, move |seen, _| match seen {
        Seen::Tick => what.take().map(|what| start(1, what)).into_iter().collect(),
        Seen::Progress(effect, _) => vec![Output::Continue { effect: *effect }],
        _ => Vec::new(),
    })
}

fn outcome_of(what: Effect) -> Outcome {
    let served = run_one(what);
    let outcome = completion(&served);
    served.finish();
    outcome
}

fn completion(served: &Served) -> Outcome {
    served.find(|seen| {
        if let Seen::Completed(_, outcome) = seen {
            Some(outcome)
        } else {
            None
        }
    })
}

fn program(program: &str, args: &[&str]) -> Spawn {
    Spawn {
        program: program.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        stdin: Bytes::new(),
        dir: None,
    }
}

/// Runs a program; its two streams and its end.
fn run(spawn: Spawn) -> (Vec<u8>, Vec<u8>, Outcome) {
    let served = run_one(Effect::Spawn(spawn));
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let outcome = served.find(|seen| match seen {
        Seen::Progress(_, Progress::Output { stream, bytes }) => {
            assert!(!bytes.is_empty() && bytes.len() <= 16 * 1024);
            match stream {
                OutputStream::Stdout => output.extend_from_slice(&bytes),
                OutputStream::Stderr => errors.extend_from_slice(&bytes),
            }
            None
        }
        Seen::Completed(_, outcome) => Some(outcome),
        _ => None,
    });
    served.finish();
    (output, errors, outcome)
}

#[test]
fn files_and_names_and_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f").to_str().unwrap().to_owned();
    let write = Effect::WriteFile {
        path: path.clone(),
        bytes: Bytes::from_static(b"abc"),
        mode: 0o600,
    };
    assert_eq!(outcome_of(write), Ok(Completion::Done));
    let read = outcome_of(Effect::ReadFile { path, max_bytes: 2 });
    assert_eq!(
        read,
        Ok(Completion::File {
            bytes: Bytes::from_static(b"bc"),
            size: 3
        })
    );
    let resolved = outcome_of(Effect::Resolve {
        host: String::from("localhost"),
    });
    assert!(matches!(resolved, Ok(Completion::Resolved(addresses)) if !addresses.is_empty()));
    let check = SignatureCheck {
        scheme: SignatureScheme::EcdsaP256(Bytes::new()),
        message: Bytes::new(),
        signature: Bytes::new(),
    };
    let verified = outcome_of(Effect::VerifySignature(check));
    assert_eq!(verified, Ok(Completion::Verified(false)));
    let key = Key {
        table: "t",
        id: String::from("a"),
    };
    let put = Op::Put {
        key,
        expect: Expect::Absent,
        value: Bytes::from_static(b"v"),
        expires_at: None,
    };
    let stored = outcome_of(Effect::Store(Batch {
        ops: vec![put],
        durability: Durability::Durable,
    }));
    assert!(
        matches!(stored, Ok(Completion::Stored(StoreReply::Applied(replies))) if matches!(replies[..], [Reply::Written(_)]))
    );
}

#[test]
fn a_program_gets_its_input_and_only_its_own_environment() {
    let mut spawn = program("sh", &["-c", "cat; env | sort >&2; exit 3"]);
    spawn.stdin = Bytes::from(vec![b'x'; 300_000]);
    spawn.env = vec![(String::from("NAME"), String::from("value"))];
    spawn.dir = Some(String::from("/"));
    let (output, errors, outcome) = run(spawn);
    assert_eq!(output, vec![b'x'; 300_000]);
    let errors = String::from_utf8(errors).unwrap();
    let names: Vec<_> = errors
        .lines()
        .filter(|line| !line.starts_with("_=") && !line.starts_with("PWD="))
        .collect();
    assert!(
        names.contains(&"NAME=value") && !errors.contains("HOME=") && !errors.contains("CARGO"),
        "{names:?}"
    );
    assert_eq!(outcome, Ok(Completion::Exited(ExitStatus::Code(3))));
}

#[test]
fn ends_of_programs() {
    let killed = run(program("/bin/sh", &["-c", "kill -9 $$"])).2;
    assert_eq!(killed, Ok(Completion::Exited(ExitStatus::Signal(9))));
    // A program that reads none of its input is no failure.
    let mut deaf = program("true", &[]);
    deaf.stdin = Bytes::from(vec![0; 1_000_000]);
    assert_eq!(run(deaf).2, Ok(Completion::Exited(ExitStatus::Code(0))));
    assert_eq!(
        run(program("no-such-program-anywhere", &[])).2.unwrap_err().kind,
        FaultKind::NotFound
    );
    let mut nowhere = program("true", &[]);
    nowhere.dir = Some(String::from("/nonexistent"));
    let fault = run(nowhere).2.unwrap_err();
    assert!(
        fault.kind == FaultKind::NotFound && fault.detail.contains("/nonexistent"),
        "{fault}"
    );
}

#[test]
fn one_piece_of_progress_at_a_time_and_all_of_it_before_the_end() {
    let mut started = false;
    let mut held = 0;
    let served = serve_script(move |seen, _| match seen {
        Seen::Tick if !started => {
            started = true;
            vec![start(
                1,
                Effect::Spawn(program("sh", &["-c", "head -c 200000 /dev/zero; echo e >&2"])),
            )]
        }
        // Dealt with only when the test says so.
        Seen::Progress(..) => {
            held += 1;
            assert_eq!(held, 1, "a further piece came before the last was dealt with");
            Vec::new()
        }
        Seen::Received(..) => {
            held = 0;
            vec![Output::Continue { effect: effect(1) }]
        }
        _ => Vec::new(),
    });
    let mut steering = served.connect();
    let mut total = 0;
    let outcome = served.find(|seen| match seen {
        Seen::Progress(_, Progress::Output { bytes, .. }) => {
            total += bytes.len();
            steering.write_all(b"c").unwrap();
            None
        }
        Seen::Completed(_, outcome) => Some(outcome),
        _ => None,
    });
    assert_eq!(outcome, Ok(Completion::Exited(ExitStatus::Code(0))));
    assert_eq!(total, 200_002);
    served.finish();
}

#[test]
fn a_cancel_kills_the_whole_group() {
    let mut started = false;
    let served = serve_script(move |seen, _| match seen {
        Seen::Tick if !started => {
            started = true;
            vec![start(
                1,
                Effect::Spawn(program("sh", &["-c", "sleep 1000 & echo $!; wait"])),
            )]
        }
        Seen::Progress(effect, _) => vec![Output::Cancel { effect: *effect }, Output::Cancel { effect: *effect }],
        _ => Vec::new(),
    });
    let mut child = String::new();
    let outcome = served.find(|seen| match seen {
        Seen::Progress(_, Progress::Output { bytes, .. }) => {
            child.push_str(std::str::from_utf8(&bytes).unwrap());
            None
        }
        Seen::Completed(_, outcome) => Some(outcome),
        _ => None,
    });
    assert_eq!(outcome.unwrap_err().kind, FaultKind::Cancelled);
    let child: i32 = child.trim().parse().unwrap();
    let status = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    // Killed: gone, or a zombie until whoever adopted it looks.
    let dead = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(5));
        status().is_empty() || status().contains(") Z ")
    });
    assert!(dead, "the grandchild lives on");
    served.finish();
}

#[test]
fn a_descendant_that_keeps_the_pipe_open_does_not_hold_the_run() {
    let before = std::time::Instant::now();
    let (output, _, outcome) = run(program("sh", &["-c", "sleep 1000 & echo done"]));
    assert_eq!(output, b"done\n");
    assert_eq!(outcome, Ok(Completion::Exited(ExitStatus::Code(0))));
    // Not even one that has left the process group.
    let (output, _, outcome) = run(program("sh", &["-c", "setsid sleep 30 & echo done"]));
    assert_eq!(output, b"done\n");
    assert_eq!(outcome, Ok(Completion::Exited(ExitStatus::Code(0))));
    // Nor one that goes on talking.
    let (output, _, outcome) = run(program(
        "sh",
        &["-c", "setsid sh -c 'while echo more; do sleep 0.1; done' & echo done"],
    ));
    assert!(output.starts_with(b"done") || output.starts_with(b"more"));
    assert_eq!(outcome, Ok(Completion::Exited(ExitStatus::Code(0))));
    assert!(before.elapsed() < PATIENCE);
}

/// Dials, says hello when connected, closes in order when answered.
fn dialling(host: Host, dial: Dial) -> Served {
    let mut dial = Some(dial);
    serve_script_on(host, move |seen, _| match seen {
        Seen::Tick => dial
            .take()
            .map(|dial| start(1, Effect::Dial(dial)))
            .into_iter()
            .collect(),
        Seen::Completed(_, Ok(Completion::Dialled { conn, .. })) => vec![transmit(*conn, "hello")],
        Seen::Received(conn, _) => vec![Output::Close {
            conn: *conn,
            how: CloseHow::Flush,
        }],
        _ => Vec::new(),
    })
}

/// Reads hello, answers, ends.
fn answer(mut peer: impl Read + Write) {
    let mut heard = [0; 5];
    peer.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    peer.write_all(b"welcome").unwrap();
    assert_eq!(peer.read(&mut heard).unwrap(), 0, "the other side closes in order");
}

fn expect_exchange(served: Served, expected: Peer) {
    let (conn, peer) = match completion(&served) {
        Ok(Completion::Dialled { conn, peer }) => (conn, peer),
        other => panic!("{other:?}"),
    };
    assert_eq!(peer, expected);
    let mut sent = 0;
    let why = served.find(|seen| match seen {
        Seen::Received(from, bytes) => {
            assert_eq!((from, &bytes[..]), (conn, &b"welcome"[..]));
            None
        }
        Seen::Sent(_, bytes) => {
            sent += bytes;
            None
        }
        Seen::Gone(_, why) => Some(why),
        _ => None,
    });
    assert_eq!((sent, why), (5, GoneReason::Closed));
    served.finish();
}

#[test]
fn dialled_tcp_and_unix_links_are_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = thread::spawn(move || answer(listener.accept().unwrap().0));
    let dial = Dial {
        to: DialTo::Tcp(address),
        tls: None,
        timeout: PATIENCE,
    };
    expect_exchange(dialling(host(), dial), Peer::Tcp(address));
    peer.join().unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let peer = thread::spawn(move || answer(listener.accept().unwrap().0));
    let dial = Dial {
        to: DialTo::Unix(path.to_str().unwrap().to_owned()),
        tls: None,
        timeout: PATIENCE,
    };
    expect_exchange(dialling(host(), dial), Peer::Local);
    peer.join().unwrap();
}

/// A TLS server's settings, and a file with the anchor that trusts it.
fn tls_server(folder: &std::path::Path) -> (Arc<rustls::ServerConfig>, std::path::PathBuf) {
    let certified = rcgen::generate_simple_self_signed([String::from("peer.test")]).unwrap();
    let anchors = folder.join("anchors.pem");
    std::fs::write(&anchors, certified.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), anchors)
}

fn tls_dial(address: SocketAddr, name: &str) -> Dial {
    let tls = Some(TlsClient {
        server_name: name.to_owned(),
    });
    Dial {
        to: DialTo::Tcp(address),
        tls,
        timeout: PATIENCE,
    }
}

#[test]
fn dialled_tls_links_are_connections_too() {
    let folder = tempfile::tempdir().unwrap();
    let (config, anchors) = tls_server(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = thread::spawn(move || {
        let session = rustls::ServerConnection::new(config).unwrap();
        let mut stream = rustls::StreamOwned::new(session, listener.accept().unwrap().0);
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).unwrap();
        stream.write_all(b"welcome").unwrap();
        // Its close_notify has come; ours follows.
        assert_eq!(stream.read(&mut heard).unwrap(), 0);
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
    let host = Host::new(Store::memory(), ClientTls::new(Some(anchors)), Clock::start());
    expect_exchange(dialling(host, tls_dial(address, "peer.test")), Peer::Tcp(address));
    peer.join().unwrap();
}

#[test]
fn many_bytes_go_both_ways_through_tls() {
    const TOTAL: usize = 8 * 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let (config, anchors) = tls_server(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = thread::spawn(move || {
        let session = rustls::ServerConnection::new(config).unwrap();
        let mut stream = rustls::StreamOwned::new(session, listener.accept().unwrap().0);
        let mut all = vec![0; TOTAL];
        stream.read_exact(&mut all).unwrap();
        assert!(all.iter().all(|byte| *byte == 9));
        stream.write_all(&all).unwrap();
        // Ends without close_notify: a truncation.
        stream.flush().unwrap();
    });
    let host = Host::new(Store::memory(), ClientTls::new(Some(anchors)), Clock::start());
    let mut dial = Some(tls_dial(address, "peer.test"));
    let served = serve_script_on(host, move |seen, _| match seen {
        Seen::Tick => dial
            .take()
            .map(|dial| start(1, Effect::Dial(dial)))
            .into_iter()
            .collect(),
        Seen::Completed(_, Ok(Completion::Dialled { conn, .. })) => vec![transmit(*conn, vec![9; TOTAL])],
        _ => Vec::new(),
    });
    let (mut heard, mut sent) = (0, 0);
    let why = served.find(|seen| match seen {
        Seen::Received(_, bytes) => {
            heard += bytes.len();
            assert!(bytes.len() <= 16 * 1024);
            None
        }
        Seen::Sent(_, bytes) => {
            sent += bytes;
            None
        }
        Seen::Gone(_, why) => Some(why),
        _ => None,
    });
    assert_eq!((heard, sent, why), (TOTAL, TOTAL, GoneReason::Failed));
    peer.join().unwrap();
    served.finish();
}

#[test]
fn dials_that_fail_say_why() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let closed = TcpListener::bind((super::own_address(), 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let kind = |dial: Dial| outcome_of(Effect::Dial(dial)).unwrap_err().kind;
    assert_eq!(
        kind(Dial {
            to: DialTo::Tcp(closed),
            tls: None,
            timeout: PATIENCE
        }),
        FaultKind::Refused
    );
    let no_path = DialTo::Unix(String::from("/nonexistent/socket"));
    assert_eq!(
        kind(Dial {
            to: no_path,
            tls: None,
            timeout: PATIENCE
        }),
        FaultKind::NotFound
    );
    let slow = Dial {
        timeout: Duration::from_millis(50),
        ..tls_dial(silent, "peer.test")
    };
    assert_eq!(kind(slow), FaultKind::TimedOut);
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = tls_server(folder.path());
    let untrusted = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = untrusted.local_addr().unwrap();
    let peer = thread::spawn(move || {
        let session = rustls::ServerConnection::new(config).unwrap();
        let mut stream = rustls::StreamOwned::new(session, untrusted.accept().unwrap().0);
        assert!(stream.read(&mut [0; 1]).is_err(), "the client sends an alert");
    });
    assert_eq!(kind(tls_dial(address, "peer.test")), FaultKind::Tls);
    peer.join().unwrap();
}

#[test]
fn a_cancelled_dial_completes_at_once_and_effects_are_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let mut started = false;
    let served = serve_script(move |seen, _| match seen {
        Seen::Tick if !started => {
            started = true;
            let dial = Effect::Dial(tls_dial(silent, "peer.test"));
            vec![start(1, dial), Output::Cancel { effect: effect(1) }]
        }
        Seen::Received(..) => {
            let sleepers = (2..=1_026).map(|number| {
                let host = String::from("localhost");
                start(number, Effect::Resolve { host })
            });
            sleepers.collect()
        }
        _ => Vec::new(),
    });
    assert_eq!(
        served.next(),
        Seen::Completed(effect(1), Err(crate::effects::fault::fault(FaultKind::Cancelled, "")))
    );
    served.connect().write_all(b"x").unwrap();
    let mut refused = 0;
    for _ in 0..1_025 {
        if let Err(fault) = completion(&served) {
            assert_eq!(fault.kind, FaultKind::Unavailable);
            refused += 1;
        }
    }
    assert_eq!(refused, 1);
    served.finish();
}
