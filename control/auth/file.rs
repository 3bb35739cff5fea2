//! Files of credentials.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use crate::limits::FILE_BYTES_MAX;

/// State of a file by which a change is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// The mark of a file.
pub(crate) fn mark(path: &str) -> io::Result<Mark> {
    let found = std::fs::metadata(path)?;
    Ok(Mark { inode: found.ino(), size: found.size(), modified: (found.mtime(), found.mtime_nsec()) })
}

/// The content of a regular file. Does not wait for the writer of a pipe.
pub(crate) fn read(path: &str) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    match content.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::other(format!("is larger than {FILE_BYTES_MAX} bytes"))),
        false => Ok(content),
    }
}

/// Value of `O_NONBLOCK` on Linux.
const O_NONBLOCK: i32 = 0o4000;
