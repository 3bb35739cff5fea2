//! Log of the process: tracing events and panics to one sink.
//!
//! The control plane and the binary write it; workers write the access log, which has a thread of its own.

use std::io::{self, Write};
use std::panic;
use std::sync::Mutex;

use ringway_telemetry::LogFormat;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use super::config::Settings;
use super::files::LogFile;
use super::parse::Output;

/// Starts the log for the rest of the process.
///
/// # Errors
/// When the log's file cannot be opened.
pub(crate) fn start(settings: &Settings) -> io::Result<()> {
    let Some(output) = &settings.log_output else {
        // The standard library still prints panics on standard error.
        return Ok(());
    };
    let writer = match output {
        Output::Stdout => BoxMakeWriter::new(io::stdout),
        Output::Stderr => BoxMakeWriter::new(io::stderr),
        Output::File(path) => BoxMakeWriter::new(Mutex::new(LogFile::open(path)?)),
    };
    let lines = match settings.log_format {
        LogFormat::Json => json(writer).boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).boxed(),
    };
    // Only the first subscriber of a process counts, and there is no other.
    let _ = tracing_subscriber::registry().with(lines.with_filter(settings.log_levels.clone())).try_init();
    log_panics();
    Ok(())
}

/// JSON format: one object per line with timestamp, level, target, message, and the fields beside them.
fn json<W>(writer: W) -> impl Layer<Registry> + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(writer)
}

/// Logs every panic with its place and message; nothing else of a request is logged.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            thread,
            place,
            message_of_panic = message,
            "panic in a task or thread; this is a bug"
        );
    }));
}

/// Prints an error that prevents the start, before there is a log.
pub(crate) fn report_failure(message: &str) {
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "ringway: {message}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_lines_have_flat_fields_and_obey_the_levels() {
        let lines = Lines::default();
        let writer = {
            let lines = lines.clone();
            move || lines.clone()
        };
        let levels = crate::cli::parse::levels("warn").unwrap();
        let subscriber = tracing_subscriber::registry().with(json(writer).with_filter(levels));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("below the level");
            tracing::warn!(port = 80, "a warning");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert_eq!(lines[0]["message"], "a warning");
        assert_eq!(lines[0]["port"], 80);
        assert_eq!(lines[0]["level"], "WARN");
    }
}
