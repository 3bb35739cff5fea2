#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ringway_model::{
    HeaderEdits, HeaderTransform, IpAcl, PathRedirect, PolicyId, RateLimitRef, RequestIdStage, StageSpec,
    Template,
};

use super::{ChainExplanation, StageVerdict, explain};
use crate::builtin::test_chain;
use crate::chain::{Chain, Stage};
use crate::testing::{TestServices, head, view};
use crate::{Flow, LocalReply, Middleware, RequestCtx};

fn explained(chain: &Chain, text: &str) -> ChainExplanation {
    let head = head(text);
    explain(chain, view(&head, text).parts, Some(CLIENT), &TestServices::default())
}

fn acl(deny: &str) -> StageSpec {
    StageSpec::IpAcl(IpAcl { allow: [].into(), deny: [deny.parse().unwrap()].into() })
}

fn headers() -> StageSpec {
    let field = |name: &str, value: &str| (Arc::from(name), Template::parse(value).unwrap());
    StageSpec::HeaderTransform(HeaderTransform {
        request: HeaderEdits {
            add: [field("x-a", "${host}")].into(),
            remove: ["x-b".into()].into(),
            ..HeaderEdits::default()
        },
        response: HeaderEdits { set: [field("x-c", "1")].into(), ..HeaderEdits::default() },
    })
}

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const TEXT: &str = "GET /old/1 HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn stages_that_pass_show_their_changes_of_both_heads() {
    let limit = StageSpec::RateLimit(RateLimitRef { policy_ref: PolicyId::parse("strict").unwrap() });
    let id = StageSpec::RequestId(RequestIdStage { header: "x-request-id".into() });
    let found = explained(&test_chain(&[id, headers(), limit, acl("10.0.0.0/8")]), TEXT);
    let verdicts: Vec<_> = found.stages.iter().map(|stage| stage.verdict).collect();
    let passes = StageVerdict::Passes;
    assert_eq!(verdicts, [passes, passes, StageVerdict::Limits(0), passes]);
    assert!(found.reply.is_none());
    assert_eq!(found.stages[1].request.added, [("x-a".to_owned(), "a.example".to_owned())]);
    assert_eq!(found.stages[1].request.removed, ["x-b"]);
    assert_eq!(found.stages[1].response.added, [("x-c".to_owned(), "1".to_owned())]);
    assert_eq!(found.stages[0].response.added[0].0, "x-request-id");
    assert!(found.stages[3].request.is_empty() && found.stages[3].response.is_empty());
}

#[test]
fn stages_behind_a_reply_are_not_reached_and_those_before_it_see_it() {
    let redirect =
        StageSpec::Redirect(PathRedirect { from: "/old/*".into(), to: "/new/*".into(), status: 308 });
    let found = explained(&test_chain(&[headers(), redirect, acl("192.0.2.0/24")]), TEXT);
    let verdicts: Vec<_> = found.stages.iter().map(|stage| stage.verdict).collect();
    assert_eq!(verdicts, [StageVerdict::Passes, StageVerdict::Replies, StageVerdict::NotReached]);
    assert_eq!(found.reply.unwrap().status(), 308);
    assert_eq!(found.stages[0].response.added, [("x-c".to_owned(), "1".to_owned())]);
    assert!(found.stages[2].response.is_empty());
}

#[test]
fn stages_of_an_embedder_are_not_run() {
    struct Refusing;
    impl Middleware for Refusing {
        fn on_request(&self, _: &mut RequestCtx<'_>) -> Flow {
            Flow::Reply(LocalReply::error(403))
        }
    }
    let mut stages = vec![Stage::Custom(Arc::new(Refusing))];
    stages.extend(test_chain(&[acl("192.0.2.0/24")]).stages().iter().cloned());
    let found = explained(&Chain::new(stages), TEXT);
    assert!(matches!(found.stages[0].verdict, StageVerdict::Undecided(_)));
    assert_eq!(found.stages[1].verdict, StageVerdict::Replies);
}

#[test]
fn addresses_are_judged_where_one_is_given() {
    let (head, chain) = (head(TEXT), test_chain(&[acl("0.0.0.0/0"), headers()]));
    let verdicts = |client| {
        let found = explain(&chain, view(&head, TEXT).parts, client, &TestServices::default());
        found.stages.iter().map(|stage| stage.verdict).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(Some(CLIENT)), [StageVerdict::Replies, StageVerdict::NotReached]);
    assert!(matches!(*verdicts(None), [StageVerdict::Undecided(_), StageVerdict::Passes]));
}
