//! One CA: its directory, our account there, and how it is reached.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::{ACME_DIRECTORY_TTL, ACME_NONCE_TRIES};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use ringway_model::Tick;
use ringway_net::{blocking, clock};
use ringway_tls::{Alpn, UpstreamSecret};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Resource};
use super::transport::Client;
use crate::certificates::Certificates;
use crate::lane::Lane;
use crate::settings::{AcmeSettings, DirectorySettings};

/// One CA.
pub(crate) struct Authority {
    pub(crate) settings: DirectorySettings,
    acme: AcmeSettings,
    client: RefCell<Option<Client>>,
    directory: RefCell<Option<(Rc<Directory>, Tick)>>,
    account: RefCell<Option<(Account, Tick)>>,
    /// Making an account, or reading it from the disk, is done once for all who want it.
    making: Lane,
}

/// What the CA says of itself (RFC 8555 §7.1.1), as far as `instant-acme` keeps it to itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Directory {
    /// Where renewal information is had (RFC 9773), if at all.
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
    /// How the CA calls itself in CAA records.
    pub(crate) fn caa_identities(&self) -> &[String] {
        &self.meta.caa_identities
    }

    /// Whether the CA offers this profile.
    pub(crate) fn offers(&self, profile: &str) -> bool {
        self.meta.profiles.contains_key(profile)
    }
}

/// What is kept of an account. The key stands in it in clear: the file is 0600 in a folder that is 0700.
#[derive(Serialize, Deserialize)]
struct Stored {
    directory: String,
    email: Option<String>,
    credentials: AccountCredentials,
}

/// Whether a new account may be made now.
pub(crate) enum MayCreate {
    Yes,
    /// The CA's limit on accounts is reached.
    NotBefore(Duration),
}

