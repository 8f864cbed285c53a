//! Rows of `whatsapp_sessions` as a host could have left them.

#![no_main]

use std::cell::RefCell;

use baileys_guard_fuzz::sessions::Host;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static HOSTS: RefCell<(Runtime, [Host; 3])> = RefCell::new(hosts());
}

/// Files of this process, in `TMPDIR`; a file system in memory is many times faster.
fn hosts() -> (Runtime, [Host; 3]) {
    let folder = std::env::temp_dir().join(format!("baileys-guard-fuzz-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder of its own");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let hosts = runtime.block_on(Host::all(&folder));
    (runtime, hosts)
}

fuzz_target!(|data: &[u8]| {
    // Values are missing at the end without harm: the last byte may say which host this is, too.
    let which = usize::from(data.last().copied().unwrap_or_default()) % 3;
    HOSTS.with_borrow_mut(|(runtime, hosts)| runtime.block_on(hosts[which].check(data)));
});
