//! Handshakes: negotiation, verification, refusals.

use super::*;
use crate::tls::{Alert, TlsError};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error as RustlsError};
use std::io::{Read, Write};

#[test]
fn negotiates_both_versions_with_their_best_suites() {
    on_both_drivers(|| async {
        for (version, protocol, suite) in [
            (&TLS13, "TLSv1.3", "TLS13_AES_128_GCM_SHA256"),
            (&TLS12, "TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        ] {
            let (ours, peer) = serving(&[version]).await;
            assert_eq!((ours.protocol(), ours.cipher()), (protocol, suite));
            assert_eq!((ours.alpn(), ours.resumed()), (None, false));
            assert_eq!(ours.peer_certificate_der(), None);
            let echo = thread::spawn(move || {
                let mut peer = peer;
                let mut word = [0; 4];
                peer.read_exact(&mut word).unwrap();
                peer.write_all(&word).unwrap();
            });
            write(&ours, b"ping").await;
            assert_eq!(read_bytes(&ours, 4).await, b"ping");
            joined(echo).await;
        }
    });
}

#[test]
fn negotiates_alpn() {
    on_both_drivers(|| async {
        let (server, client) = server(BOTH);
        for (offered, agreed) in
            [(&["h2", "http/1.1"][..], Some(&b"h2"[..])), (&["http/1.1"], Some(b"http/1.1")), (&[], None)]
        {
            let mut config = (*client).clone();
            config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
            let (stream, peer) = pair();
            let peer = thread::spawn(move || shaken(client_on(peer, Arc::new(config))).unwrap());
            let hello = read_hello(stream, soon()).await.unwrap();
            assert_eq!(hello.server_name(), Some(NAME));
            let ours = hello.finish(Arc::clone(&server), soon()).await.unwrap();
            assert_eq!(ours.alpn(), agreed);
            joined(peer).await;
        }
        let (ours, _peer) = connecting(Alpn::Http1).await;
        assert_eq!(ours.alpn(), None, "the peer knows of no protocols");
        assert!(ours.peer_certificate_der().is_some());
    });
}

/// Two configurations of one server stand for two cores.
#[test]
fn a_session_is_resumed_on_another_core() {
    on_both_drivers(|| async {
        let ca = Ca::new();
        let tls = ServerTls::new(ServerSettings::default()).unwrap();
        let identity = ca.identity(NAME);
        for version in [&TLS13, &TLS12] {
            let client = Arc::new(ca.client(&[version]));
            for resumed in [false, true] {
                let config = tls.config(&identity, None, Alpn::Http1);
                let (ours, mut peer) = shake(config, Arc::clone(&client)).await.unwrap();
                assert_eq!(ours.resumed(), resumed, "{version:?}");
                // The tickets come after the handshake.
                write(&ours, b"x").await;
                peer.read_exact(&mut [0]).unwrap();
            }
        }
    });
}

#[test]
fn tickets_are_sent_with_the_first_response() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(&[&TLS13]).await;
        peer.sock.set_nonblocking(true).unwrap();
        assert_eq!(peer.conn.read_tls(&mut peer.sock).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        peer.sock.set_nonblocking(false).unwrap();
        write(&ours, b"x").await;
        peer.conn.read_tls(&mut peer.sock).unwrap();
        peer.conn.process_new_packets().unwrap();
        assert_eq!(peer.conn.tls13_tickets_received(), 2);
        let mut answer = [0];
        peer.conn.reader().read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"x");
    });
}

#[test]
fn a_silent_client_gets_its_tickets() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(&[&TLS13]).await;
        let peer = thread::spawn(move || {
            while peer.conn.tls13_tickets_received() < 2 {
                peer.conn.read_tls(&mut peer.sock).unwrap();
                peer.conn.process_new_packets().unwrap();
            }
            peer.write_all(b"x").unwrap();
            peer
        });
        let (read, buf) = ours.read(buf(), soon()).await;
        assert_eq!((read.unwrap(), &buf[..]), (1, &b"x"[..]));
        drop(joined(peer).await);
    });
}

#[test]
fn a_client_certificate_is_verified_in_every_handshake() {
    on_both_drivers(|| async {
        let ca = Ca::new();
        let tls = ServerTls::new(ServerSettings::default()).unwrap();
        let verifier = ClientVerifier::from_pem(ca.pem().as_bytes()).unwrap();
        let client = Arc::new(ca.client_with_certificate(&ca));
        for _ in 0..2 {
            let auth = Some((&verifier, ClientAuthNeed::Required));
            let config = tls.config(&ca.identity(NAME), auth, Alpn::Http1);
            let (ours, mut peer) = shake(config, Arc::clone(&client)).await.unwrap();
            assert!(!ours.resumed());
            assert!(ours.peer_certificate_der().is_some());
            write(&ours, b"x").await;
            peer.read_exact(&mut [0]).unwrap();
        }
    });
}

