//! What the elements and attributes of a Tomcat cluster do, and what becomes of each.
//!
//! The names and defaults are those of Tomcat 9's configuration reference.

use toml::Value;

use crate::{
    config::{ConfigError, PeerAddress, is_name},
    middleware::check_filter,
};

/// What becomes of a part.
pub(super) enum Fate {
    /// It is part of something that is carried over as a whole.
    Elsewhere,
    Set {
        setting: &'static str,
        value: Value,
    },
    Left {
        there: &'static str,
        here: &'static str,
    },
    /// Its value cannot be carried over.
    Wrong {
        there: &'static str,
        here: String,
    },
}

const BUILT_IN: &str = "nothing: it is built in";
const NOT_NEEDED: &str = "nothing: leave it out";

/// Parts without which a Tomcat behaves otherwise than those who left them out expect.
pub(super) const MISSING: &[(&str, &str, &str)] = &[
    (
        "TcpFailureDetector",
        "a member that does not answer is believed to be gone at once, without a second look",
        BUILT_IN,
    ),
    (
        "MessageDispatchInterceptor",
        "messages are sent by the thread of the request, also with `channelSendOptions` 8",
        BUILT_IN,
    ),
    (
        "Member",
        "the members are found by multicast",
        "list the other nodes in `peers`",
    ),
    (
        "EncryptInterceptor",
        "whoever reaches the port of the receiver is a member, and reads all sessions",
        "give all nodes one secret: secrets = [{ file = \"/etc/app/cluster-secret\" }]",
    ),
];

pub(super) fn fate_of_element(kind: &str) -> Fate {
    let (there, here) = match kind {
        "SimpleTcpCluster"
        | "Cluster"
        | "DeltaManager"
        | "GroupChannel"
        | "Channel"
        | "Receiver"
        | "StaticMembershipInterceptor"
        | "Member"
        | "LocalMember"
        | "ReplicationValve"
        | "ReplicationTransmitter"
        | "PooledParallelSender" => return Fate::Elsewhere,
        "BackupManager" => (
            "each session has one copy, on one other node",
            "nothing: every node holds every session",
        ),
        "McastService" => (
            "finds the members by multicast",
            "list the other nodes in `peers`",
        ),
        "StaticMembershipService" | "StaticMembershipProvider" => {
            ("holds the list of members", BUILT_IN)
        }
        "CloudMembershipService" | "DNSMembershipProvider" | "KubernetesMembershipProvider" => (
            "asks for the members",
            "find the other nodes by a name: `discover = [\"dns:sessions-headless:4100\"]`",
        ),
        "TcpPingInterceptor" => (
            "sends a ping to the members",
            "nothing: links have heartbeats, each `heartbeat_interval`",
        ),
        "TcpFailureDetector" => (
            "looks twice before a member counts as gone",
            "nothing: a peer is down after `down_after` without a word",
        ),
        "MessageDispatchInterceptor" | "MessageDispatch15Interceptor" => (
            "a queue and threads for asynchronous messages",
            "nothing: what waits, waits in the log",
        ),
        "DisableMulticastInterceptor" => ("turns multicast off", "nothing: there is none"),
        "ThroughputInterceptor" => ("logs how much is sent", "`Cluster::stats` tells it"),
        "EncryptInterceptor" => (
            "encrypts the messages by a key that all members have",
            "give all nodes one secret: secrets = [{ file = \"/etc/app/cluster-secret\" }]",
        ),
        "OrderInterceptor"
        | "GzipInterceptor"
        | "FragmentationInterceptor"
        | "TwoPhaseCommitInterceptor"
        | "NonBlockingCoordinator"
        | "DomainFilterInterceptor"
        | "SimpleCoordinator" => ("changes how messages travel", NOT_NEEDED),
        "JvmRouteBinderValve" => (
            "gives the session another id when another node takes over",
            "nothing: the id stays, whichever node answers; layer.route_following = true has a \
             sticky balancer stay with the node that took over",
        ),
        "ClusterSingleSignOn" => (
            "one login for all web apps of the cluster",
            "`SingleSignOn` in the app, and a layer for each context; see docs/recipes.md",
        ),
        "ClusterSessionListener" => ("takes the messages about sessions", BUILT_IN),
        "FarmWarDeployer" => (
            "copies web apps to all nodes",
            "does not exist: deploy as other programs are deployed",
        ),
        _ => (
            "not known to this reader",
            "look for what it did in docs/from-tomcat.md",
        ),
    };
    Fate::Left { there, here }
}

