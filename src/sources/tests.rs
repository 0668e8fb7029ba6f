//! What becomes of files and variables, and of what is wrong in them.

use std::{ffi::OsString, fs, path::PathBuf, time::Duration};

use super::*;
use crate::config::ConfigErrorKind;

const EXAMPLE: &str = include_str!("../../examples/sessions.toml");

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Configuration, ConfigError> {
    let owned = |text: &&str| OsString::from(*text);
    let variables = variables
        .iter()
        .map(|(name, text)| (owned(name), owned(text)));
    let file = File::with(text);
    Configuration::load(Some(&file.0), Variables::of("SESSIONS_", variables)?)
}

fn refused(text: &str, variables: &[(&str, &str)], words: &[&str]) -> ConfigError {
    let error = read(text, variables).expect_err(text);
    for word in words {
        assert!(
            error.to_string().contains(word),
            "{word} is not in: {error}"
        );
    }
    error
}

/// A file that is gone when it is dropped.
struct File(PathBuf);

impl File {
    fn with(text: &str) -> Self {
        let mut unique = [0; 8];
        getrandom::fill(&mut unique).expect("randomness");
        let name = format!("sessions-{:x}.toml", u64::from_ne_bytes(unique));
        let file = Self(env::temp_dir().join(name));
        fs::write(&file.0, text).expect("a file");
        file
    }
}

