//! The one table of the API: which method and path leads to which operation, and what each operation takes and
//! answers. The server finds its way by it, and the OpenAPI document is made from it.

use ringway_wire::message::Method;

use crate::certificates::{CertificatePage, UploadedView, VerificationView};
use crate::guard::Access;
use crate::openapi::{Content, schema_of, schema_of_accepted};
use crate::problem::Kind;
use crate::reader::{Described, describe};
use crate::requests as shape;
use crate::responses::{
    AppDetails, AppPage, AppStatusView, DomainDetails, DomainPage, DomainView, DrainedView, DrainingView,
    Gone, InstancePage, InstanceView, LeaseView, LivenessView, ReadinessView, RegisteredView, StatusView,
    WebhookPage, WebhookView,
};

/// What can be asked of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Operation {
    RegisterApp,
    RemoveApp,
    ListApps,
    ShowApp,
    AddInstance,
    RemoveInstance,
    ListInstances,
    ListInstancesOfApp,
    Heartbeat,
    PutWebhook,
    UpdateWebhook,
    RemoveWebhook,
    ListWebhooks,
    ShowWebhook,
    AddDomain,
    AddCustomDomain,
    UpdateDomain,
    RemoveDomain,
    ListDomains,
    ShowDomain,
    VerifyDomain,
    UploadCertificate,
    RemoveCertificate,
    ListCertificates,
    Register,
    Deregister,
    AddRoute,
    Status,
    AppStatus,
    Liveness,
    Readiness,
    Startup,
    Metrics,
    OpenApi,
}

/// One line of the table. `{…}` in a path stands for the key of the operation, one segment.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) operation: Operation,
}

