//! A small gateway over an event loop of its own: plain non-blocking sockets, one `poll(2)`, one thread, no runtime.
//! It shows all that a program must do to embed [`Gateway`]: tell it what happens, carry out what it wants, sleep until
//! the instant it names. What belongs to a deployment is left out: records and transcripts are kept in memory only, and
//! programs, look-ups and dialled links are answered with "unavailable", so only the built-in agent (it repeats the
//! message) works.
//!
//! `cargo run -p portcullis-core --example event_loop` listens on 127.0.0.1, on a free port; Enter makes it drain and end.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::SystemTime;

use portcullis_core::gateway::Gateway;
use portcullis_core::id::{ConnId, ListenerId};
use portcullis_core::machine::{CloseHow, DrainHow, GoneReason, Input, Machine, Output, Peer};
use portcullis_core::random::{Random, Seed};
use portcullis_core::secret::Secret;
use portcullis_core::settings::Settings;
use portcullis_core::time::{Instant, Now, UnixMillis};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[path = "event_loop/memory.rs"]
mod memory;
#[path = "event_loop/socket.rs"]
mod socket;
use memory::Memory;
use socket::{Socket, is_harmless};

fn main() -> Result<(), Box<dyn Error>> {
    let token = match std::env::var("OPENGOAT_GATEWAY_TOKEN") {
        Ok(token) => token,
        Err(_) => Random::new(entropy()?).token(),
    };
    let mut settings = Settings::default();
    settings.auth.tokens = Some(vec![Secret::new(token.clone())]);
    // Below the usual limit of 1 024 open files, with room for those who are told that there is no room.
    settings.gateway.max_connections = 256;

    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("Gateway URL: ws://{}{}", listener.local_addr()?, settings.gateway.path);
    println!("Gateway token: {token}");
    EventLoop::new(settings, listener)?.run()?;
    Ok(())
}

/// The core has no randomness of its own: 32 bytes of the operating system's.
fn entropy() -> io::Result<Seed> {
    let mut seed = [0; 32];
    let filled = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
    if filled < seed.len() {
        return Err(io::Error::other("the system gave too little entropy"));
    }
    Ok(Seed(seed))
}

struct EventLoop {
    gateway: Gateway,
    origin: std::time::Instant,
    listener: Option<TcpListener>,
    sockets: BTreeMap<ConnId, Socket>,
    next_conn: ConnId,
    memory: Memory,
    /// What happened while outputs were carried out, for the gateway to hear next.
    news: VecDeque<Input<'static>>,
    wake_at: Option<Instant>,
    drained: bool,
}

