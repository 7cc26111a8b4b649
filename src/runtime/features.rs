//! What this runtime knows of the specification (runtime-spec, features.md and features-linux.md). The lists are those
//! that the code goes by; what the host has does not count, but for the flags of seccomp that its kernel takes.

use super::bundle::{VERSIONS, kinds_of_hooks};
use super::capabilities::CapabilitySet;
use super::namespaces::KINDS;
use super::scheduling::{MEMORY_FLAGS, MEMORY_MODES};
use super::{annotations, mount_options, seccomp};
use oci_spec::runtime::{
    Apparmor, Cgroup, Features, Hooks, IDMap, IntelRdt, LinuxFeature, MemoryPolicy,
    MountExtensions, NetDevices, Seccomp, Selinux,
};

/// What `features` says.
pub fn features() -> Features {
    let hooks = kinds_of_hooks(&Hooks::default()).map(|(kind, _)| kind.to_owned());
    let version = ("org.onggi.version", env!("CARGO_PKG_VERSION"));
    let own = [version].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut features = Features::default();
    features
        .set_oci_version_min(VERSIONS[0].to_owned())
        .set_oci_version_max(VERSIONS[1].to_owned())
        .set_hooks(Some(hooks.to_vec()))
        .set_mount_options(Some(mount_options::words()))
        .set_linux(Some(linux()))
        .set_annotations(Some(own.into()))
        .set_potentially_unsafe_config_annotations(Some(owned(annotations::ACTING)));
    features
}

fn owned(words: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    words.into_iter().map(Into::into).collect()
}

fn linux() -> LinuxFeature {
    let yes = Some(true);
    let mut cgroup = Cgroup::default();
    cgroup
        .set_v1(Some(false))
        .set_v2(yes)
        .set_systemd(yes)
        .set_systemd_user(yes)
        .set_rdma(yes);
    let (mut apparmor, mut selinux) = (Apparmor::default(), Selinux::default());
    apparmor.set_enabled(yes);
    selinux.set_enabled(yes);
    let mut memory = MemoryPolicy::default();
    memory
        .set_modes(Some(owned(MEMORY_MODES.map(|(mode, _)| mode.to_string()))))
        .set_flags(Some(owned(MEMORY_FLAGS.map(|(flag, _)| flag.to_string()))));
    let (mut ids, mut extensions) = (IDMap::default(), MountExtensions::default());
    ids.set_enabled(yes);
    extensions.set_idmap(Some(ids));
    let (mut resctrl, mut devices) = (IntelRdt::default(), NetDevices::default());
    resctrl
        .set_enabled(yes)
        .set_schemata(yes)
        .set_monitoring(yes);
    devices.set_enabled(yes);
    let mut linux = LinuxFeature::default();
    linux
        .set_namespaces(Some(KINDS.map(|(kind, ..)| kind).to_vec()))
        .set_capabilities(Some(owned(CapabilitySet::ALL.names())))
        .set_cgroup(Some(cgroup))
        .set_seccomp(Some(seccomp()))
        .set_apparmor(Some(apparmor))
        .set_selinux(Some(selinux))
        .set_intel_rdt(Some(resctrl))
        .set_memory_policy(Some(memory))
        .set_mount_extensions(Some(extensions))
        .set_net_devices(Some(devices));
    linux
}

fn seccomp() -> Seccomp {
    let mut flags: Vec<_> = seccomp::known_flags().collect();
    flags.sort_by_key(|(flag, _)| flag.to_string());
    let taken = flags.iter().filter(|(_, is_taken)| *is_taken);
    let mut seccomp = Seccomp::default();
    seccomp
        .set_enabled(Some(true))
        .set_actions(Some(seccomp::ACTIONS.to_vec()))
        .set_operators(Some(owned(seccomp::OPERATORS.map(|word| word.to_string()))))
        .set_archs(Some(seccomp::architectures().to_vec()))
        .set_known_flags(Some(owned(flags.iter().map(|(flag, _)| flag.to_string()))))
        .set_supported_flags(Some(owned(taken.map(|(flag, _)| flag.to_string()))));
    seccomp
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::seccomp::Identity;
    use serde_json::{Value, json};

    fn value() -> Value {
        serde_json::to_value(features()).unwrap()
    }

    /// Those of runc 1.1, but for what a kernel has had no use for in ten years and what this does not do.
    #[test]
    fn it_is_written_as_callers_read_it() {
        let features = value();
        for (pointer, expected) in [
            ("/ociVersionMin", json!("1.0.0")),
            (
                "/hooks",
                json!([
                    "prestart",
                    "createRuntime",
                    "createContainer",
                    "startContainer",
                    "poststart",
                    "poststop"
                ]),
            ),
            (
                "/linux/namespaces",
                json!([
                    "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"
                ]),
            ),
            (
                "/linux/cgroup",
                json!({"v1": false, "v2": true, "systemd": true, "systemdUser": true, "rdma": true}),
            ),
            ("/linux/seccomp/actions/0", json!("SCMP_ACT_ALLOW")),
            ("/linux/seccomp/operators/5", json!("SCMP_CMP_MASKED_EQ")),
            (
                "/linux/seccomp/knownFlags/0",
                json!("SECCOMP_FILTER_FLAG_LOG"),
            ),
            ("/linux/mountExtensions/idmap/enabled", json!(true)),
            ("/linux/capabilities/0", json!("CAP_CHOWN")),
            ("/linux/memoryPolicy/modes/1", json!("MPOL_BIND")),
        ] {
            assert_eq!(features.pointer(pointer), Some(&expected), "{pointer}");
        }
        let options = features["mountOptions"].as_array().unwrap();
        assert!(options.is_sorted_by_key(|word| word.as_str().unwrap().to_owned()));
        assert!(!features.to_string().contains("null"));
    }

    /// What is listed of seccomp makes a filter.
    #[test]
    fn each_word_of_seccomp_compiles() {
        let seccomp = &value()["linux"]["seccomp"];
        let words = |list: &str| seccomp[list].as_array().unwrap().clone();
        let compile = |policy: Value| {
            let parsed = serde_json::from_value(policy.clone()).unwrap();
            seccomp::compile(&parsed, Identity::Mapped)
                .unwrap_or_else(|error| panic!("{policy}: {error:#}"))
        };
        let path = "/run/agent";
        for action in words("actions") {
            compile(json!({
                "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
                "syscalls": [{ "names": ["getcwd"], "action": action }],
            }));
        }
        for operator in words("operators") {
            let args = [json!({ "index": 0, "value": 1, "valueTwo": 1, "op": operator })];
            compile(json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "args": args }],
            }));
        }
        let all = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
            "architectures": words("archs"), "flags": words("supportedFlags"),
            "syscalls": [{ "names": ["getcwd"], "action": "SCMP_ACT_NOTIFY" }],
        });
        compile(all);
        // Any kernel that runs this knows one of Linux 4.14.
        assert!(words("supportedFlags").contains(&json!("SECCOMP_FILTER_FLAG_LOG")));
    }
}
