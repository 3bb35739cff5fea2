//! Reasons for which credentials are refused: names for programs, and texts for people.

macro_rules! reasons {
    ($($variant:ident = $name:literal, $text:literal;)+) => {
        /// Reason why credentials do not admit a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $(#[doc = $text] $variant,)+ }

        impl Reason {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in logs, metrics and the API.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The text for people.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

reasons! {
    Malformed = "malformed_token", "the token is malformed";
    Header = "unsupported_header", "the token's header is not supported";
    Issuer = "wrong_issuer", "the token is of another issuer";
    Audience = "wrong_audience", "the token is for another audience";
    Expired = "expired", "the token has expired or has no expiry";
    NotYetValid = "not_yet_valid", "the token is not valid yet";
    Claim = "missing_claim", "the token lacks a claim that this route needs";
    UnknownKey = "unknown_key", "the token is signed with an unknown key";
    Signature = "wrong_signature", "the token's signature is wrong";
    SeveralTokens = "several_tokens", "the request has more than one token";
    SeveralAuthorizations = "several_authorizations", "the request has more than one Authorization field";
    MalformedLogin = "malformed_credentials", "the credentials are malformed";
    Password = "wrong_password", "the name or the password is wrong";
    ApiKey = "unknown_api_key", "the key is unknown";
    SeveralApiKeys = "several_api_keys", "the request has more than one key";
    NoTokenKeys = "keys_not_loaded", "the keys of the identity provider could not be loaded yet";
    NoUsers = "users_not_loaded", "the users could not be loaded yet";
    NoApiKeys = "api_keys_not_loaded", "the keys could not be loaded yet";
    PasswordsBusy = "passwords_busy", "too many passwords are being verified";
    NoDecision = "no_decision", "the authorization service has given no decision";
    Denied = "denied", "the authorization service has denied the request";
    Throttled = "too_many_failures", "too many requests with wrong credentials from this address";
    Absent = "no_credentials", "this route needs authentication";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Reason;

    #[test]
    fn names_are_unique_words() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        let is_word = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(names.iter().all(is_word));
    }
}