impl Drop for File {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

#[test]
fn a_file_sets_node_and_layer() {
    let found = read(
        r#"
            node = "n1"
            listen = "127.0.0.1:4100"
            peers = ["127.0.0.1:4101"]
            secrets = [{ env = "A_SECRET" }]
            ack_timeout = "250ms"
            layer = { ack = "one", expiry = { idle = "2h" } }
        "#,
        &[],
    )
    .expect("valid");
    let expected = ClusterConfig::new("n1")
        .listen("127.0.0.1:4100")
        .peer("127.0.0.1:4101")
        .secret_env("A_SECRET")
        .ack_timeout(Duration::from_millis(250));
    assert_eq!(found.cluster, expected);
    let layer = format!("{:?}", found.layer);
    assert!(
        layer.contains("ack: One") && layer.contains("7200000"),
        "{layer}"
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let found = read(
        r#"
            node = "n1"
            standalone = true
            peers = ["127.0.0.1:4101"]
            secrets = [{ file = "/of/the/file" }]
            max_sessions = 7
            min_peers = 1
            tls = { cert = "c", key = "k", ca = "a" }
            [layer.expiry]
            idle = "2h"
        "#,
        &[
            ("SESSIONS_NODE", "5"),
            ("SESSIONS_STANDALONE", "false"),
            ("SESSIONS_PEERS", " 127.0.0.1:1 ,127.0.0.1:2,"),
            ("SESSIONS_SECRET_FILE", "/of/the/environment"),
            ("SESSIONS_MAX_SESSIONS", "8"),
            ("SESSIONS_ACK_TIMEOUT", "2s"),
            ("SESSIONS_ROUTE", ""),
            ("SESSIONS_TLS_CA", "other"),
            ("SESSIONS_TLS_NAME", "name"),
            ("SESSIONS_LAYER_ACK", "none"),
            ("SESSIONS_LAYER_FILTER", r#"[".*\\.js", "/a{1,2}"]"#),
            (
                "SESSIONS_LAYER_LIMITS",
                r#"[{ name = "user_id", most = 3, at_limit = "refuse" }]"#,
            ),
            ("SESSIONS_LAYER_EXPIRY_ABSOLUTE", "1d"),
            ("SESSIONS_LAYER_COOKIE_NAME", "shop"),
            ("SESSIONSNODE", "another"),
            ("OTHER_NODE", "another"),
        ],
    )
    .expect("valid");
    let expected = ClusterConfig::new("5")
        .peers(["127.0.0.1:1", "127.0.0.1:2"])
        .secret_file("/of/the/environment")
        .max_sessions(8)
        .min_peers(1)
        .tls("c", "k", "other")
        .tls_name("name")
        .ack_timeout(Duration::from_secs(2));
    assert_eq!(found.cluster, expected);
    let layer = format!("{:?}", found.layer);
    for part in [
        "ack: None",
        "7200000",
        "86400000",
        "shop",
        "{1,2}",
        "most: 3, at_limit: Refuse",
    ] {
        assert!(layer.contains(part), "{part} is not in {layer}");
    }
}

#[test]
fn the_environment_is_enough() {
    let variables = [("SESSIONS_NODE", "n1"), ("SESSIONS_LISTEN", "127.0.0.1:0")];
    let variables = variables.map(|(name, text)| (name.into(), text.into()));
    let variables = Variables::of("SESSIONS_", variables).expect("UTF-8");
    let found = Configuration::load(None, variables).expect("valid");
    assert_eq!(
        found.cluster,
        ClusterConfig::new("n1").listen("127.0.0.1:0")
    );
}

#[test]
fn variables_that_kubernetes_sets_for_a_service_are_left_alone() {
    let variables = [
        ("SESSIONS_SERVICE_HOST", "10.0.0.1"),
        ("SESSIONS_SERVICE_PORT_SYNC", "4100"),
        ("SESSIONS_PORT", "tcp://10.0.0.1:4100"),
        ("SESSIONS_PORT_4100_TCP_ADDR", "10.0.0.1"),
    ];
    let found = read("node = \"n1\"\nlisten = \"127.0.0.1:0\"", &variables);
    assert_eq!(
        found.expect("valid").cluster,
        ClusterConfig::new("n1").listen("127.0.0.1:0")
    );
}

#[test]
fn an_error_names_file_line_setting_and_fix() {
    let start = "node = \"n1\"\nlisten = \"127.0.0.1:0\"\n";
    for (line, setting, words) in [
        (
            "ack_timeout = 250",
            "ack_timeout",
            &["`ack_timeout`", "\"250ms\""][..],
        ),
        (
            "ack_timeout = \"5 parsecs\"",
            "ack_timeout",
            &["\"5 parsecs\"", "\"250ms\""],
        ),
        (
            "ack_timout = \"1s\"",
            "",
            &["`ack_timout`", "`ack_timeout`"],
        ),
        ("auto_bind = 70000", "auto_bind", &["70000", "u16"]),
        ("layer.ack = \"some\"", "layer.ack", &["`some`", "`none`"]),
        (
            "layer = { expiry = { idle = 3 } }",
            "layer.expiry.idle",
            &["integer `3`"],
        ),
        (
            "layer.expiry.idle = \"0s\"",
            "layer.expiry",
            &["use `never`"],
        ),
        (
            "layer.filter = [\".*\\\\.(gif\"]",
            "layer.filter",
            &["invalid filter", "^"],
        ),
        (
            "layer.cookie.path = \"shop\"",
            "layer",
            &["path", "`layer`"],
        ),
        ("secrets = [\"hunter2\"]", "secrets", &["`secrets`", "file"]),
        (
            "down_after = \"1ms\"",
            "down_after",
            &["at least twice `heartbeat_interval`"],
        ),
        ("peers = [\"127.0.0.1\"]", "peer", &["127.0.0.1", "port"]),
        ("route = \"a.b\"", "route", &["1 to 32"]),
        ("max_sessions = 0", "max_sessions", &["must be 1 to"]),
        ("a = = b", "config", &["="]),
    ] {
        let error = refused(&format!("{start}{line}\n"), &[], &[".toml:3: "]);
        assert_eq!(error.setting(), setting, "{error}");
        for word in words {
            assert!(
                error.to_string().contains(word),
                "{word} is not in: {error}"
            );
        }
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn an_error_names_the_variable() {
    let start = "node = \"n1\"\nlisten = \"127.0.0.1:0\"\n";
    for (variable, text, words) in [
        (
            "SESSIONS_ACK_TIMEOUT",
            "250",
            &["`ack_timeout`", "\"250ms\""][..],
        ),
        (
            "SESSIONS_ACK_TIMOUT",
            "1s",
            &["`ack_timout`", "`ack_timeout`"],
        ),
        ("SESSIONS_AUTO_BIND", "-1", &["\"-1\"", "u16"]),
        ("SESSIONS_STANDALONE", "yes", &["\"yes\"", "boolean"]),
        ("SESSIONS_LAYER_ACK", "some", &["`layer.ack`", "`none`"]),
        ("SESSIONS_LAYER_EXPIRY_IDLE", "3", &["`layer.expiry.idle`"]),
        ("SESSIONS_LAYER_FILTER", "[1]", &["`layer.filter`"]),
        ("SESSIONS_PEERS", "127.0.0.1", &["port"]),
        ("SESSIONS_TLS_KEY", "k", &["`tls`", "`cert`"]),
    ] {
        let named = format!("{variable}: ");
        let error = refused(start, &[(variable, text)], words);
        assert!(error.to_string().starts_with(&named), "{error}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt as _;
        let text = OsString::from_vec(vec![0xff]);
        let found = Variables::of("SESSIONS_", [("SESSIONS_NODE".into(), text)]);
        let error = found.err().expect("not UTF-8");
        assert!(error.to_string().contains("SESSIONS_NODE"), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Configuration::from_file("/nowhere/sessions.toml").expect_err("no such file");
    assert_eq!(error.kind(), ConfigErrorKind::Unreadable);
    let text = error.to_string();
    assert!(
        text.contains("/nowhere/sessions.toml") && text.contains("check"),
        "{text}"
    );
}

#[test]
fn the_example_has_every_setting_with_its_default() {
    let found = read(EXAMPLE, &[]).expect("valid");
    let node = ClusterConfig::new("node1").listen("127.0.0.1:4100");
    assert_eq!(found.cluster, node);
    let default = LayerOptions::default();
    assert_eq!(format!("{:?}", found.layer), format!("{default:?}"));

    for table in [
        "",
        "layer",
        "layer.expiry",
        "layer.transport",
        "layer.cookie",
    ] {
        let unknown = match table {
            "" => "unknown = 0".to_owned(),
            table => format!("{table}.unknown = 0"),
        };
        let error = read(&unknown, &[]).expect_err("unknown").to_string();
        let (_, known) = error.split_once("expected ").expect("what is known");
        let section = if table.is_empty() {
            EXAMPLE.split("\n[").next()
        } else {
            let mut sections = EXAMPLE.split("\n[");
            sections.find_map(|section| section.strip_prefix(&format!("{table}]")))
        };
        let section = section.expect("a section");
        for setting in known.split('`').skip(1).step_by(2) {
            let shows = |line: &str| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{setting} = "))
            };
            let is_table = ["expiry", "transport", "cookie"].contains(&setting);
            assert!(is_table || section.lines().any(shows), "{table}.{setting}");
        }
    }
}

#[test]
fn what_the_example_shows_without_a_default_is_valid() {
    let mut table = "";
    let mut tried = 0;
    for line in EXAMPLE.lines() {
        if line.starts_with('[') {
            table = line;
        }
        if let Some(shown) = line.strip_prefix("# ").filter(|line| line.contains(" = ")) {
            let node = "node = \"node1\"\nlisten = \"127.0.0.1:4100\"";
            let needed = match shown.split(' ').next() {
                // The prefix of the default name is not for cookies with a domain.
                Some("domain") => "name = \"id\"",
                Some("sync" | "data_keys") => "data_dir = \"data\"",
                _ => "",
            };
            read(&format!("{node}\n{table}\n{needed}\n{shown}\n"), &[])
                .unwrap_or_else(|error| panic!("{shown}: {error}"));
            tried += 1;
        }
    }
    assert!(tried > 10, "{tried}");
}
