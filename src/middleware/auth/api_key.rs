//! Method `api_key`: keys of clients, in a header field.

use std::sync::Arc;

use aws_lc_rs::digest;
use ringway_model::{ApiKeys, CredentialSource};

use super::Verdict;
use super::reason::Reason;
use super::users::ApiKeyTable;
use crate::credentials::Credentials;
use crate::identity::{Identity, SharedIdentity};
use crate::limits;
use crate::request::RequestCtx;

/// The method.
#[derive(Debug)]
pub(crate) struct ApiKeyMethod {
    header: Arc<str>,
    user_header: Option<Arc<str>>,
    in_place: ApiKeyTable,
    file: Option<CredentialSource>,
}

impl ApiKeyMethod {
    pub(crate) fn new(spec: &ApiKeys) -> Self {
        Self {
            header: spec.header.clone(),
            user_header: spec.user_header.clone(),
            in_place: ApiKeyTable::of(spec.keys.iter().map(|key| (&key.name, &*key.sha256))),
            file: spec.keys_file.clone().map(CredentialSource::ApiKeys),
        }
    }

    pub(crate) fn judge(&self, request: &RequestCtx<'_>) -> Verdict {
        let credentials = self.file.as_ref().and_then(|file| request.services.credentials(file));
        self.judge_by(request, credentials)
    }

    pub(crate) async fn judge_waiting(&self, request: &RequestCtx<'_>) -> Verdict {
        let Some(file) = &self.file else { return Verdict::Absent };
        let credentials = request.services.refresh(file).await;
        match self.judge_by(request, credentials.as_ref()) {
            Verdict::Waits => Verdict::Unavailable(Reason::NoApiKeys),
            verdict => verdict,
        }
    }

    /// Judges by the keys in place and those of the file.
    fn judge_by(&self, request: &RequestCtx<'_>, file: Option<&Arc<Credentials>>) -> Verdict {
        let mut values = request.view.fields(&self.header);
        let key = match (values.next(), values.next()) {
            (None, _) => return Verdict::Absent,
            (Some(key), None) if key.len() <= limits::API_KEY_BYTES_MAX => key,
            (Some(_), None) => return Verdict::Bad(Reason::ApiKey),
            (Some(_), Some(_)) => return Verdict::Bad(Reason::SeveralApiKeys),
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
        if let Some(name) = self.in_place.name(&hash) {
            return good(name);
        }
        match file.map(|keys| &**keys) {
            Some(Credentials::ApiKeys(keys)) => keys.name(&hash).map_or(Verdict::Bad(Reason::ApiKey), good),
            Some(_) => Verdict::Unavailable(Reason::NoApiKeys),
            None if self.file.is_some() => Verdict::Waits,
            None => Verdict::Bad(Reason::ApiKey),
        }
    }

    pub(crate) fn admit(&self, identity: &SharedIdentity, request: &mut RequestCtx<'_>) {
        if let Some(header) = &self.user_header {
            super::assert_field(request, header, &identity.user);
        }
    }

    /// Field of the keys.
    pub(crate) fn header(&self) -> &str {
        &self.header
    }

    /// The field of the name, and that of the key: no endpoint gets a key, whichever method decides.
    pub(crate) fn asserted(&self) -> impl Iterator<Item = &Arc<str>> {
        self.user_header.iter().chain([&self.header])
    }
}

fn good(name: &Arc<str>) -> Verdict {
    Verdict::Good(Arc::new(Identity { user: (&**name).into(), ..Identity::default() }))
}
