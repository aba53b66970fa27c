//! Where the gateway listens: other machines are let near only when somebody asks for it, and never without a token.
//! There is no falling back to another address.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) allow_remote: bool,
    pub(super) auth: bool,
}

/// Opens the listening socket, or says why not and what would allow it.
pub(super) fn listen(wanted: Wanted<'_>) -> Result<TcpListener, String> {
    let host = wanted.host;
    let addresses = (host, wanted.port)
        .to_socket_addrs()
        .map_err(|error| format!("Cannot look {host} up: {error}."))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    // A name may mean several addresses: all of them must be allowed, whichever is bound.
    for address in &addresses {
        guard(wanted, address.ip())?;
    }
    // Of localhost's two, the one that every client tries.
    let chosen = addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or_else(|| addresses.first());
    let address = *chosen.ok_or_else(|| format!("{host} has no address."))?;
    let listener = TcpListener::bind(address).map_err(|error| refused(address, &error))?;
    // And again what the system really gave.
    let bound = listener
        .local_addr()
        .map_err(|error| format!("Cannot tell the address of the listener: {error}."))?;
    guard(wanted, bound.ip())?;
    Ok(listener)
}

fn guard(wanted: Wanted<'_>, address: IpAddr) -> Result<(), String> {
    if address.to_canonical().is_loopback() {
        return Ok(());
    }
    let mut refusals = Vec::new();
    if !wanted.allow_remote {
        refusals.push(format!(
            "Refusing non-loopback bind without --allow-remote. Other machines can reach {}: add --allow-remote if they shall, \
             or leave --bind out to listen on 127.0.0.1 only.",
            wanted.host
        ));
    }
    if !wanted.auth {
        refusals.push(format!(
            "Refusing --no-auth with a non-loopback bind. Whoever reaches {} could run your agents: remove --no-auth (or set \
             gateway.auth.mode to \"token\"), or leave --bind out to listen on 127.0.0.1 only.",
            wanted.host
        ));
    }
    if refusals.is_empty() {
        Ok(())
    } else {
        Err(refusals.join("\n"))
    }
}

fn refused(address: SocketAddr, error: &io::Error) -> String {
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

    const LOCAL: Wanted<'_> = Wanted {
        host: "127.0.0.1",
        port: 0,
        allow_remote: false,
        auth: true,
    };

    #[test]
    fn loopback_needs_nothing() {
        for host in ["127.0.0.1", "127.1.2.3", "localhost"] {
            for auth in [true, false] {
                let listener = listen(Wanted { host, auth, ..LOCAL }).unwrap();
                assert!(listener.local_addr().unwrap().ip().is_loopback());
            }
        }
    }

    #[test]
    fn what_counts_as_loopback() {
        for (address, allowed) in [
            ("127.255.255.254", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("::ffff:10.0.0.1", false),
            ("128.0.0.1", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(guard(LOCAL, address.parse().unwrap()).is_ok(), allowed, "{address}");
        }
    }

    #[test]
    fn other_addresses_need_leave_and_a_token() {
        let remote = Wanted {
            host: "0.0.0.0",
            ..LOCAL
        };
        let refusal = listen(remote).unwrap_err();
        assert!(
            refusal.starts_with("Refusing non-loopback bind without --allow-remote. "),
            "{refusal}"
        );
        assert!(!refusal.contains("--no-auth"));
        let refusal = listen(Wanted {
            auth: false,
            allow_remote: true,
            ..remote
        })
        .unwrap_err();
        assert!(
            refusal.starts_with("Refusing --no-auth with a non-loopback bind. "),
            "{refusal}"
        );
        let both = listen(Wanted { auth: false, ..remote }).unwrap_err();
        assert_eq!(both.lines().count(), 2, "{both}");
        let allowed = Wanted {
            allow_remote: true,
            ..remote
        };
        assert!(guard(allowed, "0.0.0.0".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_taken_port_is_explained() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        // It accepts and closes: no gateway.
        let other = std::thread::spawn(move || drop(taken.accept()));
        let refusal = listen(Wanted { port, ..LOCAL }).unwrap_err();
        other.join().unwrap();
        assert!(
            refusal.contains("the port is taken. Another program uses it") && refusal.contains("--port"),
            "{refusal}"
        );
    }
}
