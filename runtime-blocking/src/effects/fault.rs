//! How the system's errors become the core's faults. One table, shared by all effects and by both runtimes.

use std::io::{self, ErrorKind};

use portcullis_core::effect::{Fault, FaultKind};

/// The fault for an error of the operating system.
#[must_use]
pub fn from_io(error: &io::Error) -> Fault {
    fault(kind(error), error.to_string())
}

/// The same, with what was being done in front of what the system said.
#[must_use]
pub fn doing(what: &str, error: &io::Error) -> Fault {
    fault(kind(error), format!("{what}: {error}"))
}

/// A fault with words for people.
pub fn fault(kind: FaultKind, detail: impl Into<String>) -> Fault {
    Fault {
        kind,
        detail: detail.into(),
    }
}

fn kind(error: &io::Error) -> FaultKind {
    match error.kind() {
        ErrorKind::NotFound => FaultKind::NotFound,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => FaultKind::PermissionDenied,
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => FaultKind::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => FaultKind::Unreachable,
        ErrorKind::AddrNotAvailable => FaultKind::Unreachable,
        ErrorKind::TimedOut => FaultKind::TimedOut,
        ErrorKind::InvalidInput
        | ErrorKind::InvalidData
        | ErrorKind::InvalidFilename
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory
        | ErrorKind::ArgumentListTooLong => FaultKind::Invalid,
        _ => FaultKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_map_to_the_kinds_that_a_core_can_act_on() {
        for (error, expected) in [
            (ErrorKind::NotFound, FaultKind::NotFound),
            (ErrorKind::PermissionDenied, FaultKind::PermissionDenied),
            (ErrorKind::ConnectionRefused, FaultKind::Refused),
            (ErrorKind::NetworkUnreachable, FaultKind::Unreachable),
            (ErrorKind::TimedOut, FaultKind::TimedOut),
            (ErrorKind::IsADirectory, FaultKind::Invalid),
            (ErrorKind::StorageFull, FaultKind::Unavailable),
        ] {
            assert_eq!(from_io(&error.into()).kind, expected, "{error:?}");
        }
    }
}
