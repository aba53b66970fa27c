//! What an echo costs: a plain epoll loop (the floor), a bare smol task for each connection, and this runtime with a
//! machine that echoes, in one run and under the same load.
//!
//! `cargo run --release -p portcullis-smol --example echo_cost [ROUNDS]` prints CPU seconds of the server for a million
//! messages of 200 bytes over 64 connections, and resident bytes for each of 5 000 idle connections, and
//! microseconds for a connection that says one thing and goes.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use portcullis_blocking::clock::Clock;
use portcullis_blocking::store::Store;
use portcullis_blocking::tls::ClientTls;
use portcullis_core::machine::{CloseHow, Input, Machine, Output};
use portcullis_core::time::Now;
use portcullis_smol::{Host, serve};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use smol::io::{AsyncReadExt, AsyncWriteExt};

type Fallible<T = ()> = Result<T, Box<dyn Error>>;

const KINDS: [&str; 3] = ["epoll", "smol", "ours"];
const CONNECTIONS: usize = 64;
const IDLE_CONNECTIONS: usize = 5_000;
const MESSAGE: usize = 200;

fn main() -> Fallible {
    let mut args = std::env::args().skip(1);
    raise_descriptor_limit()?;
    match args.next().as_deref() {
        Some("serve") => serve_kind(&args.next().unwrap_or_default()),
        rounds => compare(rounds.map_or(Ok(3), str::parse)?),
    }
}

fn compare(rounds: usize) -> Fallible {
    pin_to(1);
    let mut rows: HashMap<&str, [f64; 4]> = HashMap::new();
    for _ in 0..rounds {
        for kind in KINDS {
            let row = [
                measure_load(kind, 1, 300_000)?,
                measure_load(kind, 16, 2_000_000)?,
                measure_idle(kind)?,
                measure_visits(kind, 5_000)?,
            ];
            let best = rows.entry(kind).or_insert([f64::MAX; 4]);
            best.iter_mut().zip(row).for_each(|(best, now)| *best = best.min(now));
        }
    }
    println!(
        "best of {rounds} rounds   CPU s / 1e6, 64 x 1    64 x 16    resident bytes / idle connection    us / connect, message, close"
    );
    for kind in KINDS {
        let [one, sixteen, idle, visit] = rows.get(kind).copied().unwrap_or_default();
        println!("{kind:<18} {one:>22.2} {sixteen:>10.3} {idle:>20.0} {visit:>28.1}");
    }
    Ok(())
}

