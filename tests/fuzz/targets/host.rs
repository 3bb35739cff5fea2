//! A host name, as an app registers it and as a client asks for it: one form, and the same one on both sides.

use ringway_model::Hostname;
use ringway_wire::normalize::Authority;

pub(crate) fn check(bytes: &[u8]) {
    let asked = Authority::parse(bytes);
    if let Ok(asked) = &asked {
        let text = asked.to_string();
        assert_eq!(Authority::parse(text.as_bytes()).as_ref(), Ok(asked), "its own normal form");
        assert_eq!(text, text.to_ascii_lowercase());
        let shouted = Authority::parse(text.to_ascii_uppercase().as_bytes());
        assert_eq!(shouted.as_ref(), Ok(asked), "in capitals");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(name) = Hostname::parse(text) else { return };
    assert!(
        name.as_str().len() <= 253 && name.as_str().split('.').all(|label| (1..=63).contains(&label.len()))
    );
    assert_eq!(Hostname::parse(name.as_str()).as_ref(), Ok(&name), "its own normal form");
    // However a client spells it, it finds what was registered.
    for spelling in [
        name.as_str().to_owned(),
        name.as_str().to_ascii_uppercase(),
        format!("{name}."),
        format!("{name}:443"),
        format!("{name}.:"),
    ] {
        let found = Authority::parse(spelling.as_bytes()).map(|found| found.host().to_owned());
        assert_eq!(found.as_deref(), Ok(name.as_str()), "asked for as {spelling}");
    }
    // Inputs that both accept have the same meaning.
    if let Ok(asked) = asked {
        assert_eq!((asked.host(), asked.port()), (name.as_str(), None));
    }
}
