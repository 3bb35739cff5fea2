//! `ringway forward`: the forward proxy as one command without a file, for development.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ringway::model::{Cidr, ForwardSpec};
use ringway::telemetry::{LogFormat, LogHandle, LogSink};
use ringway::{DriverChoice, ForwardProxy, Gateway};

use super::{FAILED, OK, USAGE, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct ForwardArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3128")]
    listen: SocketAddr,
    /// Networks whose clients may use the proxy [default: this machine]
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    allow_clients: Vec<Cidr>,
    /// Ports that CONNECT may reach
    #[arg(long, value_name = "PORT", value_delimiter = ',', default_value = "443")]
    connect_ports: Vec<u16>,
    /// Ports that http:// may reach
    #[arg(long, value_name = "PORT", value_delimiter = ',', default_value = "80")]
    http_ports: Vec<u16>,
    /// Print a line for each request and each tunnel
    #[arg(long)]
    log_requests: bool,
    /// Name server [default: those of /etc/resolv.conf]
    #[arg(long, value_name = "ADDRESS")]
    dns_resolver: Option<SocketAddr>,
    /// Worker threads [default: one per CPU]
    #[arg(long, value_name = "COUNT")]
    workers: Option<usize>,
    /// I/O driver: auto, io_uring or epoll
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    driver: DriverChoice,
}

impl ForwardArgs {
    pub(crate) fn run(self) -> ExitCode {
        match self.serve() {
            Ok(()) => ExitCode::from(OK),
            Err((code, message)) => {
                eprintln!("ringway forward: {message}");
                ExitCode::from(code)
            }
        }
    }

    fn serve(self) -> Result<(), (u8, String)> {
        let failed = |error: &dyn std::error::Error| (FAILED, with_causes(error));
        let mut allow_clients = self.allow_clients;
        if allow_clients.is_empty() {
            if !self.listen.ip().is_loopback() {
                let message = format!(
                    "{} is open to the network: name the clients with --allow-clients, such as 10.0.0.0/8",
                    self.listen
                );
                return Err((USAGE, message));
            }
            allow_clients = LOOPBACK.iter().filter_map(|network| network.parse().ok()).collect();
        }
        let spec = ForwardSpec {
            listen: vec![self.listen],
            allow_clients,
            connect_ports: self.connect_ports,
            http_ports: self.http_ports,
            ..ForwardSpec::default()
        };
        let events = signals::start().map_err(|error| failed(&error))?;
        let mut builder = Gateway::builder()
            .http(Vec::new())
            .driver(self.driver)
            .forward(ForwardProxy { spec: Arc::new(spec), dns: self.dns_resolver });
        if let Some(workers) = self.workers {
            builder = builder.workers(workers);
        }
        if self.log_requests {
            let log = LogHandle::start(LogSink::Stdout, LogFormat::Text).map_err(|error| failed(&error))?;
            builder = builder.access_log(log);
        }
        let gateway = builder.spawn().map_err(|error| failed(&error))?;
        for address in gateway.forward_addresses() {
            let host = match address.ip() {
                IpAddr::V6(ip) => format!("[{ip}]"),
                ip => ip.to_string(),
            };
            println!(
                "forward proxy on http://{host}:{}; try: curl -x http://{host}:{0} https://example.com/",
                address.port()
            );
        }
        while let Ok(event) = events.recv() {
            match event {
                signals::Event::Stop(_) => break,
                signals::Event::Reload => {
                    if let Some(forward) = gateway.forward() {
                        forward.reload_all();
                    }
                }
            }
        }
        gateway.shutdown(DRAIN).map_err(|error| failed(&error))?;
        Ok(())
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Networks of this machine.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];
/// 2 s: time for requests in flight at the end.
const DRAIN: Duration = Duration::from_secs(2);
