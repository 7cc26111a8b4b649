//! Programs of foreign machines: whether the kernel knows who runs them (`binfmt_misc`), asked before any step runs.
//! <https://docs.kernel.org/admin-guide/binfmt-misc.html>

use super::stage::wrong;
use super::{Graph, Operation};
use crate::build::dockerfile::instruction::Dockerfile;
use crate::image::platform::Platform;
use anyhow::Result;
use std::path::Path;

/// Where the kernel lists who runs what.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";
/// What brings it.
const PACKAGES: &str = "install qemu-user-static (Debian until 12: qemu-user-static, from 13 on: qemu-user-binfmt), or cross-compile \
                        in a stage with `FROM --platform=$BUILDPLATFORM`";

/// Fails if a `RUN` is for a machine whose programs nothing here can run. Stages that only copy need nothing.
pub fn require(graph: &Graph, file: &Dockerfile) -> Result<()> {
    let host = Platform::host();
    for node in &graph.nodes {
        let runs = matches!(node.operation, Operation::Run(_));
        if !runs || host.matches(&node.platform) || can_run(&node.platform) {
            continue;
        }
        let message = format!(
            "a program for {} cannot be run on {host}: no emulator is registered for it in {REGISTERED}",
            node.platform
        );
        return Err(wrong(file, node.span.unwrap_or_default(), message, PACKAGES).into());
    }
    Ok(())
}

/// Whether the kernel knows who runs the programs of a machine other than this one.
pub fn can_run(platform: &Platform) -> bool {
    is_registered(Path::new(REGISTERED), platform)
}

/// Whether an enabled entry takes programs of that machine.
fn is_registered(directory: &Path, platform: &Platform) -> bool {
    let Some(header) = header(platform) else {
        return false;
    };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    texts.any(|text| takes(&text, &header))
}

/// The first bytes of a program: ELF's identification, type and machine.
/// <https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html>
fn header(platform: &Platform) -> Option<[u8; 20]> {
    let (wide, big, machine): (bool, bool, u16) = match platform.architecture.as_str() {
        "386" => (false, false, 3),
        "amd64" => (true, false, 62),
        "arm" => (false, false, 40),
        "arm64" => (true, false, 183),
        "loong64" => (true, false, 258),
        "mips64" => (true, true, 8),
        "mips64le" => (true, false, 8),
        "ppc64le" => (true, false, 21),
        "riscv64" => (true, false, 243),
        "s390x" => (true, true, 22),
        _ => return None,
    };
    let mut header = [0; 20];
    header[..4].copy_from_slice(b"\x7fELF");
    header[4] = if wide { 2 } else { 1 };
    header[5] = if big { 2 } else { 1 };
    header[6] = 1;
    let order = |number: u16| {
        if big {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    };
    header[16..18].copy_from_slice(&order(2));
    header[18..20].copy_from_slice(&order(machine));
    Some(header)
}

/// Whether an entry, as the kernel shows it, takes a program that begins like this.
fn takes(entry: &str, header: &[u8; 20]) -> bool {
    let field = |name: &str| {
        let mut values = entry.lines().filter_map(|line| line.strip_prefix(name));
        values.next().map(str::trim)
    };
    let bytes = |text: &str| {
        let pairs = text.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        pairs.map(byte).collect::<Option<Vec<u8>>>()
    };
    let is_enabled = entry.lines().next() == Some("enabled");
    let Some(magic) = field("magic ").and_then(bytes).filter(|_| is_enabled) else {
        return false;
    };
    let mask = field("mask ")
        .and_then(bytes)
        .unwrap_or_else(|| vec![0xff; magic.len()]);
    field("offset ") == Some("0")
        && magic.len() <= header.len()
        && magic.len() == mask.len()
        && magic
            .iter()
            .zip(&mask)
            .zip(header)
            .all(|((magic, mask), byte)| magic & mask == byte & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_the_kernel_writes_them() {
        let arm = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
                   magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("status"), "enabled\n").unwrap();
        std::fs::write(directory.path().join("qemu-aarch64"), arm).unwrap();
        for (platform, expected) in [
            ("linux/arm64", true),
            ("linux/arm64/v8", true),
            ("linux/arm", false),
            ("linux/riscv64", false),
            ("linux/unheard", false),
        ] {
            let platform = platform.parse().unwrap();
            assert_eq!(
                is_registered(directory.path(), &platform),
                expected,
                "{platform}"
            );
        }
        let disabled = arm.replace("enabled", "disabled");
        std::fs::write(directory.path().join("qemu-aarch64"), disabled).unwrap();
        assert!(!is_registered(
            directory.path(),
            &"linux/arm64".parse().unwrap()
        ));
    }
}