/// The API.
pub(crate) static ROUTES: &[Route] = {
    use Method::{Delete, Get, Post, Put};
    use Operation::*;
    const fn route(method: Method, path: &'static str, operation: Operation) -> Route {
        Route { method, path, operation }
    }
    &[
        // The paths of document 000, each key in the body, the query or the path: clients of all three kinds are there.
        route(Post, "/api/apps/register", RegisterApp),
        route(Get, "/api/apps", ListApps),
        route(Get, "/api/apps/{app_id}", ShowApp),
        route(Post, "/api/apps/get", ShowApp),
        route(Get, "/api/apps/get", ShowApp),
        route(Post, "/api/apps/get/{app_id}", ShowApp),
        route(Delete, "/api/apps", RemoveApp),
        route(Delete, "/api/apps/{app_id}", RemoveApp),
        route(Post, "/api/apps/delete", RemoveApp),
        route(Post, "/api/apps/delete/{app_id}", RemoveApp),
        route(Post, "/api/apps/instances", AddInstance),
        route(Get, "/api/apps/instances", ListInstances),
        route(Delete, "/api/apps/instances", RemoveInstance),
        route(Delete, "/api/apps/instances/{instance_id}", RemoveInstance),
        route(Post, "/api/apps/instances/delete", RemoveInstance),
        route(Post, "/api/apps/instances/delete/{instance_id}", RemoveInstance),
        route(Post, "/api/apps/instances/list", ListInstancesOfApp),
        route(Get, "/api/apps/instances/list", ListInstancesOfApp),
        route(Post, "/api/apps/instances/list/{app_id}", ListInstancesOfApp),
        route(Post, "/api/apps/heartbeat", Heartbeat),
        route(Post, "/api/apps/heartbeat/{instance_id}", Heartbeat),
        route(Post, "/api/tenants/domains", AddDomain),
        route(Post, "/api/tenants/custom-domains", AddCustomDomain),
        route(Put, "/api/tenants/domains", UpdateDomain),
        route(Put, "/api/tenants/domains/{domain}", UpdateDomain),
        route(Delete, "/api/tenants/domains", RemoveDomain),
        route(Delete, "/api/tenants/domains/{domain}", RemoveDomain),
        route(Post, "/api/tenants/domains/delete", RemoveDomain),
        route(Post, "/api/tenants/domains/delete/{domain}", RemoveDomain),
        route(Get, "/api/tenants/domains", ListDomains),
        route(Get, "/api/tenants/domains/{domain}", ShowDomain),
        route(Post, "/api/tenants/domains/get", ShowDomain),
        route(Get, "/api/tenants/domains/get", ShowDomain),
        route(Post, "/api/tenants/domains/get/{domain}", ShowDomain),
        route(Post, "/api/tenants/domains/verify", VerifyDomain),
        route(Post, "/api/tenants/domains/verify/{domain}", VerifyDomain),
        route(Post, "/api/tenants/domains/certificate", UploadCertificate),
        route(Put, "/api/tenants/domains/certificate", UploadCertificate),
        route(Put, "/api/tenants/domains/{domain}/certificate", UploadCertificate),
        route(Delete, "/api/tenants/domains/certificate", RemoveCertificate),
        route(Delete, "/api/tenants/domains/{domain}/certificate", RemoveCertificate),
        route(Post, "/api/tenants/domains/certificate/delete", RemoveCertificate),
        route(Get, "/api/status", Status),
        route(Get, "/api/status/certificates", ListCertificates),
        route(Get, "/api/status/instances", ListInstances),
        route(Post, "/api/status/app", AppStatus),
        route(Get, "/api/status/app", AppStatus),
        route(Get, "/api/status/app/{app_id}", AppStatus),
        route(Post, "/api/status/app/{app_id}", AppStatus),
        // The paths of its use cases.
        route(Post, "/api/register", Register),
        route(Delete, "/api/register", Deregister),
        route(Delete, "/api/register/{instance_id}", Deregister),
        route(Post, "/api/register/delete", Deregister),
        route(Post, "/api/routes", AddRoute),
        route(Get, "/api/routes", ListDomains),
        route(Delete, "/api/routes", RemoveDomain),
        route(Delete, "/api/routes/{domain}", RemoveDomain),
        route(Post, "/api/routes/delete", RemoveDomain),
        route(Post, "/api/webhooks", PutWebhook),
        route(Put, "/api/webhooks", UpdateWebhook),
        route(Put, "/api/webhooks/{app_id}", UpdateWebhook),
        route(Get, "/api/webhooks", ListWebhooks),
        route(Get, "/api/webhooks/{app_id}", ShowWebhook),
        route(Post, "/api/webhooks/get", ShowWebhook),
        route(Delete, "/api/webhooks", RemoveWebhook),
        route(Delete, "/api/webhooks/{app_id}", RemoveWebhook),
        route(Post, "/api/webhooks/delete", RemoveWebhook),
        // For machines that watch.
        route(Get, "/healthz", Liveness),
        route(Get, "/health/liveness", Liveness),
        route(Get, "/ready", Readiness),
        route(Get, "/health/readiness", Readiness),
        route(Get, "/health/startup", Startup),
        route(Get, "/admin/health", Status),
        route(Get, "/metrics", Metrics),
        route(Get, "/api/openapi.json", OpenApi),
    ]
};

/// Where a path leads.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// To an operation, with the key that the path holds, still encoded.
    Operation(Operation, Option<&'a str>),
    /// To other methods, these.
    OtherMethods(Vec<Method>),
    /// Nowhere.
    Nothing,
}

/// Looks a path up. A line without a key in its path wins over one with; HEAD goes where GET goes (RFC 9110 §9.1).
///
/// A POST where only a key would fit leads nowhere: nothing is posted to a key, so the last segment is the name of an
/// operation that does not exist, mistyped most likely.
///
/// Cost: a walk over the table, some microseconds.
pub(crate) fn find(method: Method, path: &str) -> Found<'_> {
    let wanted = if method == Method::Head { Method::Get } else { method };
    let mut methods = Vec::new();
    let mut is_known = method != Method::Post;
    let mut found: Option<(Operation, Option<&str>)> = None;
    for route in ROUTES {
        let Some(key) = matched(route.path, path) else { continue };
        if !methods.contains(&route.method) {
            methods.push(route.method);
        }
        is_known |= key.is_none();
        let is_better = found.is_none_or(|(_, known)| known.is_some() && key.is_none());
        if route.method == wanted && is_better {
            found = Some((route.operation, key));
        }
    }
    match found {
        Some((operation, key)) => Found::Operation(operation, key),
        None if methods.is_empty() || !is_known => Found::Nothing,
        None => Found::OtherMethods(methods),
    }
}

