#![allow(clippy::unwrap_used)]
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use ringway_model::{
    AccessLogStage, ApiKey, ApiKeys, AppId, AuthMethod, AuthStage, BasicAuth, BodyLimit, CanonicalHost, Cidr,
    ClaimField, ClaimRule, Coding, Compress, Cors, DecisionCache, ErrorPage, ErrorPages, ExternalFilter,
    ExternalProtocol, FailMode, FrameOptions, HeaderEdits, HeaderTransform, Hsts, IpAcl, JwtAuth, JwtKeys,
    LuaStage, Maintenance, MiddlewareId, MiddlewareSpec, PathRedirect, PluginId, PluginKind, PluginRef,
    PluginSpec, PolicyId, RateLimitRef, RequestIdStage, RewriteStage, STRUCTURED_LOGGER, SecurityHeaders,
    StageSpec, Template, TokenPlace, TracingStage,
};

type Names = Box<[Arc<str>]>;

fn name() -> impl Strategy<Value = Arc<str>> {
    // No field of ringway begins like this.
    "x-q[a-z0-9]{0,6}".prop_map(Arc::from)
}

fn names() -> impl Strategy<Value = Names> {
    btree_set(name(), 0..4).prop_map(|names| names.into_iter().collect())
}

fn time(least: u64, most: u64) -> impl Strategy<Value = Duration> {
    (least..=most).prop_map(Duration::from_millis)
}

fn networks() -> impl Strategy<Value = Box<[Cidr]>> {
    btree_set((any::<u8>(), 8_u8..=32), 0..4).prop_map(|networks| {
        let parse = |(byte, bits): (u8, u8)| format!("10.0.{byte}.0/{bits}").parse().unwrap();
        networks.into_iter().map(parse).collect()
    })
}

fn fields() -> impl Strategy<Value = Box<[(Arc<str>, Template)]>> {
    let value = prop_oneof![
        Just("${client_ip}".to_owned()),
        Just("a ${claim.a.b}$$ ${header.x-a}".to_owned()),
        "[!-#%-~]{0,8}",
    ];
    btree_map(name(), value, 0..4).prop_map(|fields| {
        let parse = |(name, value): (Arc<str>, String)| (name, Template::parse(&value).unwrap());
        fields.into_iter().map(parse).collect()
    })
}

prop_compose! {
    fn edits()(add in fields(), set in fields(), remove in names()) -> HeaderEdits {
        HeaderEdits { add, set, remove }
    }
}

prop_compose! {
    fn cors()(
        origins in btree_set("https?://(\\*\\.)?[a-z]{1,5}\\.example(:[1-7][0-9]{3})?", 1..4),
        methods in btree_set("[A-Z]{1,5}", 0..3), allow_headers in names(), expose_headers in names(),
        allow_credentials in any::<bool>(), max_age in time(0, 86_400_000),
    ) -> Cors {
        Cors {
            allow_origins: origins.into_iter().map(Arc::from).collect(),
            allow_methods: if methods.is_empty() { Box::new(["GET".into()]) } else { methods.into_iter().map(Arc::from).collect() },
            allow_headers,
            expose_headers,
            allow_credentials,
            max_age,
        }
    }
}

prop_compose! {
    fn security()(
        hsts in of((time(0, 31_535_999_000), any::<bool>())), nosniff in any::<bool>(), frame in of(any::<bool>()),
        texts in vec(of("[!-~]{1,9}"), 3),
    ) -> SecurityHeaders {
        let mut texts = texts.into_iter().map(|text| text.map(Arc::from));
        SecurityHeaders {
            hsts: hsts.map(|(max_age, include_subdomains)| Hsts { max_age, include_subdomains, preload: false }),
            nosniff,
            frame_options: frame.map(|deny| if deny { FrameOptions::Deny } else { FrameOptions::Sameorigin }),
            content_security_policy: texts.next().flatten(),
            referrer_policy: texts.next().flatten(),
            permissions_policy: texts.next().flatten(),
        }
    }
}

prop_compose! {
    fn filters()(
        path in of("/[a-z?=]{0,5}"), timeout in time(1, 10_000), is_open in any::<bool>(), send in names(),
        asserts in names(), opened in of(Just("x-failed-open")), cache in of((names(), time(1, 60_000))),
    ) -> ExternalFilter {
        ExternalFilter {
            pool: AppId::parse("b").unwrap(),
            protocol: path.map_or(ExternalProtocol::Grpc, |path| ExternalProtocol::Http { path: path.into() }),
            timeout,
            fail_mode: if is_open { FailMode::Open } else { FailMode::Closed },
            send,
            asserts,
            failed_open_header: opened.filter(|_| is_open).map(Into::into),
            cache: cache.map(|(key, ttl)| {
                let key = key.iter().cloned().chain(["path".into(), "authorization".into()]).collect();
                DecisionCache { key, ttl }
            }),
        }
    }
}

