//! What a configuration may say, and that everything wrong with it is said at once.

use expect_test::{Expect, expect};

use super::*;

/// The errors of a configuration, a line each, or the endpoint.
fn check(toml: &str, expected: Expect) {
    let config: EndpointConfig = toml::from_str(toml).expect("keys that are known");
    let text = match config.validate() {
        Ok(endpoint) => format!("{} {} {:?}", endpoint.name(), endpoint.url(), endpoint.timeout()),
        Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    };
    expected.assert_eq(&text);
}

#[test]
fn the_least_is_a_url() {
    check(
        r#"url = "http://localhost:4040""#,
        expect!["localhost:4040 http://localhost:4040/push.v1.PusherService/Push 10s"],
    );
    check(
        "url = 'https://example.org/behind/a/path/'\nname = 'main'\ntimeout = '1m 30s'",
        expect!["main https://example.org/behind/a/path/push.v1.PusherService/Push 90s"],
    );
    check(
        "",
        expect!["url: missing; it is the server's base URL, such as https://pyroscope.example.org:4040"],
    );
}

#[test]
fn urls_are_base_urls_without_secrets() {
    check("url = 'pyroscope:4040'", expect!["url: pyroscope:// is not known; http:// and https:// are"]);
    check("url = '/push'", expect!["url: relative URL without a base"]);
    check("url = 'http://me:word@localhost'", expect!["url: has a user or a password in it; use basic_auth"]);
    check(
        "url = 'http://localhost/?tenant=x'",
        expect!["url: has a query or a fragment; it is the server's base URL"],
    );
    check(
        "url = 'http://localhost/pyroscope/ingest'",
        expect!["url: leave out /ingest: it is the server's base URL"],
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    check(
        r#"
        name = ""
        url = "http://localhost"
        tenant = "a|b"
        bearer_token = "one"
        bearer_token_file = "/run/token"
        proxy_url = "ftp://user:word@proxy"
        timeout = "0s"
        basic_auth = { username = "a:b", password = "x", password_file = "/run/password" }
        tls = { cert_file = "c.pem", ca_file = "ca.pem", insecure_skip_verify = true }
        [headers]
        "bad name" = "x"
        Authorization = "x"
        Connection = "close"
        X-Fine = "fine"
        X-Line = "a\nb"
        "#,
        expect![[r#"
            tls: needs an https:// url
            tls.cert_file: needs tls.key_file beside it
            tls.ca_file and tls.insecure_skip_verify: one of both
            tenant: "a|b" is not 1 to 150 of letters, digits and !-_.*'()
            headers: Authorization is set by basic_auth or bearer_token
            headers: Connection is set by the client itself
            headers.X-Line: has a character that no header can have
            headers: "bad name" cannot be a header's name
            timeout: "0s" is not a duration from 100ms to 10m
            proxy_url: http, https, socks5 and socks5h proxies with a host are known
            bearer_token and bearer_token_file: one of both
            basic_auth.username: cannot have a colon
            basic_auth.password and basic_auth.password_file: one of both
            name: is empty"#]],
    );
    check(
        "url = 'http://x'\nbearer_token = 'x'\nbasic_auth = { username = '' }\nproxy_url = 'http://p'\nproxy_from_environment = true",
        expect![[r#"
            proxy_url and proxy_from_environment: one of both
            basic_auth and bearer_token: one of both
            basic_auth.username: is empty"#]],
    );
}

#[test]
fn http2_is_known_or_agreed_upon() {
    check(
        "url = 'http://localhost'\nhttp2_prior_knowledge = true",
        expect!["localhost http://localhost/push.v1.PusherService/Push 10s"],
    );
    check(
        "url = 'https://localhost'\nhttp2_prior_knowledge = true",
        expect!["http2_prior_knowledge: is for http:// urls; over https:// it is agreed upon"],
    );
}

#[test]
fn unknown_keys_are_errors() {
    let error =
        toml::from_str::<EndpointConfig>("url = 'http://x'\ntennant = 'a'").expect_err("a typing error");
    assert!(error.message().contains("unknown field `tennant`"), "{error}");
}

#[test]
fn no_secret_is_shown() {
    let text = r#"
        url = "https://localhost"
        proxy_url = "http://user:hush-proxy@proxy:3128"
        basic_auth = { username = "me", password = "hush-password" }
        [headers]
        X-Key = "hush-key"
    "#;
    let config: EndpointConfig = toml::from_str(text).expect("valid");
    let shown = format!("{config:?}");
    let endpoint = config.validate().expect("valid");
    for text in [shown, format!("{endpoint:?} {endpoint:#?}")] {
        assert!(!text.contains("hush"), "{text}");
    }
    let bad = "url = 'http://hush:hush@[::1'\nbearer_token = \"hush\\n\"\nproxy_url = 'hush'";
    let config: EndpointConfig = toml::from_str(bad).expect("known keys");
    let errors = format!("{:?}", config.validate().expect_err("a bad URL"));
    assert!(!errors.contains("hush"), "{errors}");
}

#[test]
fn what_is_allowed_and_yet_unwise_is_said() {
    let text = "url = 'http://localhost'\nbearer_token_file = '/run/token'";
    let config: EndpointConfig = toml::from_str(text).expect("valid");
    let warnings = config.validate().expect("valid").warnings();
    assert_eq!(warnings, ["localhost: credentials go over http:// for everybody to read"]);
    let text = "url = 'https://localhost'\ntls = { insecure_skip_verify = true }";
    let config: EndpointConfig = toml::from_str(text).expect("valid");
    let warnings = config.validate().expect("valid").warnings();
    assert_eq!(warnings, ["localhost: insecure_skip_verify believes any server"]);
}