/// The value of `Allow` (RFC 9110 §10.2.1).
pub(crate) fn allow(methods: &[Method]) -> String {
    let mut names: Vec<&str> = methods.iter().filter_map(|method| method.name()).collect();
    if methods.contains(&Method::Get) {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.join(", ")
}

/// The methods of a path; none when it leads nowhere.
pub(crate) fn methods_of(path: &str) -> Vec<Method> {
    match find(Method::Extension, path) {
        Found::OtherMethods(methods) => methods,
        Found::Operation(..) | Found::Nothing => Vec::new(),
    }
}

/// The known paths nearest to one that is not: for whoever mistyped it.
pub(crate) fn nearest(path: &str) -> Vec<&'static str> {
    let path: String = path.chars().take(128).collect();
    let mut paths: Vec<&'static str> = ROUTES.iter().map(|route| route.path).collect();
    paths.sort_unstable();
    paths.dedup();
    paths.sort_by_key(|known| distance(&path, known));
    paths.truncate(3);
    paths
}

/// `Some(None)` for a match without a key, `Some(Some(key))` for one with.
fn matched<'a>(pattern: &'static str, path: &'a str) -> Option<Option<&'a str>> {
    let Some((prefix, suffix)) = around_key(pattern) else {
        return (pattern == path).then_some(None);
    };
    let key = path.strip_prefix(prefix)?.strip_suffix(suffix)?;
    (!key.is_empty() && !key.contains('/')).then_some(Some(key))
}

/// What stands before and behind the key of a path.
pub(crate) fn around_key(pattern: &'static str) -> Option<(&'static str, &'static str)> {
    let (prefix, rest) = pattern.split_once('{')?;
    Some((prefix, rest.split_once('}')?.1))
}

/// How many characters to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// What an operation takes and answers.
pub(crate) struct Spec {
    /// A name for generated clients.
    pub(crate) id: &'static str,
    /// One line.
    pub(crate) summary: &'static str,
    /// The fields of the request.
    pub(crate) fields: Vec<Described>,
    /// Does it change the configuration, and so take `If-Match` and `Idempotency-Key`?
    pub(crate) is_mutation: bool,
    /// What it answers when all went well: status, and body.
    pub(crate) answers: Vec<(u16, Option<Content>)>,
    /// What else it answers.
    pub(crate) problems: Vec<Kind>,
    /// Who may ask.
    pub(crate) access: Access,
}

