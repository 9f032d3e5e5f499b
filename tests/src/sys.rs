//! The system calls the lab needs and the standard library does not have.
//!
//! The only `unsafe` of this crate. Everything that runs between fork and exec is prepared before the
//! fork and makes system calls only: another thread of the parent may hold the allocator's lock.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// One thing a child does to itself before it becomes the program.
#[derive(Debug)]
pub(crate) enum Before {
    /// Leave the terminal's session, so that Ctrl-C there does not reach it.
    NewSession,
    /// Join the namespace behind this file (any kind).
    Join(OwnedFd),
    /// A private copy of the mounts.
    OwnMounts,
    /// An own host name.
    OwnHostName(CString),
    /// Bind a folder, with what is mounted below it, over another.
    Bind { from: CString, onto: CString },
}

impl Before {
    /// Join the namespace a file of `/run/netns` or `/proc/<pid>/ns` stands for.
    pub(crate) fn join(path: &Path) -> io::Result<Self> {
        Ok(Self::Join(File::open(path)?.into()))
    }

    /// Bind `from` over `onto`.
    pub(crate) fn bind(from: &Path, onto: &Path) -> io::Result<Self> {
        Ok(Self::Bind {
            from: c_path(from)?,
            onto: c_path(onto)?,
        })
    }

    fn run(&self) -> io::Result<()> {
        match self {
            Self::NewSession => {
                // SAFETY: no arguments; a freshly forked child is never a group leader.
                check(unsafe { libc::setsid() })
            }
            Self::Join(namespace) => join(namespace),
            Self::OwnMounts => {
                // SAFETY: unshare touches only this process.
                check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
                mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE)
            }
            Self::OwnHostName(name) => {
                // SAFETY: as above.
                check(unsafe { libc::unshare(libc::CLONE_NEWUTS) })?;
                // SAFETY: pointer and length describe the bytes of a live CString.
                check(unsafe { libc::sethostname(name.as_ptr(), name.as_bytes().len()) })
            }
            Self::Bind { from, onto } => mount(Some(from), onto, libc::MS_BIND | libc::MS_REC),
        }
    }
}

/// Makes `command` do `steps`, in order, before it becomes its program. The process id stays the same.
pub(crate) fn before_exec(command: &mut Command, steps: Vec<Before>) {
    // SAFETY: the closure only makes system calls on data allocated before the fork.
    unsafe {
        command.pre_exec(move || steps.iter().try_for_each(Before::run));
    }
}

/// Moves the calling thread into a namespace.
pub(crate) fn join(namespace: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open for the time of the call; 0 accepts any kind of namespace.
    check(unsafe { libc::setns(namespace.as_raw_fd(), 0) })
}

/// Sends `signal` to a process; false if there is none of that id.
pub(crate) fn signal(pid: u32, signal: i32) -> bool {
    // SAFETY: kill has no memory effects. Ids come from /proc, so they fit and are positive.
    libc::pid_t::try_from(pid).is_ok_and(|pid| pid > 0 && unsafe { libc::kill(pid, signal) } == 0)
}

/// Collects a child of this process that has ended, so that no zombie stays. Harmless for others.
pub(crate) fn reap(pid: u32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: a null status pointer is allowed; WNOHANG never blocks.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// Takes the exclusive lock of an open file or folder, waiting for it; it goes with the file. With
/// `wait` false, false means that another process holds it.
pub(crate) fn lock(file: &File, wait: bool) -> io::Result<bool> {
    let operation = if wait {
        libc::LOCK_EX
    } else {
        libc::LOCK_EX | libc::LOCK_NB
    };
    // SAFETY: the descriptor is open for the time of the call.
    match check(unsafe { libc::flock(file.as_raw_fd(), operation) }) {
        Ok(()) => Ok(true),
        Err(error) if !wait && error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// True if this process runs as root.
pub(crate) fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether the file system at `path` is an overlay, on which no other overlay can be stacked.
pub(crate) fn on_overlay(path: &Path) -> io::Result<bool> {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    let path = c_path(path)?;
    // SAFETY: a zeroed statfs is a valid value; the call fills it and reads a terminated path.
    let info = unsafe {
        let mut info: libc::statfs = std::mem::zeroed();
        check(libc::statfs(path.as_ptr(), &raw mut info))?;
        info
    };
    Ok(info.f_type == OVERLAYFS_SUPER_MAGIC)
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C and SIGTERM end waiting with an error instead of ending the process, so that what was
/// begun can be taken down.
pub fn catch_interrupts() {
    extern "C" fn remember(_: i32) {
        INTERRUPTED.store(true, Ordering::SeqCst);
    }
    for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { libc::signal(number, remember as *const () as libc::sighandler_t) };
    }
}

/// True once Ctrl-C or SIGTERM came after [`catch_interrupts`].
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

fn mount(from: Option<&CStr>, onto: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    let from = from.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: both paths are terminated strings or null where mount(2) allows it.
    check(unsafe {
        libc::mount(
            from,
            onto.as_ptr(),
            std::ptr::null(),
            flags,
            std::ptr::null(),
        )
    })
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
