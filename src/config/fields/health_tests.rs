#![allow(clippy::unwrap_used)]
use super::*;
use crate::{Input, json, read_request as read};

/// Finding of a request.
#[derive(Debug, PartialEq)]
struct Finding {
    field: String,
    code: &'static str,
    message: String,
    pointer: Option<String>,
}

fn check(body: &str) -> Result<Option<HealthCheck>, Vec<Finding>> {
    check_of(body, "http://10.0.0.5:3001")
}

fn check_of(body: &str, target: &str) -> Result<Option<HealthCheck>, Vec<Finding>> {
    let target = Target::parse(target).ok();
    let mut bytes = body.as_bytes().to_vec();
    let body = Some(json::parse(&mut bytes).unwrap());
    read(&Input { body, ..Input::default() }, |reader| Some(health_check(reader, target.as_ref()))).map_err(
        |reports| {
            let finding = |report: crate::Report| Finding {
                field: report.field.dotted(),
                code: report.code,
                message: report.message,
                pointer: Some(report.field.to_string()),
            };
            reports.into_iter().map(finding).collect()
        },
    )
}

fn seconds(value: u64) -> Option<Duration> {
    Some(Duration::from_secs(value))
}

#[test]
fn health_checks_come_in_four_forms() {
    let http = HealthCheck { probe: Probe::http("/health").unwrap(), ..HealthCheck::default() };
    assert_eq!(check(r#"{}"#), Ok(None));
    assert_eq!(check(r#"{"health_check":null}"#), Ok(None));
    assert_eq!(check(r#"{"health_check":"tcp"}"#), Ok(Some(HealthCheck::default())));
    assert_eq!(check(r#"{"health_check":"/health"}"#), Ok(Some(http.clone())));
    assert_eq!(check(r#"{"health_check":{}}"#), Ok(Some(HealthCheck::default())));
    assert_eq!(check(r#"{"health_check":{"path":null}}"#), Ok(Some(HealthCheck::default())));
    assert_eq!(
        check(
            r#"{"health_check":{"path":"/health","interval":"1m","timeout":2,"unhealthy_threshold":255,"healthy_threshold":1}}"#
        ),
        Ok(Some(HealthCheck {
            interval: seconds(60),
            timeout: seconds(2),
            unhealthy_threshold: NonZeroU8::new(255),
            healthy_threshold: NonZeroU8::new(1),
            ..http
        }))
    );
}

#[test]
fn durations_are_bounded_on_both_sides() {
    for (value, is_fine) in [
        ("1", true),
        ("\"1s\"", true),
        ("\"1000ms\"", true),
        ("\"999ms\"", false),
        ("300", true),
        ("\"5m\"", true),
        ("301", false),
        ("\"300001ms\"", false),
        ("0", false),
        ("-1", false),
        ("1.5", false),
        ("\"\"", false),
        ("\"s\"", false),
        ("\"10\"", false),
        ("\"10 s\"", false),
        ("\"+1s\"", false),
        ("\"1h\"", false),
        ("[]", false),
        ("18446744073709551615", false),
        ("\"18446744073709551615m\"", false),
        ("\"99999999999999999999s\"", false),
        ("true", false),
    ] {
        let result = check(&format!("{{\"health_check\":{{\"interval\":{value}}}}}"));
        assert_eq!(result.is_ok(), is_fine, "{value}: {result:?}");
    }
}

#[test]
fn a_health_check_tells_all_its_mistakes() {
    let findings = check(
        r#"{"health_check":{"path":"x","interval":"10s","timeout":"11s","unhealthy_threshold":0,"healthy_threshold":256,"prt":1}}"#,
    )
    .unwrap_err();
    let told: Vec<_> = findings.iter().map(|f| (f.field.as_str(), f.code)).collect();
    assert_eq!(
        told,
        [
            ("health_check.path", "invalid"),
            ("health_check.unhealthy_threshold", "range"),
            ("health_check.healthy_threshold", "range"),
            ("health_check.timeout", "range"),
            ("health_check.prt", "unknown"),
        ]
    );
    assert_eq!(findings[0].pointer.as_deref(), Some("/health_check/path"));
}

#[test]
fn a_health_check_takes_a_whole_request_and_what_it_expects() {
    let full = check(
        r#"{"health_check":{"path":"/up","port":9000,"method":"OPTIONS","host":"App.example",
            "headers":{"Authorization":"Bearer x"},"expect":{"status":[200,"300-399"],"body":"ok"}}}"#,
    );
    let probe = HttpProbe {
        method: ProbeMethod::Options,
        host: Some(ProbeHost::parse("app.example").unwrap()),
        headers: ProbeHeaders::new([("Authorization", "Bearer x")]).unwrap(),
        statuses: StatusRanges::parse("200,300-399").unwrap(),
        body: Some(BodyText::parse("ok").unwrap()),
        ..HttpProbe::new("/up").unwrap()
    };
    let (probe, port) = (Probe::Http(probe.into()), NonZeroU16::new(9000));
    assert_eq!(full, Ok(Some(HealthCheck { probe, port, ..HealthCheck::default() })));
    let tcp = HealthCheck { port, ..HealthCheck::default() };
    assert_eq!(check(r#"{"health_check":{"port":9000}}"#), Ok(Some(tcp)));
    for (expect, shown) in [
        ("200", "200"),
        (r#""200-299""#, "200-299"),
        (r#""200,204""#, "200,204"),
        (r#"[200,"300-399"]"#, "200,300-399"),
        (r#"{"status":401}"#, "401"),
        (r#"{"body":"ok"}"#, "200-399"),
        ("null", "200-399"),
    ] {
        let check = check(&format!(r#"{{"health_check":{{"path":"/up","expect":{expect}}}}}"#));
        let Ok(Some(HealthCheck { probe: Probe::Http(probe), .. })) = check else {
            panic!("{expect}: {check:?}");
        };
        assert_eq!(probe.statuses.to_string(), shown, "{expect}");
    }
}

#[test]
fn each_part_of_a_health_check_says_what_is_wrong_with_it() {
    for (fields, field, message) in [
        (r#""path":"/","host":"10.0.0.5""#, "host", "give a name"),
        (r#""path":"/","port":0"#, "port", "1 to 65535"),
        (r#""path":"/","port":65536"#, "port", "1 to 65535"),
        (r#""path":"/","method":"get""#, "method", "GET, HEAD, OPTIONS"),
        (r#""path":"/","method":"POST""#, "method", "GET, HEAD, OPTIONS"),
        (r#""path":"/","headers":{"Host":"a"}"#, "headers", "set `host`"),
        (r#""path":"/","headers":{"Content-Length":"1"}"#, "headers", "Content-Length"),
        (r#""path":"/","headers":{"X-A":1}"#, "headers", "values are strings"),
        (r#""path":"/","headers":["X-A"]"#, "headers", "an object"),
        (r#""path":"/","headers":{"X-A":"secret\n"}"#, "headers", "X-A"),
        (r#""path":"/","expect":"2xx""#, "expect", "200-399"),
        (r#""path":"/","expect":[]"#, "expect", "200-399"),
        (r#""path":"/","expect":[[200]]"#, "expect", "an array of these"),
        (r#""path":"/","expect":{"status":99}"#, "expect.status", "100 to 599"),
        (r#""path":"/","expect":{"body":""}"#, "expect.body", "1 to 256"),
        (r#""path":"/","expect":{"bdy":"x"}"#, "expect.bdy", "did you mean body?"),
        (r#""path":"/","method":"HEAD","expect":{"body":"ok"}"#, "method", "must not be HEAD"),
        (r#""host":"a.example""#, "host", "needs path"),
        (r#""expect":200"#, "expect", "needs path"),
    ] {
        let findings = check(&format!("{{\"health_check\":{{{fields}}}}}")).unwrap_err();
        assert_eq!(findings.len(), 1, "{fields}: {findings:?}");
        assert_eq!(findings[0].field, format!("health_check.{field}"), "{fields}");
        assert!(findings[0].message.contains(message), "{fields}: {}", findings[0].message);
        assert!(!findings[0].message.contains("secret"));
    }
    let findings = check(r#"{"health_check":{"path":"x","host":"a.example"}}"#).unwrap_err();
    assert_eq!(findings.len(), 1, "a wrong path is there all the same: {findings:?}");
}

#[test]
fn what_cannot_be_asked_over_h2c_needs_a_port_of_its_own() {
    let check = |fields: &str| {
        check_of(&format!("{{\"health_check\":{{\"path\":\"/\"{fields}}}}}"), "h2c://10.0.0.5:50051")
    };
    assert!(check("").is_ok(), "as ever: a path is taken, and a connection opened");
    let findings = check(r#","expect":200"#).unwrap_err();
    assert!(findings[0].message.contains("needs port"), "{findings:?}");
    assert!(check(r#","expect":200,"port":8080"#).is_ok());
}
