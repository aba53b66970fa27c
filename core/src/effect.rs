//! What a machine can ask of the world, and how the world answers. Small and generic: what a reply means is decided in
//! the core, never by the adapter that fetched it. Spec: `spec/contract.md`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;

use crate::id::ConnId;
use crate::machine::Peer;
use crate::store::{Batch, Reply, StoreReply};

/// One piece of work outside the core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Look a host name up. Answer: [`Completion::Resolved`].
    Resolve {
        /// A DNS name; never an address literal.
        host: String,
    },
    /// Open a connection. Answer: [`Completion::Dialled`]; from then on it is a connection like an accepted one.
    Dial(Dial),
    /// Run a program: no shell, an empty environment but for `env`, a process group of its own that is killed on cancel.
    /// Output arrives as [`Progress::Output`], one chunk at a time; answer: [`Completion::Exited`].
    Spawn(Spawn),
    /// Read a file's last `max_bytes` (all of it when it is shorter). Answer: [`Completion::File`].
    ReadFile {
        /// An absolute path.
        path: String,
        /// The most bytes to read.
        max_bytes: u32,
    },
    /// Replace a file: written beside it, synced, renamed over it. Missing folders are made (0700).
    /// Answer: [`Completion::Done`].
    WriteFile {
        /// An absolute path.
        path: String,
        /// The whole content.
        bytes: Bytes,
        /// Permission bits, for example `0o600`.
        mode: u32,
    },
    /// Add to the end of a file and sync it. Missing folders are made (0700), the file with `mode`. A torn last line (no
    /// newline at its end, left by a crash) is ended first. Answer: [`Completion::Done`] once it is on disk.
    Append {
        /// An absolute path.
        path: String,
        /// What to add.
        bytes: Bytes,
        /// Permission bits for a new file.
        mode: u32,
    },
    /// Give a file another name; what had that name is replaced. Answer: [`Completion::Done`] once it is on disk.
    Rename {
        /// An absolute path.
        from: String,
        /// An absolute path on the same file system.
        to: String,
    },
    /// Remove a file, or a folder with all that is in it; links are removed, not followed. What is not there is removed
    /// already. Answer: [`Completion::Done`].
    Remove {
        /// An absolute path.
        path: String,
    },
    /// Resolve a path to the real one: absolute, without links. Answer: [`Completion::Path`].
    RealPath {
        /// An absolute path.
        path: String,
    },
    /// Read and write records. Answer: [`Completion::Stored`].
    Store(Batch),
    /// Check somebody else's signature. Answer: [`Completion::Verified`].
    VerifySignature(SignatureCheck),
}

/// A signature to check. Everything in it is public.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignatureCheck {
    /// How it was made.
    pub scheme: SignatureScheme,
    /// What was signed.
    pub message: Bytes,
    /// The signature.
    pub signature: Bytes,
}

/// A way to sign, with the key that goes with it: no scheme can be asked for with a key of another kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignatureScheme {
    /// RSASSA-PKCS1-v1_5 (RFC 8017).
    RsaPkcs1(ShaLength, RsaKey),
    /// RSASSA-PSS (RFC 8017); the salt is as long as the hash.
    RsaPss(ShaLength, RsaKey),
    /// ECDSA on P-256 with SHA-256; the uncompressed point (65 bytes), the signature as `r` and `s` (64 bytes).
    EcdsaP256(Bytes),
    /// ECDSA on P-384 with SHA-384; the uncompressed point (97 bytes), the signature as `r` and `s` (96 bytes).
    EcdsaP384(Bytes),
}

/// Which of the SHA-2 hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShaLength {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

/// An RSA public key of 2 048 to 8 192 bits; shorter and longer ones verify nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RsaKey {
    /// The modulus, big-endian without leading zeros.
    pub modulus: Bytes,
    /// The exponent, big-endian without leading zeros.
    pub exponent: Bytes,
}

/// Where to dial, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dial {
    /// The other end.
    pub to: DialTo,
    /// TLS to put on the connection, if any.
    pub tls: Option<TlsClient>,
    /// Give up after this long (TLS handshake included).
    pub timeout: Duration,
}

/// The other end of a dialled connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DialTo {
    /// An address that policy has judged; never a name.
    Tcp(SocketAddr),
    /// A Unix socket's absolute path.
    Unix(String),
}

/// TLS on a dialled connection: the peer must prove `server_name` to the trust anchors of the embedding program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsClient {
    /// The DNS name or address that the certificate must be for.
    pub server_name: String,
}

/// A program to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spawn {
    /// An absolute path, or a name to be found on the gateway's own `PATH`.
    pub program: String,
    /// Arguments after the program.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Written to standard input, which is then closed.
    pub stdin: Bytes,
    /// The working directory; the gateway's own when `None`.
    pub dir: Option<String>,
}

/// What an effect tells before its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// A chunk of a program's output, at most 16 KiB; cut anywhere.
    Output {
        /// Which stream.
        stream: OutputStream,
        /// At least one byte.
        bytes: Bytes,
    },
}

/// A program's output stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl OutputStream {
    /// Its usual name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// How an effect ended.
pub type Outcome = Result<Completion, Fault>;

/// What an effect that ended well brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Completion {
    /// Of [`Effect::Resolve`]: at least one address, in the resolver's order.
    Resolved(Vec<IpAddr>),
    /// Of [`Effect::Dial`].
    Dialled {
        /// The new connection.
        conn: ConnId,
        /// Its other end.
        peer: Peer,
    },
    /// Of [`Effect::Spawn`].
    Exited(ExitStatus),
    /// Of [`Effect::ReadFile`].
    File {
        /// The bytes read: the end of the file.
        bytes: Bytes,
        /// The size of the whole file.
        size: u64,
    },
    /// Of [`Effect::RealPath`].
    Path(String),
    /// Of [`Effect::WriteFile`], [`Effect::Append`], [`Effect::Rename`] and [`Effect::Remove`]: it is on disk.
    Done,
    /// Of [`Effect::Store`].
    Stored(StoreReply),
    /// Of [`Effect::VerifySignature`]: whether it is right. A key or signature of a wrong form is not.
    Verified(bool),
}

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Why an effect failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What to make of it.
    pub kind: FaultKind,
    /// What the system said, for people.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() {
            write!(f, "{}", self.kind)
        } else {
            write!(f, "{}: {}", self.kind, self.detail)
        }
    }
}

/// The kinds of failure that a core can act on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FaultKind {
    /// No such file, program or name.
    NotFound,
    /// The system does not allow it.
    PermissionDenied,
    /// The other end refused.
    Refused,
    /// No way to the other end.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// The machine cancelled it.
    Cancelled,
    /// The peer's certificate or TLS handshake is no good.
    Tls,
    /// The request itself makes no sense to the system.
    Invalid,
    /// This host cannot do it now (or not at all).
    Unavailable,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::PermissionDenied => "permission denied",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Tls => "TLS failure",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        })
    }
}

/// The reply to a store batch of one operation, or why there is none.
pub(crate) fn first_reply(outcome: Outcome) -> Result<Reply, String> {
    match outcome {
        Ok(Completion::Stored(StoreReply::Applied(replies))) => {
            replies.into_iter().next().ok_or_else(|| String::from("no reply"))
        }
        Ok(_) => Err(String::from("unexpected reply")),
        Err(fault) => Err(fault.to_string()),
    }
}
