//! Replies that rules give without an endpoint: redirects and fixed responses.

use ringway_traffic::redirect::location;
use ringway_traffic::virtual_host::{Action, Rule};

use crate::core::ConnBuffers;
use crate::exchange::local_reply::LocalReply;
use crate::exchange::{Exchange, Interrupt, match_rule};
use crate::runtime::Runtime;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Returns the reply of a rule whose requests go to no pool.
    pub(super) fn local_action(&self, rule: &'a Rule) -> Interrupt<'a> {
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        match &rule.action {
            Action::Redirect(redirect) => {
                let is_https = match_rule::is_secure(self.client, request, client_in);
                let location = location(redirect, request, client_in, is_https);
                LocalReply::redirect(redirect.status, &location).into()
            }
            Action::Respond(response) => LocalReply::fixed(response).into(),
            // A pool of the snapshot was chosen for these.
            Action::Proxy { .. } => LocalReply::no_route().into(),
        }
    }
}
