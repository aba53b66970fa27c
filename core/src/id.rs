//! Names for things that live longer than one input. Each side names what it creates and never uses a name twice,
//! so that a late or unknown name can be counted and ignored instead of being taken for something else.

use core::fmt;
use core::num::NonZeroU64;

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The first name of its kind.
            pub const FIRST: Self = Self(NonZeroU64::MIN);

            /// The name with this number; `None` for zero.
            #[must_use]
            pub const fn new(number: u64) -> Option<Self> {
                match NonZeroU64::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The number itself, for logs and traces.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0.get()
            }

            /// The name after this one. 2^64 names last longer than any machine.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

numbered!(
    /// A connection, accepted or dialled; named by the runtime.
    ConnId,
    "c"
);
numbered!(
    /// An effect under way; named by the core.
    EffectId,
    "e"
);
numbered!(
    /// A request to another server; named by the core.
    ExchangeId,
    "x"
);
numbered!(
    /// A fetch of what a URL holds; named by the core.
    FetchId,
    "f"
);
numbered!(
    /// A chat with an AI provider; named by the core.
    ChatId,
    "t"
);

/// A listening socket, in the order in which the embedding program opened them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ListenerId(pub u16);
