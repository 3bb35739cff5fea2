//! `ringway export` and `ringway import`: a store as a file of JSON lines.
//!
//! They open the store themselves, which a running ringway holds alone.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use ringway_store::{Fjall, Summary};

use super::Failure;
use super::text::escape;

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The file to write, which must not exist; `-` is standard output
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The file to read; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
struct StoreArgs {
    /// The folder of the store
    #[arg(long, value_name = "PATH", env = "PROXY_DB_PATH")]
    db_path: PathBuf,
}

impl ExportArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let path = &self.store.db_path;
        // Opening would make it, and exporting nothing is not what anybody wants.
        if let Err(error) = std::fs::metadata(path) {
            return Err(Failure::File { path: path.display().to_string(), error });
        }
        let mut store = Fjall::open(path).map_err(Failure::Store)?;
        let summary = if self.file == Path::new("-") {
            ringway_store::export(&mut store, &mut io::stdout().lock()).map_err(Failure::Store)?
        } else {
            let at = |error| Failure::File { path: self.file.display().to_string(), error };
            let mut out = BufWriter::new(File::create_new(&self.file).map_err(at)?);
            let summary = ringway_store::export(&mut store, &mut out).map_err(Failure::Store)?;
            let file = out.into_inner().map_err(|error| at(error.into_error()))?;
            file.sync_all().map_err(at)?;
            summary
        };
        tell("exported", &summary);
        Ok(())
    }
}

impl ImportArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut store = Fjall::open(&self.store.db_path).map_err(Failure::Store)?;
        let summary = if self.file == Path::new("-") {
            ringway_store::import(&mut io::stdin().lock(), &mut store)
        } else {
            let file = File::open(&self.file)
                .map_err(|error| Failure::File { path: self.file.display().to_string(), error })?;
            ringway_store::import(&mut BufReader::new(file), &mut store)
        };
        tell("imported", &summary.map_err(Failure::Store)?);
        Ok(())
    }
}

/// On standard error, since the export itself may be on standard output.
fn tell(what: &str, summary: &Summary) {
    let Summary { revision, apps, instances, domains, report } = summary;
    let mut text =
        format!("{what} revision {revision}: {apps} apps, {instances} instances, {domains} domains\n");
    for finding in report.findings() {
        text.push_str(&format!("  {}\n", escape(&finding.to_string())));
    }
    let _ = io::stderr().write_all(text.as_bytes());
}
