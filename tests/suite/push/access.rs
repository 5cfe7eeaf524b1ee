//! Who we are and whom we believe: tenants, credentials, certificates, proxies.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use profiler_tests::{Pyroscope, PyroscopeOptions, tool_or_skip};
use profiler_user::deliver::push::ProxyEnvironment;
use serde_json::json;

use super::Pusher;

const TLS: PyroscopeOptions = PyroscopeOptions { tls: true, client_certificate: false, http1: false };
const MUTUAL_TLS: PyroscopeOptions = PyroscopeOptions { tls: true, client_certificate: true, http1: false };

/// Replaces a file as those do who exchange secrets: beside it, and renamed over it.
fn exchange(path: &Path, contents: &[u8]) -> Result<()> {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, contents)?;
    fs::rename(fresh, path)?;
    Ok(())
}

#[test]
fn a_tenant_is_asked_for_and_given() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    peer.set(json!({ "multitenancy": true }))?;
    ensure!(Pusher::new(peer.url()?, "")?.outcome()? == "refused unauthorized");
    ensure!(Pusher::new(peer.url()?, "tenant = 'team-a'")?.outcome()? == "delivered");
    ensure!(peer.state()?.received[0].tenant == "team-a");
    Ok(())
}

#[test]
fn credentials_of_each_kind_are_sent() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("secret");
    fs::write(&file, "sesame:öffne dich\n")?;
    let kinds = [
        ("", "refused unauthorized"),
        ("basic_auth = { username = 'me', password = 'wrong' }", "refused unauthorized"),
        // printf 'me:sesame' | base64
        ("basic_auth = { username = 'me', password = 'sesame' }", "delivered"),
        ("bearer_token = 'sesame'", "delivered"),
        ("headers = { Authorization = 'Token sesame', X-Extra = 'more' }", "delivered"),
        ("basic_auth = { username = 'me', password_file = 'FILE' }", "delivered"),
    ];
    let known = [
        "Basic bWU6c2VzYW1l",
        "Bearer sesame",
        "Token sesame",
        // printf 'me:sesame:öffne dich' | base64
        "Basic bWU6c2VzYW1lOsO2ZmZuZSBkaWNo",
    ];
    peer.set(json!({ "authorizations": known }))?;
    for (more, expected) in kinds {
        let more = more.replace("FILE", &file.display().to_string());
        let outcome = Pusher::new(peer.url()?, &more)?.outcome()?;
        ensure!(outcome == expected, "{more}: {outcome}");
    }
    let state = peer.state()?;
    let sent: Vec<_> =
        state.received.iter().map(|profile| profile.headers["Authorization"].as_str()).collect();
    ensure!(sent == [known[0], known[1], known[2], known[3]], "{sent:?}");
    ensure!(state.received[2].headers["X-Extra"] == "more");
    Ok(())
}

#[test]
fn a_token_is_read_again_when_its_file_changes() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    peer.set(json!({ "authorizations": ["Bearer first"] }))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    let pusher = Pusher::new(peer.url()?, &format!("bearer_token_file = '{}'", file.display()))?;
    ensure!(pusher.outcome()? == "retry credentials", "no file yet");
    fs::write(&file, "first\n")?;
    ensure!(pusher.outcome()? == "delivered");
    peer.set(json!({ "authorizations": ["Bearer other"] }))?;
    ensure!(pusher.outcome()? == "refused unauthorized");
    exchange(&file, b"other")?;
    ensure!(pusher.outcome()? == "delivered");
    // While the file is away, the last token stays good; an empty one is none.
    fs::remove_file(&file)?;
    ensure!(pusher.outcome()? == "delivered");
    fs::write(&file, "\n")?;
    ensure!(pusher.outcome()? == "retry credentials");
    ensure!(peer.state()?.wire.connections == 1, "a new token needs no new connection");
    Ok(())
}

#[test]
fn a_server_must_be_signed_by_whom_we_believe() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start_with(TLS)?;
    let with = |name: &str| anyhow::Ok(format!("tls.ca_file = '{}'", peer.certificate(name)?.display()));
    ensure!(Pusher::new(peer.url()?, "")?.outcome()? == "retry tls", "the world's authorities");
    ensure!(Pusher::new(peer.url()?, &with("other-ca.pem")?)?.outcome()? == "retry tls");
    ensure!(Pusher::new(peer.url()?, &with("ca.pem")?)?.outcome()? == "delivered");
    ensure!(Pusher::new(peer.url()?, "tls.insecure_skip_verify = true")?.outcome()? == "delivered");
    let url = peer.url()?.replace("127.0.0.1", "127.0.0.2");
    // The certificate is for localhost and 127.0.0.1.
    ensure!(Pusher::new(&url, &with("ca.pem")?)?.outcome()? != "delivered");
    let state = peer.state()?;
    ensure!(state.received.iter().all(|profile| profile.protocol == "HTTP/2.0"), "{:?}", state.received);
    Ok(())
}

