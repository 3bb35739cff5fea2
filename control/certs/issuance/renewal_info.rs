//! What the CA says about when certificates are to be renewed (RFC 9773): asked as often as it wishes, a few at a time.

use std::rc::Rc;
use std::time::Duration;

use crate::limits::{RENEWAL_INFO_IN_FLIGHT_MAX, RENEWAL_INFO_INTERVAL};
use instant_acme::RenewalInfo;
use ringway_model::{Hostname, Timestamp};
use ringway_net::{clock, spawn};

use super::{DAY, SHORTEST_WAIT, Seat};
use crate::certificates::{Certificates, log_panic};
use crate::course::{After, Memory};
use crate::renewal::{Suggestion, fraction, part};

impl Certificates {
    /// When the CA is to be asked about a certificate's renewal; asks, if that is now.
    pub(super) fn ask_at(
        &self,
        host: &Hostname,
        memory: &Memory,
        fingerprint: &str,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let issuance = self.issuance();
        let origin = memory.issued.as_ref().filter(|origin| origin.fingerprint == fingerprint)?;
        let id = origin.certificate_id.clone()?;
        let seat = Rc::clone(issuance.seat_of(&origin.directory)?);
        // A moment too far away comes from a clock that was wrong.
        if origin.ask_at > now.0 && origin.ask_at - now.0 <= 2 * DAY.as_millis() as u64 {
            return Some(Timestamp(origin.ask_at));
        }
        let mut asking = issuance.asking.borrow_mut();
        if asking.contains(host) {
            return None;
        }
        if asking.len() >= RENEWAL_INFO_IN_FLIGHT_MAX {
            let spread = part(ASK_SPREAD.as_millis() as u64, fraction(host, "ask"));
            return Some(now.after(SHORTEST_WAIT).after(Duration::from_millis(spread)));
        }
        asking.insert(host.clone());
        let (this, again, name) = (self.clone(), self.clone(), host.clone());
        let host = host.clone();
        spawn(
            async move {
                let answer = ask_renewal(&seat, &id).await;
                this.handle_renewal_info(&host, &id, answer);
                this.issuance().asking.borrow_mut().remove(&host);
                this.touch(&host);
            },
            move |panic| {
                log_panic(panic);
                again.issuance().asking.borrow_mut().remove(&name);
            },
        );
        None
    }

    fn handle_renewal_info(&self, host: &Hostname, id: &str, answer: (Option<Suggestion>, Duration)) {
        let now = clock::timestamp();
        let (suggestion, again) = answer;
        {
            let mut domains = self.shared.domains.borrow_mut();
            let memory = domains.get_mut(host).and_then(|entry| entry.memory.as_mut());
            let Some(origin) = memory.and_then(|memory| memory.issued.as_mut()) else { return };
            if origin.certificate_id.as_deref() != Some(id) {
                return;
            }
            // An answer that did not come does not unsay the one before.
            origin.suggestion = suggestion.or(origin.suggestion);
            origin.ask_at = now.after(again).0;
        }
        self.remember(host);
    }
}

/// What the CA suggests about a certificate's renewal, if it does, and when to ask again.
async fn ask_renewal(seat: &Seat, id: &str) -> (Option<Suggestion>, Duration) {
    if !seat.health.borrow().is_usable(0, clock::now()) {
        return (None, RENEWAL_INFO_INTERVAL / 12);
    }
    let (Ok(client), Ok(directory)) = (seat.authority.client().await, seat.authority.directory().await)
    else {
        return (None, RENEWAL_INFO_INTERVAL / 12);
    };
    let Some(url) = &directory.renewal_info else { return (None, DAY) };
    let answer = client.get(&format!("{}/{id}", url.trim_end_matches('/'))).await;
    let retry_after = client.answered().retry_after;
    let again = retry_after.unwrap_or(RENEWAL_INFO_INTERVAL).clamp(RENEWAL_INFO_INTERVAL_MIN, DAY);
    let Ok((200, body)) = answer else { return (None, again.max(RENEWAL_INFO_INTERVAL / 12)) };
    let Ok(info) = serde_json::from_slice::<RenewalInfo>(&body) else { return (None, RENEWAL_INFO_INTERVAL) };
    let millis = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    let window = info.suggested_window;
    let suggestion =
        Suggestion { start: millis(window.start.unix_timestamp()), end: millis(window.end.unix_timestamp()) };
    // RFC 9773 §4.2: a window that ends before it begins is no answer.
    ((suggestion.end > suggestion.start).then_some(suggestion), again)
}

/// RFC 9773 §4.3.2 asks clients to bound what the CA says; it suggests a minute.
const RENEWAL_INFO_INTERVAL_MIN: Duration = Duration::from_secs(60);
/// Over which questions are spread that come all at once.
const ASK_SPREAD: Duration = Duration::from_secs(600);
