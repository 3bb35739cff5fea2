//! `ringway export` and `ringway import`: a store's records as JSON lines, to move between stores.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ringway::model::Kind;
use ringway::store::{Fjall, Loaded, Store, StoreError, Summary, export_loaded, import};

use super::flags::Flags;
use super::{FAILED, OK, USAGE, check, configuration};

/// Direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the store to the file.
    Out,
    /// From the file into the store.
    In,
}

/// Transfers and reports on standard error; standard output may carry the records.
pub(crate) fn run(direction: Direction, file: &Path, db_path: Option<PathBuf>) -> ExitCode {
    let db = match db_path {
        Some(path) => path,
        None => match configuration::load(&Flags::default()).reading.outcome {
            Ok(settings) => settings.db_path,
            Err(problems) => {
                eprintln!("ringway: {}", check::problem_report(&problems));
                return ExitCode::from(USAGE);
            }
        },
    };
    let (done, verb) = match direction {
        Direction::Out => (export_to(&db, file), "exported"),
        Direction::In => (import_from(file, &db), "imported"),
    };
    match done {
        Ok(summary) => {
            // Damage is reported beside the success: the export may be incomplete.
            eprint!("{}", summary.report);
            eprintln!(
                "{verb} revision {}: {}; store {}",
                summary.revision,
                Kind::ALL.map(|kind| format!("{} {kind}(s)", summary.count(kind))).join(", "),
                db.display()
            );
            if direction == Direction::Out {
                eprintln!("{NOT_EXPORTED}");
            }
            ExitCode::from(OK)
        }
        Err(error) => {
            let file = match &error {
                StoreError::Transfer(_) => format!("{}: ", file.display()),
                _ => String::new(),
            };
            eprintln!("ringway: {file}{}", ringway_control::with_causes(&error));
            ExitCode::from(FAILED)
        }
    }
}

/// Writes all records of the store at `db` to a file, or to standard output for `-`.
///
/// The file appears when it is complete. The store may be in use: then a copy of its files is read.
///
/// # Errors
/// See [`StoreError`].
pub(crate) fn export_to(db: &Path, file: &Path) -> Result<Summary, StoreError> {
    // Opening would create a missing directory and export an empty store.
    if !db.is_dir() {
        return Err(StoreError::NotADirectory { path: db.to_owned() });
    }
    let loaded = load(db)?;
    if is_standard(file) {
        return export_loaded(&loaded, &mut io::stdout().lock());
    }
    // A device or a pipe is written to: a rename would replace it.
    if std::fs::metadata(file).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        let mut device =
            BufWriter::new(OpenOptions::new().write(true).open(file).map_err(StoreError::Transfer)?);
        let summary = export_loaded(&loaded, &mut device)?;
        return device.flush().map(|()| summary).map_err(StoreError::Transfer);
    }
    let draft = file.with_added_extension("part");
    let written = export_draft(&loaded, &draft)
        .and_then(|summary| std::fs::rename(&draft, file).map(|()| summary).map_err(StoreError::Transfer));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}

/// Loads all records of the store at `db`, also while a running ringway has it open.
fn load(db: &Path) -> Result<Loaded, StoreError> {
    match Fjall::open(db) {
        Ok(mut store) => {
            let loaded = store.load()?;
            store.close()?;
            Ok(loaded)
        }
        Err(StoreError::Locked { .. }) => Fjall::read_in_use(db),
        Err(error) => Err(error),
    }
}

fn export_draft(loaded: &Loaded, draft: &Path) -> Result<Summary, StoreError> {
    let mut to = BufWriter::new(create_private(draft).map_err(StoreError::Transfer)?);
    let summary = export_loaded(loaded, &mut to)?;
    to.flush().and_then(|()| to.get_ref().sync_all()).map_err(StoreError::Transfer)?;
    Ok(summary)
}

