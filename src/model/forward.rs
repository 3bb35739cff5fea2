//! Forward proxy, as configured: its listeners, clients, targets, lists and limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Cidr;

/// The forward proxy. It has no resources: one process has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardSpec {
    /// Addresses that it listens on.
    pub listen: Vec<SocketAddr>,
    /// Networks whose clients may use it; all, where credentials are required instead.
    pub allow_clients: Vec<Cidr>,
    /// Required credentials.
    pub auth: Option<ProxyAuth>,
    /// Ports that CONNECT may reach.
    pub connect_ports: Vec<u16>,
    /// Ports that requests with `http://` may reach.
    pub http_ports: Vec<u16>,
    /// Meaning of the lists.
    pub mode: ListMode,
    /// Lists of domains.
    pub lists: Vec<DomainListSpec>,
    /// Names that may lead to networks that are forbidden otherwise.
    pub allow_private: Vec<PrivateTarget>,
    /// Response to a request for a blocked domain.
    pub blocked_answer: BlockedAnswer,
    /// Media types of responses to `http://` that are blocked.
    pub content_types: ContentTypes,
    /// Rate of each client.
    pub rate: Option<ClientRate>,
    /// Limits of requests and connections.
    pub limits: ForwardLimits,
    /// Whether requests carry the client's address in `X-Forwarded-For` and `X-Real-IP`.
    pub disclose_client: bool,
}

/// Credentials of the clients of a proxy (RFC 9110 §11.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyAuth {
    /// Name of the protected space.
    pub realm: Arc<str>,
    /// File of users: `name:hash` lines, bcrypt or argon2.
    pub users_file: PathBuf,
}

/// Meaning of the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListMode {
    /// A domain that no list has is allowed; lists block.
    #[default]
    Blocklist,
    /// A domain that no list has is refused; lists allow.
    Allowlist,
    /// A domain that no list has is refused; each list has its action.
    Mixed,
}

/// Action of a rule of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListAction {
    /// The domain may be reached.
    Allow,
    /// The domain is refused.
    Block,
}

/// Format of a file of domains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListFormat {
    /// A domain a line: `a.com` itself, `*.a.com` those below it, `.a.com` both.
    #[default]
    Plain,
    /// The hosts file of an operating system: an address and its names.
    Hosts,
    /// Filters of ad blockers: `||a.com^`, and `@@||a.com^` for exceptions.
    Adblock,
}

/// List of domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainListSpec {
    /// Name in logs and in the API.
    pub name: Arc<str>,
    /// Action of its rules; that of the mode when absent.
    pub action: Option<ListAction>,
    /// Source of its rules.
    pub source: ListSource,
}

/// Source of the rules of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListSource {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Its format.
        format: ListFormat,
    },
    /// Domains in place, in the form of [`ListFormat::Plain`].
    Domains(Vec<Arc<str>>),
}

/// A name that may lead into private networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateTarget {
    /// The domain, in the form of [`ListFormat::Plain`]; or an address.
    pub domain: Arc<str>,
    /// Networks that its addresses may be in.
    pub networks: Vec<Cidr>,
}

/// Response to a request for a blocked domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedAnswer {
    /// Status.
    pub status: u16,
    /// Text.
    pub body: Arc<str>,
}

/// Media types of responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentTypes {
    /// Blocked ones: `a/b`, `a/*`, or `regex:` and a pattern of the whole type.
    pub block: Vec<Arc<str>>,
    /// Whether a response without a type is blocked.
    pub block_missing: bool,
}

/// Rate of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRate {
    /// Requests a second.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
    /// Time for which a client that exceeds the rate is refused; none when absent.
    pub ban: Option<Duration>,
}

/// Limits of requests and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardLimits {
    /// Bytes of a target.
    pub url: usize,
    /// Bytes of a request head.
    pub head: usize,
    /// Fields of a request.
    pub fields: usize,
    /// Bytes of a request body.
    pub body: u64,
    /// Connections at a time, of all cores together.
    pub connections: u32,
    /// Tunnels of one client at a time, on each core.
    pub tunnels_per_client: u32,
}

impl Default for ForwardSpec {
    /// Without clients: nothing starts before `allow_clients` or `auth` is set.
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            allow_clients: Vec::new(),
            auth: None,
            connect_ports: vec![443],
            http_ports: vec![80],
            mode: ListMode::default(),
            lists: Vec::new(),
            allow_private: Vec::new(),
            blocked_answer: BlockedAnswer::default(),
            content_types: ContentTypes::default(),
            rate: None,
            limits: ForwardLimits::default(),
            disclose_client: false,
        }
    }
}

impl Default for BlockedAnswer {
    fn default() -> Self {
        Self { status: 403, body: "Domain blocked by proxy policy".into() }
    }
}

impl Default for ForwardLimits {
    fn default() -> Self {
        Self {
            url: 8192,
            head: 16_384,
            fields: 100,
            body: 10 * 1024 * 1024,
            connections: 1000,
            tunnels_per_client: 256,
        }
    }
}
