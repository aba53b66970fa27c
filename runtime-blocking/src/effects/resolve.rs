//! Looks host names up with the system's resolver. The answers are handed on as they are: whether an address may be
//! dialled is decided in the core.

use std::net::ToSocketAddrs;

use portcullis_core::effect::{Completion, FaultKind, Outcome};

use super::fault::{fault, from_io};

/// The most addresses that one name yields; a resolver that answers more is cut off.
const MAX_ADDRESSES: usize = 64;

/// The addresses of `host`, in the resolver's order, each once. Blocks as long as the resolver takes.
pub fn lookup(host: &str) -> Outcome {
    if host.is_empty() || host.len() > 253 || host.contains('\0') {
        return Err(fault(FaultKind::Invalid, format!("{host:?} is not a host name")));
    }
    // The resolver's own errors carry no kind; to a caller every one of them means that there is no address.
    let found = (host, 0).to_socket_addrs().map_err(|error| {
        let fault = from_io(&error);
        if fault.kind == FaultKind::Unavailable {
            super::fault::fault(FaultKind::NotFound, fault.detail)
        } else {
            fault
        }
    })?;
    let mut addresses = Vec::new();
    for address in found.map(|address| address.ip()) {
        if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(fault(FaultKind::NotFound, format!("no address for {host:?}")));
    }
    Ok(Completion::Resolved(addresses))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_has_a_loopback_address() {
        let Ok(Completion::Resolved(addresses)) = lookup("localhost") else {
            panic!("localhost does not resolve")
        };
        assert!(!addresses.is_empty());
        assert!(addresses.iter().all(std::net::IpAddr::is_loopback));
    }

    #[test]
    fn what_cannot_be_a_name_is_not_looked_up() {
        for host in ["", "a\0b", &"x".repeat(254)] {
            assert_eq!(lookup(host).unwrap_err().kind, FaultKind::Invalid);
        }
    }
}
