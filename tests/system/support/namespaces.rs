//! Two network namespaces with a cable in between, and one from each to here.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::Arc,
};

use super::{process::NodePlan, processes::hit_counter, secret::SecretFile};

/// Both namespaces. Dropping it removes them.
#[derive(Debug)]
pub(crate) struct Namespaces {
    names: [String; 2],
    scripts: [PathBuf; 2],
    secret: Arc<SecretFile>,
}

impl Namespaces {
    /// Fails where namespaces need rights that this process lacks.
    pub(crate) fn new() -> io::Result<Self> {
        let names = [1, 2].map(|side| format!("sessions-{}-{side}", process::id()));
        let scripts = [0, 1].map(|side: usize| {
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.sh", names[side]))
        });
        // From here on what is there is taken down again.
        let secret = Arc::new(SecretFile::new()?);
        let both = Self {
            names,
            scripts,
            secret,
        };
        for side in [0, 1] {
            let name = &both.names[side];
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            let outside = format!("ses{}o{side}", process::id() % 100_000);
            ip(&[
                "link", "add", &outside, "type", "veth", "peer", "name", "outside", "netns", name,
            ])?;
            ip(&[
                "addr",
                "add",
                &format!("{}/30", here(side)),
                "dev",
                &outside,
            ])?;
            ip(&["link", "set", &outside, "up"])?;
            both.attach(side, "outside", there(side))?;
            let script = format!(
                "#!/bin/sh\nexec ip netns exec {name} {} \"$@\"\n",
                hit_counter().display()
            );
            fs::write(&both.scripts[side], script)?;
            fs::set_permissions(&both.scripts[side], fs::Permissions::from_mode(0o755))?;
        }
        let [one, two] = &both.names;
        ip(&[
            "-n", one, "link", "add", CABLE, "type", "veth", "peer", "name", CABLE, "netns", two,
        ])?;
        for side in [0, 1] {
            both.attach(side, CABLE, cabled(side))?;
        }
        Ok(both)
    }

    /// A node on that side, and what runs it there.
    pub(crate) fn plan(&self, side: usize, name: &str) -> (NodePlan, &Path) {
        let plan = NodePlan {
            name: name.to_owned(),
            http: SocketAddr::from((there(side), 8080)),
            listen: SocketAddr::from((cabled(side), 4100)),
            peers: vec![SocketAddr::from((cabled(1 - side), 4100))],
            secret: Some(Arc::clone(&self.secret)),
            data_dir: None,
            flags: Vec::new(),
        };
        (plan, &self.scripts[side])
    }

    /// Pulls the cable: nothing passes, and no connection is told.
    pub(crate) fn cut(&self) {
        self.set_cable("down");
    }

    pub(crate) fn heal(&self) {
        self.set_cable("up");
    }

    fn set_cable(&self, state: &str) {
        ip(&["-n", &self.names[0], "link", "set", CABLE, state]).expect("it could be set up");
    }

    fn attach(&self, side: usize, device: &str, address: Ipv4Addr) -> io::Result<()> {
        let name = &self.names[side];
        ip(&[
            "-n",
            name,
            "addr",
            "add",
            &format!("{address}/30"),
            "dev",
            device,
        ])?;
        ip(&["-n", name, "link", "set", device, "up"])
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for (name, script) in self.names.iter().zip(&self.scripts) {
            // Either may not have been made.
            let _ = ip(&["netns", "delete", name]);
            let _ = fs::remove_file(script);
        }
    }
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {arguments:?}: {complaint}")))
}

const fn here(side: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, 1 + side as u8, 1)
}

const fn there(side: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, 1 + side as u8, 2)
}

const fn cabled(side: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, 0, 1 + side as u8)
}

const CABLE: &str = "cable";
