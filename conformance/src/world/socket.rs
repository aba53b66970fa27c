//! The world over real sockets: a gateway in a child process (or somebody else's, by address) and TCP connections to it.
//! Everything that is waited for is bounded in time.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use portcullis_core::machine::DrainHow;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;

use serde_json::{Map, Value};

use super::upstreams::Upstreams;
use super::{Taken, World};
use crate::child::{Child, Program};
use crate::client::talk::connect_from;
use crate::folder::Folder;
use crate::program::{self, Ended, Job};
use crate::vector::DialPattern;

/// How long a connection may take to open, and a write to go through.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest single wait: other connections are looked at in between.
const SLICE: Duration = Duration::from_millis(20);

/// A gateway behind an address, and connections to it.
pub struct SocketWorld {
    child: Option<Child>,
    /// The program and its folder where nothing was started.
    alone: Option<(Program, Folder)>,
    /// The vector's environment variables.
    environment: Vec<(String, String)>,
    address: SocketAddr,
    sockets: BTreeMap<String, Socket>,
    upstreams: Upstreams,
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    arrived: Vec<u8>,
    ended: bool,
}

impl SocketWorld {
    /// A world around a gateway that runs in a child process and ends with this value.
    #[must_use]
    pub fn of_child(child: Child, environment: Vec<(String, String)>, upstreams: Upstreams) -> Self {
        Self {
            address: child.address(),
            child: Some(child),
            alone: None,
            environment,
            sockets: BTreeMap::new(),
            upstreams,
        }
    }

    /// A world in which nothing runs but what the vector's steps run.
    ///
    /// # Errors
    /// When there is no place for it.
    pub fn of_program(
        program: &Program,
        environment: Vec<(String, String)>,
        upstreams: Upstreams,
    ) -> Result<Self, String> {
        Ok(Self {
            alone: Some((program.clone(), Folder::fresh()?)),
            environment,
            upstreams,
            ..Self::at(SocketAddr::from(([127, 0, 0, 1], 0)))
        })
    }

    /// A world around somebody else's gateway.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            child: None,
            alone: None,
            environment: Vec::new(),
            sockets: BTreeMap::new(),
            upstreams: Upstreams::default(),
        }
    }

    fn child(&mut self) -> Result<&mut Child, String> {
        self.child
            .as_mut()
            .ok_or_else(|| "this gateway is not ours to stop".to_owned())
    }

    /// The program and its folder, where they are ours.
    fn home(&self) -> Result<(&Program, &Folder), String> {
        let child = self.child.as_ref().map(|child| (child.program(), child.folder()));
        let alone = self.alone.as_ref().map(|(program, folder)| (program, folder));
        child
            .or(alone)
            .ok_or_else(|| "this gateway's machine is not ours".to_owned())
    }
}

