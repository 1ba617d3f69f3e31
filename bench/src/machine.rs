//! The machine: which core does what, and what it is called in the table.

use std::fs;
use std::path::Path;

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// `f_type` of a file system in memory (statfs(2)).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Who runs where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The server, or what it is compared with.
    pub(crate) server: usize,
    /// The load.
    pub(crate) load: usize,
}

impl Cores {
    /// The first two cores that this process may use.
    pub(crate) fn of_this_machine() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (cores.next(), cores.next()) {
            (Some(server), Some(load)) => Ok(Self { server, load }),
            _ => anyhow::bail!("two cores are needed: one for the server, one for the load"),
        }
    }

    /// Does `work` on the server's core, and goes back to the load's. What `work` starts stays there.
    pub(crate) fn on_server_core<T>(self, work: impl FnOnce() -> T) -> anyhow::Result<T> {
        stay_on(self.server)?;
        let done = work();
        stay_on(self.load)?;
        Ok(done)
    }
}

/// Binds the calling thread, and the threads and processes it starts later, to one core.
pub(crate) fn stay_on(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).context("a thread could not be bound to a core")
}

/// Whether files in `folder` are in memory, where nothing is durable and nothing takes time.
pub(crate) fn in_memory(folder: &Path) -> anyhow::Result<bool> {
    let system = rustix::fs::statfs(folder).with_context(|| format!("{} cannot be used", folder.display()))?;
    Ok(system.f_type == TMPFS_MAGIC)
}

/// CPU, cores and system, for a reader of the table.
pub(crate) fn description(cores: Cores) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("CPU", |m| m.1);
    let count = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let system = rustix::system::uname();
    format!(
        "{model}, {count} cores, {} {}; server on core {}, load on core {}",
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        cores.server,
        cores.load
    )
}

/// The time that the calling thread has used a core.
pub(crate) fn thread_time() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    std::time::Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
