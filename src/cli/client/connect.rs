//! Options that all client commands share: address and token of the API, timeout, output format.

use std::path::PathBuf;
use std::time::Duration;

use super::address::{self, Address};
use super::api::{Api, Output};
use super::failure::Failure;
use super::http::HttpClient;
use super::positive;
use super::text::Style;
use crate::cli::catalogue;

/// Options of all client commands.
#[derive(Debug, clap::Args)]
pub(crate) struct ApiArgs {
    /// Admin API: HOST:PORT, PORT or unix:PATH
    ///
    /// [env: RINGWAY_API; else RINGWAY_API_BIND and RINGWAY_API_PORT] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", global = true, help_heading = "API")]
    pub(super) api: Option<Address>,
    /// Bearer token of the API; other users of the machine can read arguments: prefer the environment or
    /// --token-file
    ///
    /// [env: RINGWAY_API_TOKEN]
    #[arg(long, value_name = "TOKEN", global = true, help_heading = "API", hide_short_help = true)]
    pub(super) token: Option<String>,
    /// File with the bearer token of the API
    ///
    /// [env: RINGWAY_API_TOKEN_FILE]
    #[arg(long, value_name = "PATH", global = true, help_heading = "API", conflicts_with = "token")]
    pub(super) token_file: Option<PathBuf>,
    /// Longest time for a response; with `deploy` and `instances replace`: until the new instances serve
    /// [default: 10s; 30s]
    #[arg(long, alias = "deploy-timeout", value_name = "TIME", global = true, help_heading = "API", value_parser = positive)]
    pub(super) timeout: Option<Duration>,
    /// Print the response of the API as JSON
    #[arg(long, global = true, help_heading = "API")]
    pub(super) json: bool,
}

impl ApiArgs {
    /// Connects by the arguments and the environment.
    pub(super) fn open(&self) -> Result<Api, Failure> {
        self.open_with(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    pub(super) fn open_with(&self, env: impl Fn(&str) -> Option<String>) -> Result<Api, Failure> {
        let address = match &self.api {
            Some(address) => address.clone(),
            None => address_from(&env)?,
        };
        let token = self.token_from(&env)?;
        if token.as_deref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Failure::Usage("the API token must be visible ASCII without spaces".into()));
        }
        let client = HttpClient::new(address)
            .token(token)
            .timeout(self.timeout.unwrap_or(crate::cli::limits::CLI_TIMEOUT));
        let output = if self.json { Output::Json } else { Output::Text };
        Ok(Api { client, output, style: Style::of_stdout() })
    }

    /// Finds the token: a flag before the environment, and there the token before its file.
    pub(super) fn token_from(
        &self,
        env: &impl Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, Failure> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        let file = match &self.token_file {
            Some(file) => Some(file.clone()),
            None => match catalogue::API_TOKEN.find(env) {
                Some((_, token)) => return Ok(Some(token)),
                None => catalogue::API_TOKEN_FILE.find(env).map(|(_, path)| PathBuf::from(path)),
            },
        };
        let Some(file) = file else { return Ok(None) };
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text.trim_end().to_owned())),
            Err(error) => Err(Failure::File { path: file.display().to_string(), error }),
        }
    }
}

/// Finds the address in the environment: RINGWAY_API first, else the address that the server would bind to.
fn address_from(env: &impl Fn(&str) -> Option<String>) -> Result<Address, Failure> {
    for name in ["RINGWAY_API", "RINGWAY_API_URL", "PROXY_API_URL"] {
        if let Some(text) = env(name) {
            return text.parse().map_err(|error| Failure::Usage(format!("{name}: {error}")));
        }
    }
    let ip = catalogue::API_BIND
        .find(env)
        .and_then(|(_, text)| text.split(',').next()?.trim().trim_matches(['[', ']']).parse().ok())
        .unwrap_or(std::net::IpAddr::from([127, 0, 0, 1]));
    let ip = match ip {
        std::net::IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let port = match catalogue::API_PORT.find(env) {
        Some((name, text)) => text
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| Failure::Usage(format!("{name}: must be a port from 1 to 65535 here")))?,
        None => address::DEFAULT_PORT,
    };
    Ok(Address::Tcp(std::net::SocketAddr::new(ip, port).to_string()))
}
