//! Actions of rules that name no pool: redirects, fixed responses, routes of scripts.

use ringway_traffic::redirect::location;
use ringway_traffic::virtual_host::{Action, Rule};

use crate::core::ConnBuffers;
use crate::exchange::disposition::Disposition;
use crate::exchange::local_reply::LocalReply;
use crate::exchange::match_rule::Match;
use crate::exchange::{Exchange, Interrupt, match_rule};
use crate::runtime::Runtime;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Carries out the action of a rule that names no pool.
    pub(super) async fn act(&mut self, matched: Match<'a>) -> Result<Disposition, Interrupt<'a>> {
        #[cfg(feature = "lua")]
        if let Action::Script(routes) = &matched.rule.action {
            // Boxed: other exchanges must not be larger for it.
            return Box::pin(self.run_script(matched, routes)).await;
        }
        Err(self.local_action(matched.rule))
    }

    /// Returns the reply of a rule whose requests go to no pool.
    fn local_action(&self, rule: &'a Rule) -> Interrupt<'a> {
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
            // Run by `act`; without Lua there are none.
            Action::Script(_) => LocalReply::no_route().into(),
        }
    }
}
