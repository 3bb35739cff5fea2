//! Handling of the client connection after an exchange.

/// Next step of a session with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Reads the next request, if all of this one was read.
    Keep,
    /// Closes after a short linger: all of the request was read.
    Close,
    /// Closes after a long linger: the client may still be sending its request.
    CloseUnread,
    /// Closes without lingering: the client asked for it (`Connection: close`), and all of its input was
    /// read.
    CloseNow,
    /// Resets the connection: a response that broke off must not look complete.
    Reset,
}
