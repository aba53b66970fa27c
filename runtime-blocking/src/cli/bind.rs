//! Where the gateway listens. Whether it may is the core's decision (`policy::bind`), asked for the address that was chosen
//! and again for the one that the socket really got. There is no falling back to another address.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use portcullis_core::policy::bind::{self, Allowed, Class, Wanted};

use super::Refusal;
use crate::settings::{Bind, Loaded};

/// A socket that may be listened on.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) allowed: Allowed,
}

/// Opens the listening socket, or says why not and what would allow it.
pub(super) fn listen(loaded: &Loaded) -> Result<Listening, Refusal> {
    let address = SocketAddr::new(chosen(&loaded.bind)?, loaded.port);
    judge(loaded, address)?;
    let listener = TcpListener::bind(address).map_err(|error| refused(address, &error))?;
    let bound = listener
        .local_addr()
        .map_err(|error| format!("Cannot tell the address of the listener: {error}."))?;
    let allowed = judge(loaded, bound)?;
    Ok(Listening {
        listener,
        address: bound,
        allowed,
    })
}

/// What the guard says about an address with these settings.
fn judge(loaded: &Loaded, address: SocketAddr) -> Result<Allowed, Refusal> {
    let wanted = Wanted {
        address: address.ip(),
        allow_remote: loaded.allow_remote,
        allow_wildcard: loaded.allow_wildcard,
        has_allowed_networks: loaded
            .core
            .doors
            .allowed_networks
            .as_ref()
            .is_some_and(|networks| !networks.is_empty()),
        any_origin: loaded.core.gateway.allowed_origins.iter().any(|origin| origin == "*"),
        lock: loaded.lock(),
    };
    bind::judge(&wanted).map_err(|refusals| {
        let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        Refusal::of_settings(lines.join("\n"))
    })
}

/// Whether these settings could go on where a gateway listens already.
pub(super) fn still_allowed(loaded: &Loaded, address: SocketAddr) -> Result<(), String> {
    judge(loaded, address).map(drop).map_err(|refusal| refusal.text)
}

pub(super) fn chosen(bind: &Bind) -> Result<IpAddr, Refusal> {
    match bind {
        Bind::Host(host) => bind::parse(host).map_err(|refusal| Refusal::of_settings(refusal.to_string())),
        Bind::Tailnet => tailnet().ok_or_else(|| {
            Refusal::of_settings(
                "gateway.bind: this machine has no tailnet address. Start the tailnet's daemon, or name an address with gateway.host.",
            )
        }),
        Bind::Custom => Err(Refusal::of_settings("gateway.customBindHost: is missing.")),
    }
}

/// This machine's address in its tailnet: the one that it would speak from to another machine there. Nothing is sent.
fn tailnet() -> Option<IpAddr> {
    const SOMEBODY_THERE: [&str; 2] = ["100.100.100.100:9", "[fd7a:115c:a1e0::53]:9"];
    SOMEBODY_THERE.iter().find_map(|there| {
        let here = if there.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(here).ok()?;
        socket.connect(there).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (Class::of(address) == Class::Tailnet).then_some(address)
    })
}

pub(super) fn refused(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let who = if is_gateway(address) {
                "Another gateway is running there"
            } else {
                "Another program uses it"
            };
            format!(
                "Cannot listen on {address}: the port is taken. {who}: stop it, or choose another port with --port (0 picks a free one)."
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "Cannot listen on {address}: permission denied. Ports below 1024 need rights; choose another with --port (not {port})."
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("Cannot listen on {address}: this machine has no such address. Choose one of its own with --bind.")
        }
        _ => format!("Cannot listen on {address}: {error}."),
    }
}

