//! Capabilities by name, Docker's choice of them, and putting them on a process: capabilities(7), runtime-spec
//! `config.md`, "Capabilities". Which options a user gave is not known here.
//!
//! Invariant: a [`CapabilitySet`] holds only numbers that have a name, so that it can always be shown.

use crate::error::bad_input;
use crate::sys;
use anyhow::{Context, Result};
use oci_spec::runtime::{Capability, LinuxCapabilities};
use std::fmt;
use std::ops::BitOr;

/// Name and type of each capability; the index is its number in linux/capability.h.
static TABLE: [(&str, Capability); 41] = [
    ("CAP_CHOWN", Capability::Chown),
    ("CAP_DAC_OVERRIDE", Capability::DacOverride),
    ("CAP_DAC_READ_SEARCH", Capability::DacReadSearch),
    ("CAP_FOWNER", Capability::Fowner),
    ("CAP_FSETID", Capability::Fsetid),
    ("CAP_KILL", Capability::Kill),
    ("CAP_SETGID", Capability::Setgid),
    ("CAP_SETUID", Capability::Setuid),
    ("CAP_SETPCAP", Capability::Setpcap),
    ("CAP_LINUX_IMMUTABLE", Capability::LinuxImmutable),
    ("CAP_NET_BIND_SERVICE", Capability::NetBindService),
    ("CAP_NET_BROADCAST", Capability::NetBroadcast),
    ("CAP_NET_ADMIN", Capability::NetAdmin),
    ("CAP_NET_RAW", Capability::NetRaw),
    ("CAP_IPC_LOCK", Capability::IpcLock),
    ("CAP_IPC_OWNER", Capability::IpcOwner),
    ("CAP_SYS_MODULE", Capability::SysModule),
    ("CAP_SYS_RAWIO", Capability::SysRawio),
    ("CAP_SYS_CHROOT", Capability::SysChroot),
    ("CAP_SYS_PTRACE", Capability::SysPtrace),
    ("CAP_SYS_PACCT", Capability::SysPacct),
    ("CAP_SYS_ADMIN", Capability::SysAdmin),
    ("CAP_SYS_BOOT", Capability::SysBoot),
    ("CAP_SYS_NICE", Capability::SysNice),
    ("CAP_SYS_RESOURCE", Capability::SysResource),
    ("CAP_SYS_TIME", Capability::SysTime),
    ("CAP_SYS_TTY_CONFIG", Capability::SysTtyConfig),
    ("CAP_MKNOD", Capability::Mknod),
    ("CAP_LEASE", Capability::Lease),
    ("CAP_AUDIT_WRITE", Capability::AuditWrite),
    ("CAP_AUDIT_CONTROL", Capability::AuditControl),
    ("CAP_SETFCAP", Capability::Setfcap),
    ("CAP_MAC_OVERRIDE", Capability::MacOverride),
    ("CAP_MAC_ADMIN", Capability::MacAdmin),
    ("CAP_SYSLOG", Capability::Syslog),
    ("CAP_WAKE_ALARM", Capability::WakeAlarm),
    ("CAP_BLOCK_SUSPEND", Capability::BlockSuspend),
    ("CAP_AUDIT_READ", Capability::AuditRead),
    ("CAP_PERFMON", Capability::Perfmon),
    ("CAP_BPF", Capability::Bpf),
    ("CAP_CHECKPOINT_RESTORE", Capability::CheckpointRestore),
];

/// A set of capabilities: bit n is number n.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// Every capability that has a name here.
    pub const ALL: Self = Self((1 << TABLE.len()) - 1);
    /// What Docker gives to a container without being asked.
    pub const DOCKER_DEFAULT: Self = named(
        "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP \
         SETUID SYS_CHROOT",
    );

    /// What it takes to change networks.
    pub const NET_ADMIN: Self = named("NET_ADMIN");

    /// The set with these bits; numbers without a name are left out.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The bits, as capset(2) counts them.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// What the running kernel knows: the ceiling in a user namespace of one's own.
    pub fn known() -> Self {
        Self::from_bits(sys::capability::known())
    }

    /// The bounding set of the calling thread: the ceiling without a user namespace of one's own.
    pub fn bounding() -> Self {
        Self::from_bits(sys::capability::bounding())
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this set and not in `other`.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, with `CAP_`, in the kernel's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.rows().map(|(name, _)| *name)
    }

    /// As `config.json` holds it.
    pub fn to_oci(self) -> oci_spec::runtime::Capabilities {
        self.rows().map(|(_, capability)| *capability).collect()
    }

    /// From what `config.json` holds.
    pub fn from_oci(capabilities: &oci_spec::runtime::Capabilities) -> Self {
        let bits = TABLE
            .iter()
            .enumerate()
            .filter(|(_, (_, capability))| capabilities.contains(capability));
        Self(bits.fold(0, |bits, (number, _)| bits | 1 << number))
    }

    /// The capability called `name`: any case, with or without `CAP_`.
    pub fn parse(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = TABLE
            .iter()
            .position(|(known, _)| known.strip_prefix("CAP_") == Some(short))?;
        Some(Self(1 << number))
    }

    fn rows(self) -> impl Iterator<Item = &'static (&'static str, Capability)> {
        TABLE
            .iter()
            .enumerate()
            .filter(move |(number, _)| self.0 >> number & 1 == 1)
            .map(|(_, row)| row)
    }
}

