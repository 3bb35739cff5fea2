//! Access control: the sites that requests come from, tokens and their scopes, client certificates.
//!
//! ```text
//! connection ─ Peer (address, uid, client certificate) ─┐
//! request ──── Credentials (host, origin, token) ───────┴─► Guard ─► Caller (identity, scopes), or a problem
//! ```

mod caller;
mod control;
mod guard;
mod scope;
mod settings;
mod tls;
mod token;
mod tokens_file;

pub(crate) use caller::{Caller, Identity, Peer};
pub(crate) use control::AccessControl;
pub(crate) use guard::{Credentials, Denied, Guard, Listener};
pub(crate) use scope::Access;
pub use scope::{Scope, Scopes};
pub use settings::{AccessSettings, BindError};
pub use tls::{AdminTls, AdminTlsError};
pub use token::{Token, TokenDigest, TokenError};
pub use tokens_file::{NamedToken, TokenSet, TokensFile, TokensFileError, TokensLineError};
