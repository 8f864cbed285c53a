//! Proof of life between processes of one machine, so that a restart need not wait for a TTL.
//!
//! Each incarnation holds an exclusive lock on a file named after it. The kernel drops the lock
//! when the process dies, however it dies, and keeps it while the process is stopped. A
//! neighbour that gets the lock has the proof. Whatever is uncertain (another folder, another
//! user, a missing file, a file system without locks) is `Unknown` and waits for the TTL.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::store::Peer;

/// What a look at a neighbour's lock file shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// The lock is held: the process exists, though it may be stopped.
    Alive,
    /// The lock is free: the process is gone.
    Gone,
    /// Nothing can be said.
    Unknown,
}

/// This machine's boot and the folder of lock files, as other processes can compare them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    folder: Option<PathBuf>,
    /// Which boot of which kernel this is.
    pub boot_id: Option<String>,
    /// The folder's identity under that kernel.
    pub lock_dir: Option<String>,
}

impl Place {
    /// Finds out where this process runs; makes the folder when it is missing.
    pub fn here() -> Self {
        let folder = private_folder().ok();
        if let Some(folder) = &folder {
            sweep(folder);
        }
        let lock_dir = folder.as_deref().and_then(|folder| identity(folder).ok());
        Self { folder: folder.filter(|_| lock_dir.is_some()), boot_id: boot_id(), lock_dir }
    }

    /// Takes the lock that proves that `incarnation` lives, for nobody to see until it is
    /// announced. `None` where that is not possible; neighbours then wait for the TTL.
    pub fn prove(&self, incarnation: &str) -> Option<Proof> {
        let path = self.folder.as_ref()?.join(format!("{incarnation}.new"));
        let file = File::options().create_new(true).write(true).open(&path).ok()?;
        file.try_lock().ok()?;
        Some(Proof { path, file })
    }

    /// Looks whether `peer` still lives. `one_machine` says that all users of the database run
    /// on this machine, as those of an SQLite file do: another boot is then proof enough.
    pub fn life_of(&self, peer: &Peer, one_machine: bool) -> Life {
        match (&self.boot_id, &peer.boot_id) {
            (Some(mine), Some(theirs)) if mine == theirs => {}
            (Some(_), Some(_)) if one_machine => return Life::Gone,
            // A system without boot ids: the folder alone tells, where there is one machine.
            (None, None) if one_machine => {}
            _ => return Life::Unknown,
        }
        match (&self.folder, &self.lock_dir, &peer.lock_dir) {
            (Some(folder), Some(mine), Some(theirs)) if mine == theirs => {
                look(&folder.join(file_name(&peer.incarnation)))
            }
            _ => Life::Unknown,
        }
    }

    /// Differs when a neighbour has come or gone since; compared, never read as a time.
    pub fn changed(&self) -> Option<SystemTime> {
        fs::metadata(self.folder.as_ref()?).ok()?.modified().ok()
    }

    /// Removes the lock file of an incarnation that is dead and buried.
    pub fn clear(&self, incarnation: &str) {
        if let Some(folder) = &self.folder {
            let _ = fs::remove_file(folder.join(file_name(incarnation)));
        }
    }
}

/// A held lock. Dropping it, or dying, leaves the file unlocked, which tells the neighbours.
#[derive(Debug)]
pub struct Proof {
    path: PathBuf,
    file: File,
}

impl Proof {
    /// Shows it under the name that neighbours look for, once the database knows the incarnation:
    /// they see the folder change and ask the database who has come.
    pub fn announce(mut self) -> Self {
        let path = self.path.with_extension(ALIVE);
        if fs::rename(&self.path, &path).is_ok() {
            self.path = path;
        }
        self
    }

    /// Ends the proof without leaving one of death: the database knows already.
    pub fn remove(self) {
        drop(self.file); // Windows refuses to remove an open file
        let _ = fs::remove_file(&self.path);
    }
}

/// Ending of the names that neighbours look for.
const ALIVE: &str = "alive";

fn file_name(incarnation: &str) -> String {
    format!("{incarnation}.{ALIVE}")
}

