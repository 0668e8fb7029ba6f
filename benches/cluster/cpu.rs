//! Processor time of processes, from `/proc`.

use std::{collections::HashMap, fs, io, time::Duration};

/// The time that each thread of a process has had.
#[derive(Clone, Debug)]
pub(crate) struct CpuTime(HashMap<String, u64>);

impl CpuTime {
    /// By the nanosecond: `utime` and `stime` in `stat` are the same time in ticks of 10 ms.
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let mut threads = HashMap::new();
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            let task = task?;
            let schedstat = match fs::read_to_string(task.path().join("schedstat")) {
                Ok(schedstat) => schedstat,
                // It ended after it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let nanoseconds = schedstat.split(' ').next().and_then(|n| n.parse().ok());
            let nanoseconds = nanoseconds.ok_or(io::ErrorKind::InvalidData)?;
            let thread = task.file_name().to_string_lossy().into_owned();
            threads.insert(thread, nanoseconds);
        }
        Ok(Self(threads))
    }

    /// Since the process began.
    pub(crate) fn whole(process: u32) -> io::Result<Duration> {
        Ok(Self::of(process)?.since(&Self(HashMap::new())))
    }

    /// Threads that have ended meanwhile do not count. Servers end idle ones only.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let threads = self.0.iter().map(|(thread, now)| {
            let before = earlier.0.get(thread).copied().unwrap_or(0);
            now.saturating_sub(before)
        });
        Duration::from_nanos(threads.sum())
    }
}

/// The memory that a process occupies.
pub(crate) fn resident_bytes(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = field.and_then(|field| field.trim().strip_suffix(" kB"));
    let kilobytes: Option<u64> = kilobytes.and_then(|number| number.parse().ok());
    Ok(kilobytes.ok_or(io::ErrorKind::InvalidData)? * 1024)
}
