//! TLS client that makes its own records, for messages that no library sends. rustls does the handshake and
//! reads the responses.

use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS13_AES_256_GCM_SHA384,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::cipher::{AeadKey, Iv, MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::tls13::OkmBlock;
use rustls::crypto::{CryptoProvider, tls13::expand};
use rustls::{
    ClientConfig, ConnectionTrafficSecrets, ContentType, KeyLog, ProtocolVersion, StreamOwned,
    SupportedCipherSuite, Tls13CipherSuite,
};

use super::tls::{Tls, TlsFault};
use super::{Client, SOON};

/// Records of a client after its handshake.
pub(crate) struct Records {
    socket: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    /// The number of the next record.
    next: u64,
    /// Traffic secret; of TLS 1.3 only.
    secret: Vec<u8>,
}

impl Records {
    /// Shakes hands. What comes back over TLS 1.3 is the client's to read, which must write nothing.
    pub(crate) fn open(tls: &Tls, address: SocketAddr) -> Result<(Self, Option<Client>), TlsFault> {
        let secret = Arc::new(Secret::default());
        // Both have keys of 32 bytes, as rustls takes them from outside.
        let cipher_suites = vec![SUITE, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256];
        let mut config =
            ClientConfig::clone(&tls.config_of(CryptoProvider { cipher_suites, ..default_provider() }));
        config.key_log = secret.clone();
        config.enable_secret_extraction = true;
        let StreamOwned { mut conn, mut sock } = tls.clone().configured(config).stream(address)?;
        while conn.wants_write() {
            conn.write_tls(&mut sock).unwrap();
        }
        let socket = sock.try_clone().unwrap();
        let Some(secret) = secret.0.lock().unwrap().take() else {
            return Ok((Self::of_tls12(socket, conn), None));
        };
        let encrypter = encrypter(&secret);
        let client = Client::over_tls(StreamOwned::new(conn, sock));
        Ok((Self { socket, encrypter, next: 0, secret }, Some(client)))
    }

    fn of_tls12(socket: TcpStream, conn: rustls::ClientConnection) -> Self {
        let suite = conn.negotiated_cipher_suite().unwrap();
        let (next, keys) = conn.dangerous_extract_secrets().unwrap().tx;
        let (SupportedCipherSuite::Tls12(suite), ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) =
            (suite, keys)
        else {
            panic!("neither TLS 1.3 nor the suite that was asked for")
        };
        let encrypter = suite.aead_alg.encrypter(key, iv.as_ref(), &[]);
        Self { socket, encrypter, next, secret: Vec::new() }
    }

    /// A record of a type with this content, which may be empty.
    pub(crate) fn record(&mut self, kind: ContentType, content: &[u8]) -> Vec<u8> {
        let payload = OutboundChunks::Single(content);
        let plain = OutboundPlainMessage { typ: kind, version: ProtocolVersion::TLSv1_2, payload };
        let record = self.encrypter.encrypt(plain, self.next).unwrap().encode();
        self.next += 1;
        record
    }

    /// The same with zeros behind the content (RFC 8446 §5.4); of TLS 1.3 only.
    pub(crate) fn padded(&mut self, kind: ContentType, content: &[u8], zeros: usize) -> Vec<u8> {
        let mut inner = content.to_vec();
        inner.push(kind.into());
        inner.resize(inner.len() + zeros - 1, 0);
        // The type that is written last is the last one of the zeros.
        self.record(ContentType::Unknown(0), &inner)
    }

    /// A record of data.
    pub(crate) fn data(&mut self, content: &[u8]) -> Vec<u8> {
        self.record(ContentType::ApplicationData, content)
    }

    /// A KeyUpdate (RFC 8446 §4.6.3); what follows has the new keys.
    pub(crate) fn key_update(&mut self, answer: KeyUpdate) -> Vec<u8> {
        let record = self.record(ContentType::Handshake, &[24, 0, 0, 1, answer as u8]);
        self.secret = expand_label::<HASH_BYTES>(&self.secret, "traffic upd").to_vec();
        self.encrypter = encrypter(&self.secret);
        self.next = 0;
        record
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The proxy has closed, or takes nothing more for a long time.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.set_write_timeout(Some(SOON))?;
        self.socket.write_all(bytes)
    }

    /// Reads until the proxy closes, and discards everything.
    pub(crate) fn until_ended(&mut self) -> io::Result<()> {
        self.socket.set_read_timeout(Some(SOON))?;
        match io::copy(&mut self.socket, &mut io::sink()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // Closing a connection with unread bytes resets it.
            _ => Ok(()),
        }
    }
}

/// Whether a KeyUpdate asks for one in return.
#[derive(Clone, Copy)]
pub(crate) enum KeyUpdate {
    NotRequested = 0,
    Requested = 1,
}

/// The suite of all connections of TLS 1.3 here.
static SUITE: SupportedCipherSuite = TLS13_AES_256_GCM_SHA384;
/// SHA-384.
const HASH_BYTES: usize = 48;

fn suite() -> &'static Tls13CipherSuite {
    SUITE.tls13().unwrap()
}

/// RFC 8446 §7.3.
fn encrypter(secret: &[u8]) -> Box<dyn MessageEncrypter> {
    let key = AeadKey::from(expand_label::<32>(secret, "key"));
    suite().aead_alg.encrypter(key, Iv::from(expand_label::<12>(secret, "iv")))
}

/// RFC 8446 §7.1, HKDF-Expand-Label with an empty context.
fn expand_label<const N: usize>(secret: &[u8], label: &str) -> [u8; N] {
    let length = u16::try_from(N).unwrap().to_be_bytes();
    let label = format!("tls13 {label}");
    let expander = suite().hkdf_provider.expander_for_okm(&OkmBlock::new(secret));
    expand(&*expander, &[&length, &[label.len() as u8], label.as_bytes(), &[0]])
}

/// Keeps what a client's keys come from.
#[derive(Default)]
struct Secret(Mutex<Option<Vec<u8>>>);

impl KeyLog for Secret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "CLIENT_TRAFFIC_SECRET_0" {
            *self.0.lock().unwrap() = Some(secret.to_vec());
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}
