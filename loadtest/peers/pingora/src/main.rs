//! Minimal reverse proxy on pingora, for comparison.
//!
//! ```text
//! pingora-peer PORT TLS_PORT CERTIFICATE KEY UPSTREAM
//! ```
//! One thread, one upstream with keep-alive, HTTP/1.1 and (over TLS) HTTP/2 to clients, the same added
//! fields.

use std::env;
use std::process::exit;

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;

struct Peer {
    upstream: String,
}

#[async_trait]
impl ProxyHttp for Peer {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream.as_str(), false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> Result<()> {
        let client =
            session.client_addr().and_then(|address| address.as_inet().map(|inet| inet.ip().to_string()));
        let client = client.unwrap_or_default();
        let secure = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        request.insert_header("X-Real-IP", client.as_str())?;
        request.insert_header("X-Forwarded-For", client.as_str())?;
        request.insert_header("X-Forwarded-Proto", if secure { "https" } else { "http" })?;
        Ok(())
    }
}

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let [port, tls_port, certificate, key, upstream] = words.as_slice() else {
        eprintln!("usage: pingora-peer PORT TLS_PORT CERTIFICATE KEY UPSTREAM");
        exit(2);
    };
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 256, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Peer { upstream: upstream.clone() });
    service.add_tcp(&format!("127.0.0.1:{port}"));
    let mut tls = match TlsSettings::intermediate(certificate, key) {
        Ok(tls) => tls,
        Err(error) => {
            eprintln!("pingora-peer: {error}");
            exit(1);
        }
    };
    tls.enable_h2();
    service.add_tls_with_settings(&format!("127.0.0.1:{tls_port}"), None, tls);
    server.add_service(service);
    server.run_forever();
}