/// Creates a file that only its owner may read: an export holds the secrets of webhooks and the values of
/// health-check headers.
fn create_private(path: &Path) -> io::Result<File> {
    const MODE: u32 = 0o600;
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)?;
    // A file left by an earlier try would keep its mode.
    file.set_permissions(Permissions::from_mode(MODE))?;
    Ok(file)
}

/// Fills the new or empty store at `db` from a file, or from standard input for `-`.
///
/// # Errors
/// See [`StoreError`]; nothing is stored then.
pub(crate) fn import_from(file: &Path, db: &Path) -> Result<Summary, StoreError> {
    let mut store = Fjall::open(db)?;
    let summary = if is_standard(file) {
        import(&mut io::stdin().lock(), &mut store)?
    } else {
        import(&mut BufReader::new(File::open(file).map_err(StoreError::Transfer)?), &mut store)?
    };
    store.close()?;
    Ok(summary)
}

/// Parts of an installation that are not in the store.
const NOT_EXPORTED: &str = "the file holds the secrets of webhooks and the values of health-check headers; it does not hold settings, nor certificates, their keys and the accounts at CAs (PROXY_CERT_PATH)";

fn is_standard(file: &Path) -> bool {
    file == Path::new("-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ringway::model::{AppId, AppSpec, Change, Desired, Revision, Timestamp};
    use ringway::store::Batch;

    use super::*;

    #[test]
    fn an_export_can_be_imported_into_another_store() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to, file) =
            (folder.path().join("from"), folder.path().join("to"), folder.path().join("records"));
        let app = AppSpec::new(AppId::parse("shop").unwrap());
        let change = Change::Register { app, instance: None, domain: None };
        let applied = Desired::default().apply(&change, Timestamp(1)).unwrap();
        let mut store = Fjall::open(&from).unwrap();
        store.commit(&Batch { revision: applied.revision(), deltas: &applied.deltas }).unwrap();
        store.close().unwrap();
        drop(store);

        assert_eq!(export_to(&from, &file).unwrap().count(Kind::App), 1);
        assert_eq!(import_from(&file, &to).unwrap().revision, Revision(1));
        let loaded = Fjall::open(&to).unwrap().load().unwrap();
        assert_eq!(loaded.resources[0].key(), "shop");
        assert!(matches!(import_from(&file, &to), Err(StoreError::NotEmpty { .. })));
    }

    /// By a link, so that a failure replaces the link and not the device.
    #[test]
    fn an_export_to_a_device_leaves_the_device() {
        let dir = tempfile::tempdir().unwrap();
        let (db, link) = (dir.path().join("routes.db"), dir.path().join("null"));
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        Fjall::open(&db).unwrap().close().unwrap();
        export_to(&db, &link).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn exporting_a_missing_store_creates_neither_store_nor_file() {
        let folder = tempfile::tempdir().unwrap();
        let (db, file) = (folder.path().join("nowhere"), folder.path().join("records"));
        assert!(matches!(export_to(&db, &file), Err(StoreError::NotADirectory { .. })));
        assert!(!db.exists() && !file.exists());
    }

    #[test]
    fn an_export_of_a_store_in_use_has_all_acknowledged_records() {
        let folder = tempfile::tempdir().unwrap();
        let (db, file) = (folder.path().join("db"), folder.path().join("records"));
        let mut running = Fjall::open(&db).unwrap();
        running.load().unwrap();
        let mut desired = Desired::default();
        for count in 1..=3 {
            let id = AppId::parse(&format!("shop-{count}")).unwrap();
            let app = AppSpec::new(id);
            let change = Change::Register { app, instance: None, domain: None };
            let applied = desired.apply(&change, Timestamp(1)).unwrap();
            let revision = applied.revision();
            running.commit(&Batch { revision, deltas: &applied.deltas }).unwrap();
            desired = applied.desired;
            let summary = export_to(&db, &file).unwrap();
            assert_eq!((summary.revision, summary.count(Kind::App)), (revision, count));
        }
        running.close().unwrap();
        drop(running);
        assert_eq!(import_from(&file, &folder.path().join("other")).unwrap().count(Kind::App), 3);
    }
}
