//! Issuance as a whole, against pebble (which refuses valid nonces on purpose) and against scripted CAs.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ringway_bridge::blocking_mailbox;
use ringway_dns::testing::{Rcode, Rtype, Server, ip};
use ringway_net::spawn;
use ringway_tls::Facts;

use super::*;
use crate::certificates::Certificates;
use crate::certificates::tests::ChallengeServer;
use crate::event::CertificateEvent;
use crate::report::DomainState;
use crate::testing::{FakeHost, domain, host, on_control_thread};
use crate::{AcmeSettings, DirectorySettings, open};

use crate::testing::pebble::{EAB_HMAC, EAB_KID, Habits, Pebble, Release};
use CertificateMode::{Acme, Provided};

mod answers;
mod authorities;
mod domains;
mod name_server;
mod orders;
mod renewals;
mod scripted;

/// Machine with a certificate directory.
struct Setup {
    home: tempfile::TempDir,
}

/// One run of the process on it.
struct Process {
    fake: FakeHost,
    certificates: Certificates,
    /// Serves challenges to the CA and to the probes.
    _server: ChallengeServer,
}

impl Setup {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("certs")
    }

    /// Settings for these CAs.
    fn settings(&self, cas: &[&Pebble]) -> CertificateSettings {
        let bundle = self.home.path().join("bundle.pem");
        let roots: String = cas.iter().map(|ca| std::fs::read_to_string(ca.bundle()).unwrap()).collect();
        std::fs::write(&bundle, roots).unwrap();
        let directories = cas.iter().map(|ca| DirectorySettings { url: ca.directory(), eab: None }).collect();
        CertificateSettings {
            acme: Some(AcmeSettings {
                directories,
                email: Some("ops@example.com".to_owned()),
                ca_bundle: Some(bundle),
                profile: None,
            }),
            dns_resolver: cas.first().map(|ca| ca.names().dns),
            ..CertificateSettings::new(self.path())
        }
    }

    /// Settings for scripted CAs, with a scripted name server: no pebble.
    fn scripted_settings(&self, cas: &[&scripted::Ca], names: &Server) -> CertificateSettings {
        let of = |ca: &&scripted::Ca| DirectorySettings { url: ca.directory.clone(), eab: None };
        CertificateSettings {
            acme: Some(AcmeSettings {
                directories: cas.iter().map(of).collect(),
                email: Some("ops@example.com".to_owned()),
                ca_bundle: None,
                profile: None,
            }),
            dns_resolver: Some(names.address),
            ..CertificateSettings::new(self.path())
        }
    }

    /// Starts a process with these domains.
    fn start(
        &self,
        settings: CertificateSettings,
        server: ChallengeServer,
        fake: FakeHost,
        domains: &[&str],
    ) -> Process {
        let (sender, _core) = blocking_mailbox(64);
        let settings = CertificateSettings { http_port: server.port, ..settings };
        let certificates = Certificates::new(open(settings, vec![sender]).unwrap());
        for name in domains {
            certificates.put_domain(&domain(name, Acme));
        }
        let (running, host) = (certificates.clone(), fake.clone());
        spawn(async move { running.run(host).await }, |panic| panic!("{panic:?}"));
        Process { fake, certificates, _server: server }
    }
}

/// Control plane, and the server of its challenges.
fn reachable() -> (FakeHost, ChallengeServer) {
    let fake = FakeHost::default();
    let server = ChallengeServer::new(Arc::clone(&fake.recorded().challenges));
    (fake, server)
}

impl Process {
    fn state(&self, name: &str) -> DomainState {
        self.certificates.state(&host(name)).unwrap()
    }

    /// Waits until the CA has issued a domain's certificate.
    async fn issued(&self, name: &str) -> Arc<Facts> {
        self.event(&format!("{name} issued"), |event| match event {
            CertificateEvent::Issued { host, facts } if host.as_str() == name => Some(facts.clone()),
            _ => None,
        })
        .await
    }

    async fn event<T>(&self, what: &str, is_it: impl Fn(&CertificateEvent) -> Option<T>) -> T {
        let find = |recorded: &crate::testing::Recorded| recorded.events.borrow().iter().find_map(&is_it);
        self.fake.until(what, |recorded| find(recorded).is_some()).await;
        find(self.fake.recorded()).unwrap()
    }

    fn count(&self, is_it: impl Fn(&CertificateEvent) -> bool) -> usize {
        self.fake.recorded().events.borrow().iter().filter(|event| is_it(event)).count()
    }
}

/// Polls until a condition is met that no event reports.
async fn until(what: &str, is_met: impl Fn() -> bool) {
    let deadline = clock::now().after(Duration::from_secs(60));
    while !is_met() {
        assert!(clock::now() < deadline, "never: {what}");
        yield_now().await;
    }
}

/// Name server on which every name has the address 127.0.0.1.
fn loopback_names() -> Server {
    Server::new(|query| {
        let is_a = query.record_type == Rtype::A;
        let addresses: &[_] = if is_a { &[(query.name.as_str(), ip("127.0.0.1"))] } else { &[] };
        vec![query.response(Rcode::NOERROR, addresses)]
    })
}

/// Pebble with its defaults: it refuses five of a hundred nonces.
fn pebble(server: &ChallengeServer) -> Pebble {
    Pebble::start(Habits::at(server.port))
}

/// Serves the CA at a listener: `answer` makes the body from a request's head and its token.
fn answer_at(listener: TcpListener, answer: impl Fn(&str, &str) -> String + Send + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let Ok(read) = stream.read(&mut head) else { continue };
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let token = head.split_whitespace().nth(1).and_then(|path| path.rsplit('/').next());
            let answer = answer(&head, token.unwrap_or_default());
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        }
    });
}