pub(super) fn fate_of_attribute(kind: &str, name: &str, value: &str) -> Fate {
    match (kind, name) {
        (_, "className") | ("Receiver", "address" | "port") | ("Member", "host" | "port") => {
            Fate::Elsewhere
        }
        ("SimpleTcpCluster" | "Cluster", "clusterName") => {
            let there = "the name of the cluster";
            set_if(
                is_name(value),
                "cluster",
                value.into(),
                there,
                "letters, digits and ._-",
            )
        }
        ("SimpleTcpCluster" | "Cluster", "channelSendOptions") => ack(value),
        ("SimpleTcpCluster" | "Cluster", "channelStartOptions") => Fate::Left {
            there: "which services of the channel start; 3 is all but multicast",
            here: "nothing: there is no multicast",
        },
        ("DeltaManager" | "BackupManager", "expireSessionsOnShutdown") => flag(
            "destroy_sessions_on_leave",
            value,
            "whether a node that stops ends its sessions everywhere",
        ),
        ("DeltaManager" | "BackupManager", "notifyListenersOnReplication") => flag(
            "notify_listeners_on_replication",
            value,
            "whether listeners hear of changes by other nodes",
        ),
        ("DeltaManager", "stateTransferTimeout") => {
            let there = "seconds to wait for the sessions at start";
            let is_time = value.parse::<u32>().is_ok();
            let time = format!("{value}s").into();
            set_if(
                is_time,
                "transfer_timeout",
                time,
                there,
                "a time such as \"60s\"",
            )
        }
        ("DeltaManager" | "BackupManager", "maxActiveSessions") => {
            let there = "how many sessions a node holds; -1 is without a limit";
            match value.parse::<u32>() {
                Ok(sessions) => Fate::Set {
                    setting: "max_sessions",
                    value: i64::from(sessions).into(),
                },
                Err(_) => wrong(
                    there,
                    "`max_sessions` is at most 2147483648, and 1000000 by default",
                ),
            }
        }
        ("DeltaManager" | "BackupManager", _) => Fate::Left {
            there: "a detail of the manager",
            here: NOT_NEEDED,
        },
        ("Receiver", "autoBind") => match value.parse::<u16>() {
            Ok(ports) => Fate::Set {
                setting: "auto_bind",
                value: i64::from(ports).into(),
            },
            Err(_) => wrong("how many ports to try", "set `auto_bind` to a number"),
        },
        ("Receiver", "maxThreads" | "minThreads" | "selectorTimeout") => Fate::Left {
            there: "threads and waits of the receiver",
            here: "nothing to set: two tasks for each peer",
        },
        ("Receiver", "securePort" | "udpPort") | ("Member", "securePort" | "udpPort") => {
            Fate::Left {
                there: "a second port",
                here: "nothing: there is one port, encrypted by `secrets` or `tls`",
            }
        }
        ("Member", "uniqueId") => Fate::Left {
            there: "16 bytes by which this member is known, which must be alike in the `LocalMember` of \
                    its own file",
            here: "nothing: a node tells its name and a random id by itself",
        },
        ("LocalMember", "uniqueId") => Fate::Left {
            there: "16 bytes by which this node is known, which must be alike in the files of the others",
            here: "nothing: a node tells its name and a random id by itself",
        },
        ("TcpPingInterceptor", "interval") => {
            let there = "milliseconds between pings";
            let is_time = value.parse::<u32>().is_ok_and(|ms| ms > 0);
            let time = format!("{value}ms").into();
            set_if(
                is_time,
                "heartbeat_interval",
                time,
                there,
                "a time such as \"500ms\"",
            )
        }
        ("ReplicationValve", "filter") => filter(value),
        ("ReplicationValve", "statistics") => Fate::Left {
            there: "counts requests and times",
            here: "`Cluster::stats` tells them",
        },
        ("ReplicationValve", "primaryIndicator" | "primaryIndicatorName") => Fate::Left {
            there: "tells a request whether this node is its session's first",
            here: "nothing: no node is",
        },
        _ => Fate::Left {
            there: "a detail of this element",
            here: NOT_NEEDED,
        },
    }
}

/// Checks a host and port as those of peers.
pub(super) fn check_address(address: &str) -> Result<(), ConfigError> {
    address.parse::<PeerAddress>().map(drop)
}

fn set_if(
    is_valid: bool,
    setting: &'static str,
    value: Value,
    there: &'static str,
    form: &str,
) -> Fate {
    if is_valid {
        return Fate::Set { setting, value };
    }
    wrong(there, &format!("set `{setting}` to {form}"))
}

fn flag(setting: &'static str, value: &str, there: &'static str) -> Fate {
    match value.parse::<bool>() {
        Ok(value) => Fate::Set {
            setting,
            value: value.into(),
        },
        Err(_) => wrong(there, &format!("set `{setting}` to true or false")),
    }
}

fn wrong(there: &'static str, here: &str) -> Fate {
    Fate::Wrong {
        there,
        here: here.to_owned(),
    }
}

/// Reads the flags of tribes' `Channel`: 2 and 4 wait for the receiver, 8 is asynchronous.
fn ack(value: &str) -> Fate {
    let ack = match value.parse::<u32>() {
        Ok(flags) if flags & 8 != 0 => "none",
        Ok(flags) if flags & (2 | 4) != 0 => "all",
        Ok(_) => "none",
        Err(_) if value.contains("async") => "none",
        Err(_) if value.contains("sync_ack") || value.contains("use_ack") => "all",
        Err(_) => {
            let there = "whether a request waits for the members";
            return wrong(there, "set `layer.ack` to \"all\", \"one\" or \"none\"");
        }
    };
    Fate::Set {
        setting: "layer.ack",
        value: ack.into(),
    }
}

/// Takes a filter that works. One that does not did nothing in Tomcat either.
fn filter(value: &str) -> Fate {
    let meant = what_was_meant(value);
    match check_filter(value) {
        Ok(()) if !value.contains(';') => Fate::Set {
            setting: "layer.filter",
            value: vec![value].into(),
        },
        Ok(()) => Fate::Wrong {
            there: "nothing: `;` has not separated patterns since Tomcat 6, so no path matches",
            here: format!("meant was perhaps layer.filter = ['{meant}']"),
        },
        Err(error) => {
            let place = error.position().map_or(String::new(), |at| {
                format!("it goes wrong at position {at}; ")
            });
            Fate::Wrong {
                there: "an error in the log at start, and no filter",
                here: format!("{place}meant was perhaps layer.filter = ['{meant}']"),
            }
        }
    }
}

/// Returns a pattern of all endings that stand in a filter.
fn what_was_meant(filter: &str) -> String {
    let mut endings: Vec<&str> = Vec::new();
    for ending in filter.split(|c: char| !c.is_ascii_alphanumeric()) {
        if !ending.is_empty() && !endings.contains(&ending) {
            endings.push(ending);
        }
    }
    format!(r".*\.({})", endings.join("|"))
}
