//! Certificate events, for webhooks.

use std::sync::Arc;

use ringway_model::{Hostname, Timestamp};
use ringway_tls::Facts;

/// Certificate event, sent to [`Host::notify`](crate::Host::notify) once.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CertificateEvent {
    /// A domain got its first certificate from the CA, and every core serves it.
    Issued {
        /// The domain.
        host: Hostname,
        /// The certificate.
        facts: Arc<Facts>,
    },
    /// A certificate was renewed.
    Renewed {
        /// The domain.
        host: Hostname,
        /// The new certificate.
        facts: Arc<Facts>,
    },
    /// A certificate was uploaded, and every core serves it.
    Uploaded {
        /// The domain.
        host: Hostname,
        /// The certificate.
        facts: Arc<Facts>,
    },
    /// An attempt to issue or renew failed.
    Failed {
        /// The domain.
        host: Hostname,
        /// Reason and remedy, in one sentence.
        reason: String,
        /// Time of the next attempt; `None` for none.
        next_try: Option<Timestamp>,
    },
    /// Attempts for a domain stopped until it is verified or changed: its DNS points elsewhere, or its orders
    /// keep failing.
    Parked {
        /// The domain.
        host: Hostname,
        /// Reason of the last failure.
        reason: String,
    },
    /// A certificate nears its expiry without a renewal.
    ExpiringSoon {
        /// The domain; `None` for the default certificate.
        host: Option<Hostname>,
        /// End of its validity.
        not_after: Timestamp,
    },
    /// The certificate of a removed domain was deleted from the disk.
    Removed {
        /// The domain.
        host: Hostname,
    },
    /// The certificate of a domain on the disk is damaged. Other domains are not affected.
    Damaged {
        /// The domain.
        host: Hostname,
        /// The problem.
        reason: String,
    },
    /// The files of the default certificate changed, and every core serves the new one.
    DefaultReplaced {
        /// The new certificate.
        facts: Arc<Facts>,
    },
    /// The files of the default certificate changed and are invalid: the previous certificate stays.
    DefaultRefused {
        /// The problem.
        reason: String,
    },
    /// The certificate directory is unusable: served certificates stay, new ones cannot be stored.
    DirectoryUnusable {
        /// Reason and remedy.
        reason: String,
    },
}
