//! Processes that this run started, and ends.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::Cores;

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a server may go on with work of its own, such as keys made ahead of need, before it is measured.
const LONGEST_UNREST: Duration = Duration::from_secs(90);

/// A process on the server's core. Ended when dropped.
pub(crate) struct Child {
    process: std::process::Child,
    name: &'static str,
}

impl Child {
    /// Starts `command` on the server's core.
    pub(crate) fn start(name: &'static str, command: &mut Command, cores: Cores) -> anyhow::Result<Self> {
        let process = cores.on_server_core(|| command.spawn())?.with_context(|| format!("{name} does not start"))?;
        Ok(Self { process, name })
    }

    /// What the process writes, where that was asked for.
    pub(crate) fn output(&mut self) -> anyhow::Result<std::process::ChildStdout> {
        self.process.stdout.take().context("the output was piped")
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}", self.name),
        }
    }

    /// Waits for its own end.
    pub(crate) fn wait(mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.process.wait()?)
    }

    /// Waits until it uses less than 3 % of its core, or until patience ends.
    pub(crate) async fn until_idle(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let (mut since, mut used) = (begun, self.core_time()?);
        while begun.elapsed() < LONGEST_UNREST {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let (now, total) = (Instant::now(), self.core_time()?);
            if (total - used).as_secs_f64() < 0.03 * (now - since).as_secs_f64() {
                return Ok(());
            }
            (since, used) = (now, total);
        }
        bail!("{} does not come to rest", self.name)
    }

    /// The time it has used a core.
    ///
    /// Source: proc_pid_stat(5), fields 14 and 15.
    pub(crate) fn core_time(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(self.proc("stat"))?;
        // The name, in parentheses, may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("stat has a name")?;
        let ticks: u64 = fields.split_ascii_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Its resident memory in bytes.
    ///
    /// Source: proc_pid_status(5), `VmRSS`.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(self.proc("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("status has VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is a number of kB")?;
        Ok(kib << 10)
    }

    fn proc(&self, file: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.process.id().to_string()).join(file)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        // Not waited for yet, so the id is still its own.
        if let (Ok(None), Some(pid)) = (self.process.try_wait(), pid) {
            // Fails only if it has just ended.
            let _ = kill_process(pid, Signal::TERM);
            let asked = Instant::now();
            while asked.elapsed() < PATIENCE {
                if let Ok(Some(_)) = self.process.try_wait() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            eprintln!("bench: {} did not stop and is killed", self.name);
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
