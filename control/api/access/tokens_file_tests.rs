#![allow(clippy::unwrap_used)]
use super::*;
use crate::access::Access;
use crate::access::Scope;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;

fn digest(secret: &str) -> String {
    TokenDigest::of(secret.as_bytes()).to_string()
}

fn line_error(text: &str) -> TokensLineError {
    match TokenSet::parse(text).unwrap_err() {
        TokensFileError::Line { error, .. } => error,
        other => panic!("{other}"),
    }
}

#[test]
fn a_line_has_a_name_scopes_a_digest_and_an_expiry() {
    let text = format!(
        "# operators\n\n  grafana read {}\nci\tapply,register\t{} 2027-06-30 \n",
        digest("secret-of-grafana"),
        digest("secret-of-ci"),
    );
    let tokens = TokenSet::parse(&text).unwrap();
    assert_eq!(tokens.len(), 2);
    let ci = tokens.find(&TokenDigest::of(b"secret-of-ci")).unwrap();
    assert_eq!(&*ci.name, "ci");
    assert!(ci.scopes.permit(Access::Scoped(Scope::Register)));
    // Valid through the whole day.
    assert_eq!(ci.expires.unwrap().to_rfc3339(), "2027-07-01T00:00:00Z");
    assert!(tokens.find(&TokenDigest::of(b"secret-of-grafana")).unwrap().expires.is_none());
    assert!(tokens.find(&TokenDigest::of(b"another")).is_none());
    assert_eq!(
        TokenSet::parse(&ci.line()).unwrap().0[0].line(),
        ci.line(),
        "a line is read as it is written"
    );
}

#[test]
fn a_wrong_line_is_named_and_not_repeated() {
    let good = digest("secret");
    for (text, expected) in [
        ("/etc read x".to_owned(), TokensLineError::Name),
        ("ci".to_owned(), TokensLineError::Scopes),
        (format!("ci {good}"), TokensLineError::Scopes),
        (format!("ci write {good}"), TokensLineError::Scopes),
        ("ci read".to_owned(), TokensLineError::Digest),
        ("ci read plain-secret-text".to_owned(), TokensLineError::Digest),
        (format!("ci read {good} tomorrow"), TokensLineError::Expiry),
        (format!("ci read {good} 2027-06-30 x"), TokensLineError::TooLong),
        (format!("ci purge {good} tenant="), TokensLineError::Tenant),
        (format!("ci read {good} tenant=acme"), TokensLineError::TenantScope),
        (format!("ci purge,admin {good} tenant=acme"), TokensLineError::TenantScope),
        (format!("ci purge {good} tenant=a tenant=b"), TokensLineError::TooLong),
        (format!("ci purge {good} tenant=a 2027-06-30"), TokensLineError::TooLong),
        (format!("ci read {good}\nci read {}", digest("b")), TokensLineError::SameName),
        (format!("ci read {good}\ncd read {good}"), TokensLineError::SameSecret),
    ] {
        assert_eq!(line_error(&text), expected, "{text}");
    }
    let error = TokenSet::parse("# a\n\nci read plain-secret-text").unwrap_err().to_string();
    assert!(error.starts_with("line 3: ") && !error.contains("plain-secret-text"), "{error}");
}

#[test]
fn expiries_are_days_and_moments_of_the_calendar() {
    for (text, expected) in [
        ("1970-01-01", "1970-01-02T00:00:00Z"),
        ("2027-06-30", "2027-07-01T00:00:00Z"),
        ("2028-02-29", "2028-03-01T00:00:00Z"),
        ("2027-12-31T23:59:59Z", "2027-12-31T23:59:59Z"),
    ] {
        assert_eq!(parse_expiry(text).unwrap().to_rfc3339(), expected, "{text}");
    }
    for text in [
        "",
        "2027",
        "2027-6-30",
        "2027-02-29",
        "2027-13-01",
        "2027-00-01",
        "2027-01-00",
        "2027-04-31",
        "1969-12-31",
        "2027-06-30T",
        "2027-06-30T12:00:00",
        "2027-06-30T24:00:00Z",
        "2027-06-30T12:60:00Z",
        "2027-06-30-01",
        "+027-06-30",
    ] {
        assert_eq!(parse_expiry(text), None, "{text}");
    }
}

#[test]
fn too_many_tokens_are_refused() {
    let lines = |count: usize| {
        (0..count).map(|n| format!("t{n} read {}\n", digest(&n.to_string()))).collect::<String>()
    };
    assert_eq!(TokenSet::parse(&lines(TOKENS_MAX)).unwrap().len(), TOKENS_MAX);
    assert_eq!(line_error(&lines(TOKENS_MAX + 1)), TokensLineError::TooMany);
}

#[test]
fn a_created_token_is_found_by_its_secret() {
    let scopes = Scopes::parse("read,register").unwrap();
    let (secret, token) = NamedToken::create("ci", scopes, Some("2027-06-30"), None).unwrap();
    assert!(secret.len() == 4 + 64 && secret.starts_with("rwt_"), "{}", secret.len());
    let tokens = TokenSet::parse(&token.line()).unwrap();
    assert_eq!(tokens.find(&TokenDigest::of(secret.as_bytes())).unwrap().scopes, scopes);
    assert_ne!(NamedToken::create("ci", scopes, None, None).unwrap().0, secret);
    assert_eq!(NamedToken::create("c i", scopes, None, None).unwrap_err(), TokensLineError::Name);
    assert_eq!(NamedToken::create("ci", scopes, Some("soon"), None).unwrap_err(), TokensLineError::Expiry);
    assert_eq!(
        NamedToken::create("ci", scopes, Some("2020-01-01"), None).unwrap_err(),
        TokensLineError::Expired
    );
    let of =
        |scopes: &str, tenant| NamedToken::create("ci", Scopes::parse(scopes).unwrap(), None, Some(tenant));
    let (_, token) = of("purge", "acme").unwrap();
    assert!(token.line().ends_with(" tenant=acme"), "{}", token.line());
    assert_eq!(of("purge", "a b").unwrap_err(), TokensLineError::Tenant);
    assert_eq!(of("admin", "acme").unwrap_err(), TokensLineError::TenantScope);
}

#[test]
fn a_file_is_read_again_when_it_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    assert_eq!(TokensFile::open(&path).unwrap_err(), TokensFileError::Read(io::ErrorKind::NotFound));
    fs::write(&path, format!("ci read {}\n", digest("one"))).unwrap();
    let file = TokensFile::open(&path).unwrap();
    assert!(TokensFile::reopen(&path, file.stamp()).unwrap().is_none());
    let draft = folder.path().join("draft");
    fs::write(&draft, format!("ci read {}\n", digest("two"))).unwrap();
    fs::rename(&draft, &path).unwrap();
    let again = TokensFile::reopen(&path, file.stamp()).unwrap().unwrap();
    assert!(again.tokens().find(&TokenDigest::of(b"two")).is_some());
    fs::remove_file(&path).unwrap();
    assert!(TokensFile::reopen(&path, again.stamp()).is_err());
}

#[test]
fn a_file_that_every_user_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(TokensFile::open(&path).unwrap_err(), TokensFileError::WritableByAll);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(TokensFile::open(&path).unwrap().tokens().is_empty());
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "[a-z0-9:# \n,sha256T-]{0,200}") {
        let _ = TokenSet::parse(&text);
        let _ = parse_expiry(&text);
    }
}
