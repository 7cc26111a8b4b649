//! What becomes of each field of `config.json`: the table, and the proof that it is whole. The fields are those that the
//! types of the specification are read from, found by reading them from nothing.

use super::*;
use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Where a field, and everything below it, is seen to.
const APPLIED: &[(&str, &str)] = &[
    ("ociVersion", "bundle/check: version"),
    ("root.path", "bundle: root"),
    ("root.readonly", "rootfs: restrict"),
    ("mounts", "mount_options, rootfs/mounts, rootfs/trees"),
    ("hostname", "process/init: set_names"),
    ("domainname", "process/init: set_names"),
    ("hooks", "hooks"),
    ("annotations", "lifecycle/record: Record"),
    ("process.terminal", "process/program: open_terminal"),
    ("process.consoleSize", "process/program: open_terminal"),
    ("process.user.uid", "process/program: take_identity"),
    ("process.user.gid", "process/program: take_identity"),
    ("process.user.umask", "process/program: confine"),
    (
        "process.user.additionalGids",
        "process/program: take_identity",
    ),
    ("process.args", "process/program: execute_program"),
    ("process.env", "process/program: execute_program"),
    ("process.cwd", "process/program: enter_working_directory"),
    ("process.capabilities", "capabilities"),
    ("process.rlimits", "process/program: set_limits"),
    ("process.noNewPrivileges", "process/program: confine"),
    ("process.apparmorProfile", "lsm"),
    ("process.selinuxLabel", "lsm"),
    ("process.oomScoreAdj", "process/program: set_attributes"),
    ("process.ioPriority", "scheduling"),
    ("process.scheduler", "scheduling"),
    ("process.execCPUAffinity", "scheduling, process/exec"),
    ("linux.memoryPolicy", "scheduling"),
    ("linux.netDevices", "net_devices"),
    ("linux.intelRdt", "resctrl"),
    ("linux.namespaces", "namespaces, process/parent"),
    ("linux.uidMappings", "plan: user"),
    ("linux.gidMappings", "plan: user"),
    ("linux.timeOffsets", "namespaces: time_offsets"),
    ("linux.sysctl", "namespaces: sysctl"),
    ("linux.devices", "rootfs/devices"),
    ("linux.cgroupsPath", "lifecycle/group: find"),
    ("linux.resources.devices", "cgroup/devices"),
    ("linux.resources.memory.limit", "cgroup/resources: memory"),
    (
        "linux.resources.memory.reservation",
        "cgroup/resources: memory",
    ),
    ("linux.resources.memory.swap", "cgroup/resources: memory"),
    (
        "linux.resources.memory.checkBeforeUpdate",
        "cgroup/resources: in_use",
    ),
    ("linux.resources.cpu.shares", "cgroup/resources: processor"),
    ("linux.resources.cpu.quota", "cgroup/resources: processor"),
    ("linux.resources.cpu.period", "cgroup/resources: processor"),
    ("linux.resources.cpu.burst", "cgroup/resources: processor"),
    ("linux.resources.cpu.idle", "cgroup/resources: processor"),
    ("linux.resources.cpu.cpus", "cgroup/resources: cpuset"),
    ("linux.resources.cpu.mems", "cgroup/resources: cpuset"),
    ("linux.resources.pids", "cgroup/resources: settings"),
    (
        "linux.resources.blockIO.weight",
        "cgroup/resources: block_io",
    ),
    (
        "linux.resources.blockIO.weightDevice.major",
        "cgroup/resources: block_io",
    ),
    (
        "linux.resources.blockIO.weightDevice.minor",
        "cgroup/resources: block_io",
    ),
    (
        "linux.resources.blockIO.weightDevice.weight",
        "cgroup/resources: block_io",
    ),
    (
        "linux.resources.blockIO.throttleReadBpsDevice",
        "cgroup/resources: block_io",
    ),
    (
        "linux.resources.blockIO.throttleWriteBpsDevice",
        "cgroup/resources: block_io",
    ),
    (
        "linux.resources.blockIO.throttleReadIOPSDevice",
        "cgroup/resources: block_io",
    ),
    (
        "linux.resources.blockIO.throttleWriteIOPSDevice",
        "cgroup/resources: block_io",
    ),
    (
        "linux.resources.hugepageLimits",
        "cgroup/resources: huge_pages",
    ),
    ("linux.resources.rdma", "cgroup/resources: rdma"),
    ("linux.resources.unified", "cgroup/resources: unified"),
    ("linux.personality", "scheduling"),
    ("linux.seccomp", "seccomp"),
    ("linux.rootfsPropagation", "rootfs: spread_root"),
    ("linux.maskedPaths", "rootfs: restrict"),
    ("linux.readonlyPaths", "rootfs: restrict"),
    ("linux.mountLabel", "rootfs/mounts"),
];

