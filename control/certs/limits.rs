//! Limits of certificates: files, verifications, orders, renewals: each with its unit and its reason.

use std::time::Duration;

// --- Certificates ------------------------------------------------------------------------------------------

/// Bytes of a file with certificates, keys or CAs: a chain has 10 KiB, a bundle of all public CAs 250 KiB.
pub(crate) const CERTIFICATE_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a JSON file beside the certificates: the largest, the budgets of 5,000 names, has some 500 KiB.
pub(crate) const CERTIFICATE_RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Secrets in the loader's cache, which shares them among all cores: about 20 MiB.
pub(crate) const CERTIFICATES_CACHED_MAX: usize = 1_024;
/// Queued requests of one core to the loader; beyond it, a handshake fails as with a load error.
pub(crate) const CERTIFICATES_WANTED_MAX: usize = 4_096;
/// Check interval of the default certificate's files.
pub(crate) const CERTIFICATE_WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Certificates per batch that is read after the start, for their expiry: some milliseconds of one thread.
pub(crate) const CERTIFICATE_SCAN_BATCH: usize = 32;
/// Time for which the certificate of an unregistered domain is kept after a start, and between two clean-ups:
/// apps fill an in-memory store again within minutes.
pub(crate) const CERTIFICATE_ORPHAN_GRACE: Duration = Duration::from_secs(24 * 3600);
/// Queued disk operations; beyond it the disk has stalled, and more are refused.
pub(crate) const CERTIFICATE_WRITES_WAITING_MAX: usize = 1_024;
/// Concurrent verifications; each occupies a blocking thread during its DNS lookups.
pub(crate) const VERIFICATIONS_IN_FLIGHT_MAX: usize = 8;
/// Queued verifications; more are refused.
pub(crate) const VERIFICATIONS_WAITING_MAX: usize = 1_024;
/// Timeout of a probe of one address: the CA's own is about 10 s.
pub(crate) const CHALLENGE_PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes read of its response: a key authorization has 87.
pub(crate) const CHALLENGE_PROBE_BYTES_MAX: usize = 8 * 1024;
/// Probed addresses of each family: the CA tries one or two.
pub(crate) const CHALLENGE_PROBE_ADDRESSES_MAX: usize = 3;

// --- Certificates: the CA ----------------------------------------------------------------------------------

