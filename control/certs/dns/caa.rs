//! Which CAs may issue for a name (RFC 8659).

use ringway_model::Hostname;

use super::message::{CaaRecord, Kind, Name, Outcome, Record};
use super::{DnsError, Resolver};

/// The CAA records that count for a name: its own, or those of the nearest name above it that has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaaSet {
    /// The name that has them.
    pub(crate) at: String,
    pub(crate) records: Vec<CaaRecord>,
}

/// Finds them, climbing the tree (RFC 8659 §3); `None` when no name on the way has any.
pub(crate) fn relevant_caa(resolver: &Resolver, host: &Hostname) -> Result<Option<CaaSet>, DnsError> {
    let mut name = Some(Name::of(host));
    // A host name has 127 labels at most, and the resolver's deadline ends this, too.
    while let Some(current) = name {
        // Aliases are followed within one answer only: resolvers put the whole chain in it.
        let reply = resolver.ask(&current, Kind::Caa)?;
        debug_assert!(matches!(reply.outcome, Outcome::Found | Outcome::NoSuchName));
        let (end, _) = reply.walk(&current);
        let records: Vec<CaaRecord> = reply
            .records_of(&end, Kind::Caa)
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
    /// Whether a CA that goes by any of these names may issue by HTTP-01, for a name that is no wildcard.
    pub(crate) fn allows(&self, identities: &[String]) -> bool {
        if self.has_unknown_critical() {
            return false;
        }
        let issuers: Vec<&CaaRecord> = self.records.iter().filter(|record| record.tag == "issue").collect();
        // RFC 8659 §4.2: without an issue property, nobody is excluded.
        issuers.is_empty() || issuers.iter().any(|record| is_allowed_by(&record.value, identities))
    }

    /// Whether nobody may issue, whatever the CA.
    pub(crate) fn forbids_all(&self) -> bool {
        let mut issuers = self.records.iter().filter(|record| record.tag == "issue").peekable();
        self.has_unknown_critical()
            || (issuers.peek().is_some() && issuers.all(|record| issuer(&record.value).is_empty()))
    }

    /// The CAs that may issue, for people.
    pub(crate) fn issuers(&self) -> Vec<String> {
        let issuers =
            self.records.iter().filter(|record| record.tag == "issue").map(|record| issuer(&record.value));
        issuers.filter(|issuer| !issuer.is_empty()).map(str::to_owned).collect()
    }

    fn has_unknown_critical(&self) -> bool {
        self.records.iter().any(|record| record.is_critical && !KNOWN_TAGS.contains(&record.tag.as_str()))
    }
}

/// How a public CA calls itself in CAA records, by the URL of its directory; `None` for others. For as long as the directory
/// itself has not told (RFC 8555 §7.1.1, `caaIdentities`).
pub(crate) fn public_ca(directory_url: &str) -> Option<&'static str> {
    let host = directory_url.strip_prefix("https://")?.split(['/', ':']).next()?;
    let is_below =
        |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let (_, identity) = PUBLIC_CAS.iter().find(|(domain, _)| is_below(domain))?;
    Some(identity)
}

/// Where they are, and how they call themselves.
const PUBLIC_CAS: &[(&str, &str)] = &[
    ("letsencrypt.org", "letsencrypt.org"),
    ("pki.goog", "pki.goog"),
    ("zerossl.com", "sectigo.com"),
    ("ssl.com", "ssl.com"),
    ("buypass.com", "buypass.com"),
];

/// Properties that CAs know: RFC 8659, RFC 9495, and the CA/Browser Forum's contacts.
const KNOWN_TAGS: &[&str] = &["issue", "issuewild", "issuemail", "iodef", "contactemail", "contactphone"];

/// The CA that an issue value names: what stands before its parameters; empty for nobody.
fn issuer(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

fn is_allowed_by(value: &str, identities: &[String]) -> bool {
    let issuer = issuer(value);
    if issuer.is_empty() || !identities.iter().any(|identity| identity.eq_ignore_ascii_case(issuer)) {
        return false;
    }
    // RFC 8657 §4: with this parameter, only by the methods that it lists.
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
    fn says_who_may_issue() {
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
    fn knows_public_cas_by_their_directories() {
        for (url, expected) in [
            ("https://acme-v02.api.letsencrypt.org/directory", Some("letsencrypt.org")),
            ("https://acme-staging-v02.api.letsencrypt.org/directory", Some("letsencrypt.org")),
            ("https://dv.acme-v02.api.pki.goog/directory", Some("pki.goog")),
            ("https://acme.zerossl.com:443/v2/DV90", Some("sectigo.com")),
            ("https://notletsencrypt.org/directory", None),
            ("https://letsencrypt.org.evil.example/directory", None),
            ("https://localhost:14000/dir", None),
            ("http://acme-v02.api.letsencrypt.org/directory", None),
        ] {
            assert_eq!(public_ca(url), expected, "{url}");
        }
    }

    #[test]
    fn tells_nobody_from_somebody_else() {
        assert!(set(&[(false, "issue", ";")]).forbids_all());
        assert!(!set(&[(false, "issue", ";"), (false, "issue", "pki.goog")]).forbids_all());
        assert!(!set(&[(false, "iodef", "mailto:x@example.com")]).forbids_all());
        assert_eq!(set(&[(false, "issue", "pki.goog; a=b"), (false, "issue", ";")]).issuers(), ["pki.goog"]);
    }
}