prop_compose! {
    fn jwts()(
        issuer in "https://[a-z]{1,5}\\.example(/[a-z]{1,3})?", audience in btree_set("[!-~]{1,5}", 1..4),
        keys in 0_usize..3, token in 0_usize..3, claims in btree_map("[ -~]{1,5}", name(), 0..4),
        require in btree_map("[ -~]{1,5}", btree_set("[ -~]{0,5}", 1..4), 0..3), leeway in time(0, 300_000),
        forward in any::<bool>(),
    ) -> JwtAuth {
        let mut seen = std::collections::BTreeSet::new();
        let mut folded = std::collections::BTreeSet::new();
        let claims = claims.into_iter().filter(|(claim, header)| {
            folded.insert(claim.to_ascii_lowercase()) && seen.insert(header.clone())
        });
        let mut required = std::collections::BTreeSet::new();
        let require = require.into_iter().filter(|(claim, _)| required.insert(claim.to_ascii_lowercase()));
        JwtAuth {
            issuer: issuer.into(),
            audience: audience.into_iter().map(Arc::from).collect(),
            keys: match keys {
                0 => JwtKeys::Discovery,
                1 => JwtKeys::Jwks("https://i.example/k".into()),
                _ => JwtKeys::File("/etc/keys".into()),
            },
            token: match token {
                0 => TokenPlace::Bearer,
                1 => TokenPlace::Header("x-token".into()),
                _ => TokenPlace::Cookie("token".into()),
            },
            claims: claims.map(|(claim, header)| ClaimField { claim: claim.into(), header }).collect(),
            require: require
                .map(|(claim, values)| ClaimRule {
                    claim: claim.into(),
                    values: values.into_iter().map(Arc::from).collect(),
                })
                .collect(),
            leeway,
            forward,
        }
    }
}

fn api_keys() -> impl Strategy<Value = ApiKeys> {
    (name(), of(name()), btree_map("[a-z]{1,5}", "[0-9a-f]{64}", 0..3)).prop_map(
        |(header, user_header, keys)| {
            let mut seen = std::collections::BTreeSet::new();
            let keys: Box<[ApiKey]> = keys
                .into_iter()
                .filter(|(_, hash)| seen.insert(hash.clone()))
                .map(|(name, hash)| ApiKey { name: name.into(), sha256: hash.into() })
                .collect();
            let keys_file = keys.is_empty().then(|| "/etc/keys".into());
            ApiKeys { header, keys, keys_file, user_header }
        },
    )
}

fn methods() -> impl Strategy<Value = AuthMethod> {
    let basic = ("[ -!#-\\[\\]-~]{1,9}", of(name())).prop_map(|(realm, user_header)| {
        AuthMethod::Basic(BasicAuth { users_file: "/etc/users".into(), realm: realm.into(), user_header })
    });
    let forward = filters().prop_map(|filter| {
        let protocol = match filter.protocol {
            ExternalProtocol::Grpc => ExternalProtocol::Http { path: "/".into() },
            http => http,
        };
        AuthMethod::Forward(ExternalFilter {
            protocol,
            fail_mode: FailMode::Closed,
            failed_open_header: None,
            ..filter
        })
    });
    prop_oneof![
        jwts().prop_map(AuthMethod::Jwt),
        basic,
        api_keys().prop_map(AuthMethod::ApiKey),
        forward,
        Just(AuthMethod::ClientCertificate {}),
    ]
}

fn pages() -> impl Strategy<Value = ErrorPages> {
    btree_map("[45](xx|[0-9]{2})", "[ -~\n]{0,9}", 1..4).prop_map(|pages| ErrorPages {
        pages: pages
            .into_iter()
            .map(|(statuses, body)| ErrorPage {
                statuses: statuses.into(),
                content_type: "text/plain".into(),
                body: body.replace("${", "").into(),
            })
            .collect(),
    })
}