#[test]
fn a_client_certificate_is_required_or_optional_and_always_verified() {
    on_both_drivers(|| async {
        let (ca, stranger) = (Ca::new(), Ca::new());
        let tls = ServerTls::new(ServerSettings::default()).unwrap();
        let verifier = ClientVerifier::from_pem(ca.pem().as_bytes()).unwrap();
        let without = || ca.client(BOTH);
        let wrong = || ca.client_with_certificate(&stranger);
        for (need, client, accepted) in [
            (ClientAuthNeed::Optional, without(), true),
            (ClientAuthNeed::Required, without(), false),
            (ClientAuthNeed::Optional, wrong(), false),
            (ClientAuthNeed::Required, wrong(), false),
        ] {
            let config = tls.config(&ca.identity(NAME), Some((&verifier, need)), Alpn::Http1);
            let (stream, peer) = pair();
            let peer = thread::spawn(move || {
                let mut peer = shaken(client_on(peer, Arc::new(client)))?;
                // TLS 1.3: the client gets the alert after its handshake.
                peer.read(&mut [0])
            });
            let finished = read_hello(stream, soon()).await.unwrap().finish(config, soon()).await;
            assert_eq!(finished.is_ok(), accepted, "{need:?} {finished:?}");
            let said = match finished {
                Ok(ours) => {
                    assert_eq!(ours.peer_certificate_der(), None);
                    ours.shutdown_write(soon()).await.unwrap();
                    joined(peer).await
                }
                Err(error) => {
                    assert!(matches!(error, TlsError::Tls(_)), "{error:?}");
                    joined(peer).await
                }
            };
            match said {
                Ok(count) => assert!(accepted && count == 0),
                Err(error) => assert!(!accepted && alert_in(&error).is_some(), "{error:?}"),
            }
        }
    });
}

#[test]
fn an_unknown_name_is_refused_with_the_alert_for_it() {
    on_both_drivers(|| async {
        let (_, client) = server(BOTH);
        let (stream, peer) = pair();
        let peer = thread::spawn(move || shaken(client_on(peer, client)).map(drop));
        let hello = read_hello(stream, soon()).await.unwrap();
        assert_eq!(hello.server_name(), Some(NAME));
        hello.refuse(Alert::UnrecognizedName, soon()).await;
        let error = joined(peer).await.unwrap_err();
        assert_eq!(alert_in(&error), Some(AlertDescription::UnrecognisedName));
    });
}

#[test]
fn a_server_with_a_wrong_name_or_ca_is_refused_unless_insecure() {
    on_both_drivers(|| async {
        let (ca, stranger) = (Ca::new(), Ca::new());
        let tls = ServerTls::new(ServerSettings::default()).unwrap();
        let pem = ca.pem();
        let verified = UpstreamSecret::new(Some(pem.as_bytes()), None, false).unwrap();
        let insecure = UpstreamSecret::new(None, None, true).unwrap();
        for (issuer, asked, verified_ok) in
            [(&ca, NAME, true), (&ca, "other.example", false), (&stranger, NAME, false)]
        {
            for (material, ok) in [(&verified, verified_ok), (&insecure, true)] {
                let config = tls.config(&issuer.identity(NAME), None, Alpn::Http1);
                let (stream, peer) = pair();
                let peer = thread::spawn(move || {
                    shaken(StreamOwned::new(ServerConnection::new(config).unwrap(), peer)).map(drop)
                });
                let config = material.client_config(Alpn::Http1);
                let connected = connect_tls(stream, config, name(asked), soon()).await;
                assert_eq!(connected.is_ok(), ok, "{asked} {connected:?}");
                if let Err(error) = connected {
                    assert!(matches!(error, TlsError::Tls(RustlsError::InvalidCertificate(_))), "{error:?}");
                }
                assert_eq!(joined(peer).await.is_ok(), ok);
            }
        }
    });
}

#[test]
fn presents_a_certificate_to_a_server_that_requests_one() {
    on_both_drivers(|| async {
        let ca = Ca::new();
        let tls = ServerTls::new(ServerSettings::default()).unwrap();
        let verifier = ClientVerifier::from_pem(ca.pem().as_bytes()).unwrap();
        let auth = Some((&verifier, ClientAuthNeed::Required));
        let config = tls.config(&ca.identity(NAME), auth, Alpn::Http1);
        let pem = ca.pem();
        let material =
            UpstreamSecret::new(Some(pem.as_bytes()), Some(ca.identity("gateway")), false).unwrap();
        let (stream, peer) = pair();
        let peer = thread::spawn(move || {
            let peer = shaken(StreamOwned::new(ServerConnection::new(config).unwrap(), peer)).unwrap();
            peer.conn.peer_certificates().map(<[_]>::len)
        });
        let config = material.client_config(Alpn::Http1);
        connect_tls(stream, config, name(NAME), soon()).await.unwrap();
        assert_eq!(joined(peer).await, Some(1));
    });
}

