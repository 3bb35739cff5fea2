//! Origins of values, and the report of all problems at once.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::cli::catalogue as c;
use crate::cli::setting::{Setting, Variable};

const NO_FLAGS: &[(&Setting, &str)] = &[];

fn machine() -> Machine {
    Machine {
        stdout_is_terminal: false,
        stderr_is_terminal: false,
        cpus: 4,
        system_state_is_ours: false,
        read_file: |_| Err(io::ErrorKind::NotFound.into()),
    }
}

/// Reads settings with a home directory, which the default store needs.
fn reading(flags: &[(&'static Setting, &str)], environment: &[(&str, &str)]) -> Reading {
    reading_on(&machine(), flags, &[&[("HOME", "/srv/somebody")], environment].concat())
}

fn reading_on(
    machine: &Machine,
    flags: &[(&'static Setting, &str)],
    environment: &[(&str, &str)],
) -> Reading {
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    read(&Flags::of(flags), &super::environment(environment), Statics::default(), machine)
}

/// Reads settings with a configuration `c.yaml`, one value a line.
fn reading_with(
    statics: &[(&str, &str)],
    flags: &[(&'static Setting, &str)],
    environment: &[(&str, &str)],
) -> Reading {
    let environment = [&[("HOME", "/srv/somebody")], environment].concat();
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    let statics = crate::cli::statics::tests::statics(statics);
    read(&Flags::of(flags), &super::environment(environment), statics, &machine())
}

/// The settings of a configuration alone.
fn configured(statics: &[(&str, &str)]) -> Settings {
    reading_with(statics, &[], &[]).outcome.unwrap()
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn settings(environment: &[(&str, &str)]) -> Settings {
    reading(&[], environment).outcome.unwrap()
}

fn problems(reading: Reading) -> Vec<String> {
    reading.outcome.unwrap_err().iter().map(ToString::to_string).collect()
}

fn row<'a>(reading: &'a Reading, setting: &Setting) -> &'a Row {
    reading.rows.iter().find(|row| row.setting.name == setting.name).unwrap()
}

/// Documented name in the environment as an origin.
fn from(name: &'static str) -> Origin {
    Origin::Environment(Variable::Documented(name))
}

#[test]
fn the_defaults_are_those_of_the_limits() {
    let reading = reading(NO_FLAGS, &[]);
    assert_eq!(reading.warnings, []);
    assert_eq!(reading.rows.len(), catalogue::ALL.len());
    assert!(reading.rows.iter().all(|row| row.origin == Origin::Default));
    let settings = reading.outcome.unwrap();
    assert_eq!(settings.http, ["[::]:80", "0.0.0.0:80"].map(|text| text.parse().unwrap()));
    assert_eq!(settings.api, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(settings.head_timeout, ringway_model::limits::HEAD_TIMEOUT);
    assert_eq!(settings.idle_timeout, ringway_model::limits::IDLE_TIMEOUT);
    assert_eq!(settings.connect_timeout, ringway_model::limits::CONNECT_TIMEOUT);
    assert_eq!(settings.response_head_timeout, ringway_model::limits::RESPONSE_HEAD_TIMEOUT);
    assert_eq!(settings.body_progress_timeout, ringway_model::limits::BODY_PROGRESS_TIMEOUT);
    assert_eq!(
        (settings.stream_idle_timeout, settings.body_rate_min),
        (Duration::MAX, ringway_model::limits::BODY_RATE_MIN)
    );
    assert_eq!(settings.drain_timeout, ringway_model::limits::DRAIN_TIMEOUT);
    assert_eq!(settings.health_interval, ringway_model::limits::HEALTH_INTERVAL);
    assert_eq!(settings.health_timeout, ringway_model::limits::HEALTH_TIMEOUT);
    assert_eq!(settings.heartbeat_timeout, ringway_model::limits::HEARTBEAT_TIMEOUT);
    assert_eq!(settings.unavailable_status, 502);
    assert_eq!(settings.body_bytes_max, None);
    assert_eq!(settings.connections_max, None);
    assert_eq!(settings.workers, 4);
    assert_eq!(settings.storage, Storage::Fjall);
    assert_eq!(settings.access_log, None);
    assert_eq!(settings.log_format, LogFormat::Json);
    assert!(settings.api_access.token.is_none() && settings.api_socket.is_none());
}

#[test]
fn a_flag_wins_over_the_environment_and_the_environment_over_the_default() {
    let environment = [("PROXY_WORKERS", "3"), ("PROXY_HTTP_PORT", "8000")];
    let reading = reading(&[(&c::WORKERS, "2")], &environment);
    assert_eq!(row(&reading, &c::WORKERS).origin, Origin::Flag("workers"));
    assert_eq!(row(&reading, &c::HTTP_PORT).origin, from("PROXY_HTTP_PORT"));
    assert_eq!(row(&reading, &c::API_PORT).origin, Origin::Default);
    let settings = reading.outcome.unwrap();
    assert_eq!((settings.workers, settings.http[0].port()), (2, 8000));
}

#[test]
fn an_invalid_value_that_a_flag_overrides_is_ignored() {
    let reading = reading(&[(&c::WORKERS, "2")], &[("PROXY_WORKERS", "many")]);
    assert_eq!(reading.outcome.unwrap().workers, 2);
}

#[test]
fn rows_show_the_values_in_force() {
    let reading = reading(&[], &[("HEALTH_CHECK_INTERVAL", "17"), ("PROXY_BODY_MAX", "1KiB")]);
    assert_eq!(row(&reading, &c::HEALTH_CHECK_INTERVAL).value, Value::Shown("17s".into()));
    assert_eq!(row(&reading, &c::BODY_MAX).value, Value::Shown("1024".into()));
    assert_eq!(row(&reading, &c::API_SOCKET).value, Value::Absent);
    let names: Vec<_> = reading.rows.iter().map(|row| row.setting.name).collect();
    assert_eq!(names, catalogue::ALL.iter().map(|setting| setting.name).collect::<Vec<_>>());
}

#[test]
fn all_problems_are_reported_at_once_with_name_value_and_remedy() {
    let flags = [(&c::WORKERS, "0")];
    let environment = [
        ("RINGWAY_HEALTH_CHECK_INTERVAL", "soon"),
        ("PROXY_HTTP_PORT", "99999"),
        ("PROXY_HTTP_MODE", "sometimes"),
        ("PROXY_CONNECT_TIMEOUT", "6s"),
    ];
    let lines = problems(reading(&flags, &environment));
    assert_eq!(lines.len(), 5, "{lines:#?}");
    for (words, count) in [
        (["HEALTH_CHECK_INTERVAL=\"soon\"", "10s"], 1),
        (["PROXY_HTTP_PORT=\"99999\"", "65535"], 1),
        (["PROXY_HTTP_MODE=\"sometimes\"", "redirect, https_only or plain"], 1),
        (["PROXY_CONNECT_TIMEOUT=\"6s\"", "to 5s"], 1),
        (["--workers \"0\" (PROXY_WORKERS)", "from 1 to 256"], 1),
    ] {
        let found = lines.iter().filter(|line| words.iter().all(|word| line.contains(word))).count();
        assert_eq!(found, count, "{words:?} in {lines:#?}");
    }
}

#[test]
fn values_at_and_beyond_every_bound() {
    for (name, good, bad) in [
        ("PROXY_CONNECT_TIMEOUT", "5s", "5001ms"),
        ("RINGWAY_HEALTH_CHECK_INTERVAL", "1s", "999ms"),
        ("PROXY_HEALTH_CHECK_INTERVAL", "300s", "301s"),
        ("PROXY_HEARTBEAT_TIMEOUT", "1s", "999ms"),
        ("PROXY_WORKERS", "256", "257"),
        ("PROXY_CONNECTIONS_MAX", "65536", "65537"),
        ("PROXY_DRAIN_TIMEOUT", "0", "3601s"),
        ("PROXY_HEAD_TIMEOUT", "10ms", "9ms"),
        ("PROXY_UNAVAILABLE_STATUS", "503", "504"),
        ("PROXY_VIA", "edge-1.example", "edge 1"),
        ("PROXY_PUBLIC_HEALTH", "/healthz@*,/up@lb.example", "/healthz"),
    ] {
        assert!(reading(&[], &[(name, good)]).outcome.is_ok(), "{name}={good}");
        let lines = problems(reading(&[], &[(name, bad)]));
        assert!(lines.len() == 1 && lines[0].starts_with(name), "{name}={bad}: {lines:?}");
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let reading = reading(&[], &[("PROXY_HTTP_PORT", ""), ("PROXY_API_TOKEN", "")]);
    assert_eq!(row(&reading, &c::HTTP_PORT).origin, Origin::Default);
    assert!(reading.outcome.unwrap().api_access.token.is_none());
}

#[test]
fn aliases_set_their_settings() {
    let environment = [
        ("PROXY_HOST", "127.0.0.1"),
        ("PROXY_PORT", "8000"),
        ("PROXY_LOG_LEVEL", "debug"),
        ("PROXY_ADMIN_ADDRESS", "127.0.0.1:9090"),
        ("PROXY_BODY_LIMIT", "7"),
    ];
    let reading = reading(&[], &environment);
    assert_eq!(reading.warnings, []);
    assert_eq!(row(&reading, &c::API_BIND).origin, from("PROXY_ADMIN_ADDRESS"));
    let settings = reading.outcome.unwrap();
    assert_eq!(settings.http, ["127.0.0.1:8000".parse().unwrap()]);
    assert_eq!(settings.api, ["127.0.0.1:9090".parse().unwrap()]);
    assert_eq!(settings.body_bytes_max, Some(7));
    assert!(settings.log_levels.would_enable("x", &tracing::Level::DEBUG));
}

#[test]
fn an_admin_address_may_be_ipv6_or_all_addresses() {
    assert_eq!(settings(&[("PROXY_ADMIN_ADDRESS", "[::1]:9090")]).api, ["[::1]:9090".parse().unwrap()]);
    let token = ("PROXY_API_TOKEN", "0123456789abcdef");
    let all = settings(&[("PROXY_ADMIN_ADDRESS", ":9090"), token]).api;
    assert_eq!(all, ["[::]:9090", "0.0.0.0:9090"].map(|text| text.parse().unwrap()));
    let lines = problems(reading(&[], &[("PROXY_ADMIN_ADDRESS", "localhost")]));
    assert_eq!(lines.len(), 1, "two settings, and one mistake: {lines:?}");
    assert!(lines[0].starts_with("PROXY_ADMIN_ADDRESS=\"localhost\": must be an address"), "{lines:?}");
}

#[test]
fn the_documented_name_wins_over_an_alias() {
    let reading = reading(&[], &[("PROXY_HTTP_PORT", "1000"), ("PROXY_PORT", "2000")]);
    let (name, by) = ("PROXY_PORT".to_owned(), "PROXY_HTTP_PORT".to_owned());
    assert_eq!(reading.warnings, [Warning::Shadowed { name, by }]);
    assert_eq!(reading.outcome.unwrap().http[0].port(), 1000);
}

#[test]
fn every_setting_is_read_from_its_own_name() {
    for setting in catalogue::ALL {
        let name = setting.own_name().to_string();
        // Only a path, a word or a secret may be this text.
        let found = reading(&[], &[(&name, "\u{7f} a")]);
        assert_eq!(row(&found, setting).origin, Origin::Environment(setting.own_name()), "{name}");
        assert!(found.warnings.is_empty(), "{name}: {:?}", found.warnings);
    }
}

#[test]
fn the_own_name_wins_over_all_others() {
    let environment = [("RINGWAY_HTTP_PORT", "1"), ("PROXY_HTTP_PORT", "2"), ("PROXY_PORT", "1")];
    let found = reading(&[], &environment);
    let lines: Vec<_> = found.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1, "the same value twice is no conflict: {lines:?}");
    assert!(lines[0].starts_with("PROXY_HTTP_PORT ") && lines[0].contains("RINGWAY_HTTP_PORT"), "{lines:?}");
    assert_eq!(found.outcome.unwrap().http[0].port(), 1);
    let found = reading(&[], &[("LOG_LEVEL", "debug"), ("RINGWAY_LOG_LEVEL", "off")]);
    assert_eq!(row(&found, &c::LOG_LEVEL).value, Value::Shown("off".into()));
}

#[test]
fn an_invalid_value_of_a_platforms_name_is_ignored_with_a_warning() {
    for (name, value, setting) in [
        ("LOG_FORMAT", "combined", &c::LOG_FORMAT),
        ("LOG_LEVEL", "verbose", &c::LOG_LEVEL),
        ("LOG_OUTPUT", "console", &c::LOG_OUTPUT),
        ("ACCESS_LOG", "combined", &c::ACCESS_LOG),
        ("HEALTH_CHECK_INTERVAL", "soon", &c::HEALTH_CHECK_INTERVAL),
        ("HEARTBEAT_TIMEOUT", "0", &c::HEARTBEAT_TIMEOUT),
        ("DNS_RESOLVER", "dns.example", &c::DNS_RESOLVER),
    ] {
        let found = reading(&[], &[(name, value)]);
        let lines: Vec<_> = found.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let own = setting.own_name().to_string();
        for words in [&format!("{name}={value:?} is ignored"), &own] {
            assert!(lines[0].contains(words), "{words} in {lines:?}");
        }
        assert_eq!(row(&found, setting).origin, Origin::Default, "{name}");
        assert_eq!(row(&found, setting).value, row(&reading(&[], &[]), setting).value, "{name}");
        assert!(found.outcome.is_ok());
        let lines = problems(reading(&[], &[(&own, value)]));
        assert!(lines.len() == 1 && lines[0].starts_with(&format!("{own}={value:?}: must")), "{lines:?}");
        assert!(reading(&[(setting, value)], &[]).outcome.is_err(), "the flag");
    }
    // Only the alias that no other program reads is strict.
    let found = reading(&[], &[("LOG_FORMAT", "combined"), ("PROXY_LOG_FORMAT", "text")]);
    assert_eq!(found.outcome.unwrap().log_format, LogFormat::Text);
    assert!(reading(&[], &[("PROXY_LOG_FORMAT", "combined")]).outcome.is_err());
}

#[test]
fn the_rate_of_each_client_is_limited_by_three_settings() {
    let limit = |environment: &[(&str, &str)]| {
        let limit = reading(&[], environment).outcome.unwrap().rate_limit;
        limit.map(|limit| (limit.requests, limit.burst))
    };
    assert_eq!(limit(&[]), None);
    assert_eq!(limit(&[("RATE_LIMIT_ENABLED", "true")]), Some((100, 200)));
    assert_eq!(limit(&[("RATE_LIMIT_RPS", "50")]), Some((50, 50)));
    assert_eq!(limit(&[("PROXY_RATE_LIMIT_RPS", "50"), ("RATE_LIMIT_BURST", "80")]), Some((50, 80)));
    assert_eq!(limit(&[("RATE_LIMIT_ENABLED", "false"), ("RATE_LIMIT_RPS", "50")]), None);
    for (name, value) in [("RINGWAY_RATE_LIMIT_RPS", "0"), ("RINGWAY_RATE_LIMIT_BURST", "0")] {
        assert!(reading(&[], &[(name, value)]).outcome.is_err(), "{name}");
    }
}

#[test]
fn kubernetes_service_links_are_ignored() {
    let found = reading(
        &[],
        &[
            ("PROXY_PORT", "tcp://10.0.0.1:80"),
            ("RINGWAY_SERVICE_HOST", "10.0.0.1"),
            ("RINGWAY_SERVICE_PORT", "80"),
            ("RINGWAY_PORT_80_TCP_ADDR", "10.0.0.1"),
        ],
    );
    assert_eq!(found.warnings, [Warning::ServiceLink(Variable::Documented("PROXY_PORT"))]);
    assert_eq!(row(&found, &c::HTTP_PORT).origin, Origin::Default);
    // A service may be called like a setting: `ringway-http`.
    let found = reading(&[], &[("RINGWAY_HTTP_PORT", "tcp://10.0.0.1:80")]);
    assert_eq!(found.warnings, [Warning::ServiceLink(c::HTTP_PORT.own_name())]);
    assert!(found.outcome.is_ok());
}

#[test]
fn a_misspelt_name_is_reported_with_the_nearest_known_one() {
    let reading =
        reading(&[], &[("PROXY_HTPP_PORT", "80"), ("HTTP_PROXY", "x"), ("PROXY_QUITE_OTHER_THING", "1")]);
    let lines: Vec<_> = reading.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("PROXY_HTPP_PORT") && lines[0].contains("PROXY_HTTP_PORT"), "{lines:?}");
    assert!(lines[1].contains("PROXY_QUITE_OTHER_THING"), "{lines:?}");
}

#[test]
fn the_store_of_responses_is_set_by_variables_flags_and_configuration() {
    let cache = |environment: &[(&str, &str)]| reading(&[], environment).outcome.expect("it fits").cache;
    assert_eq!(cache(&[]), Some(CacheSettings::default()));
    let all = [
        ("CACHE_ENABLED", "true"),
        ("CACHE_MAX_MEMORY", "64MiB"),
        ("PROXY_CACHE_MAX_ENTRIES", "500"),
        ("RINGWAY_CACHE_DEFAULT_TTL", "60"),
    ];
    let expected =
        CacheSettings { bytes_max: 64 << 20, entries_max: 500, default_ttl: Duration::from_secs(60) };
    assert_eq!(cache(&all), Some(expected));
    assert_eq!(cache(&[("CACHE_ENABLED", "false")]), None);
    for (name, value) in [
        ("PROXY_CACHE_MAX_MEMORY", "1KB"),
        ("PROXY_CACHE_MAX_ENTRIES", "0"),
        ("PROXY_CACHE_DEFAULT_TTL", "0"),
        ("PROXY_CACHE_ENABLED", "maybe"),
    ] {
        assert!(reading(&[], &[(name, value)]).outcome.is_err(), "{name}={value}");
    }
}

#[test]
fn names_without_effect_are_reported() {
    let environment = [("PROXY_TRACE_ENDPOINT", "http://jaeger:14268/api/traces"), ("CLI_ENABLED", "true")];
    let reading = reading(&[], &environment);
    assert!(reading.outcome.is_ok());
    assert_eq!(reading.warnings, [Warning::Later("CLI_ENABLED"), Warning::Later("PROXY_TRACE_ENDPOINT")]);
}

#[test]
fn tls_is_served_when_any_of_its_settings_is_given() {
    let tls = |environment: &[(&str, &str)]| reading(&[], environment).outcome.expect("it fits").tls;
    assert!(tls(&[]).is_none());
    assert!(tls(&[("PROXY_HTTPS_PORT", "off"), ("ACME_EMAIL", "a@example.com")]).is_none());
    for environment in [
        [("ACME_EMAIL", "a@example.com")],
        [("ACME_DIRECTORY_URL", "https://ca.example/directory")],
        [("PROXY_CERT_PATH", "/var/lib/x")],
        [("PROXY_HTTPS_PORT", "443")],
        [("PROXY_HTTPS_BIND", "::,0.0.0.0")],
    ] {
        let found = tls(&environment).unwrap_or_else(|| panic!("{environment:?} requests TLS"));
        assert_eq!(found.https.len(), 2, "{environment:?}");
        assert!(found.https.iter().all(|address| address.port() == 443), "{environment:?}");
    }
    let found = tls(&[
        ("PROXY_HTTPS_PORT", "0"),
        ("PROXY_HTTP_BIND", "127.0.0.1"),
        ("PROXY_DB_PATH", "/d/routes.db"),
    ]);
    let found = found.expect("TLS is requested");
    assert_eq!(found.https, ["127.0.0.1:0".parse().expect("an address")]);
    assert_eq!(found.certificates.dir, Path::new("/d/certificates"));
    assert!(found.certificates.acme.is_none() && !found.modern);
}

#[test]
fn contradictory_tls_settings_are_reported() {
    for (environment, words) in [
        (&[("PROXY_TLS_CERT", "/c.pem")][..], "needs PROXY_TLS_KEY"),
        (&[("PROXY_TLS_KEY", "/k.pem")], "needs PROXY_TLS_CERT"),
        (&[("PROXY_HTTP_MODE", "https_only")], "no certificate to serve TLS with"),
        (&[("ACME_EMAIL", "nobody")], "an e-mail address"),
        (&[("ACME_DIRECTORY_URL", "http://ca.example")], "an https URL"),
        (&[("ACME_EAB_KID", "kid"), ("ACME_DIRECTORY_URL", "https://ca.example")], "ACME_EAB_HMAC"),
        (&[("PROXY_DNS_RESOLVER", "dns.example")], "127.0.0.1:53"),
        (&[("PROXY_HTTPS_PORT", "none")], "port from 0 to 65535"),
    ] {
        let lines = problems(reading(&[], environment));
        assert!(lines.iter().any(|line| line.contains(words)), "{environment:?}: {lines:?}");
    }
}

#[test]
fn the_hmac_key_is_not_shown() {
    let environment = [
        ("ACME_EAB_KID", "kid"),
        ("ACME_EAB_HMAC", "c2VjcmV0"),
        ("ACME_DIRECTORY_URL", "https://ca.example/directory"),
    ];
    let reading = reading(&[], &environment);
    assert_eq!(row(&reading, &c::ACME_EAB_HMAC).value, Value::Hidden);
    assert!(!format!("{reading:?}").contains("c2VjcmV0"));
}

#[test]
fn overlapping_listeners_are_refused() {
    for environment in [
        &[("PROXY_HTTP_PORT", "8080")][..],
        &[("PROXY_API_PORT", "80")],
        &[("PROXY_HTTP_PORT", "8080"), ("PROXY_HTTP_BIND", "127.0.0.1")],
    ] {
        let lines = problems(reading(&[], environment));
        assert!(lines.len() == 1 && lines[0].contains("127.0.0.1:"), "{lines:?}");
        assert!(lines[0].contains("PROXY_HTTP_PORT") && lines[0].contains("PROXY_API_PORT"), "{lines:?}");
    }
    // Other addresses, other families, and free ports do not overlap.
    for environment in [
        &[("PROXY_HTTP_PORT", "8080"), ("PROXY_HTTP_BIND", "127.0.0.2")][..],
        &[("PROXY_HTTP_PORT", "8080"), ("PROXY_HTTP_BIND", "::")],
        &[("PROXY_HTTP_PORT", "0"), ("PROXY_API_PORT", "0")],
    ] {
        assert!(reading(&[], environment).outcome.is_ok(), "{environment:?}");
    }
    let lines = problems(reading(&[], &[("PROXY_HTTPS_PORT", "80")]));
    assert!(lines[0].contains("PROXY_HTTPS_PORT"), "{lines:?}");
}

#[test]
fn an_api_that_is_open_to_the_network_needs_a_token() {
    let lines = problems(reading(&[], &[("PROXY_API_BIND", "0.0.0.0")]));
    assert!(lines.len() == 1 && lines[0].contains("PROXY_API_TOKEN"), "{lines:?}");
    let token = ("PROXY_API_TOKEN", "0123456789abcdef");
    assert!(reading(&[], &[("PROXY_API_BIND", "0.0.0.0"), token]).outcome.is_ok());
    assert!(reading(&[], &[("PROXY_API_BIND", "127.0.0.1,::1")]).outcome.is_ok());
}

#[test]
fn a_token_is_never_shown() {
    const SECRET: &str = "secret-secret-secret";
    for token in [SECRET, "secret", "secret secret secret"] {
        let reading = reading(&[], &[("PROXY_API_TOKEN", token)]);
        let lines = format!("{reading:?}");
        assert!(!lines.contains("secret"), "{lines}");
        let value = row(&reading, &c::API_TOKEN).value.to_string();
        assert!(!value.contains("secret"), "{value}");
        if let Err(problems) = reading.outcome {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            assert!(lines.len() == 1 && lines[0].starts_with("PROXY_API_TOKEN: "), "{lines:?}");
            assert!(!lines[0].contains("secret"), "{lines:?}");
        }
    }
}

#[test]
fn a_token_can_be_read_from_a_file() {
    let with_file = Machine {
        read_file: |path| match path.to_str() {
            Some("/run/token") => Ok("0123456789abcdef\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        },
        system_state_is_ours: true,
        ..machine()
    };
    let read = |file| reading_on(&with_file, &[(&c::API_TOKEN_FILE, file)], &[("PROXY_API_BIND", "0.0.0.0")]);
    assert!(read("/run/token").outcome.unwrap().api_access.token.is_some());
    // Only the cause is reported, not its consequences.
    let lines = problems(read("/run/none"));
    assert!(
        lines.len() == 1 && lines[0].contains("/run/none") && lines[0].contains("--api-token-file"),
        "{lines:?}"
    );
    let two = [("PROXY_API_TOKEN", "0123456789abcdef"), ("PROXY_API_TOKEN_FILE", "/run/token")];
    assert_eq!(reading(&[], &two).outcome.unwrap_err(), [Problem::TwoTokens]);
}

#[test]
fn the_store_is_in_the_state_directory() {
    let ours = Machine { system_state_is_ours: true, ..machine() };
    let home = ("HOME", "/srv/somebody");
    for (machine, environment, place) in [
        (&ours, &[home, ("STATE_DIRECTORY", "/var/lib/x:/var/lib/y")][..], "/var/lib/x/routes.db"),
        (&ours, &[home], "/var/lib/ringway/routes.db"),
        (&machine(), &[home], "/srv/somebody/.local/state/ringway/routes.db"),
        (&machine(), &[home, ("XDG_STATE_HOME", "/srv/state")], "/srv/state/ringway/routes.db"),
        (&machine(), &[home, ("XDG_STATE_HOME", "state")], "/srv/somebody/.local/state/ringway/routes.db"),
        (&ours, &[home, ("PROXY_DB_PATH", "/srv/db")], "/srv/db"),
    ] {
        let settings = reading_on(machine, &[], environment).outcome.unwrap();
        assert_eq!(settings.db_path, Path::new(place), "{environment:?}");
    }
    assert!(settings(&[("PROXY_DB_PATH", "db")]).db_path.is_absolute());
}

#[test]
fn stores_in_one_directory_have_an_audit_log_each() {
    let audit_log = |environment: &[(&str, &str)]| settings(environment).audit_log;
    for (store, log) in [
        ("/srv/routes.db", "/srv/audit.log"),
        ("/srv/one", "/srv/one.audit.log"),
        ("/srv/two.db", "/srv/two.db.audit.log"),
    ] {
        assert_eq!(audit_log(&[("PROXY_DB_PATH", store)]).as_deref(), Some(Path::new(log)), "{store}");
        let given = [("PROXY_DB_PATH", store), ("PROXY_AUDIT_LOG", "/log/audit.log")];
        assert_eq!(audit_log(&given).as_deref(), Some(Path::new("/log/audit.log")), "{store}");
    }
    assert_eq!(audit_log(&[("PROXY_DB_PATH", "/srv/one"), ("PROXY_STORAGE", "memory")]), None);
}

#[test]
fn without_a_state_directory_only_memory_works() {
    let lines = reading_on(&machine(), &[], &[]).outcome.unwrap_err();
    assert_eq!(lines, [Problem::NoStateDirectory]);
    assert!(reading_on(&machine(), &[(&c::STORAGE, "memory")], &[]).outcome.is_ok());
}

#[test]
fn log_lines_are_text_on_a_terminal() {
    let at_terminal = Machine { stderr_is_terminal: true, ..machine() };
    let format = |environment: &[(&str, &str)]| {
        let environment = [&[("HOME", "/srv/x")], environment].concat();
        reading_on(&at_terminal, &[], &environment).outcome.unwrap().log_format
    };
    assert_eq!(format(&[]), LogFormat::Text);
    assert_eq!(format(&[("LOG_OUTPUT", "stdout")]), LogFormat::Json);
    assert_eq!(format(&[("LOG_OUTPUT", "/var/log/x")]), LogFormat::Json);
    assert_eq!(format(&[("LOG_FORMAT", "json")]), LogFormat::Json);
}

#[test]
fn a_given_timeout_longer_than_the_interval_is_reported() {
    let both = [("HEALTH_CHECK_INTERVAL", "2s"), ("HEALTH_CHECK_TIMEOUT", "4s")];
    assert_eq!(reading(&[], &both).warnings, [Warning::TimeoutCut]);
    assert_eq!(reading(&[], &both[..1]).warnings, []);
}

#[test]
fn a_value_that_is_not_text_is_reported() {
    use std::os::unix::ffi::OsStringExt;
    let broken = OsString::from_vec(vec![0xff, 0xfe]);
    let environment =
        [("PROXY_WORKERS".into(), broken.clone()), (broken, "x".into()), ("HOME".into(), "/x".into())];
    let environment = super::environment(environment);
    let lines = problems(read(&Flags::default(), &environment, Statics::default(), &machine()));
    assert!(
        lines.len() == 1 && lines[0].contains("PROXY_WORKERS") && lines[0].contains("UTF-8"),
        "{lines:?}"
    );
}

// --- Values of a configuration -----------------------------------------------------------------------------

#[test]
fn a_configuration_is_below_flags_and_environment_and_above_the_default() {
    let statics = [("/server/workers", "2"), ("/idle_timeout", "80s"), ("/logging/level", "warn")];
    let environment = [("PROXY_IDLE_TIMEOUT", "70s"), ("PROXY_LOG_LEVEL", "error")];
    let found = reading_with(&statics, &[(&c::LOG_LEVEL, "debug")], &environment);
    assert_eq!(found.warnings, []);
    assert_eq!(row(&found, &c::LOG_LEVEL).origin, Origin::Flag("log-level"));
    assert_eq!(row(&found, &c::IDLE_TIMEOUT).origin, from("PROXY_IDLE_TIMEOUT"));
    let workers = row(&found, &c::WORKERS);
    assert_eq!((workers.value.to_string(), workers.origin.to_string()), ("2".into(), "c.yaml:1".into()));
    let settings = found.outcome.unwrap();
    assert_eq!((settings.workers, settings.idle_timeout), (2, Duration::from_secs(70)));
}

#[test]
fn every_key_of_a_setting_is_a_static_key_and_the_other_way_round() {
    let of_settings: Vec<&str> =
        catalogue::ALL.iter().flat_map(|setting| setting.keys).map(|key| key.path).collect();
    let elsewhere = ["/metrics/", "/logging/file/path", "/listeners/*"];
    for path in &of_settings {
        assert!(ringway_config::STATIC_KEYS.iter().any(|key| key.path == *path), "{path}");
    }
    for key in ringway_config::STATIC_KEYS.iter().filter(|key| key.unsupported.is_none()) {
        let is_used = of_settings.contains(&key.path)
            || elsewhere.iter().any(|beginning| key.path.starts_with(beginning));
        assert!(is_used, "{} would be ignored", key.path);
    }
}

#[test]
fn a_wrong_value_of_a_configuration_is_reported_at_its_place() {
    let statics = [("/server/workers", "many"), ("/listeners/0/address", "8080"), ("/admin_address", "x")];
    let lines = problems(reading_with(&statics, &[], &[]));
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (line, beginning) in lines.iter().zip([
        "c.yaml:3:3: /admin_address must be an address with a port",
        "c.yaml:1:3: /server/workers must be a whole number from 1 to 256; it is \"many\"",
        "c.yaml:2:3: /listeners/0/address must be an address with a port",
    ]) {
        assert!(line.starts_with(beginning), "{lines:#?}");
    }
}

#[test]
fn the_server_of_a_short_form_is_the_http_listener() {
    let statics = [
        ("/server/host", "0.0.0.0"),
        ("/server/port", "8081"),
        ("/server/tls/enabled", "false"),
        ("/server/tls/cert", "/path/to/cert.pem"),
        ("/server/tls/key", "/path/to/key.pem"),
        ("/server/timeouts/read", "30s"),
        ("/server/timeouts/write", "31s"),
        ("/server/timeouts/idle", "120s"),
        ("/server/limits/max_header_bytes", "16384"),
        ("/server/limits/max_concurrent_connections", "1000"),
    ];
    let settings = configured(&statics);
    assert_eq!(settings.http, addresses(&["0.0.0.0:8081"]));
    assert!(settings.tls.is_none(), "its certificate is not used");
    let limits = settings.listener_limits;
    assert_eq!(limits.read_timeout, Some(Duration::from_secs(30)));
    assert_eq!(limits.write_timeout, Some(Duration::from_secs(31)));
    assert_eq!(limits.connections_max, Some(1000));
    assert_eq!((settings.idle_timeout, settings.heads.bytes_max), (Duration::from_secs(120), 16384));
}

#[test]
fn a_given_port_replaces_the_listed_listeners_of_its_protocol() {
    let listed = [
        ("/listeners/0/address", "127.0.0.1:8080"),
        ("/listeners/1/address", "127.0.0.1:8081"),
        ("/listeners/2/address", "127.0.0.1:8443"),
        ("/listeners/2/tls/cert", "/c.pem"),
        ("/listeners/2/tls/key", "/k.pem"),
    ];
    let bind = ("PROXY_HTTP_BIND", "127.0.0.1");
    let ports = |settings: &Settings| {
        let mut all: Vec<u16> =
            settings.listeners.iter().flat_map(|one| &one.addresses).map(SocketAddr::port).collect();
        let https = settings.tls.iter().flat_map(|tls| &tls.https);
        all.extend(settings.http.iter().chain(https).map(SocketAddr::port));
        all
    };
    assert_eq!(ports(&configured(&listed)), [8080, 8081, 8443]);
    let reading = reading_with(&listed, &[(&c::HTTP_PORT, "9000")], &[bind]);
    let warnings: Vec<String> = reading.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("/listeners/0 has no effect, because --http-port is given"), "{warnings:?}");
    assert_eq!(ports(&reading.outcome.unwrap()), [8443, 9000]);
    let by_variable = reading_with(&listed, &[], &[bind, ("PROXY_HTTPS_PORT", "9443")]).outcome.unwrap();
    assert_eq!(ports(&by_variable), [8080, 8081, 9443]);
    let off = reading_with(&listed, &[(&c::HTTPS_PORT, "off")], &[bind]).outcome.unwrap();
    assert_eq!((ports(&off), off.tls.is_none()), (vec![8080, 8081], true));
    // Both stand in the file: both are meant.
    let in_file =
        [&listed[..2], &[("/server/http/port", "9000"), ("/server/http/bind", "127.0.0.1")]].concat();
    assert_eq!(ports(&configured(&in_file)), [8080, 8081, 9000]);
}

#[test]
fn a_server_with_tls_has_it_at_its_port() {
    let pair = [("/server/tls/cert", "/c.pem"), ("/server/tls/key", "/k.pem")];
    let on =
        [&[("/server/tls/enabled", "true"), ("/server/port", "8443"), ("/server/host", "::")], &pair[..]];
    let settings = configured(&on.concat());
    assert!(settings.http.is_empty(), "nothing is served without TLS");
    assert_eq!(settings.tls.as_ref().map(|tls| tls.https.clone()), Some(addresses(&["[::]:8443"])));
    let settings = configured(&[&[("/server/tls/enabled", "true")], &pair[..]].concat());
    assert_eq!(settings.http.len(), 2, "no port was chosen: both defaults");
    assert_eq!(settings.tls.map(|tls| tls.https[0].port()), Some(443));
    let environment = [("PROXY_TLS_ENABLED", "true"), ("PROXY_PORT", "8443")];
    let settings = reading_with(&pair, &[], &environment).outcome.unwrap();
    assert!(settings.http.is_empty() && settings.tls.is_some());
    let listed = [&pair[..], &[("/listeners/0/address", ":8081")]].concat();
    let settings = reading_with(&listed, &[], &environment).outcome.unwrap();
    assert_eq!((settings.listeners.len(), settings.tls.unwrap().https.len()), (1, 2), "both are served");
}

#[test]
fn addresses_of_a_configuration_are_listeners() {
    let statics = [("/http_address", ":8081"), ("/https_address", "127.0.0.1:8443")];
    let settings = configured(&statics);
    assert_eq!(settings.http, addresses(&["[::]:8081", "0.0.0.0:8081"]));
    assert_eq!(settings.tls.unwrap().https, addresses(&["127.0.0.1:8443"]));
}

#[test]
fn listed_listeners_replace_the_default_ones() {
    let statics = [
        ("/idle_timeout", "90s"),
        ("/listeners/0/address", ":8081"),
        ("/listeners/0/protocol", "http"),
        ("/listeners/0/mode", "plain"),
        ("/listeners/0/read_timeout", "30s"),
        ("/listeners/0/limits/max_concurrent_connections", "7"),
        ("/listeners/0/limits/max_header_bytes", "8KiB"),
        ("/listeners/1/address", "127.0.0.1:8443"),
        ("/listeners/1/tls/cert", "/c.pem"),
        ("/listeners/1/tls/key", "/k.pem"),
        ("/listeners/1/idle_timeout", "5s"),
        ("/listeners/2/address", "127.0.0.1:8444"),
        ("/listeners/2/protocol", "https"),
        ("/server/timeouts/write", "9s"),
    ];
    let settings = configured(&statics);
    assert!(settings.http.is_empty());
    let tls = settings.tls.unwrap();
    assert!(tls.https.is_empty() && tls.certificates.default_files.is_some());
    let [first, second, third] = &settings.listeners[..] else { panic!("{:?}", settings.listeners) };
    assert_eq!(first.addresses, addresses(&["[::]:8081", "0.0.0.0:8081"]));
    assert_eq!(first.protocol, Protocol::Http(HttpMode::Plain));
    assert_eq!((second.protocol, third.protocol), (Protocol::Https, Protocol::Https));
    assert_eq!(first.limits.connections_max, Some(7));
    assert_eq!(first.limits.head_bytes_max, Some(8192));
    assert_eq!((first.limits.idle_timeout, second.limits.idle_timeout), (None, Some(Duration::from_secs(5))));
    // Values of all listeners hold for those without their own.
    assert_eq!(second.limits.write_timeout, Some(Duration::from_secs(9)));
    // A chosen port is served beside them.
    let found = reading_with(&statics, &[(&c::HTTP_PORT, "8082")], &[]).outcome.unwrap();
    assert_eq!(found.http.len(), 2);
}

#[test]
fn listeners_that_cannot_be_so_are_reported() {
    let http = [("/listeners/0/address", ":8081")];
    let https = [("/listeners/0/address", ":8443"), ("/listeners/0/protocol", "https")];
    let second = [
        ("/listeners/0/tls/cert", "/c.pem"),
        ("/listeners/0/tls/key", "/k.pem"),
        ("/listeners/1/address", ":8444"),
        ("/listeners/1/tls/cert", "/other.pem"),
        ("/listeners/1/tls/key", "/other.pem"),
    ];
    for (statics, words) in [
        (&[("/listeners/0/protocol", "http")][..], "/listeners/0 must have an address"),
        (
            &[&http[..], &[("/listeners/0/protocol", "http"), ("/listeners/0/tls/cert", "/c")]].concat(),
            "has TLS settings but no TLS",
        ),
        (&[&http[..], &[("/listeners/0/protocol", "tcp")]].concat(), "must be http or https"),
        (
            &[&https[..], &[("/listeners/0/tls/enabled", "false")]].concat(),
            "/listeners/0/tls/enabled is false, but the protocol is https",
        ),
        (&[&https[..], &[("/listeners/0/mode", "plain")]].concat(), "is for listeners without TLS"),
        (&[&https[..], &[("/listeners/0/tls/cert", "/c.pem")]].concat(), "must have both `cert` and `key`"),
        (&[&https[..], &[("/listeners/0/tls/min_version", "TLS1.3")]].concat(), "server.tls.min_version"),
        (
            &[&https[..], &second].concat(),
            "/listeners/1/tls differs from the certificate of the other listeners",
        ),
        (&[&http[..], &[("/listeners/0/idle_timeout", "2d")]].concat(), "must be a time from"),
        (&[&http[..], &[("/listeners/0/limits/max_header_bytes", "1MiB")]].concat(), "from 1024 to 65536"),
        (
            &[&http[..], &[("/listeners/0/limits/max_concurrent_connections", "0")]].concat(),
            "whole number from 1",
        ),
        (&[&http[..], &[("/listeners/1/address", "127.0.0.1:8081")]].concat(), "both take 127.0.0.1:8081"),
    ] {
        let lines = problems(reading_with(statics, &[], &[]));
        assert_eq!(lines.len(), 1, "{words}: {lines:#?}");
        assert!(lines[0].contains(words), "{words}: {lines:#?}");
    }
}

#[test]
fn the_admin_api_leaves_its_default_port_to_a_listener_of_a_configuration() {
    for statics in [
        &[("/listeners/0/address", ":8080")][..],
        &[("/server/port", "8080")],
        &[("/http_address", "127.0.0.1:8080")],
    ] {
        let found = reading_with(statics, &[], &[]);
        let lines: Vec<_> = found.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for words in ["c.yaml:1", "127.0.0.1:9090", "RINGWAY_API", "PROXY_API_PORT"] {
            assert!(lines[0].contains(words), "{lines:?}");
        }
        assert_eq!(row(&found, &c::API_PORT).value, Value::Shown("9090".into()));
        assert_eq!(found.outcome.unwrap().api, addresses(&["127.0.0.1:9090"]));
    }
    let found = reading_with(&[("/server/port", "8080"), ("/metrics/port", "9090")], &[], &[]);
    let settings = found.outcome.unwrap();
    assert_eq!(settings.api, addresses(&["127.0.0.1:9091"]), "9090 is the port of the metrics");
    assert_eq!(settings.metrics, addresses(&["127.0.0.1:9090"]));
    let found = reading(&[], &[("PROXY_HOST", "0.0.0.0"), ("PROXY_PORT", "8080")]);
    assert_eq!(found.outcome.unwrap().api, addresses(&["127.0.0.1:9090"]));
}

#[test]
fn a_chosen_port_of_the_admin_api_is_kept() {
    for flags in [&[(&c::API_PORT, "8080")][..], &[]] {
        let environment: &[(&str, &str)] =
            if flags.is_empty() { &[("PROXY_ADMIN_ADDRESS", "127.0.0.1:8080")] } else { &[] };
        let lines = problems(reading_with(&[("/listeners/0/address", ":8080")], flags, environment));
        assert!(lines.len() == 1 && lines[0].contains("both take"), "{lines:?}");
        assert!(lines[0].contains("c.yaml:1: /listeners/0"), "{lines:?}");
    }
    // Another address is no overlap.
    let found = reading_with(&[("/http_address", "127.0.0.2:8080")], &[], &[]);
    assert_eq!(found.warnings, []);
    assert_eq!(found.outcome.unwrap().api, addresses(&["127.0.0.1:8080"]));
}

#[test]
fn metrics_have_an_address_or_a_port() {
    let metrics = |statics: &[(&str, &str)]| configured(statics).metrics;
    assert_eq!(metrics(&[("/metrics/address", ":9091")]), addresses(&["[::]:9091", "0.0.0.0:9091"]));
    assert_eq!(metrics(&[("/metrics/port", "9091")]), addresses(&["127.0.0.1:9091"]));
    assert_eq!(metrics(&[("/metrics/port", "9091"), ("/metrics/enabled", "false")]), []);
    assert_eq!(metrics(&[("/metrics/enabled", "true")]), []);
    let found = reading_with(&[("/metrics/enabled", "false")], &[(&c::METRICS_ADDRESS, "127.0.0.1:1")], &[]);
    assert_eq!(found.outcome.unwrap().metrics.len(), 1, "the flag wins");
    let two = [("/metrics/address", "127.0.0.1:9091"), ("/metrics/port", "9092")];
    let lines = problems(reading_with(&two, &[], &[]));
    assert!(lines.len() == 1 && lines[0].starts_with("c.yaml:2:3: /metrics/port contradicts"), "{lines:?}");
}

#[test]
fn the_log_file_of_a_configuration_has_its_own_key() {
    let file = [("/logging/output", "file"), ("/logging/file/path", "/var/log/proxy.log")];
    assert_eq!(configured(&file).log_output, Some(Output::File("/var/log/proxy.log".into())));
    assert_eq!(configured(&[("/logging/output", "stdout")]).log_output, Some(Output::Stdout));
    let lines = problems(reading_with(&file[..1], &[], &[]));
    assert!(lines.len() == 1 && lines[0].contains("logging.file.path"), "{lines:?}");
}

#[test]
fn lists_of_a_configuration_are_one_value() {
    let statics = [
        ("/server/http/bind/0", "::1"),
        ("/server/http/bind/1", "127.0.0.1"),
        ("/server/http/port", "8081"),
        ("/server/trusted_proxies/0", "10.0.0.0/8"),
        ("/server/trusted_proxies/1", "fd00::/8"),
    ];
    let settings = configured(&statics);
    assert_eq!(settings.http, addresses(&["[::1]:8081", "127.0.0.1:8081"]));
    assert_eq!(settings.trusted_proxies.len(), 2);
}

#[test]
fn two_keys_of_one_setting_with_different_values_are_reported() {
    let found = reading_with(&[("/server/port", "8081"), ("/http_address", ":8082")], &[], &[]);
    let lines: Vec<_> = found.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("c.yaml:2:3: /http_address has no effect"), "{lines:?}");
    assert_eq!(found.outcome.unwrap().http[0].port(), 8081);
}

#[test]
fn the_admin_address_is_one_flag_of_two_settings() {
    let mut flags = Flags::of(&[]);
    flags.set("PROXY_ADMIN_ADDRESS", "127.0.0.1:9090");
    let environment =
        super::environment([("HOME".into(), "/srv/x".into()), ("PROXY_API_PORT".into(), "1".into())]);
    let found = read(&flags, &environment, Statics::default(), &machine());
    assert_eq!(row(&found, &c::API_PORT).origin, Origin::Flag("admin"));
    assert_eq!(row(&found, &c::API_BIND).origin, Origin::Flag("admin"));
    assert_eq!(found.outcome.unwrap().api, addresses(&["127.0.0.1:9090"]));
    let mut flags = Flags::of(&[(&c::API_PORT, "1")]);
    flags.set("PROXY_ADMIN_ADDRESS", "127.0.0.1:9090");
    let found = read(&flags, &environment, Statics::default(), &machine());
    let (name, by) = ("--admin".to_owned(), "--api-port".to_owned());
    assert_eq!(found.warnings, [Warning::Shadowed { name, by }]);
}

#[test]
fn a_configuration_is_named_once() {
    let two = [("PROXY_CONFIG_FILE", "c.yaml"), ("PROXY_STATIC_CONFIG", "s.yaml")];
    assert_eq!(reading(&[], &two).outcome.unwrap_err(), [Problem::TwoConfigurations]);
    let of = |environment: &[(&str, &str)]| {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        configuration(&Flags::default(), &super::environment(environment))
    };
    assert_eq!(of(&two[..1]), Some(Configuration::Full("c.yaml".into())));
    assert_eq!(of(&two[1..]), Some(Configuration::Static("s.yaml".into())));
    assert_eq!(of(&[]), None);
}

#[test]
fn a_default_backend_has_a_timeout() {
    let environment = [("DEFAULT_BACKEND", "http://localhost:8000"), ("BACKEND_TIMEOUT", "30s")];
    let of = |environment: &[(&str, &str)]| {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        default_backend(&Flags::default(), &super::environment(environment))
    };
    let backend = of(&environment).unwrap();
    assert_eq!(
        (backend.target.to_string(), backend.timeout),
        ("http://localhost:8000".into(), Some(Duration::from_secs(30)))
    );
    assert_eq!(of(&[]), None);
    let lines = problems(reading(&[], &[("PROXY_DEFAULT_BACKEND", "localhost")]));
    assert!(lines.len() == 1 && lines[0].contains("http://HOST:PORT"), "{lines:?}");
}
