//! The lines of a file of /proc, as a C program with `fgets` sees them.

use std::io::Read;

/// The most bytes that netstat takes for one line; a longer one continues as the next.
const LONGEST: usize = 8191;

/// Calls `each` with the number of every line and its text, up to the first NUL.
///
/// A read error ends the file. An unfinished last line counts.
pub(crate) fn for_each_line(mut file: impl Read, mut each: impl FnMut(usize, &[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    let (mut from, mut to) = (0, 0);
    let mut number = 0;
    loop {
        while let Some(length) = line_length(&buffer[from..to]) {
            each(number, until_nul(&buffer[from..from + length]));
            number += 1;
            from += length;
        }
        buffer.copy_within(from..to, 0);
        to -= from;
        from = 0;
        match file.read(&mut buffer[to..]) {
            Ok(0) => break,
            Ok(read) => to += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if to > 0 {
        each(number, until_nul(&buffer[..to]));
    }
}

/// The length of the first line with its end, if it is all there.
fn line_length(text: &[u8]) -> Option<usize> {
    let window = &text[..text.len().min(LONGEST)];
    match window.iter().position(|&byte| byte == b'\n') {
        Some(at) => Some(at + 1),
        None if window.len() == LONGEST => Some(LONGEST),
        None => None,
    }
}

fn until_nul(line: &[u8]) -> &[u8] {
    line.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let mut lines = Vec::new();
        for_each_line(text, |number, line| lines.push((number, line.to_vec())));
        lines
    }

    #[test]
    fn lines_are_numbered_and_the_last_needs_no_end() {
        assert_eq!(lines(b""), []);
        assert_eq!(
            lines(b"head\n\na\0b\nlast"),
            [
                (0, b"head\n".to_vec()),
                (1, b"\n".to_vec()),
                (2, b"a".to_vec()),
                (3, b"last".to_vec()),
            ]
        );
    }

    #[test]
    fn a_long_line_is_several() {
        let text = vec![b'x'; 3 * LONGEST + 5];
        let lengths: Vec<_> = lines(&text)
            .into_iter()
            .map(|(_, line)| line.len())
            .collect();
        assert_eq!(lengths, [LONGEST, LONGEST, LONGEST, 5]);
    }

    #[test]
    fn a_read_error_ends_the_file() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(std::io::ErrorKind::Other.into());
                }
                buffer[..4].copy_from_slice(b"a\nb\n");
                Ok(4)
            }
        }
        let mut count = 0;
        for_each_line(Broken(false), |_, _| count += 1);
        assert_eq!(count, 2);
    }
}