#[test]
fn plain_http_is_returned_unread() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let Err(TlsError::NotTls(stream)) = read_hello(stream, soon()).await else {
            panic!("taken for TLS");
        };
        let (read, buf) = stream.read(buf(), soon()).await;
        read.unwrap();
        assert_eq!(buf, b"GET / HTTP/1.1\r\n\r\n");
    });
}

#[test]
fn a_missing_or_partial_client_hello_times_out() {
    on_both_drivers(|| async {
        for said in [&b""[..], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]] {
            let (stream, mut peer) = pair();
            peer.write_all(said).unwrap();
            let result = read_hello(stream, within(Duration::from_millis(20))).await;
            assert!(matches!(result, Err(TlsError::TimedOut)), "{result:?}");
        }
        let (server, client) = server(BOTH);
        let (stream, mut peer) = pair();
        let mut tls = ClientConnection::new(client, name(NAME)).unwrap();
        tls.write_tls(&mut peer).unwrap();
        let hello = read_hello(stream, soon()).await.unwrap();
        let result = hello.finish(server, within(Duration::from_millis(20))).await;
        assert!(matches!(result, Err(TlsError::TimedOut)), "{result:?}");
    });
}

#[test]
fn a_client_that_closes_ends_the_handshake() {
    on_both_drivers(|| async {
        for said in [&b""[..], &[22, 3, 1]] {
            let (stream, mut peer) = pair();
            peer.write_all(said).unwrap();
            drop(peer);
            let result = read_hello(stream, soon()).await;
            assert!(matches!(result, Err(TlsError::Closed)), "{result:?}");
        }
    });
}

#[test]
fn bytes_may_come_one_at_a_time() {
    on_both_drivers(|| async {
        for version in [&TLS13, &TLS12] {
            let (server, client) = server(&[version]);
            let (stream, peer) = pair();
            let peer = thread::spawn(move || {
                let mut tls = ClientConnection::new(client, name(NAME)).unwrap();
                let mut peer = Dripping(peer);
                while tls.is_handshaking() || tls.wants_write() {
                    tls.complete_io(&mut peer).unwrap();
                }
                tls.writer().write_all(b"hello").unwrap();
                tls.complete_io(&mut peer).unwrap();
                peer
            });
            let hello = read_hello(stream, soon()).await.unwrap();
            assert_eq!(hello.server_name(), Some(NAME));
            let ours = hello.finish(server, soon()).await.unwrap();
            assert_eq!(read_bytes(&ours, 5).await, b"hello");
            joined(peer).await;
        }
    });
}

#[test]
fn malformed_messages_get_an_alert_and_oversized_ones_a_close() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        peer.write_all(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let result = read_hello(stream, soon()).await;
        assert!(matches!(result, Err(TlsError::Tls(_))), "{result:?}");
        let mut said = Vec::new();
        peer.read_to_end(&mut said).unwrap();
        assert_eq!(said[..6], [21, 3, 3, 0, 2, 2], "a fatal alert");

        // A first message of 60,000 bytes, in records of 16,000.
        let (stream, mut peer) = pair();
        let sender = thread::spawn(move || {
            let mut record = [22, 3, 1, 0x3e, 0x80].to_vec();
            record.extend([1, 0, 0xea, 0x60]);
            record.resize(5 + 16_000, 0);
            // It may be cut off before all bytes are sent.
            let _ = peer.write_all(&record);
            let _ = peer.write_all(&record);
            peer
        });
        let result = read_hello(stream, soon()).await;
        assert!(matches!(result, Err(TlsError::TooLarge)), "{result:?}");
        joined(sender).await;
    });
}

async fn shake(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> Result<(TlsStream, PeerClient), TlsError> {
    let (stream, peer) = pair();
    let peer = thread::spawn(move || shaken(client_on(peer, client)).unwrap());
    let ours = read_hello(stream, soon()).await?.finish(server, soon()).await?;
    Ok((ours, joined(peer).await))
}

/// Alert that a peer received.
fn alert_in(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<RustlsError>()? {
        RustlsError::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Sends one byte with each call.
struct Dripping(StdStream);

impl Read for Dripping {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Dripping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
