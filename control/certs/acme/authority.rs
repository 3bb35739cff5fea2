//! One CA: its directory, our account, and the client that reaches it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use ringway_model::Tick;
use ringway_net::sync::{QueueFull, Semaphore};
use ringway_net::{blocking, clock};
use ringway_tls::UpstreamSecret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use ureq::tls::{Certificate, RootCerts};

use super::failure::{AcmeFailure, LimitScope, Resource};
use super::transport::Client;
use crate::disk::{Disk, DiskError};
use crate::limits::{ACME_DIRECTORY_TTL, ACME_NONCE_TRIES, ACME_REQUESTS_WAITING_MAX};
use crate::settings::{AcmeSettings, DirectorySettings};

/// CA with our account.
pub(crate) struct Authority {
    pub(crate) settings: DirectorySettings,
    acme: AcmeSettings,
    disk: Disk,
    client: RefCell<Option<Client>>,
    directory: RefCell<Option<(Rc<Directory>, Tick)>>,
    account: RefCell<Option<(Account, Tick)>>,
    /// Serializes reading and creating the account.
    account_lock: Semaphore,
}

/// Directory of the CA (RFC 8555 §7.1.1): the fields that `instant-acme` does not expose.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Directory {
    /// URL of renewal information (RFC 9773), if supported.
    #[serde(default)]
    pub(crate) renewal_info: Option<String>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    caa_identities: Vec<String>,
    #[serde(default)]
    profiles: std::collections::BTreeMap<String, serde_json::Value>,
}

impl Directory {
    /// Identities of the CA in CAA records.
    pub(crate) fn caa_identities(&self) -> &[String] {
        &self.meta.caa_identities
    }

    /// Whether the CA offers this profile.
    pub(crate) fn offers(&self, profile: &str) -> bool {
        self.meta.profiles.contains_key(profile)
    }
}

/// Persisted account. The key is in clear: the file is 0600 in a folder that is 0700.
#[derive(Serialize, Deserialize)]
struct StoredAccount {
    directory: String,
    email: Option<String>,
    credentials: AccountCredentials,
}

/// Whether a new account may be created now.
pub(crate) enum AccountCreation {
    Allowed,
    /// Our budget of accounts is used up for this long.
    NotBefore(Duration),
}

impl Authority {
    pub(crate) fn new(settings: DirectorySettings, acme: AcmeSettings, disk: Disk) -> Self {
        Self {
            settings,
            acme,
            disk,
            client: RefCell::default(),
            directory: RefCell::default(),
            account: RefCell::default(),
            account_lock: Semaphore::new(1, ACME_REQUESTS_WAITING_MAX),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.settings.url
    }

    /// Calls the CA, and repeats the call while it refuses our nonces, which some CAs do on purpose.
    pub(crate) async fn call<T>(
        &self,
        client: &Client,
        resource: Resource,
        mut call: impl AsyncFnMut() -> Result<T, Error>,
    ) -> Result<T, AcmeFailure> {
        for _ in 0..ACME_NONCE_TRIES {
            match call().await {
                Ok(value) => return Ok(value),
                Err(error) => match AcmeFailure::of(error, &client.last_response(), resource) {
                    AcmeFailure::BadNonce => {}
                    failure => return Err(failure),
                },
            }
        }
        Err(AcmeFailure::BadNonce)
    }

    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.client.borrow().as_ref().is_none_or(Client::is_idle)
    }

    /// Returns the HTTP client, which is created on first use: it may have to read a file.
    pub(crate) async fn client(&self) -> Result<Client, AcmeFailure> {
        if let Some(client) = &*self.client.borrow() {
            return Ok(client.clone());
        }
        let bundle = self.acme.ca_bundle.clone();
        let roots = blocking(move || match bundle {
            None => Ok(system_roots()),
            Some(path) => match std::fs::read(&path) {
                Ok(pem) => parse_roots(&pem).map_err(|reason| format!("{}: {reason}", path.display())),
                Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
            },
        });
        let roots = roots
            .await
            .map_err(|error| AcmeFailure::Internal {
                reason: format!("the CA roots were not read: {error}"),
            })?
            .map_err(|reason| AcmeFailure::Misconfigured { reason: format!("ACME_CA_BUNDLE: {reason}") })?;
        let client = Client::new(roots);
        Ok(self.client.borrow_mut().get_or_insert(client).clone())
    }

