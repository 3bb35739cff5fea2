//! What happens to certificates that somebody may want to hear of.

use std::sync::Arc;

use ringway_model::{Hostname, Timestamp};
use ringway_tls::Facts;

/// Something happened to a certificate. Told to [`Host::notify`](crate::Host::notify), once.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CertificateEvent {
    /// A domain has its first certificate from the CA, and every core serves it.
    Issued {
        /// Whose.
        host: Hostname,
        /// The certificate.
        facts: Arc<Facts>,
    },
    /// A certificate was replaced by a younger one.
    Renewed {
        /// Whose.
        host: Hostname,
        /// The new one.
        facts: Arc<Facts>,
    },
    /// A certificate was handed to us, and every core serves it.
    Uploaded {
        /// Whose.
        host: Hostname,
        /// The certificate.
        facts: Arc<Facts>,
    },
    /// An attempt to issue or renew came to nothing.
    Failed {
        /// Whose.
        host: Hostname,
        /// Why, and what to do: one sentence.
        reason: String,
        /// When it is tried again; never, if `None`.
        next_try: Option<Timestamp>,
    },
    /// A domain is not tried any more until somebody asks for it, for its DNS points elsewhere or its failures do not end.
    Parked {
        /// Whose.
        host: Hostname,
        /// Why.
        reason: String,
    },
    /// A certificate is late in its life and was not renewed.
    ExpiringSoon {
        /// Whose; `None` for the default certificate.
        host: Option<Hostname>,
        /// The end of its validity.
        not_after: Timestamp,
    },
    /// The certificate of a domain that is gone was removed from the disk.
    Removed {
        /// Whose.
        host: Hostname,
    },
    /// What stands on the disk for a domain cannot be served. Only this domain is harmed.
    Damaged {
        /// Whose.
        host: Hostname,
        /// What is wrong.
        reason: String,
    },
    /// The files of the default certificate changed, and every core serves the new one.
    DefaultReplaced {
        /// The new one.
        facts: Arc<Facts>,
    },
    /// The files of the default certificate changed, and what stands there now cannot be served: the old one stays.
    DefaultRefused {
        /// What is wrong.
        reason: String,
    },
    /// The certificate directory cannot be used. What is served stays; nothing new can be stored.
    DirectoryUnusable {
        /// Why, and what to do.
        reason: String,
    },
}
