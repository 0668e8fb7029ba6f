//! The files of the how-to that this project began from, with their faults in them.

use super::*;
use crate::config::ClusterConfig;

const EXPLAINED: &str = include_str!("../../../tests/data/server_xml/explained.xml");
const SERVER1: &str = include_str!("../../../tests/data/server_xml/server1.xml");
const SERVER2: &str = include_str!("../../../tests/data/server_xml/server2.xml");
const CUT_SHORT: &str = include_str!("../../../tests/data/server_xml/server2_cut_short.xml");

fn parse(text: &str) -> ServerXml {
    ServerXml::parse(text).expect("a cluster")
}

fn left_out<'a>(converted: &'a ServerXml, what: &str) -> &'a LeftOut {
    let mut found = converted.left_out().iter();
    found
        .find(|left_out| left_out.what().starts_with(what))
        .unwrap_or_else(|| panic!("{what} was not left out: {converted}"))
}

#[test]
fn what_maps_becomes_the_configuration() {
    let converted = parse(EXPLAINED);
    // The addresses are not of this machine, which needs a secret.
    let found = converted.configuration().expect("enough for a node");
    let expected = ClusterConfig::new("tomcat1")
        .route("tomcat1")
        .listen("192.168.1.4:5100")
        .auto_bind(0)
        .peer("192.168.0.4:4100")
        .destroy_sessions_on_leave(false)
        .notify_listeners_on_replication(true);
    assert_eq!(found.cluster, expected);
    assert!(format!("{:?}", found.layer).contains("ack: None"));
}

#[test]
fn what_does_not_map_is_listed_with_line_and_advice() {
    let converted = parse(EXPLAINED);
    for (at, what, word) in [
        (
            "channelStartOptions",
            "SimpleTcpCluster channelStartOptions=\"3\"",
            "multicast",
        ),
        ("maxThreads", "Receiver maxThreads=\"6\"", "two tasks"),
        (
            "selectorTimeout",
            "Receiver selectorTimeout=\"5000\"",
            "two tasks",
        ),
        (
            "TcpPingInterceptor",
            "Interceptor TcpPingInterceptor",
            "heartbeat_interval",
        ),
        (
            "TcpFailureDetector",
            "Interceptor TcpFailureDetector",
            "down_after",
        ),
        ("uniqueId", "Member uniqueId", "by itself"),
        (
            "MessageDispatch",
            "Interceptor MessageDispatchInterceptor",
            "log",
        ),
        ("filter=", "ReplicationValve filter", "position"),
        (
            "ClusterListener",
            "ClusterListener ClusterSessionListener",
            "built in",
        ),
        ("<Cluster", "no EncryptInterceptor", "secrets"),
    ] {
        let left_out = left_out(&converted, what);
        let line = EXPLAINED.lines().position(|line| line.contains(at));
        let line = line.expect("it is there") + 1;
        assert_eq!(left_out.line() as usize, line, "{left_out}");
        assert!(left_out.here().contains(word), "{left_out}");
        assert!(!left_out.there().is_empty());
    }
    let lines: Vec<u32> = converted.left_out().iter().map(LeftOut::line).collect();
    assert!(lines.is_sorted());
}

#[test]
fn filters_of_the_how_to_are_told_apart_and_mended() {
    for (text, words) in [
        (
            EXPLAINED,
            ["(gif|js|jpg|png|htm|html|css|txt)", "position 67"],
        ),
        (SERVER1, ["(gif|js|jpg|png|html|css|txt)", "position 10"]),
        (
            SERVER2,
            ["(gif|js|jpg|png|htm|html|css|txt)", "position 10"],
        ),
    ] {
        let converted = parse(text);
        let filter = left_out(&converted, "ReplicationValve filter");
        for word in words {
            assert!(filter.here().contains(word), "{word} is not in: {filter}");
        }
        assert!(filter.there().contains("error in the log"));
        assert!(!converted.to_string().contains("\nfilter"));
    }
    let valid = EXPLAINED.replace(
        r".*\.(gif|.*\.(js|.*\.(jpg|.*\.(png|.*\.(htm|.*\.(html|.*\.(css|.*\.(txt|;",
        r".*\.(gif|js)",
    );
    let found = parse(&valid).configuration().expect("enough for a node");
    assert!(format!("{:?}", found.layer).contains("(gif|js)"));
    let separated = valid.replace(r".*\.(gif|js)", r".*\.gif;.*\.js");
    let converted = parse(&separated);
    let filter = left_out(&converted, "ReplicationValve filter");
    assert!(filter.there().contains("`;`"), "{filter}");
}