impl EventLoop {
    fn new(settings: Settings, listener: TcpListener) -> io::Result<Self> {
        let origin = std::time::Instant::now();
        Ok(Self {
            gateway: Gateway::new(Arc::new(settings), entropy()?, now(origin)),
            origin,
            listener: Some(listener),
            sockets: BTreeMap::new(),
            next_conn: ConnId::FIRST,
            memory: Memory::default(),
            news: VecDeque::new(),
            wake_at: None,
            drained: false,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let mut keyboard = Some(io::stdin());
        // Before anything has happened the gateway asks its store for what outlived the last one.
        self.turn(Input::Tick);
        while !self.drained {
            let ready = self.wait(keyboard.as_ref())?;
            if ready.keyboard {
                match keyboard.as_mut().map_or(Ok(0), |keyboard| keyboard.read(&mut buffer)) {
                    // Started without a keyboard: it runs until it is killed.
                    Ok(0) | Err(_) => keyboard = None,
                    Ok(_) => self.turn(Input::Drain { how: DrainHow::Stop }),
                }
            }
            if ready.listener {
                self.accept();
            }
            for (conn, events) in ready.sockets {
                if events.contains(PollFlags::OUT) {
                    self.flush(conn);
                }
                if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.read(conn, &mut buffer);
                }
            }
            // A deadline may have passed. A tick that comes early is harmless.
            self.turn(Input::Tick);
        }
        Ok(())
    }

    /// Sleeps until a socket is ready or the gateway's next deadline has come.
    fn wait(&self, keyboard: Option<&io::Stdin>) -> io::Result<Ready> {
        let wanted = self
            .sockets
            .iter()
            .map(|(conn, socket)| (conn, socket, socket.interest()));
        let wanted = wanted.filter(|(_, _, interest)| !interest.is_empty());
        let (names, mut fds): (Vec<_>, Vec<_>) = wanted
            .map(|(conn, socket, interest)| (*conn, PollFd::new(&socket.stream, interest)))
            .unzip();
        let others = [self.listener.as_ref().map(AsFd::as_fd), keyboard.map(AsFd::as_fd)];
        fds.extend(
            others
                .iter()
                .flatten()
                .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)),
        );
        let timeout = self.wake_at.map(|at| {
            let left = at.since(now(self.origin).monotonic);
            Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut rest = fds.iter().skip(names.len()).map(|fd| !fd.revents().is_empty());
        Ok(Ready {
            listener: self.listener.is_some() && rest.next().unwrap_or(false),
            keyboard: rest.next().unwrap_or(false),
            sockets: names.into_iter().zip(fds.iter().map(PollFd::revents)).collect(),
        })
    }

    /// One input, then everything that it causes, and what is heard while that is done.
    fn turn(&mut self, input: Input<'_>) {
        self.handle(input);
        while let Some(input) = self.news.pop_front() {
            self.handle(input);
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.gateway.handle(now(self.origin), input);
        // What one input causes for a connection is written once everything is known.
        let mut touched = Vec::new();
        loop {
            match self.gateway.poll() {
                Output::Idle { wake_at } => {
                    self.wake_at = wake_at;
                    break;
                }
                Output::Drained { .. } => {
                    self.drained = true;
                    break;
                }
                output => touched.extend(self.carry_out(output)),
            }
        }
        for conn in touched {
            self.flush(conn);
        }
    }

    /// Does what the gateway wants; names the connection that there is now something to write to.
    fn carry_out(&mut self, output: Output) -> Option<ConnId> {
        match output {
            Output::Transmit { conn, bytes } => {
                self.sockets.get_mut(&conn)?.waiting.push_back(bytes);
                return Some(conn);
            }
            Output::PauseReading { conn } => self.sockets.get_mut(&conn)?.paused = true,
            Output::ResumeReading { conn } => self.sockets.get_mut(&conn)?.paused = false,
            Output::Close {
                conn,
                how: CloseHow::Abort,
            } => self.gone(conn, GoneReason::Aborted),
            Output::Close { conn, .. } => {
                self.sockets.get_mut(&conn)?.closing = true;
                return Some(conn);
            }
            Output::Start { effect, what } => {
                let outcome = self.memory.carry_out(*what, now(self.origin).wall);
                self.news.push_back(Input::Completed { effect, outcome });
            }
            // Effects end here as soon as they start: there is nothing to let go on and nothing to cancel.
            Output::Continue { .. } | Output::Cancel { .. } => {}
            Output::StopAccepting => self.listener = None,
            Output::Report(report) => eprintln!("{report}"),
            Output::Idle { .. } | Output::Drained { .. } => {}
        }
        None
    }

    fn accept(&mut self) {
        while let Some(Ok((stream, peer))) = self.listener.as_ref().map(TcpListener::accept) {
            if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
                continue;
            }
            let (conn, listener) = (self.next_conn, ListenerId(0));
            self.next_conn = conn.next();
            self.sockets.insert(conn, Socket::new(stream));
            let peer = Peer::Tcp(peer);
            self.turn(Input::Opened { conn, listener, peer });
        }
    }

    fn read(&mut self, conn: ConnId, buffer: &mut [u8]) {
        let Some(socket) = self.sockets.get_mut(&conn) else {
            return;
        };
        match socket.stream.read(buffer) {
            Ok(0) => {
                socket.read_ended = true;
                self.turn(Input::ReadClosed { conn });
                self.flush(conn);
            }
            Ok(count) => {
                let bytes = buffer.get_mut(..count).unwrap_or_default();
                self.turn(Input::Received { conn, bytes });
            }
            Err(error) if is_harmless(&error) => {}
            Err(_) => self.gone(conn, GoneReason::Failed),
        }
    }

    /// Writes what the socket takes, tells the gateway how much that was, and notices the end.
    fn flush(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get_mut(&conn) else {
            return;
        };
        let (sent, result) = socket.flush();
        let over = socket.is_over();
        if sent > 0 {
            self.news.push_back(Input::Sent { conn, bytes: sent });
        }
        if result.is_err() || over {
            self.gone(conn, if over { GoneReason::Closed } else { GoneReason::Failed });
        }
    }

    /// Drops a connection; told once, and last.
    fn gone(&mut self, conn: ConnId, why: GoneReason) {
        if self.sockets.remove(&conn).is_some() {
            self.news.push_back(Input::Gone { conn, why });
        }
    }
}

struct Ready {
    listener: bool,
    keyboard: bool,
    sockets: Vec<(ConnId, PollFlags)>,
}

/// Both clocks, read by us: the core has none.
fn now(origin: std::time::Instant) -> Now {
    let wall = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        monotonic: Instant::from_micros(u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX)),
        wall: UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
    }
}
