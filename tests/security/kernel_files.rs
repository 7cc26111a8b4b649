//! Files by which the kernel is told to run programs as root of the host, or to stop: `core_pattern`, `modprobe`,
//! `uevent_helper`, `binfmt_misc`, `sysrq-trigger`; and those that show its memory.

use crate::situation::{exec_shell, web};
use crate::support::{Store, User, everyone_in_memory, store};
use std::path::Path;

const DANGEROUS: [&str; 12] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/kernel/panic",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/power/state",
    "/sys/class/mem/null/uevent",
];

/// Says what can be opened for writing; nothing is written. Then what might open it again.
fn attempt() -> String {
    format!(
        "for file in {}; do test -e $file && (exec 3>>$file) 2>/dev/null && echo writable $file; done
         for path in /proc/sys /proc/irq /sys /sys/firmware /proc/kcore; do
             umount $path 2>/dev/null && echo unmounted $path
             mount -o remount,rw $path 2>/dev/null && echo remounted $path
         done
         mkdir -p /x; mount -t proc none /x 2>/dev/null && echo mounted proc; mount -t sysfs none /x 2>/dev/null && echo mounted sysfs
         for file in /proc/kcore /dev/mem /dev/kmem /dev/port /dev/kmsg; do
             test -n \"$(head -c 1 $file 2>/dev/null | od)\" && test $(head -c 1 $file 2>/dev/null | wc -c) = 1 && echo readable $file
         done; dmesg 2>/dev/null | head -c 1 | grep -c . | grep -v 0; true",
        DANGEROUS.join(" ")
    )
}

#[test]
fn none_can_be_opened() {
    for store in everyone_in_memory() {
        store.shell(&[], &attempt()).run().code(0).stdout("");
        web(&store, &[], "");
        exec_shell(&store, &[], &attempt()).code(0).stdout("");
        // More than the default, but not the keys to the house.
        let more = [
            "SYS_RAWIO",
            "SYS_PTRACE",
            "DAC_READ_SEARCH",
            "NET_ADMIN",
            "SYS_BOOT",
        ];
        let more = more.map(|name| ["--cap-add", name]).concat();
        store.shell(&more, &attempt()).run().code(0).stdout("");
    }
}

/// With everything open they are there, all that this kernel has.
#[test]
fn without_the_wall() {
    let Some(store) = store(User::Root).filter(Store::alpine) else {
        return;
    };
    let outcome = store.shell(&["--privileged"], &attempt()).run();
    outcome.code(0).stdout_has("mounted proc\n");
    for file in DANGEROUS.iter().filter(|file| Path::new(file).exists()) {
        outcome.stdout_has(&format!("writable {file}\n"));
    }
    if Path::new("/proc/kcore").exists() {
        outcome.stdout_has("readable /proc/kcore\n");
    }
}
