//! Renewal information of the CA (RFC 9773): requested as often as it wishes, a few at a time.

use std::rc::Rc;
use std::time::Duration;

use instant_acme::RenewalInfo;
use ringway_model::{Hostname, Timestamp};
use ringway_net::{clock, spawn};

use super::{CaSlot, DAY, Issuance, SHORTEST_WAIT};
use crate::issuance_state::{After, IssuanceRecord};
use crate::limits::{RENEWAL_INFO_IN_FLIGHT_MAX, RENEWAL_INFO_INTERVAL};
use crate::renewal::{Suggestion, fraction, part};
use crate::tasks::log_panic;

impl Issuance {
    /// Requests renewal information of a certificate if it is due; returns when it is otherwise.
    pub(super) fn update_renewal_info(
        &self,
        host: &Hostname,
        record: &IssuanceRecord,
        fingerprint: &str,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let origin = record.issued.as_ref().filter(|origin| origin.fingerprint == fingerprint)?;
        let id = origin.certificate_id.clone()?;
        let slot = Rc::clone(self.slot_of(&origin.directory)?);
        // A time too far ahead was computed with a wrong clock.
        if origin.ask_at > now.0 && origin.ask_at - now.0 <= 2 * DAY.as_millis() as u64 {
            return Some(Timestamp(origin.ask_at));
        }
        let mut in_flight = self.renewal_info_in_flight.borrow_mut();
        if in_flight.contains(host) {
            return None;
        }
        if in_flight.len() >= RENEWAL_INFO_IN_FLIGHT_MAX {
            let spread = part(REQUEST_SPREAD.as_millis() as u64, fraction(host, "ask"));
            return Some(now.after(SHORTEST_WAIT).after(Duration::from_millis(spread)));
        }
        in_flight.insert(host.clone());
        let (this, panicked, name) = (self.clone(), self.clone(), host.clone());
        let host = host.clone();
        spawn(
            async move {
                let (suggestion, again) = request(&slot, &id).await;
                this.handle_renewal_info(&host, &id, suggestion, again);
                this.renewal_info_in_flight.borrow_mut().remove(&host);
                this.registry.mark_changed(&host);
            },
            move |panic| {
                log_panic(panic);
                panicked.renewal_info_in_flight.borrow_mut().remove(&name);
            },
        );
        None
    }

    fn handle_renewal_info(
        &self,
        host: &Hostname,
        id: &str,
        suggestion: Option<Suggestion>,
        again: Duration,
    ) {
        {
            let mut table = self.registry.table_mut();
            let record = table.get_mut(host).and_then(|entry| entry.record.as_mut());
            let Some(origin) = record.and_then(|record| record.issued.as_mut()) else { return };
            if origin.certificate_id.as_deref() != Some(id) {
                return;
            }
            // A failed request keeps the previous suggestion.
            origin.suggestion = suggestion.or(origin.suggestion);
            origin.ask_at = clock::timestamp().after(again).0;
        }
        self.records.save(host);
    }
}

/// Requests renewal information; returns the suggested window, if there is one, and the time until the next
/// request.
async fn request(slot: &CaSlot, id: &str) -> (Option<Suggestion>, Duration) {
    if !slot.health.borrow().is_usable(0, clock::now()) {
        return (None, FAILURE_INTERVAL);
    }
    let (Ok(client), Ok(directory)) = (slot.authority.client().await, slot.authority.directory().await)
    else {
        return (None, FAILURE_INTERVAL);
    };
    let Some(url) = &directory.renewal_info else { return (None, DAY) };
    let response = client.get(&format!("{}/{id}", url.trim_end_matches('/'))).await;
    let retry_after = client.last_response().retry_after;
    let again = retry_after.unwrap_or(RENEWAL_INFO_INTERVAL).clamp(RENEWAL_INFO_INTERVAL_MIN, DAY);
    let Ok((200, body)) = response else { return (None, again.max(FAILURE_INTERVAL)) };
    let Ok(info) = serde_json::from_slice::<RenewalInfo>(&body) else { return (None, RENEWAL_INFO_INTERVAL) };
    let millis = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    let window = info.suggested_window;
    let suggestion =
        Suggestion { start: millis(window.start.unix_timestamp()), end: millis(window.end.unix_timestamp()) };
    // RFC 9773 §4.2: an inverted window is invalid.
    ((suggestion.end > suggestion.start).then_some(suggestion), again)
}

/// Interval after a failed request.
const FAILURE_INTERVAL: Duration = Duration::from_secs(RENEWAL_INFO_INTERVAL.as_secs() / 12);
/// RFC 9773 §4.3.2 asks clients to bound the CA's interval; it suggests a minute.
const RENEWAL_INFO_INTERVAL_MIN: Duration = Duration::from_secs(60);
/// Spread of requests that become due together.
const REQUEST_SPREAD: Duration = Duration::from_secs(600);