/// The server under test in a process of its own, so that only its work is counted.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(kind: &str) -> Fallible<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", kind])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self {
            process,
            address: line.trim().parse()?,
        })
    }

    /// Nanoseconds on a CPU, of all threads.
    fn cpu_nanos(&self) -> Fallible<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += text
                .split_whitespace()
                .next()
                .ok_or("empty schedstat")?
                .parse::<u64>()?;
        }
        Ok(sum)
    }

    fn resident_bytes(&self) -> Fallible<f64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let line = text.lines().find(|line| line.starts_with("Rss:")).ok_or("no Rss")?;
        Ok(line.split_whitespace().nth(1).ok_or("empty Rss")?.parse::<f64>()? * 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn measure_load(kind: &str, in_flight: usize, messages: usize) -> Fallible<f64> {
    let server = Server::start(kind)?;
    load(server.address, in_flight, messages / 10)?;
    let before = server.cpu_nanos()?;
    load(server.address, in_flight, messages)?;
    let spent = server.cpu_nanos()? - before;
    Ok(spent as f64 / 1e3 / messages as f64)
}

/// Every connection keeps `in_flight` messages under way until `messages` have come back.
fn load(address: SocketAddr, in_flight: usize, messages: usize) -> Fallible {
    let payload = vec![b'x'; MESSAGE * in_flight];
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        epoll::add(
            &poll,
            &stream,
            epoll::EventData::new_u64(number as u64),
            epoll::EventFlags::IN,
        )?;
        stream.write_all(&payload)?;
        connections.push((stream, 0_usize));
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut events = Vec::with_capacity(CONNECTIONS);
    let mut back = 0;
    while back < messages {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        for event in &events {
            let (stream, partial) = connections.get_mut(event.data.u64() as usize).ok_or("unknown event")?;
            let bytes = *partial + stream.read(&mut buffer)?;
            *partial = bytes % MESSAGE;
            back += bytes / MESSAGE;
            stream.write_all(payload.get(..bytes / MESSAGE * MESSAGE).ok_or("too much came back")?)?;
        }
    }
    Ok(())
}

fn measure_idle(kind: &str) -> Fallible<f64> {
    let server = Server::start(kind)?;
    let open = |count: usize| -> Fallible<Vec<TcpStream>> {
        (0..count)
            .map(|_| {
                let mut stream = TcpStream::connect(server.address)?;
                stream.write_all(&[b'x'; MESSAGE])?;
                stream.read_exact(&mut [0; MESSAGE])?;
                Ok(stream)
            })
            .collect()
    };
    // What the first connections bring into memory once is not theirs.
    let _first = open(10)?;
    let before = server.resident_bytes()?;
    let _idle = open(IDLE_CONNECTIONS)?;
    std::thread::sleep(Duration::from_millis(100));
    Ok((server.resident_bytes()? - before) / IDLE_CONNECTIONS as f64)
}

/// Microseconds of the server for a connection that says one thing and goes.
fn measure_visits(kind: &str, visits: usize) -> Fallible<f64> {
    let server = Server::start(kind)?;
    let visit = || -> Fallible {
        let mut stream = TcpStream::connect(server.address)?;
        stream.write_all(&[b'x'; MESSAGE])?;
        Ok(stream.read_exact(&mut [0; MESSAGE])?)
    };
    (0..visits / 10).try_for_each(|_| visit())?;
    let before = server.cpu_nanos()?;
    (0..visits).try_for_each(|_| visit())?;
    Ok((server.cpu_nanos()? - before) as f64 / 1e3 / visits as f64)
}

fn serve_kind(kind: &str) -> Fallible {
    pin_to(0);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    match kind {
        "epoll" => serve_epoll(listener),
        "smol" => serve_smol(listener),
        "ours" => {
            let host = Host::new(Store::memory(), ClientTls::new(None), Clock::start());
            Ok(serve(Echo::default(), vec![listener], host)?)
        }
        other => Err(format!("no such server: {other}").into()),
    }
}

fn serve_epoll(listener: TcpListener) -> Fallible {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &poll,
        &listener,
        epoll::EventData::new_u64(u64::MAX),
        epoll::EventFlags::IN,
    )?;
    let mut connections: HashMap<u64, TcpStream> = HashMap::new();
    let mut buffer = vec![0; 16 * 1024];
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        for event in &events {
            let key = event.data.u64();
            let Some(stream) = connections.get_mut(&key) else {
                let stream = listener.accept()?.0;
                stream.set_nodelay(true)?;
                let key = stream.as_raw_fd() as u64;
                epoll::add(&poll, &stream, epoll::EventData::new_u64(key), epoll::EventFlags::IN)?;
                connections.insert(key, stream);
                continue;
            };
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => stream.write_all(buffer.get(..count).unwrap_or_default())?,
                _ => drop(connections.remove(&key)),
            }
        }
    }
}

fn serve_smol(listener: TcpListener) -> Fallible {
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = smol::net::TcpListener::try_from(listener)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let echo = async move {
                let mut buffer = [0; MESSAGE * 16];
                while let Ok(count) = stream.read(&mut buffer).await
                    && count > 0
                    && stream.write_all(buffer.get(..count).unwrap_or_default()).await.is_ok()
                {}
            };
            executor.spawn(echo).detach();
        }
    }))
}

/// Sends everything back.
#[derive(Default)]
struct Echo(VecDeque<Output>);

impl Machine for Echo {
    fn handle(&mut self, _now: Now, input: Input<'_>) {
        match input {
            Input::Received { conn, bytes } => {
                self.0.push_back(Output::Transmit {
                    conn,
                    bytes: Bytes::copy_from_slice(bytes),
                });
            }
            Input::ReadClosed { conn } => self.0.push_back(Output::Close {
                conn,
                how: CloseHow::Flush,
            }),
            _ => {}
        }
    }

    fn poll(&mut self) -> Output {
        self.0.pop_front().unwrap_or(Output::Idle { wake_at: None })
    }
}

fn raise_descriptor_limit() -> Fallible {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )?)
}

/// Load and server each have a processor, where there are two.
fn pin_to(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    // With one processor they share it.
    let _ = sched_setaffinity(None, &set);
}
