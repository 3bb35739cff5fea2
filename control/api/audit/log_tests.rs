use serde_json::{Value, json};

use super::*;

#[test]
fn a_security_event_is_a_line_with_its_number_and_its_first_client() {
    let count = SecurityCount { client: Some([192, 0, 2, 7].into()), count: 42 };
    let line = |subject: SecuritySubject, shows_clients: bool| -> Value {
        let event = SecurityEvent { kind: SecurityEventKind::AuthRefused, subject, reason: "expired" };
        let members = security(Timestamp(0), &event, count, shows_clients).members();
        serde_json::from_str(&format!("{{{members}}}")).unwrap_or_default()
    };
    let expected = json!({
        "at": "1970-01-01T00:00:00Z", "who": "ringway", "remote": "192.0.2.7", "action": "auth.refused",
        "objects": [{ "kind": "route", "id": "api" }], "reason": "expired", "result": "refused", "count": 42,
    });
    assert_eq!(line(SecuritySubject::Route("api".into()), true), expected);
    let others = line(SecuritySubject::Others, false);
    assert_eq!((&others["objects"], &others["remote"]), (&Value::Null, &Value::Null), "{others}");
}
