//! Test CA, and a TLS client by rustls.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::{Client, SOON};

/// Certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Certificate and key in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate.
    pub(crate) fn server(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(parameters)
    }

    /// An expired server certificate.
    pub(crate) fn expired(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2020, 4, 1);
        self.sign(parameters)
    }

    /// A client's certificate.
    pub(crate) fn client(&self, common_name: &str) -> Pair {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        self.sign(parameters)
    }

    /// A certificate for these names that only clients may use.
    pub(crate) fn for_clients_only(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(parameters)
    }

    fn sign(&self, parameters: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

impl Pair {
    /// Writes both into a folder, as `NAME.pem` and `NAME.key`, each appearing as a whole.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        put(&certificate, &self.certificate);
        put(&key, &self.key);
        (certificate, key)
    }

    /// The certificate as it is sent.
    pub(crate) fn der(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap().to_vec()
    }
}

/// Writes a file atomically.
pub(crate) fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// TLS client configuration.
#[derive(Clone)]
pub(crate) struct Tls {
    roots: RootCertStore,
    name: String,
    sends_name: bool,
    alpn: Vec<Vec<u8>>,
    certificate: Option<Pair>,
    versions: &'static [&'static SupportedProtocolVersion],
    /// Session store, shared by all connections of this client for resumption.
    config: Option<Arc<ClientConfig>>,
}

/// Failed handshake.
#[derive(Debug)]
pub(crate) enum TlsFault {
    /// Alert of the server, with this number (RFC 8446 §6).
    Alert(u8),
    /// The server closed or reset without an alert.
    Closed,
    /// Another failure: an untrusted certificate, a broken message, a timeout.
    Other(String),
}

impl TlsFault {
    pub(crate) fn alert(&self) -> Option<u8> {
        match self {
            Self::Alert(code) => Some(*code),
            Self::Closed | Self::Other(_) => None,
        }
    }

    fn of(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (inner, error.kind()) {
            (Some(rustls::Error::AlertReceived(alert)), _) => Self::Alert(u8::from(*alert)),
            (_, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                Self::Closed
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

impl Tls {
    /// A client that trusts `authority` and asks for `name`.
    pub(crate) fn new(authority: &Authority, name: &str) -> Self {
        Self::trusting(&authority.pem(), name)
    }

    /// A client that trusts a root, in PEM, and asks for `name`.
    pub(crate) fn trusting(root: &str, name: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
        Self {
            roots,
            name: name.to_owned(),
            sends_name: true,
            alpn: Vec::new(),
            certificate: None,
            versions: rustls::ALL_VERSIONS,
            config: None,
        }
    }

    /// The name is verified, but not sent.
    pub(crate) fn without_name(mut self) -> Self {
        self.sends_name = false;
        self
    }

    pub(crate) fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Presents a certificate, when it is asked for one.
    pub(crate) fn certificate(mut self, pair: &Pair) -> Self {
        self.certificate = Some(pair.clone());
        self
    }

    pub(crate) fn versions(mut self, versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions;
        self
    }

    /// Later connections of this client resume the session of an earlier one.
    pub(crate) fn resuming(mut self) -> Self {
        self.config = Some(self.config());
        self
    }

    /// The same client with a configuration of the caller's.
    pub(super) fn configured(mut self, config: ClientConfig) -> Self {
        self.config = Some(Arc::new(config));
        self
    }

    fn config(&self) -> Arc<ClientConfig> {
        match &self.config {
            Some(config) => Arc::clone(config),
            None => self.config_of(default_provider()),
        }
    }

    /// Configuration of this client with another provider.
    pub(super) fn config_of(&self, provider: CryptoProvider) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_sni = self.sends_name;
        Arc::new(config)
    }

    /// The record with this client's first message.
    pub(crate) fn hello(&self) -> Vec<u8> {
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let mut hello = Vec::new();
        ClientConnection::new(self.config(), name).unwrap().write_tls(&mut hello).unwrap();
        hello
    }

    /// Connection after its handshake, for direct reads and writes, with the timeout `SOON`.
    pub(crate) fn stream(
        &self,
        address: SocketAddr,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, TlsFault> {
        self.stream_over(TcpStream::connect_timeout(&address, SOON).map_err(TlsFault::of)?)
    }

    /// The same over a connection that exists.
    pub(crate) fn stream_over(
        &self,
        mut socket: TcpStream,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, TlsFault> {
        socket.set_nodelay(true).map_err(TlsFault::of)?;
        socket.set_read_timeout(Some(SOON)).map_err(TlsFault::of)?;
        socket.set_write_timeout(Some(SOON)).map_err(TlsFault::of)?;
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let mut connection = ClientConnection::new(self.config(), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(TlsFault::of)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }

    pub(crate) fn try_connect(&self, address: SocketAddr) -> Result<Client, TlsFault> {
        self.stream(address).map(Client::over_tls)
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> Client {
        self.try_connect(address)
            .unwrap_or_else(|fault| panic!("no TLS to {address} for {}: {fault:?}", self.name))
    }

    /// Connects where it must be refused. With TLS 1.3 the server verifies a client certificate after the
    /// client's handshake is complete: a connection counts only after the first data.
    pub(crate) fn refusal(&self, address: SocketAddr) -> TlsFault {
        let mut stream = match self.stream(address) {
            Err(fault) => return fault,
            Ok(stream) => stream,
        };
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", self.name);
        if let Err(error) = stream.write_all(request.as_bytes()) {
            return TlsFault::of(error);
        }
        let mut byte = [0];
        match stream.read(&mut byte) {
            Err(error) => TlsFault::of(error),
            Ok(0) => TlsFault::Closed,
            Ok(_) => panic!("{} was served", self.name),
        }
    }
}

/// The certificate that a server presented, as it was sent.
pub(crate) fn presented(stream: &StreamOwned<ClientConnection, TcpStream>) -> Vec<u8> {
    stream.conn.peer_certificates().expect("a server presents one")[0].to_vec()
}

/// Whether the session was resumed.
pub(crate) fn is_resumed(stream: &StreamOwned<ClientConnection, TcpStream>) -> bool {
    stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// First record of a handshake, with garbage behind its header.
pub(crate) fn junk_hello() -> Vec<u8> {
    let mut record = vec![22, 3, 1, 2, 0];
    record.extend(super::pattern(512));
    record
}

/// Longest life of a stalled handshake, with a margin: the proxy closes it after ten seconds.
pub(crate) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(30);