#[test]
fn addresses_that_are_placeholders_are_left_out_and_named() {
    let converted = parse(SERVER1);
    for what in ["Receiver", "Member"] {
        let mut found = converted.left_out().iter();
        let address = found.find(|left_out| left_out.what() == what).expect(what);
        assert!(
            address.here().contains("neither an IP address"),
            "{address}"
        );
    }
    let error = converted.configuration().expect_err("no address is left");
    assert!(error.to_string().contains("`listen`"), "{error}");
}

#[test]
fn a_missing_interceptor_is_named() {
    let converted = parse(CUT_SHORT);
    for what in [
        "no TcpFailureDetector",
        "no MessageDispatchInterceptor",
        "no Member",
    ] {
        assert_eq!(left_out(&converted, what).line(), 3);
    }
    let found = converted.configuration().expect("it listens");
    let expected = ClusterConfig::new("tomcat2")
        .route("tomcat2")
        .listen("192.168.0.4:4100")
        .notify_listeners_on_replication(true);
    assert_eq!(found.cluster, expected);
    let whole = parse(SERVER2);
    let mut found = whole.left_out().iter();
    assert!(!found.any(|left_out| left_out.what() == "no TcpFailureDetector"));
}

#[test]
fn ids_of_members_and_of_the_node_itself_are_shown_to_be_compared() {
    let own = EXPLAINED.replace(
        "<Member",
        r#"<LocalMember uniqueId="{0,0,0,0,0,0,0,0,0,0,0,0,0,0,1,1}"
            className="org.apache.catalina.tribes.membership.StaticMember"/><Member"#,
    );
    let converted = parse(&own);
    for (what, id) in [
        ("LocalMember uniqueId", "1,1}"),
        ("Member uniqueId", "1,2}"),
    ] {
        assert!(
            left_out(&converted, what).what().contains(id),
            "{converted}"
        );
    }
    let found = converted.configuration().expect("enough for a node");
    let before = parse(EXPLAINED).configuration().expect("enough for a node");
    assert_eq!(found.cluster, before.cluster);
}

#[test]
fn single_sign_on_of_the_cluster_is_told_what_takes_its_place() {
    let valve = r#"<Valve className="org.apache.catalina.ha.authenticator.ClusterSingleSignOn"/>"#;
    let converted = parse(&EXPLAINED.replace("</Cluster>", &format!("{valve}</Cluster>")));
    let left_out = left_out(&converted, "Valve ClusterSingleSignOn");
    assert!(left_out.here().starts_with("`SingleSignOn`"), "{left_out}");
}

#[test]
fn nothing_in_the_cluster_is_dropped_in_silence() {
    for text in [EXPLAINED, SERVER1, SERVER2, CUT_SHORT] {
        // Whatever is new is at least listed.
        let strange = text
            .replace("selectorTimeout=", "strange=\"1\" selectorTimeout=")
            .replace(
                "</Cluster>",
                "<Odd className=\"a.b.Odder\" x=\"y\"/><Cluster/></Cluster>",
            );
        let converted = parse(&strange);
        for what in [
            "Receiver strange=\"1\"",
            "Odd Odder",
            "Odder x=\"y\"",
            "Cluster",
        ] {
            left_out(&converted, what);
        }
    }
}

#[test]
fn what_is_no_server_xml_is_an_error_that_names_the_line() {
    for (text, word) in [
        ("<Server>\n<Engine>\n</Server>", "line 3"),
        ("<Server/>", "no `<Cluster>`"),
        ("<!DOCTYPE a [<!ENTITY b \"c\">]><Cluster/>", "DTD"),
    ] {
        let error = ServerXml::parse(text).expect_err(text).to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn all_settings_that_can_be_carried_over_are() {
    let converted = parse(
        r#"<Server><Service><Engine jvmRoute="a"><Host><Cluster
            className="org.apache.catalina.ha.tcp.SimpleTcpCluster"
            channelSendOptions="6" clusterName="shop">
            <Manager className="org.apache.catalina.ha.session.DeltaManager"
                expireSessionsOnShutdown="true" stateTransferTimeout="30" maxActiveSessions="9"/>
            <Channel className="org.apache.catalina.tribes.group.GroupChannel">
                <Receiver address="::1" port="4100" autoBind="10"/>
                <Interceptor interval="250"
                    className="org.apache.catalina.tribes.group.interceptors.TcpPingInterceptor"/>
            </Channel>
        </Cluster></Host></Engine></Service></Server>"#,
    );
    let expected = ClusterConfig::new("a")
        .route("a")
        .cluster("shop")
        .listen("[::1]:4100")
        .auto_bind(10)
        .destroy_sessions_on_leave(true)
        .transfer_timeout(std::time::Duration::from_secs(30))
        .max_sessions(9)
        .heartbeat_interval(std::time::Duration::from_millis(250));
    let found = converted.configuration().expect("enough for a node");
    assert_eq!(found.cluster, expected);
    assert!(format!("{:?}", found.layer).contains("ack: All"));
}