impl Socket {
    fn new(stream: TcpStream) -> Result<Self, String> {
        stream
            .set_nonblocking(true)
            .and_then(|()| stream.set_nodelay(true))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            stream,
            arrived: Vec::new(),
            ended: false,
        })
    }

    /// Reads what is there without waiting.
    fn read(&mut self) {
        let mut chunk = [0; 16_384];
        while !self.ended {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(size) => self.arrived.extend_from_slice(chunk.get(..size).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A reset is an end as well; what came before it counts.
                Err(_) => self.ended = true,
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        while !bytes.is_empty() && !self.ended && Instant::now() < deadline {
            match self.stream.write(bytes) {
                Ok(size) => bytes = bytes.get(size..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // The gateway may wait for us to read before it reads on.
                    self.read();
                    wait(&[(&self.stream, PollFlags::OUT | PollFlags::IN)], SLICE);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The gateway has closed: what it has sent before is still to be read.
                Err(_) => return,
            }
        }
    }
}

impl World for SocketWorld {
    fn open(&mut self, name: &str, peer: Option<SocketAddr>) -> Result<(), String> {
        self.sockets.remove(name);
        // Ports are the system's to give.
        let from = peer.map(|peer| SocketAddr::new(peer.ip(), 0));
        let stream = connect_from(self.address, from)?;
        self.sockets.insert(name.to_owned(), Socket::new(stream)?);
        Ok(())
    }

    fn send(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        // One that is dropped swallows what is sent.
        if let Some(socket) = self.sockets.get_mut(name) {
            socket.write(bytes);
        }
        Ok(())
    }

    fn half_close(&mut self, name: &str) {
        if let Some(socket) = self.sockets.get(name) {
            // It fails when the gateway has closed already, which is as good.
            let _ = socket.stream.shutdown(Shutdown::Write);
        }
    }

    fn drop_connection(&mut self, name: &str) {
        self.sockets.remove(name);
    }

    fn reset(&mut self, name: &str) {
        if let Some(socket) = self.sockets.remove(name) {
            // Without it the connection ends in order, and what waits for the reset says so.
            let _ = set_socket_linger(&socket.stream, Some(Duration::ZERO));
        }
    }

    fn set_reading(&mut self, _name: &str, _reads: bool) {}

    fn is_read(&mut self, _name: &str) -> Option<bool> {
        None
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> Result<(), String> {
        self.home()?;
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(bytes))
            .map_err(|error| format!("cannot append to {path}: {error}"))
    }

    fn link(&mut self, path: &str, to: &str) -> Result<(), String> {
        self.home()?;
        std::os::unix::fs::symlink(to, path).map_err(|error| format!("cannot make the link {path}: {error}"))
    }

    fn take(&mut self, name: &str) -> Taken {
        let Some(socket) = self.sockets.get_mut(name) else {
            return Taken {
                bytes: Vec::new(),
                ended: true,
            };
        };
        socket.read();
        Taken {
            bytes: std::mem::take(&mut socket.arrived),
            ended: socket.ended,
        }
    }

    fn pass(&mut self, at_most: Duration) -> Duration {
        let start = Instant::now();
        let live: Vec<_> = self.sockets.values().filter(|socket| !socket.ended).collect();
        let streams: Vec<_> = live.iter().map(|socket| (&socket.stream, PollFlags::IN)).collect();
        wait(&streams, at_most.min(SLICE));
        start.elapsed().min(at_most).max(Duration::from_micros(1).min(at_most))
    }

    fn is_virtual(&self) -> bool {
        false
    }

    fn drain(&mut self, how: DrainHow) -> Result<(), String> {
        self.child()?.signal(match how {
            DrainHow::Stop => Signal::TERM,
            DrainHow::Restart => Signal::USR2,
            DrainHow::Quick => Signal::INT,
        })
    }

    fn facts(&self) -> Vec<(String, String)> {
        let mut facts = self.upstreams.facts();
        facts.push(("gateway".into(), self.address.to_string()));
        facts.push(("port".into(), self.address.port().to_string()));
        if let Ok((_, folder)) = self.home() {
            let state = folder.state().display();
            facts.push(("folder".into(), folder.path().display().to_string()));
            facts.push(("state".into(), state.to_string()));
            let alone = self.child.as_ref().is_some_and(Child::is_control);
            let below = if alone { "/control" } else { "" };
            facts.push(("tokenFile".into(), format!("{state}{below}/control-token")));
        }
        facts
    }

    fn wall(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0))
    }

    fn dialled(&mut self, name: &str, pattern: &DialPattern) -> Option<Result<Option<String>, String>> {
        let stream = self.upstreams.accept(&pattern.to)?;
        let opened = Socket::new(stream).map(|socket| {
            self.sockets.insert(name.to_owned(), socket);
            None
        });
        Some(opened)
    }

    fn unexpected_dials(&mut self) -> Vec<String> {
        self.upstreams.unanswered()
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(path).ok()
    }

    fn mode(&self, path: &str) -> Option<u32> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some(metadata.permissions().mode() & 0o7777)
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), String> {
        self.home()?;
        let told = |error: std::io::Error| format!("cannot write {path}: {error}");
        if let Some(folder) = Path::new(path).parent() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder).map_err(told)?;
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
        file.and_then(|mut file| file.write_all(bytes)).map_err(told)
    }

    fn remove(&mut self, path: &str) -> Result<(), String> {
        self.home()?;
        std::fs::remove_file(path).map_err(|error| format!("cannot remove {path}: {error}"))
    }

    fn set_mode(&mut self, path: &str, mode: u32) -> Result<(), String> {
        self.home()?;
        std::fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(|error| format!("cannot change the mode of {path}: {error}"))
    }

    fn run(&mut self, mut job: Job) -> Result<Ended, String> {
        let (program, folder) = self.home()?;
        let ours = self.environment.iter().cloned();
        let ours = ours.map(|(name, value)| (name, Some(value)));
        job.environment = ours.chain(job.environment).collect();
        program::run(program, folder, &job)
    }

    fn log(&self) -> String {
        self.child.as_ref().map(Child::log).unwrap_or_default()
    }

    fn reload(&mut self, changes: &Map<String, Value>) -> Result<(), String> {
        self.child()?.reload(changes)
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.as_mut().and_then(Child::exit_code)
    }

    fn restart(&mut self) -> Result<(), String> {
        self.sockets.clear();
        let child = self.child()?;
        child.restart()?;
        self.address = child.address();
        Ok(())
    }
}

/// Waits until one of the streams is ready, but no longer than `at_most`.
fn wait(streams: &[(&TcpStream, PollFlags)], at_most: Duration) {
    let mut fds: Vec<_> = streams
        .iter()
        .map(|(stream, flags)| PollFd::new(*stream, *flags))
        .collect();
    let at_most = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(at_most.min(SLICE).subsec_nanos()),
    };
    // An interrupted wait is a short wait.
    let _ = poll(&mut fds, Some(&at_most));
}