impl BitOr for CapabilitySet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// The set of these names (without `CAP_`, separated by spaces). An unknown name does not compile where the
/// result is a constant.
pub(crate) const fn named(names: &str) -> CapabilitySet {
    let names = names.as_bytes();
    let (mut bits, mut start) = (0, 0);
    while start < names.len() {
        let mut end = start;
        while end < names.len() && names[end] != b' ' {
            end += 1;
        }
        let mut number = 0;
        while !is_named(TABLE[number].0.as_bytes(), names, start, end) {
            number += 1;
        }
        bits |= 1 << number;
        start = end + 1;
    }
    CapabilitySet(bits)
}

const fn is_named(full: &[u8], names: &[u8], start: usize, end: usize) -> bool {
    let prefix = "CAP_".len();
    let mut at = start;
    while at < end && prefix + at - start < full.len() && full[prefix + at - start] == names[at] {
        at += 1;
    }
    at == end && prefix + end - start == full.len()
}

/// What `--cap-add` and `--cap-drop` leave of `base`, under the ceiling `available`.
///
/// Docker's rules: `--privileged` gives everything available. `ALL` among the added gives everything but what
/// is dropped; else `ALL` among the dropped leaves only what is added; else what is dropped goes first and what
/// is added comes after, so that a name in both lists is present.
///
/// Errors: a name no kernel knows, or one that is not available here.
pub fn tweak(
    base: CapabilitySet,
    add: &[String],
    drop: &[String],
    privileged: bool,
    available: CapabilitySet,
) -> Result<CapabilitySet> {
    if privileged {
        return Ok(available);
    }
    let (drop_all, drop) = parse_list(drop, available)?;
    let (add_all, add) = parse_list(add, available)?;
    let base = base.intersection(available);
    Ok(match (add_all, drop_all) {
        (true, _) => available.difference(drop),
        (false, true) => add,
        (false, false) => base.difference(drop) | add,
    })
}

/// Whether `ALL` is in the list, and the others.
fn parse_list(names: &[String], available: CapabilitySet) -> Result<(bool, CapabilitySet)> {
    let mut all = false;
    let mut set = CapabilitySet::EMPTY;
    for name in names {
        if name.eq_ignore_ascii_case("ALL") {
            all = true;
            continue;
        }
        let Some(capability) = CapabilitySet::parse(name) else {
            let error = bad_input(format!("invalid capability: unknown capability: {name:?}"));
            return Err(error
                .hint("capabilities(7) lists the names, for example NET_ADMIN")
                .into());
        };
        if !available.contains(capability) {
            let name = capability.names().next().unwrap_or(name);
            return Err(bad_input(format!(
                "invalid capability: capability not supported by your kernel or not available in the current \
                 environment: {name:?}"
            ))
            .hint("see CapBnd in /proc/self/status")
            .into());
        }
        set = set | capability;
    }
    Ok((all, set))
}

/// The five sets of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessCapabilities {
    /// The ceiling for what execve(2) can give.
    pub bounding: CapabilitySet,
    /// What permission checks look at.
    pub effective: CapabilitySet,
    /// What may be made effective.
    pub permitted: CapabilitySet,
    /// What a file's inheritable set may keep.
    pub inheritable: CapabilitySet,
    /// What a user other than 0 keeps across execve(2).
    pub ambient: CapabilitySet,
}

impl ProcessCapabilities {
    /// What Docker writes: for user 0 the set is bounding, permitted and effective; for others only bounding,
    /// which is what execve(2) would make of it. Nothing is inheritable (CVE-2022-24769).
    pub fn docker(set: CapabilitySet, user_id: u32) -> Self {
        let held = if user_id == 0 {
            set
        } else {
            CapabilitySet::EMPTY
        };
        Self {
            bounding: set,
            effective: held,
            permitted: held,
            ..Self::default()
        }
    }

