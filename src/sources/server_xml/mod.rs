//! Tomcat's `server.xml`: what its `<Cluster>` says becomes a configuration, and what does not
//! becomes a list.

mod known;
#[cfg(test)]
mod tests;

use std::fmt;

use roxmltree::{Attribute, Document, Node};
use toml::Value;

use self::known::{Fate, fate_of_attribute, fate_of_element};
use super::{Configuration, environment::Variables, file};
use crate::config::{ConfigError, is_name};

/// The configuration that the `<Cluster>` of a `server.xml` becomes here.
///
/// `Display` shows the configuration as a TOML file. What was left out stands in its comments.
///
/// # Examples
///
/// ```
/// use tower_cluster_sessions::{ClusterConfig, ServerXml};
///
/// let converted = ServerXml::parse(
///     r#"<Engine name="Catalina" jvmRoute="tomcat1">
///         <Cluster className="org.apache.catalina.ha.tcp.SimpleTcpCluster">
///             <Channel className="org.apache.catalina.tribes.group.GroupChannel">
///                 <Receiver address="127.0.0.1" port="4100" maxThreads="6"/>
///             </Channel>
///         </Cluster>
///     </Engine>"#,
/// )?;
/// let expected = ClusterConfig::new("tomcat1").route("tomcat1").listen("127.0.0.1:4100");
/// assert_eq!(converted.configuration()?.cluster, expected);
///
/// let threads = converted.left_out().iter().find(|left_out| left_out.line() == 4);
/// assert_eq!(threads.unwrap().what(), r#"Receiver maxThreads="6""#);
/// println!("{converted}");
/// # Ok::<(), tower_cluster_sessions::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerXml {
    node: toml::Table,
    layer: toml::Table,
    left_out: Vec<LeftOut>,
}

/// A part of a `server.xml` that is not carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    line: u32,
    what: String,
    there: String,
    here: String,
}

impl ServerXml {
    /// Reads the first `<Cluster>` of a `server.xml`, and the `jvmRoute` of the engine around it.
    ///
    /// Whatever stands in the cluster is carried over or [left out](Self::left_out), never dropped
    /// in silence. What stands outside is not about the cluster, and is not looked at.
    ///
    /// # Errors
    ///
    /// When the text is no XML, has a DTD, or has no `<Cluster>`. The error names the line.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let document = Document::parse(text).map_err(|error| {
            let line = error.pos().row;
            let message = format!("line {line} of the server.xml: {error}; mend it there");
            ConfigError::invalid("server_xml", message)
        })?;
        let mut clusters = document
            .descendants()
            .filter(|node| node.has_tag_name("Cluster"));
        let cluster = clusters.next().ok_or_else(|| {
            let message = "the server.xml has no `<Cluster>`: there is nothing to carry over";
            ConfigError::invalid("server_xml", message)
        })?;
        let mut converted = Self {
            node: toml::Table::new(),
            layer: toml::Table::new(),
            left_out: Vec::new(),
        };
        let lines = Lines(&document);
        converted.name_node(&lines, cluster);
        converted.element(&lines, cluster);
        converted.address_of_receiver(&lines, cluster);
        converted.say_what_was_missing(&lines, cluster);
        for another in clusters {
            let there = "a cluster of its own";
            let here = "convert it by itself: one node is in one cluster";
            converted.leave_out(lines.of(another), show(another), there, here);
        }
        converted.left_out.sort_by_key(LeftOut::line);
        Ok(converted)
    }

    /// Returns the configuration, for settings in code to be added to.
    ///
    /// # Errors
    ///
    /// When what could be carried over is not enough for a node, for example because an address was
    /// left out.
    pub fn configuration(&self) -> Result<Configuration, ConfigError> {
        let text = self.to_string();
        let tree = file::parse("the server.xml as TOML".as_ref(), &text)?;
        Configuration::from_tree(tree, Variables::default())
    }

    /// Returns what was not carried over, by line: what it did there and what to do here.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Names the node by its route, which is another one for each: Tomcat's nodes have no name.
    fn name_node(&mut self, lines: &Lines<'_>, cluster: Node<'_, '_>) {
        let mut around = cluster.ancestors();
        let route = around.find_map(|element| element.attribute_node("jvmRoute"));
        match route {
            Some(route) if is_name(route.value()) => {
                self.set("node", route.value().into());
                self.set("route", route.value().into());
            }
            Some(route) => {
                let there = "what session ids end in";
                let here = "choose a `route` and a `node` of the characters A-Z, a-z, 0-9 and -_";
                let what = format!("Engine {}", show_attribute(route));
                self.leave_out(lines.of_attribute(route), what, there, here);
            }
            None => self.leave_out(
                lines.of(cluster),
                "Engine without a jvmRoute".to_owned(),
                "ids that no balancer can stick by, and nodes without a name",
                "choose a `node` name, another one for each node",
            ),
        }
    }

    fn element(&mut self, lines: &Lines<'_>, element: Node<'_, '_>) {
        let kind = kind(element);
        if let Fate::Left { there, here } = fate_of_element(kind) {
            self.leave_out(lines.of(element), show(element), there, here);
        }
        for attribute in element.attributes() {
            self.attribute(lines, element, attribute);
        }
        for child in element.children().filter(Node::is_element) {
            self.element(lines, child);
        }
    }

    fn attribute(
        &mut self,
        lines: &Lines<'_>,
        element: Node<'_, '_>,
        attribute: Attribute<'_, '_>,
    ) {
        let what = format!("{} {}", kind(element), show_attribute(attribute));
        match fate_of_attribute(kind(element), attribute.name(), attribute.value()) {
            Fate::Elsewhere => {}
            Fate::Set { setting, value } => self.set(setting, value),
            Fate::Left { there, here } => {
                self.leave_out(lines.of_attribute(attribute), what, there, here);
            }
            Fate::Wrong { there, here } => {
                self.leave_out(lines.of_attribute(attribute), what, there, &here);
            }
        }
    }

    /// Reads the addresses of the receiver and of the members, which are two attributes each in Tomcat.
    fn address_of_receiver(&mut self, lines: &Lines<'_>, cluster: Node<'_, '_>) {
        let mut peers = Vec::new();
        for element in cluster.descendants() {
            let (host, default_port) = match kind(element) {
                "Receiver" => (element.attribute("address").unwrap_or("auto"), "4000"),
                "Member" => (element.attribute("host").unwrap_or_default(), ""),
                _ => continue,
            };
            let port = element.attribute("port").unwrap_or(default_port);
            let address = if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            };
            let is_receiver = kind(element) == "Receiver";
            let there = if is_receiver {
                "where the others connect"
            } else {
                "another member"
            };
            let setting = if is_receiver {
                "`listen`"
            } else {
                "one of `peers`"
            };
            if host == "auto" {
                let here = format!("set `listen` to an address of this machine, port {port}");
                self.leave_out(
                    lines.of(element),
                    show(element),
                    "an address by itself",
                    &here,
                );
            } else if let Err(error) = known::check_address(&address) {
                let here = format!("{error}; write it as {setting}");
                self.leave_out(lines.of(element), show(element), there, &here);
            } else if is_receiver {
                self.set("listen", address.into());
            } else {
                peers.push(Value::from(address));
            }
        }
        if !peers.is_empty() {
            self.set("peers", peers.into());
        }
    }

    /// Says what the how-tos forget, since it worked otherwise there than they say.
    fn say_what_was_missing(&mut self, lines: &Lines<'_>, cluster: Node<'_, '_>) {
        let line = lines.of(cluster);
        for (kind_of_it, there, here) in known::MISSING {
            if !cluster
                .descendants()
                .any(|element| kind(element) == *kind_of_it)
            {
                let what = format!("no {kind_of_it}");
                self.leave_out(line, what, there, here);
            }
        }
    }

    fn set(&mut self, setting: &str, value: Value) {
        match setting.strip_prefix("layer.") {
            Some(setting) => self.layer.insert(setting.to_owned(), value),
            None => self.node.insert(setting.to_owned(), value),
        };
    }

    fn leave_out(&mut self, line: u32, what: String, there: &str, here: &str) {
        self.left_out.push(LeftOut {
            line,
            what,
            there: there.to_owned(),
            here: here.to_owned(),
        });
    }
}

