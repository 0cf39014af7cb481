//! Files mapped into memory for reading. One that is cut, or whose disk fails, while it is mapped ends the process with exit
//! code 1 and a message that names it; of itself the system sends SIGBUS, dumps core and says nothing.
//!
//! What is read after such a fault cannot be made up for, so that no work goes on; what was saved before it is whole.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::Mmap;

use super::fs::{self, File, Metadata};
use crate::error::{Error, Result};

/// The content of a file.
pub struct Map {
    bytes: Mmap,
    file: File,
    path: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
    help: String,
    _named: watch::Named,
}

impl Map {
    /// Maps `file`, which lies at `path`; `help` says what to do where it is damaged meanwhile. Errors: it cannot be mapped, as a
    /// folder or device.
    pub fn of(file: File, path: &Path, help: &str) -> Result<Self> {
        let failed = |e| Error::io("cannot map", path, e);
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(Error::data(path, "is no file"));
        }
        // SAFETY: the map is only read. Our files are replaced by renaming, never written in place; where another program
        // does that, its bytes are read as numbers of any value, and a part that is gone ends the process (`watch`).
        let bytes = unsafe { fs::map(&file, path) }.map_err(failed)?;
        let named = watch::name(&bytes, path, help);
        let (size, modified) = (about.len(), about.modified().ok());
        Ok(Self { bytes, file, path: path.to_owned(), size, modified, help: help.to_owned(), _named: named })
    }

    /// Errors: somebody has written to the file since it was mapped, or cut it.
    pub fn check(&self) -> Result<()> {
        let about = self.file.metadata().map_err(|e| Error::io("cannot read", &self.path, e))?;
        let same = |about: &Metadata| about.len() == self.size && about.modified().ok() == self.modified;
        if same(&about) {
            return Ok(());
        }
        let (size, now) = (self.size, about.len());
        Err(Error::data(&self.path, format!("was changed while it was in use: it had {size} bytes and has {now}"))
            .with_help(self.help.clone()))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Which mapping an address belongs to, for the handler of SIGBUS: it may take no lock and allocate nothing.
#[cfg(unix)]
mod watch {
    use std::ffi::{c_int, c_void};
    use std::io::IsTerminal;
    use std::path::Path;
    use std::ptr;
    use std::sync::Once;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

    /// As many mappings at once can be told by name; a training has three.
    const MAPPINGS: usize = 256;

    /// Addresses from `start` to below `end`, and what is said of a fault there. `start` is 0 where the slot is free.
    struct Slot {
        start: AtomicUsize,
        end: AtomicUsize,
        message: AtomicPtr<Vec<u8>>,
    }

    static SLOTS: [Slot; MAPPINGS] = [const {
        Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), message: AtomicPtr::new(ptr::null_mut()) }
    }; MAPPINGS];

    /// What handled faults before.
    static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

    /// Whether a fault is being told of.
    static TOLD: AtomicBool = AtomicBool::new(false);

    /// A mapping that is named as long as this lives.
    pub struct Named(Option<&'static Slot>);

    pub fn name(bytes: &[u8], path: &Path, help: &str) -> Named {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(handle);
        let clear = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" }; // a bar may stand there
        let message = format!(
            "{clear}error: {}: cannot be read any more: the file was cut or its disk failed while it was in use\n  help: {help}\n",
            path.display()
        );
        // An address that no mapping has: taken, and not yet to be found.
        let take = |slot: &&Slot| slot.start.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let slot = SLOTS.iter().find(take);
        if let Some(slot) = slot {
            let start = bytes.as_ptr() as usize;
            slot.message.store(Box::into_raw(Box::new(message.into_bytes())), Ordering::Release);
            slot.end.store(start + bytes.len(), Ordering::Release);
            slot.start.store(start, Ordering::Release);
        }
        Named(slot)
    }

    impl Drop for Named {
        fn drop(&mut self) {
            let Some(slot) = self.0 else { return };
            slot.end.store(0, Ordering::Release);
            let message = slot.message.swap(ptr::null_mut(), Ordering::AcqRel);
            slot.start.store(0, Ordering::Release);
            // SAFETY: it came from `Box::into_raw` and was taken out, so that nobody else frees it. The handler reads the
            // message of a mapping only while that is read, which then is not dropped.
            drop(unsafe { Box::from_raw(message) });
        }
    }

    /// Has faults handled by [`faulted`]. Crates that register handlers call the one before first, and that of Rust's runtime
    /// takes itself away for the whole process: another thread's fault would end it by the signal while this one is told of.
    fn handle() {
        // SAFETY: both structs are the system's own, for which zeros are valid; the handler does only what one may do.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut before: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = faulted;
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // Where that fails the system does what it does.
            if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) == 0 {
                BEFORE.store(Box::into_raw(Box::new(before)), Ordering::Release);
                libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
            }
        }
    }

    /// Names the file and ends the process where the fault is in a mapping. Else what was there before is put back, and meets
    /// the fault when this returns. It reads atomics and a message that stays while its mapping is read, writes to a file
    /// descriptor and leaves by `_exit`: all of that is allowed in a signal's handler. It neither locks, allocates nor panics.
    extern "C" fn faulted(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
        // SAFETY: the system hands a valid struct over, and SIGBUS has an address.
        let address = unsafe { (*info).si_addr() } as usize;
        let within = |slot: &&Slot| {
            let start = slot.start.load(Ordering::Acquire);
            start > 1 && start <= address && address < slot.end.load(Ordering::Acquire)
        };
        let Some(slot) = SLOTS.iter().find(within) else {
            // SAFETY: it was allocated ahead of the handler and is never freed.
            unsafe { libc::sigaction(libc::SIGBUS, BEFORE.load(Ordering::Acquire), ptr::null_mut()) };
            return;
        };
        // Workers fault together; one of them tells it.
        if TOLD.swap(true, Ordering::AcqRel) {
            loop {
                // SAFETY: it waits for a signal; the process ends meanwhile.
                unsafe { libc::pause() };
            }
        }
        // SAFETY: the mapping of this slot is being read, so that its message is there.
        if let Some(message) = unsafe { slot.message.load(Ordering::Acquire).as_ref() } {
            let _ = rustix::io::write(rustix::stdio::stderr(), message);
        }
        // SAFETY: it runs nothing of the program.
        unsafe { libc::_exit(1) }
    }
}

