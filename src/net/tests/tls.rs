//! TLS over real sockets, on both drivers; the peer is rustls on a blocking socket, on another thread.

mod handshakes;
mod memory;
mod traffic;

use super::*;
use crate::tls::{TlsStream, connect_tls, read_hello};
use crate::{Stream, WriteRate};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ringway_model::ClientAuthNeed;
use ringway_tls::{Alpn, ClientVerifier, Identity, ServerSettings, ServerTls, UpstreamSecret, provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use rustls::{RootCertStore, SupportedProtocolVersion};
use std::sync::Arc;
use std::thread;

/// CA of a test.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A chain and its key, in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (leaf.pem(), key.serialize_pem())
    }

    fn identity(&self, name: &str) -> Identity {
        let (chain, key) = self.issue(name);
        Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// Client configuration of a peer.
    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    /// Client configuration of a peer with a certificate issued by `by`.
    fn client_with_certificate(&self, by: &Self) -> ClientConfig {
        let (chain, key) = by.issue("somebody");
        let (chain, key) = der(&chain, &key);
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(BOTH)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(chain, key)
            .unwrap()
    }
}

const BOTH: &[&SupportedProtocolVersion] = ringway_tls::PROTOCOL_VERSIONS;
const NAME: &str = "shop.example";

type PeerClient = StreamOwned<ClientConnection, StdStream>;
type PeerServer = StreamOwned<ServerConnection, StdStream>;

/// Server configuration for [`NAME`], and the client configuration of its peer.
fn server(versions: &[&'static SupportedProtocolVersion]) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let ca = Ca::new();
    let tls = ServerTls::new(ServerSettings::default()).unwrap();
    (tls.config(&ca.identity(NAME), None, Alpn::Http2OrHttp1), Arc::new(ca.client(versions)))
}

/// Server end and client peer, after the handshake.
async fn serving(versions: &[&'static SupportedProtocolVersion]) -> (TlsStream, PeerClient) {
    let (server, client) = server(versions);
    let (stream, peer) = pair();
    let peer = thread::spawn(move || shaken(client_on(peer, client)));
    let hello = read_hello(stream, soon()).await.unwrap();
    let ours = hello.finish(server, soon()).await.unwrap();
    (ours, joined(peer).await.unwrap())
}

/// Client end and server peer, after the handshake.
async fn connecting(alpn: Alpn) -> (TlsStream, PeerServer) {
    connecting_to(alpn, |_| {}).await
}

/// The same with a modified configuration of the peer.
async fn connecting_to(alpn: Alpn, special: impl FnOnce(&mut ServerConfig)) -> (TlsStream, PeerServer) {
    let ca = Ca::new();
    let (chain, key) = ca.issue(NAME);
    let (chain, key) = der(&chain, &key);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(BOTH)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    special(&mut config);
    let material = UpstreamSecret::new(Some(ca.pem().as_bytes()), None, false).unwrap();
    let (stream, peer) = pair();
    let peer = thread::spawn(move || {
        let tls = ServerConnection::new(Arc::new(config)).unwrap();
        shaken(StreamOwned::new(tls, peer))
    });
    let ours = connect_tls(stream, material.client_config(alpn), name(NAME), soon()).await.unwrap();
    (ours, joined(peer).await.unwrap())
}

fn client_on(socket: StdStream, config: Arc<ClientConfig>) -> PeerClient {
    StreamOwned::new(ClientConnection::new(config, name(NAME)).unwrap(), socket)
}

/// Performs the handshake.
fn shaken<C, D>(mut stream: StreamOwned<C, StdStream>) -> io::Result<StreamOwned<C, StdStream>>
where
    C: std::ops::DerefMut<Target = rustls::ConnectionCommon<D>>,
    D: rustls::SideData,
{
    while stream.conn.is_handshaking() || stream.conn.wants_write() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn name(name: &str) -> ServerName<'static> {
    name.to_owned().try_into().unwrap()
}

fn der(chain: &str, key: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    use rustls::pki_types::pem::PemObject;
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
}

/// Reads `count` bytes.
async fn read_bytes(stream: &TlsStream, count: usize) -> Vec<u8> {
    let mut buf = Vec::with_capacity(count);
    while buf.len() < count {
        let (read, back) = stream.read(buf, soon()).await;
        assert_ne!(read.unwrap(), 0, "ended after {} bytes", back.len());
        buf = back;
    }
    buf
}

async fn write(stream: &TlsStream, bytes: &[u8]) {
    stream.write_all(bytes.to_vec(), WriteRate::stall(PATIENCE)).await.0.unwrap();
}
