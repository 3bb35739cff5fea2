//! Failures of calls.

use std::fmt;

/// Reason for which a call failed. The client gets nothing of it but the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Kind.
    pub kind: FailureKind,
    /// File and line, where an error has them.
    pub place: Option<Place>,
    /// Message and traceback, for the log only: a script may put anything into it.
    pub message: Box<str>,
}

/// Kind of a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The script raised an error.
    Error,
    /// The script returned what is not a reply.
    Returned,
    /// The call used up its steps.
    Steps,
    /// The call used up its CPU time.
    Cpu,
    /// The call did not end before its deadline.
    Deadline,
    /// The VM has no memory left.
    Memory,
    /// Too many calls of the VM wait.
    Busy,
}

impl FailureKind {
    /// All of them, in the order of documentation.
    pub const ALL: [Self; 7] =
        [Self::Error, Self::Returned, Self::Steps, Self::Cpu, Self::Deadline, Self::Memory, Self::Busy];

    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Returned => "returned",
            Self::Steps => "steps",
            Self::Cpu => "cpu",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Busy => "busy",
        }
    }

    /// Whether the call was stopped from outside, at the cost of all that it had used.
    pub fn is_kill(self) -> bool {
        matches!(self, Self::Steps | Self::Cpu | Self::Deadline | Self::Memory)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.message)
    }
}

/// Place in a source file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Path of the file in its bundle.
    pub file: Box<str>,
    /// Line, from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Place {
    /// Reads the place from the beginning of a message: `auth.lua:3: no such user`.
    pub(crate) fn of_message(message: &str) -> Option<Self> {
        let (file, rest) = message.split_once(':')?;
        let (line, _) = rest.split_once(':')?;
        let is_file = file.ends_with(".lua") && !file.contains(['\n', ' ']);
        is_file.then(|| Some(Self { file: file.into(), line: line.parse().ok()? }))?
    }
}