/// Refused by name, with everything below.
const REFUSED: &[(&str, &str)] = &[
    ("solaris", "bundle: foreign"),
    ("windows", "bundle: foreign"),
    ("vm", "bundle: foreign"),
    ("zos", "bundle: foreign"),
    ("process.commandLine", "bundle/check: process"),
    (
        "linux.resources.memory.disableOOMKiller",
        "cgroup/resources: of_version_1",
    ),
    (
        "linux.resources.cpu.realtimeRuntime",
        "cgroup/resources: of_version_1",
    ),
    (
        "linux.resources.cpu.realtimePeriod",
        "cgroup/resources: of_version_1",
    ),
    (
        "linux.resources.blockIO.leafWeight",
        "cgroup/resources: of_version_1",
    ),
    (
        "linux.resources.blockIO.weightDevice.leafWeight",
        "cgroup/resources: of_version_1",
    ),
    ("linux.resources.network", "cgroup/resources: of_version_1"),
];

/// Passed over with a warning, with everything below.
const WARNED: &[(&str, &str)] = &[
    ("process.user.username", "bundle/check: process"),
    (
        "linux.resources.memory.kernel",
        "cgroup/resources: of_version_1",
    ),
    (
        "linux.resources.memory.kernelTCP",
        "cgroup/resources: of_version_1",
    ),
    (
        "linux.resources.memory.swappiness",
        "cgroup/resources: of_version_1",
    ),
    (
        "linux.resources.memory.useHierarchy",
        "cgroup/resources: of_version_1",
    ),
];

/// The types have them, the specification never had: unknown properties, which are ignored.
const UNKNOWN: &[(&str, &str)] = &[("uidMappings", ""), ("gidMappings", "")];

#[test]
fn each_field_has_its_place() {
    let fields = all_fields();
    assert!(
        fields.len() > 150 && fields.contains("linux.resources.memory.swap"),
        "{fields:?}"
    );
    let tables = [APPLIED, REFUSED, WARNED, UNKNOWN];
    let rows = || tables.iter().flat_map(|table| table.iter());
    let covers = |row: &str, field: &str| match field.strip_prefix(row) {
        Some(rest) => rest.is_empty() || rest.starts_with('.'),
        None => false,
    };
    for field in &fields {
        let count = rows().filter(|(row, _)| covers(row, field)).count();
        assert_eq!(count, 1, "`{field}` is in {count} rows");
    }
    for (row, _) in rows() {
        assert!(
            fields.iter().any(|field| covers(row, field)),
            "there is no field `{row}`"
        );
    }
}

/// Each row names files of this room, or else of the whole program.
#[test]
fn each_place_is_there() {
    let rows = [APPLIED, REFUSED, WARNED];
    for (field, place) in rows.iter().flat_map(|table| table.iter()) {
        for name in place.split(": ").next().unwrap().split(", ") {
            let is_there = ["runtime/", ""].iter().any(|room| {
                let path = format!("{}/src/{room}{name}", env!("CARGO_MANIFEST_DIR"));
                Path::new(&path).is_dir() || Path::new(&format!("{path}.rs")).is_file()
            });
            assert!(is_there, "`{field}`: {name}");
        }
    }
}

/// The paths of all fields that have none below them.
fn all_fields() -> BTreeSet<String> {
    let seen = RefCell::new(BTreeSet::new());
    Spec::deserialize(Nothing {
        seen: &seen,
        path: String::new(),
    })
    .unwrap();
    seen.into_inner()
}

/// Gives each type the least that it can be read from, and writes down which fields it has asked for.
#[derive(Clone)]
struct Nothing<'a> {
    seen: &'a RefCell<BTreeSet<String>>,
    path: String,
}

type Failure = serde::de::value::Error;

impl Nothing<'_> {
    fn below(&self, name: &str) -> Self {
        let path = match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        Self {
            seen: self.seen,
            path,
        }
    }

    fn write_down(&self) {
        self.seen.borrow_mut().insert(self.path.clone());
    }

    /// What is not any text.
    fn text(&self) -> &'static str {
        match self.path.contains(".capabilities.") {
            true => "CAP_CHOWN",
            false => "0",
        }
    }
}

impl<'de> Deserializer<'de> for Nothing<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.write_down();
        visitor.visit_str(self.text())
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.write_down();
        visitor.visit_bool(true)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.write_down();
        visitor.visit_u64(0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_seq(Few {
            nothing: self,
            fields: [""].iter(),
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_map(Few {
            nothing: self,
            fields: [""].iter(),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_map(Few {
            nothing: self,
            fields: fields.iter(),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.write_down();
        visitor.visit_enum(First(variants[0]))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_u64(visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The fields of a structure, or one element without a name.
struct Few<'a> {
    nothing: Nothing<'a>,
    fields: std::slice::Iter<'static, &'static str>,
}

impl<'de> SeqAccess<'de> for Few<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        self.fields
            .next()
            .map(|_| seed.deserialize(self.nothing.clone()))
            .transpose()
    }
}

impl<'de> MapAccess<'de> for Few<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        let Some(name) = self.fields.as_slice().first() else {
            return Ok(None);
        };
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let nothing = match self.fields.next() {
            None | Some(&"") => self.nothing.clone(),
            Some(name) => self.nothing.below(name),
        };
        seed.deserialize(nothing)
    }
}

/// The first variant of an enumeration.
struct First(&'static str);

impl<'de> EnumAccess<'de> for First {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let name = seed.deserialize(StrDeserializer::<Failure>::new(self.0))?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for First {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(StrDeserializer::new("0"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }
}
