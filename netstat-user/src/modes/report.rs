//! What the reports share: files of /proc and how their errors read.

use std::{
    ffi::CStr,
    fs,
    io::{self, Write},
    path::Path,
};

/// The name under which messages speak of a file, whatever the root is.
pub(super) fn shown(file: &str) -> String {
    format!("/proc/net/{file}")
}

/// Reads `net/FILE`. A read error ends the file where it is.
pub(super) fn read(root: &Path, file: &str) -> io::Result<Vec<u8>> {
    let mut opened = fs::File::open(root.join("net").join(file))?;
    let mut text = Vec::new();
    // The reference takes what it got for all there is.
    let _ = io::Read::read_to_end(&mut opened, &mut text);
    Ok(text)
}

/// The C library's words for an error.
pub(super) fn words(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else {
        return error.to_string();
    };
    // SAFETY: strerror takes any number; its text is copied before the next call, by one thread.
    let text = unsafe { CStr::from_ptr(libc::strerror(number)) };
    text.to_string_lossy().into_owned()
}

/// Writes what cannot fail in a way that matters: the reference ignores write errors.
pub(super) fn put(to: &mut dyn Write, text: impl AsRef<[u8]>) {
    let _ = to.write_all(text.as_ref());
}