/// Shows the configuration as TOML, and in comments what was left out.
impl fmt::Display for ServerXml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.left_out.is_empty() {
            writeln!(f, "# Not carried over from the server.xml:")?;
        }
        for left_out in &self.left_out {
            writeln!(f, "# - {left_out}")?;
        }
        writeln!(f, "\n{}", self.node)?;
        if !self.layer.is_empty() {
            writeln!(f, "[layer]\n{}", self.layer)?;
        }
        Ok(())
    }
}

impl LeftOut {
    /// Returns the line of the `server.xml`, from 1 on.
    #[must_use]
    pub const fn line(&self) -> u32 {
        self.line
    }

    /// Returns the element or attribute, such as `Receiver maxThreads="6"`.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Returns what it does in Tomcat.
    #[must_use]
    pub fn there(&self) -> &str {
        &self.there
    }

    /// Returns what to do here.
    #[must_use]
    pub fn here(&self) -> &str {
        &self.here
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            what,
            there,
            here,
        } = self;
        write!(f, "line {line}: {what}. There: {there}. Here: {here}.")
    }
}

/// The lines of a document.
struct Lines<'d>(&'d Document<'d>);

impl Lines<'_> {
    fn of(&self, element: Node<'_, '_>) -> u32 {
        self.0.text_pos_at(element.range().start).row
    }

    fn of_attribute(&self, attribute: Attribute<'_, '_>) -> u32 {
        self.0.text_pos_at(attribute.range().start).row
    }
}

/// Returns what an element is: its class without the packages, or its tag.
///
/// A receiver, a member and the node itself are always meant, whatever class serves them.
fn kind<'a>(element: Node<'a, '_>) -> &'a str {
    let tag = element.tag_name().name();
    match element.attribute("className") {
        Some(class) if !matches!(tag, "Receiver" | "Member" | "LocalMember") => {
            class.rsplit('.').next().unwrap_or(class)
        }
        _ => tag,
    }
}

fn show(element: Node<'_, '_>) -> String {
    let (tag, kind) = (element.tag_name().name(), kind(element));
    if tag == kind {
        tag.to_owned()
    } else {
        format!("{tag} {kind}")
    }
}

/// Shows an attribute on one line, since the parser makes spaces of line feeds.
fn show_attribute(attribute: Attribute<'_, '_>) -> String {
    format!("{}=\"{}\"", attribute.name(), attribute.value())
}