    /// As `config.json` holds them.
    pub fn to_oci(&self) -> LinuxCapabilities {
        let mut capabilities = LinuxCapabilities::default();
        let some = |set: CapabilitySet| Some(set.to_oci());
        capabilities
            .set_bounding(some(self.bounding))
            .set_effective(some(self.effective))
            .set_permitted(some(self.permitted))
            .set_inheritable(some(self.inheritable))
            .set_ambient(some(self.ambient));
        capabilities
    }

    /// From what `config.json` holds; a set that is missing there is empty. What this kernel does not know is
    /// left out, as runtime-spec wants it.
    pub fn from_oci(capabilities: &LinuxCapabilities, available: CapabilitySet) -> Self {
        let set = |set: &Option<oci_spec::runtime::Capabilities>| {
            set.as_ref()
                .map(CapabilitySet::from_oci)
                .unwrap_or_default()
                .intersection(available)
        };
        Self {
            bounding: set(capabilities.bounding()),
            effective: set(capabilities.effective()),
            permitted: set(capabilities.permitted()),
            inheritable: set(capabilities.inheritable()),
            ambient: set(capabilities.ambient()),
        }
    }

    /// Leaves out what the calling process has not got and so cannot give, and what cannot be ambient; the second is what
    /// there is to be said of that (config.md, "capabilities"). What is left out of the bounding set alone cannot be
    /// missed.
    pub fn to_be_had(&self) -> Result<(Self, Vec<String>)> {
        let own = CapabilitySet::from_bits(sys::capability::get()?.permitted);
        let wanted = self.effective | self.permitted | self.inheritable | self.ambient;
        let (permitted, inheritable) = (
            self.permitted.intersection(own),
            self.inheritable.intersection(own),
        );
        let ambient = self.ambient.intersection(permitted);
        let granted = Self {
            bounding: self.bounding,
            effective: self.effective.intersection(own),
            permitted,
            inheritable,
            ambient: ambient.intersection(inheritable),
        };
        let mut warnings = Vec::new();
        let listed = |set: CapabilitySet| set.names().collect::<Vec<_>>().join(", ");
        let missing = listed(wanted.difference(own));
        if !missing.is_empty() {
            warnings.push(format!(
                "the container goes without {missing}: onggi has not got it itself"
            ));
        }
        let refused = listed(self.ambient.intersection(own).difference(granted.ambient));
        // Without any that is inheritable none is meant to be ambient: so engines write since CVE-2022-24769.
        if !refused.is_empty() && !self.inheritable.is_empty() {
            // In the words of runc.
            warnings.push(format!(
                "can't raise ambient capability {refused}: not both permitted and inheritable"
            ));
        }
        Ok((granted, warnings))
    }

    /// First step, while the process still has `CAP_SETPCAP`: the bounding set shrinks. Ambient capabilities are
    /// the only ones a user other than 0 keeps across execve(2); for them the permitted set is told to survive
    /// the change of the user id.
    pub fn limit(&self) -> Result<()> {
        sys::capability::limit_bounding(self.bounding.bits()).context("limit the bounding set")?;
        if !self.ambient.is_empty() {
            sys::capability::keep_across_setuid().context("keep capabilities across setuid")?;
        }
        Ok(())
    }