/// Whether what listens there answers `GET /health` as a gateway does.
fn is_gateway(address: SocketAddr) -> bool {
    const PATIENCE: Duration = Duration::from_millis(300);
    let ask = || -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        let mut chunk = [0; 1_024];
        while answer.len() < 4_096 {
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend(chunk.iter().take(read)),
            }
        }
        Ok(answer)
    };
    ask().is_ok_and(|answer| String::from_utf8_lossy(&answer).contains("\"protocol\":1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Environment, Flags, Purpose, Sources, fresh_token, load};
    use portcullis_core::random::Seed;
    use std::path::Path;

    fn loaded(set: &[&str]) -> Loaded {
        let set: Vec<String> = set.iter().map(|&set| set.to_owned()).collect();
        let sources = Sources {
            file: None,
            environment: &Environment::from_iter([("HOME", "/nowhere/home")]),
            set: &set,
            flags: &Flags::default(),
            working_dir: Path::new("/"),
            purpose: Purpose::Gateway,
        };
        load(&sources, fresh_token(Seed([5; 32]))).unwrap()
    }

    #[test]
    fn loopback_needs_nothing() {
        for host in ["127.0.0.1", "127.1.2.3", "localhost"] {
            for auth in ["token", "none"] {
                let set = [format!("gateway.host={host}"), format!("gateway.auth.mode={auth}")];
                let set = [set[0].as_str(), set[1].as_str(), "gateway.port=0"];
                let listening = listen(&loaded(&set)).unwrap();
                assert!(listening.address.ip().is_loopback() && listening.allowed.class == Class::Loopback);
            }
        }
    }

    #[test]
    fn other_addresses_need_leave_and_a_strong_token() {
        const WEAK: &str = "gateway.auth.token=weak-token";
        for (set, what) in [
            (
                ["gateway.host=0.0.0.0"].as_slice(),
                "Refusing non-loopback bind without --allow-remote. ",
            ),
            (
                &["gateway.bind=lan", "gateway.allowRemote=true"],
                "gateway.dangerouslyAllowWildcardBind",
            ),
            (
                &[
                    "gateway.host=10.0.0.1",
                    "gateway.allowRemote=true",
                    "gateway.auth.mode=none",
                ],
                "Refusing --no-auth with a non-loopback bind. ",
            ),
            (
                &["gateway.host=10.0.0.1", "gateway.allowRemote=true", WEAK],
                "gateway.auth.token",
            ),
            (
                &[
                    "gateway.host=0.0.0.0",
                    "gateway.allowRemote=true",
                    "gateway.dangerouslyAllowWildcardBind=true",
                ],
                "gateway.allowedNetworks",
            ),
            (
                &[
                    "gateway.host=10.0.0.1",
                    "gateway.allowRemote=true",
                    "gateway.allowedOrigins=['*']",
                ],
                "gateway.controlUi.allowedOrigins",
            ),
            (&["gateway.auth.token=change-me-now"], "published example"),
        ] {
            let refusal = listen(&loaded(set)).unwrap_err();
            assert!(refusal.text.contains(what), "{set:?}: {}", refusal.text);
            assert_eq!(refusal.status, 78, "{set:?}");
        }
        let open = loaded(&[
            "gateway.host=0.0.0.0",
            "gateway.port=0",
            "gateway.allowRemote=true",
            "gateway.dangerouslyAllowWildcardBind=true",
            "gateway.allowedNetworks=['127.0.0.0/8']",
        ]);
        let address = SocketAddr::new(chosen(&open.bind).unwrap(), 0);
        assert_eq!(judge(&open, address).ok().unwrap().class, Class::Wildcard);
        assert!(still_allowed(&loaded(&["gateway.auth.mode=none"]), address).is_err());
    }

    #[test]
    fn a_tailnet_address_is_one_or_the_start_is_refused() {
        match chosen(&loaded(&["gateway.bind=tailnet"]).bind) {
            Ok(address) => assert_eq!(Class::of(address), Class::Tailnet),
            Err(refusal) => assert!(refusal.text.contains("no tailnet address") && refusal.status == 78),
        }
    }

    #[test]
    fn a_taken_port_is_explained() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        // It accepts and closes: no gateway.
        let other = std::thread::spawn(move || drop(taken.accept()));
        let refusal = listen(&loaded(&[&format!("gateway.port={port}")])).unwrap_err();
        other.join().unwrap();
        assert!(
            refusal.text.contains("the port is taken. Another program uses it") && refusal.status == 1,
            "{}",
            refusal.text
        );
    }
}
