//! The configuration as a stranger meets it.

use std::fs;

use expect_test::{Expect, expect};

mod agreement;

use super::*;
use crate::attribute::relabel::Action;
use crate::host::{Host, ProcFs};

/// A host without limits of its own.
pub(super) fn host() -> Host {
    Host { proc: ProcFs::at("no-such-folder"), ..Host::new() }
}

/// Layers to load, as a test writes them.
#[derive(Default)]
struct Given<'a> {
    file: Option<&'a str>,
    options: &'a [(&'a str, &'a str)],
    variables: &'a [(&'a str, &'a str)],
}

impl Given<'_> {
    /// Loads them; the file is `config.toml` in messages.
    fn load(&self) -> Result<Loaded, ConfigErrors> {
        let mut options = std::collections::BTreeMap::<String, Vec<String>>::new();
        for (path, text) in self.options {
            options.entry((*path).to_owned()).or_default().push((*text).to_owned());
        }
        let variables = self.variables.iter().map(|(name, value)| (name.into(), value.into()));
        let file = self.file.map(|_| "config.toml".into());
        let loader = Loader::new(file, options, variables, host());
        loader.load_bytes(self.file.map(|text| Ok(text.as_bytes().to_vec())))
    }

    fn errors(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

fn check_errors(file: &str, expected: Expect) {
    expected.assert_eq(&Given { file: Some(file), ..Given::default() }.errors());
}

fn loaded(file: &str) -> Loaded {
    Given { file: Some(file), ..Given::default() }.load().unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn an_option_wins_over_a_variable_over_the_file_over_the_default() {
    let file = "[sampling]\nrate = 29\nwindow = '30s'\nunwind = 'frame-pointers'\n";
    let variables = [("FLAMEKEEPER_RATE", "39"), ("FLAMEKEEPER_WINDOW", "20s")];
    let given = Given { file: Some(file), options: &[("sampling.rate", "49")], variables: &variables };
    let config = given.load().unwrap().config.sampling;
    assert_eq!((config.rate.get(), config.window.as_secs()), (49, 20));
    assert_eq!(config.unwind, crate::cli::UnwindArg::FramePointers);
    assert_eq!(config.unwind_tables_max.as_u64(), 32 << 20);
}

#[test]
fn an_empty_variable_counts_as_not_set_but_for_the_cache() {
    let variables =
        [("FLAMEKEEPER_RATE", ""), ("FLAMEKEEPER_PUSH_TENANT", ""), ("FLAMEKEEPER_CACHE_DIR", "")];
    let config = Given { variables: &variables, ..Given::default() }.load().unwrap().config;
    assert_eq!((config.sampling.rate.get(), config.push.endpoints.len()), (19, 0));
    assert_eq!(config.sampling.cache_dir, None);
}

#[test]
fn everything_wrong_is_told_at_once_in_the_order_of_the_file() {
    let file = r#"rate = 19
[samplign]
rate = 5
[sampling]
rte = 49
window = "10x"
unwind = "row"
include_self = "yes"
cache_dir = 7
[budget]
cpu_percent = "2"
memory_max = "1MiB"
colour = "red"
[[push]]
tenant = "x"
[push.tls]
ca_fil = "/x"
[[push]]
url = "db:4040"
headers = { "X Y" = "z" }
[labels]
static = { team = 3 }
relabel_configs = [{ action = "dorp", source_label = ["a"] }, "x"]
[http]
listen = "127.0.0.1:4041"
[log]
level = "loud"
[spool]
dir = { path = "/x" }
[shutdown]
drain_timeout = 0
"#;
    let options = [("sampling.rate", "fast"), ("http.allowed_hosts", "[1")];
    let given =
        Given { file: Some(file), options: &options, variables: &[("FLAMEKEEPER_SPOOL_MAX_BYTES", "-1")] };
    expect![[r#"
        config.toml:1:1: rate: there is no such key; did you mean `rate` in [sampling]?
        config.toml:2:2: samplign: there is no such key; did you mean `sampling`?
        config.toml:5:1: sampling.rte: there is no such key; did you mean `rate`?
        config.toml:6:10: sampling.window: "10x" is not a time; write 15s, 500ms or 1m 30s
        config.toml:7:10: sampling.unwind: "row" is none of rows, frame-pointers
        config.toml:8:16: sampling.include_self: expected true or false, without quotes, found a text in quotes
        config.toml:9:13: sampling.cache_dir: expected a path in quotes, found a whole number
        config.toml:11:15: budget.cpu_percent: expected a number without quotes, such as 1.5, found a text in quotes
        config.toml:12:14: budget.memory_max: 1MiB is out of bounds: must be at least 64MiB
        config.toml:13:1: budget.colour: there is no such key; there are cpu_percent, memory_max
        config.toml:14:1: push[0].url: is missing
        config.toml:17:1: push[0].tls.ca_fil: there is no such key; did you mean `ca_file`?
        config.toml:19:7: push[1].url: names no host (its scheme is "db"); write http://HOST:PORT
        config.toml:20:11: push[1].headers: "X Y" is not a header's name
        config.toml:22:19: labels.static.team: expected a text in quotes, found a whole number
        config.toml:23:31: labels.relabel_configs[0].action: unknown relabel action "dorp"; there are replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase
        config.toml:23:39: labels.relabel_configs[0].source_label: there is no such key; did you mean `source_labels`?
        config.toml:23:63: labels.relabel_configs[1]: expected a table, found a text in quotes
        config.toml:25:10: http.listen: expected a list in brackets, found a text in quotes
        config.toml:27:9: log.level: "loud" is none of error, warn, info, debug, trace
        config.toml:29:7: spool.dir: expected a path in quotes, found a table
        config.toml:31:17: shutdown.drain_timeout: 0s is out of bounds: must be from 1s to 5m
        --rate: sampling.rate: "fast" is not a whole number
        FLAMEKEEPER_SPOOL_MAX_BYTES: spool.max_bytes: "-1" is not a size; write 64MiB, 1.5GiB or a number of bytes"#]].assert_eq(&given.errors());
}

#[test]
fn what_is_not_toml_is_told_with_what_is_wrong_elsewhere() {
    let options = [("sampling.rate", "0"), ("push.tenant", "the URL may be in the file")];
    let given = Given { file: Some("rate = \n[push\nx = \"a\n"), options: &options, variables: &[] };
    expect![[r#"
        config.toml:1:8: not TOML: string values must be quoted, expected literal string
        config.toml:2:6: not TOML: unclosed table, expected `]`
        --rate: sampling.rate: 0 is out of bounds: must be from 1 to 999"#]]
    .assert_eq(&given.errors());
    check_errors("[sampling]\nrate = 1\nrate = 2\n", expect!["config.toml:3:1: not TOML: duplicate key"]);
}

#[test]
fn a_file_of_another_kind_is_told_within_bounds() {
    check_errors(
        "sampling:\n  rate: 19\n",
        expect![[r#"
        config.toml:1:9: not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`
        config.toml:1:10: not TOML: key with no value, expected `=`
        config.toml:2:9: not TOML: key with no value, expected `=`"#]],
    );
    check_errors(
        &format!("a = {}", "[".repeat(100_000)),
        expect![[r#"
        config.toml:1:85: not TOML: cannot recurse further; max recursion depth met
        config.toml:1:100005: not TOML: unclosed array, expected `]`"#]],
    );
    let many: String = (0..1_000).map(|number| format!("key{number} = 1\n")).collect();
    let errors = Given { file: Some(&many), ..Given::default() }.errors();
    assert_eq!(errors.lines().count(), 51);
    assert!(errors.ends_with("\nand 950 more"), "{errors}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |name: &str| {
        let loader = Loader::new(Some(folder.path().join(name)), [].into(), [], host());
        loader.load().unwrap_err().to_string().replace(&folder.path().display().to_string(), "")
    };
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::write(folder.path().join("latin1"), b"# caf\xe9\n").unwrap();
    fs::write(folder.path().join("large"), vec![b'#'; 2 << 20]).unwrap();
    fs::write(
        folder.path().join("names.toml"),
        "[[push]]\nurl = 'https://a'\nbearer_token_file = '/no/such/token'\ntls = { ca_file = '/' }\n",
    )
    .unwrap();
    let errors = ["none.toml", "folder", "latin1", "large", "names.toml"].map(error);
    expect![[r#"
        /none.toml cannot be read: No such file or directory (os error 2)
        /folder cannot be read: Is a directory (os error 21)
        /latin1 is not UTF-8
        /large is larger than 1048576 bytes: is this the right file?
        /names.toml:3:21: push[0].bearer_token_file: /no/such/token: No such file or directory (os error 2)
        /names.toml:4:19: push[0].tls.ca_file: /: is a directory"#]]
    .assert_eq(&errors.join("\n"));
}

#[test]
fn endpoints_are_not_too_many_and_each_is_given_once() {
    let table = |name: usize| format!("[[push]]\nurl = 'http://{name}'\n");
    let many: String = (0..9).map(table).collect();
    check_errors(&many, expect!["config.toml:1:1: push: 9 endpoints are more than the 8 that are fed"]);
    let tenants = "[[push]]\nurl = 'http://1'\ntenant = 'a'\nname = 'a'\n";
    check_errors(
        &format!("{}{tenants}{}", table(1), table(1)),
        expect!["config.toml:8:7: push[2].url: is push[0] again, url and tenant; give each once"],
    );
    check_errors(
        &format!("{}[[push]]\nurl = 'http://1'\ntenant = 'a'\n", table(1)),
        expect!["push[1].name: push[0] is called 0.0.0.1 too; give one another name"],
    );
}

#[test]
fn files_of_an_endpoint_are_looked_into() {
    check_errors(
        "[[push]]\nurl = 'https://a'\ntls.ca_file = 'Cargo.toml'\n[[push]]\nurl = 'https://b'\nbearer_token_file = 'src/lib.rs'\n",
        expect![[r#"
            config.toml:3:15: push[0].tls.ca_file: Cargo.toml: has no certificates in PEM
            config.toml:6:21: push[1].bearer_token_file: src/lib.rs: has a character that no header can have"#]],
    );
}

#[test]
fn keys_that_exclude_or_need_each_other_are_told() {
    check_errors(
        r#"
[[push]]
url = "ftp://a"
basic_auth = { password = "hunter2", password_file = "Cargo.toml" }
bearer_token = "hunter3"
tls.key_file = "Cargo.toml"
[http]
loopback_needs_token = true
[labels]
static = { "1x" = "a", __y = "b", ok = "c" }
[sampling]
unwind_tables_max = "1MiB"
"#,
        expect![[r#"
            config.toml:3:7: push[0].url: ftp:// is not known; http:// and https:// are
            config.toml:4:27: push[0].basic_auth and bearer_token: one of both
            config.toml:4:27: push[0].basic_auth.username: is empty
            config.toml:4:27: push[0].basic_auth.password and basic_auth.password_file: one of both
            config.toml:6:16: push[0].tls.key_file: needs tls.cert_file beside it
            config.toml:8:24: http.loopback_needs_token: there is no token to be shown
            config.toml:10:10: labels.static.1x: is no name of a label: letters, digits and _, no digit first, no __ before it
            config.toml:10:10: labels.static.__y: is no name of a label: letters, digits and _, no digit first, no __ before it
            config.toml:12:21: sampling.unwind_tables_max: the empty tables alone take most of 11.3 MiB; give more"#]],
    );
}

#[test]
fn what_works_and_is_odd_is_a_warning() {
    let file = r#"
[sampling]
window = "1s"
[[push]]
url = "http://db:4040"
bearer_token = "hunter2"
[[push]]
url = "https://db:4041"
tls.insecure_skip_verify = true
[http]
listen = ["0.0.0.0:4041"]
[labels.static]
team = ""
"#;
    let variables = [
        ("FLAMEKEEPER_WINDWO", "2s"),
        ("FLAMEKEEPER_PORT_4041_TCP", "tcp://10.0.0.7:4041"),
        ("FLAMEKEEPER_OUTPUT", "x"),
    ];
    let loaded = Given { file: Some(file), variables: &variables, ..Given::default() }.load().unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    expect![[r#"
        config.toml:3:10: sampling.window: windows under 5s are for tests: each costs requests and storage
        config.toml:5:7: push[0].url: credentials go over http:// for everybody on the way to read
        config.toml:9:28: push[1].tls.insecure_skip_verify: whoever answers is believed to be the database
        config.toml:11:10: http.listen: 0.0.0.0:4041 is not loopback and there is no token: from elsewhere metrics and health can be seen, nothing else; FLAMEKEEPER_HTTP_TOKEN gives one
        config.toml:12:1: labels.static.team: is empty, and Prometheus takes such a label for none
        FLAMEKEEPER_WINDWO: nobody reads this variable; did you mean FLAMEKEEPER_WINDOW?"#]].assert_eq(&warnings.join("\n"));
    let none = Given::default().load().unwrap();
    assert_eq!(none.warnings.len(), 1);
    expect!["push: no endpoint: nothing is pushed; --push-url or [[push]] gives one"]
        .assert_eq(&none.warnings[0].to_string());
}

#[test]
fn variables_and_options_of_the_first_endpoint_lie_over_the_file() {
    let file = "[[push]]\nurl = 'http://a'\ntenant = 'x'\n[[push]]\nurl = 'http://b'\n";
    let variables = [("FLAMEKEEPER_PUSH_BEARER_TOKEN", "hunter2")];
    let given = Given { file: Some(file), options: &[("push.tenant", "y")], variables: &variables };
    let endpoints = given.load().unwrap().config.push.endpoints;
    let tenants: Vec<_> = endpoints.iter().map(|endpoint| endpoint.tenant.as_deref()).collect();
    assert_eq!(tenants, [Some("y"), None]);
    assert_eq!(endpoints[0].bearer_token.as_ref().unwrap().reveal(), "hunter2");
    assert_eq!(endpoints[1].bearer_token, None);
    // All of the list by a variable; and an endpoint of options alone.
    let variables = [("FLAMEKEEPER_PUSH", "[{url = 'http://c', headers = {A = 'b'}}, {url = 'http://d'}]")];
    let given = Given { file: Some(file), variables: &variables, ..Given::default() };
    let urls = |given: &Given<'_>| {
        let endpoints = given.load().unwrap().config.push.endpoints;
        endpoints.iter().map(|endpoint| endpoint.url.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(urls(&given), ["http://c/", "http://d/"]);
    assert_eq!(urls(&Given { options: &[("push.url", "http://e")], ..Given::default() }), ["http://e/"]);
    let given = Given { options: &[("push.tenant", "y")], ..Given::default() };
    expect!["push[0].url: is missing"].assert_eq(&given.errors());
}

#[test]
fn lists_and_tables_come_as_plain_text_or_toml_and_options_add_up() {
    let options = [
        ("http.listen", "127.0.0.1:1, [::1]:2"),
        ("http.listen", "['0.0.0.0:3']"),
        ("labels.static", "team=core"),
        ("labels.static", "{site = 'a, b'}"),
        ("labels.relabel_configs", "{action = 'drop', source_labels = ['a'], regex = 'x,y'}"),
        ("labels.relabel_configs", "[{action = 'LabelDrop', regex = 'z'}]"),
    ];
    let config = Given { options: &options, ..Given::default() }.load().unwrap().config;
    let addresses: Vec<_> = config.http.listen.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1:1", "[::1]:2", "0.0.0.0:3"]);
    assert_eq!(config.labels.static_labels.len(), 2);
    assert_eq!(config.labels.static_labels["site"], "a, b");
    let rules: Vec<_> =
        config.labels.relabel_configs.iter().map(|rule| (rule.action, &*rule.regex)).collect();
    assert_eq!(rules, [(Action::Drop, "x,y"), (Action::LabelDrop, "z")]);
    assert_eq!(config.labels.relabel_configs[0].separator, ";");
}

/// A file that sets one key of each kind.
const FULL: &str = r#"
[sampling]
rate = 49
cache_dir = ""
[[push]]
url = "https://db/x"
proxy_url = "http://me:hunter2@proxy:3128"
tenant = "demo"
headers = { X-Key = "hunter3" }
[[push]]
url = "https://two"
bearer_token = "hunter4"
[http]
token = "hunter5-hunter5-hunter5"
[labels]
static = { team = "core" }
[[labels.relabel_configs]]
action = "drop"
source_labels = ["a", "b"]
regex = "\\d+"
[budget]
memory_max = "1GiB"
"#;

#[test]
fn what_is_in_force_is_shown_with_its_origins_and_without_secrets() {
    let options = [("sampling.window", "90s")];
    let variables = [("FLAMEKEEPER_LOG_LEVEL", "debug")];
    let loaded = Given { file: Some(FULL), options: &options, variables: &variables }.load().unwrap();
    let text = show(&loaded, Some("config.toml".as_ref()));
    assert!(!text.contains("hunter"), "{text}");
    expect![[r##"
        # What is in force, and where each value comes from.

        [sampling]
        rate = 49                                        # config.toml:3
        window = "1m 30s"                                # --window
        unwind = "rows"                                  # default
        unwind_tables_max = "32MiB"                      # default
        cache_dir = ""                                   # config.toml:4
        # kernel_symbols: not set
        include_self = false                             # default

        [budget]
        cpu_percent = 1.0                                # default
        memory_max = "1GiB"                              # config.toml:22

        [[push]]
        url = "https://db/x"                             # config.toml:6
        # name: not set
        tenant = "demo"                                  # config.toml:8
        # basic_auth.username: not set
        # basic_auth.password: not set
        # basic_auth.password_file: not set
        # bearer_token: not set
        # bearer_token_file: not set
        # tls.ca_file: not set
        # tls.cert_file: not set
        # tls.key_file: not set
        tls.insecure_skip_verify = false                 # default
        headers = { X-Key = "****************" }         # config.toml:9
        proxy_url = "http://me:****************@proxy:3128/" # config.toml:7
        proxy_from_environment = false                   # default
        http2_prior_knowledge = false                    # default
        timeout = "10s"                                  # default

        [[push]]
        url = "https://two/"                             # config.toml:11
        # name: not set
        # tenant: not set
        # basic_auth.username: not set
        # basic_auth.password: not set
        # basic_auth.password_file: not set
        bearer_token = "****************"                # config.toml:12
        # bearer_token_file: not set
        # tls.ca_file: not set
        # tls.cert_file: not set
        # tls.key_file: not set
        tls.insecure_skip_verify = false                 # default
        headers = {}                                     # default
        # proxy_url: not set
        proxy_from_environment = false                   # default
        http2_prior_knowledge = false                    # default
        timeout = "10s"                                  # default

        [profile]
        max_bytes = "1536KiB"                            # default
        max_samples = 16000                              # default

        [spool]
        dir = "/var/lib/flamekeeper/spool"               # default
        max_bytes = "256MiB"                             # default
        # min_free_bytes: not set
        reject_older_than = "1h"                         # default

        [labels]
        static = { team = "core" }                       # config.toml:16
        # instance: not set
        hostname = false                                 # default
        label_sets_max = 200                             # default

        [[labels.relabel_configs]]
        source_labels = ["a", "b"]                       # config.toml:19
        separator = ";"                                  # default
        regex = '\d+'                                    # config.toml:20
        modulus = 0                                      # default
        target_label = ""                                # default
        replacement = "$1"                               # default
        action = "drop"                                  # config.toml:18

        [kubernetes]
        enabled = "auto"                                 # default
        # node_name: not set
        # kubeconfig: not set
        # api_server: not set
        # token_file: not set
        # ca_file: not set

        [containers]
        docker_dirs = ["/var/lib/docker"]                # default
        containerd_dirs = ["/run/containerd", "/run/k3s/containerd", "/var/snap/microk8s/common/run/containerd"] # default
        storage_run_dirs = ["/run/containers/storage"]   # default
        storage_dirs = ["/var/lib/containers/storage"]   # default
        home_dirs = ["/home"]                            # default
        sockets = []                                     # default

        [http]
        listen = ["127.0.0.1:4041"]                      # default
        token = "****************"                       # config.toml:14
        # token_file: not set
        loopback_needs_token = false                     # default
        allowed_hosts = []                               # default

        [log]
        level = "debug"                                  # FLAMEKEEPER_LOG_LEVEL
        format = "logfmt"                                # default

        [shutdown]
        drain_timeout = "10s"                            # default
    "##]]
    .assert_eq(&text);
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let first = loaded(FULL);
    let again = loaded(&show(&first, None));
    let changed: Vec<_> = first.config.changed(&again.config).iter().map(|key| key.path).collect();
    assert_eq!(changed, ["push", "http.token"], "secrets alone");
}