impl Operation {
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let mut all: Vec<Self> = ROUTES.iter().map(|route| route.operation).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Who may ask for it.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::Liveness | Self::Readiness | Self::Startup => Access::Open,
            _ => Access::Guarded,
        }
    }

    /// What it takes and answers.
    pub(crate) fn spec(self) -> Spec {
        use Kind::*;
        let registered = |content: fn() -> Content| {
            vec![(201, Some(content())), (200, Some(content())), (202, Some(content()))]
        };
        let removed = || vec![(204, None), (202, Some(schema_of_accepted::<Gone>()))];
        let drained = || {
            let drained = (200, Some(schema_of_accepted::<DrainedView>()));
            vec![(204, None), drained, (202, Some(schema_of_accepted::<DrainingView>()))]
        };
        let json = |content: Content| vec![(200, Some(content))];
        let (id, summary, fields, answers, own): (_, _, _, _, &[Kind]) = match self {
            Self::RegisterApp => (
                "registerApp",
                "Register an app, with an instance; what exists already is renewed.",
                describe(shape::register_app),
                registered(schema_of_accepted::<RegisteredView>),
                &[InstanceOfOtherApp, LimitReached],
            ),
            Self::RemoveApp => (
                "removeApp",
                "Remove an app and its instances; refused while domains point to it.",
                describe(shape::app_key),
                removed(),
                &[UnknownApp, AppHasDomains, Conflicting],
            ),
            Self::ListApps => (
                "listApps",
                "List the apps, by id.",
                describe(shape::app_page),
                json(schema_of::<AppPage>()),
                &[Conflicting],
            ),
            Self::ShowApp => (
                "showApp",
                "Show an app with its instances and domains.",
                describe(shape::app_key),
                json(schema_of::<AppDetails>()),
                &[UnknownApp, Conflicting],
            ),
            Self::AddInstance => (
                "addInstance",
                "Add an instance to an app, or renew its registration.",
                describe(shape::add_instance),
                registered(schema_of_accepted::<InstanceView>),
                &[UnknownApp, InstanceOfOtherApp, LimitReached],
            ),
            Self::RemoveInstance => (
                "removeInstance",
                "Remove an instance; it gets no further requests. With drain: answers when its requests are done, or with 202 when too many requests wait already; the drain goes on then.",
                describe(shape::removal),
                drained(),
                &[UnknownInstance, StaleGeneration, Conflicting],
            ),
            Self::ListInstances => (
                "listInstances",
                "List instances, their state and their health, by id. With wait: answers when the instance is in a state.",
                describe(shape::instance_page),
                json(schema_of::<InstancePage>()),
                &[UnknownInstance, UnknownDomain, Conflicting, TooManyWaits, NotReached],
            ),
            Self::ListInstancesOfApp => (
                "listInstancesOfApp",
                "List an app's instances and their health, by id.",
                describe(shape::instance_page_of_app),
                json(schema_of::<InstancePage>()),
                &[UnknownApp, Conflicting],
            ),
            Self::Heartbeat => (
                "heartbeat",
                "Keep an instance alive. Counts from the first heartbeat on: who never sends one is judged by health checks alone. Answered with 200 and the lease when asked by Prefer: return=representation.",
                describe(shape::instance_key),
                vec![(204, None), (200, Some(schema_of::<LeaseView>()))],
                &[UnknownInstance, StaleGeneration, Conflicting],
            ),
            Self::PutWebhook => (
                "putWebhook",
                "Have an app told of what happens to it; takes the place of the webhook that it has.",
                describe(shape::put_webhook),
                registered(schema_of_accepted::<WebhookView>),
                &[UnknownApp],
            ),
            Self::UpdateWebhook => (
                "updateWebhook",
                "Change an app's webhook; what is absent stays, a null takes the secret away.",
                describe(shape::update_webhook),
                vec![
                    (200, Some(schema_of_accepted::<WebhookView>())),
                    (202, Some(schema_of_accepted::<WebhookView>())),
                ],
                &[UnknownApp, UnknownWebhook, Conflicting],
            ),
            Self::RemoveWebhook => (
                "removeWebhook",
                "Tell an app no more.",
                describe(shape::app_key),
                removed(),
                &[UnknownApp, UnknownWebhook, Conflicting],
            ),
            Self::ListWebhooks => (
                "listWebhooks",
                "List the webhooks, by app.",
                describe(shape::app_page),
                json(schema_of::<WebhookPage>()),
                &[Conflicting],
            ),
            Self::ShowWebhook => (
                "showWebhook",
                "Show an app's webhook; its secret is never shown.",
                describe(shape::app_key),
                json(schema_of::<WebhookView>()),
                &[UnknownApp, UnknownWebhook, Conflicting],
            ),
            Self::AddDomain => (
                "addDomain",
                "Add a domain that leads to an app.",
                describe(shape::add_domain),
                registered(schema_of_accepted::<DomainView>),
                &[UnknownApp, DomainTaken, LimitReached],
            ),
            Self::AddCustomDomain => (
                "addCustomDomain",
                "Add a tenant's own domain.",
                describe(shape::add_custom_domain),
                registered(schema_of_accepted::<DomainView>),
                &[UnknownApp, DomainTaken, LimitReached],
            ),
            Self::UpdateDomain => (
                "updateDomain",
                "Change a domain; what is absent stays, null removes.",
                describe(shape::update_domain),
                vec![
                    (200, Some(schema_of_accepted::<DomainView>())),
                    (202, Some(schema_of_accepted::<DomainView>())),
                ],
                &[UnknownDomain, UnknownApp, Conflicting],
            ),
            Self::RemoveDomain => (
                "removeDomain",
                "Remove a domain; requests for it are answered with 404.",
                describe(shape::domain_key),
                removed(),
                &[UnknownDomain, Conflicting],
            ),
            Self::ListDomains => (
                "listDomains",
                "List the domains, by name.",
                describe(shape::domain_page),
                json(schema_of::<DomainPage>()),
                &[Conflicting],
            ),
            Self::ShowDomain => (
                "showDomain",
                "Show a domain.",
                describe(shape::domain_key),
                json(schema_of::<DomainDetails>()),
                &[UnknownDomain, Conflicting],
            ),
            Self::VerifyDomain => (
                "verifyDomain",
                "Look at a domain's DNS records and at our own challenge URL, now.",
                describe(shape::domain_key),
                json(schema_of::<VerificationView>()),
                &[UnknownDomain, NoCertificates, Conflicting, Busy],
            ),
            Self::UploadCertificate => (
                "uploadCertificate",
                "Serve a certificate of your own for a domain; from then on it is `provided`, and no CA is asked.",
                describe(shape::upload),
                vec![
                    (200, Some(schema_of_accepted::<UploadedView>())),
                    (202, Some(schema_of_accepted::<UploadedView>())),
                ],
                &[UnknownDomain, NoCertificates, NotProvided, BadCertificate, Conflicting],
            ),
            Self::RemoveCertificate => (
                "removeCertificate",
                "Forget an uploaded certificate; the domain is `acme` again.",
                describe(shape::domain_key),
                removed(),
                &[UnknownDomain, NoCertificates, NotProvided, Conflicting],
            ),
            Self::ListCertificates => (
                "listCertificates",
                "List where the certificate of each domain stands, by name, and what is left of the CA's limits.",
                describe(shape::certificate_page),
                json(schema_of::<CertificatePage>()),
                &[Conflicting],
            ),
            Self::Register => (
                "register",
                "Register an app, an instance and a domain in one step; what exists already is renewed.",
                describe(shape::register),
                registered(schema_of_accepted::<RegisteredView>),
                &[InstanceOfOtherApp, DomainTaken, LimitReached],
            ),
            Self::Deregister => (
                "deregister",
                "Remove an instance; takes the body that it registered with. With drain: answers when its requests are done, or with 202 when too many requests wait already; the drain goes on then.",
                describe(shape::deregister),
                drained(),
                &[UnknownInstance, InstanceOfOtherApp, StaleGeneration, Conflicting],
            ),
            Self::AddRoute => (
                "addRoute",
                "Add a domain that leads to an app; with a tenant it is a custom domain.",
                describe(shape::add_route),
                registered(schema_of_accepted::<DomainView>),
                &[UnknownApp, DomainTaken, LimitReached],
            ),
            Self::Status => (
                "status",
                "How the process does.",
                describe(shape::status),
                json(schema_of::<StatusView>()),
                &[],
            ),
            Self::AppStatus => (
                "appStatus",
                "Show an app's health, by instance.",
                describe(shape::app_key),
                json(schema_of::<AppStatusView>()),
                &[UnknownApp, Conflicting],
            ),
            Self::Liveness => (
                "liveness",
                "Whether the process answers at all.",
                describe(shape::nothing),
                json(schema_of::<LivenessView>()),
                &[],
            ),
            Self::Readiness | Self::Startup => (
                if self == Self::Readiness { "readiness" } else { "startup" },
                "Whether traffic should be sent here.",
                describe(shape::nothing),
                vec![(200, Some(schema_of::<ReadinessView>())), (503, Some(schema_of::<ReadinessView>()))],
                &[],
            ),
            Self::Metrics => (
                "metrics",
                "Metrics in the Prometheus text format.",
                describe(shape::nothing),
                vec![(200, Some(Content::text("text/plain; version=0.0.4; charset=utf-8")))],
                &[],
            ),
            Self::OpenApi => (
                "openApi",
                "This document.",
                describe(shape::nothing),
                vec![(200, Some(Content::any_json()))],
                &[],
            ),
        };
        let mut problems = own.to_vec();
        problems.extend([BadDocument, CrossSite, TooLarge, NotJson, Misdirected, Invalid]);
        if self.access() == Access::Guarded {
            problems.push(Unauthorized);
        }
        if self.is_mutation() {
            problems.extend([
                BadHeader,
                RevisionMismatch,
                KeyReused,
                Busy,
                Storage,
                ShuttingDown,
                Unconfirmed,
            ]);
        }
        problems.sort_unstable_by_key(|kind| (kind.status(), *kind));
        Spec {
            id,
            summary,
            fields,
            is_mutation: self.is_mutation(),
            answers,
            problems,
            access: self.access(),
        }
    }

    /// Does it change the configuration?
    pub(crate) fn is_mutation(self) -> bool {
        match self {
            Self::RegisterApp
            | Self::RemoveApp
            | Self::AddInstance
            | Self::RemoveInstance
            | Self::AddDomain
            | Self::AddCustomDomain
            | Self::UpdateDomain
            | Self::RemoveDomain
            | Self::UploadCertificate
            | Self::RemoveCertificate
            | Self::PutWebhook
            | Self::UpdateWebhook
            | Self::RemoveWebhook
            | Self::Register
            | Self::Deregister
            | Self::AddRoute => true,
            Self::ListApps
            | Self::ShowApp
            | Self::ListInstances
            | Self::ListInstancesOfApp
            | Self::Heartbeat
            | Self::ListDomains
            | Self::ShowDomain
            | Self::ListWebhooks
            | Self::ShowWebhook
            | Self::VerifyDomain
            | Self::ListCertificates
            | Self::Status
            | Self::AppStatus
            | Self::Liveness
            | Self::Readiness
            | Self::Startup
            | Self::Metrics
            | Self::OpenApi => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn operation(method: Method, path: &str) -> Option<(Operation, Option<&str>)> {
        match find(method, path) {
            Found::Operation(operation, key) => Some((operation, key)),
            Found::OtherMethods(_) | Found::Nothing => None,
        }
    }

    #[test]
    fn finds_every_line_of_its_own_table() {
        for route in ROUTES {
            let path = match around_key(route.path) {
                Some((prefix, suffix)) => format!("{prefix}some-key{suffix}"),
                None => route.path.to_owned(),
            };
            let key = route.path.contains('{').then_some("some-key");
            assert_eq!(
                operation(route.method, &path),
                Some((route.operation, key)),
                "{} {path}",
                route.method
            );
        }
    }

    #[test]
    fn keys_that_look_like_paths_of_ours_are_found_where_the_method_tells_them_apart() {
        assert_eq!(
            operation(Method::Get, "/api/apps/register"),
            Some((Operation::ShowApp, Some("register")))
        );
        assert_eq!(operation(Method::Get, "/api/apps/get"), Some((Operation::ShowApp, None)));
        assert_eq!(operation(Method::Head, "/api/apps"), Some((Operation::ListApps, None)));
    }

    #[test]
    fn near_paths_are_no_paths() {
        for path in [
            "",
            "/",
            "/api",
            "/api/",
            "/api/apps/",
            "//api/apps",
            "/API/apps",
            "/api/apps/a/b",
            "/api/webhooks/a/b",
            "*",
        ] {
            assert!(matches!(find(Method::Get, path), Found::Nothing), "{path}");
        }
    }

    #[test]
    fn other_methods_are_told() {
        assert!(matches!(find(Method::Patch, "/api/apps/register"), Found::OtherMethods(_)));
        assert_eq!(allow(&methods_of("/api/tenants/domains")), "POST, PUT, DELETE, GET, HEAD, OPTIONS");
        assert_eq!(allow(&methods_of("/api/apps/register")), "POST, GET, DELETE, HEAD, OPTIONS");
        assert!(methods_of("/nowhere").is_empty());
    }

    #[test]
    fn the_nearest_paths_are_suggested() {
        assert_eq!(nearest("/api/app")[0], "/api/apps");
        assert_eq!(nearest("/api/apps/")[0], "/api/apps");
        assert_eq!(nearest("/health")[0], "/healthz");
        assert_eq!(nearest(&"x".repeat(1_000_000)).len(), 3);
    }

    #[test]
    fn distances_are_counted_in_characters() {
        for (a, b, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("é", "e", 1)]
        {
            assert_eq!(distance(a, b), expected);
        }
    }
}
