//! `ip_acl`: admits and refuses client addresses.

use ringway_model::IpAcl as Spec;

use super::networks::Networks;
use crate::Flow;
use crate::reply::LocalReply;
use crate::request::RequestCtx;

/// The stage.
#[derive(Debug)]
pub(crate) struct IpAcl {
    allow: Networks,
    deny: Networks,
}

impl IpAcl {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self { allow: Networks::new(&spec.allow), deny: Networks::new(&spec.deny) }
    }

    /// Denied networks first; then, where there are admitted ones, no others.
    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        let client = request.client();
        let is_admitted =
            !self.deny.contains(client) && (self.allow.is_empty() || self.allow.contains(client));
        match is_admitted {
            true => Flow::Continue,
            false => Flow::Reply(LocalReply::refusal(
                403,
                "client_address_denied",
                "requests from this address are refused",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ringway_model::{IpAcl as Spec, StageSpec};

    use crate::builtin::test_chain;
    use crate::chain::Run;
    use crate::testing::{TestServices, request};
    use crate::{Flow, LocalReply};

    /// Result for the client 192.0.2.1.
    fn admits(allow: &[&str], deny: &[&str]) -> bool {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let chain = test_chain(&[StageSpec::IpAcl(Spec { allow: parse(allow), deny: parse(deny) })]);
        let text = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";
        match request(&chain, text, &TestServices::default(), &mut Run::default()) {
            Flow::Continue => true,
            Flow::Reply(reply) => {
                assert_eq!(LocalReply::status(&reply), 403);
                false
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn denied_networks_come_first_then_only_admitted_ones() {
        assert!(admits(&[], &[]));
        assert!(admits(&["192.0.2.0/24"], &[]));
        assert!(!admits(&["10.0.0.0/8"], &[]), "the address is the client's, not a field's");
        assert!(!admits(&["192.0.2.0/24"], &["192.0.2.1"]));
        assert!(admits(&[], &["10.0.0.0/8", "::/0"]));
    }
}
