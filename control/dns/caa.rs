//! CAA records: the CAs that may issue for a name (RFC 8659).

use ringway_model::Hostname;

use crate::message::{CaaRecord, Name, Outcome, Record, RecordType};
use crate::{DnsError, Resolver};

/// Relevant CAA record set of a name: its own, else that of the nearest parent that has one (RFC 8659 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaaSet {
    /// Owner name of the records.
    pub at: String,
    /// The records.
    pub records: Vec<CaaRecord>,
}

/// Climbs the tree from `host` (RFC 8659 §3); `None` when no name on the way has CAA records.
pub(crate) fn relevant_caa(resolver: &Resolver, host: &Hostname) -> Result<Option<CaaSet>, DnsError> {
    let mut name = Some(Name::of(host));
    // Bounded by the 127 labels of a host name, and by the resolver's deadline.
    while let Some(current) = name {
        // Aliases are followed within one response only: resolvers put the whole chain in it.
        let response = resolver.query(&current, RecordType::Caa)?;
        debug_assert!(matches!(response.outcome, Outcome::Found | Outcome::NoSuchName));
        let (end, _) = response.walk(&current);
        let records: Vec<CaaRecord> = response
            .records_of(&end, RecordType::Caa)
            .into_iter()
            .filter_map(|record| match record {
                Record::Caa(record) => Some(record),
                Record::Address(_) | Record::Alias(_) => None,
            })
            .collect();
        if !records.is_empty() {
            return Ok(Some(CaaSet { at: current.to_text(), records }));
        }
        name = current.parent();
    }
    Ok(None)
}

impl CaaSet {
    /// Whether a CA with any of these identities may issue a non-wildcard certificate by HTTP-01.
    pub fn allows(&self, identities: &[String]) -> bool {
        if self.has_unknown_critical() {
            return false;
        }
        let issuers: Vec<&CaaRecord> = self.records.iter().filter(|record| record.tag == "issue").collect();
        // RFC 8659 §4.2: without an issue property, no CA is excluded.
        issuers.is_empty() || issuers.iter().any(|record| is_allowed_by(&record.value, identities))
    }

    /// Whether no CA at all may issue.
    pub fn forbids_all(&self) -> bool {
        let mut issuers = self.records.iter().filter(|record| record.tag == "issue").peekable();
        self.has_unknown_critical()
            || (issuers.peek().is_some() && issuers.all(|record| issuer(&record.value).is_empty()))
    }

    /// Identities of the CAs that may issue.
    pub fn issuers(&self) -> Vec<String> {
        let issuers =
            self.records.iter().filter(|record| record.tag == "issue").map(|record| issuer(&record.value));
        issuers.filter(|issuer| !issuer.is_empty()).map(str::to_owned).collect()
    }

    fn has_unknown_critical(&self) -> bool {
        self.records.iter().any(|record| record.is_critical && !KNOWN_TAGS.contains(&record.tag.as_str()))
    }
}

/// Property tags that CAs support: RFC 8659, RFC 9495, and the contacts of the CA/Browser Forum.
const KNOWN_TAGS: &[&str] = &["issue", "issuewild", "issuemail", "iodef", "contactemail", "contactphone"];

/// Returns the issuer domain of an issue value, without its parameters; empty for no CA.
fn issuer(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

fn is_allowed_by(value: &str, identities: &[String]) -> bool {
    let issuer = issuer(value);
    if issuer.is_empty() || !identities.iter().any(|identity| identity.eq_ignore_ascii_case(issuer)) {
        return false;
    }
    // RFC 8657 §4: this parameter restricts issuance to the listed methods.
    let methods = value.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("validationmethods").then(|| value.trim())
    });
    methods
        .is_none_or(|methods| methods.split(',').any(|method| method.trim().eq_ignore_ascii_case("http-01")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(records: &[(bool, &str, &str)]) -> CaaSet {
        let records = records.iter().map(|(is_critical, tag, value)| CaaRecord {
            is_critical: *is_critical,
            tag: (*tag).to_owned(),
            value: (*value).to_owned(),
        });
        CaaSet { at: "example.com".to_owned(), records: records.collect() }
    }

    fn letsencrypt() -> Vec<String> {
        vec!["letsencrypt.org".to_owned()]
    }

    #[test]
    fn allows_issuers_by_identity_and_validation_method() {
        for (records, expected) in [
            (&[(false, "issue", "letsencrypt.org")][..], true),
            (&[(false, "issue", "LetsEncrypt.org")], true),
            (&[(false, "issue", " letsencrypt.org ; validationmethods=dns-01, http-01")], true),
            (&[(false, "issue", "letsencrypt.org; validationmethods=dns-01")], false),
            (&[(false, "issue", "letsencrypt.org; accounturi=https://x.test/1")], true),
            (&[(false, "issue", "pki.goog"), (false, "issue", "letsencrypt.org")], true),
            (&[(false, "issue", "pki.goog")], false),
            (&[(false, "issue", ";")], false),
            (&[(false, "issue", "")], false),
            (&[(false, "issuewild", "pki.goog")], true),
            (&[(false, "iodef", "mailto:x@example.com")], true),
            (&[(false, "issue", "letsencrypt.org"), (true, "newtag", "x")], false),
            (&[(false, "issue", "letsencrypt.org"), (false, "newtag", "x")], true),
            (&[(true, "issue", "letsencrypt.org")], true),
        ] {
            assert_eq!(set(records).allows(&letsencrypt()), expected, "{records:?}");
        }
    }

    #[test]
    fn forbids_all_without_an_issuer() {
        assert!(set(&[(false, "issue", ";")]).forbids_all());
        assert!(!set(&[(false, "issue", ";"), (false, "issue", "pki.goog")]).forbids_all());
        assert!(!set(&[(false, "iodef", "mailto:x@example.com")]).forbids_all());
        assert_eq!(set(&[(false, "issue", "pki.goog; a=b"), (false, "issue", ";")]).issuers(), ["pki.goog"]);
    }
}