/// Removes what processes left whose database nobody watches any more. Files of the last day
/// stay: somebody may still be waiting to find them unlocked.
fn sweep(folder: &Path) {
    const A_DAY: Duration = Duration::from_secs(86_400);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|found| found.modified()).map(|at| at.elapsed());
        if matches!(age, Ok(Ok(age)) if age > A_DAY) && look(&entry.path()) == Life::Gone {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn look(path: &Path) -> Life {
    // A missing file proves nothing: somebody may have emptied the temporary folder.
    let Ok(file) = File::open(path) else { return Life::Unknown };
    // Shared, so that two neighbours who look at the same moment do not see each other.
    match file.try_lock_shared() {
        Ok(()) => Life::Gone,
        Err(TryLockError::WouldBlock) => Life::Alive,
        Err(TryLockError::Error(_)) => Life::Unknown,
    }
}

#[cfg(unix)]
fn private_folder() -> io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let uid = rustix::process::geteuid().as_raw();
    let folder = std::env::temp_dir().join(format!("baileys-guard-{uid}"));
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Somebody else's folder of this name, or a link, must not decide who is dead.
    let found = fs::symlink_metadata(&folder)?;
    if found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0 {
        Ok(folder)
    } else {
        Err(io::Error::from(io::ErrorKind::PermissionDenied))
    }
}

#[cfg(not(unix))]
fn private_folder() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join("baileys-guard");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

#[cfg(unix)]
fn identity(folder: &Path) -> io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(folder)?;
    Ok(format!("{:x}:{:x}", found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity(folder: &Path) -> io::Result<String> {
    Ok(folder.canonicalize()?.to_string_lossy().into_owned())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn boot_id() -> Option<String> {
    id_of_the_kernel(Path::new("/proc/sys/kernel/random/boot_id"), Path::new("/proc/sys/kernel"))
}

/// What the file says, if it lies in the kernel's file system. systemd-nspawn mounts one with an id
/// of its own over it for each container, and a living neighbour would look like one of another boot.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn id_of_the_kernel(file: &Path, kernel: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata(file).ok()?.dev() != fs::metadata(kernel).ok()?.dev() {
        return None;
    }
    let id = fs::read_to_string(file).ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn boot_id() -> Option<String> {
    None // no boot id without an unsafe call; neighbours there wait for the TTL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(place: &Place, incarnation: &str) -> Peer {
        Peer {
            incarnation: incarnation.into(),
            instance_id: "peer".into(),
            ttl: Duration::from_secs(1),
            beat: 1,
            boot_id: place.boot_id.clone(),
            lock_dir: place.lock_dir.clone(),
        }
    }

    fn fresh(name: &str) -> String {
        format!("test-{}-{name}", uuid::Uuid::new_v4())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_held_lock_is_life_and_a_dropped_one_death() {
        let place = Place::here();
        let id = fresh("held");
        let proof = place.prove(&id).expect("a private temporary folder");
        assert_eq!(place.life_of(&peer(&place, &id), false), Life::Unknown);
        let proof = proof.announce();
        assert_eq!(place.life_of(&peer(&place, &id), false), Life::Alive);
        drop(proof); // as the kernel does after SIGKILL
        assert_eq!(place.life_of(&peer(&place, &id), false), Life::Gone);
        place.clear(&id);
        assert_eq!(place.life_of(&peer(&place, &id), false), Life::Unknown);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_boot_id_that_is_mounted_over_the_kernels_is_none() {
        let kernel = Path::new("/proc/sys/kernel");
        let own = kernel.join("random/boot_id");
        assert_eq!(id_of_the_kernel(&own, kernel), boot_id());
        let made_up = std::env::temp_dir().join(fresh("boot-id"));
        fs::write(&made_up, "11111111-2222-3333-4444-555555555555\n").unwrap();
        assert_eq!(id_of_the_kernel(&made_up, kernel), None);
        fs::remove_file(&made_up).unwrap();
    }

    #[test]
    fn another_place_proves_nothing_but_another_boot_does_on_one_machine() {
        let mut place = Place::here();
        place.boot_id = Some("boot-1".into());
        let mut other = peer(&place, &fresh("other"));
        other.lock_dir = Some("elsewhere".into());
        assert_eq!(place.life_of(&other, true), Life::Unknown);
        other.boot_id = Some("boot-2".into());
        assert_eq!(place.life_of(&other, false), Life::Unknown);
        assert_eq!(place.life_of(&other, true), Life::Gone);
        other.boot_id = None;
        assert_eq!(place.life_of(&other, true), Life::Unknown);
        place.boot_id = None;
        assert_eq!(place.life_of(&other, true), Life::Unknown);
    }
}