/// Other systems report such a fault in their own way.
#[cfg(not(unix))]
mod watch {
    use std::path::Path;

    pub struct Named;

    pub fn name(_: &[u8], _: &Path, _: &str) -> Named {
        Named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_to_is_told() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pack");
        std::fs::write(&path, "content").expect("written");
        let open = || Map::of(File::open(&path).expect("there"), &path, "get it again");
        let map = open()?;
        assert_eq!(&map[..], b"content");
        map.check()?;
        std::fs::write(&path, "short").expect("written");
        let error = map.check().expect_err("it was cut");
        assert!(error.to_string().contains("pack: was changed") && error.help() == Some("get it again"), "{error}");
        let map = open()?;
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, "another file").expect("written");
        map.check()?; // replaced, as ours are: what is mapped is the file before
        Map::of(File::open(folder.path()).expect("there"), folder.path(), "").map_or(Ok(()), |_| panic!("a folder"))
    }
    const CUT: &str = "VGGKIT_TEST_CUT";

    #[cfg(unix)]
    #[test]
    #[ignore = "ends its process; the test below starts it"]
    fn reads_what_was_cut() {
        let path = PathBuf::from(std::env::var_os(CUT).expect("a path"));
        let open = || File::options().read(true).write(true).open(&path).expect("there");
        let map = Map::of(open(), &path, "get it again").expect("mapped");
        let other = Map::of(open(), &path, "another").expect("mapped"); // one that has gone names nothing
        drop(other);
        open().set_len(0).expect("cut");
        // In threads of their own, as the workers of an engine are; which all fault at once.
        let (ready, sum) = (std::sync::Barrier::new(8), || map.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        std::thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(|| (ready.wait(), std::hint::black_box(sum())))));
        });
        panic!("read what is not there");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_cut_while_it_is_read_is_named_and_ends_with_1() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pack");
        for _ in 0..10 {
            std::fs::write(&path, vec![1; 1 << 16]).expect("written");
            let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
            let part = ["files::map::tests::reads_what_was_cut", "--exact", "--ignored", "--nocapture"];
            let output = command.args(part).env(CUT, &path).output().expect("it runs");
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{told}");
            let expected = format!("error: {}: cannot be read any more", path.display());
            assert!(told.contains(&expected) && told.contains("  help: get it again\n"), "{told}");
            assert_eq!(told.matches("error: ").count(), 1, "{told}");
        }
    }
}