impl Authority {
    pub(crate) fn new(settings: DirectorySettings, acme: AcmeSettings) -> Self {
        Self {
            settings,
            acme,
            client: RefCell::default(),
            directory: RefCell::default(),
            account: RefCell::default(),
            // As many wait as there are orders and questions about renewals.
            making: Lane::new(1, 64),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.settings.url
    }

    /// Asks the CA; again while it refuses our nonces, which some do on purpose.
    pub(crate) async fn ask<T>(
        &self,
        client: &Client,
        resource: Resource,
        mut call: impl AsyncFnMut() -> Result<T, Error>,
    ) -> Result<T, Fault> {
        for _ in 0..ACME_NONCE_TRIES {
            match call().await {
                Ok(value) => return Ok(value),
                Err(error) => match Fault::of(error, &client.answered(), resource) {
                    Fault::BadNonce => {}
                    fault => return Err(fault),
                },
            }
        }
        Err(Fault::BadNonce)
    }

    /// The way to the CA. Made on first need, for it may mean to read a file.
    pub(crate) async fn client(&self) -> Result<Client, Fault> {
        if let Some(client) = &*self.client.borrow() {
            return Ok(client.clone());
        }
        let bundle = self.acme.ca_bundle.clone();
        let config = blocking(move || match bundle {
            None => client_config(None),
            Some(path) => match std::fs::read(&path) {
                Ok(pem) => client_config(Some(&pem)).map_err(|why| format!("{}: {why}", path.display())),
                Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
            },
        });
        let config = config
            .await
            .map_err(|error| Fault::Ours { why: format!("the roots of the CA were not read: {error}") })?
            .map_err(|why| Fault::Misconfigured { why: format!("ACME_CA_BUNDLE: {why}") })?;
        let client = Client::start(config);
        Ok(self.client.borrow_mut().get_or_insert(client).clone())
    }

    /// What the CA says of itself, at most [`ACME_DIRECTORY_TTL`] old.
    pub(crate) async fn directory(&self) -> Result<Rc<Directory>, Fault> {
        if let Some((directory, at)) = &*self.directory.borrow()
            && clock::now().since(*at) < ACME_DIRECTORY_TTL
        {
            return Ok(Rc::clone(directory));
        }
        let client = self.client().await?;
        let (status, body) = client
            .get(self.url())
            .await
            .map_err(|error| Fault::of(error, &client.answered(), Resource::Common))?;
        let retry_after = client.answered().retry_after;
        if status != 200 {
            let why = format!("the directory of the CA answers with status {status}");
            return Err(match status {
                429 => Fault::Limited { why, scope: super::fault::LimitScope::Orders, retry_after },
                400..=499 => Fault::Misconfigured { why: format!("{why}; is {} right?", self.url()) },
                _ => Fault::Down { why, retry_after },
            });
        }
        let directory: Directory = serde_json::from_slice(&body).map_err(|_| Fault::Down {
            why: format!("what stands at {} is no ACME directory", self.url()),
            retry_after,
        })?;
        let directory = Rc::new(directory);
        *self.directory.borrow_mut() = Some((Rc::clone(&directory), clock::now()));
        Ok(directory)
    }

    /// Whether it takes orders that name the certificate which they replace, as far as is known.
    pub(crate) fn takes_replacements(&self) -> bool {
        self.directory.borrow().as_ref().is_some_and(|(directory, _)| directory.renewal_info.is_some())
    }

    /// Our account at the CA: the one that is known, else the one on the disk, else a new one.
    pub(crate) async fn account(
        &self,
        certificates: &Certificates,
        may_create: impl FnOnce() -> MayCreate,
    ) -> Result<Account, Fault> {
        let crowded = |_| Fault::Ours { why: "too much waits for the account".to_owned() };
        let _place = self.making.enter().await.map_err(crowded)?;
        if let Some((account, at)) = &*self.account.borrow()
            && clock::now().since(*at) < ACME_DIRECTORY_TTL
        {
            return Ok(account.clone());
        }
        let client = self.client().await?;
        let name = self.file_name();
        let disk = |error: crate::certificates::DiskError| Fault::Ours { why: error.to_string() };
        let stored: Option<Stored> =
            certificates.on_disk(move |files| files.read_common(&name)).await.map_err(disk)?;
        let account = match stored.filter(|stored| stored.directory == self.url()) {
            Some(stored) => self.restore(&client, stored, certificates).await?,
            None => {
                if let MayCreate::NotBefore(wait) = may_create() {
                    return Err(Fault::Limited {
                        why: "as many accounts as the CA allows were made lately".to_owned(),
                        scope: super::fault::LimitScope::Accounts,
                        retry_after: Some(wait),
                    });
                }
                self.create(&client, certificates).await?
            }
        };
        *self.account.borrow_mut() = Some((account.clone(), clock::now()));
        Ok(account)
    }

    /// The CA does not know the account any more: the next who wants one makes another.
    /// `id`: the account that it does not know, which may not be the one of now any more.
    pub(crate) async fn forget_account(&self, certificates: &Certificates, id: Option<&str>) {
        let Ok(_place) = self.making.enter().await else { return };
        let known = self.account.borrow().as_ref().map(|(account, _)| account.id().to_owned());
        if known.is_some() && known.as_deref() != id {
            return;
        }
        self.account.borrow_mut().take();
        let name = self.file_name();
        tracing::warn!(
            directory = self.url(),
            "the CA does not know our account any more; a new one is made"
        );
        if let Err(error) = certificates.on_disk(move |files| files.remove_common(&name)).await {
            tracing::error!(%error, "the account that the CA has forgotten could not be removed from the disk");
        }
    }

    async fn restore(
        &self,
        client: &Client,
        stored: Stored,
        certificates: &Certificates,
    ) -> Result<Account, Fault> {
        let credentials = copy(&stored.credentials)?;
        let account = Account::builder_with_http(Box::new(client.clone()))
            .from_credentials(credentials)
            .await
            .map_err(|error| match error {
                // The key on the disk is none: without it, the account is lost.
                Error::KeyRejected | Error::Crypto => Fault::AccountGone,
                error => Fault::of(error, &client.answered(), Resource::Common),
            })?;
        if stored.email != self.acme.email {
            let contact = self.contact();
            let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
            // Only a courtesy to the CA: certificates do not depend on it.
            match self.ask(client, Resource::Common, async || account.update_contacts(&contact).await).await {
                Ok(()) => self.store(stored.credentials, certificates).await?,
                Err(error) => tracing::warn!(%error, "the CA was not told the new ACME_EMAIL"),
            }
        }
        Ok(account)
    }

    async fn create(&self, client: &Client, certificates: &Certificates) -> Result<Account, Fault> {
        let contact = self.contact();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let wish =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let eab = self.settings.eab.as_ref().map(external_key).transpose()?;
        let (account, credentials) = self
            .ask(client, Resource::Common, async || {
                Account::builder_with_http(Box::new(client.clone()))
                    .create(&wish, self.url().to_owned(), eab.as_ref())
                    .await
            })
            .await
            .map_err(|fault| match fault {
                // Whatever the CA has against our account, no domain is to blame.
                Fault::Refused { why, .. } => Fault::Misconfigured { why },
                fault => fault,
            })?;
        tracing::info!(directory = self.url(), account = account.id(), "an account was made at the CA");
        self.store(credentials, certificates).await?;
        Ok(account)
    }

    async fn store(&self, credentials: AccountCredentials, certificates: &Certificates) -> Result<(), Fault> {
        let stored = Stored { directory: self.url().to_owned(), email: self.acme.email.clone(), credentials };
        let name = self.file_name();
        certificates
            .on_disk(move |files| files.write_common(&name, &stored))
            .await
            .map_err(|error| Fault::Ours { why: error.to_string() })
    }

    fn contact(&self) -> Vec<String> {
        self.acme.email.iter().map(|email| format!("mailto:{email}")).collect()
    }

    /// One file per directory, whatever stands in its URL.
    fn file_name(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.url().as_bytes());
        let name: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("accounts/{name}.json")
    }
}

fn client_config(bundle: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let material = UpstreamSecret::new(bundle, None, false).map_err(|error| error.to_string())?;
    Ok(material.client_config(Alpn::Http1))
}

/// Credentials cannot be cloned.
fn copy(credentials: &AccountCredentials) -> Result<AccountCredentials, Fault> {
    let text = serde_json::to_string(credentials);
    text.and_then(|text| serde_json::from_str(&text)).map_err(|error| Fault::Ours {
        why: format!("the account on the disk: {:?} error", error.classify()),
    })
}

/// CAs give the key in Base64, with either alphabet, padded or not.
fn external_key((kid, hmac): &(String, String)) -> Result<ExternalAccountKey, Fault> {
    let text = hmac.trim();
    let alphabet = if text.contains(['+', '/']) { &STANDARD } else { &URL_SAFE };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let key = GeneralPurpose::new(alphabet, config).decode(text).map_err(|_| Fault::Misconfigured {
        why: "ACME_EAB_HMAC is not Base64; copy it from the CA's page as it stands there".to_owned(),
    })?;
    Ok(ExternalAccountKey::new(kid.clone(), &key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn authority(url: &str) -> Authority {
        let settings = DirectorySettings { url: url.to_owned(), eab: None };
        let acme = AcmeSettings {
            directories: vec![settings.clone()],
            email: Some("ops@example.com".to_owned()),
            ca_bundle: None,
            profile: None,
        };
        Authority::new(settings, acme)
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
            Err(Fault::Misconfigured { .. })
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
