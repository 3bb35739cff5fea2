//! Limits of certificates: files, DNS checks, orders, renewals: each with its unit and its reason.

use std::time::Duration;

// --- Certificates ------------------------------------------------------------------------------------------

/// Bytes of a file with certificates, keys or CAs: a chain has 10 KiB, a bundle of all public CAs 250.
pub(crate) const CERTIFICATE_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a JSON file beside the certificates: the largest, the budgets of 5,000 names, has some 500 KiB.
pub(crate) const CERTIFICATE_RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Certificates and the like that the loader keeps, to share one among all cores: about 20 MiB.
pub(crate) const CERTIFICATES_CACHED_MAX: usize = 1_024;
/// Questions of one core to the loader that wait; when full, a handshake is refused as when nothing could be loaded.
pub(crate) const CERTIFICATES_WANTED_MAX: usize = 4_096;
/// How often the files of the default certificate are looked at.
pub(crate) const CERTIFICATE_WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Certificates that are read in one go after the start, to know when they end: some milliseconds of one thread.
pub(crate) const CERTIFICATE_SCAN_BATCH: usize = 32;
/// How long a certificate on the disk whose domain is not registered is kept after a start, and between two clean-ups: a store
/// that lives in memory is filled again by the apps within minutes.
pub(crate) const CERTIFICATE_ORPHAN_GRACE: Duration = Duration::from_secs(24 * 3600);
/// Changes of files that wait for the disk; more are refused, for it has stopped.
pub(crate) const CERTIFICATE_WRITES_WAITING_MAX: usize = 1_024;
/// Verifications at one time; each occupies a thread for blocking calls while it asks for DNS records.
pub(crate) const VERIFICATIONS_IN_FLIGHT_MAX: usize = 8;
/// Verifications that wait for one of those; more are told to come later.
pub(crate) const VERIFICATIONS_WAITING_MAX: usize = 1_024;
/// To fetch our own challenge from one address: the CA's own patience is about 10 s.
pub(crate) const CHALLENGE_PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the answer to it that are read: a key authorization has 87.
pub(crate) const CHALLENGE_PROBE_BYTES_MAX: usize = 8 * 1024;
/// Addresses of one name that are probed, of each family: the CA tries one or two.
pub(crate) const CHALLENGE_PROBE_ADDRESSES_MAX: usize = 3;

// --- Certificates: the CA ----------------------------------------------------------------------------------

/// Orders that CAs work on at one time (NFR-4.8).
pub(crate) const ORDERS_IN_FLIGHT_MAX: usize = 5;
/// Domains that may wait for their turn: all of them.
pub(crate) const ORDERS_WAITING_MAX: usize = ringway_model::limits::DOMAINS_MAX;
/// From the first request of an order to its certificate; then it is left for later. Let's Encrypt takes seconds, and says
/// itself that minutes are possible.
pub(crate) const ORDER_TIMEOUT: Duration = Duration::from_secs(300);
/// One request to a CA, connection and answer included: some CAs sign before they answer.
pub(crate) const ACME_REQUEST_TIMEOUT: Duration = Duration::from_secs(45);
/// To resolve the CA's name, connect, and greet by TLS.
pub(crate) const ACME_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a CA's answer: directories and orders have 2 KiB, chains 10, a problem with many subproblems some more.
pub(crate) const ACME_ANSWER_BYTES_MAX: usize = 128 * 1024;
/// Requests to one CA that wait to be sent: several for each order in flight, and renewal information.
pub(crate) const ACME_REQUESTS_WAITING_MAX: usize = 64;
/// Connections to a CA that are kept for the next request: one for each order in flight.
pub(crate) const ACME_CONNECTIONS_IDLE_MAX: usize = ORDERS_IN_FLIGHT_MAX;
/// How long they are kept.
pub(crate) const ACME_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often something is asked again when a CA refuses the nonce; three requests each. A CA that refuses nine of ten lets one
/// of a million such questions fail.
pub(crate) const ACME_NONCE_TRIES: usize = 40;
/// How long what a CA says of itself is believed, and an account is not read again.
pub(crate) const ACME_DIRECTORY_TTL: Duration = Duration::from_secs(24 * 3600);
/// After an order that the CA refused, the next one for the same domain; twice as long with each failure, at most the second.
pub(crate) const RETRY_ORDER_MIN: Duration = Duration::from_secs(5 * 60);
/// See [`RETRY_ORDER_MIN`].
pub(crate) const RETRY_ORDER_MAX: Duration = Duration::from_secs(24 * 3600);
/// After a verification that failed, the next one: somebody may be at the DNS records at this moment. Later as above.
pub(crate) const RETRY_DNS_MIN: Duration = Duration::from_secs(15);
/// See [`RETRY_DNS_MIN`].
pub(crate) const RETRY_DNS_MAX: Duration = Duration::from_secs(12 * 3600);
/// A domain whose DNS leads elsewhere for so long is not tried any more until somebody asks.
pub(crate) const PARK_AFTER_DNS: Duration = Duration::from_secs(14 * 24 * 3600);
/// A domain that the CA refuses for so long is not tried any more until somebody asks: CAs pause those themselves.
pub(crate) const PARK_AFTER_REFUSALS: Duration = Duration::from_secs(30 * 24 * 3600);
/// Attempts before either, however long the process was off in between.
pub(crate) const PARK_ATTEMPTS_MIN: u32 = 10;
/// A CA that is out of order is left alone for this long; twice as long with each failure, at most the second.
pub(crate) const AUTHORITY_PAUSE_MIN: Duration = Duration::from_secs(10);
/// See [`AUTHORITY_PAUSE_MIN`].
pub(crate) const AUTHORITY_PAUSE_MAX: Duration = Duration::from_secs(30 * 60);
/// Failures in a row after which the next CA takes over: with the pauses between them, about half a minute.
pub(crate) const AUTHORITY_FAILURES_MAX: u32 = 3;
/// It takes over after this time in any case.
pub(crate) const AUTHORITY_FAILOVER_AFTER: Duration = Duration::from_secs(5 * 60);
/// Verifications before orders, at one time, so that those that somebody asks for find places.
pub(crate) const VERIFICATIONS_OF_QUEUE_MAX: usize = 4;
/// How long a verification is good for, while its domain waits for its turn.
pub(crate) const VERIFICATION_TTL: Duration = Duration::from_secs(10 * 60);
/// Memories of domains that are read from the disk in one go: some milliseconds of one thread.
pub(crate) const MEMORIES_READ_BATCH: usize = 32;
/// At a start with many domains without a certificate, their first attempts are spread: so much for each.
pub(crate) const START_SPREAD: Duration = Duration::from_millis(200);
/// How often a CA is asked about the renewal of a certificate, where it does not say itself (RFC 9773 §4.3.3).
pub(crate) const RENEWAL_INFO_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// Questions about renewals at one time.
pub(crate) const RENEWAL_INFO_IN_FLIGHT_MAX: usize = 2;
/// The queue is looked at this often whatever happens, so that a clock that jumps is noticed.
pub(crate) const CERTIFICATES_ROUND: Duration = Duration::from_secs(30);
/// Buckets of the CAs' limits that are remembered; a bucket is full again, and forgotten, within a week.
pub(crate) const BUDGETS_MAX: usize = 100_000;
/// Between two looks at an order: the first, and the longest.
pub(crate) const ACME_POLL_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// See [`ACME_POLL_INTERVAL_MIN`].
pub(crate) const ACME_POLL_INTERVAL_MAX: Duration = Duration::from_secs(10);
