//! Configurations on the command line: checks, origins and precedence of settings, the start.

use std::path::PathBuf;
use std::process::Output;

use crate::kit::*;

/// A builder without the kit's own ports, and a configuration in its folder. An empty variable is not set.
fn configured(driver: Driver, yaml: &str) -> proxy::Builder {
    let builder = Proxy::on(driver).env("PROXY_HTTP_PORT", "").env("PROXY_HTTP_MODE", "");
    std::fs::write(builder.folder().join("config.yaml"), yaml).unwrap();
    builder
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// Runs `ringway` with these words in the folder of a configuration.
fn run(yaml: &str, words: &[&str]) -> Output {
    words.iter().fold(configured(Driver::Epoll, yaml), |builder, word| builder.arg(word)).run()
}

fn settings(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// A setting in the output of `ringway check --json`.
fn setting<'a>(check: &'a Value, name: &str) -> &'a Value {
    check["settings"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

const MISTAKES: &str = "\
version: v1
routes:
  - id: api
    hosts: api.example.com
    pool: nowhere
server:
  workers: none
  prot: 8081
";

#[test]
fn a_check_names_every_mistake_by_its_place() {
    let output = run(MISTAKES, &["config", "validate", "config.yaml"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let lines = text(&output);
    for (place, words) in [
        ("config.yaml:4:5: error: /routes/0/hosts", "host?"),
        ("config.yaml:5:11: error: /routes/0/pool", "nowhere"),
        ("config.yaml:7:12: error: /server/workers", ""),
        ("config.yaml:8:3: error: /server/prot", "port?"),
    ] {
        let found = lines.lines().any(|line| line.starts_with(place) && line.contains(words));
        assert!(found, "{place} {words} in {lines}");
    }
    assert!(lines.ends_with("config.yaml has 4 errors\n"), "{lines}");
    let output = run(MISTAKES, &["config", "validate", "config.yaml", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let report = settings(&output);
    assert_eq!(report["valid"], false);
    assert_eq!(report["findings"].as_array().unwrap().len(), 4);
    assert_eq!((&report["findings"][0]["line"], &report["findings"][0]["column"]), (&json!(4), &json!(5)));
}

#[test]
fn a_check_without_a_server_compiles_patterns_and_paths() {
    let of_pattern = "/routes/0/path_regex is not a valid regular expression: unclosed group (route api)";
    for (condition, why) in [("path_regex: '/('", of_pattern), ("path_prefix: '/a%2fb'", "route api: path ")]
    {
        let yaml = format!("version: v1\nroutes:\n  - {{id: api, respond: {{status: 204}}, {condition}}}\n");
        let output = run(&yaml, &["config", "validate", "config.yaml"]);
        let lines = text(&output);
        assert_eq!(output.status.code(), Some(2), "{lines}");
        assert!(lines.contains("config.yaml:3:") && lines.contains(why), "{lines}");
    }
}

#[test]
fn a_check_ends_early_for_hundreds_of_hostile_patterns() {
    let route = |number: usize| {
        format!(
            "  - {{id: r{number}, respond: {{status: 204}}, path_regex: '/{number}([a-z]*[b-y]){{200}}x'}}\n"
        )
    };
    let yaml = format!("version: v1\nroutes:\n{}", (0..250).map(route).collect::<String>());
    let output = run(&yaml, &["config", "validate", "config.yaml"]);
    let lines = text(&output);
    assert_eq!(output.status.code(), Some(2), "{lines}");
    assert!(lines.contains("exceeds the budget of 256 million steps"), "{lines}");
    assert!(lines.ends_with("config.yaml has 1 error\n"), "{lines}");
}

#[test]
fn a_check_warns_of_redirects_in_a_circle() {
    let yaml = "version: v1
routes:
  - {id: a, host: a.example, redirect: {to: 'https://b.example', keep_path: true}}
  - {id: b, host: b.example, redirect: {to: 'https://a.example', keep_path: true}}
";
    let output = run(yaml, &["config", "validate", "config.yaml"]);
    let lines = text(&output);
    assert_eq!(output.status.code(), Some(0), "{lines}");
    let warning = "config.yaml:3:40: warning: /routes/0/redirect redirects in a circle, a to b to a";
    assert!(lines.contains(warning), "{lines}");
}

#[test]
fn a_check_warns_of_files_of_credentials_that_cannot_be_used() {
    let route = |id: &str, auth: &str| {
        format!(
            "  - {{id: {id}, host: {id}.example, respond: {{status: 204}}, middleware: [{{type: auth, config: {auth}}}]}}\n"
        )
    };
    let routes = [
        route("users", "{basic: {users_file: /nowhere/users}}"),
        route("keys", "{jwt: {issuer: 'https://i.example', audience: a, jwks_file: /dev/null}}"),
        route("url", "{jwt: {issuer: 'https://i.example', audience: a, jwks_url: 'https://i.example/keys'}}"),
    ];
    let yaml = format!("version: v1\nroutes:\n{}", routes.concat());
    let output = run(&yaml, &["config", "validate", "config.yaml"]);
    let lines = text(&output);
    assert_eq!(output.status.code(), Some(0), "{lines}");
    for part in [
        "users in /nowhere/users: No such file or directory",
        "keys in /dev/null: is not a regular file",
        "answers 503 until the file can be used",
        "2 warnings",
    ] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
}

#[test]
fn a_start_with_mistakes_reports_all_of_them_and_binds_nothing() {
    let output = run(MISTAKES, &["--config", "config.yaml", "--workers", "0"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let lines = text(&output);
    for words in
        ["config.yaml:4:5", "config.yaml:5:11", "config.yaml:7:12", "config.yaml:8:3", "--workers \"0\""]
    {
        assert!(lines.contains(words), "{words} in {lines}");
    }
    let output = run("", &["--config", "nowhere.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("nowhere.yaml"), "{}", text(&output));
}

#[test]
fn a_value_comes_from_the_flag_the_environment_the_configuration_or_the_default() {
    let yaml =
        "idle_timeout: 81s\nread_header_timeout: 4s\nserver:\n  workers: 3\n  timeouts: {connect: 2s}\n";
    let builder = configured(Driver::Epoll, yaml).env("PROXY_WORKERS", "").env("PROXY_HEAD_TIMEOUT", "6s");
    let words = ["check", "--json", "--config", "config.yaml", "--connect-timeout", "1s"];
    let check = settings(&words.iter().fold(builder, |builder, word| builder.arg(word)).run());
    for (name, value, from) in [
        ("PROXY_CONNECT_TIMEOUT", "1s", json!("--connect-timeout")),
        ("PROXY_HEAD_TIMEOUT", "6s", json!("PROXY_HEAD_TIMEOUT")),
        ("PROXY_IDLE_TIMEOUT", "1m 21s", json!("config.yaml:1")),
        ("PROXY_WORKERS", "3", json!("config.yaml:4")),
        ("PROXY_RESPONSE_TIMEOUT", "30s", Value::Null),
    ] {
        let found = setting(&check, name);
        assert_eq!((&found["value"], &found["from"]), (&json!(value), &from), "{name}");
    }
    assert_eq!(setting(&check, "PROXY_IDLE_TIMEOUT")["origin"], "configuration");
}

/// The configurations of the two documents, as they stand there.
const DOCUMENTS: [&str; 3] = [
    "version: v1\n\nlisteners:\n  - address: \":8080\"\n    protocol: http\n    read_timeout: 30s\n    write_timeout: 30s\n",
    "http_address: \":8080\"\nhttps_address: \":8443\"\nadmin_address: \":9090\"\nread_header_timeout: 5s\n\
     idle_timeout: 90s\nlogging:\n  level: info\n  format: json\nmetrics:\n  exporter: prometheus\n  address: \":9091\"\n",
    "server:\n  host: \"0.0.0.0\"\n  port: 8080\n  tls:\n    enabled: false\n    cert: \"/path/to/cert.pem\"\n    \
     key: \"/path/to/key.pem\"\n    min_version: \"TLS1.2\"\n  timeouts:\n    read: 30s\n    write: 30s\n    \
     idle: 120s\n  limits:\n    max_header_bytes: 16384\n    max_concurrent_connections: 1000\nlogging:\n  \
     level: \"info\"\n  format: \"json\"\n  output: \"stdout\"\n  file:\n    path: \"/var/log/proxy/proxy.log\"\n    \
     max_size: \"100MB\"\n    max_age: 7\n    max_backups: 3\nmetrics:\n  enabled: true\n  port: 9090\n  path: \"/metrics\"\n",
];

#[test]
fn documented_configurations_are_valid() {
    for yaml in DOCUMENTS {
        let output = run(yaml, &["config", "validate", "config.yaml"]);
        assert_eq!(output.status.code(), Some(0), "{yaml}\n{}", text(&output));
        assert!(text(&output).contains("is valid"), "{}", text(&output));
    }
    // Members without effect are named beside the mistakes.
    let lines = text(&run(DOCUMENTS[2], &["config", "validate", "config.yaml"]));
    assert!(lines.contains("/logging/file/max_size") && lines.contains("3 warnings"), "{lines}");
}

#[test]
fn the_admin_api_makes_room_for_a_documented_listener() {
    for (yaml, api) in [(DOCUMENTS[0], "9090"), (DOCUMENTS[2], "9091")] {
        let builder = configured(Driver::Epoll, yaml).env("PROXY_API_PORT", "");
        let words = ["check", "--json", "--config", "config.yaml"];
        let check = settings(&words.iter().fold(builder, |builder, word| builder.arg(word)).run());
        assert_eq!(setting(&check, "PROXY_API_PORT")["value"], api, "{check:#}");
        let warnings = check["warnings"].to_string();
        assert!(warnings.contains(&format!("127.0.0.1:{api}")) && warnings.contains("8080"), "{warnings}");
    }
}

#[test]
fn a_static_configuration_has_settings_only() {
    let yaml = "server: {workers: 1}\npools:\n  - {id: p, endpoints: [{address: '127.0.0.1:1'}]}\n";
    let output = run(yaml, &["--static-config", "config.yaml"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("--static-config takes settings"), "{}", text(&output));
    let output =
        run("server: {workers: 1}\n", &["check", "--static-config", "config.yaml", "--admin", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let output = run("server: {workers: 1}\n", &["--admin", ":9090", "--static-config", "config.yaml"]);
    assert_eq!(output.status.code(), Some(2), "an open API needs a token");
    assert!(text(&output).contains("PROXY_API_TOKEN"), "{}", text(&output));
}

#[test]
fn the_schema_is_one_document() {
    let output = run("", &["config", "schema"]);
    assert!(output.status.success());
    let schema = settings(&output);
    for name in ["listeners", "server", "logging", "metrics", "routes", "pools", "policies"] {
        assert!(schema["properties"][name].is_object(), "{name}");
    }
}

#[test]
fn a_folder_is_one_configuration() {
    let builder = configured(Driver::Epoll, "");
    let folder = builder.folder().join("conf.d");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("10-server.yaml"), "server: {workers: 2, port: 8081}\n").unwrap();
    std::fs::write(folder.join("20-more.yaml"), "server: {workers: 3}\n").unwrap();
    let output = builder.again().arg("config").arg("validate").arg("conf.d").run();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("/server/workers is given in"), "{}", text(&output));
    std::fs::write(folder.join("20-more.yaml"), "logging: {level: warn}\n").unwrap();
    let output = builder.arg("config").arg("validate").arg("conf.d").run();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

/// Address of a public listener by its place in the configuration.
fn listener(proxy: &Proxy, at: usize) -> std::net::SocketAddr {
    proxy.ready()["http"][at].as_str().unwrap().parse().unwrap()
}

on_both_drivers! {
    fn listeners_of_a_configuration_have_their_own_limits(driver) {
        let yaml = "listeners:\n  - {address: '127.0.0.1:0', mode: plain, limits: {max_header_bytes: 1024}}\n  \
                    - {address: '127.0.0.1:0', protocol: http, mode: plain, limits: {max_concurrent_connections: 1}}\n";
        let proxy = configured(driver, yaml).arg("--config").arg("config.yaml").start();
        let origin = Origin::named("a");
        proxy.serve("app", "app.test", &origin);
        assert_eq!(proxy.ready()["http"].as_array().unwrap().len(), 2, "and no default port");
        let (small, single) = (listener(&proxy, 0), listener(&proxy, 1));
        let mut client = Client::connect(small);
        assert_eq!(client.get("app.test", "/").text(), "a");
        client.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\nX-Long: {}\r\n\r\n", "v".repeat(1100)));
        assert_eq!(client.response("GET").status(), 431);
        let mut first = Client::connect(single);
        assert_eq!(first.get("app.test", "/").text(), "a");
        assert_eq!(Client::connect(single).response("GET").status(), 503);
        assert_eq!(first.get("app.test", "/").text(), "a");
    }

    fn a_server_of_the_short_form_serves(driver) {
        let yaml = "server:\n  host: 127.0.0.1\n  port: 0\n  limits: {max_header_bytes: 2048}\n";
        let proxy = configured(driver, yaml).env("PROXY_CONFIG_FILE", "config.yaml").start();
        let origin = Origin::named("a");
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        assert_eq!(client.get("app.test", "/").text(), "a");
        client.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\nX-Long: {}\r\n\r\n", "v".repeat(2100)));
        assert_eq!(client.response("GET").status(), 431);
    }

    fn routes_of_a_configuration_are_served(driver) {
        let (first, second) = (Origin::named("first"), Origin::named("second"));
        let pools = |port: u16| {
            format!(
                "server: {{host: 127.0.0.1, port: 0}}\nroutes: [{{id: api, host: api.test, path_prefix: /v1, pool: p}}]\n\
                 pools: [{{id: p, endpoints: [{{address: '127.0.0.1:{port}'}}]}}]\n"
            )
        };
        let builder = configured(driver, &pools(first.address().port())).env("PROXY_WATCH_CONFIG", "false");
        let path = builder.folder().join("config.yaml");
        let proxy = builder.arg("--config").arg("config.yaml").start();
        assert_eq!(proxy.get("api.test", "/v1/users").text(), "first");
        assert_eq!(proxy.get("api.test", "/v2").status(), 404);
        // A mistake is refused, and nothing changes.
        std::fs::write(&path, "routes: [{id: api, hosts: api.test}]\n").unwrap();
        proxy.signal(libc::SIGHUP);
        eventually("the mistake is logged", || {
            proxy.log().iter().any(|line| line.contains("hosts")).then_some(())
        });
        assert_eq!(proxy.get("api.test", "/v1").text(), "first");
        std::fs::write(&path, pools(second.address().port())).unwrap();
        proxy.signal(libc::SIGHUP);
        eventually("the new pool serves", || {
            (proxy.get("api.test", "/v1").text() == "second").then_some(())
        });
    }

    fn a_default_backend_serves_what_no_route_takes(driver) {
        let (backend, app) = (Origin::named("backend"), Origin::named("app"));
        let builder = Proxy::on(driver).env("DEFAULT_BACKEND", &backend.target()).env("BACKEND_TIMEOUT", "30s");
        let proxy = builder.start();
        proxy.serve("app", "app.test", &app);
        assert_eq!(proxy.get("nobody.test", "/x").text(), "backend");
        assert_eq!(proxy.get("app.test", "/").text(), "app");
    }

    fn a_configuration_is_applied_shown_explained_and_taken_back(driver) {
        let origin = Origin::named("a");
        let yaml = format!(
            "routes: [{{id: api, host: api.test, path_prefix: /v1, pool: p}}]\n\
             pools: [{{id: p, endpoints: [{{address: '127.0.0.1:{}'}}]}}]\n",
            origin.address().port()
        );
        let builder = Proxy::on(driver);
        let path = builder.folder().join("admin.yaml");
        std::fs::write(&path, yaml).unwrap();
        let path = path.to_str().unwrap().to_owned();
        let proxy = builder.start();
        let run = |words: &[&str], code: i32| {
            let output = proxy.command(&[&["config"], words].concat());
            assert_eq!(output.status.code(), Some(code), "{words:?}: {}", text(&output));
            text(&output)
        };
        assert!(run(&["current"], 0).contains("no configuration"));
        let shown = run(&["diff", &path], 5);
        assert!(shown.contains("+ route api") && shown.contains("new hosts: api.test"), "{shown}");
        run(&["apply", &path, "--reason", "first"], 2);
        let shown = run(&["apply", &path, "--reason", "first", "--yes", "--no-canary"], 0);
        assert!(shown.contains("is in force"), "{shown}");
        assert_eq!(proxy.get("api.test", "/v1").text(), "a");
        run(&["diff", &path], 0);
        assert!(run(&["history"], 0).contains("first"));
        assert!(run(&["current"], 0).contains("api.test"));
        let shown = run(&["explain", "http://api.test/v1/x"], 0);
        assert!(shown.contains("route api of admin, pool p"), "{shown}");
        let shown = run(&["explain", "http://api.test/other"], 0);
        assert!(shown.contains("404"), "{shown}");
        assert!(run(&["rollout"], 0).contains("trial"));
        run(&["show", "000000000000"], 3);
        run(&["reload"], 4);
    }

    fn with_last_good_a_start_with_mistakes_serves(driver) {
        let yaml = "server: {port: 0, host: 127.0.0.1}\nroutes: [{id: a, hosts: b}]\n";
        let proxy = configured(driver, yaml).arg("--config").arg("config.yaml");
        let proxy = proxy.arg("--on-bad-config").arg("last_good").start();
        let origin = Origin::named("a");
        proxy.serve("app", "app.test", &origin);
        assert_eq!(proxy.get("app.test", "/").text(), "a", "settings beside the mistake are used");
        let log = proxy.log().join("\n");
        assert!(log.contains("config.yaml:2") && log.contains("last good"), "{log}");
    }
}

/// The kit's own working folder is not that of a command.
#[test]
fn a_path_is_relative_to_the_folder_of_the_command() {
    let builder = configured(Driver::Epoll, "server: {workers: 1}\n");
    let path: PathBuf = builder.folder().join("config.yaml");
    let output = builder.arg("config").arg("validate").arg(path.to_str().unwrap()).run();
    assert!(
        output.status.success() && text(&output).starts_with(path.to_str().unwrap()),
        "{}",
        text(&output)
    );
}
