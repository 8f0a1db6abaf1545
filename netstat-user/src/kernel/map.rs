//! BPF map memory, mapped into this process.

use std::{io, marker::PhantomData, os::fd::RawFd, ptr::NonNull};

use super::ring::{last_error, page_size};

/// `count` values of `T` in the memory of a BPF map, to read or (`W`) to write too.
pub struct Mapped<T, const W: bool = false> {
    start: NonNull<libc::c_void>,
    bytes: usize,
    count: usize,
    holds: PhantomData<T>,
}

// SAFETY: memory that belongs to the value; shared references give `&[T]` only.
unsafe impl<T: Sync, const W: bool> Sync for Mapped<T, W> {}

impl<T, const W: bool> Mapped<T, W> {
    /// Maps memory.
    ///
    /// # Safety
    /// The map behind `fd` must hold `count` valid `T`s at `offset`, aligned, and whatever else
    /// writes them must suit `T` (atomics, or a protocol between writer and reader).
    ///
    /// # Errors
    /// mmap(2).
    pub unsafe fn new(fd: RawFd, offset: i64, count: usize) -> io::Result<Self> {
        let access = if W {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        let bytes = (size_of::<T>() * count).next_multiple_of(page_size());
        // SAFETY: a new shared mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                access,
                libc::MAP_SHARED,
                fd,
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(last_error());
        }
        let start = NonNull::new(start).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        Ok(Self {
            start,
            bytes,
            count,
            holds: PhantomData,
        })
    }

    /// The values.
    pub fn get(&self) -> &[T] {
        // SAFETY: mapped for `count` values while `self` lives; see `new`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.count) }
    }
}

impl<T> Mapped<T, true> {
    /// The values, to write.
    pub fn get_mut(&mut self) -> &mut [T] {
        // SAFETY: as `get`; `self` is the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.count) }
    }
}

impl<T, const W: bool> Drop for Mapped<T, W> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no reference outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr(), self.bytes) };
    }
}
