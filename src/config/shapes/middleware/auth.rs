//! Stage `auth`: one method of authentication, or several of which one suffices.

use std::sync::Arc;

use ringway_model::{AuthMethod, AuthStage};

use super::external::{Protocol, asserted_name, external};
use super::{Scope, config, named};
use crate::limits::AUTH_METHODS_MAX;
use crate::values::boolean;
use crate::{Fault, Field, Reader};

mod credentials;
mod jwt;

/// Reads `auth`.
pub(super) fn auth(reader: &mut Reader<'_>, scope: &mut Scope<'_>) -> Option<AuthStage> {
    config(reader, |reader| {
        let one = methods(reader, scope);
        let several =
            reader.list(ANY_OF, "Methods; the first that a request has credentials for decides.", |reader| {
                let methods = methods(reader, scope);
                only(reader, methods)
            });
        let optional = reader.optional(&OPTIONAL).unwrap_or(false);
        let any_of = match several {
            Some(several) => {
                if let Some((name, _)) = one.first() {
                    let message = "cannot stand beside any_of: write it there".to_owned();
                    reader.fault(name, Fault { code: "conflict", message });
                }
                if !(1..=AUTH_METHODS_MAX).contains(&several.len()) && !reader.is_faulty_below(ANY_OF) {
                    let message = format!("must have from 1 to {AUTH_METHODS_MAX} methods");
                    reader.fault(ANY_OF, Fault::range(message));
                }
                several
            }
            None if reader.has(ANY_OF) => return None,
            None => vec![only(reader, one)?],
        };
        Some(AuthStage { any_of: any_of.into(), optional })
    })
}

/// Methods as read: their members, and `None` for those with mistakes.
type Methods = Vec<(&'static str, Option<AuthMethod>)>;

/// Reads the methods of an object.
fn methods(reader: &mut Reader<'_>, scope: &mut Scope<'_>) -> Methods {
    let jwt = reader.object("jwt", "Tokens of an identity provider.", jwt::jwt);
    let basic = reader.object("basic", "Names and passwords.", credentials::basic);
    let api_key = reader.object("api_key", "Keys of clients, in a header field.", credentials::api_key);
    let forward = reader.object("forward", "A service that is asked over HTTP; its 2xx admits.", |reader| {
        scope.addresses += usize::from(reader.has("address"));
        let pool = scope.chain.as_ref().map(|chain| format!("{POOL_OF_CHAIN}{chain}.{}", scope.addresses));
        external(reader, scope.draft, Protocol::Http, pool.as_deref())
    });
    let certificate = reader.optional(&CLIENT_CERTIFICATE);
    let methods = [
        ("jwt", jwt.map(AuthMethod::Jwt)),
        ("basic", basic.map(AuthMethod::Basic)),
        ("api_key", api_key.map(AuthMethod::ApiKey)),
        ("forward", forward.map(AuthMethod::Forward)),
        (CLIENT_CERTIFICATE.name, certificate.map(|()| AuthMethod::ClientCertificate {})),
    ];
    methods.into_iter().filter(|(name, _)| reader.has(name)).collect()
}

/// The one method of an object.
fn only(reader: &mut Reader<'_>, mut methods: Methods) -> Option<AuthMethod> {
    match methods.len() {
        0 => {
            let message =
                "is required, or one of basic, api_key, forward, client_certificate, any_of".to_owned();
            reader.fault("jwt", Fault { code: "missing", message });
            None
        }
        1 => methods.remove(0).1,
        _ => {
            let message = format!("cannot stand beside {}; several belong into any_of", methods[0].0);
            reader.fault(methods[1].0, Fault { code: "conflict", message });
            None
        }
    }
}

/// Begin of the ids of pools that addresses of chains become.
pub(super) const POOL_OF_CHAIN: &str = "middleware.";

const ANY_OF: &str = "any_of";

static CLIENT_CERTIFICATE: Field<()> = Field {
    name: "client_certificate",
    doc: "true: a client certificate that the handshake verified.",
    schema: || serde_json::json!({ "type": "boolean" }),
    parse: |given| match given.boolean()? {
        true => Ok(()),
        false => Err(Fault::invalid("must be true, or left out")),
    },
};

static OPTIONAL: Field<bool> = boolean(
    "optional",
    "Whether requests without any credentials go on, without a user; wrong ones are refused. Not when absent.",
);

static USER_HEADER: Field<Arc<str>> = Field {
    name: "user_header",
    doc: "Field in which the endpoint gets the name; those of clients are removed.",
    schema: || serde_json::json!({ "type": "string", "examples": ["X-User"] }),
    parse: asserted_name,
};