/// One stage of every type, in an order without mistakes.
fn stages() -> impl Strategy<Value = Vec<StageSpec>> {
    let observe = (name(), any::<bool>(), any::<bool>()).prop_map(|(header, enabled, trust_client)| {
        vec![
            StageSpec::RequestId(RequestIdStage { header }),
            StageSpec::AccessLog(AccessLogStage { enabled }),
            StageSpec::Tracing(TracingStage { trust_client }),
        ]
    });
    let access = (networks(), networks(), cors(), security()).prop_map(|(allow, deny, cors, security)| {
        let deny = deny.iter().copied().chain(["192.0.2.1".parse().unwrap()]).collect();
        vec![
            StageSpec::IpAcl(IpAcl { allow, deny }),
            StageSpec::Cors(cors),
            StageSpec::SecurityHeaders(security),
            StageSpec::RateLimit(RateLimitRef { policy_ref: PolicyId::parse("limited").unwrap() }),
        ]
    });
    let paths = ("/[a-z]{1,5}", prop::sample::select(vec![301_u16, 302, 303, 307, 308]), 0_usize..3);
    let paths = paths.prop_map(|(path, status, change)| {
        let path: Arc<str> = path.into();
        let rewrite = match change {
            0 => RewriteStage::StripPrefix(path.clone()),
            1 => RewriteStage::AddPrefix(path.clone()),
            _ => RewriteStage::ReplacePath(path.clone()),
        };
        let (from, to) = (format!("{path}/*").into(), "https://b.example/*".into());
        vec![
            StageSpec::Redirect(PathRedirect { from, to, status }),
            StageSpec::Rewrite(rewrite),
            StageSpec::CanonicalHost(CanonicalHost { host: "a.example".into(), status }),
        ]
    });
    let auth = (vec(methods(), 1..5), any::<bool>())
        .prop_map(|(any_of, optional)| vec![StageSpec::Auth(AuthStage { any_of: any_of.into(), optional })]);
    let content =
        (fields(), edits(), any::<u32>(), pages(), time(1_000, 86_400_000), of("[ -~\n]{0,9}"), networks());
    let content = content.prop_map(|(add, response, size, pages, retry_after, page, bypass)| {
        // Of the request nothing that authentication asserts.
        let add = add.into_iter().map(|(name, value)| (format!("y-{name}").into(), value)).collect();
        let request = HeaderEdits { add, remove: Box::new(["Y-Z".into()]), ..HeaderEdits::default() };
        vec![
            StageSpec::HeaderTransform(HeaderTransform { request, response }),
            StageSpec::BodyLimit(BodyLimit { size: size.into() }),
            StageSpec::Plugin(PluginRef { plugin: PluginId::parse("g").unwrap() }),
            StageSpec::ErrorPages(pages),
            StageSpec::Maintenance(Maintenance { retry_after, page: page.map(Arc::from), bypass }),
        ]
    });
    // Before all that changes responses.
    (observe, compress(), access, paths, auth, content).prop_map(
        |(observe, compress, access, paths, auth, content)| {
            let asserts = Box::from([Arc::from("x-script")]);
            let lua = LuaStage { script: "s".into(), fail_mode: FailMode::Open, asserts };
            let own = vec![StageSpec::Compress(compress), StageSpec::Lua(lua)];
            [observe, own, access, paths, auth, content].concat()
        },
    )
}

prop_compose! {
    fn compress()(
        codings in proptest::sample::subsequence(Coding::ALL.to_vec(), 1..=3).prop_shuffle(),
        gzip_level in 1..=9_u8,
        min_bytes in any::<u32>(),
        types in vec("[a-z]{1,4}/([*]|[a-z]{1,4})", 1..3),
    ) -> Compress {
        let types: std::collections::BTreeSet<String> = types.into_iter().collect();
        Compress {
            codings: codings.into(),
            gzip_level,
            min_bytes: min_bytes.into(),
            types: types.into_iter().map(Arc::from).collect(),
        }
    }
}

prop_compose! {
    /// Chains and plugins, which need a pool `b`, a policy `limited` and a script `s`.
    pub(in crate::canonical) fn middleware()(
        stages in stages(), filter in filters(), is_open in any::<bool>(),
    ) -> (Vec<Arc<MiddlewareSpec>>, Vec<Arc<PluginSpec>>) {
        let chain = MiddlewareSpec { id: MiddlewareId::parse("c").unwrap(), stages: stages.into() };
        let plugin = |id: &str, kind| Arc::new(PluginSpec { id: PluginId::parse(id).unwrap(), kind });
        let fail_mode = if is_open { FailMode::Open } else { FailMode::Closed };
        let builtin = PluginKind::Builtin { name: STRUCTURED_LOGGER.into(), fail_mode };
        let plugins = vec![plugin("g", PluginKind::External(filter)), plugin("h", builtin)];
        (vec![Arc::new(chain)], plugins)
    }
}

#[test]
fn every_type_of_stage_is_generated() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let stages = stages().new_tree(&mut runner).unwrap().current();
    let mut types: Vec<&str> = stages.iter().map(StageSpec::type_name).collect();
    types.sort_unstable();
    let mut known = crate::shapes::STAGE_TYPES.to_vec();
    known.sort_unstable();
    assert_eq!(types, known);
}

proptest! {
    #[test]
    fn the_stored_form_of_any_stage_reads_back_to_it(stages in stages()) {
        for stage in stages {
            let text = serde_json::to_string(&stage).unwrap();
            prop_assert_eq!(serde_json::from_str::<StageSpec>(&text).unwrap(), stage);
        }
    }

    #[test]
    fn the_stored_form_of_any_plugin_reads_back_to_it((_, plugins) in middleware()) {
        for plugin in plugins {
            let text = serde_json::to_string(&*plugin).unwrap();
            prop_assert_eq!(&serde_json::from_str::<PluginSpec>(&text).unwrap(), &*plugin);
        }
    }
}
