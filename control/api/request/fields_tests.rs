#![allow(clippy::unwrap_used)]
use super::*;
use ringway_config::json;
use ringway_config::{Input, read_request as read};

#[test]
fn what_counts_as_a_failure_is_read_in_every_form() {
    let read_one = |body: &str| {
        let mut bytes = body.as_bytes().to_vec();
        let body = Some(json::parse(&mut bytes).unwrap());
        read(&Input { body, ..Input::default() }, |reader| Some((failures(reader), on_all_unhealthy(reader))))
            .map_err(|findings| {
                findings
                    .iter()
                    .map(|found| format!("{} {}", found.field.dotted(), found.code))
                    .collect::<Vec<_>>()
            })
    };
    let policy =
        |statuses, timeouts| FailurePolicy { statuses: StatusSet::parse(statuses).unwrap(), timeouts };
    let default = FailurePolicy::default();
    assert_eq!(read_one("{}"), Ok((None, None)));
    for (body, expected) in [
        (r#"{"failures":null}"#, default),
        (r#"{"failures":{}}"#, default),
        (r#"{"failures":{"statuses":[],"timeouts":"unchecked"}}"#, default),
        (r#"{"failures":{"statuses":null,"timeouts":null}}"#, default),
        (r#"{"failures":{"statuses":["502-504",500]}}"#, policy("500,502-504", TimeoutPolicy::Unchecked)),
        (r#"{"failures":{"statuses":"500,502-504"}}"#, policy("500,502-504", TimeoutPolicy::Unchecked)),
        (r#"{"failures":{"statuses":503,"timeouts":"never"}}"#, policy("503", TimeoutPolicy::Never)),
        (r#"{"failures":{"timeouts":"always"}}"#, policy("", TimeoutPolicy::Always)),
    ] {
        assert_eq!(read_one(body), Ok((Some(expected), None)), "{body}");
    }
    for (body, expected) in [
        (r#"{"on_all_unhealthy":null}"#, OnAllUnhealthy::Reject),
        (r#"{"on_all_unhealthy":"panic_open"}"#, OnAllUnhealthy::PanicOpen),
        (r#"{"on_all_unhealthy":"trickle"}"#, OnAllUnhealthy::Trickle),
    ] {
        assert_eq!(read_one(body), Ok((None, Some(expected))), "{body}");
    }
    for (body, expected) in [
        (
            r#"{"failures":{"statuses":["502-504",true],"timeouts":"sometimes","x":1}}"#,
            vec!["failures.statuses type", "failures.timeouts invalid", "failures.x unknown"],
        ),
        (r#"{"failures":{"statuses":["5xx"]}}"#, vec!["failures.statuses invalid"]),
        (r#"{"failures":{"statuses":[404]}}"#, vec!["failures.statuses range"]),
        (r#"{"failures":{"statuses":["504-502"]}}"#, vec!["failures.statuses range"]),
        (r#"{"failures":{"statuses":{}}}"#, vec!["failures.statuses type"]),
        (r#"{"failures":"always"}"#, vec!["failures type"]),
        (r#"{"on_all_unhealthy":"open"}"#, vec!["on_all_unhealthy invalid"]),
        (r#"{"on_all_unhealthy":1}"#, vec!["on_all_unhealthy type"]),
    ] {
        assert_eq!(read_one(body), Err(expected.into_iter().map(str::to_owned).collect()), "{body}");
    }
}

#[test]
fn app_names_are_for_people() {
    assert!(app_name("Büro & Söhne 株式会社").is_ok());
    assert!(app_name(&"x".repeat(limits::APP_NAME_BYTES_MAX)).is_ok());
    assert!(app_name(&"x".repeat(limits::APP_NAME_BYTES_MAX + 1)).is_err());
    for text in ["", "  ", "a\nb", "a\0b", "\u{202e}evil", "a\u{7f}", "a\u{2028}b"] {
        assert!(app_name(text).is_err(), "{text:?}");
    }
}
