//! How much memory this process may use.

use std::{fs, iter};

/// Returns the bytes of memory of the machine, or of the process's cgroup where these are less.
/// `None` where neither can be read, which is elsewhere than on Linux.
pub(super) fn of_machine() -> Option<u64> {
    least(|path| fs::read_to_string(path).ok())
}

fn least(read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let machine = read("/proc/meminfo").and_then(|text| total(&text));
    let cgroups = read("/proc/self/cgroup").unwrap_or_default();
    let files = cgroups.lines().flat_map(limit_files);
    // A group without a limit says `max`, and with version 1 of cgroups a number beyond all memory.
    let limits = files.filter_map(|path| read(&path)?.trim().parse().ok());
    machine.into_iter().chain(limits).min()
}

/// Reads what `/proc/meminfo` says of the machine.
fn total(meminfo: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let total = lines.find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Returns where the limits of a group stand that a line of `/proc/self/cgroup` names, and those of
/// all groups around it. A container may see the line of the machine and the files of its own, which
/// then are those of the outermost group.
fn limit_files(line: &str) -> Vec<String> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let groups = iter::successors(Some(group.trim_end_matches('/')), |group| {
        group.rsplit_once('/').map(|(around, _)| around)
    });
    groups
        .map(|group| format!("{root}{group}/{file}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: (&str, &str) = (
        "/proc/meminfo",
        "MemTotal:        8000000 kB\nMemFree:          100000 kB\n",
    );
    const MACHINE: u64 = 8_000_000 * 1024;

    fn least_of(files: &[(&str, &str)]) -> Option<u64> {
        least(|path| {
            let file = files.iter().find(|(name, _)| *name == path);
            file.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn memory_is_the_machines_unless_a_cgroup_has_less() {
        assert_eq!(least_of(&[]), None);
        assert_eq!(least_of(&[MEMINFO]), Some(MACHINE));
        let cgroup = ("/proc/self/cgroup", "0::/app.slice/shop.service\n");
        let outer = "/sys/fs/cgroup/app.slice/memory.max";
        let inner = "/sys/fs/cgroup/app.slice/shop.service/memory.max";
        for (files, expected) in [
            ([(inner, "max\n"), (outer, "max\n")], MACHINE),
            ([(inner, "1000\n"), (outer, "max\n")], 1_000),
            ([(inner, "max\n"), (outer, "2000\n")], 2_000),
            ([(inner, "5000\n"), (outer, "2000\n")], 2_000),
        ] {
            let [inner, outer] = files;
            assert_eq!(least_of(&[MEMINFO, cgroup, inner, outer]), Some(expected));
        }
    }

    #[test]
    fn containers_limit_is_found_under_the_machines_name_of_the_group() {
        let limit = ("/sys/fs/cgroup/memory.max", "3000\n");
        for path in ["0::/\n", "0::/docker/12ab\n"] {
            let cgroup = ("/proc/self/cgroup", path);
            assert_eq!(least_of(&[MEMINFO, cgroup, limit]), Some(3_000), "{path}");
        }
    }

    #[test]
    fn limits_of_the_first_version_of_cgroups_count() {
        let cgroup = (
            "/proc/self/cgroup",
            "5:cpu,cpuacct:/a\n4:memory:/a\n0::/unlimited\n",
        );
        let file = "/sys/fs/cgroup/memory/a/memory.limit_in_bytes";
        for (limit, expected) in [("4000\n", 4_000), ("9223372036854771712\n", MACHINE)] {
            assert_eq!(least_of(&[MEMINFO, cgroup, (file, limit)]), Some(expected));
        }
    }
}