#[test]
fn a_server_without_http2_is_spoken_to_as_it_likes() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start_with(PyroscopeOptions { http1: true, ..TLS })?;
    let pusher = Pusher::new(peer.url()?, "tls.insecure_skip_verify = true")?;
    ensure!(pusher.outcome()? == "delivered");
    ensure!(peer.state()?.received[0].protocol == "HTTP/1.1");
    Ok(())
}

#[test]
fn a_client_certificate_is_shown() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start_with(MUTUAL_TLS)?;
    let with = |name: &str| {
        let path = |name: &str| anyhow::Ok(peer.certificate(name)?.display().to_string());
        anyhow::Ok(format!(
            "[tls]\nca_file = '{}'\ncert_file = '{}'\nkey_file = '{}'",
            path("ca.pem")?,
            path(&format!("{name}.pem"))?,
            path(&format!("{name}.key"))?
        ))
    };
    let without = format!("tls.ca_file = '{}'", peer.certificate("ca.pem")?.display());
    for stranger in [without, with("other-client")?] {
        // By TLS 1.3 the client has no word of a server's refusal until it reads; the connection may end before.
        let outcome = Pusher::new(peer.url()?, &stranger)?.outcome()?;
        ensure!(["retry tls", "retry broken"].contains(&outcome.as_str()), "{outcome}");
    }
    ensure!(peer.state()?.requests == 0);
    ensure!(Pusher::new(peer.url()?, &with("client")?)?.outcome()? == "delivered");
    // Certificate and key of two different clients.
    fs::copy(peer.certificate("other-client.key")?, peer.certificate("client.key")?)?;
    ensure!(Pusher::new(peer.url()?, &with("client")?)?.outcome()? == "retry credentials");
    Ok(())
}

#[test]
fn certificates_are_read_again_when_they_change() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start_with(TLS)?;
    let folder = tempfile::tempdir()?;
    let ca = folder.path().join("ca.pem");
    let pusher = Pusher::new(peer.url()?, &format!("tls.ca_file = '{}'", ca.display()))?;
    ensure!(pusher.outcome()? == "retry credentials", "no file yet");
    exchange(&ca, &fs::read(peer.certificate("other-ca.pem")?)?)?;
    ensure!(pusher.outcome()? == "retry tls");
    exchange(&ca, &fs::read(peer.certificate("ca.pem")?)?)?;
    ensure!(pusher.outcome()? == "delivered");
    exchange(&ca, b"no certificate")?;
    ensure!(pusher.outcome()? == "retry credentials");
    exchange(&ca, &fs::read(peer.certificate("ca.pem")?)?)?;
    ensure!(pusher.outcome()? == "delivered");
    Ok(())
}

#[test]
fn a_proxy_passes_on_and_is_told_who_asks() -> Result<()> {
    tool_or_skip!("go");
    for options in [PyroscopeOptions::default(), TLS] {
        let peer = Pyroscope::start_with(options)?;
        let tls = if options.tls { "tls.insecure_skip_verify = true" } else { "" };
        let through = |user: &str| anyhow::Ok(format!("{tls}\nproxy_url = '{}'", peer.proxy_url(user)?));
        ensure!(Pusher::new(peer.url()?, &through("")?)?.outcome()? == "delivered");
        ensure!(peer.state()?.proxied == 1);
        // printf 'me:sesame' | base64
        peer.set_proxy_authorization("Basic bWU6c2VzYW1l")?;
        ensure!(Pusher::new(peer.url()?, &through("me:sesame")?)?.outcome()? == "delivered");
        ensure!(Pusher::new(peer.url()?, &through("me:wrong")?)?.outcome()? == "retry unreachable");
        let state = peer.state()?;
        ensure!(
            (state.proxied, state.received.len()) == (2, 2),
            "{} {}",
            state.proxied,
            state.received.len()
        );
        let leaks = |name: &String| name.eq_ignore_ascii_case("proxy-authorization");
        ensure!(!state.received.iter().any(|profile| profile.headers.keys().any(leaks)));
    }
    Ok(())
}

#[test]
fn the_environment_names_a_proxy_only_if_it_is_asked() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let environment = |no_proxy: &str| {
        let proxy = peer.proxy_url("")?;
        let variables = |name: &str| match name {
            "HTTP_PROXY" => Some(proxy.clone()),
            "NO_PROXY" => Some(no_proxy.to_owned()),
            _ => None,
        };
        anyhow::Ok(ProxyEnvironment::from_variables(variables))
    };
    let asked = "proxy_from_environment = true";
    let table = [("", "", 0), (asked, "", 1), (asked, "example.org,127.0.0.0/8", 1)];
    for (more, no_proxy, expected) in table {
        let pusher = Pusher::with_environment(peer.url()?, more, environment(no_proxy)?)?;
        ensure!(pusher.outcome()? == "delivered");
        let proxied = peer.state()?.proxied;
        ensure!(proxied == expected, "{more:?} {no_proxy:?}: {proxied}");
    }
    Ok(())
}