/// Orders in flight: bounds the load on a CA, whose own limits are per hour and week.
pub(crate) const ORDERS_IN_FLIGHT_MAX: usize = 5;
/// Queued orders: one per domain.
pub(crate) const ORDERS_WAITING_MAX: usize = ringway_model::limits::DOMAINS_MAX;
/// From the first request of an order to its certificate; then it is resumed later. Let's Encrypt takes
/// seconds, and documents that minutes are possible.
pub(crate) const ORDER_TIMEOUT: Duration = Duration::from_secs(300);
/// One request to a CA, from connecting to the last byte: some CAs sign before they respond.
pub(crate) const ACME_REQUEST_TIMEOUT: Duration = Duration::from_secs(45);
/// To resolve the CA's name, connect, and complete the TLS handshake.
pub(crate) const ACME_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a CA's response body: directories and orders have 2 KiB, chains 10, a problem with many
/// subproblems more.
pub(crate) const ACME_RESPONSE_BYTES_MAX: usize = 128 * 1024;
/// Queued requests to one CA: several for each order in flight, and renewal information.
pub(crate) const ACME_REQUESTS_WAITING_MAX: usize = 64;
/// Threads that send requests to one CA: one for each order in flight and renewal information request, so
/// that a slow response delays no other.
pub(crate) const ACME_THREADS_MAX: usize = ORDERS_IN_FLIGHT_MAX + RENEWAL_INFO_IN_FLIGHT_MAX;
/// Idle connections kept to a CA: one for each order in flight.
pub(crate) const ACME_CONNECTIONS_IDLE_MAX: usize = ORDERS_IN_FLIGHT_MAX;
/// Keep-alive time of an idle connection.
pub(crate) const ACME_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts of a request whose nonce the CA refuses; the library itself sends three requests in each. With
/// nine of ten nonces refused, one of a million requests fails.
pub(crate) const ACME_NONCE_TRIES: usize = 40;
/// Time for which a CA's directory and the account are cached.
pub(crate) const ACME_DIRECTORY_TTL: Duration = Duration::from_secs(24 * 3600);
/// First retry of an order that the CA refused; doubled with each failure, up to the maximum below.
pub(crate) const RETRY_ORDER_MIN: Duration = Duration::from_secs(5 * 60);
/// See [`RETRY_ORDER_MIN`].
pub(crate) const RETRY_ORDER_MAX: Duration = Duration::from_secs(24 * 3600);
/// First retry of a failed verification: a user may be editing the DNS records right now. Doubled as above.
pub(crate) const RETRY_DNS_MIN: Duration = Duration::from_secs(15);
/// See [`RETRY_DNS_MIN`].
pub(crate) const RETRY_DNS_MAX: Duration = Duration::from_secs(12 * 3600);
/// A domain whose DNS points elsewhere for this long is parked until it is verified or changed.
pub(crate) const PARK_AFTER_DNS: Duration = Duration::from_secs(14 * 24 * 3600);
/// A domain that the CA refuses for this long is parked until it is verified or changed: CAs pause those
/// themselves.
pub(crate) const PARK_AFTER_REFUSALS: Duration = Duration::from_secs(30 * 24 * 3600);
/// Least attempts before either, however long the process was down in between.
pub(crate) const PARK_ATTEMPTS_MIN: u32 = 10;
/// First pause of an unavailable CA; doubled with each failure, up to the maximum below.
pub(crate) const AUTHORITY_PAUSE_MIN: Duration = Duration::from_secs(10);
/// See [`AUTHORITY_PAUSE_MIN`].
pub(crate) const AUTHORITY_PAUSE_MAX: Duration = Duration::from_secs(30 * 60);
/// Consecutive failures before failover to the next CA: with their pauses about half a minute.
pub(crate) const AUTHORITY_FAILURES_MAX: u32 = 3;
/// Longest outage before failover.
pub(crate) const AUTHORITY_FAILOVER_AFTER: Duration = Duration::from_secs(5 * 60);
/// Concurrent verifications before orders: leaves slots to those that users request.
pub(crate) const VERIFICATIONS_OF_QUEUE_MAX: usize = 4;
/// Validity of a verification while its domain waits in the order queue.
pub(crate) const VERIFICATION_TTL: Duration = Duration::from_secs(10 * 60);
/// Issuance records per batch that is read from the disk: some milliseconds of one thread.
pub(crate) const RECORDS_READ_BATCH: usize = 32;
/// Spread of the first attempts per domain, at a start with many domains without a certificate.
pub(crate) const START_SPREAD: Duration = Duration::from_millis(200);
/// Interval of renewal information requests, where the CA does not specify one (RFC 9773 §4.3.3).
pub(crate) const RENEWAL_INFO_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// Concurrent renewal information requests.
pub(crate) const RENEWAL_INFO_IN_FLIGHT_MAX: usize = 2;
/// Longest interval between two rounds of the issuance task, so that a clock jump is noticed.
pub(crate) const CERTIFICATES_ROUND: Duration = Duration::from_secs(30);
/// Rate-limit buckets; a bucket is full, and dropped, within a week.
pub(crate) const BUDGETS_MAX: usize = 100_000;
/// First poll interval of an order; grows up to the maximum below.
pub(crate) const ACME_POLL_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// See [`ACME_POLL_INTERVAL_MIN`].
pub(crate) const ACME_POLL_INTERVAL_MAX: Duration = Duration::from_secs(10);