    /// Returns the CA's directory, at most [`ACME_DIRECTORY_TTL`] old.
    pub(crate) async fn directory(&self) -> Result<Rc<Directory>, AcmeFailure> {
        if let Some((directory, at)) = &*self.directory.borrow()
            && clock::now().since(*at) < ACME_DIRECTORY_TTL
        {
            return Ok(Rc::clone(directory));
        }
        let client = self.client().await?;
        let (status, body) = client
            .get(self.url())
            .await
            .map_err(|error| AcmeFailure::of(error, &client.last_response(), Resource::Common))?;
        let retry_after = client.last_response().retry_after;
        if status != 200 {
            let reason = format!("the CA's directory responded with status {status}");
            return Err(match status {
                429 => AcmeFailure::RateLimited { reason, scope: LimitScope::Orders, retry_after },
                400..=499 => {
                    AcmeFailure::Misconfigured { reason: format!("{reason}: check the URL {}", self.url()) }
                }
                _ => AcmeFailure::Unavailable { reason, retry_after },
            });
        }
        let directory: Directory = serde_json::from_slice(&body).map_err(|_| AcmeFailure::Unavailable {
            reason: format!("{} is not an ACME directory", self.url()),
            retry_after,
        })?;
        let directory = Rc::new(directory);
        *self.directory.borrow_mut() = Some((Rc::clone(&directory), clock::now()));
        Ok(directory)
    }

    /// Whether the CA supports replacement orders (RFC 9773 §5), as far as known.
    pub(crate) fn takes_replacements(&self) -> bool {
        self.directory.borrow().as_ref().is_some_and(|(directory, _)| directory.renewal_info.is_some())
    }

    /// Returns our account: the cached one, else the one on the disk, else a new one.
    pub(crate) async fn account(
        &self,
        creation: impl FnOnce() -> AccountCreation,
    ) -> Result<Account, AcmeFailure> {
        let full =
            |QueueFull| AcmeFailure::Internal { reason: "too many orders wait for the account".to_owned() };
        let _permit = self.account_lock.acquire().await.map_err(full)?;
        if let Some((account, at)) = &*self.account.borrow()
            && clock::now().since(*at) < ACME_DIRECTORY_TTL
        {
            return Ok(account.clone());
        }
        let client = self.client().await?;
        let name = self.file_name();
        let failed = |error: DiskError| AcmeFailure::Internal { reason: error.to_string() };
        let stored: Option<StoredAccount> =
            self.disk.run(move |files| files.read_common(&name)).await.map_err(failed)?;
        let account = match stored.filter(|stored| stored.directory == self.url()) {
            Some(stored) => self.restore(&client, stored).await?,
            None => {
                if let AccountCreation::NotBefore(wait) = creation() {
                    return Err(AcmeFailure::RateLimited {
                        reason: "the budget of new accounts at the CA is used up".to_owned(),
                        scope: LimitScope::Accounts,
                        retry_after: Some(wait),
                    });
                }
                self.create(&client).await?
            }
        };
        *self.account.borrow_mut() = Some((account.clone(), clock::now()));
        Ok(account)
    }

    /// Forgets the account that the CA no longer knows, so that the next order creates another. `id`: the
    /// unknown account, which may have been replaced meanwhile.
    pub(crate) async fn forget_account(&self, id: Option<&str>) {
        let Ok(_permit) = self.account_lock.acquire().await else { return };
        let known = self.account.borrow().as_ref().map(|(account, _)| account.id().to_owned());
        if known.is_some() && known.as_deref() != id {
            return;
        }
        self.account.borrow_mut().take();
        let name = self.file_name();
        tracing::warn!(directory = self.url(), "CA no longer knows our account; creating a new one");
        if let Err(error) = self.disk.run(move |files| files.remove_common(&name)).await {
            tracing::error!(%error, "account unknown to the CA could not be deleted from the disk");
        }
    }

    async fn restore(&self, client: &Client, stored: StoredAccount) -> Result<Account, AcmeFailure> {
        let credentials = copy(&stored.credentials)?;
        let account = Account::builder_with_http(Box::new(client.clone()))
            .from_credentials(credentials)
            .await
            .map_err(|error| match error {
                // The key on the disk is invalid: the account is lost.
                Error::KeyRejected | Error::Crypto => AcmeFailure::AccountUnknown,
                error => AcmeFailure::of(error, &client.last_response(), Resource::Common),
            })?;
        if stored.email != self.acme.email {
            let contact = self.contact();
            let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
            // Certificates do not depend on it.
            match self.call(client, Resource::Common, async || account.update_contacts(&contact).await).await
            {
                Ok(()) => self.store(stored.credentials).await?,
                Err(error) => tracing::warn!(%error, "CA did not accept the new ACME_EMAIL"),
            }
        }
        Ok(account)
    }

    async fn create(&self, client: &Client) -> Result<Account, AcmeFailure> {
        let contact = self.contact();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let request =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let eab = self.settings.eab.as_ref().map(external_key).transpose()?;
        let (account, credentials) = self
            .call(client, Resource::Common, async || {
                Account::builder_with_http(Box::new(client.clone()))
                    .create(&request, self.url().to_owned(), eab.as_ref())
                    .await
            })
            .await
            .map_err(|failure| match failure {
                // A refused account is never the fault of a domain.
                AcmeFailure::Rejected { reason, .. } => AcmeFailure::Misconfigured { reason },
                failure => failure,
            })?;
        tracing::info!(directory = self.url(), account = account.id(), "created an account at the CA");
        self.store(credentials).await?;
        Ok(account)
    }

