//! A configuration document: findings are bounded and lie in the text, and what is accepted has a canonical
//! text that reads back to the same resources. Accepted JSON is JSON to another parser too.

use ringway_config::{Source, limits, read};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = |text: &str| [Source { name: "c".into(), text: text.to_owned() }];
    let reading = read(&source(text));
    assert!(reading.findings.len() <= limits::DOCUMENT_FINDINGS_MAX + 1);
    let has_error = reading.findings.iter().any(|finding| finding.is_error());
    assert_eq!(reading.document.is_none(), has_error, "a document, or an error");
    // Line ends of YAML: CR LF, CR, LF.
    let lines = text.matches('\n').count() + text.matches('\r').count() + 1;
    for finding in &reading.findings {
        let place = finding.place.as_ref().filter(|place| place.line as usize > lines);
        assert!(place.is_none(), "{finding}: beyond the {lines} lines");
        assert!(!finding.message.is_empty());
    }
    let Some(document) = reading.document else { return };
    if text.trim_start().starts_with('{') {
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "JSON");
    }
    let again = read(&source(&document.canonical));
    let findings: Vec<String> = again.findings.iter().map(ToString::to_string).collect();
    let again = again.document.unwrap_or_else(|| panic!("the canonical text is refused: {findings:?}"));
    assert_eq!(again.set, document.set);
    assert_eq!((&again.canonical, &again.version), (&document.canonical, &document.version));
}