    /// Last step, after the user id has changed: the other four sets. Nothing can be added afterwards.
    pub fn apply(&self) -> Result<()> {
        let sets = sys::capability::Sets {
            effective: self.effective.bits(),
            permitted: self.permitted.bits(),
            inheritable: self.inheritable.bits(),
        };
        sys::capability::set(sets).context("set capabilities")?;
        sys::capability::set_ambient(self.ambient.bits()).context("set ambient capabilities")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::str::FromStr;

    fn strings(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_table_is_in_the_kernels_order() {
        for (number, (name, capability)) in TABLE.iter().enumerate() {
            let index = caps::Capability::from_str(name).unwrap().index();
            assert_eq!(usize::from(index), number, "{name}");
            assert_eq!(format!("CAP_{capability}"), *name);
        }
        assert_eq!(CapabilitySet::ALL.names().count(), caps::all().len());
    }

    #[test]
    fn dockers_default_is_what_every_host_prints() {
        assert_eq!(CapabilitySet::DOCKER_DEFAULT.bits(), 0xa804_25fb);
    }

    #[test]
    fn names_are_read_in_any_case_with_and_without_prefix() {
        let expect = Some(named("NET_ADMIN"));
        for name in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_Net_Admin"] {
            assert_eq!(CapabilitySet::parse(name), expect, "{name}");
        }
        for name in ["", "CAP_", "NET", "NET_ADMINS", "CAP_CAP_NET_ADMIN", "ALL"] {
            assert_eq!(CapabilitySet::parse(name), None, "{name}");
        }
    }

    #[test]
    fn tweaking_follows_dockers_precedence() {
        let all = CapabilitySet::ALL;
        let base = CapabilitySet::DOCKER_DEFAULT;
        let check = |add: &str, drop: &str, expect: CapabilitySet| {
            let result = tweak(base, &strings(add), &strings(drop), false, all).unwrap();
            assert_eq!(result, expect, "add {add:?} drop {drop:?}");
        };
        check("", "", base);
        check("sys_time", "", base | named("SYS_TIME"));
        check("", "CHOWN", base.difference(named("CHOWN")));
        check("CHOWN", "CHOWN", base);
        check("CHOWN", "ALL", named("CHOWN"));
        check("", "all", CapabilitySet::EMPTY);
        check("ALL", "", all);
        check("ALL", "SYS_ADMIN", all.difference(named("SYS_ADMIN")));
        check("ALL", "ALL", all);
        check(
            "ALL SYS_TIME",
            "SYS_TIME",
            all.difference(named("SYS_TIME")),
        );
    }

    #[test]
    fn the_ceiling_holds_and_is_named() {
        let available = CapabilitySet::ALL.difference(named("SYS_RESOURCE MKNOD"));
        let base = CapabilitySet::DOCKER_DEFAULT;
        let kept = tweak(base, &[], &[], false, available).unwrap();
        assert_eq!(kept, base.difference(named("MKNOD")));
        assert_eq!(tweak(base, &[], &[], true, available).unwrap(), available);
        assert_eq!(
            tweak(base, &strings("ALL"), &[], false, available).unwrap(),
            available
        );
        let error = tweak(base, &strings("sys_resource"), &[], false, available).unwrap_err();
        assert!(
            error.to_string().ends_with("\"CAP_SYS_RESOURCE\""),
            "{error}"
        );
        let error = tweak(base, &[], &strings("NOPE"), false, available).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid capability: unknown capability: \"NOPE\""
        );
    }

    #[test]
    fn the_oci_form_keeps_every_set() {
        let capabilities = ProcessCapabilities {
            bounding: CapabilitySet::ALL,
            effective: named("CHOWN KILL"),
            permitted: named("CHOWN KILL BPF"),
            inheritable: named("BPF"),
            ambient: CapabilitySet::EMPTY,
        };
        let oci = capabilities.to_oci();
        assert_eq!(
            ProcessCapabilities::from_oci(&oci, CapabilitySet::ALL),
            capabilities
        );
        let old_kernel = CapabilitySet::ALL.difference(named("BPF"));
        assert_eq!(
            ProcessCapabilities::from_oci(&oci, old_kernel).inheritable,
            CapabilitySet::EMPTY
        );
        let user = ProcessCapabilities::docker(CapabilitySet::DOCKER_DEFAULT, 1000);
        assert_eq!(user.effective | user.permitted, CapabilitySet::EMPTY);
    }

    #[test]
    fn a_thread_that_applies_them_has_them() {
        let held = CapabilitySet::from_bits(sys::capability::get().unwrap().permitted);
        if !held.contains(named("SETPCAP")) {
            // Without CAP_SETPCAP nothing can be taken from the bounding set, and the step must say so.
            let error = ProcessCapabilities::default().limit().unwrap_err();
            assert!(
                format!("{error:#}").contains("PR_CAPBSET_DROP"),
                "{error:#}"
            );
            return;
        }
        // Capabilities belong to threads, so this one can throw its own away.
        let thread = std::thread::spawn(move || {
            let set = CapabilitySet::DOCKER_DEFAULT.intersection(held);
            let mut wanted = ProcessCapabilities::docker(set, 0);
            wanted.inheritable = named("CHOWN");
            wanted.ambient = named("CHOWN");
            wanted.limit().unwrap();
            wanted.apply().unwrap();
            let sets = sys::capability::get().unwrap();
            assert_eq!(sets.effective, wanted.effective.bits());
            assert_eq!(sets.permitted, wanted.permitted.bits());
            assert_eq!(sets.inheritable, wanted.inheritable.bits());
            assert_eq!(CapabilitySet::bounding(), wanted.bounding);
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("CapAmb:\t0000000000000001\n"), "{status}");
        });
        thread.join().unwrap();
    }
}
