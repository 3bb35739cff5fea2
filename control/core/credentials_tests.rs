use super::*;

#[test]
fn a_source_has_an_event_when_it_fails_and_when_it_recovers() {
    let source = CredentialSource::Jwks("https://i.example/keys".into());
    let status = |failure| SourceStatus { failure, ..SourceStatus::default() };
    let event =
        |before, after| transition(&source, before, &status(after)).map(|event| (event.kind, event.reason));
    let (timeout, file) = (Some(FailureKind::Timeout), Some(FailureKind::Invalid));
    assert_eq!(event(None, None), None);
    assert_eq!(event(None, timeout), Some((SecurityEventKind::CredentialsFailed, "timeout")));
    assert_eq!(event(timeout, file), None, "it is still failing");
    assert_eq!(event(file, None), Some((SecurityEventKind::CredentialsRecovered, "invalid")));
}
