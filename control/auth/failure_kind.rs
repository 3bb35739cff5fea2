//! Kinds of failed loads, for metrics.

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Kind of a failed load of credentials.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FailureKind { $($(#[$doc])* $name,)+ }

        impl FailureKind {
            /// All kinds.
            pub const ALL: [Self; 5] = [$(Self::$name,)+];

            /// The name in metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

kinds! {
    /// No connection: no address, no route, TLS.
    Unreachable = "unreachable",
    /// No answer in time.
    Timeout = "timeout",
    /// An answer with another status than 200.
    Status = "status",
    /// An answer or a file whose content cannot be used.
    Invalid = "invalid",
    /// A file that cannot be read.
    File = "file",
}

/// Numbers of failed loads by kind, in the order of [`FailureKind::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailureCounts([u64; FailureKind::ALL.len()]);

impl FailureCounts {
    pub(crate) fn add(&mut self, kind: FailureKind) {
        self.0[kind as usize] += 1;
    }

    /// Number of failures of a kind since the source is wanted.
    pub fn of(&self, kind: FailureKind) -> u64 {
        self.0[kind as usize]
    }
}