    async fn store(&self, credentials: AccountCredentials) -> Result<(), AcmeFailure> {
        let stored =
            StoredAccount { directory: self.url().to_owned(), email: self.acme.email.clone(), credentials };
        let name = self.file_name();
        self.disk
            .run(move |files| files.write_common(&name, &stored))
            .await
            .map_err(|error| AcmeFailure::Internal { reason: error.to_string() })
    }

    fn contact(&self) -> Vec<String> {
        self.acme.email.iter().map(|email| format!("mailto:{email}")).collect()
    }

    /// File name of the account: one per directory, safe for any URL.
    fn file_name(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.url().as_bytes());
        let name: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("accounts/{name}.json")
    }
}

/// Returns the system's trust store; where it is empty, Mozilla's CAs at build time.
fn system_roots() -> RootCerts {
    let roots = rustls_native_certs::load_native_certs().certs;
    if roots.is_empty() { RootCerts::WebPki } else { root_certs(roots) }
}

/// Parses a bundle of roots, and rejects one that would be used in part only.
fn parse_roots(pem: &[u8]) -> Result<RootCerts, String> {
    UpstreamSecret::new(Some(pem), None, false).map_err(|error| error.to_string())?;
    let roots = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    roots.map(root_certs).map_err(|error| error.to_string())
}

fn root_certs(roots: Vec<CertificateDer<'static>>) -> RootCerts {
    let roots = roots.iter().map(|root| Certificate::from_der(root).to_owned());
    RootCerts::Specific(Arc::new(roots.collect()))
}

/// Copies credentials, which have no `Clone`.
fn copy(credentials: &AccountCredentials) -> Result<AccountCredentials, AcmeFailure> {
    let text = serde_json::to_string(credentials);
    text.and_then(|text| serde_json::from_str(&text)).map_err(|error| AcmeFailure::Internal {
        reason: format!("the account on the disk: {:?} error", error.classify()),
    })
}

/// Parses the HMAC key: CAs issue it in Base64 with either alphabet, padded or not.
fn external_key((kid, hmac): &(String, String)) -> Result<ExternalAccountKey, AcmeFailure> {
    let text = hmac.trim();
    let alphabet = if text.contains(['+', '/']) { &STANDARD } else { &URL_SAFE };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let key = GeneralPurpose::new(alphabet, config).decode(text).map_err(|_| AcmeFailure::Misconfigured {
        reason: "ACME_EAB_HMAC is not Base64: copy it unchanged from the CA".to_owned(),
    })?;
    Ok(ExternalAccountKey::new(kid.clone(), &key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domains::OnDisk;
    use crate::files::Files;
    use crate::publisher::Publisher;
    use crate::registry::Registry;

    fn authority(url: &str) -> Authority {
        let settings = DirectorySettings { url: url.to_owned(), eab: None };
        let acme = AcmeSettings {
            directories: vec![settings.clone()],
            email: Some("ops@example.com".to_owned()),
            ca_bundle: None,
            profile: None,
        };
        let registry = Registry::new(OnDisk::default());
        let publisher = Publisher::new(Vec::new());
        let disk = Disk::new(Files::without_directory(), None, registry, publisher);
        Authority::new(settings, acme, disk)
    }

    #[test]
    fn has_one_file_per_directory() {
        let (a, b) = (authority("https://a.test/dir"), authority("https://a.test/../../dir"));
        assert_ne!(a.file_name(), b.file_name());
        assert!(
            b.file_name()
                .strip_prefix("accounts/")
                .unwrap()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        );
        assert_eq!(a.contact(), ["mailto:ops@example.com"]);
    }

    #[test]
    fn takes_the_key_of_an_external_account_in_every_writing() {
        for hmac in ["zWNDZM6eQGHWpSRTPal5eIUYFTu7EajV", "-_8=", "-_8", "+/8=", "+/8", " -_8\n"] {
            assert!(external_key(&("kid".to_owned(), hmac.to_owned())).is_ok(), "{hmac}");
        }
        assert!(matches!(
            external_key(&("kid".to_owned(), "not base64!".to_owned())),
            Err(AcmeFailure::Misconfigured { .. })
        ));
    }

    #[test]
    fn reads_what_a_directory_says() {
        let text = r#"{"newNonce":"https://ca.test/n","renewalInfo":"https://ca.test/ari",
            "meta":{"caaIdentities":["ca.test"],"profiles":{"shortlived":"six days","x":{"y":1}}}}"#;
        let directory: Directory = serde_json::from_str(text).unwrap();
        assert_eq!(directory.caa_identities(), ["ca.test"]);
        assert!(directory.offers("shortlived") && !directory.offers("tlsserver"));
        let bare: Directory = serde_json::from_str(r#"{"newNonce":"x"}"#).unwrap();
        assert!(bare.renewal_info.is_none() && bare.caa_identities().is_empty());
    }

    #[test]
    fn shows_no_secret() {
        let settings = DirectorySettings { url: "u".into(), eab: Some(("kid".into(), "secret".into())) };
        assert!(!format!("{settings:?}").contains("secret"));
    }
}
