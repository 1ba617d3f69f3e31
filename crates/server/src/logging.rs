//! The operators' log, on standard error. Auditors read the audit log instead: separate code, separate content.

use std::panic;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::LogFormat;

/// What is logged, changeable while the server runs.
#[derive(Clone, Debug)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Write for example `info` or `info,server::edge=debug`.
    #[error("{0:?} is no log level")]
    Level(String),
    /// Something in this process logs already.
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
}

impl LogLevel {
    /// Starts logging, and logs panics with their place. Once per process.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn start(level: &str, format: LogFormat) -> Result<Self, LogError> {
        let (filter, handle) = reload::Layer::new(filter(level)?);
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = match format {
            LogFormat::Text => {
                let colours = rustix::termios::isatty(std::io::stderr());
                lines.with_ansi(colours).with_target(false).boxed()
            }
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry().with(filter).with(lines).try_init()?;
        log_panics();
        Ok(Self(handle))
    }

    /// Logs at another level from now on.
    ///
    /// # Errors
    /// [`LogError::Level`]; the present level stays then.
    pub fn change(&self, level: &str) -> Result<(), LogError> {
        // The only other failure is that logging has ended, and then nobody misses it.
        let _ = self.0.reload(filter(level)?);
        Ok(())
    }
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let wrong = || LogError::Level(level.to_owned());
    // A word alone would be taken for a part of the program, and silence all others.
    let mut words = level.split(',').filter(|word| !word.contains('='));
    if words.any(|word| word.is_empty() || word.trim().parse::<LevelFilter>().is_err()) {
        return Err(wrong());
    }
    level.parse().map_err(|_| wrong())
}

/// A panic's place and, where it is a literal of the program, its text. Formatted texts may hold what a client sent.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let text = panic.payload().downcast_ref::<&'static str>();
        tracing::error!(place, text, "panic");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_levels_are_taken() {
        assert!(filter("info,server::edge=debug").is_ok());
        for bad in ["server=loud", "wran", "info,server", ""] {
            assert!(matches!(filter(bad), Err(LogError::Level(_))), "{bad:?}");
        }
    }
}
